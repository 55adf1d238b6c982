"""Taking over from a DAEMON service, host by host, and giving back. Pure.

A custom attribute says whose each host is, and both sides obey it:

    no attribute    the service's. Its placement constraint asks for hosts without the attribute.
    ours            blox's: the service stops its task there, then the environment starts its own
    leaving         on the way back: the environment stops its own, then the attribute is removed

A DAEMON service stops tasks on hosts that no longer meet its constraints, so that moving a host is
putting an attribute on it:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_services.html

The next step is decided anew each time from what is seen; nothing but the direction is remembered.
"""

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from blox.ecs.model import ACTIVE, ServiceDocument
from blox.scheduler.model import LEAVING, MOVED, WANTED, Migration, SlotClass

Phase = Literal[
    "unread",
    "not-deployed",
    "constraint",
    "moving",
    "failing",
    "moved",
    "service-gone",
    "done",
    "giving-back",
    "given-back",
    "frozen",
    "observing",
    "restarted",
]
_BROKEN: Final = (SlotClass.FAILING, SlotClass.BLOCKED)


class MovingHost(Struct, frozen=True, kw_only=True):
    """One host as a migration sees it."""

    arn: str
    mark: str | None
    """The attribute's value; None: it has none."""
    ready: bool
    """It can take a daemon now, matches the selector and is not held."""
    service_runs: bool
    """A task of the service is RUNNING there."""
    ours: bool
    """A daemon of the environment is live there."""
    slot_class: SlotClass | None
    """As the environment counts it."""
    awaited: bool = False
    """Its mark was taken away lately, and the service has not started its own yet."""
    settled: bool = True
    """No change of its mark may still be on its way."""


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


def attribute_of(environment_name: str) -> str:
    """The attribute by which hosts are moved to this environment."""
    return f"blox.{environment_name}"


def constraint_of(attribute: str) -> str:
    """The placement constraint that keeps a service from hosts that are not its own.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-query-language.html"""
    return f"attribute:{attribute} !exists"


def constrained(service: ServiceDocument, attribute: str) -> bool:
    """Whether the service has that placement constraint."""
    wanted = (
        f"attribute:{attribute} !exists",
        f"attribute:{attribute} not_exists",
        f"not(attribute:{attribute} exists)",
    )
    return any(
        constraint.type == "memberOf" and _plain(constraint.expression or "") in wanted
        for constraint in service.placement_constraints or ()
    )


def _plain(expression: str) -> str:
    text = " ".join(expression.split())
    return text.replace("not (", "not(").replace("( ", "(").replace(" )", ")")


def next_step(
    migration: Migration,
    hosts: Sequence[MovingHost],
    service: ServiceDocument | None,
    *,
    deployed: bool,
) -> Step:
    """What to do now. `service`: as ECS shows it; None: it is gone."""
    if migration.done:
        marked = sorted(h.arn for h in hosts if h.mark is not None and h.settled)
        return Step(phase="done", delete=tuple(marked))
    if service is None or service.status != ACTIVE:
        return Step(phase="service-gone")
    if not constrained(service, migration.attribute):
        return Step(phase="constraint")
    if migration.back:
        return _back(migration, hosts)
    if not deployed:
        return Step(phase="not-deployed")
    return _forward(migration, hosts)


def _forward(migration: Migration, hosts: Sequence[MovingHost]) -> Step:
    """Move hosts on while those that were moved get on."""
    busy = [h for h in hosts if h.mark == MOVED and _under_way(h)]
    turned = [h for h in hosts if h.mark == LEAVING and h.settled]
    if any(h.slot_class in _BROKEN for h in busy):
        return Step(phase="failing", busy=len(busy))
    waiting = [h for h in hosts if h.mark is None and h.ready and h.settled]
    if not busy and not waiting and not turned:
        return Step(phase="moved")
    # Where the service has its task first: elsewhere it may be about to start one.
    order = sorted(waiting, key=lambda h: (not h.service_runs, h.arn))
    room = max(0, migration.wave - len(busy))
    chosen = [*turned, *order][:room]
    return Step(
        phase="moving", put=tuple(h.arn for h in chosen), value=MOVED, busy=len(busy) + len(chosen)
    )


def _under_way(host: MovingHost) -> bool:
    """Marked as ours, wanted, and without its daemon yet."""
    return not host.settled or (host.slot_class in WANTED and host.slot_class != SlotClass.CURRENT)


def _back(migration: Migration, hosts: Sequence[MovingHost]) -> Step:
    """Give hosts back: ours stops first, then the mark goes and the service starts its own."""
    empty = [h for h in hosts if h.mark == LEAVING and not h.ours and h.settled]
    leaving = [h for h in hosts if h.mark == LEAVING]
    bare = [h for h in hosts if h.awaited]
    moved = [h for h in hosts if h.mark == MOVED and h.settled]
    busy = len(leaving) + len(bare)
    if not busy and not any(h.mark == MOVED for h in hosts):
        return Step(phase="given-back")
    room = max(0, migration.wave - busy)
    chosen = sorted(moved, key=lambda h: h.arn)[:room]
    return Step(
        phase="giving-back",
        put=tuple(h.arn for h in chosen),
        value=LEAVING,
        delete=tuple(sorted(h.arn for h in empty)),
        busy=busy + len(chosen),
    )
