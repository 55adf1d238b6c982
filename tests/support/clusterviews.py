"""The two ways to a `ClusterView`: a view that reads ECS, and one that follows a service over HTTP.

Both live on a loop that runs faster than the wall, over the same hand-written ECS.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from blox.base.clock import LoopClock
from blox.base.ids import short_id
from blox.clusterstate.api import operations
from blox.clusterstate.api.context import StateApi, StateInfo
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.remote.client import StateClient
from blox.clusterstate.remote.following import following
from blox.clusterstate.view import View
from blox.ecs.events import Ignored, read_event
from blox.ecs.model import HostDocument, TaskDocument
from blox.ecs.port import Read
from blox.ecs.seen import ClusterSeen, Touched
from blox.http.app import create_app
from blox.http.metrics import Metrics
from blox.http.server import address_of, bind, parse_address, serving
from blox.scheduler.view import ClusterView
from blox.settings import Assumptions, ViewSettings
from support.documents import CLUSTER
from support.running import FastLoop
from support.scriptedecs import ScriptedEcs

ASSUMED: Final = Assumptions(read_lag=20.0)
SETTINGS: Final = ViewSettings(sweep_interval_with_queue=10.0, stopped_kept=60.0)
DEADLINE: Final = 800.0
"""Seconds of the loop's clock: 20 of the wall's."""
VERSIONS: Final = 10**9


class _Ecs(ScriptedEcs):
    """Lists of each cluster what is its own."""

    async def list_hosts(self, cluster: str, *, next_token: str | None = None) -> Read[str]:
        return _of(cluster, await super().list_hosts(cluster, next_token=next_token))

    async def list_tasks(
        self, cluster: str, *, desired_status: str, next_token: str | None = None
    ) -> Read[str]:
        return _of(
            cluster,
            await super().list_tasks(cluster, desired_status=desired_status, next_token=next_token),
        )


def _of(cluster: str, listed: Read[str]) -> Read[str]:
    own = tuple(arn for arn in listed.items if f"/{short_id(cluster)}/" in arn)
    return msgspec.structs.replace(listed, items=own)


@dataclass
class Bench:
    """A view, and the ECS that it is a view of."""

    ecs: ScriptedEcs
    clock: LoopClock
    view: ClusterView
    source: View
    """What events come to: the view itself, or the service that it follows."""
    touched: list[Touched] = field(default_factory=list)

    @property
    def seen(self) -> ClusterSeen:
        """What the view says of the demo cluster."""
        seen = self.view.cluster(CLUSTER)
        assert seen is not None
        return seen

    def put(self, *documents: TaskDocument | HostDocument) -> None:
        """From now on ECS shows these."""
        self.ecs.put(*(_whole(document) for document in documents))

    def event(self, body: bytes) -> None:
        """An event comes."""
        event = read_event(body, whole=True)
        assert not isinstance(event, Ignored)
        self.source.apply(event)

    def status(self, arn: str) -> str | None:
        """The lastStatus of a task; None when it is not in the view."""
        task = self.view.task(arn)
        return None if task is None else task.last_status

    async def until(self, holds: Callable[[], object], *, what: str) -> None:
        """Wait for a condition, within a deadline."""
        deadline = self.clock.monotonic() + DEADLINE
        while not holds():
            assert self.clock.monotonic() < deadline, f"never: {what}"
            await asyncio.sleep(0.1)

    async def swept(self) -> None:
        """Wait for two more complete sweeps: what is true now is in the view then, or was looked
        for."""
        before = self.seen.sweeps
        await self.until(lambda: self.seen.sweeps >= before + 2, what="two more sweeps")


def _whole(document: TaskDocument | HostDocument) -> TaskDocument | HostDocument:
    return msgspec.structs.replace(document, whole=msgspec.json.encode(document))


@contextlib.asynccontextmanager
async def in_process(ecs: ScriptedEcs, clock: LoopClock) -> AsyncIterator[tuple[View, View]]:
    """A view that sweeps ECS itself and gets the events."""
    view = View(ecs, clock, assumptions=ASSUMED, settings=SETTINGS, queue=True)
    view.queue_flows(flowing=True)
    try:
        yield view, view
    finally:
        await view.close()


@contextlib.asynccontextmanager
async def over_http(ecs: ScriptedEcs, clock: LoopClock) -> AsyncIterator[tuple[View, View]]:
    """A view that follows a service, which sweeps ECS and gets the events."""
    catalogue = Catalogue(name="k3f9p2", epoch="e1")
    catalogue.reserve(VERSIONS)
    source = View(
        ecs, clock, assumptions=ASSUMED, settings=SETTINGS, queue=True, catalogue=catalogue
    )
    source.queue_flows(flowing=True)

    async def watch(name: str) -> str | None:
        arn = next((arn for arn in ecs.clusters if arn.endswith(f"/{name}")), None)
        if arn is not None:
            await source.follow(arn)
        return arn

    info = StateInfo(version="1.0.0", began_at=clock.wall(), watch=watch)
    app = create_app(
        operations(StateApi(source, catalogue, info, clock=clock)),
        title="cluster-state-service",
        version="test",
        ready=info.ready,
        metrics=Metrics(version="test").render,
        local_only=True,
    )
    listener = bind(parse_address("127.0.0.1:0"))
    client = StateClient([str(address_of(listener))], timeout=DEADLINE)
    view = View(
        ecs,
        clock,
        assumptions=ASSUMED,
        settings=SETTINGS,
        feeder=following(client, clock, settings=SETTINGS, ecs_now=ecs.now),
    )
    async with serving(app, listener, stop_seconds=1, on_stop=app.end_streams):
        try:
            yield view, source
        finally:
            await view.close()
            await client.close()
            await source.close()


WAYS: Final = {"in process": in_process, "over HTTP": over_http}


def seen_through(
    way: str,
    story: Callable[[Bench], Awaitable[None]],
    *,
    before: Callable[[Bench], None] = lambda _: None,
    follow: bool = True,
) -> None:
    """Run `story` with a view of the demo cluster. `before` furnishes ECS."""

    async def main() -> None:
        clock = LoopClock()
        ecs = _Ecs(clock)
        async with WAYS[way](ecs, clock) as (view, source):
            bench = Bench(ecs, clock, view, source)
            view.subscribe(bench.touched.append)
            before(bench)
            running = asyncio.create_task(view.run())
            if follow:
                await view.follow(CLUSTER)
            try:
                await story(bench)
            finally:
                running.cancel()

    with asyncio.Runner(loop_factory=FastLoop) as runner:
        runner.run(main())
