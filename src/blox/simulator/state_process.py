"""Cluster-state-services under virtual time: real views with real catalogues over a simulated ECS.

A `Replica` is one service through all its runs: its queue goes on while it is down, its stored copy
is what a run finds that begins after a kill. What reaches whom, and when, is
`blox.simulator.state_service`'s.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any

from blox.base.clock import LoopClock
from blox.base.entropy import SeededEntropy
from blox.base.errors import Unavailable
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.copy import StoredCopy
from blox.clusterstate.discovery import Discovery
from blox.clusterstate.ingest import LEAVING, Ingest
from blox.clusterstate.view import View
from blox.ecs.client import EcsClient
from blox.ecs.errors import EcsError
from blox.ecs.pacing import Pacer
from blox.settings import Settings
from blox.simulator.client import SimTransport
from blox.simulator.feed import Feed
from blox.simulator.live import LiveCloud
from blox.simulator.state_served import Served, Watch
from blox.store.errors import StoreUnavailable
from blox.store.memory import MemoryData, MemoryStore

CALLER = "cluster-state-service"


@dataclass(slots=True)
class Trouble:
    """What is wrong with a replica, for as long as it is set."""

    hung: bool = False
    """It runs and does not answer: what is asked waits, streams tell nothing."""
    deaf: bool = False
    """Sweeps that are asked for are numbered and forgotten."""


class _Disk:
    """A run's store, out of its reach once it is dead."""

    def __init__(self) -> None:
        self.dead = False

    def before(self, operation: str, /) -> None:
        if self.dead:
            raise StoreUnavailable(f"a dead service asks for {operation}")

    def after(self, operation: str, /) -> None:
        """What is applied is applied."""


def _found_by(discovery: Discovery) -> Watch:
    async def watch(name: str) -> str | None:
        try:
            return await discovery.find(name)
        except EcsError as error:
            raise Unavailable(error.message) from error

    return watch


class Run:
    """One run of a service, from its start to its end."""

    def __init__(
        self,
        replica: "Replica",
        catalogue: Catalogue,
        view: View,
        copy: StoredCopy,
        disk: _Disk,
        discovery: Discovery,
    ) -> None:
        self.replica = replica
        self.catalogue = catalogue
        self.view = view
        self.copy = copy
        self.served = Served(view, catalogue, replica.clock, watch=_found_by(discovery))
        self.disk = disk
        self.ended = asyncio.Event()
        self.failure: BaseException | None = None
        self.ingest: Ingest[Any] | None = None
        self._tasks: list[asyncio.Task[Any]] = []

    def go(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a part of it until the end."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.append(task)

        def over(done: asyncio.Task[Any]) -> None:
            if not done.cancelled() and not self.ended.is_set():
                self.failure = done.exception() or RuntimeError("a part of the service has ended")

        task.add_done_callback(over)

    async def close(self, *, gently: bool) -> None:
        """Nothing of it goes on. `gently`: what it knows is stored before."""
        self.ended.set()
        self.disk.dead = not gently
        for task in self._tasks:
            task.cancel()
        if self.ingest is not None:
            await self.ingest.close(patience=LEAVING if gently else 0.0)
        await self.view.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if gently:
            await self.copy.close()


class Replica:
    """One service: at most one run at a time, a queue of its own or none, a stored copy."""

    def __init__(
        self,
        live: LiveCloud,
        name: str,
        *,
        random: Random,
        settings: Settings,
        queue: bool,
        read_rate: float | None = None,
    ) -> None:
        """`read_rate`: reads a second at most; None: as many as its share allows."""
        self.name = name
        self.clock = LoopClock(live.epoch)
        self.trouble = Trouble()
        self.run: Run | None = None
        self.failure: BaseException | None = None
        """Why a run ended by itself."""
        self._data = MemoryData()
        self._entropy = SeededEntropy(random.getrandbits(64))
        self.transport = SimTransport(
            live, clock=self.clock, random=Random(random.getrandbits(64)), caller=CALLER
        )
        self.feed = Feed(live, random=Random(random.getrandbits(64))) if queue else None
        self._settings = settings
        self._read_rate = read_rate

    async def start(self) -> None:
        """A run begins, with what the stored copy has; nothing if one is going on."""
        if self.run is not None:
            return
        client = EcsClient(
            self.transport,
            clock=self.clock,
            assumptions=self._settings.assumptions,
            pacer=Pacer(self.clock, self._settings.pacing, read_rate=self._read_rate),
            whole=True,
        )
        disk = _Disk()
        copy = StoredCopy(
            MemoryStore(self.clock, data=self._data, faults=disk), self.clock, self._entropy
        )
        catalogue = await copy.load()
        view = View(
            client,
            self.clock,
            assumptions=self._settings.assumptions,
            settings=self._settings.view,
            queue=self.feed is not None,
            catalogue=catalogue,
            stranger=lambda arn: discovery.stranger(arn),
        )
        discovery = Discovery(client, view, self.clock)
        await copy.restore(view)
        run = self.run = Run(self, catalogue, view, copy, disk, discovery)
        run.go(view.run())
        run.go(discovery.run())
        run.go(copy.run())
        if self.feed is not None:
            run.ingest = Ingest(view, self.feed, self.clock, whole=True, settled=copy.settled)
            run.go(run.ingest.run())

    def lose_writes(self) -> None:
        """Nothing that this run writes is stored from now on."""
        if self.run is not None:
            self.run.disk.dead = True

    async def end(self, *, gently: bool = False, copy_lost: bool = False) -> None:
        """kill -9, or `gently` SIGTERM. `copy_lost`: its disk goes with it."""
        run, self.run = self.run, None
        if run is not None:
            self.failure = self.failure or run.failure
            await run.close(gently=gently)
        if copy_lost:
            self._data = MemoryData()
