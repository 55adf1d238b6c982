"""ECS clients over everything that speaks ECS: the simulated cloud in process and over HTTP, and
moto. A `Stage` is one of them with a cluster, two hosts and a task definition on it."""

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any

import boto3
import msgspec
from moto.server import ThreadedMotoServer

from blox.base.ambient import Clock
from blox.base.clock import LoopClock, SystemClock
from blox.ecs.aws import ECS, AwsHttp
from blox.ecs.client import EcsClient, Notice
from blox.ecs.credentials import StaticCredentials
from blox.ecs.pacing import Category, Pacer
from blox.ecs.port import Permit, StartRequest, Transport, WireAnswer
from blox.settings import Assumptions, PacingSettings
from blox.simulator import loop
from blox.simulator.client import SimTransport
from blox.simulator.cloud import Cloud
from blox.simulator.live import LiveCloud
from blox.simulator.model import Switches
from blox.simulator.server import serving

INTENT = "01JZ0000000000000000000000"
STARTED_BY = "0b7c6a3e-7f52-4d25-9d3c-0123456789ab"
FAST = PacingSettings(rates={category.value: (10_000.0, 10_000.0) for category in Category})
"""Quotas so large that no test waits for them."""


def allowed() -> str | None:
    """A permit that is always given."""
    return None


@dataclass(kw_only=True)
class Stage:
    """A client, and what is there for it to find."""

    client: EcsClient
    cluster: str
    cluster_arn: str
    hosts: list[str]
    definition: str
    container: str
    add_service: Callable[[str, str], str]
    """Makes a service of this name and scheduling strategy; gives its ARN."""
    add_provider: Callable[[str, str], None]
    """Makes a capacity provider of the cluster with this name; its managed scaling is ENABLED or
    DISABLED."""
    notices: list[Notice] = field(default_factory=list)

    def start(self, *hosts: str, **changes: object) -> StartRequest:
        """A StartTask for these hosts."""
        given: dict[str, Any] = {
            "cluster": self.cluster,
            "definition": self.definition,
            "hosts": hosts,
            "started_by": STARTED_BY,
            "group": "blox:agent",
            "intent": INTENT,
            "first_container": self.container,
        }
        return StartRequest(**(given | changes))


Scenario = Callable[[Stage], Coroutine[object, object, None]]


def client_over(
    transport: Transport,
    clock: Clock,
    notices: list[Notice],
    *,
    assumptions: Assumptions | None = None,
) -> EcsClient:
    """A client whose quotas never make it wait."""
    return EcsClient(
        transport,
        clock=clock,
        assumptions=assumptions or Assumptions(),
        pacer=Pacer(clock, FAST),
        listener=notices.append,
    )


# --- The simulated cloud in process ---------------------------------------------------------------


@dataclass
class Sent:
    """One request as it left."""

    operation: str
    date: float
    """The date in its signature."""
    fresh: bool


class Tap:
    """A transport that notes what passes through it, and may tamper with answers.

    `answers`: applied to each answer on its way back; `signer`: the access key that signs.
    """

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.sent: list[Sent] = []
        self.answers: Callable[[WireAnswer], WireAnswer] = lambda answer: answer
        self.signer = "AKIAFIRST"

    async def send(
        self,
        operation: str,
        body: bytes,
        *,
        date: Callable[[], float],
        permit: Permit | None = None,
        fresh: bool = False,
    ) -> WireAnswer:
        """See `Transport.send`."""

        def noted() -> float:
            signed = date()
            self.sent.append(Sent(operation, signed, fresh))
            return signed

        answer = await self._inner.send(operation, body, date=noted, permit=permit, fresh=fresh)
        return self.answers(msgspec.structs.replace(answer, signer=self.signer))

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._inner.close()


class MachineClock(LoopClock):
    """A machine's clocks under virtual time. `wall` may be stepped (`step`); while it is suspended
    its monotonic clock stands: `asleep` seconds so far."""

    asleep = 0.0

    def monotonic(self) -> float:
        """Seconds that this machine was awake."""
        return super().monotonic() - self.asleep


@dataclass(kw_only=True)
class SimStage(Stage):
    """A stage in virtual time, with what there is to play tricks on."""

    live: LiveCloud
    tap: Tap
    clock: MachineClock
    transport: SimTransport

    @property
    def cloud(self) -> Cloud:
        return self.live.cloud


def simulated(
    scenario: Callable[[SimStage], Coroutine[object, object, None]],
    *,
    switches: Switches | None = None,
    assumptions: Assumptions | None = None,
    wall_step: float = 0.0,
) -> None:
    """Run a scenario against a cloud in process, in virtual time. `wall_step`: how far this
    machine's wall clock is ahead of ECS's."""

    async def main() -> None:
        clock = MachineClock()
        clock.step = wall_step
        live = LiveCloud(Cloud(7, switches=switches, assumptions=assumptions), epoch=clock.epoch)
        furnished = _furnish(live.cloud, live.now)
        transport = SimTransport(live, clock=clock, random=Random(7), timeout=1e6)
        tap = Tap(transport)
        notices: list[Notice] = []
        client = client_over(tap, clock, notices, assumptions=assumptions)
        stage = SimStage(
            client=client,
            notices=notices,
            live=live,
            tap=tap,
            clock=clock,
            transport=transport,
            **furnished,
        )
        await scenario(stage)
        live.close()

    loop.run(main())


