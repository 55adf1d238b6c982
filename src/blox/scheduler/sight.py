"""What one look at a migration shows: every host, whose it is, and what stands against its move."""

from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from blox.base.ids import short_id
from blox.ecs.model import RUNNING, Host, ServiceDocument
from blox.ecs.selector import Selector, SelectorError, parse
from blox.scheduler.board import allowance
from blox.scheduler.eligibility import HostCondition, condition
from blox.scheduler.gaps import both_wanted
from blox.scheduler.migrations import PLACES, MovingHost, Place, Step, constraints_of, place_of
from blox.scheduler.model import LEAVING, Environment, Migration
from blox.scheduler.moves import MigrationSeen, Moves, Why
from blox.scheduler.reasons import sentence
from blox.scheduler.slots import Target, mark_of, of_service
from blox.scheduler.state import State
from blox.scheduler.view import HostSeen

_CONDITIONS: Mapping[HostCondition, str] = {
    HostCondition.DISCONNECTED: "disconnected",
    HostCondition.AWAY: "away",
    HostCondition.LOST: "lost",
    HostCondition.DRAINING: "draining",
    HostCondition.NOT_READY: "not-ready",
    HostCondition.LEAVING: "not-ready",
    HostCondition.GONE: "not-ready",
    HostCondition.SUPERSEDED: "superseded",
}


class Sight(Struct, kw_only=True):
    """One look."""

    place: str
    """`CLUSTER/NAME` of the environment."""
    hosts: list[MovingHost]
    whys: dict[str, Why]
    """Host → why it cannot be moved now, or is out of reach."""
    given_up: dict[str, None]
    """Hosts given back on which the service does not seem to start a task."""
    new_twos: list[str]
    """Hosts on which both are wanted that had not been seen so before."""
    refused: dict[str, None]
    """Hosts that ECS does not let us mark; tried again now and then."""
    service_tasks: int = 0
    """Live tasks of the service."""
    limit: int = 1

    def told(
        self, migration: Migration, step: Step, details: Mapping[str, str], moves: Moves
    ) -> MigrationSeen:
        """The same for people, after `step`."""
        places: dict[Place, int] = dict.fromkeys(PLACES, 0)
        unmovable: dict[str, Why] = {}
        without = 0
        for host in self.hosts:
            if host.turn and host.arn not in migration.turns:
                host = replace(host, turn=False)  # It has ended with this look.
            place = place_of(host, back=migration.back)
            places[place] += 1
            if place == "unmovable":
                unmovable[host.arn] = self.whys[host.arn]
            without += place == "theirs" and not host.service_runs
        return MigrationSeen(
            migration=migration,
            step=step,
            details=details,
            service=moves.service,
            limit=self.limit,
            places=places,
            unmovable=unmovable,
            without=without,
            problem=moves.problem,
            arrivals=tuple(moves.arrivals),
        )


def look_at(state: State, migration: Migration, environment: Environment, moves: Moves) -> Sight:
    """Every host as this migration sees it now."""
    sight = Sight(
        place=f"{short_id(environment.cluster_arn)}/{environment.name}",
        hosts=[],
        whys={},
        given_up={},
        new_twos=[],
        refused={},
    )
    target = _target(state, environment)
    for seen in state.view.hosts(migration.cluster_arn):
        if seen.superseded_by is None:
            sight.hosts.append(_host(state, migration, environment, moves, sight, seen, target))
    taking_part = sum(h.mark is not None or (h.reachable and not h.unable) for h in sight.hosts)
    allowed = allowance(environment.policy.max_unavailable, taking_part)
    sight.limit = min(migration.wave, allowed)
    return sight


def _target(state: State, environment: Environment) -> Target:
    """What is to run, prepared for judging: the board's, where something is deployed."""
    tracked = state.tracked.get(environment.id)
    if tracked is not None and tracked.target is not None:
        return tracked.target
    return Target(environment.newest)


