"""What the scheduler asks of a view of clusters. `blox.clusterstate.view` satisfies it in process.

The scheduler never asks ECS what exists; it asks the view, and hands the view every answer of its
own calls at once.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from blox.ecs.model import Task, TaskDocument
from blox.ecs.port import Read
from blox.ecs.seen import ClusterSeen, HostSeen, Presumed, Touched

__all__ = ["ClusterSeen", "ClusterView", "HostSeen", "Presumed", "Touched"]


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

    def is_daemon_service(self, cluster_arn: str, group: str) -> bool | None:
        """Whether `group` ("service:NAME") names a service with the DAEMON strategy, as far as
        known; asking makes it be looked up, and the cluster is touched when the answer changes.
        False for other groups, None until the first look."""
        ...

    def scales_in(self, cluster_arn: str, provider: str) -> bool | None:
        """Whether ECS removes idle hosts of this capacity provider, as far as known; asking makes
        it be looked up, and the cluster is touched when the answer changes. False for "", and where
        looking it up fails; None until the first look."""
        ...

    def recheck(self, host_arn: str) -> None:
        """Have this host described soon: ECS says of it what the view does not know."""
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

    async def describe(self, cluster_arn: str, tasks: Sequence[str]) -> Read[TaskDocument] | None:
        """Describe these tasks (at most 100) and apply the answer; None when the read failed.
        Afterwards `task()` reflects what it showed; tasks answered MISSING are treated by R6."""
        ...
