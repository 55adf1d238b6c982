"""What the bodies of /v2 have in common. JSON names are in camel case, times RFC 3339 in UTC."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Struct

Json = Annotated[object, msgspec.Meta(extra_json_schema={"description": "Any JSON value."})]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
"""Something that, if it is given, says something."""

Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
"""A time as `iso` writes it."""


class AnswerBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of everything that is answered."""


class AskedBody(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of everything that is asked: a misspelt member is an error, never ignored."""


class PageBody(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of lists: without `nextToken`, this is the last page."""

    next_token: str | None = None


def moment(seconds: float | None) -> datetime | None:
    """A time as JSON shows it: RFC 3339 in UTC, to the millisecond."""
    return None if seconds is None else at(seconds)


def at(seconds: float) -> datetime:
    """Like `moment`, for a time that is always there."""
    return datetime.fromtimestamp(round(seconds, 3), UTC)


def iso(seconds: float) -> str:
    """A time as text with all three digits of its milliseconds, `2026-03-01T12:00:00.250Z`. Raises
    ValueError for what is in no calendar."""
    try:
        moment = at(seconds)
    except (OverflowError, OSError) as error:
        raise ValueError(f"not a time: {seconds!r}") from error
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
