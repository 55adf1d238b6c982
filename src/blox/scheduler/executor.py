"""Carrying calls out, in the order that makes them safe (R3):

    pacing token → plan again → intent durable → connection up → sign → check → send

Four pumps, one for starts and one for stops of each kind (repairs before rollouts), wait for work,
then for a token, then take the work that is wanted *at that moment*. What is taken is carried out
in a task of its own, so that a slow answer holds up nobody. The last three steps are the ECS
client's; the check is `_permit`, asked between the signature and the first byte.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import structlog

from blox.base.errors import BloxError, Conflict
from blox.base.tasks import TaskSet
from blox.ecs.port import EcsActs, StartOutcome, StopOutcome
from blox.scheduler.model import Intent
from blox.scheduler.starts import StartBatch, Starts
from blox.scheduler.state import State
from blox.scheduler.stops import StopOrder, Stops

_log = structlog.get_logger("blox.executor")

STORE_HOLD = 1.0
"""Seconds without a start after the store could not take an intent."""


class Tokens(Protocol):
    """Waits until one more call that acts is within the quota's share."""

    async def __call__(self, *, rollout: bool) -> None: ...


class CallWatcher(Protocol):
    """Told of every call and its outcome, for metrics. Called synchronously; must not raise."""

    def start_ended(self, batch: StartBatch, outcome: StartOutcome) -> None: ...

    def stop_ended(self, order: StopOrder, outcome: StopOutcome) -> None: ...


