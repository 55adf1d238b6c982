"""One call to whatever brings ECS's events, and its failures in words.

SQS and Kinesis speak AWS JSON over the same transport as ECS; whatever goes wrong is for the
operator: what happened, to which queue or stream, what to do.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from blox.clusterstate.source import QueueUnavailable
from blox.ecs.errors import CREDENTIAL_CODES, SIGNATURE_CODES
from blox.ecs.port import Lost, NotSent, Transport
from blox.ecs.wire import error_of

MEANWHILE: Final = "Until then clusters are known by sweeps alone."

A = TypeVar("A", bound=Struct)


class QueueCalls:
    """Calls about one queue or stream."""

    def __init__(
        self,
        kind: Literal["queue", "stream"],
        name: str,
        transport: Transport,
        *,
        now: Callable[[], float],
        refusal: Callable[[str, str, str], QueueUnavailable | None],
    ) -> None:
        """`now`: the time to sign with, seconds since 1970-01-01 UTC. `refusal(code, message,
        told)`: what an error of the service's own is; `told`: the sentence that says it plainly.
        None where nothing particular is known of the code."""
        self._what = f"{kind} {name}"
        self._transport = transport
        self._now = now
        self._refusal = refusal

    async def __call__(self, operation: str, asked: Mapping[str, object], form: type[A]) -> A:
        """Ask once; the answer as `form`. Raises QueueUnavailable."""
        body = msgspec.json.encode(asked)
        try:
            answer = await self._transport.send(operation, body, date=self._now)
        except NotSent as error:
            raise QueueUnavailable(
                f"The {self._what} cannot be reached ({operation}, {error.code}): "
                f"{error.cause}. {MEANWHILE}"
            ) from error
        except Lost as error:
            raise QueueUnavailable(
                f"The {self._what} did not answer {operation}: {error.cause}. {MEANWHILE}"
            ) from error
        if answer.status != 200:
            raise self._refused(operation, answer.status, answer.body)
        try:
            return msgspec.json.decode(answer.body, type=form)
        except ValueError as error:
            raise QueueUnavailable(
                f"The {self._what} answered {operation} with something that cannot be read: "
                f"{error}. {MEANWHILE}"
            ) from error

    def _refused(self, operation: str, status: int, body: bytes) -> QueueUnavailable:
        code, message, _ = error_of(status, body)
        told = f"The {self._what} refused {operation}: {code}: {message} {MEANWHILE}"
        known = self._refusal(code, message, told)
        if known is not None:
            return known
        if code in CREDENTIAL_CODES or code in SIGNATURE_CODES:
            return QueueUnavailable(
                f"The credentials do not open the {self._what} ({code}): {message} Renew "
                f"them. {MEANWHILE}"
            )
        return QueueUnavailable(told)
