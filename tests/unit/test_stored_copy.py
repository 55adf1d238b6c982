"""The stored copy: when it writes, what it promises who waits, and what a start makes of it."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from blox.base.clock import LoopClock
from blox.base.errors import Conflict
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.copy import LAST_RETRY
from blox.ecs.seen import ClusterSeen
from blox.simulator import loop
from blox.store import keys
from blox.store.errors import StoreRefused, StoreUnavailable, StoreUnknown
from blox.store.memory import MemoryData, MemoryStore
from blox.store.port import Delete, Put
from support.copying import cluster_of, copy_of, host_told, read_at, shown, task_told
from support.documents import CLUSTER, OTHER_CLUSTER, PREFIX, host_arn, task_arn


class Disk:
    """Faults of the store: refuses or leaves open what writes while `error` says so."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.lost = False
        """The error comes after everything was applied."""
        self.writes: list[float] = []
        """When each transaction came."""

    def before(self, operation: str, /) -> None:
        if operation == "transact":
            self.writes.append(asyncio.get_running_loop().time())
            if self.error is not None and not self.lost:
                raise self.error

    def after(self, operation: str, /) -> None:
        if operation == "transact" and self.error is not None and self.lost:
            raise self.error


_seeds = itertools.count()


class Scene:
    """A process with a catalogue and a copy that is running."""

    def __init__(self, data: MemoryData, *, epoch: float = 0.0) -> None:
        """`epoch`: the wall clock at the begin. At 0, a new numbering begins at 0."""
        self.clock = LoopClock(epoch=epoch)
        self.disk = Disk()
        self.data = data
        self.store = MemoryStore(self.clock, faults=self.disk, data=data)
        self.copy = copy_of(self.store, self.clock, next(_seeds))
        self.catalogue = Catalogue(name="", epoch="")

    async def begin(self) -> "asyncio.Task[None]":
        self.catalogue = await self.copy.load()
        self.cluster = cluster_of(self.catalogue)
        self.disk.writes.clear()
        return asyncio.create_task(self.copy.run())

    def tell(self, number: int = 1, **members: Any) -> None:
        self.cluster.read_tasks([task_told(number, **members)], read_at(self.clock.monotonic()))

    def stored(self) -> dict[str, int]:
        """The tasks and hosts in the store, and the version of each."""
        found = {}
        for key, record in self.data.records.items():
            if key.startswith((keys.STATE_TASKS, keys.STATE_INSTANCES)):
                value = msgspec.json.decode(record.value)["value"]
                found[value["arn"]] = value["version"]
        return found


def play(
    story: Callable[[Scene], Awaitable[None]],
    data: MemoryData | None = None,
    *,
    epoch: float = 0.0,
) -> Scene:
    async def main() -> Scene:
        scene = Scene(MemoryData() if data is None else data, epoch=epoch)
        running = await scene.begin()
        try:
            await story(scene)
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.wait([running])
        return scene

    return loop.run(main())


# --- Writing --------------------------------------------------------------------------------------


def test_what_changes_is_stored_at_once_and_then_once_a_second_at_most() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(10.0)
        begun = scene.clock.monotonic()
        for version in range(3, 103):
            scene.tell(version=version)
            await asyncio.sleep(0.05)
        await asyncio.sleep(3.0)
        assert scene.disk.writes[0] - begun < 0.02
        gaps = [b - a for a, b in zip(scene.disk.writes, scene.disk.writes[1:], strict=False)]
        assert min(gaps) >= 1.0
        assert len(scene.disk.writes) == 6
        assert scene.stored() == {task_arn(1): 100}
        assert (scene.copy.stored, scene.copy.problem) == (100, None)

    play(story)


def test_nothing_is_written_while_nothing_changes() -> None:
    async def story(scene: Scene) -> None:
        scene.tell()
        await asyncio.sleep(2.0)
        written = len(scene.disk.writes)
        scene.cluster.read_tasks([task_told()], read_at(50.0))
        await asyncio.sleep(3600.0)
        assert len(scene.disk.writes) == written

    play(story)


