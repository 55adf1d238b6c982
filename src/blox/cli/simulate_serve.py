"""What `blox simulate serve` does: a cloud with something in it, on a port, until told to stop."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from blox.base.errors import InvalidInput, Unavailable
from blox.settings import Assumptions
from blox.simulator.cloud import Cloud
from blox.simulator.eventbridge import RULE
from blox.simulator.faults import Faults
from blox.simulator.model import Fault
from blox.simulator.server import SimulatedAws, serving
from blox.simulator.sqs_shapes import QueueFault

_ANY_SECRET: Final = "simulator"
"""Printed when no signature is verified: signing needs some secret all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The options of `serve`. Seconds."""

    bind: str
    clusters: Sequence[str]
    hosts: int
    queues: Sequence[str]
    streams: Sequence[str]
    quotas: bool
    read_lag: float | None
    signature_age: float
    acceptance_lag: float
    service_delay: float
    clock_ahead: float
    access_key: str
    secret: str | None
    region: str
    account: str
    role: str
    seed: str
    env_file: str | None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port. Raises InvalidInput."""
        host, _, port = self.bind.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65_535:
            raise InvalidInput(f"--bind {self.bind!r} is not HOST:PORT, as in 127.0.0.1:4566.")
        return host.strip("[]"), int(port)


def build(plan: Plan, *, now: float) -> Cloud:
    """The world as it is when the port opens. Raises InvalidInput."""
    lagging = bool(plan.read_lag)
    cloud = Cloud(
        plan.seed,
        account=plan.account,
        region=plan.region,
        assumptions=Assumptions(
            signature_age=plan.signature_age,
            acceptance_lag=plan.acceptance_lag,
            read_lag=plan.read_lag if plan.read_lag is not None else Assumptions().read_lag,
        ),
        faults=Faults(lag=1.0) if lagging else Faults.none(),
        quotas=plan.quotas,
        service_delay=plan.service_delay,
    )
    cloud.add_definition("fluent-bit", now=now, cpu=64, memory=128, stop_timeout=5)
    cloud.add_definition(
        "node-exporter", now=now, cpu=32, memory=64, host_ports=(9100,), network_mode="host"
    )
    cloud.add_definition("vector", now=now, cpu=128, memory=256, health_check=True)
    cloud.add_definition("sleep", now=now, cpu=16, memory=32, stop_timeout=2)
    for name in plan.clusters:
        cloud.add_cluster(name, now=now)
        for _ in range(plan.hosts):
            cloud.add_host(name, now=now)
    return cloud


def exports(plan: Plan, url: str) -> list[str]:
    """The lines that point AWS clients and blox at this simulator."""
    values = {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": plan.region,
        "AWS_DEFAULT_REGION": plan.region,
        "AWS_ACCESS_KEY_ID": plan.access_key,
        "AWS_SECRET_ACCESS_KEY": plan.secret or _ANY_SECRET,
        "BLOX_SIMULATOR": url,
    }
    return ["unset AWS_PROFILE AWS_SESSION_TOKEN"] + [
        f"export {name}={value}" for name, value in values.items()
    ]


async def _serve(plan: Plan) -> None:
    host, port = plan.address
    cloud = build(plan, now=time.time() + plan.clock_ahead)
    secrets = None if plan.secret is None else {plan.access_key: plan.secret}
    try:
        async with serving(
            cloud,
            host=host,
            port=port,
            queues=plan.queues,
            streams=plan.streams,
            account=plan.account,
            region=plan.region,
            secrets=secrets,
            ahead=plan.clock_ahead,
            seed=plan.seed,
            role=plan.role,
        ) as server:
            _announce(plan, server)
            await _stopped()
    except (Fault, QueueFault) as error:
        raise InvalidInput(f"A --queue or --stream cannot be made: {error.message}") from error
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    except OSError as error:
        raise Unavailable(
            f"Cannot listen on {plan.bind}: {error.strerror}. --bind 127.0.0.1:0 takes a free port."
        ) from error


def _announce(plan: Plan, server: SimulatedAws) -> None:
    lines = exports(plan, server.url)
    if plan.env_file is not None:
        try:
            Path(plan.env_file).write_text("\n".join(lines) + "\n", encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"Cannot write {plan.env_file}: {error.strerror}.") from error
    click.echo(f"The simulated AWS listens on {server.url}. Ctrl-C ends it; nothing is kept.")
    for name in plan.clusters:
        click.echo(f"cluster  {name}  {plan.hosts} hosts")
    for name in plan.queues:
        click.echo(
            f"queue    {server.url}/{plan.account}/{name}  receives every ECS event, by rule {RULE}"
        )
    for name in plan.streams:
        click.echo(f"stream   {name}  2 shards  receives every ECS event, by rule {RULE}")
    click.echo("definitions  fluent-bit:1  node-exporter:1  vector:1  sleep:1\n")
    click.echo("In another terminal:")
    for line in lines:
        click.echo(f"  {line}")
    if plan.queues:
        queue = f"{server.url}/{plan.account}/{plan.queues[0]}"
        click.echo("  # the aws command's version 1 needs --endpoint-url for SQS:")
        click.echo(
            f"  aws sqs get-queue-attributes --endpoint-url {server.url} --attribute-names All"
            f" --queue-url {queue}"
        )
    click.echo(f"  aws ecs list-container-instances --cluster {plan.clusters[0]}")


async def _stopped() -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def run(plan: Plan) -> None:
    """Serve until SIGINT or SIGTERM. Raises InvalidInput, Unavailable."""
    if not (plan.account.isdigit() and len(plan.account) == 12):
        raise InvalidInput(f"--account {plan.account!r} is not an account id of 12 digits.")
    factory = asyncio.new_event_loop
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(plan))
