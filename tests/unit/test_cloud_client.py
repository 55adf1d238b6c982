"""The way to the simulated ECS in process, and its events' way back."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any

import pytest

from blox.base.clock import LoopClock
from blox.ecs.port import Lost, NotSent, WireAnswer
from blox.simulator.client import SimTransport
from blox.simulator.faults import Answer, Faults, fate
from blox.simulator.feed import Feed, Message
from blox.simulator.live import LiveCloud
from blox.simulator.loop import run
from blox.simulator.model import TaskRecord
from support.worlds import CLUSTER, EPOCH, World, world


class Wire:
    """A world, its live cloud and one transport, inside the virtual loop."""

    def __init__(self, faults: Faults, *, seed: int = 1, hosts: int = 1) -> None:
        self.w: World = world(hosts=hosts, faults=Faults.none())
        self.live = LiveCloud(self.w.cloud, epoch=EPOCH)
        self.clock = LoopClock(EPOCH)
        self.transport = SimTransport(
            self.live, clock=self.clock, random=Random(seed), faults=faults
        )

    async def send(self, operation: str = "StartTask", **extra: Any) -> WireAnswer:
        body: dict[str, object] = {"cluster": CLUSTER}
        if operation == "StartTask":
            body |= {"containerInstances": self.w.hosts, "taskDefinition": self.w.definition}
        extra.setdefault("date", self.live.now)
        return await self.transport.send(operation, json.dumps(body).encode(), **extra)

    def tasks(self) -> list[TaskRecord]:
        return list(self.w.cloud.tasks.values())


def on(faults: Faults, test: Callable[[Wire], Coroutine[Any, Any, None]], **options: int) -> None:
    """Run a test's coroutine over a new wire under virtual time."""

    async def main() -> None:
        await test(Wire(faults, **options))

    run(main())


def test_a_call_is_answered_within_milliseconds_with_ecs_headers() -> None:
    async def test(wire: Wire) -> None:
        answer = await wire.send()
        assert wire.clock.monotonic() < 0.1
        assert answer.status == 200
        call = wire.w.cloud.log[-1]
        assert answer.headers["x-amzn-requestid"] == call.request_id
        date = parsedate_to_datetime(answer.headers["date"]).timestamp()
        assert 0.0 <= wire.live.now() - date < 1.0
        assert json.loads(answer.body)["tasks"][0]["taskArn"] == wire.tasks()[0].arn
        assert 0.0 < answer.signed_at <= answer.begun < wire.clock.monotonic()

    on(Faults.none(), test)


def test_an_error_has_ecs_body_and_status() -> None:
    async def test(wire: Wire) -> None:
        wire.w.cloud.deny("ListTasks")
        answer = await wire.send("ListTasks")
        assert answer.status == 400
        body = json.loads(answer.body)
        assert body["__type"] == "com.amazonaws.ecs#AccessDeniedException"
        assert "ecs:ListTasks" in body["message"]
        assert answer.headers["x-amzn-requestid"]

    on(Faults.none(), test)


def test_the_date_is_the_callers_and_the_permit_is_asked_after_it() -> None:
    async def test(wire: Wire) -> None:
        asked: list[str] = []

        def date() -> float:
            asked.append("date")
            return wire.live.now() - 301.0

        def permit() -> str | None:
            asked.append("permit")
            return None

        answer = await wire.send(date=date, permit=permit)
        assert asked == ["date", "permit"]
        assert b"InvalidSignatureException" in answer.body
        assert wire.tasks() == []

    on(Faults.none(), test)


def test_without_a_permit_nothing_leaves() -> None:
    async def test(wire: Wire) -> None:
        with pytest.raises(NotSent, match="lost") as caught:
            await wire.send(permit=lambda: "ownership was lost")
        assert caught.value.code == "permit"
        await asyncio.sleep(1000.0)
        assert wire.w.cloud.counts == {}

    on(Faults.none(), test)


@pytest.mark.parametrize(
    ("faults", "error", "calls", "tasks"),
    [
        (Faults(unreachable=1.0), NotSent, 0, 0),
        (Faults(drop_request=1.0), Lost, 0, 0),
        (Faults(drop_answer=1.0), Lost, 1, 1),
    ],
)
def test_what_breaks_where_decides_what_happened(
    faults: Faults, error: type[Exception], calls: int, tasks: int
) -> None:
    async def test(wire: Wire) -> None:
        before = wire.clock.monotonic()
        with pytest.raises(error) as caught:
            await wire.send()
        if isinstance(caught.value, Lost):
            assert caught.value.signed_at >= before
        await asyncio.sleep(1000.0)
        assert wire.w.cloud.counts.get("StartTask", 0) == calls
        assert len(wire.tasks()) == tasks

    for seed in range(5):
        on(faults, test, seed=seed)


