"""Taking over from a DAEMON service that acts, under virtual time: never two, every gap measured.

The service of the simulated ECS does what ECS's own does: a task on every host that meets its
constraints, stopped where one is met no longer, started again where somebody stopped it.
"""

import asyncio
from functools import partial

import pytest
from msgspec.structs import replace

from blox.base.errors import Conflict, InvalidInput, NotFound, Unavailable
from blox.scheduler.adopting import Existing
from blox.scheduler.migrations import with_ours, without_ours
from blox.scheduler.report import environment_report
from blox.scheduler.service import Wish
from blox.simulator.model import Switches
from support.drills import Drill, drilled
from support.migrating import CONSTRAINT, EASY, SERVICE, Story

told = partial(drilled, switches=Switches(pending_waits_for_stopping=False))
"""A story in which no agent keeps a new task waiting until a stopping one has gone: what blox does
not keep apart itself runs at one time."""

# --- There ----------------------------------------------------------------------------------------


@told(6)
async def test_every_host_is_moved_in_waves_and_every_gap_is_measured(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=2)
    await story.in_phase("constraint")
    await asyncio.sleep(60.0)
    assert (story.ours(), story.marked(), len(story.theirs())) == ([], [], 6)
    story.constrain()
    worst = 0
    while story.phase() != "moved":
        without = len(drill.hosts) - len({*story.ours(), *story.theirs()})
        worst = max(worst, without)
        assert environment_report(drill.process.scheduler.state, story.record).healthy
        await asyncio.sleep(0.25)
    assert 0 < worst <= 2
    assert story.ours() == sorted(drill.hosts)
    assert story.theirs() == []
    gaps = story.migration.there
    assert (gaps.hosts, gaps.measured, gaps.twos) == (6, 6, 0)
    assert 0 < gaps.total / 6 <= gaps.worst < 60
    assert sorted(a.host for a in story.seen.arrivals) == sorted(drill.hosts)
    assert story.migration.turns == {}
    story.healthy()


@drilled(4, switches=Switches(attributes_bump_version=True))
async def test_it_works_as_well_where_attributes_raise_the_hosts_version(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=4)
    story.constrain()
    await story.in_phase("moved")
    assert story.ours() == sorted(drill.hosts)
    story.healthy()


@told(4)
async def test_a_wave_is_no_larger_than_what_may_be_unavailable(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=4, policy=replace(EASY, max_unavailable="25%"))
    story.constrain()
    most = 0
    while story.phase() != "moved":
        most = max(most, len(story.migration.turns))
        await asyncio.sleep(0.5)
    assert (most, story.seen.limit) == (1, 1)
    story.healthy()


@told(3)
async def test_the_services_other_constraints_stay_and_go_on_counting(drill: Drill) -> None:
    other = "attribute:ecs.os-type == linux"
    story = Story(drill)
    await story.serve(constraints=(other,))
    await story.begin()
    await story.in_phase("constraint")
    service = story.seen.service
    assert service is not None
    wanted = [c.expression for c in with_ours(service, "blox.logs")]
    assert wanted == [other, CONSTRAINT]
    story.constrain(*filter(None, wanted))
    await story.in_phase("moved")
    assert [c.expression for c in with_ours(story.seen.service or service, "blox.logs")] == wanted
    assert [c.expression for c in without_ours(service, "blox.logs")] == [other]
    story.healthy()


@told(4)
async def test_hosts_that_join_belong_to_the_service_until_their_turn(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=1)
    story.constrain()
    await drill.until(lambda: len(story.ours()) == 2, within=200.0)
    late = [drill.add_host(), drill.add_host()]
    await drill.until(lambda: set(late) <= {*story.theirs()}, within=60.0)
    await story.in_phase("moved")
    assert story.ours() == sorted(drill.hosts)
    assert story.migration.there.measured == 6
    latest = drill.add_host()
    await drill.until(lambda: latest in story.ours(), within=300.0)
    story.healthy()


