"""Carrying migrations out: marks on hosts, a few at a time, and what the moves cost.

What to do is decided by `migrations.next_step` from what the view shows; marks that were put a
moment ago and that the view does not show yet are remembered here. A process that ends in between
loses nothing: the marks are on the hosts.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from msgspec import Struct
from msgspec.structs import replace

from blox.base.errors import BloxError, Conflict
from blox.base.tasks import TaskSet
from blox.ecs.model import RUNNING, ServiceDocument, Task
from blox.ecs.port import EcsActs, InDoubt, MarkOutcome, NotDone
from blox.scheduler.eligibility import HostCondition, condition
from blox.scheduler.executor import Tokens
from blox.scheduler.migrations import MovingHost, Step, next_step
from blox.scheduler.model import Environment, Migration, SlotClass
from blox.scheduler.slots import Target
from blox.scheduler.state import State
from blox.scheduler.view import HostSeen

PACE: Final = 2.0
"""Seconds between two looks at a migration."""
SERVICE_TRUSTED: Final = 10.0
"""Seconds for which what ECS said of the service is taken to be so."""
_MARK_SHOWN: Final = 60.0
"""Seconds after which the view surely shows a mark that was put."""
_AWAITED: Final = 300.0
"""Seconds within which a service is expected to start its task on a host that it was given."""
_HOSTS_A_CALL: Final = 10
_SURELY_GONE: Final = 60.0
"""Seconds for which ECS must show no such service."""

_log = structlog.get_logger("blox.migrations")


class _Mark(Struct, frozen=True):
    value: str | None
    at: float
    """Monotonic: of the call."""
    sure: bool = True


class MigrationSeen(Struct, frozen=True, kw_only=True):
    """How a migration stands, for people."""

    migration: Migration
    step: Step
    problem: str = ""
    """Why the last call failed; "" when it did not."""


class _Moves:
    """What one migration remembers between two looks."""

    def __init__(self) -> None:
        self.marks: dict[str, _Mark] = {}
        self.moving: dict[str, None] = {}
        """Hosts seen on their way to us."""
        self.given: dict[str, float] = {}
        """Hosts given back → when."""
        self.service: ServiceDocument | None = None
        self.service_read: float | None = None
        self.gone_since: float | None = None
        self.seen: MigrationSeen | None = None


class Migrator:
    """Moves the hosts of every migration of this process's domain."""

    def __init__(
        self,
        state: State,
        acts: EcsActs | None,
        *,
        tokens: Tokens | None,
        owned: Callable[[], str | None],
    ) -> None:
        """`acts` None: nothing is marked, the steps only say what would be done. `owned()`: None
        while this process owns the domain, else why not."""
        self._state = state
        self._acts = acts
        self._tokens = tokens
        self._owned = owned
        self._moves: dict[str, _Moves] = {}
        self._tasks = TaskSet("migrator")
        self.not_before = 0.0
        """Monotonic: marks of a process that ended without a clean hand-over may land before."""

    def start(self) -> None:
        self._tasks.start(self._run(), name="moves", eternal=True)

    async def watch(self) -> None:
        """Raises when the background task fails, which is a defect."""
        await self._tasks.watch()

    async def close(self) -> None:
        await self._tasks.close()

    def seen(self, environment_id: str) -> MigrationSeen | None:
        """How the migration to this environment stands; None before the first look."""
        moves = self._moves.get(environment_id)
        return None if moves is None else moves.seen

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PACE)
            for migration in self._state.repository.migrations():
                try:
                    await self._look(migration)
                except Conflict:
                    continue  # Changed by somebody meanwhile: the next look sees it.
                except BloxError as error:
                    _log.warning("a migration waits", problem=error.message)
            known = {m.environment_id for m in self._state.repository.migrations()}
            self._moves = {id_: moves for id_, moves in self._moves.items() if id_ in known}

    # --- One look ---------------------------------------------------------------------------------

    async def _look(self, migration: Migration) -> None:
        state = self._state
        environment = state.repository.environment(migration.environment_id)
        cluster = state.view.cluster(migration.cluster_arn)
        if environment is None or environment.deleted_at is not None or environment.ending:
            return
        moves = self._moves.setdefault(migration.environment_id, _Moves())
        if cluster is None or not cluster.primed:
            moves.seen = MigrationSeen(migration=migration, step=Step(phase="unread"))
            return
        await self._read_service(migration, moves)
        hosts = self._hosts(migration, environment, moves)
        deployed = state.deployment_in_force(environment) is not None
        step = next_step(migration, hosts, moves.service, deployed=deployed)
        step = self._allowed(step, environment)
        problem = await self._carry_out(step, migration, moves)
        migration = await self._account(migration, environment, hosts, moves)
        moves.seen = MigrationSeen(migration=migration, step=step, problem=problem)
        if step.phase == "done" and not any(host.mark is not None for host in hosts):
            await state.repository.end_migration(environment)
        elif self._surely_gone(migration, moves):
            await self._finish(migration, environment)

    def _allowed(self, step: Step, environment: Environment) -> Step:
        if self._acts is None:
            return replace(step, phase="observing", put=(), delete=())
        if self._state.freeze_of(environment) is not None:
            return replace(step, phase="frozen", put=(), delete=())
        if self._state.clock.monotonic() < self.not_before and (step.put or step.delete):
            return replace(step, phase="restarted", put=(), delete=())
        return step

    async def _read_service(self, migration: Migration, moves: _Moves) -> None:
        now = self._state.clock.monotonic()
        if moves.service_read is not None and now < moves.service_read + SERVICE_TRUSTED:
            return
        read = await self._state.reads.describe_services(migration.cluster_arn, [migration.service])
        live = [service for service in read.items if service.status != "INACTIVE"]
        moves.service = live[0] if live else None
        moves.service_read = now
        if live:
            moves.gone_since = None
        elif moves.gone_since is None:
            moves.gone_since = now

    def _surely_gone(self, migration: Migration, moves: _Moves) -> bool:
        """Whether the service is gone, and its last task with it."""
        since = moves.gone_since
        if migration.back or migration.done or since is None:
            return False
        if self._acts is None or self._state.clock.monotonic() < since + _SURELY_GONE:
            return False
        return not any(
            task.live and _of_service(task, migration)
            for seen in self._state.view.hosts(migration.cluster_arn)
            for task in self._state.view.tasks_on(seen.host.arn)
        )

    # --- The hosts --------------------------------------------------------------------------------

    def _hosts(
        self, migration: Migration, environment: Environment, moves: _Moves
    ) -> list[MovingHost]:
        target = Target(environment.newest)
        tracked = self._state.tracked.get(environment.id)
        verdicts = {} if tracked is None else tracked.board.verdicts
        now = self._state.now()
        found = []
        for seen in self._state.view.hosts(migration.cluster_arn):
            if seen.superseded_by is not None:
                continue
            arn = seen.host.arn
            verdict = verdicts.get(arn)
            tasks = [task for task in self._state.view.tasks_on(arn) if task.live]
            mark, settled = self._mark(migration, seen, moves, now.mono)
            runs = any(_of_service(task, migration) and _runs(task) for task in tasks)
            if runs:
                moves.given.pop(arn, None)
            found.append(
                MovingHost(
                    arn=arn,
                    mark=mark,
                    ready=self._ready(seen, target, now.ecs, now.mono),
                    service_runs=runs,
                    ours=any(environment.digest_of(task) is not None for task in tasks),
                    slot_class=None if verdict is None else verdict.slot_class,
                    awaited=now.mono < moves.given.get(arn, float("-inf")) + _AWAITED,
                    settled=settled,
                )
            )
        return found

    def _mark(
        self, migration: Migration, seen: HostSeen, moves: _Moves, now: float
    ) -> tuple[str | None, bool]:
        """The host's mark, ours of a moment ago included, and whether it can change no more by
        itself: a call without an answer may still take effect."""
        shown = seen.host.attributes.get(migration.attribute)
        put = moves.marks.get(seen.host.arn)
        if put is None:
            return shown, True
        life = self._state.assumptions.signature_age if not put.sure else _MARK_SHOWN
        if now >= put.at + life or (put.sure and shown == put.value):
            del moves.marks[seen.host.arn]
            return shown, True
        return (put.value, put.sure) if put.sure else (shown, False)

    def _ready(self, seen: HostSeen, target: Target, ecs_now: float, mono: float) -> bool:
        settings = self._state.settings.scheduler
        state = condition(
            seen,
            now_mono=mono,
            away_after=settings.away_after,
            lost_after=settings.lost_after,
        )
        matches, unable = target.fits(seen.host)
        hold = self._state.repository.hold(seen.host.arn, seen.host.instance_id)
        held = hold is not None and ecs_now < hold.until
        return state is HostCondition.READY and matches is True and unable is None and not held

    # --- Acting -----------------------------------------------------------------------------------

    async def _carry_out(self, step: Step, migration: Migration, moves: _Moves) -> str:
        """Put and delete marks; why a call failed, "" if none did."""
        problem = ""
        for first in range(0, len(step.delete), _HOSTS_A_CALL):
            chunk = step.delete[first : first + _HOSTS_A_CALL]
            problem = await self._change(migration, chunk, None, moves) or problem
        for first in range(0, len(step.put), _HOSTS_A_CALL):
            chunk = step.put[first : first + _HOSTS_A_CALL]
            problem = await self._change(migration, chunk, step.value, moves) or problem
        return problem

    async def _change(
        self, migration: Migration, hosts: tuple[str, ...], value: str | None, moves: _Moves
    ) -> str:
        assert self._acts is not None
        assert self._tokens is not None
        await self._tokens(rollout=True)
        at = self._state.clock.monotonic()
        outcome = await self._send(migration, hosts, value)
        if isinstance(outcome, NotDone):
            _log.warning("hosts could not be marked", problem=outcome.message, code=outcome.code)
            return f"{outcome.code}: {outcome.message}"
        sure = not isinstance(outcome, InDoubt)
        text = "moved to this environment" if value == "ours" else "goes back to the service"
        for host in hosts:
            moves.marks[host] = _Mark(value, at, sure)
            if value is None:
                moves.given[host] = at
            self._state.tell(migration.environment_id, host, "called", f"marked: {text}")
            self._state.view.recheck(host)
        return "" if sure else f"in doubt: {outcome.cause}"  # type: ignore[union-attr]

    async def _send(
        self, migration: Migration, hosts: tuple[str, ...], value: str | None
    ) -> MarkOutcome:
        assert self._acts is not None

        def permit() -> str | None:
            held = self._state.repository.migration(migration.environment_id)
            environment = self._state.repository.environment(migration.environment_id)
            if held is None or held.back != migration.back or environment is None:
                return "the migration has changed"
            if self._state.freeze_of(environment) is not None:
                return "it is frozen"
            return self._owned()

        if value is None:
            return await self._acts.delete_attribute(
                migration.cluster_arn, hosts, name=migration.attribute, permit=permit
            )
        return await self._acts.put_attribute(
            migration.cluster_arn, hosts, name=migration.attribute, value=value, permit=permit
        )

    # --- Accounts ---------------------------------------------------------------------------------

    async def _account(
        self,
        migration: Migration,
        environment: Environment,
        hosts: list[MovingHost],
        moves: _Moves,
    ) -> Migration:
        """Count hosts that have arrived, and how long each had no daemon."""
        gaps = []
        for host in hosts:
            if host.mark is None:
                continue
            if host.slot_class is not SlotClass.CURRENT:
                moves.moving[host.arn] = None
            elif host.arn in moves.moving:
                del moves.moving[host.arn]
                gaps.append(self._gap(migration, environment, host.arn))
        if not gaps or migration.back or migration.done:
            return migration
        after = replace(
            migration,
            moved=migration.moved + len(gaps),
            worst_gap=max(migration.worst_gap, *gaps),
            total_gap=migration.total_gap + sum(gaps),
        )
        await self._state.repository.save_migration(after)
        return after

    def _gap(self, migration: Migration, environment: Environment, host: str) -> float:
        """Seconds from the end of the service's task there to the begin of ours."""
        tasks = self._state.view.tasks_on(host)
        ends = [
            task.stopping_at or task.stopped_at or 0.0
            for task in tasks
            if _of_service(task, migration) and not _runs(task)
        ]
        begins = [
            task.started_at or 0.0
            for task in tasks
            if task.live and environment.digest_of(task) is not None
        ]
        if not ends or not begins:
            return 0.0
        return max(0.0, max(begins) - max(ends))

    async def _finish(self, migration: Migration, environment: Environment) -> None:
        """The service is gone: every host is the environment's, marked or not."""
        await self._state.repository.save_migration(
            replace(migration, done=True), replace(environment, gate="")
        )
        _log.info("the service is gone: the environment has every host", service=migration.service)
        tracked = self._state.tracked.get(environment.id)
        if tracked is not None:
            tracked.all_dirty = True


def _of_service(task: Task, migration: Migration) -> bool:
    return task.group == f"service:{migration.service}"


def _runs(task: Task) -> bool:
    return task.wanted_by_ecs and task.last_status == RUNNING
