"""The catalogue: versions, deletions, what clusters show, and who is told."""

import asyncio
import itertools

import msgspec
from msgspec.structs import replace

from blox.clusterstate.catalogue import WAKE_EVERY, Catalogue
from blox.clusterstate.merge import Evidence
from blox.ecs.model import HostDocument
from blox.ecs.seen import ClusterSeen
from blox.ecs.wire import with_whole
from blox.simulator import loop
from support.copying import cluster_of, host_told, read_at, shown, task_told
from support.documents import CLUSTER, OTHER_CLUSTER, host_arn, task_arn

EVENT = Evidence(cluster_arn=CLUSTER, received=5.0)


def made() -> Catalogue:
    return Catalogue(name="n", epoch="e")


def test_each_visible_change_takes_one_version_and_nothing_else_does() -> None:
    catalogue = made()
    cluster = cluster_of(catalogue)
    cluster.read_tasks([task_told(1), task_told(2)], read_at(1.0))
    cluster.read_hosts([host_told(1)], read_at(1.0))
    assert catalogue.last == 3
    cluster.read_tasks([task_told(1), task_told(2)], read_at(2.0))
    assert catalogue.last == 3
    cluster.read_tasks([task_told(2, version=4, lastStatus="STOPPED")], EVENT)
    entity = catalogue.get("task", CLUSTER, task_arn(2))
    assert entity is not None
    assert (entity.version, entity.ended, entity.told_at, entity.read_at) == (4, True, 5.0, 1e9 + 1)
    assert [e.version for e in catalogue.log.after(0)] == [1, 3, 4]
    assert (catalogue.changed("task"), catalogue.changed("instance")) == (4, 3)
    assert catalogue.changed("task", OTHER_CLUSTER) == 0


def test_a_late_answer_does_not_turn_back_the_time_of_the_newest_read() -> None:
    catalogue = made()
    cluster = cluster_of(catalogue)
    cluster.read_tasks([task_told(1, version=4)], read_at(9.0))
    cluster.read_tasks([task_told(1, version=3, cpu="256")], read_at(2.0))
    entity = catalogue.get("task", CLUSTER, task_arn(1))
    assert entity is not None
    assert entity.text("cpu") == "256"
    assert entity.text("group") == "service:web"
    assert entity.text("version") == ""
    assert entity.read_at == 1e9 + 9.0


def test_everything_is_listed_in_order_whatever_came_and_went_meanwhile() -> None:
    catalogue = made()
    cluster = cluster_of(catalogue)
    for number in (5, 1, 9, 3):
        cluster.read_tasks([task_told(number)], read_at(1.0))
        listed = [entity.key for entity in catalogue.all_of("task", CLUSTER)]
        assert listed == sorted(shown(catalogue))
    catalogue.gone("task", CLUSTER, task_arn(3))
    catalogue.gone("task", CLUSTER, task_arn(4))
    listed = [entity.key for entity in catalogue.all_of("task", CLUSTER)]
    assert listed == [task_arn(1), task_arn(5), task_arn(9)]
    assert catalogue.count("task", CLUSTER) == 3
    assert catalogue.count("instance", CLUSTER) == 0


def test_what_is_gone_is_told_with_its_last_state_and_the_version_of_that() -> None:
    catalogue = made()
    cluster = cluster_of(catalogue)
    cluster.read_hosts([host_told(1)], read_at(1.0))
    catalogue.gone("instance", CLUSTER, host_arn(1))
    (entity,) = catalogue.log.after(0)
    assert (entity.version, entity.before, entity.deleted) == (2, 1, True)
    assert entity.text("status") == "ACTIVE"
    assert catalogue.get("instance", CLUSTER, host_arn(1)) is None
    cluster.read_hosts([host_told(1)], read_at(2.0))
    assert [(e.version, e.deleted) for e in catalogue.log.after(0)] == [(3, False)]


