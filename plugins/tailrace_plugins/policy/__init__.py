"""What the filter `audit_policy` and the commands `tailrace policy` are made of: the API server's audit policy."""
