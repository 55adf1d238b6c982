"""What following a service waits for, and what it has come to."""

from dataclasses import dataclass

from blox.clusterstate.remote.port import Ticket


@dataclass(slots=True)
class Followed:
    """What following has come to, over all clusters: for metrics."""

    told: int = 0
    """Tasks and hosts that the service told."""
    listings: int = 0
    """Times that a cluster was listed: at first, and when a position had expired."""
    failures: int = 0
    """Streams that were cut, and requests that failed."""
    sweeps_failed: int = 0
    """Times that a sweep which was asked for had not become complete in time."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A sweep that was asked for and is not complete yet."""

    ticket: Ticket
    endpoint: str
    begun: float
    """When the request was sent, on our clock."""
    life: int
    """The cluster's life then."""
