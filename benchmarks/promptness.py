"""From an event to the start call that it causes, over the real wire, with a real process.

Measured by the simulated AWS alone: from the moment at which an event enters the queue to the
moment at which StartTask for that host is accepted. Arrivals are random (Poisson), so that some
come close together; each waits for the one before it no longer than it must.
"""

import asyncio
import math
import random
import subprocess
from collections.abc import Callable
from functools import partial
from typing import Final

from benchmarks.figures import Figure, Progress, at_most, percentile, say
from benchmarks.stage import CLUSTER, FAMILY, REGION, ROOT, Stage, opened, python
from benchmarks.state_stage import state_service
from benchmarks.virtual import ATTRIBUTES
from blox.cli.demo_process import environment
from blox.simulator.cloud import Cloud

SAMPLES: Final = 200
RATE: Final = 15.0
"""Events a second, on average; half of what the configured share lets start."""
RAN_WELL: Final = 12.0
"""Seconds: a daemon that ran for so long is started again at once."""
P50: Final = 0.050
P99: Final = 0.250
OLD: Final = 7.1
"""Median seconds from an instance's registration to StartTask in blox 0.3."""
_LATE: Final = 10.0
"""Seconds after the last event until what has not been started counts as never."""


def run(sizes: tuple[int, ...] = (100, 1000), *, samples: int = SAMPLES) -> list[Figure]:
    """Joins and deaths at each size, and the floor at the first."""
    figures: list[Figure] = []
    say(f"promptness: the floor, {sizes[0]:,} hosts, a process that only receives and calls")
    bare = opened(lambda stage: _floor(stage, samples), hosts=sizes[0])
    for hosts in sizes:
        say(f"promptness: {hosts:,} hosts, a daemon-scheduler process, HTTP and SQS")
        joins, deaths = opened(lambda stage: _measured(stage, samples), hosts=hosts)
        figures += _judged(f"join to start, {hosts:,} hosts", joins, bare)
        figures += _judged(f"death to start, {hosts:,} hosts", deaths, bare)
    say(f"promptness: {sizes[-1]:,} hosts, a cluster-state-service in between")
    joins, deaths = opened(lambda stage: _followed(stage, samples), hosts=sizes[-1])
    figures += _judged(f"join to start over a service, {sizes[-1]:,} hosts", joins, bare)
    figures += _judged(f"death to start over a service, {sizes[-1]:,} hosts", deaths, bare)
    return figures


async def _followed(stage: Stage, samples: int) -> tuple[list[float], list[float]]:
    """The same, with a view that a cluster-state-service keeps."""
    async with state_service(stage) as service:
        await service.primed(what="promptness: the service's first sweep")
        return await _measured(stage, samples, follows=f"127.0.0.1:{service.port}")


async def _measured(
    stage: Stage, samples: int, *, follows: str = ""
) -> tuple[list[float], list[float]]:
    """The delays of joins and of deaths."""
    async with stage.scheduler(follows=follows):
        await stage.primed()
        await stage.create("logs")
        await stage.deploy("logs")
        await stage.completed("logs", what="promptness: first deployment")
        return await _joins(stage, samples), await _deaths(stage, samples)


def _judged(what: str, delays: list[float], bare: list[float]) -> list[Figure]:
    shares = (
        ("median", 0.5, P50, f"; 0.3: {OLD * 1000:,.0f} ms"),
        ("p99", 0.99, P99, ""),
    )
    return [
        Figure(
            what=f"{what}: {name} of {len(delays)}",
            measured=percentile(delays, share) * 1000,
            unit="ms",
            reference=percentile(bare, share) * 1000,
            reference_is=f"floor: receive and call, no scheduler{old}",
            target=f"< {limit * 1000:g} ms",
            met=at_most(limit, percentile(delays, share)),
        )
        for name, share, limit, old in shares
    ]


async def _floor(stage: Stage, samples: int) -> list[float]:
    """Joins answered by `benchmarks.echo`."""
    environ = environment(stage.server.url, region=REGION, key="echo", more={})
    process = await asyncio.create_subprocess_exec(
        *python("echo", stage.queue_url, CLUSTER, FAMILY),
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
    )
    try:
        await asyncio.sleep(2.0)  # It begins to wait for messages.
        return await _joins(stage, samples)
    finally:
        process.terminate()
        await process.wait()


async def _joins(stage: Stage, samples: int) -> list[float]:
    """Hosts that register, each for a while: the cluster's size stays what it is."""
    joined: list[str] = []

    def join(cloud: Cloud, now: float) -> str:
        if len(joined) >= 20:
            cloud.terminate_host(joined.pop(0), now=now)
        joined.append(cloud.add_host(CLUSTER, now=now, attributes=ATTRIBUTES))
        return joined[-1]

    delays = await _delays(stage, samples, join, what="joins")
    for host in joined:
        stage.act(partial(_terminate, host))
    return delays


def _terminate(host: str, cloud: Cloud, now: float) -> None:
    cloud.terminate_host(host, now=now)


async def _deaths(stage: Stage, samples: int) -> list[float]:
    """Daemons that ran well and exit: each host's once a round."""
    delays: list[float] = []
    while len(delays) < samples:
        if delays:
            await asyncio.sleep(RAN_WELL)
        hosts = [host.arn for host in stage.cloud.hosts.values() if not host.inactive]
        random.Random(len(delays)).shuffle(hosts)

        def die(cloud: Cloud, now: float, hosts: list[str] = hosts) -> str:
            host = hosts.pop()
            for task in cloud.live_tasks(host):
                cloud.kill_task(task.arn, now=now)
            return host

        delays += await _delays(stage, min(samples - len(delays), len(hosts)), die, what="deaths")
    return delays


async def _delays(
    stage: Stage, samples: int, happen: Callable[[Cloud, float], str], *, what: str
) -> list[float]:
    """Let it happen so many times; seconds until each host's next StartTask, infinite if none."""
    gaps = random.Random(f"{what} {samples}")
    progress = Progress(f"promptness: {what}")
    loop = asyncio.get_running_loop()
    happened: dict[str, float] = {}
    looked = len(stage.cloud.log)
    due = loop.time()
    for done in range(samples):
        due += gaps.expovariate(RATE)
        await asyncio.sleep(max(0.0, due - loop.time()))
        host = stage.act(happen)
        happened[host] = stage.cloud.now
        progress.at(done, samples)
    deadline = loop.time() + _LATE
    while len(found := _first_starts(stage.cloud, looked, happened)) < samples:
        if loop.time() > deadline:
            break
        await asyncio.sleep(0.1)
    return [found.get(host, math.inf) for host in happened]


def _first_starts(cloud: Cloud, looked: int, happened: dict[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for call in cloud.log[looked:]:
        if call.operation != "StartTask":
            continue
        named = call.params.get("containerInstances")
        for host in named if isinstance(named, list) else ():
            if host in happened and call.time >= happened[host]:
                found.setdefault(str(host), call.time - happened[str(host)])
    return found
