"""The Kinesis source over real HTTP: against the simulated Kinesis with every signature checked,
and against moto as a second opinion on the wire."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest

from blox.base.clock import SystemClock
from blox.clusterstate.kinesis import KinesisMessage, KinesisSource
from blox.clusterstate.source import QueueUnavailable
from blox.ecs.aws import KINESIS, AwsHttp
from blox.ecs.credentials import StaticCredentials
from blox.simulator.cloud import Cloud
from blox.simulator.server import serving
from blox.store.memory import MemoryData, MemoryStore
from support.ecsclients import moto

STREAM = "ecs-events"
PATIENCE = 20.0


class Bench:
    """One Kinesis with the stream in it, as somebody else's client (boto3) and as ours see it."""

    def __init__(self, url: str, *, closes_shards: bool) -> None:
        self.url = url
        self.closes_shards = closes_shards
        self.clock = SystemClock()
        self.data = MemoryData()
        self.boto3: Any = boto3.client(
            "kinesis",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="tester",
            aws_secret_access_key="secret",
        )

    async def ask(self, operation: str, **params: object) -> Any:
        """A call of boto3's."""
        return await asyncio.to_thread(getattr(self.boto3, operation), **params)

    async def put(self, *bodies: str) -> None:
        records = [{"Data": body.encode(), "PartitionKey": body} for body in bodies]
        await self.ask("put_records", StreamName=STREAM, Records=records)

    @asynccontextmanager
    async def reading(self, stream: str = STREAM) -> AsyncIterator[KinesisSource]:
        """Our source, as of one process."""
        transport = AwsHttp(
            KINESIS,
            region="us-east-1",
            endpoint=self.url,
            credentials=StaticCredentials("tester", "secret"),
            clock=self.clock,
        )
        store = MemoryStore(self.clock, data=self.data)
        source = KinesisSource(stream, transport, store, self.clock, now=self.clock.wall)
        try:
            yield source
        finally:
            await source.close()
            await transport.close()


async def begun(bench: Bench, source: KinesisSource) -> None:
    """Wait until the source reads the stream: what is put from then on must come."""
    waiting = asyncio.create_task(source.receive())
    probes = 0
    async with asyncio.timeout(PATIENCE):
        while not waiting.done():
            probes += 1
            await bench.put(*(f"probe {probes}.{number}" for number in range(8)))
            await asyncio.wait({waiting}, timeout=0.5)
    await source.delete(await waiting)


Story = Callable[[Bench], Any]
Runs = Callable[[Story], None]


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture(params=["simulated", "moto"])
def on_a_stream(request: pytest.FixtureRequest) -> Runs:
    """Runs a story against one of them, with a stream of two shards."""

    def simulated(story: Story) -> None:
        async def main() -> None:
            cloud = Cloud("kinesis")
            async with serving(cloud, secrets={"tester": "secret"}) as server:
                await _with_a_stream(story, server.url, closes_shards=True)

        asyncio.run(main())

    def over_moto(story: Story) -> None:
        url = request.getfixturevalue("moto_url")
        with urlopen(Request(f"{url}/moto-api/reset", b"")):
            pass
        asyncio.run(_with_a_stream(story, url, closes_shards=False))

    return simulated if request.param == "simulated" else over_moto


async def _with_a_stream(story: Story, url: str, *, closes_shards: bool) -> None:
    bench = Bench(url, closes_shards=closes_shards)
    try:
        await bench.ask("create_stream", StreamName=STREAM, ShardCount=2)
        await asyncio.to_thread(bench.boto3.get_waiter("stream_exists").wait, StreamName=STREAM)
        await story(bench)
    finally:
        bench.boto3.close()


def bodies(messages: list[KinesisMessage]) -> list[str]:
    """What was put in them, without what only waited for the beginning."""
    found = sorted(message.body.decode() for message in messages)
    return [body for body in found if not body.startswith("probe")]


async def until(source: KinesisSource, wanted: list[str]) -> list[KinesisMessage]:
    """Receive until all these have come."""
    found: list[KinesisMessage] = []
    async with asyncio.timeout(PATIENCE):
        while not set(wanted) <= set(bodies(found)):
            found += await source.receive()
    return found


def test_what_is_put_into_any_shard_comes(on_a_stream: Runs) -> None:
    async def story(bench: Bench) -> None:
        wanted = sorted(f"record {number:02}" for number in range(30))
        async with bench.reading() as source:
            await begun(bench, source)
            await bench.put(*wanted)
            found = await until(source, wanted)
        assert bodies(found) == wanted
        assert len({message.shard for message in found}) == 2

    on_a_stream(story)


def test_the_next_process_goes_on_where_the_last_one_was(on_a_stream: Runs) -> None:
    async def story(bench: Bench) -> None:
        taken, untaken = [f"a{n:02}" for n in range(10)], [f"b{n:02}" for n in range(10)]
        async with bench.reading() as source:
            await begun(bench, source)
            await bench.put(*taken)
            await source.delete(await until(source, taken))
            await bench.put(*untaken)
            await until(source, untaken)
        async with bench.reading() as source:
            found = await until(source, untaken)
        assert bodies(found) == untaken

    on_a_stream(story)


def test_a_split_is_followed(on_a_stream: Runs) -> None:
    async def story(bench: Bench) -> None:
        before, after = [f"a{n:02}" for n in range(20)], [f"b{n:02}" for n in range(20)]
        async with bench.reading() as source:
            await begun(bench, source)
            await bench.put(*before)
            shard = (await bench.ask("list_shards", StreamName=STREAM))["Shards"][0]
            keys = shard["HashKeyRange"]
            middle = (int(keys["StartingHashKey"]) + int(keys["EndingHashKey"])) // 2
            await bench.ask(
                "split_shard",
                StreamName=STREAM,
                ShardToSplit=shard["ShardId"],
                NewStartingHashKey=str(middle),
            )
            await bench.put(*after)
            found = await until(source, before + after)
        # moto goes on putting records into a shard that was split.
        shards = {m.shard for m in found if m.body.decode() in after}
        assert len(shards) == (3 if bench.closes_shards else 2)

    on_a_stream(story)


def test_a_stream_that_is_not_there_is_said(on_a_stream: Runs) -> None:
    async def story(bench: Bench) -> None:
        async with bench.reading("another") as source:
            with pytest.raises(QueueUnavailable, match="There is no Kinesis stream another in"):
                await source.receive()

    on_a_stream(story)
