"""What a view of clusters shows: records, and what only watching them over time can tell.

Shared by the view (`blox.clusterstate`) and by what asks it (`blox.scheduler.view`), which do not
know each other. Times are our monotonic clock, in seconds.
"""

from msgspec import Struct

from blox.ecs.model import Host


class HostSeen(Struct, frozen=True, kw_only=True):
    """A host and what only watching it over time can tell. Times are our monotonic clock."""

    host: Host
    disconnected_since: float | None = None
    """When this process first saw the agent disconnected; None while connected."""
    draining_since: float | None = None
    superseded_by: str | None = None
    """R16: the ARN of the newer record of the same machine."""


class Presumed(Struct, frozen=True, kw_only=True):
    """A task that an intent of ours says exists: live from start-up until evidence comes."""

    arn: str
    cluster_arn: str
    host_arn: str
    definition_arn: str
    started_by: str
    group: str
    intent: str


class ClusterSeen(Struct, frozen=True, kw_only=True):
    """How well a cluster is known. Times are our monotonic clock."""

    arn: str
    status: str = "ACTIVE"
    primed: bool = False
    """A complete sweep of this epoch has been applied."""
    sweeps: int = 0
    """Complete sweeps in this epoch."""
    sweep: int = 0
    """The number of the last complete sweep: all are numbered as they begin, failed ones too. 0:
    none was complete."""
    swept_at: float | None = None
    """The begin of the last complete sweep."""
    sweep_ended: float | None = None
    """When the last complete sweep ended."""
    absence_horizon: float | None = None
    """The begin of the last complete look (listing RUNNING and STOPPED, and every ARN in it
    described or answered MISSING): a task visible then would be in the view now."""
    read_error: str | None = None
    """Why the last read failed; None once one succeeds."""
    good_until: float | None = None
    """R12: a view that is kept by another service justifies no start and no stop after this; None:
    the view is kept here, and every stop looks first."""

    def stale(self, now: float) -> bool:
        """Whether what is known is too old to act on."""
        return self.good_until is not None and now > self.good_until


class Touched(Struct, frozen=True, kw_only=True):
    """What one change to the view concerns."""

    cluster_arn: str
    hosts: frozenset[str] = frozenset()
    """ARNs of hosts whose record, or any task on them, changed."""
    tasks: tuple[str, ...] = ()
    """ARNs of the tasks that changed."""
    cluster: bool = False
    """The cluster itself changed: primed, status, sweep done, reads failing. Look at all slots."""
