"""EventBridge's envelopes, understood, ignored or refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from blox.ecs.events import HostEvent, Ignored, Misunderstood, TaskEvent, parse_time, read_event

CLUSTER = "arn:aws:ecs:us-east-1:111122223333:cluster/demo"
TASK = "arn:aws:ecs:us-east-1:111122223333:task/demo/0123456789abcdef0123456789abcdef"
HOST = "arn:aws:ecs:us-east-1:111122223333:container-instance/demo/fedcba9876543210"


def task_event(**detail: Any) -> dict[str, Any]:
    """A task's event as ECS sends it, with some of its detail changed; None takes a member away."""
    content = {
        "attachments": [],
        "availabilityZone": "us-east-1b",
        "clusterArn": CLUSTER,
        "connectivity": "CONNECTED",
        "connectivityAt": "2025-05-12T13:11:44.98Z",
        "containerInstanceArn": HOST,
        "containers": [
            {
                "containerArn": "arn:aws:ecs:us-east-1:111122223333:container/demo/x/y",
                "lastStatus": "RUNNING",
                "name": "agent",
                "taskArn": TASK,
                "cpu": "null",
                "memory": "128",
                "exitCode": 3,
            }
        ],
        "cpu": "64",
        "createdAt": "2025-05-12T13:11:44.98Z",
        "desiredStatus": "RUNNING",
        "group": "blox:agent",
        "lastStatus": "RUNNING",
        "overrides": {
            "containerOverrides": [
                {"name": "agent", "environment": [{"name": "BLOX_INTENT", "value": "I1"}]}
            ]
        },
        "startedAt": "2025-05-12T13:12:06.053Z",
        "startedBy": "d1",
        "taskArn": TASK,
        "taskDefinitionArn": "arn:aws:ecs:us-east-1:111122223333:task-definition/agent:7",
        "updatedAt": "2025-05-12T13:12:06.053Z",
        "version": 3,
    } | detail
    return {
        "version": "0",
        "id": "105f6bb1-0000-0000-0000-000000000001",
        "detail-type": "ECS Task State Change",
        "source": "aws.ecs",
        "account": "111122223333",
        "time": "2025-05-12T13:12:06Z",
        "region": "us-east-1",
        "resources": [TASK],
        "detail": content,
    }


def host_event(**detail: Any) -> dict[str, Any]:
    event = task_event()
    event["detail-type"] = "ECS Container Instance State Change"
    event["detail"] = {
        "agentConnected": False,
        "attributes": [{"name": "ecs.capability.task-eni"}, {"name": "stack", "value": "prod"}],
        "clusterArn": CLUSTER,
        "containerInstanceArn": HOST,
        "ec2InstanceId": "i-0abc0abc0abc0abc0",
        "remainingResources": [
            {"name": "CPU", "type": "INTEGER", "integerValue": 1984},
            {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "8080"]},
        ],
        "status": "ACTIVE",
        "version": 14801,
        "versionInfo": {"agentHash": "aebcbca", "agentVersion": "1.90.0"},
        "updatedAt": "2025-05-12T13:12:06.991Z",
    } | detail
    return event


def read(event: object) -> TaskEvent | HostEvent | Ignored:
    return read_event(json.dumps(event).encode())


def test_a_task_event_tells_all_that_it_carries() -> None:
    event = read(task_event())
    assert isinstance(event, TaskEvent)
    assert event.cluster_arn == CLUSTER
    assert event.time == 1747055526.0
    task = event.task
    assert (task.task_arn, task.version, task.started_by) == (TASK, 3, "d1")
    assert task.created_at == pytest.approx(1747055504.98)
    assert task.started_at == pytest.approx(1747055526.053)
    carried = task.overrides.container_overrides[0].environment  # type: ignore[union-attr,index]
    assert [(pair.name, pair.value) for pair in carried or ()] == [("BLOX_INTENT", "I1")]
    assert [container.exit_code for container in task.containers or ()] == [3]
    assert task.health_status is UNSET, "events say nothing of health"
    assert task.stopped_at is UNSET


def test_a_host_event_tells_all_that_it_carries() -> None:
    event = read(host_event())
    assert isinstance(event, HostEvent)
    host = event.host
    assert (host.container_instance_arn, host.version, host.agent_connected) == (HOST, 14801, False)
    assert host.ec2_instance_id == "i-0abc0abc0abc0abc0"
    assert [attribute.value for attribute in host.attributes or ()] == [None, "prod"]
    assert host.registered_at is UNSET
    assert host.running_tasks_count is UNSET


def test_what_may_be_missing_may_be_missing() -> None:
    event = task_event()
    for name in ("account", "region", "resources", "id", "version"):
        del event[name]
    for name in ("version", "containerInstanceArn", "overrides", "containers", "startedBy"):
        del event["detail"][name]
    found = read(event)
    assert isinstance(found, TaskEvent)
    assert found.task.version is UNSET
    assert found.task.overrides is UNSET


