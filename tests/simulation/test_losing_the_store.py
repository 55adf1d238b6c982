"""The database is gone: what runs goes on, what was asked is asked again, never are there two."""

import asyncio

import pytest

from blox.scheduler.adopting import Existing
from blox.scheduler.model import DeploymentStatus, Environment, SlotClass
from blox.scheduler.service import Wish
from blox.simulator.model import CallLogged
from blox.store.memory import MemoryData
from support.drills import QUICK, Drill, arrives_late, drilled, never_connects

WINDOW = 420.0
"""W with the usual assumptions: S - B + E + V."""


def acted(drill: Drill, *, since: float) -> list[CallLogged]:
    return [*drill.calls("StartTask", since=since), *drill.calls("StopTask", since=since)]


def counted(drill: Drill, environment: Environment) -> dict[SlotClass, int]:
    return {k: n for k, n in drill.tracked(environment).board.classes.items() if n}


async def lose(drill: Drill) -> None:
    """The process dies, its database is deleted, and another process begins."""
    await drill.process.kill()
    drill.data = MemoryData()
    await drill.begin()


async def again(drill: Drill, existing: Existing) -> Environment:
    """The environment, created again as it was."""
    wish = Wish(task_definition="agent", policy=QUICK)
    environment = await drill.process.service.create("logs", "demo", wish, existing=existing)
    drill.process.environments_changed()
    return environment


@drilled(4)
async def test_lost_in_the_middle_of_a_deployment_nothing_starts_or_stops_until_it_is_asked(
    drill: Drill,
) -> None:
    environment = await drill.settled()
    await drill.roll_out(environment)
    await drill.until(lambda: 1 <= drill.running("agent:2") <= 2, within=120.0)
    await drill.until(lambda: drill.running() == 4, within=30.0)
    await drill.process.service.orders.freeze("everything", "", seconds=3600.0, why="a drill")
    await lose(drill)
    began = drill.time
    heir = await again(drill, Existing.ADOPT)
    await asyncio.sleep(1200.0)
    assert acted(drill, since=began) == []
    assert drill.running() == 4
    deployment = await drill.process.service.deploy(heir.id)
    await drill.until(lambda: drill.running("agent:2") == 4, within=300.0)
    assert drill.with_two() == []
    await asyncio.sleep(60.0)
    assert drill.status(deployment) is DeploymentStatus.COMPLETED
    stops = drill.calls("StopTask", since=began)
    stopped = {drill.cloud.tasks[call.stopped].definition[-1] for call in stops}
    assert stopped == {"1"}, "what runs the target already is kept"


@pytest.mark.parametrize("existing", [Existing.ADOPT, Existing.WAIT, Existing.STOP])
@drilled(3)
async def test_a_lost_start_that_arrives_late_is_the_only_one(
    drill: Drill, existing: Existing
) -> None:
    """Its request was under way when the database was lost: nobody remembers it."""
    await drill.settled()
    drill.wire.next("StartTask", arrives_late(55.0, executes_after=60.0))
    drill.lose_daemon(drill.hosts[0])
    await drill.until_tried("StartTask")
    await asyncio.sleep(2.0)
    began = drill.time
    await lose(drill)
    heir = await again(drill, existing)
    await drill.process.service.deploy(heir.id)
    await asyncio.sleep(1800.0)
    assert drill.with_two() == []
    assert all(len(drill.on(host)) == 1 for host in drill.hosts)
    on_the_first = [
        call
        for call in drill.calls("StartTask", since=began)
        if drill.hosts[0] in str(call.params["containerInstances"])
    ]
    assert len(on_the_first) == 1


@drilled(3)
async def test_an_empty_host_waits_for_what_may_still_arrive_and_not_for_ever(
    drill: Drill,
) -> None:
    await drill.settled()
    drill.lose_daemon(drill.hosts[0])
    await lose(drill)
    heir = await again(drill, Existing.ADOPT)
    await drill.process.service.deploy(heir.id)
    await asyncio.sleep(60.0)
    assert drill.verdict(heir, drill.hosts[0]).reason == "past-open"
    took = await drill.until(lambda: drill.running() == 3, within=WINDOW + 60.0)
    assert took + 60.0 >= WINDOW


@drilled(2)
async def test_the_waiting_begins_anew_in_a_process_that_begins_anew(drill: Drill) -> None:
    """It cannot know since when the former one had been waiting."""
    await drill.settled()
    drill.lose_daemon(drill.hosts[0])
    await lose(drill)
    heir = await again(drill, Existing.ADOPT)
    await drill.process.service.deploy(heir.id)
    await asyncio.sleep(WINDOW - 60.0)
    await drill.crash_and_begin()
    await asyncio.sleep(120.0)
    assert drill.verdict(heir, drill.hosts[0]).reason == "past-open"
    await drill.until(lambda: drill.running() == 2, within=WINDOW)
    assert drill.with_two() == []


@drilled(2)
async def test_a_cluster_that_could_not_be_read_at_first_may_have_had_a_past_all_the_same(
    drill: Drill,
) -> None:
    """Whether the environment had a past shows only once its cluster has been read."""
    await drill.settled()
    drill.wire.next("StartTask", arrives_late(55.0, executes_after=60.0))
    drill.lose_daemon(drill.hosts[0])
    await drill.until_tried("StartTask")
    await asyncio.sleep(2.0)
    await drill.process.kill()
    drill.data = MemoryData()
    await drill.begin()
    drill.wire.always["ListContainerInstances"] = never_connects()
    heir = await again(drill, Existing.WAIT)
    await drill.process.service.deploy(heir.id)
    del drill.wire.always["ListContainerInstances"]
    await asyncio.sleep(1800.0)
    assert drill.with_two() == []
    assert all(len(drill.on(host)) == 1 for host in drill.hosts)
