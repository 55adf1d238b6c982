"""The cluster-state-service in a world that means it ill: what it has, and what those have who
follow it, ends in the truth; nothing comes back from the dead, and versions only grow."""

import asyncio
import json
from random import Random

import pytest

from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.remote.port import PositionExpired
from blox.settings import Settings
from blox.simulator import loop
from blox.simulator.cloud import Cloud
from blox.simulator.faults import Faults
from blox.simulator.live import LiveCloud
from blox.simulator.model import TaskRecord
from blox.simulator.oracle_catalogue import Truth, shown
from blox.simulator.state_line import Line
from blox.simulator.state_process import Replica
from blox.simulator.state_service import StateServices

ADVERSE = Faults(
    unreachable=0.02,
    drop_answer=0.05,
    late_answer=0.02,
    error_before=0.05,
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
TURMOIL = 2400.0
V = Settings().assumptions.read_lag


def disturb(live: LiveCloud, random: Random) -> None:
    """One thing happens to the cluster."""
    cloud, now = live.cloud, live.now()
    hosts = sorted(a for a, h in cloud.hosts.items() if not h.inactive and h.alive)
    tasks = sorted(a for a, t in cloud.tasks.items() if t.stopped_at is None)
    kind = random.random()
    if kind < 0.2 or len(hosts) < 3:
        cloud.add_host("demo", now=now)
    elif kind < 0.28:
        connected = random.random() < 0.7
        cloud.terminate_host(random.choice(hosts), now=now, agent_connected=connected)
    elif kind < 0.33:
        cloud.duplicate_host(random.choice(hosts), now=now)
    elif kind < 0.4:
        cloud.drain_host(random.choice(hosts), now=now)
    elif kind < 0.8 or not tasks:
        cloud.start_foreign("demo", random.choice(hosts), "web", now=now)
    else:
        cloud.stop_foreign(random.choice(tasks), now=now)
    live.settle()


@pytest.mark.parametrize("seed", range(12))
def test_after_the_troubles_everybody_has_the_truth(seed: int) -> None:
    async def story() -> None:
        random = Random(seed)
        cloud = Cloud(seed, faults=ADVERSE)
        live = LiveCloud(cloud)
        cluster = cloud.add_cluster("demo", now=live.now())
        cloud.add_definition("web", now=live.now())
        services = StateServices(
            live, random=Random(seed), settings=Settings(), turmoil=TURMOIL, mirrors=2
        )
        await services.start()
        while asyncio.get_running_loop().time() < TURMOIL:
            disturb(live, random)
            await asyncio.sleep(random.uniform(0.0, 40.0))
        cloud.faults = Faults.none()
        await services.mend()
        await asyncio.sleep(3 * V)
        services.look()
        await asyncio.sleep(V)
        assert list(services.judge()) == []
        assert services.failure == ""
        truth = Truth.of(cloud, "demo")
        assert len(truth.hosts) > 3
        for replica in services.replicas:
            assert replica.run is not None
            assert shown(replica.run.catalogue, cluster) == truth
            seen = replica.run.view.cluster(cluster)
            assert seen is not None
            assert seen.primed
        await services.close()
        live.close()

    loop.run(story())


# --- By hand --------------------------------------------------------------------------------------


class Lone:
    """A cloud with one cluster and two hosts, and one service that follows it."""

    def __init__(self) -> None:
        self.live = LiveCloud(Cloud(1))
        self.cluster = self.cloud.add_cluster("demo", now=self.live.epoch)
        self.cloud.add_definition("web", now=self.live.epoch)
        self.hosts = [self.cloud.add_host("demo", now=self.live.epoch) for _ in range(2)]
        self.replica = Replica(self.live, "css", random=Random(1), settings=Settings(), queue=True)
        self.line = Line((self.replica,), random=Random(2))

    @property
    def cloud(self) -> Cloud:
        return self.live.cloud

    @property
    def catalogue(self) -> Catalogue:
        assert self.replica.run is not None
        return self.replica.run.catalogue

    def has(self, task: TaskRecord) -> bool:
        """Whether the service tells of a task as one that has not ended."""
        entity = self.catalogue.get("task", self.cluster, task.arn)
        return entity is not None and not entity.ended

    async def begin(self) -> None:
        """It runs, and has swept the cluster."""
        await self.replica.start()
        assert self.replica.run is not None
        await self.replica.run.view.follow(self.cluster)
        await asyncio.sleep(5.0)

    async def end(self) -> None:
        """Everything ends."""
        await self.replica.end()
        assert self.replica.failure is None
        self.live.close()

    def run_task(self) -> TaskRecord:
        """A task starts on the first host."""
        arn = self.cloud.start_foreign("demo", self.hosts[0], "web", now=self.live.now())
        self.live.settle()
        return self.cloud.tasks[arn]


def test_events_of_long_ago_put_nothing_back() -> None:
    """R7: the event of a task that has been forgotten comes two weeks late."""

    async def story() -> None:
        lone = Lone()
        held: list[bytes] = []
        assert lone.replica.feed is not None
        lone.live.subscribe(lambda events: held.extend(map(_as_sent, events)))
        await lone.begin()
        task = lone.run_task()
        await asyncio.sleep(10.0)
        assert lone.has(task)
        lone.cloud.stop_foreign(task.arn, now=lone.live.now())
        lone.live.settle()
        await asyncio.sleep(3 * 3600.0)
        assert lone.catalogue.get("task", lone.cluster, task.arn) is None
        assert len(held) >= 3
        for body in held:
            lone.replica.feed.inject(body)
        await asyncio.sleep(30.0)
        assert lone.catalogue.get("task", lone.cluster, task.arn) is None
        await lone.end()

    loop.run(story())


def _as_sent(event: object) -> bytes:
    return json.dumps(event).encode()


def test_what_one_read_does_not_show_stays() -> None:
    """R6: within V of its creation reads may show a task and then not."""

    async def story() -> None:
        lone = Lone()
        await lone.begin()
        lone.cloud.faults = Faults(flicker=0.9)
        task = lone.run_task()
        for _ in range(100):
            await asyncio.sleep(2.5)
            assert lone.has(task) or lone.live.now() < task.created_at + 30.0
        await lone.end()

    loop.run(story())


def test_who_saw_more_than_was_stored_lists_again() -> None:
    """A task comes, is told, and ends; the service dies before it has stored that, and its next run
    never hears of the task."""

    async def story() -> None:
        lone = Lone()
        await lone.begin()
        await asyncio.sleep(10.0)
        listing = await lone.line.listing(lone.cluster)
        stored = listing.position
        lone.replica.transport.partitioned = True
        assert lone.replica.feed is not None
        lone.replica.lose_writes()
        task = lone.run_task()
        while not lone.has(task):
            await asyncio.sleep(0.05)
        seen = (await lone.line.listing(lone.cluster)).position
        assert seen != stored
        await lone.replica.end()
        lone.replica.transport.partitioned = False
        await lone.replica.start()
        with pytest.raises(PositionExpired):
            await anext(lone.line.follow(lone.cluster, seen))
        position, _ = await anext(lone.line.follow(lone.cluster, stored))
        assert position.partition(".")[0] == stored.partition(".")[0]
        await lone.end()

    loop.run(story())


def test_versions_grow_over_every_kind_of_end() -> None:
    async def story() -> None:
        lone = Lone()
        await lone.begin()
        names, last = set(), 0
        for gently in (True, False, True, False):
            lone.run_task()
            await asyncio.sleep(20.0)
            name, _, digits = (await lone.line.listing(lone.cluster)).position.rpartition(".")
            names.add(name)
            assert int(digits) > last
            last = int(digits)
            await lone.replica.end(gently=gently)
            await lone.replica.start()
            assert lone.catalogue.last >= last
        assert len(names) == 1
        await lone.replica.end(copy_lost=True)
        await lone.replica.start()
        assert lone.catalogue.name not in names
        await lone.end()

    loop.run(story())
