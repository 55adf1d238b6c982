"""Events from a Kinesis stream: every shard, through resharding, from where the last process was.

Each shard has a reader of its own, which hands over what it gets to whoever receives, in order.
How far the stream was taken is stored, shard by shard, once what came until there is applied and
settled; so a crash repeats records and loses none. Which shards are read, and from where, is
decided by `blox.clusterstate.kinesis_shards`.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import structlog
from msgspec import Struct

from blox.base.ambient import Clock
from blox.base.backoff import exponential
from blox.base.tasks import TaskSet
from blox.clusterstate.kinesis_calls import (
    Absent,
    Expired,
    Invalid,
    KinesisCalls,
    Records,
    Throttled,
)
from blox.clusterstate.kinesis_positions import Positions
from blox.clusterstate.kinesis_shards import START, Begin, Position, Shards
from blox.clusterstate.source import QueueUnavailable
from blox.ecs.port import Transport
from blox.store.port import Store

WAIT: Final = 20.0
"""Seconds that a receive waits for records."""
AT_THE_TIP: Final = 0.4
"""Seconds between two reads of a shard that has nothing more: each shard answers five reads a
second to all who read it, and two such readers leave room.
https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html"""
BEHIND: Final = 0.21
"""Seconds between two reads of a shard that has more."""
LISTED_EVERY: Final = 60.0
"""Seconds between two lists of the shards, where nothing asks for one sooner."""
LIST_REST: Final = 1.0
"""Seconds between two of them, whoever asks."""
FIRST_RETRY: Final = 1.0
LAST_RETRY: Final = 60.0
LAST_PAUSE: Final = 10.0
"""Seconds until a shard that was asked too often is asked again, at the most."""
TOLERATED: Final = 5
"""Throttles in a row that are nothing to speak of, of one shard."""
_HANDED: Final = 4
"""Batches that wait to be received."""

_log = structlog.get_logger("blox.clusterstate")


class KinesisMessage(Struct, frozen=True):
    """One record."""

    id: str
    body: bytes
    shard: str
    sequence: str
    number: int
    """Counts what this process read of the stream."""


class KinesisSource:
    """One Kinesis stream. Nothing is asked of Kinesis before the first receive."""

    def __init__(
        self,
        stream: str,
        transport: Transport,
        store: Store,
        clock: Clock,
        *,
        now: Callable[[], float],
    ) -> None:
        """`stream`: its name, in the transport's region and account. `store`: keeps how far it was
        taken. `now`: AWS's time or a little less, seconds since 1970-01-01 UTC."""
        self._stream = stream
        self._calls = KinesisCalls(stream, transport, now=now)
        self._positions = Positions(stream, store, clock)
        self._clock = clock
        self._now = now
        self._shards: Shards | None = None
        self._handed: asyncio.Queue[Sequence[KinesisMessage] | Exception | None] = asyncio.Queue(
            _HANDED
        )
        """Batches; None: there is trouble; an exception: a defect."""
        self._troubles: dict[str, QueueUnavailable] = {}
        """By shard; of the list of shards: by ""."""
        self._number = 0
        self._reading = False
        self._look = asyncio.Event()
        self._started = False
        self._tasks = TaskSet("kinesis")

    # --- What `blox.clusterstate.source.EventSource` asks for -------------------------------------

    async def receive(self) -> Sequence[KinesisMessage]:
        """The next records of any shard, none when none came within 20 s."""
        if not self._started:
            self._started = True
            self._start(self._follow(), name="shards")
        try:
            async with asyncio.timeout(WAIT):
                while (handed := await self._handed.get()) is None:
                    self._raise_trouble()
        except TimeoutError:
            self._raise_trouble()
            return ()
        if isinstance(handed, Exception):
            raise handed
        return handed

    async def delete(self, messages: Sequence[KinesisMessage]) -> None:
        """Store that these, and what came before them from the same shards, were taken; at most
        once a second. Raises QueueUnavailable when that could not be stored; the next call stores
        it too."""
        for message in messages:
            self._positions.taken(message.shard, message.sequence, message.number)
        await self._positions.write()

    async def depth(self) -> int | None:
        """Kinesis does not count what waits."""
        return None

    async def close(self) -> None:
        """Stop reading."""
        await self._tasks.close()

    # --- All shards -------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Find the shards, and have them read, for ever."""
        failures = 0
        while True:
            self._look.clear()
            try:
                await self._list()
            except QueueUnavailable as error:
                failures += 1
                self._trouble("", error)
                await asyncio.sleep(_pause(failures, LAST_RETRY))
                continue
            failures = 0
            self._troubles.pop("", None)
            await asyncio.sleep(LIST_REST)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LISTED_EVERY):
                    await self._look.wait()

    async def _list(self) -> None:
        if self._shards is None:
            self._shards = Shards(await self._positions.load())
        begun, clock = self._clock.monotonic(), self._now()
        listed = await self._calls.shards()
        begins, positions = self._shards.listed(listed, begun=begun, clock=clock)
        self._positions.put(positions)
        self._begin(begins)
        await self._positions.write()

    def _begin(self, begins: Sequence[Begin]) -> None:
        for begin in begins:
            _log.info("shard begins", stream=self._stream, shard=begin.shard)
            self._start(self._read(begin), name=f"read {begin.shard}")

    # --- One shard --------------------------------------------------------------------------------

    async def _read(self, begin: Begin) -> None:
        """Read a shard to its end, if it has one."""
        failures = 0
        iterator: str | None = None
        while True:
            begun = self._clock.monotonic()
            try:
                if iterator is None:
                    begin, iterator = await self._iterator(begin)
                answer = await self._calls.records(iterator)
            except Absent:
                self._gone(begin)
                return
            except QueueUnavailable as error:
                failures += 1
                if isinstance(error, Expired | Invalid):
                    iterator = None
                if failures > _tolerated(error):
                    self._trouble(begin.shard, error)
                most = LAST_PAUSE if isinstance(error, Throttled) else LAST_RETRY
                await asyncio.sleep(_pause(failures, most))
                continue
            failures = 0
            self._reads_again(begin.shard)
            begin = await self._hand_over(begin, answer)
            iterator = answer.next_shard_iterator
            if iterator is None:
                self._end(begin, answer)
                return
            pace = BEHIND if answer.behind else AT_THE_TIP
            await asyncio.sleep(max(0.0, begun + pace - self._clock.monotonic()))

    async def _iterator(self, begin: Begin) -> tuple[Begin, str]:
        """An iterator, and how to get another one of the same place."""
        again = Begin(begin.shard, begin.position)
        try:
            return again, await self._calls.iterator(begin)
        except Invalid as error:
            if again.position == START:
                raise
            _log.warning("position not found", shard=begin.shard, problem=error.message)
        again = Begin(begin.shard, START)
        return again, await self._calls.iterator(again)

    async def _hand_over(self, begin: Begin, answer: Records) -> Begin:
        """Hand the records over; where to go on."""
        if not answer.records:
            return begin
        messages = []
        for record in answer.records:
            self._number += 1
            sequence = record.sequence_number
            messages.append(
                KinesisMessage(
                    f"{begin.shard}/{sequence}", record.data, begin.shard, sequence, self._number
                )
            )
        self._positions.handed(begin.shard, self._number)
        await self._handed.put(messages)
        return Begin(begin.shard, Position(after=messages[-1].sequence))

    def _end(self, begin: Begin, answer: Records) -> None:
        """The shard is closed, and this was all of it."""
        _log.info("shard ends", stream=self._stream, shard=begin.shard)
        self._positions.ended(begin.shard)
        if self._shards is not None:
            now = self._clock.monotonic()
            self._begin(self._shards.exhausted(begin.shard, answer.children, now=now))
        self._look.set()  # And that is stored.

    def _gone(self, begin: Begin) -> None:
        """The shard is not there, or the whole stream: the list tells."""
        self._troubles.pop(begin.shard, None)
        if self._shards is not None:
            self._shards.lost(begin.shard, begin.position)
        self._look.set()

    # --- Trouble ----------------------------------------------------------------------------------

    def _trouble(self, where: str, error: QueueUnavailable) -> None:
        self._troubles[where] = error
        with contextlib.suppress(asyncio.QueueFull):
            self._handed.put_nowait(None)

    def _reads_again(self, shard: str) -> None:
        """A shard answers. Where that is news, whoever receives hears of it at once."""
        if self._troubles.pop(shard, None) is None and self._reading:
            return
        self._reading = True
        with contextlib.suppress(asyncio.QueueFull):
            self._handed.put_nowait(())

    def _raise_trouble(self) -> None:
        for error in self._troubles.values():
            raise QueueUnavailable(error.message) from error

    def _start(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run it in the background; whoever receives hears of a defect."""

        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - it is raised where somebody is there
                await self._handed.put(error)

        self._tasks.start(guarded(), name=name)


def _pause(failures: int, most: float) -> float:
    return exponential(failures, first=FIRST_RETRY, factor=2.0, most=most)


def _tolerated(error: QueueUnavailable) -> int:
    """How many of these in a row are nothing to speak of."""
    if isinstance(error, Throttled):
        return TOLERATED
    return 1 if isinstance(error, Expired | Invalid) else 0
