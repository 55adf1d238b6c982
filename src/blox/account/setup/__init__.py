"""What to create in an account: queue, rule and role, with least privilege."""
