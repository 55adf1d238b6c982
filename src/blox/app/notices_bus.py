"""Notices to an event bus of EventBridge: one PutEvents each.

https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from blox.app.notices_bodies import SOURCE, Parcel
from blox.app.notices_send import Outcome, Tried
from blox.ecs.errors import CREDENTIAL_CODES, DENIED_CODES, SIGNATURE_CODES, THROTTLE_CODES
from blox.ecs.port import Lost, NotSent, Transport
from blox.ecs.wire import error_of

TIMEOUT: Final = 15.0
"""Seconds for one call."""
_AGAIN: Final = frozenset(
    {
        *THROTTLE_CODES,
        *DENIED_CODES,
        *CREDENTIAL_CODES,
        *SIGNATURE_CODES,
        "InternalFailure",
        "InternalException",
        "ResourceNotFoundException",
    }
)
"""Codes that say nothing against the notice. AWS calls a denial final; here it is a policy, or a
bus, that a person is about to mend, and the notices wait for it.
https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html"""


class _Shape(Struct, frozen=True, kw_only=True, rename="pascal"):
    """Base of EventBridge's JSON: PascalCase names."""


class _Entry(_Shape, frozen=True):
    time: int
    source: str
    detail_type: str
    detail: str
    resources: tuple[str, ...]
    event_bus_name: str


class _Request(_Shape, frozen=True):
    entries: tuple[_Entry, ...]


class _Put(_Shape, frozen=True):
    error_code: str | None = None
    error_message: str | None = None


class _Answer(_Shape, frozen=True):
    failed_entry_count: int = 0
    entries: tuple[_Put, ...] = ()


class Bus:
    """One event bus that is told."""

    def __init__(
        self, bus: str, transport: Transport, *, now: Callable[[], float], timeout: float = TIMEOUT
    ) -> None:
        """`bus`: its name or ARN. `now`: the time to sign with. `timeout`: seconds."""
        self._bus = bus
        self._transport = transport
        self._now = now
        self._timeout = timeout

    @property
    def label(self) -> str:
        """Its name for people."""
        return f"bus {self._bus.rsplit('/', 1)[-1]}"

    async def send(self, parcel: Parcel) -> Tried:
        """One call; whatever is not the notice's own fault is tried again."""
        entry = _Entry(
            time=int(parcel.at),
            source=SOURCE,
            detail_type=parcel.detail_type,
            detail=parcel.body.decode(),
            resources=parcel.resources,
            event_bus_name=self._bus,
        )
        body = msgspec.json.encode(_Request(entries=(entry,)))
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._transport.send("PutEvents", body, date=self._now)
        except TimeoutError:
            return Tried(Outcome.AGAIN, f"no answer within {self._timeout:g} s")
        except (NotSent, Lost) as error:
            return Tried(Outcome.AGAIN, error.cause)
        return _judged(answer.status, answer.body)

    async def close(self) -> None:
        """The transport belongs to whoever made it."""


def _judged(status: int, body: bytes) -> Tried:
    if status != 200:
        error = error_of(status, body)
        why = f"{error.code}: {error.message}"
        again = error.code in _AGAIN or status in (408, 429) or status >= 500
        return Tried(Outcome.AGAIN if again else Outcome.REFUSED, why)
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return Tried(Outcome.AGAIN, "an answer that is not EventBridge's")
    if not answer.failed_entry_count:
        return Tried(Outcome.SENT)
    put = answer.entries[0] if answer.entries else _Put()
    code = put.error_code or "InternalFailure"
    why = f"{code}: {put.error_message or ''}"
    # A bus that is not there makes the argument that names it invalid.
    again = code in _AGAIN or "EventBusName" in why
    return Tried(Outcome.AGAIN if again else Outcome.REFUSED, why)
