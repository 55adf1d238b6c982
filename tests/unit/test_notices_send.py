"""How notices leave: in order, bounded, again and again while it helps, and never in the way."""

import asyncio
import hashlib
import hmac
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import pytest

from blox.app.notices import labels
from blox.app.notices_bodies import signature
from blox.app.notices_bus import Bus
from blox.app.notices_send import LAST_RETRY, LONGEST_ASKED, Outbox, Outcome, Tried
from blox.app.plan import Notify, notify_to
from blox.base.clock import LoopClock
from blox.base.entropy import SeededEntropy
from blox.base.errors import InvalidInput
from blox.ecs.port import Lost, NotSent, Permit, WireAnswer
from blox.settings import NoticeSettings
from blox.simulator import loop
from support.notices import Scripted, parcel

AGAIN = Tried(Outcome.AGAIN, "HTTP 503")


class Scene:
    """One outbox under virtual time."""

    def __init__(self, *, limit: int = 1000) -> None:
        self.receiver = Scripted()
        self.fates: Counter[str] = Counter()
        self.outbox = Outbox(
            self.receiver,
            clock=LoopClock(),
            entropy=SeededEntropy(1),
            settings=NoticeSettings(queue_limit=limit),
            count=lambda _, fate: self.fates.update([str(fate)]),
        )

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self.outbox.put(parcel(number))


def play(story: Callable[[Scene], Awaitable[None]], *, limit: int = 1000) -> Scene:
    """Run `story` while the outbox is served."""

    async def main() -> Scene:
        scene = Scene(limit=limit)
        serving = asyncio.ensure_future(scene.outbox.run())
        try:
            await story(scene)
        finally:
            serving.cancel()
        return scene

    return loop.run(main())


def test_notices_arrive_in_order_and_each_once() -> None:
    async def story(scene: Scene) -> None:
        scene.put(*range(50))
        await scene.outbox.flush(5.0)
        scene.put(*range(50, 60))
        await scene.outbox.flush(5.0)

    scene = play(story)
    assert scene.receiver.got == list(range(60))
    assert scene.fates == {"sent": 60}
    assert len(scene.outbox) == 0


def test_what_fails_is_sent_again_and_nothing_overtakes_it() -> None:
    async def story(scene: Scene) -> None:
        scene.receiver.answers = [AGAIN] * 8
        scene.put(1, 2, 3)
        await scene.outbox.flush(600.0)

    scene = play(story)
    assert scene.receiver.got == [1, 2, 3]
    assert [number for _, number in scene.receiver.attempts] == [1] * 9 + [2, 3]
    times = [when for when, _ in scene.receiver.attempts]
    waits = [after - before for before, after in itertools.pairwise(times[:9])]
    for wait, due in zip(waits, (1, 2, 4, 8, 16, 32, 60, 60), strict=True):
        assert 0.9 * due <= wait <= 1.1 * due
    assert times[9] == times[8], "a receiver that takes notices again gets all of them at once"


def test_what_is_refused_is_not_sent_again() -> None:
    async def story(scene: Scene) -> None:
        scene.receiver.answers = [Tried(Outcome.REFUSED, "HTTP 404")]
        scene.put(1, 2)
        await scene.outbox.flush(5.0)

    scene = play(story)
    assert scene.receiver.got == [2]
    assert scene.fates == {"refused": 1, "sent": 1}


def test_a_receiver_may_ask_for_patience_within_reason() -> None:
    async def story(scene: Scene) -> None:
        scene.receiver.answers = [
            Tried(Outcome.AGAIN, "HTTP 429", 30.0),
            Tried(Outcome.AGAIN, "HTTP 503", 1e9),
        ]
        scene.put(1)
        await scene.outbox.flush(1000.0)

    times = [when for when, _ in play(story).receiver.attempts]
    assert times[1] - times[0] == 30.0
    assert times[2] - times[1] == LONGEST_ASKED


