"""The way to a simulated ECS in process: `blox.ecs.port.Transport` under virtual time.

What was handed over travels on its own: cancelling the caller, or its death, recalls nothing. The
faults of `blox.simulator.faults` strike here.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from random import Random

from blox.base.ambient import Clock
from blox.ecs.port import Lost, NotSent, Permit, WireAnswer
from blox.simulator.faults import Answer, Fate, Faults, error_for, fate, mangled
from blox.simulator.live import LiveCloud
from blox.simulator.model import Fault, Json, SignatureCheck, Ticket

_CONNECT = 0.002
"""Seconds until a connection is up."""


@dataclass(slots=True)
class _Reply:
    """What reaches the caller."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True, kw_only=True)
class _Exchange:
    """One request on its way, whether or not somebody still waits for its answer."""

    operation: str
    body: bytes
    date: float
    fate: Fate
    reply: asyncio.Future[_Reply | None]
    """None: the connection broke."""


class SimTransport:
    """One client's connections to the simulated ECS.

    `faults`: None follows the cloud's, so that a world can heal all its clients at once. `timeout`:
    seconds after which the client gives up on an answer, measured from the first byte.
    """

    def __init__(
        self,
        live: LiveCloud,
        *,
        clock: Clock,
        random: Random,
        faults: Faults | None = None,
        timeout: float = 60.0,
        caller: str = "",
    ) -> None:
        self._live = live
        self._clock = clock
        self._random = random
        self._faults = faults
        self._timeout = timeout
        self._caller = caller
        self.partitioned = False
        """No request arrives and no answer comes while this is set."""

    async def send(
        self,
        operation: str,
        body: bytes,
        *,
        date: Callable[[], float],
        permit: Permit | None = None,
        fresh: bool = False,
    ) -> WireAnswer:
        """See `Transport.send`. Connections are not pooled, so `fresh` changes nothing: a broken
        one is among the faults."""
        await self._connect(fresh=fresh)
        signed_at = self._clock.monotonic()
        signed = date()
        decided = self._decide(operation, signed)
        if not decided.connects:
            raise NotSent("connect", "Connecting to the simulated ECS failed.")
        if decided.pauses:
            await asyncio.sleep(decided.pauses)
        refusal = permit() if permit is not None else None
        if refusal is not None:
            raise NotSent("permit", refusal)
        begun = self._clock.monotonic()
        reply = await self._exchange(operation, body, signed, decided, signed_at)
        return WireAnswer(
            status=reply.status,
            headers=reply.headers,
            body=reply.body,
            begun=begun,
            signed_at=signed_at,
        )

    async def close(self) -> None:
        """Nothing is held open; what travels arrives all the same."""

    async def _connect(self, *, fresh: bool) -> None:
        await asyncio.sleep(_CONNECT)
        if self.partitioned and (fresh or self._random.random() < 0.5):
            await asyncio.sleep(min(5.0, self._timeout))
            raise NotSent("connect", "Connecting to the simulated ECS timed out.")

    def _decide(self, operation: str, signed: float) -> Fate:
        cloud = self._live.cloud
        allowed = cloud.assumptions.signature_age
        if cloud.switches.signature is not SignatureCheck.ENFORCED:
            allowed *= 3.0
        return fate(
            self._random,
            cloud.faults if self._faults is None else self._faults,
            operation,
            life=signed + allowed - self._live.now(),
            lag=cloud.assumptions.acceptance_lag + cloud.switches.acceptance_overrun,
        )

    async def _exchange(
        self, operation: str, body: bytes, signed: float, decided: Fate, signed_at: float
    ) -> _Reply:
        loop = asyncio.get_running_loop()
        exchange = _Exchange(
            operation=operation,
            body=body,
            date=signed,
            fate=decided,
            reply=loop.create_future(),
        )
        if decided.arrives_after is None or self.partitioned:
            # A cut connection is noticed at once, a silent one only by the timeout.
            if not self.partitioned and decided.picks < 0.5:
                loop.call_later(decided.answers_after, self._break, exchange)
        else:
            loop.call_later(decided.arrives_after, self._arrive, exchange)
        try:
            async with asyncio.timeout(self._timeout):
                reply = await exchange.reply
        except TimeoutError:
            raise Lost(f"no answer within {self._timeout:g} s", signed_at=signed_at) from None
        if reply is None:
            raise Lost("the connection broke before the answer", signed_at=signed_at)
        return reply

    # --- What happens without the caller ----------------------------------------------------------

    def _arrive(self, exchange: _Exchange) -> None:
        decided, live = exchange.fate, self._live
        if decided.refused is not None:
            self._answer(exchange, self._error(Fault(*decided.refused)))
            return
        try:
            ticket = live.cloud.execute_later(
                exchange.operation,
                _members(exchange.body),
                now=live.now(),
                due=live.now() + decided.executes_after,
                signed_at=exchange.date,
                caller=self._caller,
            )
        except Fault as fault:
            live.settle()
            self._answer(exchange, self._error(fault, live.cloud.last_request_id()))
            return
        live.settle()
        if ticket.done:
            self._executed(exchange, ticket)
        else:
            loop = asyncio.get_running_loop()
            loop.call_later(decided.executes_after, self._await_execution, exchange, ticket)

    def _await_execution(self, exchange: _Exchange, ticket: Ticket) -> None:
        self._live.settle()
        if ticket.done:
            self._executed(exchange, ticket)
        else:
            asyncio.get_running_loop().call_at(
                ticket.due - self._live.epoch + 1e-6, self._await_execution, exchange, ticket
            )

    def _executed(self, exchange: _Exchange, ticket: Ticket) -> None:
        decided = exchange.fate
        try:
            answer = ticket.result()
        except Fault as fault:
            self._answer(exchange, self._error(fault, ticket.request_id))
            return
        if decided.answer is Answer.ERROR:
            self._answer(exchange, self._error(Fault(*error_for(decided)), ticket.request_id))
            return
        body = json.dumps(mangled(answer, decided)).encode()
        if decided.answer is Answer.GARBLED:
            body = body[: int(decided.picks * len(body))]
        anonymous = decided.answer is Answer.ANONYMOUS
        self._answer(
            exchange, _Reply(200, self._headers("" if anonymous else ticket.request_id), body)
        )

    def _answer(self, exchange: _Exchange, reply: _Reply) -> None:
        loop = asyncio.get_running_loop()
        if exchange.fate.answer is Answer.DROPPED:
            if exchange.fate.picks < 0.5:
                loop.call_later(exchange.fate.answers_after, self._break, exchange)
            return
        loop.call_later(exchange.fate.answers_after, self._deliver, exchange, reply)

    def _deliver(self, exchange: _Exchange, reply: _Reply | None) -> None:
        if not self.partitioned and not exchange.reply.done():
            exchange.reply.set_result(reply)

    def _break(self, exchange: _Exchange) -> None:
        self._deliver(exchange, None)

    def _error(self, fault: Fault, request_id: str = "") -> _Reply:
        body: Json = {"__type": f"com.amazonaws.ecs#{fault.code}", "message": fault.message}
        request_id = request_id or self._live.cloud.new_request_id()
        return _Reply(fault.status, self._headers(request_id), json.dumps(body).encode())

    def _headers(self, request_id: str) -> dict[str, str]:
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "date": formatdate(self._live.now(), usegmt=True),
        }
        if request_id:
            headers["x-amzn-requestid"] = request_id
        return headers


def _members(body: bytes) -> Json:
    try:
        members = json.loads(body)
    except ValueError:
        members = None
    if not isinstance(members, dict):
        raise Fault("SerializationException", "The body is not a JSON object.")
    return members
