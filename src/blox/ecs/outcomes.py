"""What an HTTP answer of ECS, or its absence, means for the call that it answers.

Acts (R2): an act is *not done* only when ECS itself says so, by a code that means it and with its
request id, or when nothing of the request has left. Everything else is in doubt: answers of
proxies, bodies that cannot be read, redirects, 5xx.
"""

from typing import Final, TypeVar

from blox.ecs import wire
from blox.ecs.errors import (
    CREDENTIAL_CODES,
    SIGNATURE_CODES,
    THROTTLE_CODES,
    EcsRefused,
    EcsSilent,
    Meaning,
    meaning_of,
)
from blox.ecs.model import Failure
from blox.ecs.port import InDoubt, NotDone, Read, WireAnswer

REQUEST_ID: Final = "x-amzn-requestid"

T = TypeVar("T")


def act_refusal(answer: WireAnswer) -> NotDone | InDoubt:
    """What an answer to an act means that is not ECS's acceptance."""
    request_id = request_id_of(answer)
    error = wire.error_of(answer.status, answer.body)
    meaning = Meaning.IN_DOUBT
    # Whatever it says, an answer without ECS's request id may be a proxy's, after it passed the
    # request on.
    if answer.status >= 400 and error.understood and request_id:
        meaning = meaning_of(error.code, answer.status, error.message, request_id=request_id)
    if meaning is Meaning.IN_DOUBT:
        why = "" if request_id else ", without a request id of ECS"
        return InDoubt(
            cause=f"HTTP {answer.status} {error.code}: {error.message}{why}",
            signed_at=answer.signed_at,
            request_id=request_id,
        )
    return NotDone(
        meaning=meaning,
        code=error.code,
        message=error.message,
        request_id=request_id,
        throttled=error.code in THROTTLE_CODES,
    )


def read_refusal(operation: str, answer: WireAnswer) -> EcsRefused | EcsSilent:
    """What to raise for a read whose answer is not HTTP 200."""
    error = wire.error_of(answer.status, answer.body)
    request_id = request_id_of(answer)
    if not error.understood or answer.status < 400:
        return EcsSilent(operation, f"HTTP {answer.status} {error.message}, not an answer of ECS")
    return EcsRefused(operation, error.code, error.message, answer.status, request_id)


def signature_passed(code: str, status: int) -> bool:
    """Whether an error shows that ECS had accepted the signature before it refused."""
    if status >= 500 or status == 408:
        return False
    return code not in SIGNATURE_CODES | CREDENTIAL_CODES | THROTTLE_CODES


def request_id_of(answer: WireAnswer) -> str:
    """ECS's id of the request, by which CloudTrail knows it; "" when the answer has none."""
    return answer.headers.get(REQUEST_ID, "")


def not_sent(code: str, cause: str) -> NotDone:
    """Nothing has left; `code` says why, as in `blox.ecs.port.NotSent`, or is `clock`."""
    return NotDone(meaning=Meaning.DID_NOT_HAPPEN, code=code, message=cause)


def unreadable(answer: WireAnswer, error: wire.Unreadable) -> InDoubt:
    """ECS accepted an act, but not in words that can be read."""
    return InDoubt(
        cause=f"the answer is unreadable: {error}",
        signed_at=answer.signed_at,
        request_id=request_id_of(answer),
    )


def page(
    answer: WireAnswer,
    items: tuple[T, ...],
    failures: tuple[Failure, ...] = (),
    *,
    next_token: str | None = None,
) -> Read[T]:
    """One page of an answered read. An empty token is none."""
    return Read(
        begun=answer.begun,
        items=items,
        failures=failures,
        next_token=next_token or None,
        request_id=request_id_of(answer),
    )