@told(4)
async def test_a_service_of_another_family_is_not_run_beside(drill: Drill) -> None:
    """Not the family decides whose place it is, but the service that is being replaced."""
    story = Story(drill)
    drill.cloud.add_definition("other", now=drill.live.now())
    await story.serve(definition="other")
    await story.begin(wave=2, policy=replace(EASY, beside=True))
    story.constrain()
    await story.in_phase("moved")
    assert story.ours() == sorted(drill.hosts)
    story.healthy()


@told(5)
async def test_a_failing_definition_stops_after_the_first_wave_and_goes_back(drill: Drill) -> None:
    story = Story(drill)
    drill.cloud.add_definition("broken", now=drill.live.now())
    drill.cloud.crash_loop("broken", 1.0)
    await story.serve()
    await story.begin(wave=2, family="broken", policy=replace(EASY, min_healthy_seconds=5))
    story.constrain()
    await story.in_phase("failing")
    await asyncio.sleep(900.0)
    assert len(story.marked()) == 2
    assert len(story.theirs()) == 3
    await story.back()
    await story.in_phase("given-back")
    assert story.theirs() == sorted(drill.hosts)
    story.healthy()


@told(5)
async def test_what_is_mended_goes_on_by_itself(drill: Drill) -> None:
    story = Story(drill)
    drill.cloud.add_definition("broken", now=drill.live.now())
    drill.cloud.crash_loop("broken", 1.0)
    await story.serve()
    await story.begin(wave=2, family="broken", policy=replace(EASY, min_healthy_seconds=5))
    story.constrain()
    await story.in_phase("failing")
    await drill.change(story.environment, task_definition="agent")
    await drill.process.service.deploy(story.environment.id, supersede=True)
    await story.in_phase("moved")
    assert story.ours() == sorted(drill.hosts)
    story.healthy()


# --- Back -----------------------------------------------------------------------------------------


@told(5)
async def test_every_host_goes_back_and_every_gap_is_measured(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=2)
    story.constrain()
    await story.in_phase("moved")
    await story.back()
    worst = 0
    while story.phase() != "given-back":
        without = len(drill.hosts) - len({*story.ours(), *story.theirs()})
        worst = max(worst, without)
        await asyncio.sleep(0.25)
    assert 0 < worst <= 2
    assert story.theirs() == sorted(drill.hosts)
    assert (story.ours(), story.marked()) == ([], [])
    gaps = story.migration.returned
    assert (gaps.hosts, gaps.measured, gaps.twos) == (5, 5, 0)
    assert 0 < gaps.worst < 90
    story.healthy()


@pytest.mark.parametrize("after", [1, 4, 9, 15, 25, 40])
@told(5)
async def test_turning_round_in_the_middle_and_again(drill: Drill, after: float) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=2)
    story.constrain()
    await story.in_phase("moving")
    await asyncio.sleep(after)
    await story.back()
    await asyncio.sleep(after)
    await story.back(on=False)
    await asyncio.sleep(after)
    await story.back()
    await story.in_phase("given-back")
    assert story.theirs() == sorted(drill.hosts)
    await story.back(on=False)
    await story.in_phase("moved")
    assert story.ours() == sorted(drill.hosts)
    assert story.migration.there.hosts == len(drill.hosts)
    assert story.migration.arrived > story.migration.there.hosts
    assert story.migration.there.twos + story.migration.returned.twos == 0
    story.healthy()


@told(4)
async def test_a_host_that_is_away_holds_up_no_other_on_the_way_back(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=1)
    story.constrain()
    await story.in_phase("moved")
    away = drill.hosts[0]
    drill.happen(drill.cloud.disconnect_agent, away)
    await asyncio.sleep(90.0)
    await story.back()
    await drill.until(lambda: story.theirs() == sorted(drill.hosts[1:]), within=600.0)
    assert story.mark(away) == "leaving"
    drill.happen(drill.cloud.connect_agent, away)
    await drill.until(lambda: story.theirs() == sorted(drill.hosts), within=300.0)
    await story.in_phase("given-back")
    story.healthy()


@told(3)
async def test_a_service_that_does_not_come_back_is_waited_for_but_not_for_ever(
    drill: Drill,
) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=3)
    story.constrain()
    await story.in_phase("moved")
    drill.cloud.stall_pending("agent", now=drill.live.now())
    await story.back()
    await story.in_phase("given-back", within=1200.0)
    assert (story.migration.returned.hosts, story.migration.returned.measured) == (3, 0)
    assert story.seen.without == 3
    story.healthy()


