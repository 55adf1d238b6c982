"""One daemon: whose it is, how well it runs, and which of several stays."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from blox.base.ids import short_id
from blox.ecs.model import LIFECYCLE, RUNNING, Task, family_of_task
from blox.scheduler.model import Environment
from blox.scheduler.verdicts import Context, SlotFacts

_BEFORE_RUNNING: Final = frozenset(LIFECYCLE[: LIFECYCLE.index(RUNNING)])
AFTER_RUNNING: Final = frozenset(LIFECYCLE[LIFECYCLE.index(RUNNING) + 1 :])


# --- Whose task is it -----------------------------------------------------------------------------


class Ownership(StrEnum):
    """Whose a task is."""

    OURS = "ours"
    MAYBE = "maybe"
    """Its startedBy is ours; whether it carries a marker is not known yet."""
    FOREIGN = "foreign"


def ownership(task: Task, environment: Environment) -> Ownership:
    """R10: ours is what carries one of the environment's deployment ids and a marker, or was
    adopted by its ARN. Family and group decide nothing."""
    if environment.adopted and short_id(task.arn) in environment.adopted:
        return Ownership.OURS
    if task.started_by not in environment.deployed:
        return Ownership.FOREIGN
    if environment.disowned and short_id(task.arn) in environment.disowned:
        return Ownership.FOREIGN
    if task.intent is None:
        return Ownership.MAYBE
    return Ownership.OURS if task.intent else Ownership.FOREIGN


def occupies(task: Task, environment: Environment, family: str) -> bool:
    """R26: a live task that is not ours and does this environment's job on its host."""
    if not task.live or ownership(task, environment) is not Ownership.FOREIGN:
        return False
    return task.group == environment.group or family_of_task(task) == family


def running(facts: SlotFacts) -> tuple[Task, ...]:
    """R of the table: live, wanted by ECS, identified, and not being stopped by us."""
    return tuple(
        task
        for task in facts.live
        if task.wanted_by_ecs
        and task.last_status not in AFTER_RUNNING
        and task.arn not in facts.asked
        and task.arn not in facts.unidentified
    )


def survivor(tasks: Sequence[Task], *, doubted: frozenset[str], target: Sequence[str]) -> Task:
    """R8: which of several daemons stays. A total order, so that no two looks disagree: not being
    stopped, RUNNING, of the target (`target`: ARNs of those), oldest, ARN. Health takes no
    part: a lagging health must not make two looks choose two survivors."""
    return min(
        tasks,
        key=lambda task: (
            task.arn in doubted,
            task.last_status != RUNNING,
            task.arn not in target,
            task.created_at if task.created_at is not None else float("inf"),
            task.arn,
        ),
    )


# --- How well does it run -------------------------------------------------------------------------


class Readiness(StrEnum):
    """How a running daemon does."""

    PENDING = "pending"
    OVERDUE = "overdue"
    """Not RUNNING within its deadline."""
    SETTLING = "settling"
    HEALTHY = "healthy"
    SLOW = "slow"
    """RUNNING, and not HEALTHY within its deadline."""
    UNHEALTHY = "unhealthy"


FAILED: Final = frozenset({Readiness.OVERDUE, Readiness.SLOW, Readiness.UNHEALTHY})


def readiness(task: Task, facts: SlotFacts, context: Context) -> tuple[Readiness, float | None]:
    """How a running daemon does, and when (monotonic) that changes if nothing happens."""
    now, settings = context.now, context.settings
    if task.last_status in _BEFORE_RUNNING:
        since = facts.notes.pending_since
        if since is None:
            return Readiness.PENDING, now.mono + settings.pending_deadline
        due = since + settings.pending_deadline
        return (Readiness.OVERDUE, None) if now.mono >= due else (Readiness.PENDING, due)
    if task.last_status != RUNNING:
        return Readiness.SETTLING, None
    started = task.started_at or task.created_at or now.ecs
    ran = max(0.0, now.ecs - started)
    if not context.checks.get(context.environment.digest_of(task) or "", False):
        left = context.environment.policy.min_healthy_seconds - ran
        return (Readiness.HEALTHY, None) if left <= 0 else (Readiness.SETTLING, now.mono + left)
    if task.health == "HEALTHY":
        return Readiness.HEALTHY, None
    if task.health == "UNHEALTHY":
        return Readiness.UNHEALTHY, None
    left = settings.healthy_deadline - ran
    return (Readiness.SLOW, None) if left <= 0 else (Readiness.SETTLING, now.mono + left)


def death_cause(task: Task) -> str:
    """Why a task ended, in the words that ECS gives."""
    reason = task.stopped_reason or task.stop_code or "no reason given"
    return reason if task.exit_code is None else f"{reason} (exit {task.exit_code})"
