"""What is applied leaves the queue once it is stored, and not before; and how much is held."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from blox.base.errors import BloxError
from blox.clusterstate.ingest import (
    HELD,
    LEAVING,
    MOST_RECEIVES,
    RECEIVES,
    REMOVALS,
    SETTLES_WITHIN,
    Ingest,
)
from blox.clusterstate.view import View
from blox.ecs.events import HostEvent, TaskEvent
from blox.simulator.loop import VirtualLoop
from blox.store.errors import StoreUnavailable
from support.documents import task_arn, task_event
from support.queues import Letter, Queue
from support.watching import Watch, watch


class Copy:
    """A stored copy by hand: it has what the view had when it was last written."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.has: set[str] = set()
        self.takes = 1.0
        self.problem: BloxError | None = None
        self.asked = 0

    async def settled(self) -> None:
        self.asked += 1
        there = {task_arn(n) for n in range(1, 400) if self._view.task(task_arn(n)) is not None}
        await asyncio.sleep(self.takes)
        if self.problem is not None:
            raise self.problem
        self.has |= there


class Scene:
    def __init__(self, watch: Watch, options: dict[str, object]) -> None:
        self.watch = watch
        self.view = watch.view
        self.queue = Queue()
        self.copy = Copy(watch.view)
        given: dict[str, object] = {"settled": self.copy.settled, **options}
        self.ingest: Ingest[Letter] = Ingest(
            self.view,
            self.queue,
            watch.clock,
            **given,  # type: ignore[arg-type]
        )

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self.queue.put(task_event(number, time=self.watch.clock.wall()))

    async def applied(self) -> None:
        """Wait until what is in the queue was applied a moment ago."""
        while not self.ingest.held:
            await asyncio.sleep(0.05)


def ingesting(story: Callable[[Scene], Awaitable[None]], **options: object) -> None:
    """Run `story` with a queue that feeds a primed view with a stored copy."""

    async def inside(scene: Watch) -> None:
        made = Scene(scene, options)
        running = asyncio.create_task(made.ingest.run())
        await asyncio.sleep(5)
        try:
            await story(made)
        finally:
            running.cancel()
            await made.ingest.close()

    watch(inside, queue=True)


def test_nothing_is_removed_before_the_stored_copy_has_it() -> None:
    async def story(scene: Scene) -> None:
        stored_at_removal: list[bool] = []

        def removed(letters: object) -> None:
            stored_at_removal.append(task_arn(1) in scene.copy.has)

        scene.queue.on_delete = removed
        scene.put(1)
        await scene.applied()
        await asyncio.sleep(0.8)
        assert scene.view.task(task_arn(1)) is not None
        assert scene.queue.deleted == []
        assert scene.ingest.held == 1
        await asyncio.sleep(2)
        assert (scene.queue.deleted, stored_at_removal) == (["m1"], [True])
        assert scene.ingest.held == 0

    ingesting(story)


def test_receiving_goes_on_while_the_copy_is_written_and_messages_removed() -> None:
    async def story(scene: Scene) -> None:
        scene.copy.takes = 5.0
        scene.queue.delete_takes = 3.0
        scene.put(*range(1, 31))
        await asyncio.sleep(2.5)
        scene.put(*range(31, 61))
        await asyncio.sleep(2.5)
        assert scene.view.task(task_arn(60)) is not None
        assert scene.queue.deleted == []
        await asyncio.sleep(15)
        assert len(scene.queue.deleted) == 60
        assert scene.copy.asked < 5  # All that was applied meanwhile goes at once.

    ingesting(story)


def test_what_cannot_be_stored_is_not_removed_and_comes_again() -> None:
    async def story(scene: Scene) -> None:
        scene.copy.problem = StoreUnavailable("The disk is full.")
        scene.put(1)
        await asyncio.sleep(4)
        condition = scene.ingest.condition
        assert condition is not None
        assert "Nothing is removed from the queue" in condition
        assert "The disk is full." in condition
        assert (scene.queue.deleted, scene.queue.left) == ([], ["m1"])
        scene.put(2)
        await asyncio.sleep(4)
        assert scene.view.task(task_arn(2)) is not None  # Events are applied all the same.
        await asyncio.sleep(60)  # They come again, and again.
        assert scene.queue.deleted == []
        scene.copy.problem = None
        await asyncio.sleep(6)
        assert scene.ingest.condition is None
        assert scene.queue.left == []
        assert scene.ingest.held == 0
        assert scene.copy.has == {task_arn(1), task_arn(2)}

    ingesting(story)


