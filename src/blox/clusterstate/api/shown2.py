"""A task, host or cluster as /v2 shows it: everything that ECS told, under ECS's names. Pure."""

from typing import Final

import msgspec

from blox.base.ids import short_id
from blox.clusterstate.api.encoded import Encoded
from blox.clusterstate.api.moments import iso, with_times
from blox.clusterstate.entity import Entity
from blox.clusterstate.whole import heads
from blox.ecs.seen import ClusterSeen

_encode: Final = msgspec.json.encode


def item_v2(entity: Entity) -> bytes:
    """The JSON of a task or host, kept for a while. One that is gone is shown as it was last."""
    if entity.v2 is None:
        entity.v2 = _item(entity)
        _encoded.add(entity, len(entity.v2))
    return entity.v2


def _drop(entity: Entity) -> None:
    entity.v2 = None


_encoded: Final = Encoded(_drop)


def _item(entity: Entity) -> bytes:
    whole = entity.whole
    told = b",".join(
        head + with_times(name, value)
        for head, name, value in zip(heads(whole.names), whole.names, whole.values, strict=True)
    )
    read_at = b"null" if entity.read_at is None else _encode(iso(entity.read_at))
    return b'{%b,"readAt":%b,"%b":{%b}}' % (_named(entity), read_at, entity.kind.encode(), told)


def deleted_v2(entity: Entity) -> bytes:
    """The JSON of a task, host or cluster that is gone: which, and since which version."""
    return b"{%b}" % _named(entity)


def cluster_v2(entity: Entity, *, epoch: str) -> bytes:
    """The JSON of how well a cluster is known, of what changes together with its version. `epoch`
    names the run of the process, within which sweeps are numbered."""
    seen = entity.seen or ClusterSeen(arn=entity.key)
    return _encode(
        {
            "name": short_id(entity.key),
            "arn": entity.key,
            "status": seen.status,
            "primed": seen.primed,
            "version": entity.version,
            "sweep": {"epoch": epoch, "number": seen.sweep},
            "readError": seen.read_error,
        }
    )


def _named(entity: Entity) -> bytes:
    return b'"kind":"%b","arn":%b,"cluster":%b,"clusterArn":%b,"version":%d' % (
        entity.kind.encode(),
        _encode(entity.key),
        _encode(short_id(entity.cluster_arn)),
        _encode(entity.cluster_arn),
        entity.version,
    )
