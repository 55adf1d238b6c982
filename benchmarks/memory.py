"""What a daemon-scheduler process holds: idle, for each slot, and for each task of somebody else.

Every figure is the resident memory of a fresh process that has read the same simulated cluster, so
that what an allocator keeps from busier times is not counted; but for one, taken right after a
first deployment, with all that is remembered of it.
"""

import asyncio
from typing import Final

from benchmarks.figures import Figure, at_most, say
from benchmarks.processes import cpu_seconds, resident_bytes
from benchmarks.stage import CLUSTER, Stage, opened
from blox.simulator.cloud import Cloud

FEW: Final = 1000
"""Hosts that cancel out what reading takes for a moment, however large the cluster."""
HOSTS: Final = 5000
FOREIGN: Final = 2
"""Tasks of services on each host."""
IDLE_MEMORY: Final = 100.0
"""MB."""
IDLE_CPU: Final = 1.0
"""Percent of one core."""
SLOT: Final = 2.0
"""kB."""
FOREIGN_TASK: Final = 0.3
"""kB."""
_SETTLE: Final = 3.0
_FORGETFUL: Final = {"BLOX_ECS_READ_LAG": "1"}
"""V, for which answered intents are kept: five minutes after a deployment they are gone."""


def run(
    *, few: int = FEW, hosts: int = HOSTS, foreign: int = FOREIGN, seconds: float = 20.0
) -> list[Figure]:
    """Six processes, one after the other."""
    say(f"memory: an idle process, over {seconds:g} s")

    async def work(stage: Stage) -> list[Figure]:
        return await _measured(stage, hosts, foreign, seconds)

    return opened(work, hosts=few)


async def _measured(stage: Stage, hosts: int, foreign: int, seconds: float) -> list[Figure]:
    few = stage.hosts
    idle, share = await _idle(stage, seconds)
    say(f"memory: a first deployment on {few:,} hosts")
    await _deployed(stage, create=True)
    small = await _fresh(stage)
    say(f"memory: {hosts - few:,} hosts more")
    stage.add_hosts(hosts - few)
    busy = await _deployed(stage, create=False)
    stage.server.routes.clear()  # No events from here on: each process reads for itself.
    say("memory: the same cluster after a restart")
    large = await _fresh(stage)
    say(f"memory: with {foreign} tasks of a service on each host")
    stage.act(lambda cloud, now: _crowd(cloud, foreign, now))
    await asyncio.sleep(_SETTLE * 2)
    crowded = await _fresh(stage)
    tasks = foreign * hosts
    return [
        Figure(
            what="memory of an idle process",
            measured=idle / 1e6,
            unit="MB",
            reference=IDLE_MEMORY,
            reference_is="budget",
            target="≤ 1",
            met=at_most(IDLE_MEMORY, idle / 1e6),
        ),
        Figure(
            what=f"CPU of an idle process over {seconds:g} s: share of a core",
            measured=share,
            unit="%",
            reference=IDLE_CPU,
            reference_is="budget",
            target="≤ 1",
            met=at_most(IDLE_CPU, share),
        ),
        _each(
            f"memory of a slot, its host and its task: {hosts:,} hosts against {few:,}",
            large - small,
            hosts - few,
            SLOT,
        ),
        _each("the same right after its first start, with its story", busy - small, hosts - few),
        _each(
            f"memory of another's task: {tasks:,} tasks more", crowded - large, tasks, FOREIGN_TASK
        ),
    ]


def _each(what: str, grown: float, count: int, budget: float | None = None) -> Figure:
    each = grown / count / 1e3
    if budget is None:
        return Figure(what=what, measured=each, unit="kB")
    return Figure(
        what=what,
        measured=each,
        unit="kB",
        reference=budget,
        reference_is="budget",
        target="≤ 1",
        met=at_most(budget, each),
    )


async def _idle(stage: Stage, seconds: float) -> tuple[float, float]:
    """A process without an environment on a cluster without a host: bytes, percent of a core."""
    name = "empty"
    stage.act(lambda cloud, now: cloud.add_cluster(name, now=now))
    async with stage.scheduler(store="idle.db", clusters=(name,)) as pid:
        await stage.primed(name)
        await asyncio.sleep(_SETTLE)
        before = cpu_seconds(pid)
        await asyncio.sleep(seconds)
        share = (cpu_seconds(pid) - before) / seconds * 100
        return resident_bytes(pid), share


async def _deployed(stage: Stage, *, create: bool) -> float:
    """The memory of a process that has just started every daemon that was missing."""
    async with stage.scheduler(more=_FORGETFUL) as pid:
        await stage.primed()
        if create:
            await stage.create("logs")
            await stage.deploy("logs")
        await stage.all_current("logs", what="memory: first starts")
        return await _resident(pid)


async def _fresh(stage: Stage) -> float:
    """The memory of a process that has begun with what is stored and has read the cluster."""
    async with stage.scheduler(more=_FORGETFUL) as pid:
        await stage.primed()
        await stage.all_current("logs", what="memory: restarted")
        return await _resident(pid)


async def _resident(pid: int) -> float:
    await asyncio.sleep(_SETTLE)
    return float(resident_bytes(pid))


def _crowd(cloud: Cloud, foreign: int, now: float) -> None:
    for arn in list(cloud.hosts):
        for _ in range(foreign):
            cloud.start_foreign(CLUSTER, arn, "web", now=now, service="web")
