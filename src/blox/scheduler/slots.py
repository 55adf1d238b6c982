"""From the view to the facts on one slot, and what is remembered of it from pass to pass."""

from collections.abc import Callable, Mapping, Sequence, Set
from typing import NamedTuple

from msgspec.structs import replace

from blox.base.ambient import Now
from blox.base.ids import family_of
from blox.ecs.model import STOPPED, Host, Task
from blox.ecs.selector import Selector, parse
from blox.scheduler.daemons import AFTER_RUNNING, Ownership, occupies, ownership
from blox.scheduler.eligibility import (
    HostCondition,
    Ineligible,
    Lack,
    Need,
    condition,
    ineligible,
    lacks,
    need_of,
)
from blox.scheduler.intents import IntentBook
from blox.scheduler.model import LEAVING, MOVED, Environment, Hold, Revision, SlotClass
from blox.scheduler.verdicts import Gate, Notes, SlotFacts, Verdict
from blox.scheduler.view import ClusterView, HostSeen
from blox.settings import SchedulerSettings


class Target:
    """A revision prepared for judging many hosts: compiled selector, need, and what was found."""

    def __init__(self, revision: Revision) -> None:
        self.revision = revision
        self.selector: Selector = parse(revision.selector)
        self.need: Need = need_of(revision.definition, revision.task)
        self._matches: dict[str, tuple[Host, bool | None, Ineligible | None]] = {}

    def fits(self, host: Host) -> tuple[bool | None, Ineligible | None]:
        """Whether the selector matches (None: what it asks is not known of the host yet), and what
        makes the host ineligible. Remembered for as long as the host's record stays the same."""
        known = self._matches.get(host.arn)
        if known is not None and known[0] is host:
            return known[1], known[2]
        found = self.selector.truth(host), ineligible(self.revision.definition, host)
        self._matches[host.arn] = (host, *found)
        return found

    def forget(self, host_arn: str) -> None:
        self._matches.pop(host_arn, None)


class StopsKnown:
    """Our StopTask calls: in flight, and without an answer."""

    def __init__(self) -> None:
        self.asked: dict[str, None] = {}
        self.doubted: dict[str, float] = {}
        """Task → until when (monotonic) a lost StopTask may still land."""

    def doubted_among(self, tasks: tuple[Task, ...], now: float) -> frozenset[str]:
        return frozenset(t.arn for t in tasks if self.doubted.get(t.arn, 0.0) > now)

    def prune(self, now: float) -> None:
        for arn in [arn for arn, until in self.doubted.items() if until <= now]:
            del self.doubted[arn]


_OURS = "blox:"
"""How the group of every daemon that blox starts begins."""


def _is_named_so(task: Task) -> bool:
    return task.group.startswith(_OURS)


class Around(NamedTuple):
    """What a scheduler knows, whichever slot is asked about."""

    view: ClusterView
    book: IntentBook
    stops: StopsKnown
    names: Callable[[Task], str]
    """Says in words who a task that is not ours belongs to."""
    yields: Callable[[Task], float | None]
    """After how many seconds another environment's daemon leaves an idle host; None: it stays."""
    is_daemon: Callable[[Task], bool] = _is_named_so
    """Whether a task is a daemon of blox, of whatever environment."""


def gather(
    seen: HostSeen,
    environment: Environment,
    target: Target,
    around: Around,
    *,
    notes: Notes,
    needs: Mapping[str, Need],
    hold: Hold | None,
    now: Now,
    settings: SchedulerSettings,
) -> SlotFacts:
    """Everything that the verdict on this slot depends on. `needs`: digest → need, for what a
    running daemon of an older revision would free. `hold`: what is in force there."""
    host, stops = seen.host, around.stops
    live, unidentified, stopped, others = _told_apart(
        around.view.tasks_on(host.arn), environment, digest=target.revision.digest
    )
    matches, unable = target.fits(host)
    state = condition(
        seen,
        now_mono=now.mono,
        away_after=settings.away_after,
        lost_after=settings.lost_after,
    )
    occupant = ""
    if not live and matches is not False:  # Nobody asks elsewhere, and many slots are elsewhere.
        occupant = _occupant(host.arn, environment, target, others, around)
    draining = state is HostCondition.DRAINING
    facts = SlotFacts(
        host=host,
        condition=state,
        condition_since=seen.draining_since if draining else seen.disconnected_since,
        matches=matches is not False,
        surely_matches=matches is True,
        ineligible=unable,
        lack=_lack(host, environment, target, live, needs),
        live=tuple(live),
        unidentified=frozenset(unidentified),
        stopped=tuple(stopped),
        occupant=occupant,
        hold=hold,
        gate=gate_of(host, environment),
        drain_holders=_holders(others, around) if draining else 0,
        others_stopping=any(_stopping(task) for task in others),
        attempt=around.book.in_slot((environment.id, host.arn)),
        asked=frozenset(task.arn for task in live if task.arn in stops.asked),
        doubted_stops=stops.doubted_among(tuple(live), now.mono) if stops.doubted else _NOTHING,
        notes=notes,
    )
    when_idle = environment.policy.when_idle
    return facts if when_idle is None else _with_idleness(facts, others, around, now, when_idle)


