"""When the host decides: it is held, leaving, gone, idle, somebody else's, or the environment ends.

Row 2 of the planner's table. Nothing is started here; what is stopped has its cause in the host.
"""

from blox.scheduler.daemons import running
from blox.scheduler.eligibility import HostCondition, may_start, may_stay
from blox.scheduler.model import SlotClass, VerdictKind
from blox.scheduler.surplus import surplus
from blox.scheduler.verdicts import Context, Cost, Gate, SlotFacts, Stop, Verdict, verdict_of

_SOON = 1.0
"""Seconds until it is looked again whether something has become known that nobody tells us."""


def ending(facts: SlotFacts) -> Verdict:
    """The environment is being deleted with its tasks: every one of them is stopped."""
    return _leave(facts, SlotClass.UNMATCHED, "ending", "its environment is being deleted")


def held(facts: SlotFacts) -> Verdict | None:
    """Somebody told us to leave the host as it is; a record that is no host, or a host that is
    gone, is not left alone, it is over."""
    over = (HostCondition.SUPERSEDED, HostCondition.LOST, HostCondition.GONE)
    if facts.hold is None or facts.condition in over:
        return None
    kind = VerdictKind.KEEP if facts.live else VerdictKind.WAIT
    return verdict_of(kind, SlotClass.HELD, "held", why=facts.hold.why)


def host_decides(facts: SlotFacts, context: Context, *, granted: Cost) -> Verdict | None:
    """Row 2: the host must not keep one, or nothing can be done there."""
    condition = facts.condition
    if condition is HostCondition.SUPERSEDED:
        return _leave(facts, SlotClass.SUPERSEDED, "superseded", "its host's record was superseded")
    if condition in (HostCondition.LOST, HostCondition.GONE):
        return verdict_of(VerdictKind.WAIT, SlotClass.LOST, "lost")
    if condition is HostCondition.DRAINING:
        return _draining(facts, context)
    if facts.gate is not Gate.OPEN and (may_start(condition) or not facts.live):
        return _not_moved(facts)
    if not facts.matches and not (facts.live and may_stay(condition, matches=False)):
        return _unmatched(facts, context, granted=granted)
    if condition is HostCondition.AWAY:
        due = after(facts.condition_since, context.settings.lost_after)
        kind = VerdictKind.KEEP if facts.live else VerdictKind.WAIT
        return verdict_of(kind, SlotClass.AWAY, "away", next_look=due)
    if not facts.matches:
        # Nothing reaches the host, or ECS is at work on it: a stop asked for now would hold the
        # budget for as long as that lasts.
        reason = "disconnected" if condition is HostCondition.DISCONNECTED else "not-ready"
        return verdict_of(VerdictKind.KEEP, SlotClass.UNMATCHED, reason, status=facts.host.status)
    return None


def _not_moved(facts: SlotFacts) -> Verdict:
    """The host belongs to the DAEMON service that the environment is taking over from."""
    if facts.gate is Gate.LEAVING:
        return _leave(
            facts, SlotClass.UNMATCHED, "handed-back", "its host goes back to the service"
        )
    kind = VerdictKind.KEEP if facts.live else VerdictKind.IGNORE
    return verdict_of(kind, SlotClass.UNMATCHED, "not-moved")


def _unmatched(facts: SlotFacts, context: Context, *, granted: Cost) -> Verdict:
    leaving = _leave(
        facts, SlotClass.UNMATCHED, "unmatched", "its host no longer matches the selector"
    )
    if not leaving.stops or granted is Cost.UNMATCHED:
        return leaving
    reason = "stop-held" if context.stops_held else "unmatched-stop"
    return verdict_of(VerdictKind.KEEP, SlotClass.UNMATCHED, reason, candidate=Cost.UNMATCHED)


def yielded(facts: SlotFacts, context: Context) -> Verdict | None:
    """Nothing but daemons has run here for long enough: ours leaves, so that ECS can remove the
    host, and stays away until something else runs here."""
    if facts.idle_unsure and not facts.live:
        # Perhaps ours had left, and what tells so has not been read yet.
        soon = context.now.mono + _SOON
        return verdict_of(VerdictKind.WAIT, SlotClass.MISSING, "unprimed", next_look=soon)
    due = idle_until(facts, context)
    if due is None or context.now.mono < due:
        return None
    if facts.live and facts.yields_later:
        return None
    return _leave(facts, SlotClass.YIELDED, "yielded", "nothing but daemons ran on its host")


def idle_until(facts: SlotFacts, context: Context) -> float | None:
    """When (monotonic) an idle host has been so for long enough."""
    wait = context.environment.policy.when_idle
    if not facts.idle or wait is None or facts.notes.idle_since is None:
        return None
    return facts.notes.idle_since + max(wait, facts.idle_wait)


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
        return surplus(facts, context) or verdict_of(
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
        return verdict_of(VerdictKind.STOP, slot_class, f"{reason}-stop", stops=stops, cause=cause)
    if any(task.arn in facts.unidentified and task.wanted_by_ecs for task in facts.live):
        return verdict_of(VerdictKind.WAIT, slot_class, "identifying")
    if facts.live:
        return verdict_of(VerdictKind.WAIT, slot_class, "stopping")
    return verdict_of(VerdictKind.IGNORE, slot_class, reason)


def after(since: float | None, delay: float) -> float | None:
    """`delay` seconds after `since`, if that is known."""
    return None if since is None else since + delay
