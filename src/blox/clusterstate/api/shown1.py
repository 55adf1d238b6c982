"""A task or host as /v1 shows it. Pure.

Whatever ECS tells, this shows what the contract knows: members of another type than they should
have count as absent, new ones are not looked at, and what the contract requires is always there.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, TypeGuard, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from blox.clusterstate.api.bodies1 import (
    ContainerInstance,
    ContainerInstanceAttribute,
    ContainerInstanceDetail,
    ContainerInstanceResource,
    ContainerInstanceVersionInfo,
    Metadata,
    Task,
    TaskContainer,
    TaskContainerOverride,
    TaskDetail,
    TaskEnvironment,
    TaskNetworkBinding,
    TaskOverride,
)
from blox.clusterstate.api.encoded import Encoded
from blox.clusterstate.api.moments import time_text
from blox.clusterstate.entity import Entity
from blox.ecs.model import INACTIVE, STOPPED

JsonObject = dict[str, object]
T = TypeVar("T")

_SHARED: Final = 2048
"""Lists of attributes and resources that are kept as they are shown: most hosts share theirs."""


def item_v1(entity: Entity) -> bytes:
    """The JSON of a task or host, kept for a while. One that is gone is shown as what it ended in:
    STOPPED or INACTIVE."""
    if entity.v1 is None:
        shown = _instance(entity) if entity.kind == "instance" else _task(entity)
        entity.v1 = msgspec.json.encode(shown)
        _encoded.add(entity, len(entity.v1))
    return entity.v1


def _drop(entity: Entity) -> None:
    entity.v1 = None


_encoded: Final = Encoded(_drop)


# --- Hosts ----------------------------------------------------------------------------------------


def _instance(entity: Entity) -> ContainerInstance:
    whole = entity.whole
    versions = _members(whole.get("versionInfo"))
    attributes = whole.get("attributes")
    return ContainerInstance(
        metadata=Metadata(entity_version=str(entity.version)),
        entity=ContainerInstanceDetail(
            agent_connected=whole.get("agentConnected") == b"true",
            agent_update_status=_told(entity, "agentUpdateStatus") or UNSET,
            attributes=UNSET if attributes is None else _attributes(attributes),
            cluster_arn=entity.cluster_arn,
            container_instance_arn=entity.key,
            ec2_instance_id=_told(entity, "ec2InstanceId") or UNSET,
            registered_resources=_resources(whole.get("registeredResources") or b"[]"),
            remaining_resources=_resources(whole.get("remainingResources") or b"[]"),
            status=INACTIVE if entity.deleted else _told(entity, "status"),
            version_info=ContainerInstanceVersionInfo(
                agent_hash=_some_text(versions, "agentHash"),
                agent_version=_some_text(versions, "agentVersion"),
                docker_version=_some_text(versions, "dockerVersion"),
            ),
        ),
    )


@lru_cache(maxsize=_SHARED)
def _attributes(value: bytes) -> tuple[ContainerInstanceAttribute, ...]:
    return tuple(
        ContainerInstanceAttribute(name=_text(item, "name"), value=_text(item, "value"))
        for item in _objects(_decoded(value))
    )


@lru_cache(maxsize=_SHARED)
def _resources(value: bytes) -> tuple[ContainerInstanceResource, ...]:
    return tuple(
        ContainerInstanceResource(
            name=_text(item, "name"), type=_text(item, "type"), value=_resource_value(item)
        )
        for item in _objects(_decoded(value))
    )


def _resource_value(resource: JsonObject) -> str:
    """A resource's value as text, as 0.3 wrote it: the value of its type; fractions have two
    digits, the members of a set commas between them."""
    match resource.get("type"):
        case "INTEGER":
            return _number(resource.get("integerValue"))
        case "LONG":
            return _number(resource.get("longValue"))
        case "DOUBLE":
            value = resource.get("doubleValue")
            return f"{value:.2f}" if isinstance(value, int | float) else ""
        case "STRINGSET":
            return ",".join(_texts(resource.get("stringSetValue")))
    return ""


def _number(value: object) -> str:
    return str(value) if type(value) is int else ""


# --- Tasks ----------------------------------------------------------------------------------------


def _task(entity: Entity) -> Task:
    whole = entity.whole
    return Task(
        metadata=Metadata(entity_version=str(entity.version)),
        entity=TaskDetail(
            cluster_arn=entity.cluster_arn,
            container_instance_arn=_told(entity, "containerInstanceArn"),
            containers=_each(whole.get("containers"), _container),
            created_at=_time(entity, "createdAt") or "",
            desired_status=STOPPED if entity.deleted else _told(entity, "desiredStatus"),
            last_status=STOPPED if entity.deleted else _told(entity, "lastStatus"),
            overrides=_overrides(_members(whole.get("overrides"))),
            started_at=_time(entity, "startedAt") or UNSET,
            started_by=_told(entity, "startedBy") or UNSET,
            stopped_at=_time(entity, "stoppedAt") or UNSET,
            stopped_reason=_told(entity, "stoppedReason") or UNSET,
            task_arn=entity.key,
            task_definition_arn=_told(entity, "taskDefinitionArn"),
        ),
    )


def _container(container: JsonObject) -> TaskContainer:
    exit_code = container.get("exitCode")
    bindings = container.get("networkBindings")
    return TaskContainer(
        container_arn=_text(container, "containerArn"),
        exit_code=exit_code if _is_int64(exit_code) else UNSET,
        last_status=_text(container, "lastStatus"),
        name=_text(container, "name"),
        network_bindings=UNSET
        if bindings is None
        else tuple(_binding(item) for item in _objects(bindings)),
        reason=_some_text(container, "reason"),
    )


def _binding(binding: JsonObject) -> TaskNetworkBinding:
    return TaskNetworkBinding(
        bind_ip=_text(binding, "bindIP"),
        container_port=_port(binding.get("containerPort")),
        host_port=_port(binding.get("hostPort")),
        protocol=_some_text(binding, "protocol"),
    )


def _port(value: object) -> int:
    """A range of ports, which ECS gives as text in another member, has none."""
    return value if _is_int64(value) else 0


def _is_int64(value: object) -> TypeGuard[int]:
    """What JSON takes from here; a longer number is nothing that a client could read."""
    return type(value) is int and -(2**63) <= value < 2**63


def _overrides(overrides: JsonObject) -> TaskOverride:
    return TaskOverride(
        container_overrides=tuple(
            _container_override(item) for item in _objects(overrides.get("containerOverrides"))
        ),
        task_role_arn=_some_text(overrides, "taskRoleArn"),
    )


def _container_override(override: JsonObject) -> TaskContainerOverride:
    command, environment = override.get("command"), override.get("environment")
    return TaskContainerOverride(
        command=UNSET if command is None else tuple(_texts(command)),
        environment=UNSET
        if environment is None
        else tuple(
            TaskEnvironment(name=_text(item, "name"), value=_text(item, "value"))
            for item in _objects(environment)
        ),
        name=_text(override, "name"),
    )


# --- What ECS sent, whatever it is ----------------------------------------------------------------


def _decoded(value: bytes | None) -> object:
    try:
        found: object = None if value is None else msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return None
    return found


def _members(value: bytes | None) -> JsonObject:
    found = _decoded(value)
    return found if isinstance(found, dict) else {}


def _objects(found: object) -> Iterator[JsonObject]:
    if isinstance(found, list):
        for item in found:
            if isinstance(item, dict):
                yield item


def _each(value: bytes | None, shown: Callable[[JsonObject], T]) -> tuple[T, ...]:
    return tuple(shown(item) for item in _objects(_decoded(value)))


def _texts(found: object) -> Iterator[str]:
    if isinstance(found, list):
        for item in found:
            if isinstance(item, str):
                yield item


def _text(members: JsonObject, name: str) -> str:
    found = members.get(name)
    return found if isinstance(found, str) else ""


def _some_text(members: JsonObject, name: str) -> str | UnsetType:
    return _text(members, name) or UNSET


def _told(entity: Entity, name: str) -> str:
    found = _decoded(entity.whole.get(name))
    return found if isinstance(found, str) else ""


def _time(entity: Entity, name: str) -> str | None:
    value = entity.whole.get(name)
    return None if value is None else time_text(value)
