"""Orders, the guard and idle hosts: defects that were found once, each told as the story that
showed it.

What somebody told us binds over a restart, a wrong clock and another record of the same machine;
and a daemon that leaves of itself looks first.
"""

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from blox.scheduler.adopting import Existing
from blox.scheduler.model import DeploymentStatus, Environment, Policy, SlotClass
from blox.scheduler.service import Wish
from blox.simulator.model import CallLogged
from support.drills import QUICK, Drill, arrives_late, drilled, refused

ALL_AT_ONCE = Policy(max_unavailable="100%", min_healthy_seconds=0)
IDLE = 309.0
LEAVES = Policy(max_unavailable="100%", min_healthy_seconds=0, when_idle=IDLE)
WINDOW = 420.0
"""W with the usual assumptions: S - B + E + V."""
READS = (
    "DescribeClusters",
    "ListContainerInstances",
    "DescribeContainerInstances",
    "ListTasks",
    "DescribeTasks",
)


def record(drill: Drill, environment: Environment) -> Environment:
    """What is stored of it now."""
    found = drill.process.repository.environment(environment.id)
    assert found is not None
    return found


def acted(drill: Drill, *, since: float) -> list[CallLogged]:
    return [*drill.calls("StartTask", since=since), *drill.calls("StopTask", since=since)]


# --- Daemons that leave idle hosts ----------------------------------------------------------------


async def idle(drill: Drill) -> tuple[Environment, str, float]:
    """An environment that leaves its only host; that host, and when its daemon would be stopped."""
    host = drill.add_host(provider=drill.add_provider())
    drill.cloud.add_definition("web", now=drill.live.now())
    environment = await drill.deploy_new(policy=LEAVES)
    await drill.until(lambda: drill.running() == 1, within=60.0)
    notes = drill.tracked(environment).note
    await drill.until(lambda: notes(host).idle_since is not None, within=60.0)
    since = notes(host).idle_since
    assert since is not None
    return environment, host, since + IDLE


@pytest.mark.parametrize("before", [15.0, 10.0, 5.0, 2.0])
@drilled(0, begin=False)
async def test_a_daemon_that_leaves_looks_first_whether_the_host_is_still_idle(
    drill: Drill, before: float
) -> None:
    """Without a queue the cluster is read every 20 s: the last time before somebody's task began
    there."""
    drill.feed = None
    await drill.begin()
    _, host, due = await idle(drill)
    await asyncio.sleep(due - drill.time - before)
    drill.by_hand(host, "web")
    await asyncio.sleep(600.0)
    assert drill.calls("StopTask") == []
    assert len(drill.on(host)) == 2


@drilled(0)
async def test_a_daemon_does_not_leave_while_nobody_can_look(drill: Drill) -> None:
    """The queue is silent and the tasks cannot be listed."""
    environment, host, due = await idle(drill)
    assert drill.feed is not None
    drill.feed.silent = True
    drill.wire.always["ListTasks"] = refused("ServerException", "sorry")
    drill.by_hand(host, "web")
    await asyncio.sleep(due - drill.time + 900.0)
    assert drill.calls("StopTask") == []
    assert drill.verdict(environment, host).reason == "yielded-stop", "it would, if it could look"


# --- Many that stop matching ----------------------------------------------------------------------


async def fleet(drill: Drill, hosts: Sequence[str] = ()) -> Environment:
    """An environment on the hosts (default: all) that carry `agent`."""
    drill.mark(hosts or drill.hosts, "agent", "yes")
    environment = await drill.deploy_new(policy=ALL_AT_ONCE, selector="attribute:agent == yes")
    await drill.until(
        lambda: all(len(drill.on(host)) == 1 for host in hosts or drill.hosts), within=120.0
    )
    await asyncio.sleep(60.0)
    return environment


async def held(drill: Drill, environment: Environment, stops: int) -> None:
    await drill.until(lambda: drill.tracked(environment).guard.held == stops, within=200.0)


@drilled(30)
async def test_held_stops_stay_held_while_their_agents_come_and_go(drill: Drill) -> None:
    environment = await fleet(drill)
    drill.mark(drill.hosts, "agent", None)
    await held(drill, environment, 30)
    await asyncio.sleep(400.0)
    for host in drill.hosts:
        drill.happen(drill.cloud.disconnect_agent, host)
    await asyncio.sleep(20.0)
    for host in drill.hosts:
        drill.happen(drill.cloud.connect_agent, host)
        await asyncio.sleep(0.5)
    await asyncio.sleep(120.0)
    assert drill.calls("StopTask") == []
    assert drill.tracked(environment).guard.held == 30