def _with_idleness(
    facts: SlotFacts, others: list[Task], around: Around, now: Now, when_idle: float
) -> SlotFacts:
    """Whether ECS would remove the host if its daemons left, and when it is our turn to leave."""
    host, view = facts.host, around.view
    daemons = [task for task in others if around.is_daemon(task)]
    kinds = [
        view.is_daemon_service(task.cluster_arn, task.group)
        for task in others
        if task not in daemons
    ]
    waits = [around.yields(task) for task in daemons]
    busy = False in kinds or None in waits
    scales_in = not busy and view.scales_in(host.cluster_arn, host.capacity_provider)
    known = scales_in is not None and None not in kinds
    idle = facts.condition is HostCondition.READY and bool(scales_in) and known
    joined = host.registered_at
    return replace(
        facts,
        watches_idle=True,
        newly_joined=joined is None or now.ecs - joined < when_idle,
        busy=busy,
        idle=idle,
        idle_wait=max([when_idle, *(wait for wait in waits if wait is not None)]),
        idle_unsure=not busy and not known,
        yields_later=idle and _younger(daemons, facts.live),
    )


_NOTHING: frozenset[str] = frozenset()


def gate_of(host: Host, environment: Environment) -> Gate:
    """Whose the host is while a DAEMON service is being replaced."""
    mark = host.attributes.get(environment.gate) if environment.gate else MOVED
    if mark == MOVED:
        return Gate.OPEN
    # A value that nobody knows moves nothing: what runs there stays.
    return Gate.LEAVING if mark == LEAVING else Gate.THEIRS


def mark_of(host: Host, attribute: str) -> str | None:
    """`MOVED`, `LEAVING`, or None for a host without the attribute. Any value but `MOVED` means
    `LEAVING`: the service stays away, and nothing of ours may start."""
    if attribute not in host.attributes:
        return None
    return MOVED if host.attributes[attribute] == MOVED else LEAVING


def _younger(daemons: list[Task], live: Sequence[Task]) -> bool:
    """Whether another environment's daemon here, not yet on its way out, is younger than ours:
    daemons leave in the reverse of the order in which they came."""
    if not live:
        return False
    ours = max(_age(task) for task in live)
    return any(task.wanted_by_ecs and _age(task) > ours for task in daemons)


def _age(task: Task) -> tuple[float, str]:
    return (task.created_at or 0.0, task.arn)


def _told_apart(
    tasks: Sequence[Task], environment: Environment, *, digest: str
) -> tuple[list[Task], list[str], list[Task], list[Task]]:
    """Live ones that are ours or may be; which of them may be; ended ones of ours of this digest;
    live ones of others."""
    live: list[Task] = []
    unidentified: list[str] = []
    stopped: list[Task] = []
    others: list[Task] = []
    for task in tasks:
        owner = ownership(task, environment)
        if owner is Ownership.FOREIGN:
            if task.live:
                others.append(task)
        elif task.live:
            live.append(task)
            if owner is Ownership.MAYBE:
                unidentified.append(task.arn)
        elif environment.digest_of(task) == digest:
            stopped.append(task)
    return live, unidentified, stopped, others


def _occupant(
    host_arn: str,
    environment: Environment,
    target: Target,
    others: list[Task],
    around: Around,
) -> str:
    """R26: who does this environment's job here already, in words; "" if nobody. An environment
    that runs beside others minds only its own name, and the service that it replaces."""
    family = "" if environment.policy.beside else target.revision.definition.family
    for task in others:
        if of_service(task, environment.gate_service) or occupies(task, environment, family):
            return around.names(task)
    return _started_by_others(host_arn, environment, family, around.book)


