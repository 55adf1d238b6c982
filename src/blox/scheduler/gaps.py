"""How long a host that is moved between a service and an environment has neither daemon. Pure.

Both ends are ECS's own times: `stoppingAt`, from which on the former daemon was on its way out, and
`startedAt`, from which on the new one was RUNNING. The gap is therefore never told too short.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from msgspec import Struct, UnsetType
from msgspec.structs import replace

from blox.ecs.model import RUNNING, Task, TaskDocument
from blox.scheduler.migrations import MovingHost
from blox.scheduler.model import LEAVING, MOVED, Environment, Gaps, Migration
from blox.scheduler.slots import of_service

_BEFORE_ITS_TURN: Final = 60.0
"""Seconds: a former daemon that ended no longer before the turn than this belongs to it."""


class Arrival(Struct, frozen=True, kw_only=True):
    """One host that has come to where it was to go."""

    number: int
    """Of this migration, both ways, from 1."""
    host: str
    back: bool
    gap: float | None
    """Seconds without a daemon; None: not known, because none has come after the former."""
    two: bool
    """ECS wanted both at one time."""
    at: float
    """ECS's clock."""


def turn_of(
    host: MovingHost | None, *, back: bool, given_up: bool
) -> Literal["arrived", "over", "goes on"]:
    """How the turn of a host stands; `host` None: it is not there any more. `given_up`: the service
    does not seem to start a task there."""
    if host is None:
        return "over"
    if not host.settled:
        return "goes on"
    if not back:
        if host.mark != MOVED:
            return "over"  # The call that was to mark it was refused, or it never arrived.
        return "arrived" if host.available else "goes on"
    if host.mark == MOVED:
        return "over"
    if host.mark == LEAVING:
        return "goes on"
    if host.service_runs or given_up:
        return "arrived"
    return "goes on" if host.reachable else "over"


def measured(
    tasks: Sequence[Task],
    environment: Environment,
    service: str,
    *,
    back: bool,
    turn: float,
) -> tuple[float | None, bool]:
    """The gap on one host whose turn came at `turn`, and whether ECS wanted both at one time."""
    ours = [task for task in tasks if environment.digest_of(task) is not None]
    theirs = [task for task in tasks if of_service(task, service)]
    former, new = (ours, theirs) if back else (theirs, ours)
    runs = [t for t in new if t.wanted_by_ecs and t.last_status == RUNNING and t.started_at]
    if not runs:
        return None, False
    begun = max(task.started_at or 0.0 for task in runs)
    ended = [_ended(task) for task in former if not (task.wanted_by_ecs and task.live)]
    lately = [end for end in ended if end >= turn - _BEFORE_ITS_TURN]
    created = min(task.created_at or begun for task in runs)
    two = any(task.wanted_by_ecs for task in former) or any(end > created for end in lately)
    return max(0.0, begun - max(lately, default=turn)), two


def timed(task: Task, document: TaskDocument) -> Task:
    """What the view knows of a task, with the times that a read has shown of it."""
    return replace(
        task,
        created_at=_shown(document.created_at),
        started_at=_shown(document.started_at),
        stopping_at=_shown(document.stopping_at),
        stopped_at=_shown(document.stopped_at),
    )


def _shown(value: float | UnsetType | None) -> float | None:
    return None if isinstance(value, UnsetType) else value


def _ended(task: Task) -> float:
    return task.stopping_at or task.stopped_at or 0.0


def both_wanted(tasks: Iterable[Task], environment: Environment, service: str) -> bool:
    """Whether ECS wants a task of each side here now."""
    wanted = [task for task in tasks if task.wanted_by_ecs]
    return any(of_service(task, service) for task in wanted) and any(
        environment.digest_of(task) is not None for task in wanted
    )


def counted(migration: Migration, arrivals: Sequence[Arrival], *, twos: int) -> Migration:
    """The migration with these hosts counted, and their turns ended. `twos`: hosts newly seen with
    both wanted."""
    there, returned = migration.there, migration.returned
    for arrival in arrivals:
        if arrival.back:
            returned = _counted(returned, arrival)
        else:
            there = _counted(there, arrival)
    if migration.back:
        returned = replace(returned, twos=returned.twos + twos)
    else:
        there = replace(there, twos=there.twos + twos)
    gone = {arrival.host for arrival in arrivals}
    turns = {host: since for host, since in migration.turns.items() if host not in gone}
    arrived = migration.arrived + len(arrivals)
    return replace(migration, arrived=arrived, there=there, returned=returned, turns=turns)


def _counted(gaps: Gaps, arrival: Arrival) -> Gaps:
    gaps = replace(gaps, hosts=gaps.hosts + 1)
    if arrival.gap is None:
        return gaps
    if not gaps.measured or arrival.gap > gaps.worst:
        gaps = replace(gaps, worst=arrival.gap, worst_host=arrival.host)
    return replace(gaps, measured=gaps.measured + 1, total=gaps.total + arrival.gap)
