"""What the scheduler asks of a view of clusters. `blox.clusterstate.view` satisfies it in process.

The scheduler never asks ECS what exists; it asks the view, and hands the view every answer of its
own calls at once.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from blox.ecs.model import Host, Task, TaskDocument


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
    swept_at: float | None = None
    """The begin of the last complete sweep."""
    absence_horizon: float | None = None
    """The begin of the last complete look (listing RUNNING and STOPPED, and every ARN in it
    described or answered MISSING): a task visible then would be in the view now."""
    read_error: str | None = None
    """Why the last read failed; None once one succeeds."""


class Touched(Struct, frozen=True, kw_only=True):
    """What one change to the view concerns."""

    cluster_arn: str
    hosts: frozenset[str] = frozenset()
    """ARNs of hosts whose record, or any task on them, changed."""
    tasks: tuple[str, ...] = ()
    """ARNs of the tasks that changed."""
    cluster: bool = False
    """The cluster itself changed: primed, status, sweep done, reads failing. Look at all slots."""


class ClusterView(Protocol):
    """Reads are synchronous and answered from memory; none of them awaits."""

    def cluster(self, cluster_arn: str) -> ClusterSeen | None: ...

    def hosts(self, cluster_arn: str) -> Iterable[HostSeen]:
        """Every host record that is listed, superseded ones included, in ARN order."""
        ...

    def host(self, host_arn: str) -> HostSeen | None:
        """None when unknown, INACTIVE or gone."""
        ...

    def tasks_on(self, host_arn: str) -> Sequence[Task]:
        """Every task known on the host, stopped ones (kept for an hour) included, in ARN order."""
        ...

    def task(self, task_arn: str) -> Task | None: ...

    def started_by(self, started_by: str) -> Sequence[Task]:
        """Every known task with this startedBy, in ARN order."""
        ...

    def subscribe(self, listener: Callable[[Touched], None]) -> None:
        """Call `listener` synchronously after each change."""
        ...

    def is_daemon_service(self, cluster_arn: str, group: str) -> bool:
        """Whether `group` ("service:NAME") names a service with the DAEMON strategy, as far as
        known; asking makes it be looked up. False for other groups."""
        ...

    def answer(self, task: TaskDocument, begun: float) -> None:
        """Apply the account of a task that one of our own calls returned; `begun`: its send."""
        ...

    def presume(self, task: Presumed) -> None:
        """Enter a task that a retained intent names, if nothing is known of it."""
        ...

    async def follow(self, cluster: str) -> None:
        """Watch this cluster (name or ARN) from now on; returns without waiting for a sweep."""
        ...

    def unfollow(self, cluster_arn: str) -> None:
        """Stop watching it, unless it was named on the command line."""
        ...

    async def look(self, cluster_arn: str) -> bool:
        """List the cluster's tasks and describe what is new, now; True when it was complete.
        Afterwards `absence_horizon` is not earlier than the call. Calls made meanwhile share."""
        ...

    async def describe(self, cluster_arn: str, tasks: Sequence[str]) -> float | None:
        """Describe these tasks and apply the answers. Returns the begin of the read (monotonic), or
        None when it failed. Afterwards `task()` reflects what it showed; tasks answered MISSING are
        treated by R6."""
        ...
