"""What people tell a running scheduler: freeze, hold, delete with the tasks, confirm."""

import asyncio

import pytest

from blox.base.errors import Conflict
from blox.scheduler.model import Environment, Policy, SlotClass
from support.drills import QUICK, Drill, EarlyLoop, arrives_late, connecting_takes, drilled

ALL_AT_ONCE = Policy(max_unavailable="100%", min_healthy_seconds=0)
NOWHERE = "attribute:stack == purple"


async def frozen(drill: Drill, environment: Environment, scope: str, seconds: float) -> str:
    target = {
        "everything": "",
        "cluster": environment.cluster_arn,
        "environment": environment.place,
    }[scope]
    freeze = await drill.process.service.orders.freeze(
        scope,  # type: ignore[arg-type]
        target,
        seconds=seconds,
        why="a fire",
    )
    return freeze.id


# --- Freeze ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["everything", "cluster", "environment"])
@drilled(3)
async def test_a_freeze_stops_everything_until_it_ends_by_itself(drill: Drill, scope: str) -> None:
    environment = await drill.settled(policy=ALL_AT_ONCE)
    await frozen(drill, environment, scope, 600.0)
    began = drill.time
    drill.lose_daemon(drill.hosts[0])
    await drill.roll_out(environment)
    await asyncio.sleep(590.0)
    assert drill.calls("StartTask", since=began) == drill.calls("StopTask", since=began) == []
    assert drill.verdict(environment, drill.hosts[0]).reason == "frozen"
    await drill.until(lambda: drill.running("agent:2") == 3, within=90.0)


@drilled(2)
async def test_a_freeze_lasts_over_a_crash_and_is_taken_back(drill: Drill) -> None:
    environment = await drill.settled()
    freeze = await frozen(drill, environment, "everything", 86_400.0)
    drill.lose_daemon(drill.hosts[0])
    await drill.crash_and_begin()
    began = drill.time
    await asyncio.sleep(1200.0)
    assert drill.calls("StartTask", since=began) == []
    (ended,) = await drill.process.service.orders.thaw((freeze,))
    assert ended.id == freeze
    await drill.until(lambda: drill.running() == 2, within=10.0)


@drilled(2)
async def test_a_freeze_of_one_environment_leaves_the_others_alone(drill: Drill) -> None:
    environment = await drill.settled()
    drill.cloud.add_definition("metrics", now=drill.live.now())
    await drill.deploy_new("metrics", task_definition="metrics")
    await drill.until(lambda: all(len(drill.on(host)) == 2 for host in drill.hosts), within=30.0)
    await frozen(drill, environment, "environment", 3600.0)
    for task in drill.on(drill.hosts[0]):
        drill.happen(drill.cloud.kill_task, task.arn)
    await asyncio.sleep(120.0)
    assert [task.family for task in drill.on(drill.hosts[0])] == ["metrics"]


@drilled(2)
async def test_a_frozen_daemon_stays_on_its_draining_host(drill: Drill) -> None:
    environment = await drill.settled()
    await frozen(drill, environment, "cluster", 3600.0)
    drill.happen(drill.cloud.drain_host, drill.hosts[0])
    await asyncio.sleep(3000.0)
    assert drill.calls("StopTask") == []
    await drill.until(lambda: not drill.on(drill.hosts[0]), within=660.0)


@drilled(1)
async def test_a_freeze_binds_a_start_whose_first_byte_has_not_left(drill: Drill) -> None:
    environment = await drill.settled()
    drill.wire.next("StartTask", connecting_takes(20.0))
    drill.lose_daemon(drill.hosts[0])
    await drill.until_tried("StartTask")
    await asyncio.sleep(5.0)
    await frozen(drill, environment, "environment", 3600.0)
    began = drill.time
    await asyncio.sleep(600.0)
    assert drill.calls("StartTask", since=began) == []


@drilled(2)
async def test_a_freeze_binds_a_stop_whose_first_byte_has_not_left(drill: Drill) -> None:
    environment = await drill.settled()
    drill.wire.next("StopTask", connecting_takes(4.0))
    await drill.roll_out(environment)
    await drill.until_tried("StopTask")
    await asyncio.sleep(1.0)
    await frozen(drill, environment, "cluster", 3600.0)
    began = drill.time
    await asyncio.sleep(600.0)
    assert drill.calls("StopTask", since=began) == []
    assert drill.running("agent:1") == 2


