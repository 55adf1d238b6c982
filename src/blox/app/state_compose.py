"""A cluster-state-service put together over real adapters: the view with its catalogue, what finds
clusters, what brings events, the stored copy, and the API over all of it.

It only reads: `blox.app.reads.ReadingTransport` is its only way to ECS.
"""

import asyncio
from dataclasses import replace
from typing import Any, Final

import structlog

import blox
from blox.app import state_told, told_aws
from blox.app.aws import Aws
from blox.app.meter import CallMeter
from blox.app.reads import ReadingTransport, ReadsOnly
from blox.app.state_conditions import conditions
from blox.app.state_gauges import StateGauges, StateMetrics
from blox.app.state_plan import StatePlan
from blox.app.told_view import PrimedLines
from blox.base.ambient import Clock, Entropy
from blox.base.ids import short_id
from blox.base.tasks import TaskSet
from blox.clusterstate.api import operations
from blox.clusterstate.api.context import Condition, QueueSeen, StateApi, StateInfo, StoreSeen
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.copy import StoredCopy
from blox.clusterstate.discovery import Discovery
from blox.clusterstate.ingest import MOST_RECEIVES, Ingest
from blox.clusterstate.kinesis import KinesisSource
from blox.clusterstate.queues import Source
from blox.clusterstate.source import EventSource
from blox.clusterstate.sqs import SqsSource
from blox.clusterstate.view import View
from blox.ecs.aws import ECS, KINESIS, SQS, STS
from blox.ecs.client import HOST_HEALTH, TAGS, EcsClient, Notice
from blox.ecs.pacing import Pacer
from blox.ecs.port import Transport
from blox.http.operations import Operation
from blox.store.port import Store

STOPPING: Final = "This process is stopping."
STARTING: Final = "This process has not loaded its stored copy yet."
LAST_TOLD: Final = 0.2
"""Seconds that streams get for what changed last."""
LAST_WRITES: Final = 5.0
"""Seconds that the stored copy gets for what changed last."""

_log = structlog.get_logger("blox")


