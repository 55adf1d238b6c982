"""ECS's JSON: requests as (operation, bytes), answers as documents, errors as codes.

The protocol is AWS JSON 1.1: one POST for each call, its operation in the X-Amz-Target header
(https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html). Members that are null mean the
same as absent ones, and unknown members are ignored.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from blox.ecs.model import (
    MARKER,
    CapacityProviderDocument,
    ClusterDocument,
    Failure,
    HostDocument,
    ServiceDocument,
    TaskDefinition,
    TaskDocument,
)
from blox.ecs.port import StartRequest

PAGE: Final = 100
"""The most items that a list answers or a describe takes (DescribeServices: 10)."""
PROVIDERS: Final = 10
"""Names for one DescribeCapacityProviders: it takes 100, but answers no more than 10 at a time.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeCapacityProviders.html"""
TARGETS: Final = 10
"""The most attributes, and so hosts, of one PutAttributes or DeleteAttributes.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PutAttributes.html"""
REASON_LIMIT: Final = 255
"""Characters of a StopTask's reason; ECS documents no limit, the agent's are longer."""
OVERRIDES_LIMIT: Final = 7600
"""Characters that a user's overrides may have. ECS takes 8,192, JSON punctuation included
(https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StartTask.html); the rest is room
for the marker."""
OPTIONS: Final = (
    "enableECSManagedTags",
    "enableExecuteCommand",
    "networkConfiguration",
    "overrides",
    "propagateTags",
    "tags",
)
"""StartTask's optional members that an environment's `task` block may set."""

A = TypeVar("A", bound=Struct)
D = TypeVar("D", TaskDocument, HostDocument)


class Unreadable(Exception):
    """A body that is not what its operation answers."""


class Request(NamedTuple):
    """What to send: the operation's name and its JSON."""

    operation: str
    body: bytes


class WireError(NamedTuple):
    """An error answer. `understood` is False when the body named no code: then `code` is the HTTP
    status in digits and `message` its phrase."""

    code: str
    message: str
    understood: bool


# --- Answers --------------------------------------------------------------------------------------


class _Answer(Struct, frozen=True, kw_only=True, rename="camel"):
    failures: tuple[Failure, ...] = ()
    next_token: str | None = None


class ClustersAnswer(_Answer, frozen=True):
    clusters: tuple[ClusterDocument, ...] = ()


class HostArnsAnswer(_Answer, frozen=True):
    container_instance_arns: tuple[str, ...] = ()


class HostsAnswer(_Answer, frozen=True):
    container_instances: tuple[HostDocument, ...] = ()


class WholeHostsAnswer(_Answer, frozen=True):
    """Of DescribeContainerInstances, each as it was sent."""

    container_instances: tuple[msgspec.Raw, ...] = ()


class TaskArnsAnswer(_Answer, frozen=True):
    task_arns: tuple[str, ...] = ()


class TasksAnswer(_Answer, frozen=True):
    """Of DescribeTasks and of StartTask."""

    tasks: tuple[TaskDocument, ...] = ()


class WholeTasksAnswer(_Answer, frozen=True):
    """Of DescribeTasks, each as it was sent."""

    tasks: tuple[msgspec.Raw, ...] = ()


class ClusterArnsAnswer(_Answer, frozen=True):
    cluster_arns: tuple[str, ...] = ()


class DefinitionAnswer(_Answer, frozen=True):
    task_definition: TaskDefinition


class ServicesAnswer(_Answer, frozen=True):
    services: tuple[ServiceDocument, ...] = ()


class ServiceArnsAnswer(_Answer, frozen=True):
    service_arns: tuple[str, ...] = ()


class ProvidersAnswer(_Answer, frozen=True):
    capacity_providers: tuple[CapacityProviderDocument, ...] = ()


class StopAnswer(_Answer, frozen=True):
    task: TaskDocument | None = None


class AttributesAnswer(_Answer, frozen=True):
    """Of PutAttributes and DeleteAttributes. What it repeats of the request is not read."""


