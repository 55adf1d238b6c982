"""How old, or how far in the future, a signature may be when a call reaches the simulated ECS."""

from datetime import UTC, datetime
from typing import Final

from blox.simulator.model import Fault, SignatureCheck
from blox.simulator.state import State

_BACKDATED: Final = 60.0
"""Seconds: how old a mutation's signature may be where `backdated_refused` is on."""


def check_signature(state: State, signed_at: float | None, *, acts: bool) -> None:
    """Raises Fault when ECS would not take a signature of this date now. `acts`: the call starts or
    stops tasks. None: not checked."""
    if signed_at is None or state.switches.signature is SignatureCheck.OFF:
        return
    tripled = state.switches.signature is SignatureCheck.TRIPLED
    allowed = state.assumptions.signature_age * (3.0 if tripled else 1.0)
    age = state.now - signed_at
    if age > allowed:
        raise _badly_signed("expired", "earlier", signed_at, state.now, -allowed)
    if age < -allowed:
        raise _badly_signed("not yet current", "later", signed_at, state.now, allowed)
    if acts and age > _BACKDATED and state.switches.backdated_refused:
        raise Fault(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        )


def _badly_signed(what: str, than: str, signed_at: float, now: float, allowed: float) -> Fault:
    """ECS's words for a signature's age (https://github.com/fabfuel/ecs-deploy/issues/126)."""
    minutes = f"{'+' if allowed > 0 else '-'} {abs(allowed) / 60:g} min."
    signed, limit, here = _basic(signed_at), _basic(now + allowed), _basic(now)
    still = "is now" if than == "earlier" else "is still"
    return Fault(
        "InvalidSignatureException",
        f"Signature {what}: {signed} {still} {than} than {limit} ({here} {minutes})",
    )


def _basic(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y%m%dT%H%M%SZ")
