"""Every task and host of every watched cluster as ECS tells it, with a version for each change.

The view's records decide what is true (R6, R7, R15); this follows them, keeps the whole of what ECS
told (`blox.clusterstate.whole`), gives every change its version and puts it into one log, from
which lists, streams and the stored copy are served. Nothing here asks ECS anything.

A version is one growing number for everything, as 0.3's etcd gave it. It is valid for as long as
the store is: a process that starts goes on above every version that an earlier one may have given
out (`reserve`).
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec
from msgspec import Struct

from blox.clusterstate.changes import ChangeLog
from blox.clusterstate.merge import Evidence, HostEntry, TaskEntry
from blox.clusterstate.whole import NOTHING, Whole, members_of, merge_whole
from blox.ecs.model import INACTIVE, HostDocument, TaskDocument
from blox.ecs.seen import ClusterSeen

Kind = Literal["task", "instance", "cluster"]

_MEMBERS: Final[tuple[Kind, ...]] = ("task", "instance")

WAKE_EVERY: Final = 0.005
"""Seconds between two wakings of those who follow: what changes in between is one wake."""


class Entity(Struct, kw_only=True, eq=False):
    """One task, host or cluster as of one change. A later change makes a new one; only what is
    encoded of it is filled in afterwards."""

    kind: Kind
    key: str
    """Its ARN."""
    cluster_arn: str
    version: int
    whole: Whole = NOTHING
    read_at: float | None = None
    """ECS's time, seconds since 1970-01-01 UTC, when the newest read of it began that told
    anything; None when only events did."""
    seen: ClusterSeen | None = None
    """Of a cluster: how well it is known."""
    ended: bool = False
    """A task that is STOPPED or DELETED, a host that is INACTIVE."""
    deleted: bool = False
    """It is not in the view any more; `whole` is what was known last."""
    v1: bytes | None = None
    """What /v1 shows of it, once somebody asked."""
    v2: bytes | None = None
    """What /v2 shows of it, once somebody asked."""

    def text(self, name: str) -> str:
        """One of its members that is a text; "" when it has none."""
        value = self.whole.get(name)
        found = None if value is None else msgspec.json.decode(value)
        return found if isinstance(found, str) else ""


class Catalogue:
    """Fed by `blox.clusterstate.cluster.Cluster`, read by the API and the stored copy."""

    def __init__(self, *, name: str, epoch: str) -> None:
        """`name`: names the numbering of versions; as old as the store. `epoch`: names this run of
        this process: sweeps are numbered within it."""
        self.name = name
        self.epoch = epoch
        self.log: ChangeLog[Entity] = ChangeLog()
        self._entities: dict[tuple[Kind, str], dict[str, Entity]] = {}
        self._sorted: dict[tuple[Kind, str], list[str]] = {}
        self._changed: dict[tuple[Kind, str], int] = {}
        self._clusters: dict[str, Entity] = {}
        self._reserved = 0
        self._news = asyncio.Event()
        self._woken_at = float("-inf")
        self._waking: asyncio.TimerHandle | None = None

    # --- Reading ----------------------------------------------------------------------------------

    @property
    def last(self) -> int:
        """The version of the last change."""
        return self.log.last

    @property
    def versions_left(self) -> int:
        """How many more versions may be given out before more must be reserved."""
        return self._reserved - self.log.last

    @property
    def clusters(self) -> tuple[str, ...]:
        """The ARNs of the clusters that anything is known of, sorted."""
        return tuple(sorted(self._clusters))

    def cluster(self, cluster_arn: str) -> Entity | None:
        """How well a cluster is known."""
        return self._clusters.get(cluster_arn)

    def get(self, kind: Kind, cluster_arn: str, arn: str) -> Entity | None:
        """One entity."""
        return self._entities.get((kind, cluster_arn), {}).get(arn)

    def all_of(self, kind: Kind, cluster_arn: str) -> Iterator[Entity]:
        """Every entity of one kind in one cluster, by ARN."""
        place = (kind, cluster_arn)
        entities = self._entities.get(place, {})
        arns = self._sorted.get(place)
        if arns is None:
            arns = self._sorted[place] = sorted(entities)
        return (entities[arn] for arn in arns)

    def count(self, kind: Kind, cluster_arn: str) -> int:
        """How many entities of one kind one cluster has."""
        return len(self._entities.get((kind, cluster_arn), ()))

    def changed(self, kind: Kind, cluster_arn: str | None = None) -> int:
        """The version of the last change of any entity of one kind, in one cluster or all."""
        if cluster_arn is not None:
            return self._changed.get((kind, cluster_arn), 0)
        return max((v for (k, _), v in self._changed.items() if k == kind), default=0)

    async def news(self, after: int) -> None:
        """Wait until something has changed after that version."""
        while self.log.last <= after:
            await self._news.wait()

    # --- What the view tells ----------------------------------------------------------------------

    def task(self, entry: TaskEntry, document: TaskDocument, evidence: Evidence) -> None:
        """One account of a task has become part of its record."""
        task = entry.task
        overruled = {
            "lastStatus": _json_text(task.last_status),
            "desiredStatus": _json_text(task.desired_status),
        }
        self._told(
            "task",
            task.arn,
            document.whole,
            document.version,
            evidence,
            overruled=overruled,
            ended=not task.live,
        )

    def host(self, entry: HostEntry, document: HostDocument, evidence: Evidence) -> None:
        """One account of a host has become part of its record."""
        self._told(
            "instance",
            entry.host.arn,
            document.whole,
            document.version,
            evidence,
            overruled={},
            ended=entry.host.status == INACTIVE,
        )

    def gone(self, kind: Kind, cluster_arn: str, arn: str) -> None:
        """The view has let go of a task or host."""
        place = (kind, cluster_arn)
        known = self._entities.get(place, {}).pop(arn, None)
        if known is None:
            return
        self._sorted.pop(place, None)
        self._append(msgspec.structs.replace(known, version=0, deleted=True, v1=None, v2=None))

    def cluster_changed(self, seen: ClusterSeen) -> None:
        """How well a cluster is known has changed."""
        self._clusters[seen.arn] = self._append(
            Entity(kind="cluster", key=seen.arn, cluster_arn=seen.arn, version=0, seen=seen)
        )

    def cluster_forgotten(self, cluster_arn: str) -> None:
        """A cluster is not watched any more."""
        for kind in _MEMBERS:
            for arn in list(self._entities.get((kind, cluster_arn), ())):
                self.gone(kind, cluster_arn, arn)
            self._entities.pop((kind, cluster_arn), None)
        known = self._clusters.pop(cluster_arn, None)
        if known is not None:
            self._append(msgspec.structs.replace(known, version=0, deleted=True, v1=None, v2=None))

    def _told(
        self,
        kind: Kind,
        arn: str,
        sent: bytes | None,
        version: object,
        evidence: Evidence,
        *,
        overruled: Mapping[str, bytes],
        ended: bool,
    ) -> None:
        place = (kind, evidence.cluster_arn)
        entities = self._entities.setdefault(place, {})
        known = entities.get(arn)
        before = NOTHING if known is None else known.whole
        number = version if isinstance(version, int) else 0
        stamp = (number, float("-inf") if evidence.begun is None else evidence.begun)
        told = {} if sent is None else members_of(sent)
        whole = merge_whole(before, told, stamp, overruled)
        if known is not None and whole.values == before.values and whole.names == before.names:
            if whole is not before:
                known.whole = whole
            return
        read_at = evidence.ecs_time if evidence.begun is not None else None
        if read_at is None and known is not None:
            read_at = known.read_at
        if known is None:
            self._sorted.pop(place, None)
        entities[arn] = self._append(
            Entity(
                kind=kind,
                key=arn,
                cluster_arn=evidence.cluster_arn,
                version=0,
                whole=whole,
                read_at=read_at,
                ended=ended,
            )
        )

    # --- Versions ---------------------------------------------------------------------------------

    def reserve(self, until: int) -> None:
        """Versions up to this are known to the store as given out."""
        self._reserved = max(self._reserved, until)

    def restore(self, entity: Entity) -> None:
        """An entity of the stored copy, before anything else; by rising versions."""
        place = (entity.kind, entity.cluster_arn)
        self._entities.setdefault(place, {})[entity.key] = entity
        self._sorted.pop(place, None)
        self._changed[place] = max(self._changed.get(place, 0), entity.version)
        self.log.put_back(entity)

    def _append(self, entity: Entity) -> Entity:
        entity.version = self.log.last + 1
        self.log.append(entity)
        self._changed[(entity.kind, entity.cluster_arn)] = entity.version
        self._wake()
        return entity

    def _wake(self) -> None:
        """Wake those who follow: at once, or a little after the last time."""
        if self._waking is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # Nobody can follow where no loop runs.
        wait = max(0.0, self._woken_at + WAKE_EVERY - loop.time())
        self._waking = loop.call_later(wait, self._woken)

    def _woken(self) -> None:
        self._waking = None
        self._woken_at = asyncio.get_running_loop().time()
        news, self._news = self._news, asyncio.Event()
        news.set()


def _json_text(text: str) -> bytes:
    return b'"' + text.encode() + b'"'
