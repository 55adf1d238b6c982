"""What /v1 and /v2 show of one task or host: the contract's shapes, whatever ECS tells."""

import json
from typing import Any

import pytest

from blox.clusterstate.api.moments import iso, with_times
from blox.clusterstate.api.shown1 import item_v1
from blox.clusterstate.api.shown2 import cluster_v2, deleted_v2, item_v2
from blox.clusterstate.entity import Entity
from blox.ecs.seen import ClusterSeen
from support.documents import CLUSTER, DEFINITION, host_arn, task_arn
from support.entities import INSTANCE, TASK, entity, instance, task


def v1(shown: Entity) -> Any:
    return json.loads(item_v1(shown))


def v2(shown: Entity) -> Any:
    return json.loads(item_v2(shown))


# --- /v1 ------------------------------------------------------------------------------------------


def test_a_task_of_v1_has_the_contracts_members_and_no_other() -> None:
    assert v1(task()) == {
        "metadata": {"entityVersion": "7"},
        "entity": {
            "clusterARN": CLUSTER,
            "containerInstanceARN": host_arn(1),
            "containers": [
                {
                    "containerARN": "arn:c",
                    "lastStatus": "RUNNING",
                    "name": "agent",
                    "networkBindings": [
                        {
                            "bindIP": "0.0.0.0",
                            "containerPort": 80,
                            "hostPort": 32768,
                            "protocol": "tcp",
                        }
                    ],
                }
            ],
            "createdAt": "2025-06-15T15:06:40.250Z",
            "desiredStatus": "RUNNING",
            "lastStatus": "RUNNING",
            "overrides": {"containerOverrides": [{"name": "agent"}]},
            "startedAt": "2025-06-15T15:06:41.000Z",
            "startedBy": "ops",
            "taskARN": task_arn(1),
            "taskDefinitionARN": DEFINITION,
        },
    }


def test_a_host_of_v1_has_the_contracts_members_and_no_other() -> None:
    assert v1(instance()) == {
        "metadata": {"entityVersion": "7"},
        "entity": {
            "agentConnected": True,
            "attributes": [
                {"name": "ecs.os-type", "value": "linux"},
                {"name": "ecs.capability.task-eni", "value": ""},
                {"name": "stack", "value": "blue"},
            ],
            "clusterARN": CLUSTER,
            "containerInstanceARN": host_arn(1),
            "EC2InstanceID": "i-0123456789abcdef0",
            "registeredResources": [
                {"name": "CPU", "type": "INTEGER", "value": "2048"},
                {"name": "MEMORY", "type": "LONG", "value": "7680"},
                {"name": "SPARE", "type": "DOUBLE", "value": "10.30"},
                {"name": "PORTS", "type": "STRINGSET", "value": "22,2376"},
            ],
            "remainingResources": [{"name": "CPU", "type": "INTEGER", "value": "0"}],
            "status": "ACTIVE",
            "versionInfo": {"agentVersion": "1.90.0", "agentHash": "aebcbca"},
        },
    }


def test_what_the_contract_requires_is_there_even_if_ecs_told_nothing() -> None:
    bare = entity({"taskArn": task_arn(1)})
    assert v1(bare)["entity"] == {
        "clusterARN": CLUSTER,
        "containerInstanceARN": "",
        "containers": [],
        "createdAt": "",
        "desiredStatus": "",
        "lastStatus": "",
        "overrides": {"containerOverrides": []},
        "taskARN": task_arn(1),
        "taskDefinitionARN": "",
    }
    empty = entity({"containerInstanceArn": host_arn(1)})
    assert v1(empty)["entity"] == {
        "agentConnected": False,
        "clusterARN": CLUSTER,
        "containerInstanceARN": host_arn(1),
        "registeredResources": [],
        "remainingResources": [],
        "status": "",
        "versionInfo": {},
    }


def test_a_task_without_a_host_names_none() -> None:
    fargate = task(containerInstanceArn=None, launchType="FARGATE")
    assert v1(fargate)["entity"]["containerInstanceARN"] == ""


@pytest.mark.parametrize(
    "members",
    [
        {"containers": "none"},
        {"containers": [1, None, {"name": 7, "exitCode": "x", "networkBindings": {}}]},
        {"containers": [{"exitCode": 10**30, "networkBindings": [{"hostPort": "80-90"}]}]},
        {"overrides": []},
        {"overrides": {"containerOverrides": [{"command": "x", "environment": [{"name": 1}]}]}},
        {"startedBy": 7, "createdAt": {"seconds": 1}},
        {"createdAt": 1e300, "stoppedAt": True},
        {"newMember": [{"newAt": 1}], "another": {"lastUpdated": 1e300}},
    ],
)
def test_a_task_that_nobody_expected_is_shown_all_the_same(members: dict[str, Any]) -> None:
    odd = task(**members)
    assert v1(odd)["entity"]["taskARN"] == task_arn(1)
    assert v2(odd)["task"]["taskArn"] == task_arn(1)


@pytest.mark.parametrize(
    "members",
    [
        {"attributes": {"a": 1}},
        {"attributes": ["x", {"value": 1}]},
        {"registeredResources": [{"type": "INTEGER", "integerValue": "many"}]},
        {"registeredResources": [{"name": "GPU", "type": "NEWTYPE", "newValue": 1}]},
        {"versionInfo": []},
        {"agentConnected": "yes"},
    ],
)
def test_a_host_that_nobody_expected_is_shown_all_the_same(members: dict[str, Any]) -> None:
    odd = instance(**members)
    assert v1(odd)["entity"]["containerInstanceARN"] == host_arn(1)
    assert v2(odd)["instance"]["containerInstanceArn"] == host_arn(1)


