"""Surveys, short to write: hosts, tasks, services and definitions as ECS would have shown them."""

from collections.abc import Mapping
from typing import Any

from blox.account.surveyed import RunImage, Survey, SurveyedTask
from blox.clusterstate.absence import superseded
from blox.ecs.model import (
    ClusterDocument,
    Host,
    Resources,
    RuntimePlatform,
    ServiceDocument,
    Task,
    TaskDefinition,
)
from support.documents import CLUSTER, PREFIX, host_arn, task_arn

AT = 1_750_000_000.0
"""When every survey here was made."""
HOUR = 3600.0
DAY = 24 * HOUR
ATTRIBUTES = {
    "ecs.ami-id": "ami-1",
    "ecs.instance-type": "m7i.large",
    "ecs.availability-zone": "us-east-1a",
    "ecs.cpu-architecture": "x86_64",
    "ecs.os-type": "linux",
    "ecs.os-family": "LINUX",
    "com.amazonaws.ecs.capability.docker-remote-api.1.18": "",
}
ROOM = Resources(cpu=2048, memory=4096)


def host(number: int, attributes: Mapping[str, str] | None = None, **fields: Any) -> Host:
    """A ready host with room that registered six days ago. `attributes` beside the usual ones."""
    given: dict[str, Any] = {
        "arn": host_arn(number),
        "cluster_arn": CLUSTER,
        "instance_id": f"i-{number:017x}",
        "registered_at": AT - 6 * DAY,
        "attributes": {**ATTRIBUTES, **(attributes or {})},
        "remaining": ROOM,
        "agent_version": "1.90.0",
    }
    return Host(**(given | fields))


def definition_arn(family: str, revision: int = 1) -> str:
    return f"{PREFIX}:task-definition/{family}:{revision}"


def definition(family: str, *, architecture: str | None = None, **fields: Any) -> TaskDefinition:
    """A task definition of 128 CPU units and 512 MiB."""
    platform = RuntimePlatform(cpu_architecture=architecture) if architecture else None
    given: dict[str, Any] = {
        "task_definition_arn": definition_arn(family),
        "family": family,
        "revision": 1,
        "cpu": "128",
        "memory": "512",
        "runtime_platform": platform,
    }
    return TaskDefinition(**(given | fields))


def task(
    number: int, on: int, family: str, *, digest: str = "", revision: int = 1, **fields: Any
) -> SurveyedTask:
    """A task of a family that was started by hand and runs on host number `on`."""
    given: dict[str, Any] = {
        "arn": task_arn(number),
        "cluster_arn": CLUSTER,
        "host_arn": host_arn(on),
        "definition_arn": definition_arn(family, revision),
        "last_status": "RUNNING",
        "desired_status": "RUNNING",
        "group": f"family:{family}",
        "created_at": AT - DAY,
        "started_at": AT - DAY,
        "intent": "",
    }
    images = (RunImage(f"repo/{family}:1", digest),) if digest else ()
    return SurveyedTask(task=Task(**(given | fields)), images=images)


def of_service(number: int, on: int, family: str, service: str, **fields: Any) -> SurveyedTask:
    """The same, of a service."""
    return task(
        number,
        on,
        family,
        **{"group": f"service:{service}", "started_by": "ecs-svc/1234567890123456789", **fields},
    )


def stopped(number: int, on: int, family: str, *, ago: float, **fields: Any) -> SurveyedTask:
    """One that stopped so many seconds ago."""
    return task(
        number,
        on,
        family,
        **{
            "last_status": "STOPPED",
            "desired_status": "STOPPED",
            "stopped_at": AT - ago,
            "stopped_reason": "Essential container in task exited",
            "exit_code": 1,
            **fields,
        },
    )


def service(name: str, family: str, strategy: str = "DAEMON", **fields: Any) -> ServiceDocument:
    """A service of launch type EC2."""
    given: dict[str, Any] = {
        "service_name": name,
        "scheduling_strategy": strategy,
        "launch_type": "EC2",
        "task_definition": definition_arn(family),
    }
    return ServiceDocument(**(given | fields))


def survey(
    *hosts: Host,
    tasks: tuple[SurveyedTask, ...] = (),
    definitions: tuple[TaskDefinition, ...] = (),
    **fields: Any,
) -> Survey:
    """What was found of the cluster."""
    ordered = tuple(sorted(hosts, key=lambda item: item.arn))
    given: dict[str, Any] = {
        "cluster": ClusterDocument(cluster_arn=CLUSTER, cluster_name="demo"),
        "hosts": ordered,
        "superseded": superseded(ordered),
        "tasks": tuple(sorted(tasks, key=lambda item: item.task.arn)),
        "definitions": {item.task_definition_arn: item for item in definitions},
        "at": AT,
        "took": 0.5,
        "calls": {"DescribeClusters": 1},
    }
    return Survey(**(given | fields))


def everywhere(family: str, *hosts: int, first: int = 1) -> tuple[SurveyedTask, ...]:
    """One hand-started task of a family on each of these hosts."""
    return tuple(task(first * 1000 + on, on, family) for on in hosts)
