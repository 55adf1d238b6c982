"""From the queue into the view: apply before delete, poison, duplicates, a queue that fails."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from structlog.testing import capture_logs

from blox.clusterstate.ingest import KEPT, KEPT_BYTES, Ingest
from blox.clusterstate.view import View
from support.documents import CLUSTER, host_arn, host_event, task_arn, task_event
from support.queues import Letter, Queue
from support.watching import Watch, watch


class Scene(NamedTuple):
    watch: Watch
    view: View
    queue: Queue
    ingest: Ingest[Letter]

    def event(self, number: int = 1, **detail: object) -> bytes:
        return task_event(number, time=self.watch.clock.wall(), **detail)


def ingesting(story: Callable[[Scene], Awaitable[None]]) -> None:
    """Run `story` with a queue that feeds a primed view."""

    async def inside(scene: Watch) -> None:
        queue = Queue()
        ingest = Ingest(scene.view, queue, scene.clock)
        running = asyncio.create_task(ingest.run())
        await asyncio.sleep(5)
        try:
            await story(Scene(scene, scene.view, queue, ingest))
        finally:
            running.cancel()
            await ingest.close()

    watch(inside, queue=True)


def test_events_are_in_the_view_before_they_are_removed() -> None:
    async def story(scene: Scene) -> None:
        known_at_removal: list[bool] = []
        scene.queue.on_delete = lambda letters: known_at_removal.append(
            scene.view.task(task_arn(1)) is not None and scene.view.host(host_arn(1)) is not None
        )
        scene.queue.put(scene.event(), host_event(1, time=scene.watch.clock.wall()))
        await asyncio.sleep(3)
        assert known_at_removal == [True]
        assert scene.queue.deleted == ["m1", "m2"]

    ingesting(story)


def test_duplicates_change_nothing() -> None:
    async def story(scene: Scene) -> None:
        body = scene.event()
        scene.queue.put(body, body, scene.event(version=2, lastStatus="PENDING"))
        await asyncio.sleep(3)
        touched = [t for t in scene.watch.touched if task_arn(1) in t.tasks]
        assert len(touched) == 1
        assert scene.view.counters.events_applied == 1
        assert scene.view.counters.events_known == 2
        assert len(scene.queue.deleted) == 3

    ingesting(story)


def test_what_could_not_be_removed_comes_again_and_changes_nothing() -> None:
    async def story(scene: Scene) -> None:
        scene.queue.undeletable = "Removing is denied."
        scene.queue.put(scene.event())
        await asyncio.sleep(3)
        assert scene.ingest.condition == "Removing is denied."
        assert scene.view.task(task_arn(1)) is not None
        scene.queue.undeletable = None
        await asyncio.sleep(40)
        assert scene.queue.deleted == ["m1"]
        assert scene.ingest.condition is None
        assert scene.view.counters.events_known == 1
        assert scene.view.counters.deletes_failed == 1

    ingesting(story)


def test_poison_is_kept_counted_removed_and_stops_nothing() -> None:
    async def story(scene: Scene) -> None:
        big = b"{" * 100_000
        wrong = json.loads(scene.event())
        wrong["detail"]["version"] = "three"
        scene.queue.put(b"\xff\x00", b"[]", big, json.dumps(wrong).encode(), scene.event())
        await asyncio.sleep(3)
        assert scene.view.task(task_arn(1)) is not None
        assert len(scene.queue.deleted) == 5
        rejected = scene.ingest.rejected
        assert [r.id for r in rejected] == ["m1", "m2", "m3", "m4"]
        assert all(r.reason for r in rejected)
        assert "version" in rejected[3].reason
        assert (len(rejected[2].body), rejected[2].size) == (KEPT_BYTES, 100_000)
        assert scene.view.counters.messages_rejected == 4
        assert scene.ingest.condition is None

    ingesting(story)


def test_the_last_rejected_messages_are_kept_and_each_reason_is_logged_once() -> None:
    async def story(scene: Scene) -> None:
        scene.queue.put(*(f'{{"n": {n}}}'.encode() for n in range(KEPT + 30)))
        with capture_logs() as logs:
            await asyncio.sleep(10)
        assert len(scene.ingest.rejected) == KEPT
        assert scene.ingest.rejected[-1].body == f'{{"n": {KEPT + 29}}}'.encode()
        assert scene.view.counters.messages_rejected == KEPT + 30
        assert [log["event"] for log in logs] == ["message rejected"]

    ingesting(story)


def test_a_message_that_the_view_cannot_apply_is_poison_too() -> None:
    async def story(scene: Scene) -> None:
        def broken(touched: object) -> None:
            if scene.view.task(task_arn(7)) is not None:
                raise ZeroDivisionError

        scene.view.subscribe(broken)
        scene.queue.put(scene.event(7))
        await asyncio.sleep(3)
        assert [r.id for r in scene.ingest.rejected] == ["m1"]
        assert "ZeroDivisionError" in scene.ingest.rejected[0].reason
        assert scene.queue.deleted == ["m1"]

    ingesting(story)


def test_other_events_are_ignored_and_counted() -> None:
    async def story(scene: Scene) -> None:
        other = json.loads(scene.event())
        other["detail-type"] = "ECS Service Action"
        elsewhere = scene.event(
            clusterArn=CLUSTER.replace("demo", "elsewhere"), taskArn=task_arn(1, "elsewhere")
        )
        scene.queue.put(json.dumps(other).encode(), elsewhere)
        await asyncio.sleep(3)
        assert scene.view.counters.events_ignored == 2
        assert scene.ingest.rejected == ()
        assert len(scene.queue.deleted) == 2

    ingesting(story)


def test_several_receives_are_under_way_at_once() -> None:
    async def story(scene: Scene) -> None:
        assert scene.queue.most_receiving == 4

    ingesting(story)


def test_the_lag_of_the_queue_is_measured() -> None:
    async def story(scene: Scene) -> None:
        scene.queue.put(task_event(1, time=scene.watch.clock.wall() - 42))
        await asyncio.sleep(3)
        assert 42 <= scene.view.counters.queue_lag <= 44.2

    ingesting(story)


def test_a_queue_that_fails_is_a_condition_and_recovers_by_itself() -> None:
    async def story(scene: Scene) -> None:
        def sweeps() -> int:
            return len(scene.watch.ecs.asked("DescribeClusters"))

        scene.queue.problem = "There is no queue events."
        before = sweeps()
        await asyncio.sleep(300)
        assert scene.ingest.condition == "There is no queue events."
        assert sweeps() - before >= 14  # without a queue: every 20 s
        failures = scene.view.counters.queue_failures
        assert 4 * 7 <= failures <= 4 * 12  # backing off
        scene.queue.problem = None
        scene.queue.put(scene.event())
        await asyncio.sleep(70)
        assert scene.ingest.condition is None
        assert scene.view.task(task_arn(1)) is not None
        before = sweeps()
        await asyncio.sleep(300)
        assert sweeps() - before == 5

    ingesting(story)