def test_how_a_cluster_is_known_is_not_written_again_and_again() -> None:
    async def story(scene: Scene) -> None:
        for sweep in range(100):
            scene.catalogue.cluster_changed(ClusterSeen(arn=CLUSTER, sweep=sweep))
            await asyncio.sleep(10.0)
        assert len(scene.disk.writes) == 1
        assert scene.copy.stored == scene.catalogue.last
        scene.catalogue.cluster_forgotten(CLUSTER)
        await asyncio.sleep(2.0)
        assert keys.state_cluster(CLUSTER) not in scene.data.records

    play(story)


def test_many_changes_are_written_in_transactions_of_a_bounded_size() -> None:
    sizes = []

    class Counting(MemoryStore):
        async def transact(self, compares, writes):  # type: ignore[no-untyped-def]
            sizes.append(len(writes))
            return await super().transact(compares, writes)

    async def main() -> None:
        clock = LoopClock()
        copy = copy_of(Counting(clock), clock)
        catalogue = await copy.load()
        cluster = cluster_of(catalogue)
        for number in range(1000):
            cluster.read_tasks([task_told(number, cpu="x" * 8000)], read_at(1.0))
        await copy._round()
        assert sum(sizes) >= 1000
        assert max(sizes) <= 1_000_000 // 8000 + 3
        sizes.clear()
        for number in range(1000):
            catalogue.gone("task", CLUSTER, task_arn(number))
        await copy._round()
        assert sizes == [257, 257, 257, 233]

    loop.run(main())


def test_a_name_that_no_store_takes_is_stored_all_the_same() -> None:
    async def story(scene: Scene) -> None:
        arn = f"{task_arn(1)}\0"
        scene.tell(taskArn=arn)
        await scene.copy.settled()
        assert scene.stored() == {arn: 1}
        assert (await copy_of(scene.store, scene.clock, 99).load()).get("task", CLUSTER, arn)

    play(story)


# --- Those who wait -------------------------------------------------------------------------------


def test_settled_returns_when_everything_until_then_is_durable_and_one_round_serves_all() -> None:
    async def story(scene: Scene) -> None:
        await scene.copy.settled()
        assert scene.disk.writes == []
        scene.tell(1)
        waiting = [asyncio.create_task(scene.copy.settled()) for _ in range(50)]
        await asyncio.wait(waiting)
        assert scene.stored() == {task_arn(1): 1}
        assert len(scene.disk.writes) == 1
        scene.tell(2)
        scene.tell(3)
        early = asyncio.create_task(scene.copy.settled())
        await early
        assert set(scene.stored()) == {task_arn(1), task_arn(2), task_arn(3)}

    play(story)


def test_who_asks_while_everything_is_being_written_waits_for_that_only() -> None:
    async def story(scene: Scene) -> None:
        scene.tell(1)
        first = asyncio.create_task(scene.copy.settled())
        while not scene.disk.writes:
            await asyncio.sleep(0)
        second = asyncio.create_task(scene.copy.settled())
        await asyncio.wait([first])
        begun = scene.clock.monotonic()
        await second
        assert scene.clock.monotonic() == begun
        assert len(scene.disk.writes) == 1

    play(story)


def test_who_waits_learns_that_it_failed_and_may_ask_again() -> None:
    async def story(scene: Scene) -> None:
        scene.disk.error = StoreUnavailable("The disk is full.")
        scene.tell(1)
        waiting = [asyncio.create_task(scene.copy.settled()) for _ in range(3)]
        await asyncio.wait(waiting)
        errors = [task.exception() for task in waiting]
        assert {str(error) for error in errors} == {"The disk is full."}
        assert len({id(error) for error in errors}) == 3
        assert scene.copy.problem == "The copy of ECS is not being stored: The disk is full."
        assert scene.copy.stored == 0
        again = asyncio.create_task(scene.copy.settled())
        scene.disk.error = None
        await again
        assert scene.copy.problem is None
        assert scene.stored() == {task_arn(1): 1}

    play(story)


