"""What the sink `elasticsearch` is made of."""
