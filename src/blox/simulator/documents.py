"""Records as ECS's API and EventBridge show them.

Fields: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html,
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerInstance.html,
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html,
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_container_instance_events.html
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from blox.simulator.model import (
    ClusterRecord,
    DefinitionRecord,
    HostRecord,
    Json,
    ProviderRecord,
    ServiceRecord,
    TaskRecord,
)
from blox.simulator.parameters import tag_list

RESERVED_TCP: Final = (22, 2375, 2376, 51678, 51679)
"""Ports that every ECS host keeps for itself: SSH, Docker and the agent."""
_VERSIONS: Final[Json] = {
    "agentHash": "aebcbca",
    "agentVersion": "1.90.0",
    "dockerVersion": "DockerVersion: 25.0.8",
}


class Usage(NamedTuple):
    """What the live tasks of a host take."""

    cpu: int
    memory: int
    tcp: tuple[int, ...]
    udp: tuple[int, ...]
    running: int
    """Tasks with desiredStatus RUNNING."""
    pending: int


def iso(time: float) -> str:
    """A time as events carry it: UTC, with no more fraction digits than needed, up to three."""
    moment = datetime.fromtimestamp(round(time, 3), UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{moment.microsecond // 1000:03d}".rstrip("0").rstrip(".")
    return f"{text}{fraction}Z"


def _resources(cpu: int, memory: int, tcp: tuple[int, ...], udp: tuple[int, ...]) -> list[Json]:
    return [
        {"name": "CPU", "type": "INTEGER", "integerValue": cpu},
        {"name": "MEMORY", "type": "INTEGER", "integerValue": memory},
        {"name": "PORTS", "type": "STRINGSET", "stringSetValue": [str(port) for port in tcp]},
        {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": [str(port) for port in udp]},
    ]


def attribute_list(host: HostRecord) -> list[Json]:
    """A host's attributes; capabilities have a name and no value."""
    return [
        {"name": name} if value is None else {"name": name, "value": value}
        for name, value in host.attributes.items()
    ]


def _host_common(host: HostRecord, usage: Usage) -> Json:
    taken = tuple(sorted({*RESERVED_TCP, *usage.tcp}))
    return {
        "containerInstanceArn": host.arn,
        "ec2InstanceId": host.instance_id,
        "version": host.version,
        "versionInfo": dict(_VERSIONS),
        "remainingResources": _resources(
            host.cpu - usage.cpu, host.memory - usage.memory, taken, tuple(sorted(usage.udp))
        ),
        "registeredResources": _resources(host.cpu, host.memory, RESERVED_TCP, ()),
        "status": host.status,
        "agentConnected": host.agent_connected,
        "attributes": attribute_list(host),
    }


def host_document(host: HostRecord, usage: Usage, *, with_tags: bool, with_health: bool) -> Json:
    """A container instance as DescribeContainerInstances shows it."""
    document = _host_common(host, usage)
    document |= {
        "runningTasksCount": usage.running,
        "pendingTasksCount": usage.pending,
        "registeredAt": host.registered_at,
        "attachments": [],
    }
    if host.provider:
        document["capacityProviderName"] = host.provider
    if with_tags:
        document["tags"] = tag_list(host.tags)
    if with_health:
        document["healthStatus"] = {"overallStatus": "OK", "details": []}
    return document


def host_detail(host: HostRecord, usage: Usage, *, cluster_arn: str, time: float) -> Json:
    """A container instance as its event shows it: without counts, registeredAt and tags."""
    return _host_common(host, usage) | {"clusterArn": cluster_arn, "updatedAt": iso(time)}