def test_however_long_nothing_can_be_stored_events_go_on_to_be_applied() -> None:
    async def story(scene: Scene) -> None:
        scene.copy.problem = StoreUnavailable("The disk is full.")
        scene.queue.put(*([b"poison"] * (HELD + 1_000)))
        await asyncio.sleep(90)
        assert scene.ingest.held <= HELD + 10 * MOST_RECEIVES
        scene.put(7)
        await asyncio.sleep(60)
        assert scene.view.task(task_arn(7)) is not None
        scene.copy.problem = None
        await asyncio.sleep(120)
        assert scene.queue.left == []
        assert scene.ingest.condition is None

    ingesting(story, receives=MOST_RECEIVES)


def test_a_copy_that_hangs_removes_nothing_and_is_asked_again() -> None:
    async def story(scene: Scene) -> None:
        scene.copy.takes = 10_000.0
        scene.put(1)
        await asyncio.sleep(SETTLES_WITHIN + 3)
        assert scene.ingest.condition is not None
        assert "was not written within 20 s" in scene.ingest.condition
        assert scene.queue.deleted == []
        scene.copy.takes = 1.0
        await asyncio.sleep(60)
        assert (set(scene.queue.deleted), scene.queue.left) == ({"m1"}, [])
        assert scene.ingest.condition is None

    ingesting(story)


def test_what_is_rejected_or_ignored_waits_for_what_came_with_it() -> None:
    async def story(scene: Scene) -> None:
        scene.queue.put(b"poison")
        await scene.applied()
        await asyncio.sleep(0.8)
        assert scene.queue.deleted == []
        await asyncio.sleep(4)
        assert scene.queue.deleted == ["m1"]

    ingesting(story)


def test_a_defect_of_the_copy_ends_the_ingest() -> None:
    async def story(watch: Watch) -> None:
        async def broken() -> None:
            raise ZeroDivisionError

        queue = Queue()
        ingest = Ingest(watch.view, queue, watch.clock, settled=broken)
        queue.put(task_event(1, time=watch.clock.wall()))
        with pytest.raises(Exception, match="ingest/remove"):
            await ingest.run()
        await ingest.close()
        assert queue.deleted == []

    watch(story, queue=True)


# --- How much is held -----------------------------------------------------------------------------


def test_receiving_waits_where_too_much_is_held() -> None:
    async def story(scene: Scene) -> None:
        scene.copy.takes = 18.0
        scene.queue.put(*([b"poison"] * (HELD + 1_000)))
        await asyncio.sleep(17)
        assert HELD <= scene.ingest.held < HELD + 10 * MOST_RECEIVES
        held = scene.ingest.held
        await asyncio.sleep(0.5)
        assert scene.ingest.held == held
        scene.copy.takes = 1.0
        await asyncio.sleep(60)
        assert len(scene.queue.deleted) == HELD + 1_000

    ingesting(story, receives=MOST_RECEIVES)


def test_several_removals_are_under_way_and_no_more_than_that() -> None:
    async def story(scene: Scene) -> None:
        scene.queue.delete_takes = 5.0
        for number in range(1, 200):
            scene.put(number)
            await asyncio.sleep(0.1)
        assert scene.queue.most_deleting == REMOVALS
        await asyncio.sleep(20)
        assert len(scene.queue.deleted) == 199

    ingesting(story, settled=None)


# --- The end --------------------------------------------------------------------------------------


def test_closing_settles_and_removes_what_is_applied() -> None:
    async def story(scene: Scene) -> None:
        scene.put(1, 2)
        await scene.applied()
        assert scene.queue.deleted == []
        begun = scene.watch.now
        await scene.ingest.close()
        assert scene.queue.deleted == ["m1", "m2"]
        assert scene.watch.now - begun <= LEAVING
        assert scene.queue.closed

    ingesting(story)


def test_closing_does_not_wait_for_long() -> None:
    async def story(scene: Scene) -> None:
        scene.copy.takes = 10.0
        scene.put(1)
        await scene.applied()
        begun = scene.watch.now
        await scene.ingest.close()
        assert scene.watch.now - begun == pytest.approx(LEAVING)
        assert (scene.queue.deleted, scene.queue.left) == ([], ["m1"])

    ingesting(story)


def test_closing_without_patience_removes_nothing_more() -> None:
    async def story(scene: Scene) -> None:
        scene.put(1)
        await scene.applied()
        begun = scene.watch.now
        await scene.ingest.close(patience=0.0)
        assert scene.watch.now == begun
        assert scene.queue.left == ["m1"]
        assert scene.queue.closed

    ingesting(story)


# --- Receiving ------------------------------------------------------------------------------------


