"""When calls may go, in virtual time."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from blox.base.clock import LoopClock
from blox.ecs.pacing import Category, Kind, Pacer
from blox.settings import PacingSettings
from blox.simulator import loop

ACT = Category.RESOURCE_MODIFY
READ = Category.RESOURCE_READ


def pacing(scenario: Callable[[Pacer], Coroutine[object, object, None]]) -> None:
    """Run a scenario with a pacer of the default settings, in virtual time."""

    async def main() -> None:
        await scenario(Pacer(LoopClock()))

    loop.run(main())


def now() -> float:
    return asyncio.get_running_loop().time()


async def times(pacer: Pacer, category: Category, kind: Kind, count: int) -> list[float]:
    """When each of `count` calls that all ask now is granted."""

    async def one() -> float:
        await pacer.acquire(category, kind)
        return now()

    return sorted(await asyncio.gather(*(one() for _ in range(count))))


async def drained(pacer: Pacer, category: Category, kind: Kind) -> None:
    """Take a token, so that the bucket's clock runs, and let it fill."""
    await pacer.acquire(category, kind)
    await asyncio.sleep(100)


def test_buckets_are_empty_at_start_and_refill_at_the_share() -> None:
    async def scenario(pacer: Pacer) -> None:
        granted = await times(pacer, ACT, Kind.REPAIR, 64)
        assert granted[0] == pytest.approx(1 / 32, abs=0.002)
        assert granted[-1] == pytest.approx(2.0, abs=0.002)

    pacing(scenario)


@pytest.mark.parametrize(
    ("category", "kind", "burst", "rate"),
    [
        (ACT, Kind.REPAIR, 80, 32.0),
        (ACT, Kind.ROLLOUT, 40, 16.0),
        (READ, Kind.READ, 50, 10.0),
        (Category.CLUSTER_READ, Kind.READ, 25, 10.0),
        (Category.DEFINITION_READ, Kind.READ, 25, 10.0),
        (Category.SERVICE_READ, Kind.READ, 50, 10.0),
    ],
)
def test_a_full_bucket_gives_its_burst_at_once_and_then_its_rate(
    category: Category, kind: Kind, burst: int, rate: float
) -> None:
    async def scenario(pacer: Pacer) -> None:
        await drained(pacer, category, kind)
        begin = now()
        granted = await times(pacer, category, kind, burst + 20)
        assert granted[burst - 1] == begin
        assert granted[burst] == pytest.approx(begin + 1 / rate, abs=0.002)
        assert granted[-1] == pytest.approx(begin + 20 / rate, abs=0.002)

    pacing(scenario)


def test_repairs_go_before_rollouts_that_asked_earlier() -> None:
    async def scenario(pacer: Pacer) -> None:
        order: list[str] = []

        async def call(kind: Kind) -> None:
            await pacer.acquire(ACT, kind)
            order.append(kind.value)

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(call(Kind.ROLLOUT))
            await asyncio.sleep(0)
            for _ in range(3):
                group.create_task(call(Kind.REPAIR))
        assert order == ["repair"] * 3 + ["rollout"] * 3

    pacing(scenario)


def test_rollouts_leave_repairs_the_rest_of_the_one_bucket() -> None:
    async def scenario(pacer: Pacer) -> None:
        await drained(pacer, ACT, Kind.REPAIR)
        begin = now()
        rollouts = asyncio.create_task(times(pacer, ACT, Kind.ROLLOUT, 72))
        await asyncio.sleep(0)
        repairs = await times(pacer, ACT, Kind.REPAIR, 40)
        assert repairs == [begin] * 40
        assert sum(moment == begin for moment in await rollouts) == 40
        assert (await rollouts)[-1] == pytest.approx(begin + 32 / 16, abs=0.002)

    pacing(scenario)


def test_within_a_kind_the_order_is_that_of_arrival() -> None:
    async def scenario(pacer: Pacer) -> None:
        order: list[int] = []

        async def call(number: int) -> None:
            await pacer.acquire(READ, Kind.READ)
            order.append(number)

        await asyncio.gather(*(call(number) for number in range(20)))
        assert order == list(range(20))

    pacing(scenario)


async def cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_cancelled_waiter_blocks_nobody_and_takes_no_token() -> None:
    async def scenario(pacer: Pacer) -> None:
        first = asyncio.create_task(pacer.acquire(READ, Kind.READ))
        second = asyncio.create_task(pacer.acquire(READ, Kind.READ))
        await asyncio.sleep(0.05)
        await cancelled(first)
        assert pacer.waiting(READ, Kind.READ) == 1
        await second
        assert now() == pytest.approx(0.1, abs=0.002)

    pacing(scenario)


