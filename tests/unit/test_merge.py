"""How accounts of one task or host become one record (R15)."""

from typing import Any

import msgspec
import pytest

from blox.clusterstate.merge import (
    Evidence,
    HostEntry,
    TaskEntry,
    merge_host,
    merge_task,
    presumed_task,
)
from blox.ecs.model import (
    ContainerDocument,
    HostDocument,
    KeyValue,
    Overrides,
    ResourceDocument,
    TaskDocument,
    VersionInfo,
)
from blox.ecs.seen import Presumed
from support.documents import (
    CLUSTER,
    INTENT,
    PLAIN,
    STARTED_BY,
    foreign,
    host,
    host_arn,
    marked,
    task,
    task_arn,
)


def event(received: float = 100.0) -> Evidence:
    return Evidence(cluster_arn=CLUSTER, received=received)


def read(begun: float = 100.0) -> Evidence:
    return Evidence(cluster_arn=CLUSTER, received=begun + 1.0, begun=begun)


def told(*accounts: tuple[TaskDocument, Evidence]) -> TaskEntry:
    """What is known after these accounts, in this order."""
    known: TaskEntry | None = None
    for document, evidence in accounts:
        known = merge_task(known, document, evidence, confirmation=10.0)
    assert known is not None
    return known


def hosts_told(*accounts: tuple[HostDocument, Evidence]) -> HostEntry:
    known: HostEntry | None = None
    for document, evidence in accounts:
        known = merge_host(known, document, evidence)
    assert known is not None
    return known


# --- Which account wins ---------------------------------------------------------------------------


def test_a_read_is_remembered_field_by_field() -> None:
    known = told(
        (
            task(
                created_at=10.0,
                started_at=12.0,
                health_status="HEALTHY",
                containers=(
                    ContainerDocument(name="a"),
                    ContainerDocument(name="b", exit_code=3),
                    ContainerDocument(name="c", exit_code=0),
                ),
            ),
            read(),
        )
    ).task
    assert (known.arn, known.cluster_arn, known.host_arn) == (task_arn(1), CLUSTER, host_arn(1))
    assert (known.last_status, known.desired_status, known.version) == ("RUNNING", "RUNNING", 3)
    assert (known.started_by, known.group) == (STARTED_BY, "blox:agent")
    assert (known.created_at, known.started_at, known.stopped_at) == (10.0, 12.0, None)
    assert (known.health, known.intent, known.exit_code) == ("HEALTHY", INTENT, 3)


def test_the_higher_version_wins_whichever_comes_first() -> None:
    old = (task(version=4, stopped_reason="old"), read(200.0))
    new = (task(version=5, stopped_reason="new"), event())
    assert told(old, new).task.stopped_reason == "new"
    assert told(new, old).task.stopped_reason == "new"
    assert told(new, old).task.version == 5


def test_at_equal_version_the_read_that_began_later_wins() -> None:
    early = (task(stopped_reason="early"), read(100.0))
    late = (task(stopped_reason="late"), read(101.0))
    assert told(early, late).task.stopped_reason == "late"
    assert told(late, early).task.stopped_reason == "late"


def test_an_event_never_beats_equality_and_any_read_of_equal_version_beats_it() -> None:
    by_event = (task(stopped_reason="event"), event(received=900.0))
    by_read = (task(stopped_reason="read"), read(1.0))
    assert told(by_read, by_event).task.stopped_reason == "read"
    assert told(by_event, by_read).task.stopped_reason == "read"
    assert told(by_event, (task(stopped_reason="again"), event())).task.stopped_reason == "event"


def test_a_source_overwrites_only_what_it_carries() -> None:
    full = (task(health_status="HEALTHY", created_at=10.0), read())
    bare = (TaskDocument(task_arn=task_arn(1), version=9, last_status="STOPPED"), event())
    for known in (told(full, bare).task, told(bare, full).task):
        assert (known.last_status, known.health, known.created_at) == ("STOPPED", "HEALTHY", 10.0)
        assert (known.host_arn, known.intent, known.version) == (host_arn(1), INTENT, 9)


def test_each_field_keeps_its_own_stamp() -> None:
    # The event of version 5 says nothing of health; so between the reads of versions 3 and 4, which
    # come later, the one of version 4 decides.
    by_event = (task(version=5), event())
    older = (task(version=3, health_status="HEALTHY"), read(1.0))
    newer = (task(version=4, health_status="UNKNOWN"), read(0.5))
    assert told(by_event, older, newer).task.health == "UNKNOWN"
    assert told(by_event, newer, older).task.health == "UNKNOWN"


def test_an_event_that_carries_health_is_not_believed() -> None:
    assert told((task(health_status="HEALTHY"), event())).task.health == "UNKNOWN"


def test_nothing_new_keeps_the_same_record() -> None:
    first = told((task(), read()))
    again = merge_task(first, task(), read(200.0), confirmation=10.0)
    assert again.task is first.task
    assert again.shown == 201.0


# --- What never goes back -------------------------------------------------------------------------


