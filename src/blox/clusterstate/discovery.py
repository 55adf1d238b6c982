"""Which clusters there are: every one of the account and region, found and let go.

They are listed once a minute, and at once when an event names one that nobody watches. What is new
is followed, and its first sweep begins at once. A cluster is let go when two answers agree: it is
not listed any more, and its own sweep was told that it is INACTIVE or not there; either alone may
be a read that lags behind. Nothing here waits for a cluster, so that no cluster's trouble can keep
another from being found.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListClusters.html
"""

import asyncio
from typing import Final, Protocol

import structlog

from blox.base.ambient import Clock
from blox.base.backoff import exponential
from blox.clusterstate.shared import within
from blox.ecs.errors import EcsError, EcsRefused, EcsSilent
from blox.ecs.model import ACTIVE, INACTIVE
from blox.ecs.port import EcsReads
from blox.ecs.seen import ClusterSeen

EVERY: Final = 60.0
"""Seconds between two listings."""
REST: Final = 5.0
"""Seconds at least between two listings, and after which the same stranger may ask for another."""
LONGEST_REST: Final = 300.0
"""A stranger that no listing shows, of another account or deleted long ago, asks less and less."""
FIRST_RETRY: Final = 1.0
LAST_RETRY: Final = 60.0
_MOST_PAGES: Final = 1000
_STRANGERS_KEPT: Final = 1000

_log = structlog.get_logger("blox.clusterstate")


class Watching(Protocol):
    """What `blox.clusterstate.view.View` offers here."""

    @property
    def clusters(self) -> tuple[str, ...]:
        """The ARNs of the watched clusters."""
        ...

    def cluster(self, cluster_arn: str) -> ClusterSeen | None:
        """How well a cluster is known."""
        ...

    async def follow(self, cluster: str) -> None:
        """Watch a cluster from now on."""
        ...

    def unfollow(self, cluster_arn: str) -> None:
        """Stop watching a cluster and forget it."""
        ...

    def suspect(self, cluster_arn: str) -> None:
        """Something does not fit what is known of a cluster: have it swept soon."""
        ...


class Discovery:
    """Has a view watch every cluster that there is."""

    def __init__(self, reads: EcsReads, view: Watching, clock: Clock) -> None:
        self._reads = reads
        self._view = view
        self._clock = clock
        self._asked = asyncio.Event()
        self._strangers: dict[str, tuple[float, float]] = {}
        """ARN → until when it asks for no listing, and the wait that led there."""
        self.listings = 0
        """Complete ones, so far."""
        self.problem: str | None = None
        """Why the clusters cannot be listed; None while they can, or were not."""
        self.next_step = ""
        """What to do about it."""
        self._failing = ""
        """The kind of the last failure; each is logged once."""

    def stranger(self, cluster_arn: str) -> None:
        """An event is about a cluster that is not watched: list them, unless that did not show this
        one just now."""
        now = self._clock.monotonic()
        until, wait = self._strangers.pop(cluster_arn, (now, REST / 2))
        if until <= now:
            wait = min(2 * wait, LONGEST_REST)
            until = now + wait
            self._asked.set()
        self._strangers[cluster_arn] = (until, wait)
        while len(self._strangers) > _STRANGERS_KEPT:
            del self._strangers[next(iter(self._strangers))]

    async def find(self, name: str) -> str | None:
        """The ARN of the ACTIVE cluster of this name, which is watched from now on; None when there
        is none. Raises EcsError when ECS does not tell."""
        answer = await self._reads.describe_clusters([name])
        for cluster in answer.items:
            if cluster.status == ACTIVE:
                await self._view.follow(cluster.cluster_arn)
                return cluster.cluster_arn
        return None

    async def run(self) -> None:
        """List and follow until cancelled."""
        failures = 0
        while True:
            begun = self._clock.monotonic()
            self._asked.clear()
            try:
                listed = await self._list()
            except EcsError as error:
                failures += 1
                self._failed(error)
            else:
                failures = 0
                self._listed()
                await self._take(listed)
            await self._pause(begun, failures)

    async def _list(self) -> dict[str, None]:
        """The ARNs of all pages."""
        found: dict[str, None] = {}
        token: str | None = None
        for _ in range(_MOST_PAGES):
            answer = await self._reads.list_clusters(next_token=token)
            found.update(dict.fromkeys(answer.items))
            token = answer.next_token
            if not token:
                return found
        raise EcsSilent("ListClusters", f"the list did not end within {_MOST_PAGES} pages")

    async def _take(self, listed: dict[str, None]) -> None:
        watched = frozenset(self._view.clusters)
        new = [arn for arn in listed if arn not in watched]
        for arn in new:
            self._strangers.pop(arn, None)
            await self._view.follow(arn)
        for arn in listed:
            if self._inactive(arn):  # It was made again, or one of both answers lags behind.
                self._view.suspect(arn)
        gone = [arn for arn in self._view.clusters if arn not in listed and self._inactive(arn)]
        for arn in gone:
            self._view.unfollow(arn)
        if new:
            _log.info("clusters found", clusters=new)
        if gone:
            _log.info("clusters gone", clusters=gone)

    def _inactive(self, arn: str) -> bool:
        seen = self._view.cluster(arn)
        return seen is not None and seen.status == INACTIVE

    async def _pause(self, begun: float, failures: int) -> None:
        if failures:
            await asyncio.sleep(
                exponential(failures, first=FIRST_RETRY, factor=2.0, most=LAST_RETRY, jitter=0.0)
            )
            return
        await asyncio.sleep(max(0.0, begun + REST - self._clock.monotonic()))
        await within(self._asked, begun + EVERY - self._clock.monotonic())

    def _failed(self, error: EcsError) -> None:
        kind = error.code if isinstance(error, EcsRefused) else type(error).__name__
        if isinstance(error, EcsRefused) and error.denied:
            sentence = f"Listing the clusters of this account and region is denied: {error.reason}"
            step = "allow ecs:ListClusters, which has no resource, or name the clusters: --cluster"
        else:
            sentence = f"The clusters of this account and region were not listed: {error.message}"
            step = "it tries again by itself; --cluster NAME watches clusters without listing them"
        if self._failing != kind:
            _log.warning("clusters not listed", problem=sentence, next=step)
        self._failing, self.problem, self.next_step = kind, sentence, step

    def _listed(self) -> None:
        if self.problem is not None:
            _log.info("clusters are listed again")
        self.listings += 1
        self._failing, self.problem, self.next_step = "", None, ""
