"""The root of every error that blox raises on purpose, named by who must act.

    BloxError
    ├── InvalidInput    the caller's: the request can never succeed as it is
    ├── NotFound        the caller's: what it names does not exist
    ├── Conflict        the caller's: right in itself, wrong at this moment
    └── Unavailable     nobody's fault here: something that we depend on does not answer; try again

`blox.ecs.errors` and `blox.store.errors` hang their own classes below these.
Every message is a sentence for the person who reads it: what happened, to what, why, what to do.
"""


class BloxError(Exception):
    """Anything that blox raises on purpose. Never raised itself."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInput(BloxError):
    """The request can never succeed as it is; it changed nothing."""


class NotFound(BloxError):
    """What the request names does not exist."""


class Conflict(BloxError):
    """The request is well formed but contradicts the present state; it changed nothing."""


class Unavailable(BloxError):
    """Something that blox depends on does not answer; the same request may succeed later."""
