"""Tasks and hosts of a catalogue, made from what ECS would send."""

import json
from collections.abc import Mapping
from typing import Any

from blox.clusterstate.entity import Entity, Kind
from blox.clusterstate.whole import NOTHING, members_of, merge_whole
from support.documents import CLUSTER, DEFINITION, host_arn, task_arn

TASK: Mapping[str, Any] = {
    "taskArn": task_arn(1),
    "clusterArn": CLUSTER,
    "containerInstanceArn": host_arn(1),
    "taskDefinitionArn": DEFINITION,
    "lastStatus": "RUNNING",
    "desiredStatus": "RUNNING",
    "healthStatus": "HEALTHY",
    "launchType": "EC2",
    "startedBy": "ops",
    "group": "service:web",
    "createdAt": 1_750_000_000.25,
    "startedAt": 1_750_000_001,
    "version": 3,
    "overrides": {"containerOverrides": [{"name": "agent"}]},
    "containers": [
        {
            "containerArn": "arn:c",
            "name": "agent",
            "lastStatus": "RUNNING",
            "networkBindings": [
                {"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 32768, "protocol": "tcp"}
            ],
        }
    ],
}
INSTANCE: Mapping[str, Any] = {
    "containerInstanceArn": host_arn(1),
    "ec2InstanceId": "i-0123456789abcdef0",
    "status": "ACTIVE",
    "agentConnected": True,
    "registeredAt": 1_749_000_000.5,
    "version": 5,
    "capacityProviderName": "spot",
    "attributes": [
        {"name": "ecs.os-type", "value": "linux"},
        {"name": "ecs.capability.task-eni"},
        {"name": "stack", "value": "blue"},
    ],
    "registeredResources": [
        {"name": "CPU", "type": "INTEGER", "integerValue": 2048},
        {"name": "MEMORY", "type": "LONG", "longValue": 7680},
        {"name": "SPARE", "type": "DOUBLE", "doubleValue": 10.3},
        {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "2376"]},
    ],
    "remainingResources": [{"name": "CPU", "type": "INTEGER", "integerValue": 0}],
    "versionInfo": {"agentVersion": "1.90.0", "agentHash": "aebcbca"},
}


def entity(
    document: Mapping[str, Any],
    *,
    version: int = 7,
    cluster_arn: str = CLUSTER,
    read_at: float | None = None,
    deleted: bool = False,
) -> Entity:
    """A task or host of which ECS has told this, once."""
    kind: Kind = "task" if "taskArn" in document else "instance"
    key = document["taskArn" if kind == "task" else "containerInstanceArn"]
    told = members_of(json.dumps(document).encode())
    return Entity(
        kind=kind,
        key=key,
        cluster_arn=cluster_arn,
        version=version,
        whole=merge_whole(NOTHING, told, (document.get("version", 0), 0.0), {}),
        read_at=read_at,
        deleted=deleted,
    )


def task(**members: Any) -> Entity:
    """A task with these members; None leaves one out."""
    return entity(_with(TASK, members))


def instance(**members: Any) -> Entity:
    """A host with these members; None leaves one out."""
    return entity(_with(INSTANCE, members))


def _with(document: Mapping[str, Any], members: Mapping[str, Any]) -> dict[str, Any]:
    given = {**document, **members}
    return {name: value for name, value in given.items() if value is not None}
