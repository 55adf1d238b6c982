"""What blox writes to ECS, and how it reads what ECS writes."""

import json

import pytest

from blox.ecs import wire
from blox.ecs.model import ContainerDefinition, TaskDefinition
from blox.ecs.port import StartRequest

INTENT = "01JZ0000000000000000000000"


def definition(*containers: str, network_mode: str | None = None) -> TaskDefinition:
    return TaskDefinition(
        task_definition_arn="arn:aws:ecs:us-east-1:111122223333:task-definition/agent:7",
        network_mode=network_mode,
        container_definitions=tuple(ContainerDefinition(name=name) for name in containers),
    )


def started(options: dict[str, object]) -> dict[str, object]:
    """The JSON of a StartTask with this task block."""
    request = StartRequest(
        cluster="demo",
        definition="agent:7",
        hosts=("h1", "h2"),
        started_by="d1",
        group="blox:agent",
        intent=INTENT,
        first_container="main",
        options=options,
    )
    operation, body = wire.start_task(request)
    assert operation == "StartTask"
    decoded: dict[str, object] = json.loads(body)
    return decoded


MARKER = {"name": "BLOX_INTENT", "value": INTENT}


def test_start_names_everything_and_carries_the_marker() -> None:
    assert started({}) == {
        "cluster": "demo",
        "taskDefinition": "agent:7",
        "containerInstances": ["h1", "h2"],
        "startedBy": "d1",
        "group": "blox:agent",
        "overrides": {"containerOverrides": [{"name": "main", "environment": [MARKER]}]},
    }


def test_the_marker_joins_the_users_own_overrides_of_the_first_container() -> None:
    level = {"name": "LEVEL", "value": "debug"}
    overrides = {
        "cpu": "64",
        "containerOverrides": [
            {"name": "side", "environment": [level]},
            {"name": "main", "command": ["run"], "environment": [level]},
        ],
    }
    sent = started({"overrides": overrides})["overrides"]
    assert sent == {
        "cpu": "64",
        "containerOverrides": [
            {"name": "side", "environment": [level]},
            {"name": "main", "command": ["run"], "environment": [level, MARKER]},
        ],
    }
    assert overrides["containerOverrides"][1] == {
        "name": "main",
        "command": ["run"],
        "environment": [level],
    }


def test_a_marker_of_the_users_own_never_survives() -> None:
    forged = {"name": "BLOX_INTENT", "value": "forged"}
    overrides = {"containerOverrides": [{"name": "main", "environment": [forged]}]}
    assert started({"overrides": overrides})["overrides"] == {
        "containerOverrides": [{"name": "main", "environment": [MARKER]}]
    }


def test_the_task_block_cannot_redirect_a_start() -> None:
    sent = started(
        {"cluster": "other", "startedBy": "someone", "group": "service:x", "propagateTags": "NONE"}
    )
    assert sent["cluster"] == "demo"
    assert sent["startedBy"] == "d1"
    assert sent["group"] == "blox:agent"
    assert sent["propagateTags"] == "NONE"


def test_lists_ask_for_whole_pages_and_go_on_at_the_token() -> None:
    assert json.loads(wire.list_tasks("demo", "STOPPED", "next").body) == {
        "cluster": "demo",
        "desiredStatus": "STOPPED",
        "maxResults": 100,
        "nextToken": "next",
    }
    assert json.loads(wire.list_hosts("demo").body) == {"cluster": "demo", "maxResults": 100}


def test_services_are_listed_by_whole_pages_whatever_they_are() -> None:
    operation, body = wire.list_services("demo", "next")
    assert operation == "ListServices"
    assert json.loads(body) == {"cluster": "demo", "maxResults": 100, "nextToken": "next"}


def test_capacity_providers_are_asked_for_by_name_alone() -> None:
    operation, body = wire.describe_capacity_providers(("a", "b"))
    assert operation == "DescribeCapacityProviders"
    assert json.loads(body) == {"capacityProviders": ["a", "b"]}


