"""Somebody else's program that follows a cluster-state-service and believes every word.

It lists, follows from the list's position, resumes where it was cut off, lists again when it is
told to, and keeps nothing but what it was told last. What it has in the end is what anybody has.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import msgspec

from blox.clusterstate.api.shown2 import item_v2
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.entity import Entity
from blox.clusterstate.remote.lines import read_items
from blox.clusterstate.remote.port import (
    ClusterTold,
    Gone,
    HostTold,
    PositionExpired,
    ServiceUnavailable,
    StateService,
    TaskTold,
    Told,
)

RETRY = 1.0


class Mirror:
    """The copy of one cluster that a plain program has."""

    def __init__(self, service: StateService, cluster_arn: str) -> None:
        self._service = service
        self.cluster = cluster_arn
        self._position: str | None = None
        self.has: dict[str, Told] = {}
        """By ARN, what was told last; the cluster's own line too."""

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self._follow()
            except PositionExpired:
                self._position = None
            except ServiceUnavailable:
                await asyncio.sleep(RETRY)

    async def _follow(self) -> None:
        if self._position is None:
            listing = await self._service.listing(self.cluster)
            self.has = {}
            everything: tuple[Sequence[Told], ...] = (listing.tasks, listing.hosts)
            for items in everything:
                for one in items:
                    self._take(one)
            self._position = listing.position
        async with aclosing(self._service.follow(self.cluster, self._position)) as batches:
            async for position, batch in batches:
                for one in batch:
                    self._take(one)
                self._position = position

    def _take(self, one: Told) -> None:
        match one:
            case TaskTold():
                self.has[one.document.task_arn] = one
            case HostTold():
                self.has[one.document.container_instance_arn] = one
            case Gone():
                self.has.pop(one.arn, None)
            case ClusterTold():
                self.has[self.cluster] = one

    def follows(self, catalogue: Catalogue) -> bool:
        """Whether that is whom it follows now."""
        return self._position is not None and self._position.startswith(f"{catalogue.name}.")

    def differs_from(self, catalogue: Catalogue) -> list[str]:
        """How the copy differs from what the service has: a line each."""
        listed = (
            *catalogue.all_of("task", self.cluster),
            *catalogue.all_of("instance", self.cluster),
        )
        theirs = dict(zip([e.key for e in listed], _told(listed, self.cluster), strict=True))
        ours = {arn: one for arn, one in self.has.items() if arn != self.cluster}
        return [
            f"{arn}: has {_brief(ours.get(arn))}, the service {_brief(theirs.get(arn))}"
            for arn in sorted({*ours, *theirs})
            if _plain(ours.get(arn)) != _plain(theirs.get(arn))
        ]


def _told(entities: Sequence[Entity], cluster_arn: str) -> list[TaskTold | HostTold]:
    return list(read_items([msgspec.Raw(item_v2(entity)) for entity in entities], cluster_arn))


def _plain(one: Told | None) -> object:
    """What matters of it: when it was read last changes without a word."""
    return one.document if isinstance(one, TaskTold | HostTold) else one


def _brief(one: Told | None) -> str:
    match one:
        case TaskTold():
            return f"version {one.document.version} {one.document.last_status}"
        case HostTold():
            return f"version {one.document.version} {one.document.status}"
        case _:
            return "nothing"
