"""Which hosts lack which daemon, since when and why: read only."""
