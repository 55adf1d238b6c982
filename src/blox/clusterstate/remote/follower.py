"""Keeping a cluster's records by following a cluster-state-service (R12).

The records, and what merges into them, are the same as where ECS is read directly: what the service
tells is one more account, with ECS's version and with the time of the read that it rests on. So an
answer of our own that is newer stays until the service shows that task at that version.

What only absence could tell is never taken from the service. It may lag behind, be another one
than a minute ago, or have begun from an old copy; what it does not list, or has let go of, and we
hold as live, is described by ECS itself, and R6 decides.

A sweep is asked for, and complete when the service says so behind everything that it found. Only
then is the cluster primed, and only for two intervals does it justify anything
(`ClusterSeen.good_until`). However long a sweep takes, no other one is asked for while it is
outstanding: that would be the one after the one that is running, for ever.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, aclosing

import structlog
from msgspec.structs import replace

from blox.base.ambient import Clock, Now
from blox.base.backoff import exponential
from blox.base.ids import short_id
from blox.clusterstate.cluster import Cluster, Effort
from blox.clusterstate.merge import Evidence
from blox.clusterstate.remote.believed import (
    SILENCE,
    evidence_of,
    healthy_or_unknown,
    honest,
    sweep_justifies,
)
from blox.clusterstate.remote.believed import covers as covers
from blox.clusterstate.remote.believed import justifies_until as justifies_until
from blox.clusterstate.remote.differing import Differing
from blox.clusterstate.remote.outcome import Asked, Followed
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
    Told,
)
from blox.clusterstate.shared import within
from blox.clusterstate.sweep import Sweeper
from blox.ecs.errors import EcsError
from blox.ecs.model import INACTIVE, HostDocument, TaskDocument

PATIENCE = 3.0
"""Intervals, or times what the last sweep took, that a sweep may take before it is said that it is
missing and another service is asked: one that has just begun is ended first, and there is a rest in
between."""
MOST_PATIENCE = 7200.0
"""Seconds. Each sweep that was given up doubles what the next may take: where all services are
slow, changing between them ends."""
FIRST_RETRY = 0.2
LAST_RETRY = 15.0
"""Seconds until a service that failed is tried again, or the next one is; doubles in between."""
STEADY = 10.0
"""Seconds that a stream must last for the failures before it to be forgotten."""
TOGETHER = 500
"""Items of a listing that are applied before other work is let in."""

_log = structlog.get_logger("blox.clusterstate")


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
        self._patience = PATIENCE * interval
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
        self._withheld: dict[str, None] = {}
        """Those of them that were too old to enter (R7), and are ECS's to tell."""
        self._differing = Differing()
        self._told: ClusterTold | None = None
        self._telling = asyncio.Event()
        """Set whenever the service has told how well it knows the cluster."""
        self._good = (0, 0.0)
        """The cluster's life in which a sweep was complete last, and until when that is good."""
        self._asked: Asked | None = None
        """The sweep that is outstanding. It stays so over attempts, for as long as the same run of
        the service tells."""
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
        self._differing.clear()
        self._withheld.clear()
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
                self._withheld.pop(told.arn, None)
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
        if self._too_old(told):
            return self._withhold(told)
        if isinstance(told, HostTold):
            return self._put_host(told.document, evidence)
        return self._put_task(honest(told.document), evidence)

    def _too_old(self, told: TaskTold | HostTold) -> bool:
        """R7: whether an account of what we do not hold was read so long ago that it may have ended
        and been forgotten since. A service may have begun from an old copy."""
        if told.read_at is None or self._cluster.may_enter(told.read_at):
            return False
        records, document = self._cluster.records, told.document
        if isinstance(document, TaskDocument):
            return records.task(document.task_arn) is None
        return records.host(document.container_instance_arn) is None

    def _withhold(self, told: TaskTold | HostTold) -> str:
        """Have ECS say whether it is there; no sweep counts before it has. The ARN."""
        now = self._clock.monotonic()
        if isinstance(told, TaskTold):
            arn = told.document.task_arn
            self._cluster.doubt((arn,), (), now=now)
        else:
            arn = told.document.container_instance_arn
            self._cluster.doubt((), (arn,), now=now)
        self._withheld[arn] = None
        return arn

    def _put_host(self, document: HostDocument, evidence: Evidence) -> str:
        self._cluster.read_hosts((document,), evidence)
        entry = self._cluster.records.host(document.container_instance_arn)
        if entry is None:
            return document.container_instance_arn
        if self._differing.note_host(entry, document, evidence):
            self._cluster.doubt((), (entry.host.arn,), now=evidence.received)
        return entry.host.arn

    def _put_task(self, document: TaskDocument, evidence: Evidence) -> str:
        believed = healthy_or_unknown(document)
        self._cluster.read_tasks((believed,), evidence)
        entry = self._cluster.records.task(document.task_arn)
        if entry is None:
            return document.task_arn
        if believed is not document:
            evidence = replace(evidence, begun=None)  # It differs, however new it is.
        if self._differing.note_task(entry, document, evidence):
            self._cluster.doubt((entry.task.arn,), (), now=evidence.received)
        return entry.task.arn

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
                "service", f"The cluster-state-service at {self._endpoint}: {told.read_error}"
            )

    # --- Sweeping ---------------------------------------------------------------------------------

    async def sweep(self) -> bool:
        """Have the service sweep the cluster and wait until it has told what it found; whether it
        did in time. False too when the cluster is not there. Where a sweep takes long, others
        follow until one fails: who rests as long as it took would find it too old by then."""
        quick = True
        while True:
            if self._asked is None:
                self._begun += 1
            begun = await self._sweep(self._begun)
            if begun is None:
                return False
            now = self._clock.monotonic()
            quick = quick and now - begun <= self._interval / 2
            if quick:
                return True
            await asyncio.sleep(max(0.0, begun + self._interval - now))

    async def _sweep(self, number: int) -> float | None:
        """One sweep; when it was asked for. None when there is none."""
        cluster = self._cluster
        if not cluster.active and not await self._there_again():
            return None
        life = cluster.life
        asked = await self._swept()
        if asked is None or cluster.life != life or self._unlisted or not cluster.active:
            return None
        if not cluster.seen.primed and not await self._exists():
            return None  # ECS's time is not known before it has answered ourselves.
        begun, now = asked.begun, self._clock.monotonic()
        ecs_time = self._ecs_now() - (now - begun)
        cluster.begin_sweep(ecs_time=ecs_time)
        if not await self._describe_missing() or cluster.life != life:
            return None
        now = self._clock.monotonic()
        cluster.complete_sweep(
            number=number, begun=begun, ecs_time=ecs_time, listing_begun=begun, now=now
        )
        self._good = life, sweep_justifies(begun=begun, now=now, interval=self._interval)
        self._patience = PATIENCE * max(self._interval, now - begun)
        self._justify()
        self._troubles.pop("sweep", None)
        self._tell_trouble()  # What is left: a complete sweep takes back every sentence.
        return begun

    async def _swept(self) -> Asked | None:
        """Wait for a sweep that was asked for to be complete and told. None when nothing can be
        asked for long, or the cluster is not to be had."""
        failures = 0
        since = self._clock.monotonic()
        while self._cluster.active:
            left = since + PATIENCE * self._interval - self._clock.monotonic()
            if left <= 0 or not await within(self._connected, left):
                self._missing(PATIENCE * self._interval)
                return None
            try:
                asked = self._asked = self._outstanding() or await self._ask()
                if await self._told_of(asked):
                    self._asked = None
                    return asked
                since = self._clock.monotonic()
            except NotWatched as error:
                await self._not_watched(error)
                return None
            except ServiceUnavailable as error:
                self._trouble("sweep", error.message)
            failures += 1
            await asyncio.sleep(_retry(failures))
        return None

    def _outstanding(self) -> Asked | None:
        """The sweep that was asked for before, of the cluster as it is now."""
        asked = self._asked
        return asked if asked is not None and asked.life == self._cluster.life else None

    async def _ask(self) -> Asked:
        begun, life = self._clock.monotonic(), self._cluster.life
        ticket = await self._service.request_sweep(self._cluster.arn)
        return Asked(ticket, self._endpoint, begun, life)

    async def _told_of(self, asked: Asked) -> bool:
        """Wait until the service has told of that sweep. False when the cluster is not there, when
        another run of a service tells, or after it was left for another one: then it is asked
        again."""
        due = self._clock.monotonic() + self._patience
        while self._cluster.active:
            if covers(self._told, asked.ticket) and not self._unlisted:
                return True
            self._telling.clear()
            now = self._clock.monotonic()
            told = await within(self._telling, min(due - now, SILENCE))
            if self._told is not None and self._told.epoch != asked.ticket.epoch:
                self._elsewhere, self._asked = True, None
                return False
            if not told and self._clock.monotonic() >= due:
                if self._overdue(asked):
                    return False
                due = self._clock.monotonic() + self._patience
        return False

    def _overdue(self, asked: Asked) -> bool:
        """A sweep is not complete for long; whether another service is asked now."""
        waited = self._patience
        how = f"has not completed a sweep of {short_id(self._cluster.arn)} within {waited:.0f} s"
        self._patience = max(waited, min(2 * waited, MOST_PATIENCE))
        left = self._service.leave(self._cluster.arn, asked.endpoint, how)
        if left:
            self._asked = None
            self._connected.clear()
        self._missing(waited, asked.endpoint)
        return left

    def _missing(self, waited: float, endpoint: str | None = None) -> None:
        self._followed.sweeps_failed += 1
        if not self._troubles:
            self._trouble(
                "sweep",
                f"The cluster-state-service at {endpoint or self._endpoint} has not completed a "
                f"sweep of {short_id(self._cluster.arn)} within {waited:.0f} s. Its log and "
                "`blox clusters` say why.",
            )

    @property
    def _endpoint(self) -> str:
        return self._service.serves(self._cluster.arn)

    async def _describe_missing(self) -> bool:
        """Have ECS describe what the service does not show, or shows otherwise than we know it,
        although it has just looked; whether every call was answered."""
        tasks, hosts = self._not_shown()
        others = self._differing.left(self._cluster.records, self._shown)
        tasks, hosts = [*tasks, *others[0]], [*hosts, *others[1]]
        records, withheld = self._cluster.records, list(self._withheld)
        unknown = [arn for arn in withheld if not (records.task(arn) or records.host(arn))]
        tasks += [arn for arn in unknown if ":task/" in arn]
        hosts += [arn for arn in unknown if ":task/" not in arn]
        if tasks and await self._sweeper.describe(tasks) is None:
            return False
        if hosts and not await self._sweeper.describe_hosts(hosts):
            return False
        for arn in withheld:
            self._withheld.pop(arn, None)
        return True

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
            self._withheld.clear()
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
        if self._from != self._endpoint or "stream" in self._troubles:
            self._from = self._endpoint
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
