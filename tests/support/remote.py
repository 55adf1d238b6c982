"""A stage whose scheduler follows cluster-state-services instead of reading ECS itself."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Self, TypeVar

from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.remote.port import StateService
from blox.ecs.seen import ClusterSeen
from blox.scheduler.model import Policy
from blox.scheduler.service import Wish
from blox.settings import Settings
from blox.simulator import loop
from blox.simulator.faults import Faults
from blox.simulator.state_line import Line
from blox.simulator.state_process import Replica, Run
from blox.simulator.world import Process
from support.directed import CLUSTER, FAMILY, Stage

T = TypeVar("T")


class RemoteStage(Stage):
    """A stage with one or two services; `line` is the scheduler's way to them."""

    def __init__(
        self, *, hosts: int, services: int = 1, queue: bool = True, read_rate: float | None = None
    ) -> None:
        super().__init__(hosts=hosts)
        self.replicas = tuple(
            Replica(
                self.live,
                f"css{number}",
                random=self.random,
                settings=Settings(),
                queue=queue,
                read_rate=read_rate,
            )
            for number in range(services)
        )
        self.line = Line(self.replicas, random=Random(7))
        self.service: StateService = self.line

    async def __aenter__(self) -> Self:
        for replica in self.replicas:
            await replica.start()
        await super().__aenter__()
        return self

    async def __aexit__(self, *about: object) -> None:
        await super().__aexit__(*about)
        for replica in self.replicas:
            await replica.end()
            assert replica.failure is None, replica.failure

    async def restart(self) -> None:
        assert self.process is None
        self.process = Process(
            self.live,
            None,
            random=self.random,
            settings=Settings(),
            data=self.data,
            clock=self.clock,
            service=self.service,
        )
        await self.process.start()

    def run_of(self, number: int = 0) -> Run:
        """What runs of a service now."""
        run = self.replicas[number].run
        assert run is not None
        return run

    def catalogue(self, number: int = 0) -> Catalogue:
        """What a service has."""
        return self.run_of(number).catalogue

    def line_to(self, number: int) -> Line:
        """Another way to one service."""
        return Line((self.replicas[number],), random=Random(8))

    lagging = Faults(lag=1.0)
    """Reads show nothing that is younger than V, or hardly."""

    async def deploy(self) -> None:
        """The environment, deployed; nothing is waited for."""
        wish = Wish(task_definition=FAMILY, policy=Policy(max_unavailable="100%"))
        made = await self.running.service.create("agent", CLUSTER, wish)
        self.environment_id = made.id
        self.running.environments_changed()
        await self.running.service.deploy(made.id)

    async def recovers(self, host: str, *, within: float) -> None:
        """The daemon there dies, and another one runs in its place before so long."""
        self.lose(host)
        await self.until(lambda: not self.daemons(host), within=10.0)
        await self.until(lambda: len(self.daemons(host)) == 1, within=within)

    def slow_sweep_ended(self, *, took: float) -> bool:
        """Whether a sweep has just ended that took so long."""
        seen = self.seen
        if seen.swept_at is None or seen.sweep_ended is None:
            return False
        fresh = self.clock.monotonic() - seen.sweep_ended < 0.5
        return fresh and seen.sweep_ended - seen.swept_at > took

    @property
    def seen(self) -> ClusterSeen:
        """How well the scheduler knows the cluster."""
        found = self.running.view.cluster(self.cluster)
        assert found is not None
        return found


def play_remote(
    act: Callable[[RemoteStage], Awaitable[T]],
    *,
    hosts: int = 3,
    services: int = 1,
    queue: bool = True,
    read_rate: float | None = None,
) -> T:
    """Play one act on a stage of its own."""

    async def whole() -> T:
        stage = RemoteStage(hosts=hosts, services=services, queue=queue, read_rate=read_rate)
        async with stage:
            return await act(stage)

    return loop.run(whole())
