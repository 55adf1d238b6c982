"""A cluster-state-service's streams on a socket, over a view that the test changes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from blox.base.clock import LoopClock
from blox.clusterstate.api.context import StateApi, StateInfo
from blox.clusterstate.api.streams import operations
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.view import View
from blox.ecs.events import HostEvent, TaskEvent, read_event
from blox.settings import Assumptions, ViewSettings
from support.documents import CLUSTER, host, host_event, task_event
from support.scriptedecs import ScriptedEcs
from support.served import served

DEADLINE = 10.0
"""Seconds that a test waits for what must happen at once."""


class State:
    """A view with its catalogue, and what tells it things."""

    def __init__(self, *, heartbeat: float = 15.0) -> None:
        self.clock = LoopClock()
        self.ecs = ScriptedEcs(self.clock, latency=0.0)
        self.catalogue = Catalogue(name="k3f9p2", epoch="e1")
        self.view = View(
            self.ecs,
            self.clock,
            assumptions=Assumptions(),
            settings=ViewSettings(),
            catalogue=self.catalogue,
        )
        self.info = StateInfo(version="test", began_at=self.clock.wall())
        self.api = StateApi(self.view, self.catalogue, self.info, clock=self.clock)
        self.operations = operations(self.api, heartbeat=heartbeat)
        self._version = 100

    @property
    def watchers(self) -> int:
        """How many streams are open."""
        return self.info.watchers.open

    async def start(self, *, hosts: int = 1) -> None:
        """Follow the demo cluster, and wait for its first sweep."""
        self.ecs.put(*(host(number) for number in range(1, hosts + 1)))
        await self.view.follow(CLUSTER)
        await until(lambda: (seen := self.view.cluster(CLUSTER)) is not None and seen.primed)

    def task(self, number: int = 1, *, indent: int | None = None, **detail: Any) -> int:
        """An event about a task; the version after it. `indent`: its JSON has many lines."""
        self._version += 1
        given = {"version": self._version, **detail}
        self._apply(task_event(number, time=self.clock.wall(), **given), indent)
        return self.catalogue.last

    def host(self, number: int = 1, **detail: Any) -> int:
        """An event about a host; the version after it."""
        self._version += 1
        given = {"version": self._version, **detail}
        self._apply(host_event(number, time=self.clock.wall(), **given))
        return self.catalogue.last

    def _apply(self, body: bytes, indent: int | None = None) -> None:
        if indent is not None:
            body = json.dumps(json.loads(body), indent=indent).encode()
        event = read_event(body, whole=True)
        assert isinstance(event, TaskEvent | HostEvent)
        self.view.apply(event)


@contextlib.asynccontextmanager
async def streaming(
    *, heartbeat: float = 15.0, hosts: int = 1
) -> AsyncIterator[tuple[State, aiohttp.ClientSession]]:
    """Serve the streams of a view; gives it, and a session to ask by."""
    state = State(heartbeat=heartbeat)
    await state.start(hosts=hosts)
    try:
        async with (
            served(state.operations) as url,
            aiohttp.ClientSession(url, read_bufsize=2**20) as session,
        ):
            yield state, session
    finally:
        await state.view.close()


async def until(holds: Any, *, within: float = DEADLINE) -> None:
    """Wait until `holds()`."""
    async with asyncio.timeout(within):
        while not holds():
            await asyncio.sleep(0.002)


async def line(answer: aiohttp.ClientResponse) -> Any:
    """The next line of a stream of JSON lines."""
    async with asyncio.timeout(DEADLINE):
        text = await answer.content.readline()
    assert text.endswith(b"\n"), text
    return json.loads(text)
