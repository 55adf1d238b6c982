"""What an environment, a host and a deployment look like from outside, as plain values.

Everything here is read from the board and the records when somebody asks; nothing is kept.
"""

from collections.abc import Mapping

from msgspec import Struct

from blox.base.ids import parse_arn
from blox.base.journal import Entry
from blox.ecs.model import Host, Task
from blox.scheduler.board import Tally
from blox.scheduler.deployments import failed_hosts
from blox.scheduler.model import (
    WANTED,
    Deployment,
    DeploymentStatus,
    Environment,
    SlotClass,
    VerdictKind,
)
from blox.scheduler.reasons import REASONS, sentence
from blox.scheduler.state import State
from blox.scheduler.tracked import Tracked
from blox.scheduler.verdicts import Verdict

PATIENCE = 60.0
"""Seconds in doubt or without a daemon after which a wanted host makes all of it unhealthy."""


class Problem(Struct, frozen=True, kw_only=True):
    """One reason why an environment is not healthy."""

    code: str
    sentence: str
    who: str
    next_step: str
    count: int = 0
    """Hosts concerned; 0: the environment as a whole."""
    request_id: str = ""


class EnvironmentReport(Struct, frozen=True, kw_only=True):
    """How an environment does as a whole."""

    environment: Environment
    deployment: Deployment | None
    """The newest that was not stopped."""
    tally: Tally
    healthy: bool
    problems: tuple[Problem, ...]
    failed_hosts: tuple[str, ...]
    """ARNs: /v1's failedInstances."""
    served: bool
    without_seconds: float


class SlotReport(Struct, frozen=True, kw_only=True):
    """One host as one environment sees it."""

    host: Host
    verdict: VerdictKind
    would: bool
    """We only observe: the verdict would be carried out by a scheduler that acts."""
    slot_class: SlotClass
    reason: str
    sentence: str
    who: str
    next_step: str
    details: Mapping[str, str]
    since_seconds: float
    """How long the slot has been in its class, as far as this process knows."""
    task: Task | None
    attempts: int
    """Refused or unanswered starts in a row."""


def environment_report(
    state: State, environment: Environment, *, troubles: tuple[Problem, ...] = ()
) -> EnvironmentReport:
    """How an environment does. `troubles`: conditions of the whole process (store, credentials)."""
    tracked = state.tracked.get(environment.id)
    deployment = state.deployment_in_force(environment)
    served = state.served(environment)
    board = tracked.board if tracked is not None else None
    tally = board.tally() if board is not None else Tally(classes={}, available=0)
    problems: tuple[Problem, ...] = ()
    failed: tuple[str, ...] = ()
    if tracked is not None and deployment is not None:
        behind = left_behind(deployment, tracked.board.verdicts)
        problems = (
            *failure_of(deployment, behind),
            *troubles,
            *_conditions(state, environment, tracked),
            *_slots(state, tracked),
        )
        failed = tuple(sorted({*failed_hosts(tracked.board.verdicts), *behind}))
    if not served:
        arn = parse_arn(environment.cluster_arn)
        domain = "" if arn is None else str(arn.domain)
        problems = (_problem("not-served", {"domain": domain}),)
    return EnvironmentReport(
        environment=environment,
        deployment=deployment,
        tally=tally,
        healthy=not problems,
        problems=problems,
        failed_hosts=failed,
        served=served,
        without_seconds=tracked.without_seconds if tracked is not None else 0.0,
    )


def left_behind(deployment: Deployment, verdicts: Mapping[str, Verdict]) -> list[str]:
    """Hosts that a failed deployment left behind. It never goes back from `failed`, but hosts get
    on: each leaves the list when it becomes current or unwanted."""
    if deployment.status is not DeploymentStatus.FAILED:
        return []
    return [
        host
        for host, verdict in verdicts.items()
        if verdict.slot_class in WANTED and verdict.slot_class is not SlotClass.CURRENT
    ]


def failure_of(deployment: Deployment, behind: list[str]) -> tuple[Problem, ...]:
    """What a failed deployment says of its environment while hosts are left behind."""
    if not behind:
        return ()
    first = deployment.causes[0].sentence if deployment.causes else "no progress"
    more = len(deployment.causes) - 1
    why = first if more < 1 else f"{first}; and {more} more causes"
    problem = Problem(
        code="deployment-failed",
        sentence=f"the deployment of revision {deployment.revision} failed: {why}",
        who="you",
        next_step="mend what the cause names, then deploy again",
        count=len(behind),
    )
    return (problem,)


