"""A Kinesis stream under virtual time: the real source over the simulated Kinesis, in process."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from blox.base.clock import LoopClock
from blox.clusterstate.kinesis import KinesisMessage, KinesisSource
from blox.clusterstate.kinesis_shards import Position
from blox.clusterstate.source import QueueUnavailable
from blox.ecs.port import Permit, WireAnswer
from blox.simulator import loop
from blox.simulator.kinesis import Streams
from blox.simulator.kinesis_stream import KEYS, Shard, Stream
from blox.simulator.model import Fault
from blox.store import codec, keys
from blox.store.errors import StoreUnavailable
from blox.store.memory import MemoryData, MemoryStore

STREAM = "events"
HOUR = 3600.0


class KinesisWire:
    """A transport straight into the simulated Kinesis. `refuse` may raise Fault, NotSent or Lost
    for a call before it is executed; each call takes `latency` seconds."""

    def __init__(self, clock: LoopClock, *, latency: float = 0.01) -> None:
        self.streams = Streams(account="111122223333", region="us-east-1")
        self.calls: list[tuple[str, dict[str, Any], float]] = []
        self.refuse: Callable[[str, dict[str, Any]], None] = lambda operation, asked: None
        self._clock = clock
        self._latency = latency

    def ask(self, operation: str, **params: object) -> dict[str, Any]:
        """A call by somebody else."""
        return self.streams.call(operation, params, now=self._clock.wall())

    async def send(
        self,
        operation: str,
        body: bytes,
        *,
        date: Callable[[], float],
        permit: Permit | None = None,
        fresh: bool = False,
    ) -> WireAnswer:
        asked = json.loads(body)
        self.calls.append((operation, asked, self._clock.monotonic()))
        await asyncio.sleep(self._latency)
        try:
            self.refuse(operation, asked)
            found = self.streams.call(operation, asked, now=self._clock.wall())
        except Fault as fault:
            document = {"__type": fault.code, "message": fault.message}
            return _wire(fault.status, json.dumps(document).encode())
        return _wire(200, json.dumps(found).encode())

    async def close(self) -> None:
        """Nothing is open."""

    def made(self, operation: str) -> list[dict[str, Any]]:
        """What was asked with each call of this kind."""
        return [asked for name, asked, _ in self.calls if name == operation]

    @property
    def stream(self) -> Stream:
        found = self.streams.named(STREAM)
        assert found is not None
        return found


def _wire(status: int, body: bytes) -> WireAnswer:
    return WireAnswer(status=status, headers={}, body=body, begun=0.0, signed_at=0.0)


class Disk:
    """What a store lives on; it may be full."""

    full = False

    def before(self, operation: str, /) -> None:
        if self.full:
            raise StoreUnavailable("The disk is full.")

    def after(self, operation: str, /) -> None:
        """Nothing."""


class Reader:
    """One process that takes a stream: what it receives it settles and deletes, unless told not
    to."""

    def __init__(self, scene: "Scene") -> None:
        self.source = scene.source()
        self.received: list[KinesisMessage] = []
        self.troubles: list[str] = []
        self.deleting = True
        self._scene = scene
        self._deletes: list[asyncio.Task[None]] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                messages = await self.source.receive()
                self.received += messages
                self._scene.told += [m.body.decode() for m in messages]
                if messages and self.deleting:
                    self._deletes.append(asyncio.create_task(self._delete(messages)))
            except QueueUnavailable as error:
                self.troubles.append(error.message)
                await asyncio.sleep(1)

    async def _delete(self, messages: Sequence[KinesisMessage]) -> None:
        try:
            await self.source.delete(messages)
        except QueueUnavailable as error:
            self.troubles.append(error.message)

    @property
    def bodies(self) -> list[str]:
        return [message.body.decode() for message in self.received]

    async def kill(self) -> None:
        """It ends at this moment."""
        tasks = [self._task, *self._deletes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.source.close()

    def broken(self) -> bool:
        """Whether it ended by itself."""
        return self._task.done()


class Scene:
    """A stream of `shards` shards, a store, and processes that come and go."""

    def __init__(self, *, shards: int = 1) -> None:
        self.clock = LoopClock()
        self.wire = KinesisWire(self.clock)
        self.data = MemoryData()
        self.disk = Disk()
        self.told: list[str] = []
        """What any process received, in order."""
        self.put_total = 0
        self.readers: list[Reader] = []
        self.wire.ask("CreateStream", StreamName=STREAM, ShardCount=shards)

    def source(self) -> KinesisSource:
        """What a process reads the stream with."""
        store = MemoryStore(self.clock, data=self.data, faults=self.disk)
        return KinesisSource(STREAM, self.wire, store, self.clock, now=self.clock.wall)

    def read(self) -> Reader:
        """A new process begins."""
        self.readers.append(Reader(self))
        return self.readers[-1]

    def put(self, count: int = 1, *, key: int | None = None) -> list[str]:
        """Records come; `key`: all with this hash key."""
        bodies = []
        for _ in range(count):
            self.put_total += 1
            bodies.append(f"r{self.put_total}")
            hash_key = key
            if hash_key is None:
                hash_key = random.Random(self.put_total).randrange(KEYS)
            self.wire.stream.put(
                bodies[-1].encode(), partition_key="p", hash_key=hash_key, now=self.clock.wall()
            )
        return bodies

    def split(self, shard: Shard) -> list[Shard]:
        middle = (shard.first_key + shard.last_key + 1) // 2
        return self.wire.stream.split(shard.id, middle, now=self.clock.wall())

    def merge(self, one: Shard, other: Shard) -> Shard:
        return self.wire.stream.merge(one.id, other.id, now=self.clock.wall())

    def stored(self) -> dict[str, Position]:
        """The positions in the store, by shard."""
        prefix = keys.state_stream(STREAM)
        return {
            key.removeprefix(prefix): codec.decode(Position, record.value)
            for key, record in sorted(self.data.records.items())
            if key.startswith(prefix)
        }


def streaming(story: Callable[[Scene], Awaitable[None]], *, shards: int = 1) -> Scene:
    """Run `story` with a stream under virtual time."""

    async def main() -> Scene:
        scene = Scene(shards=shards)
        try:
            await story(scene)
        finally:
            for reader in scene.readers:
                await reader.kill()
        return scene

    return loop.run(main())
