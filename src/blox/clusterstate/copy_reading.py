"""Reading the stored copy, and handing it to the view, piece by piece: everything else goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

import structlog

from blox.base.ambient import Clock
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.copy_records import (
    CLUSTER,
    PREFIXES,
    StoredCluster,
    Times,
    host_document,
    restored,
    task_document,
)
from blox.clusterstate.entity import Entity, Kind
from blox.clusterstate.view import Restored, View
from blox.ecs.model import HostDocument, TaskDocument
from blox.ecs.wire import Unreadable
from blox.store import codec, keys
from blox.store.port import Listing, Store

D = TypeVar("D", TaskDocument, HostDocument)
T = TypeVar("T")

SLICE: Final = 200
"""Tasks or hosts that are worked on at once, before something else may run."""

_log = structlog.get_logger("blox.clusterstate")


def now_by(clock: Clock) -> Times:
    """This instant."""
    return Times(mono=clock.monotonic(), wall=clock.wall())


def slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items, SLICE at a time."""
    return (items[at : at + SLICE] for at in range(0, len(items), SLICE))


async def buckets(store: Store, kind: Kind) -> AsyncIterator[Listing]:
    """Every record of a kind, in pieces."""
    for number in range(keys.STATE_BUCKETS):
        yield await store.list(keys.state_bucket(PREFIXES[kind], number))


async def stored_entities(store: Store, clock: Clock) -> list[Entity]:
    """Every task and host in the store. Raises StoreRefused for a record of a newer version."""
    found: list[Entity] = []
    for kind in PREFIXES:
        async for listing in buckets(store, kind):
            now = now_by(clock)
            found += [restored(kind, record.value, now) for record in listing.records]
            await asyncio.sleep(0)
    return found


async def stored_clusters(store: Store) -> list[str]:
    """The ARN of every cluster in the store."""
    listing = await store.list(keys.STATE_CLUSTERS)
    return [codec.decode(StoredCluster, r.value, kind=CLUSTER).arn for r in listing.records]


def clusters_in(catalogue: Catalogue, stored: Iterable[str]) -> list[str]:
    """The clusters that were stored, and those of which only a task or host was; sorted."""
    members = (e.cluster_arn for e in catalogue.log.after(0) if _is_member(e))
    return sorted({*stored, *members})


async def restore_cluster(view: View, catalogue: Catalogue, cluster_arn: str) -> None:
    """Hand one cluster to the view, hosts first: which tasks may enter depends on them."""
    hosts = list(catalogue.all_of("instance", cluster_arn))
    tasks = list(catalogue.all_of("task", cluster_arn))
    for some in slices(hosts):
        view.restore(cluster_arn, _documents(catalogue, some, host_document), (), more=True)
        await asyncio.sleep(0)
    for some in slices(tasks):
        view.restore(cluster_arn, (), _documents(catalogue, some, task_document), more=True)
        await asyncio.sleep(0)
    view.restore(cluster_arn, (), ())


def _documents(
    catalogue: Catalogue, entities: Sequence[Entity], document: Callable[[Entity], D]
) -> list[Restored[D]]:
    found = []
    for entity in entities:
        try:
            found.append(Restored(document=document(entity), shown=entity.told_at))
        except Unreadable as error:
            _log.warning("stored copy: not restored", arn=entity.key, reason=str(error))
            catalogue.gone(entity.kind, entity.cluster_arn, entity.key)
    return found


def _is_member(entity: Entity) -> bool:
    return entity.kind != "cluster" and not entity.deleted
