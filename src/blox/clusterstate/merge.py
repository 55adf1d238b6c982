"""R15: how accounts of one task or host become one record, whatever their order.

Accounts come from events (at least once, in any order, without some fields), from reads (in any
order among themselves) and from the answers of our own calls. Each field of a record is a register
of its own: it holds what the account with the greatest *stamp* said of it, and keeps what it has
when a greater account says nothing of it. Taking the greatest is commutative, associative and
idempotent, so every order and every repetition of the same accounts ends in the same record.

A stamp is the pair (version, begin of the call). ECS raises an entity's `version` with every change
and puts it into events and answers alike, so that they can be compared
(https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_cwet_handling.html). An event has
no begin: it never beats an account of equal version, and any answer of equal version beats it.

Three fields of a task have an order of their own that no stamp overrules: a marker once read stays,
desiredStatus never leaves STOPPED, and lastStatus never goes back in `LIFECYCLE`. A status that is
not in there is a new one of ECS's; it stands beside RUNNING: nothing that comes before RUNNING
follows it, and what follows RUNNING may.

UNHEALTHY is believed only when two reads, far enough apart, say so with nothing else between them;
until then the record keeps its health and `unhealthy_since` says that a second read is due.
"""

import math
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import UNSET, Struct

from blox.ecs.model import (
    LIFECYCLE,
    MARKER,
    RUNNING,
    STOPPED,
    Host,
    HostDocument,
    KeyValue,
    Overrides,
    ResourceDocument,
    Resources,
    Task,
    TaskDocument,
)
from blox.ecs.seen import Presumed

UNHEALTHY: Final = "UNHEALTHY"
OUR_GROUP: Final = "blox:"
"""What the `group` of every task that blox starts begins with, whatever its environment."""

Stamp = tuple[int, float]
"""(version, begin of the call on our monotonic clock; minus infinity for an event)."""

_EVENT: Final = -math.inf
_NEVER: Final[Stamp] = (-1, _EVENT)
Lagging = tuple[tuple[str, Stamp], ...]
"""The fields whose stamp is below the record's, with it: those that the newest account left out."""


class Evidence(Struct, frozen=True, kw_only=True):
    """Where an account comes from, and when, on our monotonic clock."""

    cluster_arn: str
    received: float
    begun: float | None = None
    """When the call was sent whose answer this is; None for an event."""
    ecs_time: float | None = None
    """The same by ECS's clock, seconds since 1970-01-01 UTC, where anybody wants to know."""


class TaskEntry(Struct, frozen=True, kw_only=True, gc=False):
    """A task's record and what the next merge needs to know of it."""

    task: Task
    begun: float = _EVENT
    """With `task.version`, the stamp of the newest account."""
    shown: float = -math.inf
    """Our time when an account last showed that it exists: absence is measured from here (R6)."""
    lagging: Lagging = ()
    unhealthy_since: float | None = None
    """The begin of the read that first said UNHEALTHY, while nothing else was read since."""
    ended_at: float | None = None
    """Our time when it was first seen STOPPED or DELETED."""


class HostEntry(Struct, frozen=True, kw_only=True):
    """A host's record and what the next merge needs to know of it."""

    host: Host
    begun: float = _EVENT
    shown: float = -math.inf
    lagging: Lagging = ()


# --- Tasks ----------------------------------------------------------------------------------------