def test_more_is_received_at_once_while_much_waits_and_less_when_it_is_over() -> None:
    async def story(scene: Scene) -> None:
        assert scene.ingest.receives == RECEIVES
        scene.queue.put(*([b"poison"] * 2_000))
        await asyncio.sleep(2)
        assert scene.queue.most_receiving == MOST_RECEIVES
        await asyncio.sleep(10)
        assert scene.ingest.receives == RECEIVES
        scene.queue.most_receiving = 0
        scene.put(1)
        await asyncio.sleep(10)
        assert scene.queue.most_receiving == RECEIVES

    ingesting(story, receives=MOST_RECEIVES)


def test_extra_receives_leave_when_the_queue_fails() -> None:
    async def story(scene: Scene) -> None:
        scene.queue.put(*([b"poison"] * 2_000))
        await asyncio.sleep(1.2)
        scene.queue.problem = "There is no queue."
        await asyncio.sleep(3)
        assert scene.ingest.receives == RECEIVES
        assert scene.ingest.condition == "There is no queue."

    ingesting(story, receives=MOST_RECEIVES)


class Slow:
    """A view in which every event takes a while of the processor."""

    def __init__(self, view: View) -> None:
        self.counters = view.counters
        self.applied = 0

    def apply(self, event: TaskEvent | HostEvent) -> str:
        running = asyncio.get_running_loop()
        assert isinstance(running, VirtualLoop)
        running.jump(0.003)
        self.applied += 1
        return "applied"

    def queue_flows(self, *, flowing: bool) -> None:
        """Nobody asks."""


def test_while_much_is_applied_everything_else_has_its_turn() -> None:
    async def story(watch: Watch) -> None:
        queue, slow = Queue(), Slow(watch.view)
        ingest = Ingest(slow, queue, watch.clock, receives=MOST_RECEIVES)
        queue.put(*(task_event(n, time=watch.clock.wall()) for n in range(1, 1_001)))
        running = asyncio.create_task(ingest.run())
        between: list[int] = []
        while slow.applied < 1_000:
            before = slow.applied
            await asyncio.sleep(0.0001)
            between.append(slow.applied - before)
        assert max(between) <= 6  # Of the ten of a batch, and three thousandths of a second each.
        running.cancel()
        await ingest.close()

    watch(story, queue=True)


def test_batches_are_applied_in_the_order_in_which_they_came() -> None:
    async def story(watch: Watch) -> None:
        order: list[str] = []

        class Noting(Slow):
            def apply(self, event: TaskEvent | HostEvent) -> str:
                assert isinstance(event, TaskEvent)
                order.append(event.task.task_arn)
                return super().apply(event)

        queue = Queue()
        ingest = Ingest(Noting(watch.view), queue, watch.clock, receives=MOST_RECEIVES)
        queue.put(*(task_event(n, time=watch.clock.wall()) for n in range(1, 301)))
        running = asyncio.create_task(ingest.run())
        await asyncio.sleep(30)
        assert order == [task_arn(n) for n in range(1, 301)]
        running.cancel()
        await ingest.close()

    watch(story, queue=True)


def test_documents_carry_the_whole_account_where_it_is_wanted() -> None:
    async def story(watch: Watch) -> None:
        seen: list[bool] = []

        class Noting(Slow):
            def apply(self, event: TaskEvent | HostEvent) -> str:
                assert isinstance(event, TaskEvent)
                seen.append(event.task.whole is not None)
                return super().apply(event)

        for whole in (False, True):
            queue = Queue()
            ingest = Ingest(Noting(watch.view), queue, watch.clock, whole=whole)
            queue.put(task_event(1, time=watch.clock.wall()))
            running = asyncio.create_task(ingest.run())
            await asyncio.sleep(3)
            running.cancel()
            await ingest.close()
        assert seen == [False, True]

    watch(story, queue=True)


# --- Depth ----------------------------------------------------------------------------------------


def test_how_much_waits_is_asked_every_thirty_seconds_where_wanted() -> None:
    async def story(scene: Scene) -> None:
        scene.queue.problem = "Not now."
        scene.put(1, 2, 3)
        await asyncio.sleep(120)
        assert scene.ingest.depth == 3
        asked = scene.queue.depths_asked
        assert [round(b - a) for a, b in pairwise(asked)] == [30] * 4
        scene.queue.uncounted = "The queue did not answer."
        await asyncio.sleep(31)
        assert scene.ingest.depth is None

    ingesting(story, ask_depth=True)


def test_how_much_waits_is_not_asked_by_itself() -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(120)
        assert (scene.queue.depths_asked, scene.ingest.depth) == ([], None)

    ingesting(story)