def decode(body: bytes, answer: type[A]) -> A:
    """The body of an HTTP 200 as `answer`.

    A null where the typed form has none is dropped, as ECS's own clients do.
    Raises Unreadable when it is not JSON or not of that form.
    """
    try:
        return msgspec.json.decode(body, type=answer)
    except msgspec.ValidationError:
        pass
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from error
    try:
        plain: object = msgspec.json.decode(body)
        return msgspec.convert(without_nulls(plain), answer)
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def with_whole(raw: msgspec.Raw, form: type[D]) -> D:
    """One account, and itself as ECS sent it. Raises Unreadable."""
    sent = bytes(raw)
    return msgspec.structs.replace(decode(sent, form), whole=sent)


def without_nulls(value: object) -> object:
    """A copy of decoded JSON in which no object has a member that is null."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def error_of(status: int, body: bytes) -> WireError:
    """The code and message of an answer that is not HTTP 200.

    The code is `__type` up to the first ":" and of that what follows "#". A body without one
    (empty, HTML) gives the status and its phrase.
    """
    try:
        content: object = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict):
        kind = content.get("__type")
        text = content.get("message") or content.get("Message")
        code = kind.split(":", 1)[0].rsplit("#", 1)[-1].strip() if isinstance(kind, str) else ""
        if code:
            return WireError(code, text if isinstance(text, str) else "", understood=True)
    return WireError(str(status), _phrase(status), understood=False)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"


# --- Requests -------------------------------------------------------------------------------------


def _request(operation: str, members: Mapping[str, object]) -> Request:
    present = {name: value for name, value in members.items() if value is not None}
    return Request(operation, msgspec.json.encode(present))


def describe_clusters(clusters: Sequence[str]) -> Request:
    """DescribeClusters, of at most 100 names or ARNs."""
    return _request("DescribeClusters", {"clusters": list(clusters)})


def list_hosts(cluster: str, next_token: str | None = None) -> Request:
    """ListContainerInstances without a status: every one but INACTIVE."""
    return _request(
        "ListContainerInstances",
        {"cluster": cluster, "maxResults": PAGE, "nextToken": next_token},
    )


def list_clusters(next_token: str | None = None) -> Request:
    """ListClusters: every cluster of the account in the region that is not INACTIVE.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListClusters.html"""
    return _request("ListClusters", {"maxResults": PAGE, "nextToken": next_token})


def describe_hosts(cluster: str, hosts: Sequence[str], include: Sequence[str] = ()) -> Request:
    """DescribeContainerInstances, of at most 100 ids or ARNs. `include`: TAGS,
    CONTAINER_INSTANCE_HEALTH.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeContainerInstances.html"""
    return _request(
        "DescribeContainerInstances",
        {
            "cluster": cluster,
            "containerInstances": list(hosts),
            "include": list(include) or None,
        },
    )


def list_tasks(cluster: str, desired_status: str, next_token: str | None = None) -> Request:
    """ListTasks by desiredStatus, which would be RUNNING if absent."""
    return _request(
        "ListTasks",
        {
            "cluster": cluster,
            "desiredStatus": desired_status,
            "maxResults": PAGE,
            "nextToken": next_token,
        },
    )


def describe_tasks(cluster: str, tasks: Sequence[str], include: Sequence[str] = ()) -> Request:
    """DescribeTasks, of at most 100 ids or ARNs. `include`: TAGS.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html"""
    return _request(
        "DescribeTasks",
        {"cluster": cluster, "tasks": list(tasks), "include": list(include) or None},
    )


def describe_task_definition(definition: str) -> Request:
    """DescribeTaskDefinition, of `family`, `family:revision` or an ARN."""
    return _request("DescribeTaskDefinition", {"taskDefinition": definition})


def describe_services(cluster: str, services: Sequence[str]) -> Request:
    """DescribeServices, of at most 10 names or ARNs."""
    return _request("DescribeServices", {"cluster": cluster, "services": list(services)})


def list_services(cluster: str, next_token: str | None = None) -> Request:
    """ListServices of every strategy and launch type, by whole pages (10 if not asked for).
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServices.html"""
    return _request(
        "ListServices", {"cluster": cluster, "maxResults": PAGE, "nextToken": next_token}
    )


def describe_capacity_providers(names: Sequence[str]) -> Request:
    """DescribeCapacityProviders, of at most 10 names or ARNs: one page, whole."""
    return _request("DescribeCapacityProviders", {"capacityProviders": list(names)})


def put_attributes(cluster: str, hosts: Sequence[str], name: str, value: str) -> Request:
    """PutAttributes of one name and value on at most 10 hosts, by ARN."""
    return _request(
        "PutAttributes",
        {
            "cluster": cluster,
            "attributes": [{"name": name, "value": value, "targetId": arn} for arn in hosts],
        },
    )


def delete_attributes(cluster: str, hosts: Sequence[str], name: str) -> Request:
    """DeleteAttributes of one name from at most 10 hosts, by ARN; whatever its value.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteAttributes.html"""
    return _request(
        "DeleteAttributes",
        {"cluster": cluster, "attributes": [{"name": name, "targetId": arn} for arn in hosts]},
    )


def stop_task(cluster: str, task: str, reason: str) -> Request:
    """StopTask; the reason becomes the task's stoppedReason."""
    return _request("StopTask", {"cluster": cluster, "task": task, "reason": reason[:REASON_LIMIT]})


