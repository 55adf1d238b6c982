"""What keeps the records of one cluster whole."""

from collections.abc import Callable
from typing import Protocol

from blox.clusterstate.cluster import Cluster
from blox.clusterstate.sweep import Sweeper


class Feeder(Protocol):
    """What keeps one cluster's records whole: `Sweeper` by reading ECS, `blox.clusterstate.remote`
    by following another service that does."""

    @property
    def begun(self) -> int:
        """How many sweeps have begun: the number of the last one."""
        ...

    async def sweep(self) -> bool:
        """One complete account of the cluster; whether it was complete."""
        ...

    async def run(self) -> None:
        """What goes on between two of them, for ever."""
        ...


class MakesFeeder(Protocol):
    """Makes what feeds one cluster. `sweeper` reads ECS itself, where that is needed; `changed` is
    called after each account that has been applied."""

    def __call__(
        self, cluster: Cluster, sweeper: Sweeper, *, changed: Callable[[], None]
    ) -> Feeder: ...