def _host(
    state: State,
    migration: Migration,
    environment: Environment,
    moves: Moves,
    sight: Sight,
    seen: HostSeen,
    target: Target,
) -> MovingHost:
    now = state.now()
    arn = seen.host.arn
    tracked = state.tracked.get(environment.id)
    verdict = None if tracked is None else tracked.board.verdicts.get(arn)
    tasks = [task for task in state.view.tasks_on(arn) if task.live]
    theirs = [task for task in tasks if of_service(task, migration.service)]
    runs = any(task.wanted_by_ecs and task.last_status == RUNNING for task in theirs)
    mark, settled = moves.mark(arn, mark_of(seen.host, migration.attribute), now.mono)
    why, held, reachable = _why(state, seen, target, moves)
    if why is not None:
        sight.whys[arn] = why
    sight.service_tasks += len(theirs)
    if arn not in moves.twos and both_wanted(tasks, environment, migration.service):
        sight.new_twos.append(arn)
    if now.mono < moves.refused.get(arn, (0.0, ""))[0]:
        sight.refused[arn] = None
    turn = arn in migration.turns
    late = _is_late(migration, moves, sight, seen.host, mark, turn=turn, now=now.mono)
    return MovingHost(
        arn=arn,
        mark=mark,
        settled=settled,
        reachable=reachable,
        held=held,
        unable="" if why is None or not reachable else why.code,
        service_runs=runs,
        quiet=moves.ran(arn, runs=runs, now=now.mono, read_lag=state.assumptions.read_lag),
        ours=has_ours(state, environment, arn),
        slot_class=None if verdict is None else verdict.slot_class,
        available=verdict is not None and verdict.available,
        turn=turn,
        late=late and bool(theirs) and not migration.back,
    )


def has_ours(state: State, environment: Environment, host_arn: str) -> bool:
    """Whether a daemon of the environment is live there, or a start of one may yet succeed."""
    if state.book.in_slot((environment.id, host_arn)) is not None:
        return True
    tasks = state.view.tasks_on(host_arn)
    return any(task.live and environment.digest_of(task) is not None for task in tasks)


def _is_late(
    migration: Migration,
    moves: Moves,
    sight: Sight,
    host: Host,
    mark: str | None,
    *,
    turn: bool,
    now: float,
) -> bool:
    """Whether the side that was told to leave, or to come, has had long enough for that."""
    if not turn:
        return False
    if migration.back and mark == LEAVING:
        moves.turn_seen[host.arn] = now  # The service's time begins when the mark is gone.
        return False
    late = moves.waits(host.arn, now=now)
    if migration.back and mark is None and (late or not _wants(moves.service, host)):
        sight.given_up[host.arn] = None
    return late


def _wants(service: ServiceDocument | None, host: Host) -> bool:
    """Whether the service's own constraints let it run on this host, as far as can be told."""
    if service is None:
        return False
    for constraint in constraints_of(service):
        selector = _selector(constraint.expression or "")
        if selector is not None and selector.truth(host) is False:
            return False
    return True


@lru_cache(maxsize=256)
def _selector(expression: str) -> Selector | None:
    """None for what cannot be read here."""
    try:
        return parse(expression) if expression else None
    except SelectorError:
        return None


def _why(
    state: State, seen: HostSeen, target: Target, moves: Moves
) -> tuple[Why | None, bool, bool]:
    """Why the host cannot be moved now; whether it is held; whether it is within reach."""
    settings, now = state.settings.scheduler, state.now()
    host = seen.host
    hold = state.hold_of(seen)
    if hold is not None:
        return _because("held", why=hold.why), True, False
    found = condition(
        seen,
        now_mono=now.mono,
        away_after=settings.away_after,
        lost_after=settings.lost_after,
    )
    if found is not HostCondition.READY:
        return _because(_CONDITIONS[found], status=host.status), False, False
    matches, unable = target.fits(host)
    if unable is not None:
        return _because("ineligible", cause=unable.detail), False, True
    if matches is not True:
        return _because("unsure" if matches is None else "unmatched"), False, True
    until, cause = moves.refused.get(host.arn, (0.0, ""))
    if now.mono < until:
        return _because("refused", cause=cause), False, True
    return None, False, True


def _because(code: str, **details: str) -> Why:
    return Why(code, sentence(code, details))