@pytest.mark.parametrize("later", ["PENDING", "ACTIVATING", "RUNNING", "STOPPING", "PAUSED"])
def test_a_stopped_task_stays_stopped_whatever_a_higher_version_says(later: str) -> None:
    known = told(
        (task(last_status="STOPPED", desired_status="STOPPED"), read()),
        (task(version=9, last_status=later, desired_status="RUNNING"), read(500.0)),
    )
    assert (known.task.last_status, known.task.desired_status) == ("STOPPED", "STOPPED")
    assert not known.task.live


def test_a_later_status_of_a_lower_version_is_taken() -> None:
    known = told(
        (task(version=5, last_status="PENDING"), event()),
        (task(version=4, last_status="RUNNING", desired_status="STOPPED"), event()),
    )
    assert (known.task.last_status, known.task.desired_status) == ("RUNNING", "STOPPED")


def test_deleted_follows_stopped() -> None:
    known = told((task(last_status="STOPPED"), read()), (task(last_status="DELETED"), read(200.0)))
    assert known.task.last_status == "DELETED"


def test_an_unknown_status_is_live_and_stands_beside_running() -> None:
    unknown = (task(version=4, last_status="PAUSED"), event())
    assert told(unknown).task.live
    assert told((task(), read()), unknown).task.last_status == "PAUSED"
    back = (task(version=5, last_status="RUNNING"), event())
    assert told((task(), read()), unknown, back).task.last_status == "RUNNING"
    before = (task(version=5, last_status="PENDING"), event())
    assert told(unknown, before).task.last_status == "PAUSED"


def test_a_task_ends_once() -> None:
    stopped = (task(last_status="STOPPED"), read(300.0))
    known = told((task(), read()), stopped, (task(last_status="STOPPED"), read(400.0)))
    assert known.ended_at == 301.0


# --- The marker -----------------------------------------------------------------------------------


def test_the_marker_is_read_from_any_container() -> None:
    assert told((task(overrides=marked("X" * 26)), event())).task.intent == "X" * 26


@pytest.mark.parametrize(
    ("overrides", "by_read", "by_event"),
    [
        (msgspec.UNSET, None, None),
        (None, None, None),
        (Overrides(), "", None),
        (Overrides(container_overrides=()), "", None),
        (PLAIN, "", ""),
    ],
)
def test_known_overrides_without_a_marker_differ_from_unknown_ones(
    overrides: Any, by_read: str | None, by_event: str | None
) -> None:
    assert told((task(overrides=overrides), read())).task.intent == by_read
    assert told((task(overrides=overrides), event())).task.intent == by_event


def test_a_marker_once_read_stays() -> None:
    assert (
        told((task(), read()), (task(version=9, overrides=PLAIN), read(2e3))).task.intent == INTENT
    )
    assert (
        told((task(version=9, overrides=PLAIN), read(2e3)), (task(), read())).task.intent == INTENT
    )


# --- Presumed tasks -------------------------------------------------------------------------------

PRESUMED = Presumed(
    arn=task_arn(1),
    cluster_arn=CLUSTER,
    host_arn=host_arn(1),
    definition_arn="d",
    started_by="s",
    group="blox:agent",
    intent=INTENT,
)


def test_a_presumed_task_is_live_and_carries_its_intent() -> None:
    known = presumed_task(PRESUMED, 50.0)
    assert known.task.live
    assert (known.task.version, known.task.intent, known.shown) == (0, INTENT, 50.0)


@pytest.mark.parametrize("evidence", [event(), read()])
def test_any_document_overrides_a_presumed_task(evidence: Evidence) -> None:
    known = merge_task(
        presumed_task(PRESUMED, 50.0),
        task(version=1, last_status="PROVISIONING", started_by="other"),
        evidence,
        confirmation=10.0,
    ).task
    assert (known.last_status, known.started_by, known.version) == ("PROVISIONING", "other", 1)


# --- Health ---------------------------------------------------------------------------------------


def healths(*readings: tuple[float, str]) -> TaskEntry:
    return told(*((task(health_status=health), read(begun)) for begun, health in readings))


def test_unhealthy_is_believed_when_two_reads_far_enough_apart_agree() -> None:
    once = healths((0.0, "HEALTHY"), (20.0, "UNHEALTHY"))
    assert (once.task.health, once.unhealthy_since) == ("HEALTHY", 20.0)
    soon = healths((0.0, "HEALTHY"), (20.0, "UNHEALTHY"), (29.9, "UNHEALTHY"))
    assert (soon.task.health, soon.unhealthy_since) == ("HEALTHY", 20.0)
    twice = healths((0.0, "HEALTHY"), (20.0, "UNHEALTHY"), (30.0, "UNHEALTHY"))
    assert twice.task.health == "UNHEALTHY"


def test_another_health_in_between_begins_the_wait_anew() -> None:
    known = healths((0.0, "UNHEALTHY"), (5.0, "HEALTHY"), (12.0, "UNHEALTHY"))
    assert (known.task.health, known.unhealthy_since) == ("HEALTHY", 12.0)