def test_attributes_name_their_hosts_in_full_and_are_deleted_whatever_their_value() -> None:
    operation, body = wire.put_attributes("demo", ["arn:1", "arn:2"], "wave", "one")
    assert operation == "PutAttributes"
    assert json.loads(body) == {
        "cluster": "demo",
        "attributes": [
            {"name": "wave", "value": "one", "targetId": "arn:1"},
            {"name": "wave", "value": "one", "targetId": "arn:2"},
        ],
    }
    operation, body = wire.delete_attributes("demo", ["arn:1"], "wave")
    assert operation == "DeleteAttributes"
    assert json.loads(body) == {
        "cluster": "demo",
        "attributes": [{"name": "wave", "targetId": "arn:1"}],
    }


def test_a_long_reason_is_cut() -> None:
    reason = json.loads(wire.stop_task("demo", "t", "x" * 999).body)["reason"]
    assert reason == "x" * 255


# --- Answers --------------------------------------------------------------------------------------


def test_nulls_and_unknown_members_do_not_spoil_an_answer() -> None:
    body = json.dumps(
        {
            "tasks": [
                {"taskArn": "t1", "version": None, "lastStatus": None, "brandNew": {"x": [1]}},
                {"taskArn": "t2", "version": 4, "createdAt": 1619719924.711},
            ],
            "failures": None,
        }
    ).encode()
    answer = wire.decode(body, wire.TasksAnswer)
    assert [task.task_arn for task in answer.tasks] == ["t1", "t2"]
    assert answer.tasks[1].version == 4
    assert answer.tasks[1].created_at == 1619719924.711
    assert answer.failures == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b"[]",
        b'{"tasks": [{}]}',
        b'{"tasks": "none"}',
        b'{"tasks": [{"taskArn": 7}]}',
        b'{"tasks": [{"taskArn": "\xff"}]}',
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_unreadable(body: bytes) -> None:
    with pytest.raises(wire.Unreadable):
        wire.decode(body, wire.TasksAnswer)


def test_a_definition_shows_its_health_checks() -> None:
    body = json.dumps(
        {
            "taskDefinition": {
                "taskDefinitionArn": "arn",
                "family": "agent",
                "revision": 7,
                "containerDefinitions": [
                    {"name": "main", "essential": True, "healthCheck": {"command": ["CMD", "x"]}}
                ],
            }
        }
    ).encode()
    found = wire.decode(body, wire.DefinitionAnswer).task_definition
    assert found.revision == 7
    assert found.has_health_check


def test_a_daemon_service_is_read_with_its_counts_and_constraints() -> None:
    body = json.dumps(
        {
            "services": [
                {
                    "serviceArn": "arn:s",
                    "serviceName": "logs",
                    "status": "ACTIVE",
                    "schedulingStrategy": "DAEMON",
                    "taskDefinition": "arn:d",
                    "desiredCount": 3,
                    "runningCount": 2,
                    "pendingCount": 1,
                    "placementConstraints": [
                        {"type": "memberOf", "expression": "attribute:wave !exists"}
                    ],
                    "deployments": [{"id": "ecs-svc/1"}],
                }
            ],
            "failures": [{"arn": "arn:x", "reason": "MISSING"}],
        }
    ).encode()
    found = wire.decode(body, wire.ServicesAnswer)
    (service,) = found.services
    assert (service.service_arn, service.task_definition) == ("arn:s", "arn:d")
    assert (service.desired_count, service.running_count, service.pending_count) == (3, 2, 1)
    (constraint,) = service.placement_constraints or ()
    assert (constraint.type, constraint.expression) == ("memberOf", "attribute:wave !exists")
    assert [failure.reason for failure in found.failures] == ["MISSING"]


@pytest.mark.parametrize(
    ("settings", "scales_in"),
    [
        ({}, False),
        ({"autoScalingGroupProvider": None, "type": "FARGATE"}, False),
        ({"autoScalingGroupProvider": {"autoScalingGroupArn": "arn:asg"}}, False),
        ({"autoScalingGroupProvider": {"managedScaling": {"status": "DISABLED"}}}, False),
        ({"autoScalingGroupProvider": {"managedScaling": {"status": None}}}, False),
        ({"autoScalingGroupProvider": {"managedScaling": {"status": "ENABLED"}}}, True),
    ],
)
def test_a_capacity_provider_scales_in_where_its_managed_scaling_is_on(
    settings: dict[str, object], *, scales_in: bool
) -> None:
    body = json.dumps({"capacityProviders": [{"name": "cp", **settings}]}).encode()
    (provider,) = wire.decode(body, wire.ProvidersAnswer).capacity_providers
    assert provider.scales_in is scales_in


