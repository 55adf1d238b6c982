"""What every call to AWS came to: counted for metrics, and remembered where it is a condition.

It sits between the clients and their transports, so that nothing is sent that is not counted.
"""

import asyncio
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

import structlog

from blox.ecs.errors import CREDENTIAL_CODES, DENIED_CODES, SIGNATURE_CODES, THROTTLE_CODES
from blox.ecs.port import Lost, NotSent, Permit, Transport, WireAnswer
from blox.ecs.wire import error_of
from blox.http.counted import Counted

REFUSED_RUNNING: Final = 3
"""So many signatures refused without one accepted in between are no test of ours any more: the
fence is tried with two at most."""
UNREACHED_RUNNING: Final = 2
"""One lost connection is nothing to tell."""

_log = structlog.get_logger("blox.aws")


class Outcome(StrEnum):
    """How a call ended, in few words: a metric's label."""

    OK = "ok"
    THROTTLED = "throttled"
    DENIED = "denied"
    CREDENTIALS = "credentials"
    """Missing, expired or wrong."""
    SIGNATURE = "signature"
    """Refused for its signature or date; the test of the fence is meant to be."""
    REFUSED = "refused"
    FAILED = "failed"
    """5xx, or an answer that is not AWS's."""
    LOST = "lost"
    """It left, and no whole answer came."""
    UNSENT = "unsent"
    """It never left: no connection."""
    WITHHELD = "withheld"
    """It never left: this process may not act."""
    GIVEN_UP = "given-up"
    """Nobody waited for its answer any more: a timeout, or this process stops."""


_UNREACHED = (Outcome.LOST, Outcome.UNSENT)


class CallMeter:
    """Told of each call's end by the transports that it watches."""

    def __init__(
        self,
        metrics: Counted,
        *,
        credentials_refused: Callable[[], None] = lambda: None,
        news: Callable[[str, str, Outcome, str], None] = lambda *_: None,
    ) -> None:
        """`credentials_refused()`: AWS does not take what we sign with. `news(service, operation,
        outcome, text)`: the first time that an operation was answered, or denied, and each time
        that this changes."""
        self._metrics = metrics
        self._credentials_refused = credentials_refused
        self._news = news
        self._known: dict[tuple[str, str], Outcome] = {}
        self._running: dict[str, int] = {}
        """Service → calls running that did not reach it."""
        self._signatures = 0
        self.credentials: str | None = None
        """Why AWS does not accept us; None while it does, or was not asked."""
        self.unreached: dict[str, str] = {}
        """Service → why it cannot be reached."""

    def watch(self, transport: Transport, service: str) -> "MeteredTransport":
        """The same transport, counted."""
        return MeteredTransport(transport, service, self)

    def answered(self, service: str) -> Mapping[str, Outcome]:
        """Operation → OK or DENIED, for every one that was tried and answered so."""
        return {name: known for (of, name), known in self._known.items() if of == service}

    def ended(self, service: str, operation: str, outcome: Outcome, text: str = "") -> None:
        """A call ended."""
        self._metrics.called(operation, outcome.value)
        if outcome is Outcome.THROTTLED:
            self._metrics.throttled()
        self._judge_credentials(outcome, text)
        self._judge_reach(service, outcome, text)
        key = (service, operation)
        if outcome in (Outcome.OK, Outcome.DENIED) and self._known.get(key) is not outcome:
            self._known[key] = outcome
            self._news(service, operation, outcome, text)

    def _judge_credentials(self, outcome: Outcome, text: str) -> None:
        if outcome in (Outcome.OK, Outcome.DENIED):
            self._signatures = 0
            if self.credentials is not None:
                _log.info("the AWS credentials are accepted again")
            self.credentials = None
            return
        if outcome is Outcome.SIGNATURE:
            self._signatures += 1
            if self._signatures < REFUSED_RUNNING:
                return
        elif outcome is not Outcome.CREDENTIALS:
            return
        self._credentials_refused()
        if self.credentials != text:
            _log.warning("AWS does not accept us", problem=text)
            self.credentials = text

    def _judge_reach(self, service: str, outcome: Outcome, text: str) -> None:
        if outcome not in _UNREACHED:
            if outcome not in (Outcome.CREDENTIALS, Outcome.WITHHELD, Outcome.GIVEN_UP):
                self._running.pop(service, None)
                if self.unreached.pop(service, None) is not None:
                    _log.info("AWS answers again", service=service)
            return
        self._running[service] = self._running.get(service, 0) + 1
        if self._running[service] < UNREACHED_RUNNING:
            return
        if service not in self.unreached:
            _log.warning("AWS does not answer", service=service, problem=text)
            self.unreached[service] = text


class MeteredTransport:
    """A `Transport` whose calls are told to a meter."""

    def __init__(self, transport: Transport, service: str, meter: CallMeter) -> None:
        self._transport = transport
        self._service = service
        self._meter = meter

    async def send(
        self,
        operation: str,
        body: bytes,
        *,
        date: Callable[[], float],
        permit: Permit | None = None,
        fresh: bool = False,
    ) -> WireAnswer:
        try:
            answer = await self._transport.send(
                operation, body, date=date, permit=permit, fresh=fresh
            )
        except NotSent as error:
            outcome = {"credentials": Outcome.CREDENTIALS, "permit": Outcome.WITHHELD}.get(
                error.code, Outcome.UNSENT
            )
            self._meter.ended(self._service, operation, outcome, error.cause)
            raise
        except Lost as error:
            self._meter.ended(self._service, operation, Outcome.LOST, error.cause)
            raise
        except asyncio.CancelledError:
            self._meter.ended(self._service, operation, Outcome.GIVEN_UP)
            raise
        outcome, text = outcome_of(answer)
        self._meter.ended(self._service, operation, outcome, text)
        return answer

    async def close(self) -> None:
        await self._transport.close()


def outcome_of(answer: WireAnswer) -> tuple[Outcome, str]:
    """What an answer amounts to, and its error in words."""
    if answer.status == 200:
        return Outcome.OK, ""
    error = error_of(answer.status, answer.body)
    text = f"{error.code}: {error.message}"
    for codes, outcome in (
        (THROTTLE_CODES, Outcome.THROTTLED),
        (DENIED_CODES, Outcome.DENIED),
        (CREDENTIAL_CODES, Outcome.CREDENTIALS),
        (SIGNATURE_CODES, Outcome.SIGNATURE),
    ):
        if error.code in codes:
            return outcome, text
    if answer.status >= 500 or not error.understood:
        return Outcome.FAILED, text
    return Outcome.REFUSED, text