@drilled(1, loop=EarlyLoop)
async def test_a_freeze_ends_where_timers_fire_a_hair_early(drill: Drill) -> None:
    environment = await drill.settled()
    await frozen(drill, environment, "everything", 60.0)
    passes = drill.process.scheduler.reconciler.passes
    drill.lose_daemon(drill.hosts[0])
    await drill.until(lambda: drill.running() == 1, within=90.0)
    assert drill.process.scheduler.reconciler.passes < passes + 100


# --- Hold -----------------------------------------------------------------------------------------


async def held(drill: Drill, host: str, seconds: float = 600.0) -> None:
    await drill.process.service.orders.hold(host, seconds=seconds, why="we look at it")


@drilled(3)
async def test_a_held_host_is_left_as_it_is_and_the_rest_goes_on(drill: Drill) -> None:
    environment = await drill.settled(policy=ALL_AT_ONCE)
    await held(drill, drill.hosts[0])
    await held(drill, drill.hosts[1])
    drill.lose_daemon(drill.hosts[1])
    await drill.roll_out(environment)
    await asyncio.sleep(590.0)
    definitions = [[task.definition[-1] for task in drill.on(host)] for host in drill.hosts]
    assert definitions == [["1"], [], ["2"]]
    assert drill.verdict(environment, drill.hosts[0]).slot_class is SlotClass.HELD
    await drill.until(lambda: drill.running("agent:2") == 3, within=90.0)


@drilled(1)
async def test_a_hold_lasts_over_a_crash_and_a_drain_and_is_released(drill: Drill) -> None:
    await drill.settled()
    await held(drill, drill.hosts[0], 86_400.0)
    await drill.crash_and_begin()
    began = drill.time
    drill.happen(drill.cloud.drain_host, drill.hosts[0])
    await asyncio.sleep(1200.0)
    assert drill.calls("StopTask", since=began) == []
    await drill.process.service.orders.release(drill.hosts[0])
    await drill.until(lambda: not drill.on(drill.hosts[0]), within=30.0)


@drilled(2)
async def test_a_hold_binds_a_start_whose_first_byte_has_not_left(drill: Drill) -> None:
    await drill.settled()
    drill.wire.next("StartTask", connecting_takes(20.0))
    drill.lose_daemon(drill.hosts[0])
    await drill.until_tried("StartTask")
    await asyncio.sleep(5.0)
    await held(drill, drill.hosts[0])
    began = drill.time
    await asyncio.sleep(590.0)
    assert drill.calls("StartTask", since=began) == []
    await drill.until(lambda: drill.running() == 2, within=30.0)


@drilled(1)
async def test_a_second_daemon_on_a_held_host_waits_for_the_release(drill: Drill) -> None:
    """Also while a start of ours there is in doubt, and while the environment ends."""
    environment = await drill.settled()
    (call,) = drill.calls("StartTask")
    await held(drill, drill.hosts[0])
    began = drill.time
    drill.copy_of_start(call)
    await asyncio.sleep(120.0)
    await drill.process.service.delete(environment.id, stop_tasks=True)
    await asyncio.sleep(400.0)
    assert drill.calls("StopTask", since=began) == []
    await drill.until(lambda: not drill.on(drill.hosts[0]), within=180.0)


# --- Deleting with the tasks ----------------------------------------------------------------------


def exists(drill: Drill, environment: Environment) -> bool:
    found = drill.process.repository.environment(environment.id)
    return found is not None and found.deleted_at is None


@drilled(12)
async def test_deleted_with_its_tasks_it_is_gone_when_none_is_left(drill: Drill) -> None:
    environment = await drill.settled(policy=ALL_AT_ONCE)
    began = drill.time
    await drill.process.service.delete(environment.id, stop_tasks=True)
    assert exists(drill, environment)
    with pytest.raises(Conflict):
        await drill.deploy_new()
    await drill.until(lambda: not exists(drill, environment), within=60.0)
    left = [task for host in drill.hosts for task in drill.on(host)]
    assert [task for task in left if task.desired_status != "STOPPED"] == []
    assert len(drill.calls("StopTask", since=began)) == 12
    assert drill.calls("StartTask", since=began) == []


