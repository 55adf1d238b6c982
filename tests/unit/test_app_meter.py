"""What calls to AWS come to: the outcomes' words, and the conditions that they begin and end."""

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
import pytest

from blox.app.meter import CallMeter, MeteredTransport, Outcome, outcome_of
from blox.ecs.port import Lost, NotSent, Permit, WireAnswer
from blox.http.metrics import Metrics


def answer(status: int, code: str = "") -> WireAnswer:
    body = msgspec.json.encode({"__type": f"com.amazonaws.ecs#{code}", "message": "m"})
    return WireAnswer(
        status=status, headers={}, body=body if code else b"<html>", begun=0.0, signed_at=0.0
    )


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (answer(200), Outcome.OK),
        (answer(400, "ThrottlingException"), Outcome.THROTTLED),
        (answer(400, "AccessDeniedException"), Outcome.DENIED),
        (answer(403, "ExpiredTokenException"), Outcome.CREDENTIALS),
        (answer(400, "InvalidSignatureException"), Outcome.SIGNATURE),
        (answer(400, "ClientException"), Outcome.REFUSED),
        (answer(500, "ServerException"), Outcome.FAILED),
        (answer(404), Outcome.FAILED),
    ],
)
def test_an_answer_is_told_by_its_code(given: WireAnswer, outcome: Outcome) -> None:
    assert outcome_of(given)[0] is outcome


class Scripted:
    """A transport that does what the script says, one step a call."""

    def __init__(self, *script: WireAnswer | Exception) -> None:
        self._script = list(script)
        self.closed = False

    async def send(
        self,
        operation: str,
        body: bytes,
        *,
        date: Callable[[], float],
        permit: Permit | None = None,
        fresh: bool = False,
    ) -> WireAnswer:
        step = self._script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def close(self) -> None:
        self.closed = True


class Bench:
    """A meter, and what it told."""

    def __init__(self) -> None:
        self.metrics = Metrics(version="1")
        self.renewals = 0
        self.news: list[tuple[str, Outcome]] = []
        self.meter = CallMeter(
            self.metrics,
            credentials_refused=self._refused,
            news=lambda _service, operation, outcome, _text: self.news.append((operation, outcome)),
        )

    def _refused(self) -> None:
        self.renewals += 1

    def play(self, *script: WireAnswer | Exception, service: str = "ecs") -> None:
        """One call for each step."""
        transport = self.meter.watch(Scripted(*script), service)

        async def calls() -> None:
            for step in script:
                with contextlib.suppress(NotSent, Lost):
                    assert await transport.send("ListTasks", b"", date=lambda: 0.0) is step

        asyncio.run(calls())

    def scraped(self) -> str:
        return asyncio.run(self.metrics.render()).decode()


def test_calls_are_counted_by_operation_and_outcome() -> None:
    bench = Bench()
    bench.play(answer(200), answer(200), answer(400, "ThrottlingException"), Lost("x", signed_at=0))
    counted = bench.scraped()
    assert 'blox_calls_total{operation="ListTasks",outcome="ok"} 2.0' in counted
    assert 'blox_calls_total{operation="ListTasks",outcome="throttled"} 1.0' in counted
    assert 'blox_calls_total{operation="ListTasks",outcome="lost"} 1.0' in counted
    assert "blox_throttles_total 1.0" in counted


def test_a_call_that_nobody_waits_for_any_more_is_counted_too() -> None:
    bench = Bench()

    class Never(Scripted):
        async def send(self, *_: object, **__: object) -> WireAnswer:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

    async def give_up() -> None:
        transport = MeteredTransport(Never(), "ecs", bench.meter)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await transport.send("ListTasks", b"", date=lambda: 0.0)

    asyncio.run(give_up())
    assert 'outcome="given-up"} 1.0' in bench.scraped()


def test_missing_credentials_are_a_condition_until_a_call_is_accepted() -> None:
    bench = Bench()
    bench.play(NotSent("credentials", "none were found"))
    assert bench.meter.credentials == "none were found"
    bench.play(answer(500, "ServerException"))
    assert bench.meter.credentials is not None
    bench.play(answer(400, "AccessDeniedException"))
    assert bench.meter.credentials is None
    assert bench.renewals == 1


def test_the_test_of_the_fence_is_no_condition_but_a_wrong_secret_is() -> None:
    bench = Bench()
    refused = answer(400, "InvalidSignatureException")
    bench.play(answer(200), refused, refused, answer(200), refused, refused)
    assert bench.meter.credentials is None
    bench.play(refused)
    assert bench.meter.credentials is not None
    assert bench.renewals == 1


def test_a_service_that_cannot_be_reached_is_a_condition_of_its_own() -> None:
    bench = Bench()
    bench.play(NotSent("connect", "refused"))
    assert bench.meter.unreached == {}
    bench.play(Lost("reset", signed_at=0.0), service="sqs")
    bench.play(Lost("reset", signed_at=0.0))
    assert list(bench.meter.unreached) == ["ecs"]
    bench.play(answer(200), service="sqs")
    assert list(bench.meter.unreached) == ["ecs"]
    bench.play(answer(400, "ThrottlingException"))
    assert bench.meter.unreached == {}


def test_what_is_allowed_is_news_once_and_again_when_it_changes() -> None:
    bench = Bench()
    denied = answer(400, "AccessDeniedException")
    bench.play(answer(200), answer(200), denied, denied, answer(200))
    assert [outcome for _, outcome in bench.news] == [Outcome.OK, Outcome.DENIED, Outcome.OK]
    assert bench.meter.answered("ecs") == {"ListTasks": Outcome.OK}
    assert bench.meter.answered("sqs") == {}
