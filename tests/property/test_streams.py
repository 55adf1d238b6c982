"""A stream that is resharded at will, read by processes that die at any moment, loses nothing."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from blox.clusterstate.kinesis_shards import Begin, Position, Shard, Shards
from support.streams import Reader, Scene, streaming


class Step(NamedTuple):
    what: str
    number: int


STEPS = st.builds(
    Step,
    st.sampled_from(["put", "put", "split", "merge", "kill", "wait", "stall", "full", "free"]),
    st.integers(0, 6),
)


async def take(scene: Scene, reader: Reader, step: Step) -> Reader:
    """One step of a story; the process that reads afterwards."""
    shards = scene.wire.stream.open
    if step.what == "put":
        scene.put(step.number * 20)
    elif step.what == "split":
        scene.split(shards[step.number % len(shards)])
    elif step.what == "merge" and len(shards) > 1:
        low, high = list(pairwise(shards))[step.number % (len(shards) - 1)]
        scene.merge(low, high)
    elif step.what == "kill":
        await reader.kill()
        await asyncio.sleep(step.number)
        reader = scene.read()
    elif step.what == "wait":
        await asyncio.sleep(step.number * 0.3)
    elif step.what == "stall":
        reader.deleting = step.number % 2 == 0
    else:
        scene.disk.full = step.what == "full"
    return reader


@settings(max_examples=100)
@given(st.integers(1, 3), st.lists(STEPS, max_size=30))
def test_every_record_reaches_a_process_and_ends_as_taken(shards: int, steps: list[Step]) -> None:
    async def story(scene: Scene) -> None:
        reader = scene.read()
        await asyncio.sleep(2)
        for step in steps:
            reader = await take(scene, reader, step)
        scene.disk.full = False
        await reader.kill()
        reader = scene.read()
        await asyncio.sleep(130)
        everything = {f"r{number}" for number in range(1, scene.put_total + 1)}
        assert set(scene.told) == everything
        await reader.kill()
        last = scene.read()
        await asyncio.sleep(5)
        assert last.bodies == []

    streaming(story, shards=shards)


@settings(max_examples=100)
@given(st.integers(1, 3), st.lists(STEPS, max_size=30))
def test_no_process_reads_a_shard_before_its_parents_are_read(
    shards: int, steps: list[Step]
) -> None:
    async def story(scene: Scene) -> None:
        reader = scene.read()
        await asyncio.sleep(2)
        for step in steps:
            reader = await take(scene, reader, step)
        await asyncio.sleep(20)
        parents = {shard.id: shard.parents for shard in scene.wire.stream.shards.values()}
        for process in scene.readers:
            order = [message.shard for message in process.received]
            for at, shard in enumerate(order):
                assert not set(parents[shard]) & set(order[at:]), (shard, order)

    streaming(story, shards=shards)


# --- The plan by itself ---------------------------------------------------------------------------

NAMES = [f"s{number}" for number in range(8)]


@st.composite
def families(draw: st.DrawFn) -> list[Shard]:
    """Shards, each with up to two parents that are older than it and closed."""
    shards: list[Shard] = []
    for number, name in enumerate(NAMES[: draw(st.integers(1, 8))]):
        older = NAMES[:number]
        parents = draw(st.lists(st.sampled_from(older), max_size=2, unique=True)) if older else []
        shards.append(Shard(id=name, parents=tuple(parents), closed=draw(st.booleans())))
    bore = {parent for shard in shards for parent in shard.parents}
    return [
        Shard(id=shard.id, parents=shard.parents, closed=shard.closed or shard.id in bore)
        for shard in shards
    ]


POSITIONS = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(Position, after=st.sampled_from(["", "1"]), ended=st.booleans()),
    min_size=1,
)


@given(families(), POSITIONS)
def test_every_shard_is_read_once_and_parents_first(
    family: list[Shard], stored: dict[str, Position]
) -> None:
    plan = Shards(stored)
    begun: list[str] = []
    ended = {key for key, position in stored.items() if position.ended}
    known = {shard.id: shard for shard in family}
    ended -= {key for key in ended if key not in known or not known[key].closed}

    def begin(begins: Sequence[Begin]) -> None:
        for one in begins:
            assert one.shard not in begun
            assert all(p in ended for p in known[one.shard].parents)
            begun.append(one.shard)

    first, news = plan.listed(family, begun=1.0, clock=1000.0)
    begin(first)
    assert {key for key, value in news.items() if value is None} == {
        key
        for key, position in stored.items()
        if key not in known or (position.ended and not known[key].closed)
    }
    while [key for key in plan.reading if known[key].closed]:
        key = sorted(key for key in plan.reading if known[key].closed)[0]
        ended.add(key)
        begin(plan.exhausted(key, (), now=2.0))
    unread = {key for key, position in stored.items() if position.ended and known.get(key)}
    unread = {key for key in unread if known[key].closed}
    assert sorted(begun) == sorted(set(known) - unread)