def test_a_token_granted_to_a_caller_cancelled_that_instant_goes_to_the_next() -> None:
    async def scenario(pacer: Pacer) -> None:
        first = asyncio.create_task(pacer.acquire(ACT, Kind.ROLLOUT))
        second = asyncio.create_task(pacer.acquire(ACT, Kind.ROLLOUT))
        await asyncio.sleep(0)
        # Due at the same instant as the timer that grants the first token, and set after it.
        asyncio.get_running_loop().call_at(1 / 16, first.cancel)
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        assert now() <= 1 / 16 + 0.002

    pacing(scenario)


def test_a_throttle_empties_the_bucket_and_halves_the_rate_which_comes_back() -> None:
    async def scenario(pacer: Pacer) -> None:
        await drained(pacer, READ, Kind.READ)
        pacer.throttled(READ)
        begin = now()
        assert pacer.factor(READ) == 0.5
        granted = await times(pacer, READ, Kind.READ, 200)
        in_first_second = sum(moment <= begin + 1.0 for moment in granted)
        assert in_first_second == 5
        # 10 a second times the integral of 0.5 + 0.05 t over ten seconds is 75.
        assert sum(moment <= begin + 10.0 for moment in granted) == pytest.approx(75, abs=1)
        assert pacer.factor(READ) == 1.0
        assert granted[-1] == pytest.approx(begin + 10.0 + 125 / 10.0, abs=0.2)

    pacing(scenario)


def test_throttles_of_calls_in_flight_together_count_once() -> None:
    async def scenario(pacer: Pacer) -> None:
        for _ in range(30):
            pacer.throttled(ACT)
        assert pacer.factor(ACT) == 0.5
        await asyncio.sleep(1.0)
        pacer.throttled(ACT)
        assert pacer.factor(ACT) == pytest.approx(0.275)
        for _ in range(50):
            await asyncio.sleep(1.0)
            pacer.throttled(ACT)
        assert pacer.factor(ACT) >= 1 / 16

    pacing(scenario)


def test_a_throttle_is_remembered_for_a_while_and_by_category() -> None:
    async def scenario(pacer: Pacer) -> None:
        assert not pacer.throttled_recently(ACT)
        pacer.throttled(ACT)
        assert pacer.throttled_recently(ACT)
        assert not pacer.throttled_recently(READ)
        await asyncio.sleep(11)
        assert not pacer.throttled_recently(ACT)
        assert pacer.throttled_recently(ACT, within=60.0)

    pacing(scenario)


def test_settings_and_fraction_scale_the_buckets() -> None:
    settings = PacingSettings(read_share=1.0, rates={"cluster-resource-read": (10.0, 4.0)})

    async def main() -> None:
        pacer = Pacer(LoopClock(), settings, fraction=0.5)
        await drained(pacer, READ, Kind.READ)
        begin = now()
        granted = await times(pacer, READ, Kind.READ, 7)
        assert [moment - begin for moment in granted] == pytest.approx(
            [0, 0, 0, 0, 0, 0.5, 1.0], abs=0.003
        )

    loop.run(main())


def test_where_sweeps_are_all_there_is_reads_are_capped() -> None:
    async def main() -> None:
        pacer = Pacer(LoopClock(), read_rate=2.0)
        assert (await times(pacer, READ, Kind.READ, 4))[-1] == pytest.approx(2.0, abs=0.002)

    loop.run(main())


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="wait for ever"):
        Pacer(LoopClock(), PacingSettings(read_share=0.0))


def test_the_watcher_hears_of_waits_and_throttles() -> None:
    heard: list[tuple[str, str, float]] = []

    class Watcher:
        def granted(self, category: Category, kind: Kind, waited: float) -> None:
            heard.append((category.value, kind.value, round(waited, 1)))

        def throttled(self, category: Category, factor: float) -> None:
            heard.append((category.value, "throttled", factor))

    async def main() -> None:
        pacer = Pacer(LoopClock(), watcher=Watcher())
        await pacer.acquire(READ, Kind.READ)
        pacer.throttled(READ)

    loop.run(main())
    assert heard == [
        ("cluster-resource-read", "read", 0.1),
        ("cluster-resource-read", "throttled", 0.5),
    ]
