"""What the planner is given about a slot, and what it answers."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from blox.base.ambient import Now
from blox.ecs.model import Host, Task
from blox.scheduler.eligibility import HostCondition, Ineligible, Lack
from blox.scheduler.intents import Attempt
from blox.scheduler.model import (
    Deployment,
    Environment,
    Freeze,
    Hold,
    Revision,
    SlotClass,
    VerdictKind,
)
from blox.settings import SchedulerSettings


class Refusal(Struct, frozen=True, kw_only=True):
    """Why ECS last refused to start here, and when to ask again."""

    code: str
    """ECS's failure reason (AGENT, RESOURCE:MEMORY, …) or error code."""
    text: str
    retry_at: float
    attempts: int = 1
    request_id: str = ""


class Notes(Struct, frozen=True, kw_only=True):
    """What this process remembers of a slot between passes. Losing it costs patience, not safety.
    Times are monotonic."""

    pending_since: float | None = None
    """Since when the daemon has been getting ready. Moved on by the time in which the agent was
    away or another task of the host was stopping, because ECS holds it then."""
    held_since: float | None = None
    stopping_since: float | None = None
    refusal: Refusal | None = None
    batch_limit: int = 10
    """How many hosts a call that names this one may have (R14)."""
    doubts: int = 0
    """Calls in doubt running, without a clear answer between."""
    replacing: bool = False
    """We stopped its daemon to replace it: the start that follows counts as rollout."""
    replacements: int = 0
    """Replacements of failing daemons of the target revision running."""
    replace_not_before: float = 0.0
    idle_since: float | None = None
    """Since when nothing but daemons has run on the host. -inf: since before we looked."""
    was_busy: bool = False
    """Something else was seen to run there."""


class Gate(StrEnum):
    """Whose a host is while an environment takes over from a DAEMON service."""

    OPEN = "open"
    """There is no such service, or the host was moved."""
    THEIRS = "theirs"
    LEAVING = "leaving"
    """It is going back to the service: our daemon makes way."""


class SlotFacts(Struct, frozen=True, kw_only=True):
    """All that the verdict on one slot depends on, besides the environment."""

    host: Host
    condition: HostCondition
    condition_since: float | None = None
    """When the agent disconnected, or draining began."""
    matches: bool = True
    """The selector matches, or may: what it asks is not known yet. Ignorance justifies no stop."""
    surely_matches: bool = True
    ineligible: Ineligible | None = None
    lack: Lack | None = None
    """What the target needs and the host has not, counting what our own daemon here would free."""
    live: tuple[Task, ...] = ()
    """Live tasks that are ours or may be, in ARN order."""
    unidentified: frozenset[str] = frozenset()
    """Of those, the ones whose marker is unknown yet: live for starting, not ours for stopping."""
    stopped: tuple[Task, ...] = ()
    """Stopped tasks of ours of the target's digest that ECS still shows."""
    occupant: str = ""
    """Who else runs this daemon here (R26); "" for nobody."""
    hold: Hold | None = None
    gate: Gate = Gate.OPEN
    watches_idle: bool = False
    """The environment leaves idle hosts."""
    newly_joined: bool = False
    """The host registered less long ago than it may be idle."""
    busy: bool = False
    """Something runs here that is no daemon, or one that stays."""
    idle_unsure: bool = False
    """Whether it is idle is being found out."""
    idle: bool = False
    """Nothing but daemons that yield runs here, and ECS removes such hosts."""
    idle_wait: float = 0.0
    """Seconds after which an idle host is left: the longest wait of the daemons there."""
    yields_later: bool = False
    """A younger daemon leaves the idle host before ours."""
    drain_holders: int = 0
    """Live tasks that a drain waits for before the daemon may leave (R17)."""
    others_stopping: bool = False
    attempt: Attempt | None = None
    """The start that is in flight or in doubt here."""
    asked: frozenset[str] = frozenset()
    """Tasks with a StopTask of ours in flight."""
    doubted_stops: frozenset[str] = frozenset()
    """Tasks that a StopTask without an answer may still stop."""
    notes: Notes = Notes()


class Trouble(Struct, frozen=True, kw_only=True):
    """An environment's own condition: ECS refuses it as a whole."""

    code: str
    text: str
    since: float
    probe_at: float
    request_id: str = ""


class Context(Struct, frozen=True, kw_only=True):
    """What all slots of an environment share in one pass."""

    environment: Environment
    now: Now
    settings: SchedulerSettings
    deployment: Deployment | None = None
    """The newest that was not stopped."""
    target: Revision | None = None
    checks: Mapping[str, bool] = {}
    """Digest → whether its definition has an essential health check."""
    primed: bool = True
    cluster_active: bool = True
    stale: bool = False
    """R12: the view of the cluster is too old to act on."""
    trouble: Trouble | None = None
    definition_active: bool = True
    observing: bool = False
    """Nothing is carried out: deployments stay pending, verdicts say what would be done."""
    freeze: Freeze | None = None
    """Nothing is started or stopped for this environment."""
    past_open: bool = False
    """A start of the environment whose records are lost may still arrive."""
    past_reason: str = "past-open"
    """The reason that says what is waited for then."""
    stops_held: bool = False
    """R24: too many hosts stopped matching at once; their stops wait for a person."""
    surplus_from: float = 0.0
    """Monotonic: surplus is left alone before this, because stops of a process that ended without a
    clean hand-over may still land (R8)."""


class Cost(StrEnum):
    """What it takes from the budget to act on a candidate (R19)."""

    NONE = "none"
    FREE = "free"
    """An older revision's daemon that has failed: replacing it makes nothing worse."""
    REPAIR = "repair"
    """A failing daemon of the target revision."""
    ROLLOUT = "rollout"
    """A healthy daemon of an older revision."""
    UNMATCHED = "unmatched"
    """A daemon on a host that stopped matching."""


class Stop(Struct, frozen=True):
    """One daemon that is to be stopped."""

    task_arn: str
    cause: str
    """For people: becomes part of the task's stoppedReason."""
    needs_survivor: str = ""
    """The task that must be RUNNING with desired RUNNING in the look before this stop."""


class Verdict(Struct, frozen=True, kw_only=True):
    """What is decided for one slot, and why."""

    kind: VerdictKind
    slot_class: SlotClass
    reason: str
    """A code of `blox.scheduler.reasons`."""
    details: Mapping[str, str] = {}
    available: bool = False
    """Exactly one healthy daemon of ours, whatever its revision."""
    stops: tuple[Stop, ...] = ()
    candidate: Cost = Cost.NONE
    """Not acted on until the budget grants it."""
    rollout: bool = False
    """Its calls are paced as part of a rollout, behind repairs."""
    next_look: float | None = None
    """Monotonic: when to judge again if nothing happens before."""


def verdict_of(
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
    """A verdict, its details given as keywords."""
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


def alike(one: Verdict, other: Verdict) -> bool:
    """Whether two verdicts are the same to people: all but how they are carried out."""
    return (
        one.kind is other.kind
        and one.slot_class is other.slot_class
        and one.reason == other.reason
        and one.available == other.available
        and one.details == other.details
    )