def test_who_no_longer_waits_is_not_told() -> None:
    async def story(scene: Scene) -> None:
        scene.disk.error = StoreUnavailable("The disk is full.")
        scene.tell(1)
        waiting = asyncio.create_task(scene.copy.settled())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await asyncio.sleep(5.0)
        assert waiting.cancelled()

    play(story)


def test_a_store_that_fails_is_tried_again_more_and_more_rarely() -> None:
    async def story(scene: Scene) -> None:
        scene.disk.error = StoreUnavailable("no")
        scene.tell(1)
        await asyncio.sleep(100.0)
        waits = [b - a for a, b in zip(scene.disk.writes, scene.disk.writes[1:], strict=False)]
        assert waits == pytest.approx([1, 2, 4, 8, *[LAST_RETRY] * (len(waits) - 4)])
        assert len(waits) > 5

    play(story)


@pytest.mark.parametrize("lost", [False, True])
def test_a_transaction_in_doubt_is_looked_up_and_nothing_is_lost(lost: bool) -> None:
    async def story(scene: Scene) -> None:
        scene.disk.error, scene.disk.lost = StoreUnknown("Perhaps."), lost
        scene.tell(1)
        await asyncio.sleep(2.5)
        assert scene.copy.problem is not None
        assert (scene.stored() == {task_arn(1): 1}) is lost
        scene.disk.error = None
        await scene.copy.settled()
        assert scene.copy.problem is None
        assert scene.stored() == {task_arn(1): 1}

    play(story)


def test_a_copy_that_somebody_else_writes_is_left_alone() -> None:
    async def story(scene: Scene) -> None:
        other = copy_of(MemoryStore(scene.clock, data=scene.data), scene.clock, seed=99)
        await other.load()
        scene.tell(1)
        with pytest.raises(Conflict, match="Another process writes this copy"):
            await scene.copy.settled()
        await asyncio.sleep(100.0)
        assert scene.stored() == {}
        assert "store of its own" in (scene.copy.problem or "")

    play(story)


# --- Deletions ------------------------------------------------------------------------------------


def test_what_is_deleted_goes_even_when_the_log_has_forgotten_that_it_was() -> None:
    async def story(scene: Scene) -> None:
        for number in range(300):
            scene.tell(number)
        scene.catalogue.cluster_changed(ClusterSeen(arn=OTHER_CLUSTER))
        await scene.copy.settled()
        assert len(scene.stored()) == 300
        scene.catalogue.log._kept = 5
        for number in range(100, 300):
            scene.catalogue.gone("task", CLUSTER, task_arn(number))
        scene.catalogue.cluster_forgotten(OTHER_CLUSTER)
        for number in range(300, 310):
            scene.tell(number)
            scene.catalogue.gone("task", CLUSTER, task_arn(number))
        await scene.copy.settled()
        assert set(scene.stored()) == {task_arn(number) for number in range(100)}
        assert keys.state_cluster(OTHER_CLUSTER) not in scene.data.records

    play(story)


def test_what_is_told_and_gone_before_it_is_written_never_is() -> None:
    async def story(scene: Scene) -> None:
        scene.tell(1)
        scene.catalogue.gone("task", CLUSTER, task_arn(1))
        await scene.copy.settled()
        assert scene.stored() == {}

    play(story)


# --- The next start -------------------------------------------------------------------------------


def test_after_a_graceful_end_the_versions_go_on_where_they_were() -> None:
    async def story(scene: Scene) -> None:
        scene.tell(1)
        scene.tell(2)
        scene.catalogue.gone("task", CLUSTER, task_arn(2))
        await scene.copy.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await scene.copy.settled()

    async def again(scene: Scene) -> None:
        assert scene.catalogue.name == first.catalogue.name
        assert scene.catalogue.last == 3
        assert shown(scene.catalogue) == shown(first.catalogue)
        assert [version for version in range(9) if scene.catalogue.log.holds(version)] == [3]
        scene.tell(3)
        assert scene.catalogue.last == 4

    first = play(story)
    play(again, first.data)