def test_of_too_many_the_oldest_go() -> None:
    async def story(scene: Scene) -> None:
        scene.receiver.hangs = True
        scene.put(0)
        await asyncio.sleep(0)
        scene.put(*range(1, 2001))

    scene = play(story, limit=1000)
    assert scene.fates == {"dropped": 1000}
    assert len(scene.outbox) == 1001

    async def later(scene: Scene) -> None:
        scene.receiver.answers = [AGAIN]
        scene.put(0)
        await asyncio.sleep(0)
        scene.put(*range(1, 8))
        await scene.outbox.flush(60.0)

    scene = play(later, limit=3)
    assert scene.receiver.got == [0, 5, 6, 7]
    assert scene.fates == {"dropped": 4, "sent": 4}


def test_what_is_not_taken_for_a_day_is_given_up() -> None:
    async def story(scene: Scene) -> None:
        scene.receiver.answers = [AGAIN] * 10_000
        scene.put(1)
        await asyncio.sleep(80_000)
        scene.put(2)
        await asyncio.sleep(6_500 + LAST_RETRY * 2)
        scene.receiver.answers.clear()
        await scene.outbox.flush(LAST_RETRY * 2)

    scene = play(story)
    assert scene.fates == {"expired": 1, "sent": 1}
    assert scene.receiver.got == [2]


def test_a_receiver_that_breaks_is_one_that_fails() -> None:
    class Broken(Scripted):
        async def send(self, given: object) -> Tried:
            raise ZeroDivisionError("a mistake")

    async def story(scene: Scene) -> None:
        scene.outbox.receiver = Broken()
        scene.put(1)
        await asyncio.sleep(10.0)
        assert len(scene.outbox) == 1

    assert play(story).fates == {}


def test_the_last_chance_to_be_sent_ends() -> None:
    async def story(scene: Scene) -> None:
        scene.receiver.hangs = True
        scene.put(1)
        before = asyncio.get_running_loop().time()
        await scene.outbox.flush(2.0)
        assert asyncio.get_running_loop().time() - before == 2.0

    assert len(play(story).outbox) == 1


# --- A bus ----------------------------------------------------------------------------------------


class Answering:
    """A transport to EventBridge with one answer."""

    def __init__(self, answer: tuple[int, object] | Exception) -> None:
        self._answer = answer
        self.bodies: list[bytes] = []

    async def send(
        self,
        operation: str,
        body: bytes,
        *,
        date: Callable[[], float],
        permit: Permit | None = None,
        fresh: bool = False,
    ) -> WireAnswer:
        assert operation == "PutEvents"
        self.bodies.append(body)
        if isinstance(self._answer, Exception):
            raise self._answer
        status, content = self._answer
        found = content if isinstance(content, bytes) else msgspec.json.encode(content)
        return WireAnswer(status=status, headers={}, body=found, begun=0.0, signed_at=0.0)

    async def close(self) -> None:
        raise AssertionError("it belongs to whoever made it")


def failed(code: str, why: str = "why") -> tuple[int, Mapping[str, object]]:
    return 200, {"FailedEntryCount": 1, "Entries": [{"ErrorCode": code, "ErrorMessage": why}]}


