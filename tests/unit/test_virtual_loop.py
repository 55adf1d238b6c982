"""asyncio under virtual time."""

import asyncio
import time

import pytest

from blox.simulator.loop import Stuck, run


def test_time_jumps_to_the_next_timer_and_nothing_waits_for_real() -> None:
    async def main() -> list[tuple[str, float]]:
        seen: list[tuple[str, float]] = []
        now = asyncio.get_running_loop().time

        async def sleeper(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append((name, now()))

        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper("a month", 30 * 86400.0))
            group.create_task(sleeper("an hour", 3600.0))
            group.create_task(sleeper("soon", 0.001))
        return seen

    began = time.monotonic()
    seen = run(main())
    assert time.monotonic() - began < 5.0
    assert [name for name, _ in seen] == ["soon", "an hour", "a month"]
    assert [at for _, at in seen] == pytest.approx([0.001, 3600.0, 30 * 86400.0])


def test_it_begins_where_it_is_told_and_stands_while_something_is_ready() -> None:
    async def main() -> tuple[float, float]:
        now = asyncio.get_running_loop().time
        first = now()
        for _ in range(100):
            await asyncio.sleep(0)
        return first, now()

    assert run(main(), start=12.5) == (12.5, 12.5)


def test_timeouts_fire_at_their_virtual_moment() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60.0):
                await asyncio.sleep(61.0)
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(60.0)


def test_waiting_for_what_never_comes_is_an_error_and_not_a_hang() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match="no timer"):
        run(main())


def test_a_failed_timer_is_not_silent() -> None:
    def fail() -> None:
        raise ValueError("in a timer")

    async def main() -> None:
        asyncio.get_running_loop().call_later(1.0, fail)
        await asyncio.sleep(2.0)

    with pytest.raises(RuntimeError) as caught:
        run(main())
    assert isinstance(caught.value.__cause__, ValueError)


def test_what_main_leaves_behind_is_cancelled() -> None:
    ended: list[str] = []

    async def eternal() -> None:
        try:
            await asyncio.sleep(10**9)
        finally:
            ended.append("cancelled")

    async def main() -> None:
        task = asyncio.create_task(eternal())
        await asyncio.sleep(1.0)
        assert not task.done()

    run(main())
    assert ended == ["cancelled"]
