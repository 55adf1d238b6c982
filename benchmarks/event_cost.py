"""What one event costs, whatever the cluster's size: CPU from its bytes to the end of the pass.

The scheduler has a whole cluster in its view and every host's daemon running. Then events come,
each about another host: parsed, merged into the view, its slot judged, and every consequence drawn
before the next come; one by one, and ten at a time, as SQS delivers them when there are many. The
simulated ECS does nothing meanwhile: the CPU is blox's, and the event loop's.
"""

import asyncio
import json
import random
import time
from typing import Final

from benchmarks.figures import Figure, at_most, say
from benchmarks.virtual import FAMILY, VirtualWorld
from blox.ecs.events import Ignored, read_event
from blox.scheduler.model import Policy, SlotClass
from blox.settings import PacingSettings, Settings, ViewSettings
from blox.simulator import loop
from blox.simulator.model import Json

EVENTS: Final = 2000
ROUNDS: Final = 5
"""The cheapest round counts: the others were disturbed by something else on this machine."""
BUDGET: Final = 50.0
"""Microseconds of CPU for each event and slot touched."""
FLAT: Final = 1.5
"""The cost at the largest cluster, in units of that at the smallest, at most."""
ROLLOUT_RATE: Final = 125.0
"""Events a second during a rollout: 16 hosts a second are replaced at the configured share, and
each makes about eight events."""
_UNHURRIED: Final = Settings(
    # Deploying and sweeping are not what is measured: the one is quick, the other rare.
    pacing=PacingSettings(rates={"cluster-resource-modify": (10_000.0, 10_000.0)}),
    view=ViewSettings(sweep_interval_with_queue=100_000.0),
)
_IN_MOTION: Final = 60.0
"""Virtual seconds after which a rollout whose first hosts hang has spent its budget."""

_BATCH: Final = 10
"""Messages that one receive from SQS brings when many are there."""


def run(
    sizes: tuple[int, ...] = (100, 1000, 10000), *, events: int = EVENTS, rounds: int = ROUNDS
) -> list[Figure]:
    """At each size: while nothing goes on, and with a rollout in progress."""
    costs: dict[str, dict[int, float]] = {}
    for hosts in sizes:
        say(f"event cost: {hosts:,} hosts")
        for phase, cost in loop.run(_costs(hosts, events, rounds)).items():
            costs.setdefault(phase, {})[hosts] = cost
    return [figure for phase, found in costs.items() for figure in _figures(phase, found)]


def _figures(phase: str, costs: dict[int, float]) -> list[Figure]:
    sizes = list(costs)
    smallest, largest = sizes[0], sizes[-1]
    return [
        Figure(
            what=f"CPU of an event and its slot, {largest:,} hosts, {phase}",
            measured=costs[largest],
            unit="µs",
            reference=BUDGET,
            reference_is="budget",
            target="≤ 1",
            met=at_most(BUDGET, costs[largest]),
        ),
        Figure(
            what=f"the same against {' and '.join(f'{size:,}' for size in sizes[:-1])} hosts",
            measured=costs[largest],
            unit="µs",
            reference=costs[smallest],
            reference_is=", ".join(f"{size:,}: {costs[size]:.0f} µs" for size in sizes[:-1]),
            target=f"≤ {FLAT}",
            met=at_most(FLAT * costs[smallest], costs[largest]),
        ),
    ]


async def _costs(hosts: int, events: int, rounds: int) -> dict[str, float]:
    """Microseconds an event, by phase."""
    world = await VirtualWorld.begin(hosts, quotas=False, settings=_UNHURRIED)
    environment = await world.create("logs", policy=Policy(max_unavailable="10%"))
    await world.deploy(environment)
    await world.completed(environment, hosts, what=f"event cost: deployment of {hosts:,}")
    costs = {}
    for rate in (0.0, ROLLOUT_RATE):
        if rate:
            await _begin_rollout(world, environment)
        during = "a rollout in progress" if rate else "nothing else going on"
        for batch, come in ((_BATCH, "ten at a time"), (1, "one by one")):
            gap = batch / rate if rate else 0.0
            spent = [await _cost(world, events, batch=batch, gap=gap) for _ in range(rounds)]
            costs[f"{during}, {come}"] = min(spent) / events * 1e6
    await world.end()
    return costs


async def _begin_rollout(world: VirtualWorld, environment: str) -> None:
    """A rollout that has spent its budget on hosts whose new daemon hangs in PENDING."""
    world.cloud.stall_pending(FAMILY, now=world.live.now())
    await world.change(environment)
    await world.deploy(environment)
    await asyncio.sleep(_IN_MOTION)
    classes = world.process.scheduler.state.tracked[environment].board.classes
    if not (classes[SlotClass.STARTING] and classes[SlotClass.OUTDATED]):
        raise RuntimeError(f"no rollout is in progress: {classes}")


async def _cost(world: VirtualWorld, events: int, *, batch: int, gap: float) -> float:
    """Seconds of CPU that so many events take, `batch` at a time, `gap` virtual seconds apart."""
    bodies = _bodies(world, events)
    view, reconciler = world.process.view, world.process.scheduler.reconciler
    running = asyncio.get_running_loop()
    assert isinstance(running, loop.VirtualLoop)
    began = time.process_time()
    for at in range(0, events, batch):
        passes = reconciler.passes
        for body in bodies[at : at + batch]:
            event = read_event(body)
            assert not isinstance(event, Ignored)
            view.apply(event)
        while reconciler.passes == passes:
            await asyncio.sleep(0)
        if gap:
            running.jump(gap)
    return time.process_time() - began


def _bodies(world: VirtualWorld, count: int) -> list[bytes]:
    """Events about hosts and about running daemons in turn. What they say changes nothing that
    matters, which is what most events are like."""
    cloud = world.cloud
    daemons = [task.arn for task in cloud.tasks.values() if task.last_status == "RUNNING"]
    about_hosts = _shuffled(list(cloud.hosts), count // 2)
    about_daemons = _shuffled(daemons, count - count // 2)
    bodies = []
    for number in range(count):
        if number % 2:
            arn = about_hosts[number // 2]
            cloud.hosts[arn].version += 1
            version = cloud.hosts[arn].version
        else:
            arn = about_daemons[number // 2]
            cloud.tasks[arn].version += 1
            version = cloud.tasks[arn].version
        bodies.append(_again(world.latest[arn], version))
    return bodies


def _shuffled(arns: list[str], count: int) -> list[str]:
    """So many of them in a random order; all in turn where there are fewer."""
    order = random.Random(len(arns)).sample(arns, len(arns))
    return [order[number % len(order)] for number in range(count)]


def _again(event: Json, version: int) -> bytes:
    detail = event["detail"]
    assert isinstance(detail, dict)
    return json.dumps({**event, "detail": {**detail, "version": version}}).encode()