def test_an_exit_code_of_0_is_shown_and_an_unknown_one_left_out() -> None:
    done = task(containers=[{"name": "a", "exitCode": 0}, {"name": "b"}])
    first, second = v1(done)["entity"]["containers"]
    assert first["exitCode"] == 0
    assert "exitCode" not in second


def test_overrides_are_shown() -> None:
    overridden = task(
        overrides={
            "taskRoleArn": "arn:role",
            "containerOverrides": [
                {
                    "name": "agent",
                    "command": ["a", "b"],
                    "environment": [{"name": "A", "value": "1"}],
                    "cpu": 1,
                }
            ],
        }
    )
    assert v1(overridden)["entity"]["overrides"] == {
        "taskRoleArn": "arn:role",
        "containerOverrides": [
            {"name": "agent", "command": ["a", "b"], "environment": [{"name": "A", "value": "1"}]}
        ],
    }


def test_what_is_gone_is_shown_in_v1_as_what_it_ended_in() -> None:
    gone = v1(entity(TASK, deleted=True))["entity"]
    assert (gone["lastStatus"], gone["desiredStatus"]) == ("STOPPED", "STOPPED")
    assert v1(entity(INSTANCE, deleted=True))["entity"]["status"] == "INACTIVE"


def test_an_item_is_encoded_once() -> None:
    shown = task()
    assert item_v1(shown) is item_v1(shown)
    assert item_v2(shown) is item_v2(shown)


# --- /v2 ------------------------------------------------------------------------------------------


def test_a_task_of_v2_has_every_member_that_ecs_told() -> None:
    shown = v2(entity({**TASK, "new": {"deep": [1]}}, read_at=1_750_000_100.1234))
    assert {name: value for name, value in shown.items() if name != "task"} == {
        "kind": "task",
        "arn": task_arn(1),
        "cluster": "demo",
        "clusterArn": CLUSTER,
        "version": 7,
        "readAt": "2025-06-15T15:08:20.123Z",
    }
    assert shown["task"] == {
        **TASK,
        "createdAt": "2025-06-15T15:06:40.250Z",
        "startedAt": "2025-06-15T15:06:41.000Z",
        "new": {"deep": [1]},
    }


def test_what_only_events_told_of_has_no_read() -> None:
    assert v2(instance())["readAt"] is None


def test_what_is_gone_is_named() -> None:
    assert json.loads(deleted_v2(entity(TASK, deleted=True))) == {
        "kind": "task",
        "arn": task_arn(1),
        "cluster": "demo",
        "clusterArn": CLUSTER,
        "version": 7,
    }


def test_a_cluster_is_shown_with_its_sweep() -> None:
    seen = ClusterSeen(arn=CLUSTER, primed=True, sweep=4, read_error="no")
    shown = Entity(kind="cluster", key=CLUSTER, cluster_arn=CLUSTER, version=9, seen=seen)
    assert json.loads(cluster_v2(shown, epoch="e1")) == {
        "name": "demo",
        "arn": CLUSTER,
        "status": "ACTIVE",
        "primed": True,
        "version": 9,
        "sweep": {"epoch": "e1", "number": 4},
        "readError": "no",
    }


# --- Times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_750_000_000, "2025-06-15T15:06:40.000Z"),
        (1_750_000_000.9996, "2025-06-15T15:06:41.000Z"),
        (1_750_000_000.0004, "2025-06-15T15:06:40.000Z"),
        (-0.5, "1969-12-31T23:59:59.500Z"),
    ],
)
def test_a_time_is_text_with_milliseconds(seconds: float, text: str) -> None:
    assert iso(seconds) == text


@pytest.mark.parametrize("seconds", [1e300, -1e300, 1e18, float("inf"), float("nan")])
def test_what_is_in_no_calendar_is_no_time(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"time|year|NaN|nan"):
        iso(seconds)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("stoppedAt", b"1750000000.25", b'"2025-06-15T15:06:40.250Z"'),
        ("stoppedAt", b'"2025-06-15T15:06:40.25Z"', b'"2025-06-15T15:06:40.25Z"'),
        ("stoppedAt", b"1e300", b"1e300"),
        ("stoppedAt", b"true", b"true"),
        ("cpu", b"1750000000", b"1750000000"),
        ("tags", b'[{"key":"createdAt", "value":"x"}]', b'[{"key":"createdAt","value":"x"}]'),
        (
            "containers",
            b'[{"managedAgents":[{"name":"x","lastStartedAt":0}]}]',
            b'[{"managedAgents":[{"name":"x","lastStartedAt":"1970-01-01T00:00:00.000Z"}]}]',
        ),
        (
            "healthStatus",
            b'{"details":[{"lastUpdated":0,"lastStatusChange":1}]}',
            b'{"details":[{"lastUpdated":"1970-01-01T00:00:00.000Z",'
            b'"lastStatusChange":"1970-01-01T00:00:01.000Z"}]}',
        ),
    ],
)
def test_times_are_text_wherever_they_stand(name: str, value: bytes, shown: bytes) -> None:
    assert with_times(name, value) == shown
