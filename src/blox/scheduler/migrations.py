"""Taking over from a DAEMON service, host by host, and giving back. Pure.

A custom attribute says whose each host is, and both sides obey it:

    no attribute    the service's. Its placement constraint asks for hosts without the attribute.
    ours            blox's: the service stops its task there, then the environment starts its own
    leaving         on the way back: the environment stops its own, then the attribute is removed

A DAEMON service stops tasks on hosts that no longer meet its constraints, so that moving a host is
putting an attribute on it:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_services.html

The next step is decided anew each time from what is seen. Remembered are the direction, and whose
turn has come without having ended. What the phases say to people: `blox.scheduler.phases`.
"""

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from blox.ecs.model import ACTIVE, PlacementConstraint, ServiceDocument
from blox.scheduler.model import LEAVING, MOVED, Migration, SlotClass

Phase = Literal[
    "unread",
    "service-unread",
    "not-deployed",
    "constraint",
    "moving",
    "service-stays",
    "failing",
    "refused",
    "moved",
    "service-gone",
    "done",
    "giving-back",
    "given-back",
    "frozen",
    "observing",
    "restarted",
]
Place = Literal["ours", "moving", "aside", "leaving", "theirs", "unmovable"]
"""Where a host is counted. ours: moved, and its daemon is healthy. moving: on its way to us. aside:
ours, and away, held, draining or otherwise out of reach now. leaving: on its way back. theirs: the
service's, until its turn. unmovable: the service's, and it cannot be moved now."""
PLACES: Final[tuple[Place, ...]] = ("ours", "moving", "aside", "leaving", "theirs", "unmovable")
MOST_CONSTRAINTS: Final = 10
"""https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html"""
_BROKEN: Final = (SlotClass.FAILING, SlotClass.BLOCKED)


class MovingHost(Struct, frozen=True, kw_only=True):
    """One host as a migration sees it."""

    arn: str
    mark: str | None
    """`MOVED`, `LEAVING`, or None for a host without the attribute."""
    settled: bool = True
    """No change of its mark may still be on its way."""
    reachable: bool = True
    """ACTIVE, its agent connected, and not held: what is asked of it now will be done now."""
    held: bool = False
    unable: str = ""
    """Why it cannot take a daemon of ours now: a code; "" when it can."""
    service_runs: bool
    """A task of the service is RUNNING there."""
    quiet: bool = False
    """For long enough no task of the service was RUNNING there, so that none is about to come."""
    ours: bool
    """A daemon of the environment is live there, or may yet come to be."""
    slot_class: SlotClass | None
    """As the environment counts it."""
    available: bool = False
    """Exactly one healthy daemon of the environment runs there."""
    turn: bool = False
    """Its turn has come and has not ended."""
    late: bool = False
    """Its turn came long ago, and the side that should leave is still there."""


class Step(Struct, frozen=True, kw_only=True):
    """What to do next, and why nothing else."""

    phase: Phase
    put: tuple[str, ...] = ()
    """Hosts to mark."""
    value: str = ""
    delete: tuple[str, ...] = ()
    """Hosts to take the mark from."""
    busy: int = 0
    """Hosts on their way."""


# --- The service's side ---------------------------------------------------------------------------


def attribute_of(environment_name: str) -> str:
    """The attribute by which hosts are moved to this environment."""
    return f"blox.{environment_name}"


def constraint_of(attribute: str) -> str:
    """The placement constraint that keeps a service from hosts that are not its own.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-query-language.html"""
    return f"attribute:{attribute} !exists"


def constrained(service: ServiceDocument, attribute: str) -> bool:
    """Whether the service has that placement constraint."""
    return any(_is_ours(constraint, attribute) for constraint in constraints_of(service))


def constraints_of(service: ServiceDocument) -> tuple[PlacementConstraint, ...]:
    """All that it has."""
    return service.placement_constraints or ()


def with_ours(service: ServiceDocument, attribute: str) -> tuple[PlacementConstraint, ...]:
    """The constraints that it should have: its own, and ours. UpdateService replaces them all."""
    ours = PlacementConstraint(type="memberOf", expression=constraint_of(attribute))
    return (*without_ours(service, attribute), ours)


def without_ours(service: ServiceDocument, attribute: str) -> tuple[PlacementConstraint, ...]:
    """The constraints that are its own."""
    return tuple(c for c in constraints_of(service) if not _is_ours(c, attribute))


def _is_ours(constraint: PlacementConstraint, attribute: str) -> bool:
    wanted = (
        f"attribute:{attribute} !exists",
        f"attribute:{attribute} not_exists",
        f"not(attribute:{attribute} exists)",
    )
    return constraint.type == "memberOf" and _plain(constraint.expression or "") in wanted


