"""ECS's JSON as it stands: any operation with any members, each call kept as evidence.

`blox.ecs.client` asks only what the scheduler needs and only in the right form; here odd questions
are put on purpose. An error answer is a value like any other.

Calls are a tenth of a second apart, so that they do not weigh on the account's request quotas:
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from blox.account.verify.report import CallRecord
from blox.base.ambient import Clock
from blox.base.errors import BloxError, Unavailable
from blox.ecs.ecsclock import EcsTime, observe, parse_date
from blox.ecs.errors import SIGNATURE_CODES, THROTTLE_CODES
from blox.ecs.port import Lost, NotSent, Transport, WireAnswer
from blox.ecs.wire import error_of

Json = dict[str, Any]

APART: Final = 0.1
"""Seconds from one call to the next."""
TIMEOUT: Final = 30.0
"""Seconds until a call without an answer is given up."""
ONCE: Final = frozenset({"StartTask", "RunTask", "RegisterTaskDefinition"})
"""Never asked again when it may have happened."""
_PAUSES: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds before a call is made again that was throttled or got no answer."""


class NoAnswer(Unavailable):
    """A call got no answer. `happened`: whether it may have been carried out all the same."""

    def __init__(self, operation: str, cause: str, *, happened: bool) -> None:
        what = "got no answer" if happened else "could not be sent"
        super().__init__(f"{operation} {what}: {cause}.")
        self.operation = operation
        self.happened = happened


class CannotAsk(BloxError):
    """A question cannot be put, or its answer would mean nothing; the message says why."""


class Answer(Struct, frozen=True, kw_only=True):
    """What ECS said to one call."""

    operation: str
    status: int
    code: str
    """"" when it was served."""
    message: str
    body: Json
    raw: bytes
    request_id: str
    date: float | None
    """ECS's clock: the Date header."""
    sent: float
    """ECS's clock when it was sent, as far as we know it."""
    begun: float
    """Our monotonic clock just before the first byte left."""
    received: float
    """Our monotonic clock when the answer was there."""

    @property
    def served(self) -> bool:
        return not self.code

    @property
    def uncertain(self) -> bool:
        """Whether a call that acts may have been carried out although this is no success."""
        unread = self.status == 200 and bool(self.code)
        return unread or self.status >= 500 or self.status == 408

    @property
    def words(self) -> str:
        """The outcome in a few words."""
        return "served" if self.served else f"{self.code} (HTTP {self.status}): {self.message}"


def served(answer: Answer) -> Answer:
    """The answer, of what must be served. Raises CannotAsk."""
    if not answer.served:
        raise CannotAsk(f"{answer.operation} was refused: {answer.words}")
    return answer