@drilled(12)
async def test_a_crash_in_the_middle_of_a_deletion_does_not_end_it(drill: Drill) -> None:
    environment = await drill.settled(policy=ALL_AT_ONCE)
    began = drill.time
    drill.wire.next("StopTask", *[connecting_takes(3.0)] * 8)
    await drill.process.service.delete(environment.id, stop_tasks=True)
    await drill.until_tried("StopTask")
    await drill.crash_and_begin()
    await drill.until(lambda: not exists(drill, environment), within=300.0)
    assert all(not drill.on(host) for host in drill.hosts)
    assert drill.calls("StartTask", since=began) == []


@drilled(1)
async def test_an_unanswered_start_is_waited_for_before_the_deletion_is_done(drill: Drill) -> None:
    """Also one of a former environment of the name."""
    environment = await drill.settled()
    drill.wire.next("StartTask", arrives_late(50.0, executes_after=50.0))
    drill.lose_daemon(drill.hosts[0])
    await drill.until_tried("StartTask")
    await asyncio.sleep(2.0)
    await drill.process.service.delete(environment.id)
    heir = await drill.deploy_new()
    await drill.process.service.delete(heir.id, stop_tasks=True)
    await drill.until(lambda: not exists(drill, heir), within=1200.0)
    await asyncio.sleep(600.0)
    assert drill.on(drill.hosts[0]) == []
    assert drill.with_two() == []


@drilled(3)
async def test_created_again_at_once_it_starts_when_the_old_one_is_gone(drill: Drill) -> None:
    environment = await drill.settled()
    await drill.process.service.delete(environment.id, stop_tasks=True)
    await drill.until(lambda: not exists(drill, environment), within=60.0)
    await drill.deploy_new()
    await drill.until(lambda: drill.running() == 3, within=60.0)
    assert drill.with_two() == []


# --- Too many at once -----------------------------------------------------------------------------


async def mistaken(drill: Drill) -> Environment:
    """An environment whose selector matches no host any more, deployed by mistake."""
    environment = await drill.settled(policy=ALL_AT_ONCE)
    await drill.change(environment, selector=NOWHERE)
    await drill.process.service.deploy(environment.id, supersede=True)
    await asyncio.sleep(300.0)
    return environment


def in_force(drill: Drill, environment: Environment) -> Environment:
    found = drill.process.repository.environment(environment.id)
    assert found is not None
    return found


@drilled(15)
async def test_many_that_stop_matching_at_once_wait_for_a_person(drill: Drill) -> None:
    environment = await mistaken(drill)
    assert drill.calls("StopTask") == []
    assert drill.tracked(environment).guard.held == 15
    await drill.crash_and_begin()
    await asyncio.sleep(1200.0)
    assert drill.calls("StopTask") == []
    assert drill.verdict(environment, drill.hosts[0]).reason == "stop-held"
    await drill.process.service.orders.confirm(in_force(drill, environment))
    await drill.until(lambda: not any(drill.on(host) for host in drill.hosts), within=120.0)
    with pytest.raises(Conflict):
        await drill.process.service.orders.confirm(in_force(drill, environment))


@drilled(15)
async def test_a_mistake_that_is_taken_back_costs_nothing(drill: Drill) -> None:
    environment = await mistaken(drill)
    await drill.change(environment, selector="")
    await drill.process.service.deploy(environment.id, supersede=True)
    await asyncio.sleep(300.0)
    assert drill.calls("StopTask") == []
    assert drill.tracked(environment).guard.held == 0
    assert drill.running() == 15


@drilled(15)
async def test_a_confirmation_outlives_a_crash(drill: Drill) -> None:
    environment = await mistaken(drill)
    await drill.process.service.orders.confirm(in_force(drill, environment))
    await drill.crash_and_begin()
    await drill.until(lambda: not any(drill.on(host) for host in drill.hosts), within=180.0)


@drilled(9)
async def test_few_are_not_held(drill: Drill) -> None:
    environment = await mistaken(drill)
    assert drill.tracked(environment).guard.held == 0
    assert not any(drill.on(host) for host in drill.hosts)


@drilled(2)
async def test_there_is_nothing_to_confirm_where_nothing_is_held(drill: Drill) -> None:
    environment = await drill.settled(policy=QUICK)
    with pytest.raises(Conflict):
        await drill.process.service.orders.confirm(in_force(drill, environment))