async def eight_held(drill: Drill) -> Environment:
    """Thirty stopped matching and twenty-two were put right: by themselves eight are not many."""
    environment = await fleet(drill)
    drill.mark(drill.hosts, "agent", None)
    await held(drill, environment, 30)
    drill.mark(drill.hosts[8:], "agent", "yes")
    await held(drill, environment, 8)
    await asyncio.sleep(400.0)
    return environment


@drilled(30)
async def test_held_stops_stay_held_over_a_freeze(drill: Drill) -> None:
    environment = await eight_held(drill)
    orders = drill.process.service.orders
    freeze = await orders.freeze("everything", "", seconds=600.0, why="look first")
    await asyncio.sleep(30.0)
    await orders.thaw((freeze.id,))
    await asyncio.sleep(600.0)
    assert drill.calls("StopTask") == []
    assert drill.tracked(environment).guard.held == 8


@drilled(30)
async def test_held_stops_stay_held_over_a_restart(drill: Drill) -> None:
    environment = await eight_held(drill)
    await drill.crash_and_begin()
    await asyncio.sleep(900.0)
    assert drill.calls("StopTask") == []
    assert drill.tracked(environment).guard.held == 8


@pytest.mark.parametrize("restart", [False, True])
@drilled(30)
async def test_a_confirmation_is_of_the_hosts_that_were_held(drill: Drill, restart: bool) -> None:
    """Within its hour, which outlasts the process, others stop matching."""
    environment = await fleet(drill)
    drill.mark(drill.hosts[:15], "agent", None)
    await held(drill, environment, 15)
    await drill.process.service.orders.confirm(record(drill, environment))
    await drill.until(lambda: len(drill.calls("StopTask")) == 15, within=200.0)
    await asyncio.sleep(600.0)
    if restart:
        await drill.process.stop()
        await drill.begin()
        await asyncio.sleep(60.0)
    drill.mark(drill.hosts[15:29], "agent", None)
    await asyncio.sleep(300.0)
    assert len(drill.calls("StopTask")) == 15
    assert drill.tracked(environment).guard.held == 14


@drilled(120)
async def test_many_is_measured_by_the_environment_and_not_by_its_cluster(drill: Drill) -> None:
    """Eleven hosts are all that it has, and less than a tenth of the cluster."""
    environment = await fleet(drill, drill.hosts[:11])
    await drill.change(environment, selector="attribute:agent == no")
    await drill.process.service.deploy(environment.id, supersede=True)
    await asyncio.sleep(300.0)
    assert drill.calls("StopTask") == []
    assert drill.tracked(environment).guard.held == 11


@drilled(3)
async def test_a_mark_that_nobody_knows_moves_no_host(drill: Drill) -> None:
    """While a service is replaced, somebody writes a mark with a capital letter."""
    drill.mark(drill.hosts, "blox.logs", "ours")
    wish = Wish(task_definition="agent", policy=ALL_AT_ONCE)
    environment = await drill.process.service.create("logs", "demo", wish)
    gated = replace(environment, gate="blox.logs")
    await drill.process.repository.replace_environment(gated, was=environment)
    drill.process.environments_changed()
    await drill.process.service.deploy(environment.id)
    await drill.until(lambda: drill.running() == 3, within=60.0)
    began = drill.time
    drill.mark(drill.hosts, "blox.logs", "Ours")
    await asyncio.sleep(300.0)
    assert acted(drill, since=began) == []
    drill.lose_daemon(drill.hosts[0])
    await asyncio.sleep(300.0)
    assert acted(drill, since=began) == [], "nor is one started there"


# --- Freezes --------------------------------------------------------------------------------------


async def begin_far_from_ecs(drill: Drill, *, wall: float) -> None:
    """The process dies; another begins on a machine whose clock is wrong, and ECS does not tell it
    the time."""
    await drill.process.kill()
    await drill.begin(wall=wall, unreachable=READS)


@drilled(2)
async def test_a_clock_that_is_ahead_does_not_end_a_freeze(drill: Drill) -> None:
    await drill.settled()
    orders = drill.process.service.orders
    await orders.freeze("everything", "", seconds=3600.0, why="a fire")
    drill.lose_daemon(drill.hosts[0])
    began = drill.time
    await begin_far_from_ecs(drill, wall=7200.0)
    await asyncio.sleep(150.0)
    drill.wire.always.clear()
    await asyncio.sleep(3300.0)
    assert len(drill.process.repository.freezes()) == 1
    assert drill.calls("StartTask", since=began) == []
    await drill.until(lambda: drill.running() == 2, within=300.0)


