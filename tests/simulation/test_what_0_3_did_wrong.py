"""The defects of Blox 0.3's daemon-scheduler, each a story that must end well here.

Judged by what the simulated ECS saw. The numbers in the names are those of the list in README's
comparison: 1 to 6 made duplicates, 7 to 18 repaired nothing or told what was not so.
"""

import asyncio

import pytest

from blox.base.errors import NotFound
from blox.scheduler.model import Deployment, DeploymentStatus, Policy
from blox.scheduler.report import environment_report
from blox.scheduler.service import Wish
from support.drills import (
    QUICK,
    Drill,
    answered_late,
    drilled,
    never_arrives,
    refused,
)


async def completed(drill: Drill, deployment: Deployment) -> None:
    await drill.until(lambda: drill.status(deployment) is DeploymentStatus.COMPLETED, within=900.0)


@drilled(10)
async def test_1_a_conflict_in_the_store_repeats_no_start(drill: Drill) -> None:
    """The call is in no transaction; an answer that the store loses starts nothing twice."""
    drill.process.trouble.after_applying = True
    await drill.deploy_new()
    drill.process.trouble.failing = True
    await asyncio.sleep(5.0)
    drill.process.trouble.failing = False
    await drill.until(lambda: drill.running() == 10, within=60.0)
    assert drill.with_two() == []


@pytest.mark.parametrize("lost", [True, False])
@drilled(10)
async def test_2_a_call_without_an_answer_is_not_sent_again(drill: Drill, lost: bool) -> None:
    """Whether it never arrived or its answer is late, ECS sees each StartTask once."""
    drill.wire.next("StartTask", never_arrives() if lost else answered_late(50.0))
    await drill.deploy_new()
    await drill.until(lambda: drill.running() == 10, within=600.0)
    assert drill.with_two() == []
    for host in drill.hosts:
        named = [c for c in drill.calls("StartTask") if host in str(c.params)]
        assert len(named) == 1


@drilled(10)
async def test_3_a_start_that_takes_long_is_not_entered_again(drill: Drill) -> None:
    drill.wire.next("StartTask", answered_late(40.0))
    await drill.deploy_new()
    await asyncio.sleep(45.0)
    assert len(drill.calls("StartTask")) == 1
    assert drill.with_two() == []


@drilled(30)
async def test_4_a_batch_that_fails_makes_no_other_start_again(drill: Drill) -> None:
    drill.wire.next("StartTask", refused("InvalidParameterException", "nobody knows why"))
    await drill.deploy_new()
    await drill.until(lambda: drill.running() == 30, within=60.0)
    assert drill.with_two() == []
    started = [c for c in drill.calls("StartTask") if c.made]
    assert sum(len(c.made) for c in started) == 30


@drilled(6)
async def test_5_of_two_one_surely_survives(drill: Drill) -> None:
    """ECS executes a start twice, against all assumptions: each host keeps one, and never none."""
    await drill.settled()
    first = {host: drill.on(host)[0].arn for host in drill.hosts}
    drill.copy_of_start(drill.calls("StartTask")[0])
    await drill.until(lambda: drill.running() == 6, within=180.0)
    assert {host: drill.on(host)[0].arn for host in drill.hosts} == first


@drilled(10)
async def test_6_what_was_started_is_known_after_a_restart(drill: Drill) -> None:
    await drill.deploy_new()
    await drill.until(lambda: drill.calls("StartTask"), within=20.0, every=0.01)
    await drill.crash_and_begin()
    await asyncio.sleep(900.0)
    assert drill.running() == 10
    assert drill.with_two() == []


@drilled(10)
async def test_7_an_environment_is_updated_again_and_again(drill: Drill) -> None:
    environment = await drill.settled()
    for revision in (2, 3):
        deployment = await drill.roll_out(environment)
        await completed(drill, deployment)
        assert drill.running(f"agent:{revision}") == 10


@drilled(5)
async def test_8_failures_stay_visible_for_as_long_as_they_last(drill: Drill) -> None:
    drill.cloud.deny("StartTask")
    environment = await drill.deploy_new()
    await asyncio.sleep(20.0)
    for _ in range(30):
        await asyncio.sleep(10.0)
        report = environment_report(drill.process.scheduler.state, environment)
        assert not report.healthy
        assert sorted(report.failed_hosts) == sorted(drill.hosts)