def start_task(request: StartRequest) -> Request:
    """StartTask with the marker in the first container's override (R5)."""
    members: dict[str, object] = {
        name: request.options[name] for name in OPTIONS if name in request.options
    }
    members["overrides"] = marked(
        request.options.get("overrides"), request.first_container, request.intent
    )
    members |= {
        "cluster": request.cluster,
        "taskDefinition": request.definition,
        "containerInstances": list(request.hosts),
        "startedBy": request.started_by,
        "group": request.group,
    }
    return _request("StartTask", members)


def marked(overrides: object, container: str, intent: str) -> dict[str, object]:
    """The user's `overrides` with `BLOX_INTENT=<intent>` in the environment of `container`.

    Everything else that they say stays. An own BLOX_INTENT would be replaced (creation refuses it).
    """
    merged: dict[str, object] = dict(overrides) if isinstance(overrides, Mapping) else {}
    entries: list[object] = list(_items(merged.get("containerOverrides")))
    marker = {"name": MARKER, "value": intent}
    for place, entry in enumerate(entries):
        if isinstance(entry, Mapping) and entry.get("name") == container:
            others = [
                pair
                for pair in _items(entry.get("environment"))
                if not (isinstance(pair, Mapping) and pair.get("name") == MARKER)
            ]
            entries[place] = {**entry, "environment": [*others, marker]}
            break
    else:
        entries.append({"name": container, "environment": [marker]})
    merged["containerOverrides"] = entries
    return merged


def _items(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, list | tuple) else ()


# --- The task block -------------------------------------------------------------------------------


def overrides_problem(task: Mapping[str, object], definition: TaskDefinition) -> str | None:
    """Why an environment with this `task` block and definition could never start, or None.

    A sentence for the person who wrote the block.
    """
    for name in task:
        if name not in OPTIONS:
            return f"task.{name} is not an option of StartTask; possible: {', '.join(OPTIONS)}."
    overrides = task.get("overrides")
    if overrides is not None:
        problem = _overrides_problem(overrides, definition)
        if problem is not None:
            return problem
    return (
        _network_problem(task.get("networkConfiguration"), definition)
        or _switch_problem(task)
        or _tags_problem(task.get("tags"))
    )


