"""Whether the queue tells everything: changes that only a read found, against those events told.

One queue has one consumer. A second one eats a share of the events, silently: each event goes to
one of the two. Sweeps then find changes that no event ever tells. A read may also be merely faster
than the event of the same change, so a change that a read found waits for its event for a while.
"""

from itertools import islice
from typing import Final

from msgspec import Struct

GRACE: Final = 60.0
"""How long the event of a change that a read found may still come, in seconds."""
PERIOD: Final = 600.0
"""What is counted is between one and two periods old, in seconds."""
ENOUGH: Final = 20
"""Below this number of changes a share says nothing."""
_SETTLED_AT_ONCE: Final = 64
"""Bounds what one event costs; the oldest are first in the dict, because it keeps their order."""


class Tally(Struct, frozen=True):
    """Changes of one period."""

    told: int = 0
    """By an event."""
    missed: int = 0
    """By none, until a read found them."""


class Drift:
    """The count for one queue. Every method takes our monotonic time."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[int, float]] = {}
        self._tally = Tally()
        self._before = Tally()
        self._turned: float | None = None
        self._flowing = True

    def flow(self, *, flowing: bool) -> None:
        """Whether the queue is being read at all. While it is not, nothing counts as missed."""
        self._flowing = flowing
        self._open.clear()

    def found(self, arn: str, version: int, *, now: float) -> None:
        """A read found this entity at a version that no event had told."""
        self._settle(now)
        if not self._flowing:
            return
        _, due = self._open.get(arn, (0, now + GRACE))
        self._open[arn] = (version, due)

    def told(self, arn: str, version: int, *, news: bool, now: float) -> None:
        """An event told of this entity; `news`: the view did not have that version yet."""
        self._settle(now)
        waiting = self._open.get(arn)
        if waiting is not None and waiting[0] <= version:
            del self._open[arn]
        elif not news:
            return
        self._tally = Tally(self._tally.told + 1, self._tally.missed)

    def tally(self, *, now: float) -> Tally:
        """Changes of this period and the one before."""
        self._settle(now)
        return Tally(self._tally.told + self._before.told, self._tally.missed + self._before.missed)

    def problem(self, *, alarm: float, now: float) -> str | None:
        """A sentence when more than the share `alarm` of changes came by no event, else None."""
        tally = self.tally(now=now)
        changes = tally.told + tally.missed
        if changes < ENOUGH or tally.missed <= alarm * changes:
            return None
        share = round(100 * tally.missed / changes)
        return (
            f"{share} % of the last {changes} changes of tasks ({tally.missed}) came by no event "
            "and were found by a sweep. Something else reads the same queue, or the rule does not "
            "match every cluster and both event types. Give every consumer a queue of its own."
        )

    def _settle(self, now: float) -> None:
        """Count what has waited too long, and begin a new period when it is time."""
        late = 0
        for arn, (_, until) in list(islice(self._open.items(), _SETTLED_AT_ONCE)):
            if until > now:
                break
            del self._open[arn]
            late += 1
        self._tally = Tally(self._tally.told, self._tally.missed + late)
        if self._turned is None:
            self._turned = now
        elif now >= self._turned + PERIOD:
            idle = now >= self._turned + 2 * PERIOD
            self._before = Tally() if idle else self._tally
            self._tally = Tally()
            self._turned = now
