"""Passes: from "look at these slots" to verdicts, grants and deployments that move on.

Level-triggered. Whatever may matter (a host, a task, an environment, a timer, an answer) only marks
slots to look at and queues their environment. The key queue never hands out an environment that is
being worked on, so passes of one environment cannot overlap; those of others run in between.

A pass costs what was touched: one event is one slot's work, whatever the size of the cluster.
"""

import asyncio
from collections.abc import Callable

import structlog
from msgspec.structs import replace

from blox.base.errors import BloxError, Conflict
from blox.base.ids import short_id
from blox.base.keyqueue import KeyQueue
from blox.base.tasks import TaskSet
from blox.ecs.model import ACTIVE, Task
from blox.scheduler.daemons import death_cause
from blox.scheduler.deployments import (
    Happening,
    Progress,
    advance,
    causes_of,
    next_happening,
    tick,
)
from blox.scheduler.doubts import Doubts
from blox.scheduler.model import Deployment, DeploymentStatus, Environment, SlotClass
from blox.scheduler.state import State
from blox.scheduler.tracked import Tracked
from blox.scheduler.verdicts import Context, Cost
from blox.scheduler.view import Touched

_log = structlog.get_logger("blox.reconciler")

HOSTS_BETWEEN_YIELDS = 200
"""A pass over a whole large cluster lets other work in after so many slots."""
DEFINITION_TRUSTED = 60.0
"""Seconds for which a definition seen ACTIVE is taken to be so still."""
STORE_RETRY = 1.0
EXPIRY_MARGIN = 0.05
"""Seconds after which a freeze or a hold that has ended surely has."""
ENDS_REMEMBERED = 20_000
"""Tasks whose end is not told again."""
PASSES_AT_ONCE = 4
"""Of different environments: one that waits for the store does not hold up the others."""


_REPLACING = (Cost.FREE, Cost.REPAIR, Cost.ROLLOUT)


