"""What following a cluster-state-service takes, whatever carries it.

`blox.clusterstate.remote.client` asks over HTTP; the simulation asks a catalogue in the same
process, late, cut off, or one that lags behind. Names, positions and sweeps' numbers are the
service's; nothing in here is anybody's clock but `read_at`, which is ECS's.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from blox.base.errors import Unavailable
from blox.ecs.model import HostDocument, TaskDocument


class ServiceUnavailable(Unavailable):
    """The service does not answer, or not as it should, for now. The text is for the operator:
    what happened, at which endpoint, what to do."""


class NotWatched(ServiceUnavailable):
    """The service does not watch the cluster, and will not because somebody asks: it says that ECS
    has none of that name, or it was told which clusters to watch and this is none of them."""


class PositionExpired(Exception):
    """Changes after this position are no longer kept, or it is another service's: list again."""


class TaskTold(Struct, frozen=True, kw_only=True):
    """What the service knows of a task."""

    document: TaskDocument
    read_at: float | None = None
    """ECS's time when the newest read of it began; None when events alone told of it."""


class HostTold(Struct, frozen=True, kw_only=True):
    """What the service knows of a host."""

    document: HostDocument
    read_at: float | None = None


class Gone(Struct, frozen=True, kw_only=True):
    """The service has let go of a task or host."""

    kind: Literal["task", "instance"]
    arn: str


class ClusterTold(Struct, frozen=True, kw_only=True):
    """How well the service knows the cluster. It comes after every change that it covers: a task
    that sweep N found is told before N is, even if the task has changed again since."""

    epoch: str
    """The run of the service's process that counts the sweeps."""
    sweep: int
    """The number of its last complete sweep; 0: none."""
    status: str = "ACTIVE"
    read_error: str | None = None


Told = TaskTold | HostTold | Gone | ClusterTold


class Listing(Struct, frozen=True, kw_only=True):
    """Everything that the service has of one cluster; what changed meanwhile may be in it.

    Made in this order: `position`, `cluster`, tasks, hosts. So what `cluster` covers is listed, and
    every change that came after it was read is told to who follows from `position`.
    """

    position: str
    """Where to follow from."""
    tasks: tuple[TaskTold, ...]
    hosts: tuple[HostTold, ...]
    cluster: ClusterTold | None = None
    """How well the cluster was known before it was listed; None where the service has never watched
    it before."""


class Ticket(Struct, frozen=True, kw_only=True):
    """A sweep that was asked for. It begins after the request has come in."""

    epoch: str
    number: int


class StateService(Protocol):
    """One cluster-state-service, or several of which one is used at a time for each cluster. What
    asks may raise ServiceUnavailable; who is refused by one tries again, and gets another."""

    def serves(self, cluster_arn: str) -> str:
        """The endpoint that is used for this cluster now."""
        ...

    def leave(self, cluster_arn: str, endpoint: str, how: str) -> bool:
        """This endpoint does not do for the cluster what it should: use another one for it from now
        on, and end its streams there. `how`: what it does or does not, for people. False where
        there is no other, or another one is used already."""
        ...

    async def listing(self, cluster_arn: str) -> Listing:
        """All of one cluster. A cluster that the service does not watch yet is watched from then
        on. Raises NotWatched when no service will."""
        ...

    def follow(
        self, cluster_arn: str, position: str
    ) -> AsyncGenerator[tuple[str, Sequence[Told]], None]:
        """What changes after `position`: batches, each with the position that it comes to; an
        empty batch is a heartbeat. The first one, empty or not, comes at once. Never ends by
        itself. Raises PositionExpired."""
        ...

    async def request_sweep(self, cluster_arn: str) -> Ticket:
        """Have the cluster swept. Raises NotWatched, once every service has said so."""
        ...