# --- Orders ---------------------------------------------------------------------------------------


@told(4)
async def test_a_freeze_stops_it_and_a_hold_spares_its_host(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=1)
    story.constrain()
    await drill.until(lambda: len(story.ours()) == 1, within=100.0)
    orders = drill.process.service.orders
    freeze = await orders.freeze("everything", "", seconds=600, why="audit")
    await story.in_phase("frozen")
    marked = story.marked()
    await asyncio.sleep(300.0)
    assert story.marked() == marked
    await orders.thaw((freeze.id,))
    spared = next(host for host in reversed(drill.hosts) if host not in marked)
    await orders.hold(spared, seconds=1200, why="debugging")
    await story.in_phase("moved")
    assert story.theirs() == [spared]
    assert story.seen.unmovable[spared].code == "held"
    await drill.until(lambda: spared in story.ours(), within=1500.0)
    story.healthy()


@told(3, begin=False)
async def test_a_scheduler_that_observes_marks_nothing(drill: Drill) -> None:
    await drill.begin(observe=True)
    story = Story(drill)
    await story.serve()
    await story.begin()
    story.constrain()
    await story.in_phase("observing")
    await asyncio.sleep(120.0)
    for operation in ("PutAttributes", "DeleteAttributes", "StartTask", "StopTask"):
        assert operation not in drill.wire.tried
    assert len(story.theirs()) == 3


# --- The end --------------------------------------------------------------------------------------


@told(4)
async def test_once_the_service_is_deleted_it_is_over(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=4)
    story.constrain()
    await story.in_phase("moved")
    drill.cloud.delete_service("demo", SERVICE, now=drill.live.now())
    await drill.until(
        lambda: drill.process.repository.migration(story.environment.id) is None, within=200.0
    )
    assert story.marked() == []
    assert (story.record.gate, story.record.gate_service) == ("", "")
    joined = drill.add_host()
    await drill.until(lambda: joined in story.ours(), within=60.0)
    assert story.ours() == sorted(drill.hosts)
    story.healthy()


@told(6)
async def test_a_service_deleted_too_early_leaves_every_host_to_us(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=1)
    story.constrain()
    await drill.until(lambda: len(story.ours()) == 2, within=200.0)
    drill.cloud.delete_service("demo", SERVICE, now=drill.live.now())
    await drill.until(lambda: story.ours() == sorted(drill.hosts), within=120.0)
    await drill.until(
        lambda: drill.process.repository.migration(story.environment.id) is None, within=200.0
    )
    story.healthy()


@told(4)
async def test_a_service_deleted_on_the_way_back_leaves_every_host_to_us(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=1)
    story.constrain()
    await story.in_phase("moved")
    await story.back()
    await drill.until(lambda: len(story.theirs()) == 2, within=300.0)
    drill.cloud.delete_service("demo", SERVICE, now=drill.live.now())
    await drill.until(lambda: story.ours() == sorted(drill.hosts), within=200.0)
    story.healthy()


@told(3)
async def test_marks_of_former_times_go_before_the_service_minds_them(drill: Drill) -> None:
    story = Story(drill)
    for host in drill.hosts[:2]:
        mark = [{"name": "blox.logs", "value": "ours", "targetId": host}]
        story.call("PutAttributes", attributes=mark)
    await story.serve()
    await story.begin(wave=1)
    await drill.until(lambda: story.marked() == [], within=120.0)
    assert len(story.theirs()) == 3
    story.constrain()
    await story.in_phase("moved")
    story.healthy()


@told(3)
async def test_deleting_the_environment_strands_no_host(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=1)
    story.constrain()
    await drill.until(lambda: len(story.ours()) == 1, within=100.0)
    service = drill.process.service
    for stop_tasks in (False, True):
        with pytest.raises(Conflict, match=r"--back|again in a moment"):
            await service.delete(story.environment.id, stop_tasks=stop_tasks)
    await story.back()
    await story.in_phase("given-back")
    await drill.until(
        lambda: not drill.process.scheduler.migrator.unsure(story.environment.id), within=120.0
    )
    await service.delete(story.environment.id)
    await asyncio.sleep(120.0)
    assert story.theirs() == sorted(drill.hosts)
    assert drill.process.repository.migrations() == ()
    story.healthy()


