"""How far each shard of a stream was taken, and the store that keeps it.

A shard's position is stored only once everything up to it is applied and settled. That a shard has
ended is stored only once its last record is.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from blox.base.ambient import Clock
from blox.base.errors import BloxError
from blox.clusterstate.kinesis_shards import Position
from blox.clusterstate.source import QueueUnavailable
from blox.store import codec, keys
from blox.store.port import Delete, Put, Store

EVERY: Final = 1.0
"""Seconds between two writes."""
_KIND: Final = "stream-position"


class Positions:
    """The positions of one stream."""

    def __init__(self, stream: str, store: Store, clock: Clock) -> None:
        self._stream = stream
        self._store = store
        self._clock = clock
        self._handed: dict[str, int] = {}
        self._taken: dict[str, int] = {}
        self._ending: dict[str, None] = {}
        self._unwritten: dict[str, Position | None] = {}
        self._written_at = float("-inf")
        self._writing = asyncio.Lock()

    async def load(self) -> dict[str, Position]:
        """What an earlier process stored, by shard. Raises QueueUnavailable."""
        prefix = keys.state_stream(self._stream)
        try:
            listing = await self._store.list(prefix)
            return {
                record.key.removeprefix(prefix): codec.decode(Position, record.value, kind=_KIND)
                for record in listing.records
            }
        except BloxError as error:
            raise QueueUnavailable(
                f"How far the stream {self._stream} was read is not known, so it is not read. "
                f"{error.message}"
            ) from error

    def put(self, positions: Mapping[str, Position | None]) -> None:
        """To be stored with the next write; None: nothing is known of that shard any more."""
        self._unwritten.update(positions)

    def handed(self, shard: str, number: int) -> None:
        """Records of a shard were handed over, the last one as the `number`th of all."""
        self._handed[shard] = number

    def taken(self, shard: str, sequence: str, number: int) -> None:
        """The `number`th of all records, and those before it in its shard, are applied and
        settled."""
        if number <= self._taken.get(shard, 0):
            return
        self._taken[shard] = number
        self._unwritten[shard] = Position(after=sequence)
        if shard in self._ending:
            self.ended(shard)

    def ended(self, shard: str) -> None:
        """A shard was read to its end."""
        if self._taken.get(shard, 0) < self._handed.get(shard, 0):
            self._ending[shard] = None
            return
        self._ending.pop(shard, None)
        self._unwritten[shard] = Position(ended=True)

    async def write(self) -> None:
        """Store what is not stored yet; waits until a second has passed since the last write.
        Raises QueueUnavailable; the next write stores it too."""
        async with self._writing:
            if not self._unwritten:
                return
            rest = self._written_at + EVERY - self._clock.monotonic()
            if rest > 0:
                await asyncio.sleep(rest)
            writing, self._unwritten = self._unwritten, {}
            try:
                await self._store.transact((), [self._write(*item) for item in writing.items()])
            except BaseException as error:
                self._unwritten = {**writing, **self._unwritten}
                if not isinstance(error, BloxError):
                    raise
                raise QueueUnavailable(
                    f"How far the stream {self._stream} was read cannot be stored. After a restart "
                    f"older records come again, and change nothing then. {error.message}"
                ) from error
            self._written_at = self._clock.monotonic()

    def _write(self, shard: str, position: Position | None) -> Put | Delete:
        key = keys.state_shard(self._stream, shard)
        return Delete(key) if position is None else Put(key, codec.encode(_KIND, position))
