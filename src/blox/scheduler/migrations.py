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
        return Step(phase="done", delete=_marked(hosts))
    if service is None or service.status != ACTIVE:
        return Step(phase="service-gone")
    if not constrained(service, migration.attribute):
        # The service minds no mark: one that is left from a former time would make the host leave
        # together with all others as soon as the constraint is there.
        return Step(phase="constraint", delete=_marked(h for h in hosts if not h.ours))
    if migration.back:
        return _back(hosts, limit)
    if not deployed:
        return Step(phase="not-deployed")
    return _forward(hosts, limit)


def _marked(hosts: Sequence[MovingHost] | object) -> tuple[str, ...]:
    assert hosts is not None
    return tuple(sorted(h.arn for h in hosts if h.mark is not None and h.settled))  # type: ignore[attr-defined]
