"""What should happen in one slot: a pure function of what is known.

The rows are tried in order and the first that applies decides:

    0  nothing deployed; not read completely yet; or frozen
    1  a start is in flight or in doubt                     never a second one
    2  the host is held, leaving, gone, or must not keep one; or it is idle and yielded
    3  somebody else runs this daemon here
    4  none here                                            start, unless something is against it
    5  all here are on their way out                        wait
    6  one, of the target                                   keep, or replace what fails
    7  one, of another revision                             keep, or replace within the budget
    8  two or more                                          keep one that surely runs, stop the rest

A *live* task is any that has not STOPPED; *running* below means live, wanted by ECS, and not
being stopped by us. Replacing is stopping: the start follows when the slot is empty.
"""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from blox.ecs.model import RUNNING, Task
from blox.scheduler.backoff import death_backoff
from blox.scheduler.daemons import (
    FAILED,
    Readiness,
    death_cause,
    readiness,
    running,
)
from blox.scheduler.eligibility import HostCondition, may_start
from blox.scheduler.intents import Phase
from blox.scheduler.leaving import after, ending, held, host_decides, idle_until, yielded
from blox.scheduler.model import DeploymentStatus, SlotClass, VerdictKind
from blox.scheduler.surplus import surplus
from blox.scheduler.verdicts import (
    Context,
    Cost,
    Gate,
    SlotFacts,
    Stop,
    Verdict,
    verdict_of,
)

# --- The verdict ----------------------------------------------------------------------------------


def judge(facts: SlotFacts, context: Context, *, granted: Cost = Cost.NONE) -> Verdict:
    """The verdict on one slot. `granted`: as which candidate the budget allows acting on it."""
    if context.freeze is not None:
        granted = Cost.NONE
    if context.environment.ending:
        verdict = _in_flight(facts, context) or held(facts) or ending(facts)
        unwanted = _unwanted(facts) or SlotClass.UNMATCHED
        verdict = msgspec.structs.replace(verdict, slot_class=unwanted, available=False)
        return _frozen(_gated(verdict, context), context)
    if context.deployment is None or context.target is None:
        return verdict_of(VerdictKind.IGNORE, _unwanted(facts) or SlotClass.MISSING, "not-deployed")
    verdict = (
        _in_flight(facts, context)
        or held(facts)
        or host_decides(facts, context, granted=granted)
        or yielded(facts, context)
        or _empty(facts, context)
        or _ending(facts, context)
        or surplus(facts, context)
        or _single(facts, context, granted=granted)
    )
    verdict = _until_away(_counted_by_host(verdict, facts), facts, context)
    verdict = _until_idle(verdict, facts, context)
    return _frozen(_gated(verdict, context), context)


def _in_flight(facts: SlotFacts, context: Context) -> Verdict | None:
    """Row 1."""
    attempt = facts.attempt
    if attempt is None:
        return None
    candidates = running(facts)
    two_run = len(candidates) > 1 and all(task.last_status == RUNNING for task in candidates)
    if two_run and facts.hold is None:
        return surplus(facts, context)
    if attempt.phase is Phase.DOUBT:
        return verdict_of(
            VerdictKind.WAIT,
            SlotClass.IN_DOUBT,
            "in-doubt",
            cause=attempt.cause,
            request=attempt.request_id,
            intent=attempt.intent.id,
        )
    return verdict_of(VerdictKind.WAIT, SlotClass.STARTING, "calling", intent=attempt.intent.id)


def _empty(facts: SlotFacts, context: Context) -> Verdict | None:
    """Rows 3 and 4: nothing of ours lives here."""
    if facts.live:
        return None
    if facts.condition in (HostCondition.NOT_READY, HostCondition.LEAVING):
        return verdict_of(
            VerdictKind.WAIT, SlotClass.NOT_READY, "not-ready", status=facts.host.status
        )
    if facts.ineligible is not None:
        return _ineligible(facts)
    if facts.occupant:
        return _occupied(facts.occupant, replaced=context.environment.gate_service)
    return _stands_against(facts, context) or verdict_of(
        VerdictKind.START, SlotClass.MISSING, "start", rollout=facts.notes.replacing
    )


def _occupied(holder: str, *, replaced: str) -> Verdict:
    """Somebody else runs this daemon here; a service that is being replaced is about to leave."""
    if holder == f"service/{replaced}":
        return verdict_of(VerdictKind.WAIT, SlotClass.OCCUPIED, "service-leaves", holder=holder)
    return verdict_of(VerdictKind.WAIT, SlotClass.OCCUPIED, "occupied", holder=holder)


