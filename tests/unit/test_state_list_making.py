"""Lists that are put together: from what has not changed, in turns, once for all who ask."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blox.clusterstate.api.encoded import Encoded
from blox.clusterstate.api.lists import AT_ONCE, Listed, Lists, sifted
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.entity import Entity
from blox.http.operations import Answer


def item(number: int, version: int) -> Entity:
    return Entity(kind="task", key=f"{number:06}", cluster_arn="c", version=version)


class Making:
    """Lists of items that say which they are, and what was encoded for them."""

    def __init__(self) -> None:
        self.catalogue = Catalogue(name="n", epoch="e")
        self.lists = Lists(self.catalogue)
        self.items: Sequence[Entity] = ()
        self.version = 1
        self.made = 0
        self.encoded: list[int] = []

    def show(self, entity: Entity) -> bytes:
        self.encoded.append(entity.version)
        return json.dumps([entity.key, entity.version, "x" * (entity.version % 7)]).encode()

    async def make(self) -> Listed:
        self.made += 1
        return Listed(tuple(self.items), b',"tail":%d}' % self.version)

    async def ask(self, key: str = "k") -> Answer:
        return await self.lists.answer(key, lambda: self.version, {}, self.make, self.show)

    def expected(self) -> object:
        shown = [[e.key, e.version, "x" * (e.version % 7)] for e in self.items]
        return {"items": shown, "tail": self.version}


def told(answer: Answer) -> object:
    assert isinstance(answer.body, bytes)
    return json.loads(answer.body)


STEPS = st.lists(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["change", "leave"])), max_size=4),
    min_size=1,
    max_size=8,
)


@given(STEPS, st.integers(0, 12))
def test_a_list_made_from_the_one_before_is_the_list(
    steps: list[list[tuple[int, str]]], first: int
) -> None:
    async def scene() -> None:
        making = Making()
        present = {number: item(number, number + 1) for number in range(first)}
        version, before = 100, set[int]()
        for step in steps:
            for number, what in step:
                version += 1
                present.pop(number, None)
                if what == "change":
                    present[number] = item(number, version)
            version += 1
            making.items = [present[number] for number in sorted(present)]
            making.version = version
            making.encoded.clear()
            assert told(await making.ask()) == making.expected()
            now = {entity.version for entity in making.items}
            assert sorted(making.encoded) == sorted(now - before)
            before = now

    asyncio.run(scene())


def test_a_large_list_lets_others_have_their_turns_and_is_as_of_its_begin() -> None:
    async def scene() -> None:
        making = Making()
        making.items = [item(number, number + 1) for number in range(5 * AT_ONCE)]
        expected = making.expected()
        asked = asyncio.create_task(making.ask())
        turns = 0
        while not asked.done():
            await asyncio.sleep(0)
            turns += 1
            if turns == 2:
                making.items, making.version = (), 99999
        answer = asked.result()
        assert turns >= 5
        assert told(answer) == expected
        assert answer.headers["etag"] == '"e.1.n.0"'
        assert told(await making.ask()) == {"items": [], "tail": 99999}

    asyncio.run(scene())


def test_those_who_ask_meanwhile_get_the_same_one_unless_it_is_older_than_their_question() -> None:
    async def scene() -> None:
        making = Making()
        making.items = [item(number, number + 1) for number in range(3 * AT_ONCE)]
        early = [asyncio.create_task(making.ask()) for _ in range(5)]
        await asyncio.sleep(0)
        making.version, making.items = 9999, making.items[1:]
        late = [asyncio.create_task(making.ask()) for _ in range(5)]
        first, second = await asyncio.gather(*early), await asyncio.gather(*late)
        assert making.made == 2
        assert {answer.headers["etag"] for answer in first} == {'"e.1.n.0"'}
        assert {answer.headers["etag"] for answer in second} == {'"e.9999.n.0"'}
        assert told(second[0]) == making.expected()

    asyncio.run(scene())


def test_who_waits_for_one_that_fails_makes_it_himself() -> None:
    async def scene() -> None:
        making = Making()
        making.items = [item(number, number + 1) for number in range(3 * AT_ONCE)]
        first = asyncio.create_task(making.ask())
        second = asyncio.create_task(making.ask())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        assert told(await second) == making.expected()
        assert making.made == 2
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(scene())


# --- What fits ------------------------------------------------------------------------------------


def test_a_page_is_found_without_looking_at_what_comes_after_it() -> None:
    looked_at = []

    def fits(entity: Entity) -> bool:
        looked_at.append(entity)
        return entity.version % 2 == 0

    async def scene() -> list[Entity]:
        found = (item(number, number) for number in range(50 * AT_ONCE))
        return await sifted(found, fits, most=101)

    assert [e.version for e in asyncio.run(scene())] == list(range(0, 202, 2))
    assert len(looked_at) <= AT_ONCE


@pytest.mark.parametrize("most", [None, 3, 10**6])
def test_what_fits_is_of_one_instant_though_others_have_their_turns(most: int | None) -> None:
    async def scene() -> None:
        present = [item(number, number) for number in range(5 * AT_ONCE)]
        asked = asyncio.create_task(
            sifted(iter(present), lambda e: e.version % AT_ONCE == AT_ONCE - 1, most=most)
        )
        await asyncio.sleep(0)
        assert not asked.done()
        del present[AT_ONCE:]
        versions = [e.version for e in await asked]
        assert versions == [AT_ONCE * n - 1 for n in range(1, 6)][:most]

    asyncio.run(scene())


def test_without_a_filter_no_more_is_taken_than_is_asked_for() -> None:
    found = (item(number, number) for number in range(10))
    assert len(asyncio.run(sifted(found, None, most=4))) == 4
    assert len(list(found)) == 6


# --- What is kept of single ones ------------------------------------------------------------------


def test_what_is_encoded_of_entities_is_kept_within_a_bound() -> None:
    dropped: list[int] = []
    encoded = Encoded(lambda e: dropped.append(e.version), most_bytes=100)
    for number in range(5):
        encoded.add(item(number, number), 30)
    assert dropped == [0, 1]
    encoded.add(item(9, 9), 1000)
    assert dropped == [0, 1, 2, 3, 4]
