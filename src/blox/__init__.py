"""blox: exactly one task of each daemon on every host of an Amazon ECS cluster."""

__version__ = "1.0.0"
