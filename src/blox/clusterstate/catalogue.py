"""Every task and host of every watched cluster as ECS tells it, with a version for each change.

The view's records decide what is true (R6, R7, R15); this follows them, keeps the whole of what ECS
told (`blox.clusterstate.whole`), gives every change its version and puts it into one log, from
which lists, streams and the stored copy are served. Nothing here asks ECS anything.

A version is one growing number for everything, as 0.3's etcd gave it. It is valid for as long as
the store is: a process that starts goes on above every version that an earlier one may have given
out (`reserve`).
"""

import asyncio
import sys
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Final

import msgspec
from msgspec import structs

from blox.clusterstate.changes import ChangeLog
from blox.clusterstate.entity import Entity as Entity
from blox.clusterstate.entity import Kind as Kind
from blox.clusterstate.merge import Evidence, HostEntry, TaskEntry
from blox.clusterstate.whole import NOTHING, members_of, merge_whole
from blox.ecs.model import INACTIVE, HostDocument, TaskDocument
from blox.ecs.seen import ClusterSeen

_MEMBERS: Final[tuple[Kind, ...]] = ("task", "instance")
_EVENT: Final = float("-inf")
"""The begin of an account that no call of ours asked for."""

WAKE_EVERY: Final = 0.005
"""Seconds between two wakings of those who follow: what changes in between is one wake."""


