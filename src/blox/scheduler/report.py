"""What an environment, a host and a deployment look like from outside, as plain values.

Everything here is read from the board and the records when somebody asks; nothing is kept.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from blox.base.ids import parse_arn, short_id
from blox.base.journal import Entry
from blox.ecs.model import Host, Task
from blox.scheduler.board import Tally
from blox.scheduler.daemons import Ownership, ownership
from blox.scheduler.deployments import failed_hosts
from blox.scheduler.model import (
    WANTED,
    Deployment,
    DeploymentStatus,
    Environment,
    Freeze,
    Migration,
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
    since: float | None = None
    """ECS's clock: since when it has been so, at the worst host; None: not known."""


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
    frozen: Freeze | None = None
    stops_held: int = 0
    adopted: int = 0
    """Live adopted tasks."""
    tasks_left: int = 0
    """Live tasks of an environment that is ending."""
    ending_waits: str = ""
    """Why an environment that is ending is not gone although nothing of it may run."""
    migration: Migration | None = None


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
    if environment.ending:
        problems = (*troubles, *_untold(_unread(state, environment), troubles))
    elif tracked is not None and deployment is not None:
        behind = left_behind(deployment, tracked.board.verdicts)
        problems = (
            *failure_of(deployment, behind),
            *troubles,
            *_untold(_conditions(state, environment, tracked), troubles),
            *_stops_held(state, environment, tracked),
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
        frozen=state.freeze_of(environment),
        stops_held=tracked.guard.held if tracked is not None else 0,
        adopted=len(adopted_live(state, environment)),
        tasks_left=len(live_tasks(state, environment)) if environment.ending else 0,
        ending_waits=_ending_waits(state, environment),
        migration=state.repository.migration(environment.id),
    )


def _ending_waits(state: State, environment: Environment) -> str:
    tracked = state.tracked.get(environment.id)
    if not environment.ending or tracked is None:
        return ""
    if state.past_open(tracked, environment):
        return sentence(state.past_reason(environment), {})
    open_starts = sum(
        attempt.intent.deployment_id in environment.deployed
        for attempt in state.book.on_cluster(environment.cluster_arn)
        if attempt.intent.open_hosts
    )
    return "a start call may still have happened" if open_starts else ""


def live_tasks(state: State, environment: Environment) -> list[Task]:
    """The environment's live tasks, those that may be its own included."""
    return [
        task
        for task in state.tasks_of(environment)
        if task.live and ownership(task, environment) is not Ownership.FOREIGN
    ]


def adopted_live(state: State, environment: Environment) -> list[Task]:
    """The environment's live tasks that others started."""
    found = (task_by_id(state, environment.cluster_arn, id_) for id_ in environment.adopted)
    return [task for task in found if task is not None and task.live]


def task_by_id(state: State, cluster_arn: str, task_id: str) -> Task | None:
    """The task of this id on this cluster; None when nothing is known of it. Its ARN may be of
    either format: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-account-settings.html
    """
    head = cluster_arn.partition(":cluster/")[0]
    for rest in (f"{short_id(cluster_arn)}/{task_id}", task_id):
        task = state.view.task(f"{head}:task/{rest}")
        if task is not None and task.cluster_arn == cluster_arn:
            return task
    return None


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
    why = first if more < 1 else f"{first}; and {more} more {'cause' if more == 1 else 'causes'}"
    details = {"revision": str(deployment.revision), "cause": why}
    count, since = len(behind), deployment.finished_at
    return (_problem("deployment-failed", details, count=count, since=since),)


def _conditions(state: State, environment: Environment, tracked: Tracked) -> tuple[Problem, ...]:
    """What stands against the environment as a whole."""
    found = []
    trouble = tracked.trouble
    if trouble is not None:
        found.append(
            _problem(
                "condition",
                {"cause": trouble.text},
                request=trouble.request_id,
                since=_told(state, trouble.since),
            )
        )
    cluster = state.view.cluster(environment.cluster_arn)
    if cluster is not None and cluster.status != "ACTIVE":
        found.append(_problem("cluster-inactive", {}))
    else:
        found += _unread(state, environment)
    if not tracked.definition_active and trouble is None:
        found.append(_problem("condition", {"cause": "its task definition is not ACTIVE"}))
    return tuple(found)


