"""How soon a cluster-state-service knows a large cluster, and what it holds then.

A cold start reads everything once. It cannot be quicker than its reads at the configured share of
ECS's quota: the ratio to that is what counts. A restart serves what was stored, before any read.
"""

import asyncio
import time
from typing import Final

from benchmarks.figures import Figure, at_most, say
from benchmarks.processes import resident_bytes
from benchmarks.stage import CLUSTER, Stage, opened
from benchmarks.state_stage import StateService, crowd, state_service
from blox.ecs.pacing import PUBLISHED, Category
from blox.settings import Settings

HOSTS: Final = 5000
MEMORY_HOSTS: Final = 2000
PAGE: Final = 100
RATIO: Final = 1.3
ABOVE_EMPTY: Final = 60.0
"""MB that 2,000 hosts with two tasks each may take above an empty process. 0.3 held 322 MB."""
SERVED_WITHIN: Final = 1.0
"""Seconds from the restart of a process to its first answer with what it had stored."""
_SETTLE: Final = 3.0
_POLL: Final = 0.1


def run(*, hosts: int = HOSTS, memory_hosts: int = MEMORY_HOSTS) -> list[Figure]:
    """Cold start and restart at the one size, memory at the other."""
    say(f"state start: {hosts:,} hosts with two tasks each")
    figures = opened(_started, hosts=hosts)
    say(f"state memory: {memory_hosts:,} hosts with two tasks each")
    return figures + opened(_memory, hosts=memory_hosts)


async def _started(stage: Stage) -> list[Figure]:
    tasks = crowd(stage)
    await _settled(stage)
    async with state_service(stage) as service:
        began = time.monotonic()
        await service.primed(tasks=tasks, what="state start: the first sweep")
        took = time.monotonic() - began
        await asyncio.sleep(_SETTLE)
    reads = _reads(stage, tasks)
    floor = _floor(reads)
    again = await _restarted(stage, tasks)
    return [
        Figure(
            what=f"cold start, {stage.hosts:,} hosts and {tasks:,} tasks: until primed",
            measured=took,
            unit="s",
            reference=floor,
            reference_is=f"floor: {reads} reads at the share",
            target=f"≤ {RATIO:g}",
            met=at_most(RATIO * floor, took),
        ),
        Figure(
            what="restart: until the stored copy is served",
            measured=again,
            unit="s",
            reference=SERVED_WITHIN,
            reference_is="budget",
            target="≤ 1",
            met=at_most(SERVED_WITHIN, again),
        ),
    ]


async def _settled(stage: Stage) -> None:
    """Every task runs, and what told so is not in the queue any more: a cold start reads."""
    while any(task.last_status != "RUNNING" for task in stage.cloud.tasks.values()):
        await asyncio.sleep(_POLL)
    stage.server.queues.call(
        "PurgeQueue",
        {"QueueUrl": stage.queue_url},
        now=stage.server.now(),
        base=stage.server.url,
    )


def _reads(stage: Stage, tasks: int) -> int:
    """The reads of one sweep: pages and describes of hosts, of tasks wanted RUNNING, and a page of
    those wanted STOPPED."""
    hosts = -(-stage.hosts // PAGE)
    running = -(-tasks // PAGE)
    return 2 * hosts + 2 * running + 1


def _floor(reads: int) -> float:
    """Seconds that so many reads take at the service's share, with a bucket that starts empty."""
    share = Settings().pacing.state_read_share
    _, rate = PUBLISHED[Category.RESOURCE_READ]
    return reads / (rate * share)


async def _restarted(stage: Stage, tasks: int) -> float:
    async with state_service(stage) as service:
        began = time.monotonic()
        while True:
            shown = await service.cluster(CLUSTER)
            if shown is not None and shown["tasks"] >= tasks:
                return time.monotonic() - began
            await asyncio.sleep(0.02)


async def _memory(stage: Stage) -> list[Figure]:
    stage.act(lambda cloud, now: cloud.add_cluster("empty", now=now))
    async with state_service(stage, store="empty.db", clusters=("empty",)) as service:
        await service.primed("empty", what="state memory: an empty cluster")
        await asyncio.sleep(_SETTLE)
        empty = resident_bytes(service.pid)
    tasks = crowd(stage)
    async with state_service(stage, clusters=(CLUSTER,)) as service:
        await service.primed(tasks=tasks, what="state memory: the first sweep")
        await asyncio.sleep(_SETTLE)
    async with state_service(stage, clusters=(CLUSTER,)) as service:
        await service.primed(tasks=tasks, what="state memory: restarted")
        await _list_everything(service)
        await asyncio.sleep(_SETTLE)
        held = resident_bytes(service.pid)
    return [
        Figure(
            what=f"memory of {stage.hosts:,} hosts with two tasks each, all listed in /v1 and /v2, "
            "above an empty process",
            measured=(held - empty) / 1e6,
            unit="MB",
            reference=ABOVE_EMPTY,
            reference_is="budget; 0.3 held 322 MB in all",
            target="≤ 1",
            met=at_most(ABOVE_EMPTY, (held - empty) / 1e6),
        ),
        Figure(what="memory of an empty cluster-state-service", measured=empty / 1e6, unit="MB"),
    ]


async def _list_everything(service: StateService) -> None:
    """Ask for every list of both APIs, as dashboards do."""
    for kind in ("instances", "tasks"):
        await service.get(f"/v1/{kind}")
        for size in ("100", "1000"):
            query = {"limit": size}
            while True:
                page = await service.get(f"/v2/{kind}", query)
                if "nextToken" not in page:
                    break
                query["nextToken"] = page["nextToken"]
