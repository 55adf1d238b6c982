"""The daemon-scheduler: decides which task must start or stop where, and does it at most once."""
