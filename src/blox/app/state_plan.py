"""What the command line asks of a cluster-state-service. Imports nothing heavy."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from blox.clusterstate.queues import EventQueue
from blox.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePlan:
    """One cluster-state-service to be."""

    store: str
    """The SQLite file's path."""
    queue: EventQueue | None = None
    """None: sweeps are all there is."""
    clusters: Sequence[str] = ()
    """Names or ARNs of the clusters to watch; none: every one of the account and region."""
    tags: bool = False
    """Ask ECS for the tags of tasks and container instances."""
    settings: Settings = field(default_factory=Settings)
