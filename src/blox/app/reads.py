"""An ECS that can only be read: what a scheduler that observes gets in place of the client.

Two walls. This object has no method that acts, so nothing that holds it can ask for one; and its
transport (`ReadingTransport`) sends nothing but reads, whoever asks.
"""

from collections.abc import Callable, Sequence
from typing import Final

from blox.ecs.model import (
    CapacityProviderDocument,
    ClusterDocument,
    HostDocument,
    ServiceDocument,
    TaskDefinition,
    TaskDocument,
)
from blox.ecs.port import EcsReads, NotSent, Permit, Read, Transport, WireAnswer

READS: Final = frozenset(
    {
        "DescribeClusters",
        "ListClusters",
        "ListContainerInstances",
        "DescribeContainerInstances",
        "ListTasks",
        "DescribeTasks",
        "DescribeTaskDefinition",
        "DescribeServices",
        "ListServices",
        "DescribeCapacityProviders",
    }
)


class ReadsOnly:
    """`EcsReads` and nothing else."""

    __slots__ = ("__reads",)

    def __init__(self, reads: EcsReads) -> None:
        self.__reads = reads

    async def describe_clusters(self, clusters: Sequence[str]) -> Read[ClusterDocument]:
        return await self.__reads.describe_clusters(clusters)

    async def list_clusters(self, *, next_token: str | None = None) -> Read[str]:
        return await self.__reads.list_clusters(next_token=next_token)

    async def list_hosts(self, cluster: str, *, next_token: str | None = None) -> Read[str]:
        return await self.__reads.list_hosts(cluster, next_token=next_token)

    async def describe_hosts(self, cluster: str, hosts: Sequence[str]) -> Read[HostDocument]:
        return await self.__reads.describe_hosts(cluster, hosts)

    async def list_tasks(
        self, cluster: str, *, desired_status: str, next_token: str | None = None
    ) -> Read[str]:
        return await self.__reads.list_tasks(
            cluster, desired_status=desired_status, next_token=next_token
        )

    async def describe_tasks(self, cluster: str, tasks: Sequence[str]) -> Read[TaskDocument]:
        return await self.__reads.describe_tasks(cluster, tasks)

    async def describe_task_definition(self, definition: str) -> Read[TaskDefinition]:
        return await self.__reads.describe_task_definition(definition)

    async def describe_services(
        self, cluster: str, services: Sequence[str]
    ) -> Read[ServiceDocument]:
        return await self.__reads.describe_services(cluster, services)

    async def list_services(self, cluster: str, *, next_token: str | None = None) -> Read[str]:
        return await self.__reads.list_services(cluster, next_token=next_token)

    async def describe_capacity_providers(
        self, names: Sequence[str]
    ) -> Read[CapacityProviderDocument]:
        return await self.__reads.describe_capacity_providers(names)

    def now(self) -> float:
        return self.__reads.now()


class ReadingTransport:
    """A transport to ECS that refuses to send what is not a read."""

    def __init__(self, transport: Transport, *, also: frozenset[str] = frozenset()) -> None:
        """`also`: reads beyond those of a scheduler."""
        self._transport = transport
        self._reads = READS | also

    async def send(
        self,
        operation: str,
        body: bytes,
        *,
        date: Callable[[], float],
        permit: Permit | None = None,
        fresh: bool = False,
    ) -> WireAnswer:
        if operation not in self._reads:
            raise NotSent("permit", f"this process only observes: {operation} is never sent")
        return await self._transport.send(operation, body, date=date, permit=permit, fresh=fresh)

    async def close(self) -> None:
        await self._transport.close()
