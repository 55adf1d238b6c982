"""Policies: all that a scheduler sends is allowed, and nothing beside it."""

import inspect
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise, product
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blox.account.setup.feed import IAM_BLANKS
from blox.account.setup.found import Options, Wanted, found_of, is_tagged, permitted_for, role_arn
from blox.account.setup.policies import (
    LIMIT,
    Permitted,
    Served,
    Statement,
    document,
    documents,
    size,
    statements,
)
from blox.base.errors import InvalidInput
from blox.ecs import wire
from blox.ecs.model import TaskDefinition
from blox.ecs.port import StartRequest
from support.iam import ECS, SQS, Asked, allows, asked_by, refused
from support.simulated import ACCOUNT, REGION

ROLE = f"arn:aws:iam::{ACCOUNT}:role/agent-task"
EXECUTION = f"arn:aws:iam::{ACCOUNT}:role/agent-execution"
DEMO = f"{ECS}:cluster/demo"
AGENT = f"{ECS}:task-definition/agent:7"
ROLES = {AGENT: (ROLE, EXECUTION)}
BUS = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus"


def permitted(**more: Any) -> Permitted:
    """A scheduler of the environment demo/logs, family `agent`."""
    given: dict[str, Any] = {
        "partition": "aws",
        "region": REGION,
        "account": ACCOUNT,
        "clusters": (Served(name="demo", families=("agent",)),),
        "roles": (ROLE, EXECUTION),
        "queue": "blox-events",
    }
    return Permitted(**{**given, **more})


def policy(**more: Any) -> list[Any]:
    """Its policy."""
    return [document(statements(permitted(**more)))]


# --- What is sent ---------------------------------------------------------------------------------

SAMPLES: dict[str, Any] = {
    "cluster": DEMO,
    "clusters": (DEMO,),
    "hosts": (f"{ECS}:container-instance/demo/aaaa",),
    "task": f"{ECS}:task/demo/bbbb",
    "tasks": (f"{ECS}:task/demo/bbbb",),
    "definition": AGENT,
    "services": (f"{ECS}:service/demo/web",),
    "names": ("spot",),
    "name": "blox.mark",
    "value": "1",
    "reason": "why",
    "desired_status": "RUNNING",
    "next_token": None,
    "include": ("TAGS",),
    "request": StartRequest(
        cluster=DEMO,
        definition=AGENT,
        hosts=(f"{ECS}:container-instance/demo/aaaa",),
        started_by="blox/1",
        group="blox:1",
        intent="1",
        first_container="agent",
    ),
}
"""An argument for each parameter of what makes a request."""
SCHEDULER = {
    "DescribeClusters",
    "ListContainerInstances",
    "DescribeContainerInstances",
    "ListTasks",
    "DescribeTasks",
    "DescribeTaskDefinition",
    "DescribeServices",
    "DescribeCapacityProviders",
    "StartTask",
    "StopTask",
}
"""What a daemon-scheduler sends to ECS."""
MIGRATING = {"ListServices", "PutAttributes", "DeleteAttributes"}


def requests() -> Iterator[wire.Request]:
    """One of each that the client can make."""
    for _, make in inspect.getmembers(wire, inspect.isfunction):
        private = make.__name__.startswith("_")
        if not private and get_type_hints(make).get("return") is wire.Request:
            yield make(**{name: SAMPLES[name] for name in inspect.signature(make).parameters})


def allowed(policies: list[Any]) -> set[str]:
    """The operations that the client may send."""
    return {
        request.operation
        for request in requests()
        if not refused(policies, asked_by(request.operation, request.body, roles=ROLES))
    }


def test_every_request_of_the_client_is_among_the_samples() -> None:
    made = {request.operation for request in requests()}
    assert made >= SCHEDULER | MIGRATING


def test_a_scheduler_may_send_what_it_sends() -> None:
    assert allowed(policy()) == SCHEDULER


def test_an_observing_one_may_only_read() -> None:
    assert allowed(policy(observe=True)) == SCHEDULER - {"StartTask", "StopTask"}
    assert allowed(policy(observe=True, migrate=True)) == SCHEDULER - {"StartTask", "StopTask"}


def test_migrating_needs_more() -> None:
    assert allowed(policy(migrate=True)) == SCHEDULER | MIGRATING