def _conditions(state: State, environment: Environment, tracked: Tracked) -> tuple[Problem, ...]:
    """What stands against the environment as a whole."""
    found = []
    trouble = tracked.trouble
    if trouble is not None:
        found.append(_problem("condition", {"cause": trouble.text}, request=trouble.request_id))
    cluster = state.view.cluster(environment.cluster_arn)
    if cluster is not None and cluster.status != "ACTIVE":
        found.append(_problem("cluster-inactive", {}))
    elif cluster is not None and cluster.read_error is not None:
        found.append(
            Problem(
                code="view",
                sentence=f"the cluster cannot be read: {cluster.read_error}",
                who="you",
                next_step="mend what the cause names",
            )
        )
    if not tracked.definition_active and trouble is None:
        found.append(_problem("condition", {"cause": "its task definition is not ACTIVE"}))
    return tuple(found)


_BAD = (SlotClass.FAILING, SlotClass.BLOCKED, SlotClass.OCCUPIED)
_PATIENT = (SlotClass.IN_DOUBT, SlotClass.MISSING)
LASTING = (*_PATIENT, SlotClass.STARTING)
"""Classes whose slots can make an environment unhealthy by nothing but time passing."""


def _slots(state: State, tracked: Tracked) -> tuple[Problem, ...]:
    """Wanted hosts that make the environment unhealthy, grouped by reason."""
    board = tracked.board
    if not any(board.classes[c] for c in (*_BAD, *LASTING)):
        return ()
    oldest = state.clock.monotonic() - PATIENCE
    groups: dict[str, list[Verdict]] = {}
    for host, verdict in board.verdicts.items():
        slot_class = verdict.slot_class
        if verdict.reason == "condition":
            continue  # The environment's trouble says it once for all of them.
        if slot_class in _BAD or _overdue(verdict, board.without.get(host), oldest):
            groups.setdefault(verdict.reason, []).append(verdict)
    return tuple(
        _problem(
            reason,
            verdicts[0].details,
            count=len(verdicts),
            request=verdicts[0].details.get("request", ""),
        )
        for reason, verdicts in sorted(groups.items(), key=lambda g: (-len(g[1]), g[0]))
    )


def _overdue(verdict: Verdict, without_since: float | None, oldest: float) -> bool:
    """Whether a wanted host has been in doubt, or without a daemon, beyond all patience. A slot
    that goes back and forth between waiting and calling is without one all the time."""
    waiting = verdict.slot_class in _PATIENT or verdict.reason == "calling"
    return waiting and without_since is not None and without_since <= oldest


def _problem(
    code: str, details: Mapping[str, str], *, count: int = 0, request: str = ""
) -> Problem:
    reason = REASONS[code]
    return Problem(
        code=code,
        sentence=sentence(code, details),
        who=reason.who,
        next_step=reason.next_step,
        count=count,
        request_id=request,
    )


def slot_report(
    state: State, tracked: Tracked, host_arn: str, *, observing: bool
) -> SlotReport | None:
    """One host as this environment sees it; None if either is gone."""
    verdict = tracked.board.verdicts.get(host_arn)
    seen = state.view.host(host_arn)
    if verdict is None or seen is None:
        return None
    reason = REASONS[verdict.reason]
    notes = tracked.note(host_arn)
    acting = verdict.kind in (VerdictKind.START, VerdictKind.REPLACE, VerdictKind.STOP)
    return SlotReport(
        host=seen.host,
        verdict=verdict.kind,
        would=observing and acting,
        slot_class=verdict.slot_class,
        reason=verdict.reason,
        sentence=sentence(verdict.reason, verdict.details),
        who=reason.who,
        next_step=reason.next_step,
        details=verdict.details,
        since_seconds=state.clock.monotonic() - tracked.board.since[host_arn],
        task=_task(state, tracked, host_arn, verdict),
        attempts=notes.doubts + (notes.refusal.attempts if notes.refusal is not None else 0),
    )


def _task(state: State, tracked: Tracked, host_arn: str, verdict: Verdict) -> Task | None:
    """The daemon that the verdict speaks of, or any live one of the environment's."""
    named = state.view.task(verdict.details.get("task", ""))
    if named is not None:
        return named
    environment = state.repository.environment(tracked.id)
    if environment is None:
        return None
    live = (
        task
        for task in state.view.tasks_on(host_arn)
        if task.live and environment.digest_of(task) is not None
    )
    return next(live, None)


def story(state: State, environment_id: str, host_arn: str) -> tuple[Entry, ...]:
    """What was seen, decided, called and answered for one slot, oldest first."""
    return state.journal.story((environment_id, host_arn))
