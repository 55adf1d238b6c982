"""A daemon-scheduler as a process of its own, against a simulated AWS in a thread of the test.

The simulated AWS speaks the real protocols over HTTP; because it lives in the test's process, the
test also sees the truth in it (`SimulatedWorld.look`) without asking over the wire.
"""

import asyncio
import http.client
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from blox.cli.simulator_client import Simulator
from blox.settings import Assumptions
from blox.simulator.cloud import Cloud
from blox.simulator.faults import Faults
from blox.simulator.model import TaskRecord
from blox.simulator.server import SimulatedAws, serving
from support.processes import Running, clean_environment, free_port, running, wait_until
from support.simulated import REGION

T = TypeVar("T")
TESTS: Final = Path(__file__).parents[1]
SHORT: Final = Assumptions(signature_age=4.0, acceptance_lag=0.5, read_lag=1.0, backdate=1.0)
"""S, E, V and B in tests: W is 4.5 s."""
QUEUE: Final = "events"


# --- The world ------------------------------------------------------------------------------------


class SimulatedWorld:
    """A simulated AWS with a cluster `demo` and definitions `agent:1` and `agent:2`."""

    def __init__(self, server: SimulatedAws, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self.url = server.url
        self.control = Simulator(server.url)

    def look(self, at: Callable[[Cloud], T]) -> T:
        """What `at` finds in the cloud, which stands still meanwhile."""

        async def call() -> T:
            self._server.pump()
            return at(self._server.cloud)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(30.0)

    def happen(self, act: Callable[[SimulatedAws, float], T]) -> T:
        """Let something happen: `act(server, now)`."""

        async def call() -> T:
            self._server.pump()
            try:
                return act(self._server, self._server.now())
            finally:
                self._server.pump()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(30.0)

    def calls(self, operation: str) -> list[Any]:
        """Every StartTask or StopTask that ECS has seen, refused ones included."""
        return self.look(lambda cloud: [c for c in cloud.log if c.operation == operation])

    def acted(self) -> int:
        """How many calls that act ECS has seen."""
        return self.look(
            lambda cloud: sum(c.operation in ("StartTask", "StopTask") for c in cloud.log)
        )

    def counted(self) -> int:
        """How many calls of any kind ECS has seen."""
        return self.look(lambda cloud: sum(cloud.counts.values()))

    def live(self, *, family: str = "agent", cluster: str = "demo") -> list[TaskRecord]:
        """The live tasks of a family."""
        return self.look(
            lambda cloud: [
                task
                for task in cloud.tasks.values()
                if task.live and task.family == family and task.cluster == cluster
            ]
        )

    def running(self, *, family: str = "agent", definition: str = "") -> int:
        """How many of them are RUNNING and stay so; `definition`: its ARN's end."""
        return sum(
            task.last_status == task.desired_status == "RUNNING"
            and task.definition.endswith(definition)
            for task in self.live(family=family)
        )

    def hosts(self, cluster: str = "demo") -> list[str]:
        """ARNs of the hosts that are there."""
        return self.look(
            lambda cloud: [
                host.arn
                for host in cloud.hosts.values()
                if host.cluster == cluster and not host.inactive
            ]
        )

    def with_two(self) -> list[str]:
        """Every pair of daemons of one environment that ever lived on one host at one time."""
        return self.look(with_two)

    def definition(self, family: str = "agent", **more: Any) -> str:
        """One more revision of a family; its ARN."""
        return str(self.control.post("definitions", {"family": family, **more})["definition"])


def with_two(cloud: Cloud) -> list[str]:
    """Judged by when each task came to be and ended, whatever anybody was told."""
    by_slot: dict[tuple[str, str], list[TaskRecord]] = {}
    for task in cloud.tasks.values():
        if task.marker:
            by_slot.setdefault((task.host, task.group), []).append(task)
    found = []
    for (host, group), tasks in by_slot.items():
        tasks.sort(key=lambda task: task.created_at)
        for first, second in itertools.pairwise(tasks):
            ended = first.lived()[1]
            if ended is None or ended > second.created_at:
                found.append(f"{group} on {host}: {first.arn} until {ended}, {second.arn}")
    return found


@contextmanager
def simulated_world(
    *,
    hosts: int = 3,
    clusters: Sequence[str] = ("demo",),
    queues: Sequence[str] = (QUEUE,),
    streams: Sequence[str] = (),
    secrets: Mapping[str, str] | None = None,
    assumptions: Assumptions = SHORT,
    faults: Faults | None = None,
    quotas: bool = False,
    seed: int | str = "process",
) -> Iterator[SimulatedWorld]:
    """Serve it while the block runs."""
    started: list[tuple[SimulatedAws, asyncio.AbstractEventLoop, asyncio.Event]] = []
    failed: list[BaseException] = []
    ready = threading.Event()

    async def serve() -> None:
        cloud = Cloud(seed, assumptions=assumptions, faults=faults, quotas=quotas)
        async with serving(
            cloud, queues=queues, streams=streams, secrets=secrets, seed=seed
        ) as server:
            now = server.now()
            for _ in range(2):
                cloud.add_definition("agent", now=now, cpu=16, memory=32, stop_timeout=1)
            for name in clusters:
                cloud.add_cluster(name, now=now)
                for _ in range(hosts):
                    cloud.add_host(name, now=now)
            server.pump()
            over = asyncio.Event()
            started.append((server, asyncio.get_running_loop(), over))
            ready.set()
            await over.wait()

    def live() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - raised in the test's thread
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=live, name="simulated-aws", daemon=True)
    thread.start()
    ready.wait(20.0)
    if not started:
        raise RuntimeError("the simulated AWS did not start") from next(iter(failed), None)
    server, loop, over = started[0]
    try:
        yield SimulatedWorld(server, loop)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(20.0)
    if failed:
        raise failed[0]