_TASK_TEXTS: Final = (
    ("host_arn", "container_instance_arn"),
    ("definition_arn", "task_definition_arn"),
    ("started_by", "started_by"),
    ("group", "group"),
    ("stop_code", "stop_code"),
)
_TASK_TIMES: Final = ("created_at", "started_at", "stopping_at", "stopped_at")
_EMPTY_IS_UNKNOWN: Final = frozenset({*(name for name, _ in _TASK_TEXTS), "stopped_reason"})
"""Texts that are empty until they are known and never become empty again. Times, exit codes and
markers are None until then."""
_STATUSES: Final = ("last_status", "desired_status")
_TASK_FIELDS: Final = (
    *(name for name, _ in _TASK_TEXTS),
    *_TASK_TIMES,
    "stopped_reason",
    "exit_code",
    "intent",
    *_STATUSES,
    "health",
)
_ORDER: Final = {status: position for position, status in enumerate(LIFECYCLE)}
_SERVICES_FIELDS: Final = frozenset(
    {"host_arn", "definition_arn", "started_by", "group", "intent", *_STATUSES}
)
"""What is kept of tasks of services: there may be twenty for each of ours. Of those that somebody
started by hand all is kept, because they may be adopted."""
_NO_HEALTH_YET: Final[Lagging] = (("health", _NEVER),)


def merge_task(
    known: TaskEntry | None,
    document: TaskDocument,
    evidence: Evidence,
    *,
    confirmation: float,
) -> TaskEntry:
    """R15: what is known of a task after one more account of it.

    `confirmation`: how many seconds apart two reads must say UNHEALTHY. The same `Task` object is
    kept when nothing in it changed.
    """
    if known is None:
        known = TaskEntry(task=Task(arn=document.task_arn, cluster_arn=evidence.cluster_arn))
        newest = _NEVER
    else:
        newest = _newest(known.task.version, known.begun)
    stamp = _stamp(document.version, evidence)
    said = _task_said(document, api=evidence.begun is not None)
    taken, lagging = _choose(known.task, said, stamp, newest, dict(known.lagging))
    unhealthy_since = known.unhealthy_since
    if "health" in taken:
        unhealthy_since = _confirm(taken, known, evidence.begun, confirmation)
    taken["version"] = max(stamp[0], known.task.version)
    task = msgspec.structs.replace(known.task, **taken)
    if is_of_service(task):
        task = _lean(task)
        lagging = {name: at for name, at in lagging.items() if name in _SERVICES_FIELDS}
        unhealthy_since = None
    if task == known.task:
        task = known.task
    return TaskEntry(
        task=task,
        begun=max(newest, stamp)[1],
        shown=_shown(known.shown, evidence, new=stamp > newest),
        lagging=_frozen(lagging),
        unhealthy_since=unhealthy_since,
        ended_at=None if task.live else _first(known.ended_at, evidence.received),
    )


def presumed_task(presumed: Presumed, received: float) -> TaskEntry:
    """A task that exists by our own account alone. It is live, and every document overrides it."""
    return TaskEntry(
        task=Task(
            arn=presumed.arn,
            cluster_arn=sys.intern(presumed.cluster_arn),
            host_arn=sys.intern(presumed.host_arn),
            definition_arn=sys.intern(presumed.definition_arn),
            started_by=sys.intern(presumed.started_by),
            group=sys.intern(presumed.group),
            intent=presumed.intent,
        ),
        shown=received,
    )


def is_of_service(task: Task) -> bool:
    """Whether a service runs it, so that it never becomes ours. It still occupies its host.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html"""
    return task.group.startswith("service:") or task.started_by.startswith("ecs-svc/")


def _task_said(document: TaskDocument, *, api: bool) -> dict[str, object]:
    """The record's fields that this account carries, with their values."""
    said: dict[str, object] = {}
    for name, theirs in _TASK_TEXTS:
        text: object = getattr(document, theirs)
        if isinstance(text, str) and text:
            said[name] = sys.intern(text)
    for name in _TASK_TIMES:
        time: object = getattr(document, name)
        if isinstance(time, float | int):
            said[name] = time
    if isinstance(document.stopped_reason, str) and document.stopped_reason:
        said["stopped_reason"] = document.stopped_reason
    if isinstance(document.containers, tuple):
        codes = [c.exit_code for c in document.containers if c.exit_code is not None]
        if codes:
            said["exit_code"] = codes[0]
    intent = _intent(document.overrides, api=api)
    if intent is not None:
        said["intent"] = intent
    for name in _STATUSES:
        status: object = getattr(document, name)
        if isinstance(status, str):
            said[name] = sys.intern(status)
    if api and isinstance(document.health_status, str):
        said["health"] = sys.intern(document.health_status)
    return said