class StateProcess:
    """Everything that runs, but for the HTTP server: `start`, `watch`, `stop`, `close`."""

    def __init__(
        self, plan: StatePlan, aws: Aws, store: Store, *, clock: Clock, entropy: Entropy
    ) -> None:
        """Sends nothing and reads nothing yet."""
        self._plan, self._aws, self._store, self._clock = plan, aws, store, clock
        self._began_at = clock.wall()
        self._reason: str | None = STARTING
        self._tasks = TaskSet("cluster-state-service")
        self._copying = TaskSet("stored copy")
        self._transports: list[Transport] = []
        self.metrics = StateMetrics(version=blox.__version__)
        self.meter = CallMeter(
            self.metrics,
            credentials_refused=aws.credentials.refused,
            news=told_aws.tell_call_news,
        )
        self.client = self._ecs_client()
        self.copy = StoredCopy(store, clock, entropy)
        self._info = StateInfo(
            version=blox.__version__,
            began_at=self._began_at,
            ready=self.ready,
            conditions=self.conditions,
            notes=self.notes,
            rejected=lambda: () if self.ingest is None else self.ingest.rejected,
            queue=self._queue_seen,
            store=self._store_seen,
            watch=self._watch_cluster,
        )
        self.ingest: Ingest[Any] | None = None
        self.discovery: Discovery | None = None

    # --- Parts ------------------------------------------------------------------------------------

    def _ecs_client(self) -> EcsClient:
        settings = self._plan.settings
        pacing = replace(settings.pacing, read_share=settings.pacing.state_read_share)
        transport = self._transport(self._aws.transport(ECS, clock=self._clock), "ecs")
        return EcsClient(
            ReadingTransport(transport),
            clock=self._clock,
            assumptions=settings.assumptions,
            pacer=Pacer(
                self._clock,
                pacing,
                read_rate=None if self._plan.queue else pacing.read_rate_without_queue,
            ),
            listener=_noticed,
            whole=True,
            include=(HOST_HEALTH, TAGS) if self._plan.tags else (HOST_HEALTH,),
        )

    def _transport(self, transport: Transport, service: str) -> Transport:
        self._transports.append(transport)
        return self.meter.watch(transport, service)

    def _sts_transport(self) -> Transport:
        return self._transport(self._aws.transport(STS, clock=self._clock), "sts")

    def _compose(self, catalogue: Catalogue) -> None:
        """The view, and what feeds it and reads it."""
        plan, settings = self._plan, self._plan.settings
        reads = ReadsOnly(self.client)
        self.catalogue = catalogue
        self.view = View(
            reads,
            self._clock,
            assumptions=settings.assumptions,
            settings=settings.view,
            clusters=plan.clusters,
            queue=plan.queue is not None,
            catalogue=catalogue,
            stranger=self._stranger,
        )
        if not plan.clusters:
            self.discovery = Discovery(reads, self.view, self._clock)
        source = self._source()
        if source is not None:
            self.ingest = Ingest(
                self.view,
                source,
                self._clock,
                receives=MOST_RECEIVES,
                whole=True,
                settled=self.copy.settled,
                ask_depth=True,
            )
        self._gauges = StateGauges(
            self.metrics,
            self.view,
            catalogue,
            self._clock,
            conditions=self.conditions,
            queue=self._queue_seen,
            held=lambda: 0 if self.ingest is None else self.ingest.held,
            store=self._store_seen,
            watchers=self._info.watchers,
        )

    def _source(self) -> EventSource[Any] | None:
        queue = self._plan.queue
        if queue is None:
            return None
        if queue.source is Source.KINESIS:
            transport = self._transport(self._aws.transport(KINESIS, clock=self._clock), "kinesis")
            return KinesisSource(
                queue.name, transport, self._store, self._clock, now=self.client.now
            )
        transport = self._transport(self._aws.transport(SQS, clock=self._clock), "sqs")
        return SqsSource(queue.name, transport, now=self.client.now)

    # --- Life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the stored copy and begin. Waits for the store only; raises what it raises."""
        begun = self._clock.monotonic()
        self._compose(await self.copy.load())
        self.view.subscribe(
            PrimedLines(self.view, self._clock, answered=lambda: self.meter.answered("ecs")).touched
        )
        await self.copy.restore(self.view, watched=self._named)
        state_told.tell_clusters(
            self._plan.clusters, self.catalogue, seconds=self._clock.monotonic() - begun
        )
        self._copying.start(self.copy.run(), name="copy", eternal=True)
        self._tasks.start(self._copying.watch(), name="stored copy", eternal=True)
        self._tasks.start(self.view.run(), name="view", eternal=True)
        if self.discovery is not None:
            self._tasks.start(self.discovery.run(), name="discovery", eternal=True)
        if self.ingest is not None:
            self._tasks.start(self.ingest.run(), name="ingest", eternal=True)
        self._tasks.start(
            told_aws.identify(self._aws, self._sts_transport, now=self.client.now),
            name="identity",
        )
        self._reason = None

    async def watch(self) -> None:
        """Raises BackgroundTaskEnded when a part has broken, which is a defect."""
        await self._tasks.watch()

    async def quiet(self) -> None:
        """Take no more events, settle and remove those that were taken, read nothing more; and let
        the streams tell the last of it. Who follows one can then go on after a restart."""
        self._reason = STOPPING
        if self.ingest is not None:
            await self.ingest.close()
        await self._tasks.close()
        await self.view.close()
        await asyncio.sleep(LAST_TOLD)

    async def stop(self, *, broken: bool = False) -> None:
        """Store what is known. Requests are still answered.

        `broken`: a part has failed; then the stored copy is left as a kill would leave it.
        """
        await self._copying.close()
        if broken:
            return
        try:
            async with asyncio.timeout(LAST_WRITES):
                await self.copy.close()
        except TimeoutError:
            _log.warning("the stored copy is behind: the disk did not answer in time")

    async def close(self) -> None:
        """End everything that is left; after `stop`, and when nobody asks anything any more."""
        await self._tasks.close()
        await self._copying.close()
        for transport in self._transports:
            await transport.close()

    # --- Clusters ---------------------------------------------------------------------------------

    def _named(self, cluster_arn: str) -> bool:
        """Whether a cluster of the stored copy is watched still."""
        named = self._plan.clusters
        return not named or cluster_arn in named or short_id(cluster_arn) in named

    def _stranger(self, cluster_arn: str) -> None:
        if self.discovery is not None:
            self.discovery.stranger(cluster_arn)

    async def _watch_cluster(self, name: str) -> str | None:
        return None if self.discovery is None else await self.discovery.find(name)

    # --- What it tells ----------------------------------------------------------------------------

    def ready(self) -> str | None:
        """None when the stored copy is loaded, else why not."""
        return self._reason

    def operations(self) -> list[Operation]:
        """Its REST API; after `start`."""
        return operations(StateApi(self.view, self.catalogue, self._info, clock=self._clock))

    async def render(self) -> bytes:
        """Its metrics, as Prometheus reads them; after `start`."""
        return await self._gauges.render()

    def conditions(self) -> tuple[Condition, ...]:
        """What is wrong with the process as a whole."""
        return conditions(
            aws=self._aws,
            meter=self.meter,
            view=self.view,
            named=self._plan.clusters,
            discovery=self.discovery,
            queue=None if self.ingest is None else self.ingest.condition,
            store=self.copy.problem,
        )

    def notes(self) -> tuple[str, ...]:
        """What an operator should know and that makes nothing worse."""
        unfound = frozenset(self.view.unfound())
        problems = (text for text in self.view.problems() if text not in unfound)
        return (*(notice.sentence for notice in self.client.notices), *problems)

    def _queue_seen(self) -> QueueSeen | None:
        if self.ingest is None or self._plan.queue is None:
            return None
        return QueueSeen(
            name=str(self._plan.queue),
            flowing=self.view.flowing,
            lag_seconds=self.view.counters.queue_lag,
            depth=self.ingest.depth,
        )

    def _store_seen(self) -> StoreSeen:
        return StoreSeen(stored_version=self.copy.stored, problem=self.copy.problem)


def _noticed(notice: Notice) -> None:
    _log.warning(notice.kind.value, meaning=notice.sentence)
