"""Errors as /v1 has always sent them: one plain sentence.

0.3's contract knows 400 and 404; a conflict is a 400 there. Some sentences are matched by clients
word for word and are kept here.
"""

from typing import Final

from blox.base.errors import BloxError, Conflict
from blox.http.problems import status_of
from blox.http.queries import RepeatedParameter, UnsupportedParameter

PLAIN: Final = "text/plain; charset=utf-8"
UNSUPPORTED_FILTER: Final = "At least one of the filters provided is not supported"
REPEATED_FILTER: Final = "At least one of the filters provided is specified multiple times"
INVALID_CLUSTER: Final = "Invalid cluster ARN or name"


def text_status_of(error: BloxError) -> int:
    """The HTTP status of an error under /v1."""
    return 400 if isinstance(error, Conflict) else status_of(error)


def sentence_of(error: BloxError, *, unsupported_filter: str = UNSUPPORTED_FILTER) -> str:
    """The body of an error under /v1. `unsupported_filter`: what 0.3's service said there; its two
    services did not say the same."""
    if isinstance(error, UnsupportedParameter):
        return unsupported_filter
    if isinstance(error, RepeatedParameter):
        return REPEATED_FILTER
    return error.message