def _intent(overrides: Overrides | msgspec.UnsetType | None, *, api: bool) -> str | None:
    """The marker; "" where the overrides are known and have none; None where they are not known:
    events sometimes come with overrides that name no container."""
    if not isinstance(overrides, Overrides):
        return None
    if not overrides.container_overrides:
        return "" if api else None
    for container in overrides.container_overrides:
        for variable in container.environment or ():
            if variable.name == MARKER and variable.value:
                return variable.value
    return ""


def _choose(
    known: Task,
    said: Mapping[str, object],
    stamp: Stamp,
    newest: Stamp,
    lagging: Mapping[str, Stamp],
) -> tuple[dict[str, object], dict[str, Stamp]]:
    """Field by field, what the account wins, and the stamps of the fields that it leaves behind."""
    taken: dict[str, object] = {}
    behind: dict[str, Stamp] = {}
    top = max(stamp, newest)
    for name in _TASK_FIELDS:
        value: object = getattr(known, name)
        unknown = value is None or (value == "" and name in _EMPTY_IS_UNKNOWN)
        at = _NEVER if unknown else lagging.get(name, newest)
        if name in said and _beats(name, said[name], stamp, value, at):
            taken[name] = said[name]
            at = stamp
        elif unknown:
            continue
        if at < top:
            behind[name] = at
    return taken, behind


def _beats(name: str, theirs: object, stamp: Stamp, ours: object, at: Stamp) -> bool:
    """Whether their value of this field replaces ours, which was set `at`."""
    if at == _NEVER:
        return True
    return (_rank(name, theirs), stamp) > (_rank(name, ours), at)


def _rank(name: str, value: object) -> int:
    """How far along a value is: a greater one is never left for a smaller one, whatever the stamps.

    0 for the fields in which any value may follow any other.
    """
    if name == "last_status":
        return _ORDER.get(str(value), _ORDER[RUNNING])
    if name == "desired_status":
        return int(value == STOPPED)
    if name == "intent":
        return int(value != "")
    return 0


def _confirm(
    taken: dict[str, object], known: TaskEntry, begun: float | None, confirmation: float
) -> float | None:
    """Hold back an UNHEALTHY that no second read has confirmed; since when one is waiting."""
    if taken["health"] != UNHEALTHY or begun is None:
        return None
    since = _first(known.unhealthy_since, begun)
    if begun < since + confirmation:
        taken["health"] = known.task.health
    return since


def _lean(task: Task) -> Task:
    return Task(
        arn=task.arn,
        cluster_arn=task.cluster_arn,
        host_arn=task.host_arn,
        definition_arn=task.definition_arn,
        last_status=task.last_status,
        desired_status=task.desired_status,
        started_by=task.started_by,
        group=task.group,
        version=task.version,
        intent=task.intent,
    )


# --- Hosts ----------------------------------------------------------------------------------------

_HOST_FIELDS: Final = (
    "instance_id",
    "status",
    "agent_connected",
    "agent_version",
    "registered_at",
    "capacity_provider",
    "attributes",
    "remaining",
    "registered",
    "running_tasks_count",
)