@pytest.mark.parametrize("after", [0.1, 0.6, 1.1, 1.9, 2.4, 3.3, 5.0])
@told(3)
async def test_nor_does_deleting_it_at_any_moment(drill: Drill, after: float) -> None:
    """Whether it was refused or done: no host is left with neither."""
    story = Story(drill)
    await story.serve()
    await story.begin(wave=1)
    await story.in_phase("constraint")
    story.constrain()
    await asyncio.sleep(9.0 + after)
    try:
        await drill.process.service.delete(story.environment.id)
    except Conflict:
        await story.in_phase("moved")
    else:
        await asyncio.sleep(300.0)
        assert story.theirs() == sorted(drill.hosts)
        assert story.marked() == []
    assert len({*story.ours(), *story.theirs()}) == 3
    story.healthy()


# --- Beginning ------------------------------------------------------------------------------------


@told(2)
async def test_what_cannot_be_taken_over_is_refused_and_changes_nothing(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    drill.cloud.add_service("demo", "web", "REPLICA", now=drill.live.now(), definition="agent")
    drill.cloud.add_definition("mine", now=drill.live.now())
    service = drill.process.service
    free = await service.create("logs", "demo", Wish(task_definition="mine", policy=EASY))
    drill.process.environments_changed()
    takeover = service.takeover
    with pytest.raises(NotFound, match="no service none"):
        await takeover.begin(free, "none", wave=1)
    with pytest.raises(Conflict, match="REPLICA"):
        await takeover.begin(free, "web", wave=1)
    for wave in (0, 101):
        with pytest.raises(InvalidInput, match="1 to 100"):
            await takeover.begin(free, SERVICE, wave=wave)
    with pytest.raises(InvalidInput, match="no service"):
        await takeover.begin(free, "service/a b", wave=1)
    await service.deploy(free.id)
    await drill.until(lambda: len(story.ours()) == 2, within=60.0)
    with pytest.raises(Conflict, match="daemons of its own on 2 hosts"):
        await takeover.begin(free, SERVICE, wave=1)
    other = await service.create("other", "demo", Wish(task_definition="agent", policy=EASY))
    await takeover.begin(other, f"service/{SERVICE}", wave=1)
    third = await service.create("third", "demo", Wish(task_definition="agent", policy=EASY))
    with pytest.raises(Conflict, match="other is taking over"):
        await takeover.begin(third, SERVICE, wave=1)
    assert (await takeover.begin(other, SERVICE, wave=7)).wave == 7
    drill.cloud.deny("DescribeServices")
    with pytest.raises(Unavailable, match="ecs:DescribeServices"):
        await takeover.begin(third, "web", wave=1)
    assert [m.environment_id for m in drill.process.repository.migrations()] == [other.id]


@told(2)
async def test_finishing_by_hand(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin()
    takeover = drill.process.service.takeover
    with pytest.raises(Conflict, match="delete-service"):
        await takeover.finish(story.record)
    drill.cloud.deny("DescribeServices")
    with pytest.raises(Conflict, match="tasks of service shipper run"):
        await takeover.finish(story.record)
    drill.cloud.delete_service("demo", SERVICE, now=drill.live.now())
    drill.live.settle()
    await drill.until(lambda: story.running(f"service:{SERVICE}") == [], within=60.0)
    await asyncio.sleep(30.0)
    await takeover.finish(story.record)
    await drill.until(lambda: story.ours() == sorted(drill.hosts), within=60.0)
    story.healthy()


@told(2)
async def test_what_was_not_meant_is_forgotten(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    service = drill.process.service
    wish = Wish(task_definition="agent", policy=EASY)
    made = await service.create("logs", "demo", wish, existing=Existing.WAIT)
    drill.process.environments_changed()
    await service.takeover.begin(made, SERVICE, wave=1)
    await service.takeover.finish(made)
    assert drill.process.repository.migrations() == ()
    assert drill.process.repository.environments()[0].gate == ""
