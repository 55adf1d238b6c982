"""What should happen in one slot: a pure function of what is known.

The rows are tried in order and the first that applies decides:

    0  nothing deployed; or not read completely yet
    1  a start is in flight or in doubt                     never a second one
    2  the host is leaving, gone, or must not keep one
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
    AFTER_RUNNING,
    FAILED,
    Readiness,
    death_cause,
    readiness,
    survivor,
)
from blox.scheduler.eligibility import HostCondition, may_start, may_stay
from blox.scheduler.intents import Phase
from blox.scheduler.model import DeploymentStatus, SlotClass, VerdictKind
from blox.scheduler.verdicts import Context, Cost, SlotFacts, Stop, Verdict

# --- The verdict ----------------------------------------------------------------------------------


def judge(facts: SlotFacts, context: Context, *, granted: Cost = Cost.NONE) -> Verdict:
    """The verdict on one slot. `granted`: as which candidate the budget allows acting on it."""
    if context.deployment is None or context.target is None:
        return _verdict(VerdictKind.IGNORE, _unwanted(facts) or SlotClass.MISSING, "not-deployed")
    verdict = (
        _in_flight(facts, context)
        or _host_decides(facts, context, granted=granted)
        or _empty(facts, context)
        or _ending(facts, context)
        or _surplus(facts, context)
        or _single(facts, context, granted=granted)
    )
    verdict = _until_away(_counted_by_host(verdict, facts), facts, context)
    return _gated(verdict, context)


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


def _in_flight(facts: SlotFacts, context: Context) -> Verdict | None:
    """Row 1."""
    attempt = facts.attempt
    if attempt is None:
        return None
    candidates = running(facts)
    if len(candidates) > 1 and all(task.last_status == RUNNING for task in candidates):
        return _surplus(facts, context)
    if attempt.phase is Phase.DOUBT:
        return _verdict(
            VerdictKind.WAIT,
            SlotClass.IN_DOUBT,
            "in-doubt",
            cause=attempt.cause,
            request=attempt.request_id,
            intent=attempt.intent.id,
        )
    return _verdict(VerdictKind.WAIT, SlotClass.STARTING, "calling", intent=attempt.intent.id)


def _host_decides(facts: SlotFacts, context: Context, *, granted: Cost) -> Verdict | None:
    """Row 2: the host must not keep one, or nothing can be done there."""
    condition = facts.condition
    if condition is HostCondition.SUPERSEDED:
        return _leave(facts, SlotClass.SUPERSEDED, "superseded", "its host's record was superseded")
    if condition in (HostCondition.LOST, HostCondition.GONE):
        return _verdict(VerdictKind.WAIT, SlotClass.LOST, "lost")
    if condition is HostCondition.DRAINING:
        return _draining(facts, context)
    if not facts.matches and not (facts.live and may_stay(condition, matches=False)):
        return _unmatched(facts, granted=granted)
    if condition is HostCondition.AWAY:
        due = _after(facts.condition_since, context.settings.lost_after)
        kind = VerdictKind.KEEP if facts.live else VerdictKind.WAIT
        return _verdict(kind, SlotClass.AWAY, "away", next_look=due)
    if not facts.matches:
        # Nothing reaches the host, or ECS is at work on it: a stop asked for now would hold the
        # budget for as long as that lasts.
        reason = "disconnected" if condition is HostCondition.DISCONNECTED else "not-ready"
        return _verdict(VerdictKind.KEEP, SlotClass.UNMATCHED, reason, status=facts.host.status)
    return None


def _unmatched(facts: SlotFacts, *, granted: Cost) -> Verdict:
    leaving = _leave(
        facts, SlotClass.UNMATCHED, "unmatched", "its host no longer matches the selector"
    )
    if not leaving.stops or granted is Cost.UNMATCHED:
        return leaving
    return _verdict(
        VerdictKind.KEEP, SlotClass.UNMATCHED, "unmatched-stop", candidate=Cost.UNMATCHED
    )


def drain_allows(
    holders: int, draining_since: float | None, deadline: float, now: float
) -> tuple[bool, float | None]:
    """R17: whether the daemon may leave a draining host, and when it must at the latest.

    Daemons leave last: after every task that is neither a daemon of blox nor of a DAEMON service
    (those wait for us), or at the deadline.
    """
    if holders == 0:
        return True, None
    if draining_since is None:
        return False, now + deadline
    due = draining_since + deadline
    return now >= due, due


def _draining(facts: SlotFacts, context: Context) -> Verdict:
    allowed, due = drain_allows(
        facts.drain_holders,
        facts.condition_since,
        context.environment.policy.drain_deadline,
        context.now.mono,
    )
    if not allowed and running(facts):
        return _surplus(facts, context) or _verdict(
            VerdictKind.KEEP,
            SlotClass.LEAVING,
            "draining-waits",
            next_look=due,
            holders=str(facts.drain_holders),
        )
    cause = "no other task is left" if facts.drain_holders == 0 else "the drain deadline has passed"
    return _leave(facts, SlotClass.LEAVING, "draining", cause)


def _leave(facts: SlotFacts, slot_class: SlotClass, reason: str, cause: str) -> Verdict:
    """Stop whatever of ours runs here; no survivor is needed."""
    stops = tuple(Stop(task.arn, cause) for task in running(facts))
    if stops:
        return _verdict(VerdictKind.STOP, slot_class, f"{reason}-stop", stops=stops, cause=cause)
    if facts.live:
        return _verdict(VerdictKind.WAIT, slot_class, "stopping")
    return _verdict(VerdictKind.IGNORE, slot_class, reason)


def _empty(facts: SlotFacts, context: Context) -> Verdict | None:
    """Rows 3 and 4: nothing of ours lives here."""
    if facts.live:
        return None
    if facts.condition in (HostCondition.NOT_READY, HostCondition.LEAVING):
        return _verdict(
            VerdictKind.WAIT, SlotClass.NOT_READY, "not-ready", status=facts.host.status
        )
    if facts.ineligible is not None:
        return _ineligible(facts)
    if facts.occupant:
        return _verdict(VerdictKind.WAIT, SlotClass.OCCUPIED, "occupied", holder=facts.occupant)
    return _stands_against(facts, context) or _verdict(
        VerdictKind.START, SlotClass.MISSING, "start", rollout=facts.notes.replacing
    )


def _stands_against(facts: SlotFacts, context: Context) -> Verdict | None:
    """What keeps a daemon from starting on an empty, eligible host now."""
    now, settings = context.now, context.settings
    if not facts.surely_matches:
        return _verdict(VerdictKind.WAIT, SlotClass.MISSING, "unsure")
    if not may_start(facts.condition):
        due = _after(facts.condition_since, settings.away_after)
        return _verdict(VerdictKind.WAIT, SlotClass.MISSING, "disconnected", next_look=due)
    if context.trouble is not None and now.mono < context.trouble.probe_at:
        return _verdict(
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
        return _verdict(
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
        return _verdict(
            VerdictKind.WAIT, SlotClass.MISSING, "agent-busy", next_look=refusal.retry_at
        )
    return _verdict(
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
    return _verdict(
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
        return _verdict(VerdictKind.WAIT, SlotClass.STARTING, "identifying")
    since = facts.notes.stopping_since
    stuck_after = context.settings.stop_stuck_after + _stop_timeout(context)
    if since is not None and context.now.mono >= since + stuck_after:
        return _verdict(VerdictKind.WAIT, SlotClass.STOPPING, "stuck")
    return _verdict(
        VerdictKind.WAIT, SlotClass.STOPPING, "stopping", next_look=_after(since, stuck_after)
    )


def _stop_timeout(context: Context) -> float:
    """The longest stopTimeout of the target's containers; ECS's default is 30 s."""
    containers = context.target.definition.container_definitions if context.target else ()
    return float(max((c.stop_timeout or 30 for c in containers), default=30))


def _surplus(facts: SlotFacts, context: Context) -> Verdict | None:
    """Row 8."""
    candidates = running(facts)
    if len(candidates) < 2 or context.target is None:
        return None
    count = str(len(candidates))
    if context.now.mono < context.surplus_from:
        return _verdict(
            VerdictKind.WAIT,
            SlotClass.STOPPING,
            "surplus-waits",
            next_look=context.surplus_from,
            count=count,
        )
    kept = survivor(candidates, doubted=facts.doubted_stops, target=_target_ids(context))
    overdue = readiness(kept, facts, context)[0] is Readiness.OVERDUE
    if kept.last_status != RUNNING and not overdue:
        due = readiness(kept, facts, context)[1]
        return _verdict(
            VerdictKind.WAIT, SlotClass.STOPPING, "surplus-waits", next_look=due, count=count
        )
    stops = tuple(
        Stop(task.arn, "surplus: one daemon a host", "" if overdue else kept.arn)
        for task in candidates
        if task is not kept
    )
    return _verdict(
        VerdictKind.STOP, SlotClass.STOPPING, "surplus", stops=stops, count=count, kept=kept.arn
    )


def _target_ids(context: Context) -> list[str]:
    assert context.target is not None
    digest = context.target.digest
    return [d for d, deployed in context.environment.deployed.items() if deployed == digest]


def _single(facts: SlotFacts, context: Context, *, granted: Cost) -> Verdict:
    """Rows 6 and 7: exactly one runs."""
    (task,) = running(facts)
    state, due = readiness(task, facts, context)
    available = state is Readiness.HEALTHY and len(facts.live) == 1 and not facts.doubted_stops
    assert context.target is not None
    if context.environment.deployed[task.started_by] == context.target.digest:
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
            return _verdict(VerdictKind.KEEP, SlotClass.STOPPING, "stopping", task=task.arn)
        return _verdict(
            VerdictKind.KEEP, SlotClass.CURRENT, "current", available=True, task=task.arn
        )
    if state is Readiness.PENDING:
        return _verdict(
            VerdictKind.KEEP,
            SlotClass.STARTING,
            "starting",
            next_look=due,
            status=task.last_status,
            task=task.arn,
        )
    if state is Readiness.SETTLING:
        return _verdict(
            VerdictKind.KEEP, SlotClass.SETTLING, "settling", next_look=due, task=task.arn
        )
    reason = _REPLACE_REASONS[state]
    if granted is Cost.REPAIR and _can_replace(facts, context):
        stop = Stop(task.arn, REPLACE_CAUSES[reason])
        return _verdict(
            VerdictKind.REPLACE,
            SlotClass.FAILING,
            reason,
            stops=(stop,),
            rollout=True,
            task=task.arn,
        )
    backs_off = context.now.mono < facts.notes.replace_not_before
    waits = backs_off or not _can_replace(facts, context)
    return _verdict(
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
        return _verdict(
            VerdictKind.KEEP,
            slot_class,
            "outdated-kept",
            available=available,
            next_look=due,
            status=status,
            task=task.arn,
        )
    if not _can_replace(facts, context):
        return _verdict(
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
        return _verdict(
            VerdictKind.REPLACE,
            slot_class,
            "replace-outdated",
            stops=(stop,),
            rollout=True,
            task=task.arn,
        )
    verdict = _verdict(
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
    return _verdict(
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
    if condition in (HostCondition.DRAINING, HostCondition.LEAVING):
        return SlotClass.LEAVING
    if not facts.matches:
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
    if context.primed and context.cluster_active:
        return verdict
    reason = "unprimed" if context.cluster_active else "cluster-inactive"
    if verdict.kind is VerdictKind.IGNORE:
        return verdict
    return _verdict(VerdictKind.WAIT, verdict.slot_class, reason, available=verdict.available)


def _after(since: float | None, delay: float) -> float | None:
    return None if since is None else since + delay


def _verdict(
    kind: VerdictKind,
    slot_class: SlotClass,
    reason: str,
    *,
    available: bool = False,
    stops: tuple[Stop, ...] = (),
    candidate: Cost = Cost.NONE,
    rollout: bool = False,
    next_look: float | None = None,
    **details: str,
) -> Verdict:
    return Verdict(
        kind=kind,
        slot_class=slot_class,
        reason=reason,
        details=details,
        available=available,
        stops=stops,
        candidate=candidate,
        rollout=rollout,
        next_look=next_look,
    )
