"""Hiding secrets in audit events: what the filter `redact` is made of."""
