"""Which tasks and hosts fit what is asked for."""

import pytest

from blox.base.errors import InvalidInput
from blox.clusterstate.api.filters import (
    TASK_STATUSES,
    InstanceFilter,
    Machine,
    TaskFilter,
    definition,
    host_of,
    instances_named,
    is_called,
    words,
)
from blox.clusterstate.entity import Entity
from blox.ecs.model import Host
from blox.ecs.selector import parse
from support.documents import CLUSTER, DEFINITION, host_arn, task_arn
from support.entities import INSTANCE, entity, instance, task


def nobody(_cluster: str, _arn: str) -> Machine | None:
    return None


BLUE = Machine(Host(arn=host_arn(1), cluster_arn=CLUSTER, attributes={"stack": "blue"}), ("a:b",))


def fits(wanted: TaskFilter | InstanceFilter, entity: Entity) -> bool:
    return wanted.fits(entity, lambda _, arn: BLUE if arn == host_arn(1) else None)


@pytest.mark.parametrize(
    ("wanted", "members"),
    [
        (TaskFilter(statuses=frozenset({"RUNNING", "PENDING"})), {"lastStatus": "STOPPED"}),
        (TaskFilter(desired=frozenset({"RUNNING"})), {"desiredStatus": "STOPPED"}),
        (TaskFilter(started_by="ops"), {"startedBy": "Ops"}),
        (TaskFilter(started_by="ops"), {"startedBy": None}),
        (TaskFilter(group="service:web"), {"group": "service:web2"}),
        (TaskFilter(family="agent"), {"taskDefinitionArn": DEFINITION.replace("agent", "agent2")}),
        (TaskFilter(definition="agent:7"), {"taskDefinitionArn": f"{DEFINITION}1"}),
        (TaskFilter(definition="agent"), {"taskDefinitionArn": DEFINITION.replace("agent", "b")}),
        (TaskFilter(definition=DEFINITION), {"taskDefinitionArn": f"{DEFINITION}1"}),
        (TaskFilter(launch_types=frozenset({"EC2"})), {"launchType": "FARGATE"}),
        (TaskFilter(healths=frozenset({"HEALTHY"})), {"healthStatus": "UNHEALTHY"}),
        (TaskFilter(healths=frozenset({"HEALTHY"})), {"healthStatus": None}),
        (TaskFilter(instances=frozenset({host_arn(1)})), {"containerInstanceArn": host_arn(2)}),
        (TaskFilter(instances=frozenset({host_arn(1)})), {"containerInstanceArn": None}),
        (TaskFilter(selector=parse("")), {"containerInstanceArn": None}),
        (TaskFilter(selector=parse("attribute:stack == blue")), {"containerInstanceArn": "other"}),
        (TaskFilter(selector=parse("task:group == a:b")), {"containerInstanceArn": None}),
    ],
)
def test_each_filter_of_tasks_tells_them_apart(
    wanted: TaskFilter, members: dict[str, str | None]
) -> None:
    assert fits(wanted, task())
    assert not fits(wanted, task(**members))
    assert not wanted.everything


@pytest.mark.parametrize(
    ("wanted", "members"),
    [
        (InstanceFilter(statuses=frozenset({"ACTIVE"})), {"status": "DRAINING"}),
        (
            InstanceFilter(instances=frozenset({host_arn(1)})),
            {"containerInstanceArn": host_arn(2)},
        ),
        (InstanceFilter(connected=True), {"agentConnected": False}),
        (InstanceFilter(connected=True), {"agentConnected": None}),
        (InstanceFilter(capacity_provider="spot"), {"capacityProviderName": None}),
        (
            InstanceFilter(selector=parse("attribute:stack == blue and task:group == a:b")),
            {"containerInstanceArn": host_arn(2)},
        ),
    ],
)
def test_each_filter_of_hosts_tells_them_apart(
    wanted: InstanceFilter, members: dict[str, object]
) -> None:
    assert fits(wanted, instance())
    assert not fits(wanted, instance(**members))
    assert not wanted.everything


def test_without_a_filter_everything_fits() -> None:
    assert TaskFilter().everything
    assert InstanceFilter().everything
    assert TaskFilter().fits(entity({"taskArn": task_arn(1)}), nobody)
    assert InstanceFilter().fits(entity({"containerInstanceArn": host_arn(1)}), nobody)


def test_all_filters_must_hold() -> None:
    both = TaskFilter(started_by="ops", group="service:web")
    assert both.fits(task(), nobody)
    assert not both.fits(task(startedBy="x"), nobody)
    assert not both.fits(task(group="x"), nobody)


def test_statuses_may_be_in_any_case_and_several() -> None:
    assert words("Running, stopped", TASK_STATUSES, name="status") == frozenset(
        {"RUNNING", "STOPPED"}
    )
    assert words(None, TASK_STATUSES, name="status") is None


@pytest.mark.parametrize("text", ["runing", "RUNNING,", ",", "RUNNING;STOPPED"])
def test_a_status_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"'status' has .*; known are: PROVISIONING, PENDING"):
        words(text, TASK_STATUSES, name="status")


@pytest.mark.parametrize("text", ["agent", "agent:7", DEFINITION])
def test_a_task_definition_may_be_named_in_three_ways(text: str) -> None:
    assert definition(text) == text
    assert fits(TaskFilter(definition=text), task())


@pytest.mark.parametrize("text", ["a b", "agent:0", "agent:latest", "arn:aws:ecs:x"])
def test_what_is_no_task_definition_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no task definition"):
        definition(text)


@pytest.mark.parametrize(
    "reference", [host_arn(1), f"{1:032x}", "i-0123456789abcdef0", host_arn(1)[-32:]]
)
def test_a_host_is_called_by_its_arn_its_id_or_its_machines(reference: str) -> None:
    assert is_called(instance(), reference)
    assert instances_named(reference, [instance()]) == frozenset({host_arn(1)})


def test_nothing_is_called_by_an_empty_name() -> None:
    assert not is_called(instance(ec2InstanceId=None), "")
    assert not is_called(task(), "i-0123456789abcdef0")
    assert instances_named("", [instance(), task()]) == frozenset()


@pytest.mark.parametrize("reference", [host_arn(9), f"{9:032x}"])
def test_tasks_of_a_host_that_is_not_listed_are_found_by_its_arn_and_its_id(reference: str) -> None:
    wanted = TaskFilter(instances=instances_named(reference, [instance()]))
    assert fits(wanted, task(containerInstanceArn=host_arn(9)))
    assert not fits(wanted, task())
    assert not fits(wanted, task(containerInstanceArn=None))


def test_a_word_of_other_letters_is_not_taken_for_one_of_ascii() -> None:
    with pytest.raises(InvalidInput, match="known are"):
        words("\u0131nactive", ("INACTIVE",), name="status")


def test_a_word_that_ecs_has_told_is_as_good_as_a_known_one() -> None:
    found = words("levitating,running", ("RUNNING",), name="status", told=lambda: {"LEVITATING"})
    assert found == frozenset({"LEVITATING", "RUNNING"})


def test_a_host_that_the_view_let_go_is_read_from_what_is_kept() -> None:
    host = host_of(instance(status="INACTIVE"))
    assert host is not None
    assert (host.arn, host.instance_id) == (host_arn(1), INSTANCE["ec2InstanceId"])
    assert host.attributes["stack"] == "blue"
    assert host_of(instance(attributes=7)) is None