@drilled(0)
async def test_9_an_empty_cluster_completes_and_three_hosts_only_with_three(drill: Drill) -> None:
    environment = await drill.deploy_new()
    (deployment,) = drill.process.repository.deployments(environment.id)
    await drill.until(lambda: drill.status(deployment) is DeploymentStatus.COMPLETED, within=20.0)
    for _ in range(3):
        drill.add_host()
    await asyncio.sleep(5.0)
    second = await drill.process.service.deploy(environment.id)
    await drill.until(lambda: drill.status(second) is DeploymentStatus.COMPLETED, within=60.0)
    assert drill.running() == 3


@drilled(130)
async def test_10_more_than_a_hundred_tasks_are_read(drill: Drill) -> None:
    await drill.settled()
    drill.feed = None
    await drill.crash_and_begin()
    await asyncio.sleep(600.0)
    assert drill.running() == 130
    assert len(drill.calls("StartTask")) == 13


@drilled(4)
async def test_11_errors_reach_the_story_of_the_host(drill: Drill) -> None:
    drill.wire.next("StartTask", refused("ServerException", "try later"))
    environment = await drill.deploy_new()
    await asyncio.sleep(5.0)
    story = drill.process.scheduler.state.journal.story((environment.id, drill.hosts[0]))
    assert any("ServerException" in entry.text for entry in story)


@drilled(12)
async def test_12_one_bad_host_and_one_that_left_harm_nobody(drill: Drill) -> None:
    bad, gone = drill.hosts[0], drill.hosts[1]
    drill.cloud.poison_host(bad)
    drill.happen(drill.cloud.terminate_host, gone)
    await drill.deploy_new()
    await drill.until(lambda: drill.running() == 10, within=60.0)
    await asyncio.sleep(600.0)
    assert not any(gone in str(c.params) for c in drill.calls("StartTask"))


@drilled(5)
async def test_13_a_name_that_is_used_again_starts_nothing_for_the_old_one(drill: Drill) -> None:
    old = await drill.settled()
    await drill.process.service.delete(old.id)
    begun = drill.time
    new = await drill.process.service.create("logs", "demo", Wish(task_definition="agent"))
    drill.lose_daemon(drill.hosts[0])
    await asyncio.sleep(300.0)
    assert new.id != old.id
    assert drill.calls("StartTask", since=begun) == []


@drilled(5)
async def test_14_what_a_deleted_environment_leaves_is_found(drill: Drill) -> None:
    environment = await drill.settled()
    await drill.process.service.delete(environment.id)
    await asyncio.sleep(900.0)
    orphans = drill.process.service.orphans()
    assert sorted(o.task.host_arn for o in orphans) == sorted(drill.hosts)


@drilled(10)
async def test_15_crash_loops_back_off_and_updates_keep_their_budget(drill: Drill) -> None:
    environment = await drill.settled(policy=Policy(max_unavailable="1"))
    drill.cloud.crash_loop(drill.hosts[0], 1.0)
    drill.lose_daemon(drill.hosts[0])
    begun = drill.time
    await asyncio.sleep(1200.0)
    assert len(drill.calls("StartTask", since=begun)) <= 15
    await drill.roll_out(environment)
    await asyncio.sleep(300.0)
    assert drill.running("agent:1") >= 9, "one is down already: no other may be taken down"


@drilled(4)
async def test_16_draining_hosts_lose_theirs_and_away_ones_get_none(drill: Drill) -> None:
    draining, away = drill.hosts[:2]
    drill.happen(drill.cloud.disconnect_agent, away)
    await drill.deploy_new()
    await asyncio.sleep(60.0)
    assert drill.on(away) == []
    drill.happen(drill.cloud.drain_host, draining)
    await drill.until(lambda: drill.on(draining) == [], within=120.0)
    begun = drill.time
    await asyncio.sleep(300.0)
    assert drill.calls("StartTask", since=begun) == []


@drilled(3, health_check=True)
async def test_17_unhealthy_and_stuck_daemons_are_replaced(drill: Drill) -> None:
    await drill.settled(policy=QUICK)
    (sick,) = drill.on(drill.hosts[0])
    drill.happen(drill.cloud.set_unhealthy, sick.arn)
    await drill.until(lambda: not sick.live and drill.running() == 3, within=300.0)
    stuck = drill.add_host()
    drill.cloud.stall_pending(stuck, now=drill.live.now())
    await drill.until(lambda: drill.on(stuck), within=30.0)
    (waiting,) = drill.on(stuck)
    await drill.until(lambda: waiting.desired_status == "STOPPED", within=400.0)


@drilled(1)
async def test_18_what_is_not_there_is_said_to_be_not_there(drill: Drill) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        await drill.process.service.create("logs", "nowhere", Wish(task_definition="agent"))
    with pytest.raises(NotFound, match="nothing"):
        await drill.process.service.create("logs", "demo", Wish(task_definition="nothing"))