def merge_host(known: HostEntry | None, document: HostDocument, evidence: Evidence) -> HostEntry:
    """R15: what is known of a host after one more account of it.

    The same `Host` object is kept when nothing in it changed, and equal attributes and resources
    are one object for all hosts: a host's document decoded whole is 9 kB, most of it attributes.
    """
    if known is None:
        cluster = sys.intern(evidence.cluster_arn)
        arn = sys.intern(document.container_instance_arn)  # The tasks on it name it too.
        known = HostEntry(host=Host(arn=arn, cluster_arn=cluster))
        newest = _NEVER
    else:
        newest = _newest(known.host.version, known.begun)
    stamp = _stamp(document.version, evidence)
    top = max(stamp, newest)
    said = _host_said(document)
    stamps = dict(known.lagging)
    taken: dict[str, object] = {}
    behind: dict[str, Stamp] = {}
    for name in _HOST_FIELDS:
        at = stamps.get(name, newest)
        if name in said and stamp > at:
            taken[name] = said[name]
            at = stamp
        if at < top:
            behind[name] = at
    if taken.get("attributes") == known.host.attributes:
        taken["attributes"] = known.host.attributes
    taken["version"] = max(stamp[0], known.host.version)
    host = msgspec.structs.replace(known.host, **taken)
    return HostEntry(
        host=known.host if host == known.host else host,
        begun=top[1],
        shown=_shown(known.shown, evidence, new=stamp > newest),
        lagging=_frozen(behind),
    )


def _host_said(document: HostDocument) -> dict[str, object]:
    said: dict[str, object] = {}
    for name, value in (
        ("instance_id", document.ec2_instance_id),
        ("status", document.status),
        ("agent_connected", document.agent_connected),
        ("registered_at", document.registered_at),
        ("capacity_provider", document.capacity_provider_name),
        ("running_tasks_count", document.running_tasks_count),
    ):
        if value is not UNSET and value is not None:
            said[name] = sys.intern(value) if isinstance(value, str) else value
    info = document.version_info
    if info is not UNSET and info is not None and info.agent_version is not None:
        said["agent_version"] = sys.intern(info.agent_version)
    if isinstance(document.attributes, tuple):
        said["attributes"] = _attributes(document.attributes)
    if isinstance(document.remaining_resources, tuple):
        said["remaining"] = _resources(document.remaining_resources)
    if isinstance(document.registered_resources, tuple):
        said["registered"] = _resources(document.registered_resources)
    return said


@lru_cache(maxsize=512)
def _attributes(listed: tuple[KeyValue, ...]) -> Mapping[str, str]:
    pairs = sorted((item.name, item.value or "") for item in listed)
    return {sys.intern(name): sys.intern(value) for name, value in pairs}


@lru_cache(maxsize=512)
def _resources(listed: tuple[ResourceDocument, ...]) -> Resources:
    by_name = {item.name: item for item in listed}
    return Resources(
        cpu=_amount(by_name.get("CPU")),
        memory=_amount(by_name.get("MEMORY")),
        ports_tcp=_ports(by_name.get("PORTS")),
        ports_udp=_ports(by_name.get("PORTS_UDP")),
    )


def _amount(resource: ResourceDocument | None) -> int | None:
    if resource is None:
        return None
    given = (resource.integer_value, resource.long_value, resource.double_value)
    return max((int(value) for value in given if value is not None), default=None)


def _ports(resource: ResourceDocument | None) -> frozenset[int]:
    listed = (resource.string_set_value or ()) if resource is not None else ()
    return _port_set(tuple(listed))


@lru_cache(maxsize=512)
def _port_set(listed: tuple[str, ...]) -> frozenset[int]:
    return frozenset(int(port) for port in listed if port.isdecimal())


# --- Both -----------------------------------------------------------------------------------------


def _stamp(version: object, evidence: Evidence) -> Stamp:
    number = version if isinstance(version, int) else 0
    return number, _EVENT if evidence.begun is None else evidence.begun


def _newest(version: int, begun: float) -> Stamp:
    """A record's stamp; one of version 0 without a read is presumed, and below every document."""
    return _NEVER if version == 0 and begun == _EVENT else (version, begun)


def _shown(before: float, evidence: Evidence, *, new: bool) -> float:
    """An event that tells nothing new may be days old: it proves nothing about now."""
    if evidence.begun is None and not new:
        return before
    return max(before, evidence.received)


def _frozen(lagging: Mapping[str, Stamp]) -> Lagging:
    items = tuple(sorted(lagging.items()))
    return _NO_HEALTH_YET if items == _NO_HEALTH_YET else items


def _first(known: float | None, now: float) -> float:
    return now if known is None else known
