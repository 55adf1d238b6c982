"""The scheduler put together: memory, passes, doubts and, unless it only observes, the executor."""

import asyncio
from collections.abc import Callable

import structlog
from msgspec import Struct

from blox.base.ambient import Clock, Entropy
from blox.base.errors import BloxError
from blox.base.ids import Domain
from blox.ecs.port import EcsActs, EcsReads
from blox.scheduler.doubts import Doubts
from blox.scheduler.executor import CallWatcher, Executor, Tokens
from blox.scheduler.housekeeping import Housekeeping
from blox.scheduler.migrator import Migrator
from blox.scheduler.reconciler import Reconciler
from blox.scheduler.repository import Repository
from blox.scheduler.starts import Starts
from blox.scheduler.state import State
from blox.scheduler.stops import Stops
from blox.scheduler.view import ClusterView
from blox.settings import Assumptions, Settings

_log = structlog.get_logger("blox.scheduler")

LAST_ANSWERS = 8.0
"""Seconds that a stopping scheduler waits for answers; what is still open then stays an intent."""


_LONG = 86_400.0
"""Seconds by which no clock is wrong."""


class Hands(Struct, frozen=True, kw_only=True):
    """What it takes to act. A scheduler without them observes."""

    acts: EcsActs
    tokens: Tokens
    owned: Callable[[], str | None]
    """None while this process owns the domain, else why not."""
    watcher: CallWatcher | None = None


class Scheduler:
    """Keeps the environments of one domain."""

    def __init__(
        self,
        repository: Repository,
        view: ClusterView,
        reads: EcsReads,
        *,
        clock: Clock,
        entropy: Entropy,
        settings: Settings,
        hands: Hands | None,
        excused: Callable[[], bool] = lambda: False,
    ) -> None:
        """`hands`: None constructs nothing that acts. `excused()`: the domain is throttled."""
        self.state = State(
            repository, view, reads, clock=clock, settings=settings, observing=hands is None
        )
        self.starts = Starts(self.state, entropy, wake_at=self._wake_at)
        self.stops = Stops(self.state, wake_at=self._wake_at)
        self.doubts = Doubts(self.state, touched=self._touch)
        self.executor: Executor | None = None
        if hands is not None:
            self.executor = Executor(
                hands.acts,
                self.state,
                self.starts,
                self.stops,
                tokens=hands.tokens,
                owned=hands.owned,
                touched=self._touch,
                in_doubt=self.doubts.began,
                watcher=hands.watcher,
            )
        self.reconciler = Reconciler(
            self.state,
            self.doubts,
            wake_executor=self._wake,
            excused=lambda: excused() or bool(self.starts.held),
        )
        self.migrator = Migrator(
            self.state,
            None if hands is None else hands.acts,
            tokens=None if hands is None else hands.tokens,
            owned=(lambda: None) if hands is None else hands.owned,
            changed=self.reconciler.track,
        )
        self.housekeeping = Housekeeping(
            self.state, self.doubts, touched=self._touch, ended=self.reconciler.untrack
        )

    @property
    def observing(self) -> bool:
        return self.executor is None

    async def start(self) -> None:
        """Load what is stored and begin. Waits for nothing but the store."""
        state = self.state
        if state.repository.is_new:
            # Nobody has acted with it, so nobody's calls can still be on their way.
            await state.repository.mark_clean()
        copied = not self.observing and await state.repository.take_copied()
        clean = (self.observing or await state.repository.take_clean()) and not copied
        if copied:
            _log.warning(
                "this store is a backup: daemons that were started after it was made are not known",
                meaning="empty hosts wait until such a start certainly would have shown",
            )
        now = state.clock.monotonic()
        known = state.repository.environments()
        if known and not clean:
            assumptions = state.assumptions
            state.surplus_from = now + assumptions.request_life + assumptions.acceptance_lag
        long_ago = state.reads.now() - _LONG
        state.adopted_before = {e.id for e in known if e.adopted and e.adopted_until > long_ago}
        for intent in state.repository.intents():
            state.book.restore(intent, acquired_at=now)
        self.reconciler.start()
        self.doubts.start()
        self.housekeeping.start()
        if known and not clean:
            self.migrator.unclean_since = now
        self.migrator.start()
        if self.executor is not None:
            self.executor.start()
        for environment in (*known, *state.repository.tombstones()):
            if state.served(environment):
                await state.view.follow(environment.cluster_arn)

    def serve(self, domain: Domain) -> None:
        """The account and region that we act in are known now; others' environments are left."""
        self.state.domain = domain
        for environment in self.state.repository.environments():
            if not self.state.served(environment):
                self.state.view.unfollow(environment.cluster_arn)
            self.reconciler.track(environment.id)

    def allow_starts(self, assumptions: Assumptions) -> None:
        """The fence is known to hold, or not to: starts may begin, under these assumptions."""
        self.assumptions_changed(assumptions)
        self.state.fence_known = True
        self.starts.allowed = True
        self._wake()
        for tracked in self.state.tracked.values():
            self.reconciler.touch(tracked.id)

    def assumptions_changed(self, assumptions: Assumptions) -> None:
        """What is in force from now on: S or B had to be changed, and with them S' and W."""
        state = self.state
        longer = assumptions.request_life - state.assumptions.request_life
        state.assumptions = assumptions
        state.book.window = assumptions.doubt_window
        if longer > 0 and state.clock.monotonic() < state.surplus_from:
            state.surplus_from += longer

    async def watch(self) -> None:
        """Raises when a background task fails, which is a defect."""
        parts = (self.reconciler, self.doubts, self.housekeeping, self.migrator)
        watches = [part.watch() for part in parts]
        if self.executor is not None:
            watches.append(self.executor.watch())
        await asyncio.gather(*watches)

    async def stop(self) -> None:
        """Take no more work, await what answers are due, and say in the store that nothing is open
        if that is so."""
        answered = True
        if self.executor is not None:
            answered = await self.executor.close(patience=LAST_ANSWERS)
        await self.close_background()
        if self.observing:
            return
        state = self.state
        settled = not state.book.unsettled() and not state.stops.doubted
        settled = settled and self.migrator.settled
        if answered and settled and state.clock.monotonic() >= state.surplus_from:
            await self._mark_clean()
        else:
            _log.warning(
                "stopped while calls may still take effect",
                intents=len(state.book.unsettled()),
                meaning="the next start waits for them",
            )

    async def close_background(self) -> None:
        """End what decides and looks; calls are the executor's."""
        await self.migrator.close()
        await self.housekeeping.close()
        await self.reconciler.close()
        await self.doubts.close()

    async def _mark_clean(self) -> None:
        try:
            await self.state.repository.mark_clean()
        except BloxError as error:
            _log.warning(
                "could not record the clean end; the next start waits as after a crash",
                problem=error.message,
            )

    def _touch(self, environment_id: str) -> None:
        self.reconciler.touch(environment_id)

    def _wake(self) -> None:
        if self.executor is not None:
            self.executor.wake()

    def _wake_at(self, when: float) -> None:
        """Wake the executor at `when`, not a hair before: event loops fire timers early, and a pump
        that is woken too soon finds nothing to do and sleeps on."""
        delay = when - self.state.clock.monotonic()
        if delay <= 0:
            self._wake()
        else:
            asyncio.get_running_loop().call_later(delay + 0.001, self._wake_at, when)
