"""Time and randomness as values that are handed in.

Pure modules take plain numbers; only composition roots and I/O modules hold these. Under simulation
both come from one seed, so that a run can be replayed.
"""

from typing import NamedTuple, Protocol


class Clock(Protocol):
    """Two readings of time, both in seconds."""

    def monotonic(self) -> float:
        """Never goes back; stands while the machine is suspended. All waiting is measured on it."""
        ...

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC by this machine; may jump. For people, and before the first
        answer of ECS."""
        ...


class Entropy(Protocol):
    """A source of unpredictable (or, in simulation, seeded) identifiers."""

    def uuid(self) -> str:
        """A random UUID in its 36-character form."""
        ...

    def token(self) -> str:
        """26 characters of Crockford's base 32, 128 random bits: an intent's id."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high], for jitter."""
        ...


class Now(NamedTuple):
    """One instant on the two clocks that decisions use."""

    mono: float
    """Seconds of our own monotonic clock."""
    ecs: float
    """Our estimate of ECS's clock, seconds since 1970-01-01 UTC."""
