"""What is done now and then: asking for health, and forgetting what tells nothing new.

Each chore is level-triggered and costs nothing while there is nothing to do. What could not be
stored is tried again at the next round.
"""

import asyncio
from collections.abc import Callable, Mapping

import structlog
from msgspec.structs import replace

from blox.base.errors import BloxError, Conflict
from blox.base.ids import short_id
from blox.base.tasks import TaskSet
from blox.ecs.model import STOPPED
from blox.scheduler.adoption import without_ended
from blox.scheduler.daemons import Ownership, ownership
from blox.scheduler.doubts import Doubts
from blox.scheduler.intents import absence_decides
from blox.scheduler.model import Environment
from blox.scheduler.state import State

_log = structlog.get_logger("blox.housekeeping")


class Housekeeping:
    """The chores of one scheduler."""

    def __init__(
        self,
        state: State,
        doubts: Doubts,
        *,
        touched: Callable[[str], None],
        ended: Callable[[str], None],
    ) -> None:
        """`touched(environment)`: look at it. `ended(environment)`: it is deleted now."""
        self._state = state
        self._doubts = doubts
        self._touched = touched
        self._ended = ended
        self._tasks = TaskSet("housekeeping")
        self._tombstones: dict[str, float] = {}
        self._heirs: dict[str, float] = {}
        """Environments with more deployments than their own, and since when we know them."""

    def start(self) -> None:
        self._tasks.start(self._run(), name="rounds", eternal=True)

    async def watch(self) -> None:
        """Raises when a background task fails, which is a defect."""
        await self._tasks.watch()

    async def close(self) -> None:
        await self._tasks.close()

    async def _run(self) -> None:
        settings = self._state.settings
        waited = 0.0
        while True:
            await asyncio.sleep(settings.view.health_poll)
            self._poll_health()
            waited += settings.view.health_poll
            whole = waited >= settings.scheduler.intent_cleanup
            if whole:
                waited = 0.0
            if self._state.observing:
                continue  # Who only looks writes nothing down.
            try:
                await self._finish()
                if whole:
                    await self._clean_up()
            except Conflict:
                continue  # Somebody changed it meanwhile: the next round sees what it is now.
            except BloxError as error:
                _log.warning("could not clean up", problem=error.message)

    def _poll_health(self) -> None:
        """Events carry no health: daemons with a health check are described until HEALTHY."""
        for tracked in self._state.tracked.values():
            if not any(tracked.checks.values()):
                continue
            unsure = [
                task
                for host, verdict in tracked.board.verdicts.items()
                if verdict.reason == "settling" and (task := verdict.details.get("task"))
            ]
            if unsure:
                self._doubts.describe_soon(tracked.cluster_arn, unsure)

    # --- What comes to an end ---------------------------------------------------------------------

    async def _finish(self) -> None:
        for environment in self._state.repository.environments():
            if environment.ending and self._all_stopped(environment):
                tombstone = replace(environment, ending=False, deleted_at=self._state.stamp())
                await self._state.repository.delete_environment(tombstone, was=environment)
                _log.info("deleted, its tasks are stopped", environment=environment.name)
                self._ended(environment.id)
            elif environment.past_unread and self._state.known(environment.cluster_arn):
                lost = environment.lost_past or self._state.has_lost_past(environment)
                if lost:
                    self._state.expect_late_calls()
                after = replace(environment, lost_past=lost, past_unread=False)
                await self._state.repository.replace_environment(after, was=environment)
                self._touched(environment.id)
            elif (
                environment.lost_past
                and not environment.ending  # What shows up late is listed when it is deleted.
                and self._past_is_over(environment)
            ):
                after = replace(environment, lost_past=False)
                await self._state.repository.replace_environment(after, was=environment)
                self._touched(environment.id)

    def _all_stopped(self, environment: Environment) -> bool:
        """Whether nothing of it runs, or may yet begin to."""
        if not self._is_known(environment):
            return False
        tracked = self._state.tracked.get(environment.id)
        if not self._state.served(environment) or tracked is None:
            return False
        if self._state.past_open(tracked, environment):
            return False
        # A start of an environment that it took over from is its own, too.
        return all(
            attempt.intent.deployment_id not in environment.deployed
            for attempt in self._state.book.unsettled()
        ) and all(
            not task.live
            or task.desired_status == STOPPED
            or ownership(task, environment) is Ownership.FOREIGN
            for task in self._state.tasks_of(environment)
        )

    def _is_known(self, environment: Environment) -> bool:
        """Whether what is not seen of it is not there: its cluster is read, or is gone itself."""
        cluster = self._state.view.cluster(environment.cluster_arn)
        gone = cluster is not None and cluster.status != "ACTIVE"
        return gone or self._state.known(environment.cluster_arn)

    def _past_is_over(self, environment: Environment) -> bool:
        tracked = self._state.tracked.get(environment.id)
        return tracked is not None and not self._state.past_open(tracked, environment)

    # --- What tells nothing new -------------------------------------------------------------------

    async def _clean_up(self) -> None:
        state = self._state
        now = state.clock.monotonic()
        state.stops.prune(now)
        due = state.book.due(now=now)
        if due:
            await state.repository.drop_intents(due)
            state.book.forget(due)
        await self._forget_orders()
        environments = state.repository.environments()
        here = {environment.id for environment in environments}
        self._heirs = {id_: at for id_, at in self._heirs.items() if id_ in here}
        for environment in environments:
            await self._forget_adopted(environment, now)
        left = {tombstone.id for tombstone in state.repository.tombstones()}
        self._tombstones = {id_: at for id_, at in self._tombstones.items() if id_ in left}
        for tombstone in state.repository.tombstones():
            if self._forgettable(tombstone, now):
                await state.repository.forget_environment(tombstone.id)
                state.unfollow_unused(tombstone.cluster_arn)

    async def _forget_orders(self) -> None:
        """Freezes and holds that are over."""
        state = self._state
        if state.domain is None:
            return  # ECS has not told its time yet.
        repository = state.repository
        await repository.thaw([f.id for f in repository.freezes() if not state.in_force(f)])
        over = [h.host_arn for h in repository.holds() if not state.in_force(h)]
        await repository.release_hosts(over)
        now = state.stamp()
        for freeze in repository.freezes():
            if freeze.unsure:
                end = now + (freeze.until - freeze.created_at)
                await repository.freeze(replace(freeze, created_at=now, until=end, unsure=False))
        for hold in repository.holds():
            if hold.unsure:
                end = now + (hold.until - hold.created_at)
                await repository.hold_host(replace(hold, created_at=now, until=end, unsure=False))

    async def _forget_adopted(self, environment: Environment, now: float) -> None:
        """Adopted tasks that have ended, inherited deployments that no task carries, and what
        nothing runs any more."""
        nothing = not (environment.adopted or environment.adopted_contents or environment.disowned)
        if nothing or not self._state.known(environment.cluster_arn):
            return
        tracked = self._state.tracked.get(environment.id)
        if tracked is None or self._state.past_open(tracked, environment):
            return
        live = {short_id(task.arn) for task in self._state.tasks_of(environment) if task.live}
        carried = {
            short_id(task.arn)
            for deployment_id in environment.deployed
            for task in self._state.view.started_by(deployment_id)
            if task.live
        }
        kept = replace(environment, deployed=self._still_carried(environment, now))
        after = without_ended(kept, live=live | carried)
        if after != environment:
            await self._state.repository.replace_environment(after, was=environment)
            self._touched(environment.id)

    def _still_carried(self, environment: Environment, now: float) -> Mapping[str, str]:
        """R10: its deployments; of those that it inherited the ones that a task may still carry."""
        state = self._state
        own = {deployment.id for deployment in state.repository.deployments(environment.id)}
        if environment.deployed.keys() <= own:
            return environment.deployed
        since = self._heirs.setdefault(environment.id, now)
        cluster = state.view.cluster(environment.cluster_arn)
        horizon = None if cluster is None else cluster.absence_horizon
        if not absence_decides(since, state.book.window, horizon):
            return environment.deployed
        starts = state.book.on_cluster(environment.cluster_arn)
        kept = own | {attempt.intent.deployment_id for attempt in starts}
        return {
            id_: digest
            for id_, digest in environment.deployed.items()
            if id_ in kept or any(task.live for task in state.view.started_by(id_))
        }

    def _forgettable(self, tombstone: Environment, now: float) -> bool:
        """Whether no task can be this deleted environment's any more."""
        since = self._tombstones.setdefault(tombstone.id, now)
        return (
            self._is_known(tombstone)
            and now > since + self._state.book.window
            and all(
                attempt.intent.deployment_id not in tombstone.deployed
                for attempt in self._state.book.unsettled()
            )
            and not any(task.live for task in self._state.left_by(tombstone))
        )
