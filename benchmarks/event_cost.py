"""What one event costs, whatever the cluster's size: CPU from its bytes to the end of the pass.

The scheduler has a whole cluster in its view and every host's daemon running. Then events come, one
after the other, each about another host: parsed, merged into the view, its slot judged, and every
consequence drawn before the next. The simulated ECS does nothing meanwhile: the CPU is blox's.
"""

import asyncio
import gc
import json
import random
import time
from collections.abc import Callable
from typing import Final

from blox.ecs.events import Ignored, read_event
from blox.scheduler.model import Policy, SlotClass
from blox.scheduler.service import Wish
from blox.simulator import loop
from blox.simulator.model import HostRecord, Json

from benchmarks.figures import Figure, at_most, say
from benchmarks.virtual import FAMILY, VirtualWorld

EVENTS: Final = 2000
ROUNDS: Final = 5
"""The quickest round counts: the others were disturbed by something else on this machine."""
BUDGET: Final = 50.0
"""Microseconds of CPU for each event and slot touched."""
FLAT: Final = 1.5
"""The cost at the largest cluster, in units of that at the smallest, at most."""
ROLLOUT_RATE: Final = 125.0
"""Events a second during a rollout: 16 hosts a second are replaced at the configured share, and
each makes about eight events."""
_SETTLE: Final = 30.0


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
    first, *_, last = costs
    figures = [
        Figure(
            what=f"one event, {phase}, {hosts:,} hosts: CPU",
            measured=cost,
            unit="µs",
            reference=BUDGET,
            reference_is="budget for each event and slot touched",
            target="≤ 1",
            met=at_most(BUDGET, cost),
        )
        for hosts, cost in costs.items()
    ]
    flat = Figure(
        what=f"one event, {phase}: CPU at {last:,} hosts",
        measured=costs[last],
        unit="µs",
        reference=costs[first],
        reference_is=f"the same at {first:,} hosts",
        target=f"≤ {FLAT}",
        met=at_most(FLAT * costs[first], costs[last]),
    )
    return [*figures, flat]


async def _costs(hosts: int, events: int, rounds: int) -> dict[str, float]:
    """Microseconds an event, by phase."""
    world = await VirtualWorld.begin(hosts, quotas=False)
    environment = await world.create("logs", policy=Policy(max_unavailable="10%"))
    await world.deploy(environment)
    await world.completed(environment, hosts, what=f"event cost: deployment of {hosts:,}")
    await asyncio.sleep(_SETTLE)
    costs = {}
    kinds: tuple[tuple[str, Callable[[VirtualWorld, int], list[bytes]]], ...] = (
        ("of a host", _host_events),
        ("of a task", _task_events),
    )
    for name, make in kinds:
        costs[f"{name}, nothing else going on"] = await _cheapest(
            world, environment, lambda make=make: make(world, events), rounds, rate=None
        )
    await _begin_rollout(world, environment)
    costs["of a task, a rollout in progress"] = await _cheapest(
        world, environment, lambda: _task_events(world, events), rounds, rate=ROLLOUT_RATE
    )
    await world.end()
    return costs
