"""The key queue: one worker a key, and no reason to look is lost."""

import asyncio
from collections.abc import Callable

import pytest

from blox.base.keyqueue import KeyQueue, QueueClosed
from blox.simulator.loop import run


async def settle() -> None:
    """Let every task that can run do so."""
    await asyncio.sleep(0.001)


def test_keys_come_in_the_order_in_which_they_were_first_added() -> None:
    async def main() -> None:
        queue = KeyQueue[str]()
        for key in "cabac":
            queue.add(key)
        assert [await queue.get() for _ in range(3)] == ["c", "a", "b"]
        assert len(queue) == 0

    run(main())


def test_a_key_added_while_it_is_held_comes_once_more_after_it_is_done() -> None:
    async def main() -> None:
        queue = KeyQueue[str]()
        queue.add("a")
        assert await queue.get() == "a"
        queue.add("a")
        queue.add("a")
        queue.add("b")
        assert await queue.get() == "b"
        assert len(queue) == 0
        queue.done("a")
        assert await queue.get() == "a"
        queue.done("a")
        assert len(queue) == 0
        assert queue.held == 1

    run(main())


def test_a_busy_key_goes_to_the_end_of_the_line() -> None:
    async def main() -> None:
        queue = KeyQueue[str]()
        queue.add("a")
        await queue.get()
        for key in "abc":
            queue.add(key)
        queue.done("a")
        assert [await queue.get() for _ in range(3)] == ["b", "c", "a"]

    run(main())


def test_done_without_get_is_an_error() -> None:
    with pytest.raises(ValueError, match="'a' is not being worked on"):
        KeyQueue[str]().done("a")


def test_get_waits_until_a_key_is_added() -> None:
    async def main() -> None:
        queue = KeyQueue[str]()
        asyncio.get_running_loop().call_later(5, queue.add, "a")
        assert await queue.get() == "a"
        assert asyncio.get_running_loop().time() == 5

    run(main())


def test_an_appointment_adds_its_key_at_its_time() -> None:
    async def main() -> None:
        queue = KeyQueue[str]()
        queue.add_at("late", 20)
        queue.add_at("early", 10)
        assert (queue.next_due("late"), queue.next_due("other")) == (20, None)
        assert await queue.get() == "early"
        assert asyncio.get_running_loop().time() == 10
        assert await queue.get() == "late"
        assert asyncio.get_running_loop().time() == 20
        assert queue.next_due("late") is None

    run(main())


@pytest.mark.parametrize("times", [(10, 30), (30, 10), (10, 30, 10, 20), (30, 20, 10)])
def test_the_earliest_appointment_counts_and_no_other(times: tuple[float, ...]) -> None:
    async def main() -> None:
        queue = KeyQueue[str]()
        for time in times:
            queue.add_at("a", time)
        assert await queue.get() == "a"
        assert asyncio.get_running_loop().time() == 10
        queue.done("a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await queue.get()

    run(main())


def test_an_appointment_in_the_past_is_now() -> None:
    async def main() -> None:
        queue = KeyQueue[str]()
        await asyncio.sleep(10)
        queue.add_at("a", 50)
        queue.add_at("a", 10)
        assert len(queue) == 1
        assert queue.next_due("a") is None

    run(main())


def test_an_appointment_of_a_held_key_waits_until_it_is_done() -> None:
    async def main() -> None:
        queue = KeyQueue[str]()
        queue.add("a")
        await queue.get()
        queue.add_at("a", 5)
        await asyncio.sleep(10)
        assert len(queue) == 0
        queue.done("a")
        assert len(queue) == 1

    run(main())


def test_appointments_far_away_are_kept() -> None:
    async def main() -> None:
        queue = KeyQueue[str]()
        queue.add_at("never", float("inf"))
        queue.add_at("a", 100_000)
        assert await queue.get() == "a"
        assert asyncio.get_running_loop().time() == 100_000

    run(main())


def test_a_clock_that_is_not_the_loop_s_is_followed() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        queue = KeyQueue[str](now=lambda: loop.time() + 1000)
        queue.add_at("a", 1010)
        assert await queue.get() == "a"
        assert loop.time() == pytest.approx(10)

    run(main())


def test_moved_appointments_take_no_memory() -> None:
    async def main() -> None:
        queue = KeyQueue[int]()
        for time in range(10_000, 100, -1):
            queue.add_at(time % 5, float(time))
        # The one look inside: there is no other way to see what is held on to.
        assert len(queue._appointments) < 200
        assert sorted([await queue.get() for _ in range(5)]) == [0, 1, 2, 3, 4]
        assert asyncio.get_running_loop().time() == 105

    run(main())


def cancelled_before_add(queue: KeyQueue[str], task: "asyncio.Task[str]") -> None:
    task.cancel()
    queue.add("a")


def cancelled_after_add(queue: KeyQueue[str], task: "asyncio.Task[str]") -> None:
    queue.add("a")
    task.cancel()


@pytest.mark.parametrize("race", [cancelled_before_add, cancelled_after_add])
@pytest.mark.parametrize("others", [0, 1])
def test_a_cancelled_get_loses_no_key(
    race: Callable[[KeyQueue[str], "asyncio.Task[str]"], None], others: int
) -> None:
    async def main() -> None:
        queue = KeyQueue[str]()
        first = asyncio.create_task(queue.get())
        await settle()
        waiting = [asyncio.create_task(queue.get()) for _ in range(others)]
        await settle()
        race(queue, first)
        await settle()
        assert first.cancelled()
        async with asyncio.timeout(1):
            assert await (waiting[0] if waiting else queue.get()) == "a"

    run(main())


def test_close_ends_every_get_and_drops_what_is_left() -> None:
    async def main() -> None:
        queue = KeyQueue[str]()
        queue.add("held")
        await queue.get()
        waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
        await settle()
        queue.add_at("a", 5)
        queue.add("held")
        queue.close()
        queue.add("b")
        queue.add_at("c", 5)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [QueueClosed] * 3
        queue.done("held")
        with pytest.raises(QueueClosed):
            await queue.get()

    run(main())
