"""The stored copy: what the catalogue holds, in the store, at most a second old.

It is made from the catalogue's log like every other reader's: what changed after the version that
it has come to, gathered into transactions of a bounded size, at most once a second. So every entity
is written at most once a second, and the copy is as large as the view. It never decides anything:
the view goes on when the store does not, and what is restored is a beginning that the next sweep
corrects.

No version is given out twice. Versions are reserved in the store, in blocks, before they are given
out; whoever starts after a crash goes on above what was reserved. Should a store that takes no
writes outlast even a block, the numbering takes another name: who follows by the old one is told to
list again.

A numbering begins at the milliseconds of the wall clock, and goes on there where nobody knows which
versions were given out. Far fewer than a thousand things change in a second, as a rule; so a bare
version of a store that was lost lies before the first of the next one, and is refused there.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import structlog
from msgspec import Struct

from blox.base.ambient import Clock, Entropy
from blox.base.backoff import exponential
from blox.base.errors import BloxError, Conflict
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.copy_reading import (
    buckets,
    clusters_in,
    now_by,
    restore_cluster,
    slices,
    stored_clusters,
    stored_entities,
)
from blox.clusterstate.copy_records import (
    CLUSTER,
    NUMBERING,
    PREFIXES,
    Numbering,
    StoredCluster,
    key_of,
    names_in,
    stored,
)
from blox.clusterstate.entity import Entity
from blox.clusterstate.view import View
from blox.store import codec, keys
from blox.store.errors import StoreUnavailable
from blox.store.port import ABSENT, Compare, Delete, Put, Store

EVERY: Final = 1.0
"""Seconds between the begins of two rounds of writing, at least."""
BLOCK: Final = 10_000_000
"""Versions that are reserved at once: at 2,000 changes a second, enough for forty minutes at least
in which nothing can be written."""
MOST_WRITES: Final = 256
MOST_BYTES: Final = 1_000_000
"""Of one transaction; the last record may go beyond it."""
LAST_RETRY: Final = 15.0
"""Seconds between two tries to write at most; doubles from EVERY."""
_NAME_LENGTH: Final = 10

_log = structlog.get_logger("blox.clusterstate")


class _Batch(Struct):
    """What one transaction writes. `upto`: the version of the last change in it; `clusters`: those
    of which a record comes (True) or goes."""

    writes: list[Put | Delete]
    upto: int
    clusters: dict[str, bool]


class _Wait(NamedTuple):
    """Somebody waits until this version is stored."""

    version: int
    future: asyncio.Future[None]


class StoredCopy:
    """The copy of one catalogue. `load`, `restore`, then `run` until the end, then `close`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        entropy: Entropy,
        *,
        every: float = EVERY,
        block: int = BLOCK,
        most_writes: int = MOST_WRITES,
    ) -> None:
        """`every`: seconds between two rounds of writing; `block`: versions reserved at once;
        `most_writes`: records in one transaction."""
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._every = every
        self._block = block
        self._most_writes = most_writes
        self._catalogue = Catalogue(name="", epoch="")
        self._stored = 0
        self._written = 0
        """Every change up to this version is written, or its entity has changed again."""
        self._numbering = Numbering(name="", reserved=0, stored=0, floor=0, run="")
        """As it is in the store."""
        self._revision = ABSENT
        """Of that record."""
        self._doubt = False
        """A transaction of ours may or may not have been applied."""
        self._strays = False
        """Something may be stored that the catalogue does not have."""
        self._clusters: set[str] = set()
        """Those that are stored."""
        self._waiting: list[_Wait] = []
        self._problem: str | None = None
        self._closed = False

    @property
    def problem(self) -> str | None:
        """Why nothing is being stored; None while it is."""
        return self._problem

    @property
    def stored(self) -> int:
        """Everything up to this version is in the store."""
        return self._stored

    # --- At the start -----------------------------------------------------------------------------

    async def load(self) -> Catalogue:
        """The catalogue as it was stored, its versions with it; further ones are reserved.

        Raises StoreRefused for records of a newer version of blox, Conflict when another process
        writes the same copy, and what else the store raises.
        """
        name, least = self._new_numbering()
        floor = last = least
        self._doubt = False
        record = await self._store.get(keys.STATE_NUMBERING)
        if record is not None:
            before = codec.decode(Numbering, record.value, kind=NUMBERING)
            self._revision = record.modified
            name, floor, last = before.name, before.stored, before.reserved
            if last > before.stored:
                # It did not end in good order: nobody knows which versions were given out. One
                # more, so that no earlier run has told anybody the version at which this begins.
                last = max(last + 1, least)
            if before.floor > before.stored:
                floor = last
        catalogue = Catalogue(name=name, epoch=self._new_name(), rename=self._new_numbering)
        catalogue.log.begin_after(floor=floor, last=last)
        self._catalogue, self._stored, self._written = catalogue, last, last
        await self._write([], stored=floor, floor=floor, reserved=last + self._block)
        if record is None:
            self._strays = True
            return catalogue
        await self._put_back(await stored_entities(self._store, self._clock))
        self._clusters.update(await stored_clusters(self._store))
        _log.info("stored copy read", entities=len(catalogue.log), clusters=len(self._clusters))
        return catalogue

    async def restore(self, view: View, *, watched: Callable[[str], bool] = lambda _: True) -> None:
        """Hand everything to the view, unprimed, and have it watch those clusters again.
        `watched`: whether a cluster (its ARN) is to be watched still; what was stored of others is
        forgotten."""
        for arn in clusters_in(self._catalogue, self._clusters):
            if watched(arn):
                await restore_cluster(view, self._catalogue, arn)
            else:
                self._catalogue.cluster_forgotten(arn)
                self._strays = True

    async def _put_back(self, entities: list[Entity]) -> None:
        """Enter what was stored, in the order of versions."""
        before = 0
        for some in slices(sorted(entities, key=lambda entity: entity.version)):
            for entity in some:
                if before < entity.version <= self._catalogue.last:
                    self._catalogue.restore(entity)
                    before = entity.version
                else:  # No run of ours wrote this.
                    self._strays = True
            await asyncio.sleep(0)

    # --- While it runs ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Write what changes, for ever."""
        failures = 0
        while True:
            begun = self._clock.monotonic()
            wait = self._every
            try:
                await self._round()
                failures = 0
            except BloxError as error:
                self._failed(error)
                failures += 1
                wait = exponential(
                    failures, first=self._every, factor=2.0, most=LAST_RETRY, jitter=0.0
                )
            await asyncio.sleep(begun + wait - self._clock.monotonic())
            if not (failures or self._strays):
                await self._catalogue.news(self._written)

    async def settled(self) -> None:
        """Return once everything that the catalogue has now is durable. Raises what the store
        raises when that fails; it is tried again without being asked."""
        if self._closed:
            raise StoreUnavailable("The stored copy is closed.")
        if self._stored >= self._catalogue.last:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Wait(self._catalogue.last, future))
        await future

    async def close(self) -> None:
        """Write what is left and give back the versions that were not used. To be called when `run`
        and all that changes the view have ended. What cannot be written is read from ECS again."""
        try:
            await self._round()
            last = self._catalogue.last
            await self._write([], stored=last, floor=last, reserved=last)
        except BloxError as error:
            self._failed(error)
        finally:
            self._closed = True
            for wait in self._waiting:
                if not wait.future.done():
                    wait.future.set_exception(StoreUnavailable("The stored copy is closed."))

    # --- Writing ----------------------------------------------------------------------------------

    async def _round(self) -> None:
        """Write everything that has changed until now, and tell those who wait for it."""
        asked = [wait.future for wait in self._waiting]
        try:
            await self._flush()
        except BloxError as error:
            for future in asked:
                if not future.done():
                    # One for each: a shared one would collect all their traces.
                    future.set_exception(type(error)(error.message))
            self._waiting = [wait for wait in self._waiting if not wait.future.done()]
            raise
        for wait in self._waiting:
            if wait.version <= self._stored and not wait.future.done():
                wait.future.set_result(None)
        self._waiting = [wait for wait in self._waiting if not wait.future.done()]
        if self._problem is not None:
            _log.info("stored copy is being written again")
        self._problem = None

    async def _flush(self) -> None:
        """At the end, what is stored is what held at one version: so all changes are taken now, and
        what changes again while they are being written is not left out."""
        catalogue = self._catalogue
        target = catalogue.last
        changed = list(catalogue.log.after(self._written))
        if self._strays or catalogue.log.floor > self._written:
            self._strays = True
            await self._remove_strays()
            self._strays = False
        batches = self._batches(changed)
        batch = next(batches, None)
        while batch is not None:
            following = next(batches, None)
            if following is None:
                await self._write(batch.writes, stored=target, floor=target)
            else:
                await self._write(batch.writes, floor=batch.upto)
            self._clusters.update(arn for arn, there in batch.clusters.items() if there)
            self._clusters.difference_update(a for a, there in batch.clusters.items() if not there)
            self._written = batch.upto
            batch = following
        if self._low:
            await self._write([])
        self._written = self._stored = target

    def _batches(self, changed: Sequence[Entity]) -> Iterator[_Batch]:
        """The transactions that write these changes."""
        batch, size, now = _Batch([], 0, {}), 0, now_by(self._clock)
        for entity in changed:
            if len(batch.writes) >= self._most_writes or size >= MOST_BYTES:
                yield batch
                batch, size, now = _Batch([], 0, {}), 0, now_by(self._clock)
            clusters = batch.clusters
            if entity.kind != "cluster":
                key = key_of(entity)
                write = Delete(key) if entity.deleted else Put(key, stored(entity, now))
            elif entity.deleted:
                clusters[entity.key] = False
                write = Delete(keys.state_cluster(entity.key))
            elif entity.key not in self._clusters:
                clusters[entity.key] = True
                write = Put(
                    keys.state_cluster(entity.key),
                    codec.encode(CLUSTER, StoredCluster(arn=entity.key)),
                )
            else:
                continue
            size += len(write.value) if isinstance(write, Put) else 0
            batch.writes.append(write)
            batch.upto = entity.version
        if batch.writes:
            yield batch

    async def _remove_strays(self) -> None:
        """Delete what is stored and not in the catalogue: what was deleted so long ago, or with so
        much else, that the log does not have it any more."""
        catalogue = self._catalogue
        for kind in PREFIXES:
            async for listing in buckets(self._store, kind):
                gone = []
                for record in listing.records:
                    names = names_in(kind, record.value)
                    if catalogue.get(kind, names.cluster, names.arn) is None:
                        gone.append(Delete(record.key))
                for some in slices(gone):
                    await self._write(some, floor=catalogue.last)
        arns = await stored_clusters(self._store)
        gone = [Delete(keys.state_cluster(a)) for a in arns if catalogue.cluster(a) is None]
        for some in slices(gone):
            await self._write(some, floor=catalogue.last)
        self._clusters = {arn for arn in arns if catalogue.cluster(arn) is not None}

    @property
    def _low(self) -> bool:
        """More versions should be reserved."""
        return self._numbering.reserved - self._catalogue.last < self._block // 2

    async def _write(
        self,
        writes: Sequence[Put | Delete],
        *,
        stored: int | None = None,
        floor: int = 0,
        reserved: int | None = None,
    ) -> None:
        """One transaction, and with it how far the numbering has come."""
        if self._doubt:
            await self._look_again()
        catalogue, known = self._catalogue, self._numbering
        if reserved is None:
            reserved = catalogue.last + self._block if self._low else known.reserved
        numbering = Numbering(
            name=catalogue.name,
            reserved=reserved,
            stored=known.stored if stored is None else stored,
            floor=max(known.floor, floor),
            run=catalogue.epoch,
        )
        record = Put(keys.STATE_NUMBERING, codec.encode(NUMBERING, numbering))
        compare = Compare(keys.STATE_NUMBERING, self._revision)
        self._doubt = True
        try:
            outcome = await self._store.transact([compare], [*writes, record])
        except StoreUnavailable:
            self._doubt = False
            raise
        if not outcome.applied:
            await self._look_again()
            raise StoreUnavailable("An earlier transaction of ours came in late.")
        self._doubt = False
        self._revision, self._numbering = outcome.revision, numbering
        if numbering.name == catalogue.name:
            catalogue.reserve(reserved)

    async def _look_again(self) -> None:
        """Learn what became of a transaction. Raises Conflict when the copy is somebody else's."""
        record = await self._store.get(keys.STATE_NUMBERING)
        found = None
        if record is not None:
            found = codec.decode(Numbering, record.value, kind=NUMBERING)
        if record is None or found is None or found.run != self._catalogue.epoch:
            raise Conflict(
                "Another process writes this copy of ECS, or has removed it; this one leaves it "
                "alone. Give every cluster-state-service a store of its own, and restart it."
            )
        self._revision, self._numbering, self._doubt = record.modified, found, False

    def _failed(self, error: BloxError) -> None:
        text = f"The copy of ECS is not being stored: {error.message}"
        if self._problem != text:
            _log.warning("stored copy is not written", reason=error.message)
        self._problem = text

    def _new_numbering(self) -> tuple[str, int]:
        """A name, and the version above which it begins."""
        return self._new_name(), int(1000 * self._clock.wall())

    def _new_name(self) -> str:
        return self._entropy.token()[-_NAME_LENGTH:].lower()
