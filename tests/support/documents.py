"""Documents of ECS, short to write: tasks, hosts, and the events that carry them."""

import json
from datetime import UTC, datetime
from typing import Any

from blox.ecs.model import (
    MARKER,
    ContainerOverride,
    HostDocument,
    KeyValue,
    Overrides,
    TaskDocument,
)

PREFIX = "arn:aws:ecs:us-east-1:111122223333"
CLUSTER = f"{PREFIX}:cluster/demo"
OTHER_CLUSTER = f"{PREFIX}:cluster/other"
DEFINITION = f"{PREFIX}:task-definition/agent:7"
GROUP = "blox:agent"
STARTED_BY = "0b7c6a3e-7f52-4d25-9d3c-0123456789ab"
INTENT = "01JZ0000000000000000000000"


def task_arn(number: int, cluster: str = "demo") -> str:
    return f"{PREFIX}:task/{cluster}/{number:032x}"


def host_arn(number: int, cluster: str = "demo") -> str:
    return f"{PREFIX}:container-instance/{cluster}/{number:032x}"


def marked(intent: str = INTENT) -> Overrides:
    """Overrides that carry a marker, in the second of two containers."""
    variables = (KeyValue(name="A", value="1"), KeyValue(name=MARKER, value=intent))
    return Overrides(
        container_overrides=(
            ContainerOverride(name="sidecar"),
            ContainerOverride(name="agent", environment=variables),
        )
    )


PLAIN = Overrides(container_overrides=(ContainerOverride(name="agent"),))
"""Overrides without a marker."""


def task(number: int = 1, **fields: Any) -> TaskDocument:
    """A whole account of one of our tasks, RUNNING on host 1, at version 3."""
    given: dict[str, Any] = {
        "task_arn": task_arn(number),
        "cluster_arn": CLUSTER,
        "container_instance_arn": host_arn(1),
        "task_definition_arn": DEFINITION,
        "last_status": "RUNNING",
        "desired_status": "RUNNING",
        "started_by": STARTED_BY,
        "group": GROUP,
        "version": 3,
        "overrides": marked(),
        **fields,
    }
    return TaskDocument(**given)


def foreign(number: int = 1, **fields: Any) -> TaskDocument:
    """A whole account of somebody else's task."""
    given: dict[str, Any] = {
        "group": "service:web",
        "started_by": "ecs-svc/123",
        "overrides": PLAIN,
        **fields,
    }
    return task(number, **given)


def host(number: int = 1, **fields: Any) -> HostDocument:
    """A whole account of a connected ACTIVE host at version 5."""
    given: dict[str, Any] = {
        "container_instance_arn": host_arn(number),
        "ec2_instance_id": f"i-{number:017x}",
        "version": 5,
        "status": "ACTIVE",
        "agent_connected": True,
        "registered_at": 1_750_000_000.0,
        **fields,
    }
    return HostDocument(**given)


def task_event(number: int = 1, *, time: float, **detail: Any) -> bytes:
    """The message of a task event: ours, RUNNING on host 1, at version 3."""
    variable = {"name": MARKER, "value": INTENT}
    return _event(
        "ECS Task State Change",
        time,
        {
            "taskArn": task_arn(number),
            "clusterArn": CLUSTER,
            "containerInstanceArn": host_arn(1),
            "taskDefinitionArn": DEFINITION,
            "lastStatus": "RUNNING",
            "desiredStatus": "RUNNING",
            "startedBy": STARTED_BY,
            "group": GROUP,
            "version": 3,
            "overrides": {"containerOverrides": [{"name": "agent", "environment": [variable]}]},
            **detail,
        },
    )


def host_event(number: int = 1, *, time: float, **detail: Any) -> bytes:
    """The message of a host event: connected and ACTIVE, at version 5."""
    return _event(
        "ECS Container Instance State Change",
        time,
        {
            "containerInstanceArn": host_arn(number),
            "clusterArn": CLUSTER,
            "ec2InstanceId": f"i-{number:017x}",
            "status": "ACTIVE",
            "agentConnected": True,
            "version": 5,
            **detail,
        },
    )


def _event(kind: str, time: float, detail: dict[str, Any]) -> bytes:
    present = {name: value for name, value in detail.items() if value is not None}
    stamp = datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps(
        {"source": "aws.ecs", "detail-type": kind, "time": stamp, "detail": present}
    ).encode()
