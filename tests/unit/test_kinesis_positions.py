"""How far a stream was taken: never further than it was, whatever the order of the calls."""

import asyncio
from collections.abc import Awaitable, Callable

from blox.base.clock import LoopClock
from blox.clusterstate.kinesis_positions import EVERY, Positions
from blox.clusterstate.kinesis_shards import Position
from blox.simulator import loop
from blox.store.memory import MemoryData, MemoryStore


def positioning(story: Callable[[Positions, MemoryData], Awaitable[None]]) -> None:
    """Run `story` with the positions of a stream, and what is in the store."""

    async def main() -> None:
        clock, data = LoopClock(), MemoryData()
        await story(Positions("s", MemoryStore(clock, data=data), clock), data)

    loop.run(main())


async def stored(data: MemoryData) -> dict[str, Position]:
    """What the next process finds."""
    clock = LoopClock()
    return await Positions("s", MemoryStore(clock, data=data), clock).load()


def test_an_older_record_that_is_taken_later_takes_nothing_back() -> None:
    async def story(positions: Positions, data: MemoryData) -> None:
        positions.handed("a", 2)
        positions.taken("a", "200", 2)
        positions.taken("a", "100", 1)
        await positions.write()
        assert await stored(data) == {"a": Position(after="200")}

    positioning(story)


def test_a_shard_has_ended_when_its_last_record_is_taken() -> None:
    async def story(positions: Positions, data: MemoryData) -> None:
        positions.handed("a", 2)
        positions.taken("a", "100", 1)
        positions.ended("a")
        await positions.write()
        assert await stored(data) == {"a": Position(after="100")}
        positions.taken("a", "200", 2)
        await positions.write()
        assert await stored(data) == {"a": Position(ended=True)}
        positions.ended("b")  # It had no records at all.
        await positions.write()
        assert (await stored(data))["b"] == Position(ended=True)

    positioning(story)


def test_writes_are_a_second_apart_and_the_waiting_ones_go_together() -> None:
    async def story(positions: Positions, data: MemoryData) -> None:
        begun = asyncio.get_running_loop().time()
        positions.put({"a": Position(since=1.0), "b": Position(since=1.0)})
        await positions.write()
        writing = []
        for number in range(1, 5):
            positions.taken("a", str(number), number)
            writing.append(asyncio.create_task(positions.write()))
        await asyncio.gather(*writing)
        assert asyncio.get_running_loop().time() - begun == EVERY
        assert data.revision == 2
        assert (await stored(data))["a"] == Position(after="4")
        positions.put({"b": None})
        await positions.write()
        assert sorted(await stored(data)) == ["a"]

    positioning(story)
