"""Hosts that ECS would remove when nothing but daemons runs there: ours leave, and come back."""

import asyncio
from functools import partial

from blox.scheduler.model import Environment, Policy, SlotClass
from support.drills import Drill, drilled

IDLE = 300.0
LEAVES = Policy(max_unavailable="100%", min_healthy_seconds=0, when_idle=IDLE)


async def left(drill: Drill, *, names: tuple[str, ...] = ("logs",), hosts: int = 1) -> Environment:
    """Hosts of a provider that scales in, one busy, the others left by every daemon; returns the
    last environment. The busy one is the first."""
    provider = drill.add_provider()
    for _ in range(hosts + 1):
        drill.add_host(provider=provider)
    drill.cloud.add_definition("web", now=drill.live.now())
    drill.by_hand(drill.hosts[0], "web")
    for count, name in enumerate(names, start=1):
        drill.cloud.add_definition(name, now=drill.live.now())
        environment = await drill.deploy_new(name, policy=LEAVES, task_definition=name)
        everywhere = partial(everyone, drill, count)
        await drill.until(everywhere, within=60.0)
    await drill.until(
        lambda: all(not drill.on(host) for host in drill.hosts[1:]), within=2 * IDLE + 120.0
    )
    return environment


def everyone(drill: Drill, count: int) -> bool:
    """Whether each host but the first runs so many tasks, the first one more."""
    return [len(drill.on(host)) - count for host in drill.hosts] == [1, *[0] * len(drill.hosts[1:])]


def started(drill: Drill, *, since: float) -> list[str]:
    """Hosts that StartTask named since then."""
    named = [call.params["containerInstances"] for call in drill.calls("StartTask", since=since)]
    return [str(host) for hosts in named if isinstance(hosts, list) for host in hosts]


@drilled(0)
async def test_a_daemon_leaves_an_idle_host_and_comes_back_with_the_next_task(drill: Drill) -> None:
    environment = await left(drill)
    assert len(drill.on(drill.hosts[0])) == 2
    assert drill.cloud.could_scale_in("demo") == drill.hosts[1:]
    assert drill.verdict(environment, drill.hosts[1]).slot_class is SlotClass.YIELDED
    began = drill.time
    drill.by_hand(drill.hosts[1], "web")
    await drill.until(lambda: len(drill.on(drill.hosts[1])) == 2, within=10.0)
    assert started(drill, since=began) == [drill.hosts[1]]


@drilled(0)
async def test_a_host_that_is_not_idle_keeps_its_daemon(drill: Drill) -> None:
    await left(drill)
    began = drill.time
    await asyncio.sleep(3 * IDLE)
    assert drill.calls("StopTask", since=began) == []
    assert len(drill.on(drill.hosts[0])) == 2


@drilled(0)
async def test_what_has_left_stays_away_over_a_restart(drill: Drill) -> None:
    await left(drill, hosts=3)
    began = drill.time
    await drill.crash_and_begin()
    await asyncio.sleep(2 * IDLE)
    assert started(drill, since=began) == []
    drill.by_hand(drill.hosts[2], "web")
    await drill.until(lambda: len(drill.on(drill.hosts[2])) == 2, within=10.0)
    assert started(drill, since=began) == [drill.hosts[2]]


@drilled(0)
async def test_what_has_left_stays_away_when_the_agent_is_away_for_a_moment(drill: Drill) -> None:
    await left(drill)
    for busy_before in (False, True):
        if busy_before:
            task = drill.by_hand(drill.hosts[1], "web")
            await drill.until(lambda: len(drill.on(drill.hosts[1])) == 2, within=10.0)
            drill.happen(drill.cloud.kill_task, task)
            await drill.until(lambda: not drill.on(drill.hosts[1]), within=IDLE + 60.0)
        began = drill.time
        drill.happen(drill.cloud.disconnect_agent, drill.hosts[1])
        await asyncio.sleep(90.0)
        drill.happen(drill.cloud.connect_agent, drill.hosts[1])
        await asyncio.sleep(2 * IDLE)
        assert started(drill, since=began) == []


@drilled(0)
async def test_the_daemon_that_came_last_leaves_first(drill: Drill) -> None:
    await left(drill, names=("logs", "metrics"))
    ours = [task for task in drill.cloud.tasks.values() if task.host == drill.hosts[1]]
    assert sorted(ours, key=lambda task: task.created_at) == sorted(
        ours, key=lambda task: task.stopping_at or 0.0, reverse=True
    )
    assert len(ours) == 2


@drilled(0)
async def test_a_daemon_that_stays_keeps_those_that_would_leave(drill: Drill) -> None:
    provider = drill.add_provider()
    host = drill.add_host(provider=provider)
    stays = Policy(max_unavailable="100%", min_healthy_seconds=0)
    await drill.deploy_new("stays", policy=stays)
    drill.cloud.add_definition("other", now=drill.live.now())
    await drill.deploy_new("leaves", policy=LEAVES, task_definition="other")
    await drill.until(lambda: len(drill.on(host)) == 2, within=60.0)
    await asyncio.sleep(3 * IDLE)
    assert len(drill.on(host)) == 2
