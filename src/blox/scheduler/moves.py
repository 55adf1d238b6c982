"""What one migration remembers between two looks, and what it shows. Losing it costs patience only.

Times are monotonic unless they say otherwise.
"""

from collections import deque
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from blox.ecs.model import ServiceDocument
from blox.scheduler.gaps import Arrival
from blox.scheduler.migrations import MovingHost, Place, Step
from blox.scheduler.model import Migration

MARK_SHOWN: Final = 60.0
"""Seconds after which the view surely shows a mark that was put."""
REFUSED_FOR: Final = 600.0
"""Seconds until a host that could not be marked is tried again."""
LATE: Final = 300.0
"""Seconds within which a service leaves a host, or comes to one, that it was told to."""
_REMEMBERED: Final = 200


class Mark(Struct, frozen=True):
    """A change of a host's mark that the view need not show yet."""

    value: str | None
    until: float
    """It has happened by then, or never will."""
    sure: bool
    """ECS accepted it."""


class Why(Struct, frozen=True):
    """Why a host cannot be moved now."""

    code: str
    sentence: str


class MigrationSeen(Struct, frozen=True, kw_only=True):
    """How a migration stands, for people."""

    migration: Migration
    step: Step
    details: Mapping[str, str] = {}
    """Fill the phase's sentence."""
    service: ServiceDocument | None = None
    limit: int = 0
    """Hosts at once now: the wave, but never more than the environment allows to be unavailable."""
    places: Mapping[Place, int] = {}
    unmovable: Mapping[str, Why] = {}
    """Host → why it cannot be moved now."""
    without: int = 0
    """Hosts of the service on which none of its tasks runs."""
    problem: str = ""
    """Why the last call failed; "" when it did not."""
    arrivals: tuple[Arrival, ...] = ()
    """The last ones, as far as this process saw them."""


class Moves:
    """One migration's memory."""

    def __init__(self) -> None:
        self.marks: dict[str, Mark] = {}
        self.refused: dict[str, tuple[float, str]] = {}
        """Host → until when it is not tried again, and ECS's words."""
        self.last_ran: dict[str, float] = {}
        """Host → when the service's task was last seen to run there; at first, our first look."""
        self.turn_seen: dict[str, float] = {}
        """Host → since when we have seen its turn, or its mark be gone on the way back."""
        self.twos: dict[str, None] = {}
        """Hosts on which both were seen to be wanted at one time."""
        self.arrivals: deque[Arrival] = deque(maxlen=_REMEMBERED)
        self.held_until = 0.0
        """No mark is put or removed before: ECS refuses it for all hosts alike."""
        self.problem = ""
        self.service: ServiceDocument | None = None
        self.service_due = 0.0
        self.service_problem = ""
        self.gone_since: float | None = None
        """Since when ECS has shown no such service."""
        self.look_due = 0.0
        self.freshened = 0.0
        self.looked = 0.0
        self.seen: MigrationSeen | None = None

    def mark(self, host: str, shown: str | None, now: float) -> tuple[str | None, bool]:
        """The host's mark, and whether it can change no more by itself. `shown`: by the view."""
        known = self.marks.get(host)
        if known is None:
            return shown, True
        if shown == known.value or now >= known.until:
            del self.marks[host]
            return shown, True
        return shown, False

    @property
    def unsure(self) -> bool:
        """Whether a call may still take effect of which nobody knows."""
        return any(not mark.sure for mark in self.marks.values())

    def ran(self, host: str, *, runs: bool, now: float, read_lag: float) -> bool:
        """Note whether the service's task runs there; whether it has not for so long that even one
        which reads do not show yet would have come to light."""
        if runs:
            self.last_ran[host] = now
            return False
        return now >= self.last_ran.setdefault(host, now) + read_lag

    def waits(self, host: str, *, now: float) -> bool:
        """Whether a host whose turn it is has waited for the other side for too long."""
        return now >= self.turn_seen.setdefault(host, now) + LATE

    def forget_all_but(self, hosts: Mapping[str, MovingHost], turns: Mapping[str, float]) -> None:
        """Hosts that are gone need no memory."""
        for memory in (self.last_ran, self.refused, self.marks, self.twos):
            for host in [host for host in memory if host not in hosts]:
                memory.pop(host)
        for host in [host for host in self.turn_seen if host not in turns]:
            del self.turn_seen[host]