def test_the_queue_may_be_read_and_emptied_and_not_filled() -> None:
    ours, other = f"{SQS}:blox-events", f"{SQS}:other"
    for observe in (False, True):
        for action in ("GetQueueUrl", "ReceiveMessage", "DeleteMessage"):
            assert allows(policy(observe=observe), Asked(f"sqs:{action}", ours))
            assert not allows(policy(observe=observe), Asked(f"sqs:{action}", other))
        for action in ("SendMessage", "PurgeQueue", "DeleteQueue", "SetQueueAttributes"):
            assert not allows(policy(observe=observe), Asked(f"sqs:{action}", ours))


STATE_SERVICE = {
    "DescribeClusters",
    "ListContainerInstances",
    "DescribeContainerInstances",
    "ListTasks",
    "DescribeTasks",
}
"""What a cluster-state-service sends to ECS about a cluster."""


def test_a_state_service_reads_its_clusters_and_nothing_else() -> None:
    named = policy(state=True)
    assert allowed(named) == STATE_SERVICE
    for request in requests():
        elsewhere = request.body.replace(b"demo", b"other")
        asked = asked_by(request.operation, elsewhere, roles=ROLES)
        assert refused(named, asked) or request.operation == "ListClusters"
    assert allows(named, Asked("sqs:GetQueueAttributes", f"{SQS}:blox-events"))
    assert not allows(policy(), Asked("sqs:GetQueueAttributes", f"{SQS}:blox-events"))


def test_a_state_service_without_names_reads_every_cluster_and_may_list_them() -> None:
    everything = policy(state=True, clusters=(), queue="")
    assert allowed(everything) == STATE_SERVICE | {"ListClusters"}
    assert {s["Sid"] for (body,) in (everything,) for s in body["Statement"]} == {"AllClusters"}


def test_a_stream_takes_the_place_of_the_queue() -> None:
    streamed = policy(state=True, queue="", stream="ecs-events")
    ours = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/ecs-events"
    for action in ("ListShards", "GetShardIterator", "GetRecords"):
        assert allows(streamed, Asked(f"kinesis:{action}", ours))
        assert not allows(streamed, Asked(f"kinesis:{action}", f"{ours}-2"))
        assert not allows(policy(state=True), Asked(f"kinesis:{action}", ours))
    assert not allows(streamed, Asked("kinesis:PutRecord", ours))
    assert not allows(streamed, Asked("sqs:ReceiveMessage", f"{SQS}:blox-events"))


def test_tags_need_a_permission_of_their_own_and_only_then_have_it() -> None:
    tagged = Asked("ecs:TagResource", f"{ECS}:task/demo/new", (("ecs:CreateAction", "StartTask"),))
    with_tags = (Served(name="demo", families=("agent",), tagged=True),)
    assert not allows(policy(), tagged)
    assert allows(policy(clusters=with_tags), tagged)
    assert not allows(policy(clusters=with_tags, observe=True), tagged)
    for context in ((("ecs:CreateAction", "RunTask"),), ()):
        assert not allows(policy(clusters=with_tags), tagged._replace(context=context))


def test_notices_need_the_bus_and_only_then_have_it() -> None:
    assert not allows(policy(), Asked("events:PutEvents", f"{BUS}/default"))
    assert allows(policy(bus="ops"), Asked("events:PutEvents", f"{BUS}/ops"))
    assert not allows(policy(bus="ops"), Asked("events:PutEvents", f"{BUS}/default"))


def test_without_roles_nothing_is_passed() -> None:
    bare = document(statements(permitted(roles=())))
    assert "PassRole" not in str(bare)


# --- And nothing beside it ------------------------------------------------------------------------

IN_DEMO = (("ecs:cluster", DEMO),)
IN_OTHER = (("ecs:cluster", f"{ECS}:cluster/other"),)
TO_TASKS = (("iam:PassedToService", "ecs-tasks.amazonaws.com"),)


