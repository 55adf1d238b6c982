"""Ending doubts: by seeing the task at any time, by not seeing it only when that proves a thing."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from blox.base.errors import BloxError
from blox.base.tasks import TaskSet
from blox.ecs.model import Task
from blox.scheduler.intents import Attempt, Phase, worth_presuming
from blox.scheduler.model import Settled
from blox.scheduler.state import State
from blox.scheduler.view import Presumed

_log = structlog.get_logger("blox.doubts")

JUST_AFTER = 0.01
"""A look must begin later than W, not at it."""


def next_look(attempt: Attempt, *, after: float, window: float, offsets: Sequence[float]) -> float:
    """When to look for the attempt's task next, later than `after`: at the offsets since the doubt
    began, then at every last offset, and just after W. Monotonic seconds."""
    decisive = attempt.base + window + JUST_AFTER
    times = [attempt.since + offset for offset in offsets]
    step = offsets[-1]
    last = times[-1]
    steps = int(max(0.0, after - last) / step) + 1
    # Rounding may make the next step the one that was just taken.
    times += [last + step * steps, last + step * (steps + 1)]
    if decisive > after:
        times.append(decisive)
    return min(time for time in times if time > after)


class Doubts:
    """Follows every attempt of the book until it is settled and forgotten."""

    def __init__(self, state: State, *, touched: Callable[[str], None]) -> None:
        """`touched(environment)`: its slots changed, look at it."""
        self._state = state
        self._touched = touched
        self._tasks = TaskSet("doubts")
        self._watching: dict[str, asyncio.Event] = {}
        """Clusters that are looked at until no doubt is left; set when another one has begun."""
        self._presumed: set[str] = set()
        self._describe: dict[str, dict[str, None]] = {}

    def start(self) -> None:
        for attempt in self._state.book.unsettled():
            self.began(attempt.intent.cluster_arn)

    async def watch(self) -> None:
        """Raises when a background task fails, which is a defect."""
        await self._tasks.watch()

    async def close(self) -> None:
        await self._tasks.close()

    # --- What ends a doubt ------------------------------------------------------------------------

    def began(self, cluster_arn: str) -> None:
        """There may be attempts in doubt on this cluster: look for their tasks."""
        if not self._state.book.doubts(cluster_arn):
            return
        if cluster_arn in self._watching:
            self._watching[cluster_arn].set()
        else:
            self._watching[cluster_arn] = asyncio.Event()
            self._tasks.start(self._look(cluster_arn), name=f"looks at {cluster_arn}")

    def seen(self, task: Task) -> None:
        """A task appeared or changed: if it is the outcome of an open attempt, that is settled."""
        if not task.intent:
            return
        found = self._state.book.sighted(task)
        if found is None:
            return
        attempt, host = found
        after = self._settle(attempt, {host: Settled("task", task.arn)})
        self._state.tell(
            attempt.intent.environment_id,
            host,
            "seen",
            f"the task of an unanswered start: {task.arn.rsplit('/', 1)[-1]} {task.last_status}",
            intent=attempt.intent.id,
            task=task.arn,
        )
        if attempt.phase is Phase.DOUBT and after.phase is Phase.SETTLED:
            self._persist(after)

    def cluster_changed(self, cluster_arn: str) -> None:
        """A sweep or look ended, or the cluster's state changed."""
        cluster = self._state.view.cluster(cluster_arn)
        if cluster is None or not cluster.primed:
            return
        if cluster_arn not in self._presumed:
            self._presumed.add(cluster_arn)
            self._presume(cluster_arn)
        for attempt in self._state.book.doubts(cluster_arn):
            for host in attempt.intent.open_hosts:
                for task in self._state.view.tasks_on(host):
                    self.seen(task)
        horizon = cluster.absence_horizon if self._state.fence_known else None
        for attempt in self._state.book.ended_by_absence(cluster_arn, horizon):
            hosts = attempt.intent.open_hosts
            after = self._settle(attempt, {host: Settled("absent") for host in hosts})
            for host in hosts:
                text = "the unanswered start made no task: a late enough look does not show it"
                self._state.tell(attempt.intent.environment_id, host, "seen", text)
            self._persist(after)
        self.began(cluster_arn)

    def _settle(self, attempt: Attempt, outcomes: dict[str, Settled]) -> Attempt:
        state = self._state
        after = state.book.settle(
            attempt.intent.id,
            outcomes,
            now=state.clock.monotonic(),
            ecs_now=state.reads.now(),
        )
        for tracked in state.tracked.values():
            # Another environment may have waited for this start: the one of the same name.
            if tracked.cluster_arn == attempt.intent.cluster_arn:
                state.touch(tracked.id, outcomes)
                self._touched(tracked.id)
        return after

    def _presume(self, cluster_arn: str) -> None:
        """R1 over a restart: what retained intents tell is live until evidence comes."""
        ecs_now, read_lag = self._state.reads.now(), self._state.settings.assumptions.read_lag
        for attempt in self._state.book.on_cluster(cluster_arn):
            intent = attempt.intent
            if not worth_presuming(intent, ecs_now, read_lag):
                continue
            for host, settled in intent.settled.items():
                if settled.kind == "task":
                    self._state.view.presume(
                        Presumed(
                            arn=settled.value,
                            cluster_arn=cluster_arn,
                            host_arn=host,
                            definition_arn=intent.definition_arn,
                            started_by=intent.deployment_id,
                            group=intent.group,
                            intent=intent.id,
                        )
                    )

    async def _look(self, cluster_arn: str) -> None:
        looked = self._state.clock.monotonic()
        settings = self._state.settings.scheduler
        try:
            while doubts := self._state.book.doubts(cluster_arn):
                when = min(
                    next_look(
                        attempt,
                        after=looked,
                        window=self._state.book.window_of(attempt),
                        offsets=settings.doubt_looks,
                    )
                    for attempt in doubts
                )
                if await self._another_began(cluster_arn, until=when):
                    continue
                looked = self._state.clock.monotonic()
                await self._state.view.look(cluster_arn)
                self.cluster_changed(cluster_arn)
        finally:
            del self._watching[cluster_arn]

    async def _another_began(self, cluster_arn: str, *, until: float) -> bool:
        """Wait until then (monotonic), or until another doubt may need an earlier look."""
        another = self._watching[cluster_arn]
        another.clear()
        try:
            async with asyncio.timeout(max(0.0, until - self._state.clock.monotonic())):
                await another.wait()
        except TimeoutError:
            return False
        return True

    # --- Describing what is not known well enough -------------------------------------------------

    def describe_soon(self, cluster_arn: str, tasks: Sequence[str]) -> None:
        """Have these tasks described; what is asked during a read goes into the next."""
        waiting = self._describe.get(cluster_arn)
        if waiting is not None:
            waiting.update(dict.fromkeys(tasks))
            return
        self._describe[cluster_arn] = dict.fromkeys(tasks)
        self._tasks.start(self._describe_all(cluster_arn), name=f"describe on {cluster_arn}")

    async def _describe_all(self, cluster_arn: str) -> None:
        try:
            await asyncio.sleep(0)
            while waiting := self._describe[cluster_arn]:
                chunk = list(waiting)[:100]
                for arn in chunk:
                    del waiting[arn]
                if await self._state.view.describe(cluster_arn, chunk) is None:
                    await asyncio.sleep(1.0)
        finally:
            del self._describe[cluster_arn]

    # --- Remembering ------------------------------------------------------------------------------

    def _persist(self, attempt: Attempt) -> None:
        self._tasks.start(self._save(attempt), name=f"settle {attempt.intent.id}")

    async def _save(self, attempt: Attempt) -> None:
        """The settled intent into the store. If that fails, it stays open there, and a restart
        would wait it out; this process goes by its memory."""
        try:
            await self._state.repository.settle_intent(attempt.intent)
        except BloxError as error:
            _log.warning("could not settle an intent", problem=error.message)
