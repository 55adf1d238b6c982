"""ECS's events as EventBridge delivers them: an envelope around a task or a host.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_cwe_events.html

They arrive at least once, in any order, up to 14 days late (a queue keeps them so long). Merging
copes with that (`detail.version`); here they are only understood, or not:

    TaskEvent, HostEvent    a state change that the view may apply
    Ignored                 well formed, and none of our business
    Misunderstood           poison: nothing that ECS sends looks like this
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from blox.base.ids import parse_arn
from blox.ecs.model import HostDocument, TaskDocument
from blox.ecs.wire import without_nulls

SOURCE: Final = "aws.ecs"
TASK: Final = "ECS Task State Change"
HOST: Final = "ECS Container Instance State Change"

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?"
    r"(?:([Zz])|([+-])(\d\d):?(\d\d))\Z",
    re.ASCII,
)
_NAME = re.compile(r"[^\s/]+\Z")
_TASK_TIMES: Final = ("createdAt", "startedAt", "stoppingAt", "stoppedAt")
_HOST_TIMES: Final = ("registeredAt",)

D = TypeVar("D", TaskDocument, HostDocument)


class TaskEvent(Struct, frozen=True, kw_only=True):
    """What ECS said of a task at `time` (its clock, seconds since 1970-01-01 UTC)."""

    task: TaskDocument
    cluster_arn: str
    time: float


class HostEvent(Struct, frozen=True, kw_only=True):
    """What ECS said of a container instance at `time` (its clock)."""

    host: HostDocument
    cluster_arn: str
    time: float


class Ignored(Struct, frozen=True, kw_only=True):
    """A well-formed event that says nothing about a task or host. `reason` is for a counter: it
    has few values."""

    reason: str


class Misunderstood(Exception):
    """A message that is no event of ECS. The text says what is wrong with it, in a few lines."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason[:500])


class _Envelope(Struct, frozen=True, kw_only=True):
    detail_type: str = msgspec.field(name="detail-type")
    source: str
    time: str
    detail: msgspec.Raw


def read_event(body: bytes, *, whole: bool = False) -> TaskEvent | HostEvent | Ignored:
    """Understand one message's body. `whole`: its task or host carries the account as it was sent.

    Raises Misunderstood when it is not an EventBridge envelope, or is one of ECS's task or host
    events without what these always carry.
    """
    try:
        envelope = msgspec.json.decode(body, type=_Envelope)
    except (ValueError, RecursionError) as error:
        raise Misunderstood(f"not an EventBridge event: {error}") from error
    if envelope.source != SOURCE:
        return Ignored(reason="another source than aws.ecs")
    if envelope.detail_type not in (TASK, HOST):
        return Ignored(reason="another type of event")
    time = parse_time(envelope.time)
    if time is None:
        raise Misunderstood(f"the event's time is {envelope.time!r}")
    if envelope.detail_type == TASK:
        task, cluster = _document(envelope.detail, TaskDocument, _TASK_TIMES)
        _check(task.task_arn, "task", cluster, task.version)
        if whole:
            task = msgspec.structs.replace(task, whole=bytes(envelope.detail))
        return TaskEvent(task=task, cluster_arn=cluster, time=time)
    host, cluster = _document(envelope.detail, HostDocument, _HOST_TIMES)
    _check(host.container_instance_arn, "container-instance", cluster, host.version)
    if whole:
        host = msgspec.structs.replace(host, whole=bytes(envelope.detail))
    return HostEvent(host=host, cluster_arn=cluster, time=time)


def _document(raw: msgspec.Raw, form: type[D], times: tuple[str, ...]) -> tuple[D, str]:
    """The detail as a document, its times converted, and the cluster's ARN."""
    try:
        detail: object = msgspec.json.decode(raw)
    except (ValueError, RecursionError) as error:
        raise Misunderstood(f"detail is not JSON: {error}") from error
    if not isinstance(detail, dict):
        raise Misunderstood("detail is not an object")
    members = {name: value for name, value in detail.items() if value is not None}
    for name in times:
        if name in members:
            text = members[name]
            time = parse_time(text) if isinstance(text, str) else None
            if time is None:
                raise Misunderstood(f"detail.{name} is {text!r}, not a time")
            members[name] = time
    cluster = members.get("clusterArn")
    if not isinstance(cluster, str):
        raise Misunderstood("detail has no clusterArn")
    try:
        return msgspec.convert(members, form), cluster
    except msgspec.ValidationError:
        pass  # A null further down, perhaps. Looking for them costs more than all the rest.
    try:
        return msgspec.convert(without_nulls(members), form), cluster
    except (ValueError, RecursionError) as error:
        raise Misunderstood(f"detail: {error}") from error


def _check(arn: str, kind: str, cluster: str, version: object) -> None:
    """Whether the ARNs are what they should be, and belong together; and no version is below the
    one with which ECS begins."""
    if isinstance(version, int) and version < 0:
        raise Misunderstood(f"detail.version is {version}")
    owner = parse_arn(cluster)
    if owner is None or owner.kind != "cluster":
        raise Misunderstood(f"not the ARN of a cluster: {cluster!r}")
    long_form = cluster.replace(":cluster/", f":{kind}/", 1) + "/"
    if arn.startswith(long_form) and _NAME.match(arn, len(long_form)):
        return  # What nearly all look like, without taking them apart.
    item = parse_arn(arn)
    if item is None or item.kind != kind:
        raise Misunderstood(f"not the ARN of a {kind}: {arn!r}")
    if item.domain != owner.domain or item.cluster not in (None, owner.name):
        raise Misunderstood(f"not of cluster {owner.name}: {arn}")


@lru_cache(maxsize=1024)
def parse_time(text: str) -> float | None:
    """An ISO 8601 time with 0 to 9 digits of a second and Z or an offset, as seconds since
    1970-01-01 UTC; None when it is not one."""
    match = _TIME.match(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, _, sign, off_hours, off_minutes = match.groups()[6:]
    zone: timezone = UTC
    try:
        if sign is not None:
            offset = timedelta(hours=int(off_hours), minutes=int(off_minutes))
            zone = timezone(-offset if sign == "-" else offset)
        whole = datetime(year, month, day, hour, minute, second, tzinfo=zone).timestamp()
    except (ValueError, OverflowError):
        return None
    return whole + (float(f"0.{fraction}") if fraction else 0.0)
