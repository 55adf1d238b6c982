"""Asking a service of AWS something, once, and turning every way of failing into a Trouble.

Nothing here raises for what AWS or the network does: a doctor reports it and goes on.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from blox.account.doctor.facts import Trouble
from blox.ecs.errors import DENIED_CODES, THROTTLE_CODES
from blox.ecs.port import Lost, NotSent, Transport, WireAnswer
from blox.ecs.wire import Unreadable, decode, error_of

A = TypeVar("A", bound=Struct)

PATIENCE: Final = 15.0
"""Seconds that one answer may take."""
WAITS: Final = (0.5, 1.0, 2.0)
"""Seconds before a throttled question is asked again."""

Now = Callable[[], float]


async def sent(
    transport: Transport, action: str, body: bytes, *, now: Now, operation: str | None = None
) -> WireAnswer | Trouble:
    """Send it, and again while it is throttled. `action` as IAM names it; its operation goes by
    the same name unless `operation` says otherwise. `now`: the time to sign with."""
    name = operation or action.partition(":")[2]
    for wait in (*WAITS, None):
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await transport.send(name, body, date=now)
        except NotSent as error:
            return Trouble(action=action, sentence=f"{action} could not be sent: {error.cause}")
        except Lost as error:
            return Trouble(action=action, sentence=f"{action} got no answer: {error.cause}")
        except TimeoutError:
            return Trouble(action=action, sentence=f"{action} got no answer within {PATIENCE:g} s")
        if wait is None or not _throttled(answer):
            return answer
        await asyncio.sleep(wait)
    raise AssertionError("the last wait is None")


def _throttled(answer: WireAnswer) -> bool:
    if answer.status < 400:
        return False
    code = error_of(answer.status, answer.body).code
    return code in THROTTLE_CODES or b"<Code>Throttling</Code>" in answer.body


async def asked(
    transport: Transport,
    action: str,
    question: Mapping[str, object],
    form: type[A],
    *,
    now: Now,
) -> A | Trouble:
    """What a JSON service answers."""
    answer = await sent(transport, action, msgspec.json.encode(question), now=now)
    if isinstance(answer, Trouble):
        return answer
    if answer.status != 200:
        error = error_of(answer.status, answer.body)
        return refused(action, error.code, error.message)
    try:
        return decode(answer.body, form)
    except Unreadable as problem:
        return Trouble(action=action, sentence=f"the answer to {action} cannot be read: {problem}")


def refused(action: str, code: str, message: str) -> Trouble:
    """An error that the service answered with."""
    denied = code in DENIED_CODES
    if denied:
        sentence = f"{action} is denied: {why_denied(message)}"
    else:
        sentence = f"{action}: {code}: {message}" if message else f"{action}: {code}"
    return Trouble(action=action, sentence=sentence, code=code, denied=denied)


def why_denied(message: str) -> str:
    """The reason in the text of an AccessDenied, without whom and what it was denied.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html"""
    reason = message.partition(" because ")[2] or message.partition(" with an ")[2]
    return reason.strip().rstrip(".") or message.strip().rstrip(".") or "AWS says no more"