def _stands_against(facts: SlotFacts, context: Context) -> Verdict | None:
    """What keeps a daemon from starting on an empty, eligible host now."""
    now, settings = context.now, context.settings
    if not facts.surely_matches:
        return verdict_of(VerdictKind.WAIT, SlotClass.MISSING, "unsure")
    if context.past_open:
        return verdict_of(VerdictKind.WAIT, SlotClass.MISSING, context.past_reason)
    if not may_start(facts.condition):
        due = after(facts.condition_since, settings.away_after)
        return verdict_of(VerdictKind.WAIT, SlotClass.MISSING, "disconnected", next_look=due)
    if context.trouble is not None and now.mono < context.trouble.probe_at:
        return verdict_of(
            VerdictKind.WAIT,
            SlotClass.BLOCKED,
            "condition",
            next_look=context.trouble.probe_at,
            cause=context.trouble.text,
            request=context.trouble.request_id,
        )
    return _refused(facts, context) or _died_young(facts, context)


def _refused(facts: SlotFacts, context: Context) -> Verdict | None:
    """ECS refused this host alone. R22: after a refusal for lack of room there is no further call
    while the need does not fit what remains."""
    refusal = facts.notes.refusal
    if refusal is None:
        return None
    mono = context.now.mono
    if refusal.code.startswith("RESOURCE") and facts.lack is not None:
        lack = facts.lack
        return verdict_of(
            VerdictKind.WAIT,
            SlotClass.BLOCKED,
            "no-room",
            next_look=mono + context.settings.resource_wait,
            resource=lack.resource,
            asked=str(lack.asked),
            free=str(lack.free),
        )
    if mono >= refusal.retry_at:
        return None
    if refusal.code == "AGENT":
        return verdict_of(
            VerdictKind.WAIT, SlotClass.MISSING, "agent-busy", next_look=refusal.retry_at
        )
    return verdict_of(
        VerdictKind.WAIT,
        SlotClass.BLOCKED,
        "refused",
        next_look=refusal.retry_at,
        cause=refusal.text,
        request=refusal.request_id,
    )


def _died_young(facts: SlotFacts, context: Context) -> Verdict | None:
    if not facts.stopped:
        return None
    backoff = death_backoff(
        facts.stopped, now_ecs=context.now.ecs, max_delay=context.settings.backoff_max
    )
    wait = backoff.retry_at - context.now.ecs
    if backoff.streak == 0 or wait <= 0:
        return None
    last = backoff.last_death
    return verdict_of(
        VerdictKind.WAIT,
        SlotClass.FAILING,
        "backoff",
        next_look=context.now.mono + wait,
        streak=str(backoff.streak),
        cause=death_cause(last) if last is not None else "unknown",
        retry=f"{backoff.retry_at:.1f}",
        task=last.arn if last is not None else "",
    )


def _ending(facts: SlotFacts, context: Context) -> Verdict | None:
    """Row 5: nothing of ours runs, but not all of it has gone; or it is not identified yet."""
    if running(facts):
        return None
    if any(task.arn in facts.unidentified and task.wanted_by_ecs for task in facts.live):
        return verdict_of(VerdictKind.WAIT, SlotClass.STARTING, "identifying")
    since = facts.notes.stopping_since
    stuck_after = context.settings.stop_stuck_after + _stop_timeout(context)
    if since is not None and context.now.mono >= since + stuck_after:
        return verdict_of(VerdictKind.WAIT, SlotClass.STOPPING, "stuck")
    return verdict_of(
        VerdictKind.WAIT, SlotClass.STOPPING, "stopping", next_look=after(since, stuck_after)
    )


def _stop_timeout(context: Context) -> float:
    """The longest stopTimeout of the target's containers; ECS's default is 30 s."""
    containers = context.target.definition.container_definitions if context.target else ()
    return float(max((c.stop_timeout or 30 for c in containers), default=30))


def _single(facts: SlotFacts, context: Context, *, granted: Cost) -> Verdict:
    """Rows 6 and 7: exactly one runs."""
    (task,) = running(facts)
    state, due = readiness(task, facts, context)
    available = state is Readiness.HEALTHY and len(facts.live) == 1 and not facts.doubted_stops
    assert context.target is not None
    if context.environment.digest_of(task) == context.target.digest:
        return _target_runs(facts, context, task, state, due, granted=granted, available=available)
    return _other_runs(facts, context, task, state, due, granted=granted, available=available)