def _container(
    task: TaskRecord, container: Json, index: int, *, event: bool, definition: DefinitionRecord
) -> Json:
    short = task.arn.rsplit("/", 1)[-1]
    document: Json = {
        "containerArn": f"{task.arn.replace(':task/', ':container/', 1)}/{short[:8]}-{index}",
        "taskArn": task.arn,
        "name": container.get("name", ""),
        "image": container.get("image", ""),
        "lastStatus": _container_status(task.last_status),
        "networkInterfaces": [],
        "cpu": str(container.get("cpu", 0)),
    }
    if index < len(task.digests):
        document["imageDigest"] = task.digests[index]
    if "memory" in container:
        document["memory"] = str(container["memory"])
    if task.started_at is not None:
        document["runtimeId"] = f"{short}-{index}"
        document["networkBindings"] = [] if definition.ports_tcp == () else _bindings(definition)
    if task.exit_code is not None:
        document["exitCode"] = task.exit_code
    elif task.stopped_at is not None and task.stop_code == "TaskFailedToStart":
        document["reason"] = task.stopped_reason
    if not event:
        document["healthStatus"] = task.health if "healthCheck" in container else "UNKNOWN"
    return document


def _bindings(definition: DefinitionRecord) -> list[Json]:
    return [
        {"bindIP": "0.0.0.0", "containerPort": port, "hostPort": port, "protocol": "tcp"}
        for port in definition.ports_tcp
    ]


def _container_status(task_status: str) -> str:
    if task_status in ("STOPPED", "DEPROVISIONING", "DELETED"):
        return "STOPPED"
    return "RUNNING" if task_status in ("RUNNING", "DEACTIVATING", "STOPPING") else "PENDING"


def _task_common(
    task: TaskRecord, definition: DefinitionRecord, host: HostRecord, cluster: str, *, event: bool
) -> Json:
    containers = definition.document.get("containerDefinitions")
    document: Json = {
        "taskArn": task.arn,
        "clusterArn": cluster,
        "containerInstanceArn": task.host,
        "taskDefinitionArn": task.definition,
        "attachments": [],
        "attributes": [
            {"name": "ecs.cpu-architecture", "value": host.attributes.get("ecs.cpu-architecture")}
        ],
        "availabilityZone": host.attributes.get("ecs.availability-zone") or "",
        "connectivity": "CONNECTED" if host.agent_connected else "DISCONNECTED",
        "containers": [
            _container(task, item, index, event=event, definition=definition)
            for index, item in enumerate(containers if isinstance(containers, list) else [])
        ],
        "cpu": str(task.cpu),
        "memory": str(task.memory),
        "desiredStatus": task.desired_status,
        "lastStatus": task.last_status,
        "enableExecuteCommand": task.execute_command,
        "group": task.group,
        "launchType": task.launch_type,
        "version": task.version,
    }
    if task.started_by:
        document["startedBy"] = task.started_by
    if task.stop_code:
        document["stopCode"] = task.stop_code
    if task.stopped_reason:
        document["stoppedReason"] = task.stopped_reason
    return document


def _times(task: TaskRecord) -> dict[str, float]:
    every = {
        "createdAt": task.created_at,
        "pullStartedAt": task.started_at,
        "pullStoppedAt": task.started_at,
        "startedAt": task.started_at,
        "stoppingAt": task.stopping_at,
        "executionStoppedAt": task.execution_stopped_at,
        "stoppedAt": task.stopped_at,
    }
    return {name: time for name, time in every.items() if time is not None}


def task_document(
    task: TaskRecord,
    definition: DefinitionRecord,
    host: HostRecord,
    *,
    cluster_arn: str,
    with_tags: bool = False,
) -> Json:
    """A task as the API shows it."""
    document = _task_common(task, definition, host, cluster_arn, event=False)
    document |= _times(task)
    document["healthStatus"] = task.health
    document["overrides"] = task.overrides
    if with_tags:
        document["tags"] = tag_list(task.tags)
    return document


