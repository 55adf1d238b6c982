"""Many environments on one cluster: how much of one core a steady stream of events takes.

Each event touches one host, and with it one slot of every environment. Tasks of a service come and
go all over the cluster; every host matches a twentieth of the environments, so that five daemons
run on it.
"""

import asyncio
import random
from collections import deque
from typing import Final

from benchmarks.figures import Figure, Progress, at_most, say
from benchmarks.processes import cpu_seconds
from benchmarks.stage import CLUSTER, Stage, opened
from blox.simulator.cloud import Cloud

HOSTS: Final = 1000
ENVIRONMENTS: Final = 100
RATE: Final = 20.0
"""Events a second."""
SECONDS: Final = 60.0
"""As long as it is from one sweep to the next, so that there is one in it."""
SHARE: Final = 60.0
"""Percent of one core, at most."""
_POOLS: Final = 20


def run(
    *,
    hosts: int = HOSTS,
    environments: int = ENVIRONMENTS,
    rate: float = RATE,
    seconds: float = SECONDS,
) -> list[Figure]:
    """A daemon-scheduler process under a stream of events."""
    say(f"environments: {environments} on one cluster of {hosts:,} hosts, a real process")

    async def work(stage: Stage) -> float:
        return await _measured(stage, environments, rate, seconds)

    share = opened(work, hosts=hosts, pools=_POOLS)
    slots = rate * environments
    return [
        Figure(
            what=(
                f"{environments} environments, {hosts:,} hosts, {rate:g} events/s and the sweeps: "
                "share of a core"
            ),
            measured=share,
            unit="%",
            reference=slots * 50e-6 * 100,
            reference_is=f"50 µs for each of {slots:,.0f} slots touched a second",
            target=f"≤ {SHARE:g} %",
            met=at_most(SHARE, share),
        )
    ]


async def _measured(stage: Stage, environments: int, rate: float, seconds: float) -> float:
    """Percent of a core."""
    async with stage.scheduler() as pid:
        await stage.primed()
        names = [f"agent-{number}" for number in range(environments)]
        for number, name in enumerate(names):
            pool = number % _POOLS
            # A family of its own each: where another's daemon of that family runs, none is added.
            stage.add_definition(name)
            await stage.create(name, family=name, selector=f"attribute:pool == p{pool}")
            await stage.deploy(name)
        for name in names:
            await stage.completed(name, what=f"environments: {name}")
        return await _share(stage, pid, rate=rate, seconds=seconds)


async def _share(stage: Stage, pid: int, *, rate: float, seconds: float) -> float:
    """Percent of a core that the process uses while so many events come."""
    loop = asyncio.get_running_loop()
    chosen = random.Random("environments")
    progress = Progress(f"environments: seconds with {rate:g} events/s")
    hosts = list(stage.cloud.hosts)
    running: deque[str] = deque()

    def happen(cloud: Cloud, now: float) -> None:
        if len(running) > len(hosts):
            cloud.stop_foreign(running.popleft(), now=now)
        else:
            host = chosen.choice(hosts)
            running.append(cloud.start_foreign(CLUSTER, host, "web", now=now, service="web"))

    began, used, before = loop.time(), cpu_seconds(pid), stage.cloud.events
    while (elapsed := loop.time() - began) < seconds:
        while stage.cloud.events - before < elapsed * rate:
            stage.act(happen)
        progress.at(elapsed, seconds)
        await asyncio.sleep(0.01)
    return (cpu_seconds(pid) - used) / (loop.time() - began) * 100