def _target_runs(
    facts: SlotFacts,
    context: Context,
    task: Task,
    state: Readiness,
    due: float | None,
    *,
    granted: Cost,
    available: bool,
) -> Verdict:
    """Row 6."""
    if state is Readiness.HEALTHY:
        if not available:
            return verdict_of(VerdictKind.KEEP, SlotClass.STOPPING, "stopping", task=task.arn)
        return verdict_of(
            VerdictKind.KEEP, SlotClass.CURRENT, "current", available=True, task=task.arn
        )
    if state is Readiness.PENDING:
        return verdict_of(
            VerdictKind.KEEP,
            SlotClass.STARTING,
            "starting",
            next_look=due,
            status=task.last_status,
            task=task.arn,
        )
    if state is Readiness.SETTLING:
        return verdict_of(
            VerdictKind.KEEP, SlotClass.SETTLING, "settling", next_look=due, task=task.arn
        )
    reason = _REPLACE_REASONS[state]
    if granted is Cost.REPAIR and _can_replace(facts, context):
        stop = Stop(task.arn, REPLACE_CAUSES[reason])
        return verdict_of(
            VerdictKind.REPLACE,
            SlotClass.FAILING,
            reason,
            stops=(stop,),
            rollout=True,
            task=task.arn,
        )
    backs_off = context.now.mono < facts.notes.replace_not_before
    waits = backs_off or not _can_replace(facts, context)
    return verdict_of(
        VerdictKind.KEEP,
        SlotClass.FAILING,
        "failing-waits",
        candidate=Cost.NONE if waits else Cost.REPAIR,
        next_look=facts.notes.replace_not_before if backs_off else None,
        task=task.arn,
        cause=REPLACE_CAUSES[reason],
    )


_REPLACE_REASONS: Final[Mapping[Readiness, str]] = {
    Readiness.OVERDUE: "replace-pending",
    Readiness.SLOW: "replace-slow",
    Readiness.UNHEALTHY: "replace-unhealthy",
}
REPLACE_CAUSES: Final[Mapping[str, str]] = {
    "replace-pending": "it was not RUNNING within its deadline",
    "replace-slow": "it was not healthy within its deadline",
    "replace-unhealthy": "it is UNHEALTHY",
}


def _can_replace(facts: SlotFacts, context: Context) -> bool:
    """Whether a start could follow the stop now: otherwise the stop would only take away."""
    return (
        may_start(facts.condition)
        and facts.surely_matches
        and facts.ineligible is None
        and facts.lack is None
        and context.trouble is None
        and context.definition_active
        and not context.past_open
    )


def _other_runs(
    facts: SlotFacts,
    context: Context,
    task: Task,
    state: Readiness,
    due: float | None,
    *,
    granted: Cost,
    available: bool,
) -> Verdict:
    """Row 7."""
    assert context.deployment is not None
    slot_class = SlotClass.FAILING if state in FAILED else SlotClass.OUTDATED
    if not _rolling(context.deployment.status, observing=context.observing):
        status = context.deployment.status.value
        return verdict_of(
            VerdictKind.KEEP,
            slot_class,
            "outdated-kept",
            available=available,
            next_look=due,
            status=status,
            task=task.arn,
        )
    if not _can_replace(facts, context):
        return verdict_of(
            VerdictKind.KEEP,
            slot_class,
            "outdated-unstartable",
            available=available,
            next_look=due,
            cause=_why_not(facts, context),
            task=task.arn,
        )
    cost = Cost.FREE if state in FAILED else Cost.ROLLOUT
    if granted in (cost, Cost.ROLLOUT):
        stop = Stop(task.arn, f"replaced by revision {context.deployment.revision}")
        return verdict_of(
            VerdictKind.REPLACE,
            slot_class,
            "replace-outdated",
            stops=(stop,),
            rollout=True,
            task=task.arn,
        )
    verdict = verdict_of(
        VerdictKind.KEEP,
        slot_class,
        "outdated",
        available=available,
        candidate=cost,
        next_look=due,
        task=task.arn,
    )
    return _after_a_crash(verdict, context)


def _after_a_crash(verdict: Verdict, context: Context) -> Verdict:
    """Say so while a candidate waits because stops of a process that ended without a clean
    hand-over may still land."""
    left = context.surplus_from - context.now.mono
    if left <= 0:
        return verdict
    details = {**verdict.details, "left": f"{math.ceil(left / 10) * 10} s"}
    return msgspec.structs.replace(verdict, reason="outdated-waits", details=details)