def _untold(problems: Iterable[Problem], troubles: Iterable[Problem]) -> tuple[Problem, ...]:
    """Those that say more than a condition of the whole process does already."""
    told = [trouble.sentence for trouble in troubles]
    return tuple(
        problem
        for problem in problems
        if problem.code != "view" or not any(text in problem.sentence for text in told)
    )


def _unread(state: State, environment: Environment) -> tuple[Problem, ...]:
    """That the cluster cannot be read, or was not for too long."""
    cluster = state.view.cluster(environment.cluster_arn)
    if cluster is None or cluster.status != "ACTIVE":
        return ()
    found = []
    if cluster.stale(state.clock.monotonic()):
        found.append(_problem("view-stale", {}))
    if cluster.read_error is not None:
        found.append(_problem("view", {"cause": cluster.read_error}))
    return tuple(found)


def _stops_held(state: State, environment: Environment, tracked: Tracked) -> tuple[Problem, ...]:
    """R24: that too many hosts stopped matching at once. Their daemons go on running."""
    held, board = tracked.guard.held, tracked.board
    if not held:
        return ()
    since = [board.since[host] for host, v in board.verdicts.items() if v.reason == "stop-held"]
    found = _problem("stop-held", {}, count=held, since=_told(state, min(since)) if since else None)
    place = f"{short_id(environment.cluster_arn)}/{environment.name}"
    step = found.next_step.replace("blox confirm", f"blox confirm {place}")
    return (replace(found, next_step=step),)


def _told(state: State, mono: float) -> float:
    """A monotonic time by ECS's clock, in whole seconds: more is not known of that clock, and the
    next look may differ by one."""
    return float(round(state.stamp() - (state.clock.monotonic() - mono)))


_BAD = (SlotClass.FAILING, SlotClass.BLOCKED, SlotClass.OCCUPIED)
_PATIENT = (SlotClass.IN_DOUBT, SlotClass.MISSING)
LASTING = (*_PATIENT, SlotClass.STARTING, SlotClass.OCCUPIED)
"""Classes whose slots can make an environment unhealthy by nothing but time passing."""


def _slots(state: State, tracked: Tracked) -> tuple[Problem, ...]:
    """Wanted hosts that make the environment unhealthy, grouped by reason."""
    board = tracked.board
    if not any(board.classes[c] for c in (*_BAD, *LASTING)):
        return ()
    oldest = state.clock.monotonic() - PATIENCE
    groups: dict[str, list[Verdict]] = {}
    since: dict[str, float] = {}
    for host, verdict in board.verdicts.items():
        slot_class = verdict.slot_class
        if verdict.reason == "condition":
            continue  # The environment's trouble says it once for all of them.
        bad = slot_class in _BAD and verdict.reason != "service-leaves"
        if bad or _overdue(verdict, board.without.get(host), oldest):
            groups.setdefault(verdict.reason, []).append(verdict)
            begun = min(board.since[host], board.without.get(host, board.since[host]))
            since[verdict.reason] = min(begun, since.get(verdict.reason, begun))
    return tuple(
        _problem(
            reason,
            verdicts[0].details,
            count=len(verdicts),
            request=verdicts[0].details.get("request", ""),
            since=_told(state, since[reason]),
        )
        for reason, verdicts in sorted(groups.items(), key=lambda g: (-len(g[1]), g[0]))
    )


def _overdue(verdict: Verdict, without_since: float | None, oldest: float) -> bool:
    """Whether a wanted host has been in doubt, or without a daemon, beyond all patience. A slot
    that goes back and forth between waiting and calling is without one all the time."""
    waiting = verdict.slot_class in _PATIENT or verdict.reason in ("calling", "service-leaves")
    return waiting and without_since is not None and without_since <= oldest


def _problem(
    code: str,
    details: Mapping[str, str],
    *,
    count: int = 0,
    request: str = "",
    since: float | None = None,
) -> Problem:
    reason = REASONS[code]
    return Problem(
        code=code,
        sentence=sentence(code, details),
        who=reason.who,
        next_step=reason.next_step,
        count=count,
        request_id=request,
        since=since,
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
        task=daemon_of(state, tracked, host_arn, verdict),
        attempts=notes.doubts + (notes.refusal.attempts if notes.refusal is not None else 0),
    )


def daemon_of(state: State, tracked: Tracked, host_arn: str, verdict: Verdict) -> Task | None:
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