# --- The task block -------------------------------------------------------------------------------

SUBNETS = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}


@pytest.mark.parametrize(
    "task",
    [
        {},
        {"overrides": {"containerOverrides": [{"name": "side", "environment": []}]}},
        {"enableExecuteCommand": True, "enableECSManagedTags": False, "propagateTags": "NONE"},
        {"tags": [{"key": "team", "value": "logs"}, {"key": "bare"}]},
    ],
)
def test_a_sound_task_block_has_no_problem(task: dict[str, object]) -> None:
    assert wire.overrides_problem(task, definition("main", "side")) is None


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ({"launchType": "EC2"}, "task.launchType is not an option"),
        ({"overrides": []}, "must be an object"),
        ({"overrides": {"containerOverrides": {}}}, "must be a list"),
        ({"overrides": {"containerOverrides": [{}]}}, "needs a name"),
        ({"overrides": {"containerOverrides": ["main"]}}, "needs a name"),
        ({"overrides": {"containerOverrides": [{"name": "other"}]}}, "'other'"),
        ({"overrides": {"containerOverrides": [{"name": "main"}] * 2}}, "twice"),
        (
            {"overrides": {"containerOverrides": [{"name": "main", "environment": {"A": "1"}}]}},
            "names and values",
        ),
        (
            {
                "overrides": {
                    "containerOverrides": [
                        {"name": "side", "environment": [{"name": "BLOX_INTENT", "value": "x"}]}
                    ]
                }
            },
            "sets BLOX_INTENT",
        ),
        ({"networkConfiguration": SUBNETS}, "needs network mode awsvpc"),
        ({"enableExecuteCommand": "yes"}, "true or false"),
        ({"propagateTags": "SERVICE"}, "TASK_DEFINITION or NONE"),
        ({"tags": {"team": "logs"}}, "must be a list"),
        ({"tags": [{"key": "AWS:x", "value": ""}]}, "keeps for itself"),
        ({"tags": [{"key": "k", "value": "v" * 257}]}, "at most 256"),
    ],
)
def test_what_could_never_start_is_named(task: dict[str, object], says: str) -> None:
    problem = wire.overrides_problem(task, definition("main", "side"))
    assert problem is not None
    assert says in problem


def test_overrides_leave_room_for_the_marker() -> None:
    def sized(length: int) -> dict[str, object]:
        pair = {"name": "A", "value": ""}
        task: dict[str, object] = {
            "overrides": {"containerOverrides": [{"name": "main", "environment": [pair]}]}
        }
        rest = length - len(json.dumps(task["overrides"], separators=(",", ":")))
        pair["value"] = "x" * rest
        return task

    assert wire.overrides_problem(sized(7600), definition("main")) is None
    problem = wire.overrides_problem(sized(7601), definition("main"))
    assert problem is not None
    assert "7,601 characters" in problem
    assert len(json.dumps(started(sized(7600))["overrides"], separators=(",", ":"))) < 8192


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (None, "is needed"),
        ({}, "1 to 16 subnet"),
        ({"awsvpcConfiguration": {"subnets": []}}, "1 to 16 subnet"),
        ({"awsvpcConfiguration": {"subnets": ["s"] * 17}}, "1 to 16 subnet"),
        ({"awsvpcConfiguration": {"subnets": [1]}}, "1 to 16 subnet"),
        ({"awsvpcConfiguration": {"subnets": ["s"], "securityGroups": ["g"] * 6}}, "at most 5"),
        (SUBNETS, None),
    ],
)
def test_awsvpc_needs_subnets(network: object, says: str | None) -> None:
    task = {} if network is None else {"networkConfiguration": network}
    problem = wire.overrides_problem(task, definition("main", network_mode="awsvpc"))
    assert (problem is None) == (says is None)
    assert says is None or says in str(problem)
