"""What the stored copy holds, as records of the store.

A record is one task or host in its last state, with what the next merge and the next reader need:
our version, ECS's version, the members that newer accounts left out, and when ECS told of it, by
the wall clock, because the monotonic one means nothing in another run.

The begins of reads are not kept, for the same reason: a restored member counts as read before every
other read, and as read all the same.

Pure.
"""

import sys
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from blox.clusterstate.cluster import LONG_AGO
from blox.clusterstate.entity import Entity, Kind
from blox.clusterstate.whole import whole_of
from blox.ecs.model import HostDocument, TaskDocument
from blox.ecs.wire import decode as decode_document
from blox.store import codec, keys

NUMBERING: Final = "state-numbering"
CLUSTER: Final = "state-cluster"
_ENTITY: Final[Mapping[Kind, str]] = {"instance": "state-instance", "task": "state-task"}
PREFIXES: Final[Mapping[Kind, str]] = {
    "instance": keys.STATE_INSTANCES,
    "task": keys.STATE_TASKS,
}
"""Below which the entities of a kind are stored; hosts first, as they must be restored."""


class Numbering(Struct, frozen=True, kw_only=True):
    """How far the versions have come."""

    name: str
    """Names the numbering; made once for a store."""
    reserved: int
    """No version above it was ever given out under this name."""
    stored: int
    """What held at this version is stored, whole, but for what changed after it."""
    floor: int
    """Of what was deleted up to this version, nothing may be left. When it is above `stored`, a
    process ended while it was writing: what held at no single version is stored."""
    run: str
    """The run of the process that wrote it."""


class StoredCluster(Struct, frozen=True, kw_only=True):
    """A cluster that is watched."""

    arn: str


class Names(Struct, frozen=True, kw_only=True):
    """Which entity a record is about."""

    arn: str
    cluster: str


class StoredEntity(Names, frozen=True, kw_only=True, omit_defaults=True):
    """A task or host."""

    version: int
    """Ours."""
    told: float
    """When ECS told of it, by our wall clock, seconds since 1970-01-01 UTC."""
    ecs_version: int
    """ECS's, of the newest account."""
    lagging: dict[str, int] = {}
    """The members that accounts since an older version of ECS's have left out, with that version.
    """
    read_at: float | None = None
    ended: bool = False
    whole: msgspec.Raw = msgspec.Raw(b"{}")
    """Its members, as ECS names them."""


class Times(Struct, frozen=True):
    """One instant on our two clocks."""

    mono: float
    wall: float


def key_of(entity: Entity) -> str:
    """Where a task or host is stored."""
    return keys.state_entity(PREFIXES[entity.kind], entity.identity)


def stored(entity: Entity, now: Times) -> bytes:
    """A task or host as a record."""
    whole = entity.whole
    record = StoredEntity(
        arn=entity.key,
        cluster=entity.cluster_arn,
        version=entity.version,
        told=round(now.wall - (now.mono - entity.told_at), 3),
        ecs_version=whole.version,
        lagging={name: at[0] for name, at in whole.lagging if at[0] != whole.version},
        read_at=entity.read_at,
        ended=entity.ended,
        whole=msgspec.Raw(whole.json()),
    )
    return codec.encode(_ENTITY[entity.kind], record)


def restored(kind: Kind, data: bytes, now: Times) -> Entity:
    """A task or host of a record. What is told of in the future, by a clock that was wrong, is told
    of now. Raises StoreRefused for a record of a newer version, or that cannot be read."""
    record = codec.decode(StoredEntity, data, kind=_ENTITY[kind])
    lagging = tuple((name, (at, LONG_AGO)) for name, at in sorted(record.lagging.items()))
    whole = whole_of(
        bytes(record.whole), version=record.ecs_version, begun=LONG_AGO, lagging=lagging
    )
    return Entity(
        kind=kind,
        key=record.arn,
        cluster_arn=sys.intern(record.cluster),
        version=record.version,
        whole=whole,
        read_at=record.read_at,
        told_at=now.mono - max(0.0, now.wall - record.told),
        ended=record.ended,
    )


def names_in(kind: Kind, data: bytes) -> Names:
    """Which entity a record is about. Raises StoreRefused."""
    return codec.decode(Names, data, kind=_ENTITY[kind])


def task_document(entity: Entity) -> TaskDocument:
    """A task's members as the view takes them. Raises blox.ecs.wire.Unreadable."""
    return decode_document(entity.whole.json(), TaskDocument)


def host_document(entity: Entity) -> HostDocument:
    """A host's members as the view takes them. Raises blox.ecs.wire.Unreadable."""
    return decode_document(entity.whole.json(), HostDocument)
