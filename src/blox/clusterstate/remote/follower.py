"""Keeping a cluster's records by following a cluster-state-service (R12).

The records, and what merges into them, are the same as where ECS is read directly: what the service
tells is one more account, with ECS's version and with the time of the read that it rests on. So an
answer of our own that is newer stays until the service shows that task at that version.

What only absence could tell is never taken from the service. It may lag behind, be another one
than a minute ago, or have begun from an old copy; what it does not list, or has let go of, and we
hold as live, is described by ECS itself, and R6 decides.

A sweep is asked for, and complete when the service says so behind everything that it found. Only
then is the cluster primed, and only until twice the interval after the request was sent does it
justify anything (`ClusterSeen.good_until`).
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass

import structlog

from blox.base.ambient import Clock, Now
from blox.base.backoff import exponential
from blox.base.ids import short_id
from blox.clusterstate.cluster import Cluster, Effort
from blox.clusterstate.merge import Evidence
from blox.clusterstate.remote.believed import covers as covers
from blox.clusterstate.remote.believed import (
    evidence_of,
    honest,
    host_contradicted,
    task_contradicted,
)
from blox.clusterstate.remote.believed import justifies_until as justifies_until
from blox.clusterstate.remote.port import (
    ClusterTold,
    Gone,
    HostTold,
    Listing,
    NotWatched,
    PositionExpired,
    ServiceUnavailable,
    StateService,
    TaskTold,
    Ticket,
    Told,
)
from blox.clusterstate.shared import within
from blox.clusterstate.sweep import Sweeper
from blox.ecs.errors import EcsError
from blox.ecs.model import INACTIVE, HostDocument, TaskDocument
from blox.settings import ViewSettings

PATIENCE = 3.0
"""Intervals that a sweep may take at the service before it is asked for again."""
FIRST_RETRY = 0.2
LAST_RETRY = 15.0
"""Seconds until a service that failed is tried again, or the next one is; doubles in between."""
STEADY = 10.0
"""Seconds that a stream must last for the failures before it to be forgotten."""
TOGETHER = 500
"""Items of a listing that are applied before other work is let in."""

_log = structlog.get_logger("blox.clusterstate")


@dataclass(slots=True)
class Followed:
    """What following has come to, over all clusters: for metrics."""

    told: int = 0
    """Tasks and hosts that the service told."""
    listings: int = 0
    """Times that a cluster was listed: at first, and when a position had expired."""
    failures: int = 0
    """Streams that were cut, and requests that failed."""
    sweeps_failed: int = 0
    """Sweeps that were asked for and did not become complete in time."""


class Following:
    """Makes a `Follower` of each cluster (`blox.clusterstate.view.MakesFeeder`)."""

    def __init__(
        self,
        service: StateService,
        clock: Clock,
        *,
        settings: ViewSettings,
        ecs_now: Callable[[], float],
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.service = service
        self.followed = Followed()
        self._clock = clock
        self._settings = settings
        self._ecs_now = ecs_now
        self._around = around
        self._problems: dict[str, str] = {}

    def __call__(
        self, cluster: Cluster, sweeper: Sweeper, *, changed: Callable[[], None]
    ) -> "Follower":
        return Follower(
            self.service,
            self._clock,
            cluster,
            sweeper,
            interval=self._settings.sweep_interval_with_queue,
            ecs_now=self._ecs_now,
            changed=changed,
            around=self._around,
            followed=self.followed,
            problems=self._problems,
        )

    @property
    def problem(self) -> str | None:
        """Why no service is being followed for some cluster; None while all are."""
        return next((text for _, text in sorted(self._problems.items())), None)


def following(
    service: StateService,
    clock: Clock,
    *,
    settings: ViewSettings,
    ecs_now: Callable[[], float],
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Following:
    """What `View(feeder=...)` takes to be kept by `service`.

    `ecs_now`: our estimate of ECS's clock (`EcsReads.now`). `around()` is entered while what the
    service has just told is applied.
    """
    return Following(service, clock, settings=settings, ecs_now=ecs_now, around=around)


class Follower:
    """Follows the service for one cluster: `run` applies what it tells, `sweep` asks for more."""

    def __init__(
        self,
        service: StateService,
        clock: Clock,
        cluster: Cluster,
        sweeper: Sweeper,
        *,
        interval: float,
        ecs_now: Callable[[], float],
        changed: Callable[[], None],
        around: Callable[[], AbstractContextManager[None]],
        followed: Followed,
        problems: dict[str, str],
    ) -> None:
        self._service = service
        self._clock = clock
        self._cluster = cluster
        self._sweeper = sweeper
        self._interval = interval
        self._ecs_now = ecs_now
        self._changed = changed
        self._around = around
        self._followed = followed
        self._problems = problems
        self._begun = 0
        self._position: str | None = None
        self._listed = 0
        """The cluster's life in which it was last listed whole; 0 when it has to be again."""
        self._epoch: str | None = None
        """The run of the service that listed it."""
        self._connected = asyncio.Event()
        """It was listed, and what changes since is being told."""
        self._shown: dict[str, None] = {}
        """ARNs that the service shows now."""
        self._differing_tasks: dict[str, TaskDocument] = {}
        self._differing_hosts: dict[str, HostDocument] = {}
        """By ARN, what the service told last where our record says otherwise, by a later read."""
        self._told: ClusterTold | None = None
        self._telling = asyncio.Event()
        """Set whenever the service has told how well it knows the cluster."""
        self._good = (0, 0.0)
        """The cluster's life in which a sweep was complete last, and until when that is good."""
        self._heard_at = -math.inf
        """When the service last told anything of the cluster."""
        self._elsewhere = False
        """Another run of a service takes requests than the one that tells: the stream is to be
        opened again, or it would stay where no sweep is asked for any more."""
        self._verified: ClusterTold | None = None
        """What of this has been held against ECS's own word."""
        self._from: str | None = None
        """The service that was last said to be followed."""
        self._troubles: dict[str, str] = {}
        """What does not work, by part."""

    @property
    def begun(self) -> int:
        """How many sweeps have begun: the number of the last one."""
        return self._begun

    # --- Following --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Apply what the service tells, for ever; again from where it broke off, or from a list."""
        failures = 0
        try:
            while True:
                began = self._clock.monotonic()
                try:
                    if self._position is None or self._unlisted:
                        await self._list()
                    await self._follow()
                except PositionExpired:
                    self._position = None
                except NotWatched as error:
                    await self._not_watched(error)
                except ServiceUnavailable as error:
                    self._trouble("stream", error.message)
                finally:
                    self._connected.clear()
                steady = self._clock.monotonic() - began >= STEADY
                failures = 1 if steady else failures + 1
                await asyncio.sleep(_retry(failures))
        finally:
            self._problems.pop(self._cluster.arn, None)

    @property
    def _unlisted(self) -> bool:
        """Whether what our records hold is not whole: the cluster is there again since, or another
        run of a service tells than the one that listed it."""
        return self._cluster.active and self._listed != self._cluster.life

    async def _follow(self) -> None:
        """Apply one stream for as long as it lasts, or until the cluster has to be listed again."""
        assert self._position is not None
        self._elsewhere = False
        async with aclosing(self._service.follow(self._cluster.arn, self._position)) as batches:
            async for position, batch in batches:
                self._heard()
                with self._around():
                    self._apply(batch)
                self._position = position
                await self._verify()
                if self._unlisted or self._elsewhere:
                    return

    async def _list(self) -> None:
        """Take in everything that the service has of the cluster, tasks before hosts. Nothing
        leaves because it is not listed."""
        listing = await self._service.listing(self._cluster.arn)
        self._followed.listings += 1
        life = self._cluster.life
        if self._cluster.active:
            await self._take(listing)
            self._listed = life
        self._position = listing.position
        self._epoch = None if listing.cluster is None else listing.cluster.epoch
        if listing.cluster is not None:
            self._cluster_told(listing.cluster)
        self._heard()
        self._changed()

    async def _take(self, listing: Listing) -> None:
        life = self._cluster.life
        self._differing_tasks.clear()
        self._differing_hosts.clear()
        shown: dict[str, None] = {}
        everything: tuple[Sequence[TaskTold | HostTold], ...] = (listing.tasks, listing.hosts)
        for items in everything:
            for at in range(0, len(items), TOGETHER):
                if self._cluster.life != life:
                    return
                for told in items[at : at + TOGETHER]:
                    shown[self._put(told)] = None
                self._changed()
                await asyncio.sleep(0)
        if self._cluster.life != life:
            return
        self._shown = shown
        tasks, hosts = self._not_shown()
        self._cluster.doubt(tasks, hosts, now=self._clock.monotonic())

    # --- Applying ---------------------------------------------------------------------------------

    def _apply(self, batch: Sequence[Told]) -> None:
        """Apply what the service told together: hosts after the tasks on them, so that nothing is
        started beside a task unseen, and what the cluster has come to after both."""
        hosts: dict[str, HostTold] = {}
        gone: list[Gone] = []
        cluster: ClusterTold | None = None
        for told in batch:
            if isinstance(told, ClusterTold):
                cluster = told
            elif not self._cluster.active:
                continue  # It is listed whole when ECS says that it is there again.
            elif isinstance(told, TaskTold):
                self._shown[self._put(told)] = None
            elif isinstance(told, HostTold):
                hosts[told.document.container_instance_arn] = told
            else:
                hosts.pop(told.arn, None)
                self._shown.pop(told.arn, None)
                gone.append(told)
        for host in hosts.values():
            self._shown[self._put(host)] = None
        self._let_go(gone)
        if cluster is not None:
            self._cluster_told(cluster)
        self._changed()

    def _put(self, told: TaskTold | HostTold) -> str:
        """Merge one account; the ARN, as the record has it."""
        evidence = evidence_of(
            told, self._cluster.arn, now=Now(self._clock.monotonic(), self._ecs_now())
        )
        self._followed.told += 1
        if isinstance(told, HostTold):
            return self._put_host(told.document, evidence)
        return self._put_task(honest(told.document), evidence)

    def _put_host(self, document: HostDocument, evidence: Evidence) -> str:
        self._cluster.read_hosts((document,), evidence)
        entry = self._cluster.records.host(document.container_instance_arn)
        if entry is None:
            return document.container_instance_arn
        arn = entry.host.arn
        self._differing_hosts.pop(arn, None)
        if host_contradicted(entry, document, evidence):
            self._differing_hosts[arn] = document
            self._cluster.doubt((), (arn,), now=evidence.received)
        return arn

    def _put_task(self, document: TaskDocument, evidence: Evidence) -> str:
        self._cluster.read_tasks((document,), evidence)
        entry = self._cluster.records.task(document.task_arn)
        if entry is None:
            return document.task_arn
        arn = entry.task.arn
        self._differing_tasks.pop(arn, None)
        if task_contradicted(entry, document, evidence):
            self._differing_tasks[arn] = document
            self._cluster.doubt((arn,), (), now=evidence.received)
        return arn

    def _let_go(self, gone: Iterable[Gone]) -> None:
        """The service has let go of these. Where we hold one as live, ECS is asked."""
        records = self._cluster.records
        tasks, hosts = [], []
        for item in gone:
            if item.arn in self._shown:
                continue  # Told again behind it.
            task, host = records.task(item.arn), records.host(item.arn)
            if task is not None and task.task.live:
                tasks.append(item.arn)
            if host is not None and host.host.status != INACTIVE:
                hosts.append(item.arn)
        self._cluster.doubt(tasks, hosts, now=self._clock.monotonic())

    def _not_shown(self) -> tuple[list[str], list[str]]:
        """What our records hold as live, tasks and hosts, and the service does not show."""
        records, shown = self._cluster.records, self._shown
        tasks = [
            entry.task.arn
            for entry in records.all_tasks()
            if entry.task.live and entry.task.arn not in shown
        ]
        hosts = [
            entry.host.arn
            for entry in records.all_hosts()
            if entry.host.status != INACTIVE and entry.host.arn not in shown
        ]
        return sorted(tasks), sorted(hosts)

    def _cluster_told(self, told: ClusterTold) -> None:
        if told.epoch != self._epoch:
            # Another run may have begun from an older copy, of which we have seen more than it has:
            # that it goes on from our position proves nothing. What it has is listed.
            self._listed = 0
        self._told = told
        self._telling.set()
        if told.read_error is None:
            self._well("service")
        else:
            self._trouble(
                "service", f"The cluster-state-service at {self._service.name}: {told.read_error}"
            )

    # --- Sweeping ---------------------------------------------------------------------------------

    async def sweep(self) -> bool:
        """Have the service sweep the cluster and wait until it has told what it found; whether it
        did in time. False too when the cluster is not there."""
        self._begun += 1
        number, cluster = self._begun, self._cluster
        if not cluster.active and not await self._there_again():
            return False
        life = cluster.life
        asked = await self._swept(until=self._clock.monotonic() + PATIENCE * self._interval)
        if asked is None or cluster.life != life or self._unlisted or not cluster.active:
            return False
        begun, ecs_time = asked
        cluster.begin_sweep(ecs_time=ecs_time)
        if not await self._describe_missing() or cluster.life != life:
            return False
        now = self._clock.monotonic()
        cluster.complete_sweep(
            number=number, begun=begun, ecs_time=ecs_time, listing_begun=begun, now=now
        )
        self._good = cluster.life, begun + 2 * max(self._interval, 2 * (now - begun))
        self._justify()
        self._well("sweep")
        self._changed()
        return True

    async def _swept(self, *, until: float) -> tuple[float, float] | None:
        """Ask for a sweep until one is complete and told; when it was asked for, on our clock and
        on ECS's. None when the time is over, or the cluster is not to be had."""
        failures = 0
        while (left := until - self._clock.monotonic()) > 0 and self._cluster.active:
            if not await within(self._connected, left):
                break
            begun, ecs_time = self._clock.monotonic(), self._ecs_now()
            try:
                ticket = await self._service.request_sweep(self._cluster.arn)
                if await self._told_of(ticket, until=until):
                    return begun, ecs_time
            except NotWatched as error:
                await self._not_watched(error)
                return None
            except ServiceUnavailable as error:
                self._trouble("sweep", error.message)
            failures += 1
            await asyncio.sleep(_retry(failures))
        if not self._cluster.active:
            return None
        self._followed.sweeps_failed += 1
        if not self._troubles:
            self._trouble(
                "sweep",
                f"The cluster-state-service at {self._service.name} has not completed a sweep of "
                f"{short_id(self._cluster.arn)} within {PATIENCE * self._interval:.0f} s. Its log "
                "and `blox clusters` say why.",
            )
        return None

    async def _told_of(self, ticket: Ticket, *, until: float) -> bool:
        """Wait until the service has told of that sweep. False when the time is over, the cluster
        is not there, or another run of a service tells: then it is to be asked again."""
        while self._cluster.active:
            if covers(self._told, ticket) and not self._unlisted:
                return True
            self._telling.clear()
            if not await within(self._telling, until - self._clock.monotonic()):
                return False
            if self._told is not None and self._told.epoch != ticket.epoch:
                self._elsewhere = True
                return False
        return False

    async def _describe_missing(self) -> bool:
        """Have ECS describe what the service does not show, or shows otherwise than we know it,
        although it has just looked; whether every call was answered."""
        tasks, hosts = self._not_shown()
        tasks += self._tasks_shown_otherwise()
        hosts += self._hosts_shown_otherwise()
        if tasks and await self._sweeper.describe(tasks) is None:
            return False
        return not hosts or await self._sweeper.describe_hosts(hosts)

    def _tasks_shown_otherwise(self) -> list[str]:
        records, now = self._cluster.records, self._clock.monotonic()
        before, self._differing_tasks = self._differing_tasks, {}
        evidence = Evidence(cluster_arn=self._cluster.arn, received=now)
        for arn, document in before.items():
            entry = records.task(arn)
            if arn in self._shown and entry is not None:
                if task_contradicted(entry, document, evidence):
                    self._differing_tasks[arn] = document
        return sorted(self._differing_tasks)

    def _hosts_shown_otherwise(self) -> list[str]:
        records, now = self._cluster.records, self._clock.monotonic()
        before, self._differing_hosts = self._differing_hosts, {}
        evidence = Evidence(cluster_arn=self._cluster.arn, received=now)
        for arn, document in before.items():
            entry = records.host(arn)
            if arn in self._shown and entry is not None:
                if host_contradicted(entry, document, evidence):
                    self._differing_hosts[arn] = document
        return sorted(self._differing_hosts)

    # --- Whether it is there ----------------------------------------------------------------------

    async def _verify(self) -> None:
        """The service says that the cluster is INACTIVE, or that it is not: what does ECS say?"""
        told = self._told
        if told is None or told is self._verified:
            return
        if (told.status == INACTIVE) == self._cluster.active and await self._exists() is None:
            return  # It is asked again with the next thing that is told.
        self._verified = told

    async def _exists(self) -> bool | None:
        """What ECS says; None when it does not."""
        try:
            there = await self._sweeper.exists()
        except EcsError as error:
            self._trouble("ECS", f"Cluster {self._cluster.arn} could not be read: {error.message}")
            return None
        self._well("ECS")
        if not there:
            self._shown.clear()
            self._troubles.clear()
            self._problems.pop(self._cluster.arn, None)
            self._telling.set()  # Who waits for a sweep waits in vain.
        self._changed()
        return there

    async def _there_again(self) -> bool:
        """Whether a cluster that was not there is, and has been listed."""
        if not await self._exists():
            return False
        try:
            await self._list()
        except NotWatched as error:
            self._trouble("stream", error.message)
        except ServiceUnavailable as error:
            self._trouble("stream", error.message)
        return not self._unlisted

    async def _not_watched(self, error: NotWatched) -> None:
        """The service says that there is no such cluster, or not for us."""
        if await self._exists() is not False:
            self._trouble("stream", error.message)

    # --- What is told of it -----------------------------------------------------------------------

    def _justify(self) -> None:
        """R12: until when the view justifies anything, by what was swept and heard last."""
        life, swept_good_until = self._good
        if life == self._cluster.life:
            until = justifies_until(swept=swept_good_until, heard=self._heard_at)
            self._cluster.good_until(until, now=self._clock.monotonic())

    def _heard(self) -> None:
        """The service has told something, be it a heartbeat."""
        self._heard_at = self._clock.monotonic()
        self._justify()
        if self._from != self._service.name or "stream" in self._troubles:
            self._from = self._service.name
            _log.info("following", cluster=self._cluster.arn, css_endpoint=self._from)
        self._well("stream")
        if not self._unlisted:
            self._connected.set()

    def _well(self, part: str) -> None:
        """That part works."""
        if self._troubles.pop(part, None) is not None:
            self._tell_trouble()

    def _trouble(self, part: str, sentence: str) -> None:
        """That part does not work."""
        if part in ("stream", "sweep"):
            self._followed.failures += 1
        if self._troubles.get(part) == sentence:
            return
        event = "not followed" if part in ("stream", "sweep") else "cluster not read"
        _log.warning(event, cluster=self._cluster.arn, reason=sentence)
        self._troubles[part] = sentence
        self._tell_trouble()

    def _tell_trouble(self) -> None:
        sentence = next(iter(self._troubles.values()), None)
        if sentence is None:
            self._problems.pop(self._cluster.arn, None)
            self._cluster.succeeded(Effort.SWEEP)
        else:
            self._problems[self._cluster.arn] = sentence
            self._cluster.failed(Effort.SWEEP, sentence)
        self._changed()


def _retry(failures: int) -> float:
    return exponential(failures, first=FIRST_RETRY, factor=2.0, most=LAST_RETRY)