class Executor:
    """Sends what `Starts` and `Stops` give, and hands them the outcomes."""

    def __init__(
        self,
        acts: EcsActs,
        state: State,
        starts: Starts,
        stops: Stops,
        *,
        tokens: Tokens,
        owned: Callable[[], str | None],
        touched: Callable[[str], None],
        in_doubt: Callable[[str], None],
        watcher: CallWatcher | None = None,
    ) -> None:
        """`owned()`: None while this process owns the domain, else why not. `touched(environment)`:
        a call ended, look at the environment. `in_doubt(cluster)`: a start there ended, perhaps
        without a clear answer."""
        self._acts = acts
        self._state = state
        self._starts = starts
        self._stops = stops
        self._tokens = tokens
        self._owned = owned
        self._touched = touched
        self._in_doubt = in_doubt
        self._watcher = watcher
        self._unsent = asyncio.Semaphore(state.settings.scheduler.max_unsent_intents)
        self._work = asyncio.Event()
        self._pumps = TaskSet("executor")
        self._calls: set[asyncio.Task[None]] = set()
        self._closing = False
        self.store_problem = ""
        stops.replacing_allowed = lambda: not self.store_problem and starts.allowed

    def start(self) -> None:
        for rollout in (False, True):
            kind = "rollouts" if rollout else "repairs"
            self._pumps.start(
                self._pump(self._starts.ready, self._start_next, rollout=rollout),
                name=f"starts of {kind}",
                eternal=True,
            )
            self._pumps.start(
                self._pump(self._stops.ready, self._stop_next, rollout=rollout),
                name=f"stops of {kind}",
                eternal=True,
            )

    async def watch(self) -> None:
        """Raises when a pump fails, which is a defect."""
        await self._pumps.watch()

    def wake(self) -> None:
        """There may be work."""
        self._work.set()

    async def close(self, *, patience: float) -> bool:
        """Take no more work and wait up to `patience` seconds for the answers that are due; True if
        none is left. What is left stays an open intent: the next process waits it out."""
        self._closing = True
        await self._pumps.close()
        if self._calls:
            await asyncio.wait(self._calls, timeout=patience)
        left = [task for task in self._calls if not task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        return not left

    async def _pump(
        self,
        ready: Callable[..., bool],
        take_next: Callable[..., Awaitable[None]],
        *,
        rollout: bool,
    ) -> None:
        while True:
            while not ready(rollout=rollout):
                self._work.clear()
                if ready(rollout=rollout):
                    break
                await self._work.wait()
            await take_next(rollout=rollout)

    # --- Starts -----------------------------------------------------------------------------------

    async def _start_next(self, *, rollout: bool) -> None:
        batch = None
        await self._unsent.acquire()
        try:
            await self._tokens(rollout=rollout)
            batch = self._starts.take(rollout=rollout)
        finally:
            if batch is None:
                self._unsent.release()
        if batch is not None:
            self._spawn(self._start(batch), name=f"start {batch.intent.id}")

    async def _start(self, batch: StartBatch) -> None:
        release = _Once(self._unsent.release)
        try:
            if not await self._make_durable(batch):
                return

            def permit() -> str | None:
                refusal = self._permit() or self._starts.outdated(batch)
                if refusal is None:
                    self._starts.called(batch)
                    release()
                return refusal

            outcome = await self._acts.start_task(batch.request(), permit)
            kept = self._starts.ended(batch, outcome)
            if self._watcher is not None:
                self._watcher.start_ended(batch, outcome)
            self._in_doubt(batch.environment.cluster_arn)
            await self._note_outcome(batch.intent.id, kept)
        finally:
            release()
            self._done(batch.environment.id)

    async def _make_durable(self, batch: StartBatch) -> bool:
        """R1, R13: without a durable intent there is no start."""
        due = self._state.book.due(now=self._state.clock.monotonic())
        try:
            await self._state.repository.open_intent(batch.intent, drop=due)
        except Conflict:
            self._starts.unwritten(batch, why="", hold=0.0)
            return False
        except BloxError as error:
            if self.store_problem != error.message:
                _log.error("no start without its intent", problem=error.message)
            self.store_problem = error.message
            self._starts.unwritten(
                batch, why=f"the store is unavailable: {error.message}", hold=STORE_HOLD
            )
            return False
        self.store_problem = ""
        self._state.book.forget(due)
        return True

    async def _note_outcome(self, intent_id: str, kept: Intent | None) -> None:
        """The second transaction. If it fails, the intent stays open in the store: a restart would
        wait it out, this process goes by its memory."""
        with suppress(BloxError):
            if kept is None:
                await self._state.repository.drop_intents([intent_id])
                self._state.book.forget([intent_id])
            else:
                await self._state.repository.settle_intent(kept)

    # --- Stops ------------------------------------------------------------------------------------

    async def _stop_next(self, *, rollout: bool) -> None:
        await self._tokens(rollout=rollout)
        order = self._stops.take(rollout=rollout)
        if order is None and await self._stops.look(rollout=rollout):
            order = self._stops.take(rollout=rollout)
        if order is not None:
            self._spawn(self._stop(order), name=f"stop {order.task_arn}")

    async def _stop(self, order: StopOrder) -> None:
        try:

            def permit() -> str | None:
                return self._permit() or self._stops.outdated(order)

            outcome = await self._acts.stop_task(
                order.cluster_arn, order.task_arn, reason=order.reason, permit=permit
            )
            self._stops.ended(order, outcome)
            if self._watcher is not None:
                self._watcher.stop_ended(order, outcome)
        finally:
            self._done(order.environment_id)

    # --- Shared -----------------------------------------------------------------------------------

    def _permit(self) -> str | None:
        """The check between signing and sending: does this process still own the domain?"""
        if self._closing:
            return "this process is stopping"
        return self._owned()

    def _spawn(self, work: Awaitable[None], *, name: str) -> None:
        async def run() -> None:
            await work

        task = asyncio.get_running_loop().create_task(run(), name=name)
        self._calls.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a call's task failed", task=task.get_name(), exc_info=error)

    def _done(self, environment_id: str) -> None:
        self._touched(environment_id)
        self.wake()


class _Once:
    """Calls a function the first time only."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function: Callable[[], None] | None = function

    def __call__(self) -> None:
        if self._function is not None:
            self._function()
            self._function = None
