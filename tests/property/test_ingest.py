"""Whatever fails, whenever the process dies: applied, then stored, then removed; nothing lost."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from blox.clusterstate.ingest import Ingest
from blox.clusterstate.view import View
from blox.store.errors import StoreUnavailable
from support.documents import task_arn, task_event
from support.queues import Letter, Queue
from support.watching import Watch, watch


class Step(NamedTuple):
    what: str
    number: int


STEPS = st.builds(
    Step,
    st.sampled_from(["put", "put", "poison", "kill", "stop", "wait", "full", "slow", "refuse"]),
    st.integers(0, 9),
)


class World:
    """A queue and a stored copy that outlive processes, and the process of the moment."""

    def __init__(self, scene: Watch) -> None:
        self.scene = scene
        self.queue = Queue()
        self.queue.on_delete = self._deleted
        self.events: dict[str, str] = {}
        """Message → the task that it tells of; "" for poison."""
        self.stored: set[str] = set()
        self.too_early: list[str] = []
        """Removed before it was stored."""
        self.full = False
        self.takes = 0.5
        self.begin()

    def begin(self) -> None:
        """A process starts: its view has nothing, or what is stored; it does not matter here."""
        self.applied: set[str] = set()
        world = self

        class Noting:
            """The view's own way in, and a note of what went in."""

            counters = world.scene.view.counters

            def apply(self, event: object) -> str:
                world.applied.add(event.task.task_arn)  # type: ignore[attr-defined]
                return world.scene.view.apply(event)  # type: ignore[arg-type]

            def queue_flows(self, *, flowing: bool) -> None:
                world.scene.view.queue_flows(flowing=flowing)

        self.ingest: Ingest[Letter] = Ingest(
            Noting(), self.queue, self.scene.clock, receives=6, settled=self._settled
        )
        self.running = asyncio.create_task(self.ingest.run())

    async def end(self, *, patience: float) -> None:
        self.running.cancel()
        await self.ingest.close(patience=patience)
        await asyncio.gather(self.running, return_exceptions=True)

    async def _settled(self) -> None:
        applied = set(self.applied)
        await asyncio.sleep(self.takes)
        if self.full:
            raise StoreUnavailable("The disk is full.")
        self.stored |= applied

    def _deleted(self, letters: Sequence[Letter]) -> None:
        for letter in letters:
            told = self.events[letter.id]
            if told and told not in self.stored:
                self.too_early.append(told)

    def put(self, count: int, *, poison: bool = False) -> None:
        for _ in range(count):
            number = len(self.events) + 1
            body = task_event(number, time=self.scene.clock.wall())
            self.queue.put(b"poison" if poison else body)
            self.events[self.queue.waiting[-1].id] = "" if poison else task_arn(number)

    async def take(self, step: Step) -> None:
        if step.what in ("put", "poison"):
            self.put(step.number * 4, poison=step.what == "poison")
        elif step.what in ("kill", "stop"):
            await self.end(patience=0.0 if step.what == "kill" else 1.0)
            self.begin()
        elif step.what == "wait":
            await asyncio.sleep(step.number * 0.25)
        elif step.what == "full":
            self.full = step.number % 2 == 0
        elif step.what == "slow":
            self.takes = step.number * 3.0
        else:
            self.queue.undeletable = "no." if step.number % 2 == 0 else None


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=25))
def test_applied_then_stored_then_removed_and_nothing_is_lost(steps: list[Step]) -> None:
    async def story(scene: Watch) -> None:
        world = World(scene)
        for step in steps:
            await world.take(step)
        world.full, world.takes, world.queue.undeletable = False, 0.5, None
        await asyncio.sleep(200)
        assert world.too_early == []
        assert world.queue.left == []
        assert world.stored == set(filter(None, world.events.values()))
        assert world.ingest.held == 0
        await world.end(patience=0.0)

    watch(story, queue=True)


def test_a_view_is_what_the_events_go_into() -> None:
    async def story(scene: Watch) -> None:
        world = World(scene)
        view: View = scene.view
        world.put(3)
        await asyncio.sleep(10)
        assert all(view.task(task_arn(number)) is not None for number in (1, 2, 3))
        await world.end(patience=0.0)

    watch(story, queue=True)