# --- The scheduler --------------------------------------------------------------------------------


@dataclass
class Answer:
    """What an API answers."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """A service of blox that runs, and its API."""

    def __init__(self, process: Running, port: int) -> None:
        self.process = process
        self.port = port

    def ask(self, method: str, path: str, body: object = None, *, within: float = 10.0) -> Answer:
        """One request. Raises OSError or HTTPException when nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=within)
        content = None if body is None else json.dumps(body).encode()
        headers = {} if content is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        finally:
            connection.close()

    def ready(self) -> bool:
        """Whether /readyz says so."""
        try:
            return self.ask("GET", "/readyz").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def wait_ready(self) -> Self:
        """Wait until it is ready."""
        self.process.wait_for(self.ready, what="ready")
        return self

    def get(self, path: str) -> Any:
        """The JSON at a path, which must be there."""
        answer = self.ask("GET", path)
        assert answer.status == 200, answer.text
        return answer.json

    def wait(self, path: str, holds: Callable[[Any], object], *, within: float = 20.0) -> Any:
        """The JSON at a path, once `holds` is true of it."""
        last: list[Any] = [None]

        def look() -> bool:
            last[0] = self.get(path)
            return bool(holds(last[0]))

        try:
            self.process.wait_for(look, within=within, what=path)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{json.dumps(last[0], indent=1)}") from None
        return last[0]

    def conditions(self) -> dict[str, str]:
        """Code → sentence of what is wrong with the process."""
        return {one["code"]: one["sentence"] for one in self.get("/v2/status")["conditions"]}

    def lines(self, event: str = "") -> list[Any]:
        """The lines of its log whose event begins so."""
        found = []
        for line in self.process.output.splitlines():
            if line.startswith("{"):
                entry = json.loads(line)
                if str(entry["event"]).startswith(event):
                    found.append(entry)
        return found


class Scheduler(Service):
    """A daemon-scheduler that runs."""

    def wait_primed(self, cluster: str = "demo") -> Any:
        """/v2/status, once the cluster was read and starts are allowed."""

        def holds(status: Any) -> bool:
            (seen,) = [c for c in status["clusters"] if c["name"] == cluster] or [{}]
            return bool(seen.get("primed")) and status["assumptions"]["checked"]

        return self.wait("/v2/status", holds)

    def create(self, name: str = "logs", *, cluster: str = "demo", **more: object) -> Any:
        """A new environment, healthy as soon as it runs."""
        policy = {"minHealthySeconds": 0, "maxUnavailable": "50%"}
        body = {"name": name, "cluster": cluster, "taskDefinition": "agent:1", "policy": policy}
        answer = self.ask("POST", "/v2/environments", {**body, **more})
        assert answer.status == 201, answer.text
        return answer.json

    def deploy(self, name: str = "logs", *, cluster: str = "demo") -> str:
        """A new deployment of its newest revision; its path."""
        base = f"/v2/environments/{cluster}/{name}/deployments"
        answer = self.ask("POST", base)
        assert answer.status == 201, answer.text
        return f"{base}/{answer.json['id']}"

    def deployed(self, name: str = "logs", *, cluster: str = "demo", within: float = 20.0) -> str:
        """Deploy and wait until it has completed."""
        path = self.deploy(name, cluster=cluster)
        self.wait(path, lambda d: d["status"] == "completed", within=within)
        return path

    def problems(self, name: str = "logs", *, cluster: str = "demo") -> dict[str, str]:
        """Code → sentence of what is wrong with an environment."""
        health = self.get(f"/v2/environments/{cluster}/{name}")["health"]
        return {one["code"]: one["sentence"] for one in health["problems"]}


def environment_of(world: SimulatedWorld, *, assumptions: Assumptions = SHORT) -> dict[str, str]:
    """The variables that lead a process to a simulated AWS with these S, E, V and B."""
    return {
        "PYTHONPATH": str(TESTS),
        "AWS_ENDPOINT_URL": world.url,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "BLOX_ECS_SIGNATURE_AGE": f"{assumptions.signature_age:g}",
        "BLOX_ECS_ACCEPTANCE_LAG": f"{assumptions.acceptance_lag:g}",
        "BLOX_ECS_READ_LAG": f"{assumptions.read_lag:g}",
        "BLOX_SIGNATURE_BACKDATE": f"{assumptions.dated_back:g}",
    }


@contextmanager
def scheduler(
    world: SimulatedWorld,
    folder: Path,
    *flags: str,
    module: str = "support.quick_scheduler",
    queue: str | None = QUEUE,
    store: str = "blox.db",
    assumptions: Assumptions = SHORT,
    without: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[Scheduler]:
    """A daemon-scheduler on a free port with its store in `folder`; killed at the end.

    `module`: `blox.cli.services` is the real one, with real waits. `without`: variables that it
    does not get.
    """
    port = free_port()
    arguments = ["-m", module, "--bind", f"127.0.0.1:{port}", "--store", f"sqlite:{folder / store}"]
    if queue is not None:
        arguments += ["--queue", queue]
    environment = environment_of(world, assumptions=assumptions) | dict(variables or {})
    environment = {name: value for name, value in environment.items() if name not in without}
    output = folder / f"scheduler-{port}.log"
    with running([*arguments, *flags], output=output, environment=environment) as process:
        yield Scheduler(process, port)


__all__ = [
    "QUEUE",
    "SHORT",
    "Answer",
    "Scheduler",
    "Service",
    "SimulatedWorld",
    "clean_environment",
    "environment_of",
    "scheduler",
    "simulated_world",
    "wait_until",
    "with_two",
]
