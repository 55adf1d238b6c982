"""A whole world under virtual time: a simulated ECS, a scheduler with its view and store, a user,
and a judge. One seed decides everything.

The scheduler, the view and the ECS client are the real ones; only the transport, the event queue
and the clock are simulated. A process can be killed at any moment: what it had sent travels on,
what it had stored stays, everything else is gone.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from blox.base.clock import LoopClock
from blox.base.entropy import SeededEntropy
from blox.clusterstate.ingest import LEAVING, Ingest
from blox.clusterstate.remote.following import following
from blox.clusterstate.remote.port import StateService
from blox.clusterstate.view import View
from blox.ecs.client import EcsClient, Notice
from blox.ecs.pacing import Category, Kind, Pacer
from blox.scheduler.opening import open_domain
from blox.scheduler.repository import Repository
from blox.scheduler.scheduler import Hands, Scheduler
from blox.scheduler.service import SchedulerService
from blox.settings import Settings
from blox.simulator.client import SimTransport
from blox.simulator.feed import Feed
from blox.simulator.live import LiveCloud
from blox.store.errors import StoreUnavailable, StoreUnknown
from blox.store.memory import MemoryData, MemoryStore
from blox.store.port import Store


class StoreTrouble:
    """Makes a process's store fail: at will, and for ever once the process is dead."""

    def __init__(self) -> None:
        self.failing = False
        self.after_applying = False
        self.dead = False

    def before(self, operation: str, /) -> None:
        if self.dead or (self.failing and not self.after_applying):
            raise StoreUnavailable(f"the simulated store refuses {operation}")

    def after(self, operation: str, /) -> None:
        if self.failing and self.after_applying and operation == "transact":
            raise StoreUnknown("the simulated store lost its answer")


class Process:
    """One run of the scheduler, from start to its end by `kill` or `stop`."""

    def __init__(
        self,
        live: LiveCloud,
        feed: Feed | None,
        *,
        random: Random,
        settings: Settings,
        data: MemoryData | None = None,
        store: Store | None = None,
        clock: LoopClock | None = None,
        call_timeout: float = 60.0,
        observe: bool = False,
        service: StateService | None = None,
    ) -> None:
        """`store`: another store than the simulated memory of `data`. `service`: what keeps the
        view, in place of `feed` and of sweeps of its own."""
        self.trouble = StoreTrouble()
        self.clock = clock or LoopClock(live.epoch)
        self._store = store or MemoryStore(
            self.clock, data=data or MemoryData(), faults=self.trouble
        )
        self.transport = SimTransport(
            live,
            clock=self.clock,
            random=Random(random.getrandbits(64)),
            timeout=call_timeout,
            caller="blox",
        )
        alone = feed is None and service is None
        capped = settings.pacing.read_rate_without_queue if alone else None
        self.pacer = Pacer(self.clock, settings.pacing, read_rate=capped)
        self.client = EcsClient(
            self.transport,
            clock=self.clock,
            assumptions=settings.assumptions,
            pacer=self.pacer,
            timeout=call_timeout,
            listener=self._noticed,
        )
        self.repository = Repository(self._store)
        self.dead = False
        self.failure: BaseException | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._cluster_known = asyncio.Event()
        self._watch(None if service is not None else feed, settings, service)
        self._compose(settings, SeededEntropy(random.getrandbits(64)), observe=observe)

    def _watch(self, feed: Feed | None, settings: Settings, service: StateService | None) -> None:
        """The view over the client, or over a service."""
        feeder = None
        if service is not None:
            feeder = following(service, self.clock, settings=settings.view, ecs_now=self.client.now)
        self.view = View(
            self.client,
            self.clock,
            assumptions=settings.assumptions,
            settings=settings.view,
            queue=feed is not None,
            feeder=feeder,
        )
        self.ingest = None if feed is None else Ingest(self.view, feed, self.clock)

    def _compose(self, settings: Settings, entropy: SeededEntropy, *, observe: bool) -> None:
        """The scheduler over the view and the client."""
        hands = Hands(acts=self.client, tokens=self._token, owned=self._owned)
        self.scheduler = Scheduler(
            self.repository,
            self.view,
            self.client,
            clock=self.clock,
            entropy=entropy,
            settings=settings,
            hands=None if observe else hands,
            excused=lambda: self.pacer.throttled_recently(Category.RESOURCE_MODIFY),
        )
        self.service = SchedulerService(self.scheduler, entropy)

    async def _token(self, *, rollout: bool) -> None:
        kind = Kind.ROLLOUT if rollout else Kind.REPAIR
        await self.pacer.acquire(Category.RESOURCE_MODIFY, kind)

    def _owned(self) -> str | None:
        return "the process is dead" if self.dead else None

    def _noticed(self, _: Notice) -> None:
        self.scheduler.assumptions_changed(self.client.assumptions_in_force)

    async def start(self) -> None:
        """Load the store and go. Raises StoreUnavailable when the store cannot be read."""
        await self.repository.load()
        await self.scheduler.start()
        self._run(self.view.run())
        if self.ingest is not None:
            self._run(self.ingest.run())
        self._run(self.scheduler.watch())
        self._run(
            open_domain(
                self.scheduler,
                self.client,
                clusters=self._clusters,
                cluster_known=self._cluster_known,
            ),
            eternal=False,
        )

    def _clusters(self) -> list[str]:
        known = (*self.repository.environments(), *self.repository.tombstones())
        return list(dict.fromkeys(environment.cluster_arn for environment in known))

    def environments_changed(self) -> None:
        """An environment was created: there is a cluster to ask about."""
        self._cluster_known.set()

    def _run(self, work: Coroutine[Any, Any, None], *, eternal: bool = True) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.append(task)

        def ended(done: asyncio.Task[Any]) -> None:
            if done.cancelled() or self.dead:
                return
            error = done.exception()
            if error is not None or eternal:
                self.failure = error or RuntimeError("a task that never ends has ended")

        task.add_done_callback(ended)

    async def kill(self) -> None:
        """kill -9: nothing that it holds is finished or tidied up."""
        self.dead = self.trouble.dead = True
        await self._cancel()

    async def stop(self) -> None:
        """SIGTERM: finish what is in flight and say so in the store."""
        await self.scheduler.stop()
        self.dead = True
        await self._cancel()

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        closing: list[Callable[[], Coroutine[Any, Any, Any]]] = [self.view.close]
        if self.ingest is not None:
            patience = 0.0 if self.trouble.dead else LEAVING
            closing.append(functools.partial(self.ingest.close, patience=patience))
        executor = self.scheduler.executor
        if executor is not None:
            await executor.close(patience=0.0)
        for close in (*closing, self.scheduler.close_background):
            await close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._store.close()
