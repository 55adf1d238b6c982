"""Whatever the order and however often accounts come, the same whole is the result."""

import math
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.merge import Evidence, Stamp
from blox.clusterstate.whole import NOTHING, Whole, members_of, merge_whole
from blox.ecs.model import LIFECYCLE
from support.copying import cluster_of, task_told
from support.documents import CLUSTER, task_arn

NAMES = ("a", "b", "c", "d", "startedAt", "tags")
Account = tuple[dict[str, Any], Stamp]


@st.composite
def accounts(draw: st.DrawFn) -> list[Account]:
    """Each carries some of what holds at its version; no two reads begin at once."""
    truths = {version: {name: draw(st.integers(0, 3)) for name in NAMES} for version in range(1, 5)}
    found: list[Account] = []
    for begun in range(draw(st.integers(1, 7))):
        version = draw(st.integers(1, 4))
        told = draw(st.sets(st.sampled_from(NAMES)))
        by_event = draw(st.booleans())
        members = {name: truths[version][name] for name in sorted(told)}
        found.append((members, (version, -math.inf if by_event else float(begun))))
    return found


def merged(order: list[Account]) -> Whole:
    known = NOTHING
    for members, stamp in order:
        told = members_of(msgspec.json.encode({**members, "version": stamp[0]}))
        known = merge_whole(known, told, stamp, {})
    return known


@given(accounts(), st.data())
def test_any_order_and_repetition_of_accounts_ends_in_one_whole(
    found: list[Account], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(found), max_size=3))
    assert merged(data.draw(st.permutations([*found, *again]))) == merged(found)


@given(accounts())
def test_each_member_holds_what_the_greatest_account_that_tells_it_says(
    found: list[Account],
) -> None:
    whole = merged(found)
    for name in NAMES:
        telling = [(stamp, members[name]) for members, stamp in found if name in members]
        if not telling:
            assert whole.get(name) is None
            continue
        _, value = max(telling, key=lambda pair: pair[0])
        assert msgspec.json.decode(whole.get(name) or b"") == value
    assert (whole.version, whole.begun) == max(stamp for _, stamp in found)


TOLD = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.sampled_from((None, 1.0, 2.0, 3.0)),
        st.sampled_from(LIFECYCLE),
        st.sampled_from(("RUNNING", "STOPPED")),
        st.sampled_from(("", "HEALTHY", "UNKNOWN")),
    ),
    min_size=1,
    max_size=8,
)


@given(TOLD)
def test_the_catalogue_shows_what_the_record_decided_and_each_visible_change_has_one_version(
    accounts: list[tuple[int, float | None, str, str, str]],
) -> None:
    catalogue = Catalogue(name="n", epoch="e")
    cluster = cluster_of(catalogue)
    shown: bytes | None = None
    for version, begun, last, desired, health in accounts:
        more = {"healthStatus": health} if health else {}
        document = task_told(1, version=version, lastStatus=last, desiredStatus=desired, **more)
        before = catalogue.last
        evidence = Evidence(cluster_arn=CLUSTER, received=9.0, begun=begun, ecs_time=begun)
        cluster.read_tasks([document], evidence)
        entity = catalogue.get("task", CLUSTER, task_arn(1))
        entry = cluster.records.task(task_arn(1))
        assert entity is not None
        assert entry is not None
        assert entity.text("lastStatus") == entry.task.last_status
        assert entity.text("desiredStatus") == entry.task.desired_status
        assert entity.ended == (not entry.task.live)
        after = entity.whole.json()
        assert catalogue.last == before + (after != shown)
        assert (entity.version == catalogue.last) or after == shown
        shown = after
