"""ECS's side of the reads, written by hand: what it shows and what fails is up to the test."""

import asyncio
from collections.abc import Sequence

from blox.base.clock import LoopClock
from blox.ecs.errors import EcsError, EcsRefused, EcsSilent
from blox.ecs.model import (
    AutoScalingGroupProvider,
    CapacityProviderDocument,
    ClusterDocument,
    Failure,
    HostDocument,
    ManagedScaling,
    ServiceDocument,
    TaskDefinition,
    TaskDocument,
)
from blox.ecs.port import Read
from support.documents import CLUSTER, PREFIX


def refused(operation: str, code: str = "AccessDeniedException") -> EcsRefused:
    return EcsRefused(operation, code, "not today", 400, "r-1")


def silent(operation: str) -> EcsSilent:
    return EcsSilent(operation, "the connection broke")


class ScriptedEcs:
    """Shows `clusters`, `hosts`, `tasks`, `services` and `providers`, except what is `hidden`.

    `services`: name → scheduling strategy; `providers`: name → status of its managed scaling, None
    for one without an Auto Scaling group.
    `failing`: operation → errors that its next calls end in. `broken`: operations that always end
    in an error. `latency`: seconds that each call takes; `calls`: what was asked.
    """

    def __init__(self, clock: LoopClock, *, page: int = 100, latency: float = 0.01) -> None:
        self.clock = clock
        self.page = page
        self.latency = latency
        self.clusters: dict[str, str] = {CLUSTER: "ACTIVE"}
        self.hosts: dict[str, HostDocument] = {}
        self.tasks: dict[str, TaskDocument] = {}
        self.services: dict[str, str] = {}
        self.providers: dict[str, str | None] = {}
        self.hidden: set[str] = set()
        self.failing: dict[str, list[EcsError]] = {}
        self.broken: dict[str, EcsError] = {}
        self.calls: list[tuple[str, tuple[str, ...]]] = []

    def put(self, *documents: TaskDocument | HostDocument) -> None:
        """From now on it shows these."""
        for document in documents:
            if isinstance(document, TaskDocument):
                self.tasks[document.task_arn] = document
            else:
                self.hosts[document.container_instance_arn] = document

    def asked(self, operation: str) -> list[tuple[str, ...]]:
        """The items of each call of this operation."""
        return [items for name, items in self.calls if name == operation]

    def now(self) -> float:
        return self.clock.wall()

    async def describe_clusters(self, clusters: Sequence[str]) -> Read[ClusterDocument]:
        begun = await self._begin("DescribeClusters", clusters)
        found = [
            ClusterDocument(cluster_arn=arn, cluster_name=arn.rsplit("/", 1)[-1], status=status)
            for arn, status in self.clusters.items()
            if arn in clusters or arn.rsplit("/", 1)[-1] in clusters
        ]
        failures = () if found else tuple(Failure(arn=c, reason="MISSING") for c in clusters)
        return Read(begun=begun, items=tuple(found), failures=failures)

    async def list_clusters(self, *, next_token: str | None = None) -> Read[str]:
        begun = await self._begin("ListClusters", (next_token or "",))
        listed = [arn for arn, status in self.clusters.items() if status != "INACTIVE"]
        return self._page(begun, listed, next_token)

    async def list_hosts(self, cluster: str, *, next_token: str | None = None) -> Read[str]:
        begun = await self._begin("ListContainerInstances", (next_token or "",))
        listed = [arn for arn, host in self.hosts.items() if host.status != "INACTIVE"]
        return self._page(begun, listed, next_token)

    async def describe_hosts(self, cluster: str, hosts: Sequence[str]) -> Read[HostDocument]:
        begun = await self._begin("DescribeContainerInstances", hosts)
        found = [self.hosts[a] for a in hosts if a in self.hosts and a not in self.hidden]
        return Read(
            begun=begun,
            items=tuple(found),
            failures=self._missing(hosts, [h.container_instance_arn for h in found]),
        )

    async def list_tasks(
        self, cluster: str, *, desired_status: str, next_token: str | None = None
    ) -> Read[str]:
        begun = await self._begin("ListTasks", (desired_status, next_token or ""))
        listed = [a for a, task in self.tasks.items() if task.desired_status == desired_status]
        return self._page(begun, listed, next_token)

    async def describe_tasks(self, cluster: str, tasks: Sequence[str]) -> Read[TaskDocument]:
        begun = await self._begin("DescribeTasks", tasks)
        found = [self.tasks[a] for a in tasks if a in self.tasks and a not in self.hidden]
        return Read(
            begun=begun,
            items=tuple(found),
            failures=self._missing(tasks, [t.task_arn for t in found]),
        )

    async def describe_task_definition(self, definition: str) -> Read[TaskDefinition]:
        begun = await self._begin("DescribeTaskDefinition", (definition,))
        return Read(begun=begun, items=(TaskDefinition(task_definition_arn=definition),))

    async def describe_services(
        self, cluster: str, services: Sequence[str]
    ) -> Read[ServiceDocument]:
        begun = await self._begin("DescribeServices", services)
        found = [
            ServiceDocument(service_name=name, scheduling_strategy=self.services[name])
            for name in services
            if name in self.services
        ]
        return Read(
            begun=begun,
            items=tuple(found),
            failures=self._missing(services, [service.service_name for service in found]),
        )

    async def list_services(self, cluster: str, *, next_token: str | None = None) -> Read[str]:
        begun = await self._begin("ListServices", (next_token or "",))
        return self._page(
            begun, [f"{PREFIX}:service/demo/{name}" for name in self.services], next_token
        )

    async def describe_capacity_providers(
        self, names: Sequence[str]
    ) -> Read[CapacityProviderDocument]:
        begun = await self._begin("DescribeCapacityProviders", names)
        found = [_provider(name, self.providers[name]) for name in names if name in self.providers]
        return Read(
            begun=begun,
            items=tuple(found),
            failures=self._missing(names, [provider.name for provider in found]),
        )

    async def _begin(self, operation: str, items: Sequence[str]) -> float:
        begun = self.clock.monotonic()
        self.calls.append((operation, tuple(items)))
        await asyncio.sleep(self.latency)
        if self.failing.get(operation):
            raise self.failing[operation].pop(0)
        if operation in self.broken:
            raise self.broken[operation]
        return begun

    def _page(self, begun: float, listed: list[str], token: str | None) -> Read[str]:
        shown = [arn for arn in listed if arn not in self.hidden]
        at = int(token or 0)
        end = at + self.page
        return Read(
            begun=begun,
            items=tuple(shown[at:end]),
            next_token=str(end) if end < len(shown) else None,
        )

    def _missing(self, asked: Sequence[str], shown: Sequence[str]) -> tuple[Failure, ...]:
        return tuple(Failure(arn=arn, reason="MISSING") for arn in asked if arn not in shown)


def _provider(name: str, scaling: str | None) -> CapacityProviderDocument:
    if scaling is None:
        return CapacityProviderDocument(name=name)
    return CapacityProviderDocument(
        name=name,
        auto_scaling_group_provider=AutoScalingGroupProvider(
            auto_scaling_group_arn=f"asg/{name}", managed_scaling=ManagedScaling(status=scaling)
        ),
    )