def task_detail(
    task: TaskRecord,
    definition: DefinitionRecord,
    host: HostRecord,
    *,
    cluster_arn: str,
    time: float,
    with_overrides: bool,
) -> Json:
    """A task as its event shows it: no health, no tags, times in ISO 8601; the overrides' contents
    only `with_overrides`."""
    detail = _task_common(task, definition, host, cluster_arn, event=True)
    detail |= {name: iso(value) for name, value in _times(task).items()}
    detail["updatedAt"] = iso(time)
    if with_overrides:
        detail["overrides"] = task.overrides
    else:
        containers = detail["containers"]
        names = [item["name"] for item in containers] if isinstance(containers, list) else []
        detail["overrides"] = {"containerOverrides": [{"name": name} for name in names]}
    return detail


def cluster_document(
    cluster: ClusterRecord, *, hosts: int, running: int, pending: int, services: int
) -> Json:
    """A cluster as DescribeClusters shows it."""
    return {
        "clusterArn": cluster.arn,
        "clusterName": cluster.name,
        "status": cluster.status,
        "registeredContainerInstancesCount": hosts,
        "runningTasksCount": running,
        "pendingTasksCount": pending,
        "activeServicesCount": services,
        "statistics": [],
        "tags": tag_list(cluster.tags),
        "settings": [],
        "capacityProviders": list(cluster.providers),
        "defaultCapacityProviderStrategy": list(cluster.strategy),
    }


def provider_document(provider: ProviderRecord) -> Json:
    """A capacity provider as DescribeCapacityProviders shows it, without its tags."""
    return {
        "capacityProviderArn": provider.arn,
        "name": provider.name,
        "status": provider.status,
        "autoScalingGroupProvider": {
            "autoScalingGroupArn": provider.group_arn,
            "managedScaling": {
                "status": provider.managed_scaling,
                "targetCapacity": provider.target_capacity,
                "minimumScalingStepSize": 1,
                "maximumScalingStepSize": 10_000,
                "instanceWarmupPeriod": 300,
            },
            "managedTerminationProtection": provider.termination_protection,
            "managedDraining": provider.managed_draining,
        },
        "tags": [],
    }


def service_document(
    service: ServiceRecord, tasks: Sequence[TaskRecord], *, cluster_arn: str, desired: int
) -> Json:
    """A service as DescribeServices shows it, without its tags. `tasks`: those that shall run."""
    document: Json = {
        "serviceArn": service.arn,
        "serviceName": service.name,
        "clusterArn": cluster_arn,
        "status": service.status,
        "schedulingStrategy": service.strategy,
        "launchType": service.launch_type,
        **_counts(tasks, desired),
        "loadBalancers": [],
        "serviceRegistries": [],
        "events": [],
        "createdAt": service.created_at,
        "placementConstraints": [
            {"type": kind, "expression": text} if text else {"type": kind}
            for kind, text in service.constraints
        ],
        "placementStrategy": [],
        "deployments": [],
        "propagateTags": "NONE",
    }
    if service.definition:
        document["taskDefinition"] = service.definition
        document["deployments"] = _deployments(service, tasks, desired)
    return document


def _counts(tasks: Sequence[TaskRecord], desired: int) -> Json:
    running = sum(task.last_status == "RUNNING" for task in tasks)
    return {
        "desiredCount": desired,
        "runningCount": running,
        "pendingCount": len(tasks) - running,
    }


def _deployments(service: ServiceRecord, tasks: Sequence[TaskRecord], desired: int) -> list[Json]:
    """The newest deployment alone; former ones have nothing left to do but stop."""
    current = [task for task in tasks if task.started_by == service.deployment]
    counts = _counts(current, desired)
    done = counts["runningCount"] == desired and len(current) == len(tasks)
    return [
        {
            "id": service.deployment,
            "status": "PRIMARY",
            "taskDefinition": service.definition,
            **counts,
            "failedTasks": 0,
            "createdAt": service.deployed_at,
            "updatedAt": service.deployed_at,
            "launchType": service.launch_type,
            "rolloutState": "COMPLETED" if done else "IN_PROGRESS",
        }
    ]
