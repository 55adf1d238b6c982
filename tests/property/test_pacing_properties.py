"""However calls come, are cancelled or throttled: never above the share, and all get a turn."""

import asyncio
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from blox.base.clock import LoopClock
from blox.ecs.pacing import Category, Kind, Pacer
from blox.simulator import loop

ACT = Category.RESOURCE_MODIFY
LIMITS = {None: (80.0, 32.0), Kind.ROLLOUT: (40.0, 16.0)}
"""Capacity and rate of the bucket that both kinds share, and of the one for rollouts."""


class Call(NamedTuple):
    at: float
    kind: Kind
    patience: float
    """Cancelled after so many seconds."""


CALLS = st.lists(
    st.builds(
        Call,
        at=st.floats(0, 20) | st.sampled_from([0.0, 1.0, 10.0]),
        kind=st.sampled_from([Kind.REPAIR, Kind.ROLLOUT]),
        patience=st.sampled_from([0.0, 0.03, 1.0, 1e9, 1e9, 1e9]),
    ),
    min_size=1,
    max_size=150,
)
THROTTLES = st.lists(st.floats(0, 20), max_size=4)


def granted(calls: list[Call], throttles: list[float]) -> list[tuple[float, Kind]]:
    """When which calls were let through; fails when one waits for ever."""
    seen: list[tuple[float, Kind]] = []

    async def make(pacer: Pacer, call: Call) -> None:
        await asyncio.sleep(call.at)
        try:
            async with asyncio.timeout(call.patience):
                await pacer.acquire(ACT, call.kind)
        except TimeoutError:
            return
        seen.append((asyncio.get_running_loop().time(), call.kind))

    async def throttle(pacer: Pacer, at: float) -> None:
        await asyncio.sleep(at)
        pacer.throttled(ACT)

    async def main() -> None:
        pacer = Pacer(LoopClock())
        async with asyncio.timeout(20 + 16 * len(calls)):
            await asyncio.gather(
                *(make(pacer, call) for call in calls), *(throttle(pacer, at) for at in throttles)
            )

    loop.run(main())
    return seen


@settings(max_examples=60, deadline=None)
@given(CALLS, THROTTLES)
def test_no_window_holds_more_than_the_share(calls: list[Call], throttles: list[float]) -> None:
    seen = granted(calls, throttles)
    for bound, (capacity, rate) in LIMITS.items():
        moments = [at for at, kind in seen if bound is None or kind is bound]
        for first, begin in enumerate(moments):
            for last in range(first, len(moments)):
                most = capacity + rate * (moments[last] - begin)
                assert last - first + 1 <= most + 1e-6
        for count, at in enumerate(moments, start=1):
            assert count <= rate * at + 1e-6, "buckets begin empty"


@settings(max_examples=60, deadline=None)
@given(CALLS, THROTTLES)
def test_everyone_who_is_patient_gets_a_turn(calls: list[Call], throttles: list[float]) -> None:
    seen = granted(calls, throttles)
    patient = sum(call.patience > 1e6 for call in calls)
    assert patient <= len(seen) <= len(calls)


@settings(max_examples=60, deadline=None)
@given(CALLS)
def test_without_throttles_nobody_waits_longer_than_those_before_take(calls: list[Call]) -> None:
    """Work conservation: the last grant comes no later than an empty bucket would need."""
    seen = granted(calls, [])
    latest = max(call.at for call in calls)
    assert all(at <= latest + len(calls) / 16.0 + 0.01 for at, _ in seen)
