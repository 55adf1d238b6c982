"""A view with its catalogue, and the cluster-state-service's API over them.

`over_a_cloud` reads a simulated ECS through the real client, on whatever loop runs. `by_events`
reads an ECS that answers nothing, so that all that is known was told by hand (`StateStore.tell`).
`on_a_state_service` serves the first on a socket, on a loop that runs `SPEED` times as fast.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, Final, TypeVar

from blox.base.clock import LoopClock
from blox.cli.client import Client
from blox.clusterstate.api import operations
from blox.clusterstate.api.context import StateApi, StateInfo
from blox.clusterstate.api.moments import iso
from blox.clusterstate.api.v1 import UNSUPPORTED_FILTER
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.view import View
from blox.ecs.client import EcsClient
from blox.ecs.events import Ignored, read_event
from blox.ecs.pacing import Pacer
from blox.ecs.port import EcsReads
from blox.http.app import create_app
from blox.http.metrics import Metrics
from blox.http.server import address_of, bind, parse_address, serving
from blox.settings import Assumptions, ViewSettings
from blox.simulator.client import SimTransport
from blox.simulator.cloud import Cloud
from blox.simulator.live import LiveCloud
from support.processes import wait_until
from support.running import FastLoop, Response, asked
from support.scriptedecs import ScriptedEcs, refused

T = TypeVar("T")
VERSIONS: Final = 10**9
"""Reserved at once: no store is written here."""
_TASK: Final = "ECS Task State Change"
_HOST: Final = "ECS Container Instance State Change"
_READS: Final = (
    "DescribeClusters",
    "ListContainerInstances",
    "DescribeContainerInstances",
    "ListTasks",
    "DescribeTasks",
)


class StateStore:
    """A view, its catalogue, and the API over both."""

    def __init__(self, reads: EcsReads, *, info: StateInfo | None = None) -> None:
        self.clock = LoopClock()
        self.catalogue = Catalogue(name="k3f9p2", epoch="e1")
        self.catalogue.reserve(VERSIONS)
        self.view = View(
            reads,
            self.clock,
            assumptions=Assumptions(),
            settings=ViewSettings(),
            catalogue=self.catalogue,
        )
        given = info or StateInfo(version="1.0.0", began_at=self.clock.wall())
        self.api = StateApi(self.view, self.catalogue, given, clock=self.clock)

    def tell(self, detail: Mapping[str, Any], *, time: float | None = None) -> str:
        """Apply one event about a task or host, of a cluster that is followed; what became of it.
        `detail` is as ECS answers it: events have times as text."""
        when = datetime.fromtimestamp(self.clock.wall() if time is None else time, UTC)
        body = {
            "source": "aws.ecs",
            "detail-type": _TASK if "taskArn" in detail else _HOST,
            "time": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "detail": {name: _as_event(name, value) for name, value in detail.items()},
        }
        event = read_event(json.dumps(body).encode(), whole=True)
        assert not isinstance(event, Ignored)
        return self.view.apply(event)

    async def settled(self, *clusters: str) -> None:
        """Wait until the first sweep of these clusters is complete. Takes virtual time."""
        while not all(self._primed(name) for name in clusters):
            await asyncio.sleep(0.01)

    def _primed(self, name: str) -> bool:
        found = [self.view.cluster(arn) for arn in self.api.clusters_named(name)]
        return any(seen is not None and seen.primed for seen in found)


def _as_event(name: str, value: Any) -> Any:
    return iso(value) if name.endswith("At") and not isinstance(value, str) else value


@contextlib.asynccontextmanager
async def by_events(*clusters: str, info: StateInfo | None = None) -> AsyncIterator[StateStore]:
    """A store that follows clusters (ARNs) of an ECS of which every read fails."""
    ecs = ScriptedEcs(LoopClock())
    for operation in _READS:
        ecs.broken[operation] = refused(operation)
    store = StateStore(ecs, info=info)
    for arn in clusters:
        await store.view.follow(arn)
    try:
        yield store
    finally:
        await store.view.close()


@contextlib.asynccontextmanager
async def over_a_cloud(
    cloud: Cloud, *clusters: str, info: StateInfo | None = None, include: Sequence[str] = ()
) -> AsyncIterator[tuple[StateStore, LiveCloud]]:
    """A store that reads a simulated cloud, and has read these clusters (names) once."""
    live = LiveCloud(cloud)
    clock = LoopClock()
    client = EcsClient(
        SimTransport(live, clock=clock, random=Random("transport")),
        clock=clock,
        assumptions=Assumptions(),
        pacer=Pacer(clock),
        whole=True,
        include=include,
    )
    live.settle()
    store = StateStore(client, info=info)
    for name in clusters:
        await store.view.follow(name)
    try:
        await store.settled(*clusters)
        yield store, live
    finally:
        await store.view.close()
        live.close()


@dataclass
class Bench:
    """What a test holds in its hands: a client, and the world behind the server. Its methods run
    beside the server's loop."""

    url: str
    store: StateStore
    live: LiveCloud | None
    loop: asyncio.AbstractEventLoop
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(self.url)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """One request as it stands."""
        return asked(self.url, method, path, body, headers=headers)

    def get(self, path: str) -> Any:
        """What stands at a path, which must be there."""
        answer = self.ask("GET", path)
        assert answer.status == 200, answer.text
        return answer.json

    def on_loop(self, act: Callable[[], T]) -> T:
        """Call `act` where the service lives."""

        async def call() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(20.0)

    def world(self, act: Callable[[Cloud, float], T]) -> T:
        """Let something happen to the simulated ECS: `act(cloud, now)`."""
        live = self.live
        assert live is not None, "this store is told by hand"

        def change() -> T:
            live.settle()
            result = act(live.cloud, live.now())
            live.settle()
            return result

        return self.on_loop(change)

    def tell(self, detail: Mapping[str, Any], *, time: float | None = None) -> str:
        """Apply one event; what became of it."""
        return self.on_loop(lambda: self.store.tell(detail, time=time))

    def until(self, holds: Callable[[], object], *, what: str = "it holds") -> None:
        """Wait for a condition, within a deadline."""
        wait_until(holds, within=20.0, what=what)

    def swept(self, cluster: str = "demo") -> None:
        """Wait until a sweep that begins now is complete."""

        async def sweep() -> None:
            (arn,) = self.store.api.clusters_named(cluster)
            number = self.store.view.request_sweep(arn)
            while (seen := self.store.view.cluster(arn)) is None or seen.sweep < (number or 0):
                await asyncio.sleep(0.05)

        asyncio.run_coroutine_threadsafe(sweep(), self.loop).result(20.0)


