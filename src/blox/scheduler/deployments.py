"""A deployment's life, and the clock of its deadline. All transitions are in the table below.

    pending ──first primed pass──▶ running ──every wanted host current──▶ completed
       │                              ├──no progress for the deadline──▶ failed
       └──────── superseded, stopped ─┴─(also from completed and failed)

`completed` and `failed` never go back: what happens later is the environment's health, not the
deployment's.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from blox.base.errors import Conflict
from blox.scheduler.board import Tally
from blox.scheduler.model import (
    WANTED,
    Deployment,
    DeploymentStatus,
    FailureCause,
    SlotClass,
)
from blox.scheduler.reasons import sentence
from blox.scheduler.verdicts import Verdict


class Happening(StrEnum):
    """What may happen to a deployment."""

    PRIMED = "primed"
    ALL_CURRENT = "all current"
    DEADLINE = "deadline"
    SUPERSEDED = "superseded"
    STOPPED = "stopped"


_S, _H = DeploymentStatus, Happening
TRANSITIONS: Final[Mapping[tuple[DeploymentStatus, Happening], DeploymentStatus]] = {
    (_S.PENDING, _H.PRIMED): _S.RUNNING,
    (_S.PENDING, _H.SUPERSEDED): _S.SUPERSEDED,
    (_S.PENDING, _H.STOPPED): _S.STOPPED,
    (_S.RUNNING, _H.ALL_CURRENT): _S.COMPLETED,
    (_S.RUNNING, _H.DEADLINE): _S.FAILED,
    (_S.RUNNING, _H.SUPERSEDED): _S.SUPERSEDED,
    (_S.RUNNING, _H.STOPPED): _S.STOPPED,
    (_S.COMPLETED, _H.SUPERSEDED): _S.SUPERSEDED,
    (_S.FAILED, _H.SUPERSEDED): _S.SUPERSEDED,
}


class InvalidTransition(Conflict):
    """A deployment cannot do that from where it is."""


def advance(
    deployment: Deployment,
    happening: Happening,
    *,
    ecs_now: float,
    reused: int | None = None,
    causes: tuple[FailureCause, ...] = (),
) -> Deployment:
    """The deployment after `happening`. Raises InvalidTransition and changes nothing otherwise."""
    status = TRANSITIONS.get((deployment.status, happening))
    if status is None:
        raise InvalidTransition(
            f"deployment {deployment.id} is {deployment.status}; {happening} is not possible then"
        )
    finished = status is not DeploymentStatus.RUNNING
    return replace(
        deployment,
        status=status,
        completed_once=deployment.completed_once or status is DeploymentStatus.COMPLETED,
        reused=deployment.reused if reused is None else reused,
        started_at=ecs_now if happening is Happening.PRIMED else deployment.started_at,
        finished_at=(deployment.finished_at or ecs_now) if finished else None,
        causes=causes or deployment.causes,
    )


def v1_status(deployment: Deployment) -> str:
    """0.3's three words. A failed deployment is still `running` there: it never completed."""
    if deployment.status is DeploymentStatus.PENDING:
        return "pending"
    return "completed" if deployment.completed_once else "running"


class Progress(Struct, frozen=True, kw_only=True):
    """The deadline's clock: it runs only while nothing excuses the lack of progress."""

    moves: int
    """`Board.moves` when there was progress last."""
    at: float
    """Monotonic, of the last reading."""
    used: float = 0.0
    """Seconds without progress and without excuse."""


def tick(progress: Progress, *, moves: int, excused: bool, now: float) -> Progress:
    """The clock at `now`. `excused`: since the last reading a slot was in doubt, the domain
    throttled, the breaker open, or reads failed."""
    if moves != progress.moves:
        return Progress(moves=moves, at=now)
    used = progress.used if excused else progress.used + (now - progress.at)
    return Progress(moves=moves, at=now, used=used)


def next_happening(
    deployment: Deployment, tally: Tally, progress: Progress, *, deadline: float, hopeless: bool
) -> Happening | None:
    """What a pass over a primed view makes of the deployment. `hopeless`: some host was in doubt
    three times running."""
    if deployment.status is DeploymentStatus.PENDING:
        return Happening.PRIMED
    if deployment.status is not DeploymentStatus.RUNNING:
        return None
    if tally.current == tally.wanted:
        return Happening.ALL_CURRENT
    if progress.used > deadline or hopeless:
        return Happening.DEADLINE
    return None


def causes_of(verdicts: Mapping[str, Verdict]) -> tuple[FailureCause, ...]:
    """Why hosts are not current, grouped by reason and cause, most hosts first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for host, verdict in verdicts.items():
        if verdict.slot_class in WANTED and verdict.slot_class is not SlotClass.CURRENT:
            text = sentence(verdict.reason, _without_particulars(verdict.details))
            groups.setdefault((verdict.reason, text), []).append(host)
    return tuple(
        FailureCause(code=code, sentence=text, hosts=tuple(sorted(hosts)[:100]), count=len(hosts))
        for (code, text), hosts in sorted(groups.items(), key=lambda g: (-len(g[1]), g[0]))
    )


def failed_hosts(verdicts: Mapping[str, Verdict]) -> Sequence[str]:
    """/v1's failedInstances: wanted hosts that are failing, blocked or occupied now."""
    bad = (SlotClass.FAILING, SlotClass.BLOCKED, SlotClass.OCCUPIED)
    return sorted(host for host, verdict in verdicts.items() if verdict.slot_class in bad)


_PARTICULARS: Final = {"streak": "several", "free": "less"}
"""Details that differ from host to host and stand in sentences, and the words for all of them."""


def _without_particulars(details: Mapping[str, str]) -> Mapping[str, str]:
    """Details without what differs from host to host, so that equal causes group together."""
    return {k: _PARTICULARS.get(k, v) for k, v in details.items()}
