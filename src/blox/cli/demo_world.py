"""The demo's stage: a simulated AWS served by this process, a judge beside it, and the scheduler as
a process of its own that knows nothing of either.

The judge (`blox.simulator.oracle`) looks at the cloud after every change of it, so what it says is
what ECS saw.
"""

import asyncio
import contextlib
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from blox.base.errors import Unavailable
from blox.cli.client import Client, JsonObject
from blox.cli.demo_process import SchedulerProcess, environment
from blox.cli.demo_truth import (
    CLUSTER,
    ENVIRONMENT,
    FAMILY,
    QUEUE,
    SCHEDULER_KEY,
    YOUR_KEY,
    ours,
)
from blox.cli.words import place
from blox.settings import Assumptions
from blox.simulator.cloud import Cloud
from blox.simulator.model import Json
from blox.simulator.oracle import Allowances, Oracle
from blox.simulator.server import SimulatedAws, serving

T = TypeVar("T")
KEY: Final = ENVIRONMENT
"""The judge's name for the demo's environment."""
ACCOUNT: Final = "111122223333"
REGION: Final = "us-east-1"
_API_PORT: Final = 2000
_AWS_PORT: Final = 4566
_READY_WITHIN: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What kind of demo. Seconds."""

    hosts: int
    port: int | None = None
    """Where the scheduler shall listen; None: 2000, or a free port if that is taken."""
    usual_ports: bool = True
    """Prefer 2000 and 4566; else free ports, so that nothing else is in the way."""
    assumptions: Assumptions = field(default_factory=Assumptions)
    allowances: Allowances = field(default_factory=Allowances)
    variables: Mapping[str, str] = field(default_factory=dict)
    """More of the scheduler's environment."""
    policy: Mapping[str, str | float] = field(default_factory=dict)
    """The environment's, as the API has it."""


class JudgedCloud(Cloud):
    """A cloud that says when it may have changed: the server takes its events after everything that
    it does."""

    observer: Callable[[], None] | None = None

    def take_events(self) -> list[Json]:
        events = super().take_events()
        if self.observer is not None:
            self.observer()
        return events


class World:
    """Everything that the demo holds in its hands."""

    def __init__(
        self, plan: Plan, cloud: Cloud, server: SimulatedAws, scheduler: SchedulerProcess, api: str
    ) -> None:
        self.plan = plan
        self.cloud = cloud
        self.server = server
        self.scheduler = scheduler
        self.api = api
        self.client = Client(api)
        self.oracle = Oracle(cloud, allowances=plan.allowances, ours=ours)
        self.folder = scheduler.log.parent
        self.definition = ""
        """The task definition that was deployed last."""
        self.deployed_at = 0.0
        self.blind: list[tuple[float, float]] = []
        """When the scheduler did not run, by ECS's clock."""
        self._began = time.monotonic()
        self._machines = 0

    # --- Time -------------------------------------------------------------------------------------

    def now(self) -> float:
        """ECS's clock."""
        return self.server.now()

    def elapsed(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._began

    # --- The simulated AWS ------------------------------------------------------------------------

    def act(self, change: Callable[[Cloud, float], T]) -> T:
        """Let something happen to the cluster at once."""
        result = change(self.cloud, self.now())
        self.server.pump()
        return result

    def add_host(self) -> str:
        """One more machine registers; its ARN. Its name is short, as old instance ids are."""
        self._machines += 1
        name = f"i-{0xA1B20000 + self._machines * 0x9E37 % 0x10000:08x}"
        return self.act(lambda cloud, now: cloud.add_host(CLUSTER, now=now, instance_id=name))

    def name(self, host: str) -> str:
        """A host's instance id."""
        return self.cloud.hosts[host].instance_id

    @property
    def env_file(self) -> Path:
        """What a shell sources to point the aws command and blox at the demo."""
        return self.folder / "env"

    @property
    def queue_url(self) -> str:
        return f"{self.server.url}/{ACCOUNT}/{QUEUE}"

    # --- The scheduler ----------------------------------------------------------------------------

    async def ask(self, call: Callable[[Client], T]) -> T:
        """Ask the scheduler's API, without keeping anything else waiting. Raises BloxError."""
        return await asyncio.to_thread(call, self.client)

    async def start_scheduler(self) -> None:
        """Start it and wait until its API answers. Raises SchedulerDied, Unavailable."""
        await self.scheduler.start()
        deadline = time.monotonic() + _READY_WITHIN
        while True:
            if self.scheduler.died.is_set():
                raise self.scheduler.obituary()
            try:
                await self.ask(lambda client: client.get("/v2/status"))
            except Unavailable:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"The scheduler does not answer at {self.api}; its output is in "
                        f"{self.scheduler.log}."
                    ) from None
                await asyncio.sleep(0.05)
            else:
                break
        if self.blind and self.blind[-1][1] == float("inf"):
            self.blind[-1] = (self.blind[-1][0], self.now())
            self.oracle.sighted(now=self.now())

    async def kill_scheduler(self) -> None:
        """kill -9."""
        await self.scheduler.kill()
        self.oracle.blinded(now=self.now())
        self.blind.append((self.now(), float("inf")))

    # --- The environment --------------------------------------------------------------------------

    async def create(self) -> None:
        """Create the environment; it does nothing until it is deployed. Raises BloxError."""
        body = {
            "name": ENVIRONMENT,
            "cluster": CLUSTER,
            "taskDefinition": FAMILY,
            "policy": self.plan.policy,
        }
        created = await self.ask(lambda client: client.post("/v2/environments", body))
        self.definition = str(created["revision"]["taskDefinition"])

    async def deploy(self) -> JsonObject:
        """Deploy the newest revision; the deployment. Raises BloxError."""
        policy = self.plan.policy
        self.oracle.expect(
            KEY,
            now=self.now(),
            name=ENVIRONMENT,
            cluster=CLUSTER,
            definition=self.definition,
            max_unavailable=str(policy.get("maxUnavailable", "10%")),
            healthy_after=float(policy.get("minHealthySeconds", 10.0)),
            drain_deadline=float(policy.get("drainDeadline", 900.0)),
        )
        self.deployed_at = self.now()
        path = place(CLUSTER, ENVIRONMENT, "deployments")
        made = await self.ask(lambda client: client.post(path, query={"supersede": "true"}))
        self.oracle.deployed(KEY, str(made["id"]))
        return made

    async def change(self, definition: str) -> None:
        """Make a revision with another task definition. Raises BloxError."""
        path = place(CLUSTER, ENVIRONMENT)
        await self.ask(lambda client: client.patch(path, {"taskDefinition": definition}))
        self.definition = definition

    async def reported(self) -> list[JsonObject]:
        """What blox says of every host. Raises BloxError."""
        path = place(CLUSTER, ENVIRONMENT, "hosts")
        return await self.ask(lambda client: client.every(path))

    async def described(self) -> JsonObject:
        """The environment as blox shows it. Raises BloxError."""
        return await self.ask(lambda client: client.get(place(CLUSTER, ENVIRONMENT)))