@pytest.mark.parametrize(
    ("faults", "tasks"), [(Faults(error_before=1.0), 0), (Faults(error_after=1.0), 1)]
)
def test_the_same_5xx_comes_before_and_after_execution(faults: Faults, tasks: int) -> None:
    async def test(wire: Wire) -> None:
        answer = await wire.send()
        assert answer.status >= 500 or answer.status == 408
        assert len(wire.tasks()) == tasks

    for seed in range(5):
        on(faults, test, seed=seed)


def test_a_throttle_does_nothing() -> None:
    async def test(wire: Wire) -> None:
        answer = await wire.send()
        assert answer.status == 400
        assert b"ThrottlingException" in answer.body
        assert wire.tasks() == []

    on(Faults(throttle=1.0), test)


def test_garbled_answers_are_unreadable_or_anonymous() -> None:
    kinds: set[str] = set()

    async def test(wire: Wire) -> None:
        answer = await wire.send()
        assert answer.status == 200
        assert len(wire.tasks()) == 1
        if "x-amzn-requestid" in answer.headers:
            with pytest.raises(ValueError, match=r"Expecting|Unterminated|Extra"):
                json.loads(answer.body)
            kinds.add("garbled")
        else:
            kinds.add("anonymous")

    for seed in range(20):
        on(Faults(garble=1.0), test, seed=seed)
    assert kinds == {"garbled", "anonymous"}


@pytest.mark.parametrize(
    ("faults", "shown"), [(Faults(omit_host=1.0), (2, 0)), (Faults(double_host=1.0), (3, 1))]
)
def test_an_answer_may_omit_a_host_or_name_it_twice(faults: Faults, shown: tuple[int, int]) -> None:
    async def test(wire: Wire) -> None:
        body = json.loads((await wire.send()).body)
        assert (len(body["tasks"]), len(body["failures"])) == shown
        assert len(wire.tasks()) == 3

    on(faults, test, hosts=3)


def test_a_late_request_executes_after_the_client_gave_up_up_to_the_last_moment() -> None:
    delays: list[float] = []

    async def test(wire: Wire) -> None:
        signed = wire.live.now() - 240.0
        try:
            await wire.send(date=lambda: signed)
        except Lost:
            await asyncio.sleep(1000.0)
        (task,) = wire.tasks()
        delays.append(task.created_at - signed)

    for seed in range(40):
        on(Faults(late_request=1.0), test, seed=seed)
    assert max(delays) == pytest.approx(300.0, abs=1e-4)
    assert max(delays) <= 300.0
    assert min(delays) < 290.0


def test_signature_and_acceptance_bounds_add_up() -> None:
    delays: list[float] = []

    async def test(wire: Wire) -> None:
        signed = wire.live.now() - 240.0
        try:
            await wire.send(date=lambda: signed)
        except Lost:
            await asyncio.sleep(1000.0)
        (task,) = wire.tasks()
        delays.append(task.created_at - signed)

    for seed in range(150):
        on(Faults(late_request=1.0, slow_execution=1.0), test, seed=seed)
    assert max(delays) == pytest.approx(360.0, abs=1e-4)
    assert max(delays) <= 360.0


def swarm(seed: int) -> list[tuple[object, ...]]:
    """What ECS saw of 60 StartTask under a drawn set of faults."""

    async def main() -> list[tuple[object, ...]]:
        faults = Faults.draw(Random(seed))
        wire = Wire(faults, seed=seed, hosts=3)
        wire.w.cloud.faults = faults
        sent: list[float] = []

        def date() -> float:
            sent.append(wire.live.now() - 240.0)
            return sent[-1]

        for _ in range(60):
            with contextlib.suppress(NotSent, Lost):
                await wire.send(date=date)
        await asyncio.sleep(1000.0)
        calls = [call for call in wire.w.cloud.log if call.operation == "StartTask"]
        for call in calls:
            assert call.signed_at in sent
            if call.executed_at is not None:
                assert call.executed_at <= call.time + 60.0
                assert call.executed_at <= (call.signed_at or 0.0) + 360.0
            assert (call.executed_at is None) == (call.outcome == "InvalidSignatureException")
        return [(call.time, call.executed_at, call.outcome, call.made) for call in calls]

    return run(main())


def test_whatever_the_faults_the_bounds_hold_and_a_seed_replays() -> None:
    histories = [swarm(seed) for seed in range(12)]
    assert sum(len(history) for history in histories) > 100
    assert [swarm(seed) for seed in range(12)] == histories


def test_cancelling_the_caller_recalls_nothing() -> None:
    async def test(wire: Wire) -> None:
        caller = asyncio.create_task(wire.send())
        await asyncio.sleep(0.003)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.sleep(100.0)
        assert len(wire.tasks()) == 1

    on(Faults(slow_execution=1.0), test)


