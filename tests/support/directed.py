"""A small world played by hand: one cluster, one environment, a real scheduler, virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Self, TypeVar

from blox.base.clock import LoopClock
from blox.scheduler.model import Deployment, Environment, Policy, SlotClass
from blox.scheduler.service import Wish
from blox.scheduler.tracked import Tracked
from blox.settings import Settings
from blox.simulator import loop
from blox.simulator.cloud import Cloud
from blox.simulator.faults import Faults
from blox.simulator.feed import Feed
from blox.simulator.live import LiveCloud
from blox.simulator.model import CallLogged, Json, TaskRecord
from blox.simulator.world import Process
from blox.store.memory import MemoryData

T = TypeVar("T")
CLUSTER, FAMILY = "prod", "agent"


class Stage:
    """Everything there is, and short words for what tests do with it."""

    def __init__(self, *, hosts: int, seed: int = 1) -> None:
        self.random = Random(seed)
        self.cloud = Cloud(seed, assumptions=Settings().assumptions, faults=Faults.none())
        self.live = LiveCloud(self.cloud)
        self.cluster = self.cloud.add_cluster(CLUSTER, now=self.now)
        self.definition = self.cloud.add_definition(FAMILY, now=self.now)
        self.hosts = sorted(self.cloud.add_host(CLUSTER, now=self.now) for _ in range(hosts))
        self.feed = Feed(self.live, random=self.random)
        self.data = MemoryData()
        self.clock = LoopClock(self.live.epoch)
        self.process: Process | None = None
        self.environment_id = ""

    @property
    def now(self) -> float:
        """ECS's clock."""
        try:
            return self.live.now()
        except RuntimeError:  # Before the loop runs.
            return self.live.epoch

    async def __aenter__(self) -> Self:
        await self.restart()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        self.live.close()

    # --- The process ------------------------------------------------------------------------------

    async def restart(self) -> None:
        """A process begins to run."""
        assert self.process is None
        self.process = Process(
            self.live,
            self.feed,
            random=self.random,
            settings=Settings(),
            data=self.data,
            clock=self.clock,
        )
        await self.process.start()

    async def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            process, self.process = self.process, None
            assert process.failure is None, process.failure
            await process.kill()

    @property
    def running(self) -> Process:
        assert self.process is not None
        return self.process

    @property
    def tracked(self) -> Tracked:
        return self.running.scheduler.state.tracked[self.environment_id]

    @property
    def environment(self) -> Environment:
        found = self.running.repository.environment(self.environment_id)
        assert found is not None
        return found

    @property
    def deployment(self) -> Deployment:
        found = self.running.repository.newest_deployment(self.environment_id)
        assert found is not None
        return found

    async def create(self, max_unavailable: str = "100%") -> None:
        """The environment, deployed and current everywhere."""
        wish = Wish(task_definition=FAMILY, policy=Policy(max_unavailable=max_unavailable))
        made = await self.running.service.create("agent", CLUSTER, wish)
        self.environment_id = made.id
        self.running.environments_changed()
        await self.running.service.deploy(made.id)
        await self.until(lambda: self.count(SlotClass.CURRENT) == len(self.hosts))

    async def revise(self, **definition: bool | int) -> None:
        """Another revision, not deployed yet."""
        self.definition = self.cloud.add_definition(FAMILY, now=self.now, **definition)  # type: ignore[arg-type]
        await self.running.service.change(self.environment_id, Wish(task_definition=FAMILY))

    async def update(self) -> None:
        """Another revision, deployed."""
        await self.revise()
        await self.running.service.deploy(self.environment_id)

    # --- Looking ----------------------------------------------------------------------------------

    def count(self, slot_class: SlotClass) -> int:
        """Slots in this class."""
        return self.tracked.board.classes[slot_class]

    def daemons(self, host: str | None = None) -> list[TaskRecord]:
        """Live daemons on the host, or on all, as they truly are."""
        return [
            task
            for task in self.cloud.tasks.values()
            if task.family == FAMILY and task.live and host in (None, task.host)
        ]

    @property
    def most(self) -> int:
        """Live daemons on the host that has most."""
        return max(len(self.daemons(host)) for host in self.hosts)

    def calls(self, operation: str, *, since: float) -> list[CallLogged]:
        """Calls of blox that reached ECS since then."""
        return [
            call
            for call in self.cloud.log
            if call.operation == operation and call.time >= since and call.caller == "blox"
        ]

    async def until(self, happened: Callable[[], bool], *, within: float = 600.0) -> None:
        """Let time pass until this is so. Fails after so many (virtual) seconds."""
        end = self.now + within
        while not happened():
            assert self.now < end, "it did not happen"
            await asyncio.sleep(0.25)

    def lose(self, host: str) -> None:
        """The daemon there, which ran well, dies."""
        for task in self.daemons(host):
            self.cloud.kill_task(task.arn, now=self.now)
        self.live.settle()

    def double(self, host: str, **changed: Json | str) -> None:
        """Somebody starts another daemon beside ours that carries all our marks, but for what is
        changed."""
        (first,) = self.daemons(host)
        marks: Json = {
            "cluster": self.cluster,
            "taskDefinition": first.definition,
            "containerInstances": [host],
            "startedBy": first.started_by,
            "overrides": first.overrides,
        }
        self.cloud.call("StartTask", {**marks, **changed}, now=self.now)
        self.live.settle()


def play(act: Callable[[Stage], Awaitable[T]], *, hosts: int = 3) -> T:
    """Play one act on a stage of its own."""

    async def whole() -> T:
        async with Stage(hosts=hosts) as stage:
            return await act(stage)

    return loop.run(whole())