def error(status: int, code: str) -> tuple[int, Mapping[str, object]]:
    return status, {"__type": code, "message": "why"}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((200, {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}), Outcome.SENT),
        (failed("ThrottlingException"), Outcome.AGAIN),
        (failed("InternalFailure"), Outcome.AGAIN),
        (failed("AccessDeniedException"), Outcome.AGAIN),
        (failed("MalformedDetail"), Outcome.REFUSED),
        (failed("InvalidArgument"), Outcome.REFUSED),
        (failed("InvalidArgument", "Parameter EventBusName is not valid."), Outcome.AGAIN),
        (failed("NotAuthorizedForSourceException"), Outcome.REFUSED),
        ((200, {"FailedEntryCount": 1}), Outcome.AGAIN),
        ((200, b"<html>"), Outcome.AGAIN),
        (error(400, "ThrottlingException"), Outcome.AGAIN),
        (error(400, "ExpiredTokenException"), Outcome.AGAIN),
        (error(400, "AccessDeniedException"), Outcome.AGAIN),
        (error(400, "ResourceNotFoundException"), Outcome.AGAIN),
        (error(500, "InternalException"), Outcome.AGAIN),
        (error(503, "Whatever"), Outcome.AGAIN),
        (error(400, "ValidationException"), Outcome.REFUSED),
        (NotSent("connect", "refused"), Outcome.AGAIN),
        (Lost("reset", signed_at=0.0), Outcome.AGAIN),
    ],
)
def test_a_bus_is_tried_again_unless_the_notice_itself_is_wrong(
    answer: tuple[int, object] | Exception, outcome: Outcome
) -> None:
    bus = Bus("default", Answering(answer), now=lambda: 0.0)
    tried = asyncio.run(bus.send(parcel(1)))
    assert tried.outcome is outcome
    assert (tried.why == "") is (outcome is Outcome.SENT)


def test_a_bus_is_called_by_its_name() -> None:
    arn = "arn:aws:events:us-east-1:111122223333:event-bus/ops"
    assert [Bus(name, Answering((200, {})), now=lambda: 0.0).label for name in (arn, "ops")] == [
        "bus ops"
    ] * 2


# --- Flags and secrets ----------------------------------------------------------------------------


def test_a_signature_is_an_hmac_of_the_body() -> None:
    expected = hmac.new(b"secret", b"{}", hashlib.sha256).hexdigest()
    assert signature("secret", b"{}") == f"sha256={expected}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "ftp://example.com/",
        "http://",
        "http://:80/",
        "https://user:hunter2@example.com/",
        "https://hunter2@example.com/",
        "https://example.com/#hunter2",
        "https://example.com/a b?hunter2",
        "https://example.com/\nHost: x",
        "https://example.com:99999/hunter2",
        "https://example.com:0/hunter2",
        "https://[::1/hunter2",
        "https://example.com\\@evil.com/",
    ],
)
def test_what_is_no_url_to_post_to_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"^--notify-url, number 2 of 2: ") as refused:
        notify_to(["https://example.com/", url], None, {})
    assert "hunter2" not in refused.value.message


def test_a_url_of_every_right_form_is_taken_once() -> None:
    urls = ["http://127.0.0.1:8080", "https://h.example.com/a/b?token=1", "https://[::1]:1/x"]
    assert notify_to([*urls, urls[0]], None, {}).urls == tuple(urls)


def test_one_url_alone_has_no_number() -> None:
    with pytest.raises(InvalidInput, match=r"^--notify-url: an http or https URL is needed"):
        notify_to(["x"], None, {})


@pytest.mark.parametrize(
    "bus", ["default", "a/b.c-d_e", f"arn:aws-cn:events:cn-north-1:{'1' * 12}:event-bus/x"]
)
def test_a_bus_has_a_name_or_an_arn(bus: str) -> None:
    assert notify_to([], bus, {"BLOX_NOTIFY_SECRET": " s "}) == Notify(bus=bus, secret="s")


@pytest.mark.parametrize("bus", ["a b", "arn:aws:sqs:us-east-1:111122223333:q", "x" * 1601, "é"])
def test_what_is_no_bus_is_refused(bus: str) -> None:
    with pytest.raises(InvalidInput, match="--notify-bus"):
        notify_to([], bus, {})


def test_nothing_of_a_url_is_written_down_but_its_host() -> None:
    urls = ["https://h.example.com:8443/T0/B0/hunter2?x=hunter2", "https://h.example.com:8443/2"]
    assert labels([*urls, "http://[::1]?hunter2"]) == [
        "https://h.example.com:8443",
        "https://h.example.com:8443 #2",
        "http://[::1]",
    ]
    assert "hunter2" not in repr(notify_to(urls, None, {"BLOX_NOTIFY_SECRET": "hunter2"}))