def _plain(expression: str) -> str:
    text = " ".join(expression.split())
    text = text.replace("not (", "not(").replace("( ", "(").replace(" )", ")")
    while text.startswith("(") and text.endswith(")") and text.count("(") == 1:
        text = text[1:-1].strip()
    return text


# --- The next step --------------------------------------------------------------------------------


def next_step(
    migration: Migration,
    hosts: Sequence[MovingHost],
    service: ServiceDocument | None,
    *,
    deployed: bool,
    limit: int,
) -> Step:
    """What to do now. `service`: as ECS shows it; None: it is gone. `limit`: hosts at once."""
    if migration.done:
        marked = sorted(h.arn for h in hosts if h.mark is not None and h.settled)
        return Step(phase="done", delete=tuple(marked))
    if service is None or service.status != ACTIVE:
        return Step(phase="service-gone")
    if not constrained(service, migration.attribute):
        return _unconstrained(migration, hosts)
    if migration.back:
        return _back(hosts, limit)
    if not deployed:
        return Step(phase="not-deployed")
    return _forward(hosts, limit)


def _unconstrained(migration: Migration, hosts: Sequence[MovingHost]) -> Step:
    """The service minds no mark yet. One that is left from former times would make its host leave
    the service together with all others as soon as the constraint is there: it is removed, in the
    two steps in which every mark is removed."""
    if migration.turns:
        return Step(phase="constraint")
    stale = [h for h in hosts if h.mark is not None and h.settled and not h.ours]
    return Step(
        phase="constraint",
        put=tuple(sorted(h.arn for h in stale if h.mark == MOVED)),
        value=LEAVING,
        delete=tuple(sorted(h.arn for h in stale if h.mark == LEAVING)),
    )


def _forward(hosts: Sequence[MovingHost], limit: int) -> Step:
    """Move hosts on while those that were moved get on."""
    busy = sum(map(_under_way, hosts))
    moved = [h for h in hosts if h.mark == MOVED and h.reachable]
    if any(h.late for h in moved):
        return Step(phase="service-stays", busy=busy)
    if any(h.slot_class in _BROKEN for h in moved):
        return Step(phase="failing", busy=busy)
    turned = [h for h in hosts if h.mark == LEAVING and h.settled and not h.held]
    waiting = [h for h in hosts if _may_move(h)]
    if not busy and not waiting and not turned:
        return Step(phase="moved")
    # Where the service has its task first. Elsewhere it may be about to start one.
    ripe = sorted(
        (h for h in waiting if h.service_runs or h.quiet),
        key=lambda h: (not h.service_runs, h.arn),
    )
    chosen = [*sorted(turned, key=lambda h: h.arn), *ripe][: max(0, limit - busy)]
    return Step(
        phase="moving", put=tuple(h.arn for h in chosen), value=MOVED, busy=busy + len(chosen)
    )


def _may_move(host: MovingHost) -> bool:
    return host.mark is None and host.settled and host.reachable and not host.unable


def _under_way(host: MovingHost) -> bool:
    """Marked as ours, or about to be, and without its daemon yet. A host that went away, or where
    none is wanted any more, holds nothing up."""
    if not host.settled:
        return True
    return (
        host.mark == MOVED
        and host.reachable
        and not host.unable
        and not host.available
        and host.slot_class is not SlotClass.YIELDED
    )


def _back(hosts: Sequence[MovingHost], limit: int) -> Step:
    """Give hosts back: ours stops first, then the mark goes and the service starts its own."""
    busy = sum(map(_on_its_way_back, hosts))
    moved = sorted(h.arn for h in hosts if h.mark == MOVED and h.settled and h.reachable)
    # Nothing is running out there that could be missed: they go back when they come back.
    afar = [
        h.arn for h in hosts if h.mark == MOVED and h.settled and not h.reachable and not h.held
    ]
    empty = [h.arn for h in hosts if h.mark == LEAVING and h.settled and not h.ours and not h.held]
    if not busy and not moved and not afar and not empty:
        return Step(phase="given-back")
    chosen = moved[: max(0, limit - busy)]
    return Step(
        phase="giving-back",
        put=tuple(sorted([*chosen, *afar])),
        value=LEAVING,
        delete=tuple(sorted(empty)),
        busy=busy + len(chosen),
    )


def _on_its_way_back(host: MovingHost) -> bool:
    if not host.settled:
        return True
    return host.reachable and (host.mark == LEAVING or (host.mark is None and host.turn))


# --- Counting -------------------------------------------------------------------------------------


def place_of(host: MovingHost, *, back: bool) -> Place:
    """Where a host is counted: each in one place."""
    if host.mark == LEAVING:
        return "moving" if host.turn and not back else "leaving"
    if host.mark == MOVED:
        if host.available:
            return "ours"
        return "moving" if _under_way(host) else "aside"
    if back and (host.turn or not host.settled):
        return "leaving"
    if host.reachable and not host.unable:
        return "theirs"
    return "unmovable"