def _overrides_problem(overrides: object, definition: TaskDefinition) -> str | None:
    if not isinstance(overrides, Mapping):
        return "task.overrides must be an object."
    entries = overrides.get("containerOverrides")
    if entries is not None and not isinstance(entries, list | tuple):
        return "task.overrides.containerOverrides must be a list."
    known = [container.name for container in definition.container_definitions]
    seen: list[str] = []
    for entry in _items(entries):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if not isinstance(entry, Mapping) or not isinstance(name, str):
            return "Every entry of task.overrides.containerOverrides needs a name."
        if name not in known:
            return (
                f"task.overrides names the container {name!r}; "
                f"the definition has {', '.join(known) or 'none'}."
            )
        if name in seen:
            return f"task.overrides names the container {name!r} twice."
        seen.append(name)
        problem = _environment_problem(name, entry.get("environment"))
        if problem is not None:
            return problem
    length = len(msgspec.json.encode(overrides).decode())
    if length > OVERRIDES_LIMIT:
        return f"task.overrides has {length:,} characters as JSON; at most {OVERRIDES_LIMIT:,} fit."
    return None


def _environment_problem(container: str, environment: object) -> str | None:
    if environment is None:
        return None
    where = f"task.overrides, container {container!r}: environment"
    if not isinstance(environment, list | tuple):
        return f"{where} must be a list of names and values."
    for pair in environment:
        if not isinstance(pair, Mapping) or not isinstance(pair.get("name"), str):
            return f"{where} must be a list of names and values."
        if pair["name"] == MARKER:
            return f"{where} sets {MARKER}, which blox sets itself; remove it."
    return None


def _network_problem(network: object, definition: TaskDefinition) -> str | None:
    """Tasks in awsvpc mode need subnets; others must not have any.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_AwsVpcConfiguration.html"""
    awsvpc = definition.network_mode == "awsvpc"
    if network is None:
        if awsvpc:
            return (
                "The definition's network mode is awsvpc: "
                "task.networkConfiguration.awsvpcConfiguration.subnets is needed."
            )
        return None
    if not awsvpc:
        mode = definition.network_mode or "bridge"
        return f"task.networkConfiguration needs network mode awsvpc; the definition has {mode}."
    vpc = network.get("awsvpcConfiguration") if isinstance(network, Mapping) else None
    subnets = vpc.get("subnets") if isinstance(vpc, Mapping) else None
    if not _texts(subnets) or not 1 <= len(_items(subnets)) <= 16:
        return "task.networkConfiguration.awsvpcConfiguration.subnets must list 1 to 16 subnet ids."
    groups = vpc.get("securityGroups") if isinstance(vpc, Mapping) else None
    if groups is not None and (not _texts(groups) or len(_items(groups)) > 5):
        return (
            "task.networkConfiguration.awsvpcConfiguration.securityGroups "
            "must list at most 5 group ids."
        )
    return None


def _texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _switch_problem(task: Mapping[str, object]) -> str | None:
    for name in ("enableExecuteCommand", "enableECSManagedTags"):
        if not isinstance(task.get(name, False), bool):
            return f"task.{name} must be true or false."
    propagate = task.get("propagateTags")
    if propagate not in (None, "TASK_DEFINITION", "NONE"):
        return "task.propagateTags must be TASK_DEFINITION or NONE (SERVICE is for services)."
    return None


def _tags_problem(tags: object) -> str | None:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-using-tags.html"""
    if tags is None:
        return None
    if not isinstance(tags, list | tuple) or len(tags) > 50:
        return "task.tags must be a list of at most 50 keys and values."
    for tag in tags:
        key = tag.get("key") if isinstance(tag, Mapping) else None
        value = tag.get("value", "") if isinstance(tag, Mapping) else None
        if not isinstance(key, str) or not 1 <= len(key) <= 128:
            return "Every entry of task.tags needs a key of 1 to 128 characters."
        if not isinstance(value, str) or len(value) > 256:
            return f"task.tags: the value of {key!r} must be text of at most 256 characters."
        if key.lower().startswith("aws:"):
            return f"task.tags: {key!r} begins with aws:, which AWS keeps for itself."
    return None
