"""Carrying migrations out: marks on hosts, a few at a time, and what the moves cost.

What to do is decided by `migrations.next_step` from what the view shows. Whose turn it is, is
stored before a host is marked; everything else is on the hosts, so that a process which ends in
between loses nothing.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from msgspec.structs import replace

from blox.base.errors import BloxError, Conflict
from blox.base.tasks import TaskSet
from blox.ecs.errors import EcsError, EcsRefused
from blox.ecs.model import Task
from blox.ecs.port import EcsActs
from blox.scheduler.executor import Tokens
from blox.scheduler.gaps import Arrival, counted, measured, timed, turn_of
from blox.scheduler.marking import Marker
from blox.scheduler.migrations import MovingHost, Step, next_step
from blox.scheduler.model import Environment, Migration
from blox.scheduler.moves import MigrationSeen, Moves
from blox.scheduler.sight import Sight, look_at
from blox.scheduler.slots import of_service
from blox.scheduler.state import State

PACE: Final = 2.0
"""Seconds between two looks at a migration."""
SERVICE_TRUSTED: Final = 5.0
"""Seconds for which what ECS said of the service is taken to be so."""
_SERVICE_AGAIN: Final = 60.0
"""Seconds until ECS is asked again after it did not say."""
SURELY_GONE: Final = 60.0
"""Seconds for which ECS must show no such service."""
_FRESH: Final = 4.0
"""Seconds between two reads of what is on its way: nobody else tells where there is no queue."""
_LOOK: Final = 10.0
_SHARE: Final = 20.0
"""A look rests for so many times as long as it took to see every host."""
_MOST_DESCRIBED: Final = 100

_log = structlog.get_logger("blox.migrations")


class Migrator:
    """Moves the hosts of every migration of this process's domain."""

    def __init__(
        self,
        state: State,
        acts: EcsActs | None,
        *,
        tokens: Tokens | None,
        owned: Callable[[], str | None],
        changed: Callable[[str], None],
    ) -> None:
        """`acts` None: nothing is marked, the steps only say what would be done. `owned()`: None
        while this process owns the domain, else why not. `changed(environment)`: look at all of it
        anew."""
        self._state = state
        self._owned = owned
        self._changed = changed
        self._marker: Marker | None = None
        if acts is not None and tokens is not None:
            self._marker = Marker(state, acts, tokens, permitted=self._permitted)
        self._moves: dict[str, Moves] = {}
        self._looking: dict[str, None] = {}
        self._halted: dict[str, None] = {}
        self._closing = False
        self._tasks = TaskSet("migrator")
        self.unclean_since: float | None = None
        """Monotonic: when we took over from a process that ended without a clean hand-over. Marks
        that it asked for may still land."""

    def start(self) -> None:
        self._tasks.start(self._run(), name="moves", eternal=True)

    async def watch(self) -> None:
        """Raises when the background task fails, which is a defect."""
        await self._tasks.watch()

    async def close(self) -> None:
        self._closing = True
        await self._tasks.close()

    @property
    def settled(self) -> bool:
        """Whether no mark that this process asked for may still come to be, or go."""
        calling = self._marker is not None and self._marker.calling
        return not calling and not any(moves.unsure for moves in self._moves.values())

    def seen(self, environment_id: str) -> MigrationSeen | None:
        """How the migration to this environment stands; None before the first look."""
        moves = self._moves.get(environment_id)
        return None if moves is None else moves.seen

    def unsure(self, environment_id: str) -> str:
        """Why it is not certain which hosts are marked; "" when it is."""
        moves = self._moves.get(environment_id)
        calling = self._marker is not None and self._marker.calls(environment_id)
        if calling or (moves is not None and moves.marks):
            return "hosts are being marked at this moment"
        left = self._left_of_predecessor()
        if left > 0:
            return f"what the process before asked for may still happen for {left:.0f} s"
        return ""

    @contextmanager
    def halted(self, environment_id: str) -> Iterator[None]:
        """No host is marked for this environment while the block runs."""
        self._halted[environment_id] = None
        try:
            yield
        finally:
            self._halted.pop(environment_id, None)

    def _left_of_predecessor(self) -> float:
        """Seconds for which a call of a process that ended badly may still be carried out."""
        if self.unclean_since is None:
            return 0.0
        assumed = self._state.assumptions
        over = self.unclean_since + assumed.signature_age + assumed.acceptance_lag
        return max(0.0, over - self._state.clock.monotonic())

    # --- Looking ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PACE)
            for migration in self._state.repository.migrations():
                id_ = migration.environment_id
                if id_ not in self._looking and self._due(id_):
                    self._looking[id_] = None
                    self._tasks.start(self._look(id_), name=f"move {id_}")
            known = {m.environment_id for m in self._state.repository.migrations()}
            self._moves = {id_: moves for id_, moves in self._moves.items() if id_ in known}

    def _due(self, environment_id: str) -> bool:
        """A look walks over all hosts: where they are many, looks are rarer."""
        moves = self._moves.get(environment_id)
        return moves is None or self._state.clock.monotonic() >= moves.look_due

    async def _look(self, environment_id: str) -> None:
        """One look, by itself, so that a cluster which does not answer holds up no other."""
        try:
            await self._look_once(environment_id)
        except Conflict:
            pass  # Changed by somebody meanwhile: the next look sees it.
        except BloxError as error:
            _log.warning("a migration waits", problem=error.message)
        finally:
            self._looking.pop(environment_id, None)

    async def _look_once(self, environment_id: str) -> None:
        found = self._current(environment_id)
        if found is None:
            return
        migration, environment = found
        moves = self._moves.setdefault(environment_id, Moves())
        if not self._state.known(migration.cluster_arn):
            moves.seen = MigrationSeen(migration=migration, step=Step(phase="unread"))
            return
        await self._read_service(migration, moves)
        await self._freshen(migration, environment, moves)
        found = self._current(environment_id)
        if found is None:
            return
        # What is decided from here on is decided on one sight; calls and writes check again.
        migration, environment = found
        begun = self._state.clock.monotonic()
        sight = look_at(self._state, migration, environment, moves)
        ended = self._state.clock.monotonic()
        moves.look_due = ended + _SHARE * (ended - begun)
        migration = await self._account(migration, environment, sight, moves)
        step, details = self._step(migration, environment, sight, moves)
        if self._marker is not None and (step.put or step.delete):
            migration = await self._begin_turns(migration, step)
            await self._marker.carry_out(step, migration, moves)
        moves.seen = sight.told(migration, step, details, moves)
        await self._end(migration, environment, sight, moves)

    def _current(self, environment_id: str) -> tuple[Migration, Environment] | None:
        """The records as they are now; None when there is nothing to move."""
        migration = self._state.repository.migration(environment_id)
        environment = self._state.repository.environment(environment_id)
        if migration is None or environment is None or environment.deleted_at is not None:
            return None
        if environment.ending or not self._state.served(environment):
            return None
        return migration, environment

    async def _read_service(self, migration: Migration, moves: Moves) -> None:
        now = self._state.clock.monotonic()
        if now < moves.service_due:
            return
        try:
            read = await self._state.reads.describe_services(
                migration.cluster_arn, [migration.service]
            )
        except EcsError as error:
            moves.service_problem = error.message
            again = _SERVICE_AGAIN if isinstance(error, EcsRefused) else SERVICE_TRUSTED
            moves.service_due = now + again
            return
        moves.service_problem = ""
        moves.service_due = now + SERVICE_TRUSTED
        live = [service for service in read.items if service.status != "INACTIVE"]
        moves.service = live[0] if live else None
        if live:
            moves.gone_since = None
        elif moves.gone_since is None:
            # MISSING may be a read that lags; INACTIVE is said of a service that was deleted.
            moves.gone_since = now - SURELY_GONE if read.items else now

    async def _freshen(self, migration: Migration, environment: Environment, moves: Moves) -> None:
        """Read what is on its way: marks, the tasks that are to leave, and those that are to come.
        Events tell most of it, where there is a queue."""
        view, now = self._state.view, self._state.clock.monotonic()
        if not migration.turns or now < moves.freshened + _FRESH:
            return
        moves.freshened = now
        for host in moves.marks:
            view.recheck(host)
        tasks = [
            task
            for host in migration.turns
            for task in view.tasks_on(host)
            if task.live
            and (of_service(task, migration.service) or environment.digest_of(task) is not None)
        ]
        if tasks:
            arns = [task.arn for task in tasks[:_MOST_DESCRIBED]]
            await view.describe(migration.cluster_arn, arns)
        if migration.back and now >= moves.looked + _LOOK:
            moves.looked = now
            await view.look(migration.cluster_arn)

    # --- Deciding ---------------------------------------------------------------------------------

    def _step(
        self, migration: Migration, environment: Environment, sight: Sight, moves: Moves
    ) -> tuple[Step, dict[str, str]]:
        """The next step, and what fills its sentence."""
        details = {"place": sight.place, "limit": str(sight.limit)}
        if moves.service_problem and not migration.done:
            return Step(phase="service-unread"), {**details, "cause": moves.service_problem}
        deployed = self._state.deployment_in_force(environment) is not None
        step = next_step(
            migration, sight.hosts, moves.service, deployed=deployed, limit=sight.limit
        )
        details["busy"] = str(step.busy)
        waiting = replace(step, put=(), delete=())
        if self._marker is None:
            return replace(waiting, phase="observing"), details
        freeze = self._state.freeze_of(environment)
        if freeze is not None:
            return replace(waiting, phase="frozen"), {**details, "why": freeze.why}
        step = replace(
            step,
            put=tuple(host for host in step.put if host not in sight.refused),
            delete=tuple(host for host in step.delete if host not in sight.refused),
        )
        acts = bool(step.put or step.delete)
        left = self._left_of_predecessor()
        if acts and left > 0:
            return replace(waiting, phase="restarted"), {**details, "left": f"{left:.0f} s"}
        if acts and self._state.clock.monotonic() < moves.held_until:
            return replace(waiting, phase="refused"), {**details, "cause": moves.problem}
        return step, details

    def _permitted(self, migration: Migration) -> str | None:
        """Asked just before a call leaves: why it must not, None if it may."""
        found = self._current(migration.environment_id)
        if found is None or migration.environment_id in self._halted:
            return "the environment is being deleted"
        held, environment = found
        if (held.back, held.done) != (migration.back, migration.done):
            return "the migration has changed"
        if self._state.freeze_of(environment) is not None:
            return "it is frozen"
        if self._closing:
            return "this process is stopping"
        return self._owned()

    # --- Accounts ---------------------------------------------------------------------------------

    async def _begin_turns(self, migration: Migration, step: Step) -> Migration:
        """Store whose turn has come, before anything is done about it."""
        fresh = [host for host in step.put if step.phase in ("moving", "giving-back")]
        if not fresh:
            return migration
        held = self._state.repository.migration(migration.environment_id)
        if held is None or (held.back, held.done) != (migration.back, migration.done):
            raise Conflict("The migration has changed.")
        begun = dict.fromkeys(fresh, self._state.stamp())
        after = replace(held, turns={**held.turns, **begun})
        await self._state.repository.save_migration(after)
        return after

    async def _account(
        self, migration: Migration, environment: Environment, sight: Sight, moves: Moves
    ) -> Migration:
        """Count the hosts that have arrived, and how long each had no daemon."""
        by_arn = {host.arn: host for host in sight.hosts}
        moves.forget_all_but(by_arn, migration.turns)
        states = {
            arn: turn_of(by_arn.get(arn), back=migration.back, given_up=arn in sight.given_up)
            for arn in migration.turns
        }
        arrived = [arn for arn, state in states.items() if state == "arrived"]
        over = [arn for arn, state in states.items() if state == "over"]
        if not arrived and not over and not sight.new_twos:
            return migration
        arrivals = await self._arrivals(migration, environment, arrived)
        twos = [*sight.new_twos, *(a.host for a in arrivals if a.two and a.host not in moves.twos)]
        twos = list(dict.fromkeys(twos))
        held = self._state.repository.migration(environment.id)
        if held is None or held.back != migration.back:
            raise Conflict("The migration has changed.")
        after = counted(held, arrivals, twos=len(twos))
        after = replace(after, turns={h: t for h, t in after.turns.items() if h not in over})
        if self._marker is not None:
            await self._state.repository.save_migration(after)
        moves.twos |= dict.fromkeys(twos)
        moves.arrivals.extend(arrivals)
        for arrival in arrivals:
            self._tell(migration, arrival)
        return after

    async def _arrivals(
        self, migration: Migration, environment: Environment, hosts: list[str]
    ) -> list[Arrival]:
        """These hosts, measured; none when ECS does not answer: then they are counted later."""
        times = await self._times(migration, hosts)
        if times is None:
            return []
        number = migration.arrived
        arrivals = []
        for arn in hosts:
            number += 1
            tasks = [times.get(task.arn, task) for task in self._state.view.tasks_on(arn)]
            gap, two = measured(
                tasks,
                environment,
                migration.service,
                back=migration.back,
                turn=migration.turns[arn],
            )
            arrivals.append(
                Arrival(
                    number=number,
                    host=arn,
                    back=migration.back,
                    gap=gap,
                    two=two,
                    at=self._state.stamp(),
                )
            )
        return arrivals

    async def _times(self, migration: Migration, hosts: list[str]) -> dict[str, Task] | None:
        """The service's tasks on these hosts with their times, which the view does not keep. None
        when ECS does not answer."""
        tasks = {
            task.arn: task
            for host in hosts
            for task in self._state.view.tasks_on(host)
            if of_service(task, migration.service)
        }
        arns = list(tasks)
        try:
            for first in range(0, len(arns), _MOST_DESCRIBED):
                read = await self._state.reads.describe_tasks(
                    migration.cluster_arn, arns[first : first + _MOST_DESCRIBED]
                )
                for document in read.items:
                    if document.task_arn in tasks:
                        known = tasks[document.task_arn]
                        tasks[document.task_arn] = timed(known, document)
        except EcsError as error:
            _log.warning("gaps are measured later", problem=error.message)
            return None
        return tasks

    def _tell(self, migration: Migration, arrival: Arrival) -> None:
        gap = "not measured" if arrival.gap is None else f"{arrival.gap:.1f} s"
        way = "gone back to the service" if arrival.back else "moved from the service"
        text = f"{way} {migration.service}; without a daemon: {gap}"
        self._state.tell(migration.environment_id, arrival.host, "seen", text)

    # --- The end ----------------------------------------------------------------------------------

    async def _end(
        self, migration: Migration, environment: Environment, sight: Sight, moves: Moves
    ) -> None:
        """Take every host when the service is surely gone; and be done when no mark is left."""
        if self._marker is None:
            return
        if migration.done:
            marked = any(host.mark is not None or not host.settled for host in sight.hosts)
            if not marked and not sight.service_tasks:
                await self.forget(environment.id)
        elif self._surely_gone(moves):
            await self.take_all(environment.id)

    def _surely_gone(self, moves: Moves) -> bool:
        """Whether the service will start nothing any more. One that is being deleted never does."""
        if moves.service_problem:
            return False
        if moves.service is not None:
            return moves.service.status == "DRAINING"
        since = moves.gone_since
        return since is not None and self._state.clock.monotonic() >= since + SURELY_GONE

    async def take_all(self, environment_id: str) -> None:
        """The service is gone: every host is the environment's, marked or not. A task of the
        service that still lives occupies its host."""
        found = self._current(environment_id)
        if found is None:
            return
        migration, environment = found
        await self._state.repository.save_migration(
            replace(migration, done=True, back=False, turns={}), replace(environment, gate="")
        )
        _log.info("the service is gone: the environment has every host", service=migration.service)
        self._changed(environment_id)

    async def forget(self, environment_id: str) -> None:
        """The migration is over, or was never begun."""
        found = self._current(environment_id)
        if found is None:
            return
        migration, environment = found
        await self._state.repository.end_migration(replace(environment, gate="", gate_service=""))
        _log.info(
            "the migration has ended",
            service=migration.service,
            environment=environment.name,
            moved=migration.moved,
            worst_gap=round(migration.worst_gap, 1),
            with_two=migration.there.twos + migration.returned.twos,
        )
        self._changed(environment_id)


__all__ = ["MigrationSeen", "Migrator", "MovingHost"]
