"""Taking over from a DAEMON service when things go wrong: crashes, lost answers, refusals."""

import asyncio
from functools import partial

import pytest

from blox.scheduler.adopting import Existing
from blox.scheduler.service import Wish
from blox.simulator.model import Switches
from blox.store.memory import MemoryData
from support.drills import Drill, answered_late, arrives_late, drilled, never_arrives
from support.migrating import EASY, SERVICE, Story

told = partial(drilled, switches=Switches(pending_waits_for_stopping=False))
"""A story in which no agent keeps a new task waiting until a stopping one has gone: what blox does
not keep apart itself runs at one time."""

# --- Crashes --------------------------------------------------------------------------------------

MOMENTS = [*((after, False) for after in range(0, 30, 3)), *((a, True) for a in range(2, 130, 13))]
"""Seconds after which the process is killed, and whether tasks take their time to stop."""


@pytest.mark.parametrize(("after", "slow"), MOMENTS)
@told(4)
async def test_killed_on_the_way_there_it_goes_on(drill: Drill, after: int, slow: bool) -> None:
    story = Story(drill)
    if slow:
        story.stops_slowly()
    await story.serve()
    await story.begin(wave=2)
    story.constrain()
    await story.in_phase("moving")
    await asyncio.sleep(after + 0.35)
    await drill.crash_and_begin()
    await story.in_phase("moved", within=1500.0)
    assert story.ours() == sorted(drill.hosts)
    gaps = story.migration.there
    assert (gaps.hosts, gaps.measured, gaps.twos) == (4, 4, 0)
    story.healthy()


@pytest.mark.parametrize(("after", "slow"), MOMENTS)
@told(4)
async def test_killed_on_the_way_back_it_goes_on(drill: Drill, after: int, slow: bool) -> None:
    story = Story(drill)
    if slow:
        story.stops_slowly()
    await story.serve()
    await story.begin(wave=2)
    story.constrain()
    await story.in_phase("moved")
    await story.back()
    await asyncio.sleep(after + 0.35)
    await drill.crash_and_begin()
    await story.in_phase("given-back", within=1500.0)
    assert story.theirs() == sorted(drill.hosts)
    gaps = story.migration.returned
    assert (gaps.hosts, gaps.measured, gaps.twos) == (4, 4, 0)
    story.healthy()


@pytest.mark.parametrize("every", [2.0, 3.5, 7.0])
@told(4)
async def test_killed_again_and_again_it_arrives_in_the_end(drill: Drill, every: float) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=2)
    story.constrain()
    for _ in range(12):
        await asyncio.sleep(every)
        await drill.crash_and_begin()
    await story.in_phase("moved", within=1500.0)
    assert story.ours() == sorted(drill.hosts)
    story.healthy()


@told(4)
async def test_a_clean_restart_goes_on_at_once(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=1)
    story.constrain()
    await drill.until(lambda: len(story.ours()) == 2, within=200.0)
    await drill.process.stop()
    await drill.begin()
    assert await story.in_phase("moved", within=200.0) < 150.0
    story.healthy()


@told(4)
async def test_with_its_store_lost_it_begins_again_where_it_was(drill: Drill) -> None:
    """Whose each host is stands on the hosts: nothing is started or stopped by beginning again."""
    story = Story(drill)
    await story.serve()
    await story.begin(wave=1)
    story.constrain()
    await drill.until(lambda: len(story.ours()) == 2, within=200.0)
    await drill.until(lambda: not story.migration.turns, within=60.0)
    await drill.process.kill()
    drill.data = MemoryData()
    process = await drill.begin()
    await process.view.follow(story.environment.cluster_arn)
    before = [t for t in drill.cloud.tasks.values() if t.live and t.group == "blox:logs"]
    wish = Wish(task_definition="agent", policy=EASY)
    made = await process.service.create("logs", "demo", wish, existing=Existing.ADOPT)
    drill.process.environments_changed()
    story.environment = made
    await process.service.takeover.begin(made, SERVICE, wave=1)
    await process.service.deploy(made.id)
    began = drill.time
    await story.in_phase("moved", within=1500.0)
    assert story.ours() == sorted(drill.hosts)
    assert drill.calls("StopTask", since=began) == []
    assert len(before) >= 2
    assert all(task.live for task in before)
    story.healthy()


# --- Trouble on the wire --------------------------------------------------------------------------


@told(4)
async def test_marks_whose_answer_is_lost_are_waited_for(drill: Drill) -> None:
    """A host whose mark is in doubt is neither marked again nor given up until ECS shows it."""
    story = Story(drill)
    await story.serve()
    await story.begin(wave=1)
    story.constrain()
    await story.in_phase("moving")
    drill.wire.next("PutAttributes", arrives_late(100.0), never_arrives())
    await story.in_phase("moved", within=2000.0)
    assert story.ours() == sorted(drill.hosts)
    story.healthy()


