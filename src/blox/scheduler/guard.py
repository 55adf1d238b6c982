"""R24: many hosts that stop matching at once look like a mistake; their daemons wait for a person.

A selector with a typing error, or an attribute that somebody's script removed, makes hosts stop
matching all together. The budget would still take the daemons away, a few at a time. So more than a
few in a short time are held until somebody confirms that they are meant.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

from blox.base.ambient import Now
from blox.base.ids import short_id
from blox.scheduler.model import Environment

WINDOW: Final = 300.0
"""Seconds that count as "at once"."""
FEW: Final = 10
SHARE: Final = 0.1
"""Of the environment's hosts: so many, or `FEW` if that is more, may go without being asked."""


def too_many(pending: int, recent: int, hosts: int) -> bool:
    """R24: whether the stops that are pending, with those allowed within the window, are more than
    happen without a mistake. `hosts`: all that the environment wants or has a daemon on."""
    return pending + recent > max(FEW, math.ceil(SHARE * hosts))


class Guard:
    """Watches one environment's daemons on hosts that stopped matching."""

    def __init__(self) -> None:
        self.waiting: tuple[str, ...] = ()
        """Hosts (ARNs) whose daemon waits for a person's word."""
        self.tripped = False
        """Too many stopped matching, and some of them still have their daemon."""
        self._recent: deque[float] = deque()

    @property
    def held(self) -> int:
        """Stops that wait for a person."""
        return len(self.waiting)

    def judge(
        self,
        unmatched: Sequence[str],
        *,
        hosts: int,
        environment: Environment,
        revision: int,
        now: Now,
    ) -> bool:
        """Decide which daemons wait: of `unmatched`, every host (ARN) that does not match and has a
        daemon whose stop was not allowed yet, whatever else stands against stopping it now. Once
        too many were among them, none goes until it is confirmed, or until none is left.

        `hosts`: all that the environment wants or has a daemon on. Returns whether it tripped, or
        stopped being tripped, with this.
        """
        while self._recent and self._recent[0] <= now.mono - WINDOW:
            self._recent.popleft()
        before = self.tripped
        confirmed = environment.confirmed
        meant: frozenset[str] = frozenset()
        if confirmed is not None and confirmed.revision == revision and now.ecs < confirmed.until:
            meant = frozenset(confirmed.hosts)
        asking = tuple(host for host in unmatched if short_id(host) not in meant)
        self.tripped = bool(unmatched) and (
            self.tripped
            or environment.stops_held
            or too_many(len(asking), len(self._recent), hosts)
        )
        self.waiting = asking if self.tripped else ()
        return self.tripped != before

    def allowed(self, stops: int, *, now: float) -> None:
        """So many were allowed now (monotonic seconds)."""
        self._recent.extend([now] * stops)
