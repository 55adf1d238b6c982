"""Positions, and clusters by their names."""

import asyncio

import pytest

from blox.base.errors import InvalidInput
from blox.clusterstate.api.context import of_cluster
from blox.clusterstate.api.positions import Expired, position_of, version_at
from blox.clusterstate.catalogue import Catalogue
from blox.ecs.seen import ClusterSeen
from support.documents import CLUSTER, OTHER_CLUSTER, task_arn
from support.entities import TASK
from support.statestore import StateStore, by_events

ELSEWHERE = CLUSTER.replace("111122223333", "444455556666")


def catalogue(changes: int, *, floor: int = 0) -> Catalogue:
    made = Catalogue(name="abc", epoch="e")
    made.reserve(1000)
    made.log.begin_after(floor=floor, last=floor)
    for number in range(changes):
        made.cluster_changed(ClusterSeen(arn=CLUSTER, sweep=number))
    return made


def test_a_position_stands_for_the_version_that_it_was_made_from() -> None:
    known = catalogue(3)
    for version in range(4):
        assert version_at(known, position_of(known, version)) == version


@pytest.mark.parametrize("position", ["abd.2", "abc.4", "abc.999999999999999999", ".2"])
def test_another_numbering_and_what_is_to_come_cannot_be_followed_from(position: str) -> None:
    with pytest.raises(Expired):
        version_at(catalogue(3), position)


def test_what_is_no_longer_kept_cannot_be_followed_from() -> None:
    known = catalogue(3, floor=10)
    assert known.last == 13
    assert version_at(known, "abc.10") == 10
    with pytest.raises(Expired):
        version_at(known, "abc.9")


@pytest.mark.parametrize(
    "position", ["", "abc", "abc.", "abc.-1", "abc.1x", "abc.²", "abc." + "1" * 19]
)
def test_what_is_no_position_is_none(position: str) -> None:
    assert version_at(catalogue(3), position) is None


def named(store: StateStore, reference: str | None) -> tuple[str, ...] | None:
    return of_cluster(store.api, reference)


def test_clusters_are_found_by_name_and_arn_as_they_come_and_go() -> None:
    async def story() -> None:
        async with by_events(CLUSTER, OTHER_CLUSTER) as store:
            assert named(store, None) is None
            assert named(store, "demo") == named(store, CLUSTER) == (CLUSTER,)
            assert named(store, ELSEWHERE) == ()
            await store.view.follow(ELSEWHERE)
            assert named(store, "demo") == (CLUSTER, ELSEWHERE)
            assert store.api.clusters() == (CLUSTER, OTHER_CLUSTER, ELSEWHERE)
            store.view.unfollow(CLUSTER)
            assert named(store, "demo") == (ELSEWHERE,)
            assert named(store, CLUSTER) == ()
            with pytest.raises(InvalidInput, match="Invalid cluster ARN or name"):
                named(store, "a b")

    asyncio.run(story())


def test_a_status_that_ecs_has_since_is_known_while_something_has_it() -> None:
    async def scene() -> None:
        async with by_events(CLUSTER) as store:
            store.tell({**TASK, "lastStatus": "HIBERNATING"})
            assert store.api.words_told("task", "lastStatus") == {"HIBERNATING"}
            store.tell({**TASK, "lastStatus": "STOPPED", "version": 4})
            assert store.api.words_told("task", "lastStatus") == {"STOPPED"}
            assert store.api.words_told("instance", "status") == frozenset()

    asyncio.run(scene())


def test_members_are_told_from_behind_any_one_of_them() -> None:
    async def scene() -> None:
        async with by_events(CLUSTER, OTHER_CLUSTER) as store:
            for number in (1, 2, 3):
                for arn in (CLUSTER, OTHER_CLUSTER):
                    key = task_arn(number).replace("/demo/", f"/{arn.rpartition('/')[2]}/")
                    store.tell({**TASK, "taskArn": key, "clusterArn": arn})
            every = list(store.api.members("task", None))
            assert len(every) == 6
            for number, one in enumerate(every):
                after = (one.cluster_arn, one.key)
                assert list(store.api.members("task", None, after=after)) == every[number + 1 :]

    asyncio.run(scene())
