"""Events over real HTTP: from the simulated SQS and Kinesis, through the ingest, into a view."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from blox.base.clock import SystemClock
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.ingest import MOST_RECEIVES, Ingest
from blox.clusterstate.kinesis import KinesisSource
from blox.clusterstate.sqs import SqsSource
from blox.clusterstate.view import View
from blox.ecs.aws import ECS, KINESIS, SQS, AwsHttp, Service
from blox.ecs.client import EcsClient
from blox.ecs.credentials import StaticCredentials
from blox.ecs.pacing import Pacer
from blox.settings import Settings
from blox.simulator.cloud import Cloud
from blox.simulator.server import SimulatedAws, serving
from blox.store.memory import MemoryData, MemoryStore

CLUSTER = "arn:aws:ecs:us-east-1:111122223333:cluster/demo"
PATIENCE = 20.0


class Process:
    """A view with everything that feeds it, over HTTP."""

    def __init__(self, url: str, *, stream: bool, data: MemoryData) -> None:
        self._clock = SystemClock()
        self._url = url
        self._transports: list[AwsHttp] = []
        self.settled_calls = 0
        settings = Settings()
        client = EcsClient(
            self._transport(ECS),
            clock=self._clock,
            assumptions=settings.assumptions,
            pacer=Pacer(self._clock, settings.pacing),
            whole=True,
        )
        self.catalogue = Catalogue(name="name", epoch="epoch")
        self.view = View(
            client,
            self._clock,
            assumptions=settings.assumptions,
            settings=settings.view,
            clusters=[CLUSTER],
            queue=True,
            catalogue=self.catalogue,
        )
        now = self._clock.wall
        store = MemoryStore(self._clock, data=data)
        source: Any = SqsSource("events", self._transport(SQS), now=now)
        if stream:
            source = KinesisSource(
                "events", self._transport(KINESIS), store, self._clock, now=client.now
            )
        self.ingest: Ingest[Any] = Ingest(
            self.view,
            source,
            self._clock,
            receives=MOST_RECEIVES,
            whole=True,
            settled=self._settled,
            ask_depth=True,
        )

    def _transport(self, service: Service) -> AwsHttp:
        credentials = StaticCredentials("tester", "secret")
        made = AwsHttp(
            service,
            region="us-east-1",
            endpoint=self._url,
            credentials=credentials,
            clock=self._clock,
        )
        self._transports.append(made)
        return made

    async def _settled(self) -> None:
        self.settled_calls += 1
        await asyncio.sleep(0.05)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Process"]:
        """It runs while the block does, and leaves in good order."""
        tasks = [asyncio.create_task(self.view.run()), asyncio.create_task(self.ingest.run())]
        try:
            await until(lambda: (seen := self.view.cluster(CLUSTER)) is not None and seen.primed)
            yield self
        finally:
            await self.ingest.close()
            for task in tasks:
                task.cancel()
            await self.view.close()
            await asyncio.gather(*tasks, return_exceptions=True)
            for transport in self._transports:
                await transport.close()


async def until(look: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not look():
            await asyncio.sleep(0.02)


def add_hosts(server: SimulatedAws, count: int) -> list[str]:
    now = server.now()
    arns = [server.cloud.add_host("demo", now=now) for _ in range(count)]
    server.pump()
    return arns


async def story(*, stream: bool) -> None:
    cloud = Cloud("ingest")
    data = MemoryData()
    async with serving(
        cloud, queues=[] if stream else ["events"], streams=["events"] if stream else []
    ) as server:
        cloud.add_cluster("demo", now=server.now())
        async with Process(server.url, stream=stream, data=data).running() as first:
            if stream:
                await until(lambda: len(data.records) == 2)  # Both shards are begun.
            arns = add_hosts(server, 300)
            await until(lambda: first.catalogue.count("instance", CLUSTER) == 300)
            await until(lambda: first.ingest.held == 0)
            assert first.view.counters.events_applied >= 300
            whole = first.catalogue.get("instance", CLUSTER, arns[0])
            assert whole is not None
            assert whole.whole.get("ec2InstanceId") is not None
            assert first.settled_calls >= 1
            assert first.ingest.condition is None
        missed = add_hosts(server, 50)
        async with Process(server.url, stream=stream, data=data).running() as second:
            counters = second.view.counters  # Its first sweep may have told of them already.
            await until(lambda: counters.events_known + counters.events_applied == 50)
            await until(lambda: second.ingest.held == 0)
            assert all(second.view.host(arn) is not None for arn in missed)
            if not stream:
                await until(lambda: second.ingest.depth is not None)
        queue = server.queues.named("events")
        assert stream or (queue is not None and queue.counts(now=server.now()) == (0, 0, 0))


def test_from_a_queue() -> None:
    asyncio.run(story(stream=False))


def test_from_a_stream() -> None:
    asyncio.run(story(stream=True))