def test_nulls_mean_absent() -> None:
    found = read(task_event(version=None, startedAt=None, lastStatus=None))
    assert isinstance(found, TaskEvent)
    assert found.task.version is UNSET
    assert found.task.started_at is UNSET
    assert found.task.last_status is UNSET


def test_old_arns_name_no_cluster() -> None:
    old = "arn:aws:ecs:us-east-1:111122223333:task/0b7c6a3e-7f52-4d25-9d3c-0123456789ab"
    found = read(task_event(taskArn=old))
    assert isinstance(found, TaskEvent)
    assert found.task.task_arn == old
    assert found.cluster_arn == CLUSTER


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"detail-type": "ECS Service Action"}, "another type of event"),
        ({"detail-type": "ECS Deployment State Change", "detail": {}}, "another type of event"),
        ({"source": "aws.ec2", "detail": []}, "another source than aws.ecs"),
        ({"source": "my.tests"}, "another source than aws.ecs"),
    ],
)
def test_other_events_are_ignored(change: dict[str, object], reason: str) -> None:
    assert read(task_event() | change) == Ignored(reason=reason)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"null",
        b"[" * 100_000,
        b'{"detail-type": "ECS Task State Change", "source": "aws.ecs"}',
        json.dumps({"Type": "Notification", "Message": json.dumps(task_event())}).encode(),
    ],
)
def test_what_is_no_event_is_poison(body: bytes) -> None:
    with pytest.raises(Misunderstood) as caught:
        read_event(body)
    assert "not an EventBridge event" in str(caught.value)


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (task_event() | {"time": "yesterday"}, "time"),
        (task_event() | {"detail": [1]}, "not an object"),
        (task_event() | {"detail": "x" * 9999}, "not an object"),
        (task_event(taskArn=None), "taskArn"),
        (task_event(taskArn="x"), "not the ARN of a task"),
        (task_event(taskArn=HOST), "not the ARN of a task"),
        (task_event(taskArn="arn:aws:ecs:us-east-1:1:task/" + "x" * 9999), "not of cluster demo"),
        (task_event(clusterArn=None), "clusterArn"),
        (task_event(clusterArn="demo"), "not the ARN of a cluster"),
        (task_event(clusterArn=CLUSTER + "2"), "not of cluster demo2"),
        (task_event(clusterArn=CLUSTER.replace("us-east-1", "us-west-2")), "not of cluster demo"),
        (task_event(createdAt="2025-05-12"), "createdAt"),
        (task_event(stoppedAt=1747055526), "stoppedAt"),
        (task_event(version="3"), "version"),
        (task_event(containers={}), "containers"),
        (host_event(containerInstanceArn=TASK), "not the ARN of a container-instance"),
        (host_event(agentConnected="yes"), "agentConnected"),
    ],
)
def test_an_event_without_what_it_always_carries_is_poison(event: object, says: str) -> None:
    with pytest.raises(Misunderstood) as caught:
        read(event)
    assert says in str(caught.value)
    assert len(str(caught.value)) <= 500


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
).map(lambda value: json.dumps(task_event() | {"detail": value}).encode()))  # fmt: skip
def test_nothing_else_can_come_of_a_message(body: bytes) -> None:
    try:
        found = read_event(body)
    except Misunderstood:
        return
    assert isinstance(found, Ignored)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2025-05-12T13:12:06Z", 1747055526.0),
        ("2025-05-12T13:12:06.7Z", 1747055526.7),
        ("2025-05-12T13:12:06.75Z", 1747055526.75),
        ("2025-05-12T13:12:06.053Z", 1747055526.053),
        ("2025-05-12T13:12:06.123456789Z", 1747055526.123456789),
        ("2025-05-12T15:12:06.5+02:00", 1747055526.5),
        ("2025-05-12T07:42:06-0530", 1747055526.0),
        ("2025-05-12t13:12:06z", 1747055526.0),
        ("2025-05-12T13:12:06", None),
        ("2025-05-12T13:12:06.1234567890Z", None),
        ("2025-05-12T13:12:06.Z", None),
        ("2025-02-30T13:12:06Z", None),
        ("0000-01-01T00:00:00Z", None),
        ("2025-05-12T24:00:00Z", None),
        ("2025-05-12T13:12:06+99:00", None),
        ("2025-05-12T13:12:06Z\n", None),
        ("٢٠٢٥-05-12T13:12:06Z", None),
        ("", None),
    ],
)
def test_times(text: str, seconds: float | None) -> None:
    assert parse_time(text) == (None if seconds is None else pytest.approx(seconds, abs=1e-6))


@pytest.mark.parametrize("event", [task_event, host_event])
def test_a_version_below_the_first_is_no_account_of_ecs(event: Callable[..., Any]) -> None:
    with pytest.raises(Misunderstood, match=r"detail.version is -1"):
        read_event(json.dumps(event(version=-1)).encode())
    read_event(json.dumps(event(version=0)).encode())
