"""Whatever the order and however often the accounts of a task come, one record is the result."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from blox.clusterstate.merge import Evidence, HostEntry, TaskEntry, merge_host, merge_task
from blox.ecs.model import LIFECYCLE, ContainerDocument, HostDocument, KeyValue, TaskDocument
from support.documents import CLUSTER, GROUP, PLAIN, host_arn, marked, task_arn

STATUSES = (*LIFECYCLE, "PAUSED", "FROZEN")
VERSIONS = st.integers(1, 5)
NEVER_TOLD = (-1, -math.inf)


def _task_truth(draw: st.DrawFn, fixed: dict[str, Any]) -> dict[str, Any]:
    """What holds at one version. Any status may follow any: ECS's mistakes must not matter."""
    return {
        **fixed,
        "last_status": draw(st.sampled_from(STATUSES)),
        "desired_status": draw(st.sampled_from(("RUNNING", "STOPPED"))),
        "started_at": draw(st.sampled_from((None, 1.0, 2.0))),
        "stopped_reason": draw(st.sampled_from((None, "one", "two"))),
        "containers": draw(st.sampled_from(((), (ContainerDocument(exit_code=1),)))),
    }


Account = tuple[dict[str, Any], Evidence]


@st.composite
def accounts(draw: st.DrawFn) -> list[Account]:
    """Accounts of one task, or of one host's worth of fields: each carries some of what holds at
    its version; no two reads begin at once."""
    fixed = {
        "group": draw(st.sampled_from((GROUP, "service:web"))),
        "started_by": "somebody",
        "container_instance_arn": host_arn(1),
        "created_at": 7.0,
    }
    ours = fixed["group"] == GROUP
    fixed["overrides"] = marked() if ours else PLAIN
    truths = {version: _task_truth(draw, fixed) for version in range(1, 6)}
    found: list[Account] = []
    for begun in range(draw(st.integers(1, 7))):
        version = draw(VERSIONS)
        names = draw(st.sets(st.sampled_from(sorted(truths[version]))))
        document = {name: truths[version][name] for name in sorted(names)}
        by_event = draw(st.booleans())
        if not by_event and draw(st.booleans()):
            document["health_status"] = draw(st.sampled_from(("HEALTHY", "UNKNOWN")))
        evidence = Evidence(
            cluster_arn=CLUSTER, received=50.0, begun=None if by_event else float(begun)
        )
        found.append(({**document, "version": version}, evidence))
    return found


def _told(order: list[Account]) -> TaskEntry:
    known: TaskEntry | None = None
    for fields, evidence in order:
        document = TaskDocument(task_arn=task_arn(1), **fields)
        known = merge_task(known, document, evidence, confirmation=10.0)
    assert known is not None
    return known


@given(accounts(), st.data())
def test_any_order_and_repetition_of_accounts_ends_in_one_record(
    found: list[Account], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(found), max_size=3))
    order = data.draw(st.permutations([*found, *again]))
    straight, shuffled = _told(found), _told(order)
    assert shuffled.task == straight.task
    assert (shuffled.begun, shuffled.lagging) == (straight.begun, straight.lagging)


def _rank(status: str) -> int:
    return LIFECYCLE.index(status if status in LIFECYCLE else "RUNNING")


@given(accounts())
def test_a_task_never_goes_back(found: list[Account]) -> None:
    known: TaskEntry | None = None
    for fields, evidence in found:
        document = TaskDocument(task_arn=task_arn(1), **fields)
        after = merge_task(known, document, evidence, confirmation=10.0)
        if known is not None and dict(known.lagging).get("last_status") != NEVER_TOLD:
            assert _rank(after.task.last_status) >= _rank(known.task.last_status)
        if known is not None:
            assert known.task.desired_status != "STOPPED" or after.task.desired_status == "STOPPED"
            assert known.task.live or not after.task.live
            assert after.task.version >= known.task.version
        known = after


@st.composite
def host_accounts(draw: st.DrawFn) -> list[Account]:
    found: list[Account] = []
    values: dict[str, st.SearchStrategy[Any]] = {
        "status": st.sampled_from(("ACTIVE", "DRAINING", "INACTIVE")),
        "agent_connected": st.booleans(),
        "registered_at": st.sampled_from((1.0, 2.0)),
        "ec2_instance_id": st.sampled_from(("i-1", "i-2")),
        "attributes": st.sampled_from(((), (KeyValue(name="a", value="1"),))),
    }
    truths = {
        version: {name: draw(value) for name, value in values.items()} for version in range(1, 6)
    }
    for begun in range(draw(st.integers(1, 7))):
        version = draw(VERSIONS)
        names = draw(st.sets(st.sampled_from(sorted(values))))
        by_event = draw(st.booleans())
        evidence = Evidence(
            cluster_arn=CLUSTER, received=50.0, begun=None if by_event else float(begun)
        )
        document = {name: truths[version][name] for name in sorted(names)}
        found.append(({**document, "version": version}, evidence))
    return found


@given(host_accounts(), st.data())
def test_any_order_of_accounts_of_a_host_ends_in_one_record(
    found: list[Account], data: st.DataObject
) -> None:
    def told(order: list[Account]) -> HostEntry:
        known: HostEntry | None = None
        for fields, evidence in order:
            document = HostDocument(container_instance_arn=host_arn(1), **fields)
            known = merge_host(known, document, evidence)
        assert known is not None
        return known

    assert told(data.draw(st.permutations(found))).host == told(found).host