@pytest.mark.parametrize(
    "asked",
    [
        Asked("ecs:DescribeClusters", f"{ECS}:cluster/other"),
        Asked("ecs:DescribeClusters", f"{ECS}:cluster/demo2"),
        Asked("ecs:ListContainerInstances", f"{ECS}:cluster/other"),
        Asked("ecs:ListTasks", "*", IN_OTHER),
        Asked("ecs:DescribeTasks", f"{ECS}:task/other/x", IN_OTHER),
        Asked("ecs:DescribeContainerInstances", f"{ECS}:container-instance/other/x", IN_OTHER),
        Asked("ecs:StartTask", AGENT, IN_OTHER),
        Asked("ecs:StartTask", AGENT),
        Asked("ecs:StartTask", f"{ECS}:task-definition/other:1", IN_DEMO),
        Asked("ecs:StartTask", f"{ECS}:task-definition/agent-2:1", IN_DEMO),
        Asked("ecs:StopTask", f"{ECS}:task/other/x", IN_OTHER),
        Asked("ecs:StopTask", f"{ECS}:task/demo/x", IN_OTHER),
        Asked("ecs:RunTask", AGENT, IN_DEMO),
        Asked("ecs:DeregisterContainerInstance", DEMO),
        Asked("ecs:UpdateContainerInstancesState", f"{ECS}:container-instance/demo/x", IN_DEMO),
        Asked("ecs:UpdateService", f"{ECS}:service/demo/web", IN_DEMO),
        Asked("ecs:ExecuteCommand", f"{ECS}:task/demo/x", IN_DEMO),
        Asked("ecs:PutAttributes", f"{ECS}:container-instance/other/x", IN_OTHER),
        Asked("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin", TO_TASKS),
        Asked("iam:PassRole", ROLE, (("iam:PassedToService", "ec2.amazonaws.com"),)),
        Asked("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/x"),
        Asked("iam:AttachRolePolicy", ROLE),
        Asked("sts:AssumeRole", ROLE),
        Asked("events:PutRule", f"arn:aws:events:{REGION}:{ACCOUNT}:rule/blox-events"),
        Asked("ec2:TerminateInstances", "*"),
    ],
    ids=lambda asked: f"{asked.action} {asked.resource.rsplit(':', 1)[-1]}",
)
def test_what_it_has_no_business_with_is_denied(asked: Asked) -> None:
    everything = policy(
        migrate=True,
        bus="default",
        clusters=(Served(name="demo", families=("agent",), tagged=True),),
    )
    assert not allows(everything, asked)
    elsewhere = asked._replace(resource=asked.resource.replace(REGION, "eu-west-9"))
    assert not allows(everything, elsewhere)


def test_a_family_is_started_on_its_own_cluster_alone() -> None:
    split = policy(
        clusters=(
            Served(name="demo", families=("agent",)),
            Served(name="other", families=("falcon", "agent")),
            Served(name="watched"),
        )
    )
    falcon = f"{ECS}:task-definition/falcon:1"
    assert allows(split, Asked("ecs:StartTask", AGENT, IN_DEMO))
    assert allows(split, Asked("ecs:StartTask", AGENT, IN_OTHER))
    assert allows(split, Asked("ecs:StartTask", falcon, IN_OTHER))
    assert not allows(split, Asked("ecs:StartTask", falcon, IN_DEMO))


def test_where_nothing_is_to_be_started_it_only_looks() -> None:
    watched = (("ecs:cluster", f"{ECS}:cluster/watched"),)
    acting = tuple(Served(name=name, families=("agent",)) for name in ("demo", "other"))
    both = policy(clusters=(*acting, Served(name="watched")), migrate=True)
    assert allows(both, Asked("ecs:StopTask", f"{ECS}:task/other/x", IN_OTHER))
    assert allows(both, Asked("ecs:DescribeTasks", f"{ECS}:task/watched/x", watched))
    assert not allows(both, Asked("ecs:StopTask", f"{ECS}:task/watched/x", watched))
    assert not allows(both, Asked("ecs:StartTask", AGENT, watched))
    host = f"{ECS}:container-instance/watched/x"
    assert not allows(both, Asked("ecs:PutAttributes", host, watched))


# --- One policy or several ------------------------------------------------------------------------


def many(count: int) -> Permitted:
    """A scheduler of so many clusters with long names, each with families of its own."""
    return permitted(
        clusters=tuple(
            Served(
                name=f"payments-production-{n:03}", families=(f"agent-{n % 7}",), tagged=n % 2 == 0
            )
            for n in range(count)
        ),
        roles=tuple(f"arn:aws:iam::{ACCOUNT}:role/agent-{n}" for n in range(count)),
    )


def lines(found: Iterable[Statement]) -> set[tuple[str, ...]]:
    """Every combination of action, resource and conditions that is allowed."""
    return {
        combination
        for statement in found
        for combination in product(
            statement.actions,
            statement.resources,
            *(
                [f"{condition.operator} {condition.key} {value}" for value in condition.values]
                for condition in statement.conditions
            ),
        )
    }


