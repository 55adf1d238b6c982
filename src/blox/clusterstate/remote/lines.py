"""What a cluster-state-service answers in /v2, understood: pages of lists, and lines of streams.

Times are ISO 8601 text there and seconds in documents. A document that cannot be read is never left
out: a task that is not known of is one beside which another would be started.

Pure.
"""

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from blox.clusterstate.remote.port import ClusterTold, Gone, HostTold, TaskTold, Ticket, Told
from blox.ecs.events import parse_time
from blox.ecs.model import INACTIVE, HostDocument, TaskDocument
from blox.ecs.wire import without_nulls

_TASK_TIMES: Final = ("createdAt", "startedAt", "stoppingAt", "stoppedAt")
_HOST_TIMES: Final = ("registeredAt",)

D = TypeVar("D", TaskDocument, HostDocument)
T = TypeVar("T")


class Unreadable(Exception):
    """An answer that is not what the service's API documents. The text says how."""


class Expired(Exception):
    """The stream says that it cannot go on from its position."""


class Page(Struct, frozen=True, kw_only=True, rename="camel"):
    """One page of a list."""

    items: list[Raw]
    position: str
    next_token: str | None = None


class _Sweep(Struct, frozen=True):
    epoch: str
    number: int


class _Cluster(Struct, frozen=True, kw_only=True, rename="camel"):
    arn: str
    status: str
    sweep: _Sweep
    read_error: str | None = None


class _SweepAsked(Struct, frozen=True, kw_only=True, rename="camel"):
    cluster_arn: str
    epoch: str
    sweep: int


class _Item(Struct, frozen=True, kw_only=True, rename="camel"):
    kind: str
    cluster_arn: str
    read_at: str | None = None
    task: Raw | UnsetType = UNSET
    instance: Raw | UnsetType = UNSET


class _Deleted(Struct, frozen=True, kw_only=True, rename="camel"):
    kind: str
    arn: str
    cluster_arn: str


class _Line(Struct, frozen=True, kw_only=True):
    event: str
    position: str
    data: Raw


class _Problem(Struct, frozen=True):
    detail: str = ""


_page: Final = msgspec.json.Decoder(Page)
_cluster: Final = msgspec.json.Decoder(_Cluster)
_asked: Final = msgspec.json.Decoder(_SweepAsked)
_item: Final = msgspec.json.Decoder(_Item)
_deleted: Final = msgspec.json.Decoder(_Deleted)
_line: Final = msgspec.json.Decoder(_Line)
_problem: Final = msgspec.json.Decoder(_Problem)


def read_page(body: bytes) -> Page:
    """A page, its items not yet understood. Raises Unreadable."""
    return _read(_page, body)


def read_items(items: Sequence[Raw], cluster_arn: str) -> Iterator[TaskTold | HostTold]:
    """The items of a page about this cluster. Raises Unreadable."""
    for raw in items:
        yield _member(_read(_item, raw), cluster_arn)


def read_cluster(body: bytes) -> tuple[str, ClusterTold]:
    """A cluster's ARN, and how well it is known. Raises Unreadable."""
    found = _read(_cluster, body)
    return found.arn, ClusterTold(
        epoch=found.sweep.epoch,
        sweep=found.sweep.number,
        status=found.status,
        read_error=found.read_error,
    )


def read_ticket(body: bytes) -> tuple[str, Ticket]:
    """A cluster's ARN, and the sweep of it that was asked for. Raises Unreadable."""
    found = _read(_asked, body)
    return found.cluster_arn, Ticket(epoch=found.epoch, number=found.sweep)


def read_line(line: bytes, cluster_arn: str) -> tuple[str, Told | None]:
    """The position that a line of a stream comes to, and what it tells; None for a heartbeat.

    Raises Unreadable, and Expired for a stream's last words.
    """
    read = _read(_line, line)
    match read.event:
        case "heartbeat":
            return read.position, None
        case "reset":
            raise Expired
        case "task" | "instance":
            return read.position, _member(_read(_item, read.data), cluster_arn)
        case "cluster":
            arn, told = read_cluster(read.data)
            _check(arn, cluster_arn)
            return read.position, told
        case "deleted":
            return read.position, _gone(_read(_deleted, read.data), cluster_arn)
    raise Unreadable(f"a stream tells of {read.event!r}")


def detail_of(body: bytes) -> str:
    """What a problem says; "" for what is none. https://www.rfc-editor.org/rfc/rfc9457"""
    try:
        return _problem.decode(body).detail
    except (ValueError, RecursionError):
        return ""


def _read(decoder: msgspec.json.Decoder[T], body: bytes | Raw) -> T:
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def _member(item: _Item, cluster_arn: str) -> TaskTold | HostTold:
    _check(item.cluster_arn, cluster_arn)
    read_at = None
    if item.read_at is not None:
        read_at = parse_time(item.read_at)
        if read_at is None:
            raise Unreadable(f"readAt is {item.read_at!r}, not a time")
    if item.kind == "task" and item.task is not UNSET:
        task = _document(item.task, TaskDocument, _TASK_TIMES)
        return TaskTold(document=task, read_at=read_at)
    if item.kind == "instance" and item.instance is not UNSET:
        host = _document(item.instance, HostDocument, _HOST_TIMES)
        return HostTold(document=host, read_at=read_at)
    raise Unreadable(f"an item of kind {item.kind!r} without that member")


def _gone(deleted: _Deleted, cluster_arn: str) -> Told:
    _check(deleted.cluster_arn, cluster_arn)
    if deleted.kind == "task":
        return Gone(kind="task", arn=deleted.arn)
    if deleted.kind == "instance":
        return Gone(kind="instance", arn=deleted.arn)
    # The service watches the cluster no more. Whether it is there is ECS's to say.
    return ClusterTold(epoch="", sweep=0, status=INACTIVE)


def _check(arn: str, cluster_arn: str) -> None:
    if arn != cluster_arn:
        raise Unreadable(f"what was asked about {cluster_arn} is about {arn}")


def _document(raw: Raw, form: type[D], times: tuple[str, ...]) -> D:
    try:
        members: object = msgspec.json.decode(raw)
        if not isinstance(members, dict):
            raise Unreadable("a task or instance is not an object")
        for name in times:
            value = members.get(name)
            if isinstance(value, str):
                members[name] = parse_time(value)
        try:
            return msgspec.convert(members, form)
        except msgspec.ValidationError:
            return msgspec.convert(without_nulls(members), form)
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error
