"""Workers, producers and cancellations in any order: no key is held twice, none is lost."""

import asyncio
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from blox.base.keyqueue import KeyQueue
from blox.simulator.loop import run


class Step(NamedTuple):
    after: int
    kind: str
    key: int
    """For `cancel`: which worker."""
    delay: int


STEPS = st.lists(
    st.builds(
        Step,
        after=st.sampled_from([0, 0, 0, 1, 2, 7]),
        kind=st.sampled_from(["add", "add", "add_at", "cancel"]),
        key=st.integers(0, 3),
        delay=st.integers(-2, 12),
    ),
    max_size=60,
)


class Scene:
    """One queue, its workers, and what happened."""

    def __init__(self, durations: list[int]) -> None:
        self.queue = KeyQueue[int]()
        self.holders: dict[int, int] = {}
        self.began: dict[int, list[tuple[float, int]]] = {key: [] for key in range(4)}
        """When each look at a key began: time, and a counter that orders one instant."""
        self.wishes: dict[int, list[tuple[float, int]]] = {key: [] for key in range(4)}
        """When each key had to be looked at, in the same form."""
        self.appointed: dict[int, tuple[float, int]] = {}
        self.ticks = 0
        self.durations = durations
        self.workers: list[asyncio.Task[None]] = []

    def stamp(self) -> tuple[float, int]:
        self.ticks += 1
        return (asyncio.get_running_loop().time(), self.ticks)

    async def work(self) -> None:
        """Cancelled while it waits for a key, a worker takes none; with a key it finishes it."""
        while True:
            key = await self.queue.get()
            self.holders[key] = self.holders.get(key, 0) + 1
            assert self.holders[key] == 1
            self.began[key].append(self.stamp())
            try:
                await asyncio.sleep(self.durations[self.ticks % len(self.durations)])
            finally:
                self.holders[key] -= 1
                self.queue.done(key)

    def hire(self) -> None:
        self.workers.append(asyncio.create_task(self.work()))

    async def take(self, step: Step) -> None:
        await asyncio.sleep(step.after)
        if step.kind == "add":
            self.wishes[step.key].append(self.stamp())
            self.queue.add(step.key)
        elif step.kind == "add_at":
            now, tick = self.stamp()
            when = now + step.delay
            due = self.queue.next_due(step.key)
            if due is None or when < due:
                if due is not None:  # an earlier appointment takes the place of a later one
                    self.wishes[step.key].remove(self.appointed[step.key])
                self.appointed[step.key] = (max(now, when), tick)
                self.wishes[step.key].append(self.appointed[step.key])
            self.queue.add_at(step.key, when)
        else:
            self.workers[step.key % len(self.workers)].cancel()
            self.hire()


@given(
    steps=STEPS,
    workers=st.integers(1, 3),
    durations=st.lists(st.integers(0, 5), min_size=1, max_size=5),
)
def test_no_key_has_two_holders_and_none_is_lost(
    steps: list[Step], workers: int, durations: list[int]
) -> None:
    async def main() -> Scene:
        scene = Scene(durations)
        for _ in range(workers):
            scene.hire()
        for step in steps:
            await scene.take(step)
        await asyncio.sleep(1000)
        for worker in scene.workers:
            worker.cancel()
        results = await asyncio.gather(*scene.workers, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        return scene

    scene = run(main())
    assert scene.queue.held == 0
    assert len(scene.queue) == 0
    for key, wishes in scene.wishes.items():
        for time, tick in wishes:
            assert any(began >= time and looked > tick for began, looked in scene.began[key]), (
                f"key {key}, wanted at {time}, was not looked at after"
            )
        assert len(scene.began[key]) <= len(wishes)
