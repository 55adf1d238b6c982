"""What we know of ECS's clock, from the Date headers of its answers and nothing else.

A Date header was true when ECS wrote it, so "that date + our monotonic time since we received it"
can be behind ECS's clock (by the answer's way and the header's whole seconds) but not ahead of it.
Behind is the safe side: signatures made with it are older than they say, never younger, so they are
refused sooner. For the same reason suspension of this machine, during which monotonic time stands
still, is harmless. The wall clock of this machine serves only until the first answer.
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from msgspec import Struct

TOLERANCE: Final = 5.0
"""Seconds by which a new Date may differ from the estimate without being worth a report."""


class EcsTime(Struct, frozen=True):
    """The last Date of ECS, and when it was received by our monotonic clock."""

    date: float | None = None
    received: float = 0.0

    @property
    def known(self) -> bool:
        """Whether ECS has told its time."""
        return self.date is not None

    def at(self, mono: float, *, wall: float) -> float:
        """ECS's time at our monotonic time `mono`: a lower bound, once it is known."""
        return wall if self.date is None else self.date + (mono - self.received)


class Observed(Struct, frozen=True):
    """The clock after an answer, and by how many seconds the estimate was off when that is more
    than TOLERANCE: positive when ECS was ahead of it."""

    time: EcsTime
    jump: float | None = None


def observe(time: EcsTime, date: float, *, received: float, wall: float) -> Observed:
    """Take the Date of an answer that was received at monotonic time `received`.

    The newest one always counts. For the first one, `jump` tells how wrong this machine's wall
    clock is.
    """
    jump = date - time.at(received, wall=wall)
    return Observed(EcsTime(date, received), jump if abs(jump) > TOLERANCE else None)


def parse_date(header: str | None) -> float | None:
    """An HTTP date as seconds since 1970-01-01 UTC; None when absent or not a date."""
    if not header:
        return None
    try:
        moment: datetime = parsedate_to_datetime(header)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