def test_a_forgotten_cluster_takes_everything_along() -> None:
    catalogue = made()
    catalogue.cluster_changed(ClusterSeen(arn=CLUSTER))
    catalogue.cluster_changed(ClusterSeen(arn=OTHER_CLUSTER))
    cluster_of(catalogue).read_tasks([task_told(1)], read_at(1.0))
    other = cluster_of(catalogue, OTHER_CLUSTER)
    other.read_tasks([task_told(1, OTHER_CLUSTER)], read_at(1.0, OTHER_CLUSTER))
    catalogue.cluster_forgotten(CLUSTER)
    assert catalogue.clusters == (OTHER_CLUSTER,)
    assert list(shown(catalogue)) == [task_arn(1, "other")]
    assert {e.key for e in catalogue.log.after(4)} == {CLUSTER, task_arn(1)}


def test_a_cluster_changes_with_what_is_shown_of_it_only() -> None:
    catalogue = made()
    seen = ClusterSeen(arn=CLUSTER)
    catalogue.cluster_changed(seen)
    catalogue.cluster_changed(replace(seen, absence_horizon=7.0))
    assert catalogue.last == 1
    entity = catalogue.cluster(CLUSTER)
    assert entity is not None
    assert entity.seen == replace(seen, absence_horizon=7.0)
    for number, change in enumerate(
        (
            replace(seen, primed=True, sweep=1, swept_at=3.0),
            replace(seen, primed=True, sweep=2, swept_at=4.0),
            replace(seen, read_error="no"),
            replace(seen, status="INACTIVE"),
        ),
        2,
    ):
        catalogue.cluster_changed(change)
        assert catalogue.last == number


def test_beyond_what_is_reserved_the_numbering_has_another_name() -> None:
    names = ((f"other {number}", 50 * number) for number in itertools.count())
    catalogue = Catalogue(name="first", epoch="e", rename=lambda: next(names))
    catalogue.reserve(2)
    cluster = cluster_of(catalogue)
    given = []
    for number in range(4):
        cluster.read_tasks([task_told(number)], read_at(1.0))
        given.append((catalogue.name, catalogue.last))
    assert given == [("first", 1), ("first", 2), ("other 0", 3), ("other 0", 4)]
    assert catalogue.versions_left > 1000
    catalogue.reserve(5)
    assert catalogue.versions_left == 1
    for number in range(4, 6):
        cluster.read_tasks([task_told(number)], read_at(1.0))
    assert (catalogue.name, catalogue.last) == ("other 1", 51)


def test_those_who_follow_are_woken_at_once_and_then_together() -> None:
    async def main() -> list[tuple[float, int]]:
        catalogue = made()
        cluster = cluster_of(catalogue)
        running = asyncio.get_running_loop()
        woken: list[tuple[float, int]] = []

        async def follow() -> None:
            after = 0
            while after < 6:
                await catalogue.news(after)
                after = catalogue.last
                woken.append((running.time(), after))

        following = asyncio.create_task(follow())
        await asyncio.sleep(1.0)
        for number in range(1, 6):
            cluster.read_tasks([task_told(number)], read_at(1.0))
            await asyncio.sleep(WAKE_EVERY / 10)
        await asyncio.sleep(1.0)
        cluster.read_tasks([task_told(6)], read_at(1.0))
        await following
        return woken

    woken = loop.run(main())
    assert woken[0] == (1.0, 1)
    assert [last for _, last in woken] == [1, 5, 6]
    assert woken[1][0] < 1.0 + 2 * WAKE_EVERY


def test_news_that_are_there_already_are_not_waited_for() -> None:
    async def main() -> None:
        catalogue = made()
        cluster_of(catalogue).read_tasks([task_told(1)], read_at(1.0))
        await catalogue.news(0)

    loop.run(main())


def test_the_status_of_a_host_is_what_the_record_says_even_where_nobody_told_one() -> None:
    catalogue = made()
    cluster = cluster_of(catalogue)
    sent = b'{"containerInstanceArn":"%b"}' % host_arn(1).encode()
    told = with_whole(msgspec.Raw(sent), HostDocument)
    cluster.read_hosts([told], read_at(1.0))
    entity = catalogue.get("instance", CLUSTER, host_arn(1))
    assert entity is not None
    assert entity.text("status") == "ACTIVE"
    cluster.read_hosts([host_told(1, status="DRAINING", version=6)], read_at(2.0))
    entity = catalogue.get("instance", CLUSTER, host_arn(1))
    assert entity is not None
    assert entity.text("status") == "DRAINING"