def _furnish(cloud: Cloud, now: Callable[[], float]) -> dict[str, Any]:
    """A cluster, two hosts and a definition in a cloud, as fields of a Stage."""
    cluster_arn = cloud.add_cluster("demo", now=now())
    hosts = [cloud.add_host("demo", now=now()) for _ in range(2)]
    definition = cloud.add_definition("agent", now=now())
    document: dict[str, Any] = cloud.definitions[definition].document

    providers: list[str] = []

    def add_provider(name: str, scaling: str) -> None:
        cloud.call("CreateCapacityProvider", provider(name, scaling), now=now())
        providers.append(name)
        cloud.call("PutClusterCapacityProviders", only(providers), now=now())

    return {
        "cluster": "demo",
        "cluster_arn": cluster_arn,
        "hosts": hosts,
        "definition": definition,
        "container": document["containerDefinitions"][0]["name"],
        "add_service": lambda name, strategy: cloud.add_service("demo", name, strategy, now=now()),
        "add_provider": add_provider,
    }


def only(providers: list[str]) -> dict[str, Any]:
    """What PutClusterCapacityProviders takes."""
    return {
        "cluster": "demo",
        "capacityProviders": providers,
        "defaultCapacityProviderStrategy": [],
    }


def provider(name: str, scaling: str) -> dict[str, Any]:
    """What CreateCapacityProvider takes."""
    group = (
        f"arn:aws:autoscaling:us-east-1:111122223333:autoScalingGroup:1:autoScalingGroupName/{name}"
    )
    return {
        "name": name,
        "autoScalingGroupProvider": {
            "autoScalingGroupArn": group,
            "managedScaling": {"status": scaling, "targetCapacity": 100},
        },
    }


def in_process(scenario: Scenario) -> None:
    """Run a scenario that any ECS must pass against the cloud in process."""
    simulated(scenario)


# --- Over HTTP ------------------------------------------------------------------------------------

SECRET = "wJalrXUtnFEMI/K7MDENG"


@contextlib.asynccontextmanager
async def http_client(url: str, notices: list[Notice]) -> AsyncIterator[EcsClient]:
    """A client over real HTTP, with made-up credentials."""
    clock = SystemClock()
    transport = AwsHttp(
        ECS,
        region="us-east-1",
        endpoint=url,
        credentials=StaticCredentials("AKIATEST", SECRET, "a-session-token"),
        clock=clock,
    )
    try:
        yield client_over(transport, clock, notices)
    finally:
        await transport.close()


def over_http(scenario: Scenario) -> None:
    """Run a scenario against the simulated cloud's HTTP server, which checks every signature."""

    async def main() -> None:
        cloud, notices = Cloud(7), list[Notice]()
        async with serving(cloud, secrets={"AKIATEST": SECRET}) as server:
            furnished = _furnish(cloud, server.now)
            async with http_client(server.url, notices) as client:
                await scenario(Stage(client=client, notices=notices, **furnished))

    asyncio.run(main())


@contextlib.contextmanager
def moto() -> Any:
    """A moto server on a free port; gives its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def over_moto(url: str, scenario: Scenario) -> None:
    """Run a scenario against a moto server that has been reset and furnished."""
    furnished = _furnish_moto(url)

    async def main() -> None:
        notices: list[Notice] = []
        async with http_client(url, notices) as client:
            await scenario(Stage(client=client, notices=notices, **furnished))

    asyncio.run(main())


def _post(url: str, content: object) -> None:
    request = urllib.request.Request(
        url, json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status < 300


def _furnish_moto(url: str) -> dict[str, Any]:
    _post(f"{url}/moto-api/reset", {})
    # By itself moto takes a task one step nearer to its end with every DescribeTasks.
    _post(
        f"{url}/moto-api/state-manager/set-transition",
        {"model_name": "ecs::task", "transition": {"progression": "manual", "times": 10**9}},
    )
    session = boto3.Session("AKIATEST", SECRET, region_name="us-east-1")
    ec2 = session.client("ec2", endpoint_url=url)
    ecs = session.client("ecs", endpoint_url=url)
    image = ec2.describe_images()["Images"][0]["ImageId"]
    machines = ec2.run_instances(ImageId=image, MinCount=2, MaxCount=2)["Instances"]
    cluster = ecs.create_cluster(clusterName="demo")["cluster"]["clusterArn"]
    hosts = [
        ecs.register_container_instance(
            cluster="demo",
            instanceIdentityDocument=json.dumps({"instanceId": machine["InstanceId"]}),
        )["containerInstance"]["containerInstanceArn"]
        for machine in machines
    ]
    definition = ecs.register_task_definition(
        family="agent",
        containerDefinitions=[{"name": "agent", "image": "agent:1", "cpu": 64, "memory": 128}],
    )["taskDefinition"]["taskDefinitionArn"]
    for client in (ec2, ecs):
        client.close()

    def add_service(name: str, strategy: str) -> str:
        with contextlib.closing(session.client("ecs", endpoint_url=url)) as client:
            service = client.create_service(
                cluster="demo",
                serviceName=name,
                taskDefinition="agent",
                schedulingStrategy=strategy,
            )
        return str(service["service"]["serviceArn"])

    providers: list[str] = []

    def add_provider(name: str, scaling: str) -> None:
        with contextlib.closing(session.client("ecs", endpoint_url=url)) as client:
            client.create_capacity_provider(**provider(name, scaling))
            providers.append(name)
            client.put_cluster_capacity_providers(**only(providers))

    return {
        "cluster": "demo",
        "cluster_arn": cluster,
        "hosts": hosts,
        "definition": definition,
        "container": "agent",
        "add_service": add_service,
        "add_provider": add_provider,
    }