def test_after_a_crash_the_versions_go_on_above_what_was_reserved() -> None:
    async def story(scene: Scene) -> None:
        scene.tell(1)
        await scene.copy.settled()
        scene.tell(2)
        scene.store.cut()

    async def again(scene: Scene) -> None:
        assert scene.catalogue.name == first.catalogue.name
        assert scene.catalogue.epoch != first.catalogue.epoch
        assert list(shown(scene.catalogue)) == [task_arn(1)]
        began = scene.catalogue.last
        assert began > 1_000_000
        held = [v for v in (0, 1, 2, 3, began - 1, began) if scene.catalogue.log.holds(v)]
        assert held == [1, began]
        assert scene.catalogue.changed("task", CLUSTER) == began

    first = play(story)
    play(again, first.data)


def test_another_store_has_another_name() -> None:
    async def main() -> None:
        clock = LoopClock()
        names = {(await copy_of(MemoryStore(clock), clock, seed).load()).name for seed in range(20)}
        assert len(names) == 20
        assert all(name.isalnum() and name == name.lower() for name in names)

    loop.run(main())


def test_versions_are_reserved_long_before_they_are_needed() -> None:
    async def main() -> None:
        clock = LoopClock()
        data = MemoryData()
        copy = copy_of(MemoryStore(clock, data=data), clock, block=100)
        catalogue = await copy.load()
        cluster = cluster_of(catalogue)
        name = catalogue.name
        for number in range(1000):
            cluster.read_tasks([task_told(1, version=number)], read_at(1.0))
            if number % 40 == 0:
                await copy._round()
                assert catalogue.versions_left >= 50
        for sweep in range(60):
            catalogue.cluster_changed(ClusterSeen(arn=CLUSTER, sweep=sweep))
        await copy._round()
        assert catalogue.versions_left >= 50
        assert catalogue.name == name

    loop.run(main())


def test_a_store_that_takes_no_writes_for_too_long_costs_the_name_and_nothing_else() -> None:
    async def main() -> None:
        clock = LoopClock(epoch=1.0)
        data, disk = MemoryData(), Disk()
        copy = copy_of(MemoryStore(clock, data=data, faults=disk), clock, block=10)
        catalogue = await copy.load()
        first = catalogue.name
        disk.error = StoreUnavailable("no")
        cluster = cluster_of(catalogue)
        for number in range(25):
            cluster.read_tasks([task_told(number)], read_at(1.0))
        other = catalogue.name
        assert other != first
        assert catalogue.last == 1025
        killed = await copy_of(MemoryStore(clock, data=data), clock, 2, block=10).load()
        assert (killed.name, killed.last) == (first, 1011)

    loop.run(main())


def test_the_new_name_is_stored_with_the_next_write() -> None:
    async def main() -> None:
        clock = LoopClock()
        data, disk = MemoryData(), Disk()
        copy = copy_of(MemoryStore(clock, data=data, faults=disk), clock, block=10)
        catalogue = await copy.load()
        disk.error = StoreUnavailable("no")
        cluster = cluster_of(catalogue)
        for number in range(25):
            cluster.read_tasks([task_told(number)], read_at(1.0))
        disk.error = None
        await copy._round()
        assert 5 <= catalogue.versions_left <= 10
        name, last = catalogue.name, catalogue.last
        again = await copy_of(MemoryStore(clock, data=data), clock, 2, block=10).load()
        assert again.name == name
        assert again.last > last

    loop.run(main())


