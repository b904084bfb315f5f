"""What surrounds the logs of the source `tail`: whether all that is written reaches it, seen from outside."""