def on_a_state_service(
    work: Callable[[Bench], T],
    *,
    hosts: int = 3,
    clusters: tuple[str, ...] = ("demo",),
    furnish: Callable[[Cloud, float], None] = lambda _cloud, _now: None,
    info: StateInfo | None = None,
) -> T:
    """Serve a store over a cloud with clusters of `hosts` hosts and a definition `agent:1`, and run
    `work` in a thread beside it. `furnish` adds to the cloud before."""
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(_scene(work, hosts, clusters, furnish, info))


def by_hand(work: Callable[[Bench], T], *clusters: str, info: StateInfo | None = None) -> T:
    """Serve a store that follows these clusters (ARNs) and is told everything by `Bench.tell`, and
    run `work` in a thread beside it."""

    async def scene() -> T:
        async with by_events(*clusters, info=info) as store:
            return await _beside(work, store, None)

    with asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(scene())


async def _scene(
    work: Callable[[Bench], T],
    hosts: int,
    clusters: tuple[str, ...],
    furnish: Callable[[Cloud, float], None],
    info: StateInfo | None,
) -> T:
    cloud = Cloud("state")
    now = LiveCloud(cloud).now()
    cloud.add_definition("agent", now=now)
    for name in clusters:
        cloud.add_cluster(name, now=now)
        for _ in range(hosts):
            cloud.add_host(name, now=now)
    furnish(cloud, now)
    async with over_a_cloud(cloud, *clusters, info=info) as (store, live):
        return await _beside(work, store, live)


async def _beside(work: Callable[[Bench], T], store: StateStore, live: LiveCloud | None) -> T:
    with listening(store.api) as (app, listener, url):
        async with serving(app, listener, on_stop=app.end_streams):
            bench = Bench(url, store, live, asyncio.get_running_loop())
            return await asyncio.to_thread(work, bench)


@contextlib.contextmanager
def listening(api: StateApi) -> Iterator[tuple[Any, Any, str]]:
    """The application over a store, a socket of loopback, and its URL."""
    with bind(parse_address("127.0.0.1:0")) as listener:
        app = create_app(
            operations(api),
            title="cluster-state-service",
            version="test",
            ready=api.info.ready,
            metrics=Metrics(version="test").render,
            local_only=True,
            unsupported_filter=UNSUPPORTED_FILTER,
        )
        yield app, listener, f"http://{address_of(listener)}"
