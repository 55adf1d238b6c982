"""The ring: the last entries, with numbers that never come again."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from blox.http.ring import Ring
from blox.simulator import loop


@given(
    kept=st.integers(1, 5),
    begin=st.integers(0, 3),
    steps=st.lists(st.one_of(st.just("put"), st.just("clear")), max_size=30),
)
def test_it_holds_the_last_entries_under_their_numbers(
    kept: int, begin: int, steps: list[str]
) -> None:
    ring: Ring[int] = Ring(kept=kept, begin=begin)
    held: list[int] = []
    last = begin
    for step in steps:
        last += 1
        if step == "put":
            assert ring.put(last) == last
            held = [*held, last][-kept:]
        else:
            ring.clear()
            held = []
        assert (ring.floor, ring.last) == (last - len(held), last)
        for position in range(begin - 1, last + 2):
            found = list(ring.after(position))
            assert found == [(entry, entry) for entry in held if entry > position]


def test_who_waits_is_woken_by_the_next_entry() -> None:
    async def scene() -> None:
        ring: Ring[str] = Ring(kept=2)
        ring.put("a")
        await ring.news(0)
        asyncio.get_running_loop().call_later(3.0, ring.put, "b")
        await ring.news(1)
        assert asyncio.get_running_loop().time() == 3.0

    loop.run(scene())
