"""A whole scheduler on a socket: its API over a simulated ECS, with time that runs faster.

The process is the simulator's (`blox.simulator.world`): real scheduler, view, store and client. It
lives on an event loop whose clock runs `SPEED` times as fast as the wall, so that a daemon is
healthy a fraction of a second after it was started. Tests talk to it from another thread, as
clients do, and change the simulated world through `Bench.world`.
"""

import asyncio
import contextlib
import http.client
import json
import selectors
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeVar

from blox.cli.client import Client
from blox.http.app import create_app
from blox.http.metrics import Metrics
from blox.http.rejected import RejectedMessage
from blox.http.server import address_of, bind, parse_address, serving
from blox.scheduler.api import ProcessInfo, operations
from blox.scheduler.model import Environment
from blox.scheduler.report import Problem
from blox.settings import Settings
from blox.simulator.cloud import Cloud
from blox.simulator.feed import Feed
from blox.simulator.live import LiveCloud
from blox.simulator.world import Process
from support.processes import wait_until

T = TypeVar("T")
SPEED: Final = 40.0
"""Seconds of the scheduler's clock in one second of the wall's."""


class _FastSelector(selectors.BaseSelector):
    """Waits a fraction of the time that it is asked to."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return self._real.select(None if timeout is None else timeout / SPEED)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop in which a second passes in 1/SPEED of one."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        super().__init__(_FastSelector())

    def time(self) -> float:
        """Seconds since it was made, SPEED times as many as really passed."""
        return (time.monotonic() - self._began) * SPEED


@dataclass
class Told:
    """What the process is made to say of itself; a test may change it."""

    ready: str | None = None
    conditions: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    rejected: list[RejectedMessage] = field(default_factory=list)


@dataclass
class Response:
    """What a client gets, whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def asked(
    url: str,
    method: str,
    path: str,
    body: object = None,
    *,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One request as it stands. `body`: bytes, or a value that goes as JSON."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json"} if content is not None else {}
    try:
        connection.request(method, path, content, {**given, **(headers or {})})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Response(answer.status, found, answer.read())
    finally:
        connection.close()


class Bench:
    """What a test holds in its hands: a client, and the world behind the server."""

    def __init__(
        self,
        url: str,
        *,
        loop: asyncio.AbstractEventLoop,
        live: LiveCloud,
        process: Process,
        told: Told,
    ) -> None:
        self.url = url
        self.client = Client(url)
        self.told = told
        self._loop = loop
        self._live = live
        self.process = process

    # --- Asking -----------------------------------------------------------------------------------

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """One request as it stands. `body`: bytes, or a value that goes as JSON."""
        return asked(self.url, method, path, body, headers=headers)

    def get(self, path: str) -> Any:
        """What stands at a path, which must be there."""
        answer = self.ask("GET", path)
        assert answer.status == 200, answer.text
        return answer.json

    def wait(
        self, path: str, holds: Callable[[Any], object], *, within: float = 20.0, what: str = ""
    ) -> Any:
        """What stands at a path, once `holds` is true of it."""
        last: list[Any] = [None]

        def look() -> Any:
            last[0] = self.get(path)
            return last[0] if holds(last[0]) else None

        try:
            return wait_until(look, within=within, what=what or path)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{json.dumps(last[0], indent=1)}") from None

    # --- The world --------------------------------------------------------------------------------

    def on_loop(self, act: Callable[[], T]) -> T:
        """Call `act` where the scheduler lives."""

        async def call() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(20.0)

    def world(self, act: Callable[[Cloud, float], T]) -> T:
        """Let something happen to the simulated ECS: `act(cloud, now)`."""

        def change() -> T:
            self._live.settle()
            result = act(self._live.cloud, self._live.now())
            self._live.settle()
            return result

        return self.on_loop(change)

    def environment(self, name: str) -> Environment:
        """The stored record."""
        (found,) = self.on_loop(lambda: self.process.repository.named(name))
        return found

    # --- Steps that many tests begin with ---------------------------------------------------------

    def created(self, name: str = "logs", **more: object) -> Any:
        """An environment of /v2 on `demo` that calls a daemon healthy at once."""
        body = {
            "name": name,
            "cluster": "demo",
            "taskDefinition": "agent",
            "policy": {"minHealthySeconds": 0},
            **more,
        }
        answer = self.ask("POST", "/v2/environments", body)
        assert answer.status == 201, answer.text
        return answer.json

    def deployed(self, name: str = "logs", *, cluster: str = "demo") -> str:
        """Deploy it; the deployment's id, once it has completed."""
        base = f"/v2/environments/{cluster}/{name}/deployments"
        answer = self.ask("POST", base)
        assert answer.status == 201, answer.text
        id_ = str(answer.json["id"])
        self.wait(f"{base}/{id_}", lambda d: d["status"] == "completed", what="completed")
        return id_


def on_a_scheduler(
    work: Callable[[Bench], T],
    *,
    hosts: int = 3,
    clusters: tuple[str, ...] = ("demo",),
    observe: bool = False,
    furnish: Callable[[Cloud, float], None] = lambda _cloud, _now: None,
) -> T:
    """Serve a scheduler over a cloud with clusters of `hosts` hosts and definitions `agent:1` and
    `agent:2`, and run `work` in a thread beside it. `furnish` adds to the cloud before."""
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(_scene(work, hosts, clusters, observe, furnish))


async def _scene(
    work: Callable[[Bench], T],
    hosts: int,
    clusters: tuple[str, ...],
    observe: bool,
    furnish: Callable[[Cloud, float], None],
) -> T:
    cloud = Cloud("running")
    live = LiveCloud(cloud)
    now = live.now()
    for name in clusters:
        cloud.add_cluster(name, now=now)
        for _ in range(hosts):
            cloud.add_host(name, now=now)
    for _ in range(2):
        cloud.add_definition("agent", now=now, stop_timeout=1)
    furnish(cloud, now)
    feed = Feed(live, random=Random("feed"))
    live.settle()
    process = Process(live, feed, random=Random("process"), settings=Settings(), observe=observe)
    await process.start()
    told = Told()
    try:
        with _listening(process, told, now) as (app, listener, url):
            async with serving(app, listener, on_stop=app.end_streams):
                bench = Bench(
                    url,
                    loop=asyncio.get_running_loop(),
                    live=live,
                    process=process,
                    told=told,
                )
                return await asyncio.to_thread(work, bench)
    finally:
        await process.stop()
        live.close()
        if process.failure is not None:
            raise process.failure


@contextlib.contextmanager
def _listening(process: Process, told: Told, began_at: float) -> Iterator[tuple[Any, Any, str]]:
    info = ProcessInfo(
        version="1.0.0",
        began_at=began_at,
        ready=lambda: told.ready,
        conditions=lambda: told.conditions,
        notes=lambda: told.notes,
        clusters=lambda: process.view.clusters,
        rejected=lambda: [*(process.ingest.rejected if process.ingest else ()), *told.rejected],
        environment_created=process.environments_changed,
        assumptions=lambda: process.client.assumptions_in_force,
    )
    with bind(parse_address("127.0.0.1:0")) as listener:
        app = create_app(
            operations(process.service, process.scheduler, process=info),
            title="daemon-scheduler",
            version="test",
            ready=lambda: told.ready,
            metrics=Metrics(version="test").render,
            local_only=True,
        )
        yield app, listener, f"http://{address_of(listener)}"