def _rolling(status: DeploymentStatus, *, observing: bool) -> bool:
    """Whether a deployment in this state replaces what runs. One that is only observed stays
    pending, and shows what it would do."""
    if status is DeploymentStatus.PENDING:
        return observing
    return status in (DeploymentStatus.RUNNING, DeploymentStatus.COMPLETED)


def _why_not(facts: SlotFacts, context: Context) -> str:
    if context.past_open:
        return "a start whose record is lost may still arrive"
    if context.trouble is not None:
        return context.trouble.text
    if not context.definition_active:
        return "its task definition is not ACTIVE"
    if facts.ineligible is not None:
        return facts.ineligible.detail
    if facts.lack is not None:
        lack = facts.lack
        return f"no room: {lack.resource}: {lack.asked} asked, {lack.free} free"
    return "the host cannot take tasks now"


def _ineligible(facts: SlotFacts) -> Verdict:
    assert facts.ineligible is not None
    return verdict_of(
        VerdictKind.IGNORE,
        SlotClass.INELIGIBLE,
        "ineligible",
        cause=facts.ineligible.detail,
        code=facts.ineligible.code,
    )


# --- Counting -------------------------------------------------------------------------------------


def _unwanted(facts: SlotFacts) -> SlotClass | None:
    """The class of a host that is not wanted, whatever runs there."""
    condition = facts.condition
    if condition is HostCondition.SUPERSEDED:
        return SlotClass.SUPERSEDED
    if condition in (HostCondition.LOST, HostCondition.GONE):
        return SlotClass.LOST
    if facts.hold is not None:
        return SlotClass.HELD
    if condition in (HostCondition.DRAINING, HostCondition.LEAVING):
        return SlotClass.LEAVING
    if not facts.matches or facts.gate is not Gate.OPEN:
        return SlotClass.UNMATCHED
    if condition is HostCondition.AWAY:
        return SlotClass.AWAY
    if condition is HostCondition.NOT_READY:
        return SlotClass.NOT_READY
    return SlotClass.INELIGIBLE if facts.ineligible is not None else None


def _counted_by_host(verdict: Verdict, facts: SlotFacts) -> Verdict:
    """A host that is not wanted is counted as what it is, and is never (un)available."""
    unwanted = _unwanted(facts)
    if unwanted is None or (unwanted is verdict.slot_class and not verdict.available):
        return verdict
    return msgspec.structs.replace(verdict, slot_class=unwanted, available=False)


def _until_away(verdict: Verdict, facts: SlotFacts, context: Context) -> Verdict:
    """Nothing but time turns a host whose agent is disconnected into one that is away."""
    if facts.condition is not HostCondition.DISCONNECTED or facts.condition_since is None:
        return verdict
    due = facts.condition_since + context.settings.away_after
    if verdict.next_look is not None and verdict.next_look <= due:
        return verdict
    return msgspec.structs.replace(verdict, next_look=due)


def _gated(verdict: Verdict, context: Context) -> Verdict:
    """Row 0: nothing is started or stopped on what is not known completely."""
    if context.primed and context.cluster_active and not context.stale:
        return verdict
    reason = "unprimed" if context.cluster_active else "cluster-inactive"
    if context.primed and context.cluster_active:
        reason = "view-stale"
    if verdict.kind is VerdictKind.IGNORE:
        return verdict
    return verdict_of(VerdictKind.WAIT, verdict.slot_class, reason, available=verdict.available)


def _until_idle(verdict: Verdict, facts: SlotFacts, context: Context) -> Verdict:
    """Nothing but time makes an idle host one that has been idle for long enough."""
    due = idle_until(facts, context)
    if due is None or due <= context.now.mono:
        return verdict
    if verdict.next_look is not None and verdict.next_look <= due:
        return verdict
    return msgspec.structs.replace(verdict, next_look=due)


def _frozen(verdict: Verdict, context: Context) -> Verdict:
    """Somebody told us to start and stop nothing: what would be done waits."""
    freeze = context.freeze
    acting = verdict.kind in (VerdictKind.START, VerdictKind.REPLACE, VerdictKind.STOP)
    if freeze is None or (not acting and verdict.candidate is Cost.NONE):
        return verdict
    empty = verdict.kind is VerdictKind.START
    return verdict_of(
        VerdictKind.WAIT if empty else VerdictKind.KEEP,
        verdict.slot_class,
        "frozen",
        available=verdict.available,
        why=freeze.why,
        scope=freeze.scope,
    )
