"""What the source `webhook` is made of."""