class Reconciler:
    """Runs the passes of every environment of one domain."""

    def __init__(
        self,
        state: State,
        doubts: Doubts,
        *,
        wake_executor: Callable[[], None],
        excused: Callable[[], bool],
    ) -> None:
        """`excused()`: the domain is throttled or starts nothing, so that deployments' deadlines
        stand still."""
        self._state = state
        self._doubts = doubts
        self._wake_executor = wake_executor
        self._excused = excused
        self._queue: KeyQueue[str] = KeyQueue(state.clock.monotonic)
        self._tasks = TaskSet("reconciler")
        self._definition_reads: dict[str, None] = {}
        self.passes = 0
        self.observe_pass: Callable[[float], None] = lambda _: None
        """Told the seconds that each pass took, for metrics."""
        self._told: dict[str, bool] = {}
        """Tasks whose end was told → whether they were live then."""
        self._listeners: list[Callable[[str], None]] = []

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the environment's id, synchronously, after each pass that changed a
        verdict and after each step of a deployment."""
        self._listeners.append(listener)

    def _changed(self, environment_id: str) -> None:
        for listener in self._listeners:
            listener(environment_id)

    # --- What wakes a pass ------------------------------------------------------------------------

    def start(self) -> None:
        self._state.view.subscribe(self.touched)
        for number in range(PASSES_AT_ONCE):
            self._tasks.start(self._run(), name=f"passes {number}", eternal=True)
        for environment in self._state.repository.environments():
            self.track(environment.id)

    async def watch(self) -> None:
        """Raises when a background task fails, which is a defect."""
        await self._tasks.watch()

    async def close(self) -> None:
        self._queue.close()
        await self._tasks.close()

    def track(self, environment_id: str) -> None:
        """Begin, or go on, to keep this environment; its whole cluster is looked at."""
        environment = self._state.repository.environment(environment_id)
        if environment is None or environment.deleted_at is not None:
            self.untrack(environment_id)
            return
        tracked = self._state.tracked.get(environment_id)
        if tracked is None:
            tracked = Tracked(
                environment_id, environment.cluster_arn, now=self._state.clock.monotonic()
            )
            self._state.tracked[environment_id] = tracked
        tracked.all_dirty = True
        self._queue.add(environment_id)

    def orders_changed(self, host_arn: str | None = None) -> None:
        """A freeze was made or taken back, or this host's hold: whom it concerns looks anew."""
        for tracked in self._state.tracked.values():
            if host_arn is not None and host_arn not in tracked.board.verdicts:
                continue
            if host_arn is not None:
                tracked.touch(host_arn)
            self._queue.add(tracked.id)

    def untrack(self, environment_id: str) -> None:
        """The environment was deleted: nothing is decided for it any more."""
        self._state.tracked.pop(environment_id, None)

    def touch(self, environment_id: str) -> None:
        """Something about this environment may have changed: its marked slots are looked at."""
        if environment_id in self._state.tracked:
            self._queue.add(environment_id)

    def touched(self, change: Touched) -> None:
        """The view changed. Called by the view, synchronously."""
        if change.cluster:
            self._doubts.cluster_changed(change.cluster_arn)
        for arn in change.tasks:
            task = self._state.view.task(arn)
            if task is not None:
                self._doubts.seen(task)
                self._tell_end(task)
        for tracked in self._state.tracked.values():
            if tracked.cluster_arn != change.cluster_arn:
                continue
            if change.cluster:
                tracked.all_dirty = True
            for host in sorted(change.hosts):
                tracked.touch(host)
            self._queue.add(tracked.id)

    def _tell_end(self, task: Task) -> None:
        """A daemon's end belongs to its slot's story, and so does that somebody else wants it. What
        ended before the cluster was read is history already."""
        if task.wanted_by_ecs or task.arn in self._state.stops.asked:
            return
        owner = self._state.repository.owner(task)
        cluster = self._state.view.cluster(task.cluster_arn)
        if owner is None or owner.id not in self._state.tracked:
            return
        if cluster is None or not cluster.primed or self._told.get(task.arn) == task.live:
            return
        self._told[task.arn] = task.live
        if len(self._told) > ENDS_REMEMBERED:
            del self._told[next(iter(self._told))]
        text = f"task {short_id(task.arn)}: ECS wants it stopped"
        if not task.live:
            text = f"task {short_id(task.arn)} STOPPED: {death_cause(task)}"
        self._state.tell(owner.id, task.host_arn, "seen", text, task=task.arn)

    # --- A pass -----------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            environment_id = await self._queue.get()
            try:
                began = self._state.clock.monotonic()
                await self._pass(environment_id)
                self.passes += 1
                self.observe_pass(self._state.clock.monotonic() - began)
            except BloxError as error:
                # One environment's trouble is its own: it is tried again, the others go on.
                _log.warning("pass failed", environment=environment_id, problem=error.message)
                when = self._state.clock.monotonic() + STORE_RETRY
                self._queue.add_at(environment_id, when)
            finally:
                self._queue.done(environment_id)

    async def _pass(self, environment_id: str) -> None:
        tracked = self._state.tracked.get(environment_id)
        environment = self._state.repository.environment(environment_id)
        if tracked is None or environment is None or environment.deleted_at is not None:
            self.untrack(environment_id)
            return
        version = tracked.board.version
        tracked.account(self._state.clock.monotonic())
        context = self._state.context(tracked, environment)
        deployed = self._in_force(environment)
        if deployed != tracked.judged_for:
            # It was stored, and the word of it has not come yet: no verdict is about it so far.
            tracked.judged_for, tracked.all_dirty = deployed, True
        self._forget_trouble(tracked)
        judged = await self._judge_touched(tracked, context)
        if len(judged) >= HOSTS_BETWEEN_YIELDS:
            now_stored = self._state.repository.environment(environment_id)
            if now_stored is not environment or self._in_force(environment) != deployed:
                # Changed while a large cluster was judged: the verdicts are of two minds.
                tracked.all_dirty = True
                self._queue.add(environment_id)
                return
            context = self._state.context(tracked, environment)
        self._spend(tracked, context)
        await self._move_deployment(tracked, context)
        self._identify(tracked, context, judged)
        self._set_timer(tracked)
        if tracked.board.version != version:
            self._changed(environment_id)
        if tracked.board.wants_calls:
            self._wake_executor()

    def _in_force(self, environment: Environment) -> str | None:
        """The id of the deployment that the verdicts are about."""
        deployment = self._state.deployment_in_force(environment)
        return None if deployment is None else deployment.id

    def _forget_trouble(self, tracked: Tracked) -> None:
        """A condition that nobody probes, because nothing wants a start, is not known to last: left
        standing it would keep every replacement from being tried."""
        trouble, interval = tracked.trouble, self._state.settings.scheduler.condition_probe
        if trouble and self._state.clock.monotonic() > trouble.probe_at + interval:
            tracked.trouble, tracked.all_dirty = None, True

    async def _judge_touched(self, tracked: Tracked, context: Context) -> list[str]:
        """Judge what was marked; returns the hosts judged."""
        now = context.now.mono
        # Event loops fire timers a hair early; what is due within a millisecond is due.
        if tracked.expires_at is not None and now + 0.001 >= tracked.expires_at:
            tracked.expires_at = None
            for hold in self._state.repository.holds():
                if hold.host_arn in tracked.board.verdicts and not self._state.in_force(hold):
                    tracked.touch(hold.host_arn)
        frozen = None if context.freeze is None else context.freeze.id
        if frozen != tracked.frozen_by:
            tracked.frozen_by, tracked.all_dirty = frozen, True
        if context.stale != tracked.stale:
            tracked.stale, tracked.all_dirty = context.stale, True
        whole, tracked.all_dirty = tracked.all_dirty, False
        hosts = tracked.dirty
        tracked.dirty = {}
        for host in tracked.due(now):
            hosts[host] = None
        if whole:
            listed = {seen.host.arn: None for seen in self._state.view.hosts(tracked.cluster_arn)}
            gone = [host for host in tracked.board.verdicts if host not in listed]
            hosts = {**dict.fromkeys(gone), **hosts, **listed}
        for count, host in enumerate(hosts, start=1):
            self._state.judge(tracked, context, host)
            if count % HOSTS_BETWEEN_YIELDS == 0:
                self._wake_executor()
                await asyncio.sleep(0)
        return list(hosts)

    def _spend(self, tracked: Tracked, context: Context) -> None:
        """Let the budget grant what it can, at most once in a quarter of a second."""
        board = tracked.board
        held_up = board.classes[SlotClass.OUTDATED] or board.classes[SlotClass.FAILING]
        if held_up and not tracked.definition_active:
            self._definition_known(tracked, context)
        if not context.environment.ending and (board.has_unmatched or tracked.guard.tripped):
            self._guard(tracked, context)
        if not any(board.candidates[cost] for cost in Cost if cost is not Cost.NONE):
            return
        # Stops of a process that ended without a clean hand-over may still land: they would come
        # on top of what is granted now.
        due = max(tracked.spent_at + context.settings.recount_interval, context.surplus_from)
        if context.now.mono < due:
            self._queue.add_at(tracked.id, due)
            return
        replaces = any(board.candidates[cost] for cost in _REPLACING)
        known = not replaces or self._definition_known(tracked, context)
        tracked.spent_at = context.now.mono
        granted = board.spend(
            context.environment.policy.max_unavailable,
            replacing=known,
            held=tracked.guard.waiting,
        )
        leaving = sum(board.granted.get(host) is Cost.UNMATCHED for host in granted)
        tracked.guard.allowed(leaving, now=context.now.mono)
        for host in granted:
            self._state.judge(tracked, context, host)

    def _guard(self, tracked: Tracked, context: Context) -> None:
        """R24: which daemons on hosts that stopped matching wait for a person."""
        guard, board = tracked.guard, tracked.board
        unmatched = board.unmatched_daemons()
        if guard.judge(
            unmatched,
            hosts=board.tally().wanted + board.unmatched_in_motion + len(unmatched),
            environment=context.environment,
            revision=0 if context.target is None else context.target.number,
            now=context.now,
        ):
            tracked.all_dirty = True  # What is held says so.
            self._queue.add(tracked.id)
            _log.warning(
                "stops are held for confirmation" if guard.tripped else "stops are held no more",
                environment=context.environment.name,
                stops=guard.held,
            )
        stored = context.environment.stops_held
        if stored != guard.tripped and not tracked.guard_stored and not context.observing:
            tracked.guard_stored = True
            self._tasks.start(self._store_guard(tracked), name=f"guard of {tracked.id}")

    async def _store_guard(self, tracked: Tracked) -> None:
        """What is held stays held over a restart."""
        try:
            environment = self._state.repository.environment(tracked.id)
            if environment is not None and environment.deleted_at is None:
                after = replace(environment, stops_held=tracked.guard.tripped)
                await self._state.repository.replace_environment(after, was=environment)
        except BloxError as error:
            _log.warning("could not note what is held", problem=error.message)
            await asyncio.sleep(STORE_RETRY)
        finally:
            tracked.guard_stored = False
            self._queue.add(tracked.id)

    def _definition_known(self, tracked: Tracked, context: Context) -> bool:
        """Whether the target's definition was seen ACTIVE lately: replacing by one that cannot
        start would leave the host without a daemon. Asks if it was not."""
        checked = tracked.definition_checked
        if checked is not None and context.now.mono < checked + DEFINITION_TRUSTED:
            if not tracked.definition_active:
                self._queue.add_at(tracked.id, checked + DEFINITION_TRUSTED)
            return True
        if not tracked.definition_asked and context.target is not None:
            tracked.definition_asked = True
            self._tasks.start(
                self._check_definition(tracked, context.target.definition_arn),
                name=f"definition of {tracked.id}",
            )
        return False

    async def _check_definition(self, tracked: Tracked, definition_arn: str) -> None:
        try:
            read = await self._state.reads.describe_task_definition(definition_arn)
            status = read.items[0].status if read.items else ""
            target = tracked.target
            if target is not None and target.revision.definition_arn == definition_arn:
                # Another revision may have become the target while this was asked.
                tracked.definition_active = status == ACTIVE
                tracked.definition_checked = self._state.clock.monotonic()
                tracked.all_dirty = True
        except BloxError as error:
            _log.warning("cannot ask about a task definition", problem=error.message)
            await asyncio.sleep(STORE_RETRY)
        finally:
            tracked.definition_asked = False
            self._queue.add(tracked.id)

    def _identify(self, tracked: Tracked, context: Context, hosts: list[str]) -> None:
        """Have tasks described whose marker is not known yet."""
        wanted = [
            task.arn
            for host in hosts
            if (verdict := tracked.board.verdicts.get(host)) and verdict.reason == "identifying"
            for task in self._state.view.tasks_on(host)
            if task.live and task.intent is None and task.started_by in context.environment.deployed
        ]
        if wanted:
            self._doubts.describe_soon(tracked.cluster_arn, wanted)

    # --- Deployments ------------------------------------------------------------------------------

    async def _move_deployment(self, tracked: Tracked, context: Context) -> None:
        """Let the deployment take what steps it can. A step is durable before it counts."""
        deployment, board = context.deployment, tracked.board
        now = context.now.mono
        if context.environment.ending:
            return  # Its tasks are being stopped; nothing that it deploys gets on.
        excused = self._excused_now(tracked, context)
        tracked.progress = tick(
            tracked.progress, moves=board.moves, excused=tracked.excused or excused, now=now
        )
        tracked.excused = excused
        if deployment is None or not context.primed or context.stale or context.observing:
            return
        changed = deployment
        deadline = context.environment.policy.progress_deadline
        while True:
            happening = next_happening(
                changed,
                board.tally(),
                tracked.progress,
                deadline=deadline,
                hopeless=self._hopeless(tracked),
            )
            if happening is None:
                break
            changed = self._stepped(tracked, changed, happening)
        if changed is not deployment:
            await self._save(tracked, changed)
        if changed.status is DeploymentStatus.RUNNING and not excused:
            self._queue.add_at(tracked.id, now + max(0.05, deadline - tracked.progress.used + 0.05))

    def _stepped(
        self, tracked: Tracked, deployment: Deployment, happening: Happening
    ) -> Deployment:
        ecs_now = self._state.stamp()
        if happening is Happening.PRIMED:
            tracked.begin_deployment()
            tracked.progress = Progress(moves=tracked.board.moves, at=self._state.clock.monotonic())
            return advance(
                deployment,
                happening,
                ecs_now=ecs_now,
                reused=tracked.board.classes[SlotClass.CURRENT],
            )
        if happening is Happening.DEADLINE:
            causes = causes_of(tracked.board.verdicts)
            return advance(deployment, happening, ecs_now=ecs_now, causes=causes)
        return advance(deployment, happening, ecs_now=ecs_now)

    async def _save(self, tracked: Tracked, deployment: Deployment) -> None:
        try:
            await self._state.repository.save_deployment(deployment)
        except Conflict:
            # A newer deployment came in between; the next pass sees it.
            self._queue.add(tracked.id)
            return
        except BloxError as error:
            _log.warning("could not save a deployment", problem=error.message)
            self._queue.add_at(tracked.id, self._state.clock.monotonic() + STORE_RETRY)
            return
        environment = self._state.repository.environment(tracked.id)
        _log.info(
            "deployment",
            environment=tracked.id if environment is None else environment.name,
            deployment=deployment.id,
            status=deployment.status.value,
            causes=[f"{cause.count} hosts: {cause.sentence}" for cause in deployment.causes],
        )
        tracked.all_dirty = True
        self._queue.add(tracked.id)
        self._changed(tracked.id)

    def _excused_now(self, tracked: Tracked, context: Context) -> bool:
        """Whether lack of progress is not the deployment's fault at the moment."""
        cluster = self._state.view.cluster(tracked.cluster_arn)
        breaker = self._state.breakers.get(tracked.cluster_arn)
        return (
            tracked.board.classes[SlotClass.IN_DOUBT] > 0
            or (breaker is not None and breaker.open)
            or cluster is None
            or cluster.read_error is not None
            or context.stale
            or context.freeze is not None
            or context.past_open
            # Nothing is replaced until stops of the process before can land no more (`_spend`).
            or self._state.clock.monotonic() < self._state.surplus_from
            or self._excused()
        )

    @staticmethod
    def _hopeless(tracked: Tracked) -> bool:
        """A host is in doubt for the third time running."""
        board = tracked.board
        return board.classes[SlotClass.IN_DOUBT] > 0 and any(
            notes.doubts >= 3 and board.verdicts[host].slot_class is SlotClass.IN_DOUBT
            for host, notes in tracked.notes.items()
            if host in board.verdicts
        )

    # --- Timers -----------------------------------------------------------------------------------

    def _set_timer(self, tracked: Tracked) -> None:
        when = tracked.next_look()
        if when is not None:
            self._queue.add_at(tracked.id, when)
        # What another service keeps for us grows too old by nothing but time.
        cluster = self._state.view.cluster(tracked.cluster_arn)
        if cluster is not None and cluster.good_until is not None and not tracked.stale:
            self._queue.add_at(tracked.id, cluster.good_until + EXPIRY_MARGIN)
        # A freeze or a hold ends by itself, by ECS's clock.
        ends = self._state.next_expiry()
        if ends is not None:
            now = self._state.now()
            when = now.mono + max(0.0, ends - now.ecs) + EXPIRY_MARGIN
            if tracked.expires_at is None or when < tracked.expires_at:
                tracked.expires_at = when
        if tracked.expires_at is not None:
            # Asked for each time: one that has ended in this moment must not be missed.
            self._queue.add_at(tracked.id, tracked.expires_at)
