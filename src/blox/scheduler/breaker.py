"""When calls get no answer, ask with one host at a time (R14).

Two calls in doubt in a cluster, with no answer between them, open its breaker. Then single-host
probes go out, one at a time, at growing intervals, until one is answered. This bounds how many
hosts a storm of lost answers can put in doubt.
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

OPENS_AT = 2
"""Calls in doubt running."""


class Breaker(Struct, frozen=True, kw_only=True):
    """Of one cluster: what its last calls came to."""

    doubts: int = 0
    probes: int = 0
    probing: bool = False
    next_probe: float = 0.0
    """Monotonic."""

    @property
    def open(self) -> bool:
        return self.doubts >= OPENS_AT


def batch_allowed(breaker: Breaker, *, now: float) -> int:
    """How many hosts the next call may have: 10, one as a probe, or none yet."""
    if not breaker.open:
        return 10
    return 0 if breaker.probing or now < breaker.next_probe else 1


def call_began(breaker: Breaker) -> Breaker:
    """A call is about to be made: while the breaker is open, it is the probe."""
    return replace(breaker, probing=True, probes=breaker.probes + 1) if breaker.open else breaker


def call_answered(breaker: Breaker) -> Breaker:
    """Any answer, a refusal too, shows that answers arrive."""
    return Breaker() if breaker.doubts or breaker.probes else breaker


def call_in_doubt(breaker: Breaker, *, now: float, intervals: Sequence[float]) -> Breaker:
    """A call got no clear answer. `intervals`: seconds until the first probe, the second, …"""
    wait = intervals[min(breaker.probes, len(intervals) - 1)]
    return Breaker(
        doubts=breaker.doubts + 1, probes=breaker.probes, probing=False, next_probe=now + wait
    )


def call_not_made(breaker: Breaker) -> Breaker:
    """Turned away before any work, or never sent: it tells nothing about answers."""
    return replace(breaker, probing=False) if breaker.probing else breaker