@given(count=st.integers(1, 60), limit=st.integers(700, LIMIT))
def test_several_policies_allow_what_one_would(count: int, limit: int) -> None:
    whole = statements(many(count))
    parts = documents(whole, limit=limit)
    assert all(size(part) <= limit for part in parts)
    assert lines(chain.from_iterable(parts)) == lines(whole)
    sids = [statement.sid for part in parts for statement in part]
    assert len(set(sids)) == len(sids)
    assert all(sid.isalnum() for sid in sids)


def test_they_are_as_few_as_the_limit_demands() -> None:
    assert len(documents(statements(many(3)))) == 1
    parts = documents(statements(many(90)))
    assert len(parts) > 1
    assert all(size(first) + size(second) > LIMIT for first, second in pairwise(parts))


def test_a_limit_below_one_line_is_told() -> None:
    with pytest.raises(ValueError, match="Clusters does not fit into 100 characters"):
        documents(statements(permitted()), limit=100)


# --- What is found out ----------------------------------------------------------------------------


def wanted(**more: Any) -> Wanted:
    given: dict[str, Any] = {
        "name": "demo/logs",
        "cluster_arn": DEMO,
        "definitions": (AGENT,),
        "task": {},
    }
    return Wanted(**{**given, **more})


def definition(*, role: str | None = None) -> dict[str, TaskDefinition]:
    return {AGENT: TaskDefinition(task_definition_arn=AGENT, family="agent", task_role_arn=role)}


def test_roles_are_those_of_the_definitions_and_of_overrides() -> None:
    overrides = {"overrides": {"taskRoleArn": "by-name", "executionRoleArn": EXECUTION}}
    found = found_of((), [wanted(task=overrides)], definition(role=ROLE))
    assert found.roles == (EXECUTION, ROLE, f"arn:aws:iam::{ACCOUNT}:role/by-name")
    assert found.clusters == (Served(name="demo", families=("agent",)),)


def test_a_role_named_without_its_arn_is_of_the_clusters_account() -> None:
    assert role_arn("x", partition="aws-cn", account="1") == "arn:aws-cn:iam::1:role/x"
    assert role_arn(ROLE, partition="aws-cn", account="1") == ROLE


@pytest.mark.parametrize(
    ("task", "tagged"),
    [
        ({}, False),
        ({"enableExecuteCommand": True}, False),
        ({"tags": []}, False),
        ({"tags": [{"key": "team", "value": "sre"}]}, True),
        ({"propagateTags": "NONE"}, False),
        ({"propagateTags": "TASK_DEFINITION"}, True),
        ({"enableECSManagedTags": False}, False),
        ({"enableECSManagedTags": True}, True),
    ],
)
def test_tags_come_from_the_task_block(task: dict[str, object], tagged: bool) -> None:
    assert is_tagged(task) is tagged
    found = found_of((), [wanted(task=task)], definition())
    assert found.clusters[0].tagged is tagged


@pytest.mark.parametrize(
    "other",
    [
        f"arn:aws:ecs:eu-west-1:{ACCOUNT}:cluster/demo",
        f"arn:aws:ecs:{REGION}:999999999999:cluster/demo",
        f"arn:aws-cn:ecs:{REGION}:{ACCOUNT}:cluster/demo",
    ],
)
def test_clusters_of_two_accounts_or_regions_are_refused(other: str) -> None:
    with pytest.raises(InvalidInput, match="different accounts or regions"):
        found_of((DEMO, other), [], {})


def test_what_nobody_named_stays_blank() -> None:
    options = Options(queue="blox-events")
    blank = permitted_for(None, IAM_BLANKS, options)
    assert blank.clusters == (Served(name="CLUSTER", families=("FAMILY",)),)
    assert blank.roles[0] == "arn:aws:iam::ACCOUNT:role/TASK_ROLE"
    assert blank.queue_arn == "arn:aws:sqs:REGION:ACCOUNT:blox-events"
    half = permitted_for(found_of((DEMO,), [], {}), IAM_BLANKS, options)
    assert half.clusters == (Served(name="demo", families=("FAMILY",)),)
    assert half.roles[1] == f"arn:aws:iam::{ACCOUNT}:role/EXECUTION_ROLE"
    looking = permitted_for(None, IAM_BLANKS, Options(queue="blox-events", observe=True))
    assert looking.clusters == (Served(name="CLUSTER"),)
    assert looking.roles == ()
