"""The fence: ECS refuses old signatures, so a request that acts dies of age (R3).

StartTask and StopTask are dated back by B, so that they live only S' = S - B at ECS; reads carry
the present. Whether ECS really checks is tried before the first start: a read dated S + margin ago
must be refused. If it is not, one dated 3 S + margin ago decides between "S is really 3 S" (then B
grows by as much, and S' stays) and "nothing is checked" (then B is 0 and only waiting protects).
With S = 300 s the two are 310 s and 910 s old. ECS checks a signature before permissions, so access
denied shows that it was accepted.
"""

from dataclasses import replace
from enum import StrEnum
from typing import Final

from msgspec import Struct

from blox.ecs.errors import CREDENTIAL_CODES, SIGNATURE_CODES
from blox.ecs.outcomes import signature_passed
from blox.settings import Assumptions

TRUSTED_FOR: Final = 60.0
"""Seconds for which an accepted read vouches for the credentials that signed it."""
LONGER: Final = 3
"""How many times S is tried next: AWS documents 5 minutes for most services, 15 for some."""


class Finding(StrEnum):
    """What the probe found out about ECS's check of a signature's age."""

    STANDS = "stands"
    """S holds."""
    LONGER = "longer"
    """S is three times what was assumed; B has grown by as much."""
    OFF = "off"
    """This endpoint checks no dates."""
    UNANSWERED = "unanswered"
    """Nothing was learned; ask again. No starts meanwhile."""


class ProbeResult(Struct, frozen=True, kw_only=True):
    """The finding, the assumptions in force from now on, and a sentence for people."""

    finding: Finding
    assumptions: Assumptions
    sentence: str


def acting_date(now: float, limits: Assumptions) -> float:
    """The date in the signature of a StartTask or StopTask; `now` is ECS's time."""
    return now - limits.dated_back


def probe_ages(limits: Assumptions) -> tuple[float, float]:
    """How old the probe's two signatures are, in seconds: a little more than S, and than 3 S."""
    margin = limits.signature_age / 30
    return limits.signature_age + margin, LONGER * limits.signature_age + margin


def longer_age(limits: Assumptions) -> Assumptions:
    """With S three times as long and the same life of an acting request, hence the same W."""
    age = LONGER * limits.signature_age
    return replace(limits, signature_age=age, backdate=age - limits.request_life)


def fence_off(limits: Assumptions) -> Assumptions:
    """Where no dates are checked: three times S as the longest life of a lost request."""
    return replace(limits, signature_age=LONGER * limits.signature_age, backdate=0.0)


def backdating_off(limits: Assumptions) -> Assumptions:
    """Where ECS refuses what is dated back: S' = S, and W grows."""
    return replace(limits, backdate=0.0)


def refused_for_age(
    code: str, status: int, *, age: float, arrived_at_age: float, limits: Assumptions
) -> bool | None:
    """Whether an answer to a probe shows that a signature `age` seconds old is refused.

    None when it shows nothing: throttled, an error of ECS's own, or delayed so much
    (`arrived_at_age`) that the refusal may be for a greater age. `code` is "" for HTTP 200.
    """
    if not code:
        return False
    if code not in SIGNATURE_CODES:
        return False if signature_passed(code, status) else None
    return None if arrived_at_age > age + limits.signature_age / 2 else True


def backdating_refuted(
    code: str, *, age: float, vouched_ago: float | None, limits: Assumptions
) -> bool:
    """Whether the refusal of an act shows that ECS takes these credentials, but not dated back.

    `vouched_ago`: seconds since a read with the same credentials was accepted, None if none was.
    `age`: of the signature when it was refused. One that had become too old (this process was
    paused between signing and sending) is the fence at work, and refutes nothing.
    """
    if limits.dated_back == 0 or vouched_ago is None or vouched_ago > TRUSTED_FOR:
        return False
    if code in SIGNATURE_CODES:
        return age <= limits.dated_back + limits.request_life / 2
    # An expired token is expired, whatever the date: that is no word against back-dating.
    return code in CREDENTIAL_CODES and not code.startswith("ExpiredToken")