@contextlib.asynccontextmanager
async def opened(plan: Plan) -> AsyncIterator[World]:
    """The stage while the block runs; afterwards no process and no file is left.

    Raises Unavailable when the asked port is taken.
    """
    cloud = JudgedCloud(
        "demo",
        account=ACCOUNT,
        region=REGION,
        assumptions=plan.assumptions,
        quotas=True,
    )
    now = time.time()
    cloud.add_definition(FAMILY, now=now, cpu=64, memory=128, stop_timeout=2)
    cloud.add_definition("web", now=now, cpu=256, memory=512, stop_timeout=1)
    cloud.add_cluster(CLUSTER, now=now)
    api_port = plan.port or _free(_API_PORT if plan.usual_ports else 0)
    _check_free(api_port)
    with tempfile.TemporaryDirectory(prefix="blox-demo-") as folder:
        async with serving(
            cloud,
            port=_free(_AWS_PORT) if plan.usual_ports else 0,
            queues=[QUEUE],
            account=ACCOUNT,
            region=REGION,
            seed="demo",
        ) as server:
            scheduler = _scheduler(plan, Path(folder), server.url, api_port)
            world = World(plan, cloud, server, scheduler, f"http://127.0.0.1:{api_port}")
            cloud.observer = lambda: _judge(world)
            for _ in range(plan.hosts):
                world.add_host()
            _write_exports(world)
            try:
                yield world
            finally:
                await asyncio.shield(asyncio.ensure_future(scheduler.stop()))


def _judge(world: World) -> None:
    world.oracle.step(world.cloud.now)


def _scheduler(plan: Plan, folder: Path, url: str, port: int) -> SchedulerProcess:
    arguments = ["--bind", f"127.0.0.1:{port}", "--store", f"sqlite:{folder / 'blox.db'}"]
    arguments += ["--queue", QUEUE, "--cluster", CLUSTER]
    variables = environment(url, region=REGION, key=SCHEDULER_KEY, more=plan.variables)
    return SchedulerProcess(arguments, environ=variables, log=folder / "scheduler.log")


def exports(world: World) -> dict[str, str]:
    """The variables that point the aws command and blox at the demo."""
    return {
        "AWS_ENDPOINT_URL": world.server.url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": YOUR_KEY,
        "AWS_SECRET_ACCESS_KEY": "simulator",
        "BLOX_ENDPOINT": world.api,
        "BLOX_SIMULATOR": world.server.url,
        "QUEUE_URL": world.queue_url,
    }


def _write_exports(world: World) -> None:
    lines = ["unset AWS_PROFILE AWS_SESSION_TOKEN"]
    lines += [f"export {name}={value}" for name, value in exports(world).items()]
    lines.append(f'export PATH="{Path(sys.executable).parent}:$PATH"')
    world.env_file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _free(preferred: int) -> int:
    """This loopback port if nobody listens there, else some free one."""
    for port in (preferred, 0):
        with contextlib.suppress(OSError), _bound(port) as probe:
            return int(probe.getsockname()[1])
    raise Unavailable("No loopback port is free on this machine.")


def _check_free(port: int) -> None:
    try:
        _bound(port).close()
    except OSError as error:
        raise Unavailable(
            f"Cannot listen on 127.0.0.1:{port}: {error.strerror}. --port names another port."
        ) from error


def _bound(port: int) -> socket.socket:
    probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
    except OSError:
        probe.close()
        raise
    return probe
