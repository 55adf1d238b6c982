"""A daemon-scheduler put together over real adapters: the same parts as in
`blox.simulator.world.Process`, with AWS, a disk and the machine's clock in place of simulated ones.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import structlog

import blox
from blox.app import told, told_aws
from blox.app.aws import Aws
from blox.app.delays import StartDelays, TimedActs
from blox.app.followed import StateFeed
from blox.app.gauges import Gauges
from blox.app.meter import CallMeter
from blox.app.notices import Notices, receivers_of
from blox.app.plan import Plan
from blox.app.reads import ReadingTransport, ReadsOnly
from blox.app.told_view import PrimedLines
from blox.base.ambient import Clock, Entropy
from blox.base.errors import BloxError
from blox.base.tasks import TaskSet
from blox.clusterstate.ingest import Ingest
from blox.clusterstate.sqs import SqsMessage, SqsSource
from blox.clusterstate.view import View
from blox.ecs.aws import ECS, EVENTS, SQS, STS, Identity
from blox.ecs.client import EcsClient, Notice
from blox.ecs.events import HostEvent, TaskEvent
from blox.ecs.pacing import Category, Kind, Pacer
from blox.ecs.port import EcsReads, Transport
from blox.http.metrics import Metrics
from blox.http.operations import Operation
from blox.scheduler.api import ProcessInfo, operations
from blox.scheduler.opening import open_domain
from blox.scheduler.reasons import REASONS, sentence
from blox.scheduler.report import Problem
from blox.scheduler.repository import Repository
from blox.scheduler.scheduler import LAST_ANSWERS, Hands, Scheduler
from blox.scheduler.service import SchedulerService
from blox.store.port import Delete, Put, Store
from blox.store.sqlite import SqliteStore

STORE_PROBE: Final = 2.0
"""Seconds between two attempts to write while the store takes no intents."""
_PROBE_KEY: Final = "/blox/probe"
"""Outside of what is loaded; deleted by the write after the one that makes it."""
STOPPING: Final = "This process is stopping."
STARTING: Final = "This process has not loaded its records yet."

_log = structlog.get_logger("blox")


class SchedulerProcess:
    """Everything that runs, but for the HTTP server: `start`, `watch`, `stop`, `close`."""

    def __init__(
        self, plan: Plan, aws: Aws, store: Store, *, clock: Clock, entropy: Entropy
    ) -> None:
        """Sends nothing and reads nothing yet."""
        settings = plan.settings
        self._plan, self._aws, self._clock, self._store = plan, aws, clock, store
        self._began_at = clock.wall()
        self._reason: str | None = STARTING
        self._cluster_known = asyncio.Event()
        self._tasks = TaskSet("daemon-scheduler")
        self._copying = asyncio.Lock()
        self._transports: list[Transport] = []
        self._metrics = Metrics(version=blox.__version__)
        self.meter = CallMeter(
            self._metrics,
            credentials_refused=aws.credentials.refused,
            news=told_aws.tell_call_news,
        )
        self.pacer = _pacer(plan, clock)
        self.client = EcsClient(
            self._ecs_transport(),
            clock=clock,
            assumptions=settings.assumptions,
            pacer=self.pacer,
            timeout=settings.scheduler.call_timeout,
            listener=self._noticed,
        )
        self.repository = Repository(store, deployments_kept=settings.scheduler.deployments_kept)
        self._delays = StartDelays(clock, observe=self._metrics.start_delayed)
        self._followed = self._state_feed()
        self._credentials_of: str | None = None
        self._compose(ReadsOnly(self.client) if plan.observe else self.client, entropy)
        self.service = SchedulerService(self.scheduler, entropy)
        self._gauges = Gauges(self._metrics, self.scheduler, self.view, conditions=self.conditions)
        if self._followed is not None:
            self._followed.show(self._metrics, self.view)
        self.ingest = self._ingest()
        self._notices = self._notices_to(entropy)

    def _compose(self, reads: EcsReads, entropy: Entropy) -> None:
        """The view and the scheduler over the client."""
        plan, settings = self._plan, self._plan.settings
        self.view = View(
            reads,
            self._clock,
            assumptions=settings.assumptions,
            settings=settings.view,
            clusters=plan.clusters,
            queue=plan.queue is not None,
            feeder=None if self._followed is None else self._followed.feeder,
        )
        self.scheduler = Scheduler(
            self.repository,
            self.view,
            reads,
            clock=self._clock,
            entropy=entropy,
            settings=settings,
            hands=self._hands(),
            excused=lambda: self.pacer.throttled_recently(Category.RESOURCE_MODIFY),
        )

    # --- Parts ------------------------------------------------------------------------------------

    def _ecs_transport(self) -> Transport:
        transport = self._transport(self._aws.transport(ECS, clock=self._clock), "ecs")
        return ReadingTransport(transport) if self._plan.observe else transport

    def _transport(self, transport: Transport, service: str) -> Transport:
        self._transports.append(transport)
        return self.meter.watch(transport, service)

    def _state_feed(self) -> StateFeed | None:
        if not self._plan.css_endpoints:
            return None
        return StateFeed(
            self._plan.css_endpoints,
            self._clock,
            settings=self._plan.settings,
            ecs_now=self.client.now,
            delays=self._delays,
        )

    def _notices_to(self, entropy: Entropy) -> Notices:
        plan = self._plan
        return Notices(
            self.scheduler,
            receivers_of(plan.notify, bus=self._events_transport, now=self.client.now),
            settings=plan.settings.notices,
            clock=self._clock,
            entropy=entropy,
            metrics=self._metrics,
            conditions=self.conditions,
        )

    def _events_transport(self) -> Transport:
        return self._transport(self._aws.transport(EVENTS, clock=self._clock), EVENTS.name)

    def _sts_transport(self) -> Transport:
        return self._transport(self._aws.transport(STS, clock=self._clock), "sts")

    def _hands(self) -> Hands | None:
        if self._plan.observe:
            return None
        return Hands(
            acts=TimedActs(self.client, self._delays),
            tokens=self._token,
            # The store's file is locked for as long as this process lives, so what it may do once
            # it may do always.
            owned=lambda: None,
            watcher=told.CallLines(),
        )

    def _ingest(self) -> Ingest[SqsMessage] | None:
        if not self._plan.queue:
            return None
        transport = self._transport(self._aws.transport(SQS, clock=self._clock), "sqs")
        source = SqsSource(self._plan.queue, transport, now=self.client.now)
        return Ingest(_MarkedIntake(self.view, self._delays), source, self._clock)

    async def _token(self, *, rollout: bool) -> None:
        kind = Kind.ROLLOUT if rollout else Kind.REPAIR
        await self.pacer.acquire(Category.RESOURCE_MODIFY, kind)

    def _noticed(self, notice: Notice) -> None:
        _log.warning(notice.kind.value, meaning=notice.sentence)
        self._gauges.noticed(notice)
        self.scheduler.assumptions_changed(self.client.assumptions_in_force)

    # --- Life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the records and begin. Waits for the store only; raises what it raises."""
        await self.repository.load()
        self.view.subscribe(self._delays.touched)
        self.view.subscribe(
            PrimedLines(
                self.view,
                self._clock,
                answered=lambda: self.meter.answered("ecs"),
                more=told.primed_says(self._plan),
            ).touched
        )
        self._notices.start()
        told.tell_clusters(self._plan.clusters, self._stored_clusters())
        await self.scheduler.start()
        if self._followed is not None:
            self._tasks.start(self._followed.ask(), name="css endpoints")
        self._tasks.start(self.view.run(), name="view", eternal=True)
        if self.ingest is not None:
            self._tasks.start(self.ingest.run(), name="ingest", eternal=True)
        self._tasks.start(self.scheduler.watch(), name="scheduler", eternal=True)
        self._tasks.start(
            open_domain(
                self.scheduler,
                self.client,
                clusters=self._clusters,
                cluster_known=self._cluster_known,
            ),
            name="opening",
        )
        self._tasks.start(
            told_aws.identify(
                self._aws, self._sts_transport, now=self.client.now, found=self._identified
            ),
            name="identity",
        )
        self._tasks.start(self._probe_store(), name="store probe", eternal=True)
        self._tasks.start(self._notices.watch(), name="notices", eternal=True)
        self._reason = None

    async def watch(self) -> None:
        """Raises BackgroundTaskEnded when a part has broken, which is a defect."""
        await self._tasks.watch()

    async def quiet(self) -> None:
        """Calls that are under way are for `stop`; no stream waits for them."""

    async def stop(self, *, broken: bool = False) -> None:
        """Take no more work, await what is due and record it. Requests are still answered.

        `broken`: a part has failed, so the store is not told that nothing is open.
        """
        self._reason = STOPPING
        flushed = self._tasks.start(self._notices.flush(), name="last notices")
        try:
            if self.ingest is not None:
                await self.ingest.close()
            if broken:
                await self._abandon()
            else:
                await self.scheduler.stop()
        except BloxError as error:
            _log.warning("not everything could be recorded", problem=error.message)
        await asyncio.wait({flushed})

    async def close(self) -> None:
        """End everything that is left; after `stop`, and when nobody asks anything any more."""
        await self.view.close()
        if self._followed is not None:
            await self._followed.close()
        await self._notices.close()
        await self._tasks.close()
        for transport in self._transports:
            await transport.close()

    async def _abandon(self) -> None:
        if self.scheduler.executor is not None:
            await self.scheduler.executor.close(patience=LAST_ANSWERS)
        await self.scheduler.close_background()

    def _stored_clusters(self) -> list[str]:
        known = (*self.repository.environments(), *self.repository.tombstones())
        return list(dict.fromkeys(environment.cluster_arn for environment in known))

    def _clusters(self) -> list[str]:
        """Clusters that can tell the account: named, watched, or of an environment."""
        return list(
            dict.fromkeys((*self._plan.clusters, *self.view.clusters, *self._stored_clusters()))
        )

    async def _probe_store(self) -> None:
        """While the store takes no intents, try to write: the work whose intent failed may be gone
        by now, and nothing else would find out that the disk is well again."""
        executor = self.scheduler.executor
        while True:
            await asyncio.sleep(STORE_PROBE)
            if executor is None or not executor.store_problem:
                continue
            try:
                await self._store.transact([], [Put(_PROBE_KEY, b"")])
                await self._store.transact([], [Delete(_PROBE_KEY)])
            except BloxError as error:
                executor.store_problem = error.message
            else:
                _log.info("the store takes writes again")
                executor.store_problem = ""
                executor.wake()

    # --- What it tells ----------------------------------------------------------------------------

    def ready(self) -> str | None:
        """None when the store is open and its records are loaded, else why not."""
        return self._reason

    def _identified(self, identity: Identity) -> None:
        self._credentials_of = f"{identity.account}/{self._aws.region}"

    def operations(self) -> list[Operation]:
        """Its REST API."""
        info = ProcessInfo(
            version=blox.__version__,
            began_at=self._began_at,
            ready=self.ready,
            conditions=self.conditions,
            notes=self.notes,
            clusters=lambda: self.view.clusters,
            credentials_of=lambda: self._credentials_of,
            rejected=lambda: () if self.ingest is None else self.ingest.rejected,
            environment_created=self._cluster_known.set,
            snapshot=self._snapshot if isinstance(self._store, SqliteStore) else None,
            assumptions=lambda: self.client.assumptions_in_force,
        )
        return operations(self.service, self.scheduler, process=info)

    async def _snapshot(self) -> bytes:
        """A copy of the store that says that it is one; two at a time would unmark each other."""
        assert isinstance(self._store, SqliteStore)
        async with self._copying:
            await self.repository.mark_copied(copied=True)
            try:
                return await self._store.snapshot()
            finally:
                await self.repository.mark_copied(copied=False)

    async def metrics(self) -> bytes:
        """Its metrics, as Prometheus reads them."""
        return await self._gauges.render()

    def conditions(self) -> tuple[Problem, ...]:
        """What is wrong with the process as a whole, and whose move it is."""
        return tuple(self._conditions())

    def _conditions(self) -> Sequence[Problem]:
        found = []
        executor = self.scheduler.executor
        if executor is not None and executor.store_problem:
            found.append(_condition("store", cause=executor.store_problem))
        if self.meter.credentials is not None:
            found.append(_condition("credentials", cause=self.meter.credentials))
        unreached = self.meter.unreached.get("ecs")
        if unreached is not None:
            url = self._aws.endpoints["ecs"].url
            found.append(_condition("ecs-unreachable", url=url, cause=unreached))
        if self.ingest is not None and self.ingest.condition is not None:
            found.append(_condition("queue", cause=self.ingest.condition))
        if self._followed is not None and self._followed.problem is not None:
            found.append(_condition("state-service", cause=self._followed.problem))
        return found

    def notes(self) -> tuple[str, ...]:
        """What an operator should know and that makes nothing unhealthy."""
        notices = tuple(notice.sentence for notice in self.client.notices)
        followed = () if self._followed is None else (self._followed.note,)
        return (*followed, *notices, *self.view.problems())


def _pacer(plan: Plan, clock: Clock) -> Pacer:
    """How fast this process may call. Who follows a cluster-state-service leaves it most reads;
    who sees changes by sweeps alone reads slowly, all day long."""
    pacing = plan.settings.pacing
    if plan.css_endpoints:
        return Pacer(clock, replace(pacing, read_share=pacing.follower_read_share))
    return Pacer(clock, pacing, read_rate=None if plan.queue else pacing.read_rate_without_queue)


def _condition(code: str, **details: str) -> Problem:
    reason = REASONS[code]
    return Problem(
        code=code,
        sentence=sentence(code, details),
        who=reason.who,
        next_step=reason.next_step,
    )


class _MarkedIntake:
    """The view as the queue sees it, with the times at which events came."""

    def __init__(self, view: View, delays: StartDelays) -> None:
        self._view = view
        self._delays = delays
        self.counters = view.counters

    def apply(self, event: TaskEvent | HostEvent) -> str:
        self._delays.event_begins()
        try:
            return self._view.apply(event)
        finally:
            self._delays.event_ends()

    def queue_flows(self, *, flowing: bool) -> None:
        self._view.queue_flows(flowing=flowing)