class Catalogue:
    """Fed by `blox.clusterstate.cluster.Cluster`, read by the API and the stored copy."""

    def __init__(
        self, *, name: str, epoch: str, rename: Callable[[], tuple[str, int]] | None = None
    ) -> None:
        """`name`: names the numbering of versions; as old as the store. `epoch`: names this run of
        this process: sweeps are numbered within it. `rename`: gives the numbering another name when
        more versions are needed than could be reserved, and the version above which it goes on, if
        it has not come so far."""
        self.name = name
        self.epoch = epoch
        self._rename = rename
        self.log: ChangeLog[Entity] = ChangeLog()
        self._entities: dict[tuple[Kind, str], dict[str, Entity]] = {}
        self._sorted: dict[tuple[Kind, str], list[str]] = {}
        self._changed: dict[tuple[Kind, str], int] = {}
        self._changed_anywhere: dict[Kind, int] = {}
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

    def all_of(self, kind: Kind, cluster_arn: str, *, after: str = "") -> Iterator[Entity]:
        """Every entity of one kind in one cluster, by ARN, from behind `after` on. To be read
        before anything changes."""
        place = (kind, cluster_arn)
        entities = self._entities.get(place, {})
        arns = self._sorted.get(place)
        if arns is None:
            arns = self._sorted[place] = sorted(entities)
        begin = bisect_right(arns, after)
        return (entities[arn] for arn in islice(arns, begin, None))

    def count(self, kind: Kind, cluster_arn: str) -> int:
        """How many entities of one kind one cluster has."""
        return len(self._entities.get((kind, cluster_arn), ()))

    def changed(self, kind: Kind, cluster_arn: str | None = None) -> int:
        """The version of the last change of any entity of one kind, in one cluster or all; where
        this run began, for what an earlier one changed last."""
        if cluster_arn is not None:
            return max(self.log.began, self._changed.get((kind, cluster_arn), 0))
        return max(self.log.began, self._changed_anywhere.get(kind, 0))

    async def news(self, after: int) -> None:
        """Wait until something has changed after that version."""
        while self.log.last <= after:
            await self._news.wait()

    # --- What the view tells ----------------------------------------------------------------------

    def task(self, entry: TaskEntry, document: TaskDocument, evidence: Evidence) -> None:
        """One account of a task has become part of its record."""
        task = entry.task
        self._told(
            "task",
            task.arn,
            document.whole,
            document.version,
            evidence,
            overruled=_statuses(task.last_status, task.desired_status),
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
            overruled=_status(entry.host.status),
            ended=entry.host.status == INACTIVE,
        )

    def gone(self, kind: Kind, cluster_arn: str, arn: str) -> None:
        """The view has let go of a task or host."""
        place = (kind, cluster_arn)
        known = self._entities.get(place, {}).pop(arn, None)
        if known is None:
            return
        arns = self._sorted.get(place)
        if arns is not None:
            del arns[bisect_left(arns, arn)]
        self._delete(known)

    def cluster_changed(self, seen: ClusterSeen) -> None:
        """How well a cluster is known has changed."""
        known = self._clusters.get(seen.arn)
        if known is not None and known.seen is not None and _shown(known.seen) == _shown(seen):
            known.seen = seen
            return
        self._clusters[seen.arn] = self._append(
            Entity(kind="cluster", key=seen.arn, cluster_arn=seen.arn, version=0, seen=seen)
        )

    def cluster_forgotten(self, cluster_arn: str) -> None:
        """A cluster is not watched any more."""
        for kind in _MEMBERS:
            place = (kind, cluster_arn)
            self._sorted.pop(place, None)
            for known in self._entities.pop(place, {}).values():
                self._delete(known)
        cluster = self._clusters.pop(cluster_arn, None)
        if cluster is not None:
            self._delete(cluster)

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
        entities = self._entities.get(place)
        if entities is None:
            entities = self._entities[place] = {}
        known = entities.get(arn)
        before = NOTHING if known is None else known.whole
        number = version if isinstance(version, int) else 0
        stamp = (number, _EVENT if evidence.begun is None else evidence.begun)
        told = {} if sent is None else members_of(sent)
        whole = merge_whole(before, told, stamp, overruled)
        read_at = None if evidence.begun is None else evidence.ecs_time
        if known is None:
            arns = self._sorted.get(place)
            if arns is not None:
                insort(arns, arn)
        else:
            if known.ended == ended and whole.shows_the_same(before):
                known.whole = whole
                return
            arn = known.key
            if known.read_at is not None:
                read_at = known.read_at if read_at is None else max(read_at, known.read_at)
        entities[arn] = self._append(
            Entity(
                kind=kind,
                key=arn,
                cluster_arn=evidence.cluster_arn,
                version=0,
                whole=whole,
                read_at=read_at,
                told_at=evidence.received,
                ended=ended,
            )
        )

    # --- Versions ---------------------------------------------------------------------------------

    def reserve(self, until: int) -> None:
        """Versions up to this are known to the store as given out."""
        self._reserved = until

    def restore(self, entity: Entity) -> None:
        """An entity of the stored copy, before anything else; by rising versions, none above
        `last`."""
        place = (entity.kind, entity.cluster_arn)
        self._entities.setdefault(place, {})[entity.key] = entity
        self._sorted.pop(place, None)
        self._changed_at(entity)
        self.log.put_back(entity)

    def _delete(self, known: Entity) -> None:
        self._append(
            structs.replace(known, version=0, before=known.version, deleted=True, v1=None, v2=None)
        )

    def _append(self, entity: Entity) -> Entity:
        last = self.log.last
        if self._rename is not None and last >= self._reserved:
            # Under this name, another run may give the same versions to other changes.
            self.name, least = self._rename()
            last, self._reserved = max(last, least), sys.maxsize
        entity.version = last + 1
        self.log.append(entity)
        self._changed_at(entity)
        self._wake()
        return entity

    def _changed_at(self, entity: Entity) -> None:
        kind, place = entity.kind, (entity.kind, entity.cluster_arn)
        self._changed[place] = max(self._changed.get(place, 0), entity.version)
        self._changed_anywhere[kind] = max(self._changed_anywhere.get(kind, 0), entity.version)

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


@lru_cache(maxsize=64)
def _status(status: str) -> Mapping[str, bytes]:
    """What the record decides of a host, as JSON."""
    return {"status": msgspec.json.encode(status)}


@lru_cache(maxsize=256)
def _statuses(last: str, desired: str) -> Mapping[str, bytes]:
    """What the record decides of a task, as JSON."""
    return {"lastStatus": msgspec.json.encode(last), "desiredStatus": msgspec.json.encode(desired)}


def _shown(seen: ClusterSeen) -> ClusterSeen:
    """What anybody is shown of how well a cluster is known, but for times: they change along with
    the number of the sweep, or concern nobody else."""
    return structs.replace(seen, swept_at=None, absence_horizon=None, good_until=None)
