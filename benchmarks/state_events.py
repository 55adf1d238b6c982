"""Events through the cluster-state-service: how many it takes in, and how soon watchers see them.

Taking in: a backlog in the queue, and the CPU that the service spends until it is gone; what counts
is events for each second of its CPU, over the real wire, removed from the queue and stored. Blox
0.3 took 120 a second.

Watching: a hundred clients of /v2/stream in a process of their own, and events at a moderate rate.
Measured from the moment at which the service's receive is answered with a message to the moment at
which a client has read the change.
"""

import asyncio
import json
import math
import random
import time
from functools import partial
from typing import Final

from benchmarks.figures import Figure, Progress, at_most, percentile, say
from benchmarks.processes import cpu_seconds
from benchmarks.stage import CLUSTER, ROOT, Stage, opened, python
from benchmarks.state_stage import TASKS, crowd, state_service
from blox.base.errors import Unavailable
from blox.simulator.cloud import Cloud

HOSTS: Final = 1000
EVENTS: Final = 20_000
ENOUGH: Final = 2000.0
OLD: Final = 120.0
WATCHERS: Final = 100
CHANGES: Final = 300
RATE: Final = 30.0
"""Changes a second while clients watch."""
P99: Final = 0.020
_PATIENCE: Final = 180.0
_LAST: Final = 1.0
"""Seconds that the last change gets to arrive."""
_DEPTHS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


def run(
    *,
    hosts: int = HOSTS,
    events: int = EVENTS,
    watchers: int = WATCHERS,
    changes: int = CHANGES,
) -> list[Figure]:
    """A backlog, then watchers."""
    say(f"state events: a backlog of {events:,}, then {watchers} watchers")

    async def work(stage: Stage) -> list[Figure]:
        return [
            *await _backlog(stage, events),
            *await _watched(stage, watchers=watchers, changes=changes),
        ]

    return opened(work, hosts=hosts)


async def _backlog(stage: Stage, events: int) -> list[Figure]:
    tasks = crowd(stage)
    async with state_service(stage) as service:
        await service.primed(tasks=tasks, what="state events: the first sweep")
        await _drained(stage, what="state events: the first events")
        before, counted = cpu_seconds(service.pid), stage.cloud.events
        began = time.monotonic()
        while stage.cloud.events - counted < events:
            stage.act(_turn_over)
            await asyncio.sleep(0.1)
        await _drained(stage, what="state events: the backlog")
        took = time.monotonic() - began
        taken = stage.cloud.events - counted
        cpu = cpu_seconds(service.pid) - before
    return [
        Figure(
            what=f"events applied, stored and removed ({taken / took:,.0f}/s by the clock)",
            measured=taken / cpu,
            unit="per s of a core",
            reference=OLD,
            reference_is="0.3",
            target=f"≥ {ENOUGH:,.0f}",
            met=taken / cpu >= ENOUGH,
        )
    ]


def _turn_over(cloud: Cloud, now: float) -> None:
    """Every task ends and another begins: what a deployment of a service does."""
    for arn in list(cloud.hosts):
        for task in cloud.live_tasks(arn):
            cloud.kill_task(task.arn, now=now)
        for _ in range(TASKS):
            cloud.start_foreign(CLUSTER, arn, "web", now=now, service="web")


async def _drained(stage: Stage, *, what: str) -> None:
    """Wait until nothing is in the queue, neither waiting nor received and not removed, and
    nothing more comes."""
    progress, quiet, events = Progress(what), 0, -1
    deadline = time.monotonic() + _PATIENCE
    while quiet < 10:
        waiting = _depth(stage)
        progress.at(stage.cloud.events - waiting, stage.cloud.events)
        quiet = quiet + 1 if waiting == 0 and events == stage.cloud.events else 0
        events = stage.cloud.events
        if time.monotonic() > deadline:
            raise Unavailable(f"not within {_PATIENCE:g} s: {what}")
        await asyncio.sleep(0.1)


def _depth(stage: Stage) -> int:
    answer = stage.server.queues.call(
        "GetQueueAttributes",
        {"QueueUrl": stage.queue_url, "AttributeNames": ["All"]},
        now=stage.server.now(),
        base=stage.server.url,
    )
    told = answer["Attributes"]
    assert isinstance(told, dict)
    return sum(int(told[name]) for name in _DEPTHS)


async def _watched(stage: Stage, *, watchers: int, changes: int) -> list[Figure]:
    async with state_service(stage) as service:
        await service.primed(what="state events: the sweep before the watchers")
        await _drained(stage, what="state events: what is left")
        clients = await asyncio.create_subprocess_exec(
            *python("watch_clients", str(service.port), str(watchers)),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=64 * 1024 * 1024,
        )
        assert clients.stdout is not None
        if (await clients.stdout.readline()).strip() != b"ready":
            raise RuntimeError("the watchers could not begin")
        happened = await _changes(stage, changes)
        told, _ = await asyncio.wait_for(clients.communicate(b""), _PATIENCE)
    seen = json.loads(told)
    delays = [
        seen["last"][key] - at if seen["by"].get(key) == watchers else math.inf
        for key, at in happened.items()
    ]
    return [
        Figure(
            what=f"an event enters the queue → all of {watchers} watchers have read it: {name}",
            measured=percentile(delays, share) * 1000,
            unit="ms",
            reference=P99 * 1000,
            reference_is="budget",
            target="≤ 1" if share == 0.99 else "",
            met=at_most(P99, percentile(delays, share)) if share == 0.99 else None,
        )
        for name, share in (("median", 0.5), ("p99", 0.99))
    ]


async def _changes(stage: Stage, changes: int) -> dict[str, float]:
    """Agents that come and go, one at a time: ARN and version → when the event entered."""
    gaps = random.Random(changes)
    hosts = [arn for arn, host in stage.cloud.hosts.items() if not host.inactive]
    happened: dict[str, float] = {}
    for number in range(changes):
        await asyncio.sleep(gaps.expovariate(RATE))
        arn = hosts[number % len(hosts)]
        entered = time.monotonic()
        stage.act(partial(_flap, arn))
        happened[f"{arn} {stage.cloud.hosts[arn].version}"] = entered
    await asyncio.sleep(_LAST)
    return happened


def _flap(arn: str, cloud: Cloud, now: float) -> None:
    cloud.disconnect_agent(arn, now=now)