def of_service(task: Task, service: str) -> bool:
    """Whether a task is the service's; False for ""."""
    return bool(service) and task.group == f"service:{service}"


def _started_by_others(
    host_arn: str, environment: Environment, family: str, book: IntentBook
) -> str:
    """R20 beyond one environment: a start of another one, of the same name or family, that may
    still happen here. It blocks the host although its environment may have been deleted."""
    for attempt in book.open_on(host_arn):
        intent = attempt.intent
        if intent.environment_id != environment.id and (
            intent.group == environment.group or family_of(intent.definition_arn) == family
        ):
            return f"an unanswered start of another environment ({intent.group})"
    return ""


def _lack(
    host: Host,
    environment: Environment,
    target: Target,
    live: list[Task],
    needs: Mapping[str, Need],
) -> Lack | None:
    """What the target would miss here after our own daemon, if one runs, has gone."""
    if host.remaining is None:
        return None
    digest = environment.digest_of(live[0]) if len(live) == 1 else None
    released = needs.get(digest or "")
    return lacks(target.need, host.remaining, released)


def _holders(others: list[Task], around: Around) -> int:
    """R17: live tasks that a drain waits for: not daemons of any environment of blox, nor of DAEMON
    services, which wait for us in turn."""
    return sum(
        not around.is_daemon(task)
        and not around.view.is_daemon_service(task.cluster_arn, task.group)
        for task in others
    )


def _stopping(task: Task) -> bool:
    return task.desired_status == STOPPED or task.last_status in AFTER_RUNNING


def remember(notes: Notes, facts: SlotFacts, *, now: float) -> Notes:
    """The notes before judging: how long the daemon has been getting ready or going away."""
    getting_ready = any(
        t.wanted_by_ecs and t.last_status in _GETTING_READY for t in facts.live
    ) and not any(t.last_status == "RUNNING" and t.wanted_by_ecs for t in facts.live)
    held = facts.others_stopping or not facts.host.agent_connected
    pending, held_since = notes.pending_since, notes.held_since
    if not getting_ready:
        pending, held_since = None, None
    else:
        if pending is None:
            pending, held_since = now, None
        if held_since is not None:
            pending, held_since = pending + (now - held_since), None
        if held:
            held_since = now
    going = bool(facts.live) and all(_stopping(t) or t.arn in facts.asked for t in facts.live)
    stopping = (
        (notes.stopping_since if notes.stopping_since is not None else now) if going else None
    )
    refusal = None if facts.live else notes.refusal
    idle_since = _idle_since(notes, facts, now)
    was_busy = facts.watches_idle and (notes.was_busy or facts.busy)
    if (pending, held_since, stopping, refusal, idle_since, was_busy) == (
        notes.pending_since,
        notes.held_since,
        notes.stopping_since,
        notes.refusal,
        notes.idle_since,
        notes.was_busy,
    ):
        return notes
    return replace(
        notes,
        pending_since=pending,
        held_since=held_since,
        stopping_since=stopping,
        refusal=refusal,
        idle_since=idle_since,
        was_busy=was_busy,
    )


def _idle_since(notes: Notes, facts: SlotFacts, now: float) -> float | None:
    """Since when the host has been idle, also while its agent is away. One that is found idle and
    without our daemon when we first look at it has been idle since before: our predecessor left it
    so."""
    if facts.busy or not facts.watches_idle:
        return None
    if notes.idle_since is not None or not facts.idle:
        return notes.idle_since
    return now if notes.was_busy or facts.live or facts.newly_joined else _LONG_AGO


_LONG_AGO = float("-inf")


_GETTING_READY: Set[str] = frozenset({"PROVISIONING", "PENDING", "ACTIVATING"})


def settled_notes(notes: Notes, verdict: Verdict) -> Notes:
    """The notes after judging: a daemon that is current wipes the slate."""
    if verdict.slot_class is SlotClass.CURRENT and (
        notes.replacing or notes.replacements or notes.doubts
    ):
        return replace(notes, replacing=False, replacements=0, replace_not_before=0.0, doubts=0)
    return notes
