"""The view over a simulated ECS: whatever was lost, doubled, late or lagging, it ends in the truth.

The real client, view and ingest run under virtual time against an ECS that is as inconsistent as V
allows; when the faults end, the view must equal what ECS has, without being restarted.
"""

import asyncio
from random import Random

import pytest

from blox.base.clock import LoopClock
from blox.clusterstate.ingest import Ingest
from blox.clusterstate.view import View
from blox.ecs.client import EcsClient
from blox.ecs.model import LIFECYCLE
from blox.ecs.pacing import Pacer
from blox.ecs.seen import Touched
from blox.settings import Assumptions, ViewSettings
from blox.simulator import loop
from blox.simulator.client import SimTransport
from blox.simulator.cloud import Cloud
from blox.simulator.faults import Faults
from blox.simulator.feed import Feed
from blox.simulator.live import LiveCloud

ADVERSE = Faults(
    unreachable=0.02,
    drop_answer=0.05,
    late_answer=0.02,
    error_before=0.05,
    throttle=0.02,
    garble=0.02,
    lag=0.5,
    flicker=0.2,
    short_page=0.5,
    slow_task=0.1,
    slow_stop=0.2,
    dying_task=0.1,
    agent_flap=0.2,
    event_lost=0.2,
    event_doubled=0.3,
    event_late=0.3,
    event_ancient=0.05,
)
V = Assumptions().read_lag


class World:
    """One cluster in a simulated ECS, and a view of it."""

    def __init__(self, seed: int, *, queue: bool) -> None:
        self.random = Random(seed)
        self.clock = LoopClock()
        self.cloud = Cloud(seed, faults=ADVERSE)
        self.live = LiveCloud(self.cloud)
        client = EcsClient(
            SimTransport(self.live, clock=self.clock, random=Random(seed + 1)),
            clock=self.clock,
            assumptions=Assumptions(),
            pacer=Pacer(self.clock),
        )
        self.view = View(
            client, self.clock, assumptions=Assumptions(), settings=ViewSettings(), queue=queue
        )
        self.went_back: list[str] = []
        self._statuses: dict[str, str] = {}
        self.view.subscribe(self._judge)
        self.ingest = (
            Ingest(self.view, Feed(self.live, random=Random(seed + 2)), self.clock)
            if queue
            else None
        )
        self.cluster = self.cloud.add_cluster("demo", now=self.live.now())
        self.cloud.add_definition("web", now=self.live.now())

    def _judge(self, touched: Touched) -> None:
        """No task's status may go back, ever."""
        for arn in touched.tasks:
            task = self.view.task(arn)
            if task is None:
                continue
            before = self._statuses.get(arn, LIFECYCLE[0])
            if LIFECYCLE.index(task.last_status) < LIFECYCLE.index(before):
                self.went_back.append(f"{arn}: {before} → {task.last_status}")
            self._statuses[arn] = task.last_status

    def disturb(self) -> None:
        """One thing happens to the cluster."""
        now = self.live.now()
        hosts = sorted(a for a, h in self.cloud.hosts.items() if not h.inactive and h.alive)
        tasks = sorted(a for a, t in self.cloud.tasks.items() if t.stopped_at is None)
        kind = self.random.random()
        if kind < 0.2 or len(hosts) < 3:
            self.cloud.add_host("demo", now=now)
        elif kind < 0.28:
            self.cloud.terminate_host(
                self.random.choice(hosts), now=now, agent_connected=self.random.random() < 0.7
            )
        elif kind < 0.33:
            self.cloud.duplicate_host(self.random.choice(hosts), now=now)
        elif kind < 0.4:
            self.cloud.drain_host(self.random.choice(hosts), now=now)
        elif kind < 0.8 or not tasks:
            self.cloud.start_foreign("demo", self.random.choice(hosts), "web", now=now)
        else:
            self.cloud.stop_foreign(self.random.choice(tasks), now=now)
        self.live.settle()

    def truth(self) -> tuple[dict[str, tuple[str, bool]], dict[str, tuple[str, str, str]]]:
        """What ECS has: hosts (status, agent) and live tasks (host, statuses)."""
        hosts = {
            arn: (host.status, host.agent_connected)
            for arn, host in self.cloud.hosts.items()
            if not host.inactive
        }
        tasks = {
            arn: (task.host, task.last_status, task.desired_status)
            for arn, task in self.cloud.tasks.items()
            if task.stopped_at is None
        }
        return hosts, tasks

    def believed(self) -> tuple[dict[str, tuple[str, bool]], dict[str, tuple[str, str, str]]]:
        """What the view has, through its indexes."""
        seen = {s.host.arn: s.host for s in self.view.hosts(self.cluster)}
        tasks = {
            task.arn: (task.host_arn, task.last_status, task.desired_status)
            for arn in {*seen, *self.cloud.hosts}
            for task in self.view.tasks_on(arn)
            if task.live
        }
        return {arn: (h.status, h.agent_connected) for arn, h in seen.items()}, tasks


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("queue", [True, False])
def test_after_the_faults_the_view_is_the_truth(seed: int, queue: bool) -> None:
    async def story() -> None:
        world = World(seed, queue=queue)
        await world.view.follow(world.cluster)
        ingesting = asyncio.create_task(world.ingest.run()) if world.ingest else None
        for _ in range(150):
            world.disturb()
            await asyncio.sleep(world.random.uniform(0.0, 40.0))
        world.cloud.faults = Faults.none()
        await asyncio.sleep(3 * V)
        hosts, tasks = world.truth()
        assert len(hosts) > 10
        assert len(tasks) >= 3
        assert world.believed() == (hosts, tasks)
        seen = world.view.cluster(world.cluster)
        assert seen is not None
        assert seen.primed
        assert seen.read_error is None
        assert world.went_back == []
        assert world.view.counters.sweeps_completed > 20
        if world.ingest is not None:
            assert world.view.counters.events_applied > 50
            assert world.ingest.rejected == ()
            await world.ingest.close()
        if ingesting is not None:
            ingesting.cancel()
        await world.view.close()
        world.live.close()

    loop.run(story())