@pytest.mark.parametrize("late", [5.0, 60.0, 200.0, 290.0])
@told(3)
async def test_a_mark_that_is_taken_away_late_makes_no_two(drill: Drill, late: float) -> None:
    """Giving back is in doubt when people turn round: the host waits until that call can land no
    more, whatever the view shows."""
    story = Story(drill)
    await story.serve()
    await story.begin(wave=3)
    story.constrain()
    await story.in_phase("moved")
    drill.wire.next("DeleteAttributes", arrives_late(late))
    await story.back()
    await drill.until_tried("DeleteAttributes", within=120.0)
    await story.back(on=False)
    await asyncio.sleep(late + 5.0)
    await story.in_phase("moved", within=2000.0)
    assert story.ours() == sorted(drill.hosts)
    story.healthy()


@pytest.mark.parametrize("late", [5.0, 60.0, 200.0, 290.0])
@told(3)
async def test_nor_does_one_of_a_process_that_was_killed(drill: Drill, late: float) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=3)
    story.constrain()
    await story.in_phase("moved")
    drill.wire.next("DeleteAttributes", arrives_late(late))
    await story.back()
    await drill.until_tried("DeleteAttributes", within=120.0)
    await asyncio.sleep(0.5)
    await drill.crash_and_begin()
    await story.back(on=False)
    await asyncio.sleep(late + 5.0)
    await story.in_phase("moved", within=2000.0)
    assert story.ours() == sorted(drill.hosts)
    story.healthy()


@told(3)
async def test_an_end_in_the_middle_of_a_call_is_no_clean_end(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin(wave=3)
    await story.in_phase("constraint")
    drill.wire.next("PutAttributes", answered_late(30.0))
    story.constrain()
    await drill.until_tried("PutAttributes", within=60.0)
    await drill.process.stop()
    await drill.begin()
    assert drill.process.scheduler.migrator.unclean_since is not None
    await story.in_phase("moved", within=1500.0)
    story.healthy()


@told(12)
async def test_a_host_with_ten_attributes_stays_and_the_others_move(drill: Drill) -> None:
    story = Story(drill)
    full = drill.hosts[4]
    story.call(
        "PutAttributes",
        attributes=[{"name": f"mine{i}", "value": "x", "targetId": full} for i in range(10)],
    )
    await story.serve()
    await story.begin(wave=12)
    story.constrain()
    await story.in_phase("moved")
    assert story.ours() == sorted({*drill.hosts} - {full})
    assert story.theirs() == [full]
    assert story.seen.places["unmovable"] == 1
    why = story.seen.unmovable[full]
    assert why.code == "refused"
    assert "AttributeLimitExceeded" in why.sentence
    calls = len(drill.calls("PutAttributes"))
    await asyncio.sleep(300.0)
    assert len(drill.calls("PutAttributes")) == calls
    story.healthy()


@told(2)
async def test_refused_marks_are_told_and_tried_again_once_a_minute(drill: Drill) -> None:
    story = Story(drill)
    drill.cloud.deny("PutAttributes")
    await story.serve()
    await story.begin()
    story.constrain()
    await story.in_phase("refused")
    assert "AccessDenied" in story.seen.details["cause"]
    tried = drill.wire.tried.count("PutAttributes")
    await asyncio.sleep(600.0)
    assert 8 <= drill.wire.tried.count("PutAttributes") - tried <= 12
    drill.cloud.deny("PutAttributes", on=False)
    await story.in_phase("moved")
    story.healthy()


@told(2)
async def test_a_service_that_may_not_be_described_is_told_and_nothing_moves(drill: Drill) -> None:
    story = Story(drill)
    await story.serve()
    await story.begin()
    story.constrain()
    drill.cloud.deny("DescribeServices")
    await story.in_phase("service-unread")
    assert "AccessDenied" in story.seen.details["cause"]
    marked = story.marked()
    await asyncio.sleep(200.0)
    assert story.marked() == marked
    drill.cloud.deny("DescribeServices", on=False)
    await story.in_phase("moved")
    story.healthy()


# --- The judge ------------------------------------------------------------------------------------


def test_the_judge_sees_a_host_on_which_both_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that does not mind the service's tasks runs beside them."""
    monkeypatch.setattr("blox.scheduler.slots.of_service", lambda _task, _service: False)

    @told(3)
    async def story_of_two(drill: Drill) -> None:
        story = Story(drill)
        drill.cloud.add_definition("other", now=drill.live.now())
        await story.serve(definition="other")
        await story.begin(wave=3)
        story.constrain()
        await story.in_phase("moved")
        assert story.both_wanted()
        assert story.both_running() > 0
        assert story.migration.there.twos > 0

    story_of_two()


def test_and_one_that_is_given_back_before_ours_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blox.scheduler.sight.has_ours", lambda *_: False)
    monkeypatch.setattr("blox.scheduler.marking.has_ours", lambda *_: False)

    @told(12)
    async def story_of_two(drill: Drill) -> None:
        story = Story(drill)
        story.stops_slowly()
        await story.serve()
        await story.begin(wave=12)
        story.constrain()
        await story.in_phase("moved")
        await story.back()
        await story.in_phase("given-back")
        assert story.both_running() > 0

    story_of_two()
