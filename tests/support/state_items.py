"""Answers of the cluster-state-service as it gives them: hosts, tasks, clusters, lines of a stream.

The members below `task` and `instance` are recorded from the simulated ECS; tests change what they
are about.
"""

from typing import Any

ACCOUNT = "arn:aws:ecs:us-east-1:111122223333"
CLUSTER = f"{ACCOUNT}:cluster/demo"
MADE = "2026-11-22T23:00:00.000Z"

Item = dict[str, Any]


def host_arn(number: int, cluster: str = "demo") -> str:
    """The ARN of a container instance."""
    return f"{ACCOUNT}:container-instance/{cluster}/{number:032x}"


def task_arn(number: int, cluster: str = "demo") -> str:
    """The ARN of a task."""
    return f"{ACCOUNT}:task/{cluster}/{number:032x}"


def instance_item(
    number: int = 1,
    *,
    cluster: str = "demo",
    version: int = 1,
    cpu: int = 2048,
    memory: int = 3904,
    **members: object,
) -> Item:
    """A host."""
    told: Item = {
        "containerInstanceArn": host_arn(number, cluster),
        "ec2InstanceId": f"i-{number:017x}",
        "status": "ACTIVE",
        "agentConnected": True,
        "runningTasksCount": 0,
        "pendingTasksCount": 0,
        "registeredAt": MADE,
        "attributes": [
            {"name": "ecs.availability-zone", "value": "us-east-1a"},
            {"name": "ecs.instance-type", "value": "t3.medium"},
            {"name": "ecs.capability.docker-remote-api.1.21"},
        ],
        "registeredResources": [
            {"name": "CPU", "type": "INTEGER", "integerValue": 2048},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": 3904},
            {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "2376"]},
        ],
        "remainingResources": [
            {"name": "CPU", "type": "INTEGER", "integerValue": cpu},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": memory},
            {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "2376"]},
        ],
        **members,
    }
    return _item("instance", host_arn(number, cluster), cluster, version, told)


def task_item(
    number: int = 1,
    *,
    host: int | None = 1,
    cluster: str = "demo",
    version: int = 1,
    **members: object,
) -> Item:
    """A task. `host`: the number of the host that it runs on; None: on Fargate."""
    told: Item = {
        "taskArn": task_arn(number, cluster),
        "clusterArn": f"{ACCOUNT}:cluster/{cluster}",
        "taskDefinitionArn": f"{ACCOUNT}:task-definition/fluent-bit:1",
        "lastStatus": "RUNNING",
        "desiredStatus": "RUNNING",
        "healthStatus": "UNKNOWN",
        "launchType": "EC2" if host is not None else "FARGATE",
        "group": "family:fluent-bit",
        "startedBy": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "createdAt": MADE,
        "containers": [{"name": "fluent-bit", "lastStatus": "RUNNING", "containerArn": "arn:c"}],
    }
    if host is not None:
        told["containerInstanceArn"] = host_arn(host, cluster)
    return _item("task", task_arn(number, cluster), cluster, version, {**told, **members})


def cluster_body(
    name: str = "demo",
    *,
    hosts: int = 0,
    tasks: int = 0,
    primed: bool = True,
    sweep: int = 7,
    age: float | None = 12.0,
    epoch: str = "e1",
    error: str | None = None,
    version: int = 1,
) -> Item:
    """How well a cluster is known."""
    return {
        "name": name,
        "arn": f"{ACCOUNT}:cluster/{name}",
        "status": "ACTIVE",
        "primed": primed,
        "instances": hosts,
        "tasks": tasks,
        "version": version,
        "sweep": {"epoch": epoch, "number": sweep, "completedAt": MADE, "ageSeconds": age},
        "readError": error,
    }


def deleted(item: Item, *, version: int) -> Item:
    """What a stream says of a task or host that is gone."""
    kept = ("kind", "arn", "cluster", "clusterArn")
    return {**{name: item[name] for name in kept}, "version": version}


def line(event: str, position: int, data: Item) -> Item:
    """One line of a stream."""
    return {"event": event, "position": f"k3f9p2.{position}", "data": data}


def beat(position: int) -> Item:
    """A heartbeat."""
    return line("heartbeat", position, {"position": f"k3f9p2.{position}"})


def _item(kind: str, arn: str, cluster: str, version: int, told: Item) -> Item:
    return {
        "kind": kind,
        "arn": arn,
        "cluster": cluster,
        "clusterArn": f"{ACCOUNT}:cluster/{cluster}",
        "version": version,
        "readAt": MADE,
        kind: told,
    }
