"""The standard stages of tailrace."""
