"""A whole scheduler and a simulated ECS in this process, under virtual time.

What is counted is what really happens (calls, doubles, seconds of ECS's clock); what is timed is
CPU alone, because the clock here stands still while anything works.
"""

import asyncio
from random import Random
from typing import Final

from benchmarks.figures import Progress
from blox.scheduler.model import DeploymentStatus, Policy
from blox.scheduler.service import Wish
from blox.settings import Settings
from blox.simulator.cloud import Cloud
from blox.simulator.feed import Feed
from blox.simulator.live import LiveCloud
from blox.simulator.model import Json
from blox.simulator.world import Process

CLUSTER: Final = "bench"
FAMILY: Final = "agent"
ATTRIBUTES: Final = {f"ecs.capability.of-a-recent-agent.{number}": "" for number in range(18)}
"""With what the simulated agent registers, about as many as a real one does: 38."""
_PATIENCE: Final = 7200.0
"""Virtual seconds until a benchmark gives up."""


class VirtualWorld:
    """One cluster and one scheduler that has read it and may act. Made by `begin`."""

    def __init__(self, cloud: Cloud, live: LiveCloud, feed: Feed, process: Process) -> None:
        self.cloud = cloud
        self.live = live
        self.feed = feed
        self.process = process
        self.latest: dict[str, Json] = {}
        """ARN of a task or host → the newest event about it."""
        live.subscribe(self._note)

    def _note(self, events: list[Json]) -> None:
        for event in events:
            resources = event["resources"]
            assert isinstance(resources, list)
            self.latest[str(resources[0])] = event

    @classmethod
    async def begin(
        cls, hosts: int, *, quotas: bool = True, settings: Settings | None = None
    ) -> "VirtualWorld":
        """Inside `blox.simulator.loop.run`."""
        cloud = Cloud(f"benchmark of {hosts}", quotas=quotas)
        live = LiveCloud(cloud)
        now = live.now()
        cloud.add_cluster(CLUSTER, now=now)
        cloud.add_definition(FAMILY, now=now)
        for _ in range(hosts):
            cloud.add_host(CLUSTER, now=now, attributes=ATTRIBUTES)
        feed = Feed(live, random=Random(1))
        process = Process(live, feed, random=Random(2), settings=settings or Settings())
        world = cls(cloud, live, feed, process)
        live.settle()
        await process.start()
        return world

    async def create(self, name: str, *, policy: Policy | None = None) -> str:
        """An environment on every host, not deployed yet; its id."""
        wish = Wish(task_definition=FAMILY, selector="", policy=policy or Policy())
        environment = await self.process.service.create(name, CLUSTER, wish)
        self.process.environments_changed()
        await self.process.view.follow(environment.cluster_arn)
        while not (self._primed(environment.cluster_arn) and self.process.scheduler.starts.allowed):
            await self._wait(1.0)
        return environment.id

    def _primed(self, cluster_arn: str) -> bool:
        seen = self.process.view.cluster(cluster_arn)
        return seen is not None and seen.primed

    async def change(self, environment_id: str) -> None:
        """A new revision: a newer definition of the same family."""
        self.cloud.add_definition(FAMILY, now=self.live.now())
        await self.process.service.change(environment_id, Wish(task_definition=FAMILY))

    async def deploy(self, environment_id: str) -> None:
        """Deploy what is wished."""
        await self.process.service.deploy(environment_id, supersede=True)

    async def completed(self, environment_id: str, hosts: int, *, what: str) -> None:
        """Wait until the newest deployment has completed."""
        progress = Progress(what)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE
        while True:
            newest = self.process.repository.newest_deployment(environment_id)
            if newest is not None and newest.status is DeploymentStatus.COMPLETED:
                return
            if loop.time() > deadline:
                raise RuntimeError(f"{what}: not completed within {_PATIENCE:g} virtual seconds")
            await self._wait(1.0)
            tracked = self.process.scheduler.state.tracked[environment_id]
            progress.at(tracked.board.tally().current, hosts)

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self.process.failure is not None:
            raise RuntimeError("the scheduler broke") from self.process.failure

    async def end(self) -> None:
        """Stop the scheduler and the cloud."""
        await self.process.kill()
        self.live.close()
