"""Sending events to others by HTTP: the client, its credentials, and how to wait for better times."""
