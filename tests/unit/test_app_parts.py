"""The small parts of the composition root: plan, delays, and an ECS that can only be read."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from blox.app.delays import FORGOTTEN_AFTER, StartDelays, TimedActs
from blox.app.plan import store_path
from blox.app.reads import READS, ReadingTransport, ReadsOnly
from blox.base.clock import SystemClock
from blox.base.errors import InvalidInput
from blox.ecs.client import EcsClient
from blox.ecs.pacing import CATEGORY_OF, Pacer
from blox.ecs.port import (
    EcsActs,
    EcsReads,
    Marked,
    MarkOutcome,
    NotDone,
    NotSent,
    Permit,
    StartOutcome,
    StartRequest,
    StopOutcome,
    WireAnswer,
)
from blox.ecs.seen import Touched
from blox.settings import Assumptions


def methods_of(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("text", "path"), [("sqlite:blox.db", "blox.db"), ("sqlite:/var/lib/b.db", "/var/lib/b.db")]
)
def test_a_store_is_a_path(text: str, path: str) -> None:
    assert store_path(text) == path


@pytest.mark.parametrize(
    "text", ["", "blox.db", "sqlite:", "sqlite:///a.db", "etcd:x", "sqlite:\0"]
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="sqlite:"):
        store_path(text)


def test_what_observes_can_ask_everything_and_do_nothing() -> None:
    assert methods_of(ReadsOnly) == methods_of(EcsReads)
    assert not methods_of(EcsActs) & set(dir(ReadsOnly))
    acts = {"StartTask", "StopTask", "PutAttributes", "DeleteAttributes"}
    assert set(CATEGORY_OF) - READS == acts


class Sent:
    """A transport that notes what it was asked to send."""

    def __init__(self) -> None:
        self.operations: list[str] = []

    async def send(
        self,
        operation: str,
        body: bytes,
        *,
        date: Callable[[], float],
        permit: Permit | None = None,
        fresh: bool = False,
    ) -> WireAnswer:
        self.operations.append(operation)
        date()
        now = "Sat, 01 Nov 2025 00:00:00 GMT"
        return WireAnswer(
            status=200,
            headers={"date": now, "x-amzn-requestid": "r-1"},
            body=b"{}",
            begun=0.0,
            signed_at=0.0,
        )

    async def close(self) -> None:
        self.operations.append("close")


def test_a_transport_that_only_reads_sends_no_act_even_of_a_whole_client() -> None:
    sent = Sent()
    transport = ReadingTransport(sent)
    clock = SystemClock()
    client = EcsClient(transport, clock=clock, assumptions=Assumptions(), pacer=Pacer(clock))

    async def scene() -> StopOutcome:
        await client.describe_clusters(["demo"])
        outcome = await client.stop_task("demo", "t", reason="r", permit=lambda: None)
        await transport.close()
        return outcome

    outcome = asyncio.run(scene())
    assert isinstance(outcome, NotDone)
    assert outcome.code == "permit"
    assert sent.operations == ["DescribeClusters", "close"]
    with pytest.raises(NotSent):
        asyncio.run(transport.send("PutAttributes", b"", date=lambda: 0.0))


class SetClock:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.at = 100.0

    def monotonic(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.at


class Delayed:
    """Delays, a clock and what was observed."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.observed: list[float] = []
        self.delays = StartDelays(self.clock, observe=self.observed.append)

    def event(self, *hosts: str) -> None:
        self.delays.event_begins()
        self.delays.touched(Touched(cluster_arn="c", hosts=frozenset(hosts)))
        self.delays.event_ends()


def test_a_start_tells_how_long_ago_the_newest_event_about_its_host_was() -> None:
    bench = Delayed()
    bench.event("a", "b")
    bench.clock.at += 1.0
    bench.event("a")
    bench.clock.at += 0.25
    bench.delays.started(["a", "b", "c"])
    bench.delays.started(["a", "b"])
    assert bench.observed == [0.25, 1.25]


def test_changes_that_no_event_brought_and_old_events_are_not_measured() -> None:
    bench = Delayed()
    bench.delays.touched(Touched(cluster_arn="c", hosts=frozenset({"a"})))
    bench.delays.started(["a"])
    bench.event("b")
    bench.clock.at += FORGOTTEN_AFTER + 1.0
    bench.delays.started(["b"])
    assert bench.observed == []
    bench.event("c")
    bench.clock.at += FORGOTTEN_AFTER + 1.0
    bench.event("d")
    assert len(bench.delays) == 1


class Acts:
    """Asks for the permit of each start."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    async def start_task(self, request: StartRequest, permit: Permit) -> StartOutcome:
        self.asked.append(permit())
        raise AssertionError(self.asked[-1])

    async def stop_task(
        self, cluster: str, task: str, *, reason: str, permit: Permit
    ) -> StopOutcome:
        raise AssertionError(f"stop {task}: {reason}")

    async def put_attribute(
        self, cluster: str, hosts: Sequence[str], *, name: str, value: str, permit: Permit
    ) -> MarkOutcome:
        return Marked(request_id=f"put {name}={value} on {cluster}/{','.join(hosts)}: {permit()}")

    async def delete_attribute(
        self, cluster: str, hosts: Sequence[str], *, name: str, permit: Permit
    ) -> MarkOutcome:
        return Marked(request_id=f"delete {name} from {cluster}/{','.join(hosts)}: {permit()}")


@pytest.mark.parametrize(("refusal", "observed"), [(None, [0.5]), ("not ours any more", [])])
def test_only_a_start_that_leaves_is_measured(refusal: str | None, observed: list[float]) -> None:
    bench = Delayed()
    bench.event("a")
    bench.clock.at += 0.5
    request = StartRequest(
        cluster="c",
        definition="d",
        hosts=("a",),
        started_by="s",
        group="g",
        intent="i",
        first_container="f",
    )
    acts = TimedActs(Acts(), bench.delays)
    with pytest.raises(AssertionError, match=str(refusal)):
        asyncio.run(acts.start_task(request, lambda: refusal))
    with pytest.raises(AssertionError, match="stop t: r"):
        asyncio.run(acts.stop_task("c", "t", reason="r", permit=lambda: None))
    assert bench.observed == observed


def test_marks_of_hosts_pass_through_and_are_no_starts() -> None:
    bench = Delayed()
    bench.event("a")
    acts = TimedActs(Acts(), bench.delays)
    put = acts.put_attribute("c", ["a", "b"], name="n", value="v", permit=lambda: "why not")
    assert asyncio.run(put) == Marked(request_id="put n=v on c/a,b: why not")
    delete = acts.delete_attribute("c", ["a"], name="n", permit=lambda: None)
    assert asyncio.run(delete) == Marked(request_id="delete n from c/a: None")
    assert bench.observed == []