def test_a_pause_between_signing_and_checking_is_seen_by_the_permit() -> None:
    pauses: list[float] = []

    async def test(wire: Wire) -> None:
        signed: list[float] = []

        def date() -> float:
            signed.append(wire.live.now())
            return signed[0] - 240.0

        def permit() -> str | None:
            pauses.append(wire.live.now() - signed[0])
            return "not ours any more"

        with pytest.raises(NotSent):
            await wire.send(date=date, permit=permit)

    for seed in range(20):
        on(Faults(pause=1.0), test, seed=seed)
    assert 59.0 < max(pauses) <= 60.0


def test_a_partition_lets_nothing_through_and_heals() -> None:
    errors: set[type[Exception]] = set()

    async def test(wire: Wire) -> None:
        wire.transport.partitioned = True
        for fresh in (True, False, False, False):
            with pytest.raises((NotSent, Lost)) as caught:
                await wire.send(fresh=fresh)
            errors.add(type(caught.value))
        assert wire.tasks() == []
        wire.transport.partitioned = False
        assert (await wire.send()).status == 200

    for seed in range(3):
        on(Faults.none(), test, seed=seed)
    assert errors == {NotSent, Lost}


def test_the_client_gives_up_at_its_timeout() -> None:
    async def test(wire: Wire) -> None:
        before = wire.clock.monotonic()
        with pytest.raises(Lost, match="60 s"):
            await wire.send()
        assert wire.clock.monotonic() - before == pytest.approx(60.0, abs=0.1)

    on(Faults(late_answer=1.0), test, seed=3)


def test_reads_are_never_executed_late() -> None:
    random = Random(1)
    everything = Faults(slow_execution=1.0, pause=1.0, omit_host=1.0)
    for _ in range(100):
        decided = fate(random, everything, "DescribeTasks", life=300.0, lag=60.0)
        assert (decided.executes_after, decided.pauses) == (0.0, 0.0)
        assert decided.answer is Answer.WHOLE


# --- Events ---------------------------------------------------------------------------------------


async def drain(feed: Feed, *, seconds: float) -> list[Message]:
    """All that arrives within so long, each batch acknowledged."""
    found: list[Message] = []
    until = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until:
        batch = await feed.receive()
        assert len(batch) <= 10
        await feed.delete(batch)
        found += batch
    return found


def versions(messages: list[Message], arn: str) -> list[int]:
    events = [json.loads(message.body) for message in messages]
    return [event["detail"]["version"] for event in events if event["resources"] == [arn]]


def feed_run(faults: Faults, *, seed: int = 1, seconds: float = 60.0) -> tuple[list[int], Feed]:
    """The versions of one task's events in the order of delivery."""

    async def main() -> tuple[list[int], Feed]:
        wire = Wire(Faults.none(), hosts=5)
        feed = Feed(wire.live, random=Random(seed), faults=faults)
        await wire.send()
        messages = await drain(feed, seconds=seconds)
        task = wire.tasks()[0]
        assert task.last_status == "RUNNING"
        return versions(messages, task.arn), feed

    return run(main())


def test_events_arrive_by_themselves_within_seconds() -> None:
    told, feed = feed_run(Faults.none())
    assert sorted(told) == list(range(1, len(told) + 1))
    assert len(told) >= 2
    assert feed.lost == 0


def test_events_are_doubled_reordered_and_lost() -> None:
    doubled, _ = feed_run(Faults(event_doubled=1.0))
    assert len(doubled) > len(set(doubled))
    assert any(told != sorted(told) for told in (feed_run(Faults(), seed=s)[0] for s in range(30)))
    lost, feed = feed_run(Faults(event_lost=1.0))
    assert lost == []
    assert feed.lost > 0


def test_events_may_be_days_late() -> None:
    soon, _ = feed_run(Faults(event_ancient=1.0))
    assert soon == []
    ancient, _ = feed_run(Faults(event_ancient=1.0), seconds=14 * 86400.0)
    assert len(ancient) >= 2


def test_what_is_not_deleted_comes_again_and_what_is_does_not() -> None:
    async def main() -> None:
        wire = Wire(Faults.none())
        feed = Feed(wire.live, random=Random(1))
        feed.inject(b"{}")
        (first,) = await feed.receive()
        assert await feed.receive() == []
        (second,) = await feed.receive()
        assert (second.body, second.id != first.id) == (b"{}", True)
        await feed.delete([second])
        await feed.delete([first])
        assert await drain(feed, seconds=100.0) == []

    run(main())


def test_an_empty_queue_makes_the_reader_wait_and_then_answers_empty() -> None:
    async def main() -> float:
        wire = Wire(Faults.none())
        feed = Feed(wire.live, random=Random(1))
        assert await feed.receive() == []
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(20.0)