def test_a_record_of_a_newer_version_is_refused_and_nothing_is_touched() -> None:
    async def main() -> None:
        clock = LoopClock()
        data = MemoryData()
        store = MemoryStore(clock, data=data)
        await copy_of(store, clock).load()
        key = keys.state_entity(keys.STATE_TASKS, task_arn(1))
        newer = b'{"format":9,"kind":"state-task","value":{}}'
        await store.transact([], [Put(key, newer)])
        with pytest.raises(StoreRefused, match="Start the newer version"):
            await copy_of(store, clock, 2).load()
        assert data.records[key].value == newer

    loop.run(main())


def test_what_is_there_without_a_numbering_is_removed() -> None:
    async def story(scene: Scene) -> None:
        scene.tell(1)
        scene.cluster.read_hosts([host_told(1)], read_at(1.0))
        await scene.copy.settled()
        await scene.store.transact([], [Delete(keys.STATE_NUMBERING)])

    async def again(scene: Scene) -> None:
        assert shown(scene.catalogue) == {}
        scene.cluster.read_hosts([host_told(2)], read_at(1.0))
        await scene.copy.settled()
        assert set(scene.stored()) == {host_arn(2)}

    play(again, play(story).data)


def test_a_start_that_cannot_write_may_be_tried_again() -> None:
    async def main() -> None:
        clock = LoopClock()
        disk = Disk()
        copy = copy_of(MemoryStore(clock, faults=disk), clock)
        for error, lost in ((StoreUnavailable("no"), False), (StoreUnknown("hm"), True)):
            disk.error, disk.lost = error, lost
            with pytest.raises(type(error)):
                await copy.load()
        disk.error = None
        catalogue = await copy.load()
        cluster_of(catalogue).read_tasks([task_told(1)], read_at(1.0))
        await copy._round()

    loop.run(main())


def test_a_number_of_a_store_that_was_lost_is_refused_by_the_next_one() -> None:
    async def story(scene: Scene) -> None:
        for number in range(5000):
            scene.tell(number)
        await asyncio.sleep(60.0)

    async def again(scene: Scene) -> None:
        for number in range(9000):
            scene.tell(number)
        lost = range(first.catalogue.log.began, first.catalogue.last + 1)
        assert not [version for version in lost if scene.catalogue.log.holds(version)]

    first = play(story)
    play(again, epoch=120.0)


def test_a_run_goes_on_above_what_one_gave_out_under_a_name_that_was_never_stored() -> None:
    async def main() -> None:
        clock = LoopClock()
        data, disk = MemoryData(), Disk()
        copy = copy_of(MemoryStore(clock, data=data, faults=disk), clock, block=10)
        renamed = await copy.load()
        disk.error = StoreUnavailable("no")
        await asyncio.sleep(60.0)
        cluster = cluster_of(renamed)
        for number in range(2000):
            cluster.read_tasks([task_told(number)], read_at(1.0))
        await asyncio.sleep(60.0)
        killed = await copy_of(MemoryStore(clock, data=data), clock, 2, block=10).load()
        assert killed.name != renamed.name
        assert killed.last > renamed.last
        assert not killed.log.holds(renamed.last)

    loop.run(main())


def test_two_clusters_may_be_told_to_have_the_same_task_of_the_old_format() -> None:
    old = f"{PREFIX}:task/0123"
    both = [CLUSTER, OTHER_CLUSTER]

    async def story(scene: Scene) -> None:
        for cluster in both:
            cluster_of(scene.catalogue, cluster).read_tasks(
                [task_told(1, cluster, taskArn=old)], read_at(1.0, cluster)
            )
        assert [entity.cluster_arn for entity in scene.catalogue.log.after(0)] == both
        await scene.copy.settled()

    async def again(scene: Scene) -> None:
        for cluster in both:
            assert scene.catalogue.get("task", cluster, old) is not None
        scene.catalogue.gone("task", CLUSTER, old)
        assert [e.deleted for e in scene.catalogue.log.after(0) if e.key == old] == [False, True]

    play(again, play(story).data)