class RawEcs:
    """One cluster's ECS, by hand."""

    def __init__(
        self, transport: Transport, *, cluster: str, clock: Clock, apart: float = APART
    ) -> None:
        """`cluster`: its name or ARN, put into every call that takes one. `apart`: seconds from
        one call to the next."""
        self.cluster = cluster
        self.log: list[CallRecord] = []
        """Every call, in order."""
        self._transport = transport
        self._clock = clock
        self._time = EcsTime()
        self._next = 0.0
        self._apart = apart

    def monotonic(self) -> float:
        """Our own clock, in seconds."""
        return self._clock.monotonic()

    def now(self) -> float:
        """ECS's clock as far as we know it: a lower bound once it has answered."""
        return self._time.at(self._clock.monotonic(), wall=self._clock.wall())

    async def call(
        self,
        operation: str,
        members: Mapping[str, object],
        *,
        dated_back: float = 0.0,
        once: bool = False,
    ) -> Answer:
        """Ask, in this cluster, with these members. Throttled calls are made again, and so are
        those that can do no harm twice; not those of ONCE, and none with `once`.

        Raises NoAnswer.
        """
        attempt = 0
        once = once or operation in ONCE
        while True:
            pause = _PAUSES[attempt] if attempt < len(_PAUSES) else None
            attempt += 1
            try:
                answer = await self._once(operation, members, dated_back)
            except NoAnswer as error:
                if pause is None or (once and error.happened):
                    raise
            else:
                again = answer.code in THROTTLE_CODES
                again = again or (answer.uncertain and not once)
                if not again or pause is None:
                    return answer
            await asyncio.sleep(pause)

    async def ask(self, operation: str, members: Mapping[str, object]) -> Answer:
        """Likewise, for what must be served. Raises NoAnswer, CannotAsk."""
        return served(await self.call(operation, members))

    async def every(self, operation: str, members: Mapping[str, object], name: str) -> list[str]:
        """All pages of a listing: the strings in the member `name`. Raises NoAnswer, CannotAsk."""
        found: list[str] = []
        asked = dict(members)
        while True:
            answer = await self.ask(operation, asked)
            found += texts(answer.body, name)
            token = text(answer.body, "nextToken")
            if not token:
                return found
            asked["nextToken"] = token

    async def _once(
        self, operation: str, members: Mapping[str, object], dated_back: float
    ) -> Answer:
        known = self._time.known
        answer = await self._send(operation, members, dated_back)
        if not known and answer.code in SIGNATURE_CODES and not dated_back and self._time.known:
            # This machine's clock is wrong; the refusal told the right time.
            answer = await self._send(operation, members, dated_back)
        return answer

    async def _send(
        self, operation: str, members: Mapping[str, object], dated_back: float
    ) -> Answer:
        await self._turn()
        whole = {**({"cluster": self.cluster} if _in_cluster(operation) else {}), **members}
        body = msgspec.json.encode(whole)
        sent = self.now()
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await self._transport.send(
                    operation, body, date=lambda: self.now() - dated_back, fresh=operation in ONCE
                )
        except NotSent as error:
            self._note(operation, 0, error.code, error.cause, dated_back=dated_back)
            raise NoAnswer(operation, error.cause, happened=False) from error
        except (Lost, TimeoutError) as error:
            cause = error.cause if isinstance(error, Lost) else f"none within {TIMEOUT:g} s"
            self._note(operation, 0, "", cause, dated_back=dated_back)
            raise NoAnswer(operation, cause, happened=True) from error
        return self._read(operation, answer, sent=sent, dated_back=dated_back)

    async def _turn(self) -> None:
        now = self._clock.monotonic()
        at = max(now, self._next)
        self._next = at + self._apart
        if at > now:
            await asyncio.sleep(at - now)

    def _read(
        self, operation: str, answer: WireAnswer, *, sent: float, dated_back: float
    ) -> Answer:
        received = self._clock.monotonic()
        header = answer.headers.get("date", "")
        date = parse_date(header)
        if date is not None:
            seen = observe(self._time, date, received=received, wall=self._clock.wall())
            self._time = seen.time
        code, message, body = "", "", {}
        if answer.status == 200:
            try:
                decoded = msgspec.json.decode(answer.body)
            except (ValueError, RecursionError) as error:
                code, message = "unreadable", f"the answer is not JSON: {error}"
            else:
                body = decoded if isinstance(decoded, dict) else {}
        else:
            code, message, _ = error_of(answer.status, answer.body)
        request_id = answer.headers.get("x-amzn-requestid", "")
        if not code and not request_id:
            code, message = "unidentified", "the answer lacks ECS's request id"
        self._note(
            operation,
            answer.status,
            code,
            message,
            request_id=request_id,
            date=header,
            dated_back=dated_back,
        )
        return Answer(
            operation=operation,
            status=answer.status,
            code=code,
            message=message,
            body=body,
            raw=answer.body,
            request_id=request_id,
            date=date,
            sent=sent,
            begun=answer.begun,
            received=received,
        )

    def _note(
        self,
        operation: str,
        status: int,
        code: str,
        message: str,
        *,
        request_id: str = "",
        date: str = "",
        dated_back: float = 0.0,
    ) -> None:
        self.log.append(
            CallRecord(
                operation=operation,
                status=status,
                code=code,
                message=message,
                request_id=request_id,
                date=date,
                dated_back=dated_back,
            )
        )


def _in_cluster(operation: str) -> bool:
    return not (
        "TaskDefinition" in operation
        or operation in ("DescribeClusters", "DescribeCapacityProviders")
    )


# --- Reading JSON ---------------------------------------------------------------------------------


def text(value: Json, name: str) -> str:
    """A member that is text, "" when it is not there."""
    found = value.get(name)
    return found if isinstance(found, str) else ""


def texts(value: Json, name: str) -> list[str]:
    """A member that is a list of texts."""
    found = value.get(name)
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def objects(value: Json, name: str) -> list[Json]:
    """A member that is a list of objects."""
    found = value.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def number(value: Json, name: str) -> float | None:
    """A member that is a number (times are, in seconds since 1970-01-01 UTC)."""
    found = value.get(name)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None
