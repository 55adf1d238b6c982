"""A simulated AWS served by this process, and real `daemon-scheduler` processes that use it."""

import asyncio
import contextlib
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import uvloop

from benchmarks.figures import Progress
from benchmarks.virtual import ATTRIBUTES
from blox.base.errors import Unavailable
from blox.cli.client import Client, JsonObject
from blox.cli.demo_process import SchedulerProcess, environment
from blox.cli.words import place
from blox.simulator.cloud import Cloud
from blox.simulator.model import Json
from blox.simulator.server import SimulatedAws, serving

T = TypeVar("T")

CLUSTER: Final = "bench"
FAMILY: Final = "agent"
QUEUE: Final = "events"
ACCOUNT: Final = "111122223333"
REGION: Final = "us-east-1"
ROOT: Final = Path(__file__).parents[1]
POLICY: Final[Mapping[str, object]] = {}
"""Of every environment; the defaults."""
_POLL: Final = 0.1
_PATIENCE: Final = 240.0
"""Seconds until a benchmark gives up on what it waits for."""


class CountedCloud(Cloud):
    """A cloud that counts its events."""

    events = 0

    def take_events(self) -> list[Json]:
        taken = super().take_events()
        self.events += len(taken)
        return taken


class Stage:
    """What a benchmark holds in its hands. Made by `opened`."""

    def __init__(self, cloud: CountedCloud, server: SimulatedAws, folder: Path, hosts: int) -> None:
        self.cloud = cloud
        self.server = server
        self.hosts = hosts
        self.folder = folder
        self._process: SchedulerProcess | None = None
        self._client: Client | None = None

    # --- The simulated AWS ------------------------------------------------------------------------

    def act(self, change: Callable[[Cloud, float], T]) -> T:
        """Let something happen at once; its events go out."""
        result = change(self.cloud, self.server.now())
        self.server.pump()
        return result

    def add_hosts(self, count: int) -> None:
        """So many machines register."""
        self.act(lambda cloud, now: _add_hosts(cloud, count, now, pools=1))
        self.hosts += count

    def add_definition(self, family: str) -> None:
        """A revision of a small daemon's definition."""
        self.act(lambda cloud, now: cloud.add_definition(family, now=now, cpu=16, memory=32))

    @property
    def queue_url(self) -> str:
        return f"{self.server.url}/{ACCOUNT}/{QUEUE}"

    # --- The scheduler's process ------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def scheduler(
        self,
        *options: str,
        store: str = "blox.db",
        clusters: tuple[str, ...] = (CLUSTER,),
        more: Mapping[str, str] | None = None,
        follows: str = "",
    ) -> AsyncIterator[int]:
        """A daemon-scheduler while the block runs; its process id. `store`: a file's name, which
        stays for the next. `follows`: HOST:PORT of the cluster-state-service that it uses instead
        of the queue."""
        port = free_port()
        arguments = ["--bind", f"127.0.0.1:{port}", "--store", f"sqlite:{self.folder / store}"]
        arguments += ["--css-endpoint", follows] if follows else ["--queue", QUEUE]
        arguments += options
        for name in clusters:
            arguments += ["--cluster", name]
        environ = environment(
            self.server.url,
            region=REGION,
            key="blox",
            more={"DS_LOG_LEVEL": "warn", **(more or {})},
        )
        log = self.folder / "scheduler.log"
        process = self._process = SchedulerProcess(arguments, environ=environ, log=log)
        self._client = Client(f"http://127.0.0.1:{port}")
        await process.start()
        try:
            await self._until(self._answers, what="daemon-scheduler answers")
            yield process.pid
        finally:
            self._process = None
            await asyncio.shield(asyncio.ensure_future(process.stop()))

    async def _answers(self) -> bool:
        try:
            await self.ask(lambda client: client.get("/v2/status"))
        except Unavailable:
            return False
        return True

    @property
    def api(self) -> Client:
        assert self._client is not None
        return self._client

    async def ask(self, call: Callable[[Client], T]) -> T:
        """Ask the API in a thread: the simulated AWS goes on meanwhile."""
        try:
            return await asyncio.to_thread(call, self.api)
        except Unavailable:
            if self._process is not None and self._process.died.is_set():
                raise self._process.obituary() from None
            raise

    async def primed(self, cluster: str = CLUSTER) -> None:
        """Wait until the scheduler has read the whole cluster and may start daemons."""

        async def look() -> bool:
            status = await self.ask(lambda client: client.get("/v2/status"))
            return status["assumptions"]["checked"] and any(
                known["name"] == cluster and known["primed"] for known in status["clusters"]
            )

        await self._until(look, what=f"{cluster} is read")

    # --- Environments -----------------------------------------------------------------------------

    async def create(self, name: str, *, family: str = FAMILY, **more: object) -> None:
        """An environment that is not deployed yet."""
        named = {"name": name, "cluster": CLUSTER, "taskDefinition": family}
        body: dict[str, object] = {**named, "policy": POLICY, **more}
        await self.ask(lambda client: client.post("/v2/environments", body))

    async def deploy(self, name: str) -> None:
        """Deploy its newest revision."""
        path = place(CLUSTER, name, "deployments")
        await self.ask(lambda client: client.post(path, query={"supersede": "true"}))

    async def shown(self, name: str) -> JsonObject:
        """The environment as the API shows it."""
        return await self.ask(lambda client: client.get(place(CLUSTER, name)))

    async def completed(self, name: str, *, what: str) -> None:
        """Wait until its newest deployment has completed."""
        progress = Progress(what)

        async def look() -> bool:
            shown: Mapping[str, Any] = await self.shown(name)
            counts = shown["counts"]
            progress.at(counts["current"] + counts["settling"], counts["wanted"])
            return bool(shown["deployment"]["status"] == "completed")

        await self._until(look, what=what)

    async def all_current(self, name: str, *, what: str) -> None:
        """Wait until it runs everywhere, as it should. Later hosts are part of no deployment."""
        progress = Progress(what)

        async def look() -> bool:
            counts: Mapping[str, int] = (await self.shown(name))["counts"]
            live = [host for host in self.cloud.hosts.values() if not host.inactive]
            progress.at(counts["current"] + counts["settling"], len(live))
            return counts["current"] == len(live)

        await self._until(look, what=what)

    async def _until(self, look: Callable[[], Awaitable[bool]], *, what: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not await look():
            if self._process is not None and self._process.died.is_set():
                raise self._process.obituary()
            if time.monotonic() > deadline:
                raise Unavailable(f"not within {_PATIENCE:g} s: {what}")
            await asyncio.sleep(_POLL)


def opened(
    work: Callable[[Stage], Awaitable[T]],
    *,
    hosts: int,
    pools: int = 1,
    quotas: bool = True,
    seed: str = "bench",
) -> T:
    """The result of `work` on a stage with a cluster of so many hosts, whose attribute `pool` is
    p0, p1, … in turn. No process and no file is left behind."""

    async def serve() -> T:
        cloud = CountedCloud(seed, account=ACCOUNT, region=REGION, quotas=quotas)
        now = time.time()
        cloud.add_cluster(CLUSTER, now=now)
        cloud.add_definition(FAMILY, now=now, cpu=16, memory=32, stop_timeout=1)
        cloud.add_definition("web", now=now, cpu=16, memory=32, stop_timeout=1)
        _add_hosts(cloud, hosts, now, pools=pools)
        cloud.take_events()
        with scratch() as folder:
            async with serving(
                cloud, queues=[QUEUE], account=ACCOUNT, region=REGION, seed=seed
            ) as server:
                return await work(Stage(cloud, server, folder, hosts))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve())


def _add_hosts(cloud: Cloud, count: int, now: float, *, pools: int) -> None:
    for number in range(count):
        attributes = {**ATTRIBUTES, "pool": f"p{number % pools}"}
        cloud.add_host(CLUSTER, now=now, attributes=attributes)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for files while the block runs. Not below /tmp, which may be memory: the disk is
    part of what is measured."""
    place_of_all = ROOT / "build"
    place_of_all.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=place_of_all) as folder:
        yield Path(folder)


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module of this package; its working directory is `ROOT`."""
    return (sys.executable, "-m", f"benchmarks.{module}", *arguments)


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