@drilled(2)
async def test_a_clock_that_is_behind_does_not_shorten_a_freeze(drill: Drill) -> None:
    """It is made before ECS has told its time."""
    await drill.settled()
    await begin_far_from_ecs(drill, wall=-7200.0)
    orders = drill.process.service.orders
    await orders.freeze("everything", "", seconds=3600.0, why="ECS is down")
    await asyncio.sleep(20.0)
    drill.wire.always.clear()
    await asyncio.sleep(120.0)
    began = drill.time
    drill.lose_daemon(drill.hosts[0])
    await asyncio.sleep(3300.0)
    assert drill.calls("StartTask", since=began) == []
    await drill.until(lambda: drill.running() == 2, within=600.0)


@drilled(1)
async def test_a_freeze_of_an_environment_is_of_its_name(drill: Drill) -> None:
    """Deleted and created again, it is frozen still."""
    environment = await drill.settled()
    orders = drill.process.service.orders
    await orders.freeze("environment", environment.place, seconds=7200.0, why="leave logs alone")
    await drill.process.service.delete(environment.id)
    drill.define()
    began = drill.time
    heir = await drill.deploy_new()
    await asyncio.sleep(7000.0)
    assert acted(drill, since=began) == []
    assert drill.verdict(heir, drill.hosts[0]).reason == "frozen"
    await drill.until(lambda: drill.running("agent:2") == 1, within=300.0)


# --- Holds ----------------------------------------------------------------------------------------


@drilled(2)
async def test_a_short_hold_does_not_end_a_long_one_of_the_same_machine(drill: Drill) -> None:
    """It registered anew, and is held under both of its records."""
    environment = await drill.settled()
    orders = drill.process.service.orders
    old = drill.hosts[0]
    await orders.hold(old, seconds=86_400.0, why="we look at it")
    new = drill.cloud.duplicate_host(old, now=drill.live.now())
    drill.live.settle()
    await asyncio.sleep(90.0)
    await orders.hold(new, seconds=60.0, why="one minute more")
    began = drill.time
    await asyncio.sleep(600.0)
    assert [hold.host_arn for hold in orders.holds()] == [old]
    assert drill.verdict(environment, new).slot_class is SlotClass.HELD
    assert acted(drill, since=began) == []


# --- A lost past ----------------------------------------------------------------------------------


@drilled(3)
async def test_a_deployment_does_not_fail_for_a_lost_past(drill: Drill) -> None:
    """It must wait for longer than its deadline before it may start anything."""
    await drill.settled()
    drill.lose_daemon(drill.hosts[0])
    await drill.lose_store()
    policy = Policy(max_unavailable="1", min_healthy_seconds=0, progress_deadline=300.0)
    wish = Wish(task_definition="agent", policy=policy)
    service = drill.process.service
    environment = await service.create("logs", "demo", wish, existing=Existing.ADOPT)
    drill.process.environments_changed()
    deployment = await service.deploy(environment.id)
    await asyncio.sleep(WINDOW - 60.0)
    assert drill.status(deployment) is DeploymentStatus.RUNNING
    await asyncio.sleep(540.0)
    assert drill.status(deployment) is DeploymentStatus.COMPLETED


@drilled(1)
async def test_a_deletion_with_the_tasks_is_not_done_before_a_lost_start_has_shown(
    drill: Drill,
) -> None:
    await drill.settled()
    drill.add_host()
    drill.wire.next("StartTask", arrives_late(55.0, executes_after=50.0))
    await drill.until_tried("StartTask", within=60.0)
    await asyncio.sleep(0.5)
    lost = drill.time
    await drill.lose_store()
    service = drill.process.service
    wish = Wish(task_definition="agent", policy=QUICK)
    environment = await service.create("logs", "demo", wish, existing=Existing.ADOPT)
    drill.process.environments_changed()
    await asyncio.sleep(10.0)
    await service.delete(environment.id, stop_tasks=True)
    await drill.until(lambda: not drill.on(drill.hosts[0]), within=120.0)
    await drill.until(lambda: not drill.process.repository.environments(), within=WINDOW + 120.0)
    assert drill.time - lost > WINDOW
    (late,) = drill.on(drill.hosts[1])
    assert [orphan.task.arn for orphan in service.orphans()] == [late.arn]
    await asyncio.sleep(1800.0)
    assert [orphan.task.arn for orphan in service.orphans()] == [late.arn]
    drill.happen(drill.cloud.kill_task, late.arn)
    await drill.until(lambda: not drill.process.repository.tombstones(), within=WINDOW + 120.0)