def test_a_task_first_seen_unhealthy_is_not_believed_either() -> None:
    assert healths((0.0, "UNHEALTHY")).task.health == "UNKNOWN"


def test_one_healthy_read_ends_a_confirmed_unhealthy() -> None:
    known = healths((0.0, "UNHEALTHY"), (10.0, "UNHEALTHY"), (11.0, "HEALTHY"))
    assert (known.task.health, known.unhealthy_since) == ("HEALTHY", None)


def test_an_old_read_confirms_nothing() -> None:
    known = healths((20.0, "UNHEALTHY"), (5.0, "UNHEALTHY"))
    assert (known.task.health, known.unhealthy_since) == ("UNKNOWN", 20.0)


# --- Lean records ---------------------------------------------------------------------------------


def test_of_services_tasks_only_what_occupies_is_kept() -> None:
    known = told(
        (
            foreign(created_at=1.0, started_at=2.0, stopped_reason="x", health_status="HEALTHY"),
            read(),
        )
    )
    assert (known.task.group, known.task.host_arn) == ("service:web", host_arn(1))
    assert (known.task.last_status, known.task.definition_arn.rsplit("/", 1)[-1]) == (
        "RUNNING",
        "agent:7",
    )
    assert (known.task.created_at, known.task.started_at) == (None, None)
    assert (known.task.stopped_reason, known.task.health, known.lagging) == ("", "UNKNOWN", ())


def test_of_tasks_started_by_hand_all_is_kept_because_they_may_be_adopted() -> None:
    by_hand = foreign(group="family:agent", started_by="", created_at=1.0, health_status="HEALTHY")
    known = told((by_hand, read())).task
    assert (known.created_at, known.health, known.intent) == (1.0, "HEALTHY", "")


def test_a_task_of_unknown_group_and_overrides_is_kept_whole() -> None:
    bare = TaskDocument(task_arn=task_arn(1), version=2, created_at=7.0, last_status="PENDING")
    assert told((bare, event())).task.created_at == 7.0


def test_the_first_begin_of_evidence_is_kept_when_an_event_tells_nothing_new() -> None:
    known = told((task(), read(100.0)), (task(), event(received=900.0)))
    assert known.shown == 101.0
    known = told((task(), read(100.0)), (task(version=4), event(received=900.0)))
    assert known.shown == 900.0


# --- Hosts ----------------------------------------------------------------------------------------

RESOURCES = (
    ResourceDocument(name="CPU", type="INTEGER", integer_value=1984, long_value=0),
    ResourceDocument(name="MEMORY", type="INTEGER", integer_value=0),
    ResourceDocument(name="PORTS", type="STRINGSET", string_set_value=("22", "8080")),
    ResourceDocument(name="PORTS_UDP", type="STRINGSET", string_set_value=()),
)
ATTRIBUTES = (
    KeyValue(name="ecs.capability.task-eni"),
    KeyValue(name="ecs.availability-zone", value="us-east-1b"),
)


def test_a_host_is_remembered_field_by_field() -> None:
    document = host(
        attributes=ATTRIBUTES,
        remaining_resources=RESOURCES,
        version_info=VersionInfo(agent_version="1.90.0"),
        running_tasks_count=4,
        capacity_provider_name="spot",
    )
    known = hosts_told((document, read())).host
    assert known.attributes == {
        "ecs.capability.task-eni": "",
        "ecs.availability-zone": "us-east-1b",
    }
    assert known.remaining is not None
    assert (known.remaining.cpu, known.remaining.memory) == (1984, 0)
    assert known.remaining.ports_tcp == {22, 8080}
    assert known.remaining.ports_udp == frozenset()
    assert (known.agent_version, known.running_tasks_count) == ("1.90.0", 4)
    assert (known.capacity_provider, known.registered) == ("spot", None)


def test_an_event_leaves_a_host_what_it_does_not_carry() -> None:
    full = (host(attributes=ATTRIBUTES, running_tasks_count=4), read())
    bare = (
        HostDocument(container_instance_arn=host_arn(1), version=6, agent_connected=False),
        event(),
    )
    for known in (hosts_told(full, bare).host, hosts_told(bare, full).host):
        assert not known.agent_connected
        assert (known.running_tasks_count, known.version) == (4, 6)
        assert known.registered_at == 1_750_000_000.0
        assert len(known.attributes) == 2


def test_a_host_may_become_active_again_but_not_by_an_old_account() -> None:
    draining = (host(version=6, status="DRAINING"), event())
    assert hosts_told(draining, (host(), read(900.0))).host.status == "DRAINING"
    assert hosts_told(draining, (host(version=7), event())).host.status == "ACTIVE"


def test_equal_attributes_and_resources_are_one_object() -> None:
    one = hosts_told((host(1, attributes=ATTRIBUTES, remaining_resources=RESOURCES), read())).host
    two = hosts_told((host(2, attributes=ATTRIBUTES, remaining_resources=RESOURCES), read())).host
    assert one.attributes is two.attributes
    assert one.remaining is two.remaining
