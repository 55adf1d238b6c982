"""Where decisions are kept: a small port, and its backends."""
