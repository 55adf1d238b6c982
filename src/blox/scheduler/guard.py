"""R24: many hosts that stop matching at once look like a mistake; their daemons wait for a person.

A selector with a typing error, or an attribute that somebody's script removed, makes hosts stop
matching all together. The budget would still take the daemons away, a few at a time. So more than a
few in a short time are held until somebody confirms that they are meant.
"""

import math
from collections import deque
from typing import Final

from blox.scheduler.model import Confirmation, Environment

WINDOW: Final = 300.0
"""Seconds that count as "at once"."""
FEW: Final = 10
SHARE: Final = 0.1
"""Of the environment's hosts: so many, or `FEW` if that is more, may go without being asked."""


def too_many(pending: int, recent: int, hosts: int) -> bool:
    """R24: whether the stops that are pending, with those allowed within the window, are more than
    happen without a mistake. `hosts`: all that the environment's cluster has."""
    return pending + recent > max(FEW, math.ceil(SHARE * hosts))


class Guard:
    """Counts one environment's stops of daemons on hosts that stopped matching."""

    def __init__(self) -> None:
        self.held = 0
        """Stops that wait for a person; 0: none."""
        self._recent: deque[float] = deque()
        self._confirmed: Confirmation | None = None
        self._used = 0
        """Stops allowed since the confirmation."""

    def room(
        self, pending: int, *, hosts: int, environment: Environment, revision: int, now: float
    ) -> int:
        """How many of `pending` stops may go as far as this rule is concerned, and holds the rest.
        Once too many were pending, none goes until they are confirmed or nothing is pending.
        `now`: ECS's clock."""
        confirmed = environment.confirmed
        if confirmed != self._confirmed:
            self._confirmed, self._used = confirmed, 0
        left = 0
        if confirmed is not None and confirmed.revision == revision and now < confirmed.until:
            left = max(0, confirmed.stops - self._used)
        if not pending:
            self.held = 0
        elif left < pending and (self.held or too_many(pending, len(self._recent), hosts)):
            self.held = pending - left
            return left
        else:
            self.held = 0
        return pending

    def allowed(self, stops: int, *, now: float) -> None:
        """So many were allowed now (monotonic seconds)."""
        self._used += stops
        self._recent.extend([now] * stops)

    def forget(self, now: float) -> None:
        """Drop what is no longer "at once"."""
        while self._recent and self._recent[0] <= now - WINDOW:
            self._recent.popleft()
