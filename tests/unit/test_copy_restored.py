"""What a view makes of a stored copy: unprimed until it is swept, and overruled by all that ECS
says."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence

from blox.base.clock import LoopClock
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.copy_reading import SLICE
from blox.clusterstate.view import View
from blox.ecs.model import STOPPED
from blox.ecs.seen import ClusterSeen
from blox.settings import Assumptions, ViewSettings
from blox.simulator import loop
from blox.store import keys
from blox.store.memory import MemoryData, MemoryStore
from support.copying import cluster_of, copy_of, entities, host_told, read_at, shown, task_told
from support.documents import CLUSTER, OTHER_CLUSTER, host_arn, task_arn
from support.scriptedecs import ScriptedEcs
from support.watching import V

HOUR = 3600.0
_seeds = itertools.count(1)


class Scene:
    """A process that has begun with what another stored, and what ECS shows it."""

    def __init__(self, data: MemoryData) -> None:
        self.clock = LoopClock()
        self.data = data
        self.ecs = ScriptedEcs(self.clock)
        self.copy = copy_of(MemoryStore(self.clock, data=data), self.clock, next(_seeds))

    async def begin(
        self, *, watched: Callable[[str], bool] = lambda _: True, named: Sequence[str] = ()
    ) -> None:
        self.catalogue = await self.copy.load()
        self.view = View(
            self.ecs,
            self.clock,
            assumptions=Assumptions(),
            settings=ViewSettings(),
            clusters=named,
            catalogue=self.catalogue,
        )
        await self.copy.restore(self.view, watched=watched)

    def consistent(self, cluster: str = CLUSTER) -> bool:
        """The view and the catalogue have the same tasks and hosts."""
        records = self.view._watched[cluster].cluster.records
        known = {e.task.arn for e in records.all_tasks()} | {
            e.host.arn for e in records.all_hosts()
        }
        return known == set(entities(self.catalogue))


def stored(tell: Callable[[Catalogue, float], None], *, away: float = 60.0) -> MemoryData:
    """A copy that was stored `away` seconds before the next process begins; `tell` is called 1,000
    seconds after its begin, with that time."""
    data = MemoryData()

    async def main() -> None:
        clock = LoopClock(epoch=LoopClock().epoch - away - 1000.0)
        await asyncio.sleep(1000.0)
        copy = copy_of(MemoryStore(clock, data=data), clock, next(_seeds))
        catalogue = await copy.load()
        tell(catalogue, clock.monotonic())
        await copy.close()

    loop.run(main())
    return data


def play(data: MemoryData, story: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        scene = Scene(data)
        try:
            await story(scene)
        finally:
            await scene.view.close()

    loop.run(main())


def test_it_is_served_unprimed_with_the_versions_of_before_until_it_is_swept() -> None:
    before: dict[str, tuple[int, bytes]] = {}

    def tell(catalogue: Catalogue, now: float) -> None:
        cluster = cluster_of(catalogue)
        cluster.read_hosts([host_told(1)], read_at(now))
        cluster.read_tasks([task_told(1)], read_at(now))
        before.update(shown(catalogue))

    async def story(scene: Scene) -> None:
        scene.ecs.put(host_told(1), task_told(1))
        await scene.begin()
        assert scene.view.clusters == (CLUSTER,)
        seen = scene.view.cluster(CLUSTER)
        assert seen is not None
        assert not seen.primed
        assert [task.arn for task in scene.view.tasks_on(host_arn(1))] == [task_arn(1)]
        assert scene.view.host(host_arn(1)) is not None
        assert shown(scene.catalogue) == before
        await asyncio.sleep(5.0)
        seen = scene.view.cluster(CLUSTER)
        assert seen is not None
        assert seen.primed
        assert shown(scene.catalogue) == before
        assert scene.consistent()

    play(stored(tell), story)


def test_what_is_gone_does_not_outlive_the_first_sweep() -> None:
    def tell(catalogue: Catalogue, now: float) -> None:
        cluster = cluster_of(catalogue)
        cluster.read_hosts([host_told(1), host_told(2)], read_at(now))
        cluster.read_tasks([task_told(1), task_told(2)], read_at(now))

    async def story(scene: Scene) -> None:
        scene.ecs.put(host_told(1), task_told(1))
        await scene.begin()
        assert set(shown(scene.catalogue)) > {task_arn(2), host_arn(2)}
        await asyncio.sleep(5.0)
        assert set(shown(scene.catalogue)) == {task_arn(1), host_arn(1)}
        assert scene.consistent()

    play(stored(tell, away=V + 1), story)


def test_what_ecs_told_of_just_now_is_not_gone_because_one_read_lacks_it() -> None:
    def tell(catalogue: Catalogue, now: float) -> None:
        cluster_of(catalogue).read_tasks([task_told(1)], read_at(now))

    async def story(scene: Scene) -> None:
        await scene.begin()
        await asyncio.sleep(5.0)
        assert set(shown(scene.catalogue)) == {task_arn(1)}
        await asyncio.sleep(V + 60.0)
        assert shown(scene.catalogue) == {}
        assert scene.consistent()

    # This machine's clock was set back by an hour meanwhile: then it was just now, at most.
    play(stored(tell, away=-HOUR), story)


def test_every_account_of_this_run_overrules_what_was_stored() -> None:
    def tell(catalogue: Catalogue, now: float) -> None:
        told = task_told(1, version=4, lastStatus="RUNNING", healthStatus="HEALTHY")
        cluster_of(catalogue).read_tasks([told], read_at(now))

    async def story(scene: Scene) -> None:
        scene.ecs.put(task_told(1, version=4, lastStatus="RUNNING", healthStatus="UNKNOWN"))
        await scene.begin()
        entity = entities(scene.catalogue)[task_arn(1)]
        assert entity.text("healthStatus") == "HEALTHY"
        await asyncio.sleep(5.0)
        after = entities(scene.catalogue)[task_arn(1)]
        assert after.text("healthStatus") == "UNKNOWN"
        assert after.version > entity.version
        task = scene.view.task(task_arn(1))
        assert task is not None
        assert task.health == "UNKNOWN"

    play(stored(tell), story)


def test_ended_tasks_are_kept_for_as_long_as_without_a_restart() -> None:
    def tell(catalogue: Catalogue, now: float) -> None:
        cluster = cluster_of(catalogue)
        ended = task_told(1, lastStatus=STOPPED, desiredStatus=STOPPED)
        cluster.read_tasks([ended], read_at(now))

    async def story(scene: Scene) -> None:
        await scene.begin()
        assert entities(scene.catalogue)[task_arn(1)].ended
        await asyncio.sleep(HOUR / 2 - 60.0)
        assert task_arn(1) in shown(scene.catalogue)
        await asyncio.sleep(120.0)
        assert shown(scene.catalogue) == {}
        assert scene.consistent()

    play(stored(tell, away=HOUR / 2), story)


def test_live_tasks_of_a_host_that_has_long_left_are_gone_at_once() -> None:
    def tell(catalogue: Catalogue, now: float) -> None:
        inactive = host_told(1, status="INACTIVE")
        cluster_of(catalogue).read_hosts([inactive], read_at(now - V - 5.0))
        # A view that knew the host would not have let it in.
        cluster_of(catalogue).read_tasks([task_told(1)], read_at(now))

    async def story(scene: Scene) -> None:
        await scene.begin()
        assert set(shown(scene.catalogue)) == {host_arn(1)}
        assert scene.consistent()

    play(stored(tell), story)


def test_a_large_cluster_is_not_read_before_all_of_it_is_back() -> None:
    count = 2 * SLICE + 1

    def tell(catalogue: Catalogue, now: float) -> None:
        cluster = cluster_of(catalogue)
        cluster.read_hosts([host_told(1)], read_at(now))
        cluster.read_tasks([task_told(number) for number in range(count)], read_at(now))

    async def story(scene: Scene) -> None:
        beginning = asyncio.create_task(scene.begin())
        while not beginning.done():
            assert scene.ecs.calls == []
            await asyncio.sleep(0)
        await beginning
        assert len(shown(scene.catalogue)) == count + 1
        assert scene.consistent()
        await asyncio.sleep(1.0)
        assert scene.ecs.asked("ListTasks")

    play(stored(tell), story)


def test_clusters_that_are_empty_come_back_and_those_that_are_not_watched_any_more_do_not() -> None:
    third = OTHER_CLUSTER.replace("other", "third")

    def tell(catalogue: Catalogue, now: float) -> None:
        view_of(catalogue)
        cluster_of(catalogue).read_tasks([task_told(1)], read_at(now))
        other = cluster_of(catalogue, OTHER_CLUSTER)
        other.read_tasks([task_told(1, OTHER_CLUSTER)], read_at(now, OTHER_CLUSTER))

    def view_of(catalogue: Catalogue) -> None:
        for arn in (CLUSTER, OTHER_CLUSTER, third):
            catalogue.cluster_changed(cluster_of(catalogue, arn).seen)

    async def story(scene: Scene) -> None:
        await scene.begin(watched=lambda arn: arn != OTHER_CLUSTER)
        assert scene.view.clusters == (CLUSTER, third)
        assert list(shown(scene.catalogue)) == [task_arn(1)]
        await scene.copy._round()
        stored_keys = [key for key in scene.data.records if key.startswith(keys.STATE_CLUSTERS)]
        assert sorted(stored_keys) == [keys.state_cluster(CLUSTER), keys.state_cluster(third)]
        assert not any("other" in key for key in scene.data.records)

    play(stored(tell), story)


def test_reads_of_a_cluster_that_is_let_go_of_leave_nothing_behind() -> None:
    async def main() -> None:
        scene = Scene(MemoryData())
        scene.ecs.put(host_told(1), task_told(1))
        await scene.begin()
        await scene.view.follow(CLUSTER)
        await asyncio.sleep(5.0)
        scene.view.recheck(host_arn(1))
        await asyncio.sleep(0)
        scene.ecs.put(host_told(1, version=9))
        scene.view.unfollow(CLUSTER)
        await asyncio.sleep(5.0)
        assert scene.catalogue.clusters == ()
        assert shown(scene.catalogue) == {}
        await scene.view.close()

    loop.run(main())


ELSEWHERE = "arn:aws:ecs:eu-west-1:999988887777:cluster/demo"


def elsewhere(catalogue: Catalogue, now: float) -> None:
    """A cluster of the same name in another account was watched."""
    catalogue.cluster_changed(ClusterSeen(arn=ELSEWHERE))
    cluster_of(catalogue, ELSEWHERE).read_hosts([host_told(9, ELSEWHERE)], read_at(now, ELSEWHERE))


def test_a_named_cluster_is_the_one_of_this_account_and_its_namesake_is_forgotten() -> None:
    async def story(scene: Scene) -> None:
        scene.ecs.put(host_told(1), task_told(1))
        await scene.begin(named=("demo",))
        assert scene.view.clusters == (ELSEWHERE,)
        running = asyncio.create_task(scene.view.run())
        await asyncio.sleep(5.0)
        assert scene.view.clusters == scene.catalogue.clusters == (CLUSTER,)
        seen = scene.view.cluster(CLUSTER)
        assert seen is not None
        assert seen.primed
        assert set(shown(scene.catalogue)) == {task_arn(1), host_arn(1)}
        running.cancel()
        await asyncio.wait([running])

    play(stored(elsewhere), story)


def test_a_namesake_that_is_named_itself_is_kept() -> None:
    async def story(scene: Scene) -> None:
        scene.ecs.clusters[ELSEWHERE] = "ACTIVE"
        await scene.begin(named=(ELSEWHERE, "demo"))
        running = asyncio.create_task(scene.view.run())
        await asyncio.sleep(5.0)
        assert set(scene.view.clusters) == {CLUSTER, ELSEWHERE}
        running.cancel()
        await asyncio.wait([running])

    play(stored(elsewhere), story)
