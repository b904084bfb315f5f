"""Following log files: rotation, identity, framing. What the source `tail` is made of."""
