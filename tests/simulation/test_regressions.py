"""Calls that act: defects that were found once, each told as the story that showed it.

What a process knew when it decided may have changed by the time that the call leaves, and what it
does not hear it must not guess.
"""

import asyncio

import pytest

from blox.clusterstate.view import View
from blox.ecs.errors import CREDENTIAL_CODES
from blox.scheduler.model import DeploymentStatus, Environment, Policy
from blox.settings import Assumptions, SchedulerSettings, Settings
from blox.simulator.faults import Faults
from blox.simulator.model import SignatureCheck, Switches
from support.drills import (
    Drill,
    EarlyLoop,
    answered_late,
    arrives_late,
    connecting_takes,
    drilled,
    never_arrives,
    never_connects,
    refused,
)

LIFE_AND_LAG = Assumptions().request_life + Assumptions().acceptance_lag
"""Seconds after which a lost StopTask can land no more: S' + E."""

# --- Between the signature and the first byte -----------------------------------------------------


@drilled(40, switches=Switches(backdated_refused=True))
async def test_no_start_leaves_whose_intent_says_less_than_the_window_in_force(
    drill: Drill,
) -> None:
    """Several calls are unsent when ECS refuses the date of the first. Signed with the present they
    would live longer than their intents tell the next process, which would start another daemon
    before they land."""
    drill.wire.next("StartTask", connecting_takes(0.1))
    drill.wire.next("StartTask", arrives_late(299.0, executes_after=59.9, connecting=0.3))
    drill.wire.next("StartTask", *[connecting_takes(0.3)] * 6)
    await drill.deploy_new()
    await drill.until(lambda: drill.process.client.notices, within=5.0, every=0.01)
    assert drill.wire.tried.count("StartTask") > 1, "others are under way"
    await asyncio.sleep(0.5)

    # The next process takes what is dated back, has no queue, and sees new tasks late.
    await drill.process.kill()
    drill.cloud.switches, drill.cloud.faults = Switches(), Faults(lag=1.0)
    drill.feed = None
    await drill.begin()
    await asyncio.sleep(1000.0)
    assert drill.with_two() == []
    assert drill.running() == 40


@pytest.mark.parametrize(("takes", "events"), [(40.0, True), (10.0, False)])
@drilled(1)
async def test_no_stop_leaves_long_after_its_look(drill: Drill, takes: float, events: bool) -> None:
    """Of two daemons one is surplus. While its stop waits for a connection, the other dies, whether
    or not we are told."""
    await drill.settled()
    (host,) = drill.hosts
    (survivor,) = drill.on(host)
    drill.wire.next("StopTask", connecting_takes(takes))
    drill.copy_of_start(drill.calls("StartTask")[0])
    await drill.until_tried("StopTask")
    assert drill.feed is not None
    drill.feed.silent = not events
    await asyncio.sleep(takes / 2)
    drill.happen(drill.cloud.kill_task, survivor.arn)
    await asyncio.sleep(takes)
    drill.feed.silent = False
    await asyncio.sleep(200.0)
    assert drill.calls("StopTask") == []
    assert len(drill.on(host)) == 1


@drilled(1)
async def test_no_stop_leaves_after_the_environment_was_deleted(drill: Drill) -> None:
    environment = await drill.settled()
    drill.wire.next("StopTask", connecting_takes(3.0))
    await drill.roll_out(environment)
    await drill.until_tried("StopTask")
    await drill.process.service.delete(environment.id)
    await asyncio.sleep(60.0)
    assert drill.calls("StopTask") == []
    assert len(drill.process.service.orphans()) == 1, "deleting keeps the daemons"


@drilled(1)
async def test_no_stop_leaves_that_is_not_wanted_any_more(drill: Drill) -> None:
    """The host's agent goes away while its daemon's stop waits for a connection: nothing could be
    started in its place."""
    environment = await drill.settled()
    drill.wire.next("StopTask", connecting_takes(3.0))
    await drill.roll_out(environment)
    await drill.until_tried("StopTask")
    drill.happen(drill.cloud.disconnect_agent, drill.hosts[0])
    await asyncio.sleep(30.0)
    assert drill.calls("StopTask") == []

    drill.happen(drill.cloud.connect_agent, drill.hosts[0])
    await drill.until(lambda: drill.running(":2") == 1, within=60.0)


@drilled(1)
async def test_no_stop_leaves_after_the_rollout_was_taken_back(drill: Drill) -> None:
    """Another deployment, of what runs already, comes into force while a stop is under way."""
    environment = await drill.settled()
    drill.wire.next("StopTask", connecting_takes(3.0))
    await drill.roll_out(environment)
    await drill.until_tried("StopTask")
    await drill.change(environment, task_definition="agent:1")
    await drill.process.service.deploy(environment.id, supersede=True)
    await asyncio.sleep(120.0)
    assert drill.calls("StopTask") == []
    assert drill.running(":1") == 1


@drilled(1)
async def test_a_stop_that_still_holds_leaves_after_a_slow_connection(drill: Drill) -> None:
    environment = await drill.settled()
    drill.wire.next("StopTask", connecting_takes(3.0))
    await drill.roll_out(environment)
    await drill.until(lambda: drill.running(":2") == 1, within=60.0)
    assert len(drill.calls("StopTask")) == drill.wire.tried.count("StopTask") == 1


@drilled(1)
async def test_no_start_leaves_after_the_environment_was_deleted(drill: Drill) -> None:
    drill.wire.next("StartTask", connecting_takes(8.0))
    environment = await drill.deploy_new()
    await drill.until_tried("StartTask")
    await drill.process.service.delete(environment.id)
    await asyncio.sleep(60.0)
    assert drill.calls("StartTask") == []


@drilled(1)
async def test_no_start_leaves_for_a_deployment_that_was_superseded(drill: Drill) -> None:
    drill.wire.next("StartTask", connecting_takes(8.0))
    environment = await drill.deploy_new()
    await drill.until_tried("StartTask")
    newest = await drill.roll_out(environment)
    await drill.until(lambda: drill.running(":2") == 1, within=30.0)
    (call,) = drill.calls("StartTask")
    assert call.params["startedBy"] == newest.id


# --- Timers ---------------------------------------------------------------------------------------


@drilled(1, loop=EarlyLoop)
async def test_a_start_that_could_not_connect_is_made_anew_at_once(drill: Drill) -> None:
    """Woken a hair before it may, a pump finds nothing to do: it must be woken again."""
    await drill.settled()
    for _ in range(5):
        drill.wire.next("StartTask", never_connects())
        before = drill.time
        drill.lose_daemon(drill.hosts[0])
        await drill.until_called("StartTask", since=before, within=2.5)
        await asyncio.sleep(30.0)


@drilled(1, loop=EarlyLoop)
async def test_a_stop_that_could_not_connect_is_made_anew_at_once(drill: Drill) -> None:
    environment = await drill.settled()
    for _ in range(3):
        drill.wire.next("StopTask", never_connects())
        before = drill.time
        await drill.roll_out(environment)
        await drill.until_called("StopTask", since=before, within=3.0)
        await asyncio.sleep(30.0)


# --- After a crash --------------------------------------------------------------------------------


async def first_stop_of_a_rollout(drill: Drill, environment: Environment) -> float:
    """Roll out; the monotonic time at which the first stop was tried."""
    await drill.roll_out(environment)
    await drill.until_tried("StopTask", within=1200.0)
    return drill.time


@pytest.mark.parametrize(
    ("check", "life"),
    [(SignatureCheck.ENFORCED, 60.0), (SignatureCheck.TRIPLED, 60.0), (SignatureCheck.OFF, 900.0)],
)
@drilled(2, begin=False)
async def test_after_a_crash_stops_wait_as_long_as_a_lost_one_may_land(
    drill: Drill, check: SignatureCheck, life: float
) -> None:
    """By the assumptions that are in force, which the probe finds out after the process began."""
    drill.cloud.switches = Switches(signature=check)
    await drill.begin()
    environment = await drill.deploy_new()
    await drill.until(lambda: drill.running() == 2, within=30.0)
    await drill.crash_and_begin()
    begun = drill.time
    await asyncio.sleep(5.0)
    waited = await first_stop_of_a_rollout(drill, environment) - begun
    assert life + 60.0 <= waited <= life + 70.0


@drilled(2, switches=Switches(signature=SignatureCheck.OFF))
async def test_a_deployment_does_not_fail_for_waiting_so(drill: Drill) -> None:
    """Here it waits for 16 minutes, and its deadline is 10."""
    environment = await drill.deploy_new()
    await drill.until(lambda: drill.running() == 2, within=30.0)
    await drill.crash_and_begin()
    deployment = await drill.roll_out(environment)
    await asyncio.sleep(955.0)
    assert drill.status(deployment) is DeploymentStatus.RUNNING
    await drill.until(lambda: drill.status(deployment) is DeploymentStatus.COMPLETED, within=60.0)


@drilled(1, switches=Switches(signature=SignatureCheck.OFF))
async def test_a_lost_stop_may_land_as_long_as_the_assumptions_in_force_say(drill: Drill) -> None:
    """Until then its daemon counts as going: the deployment is not complete."""
    policy = Policy(max_unavailable="1", min_healthy_seconds=0, progress_deadline=3600.0)
    environment = await drill.settled(policy=policy)
    drill.wire.next("StopTask", never_arrives())
    await drill.roll_out(environment)
    await drill.until_tried("StopTask")
    lost = drill.time
    await drill.change(environment, task_definition="agent:1")
    taken_back = await drill.process.service.deploy(environment.id, supersede=True)
    waited = await drill.until(
        lambda: drill.status(taken_back) is DeploymentStatus.COMPLETED, within=1500.0, every=1.0
    )
    assert 955.0 <= drill.time - lost <= 1030.0, waited


@drilled(2)
async def test_a_clean_end_soon_after_a_crash_hides_the_crash_from_nobody(drill: Drill) -> None:
    environment = await drill.deploy_new()
    await drill.until(lambda: drill.running() == 2, within=30.0)
    await drill.crash_and_begin()
    await asyncio.sleep(5.0)
    await drill.process.stop()
    await drill.begin()
    begun = drill.time
    waited = await first_stop_of_a_rollout(drill, environment) - begun
    assert waited >= LIFE_AND_LAG - 1.0


@drilled(2)
async def test_a_clean_end_long_after_a_crash_lets_the_next_process_stop_at_once(
    drill: Drill,
) -> None:
    environment = await drill.deploy_new()
    await drill.until(lambda: drill.running() == 2, within=30.0)
    await drill.crash_and_begin()
    await asyncio.sleep(LIFE_AND_LAG + 5.0)
    await drill.process.stop()
    await drill.begin()
    begun = drill.time
    assert await first_stop_of_a_rollout(drill, environment) - begun < 10.0


@pytest.mark.parametrize("clean", [False, True])
@drilled(2)
async def test_an_observer_changes_nothing_in_the_store(drill: Drill, clean: bool) -> None:
    """Least of all the mark of a clean end: it belongs to those who act."""
    environment = await drill.deploy_new()
    await drill.until(lambda: drill.running() == 2, within=30.0)
    await asyncio.sleep(500.0)
    await (drill.process.stop() if clean else drill.process.kill())
    before = dict(drill.data.records)
    await drill.begin(observe=True)
    await asyncio.sleep(LIFE_AND_LAG + 5.0)
    await drill.process.stop()
    assert drill.data.records == before

    await drill.begin()
    begun = drill.time
    waited = await first_stop_of_a_rollout(drill, environment) - begun
    assert (waited < 10.0) is clean


# --- Doubts ---------------------------------------------------------------------------------------


@drilled(1)
async def test_a_new_environment_of_a_deleted_ones_name_waits_for_its_doubt(drill: Drill) -> None:
    drill.wire.next("StartTask", arrives_late(50.0))
    first = await drill.deploy_new()
    await asyncio.sleep(5.0)
    await drill.process.service.delete(first.id)
    second = await drill.deploy_new()
    await asyncio.sleep(10.0)
    assert drill.verdict(second, drill.hosts[0]).reason == "occupied"
    await asyncio.sleep(900.0)
    assert drill.with_two() == []
    assert drill.verdict(second, drill.hosts[0]).reason == "current"
    assert drill.process.service.orphans() == []


@drilled(1)
async def test_a_new_environment_of_a_deleted_ones_name_starts_when_its_doubt_has_ended(
    drill: Drill,
) -> None:
    drill.wire.next("StartTask", never_arrives())
    first = await drill.deploy_new()
    await asyncio.sleep(5.0)
    await drill.process.service.delete(first.id)
    await drill.deploy_new()
    waited = await drill.until(lambda: drill.running() == 1, within=600.0)
    assert waited > Assumptions().doubt_window - 10.0


@drilled(3)
async def test_a_new_deployment_does_not_fail_for_old_doubts(drill: Drill) -> None:
    environment = await drill.settled()
    drill.wire.always["StartTask"] = never_arrives()
    first = await drill.roll_out(environment)
    await drill.until(
        lambda: drill.status(first) is DeploymentStatus.FAILED, within=6000.0, every=1.0
    )
    del drill.wire.always["StartTask"]
    await asyncio.sleep(60.0)
    second = await drill.process.service.deploy(environment.id)
    seen = set()
    for _ in range(1200):
        await asyncio.sleep(1.0)
        seen.add(drill.status(second))
    assert DeploymentStatus.FAILED not in seen
    assert drill.status(second) is DeploymentStatus.COMPLETED


@drilled(4)
async def test_each_doubt_on_a_cluster_is_looked_after_soon(
    drill: Drill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 2, 5 and 15 s, although an earlier doubt's looks are a minute apart by now."""
    await drill.settled()
    looks: list[float] = []
    look = View.look

    async def noted(view: View, cluster_arn: str) -> bool:
        looks.append(drill.time)
        return await look(view, cluster_arn)

    monkeypatch.setattr(View, "look", noted)
    for host in drill.hosts[:2]:
        drill.wire.next("StartTask", never_arrives())
        drill.lose_daemon(host)
        await drill.until_tried("StartTask", within=5.0, every=0.01)
        doubted = drill.time + 0.1
        await asyncio.sleep(20.0)
        after = [round(at - doubted) for at in looks if at > doubted]
        assert {2, 5, 15} <= set(after)


@drilled(
    2,
    settings=Settings(
        assumptions=Assumptions(read_lag=5.0), scheduler=SchedulerSettings(intent_cleanup=5.0)
    ),
)
async def test_an_intent_is_not_forgotten_while_its_call_is_in_flight(drill: Drill) -> None:
    """The task is seen long before the answer comes, and V passes in between."""
    drill.wire.next("StartTask", answered_late(50.0))
    await drill.deploy_new()
    await drill.until(lambda: drill.running() == 2, within=20.0)
    await asyncio.sleep(20.0)
    assert len(drill.process.scheduler.state.book) == 1
    await asyncio.sleep(60.0)
    assert len(drill.process.scheduler.state.book) == 0
    assert not drill.process.repository.intents()
    drill.lose_daemon(drill.hosts[0])
    await drill.until(lambda: drill.running() == 2, within=20.0)


# --- The fence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(c for c in CREDENTIAL_CODES if c.startswith("Expired")))
@drilled(2)
async def test_an_expired_token_says_nothing_against_dating_back(drill: Drill, code: str) -> None:
    """Even if a read with the same credentials was accepted a moment ago."""
    drill.wire.next("StartTask", refused(code, "The security token has expired."))
    await drill.deploy_new()
    await drill.until(lambda: drill.running() == 2, within=60.0)
    assert drill.process.client.notices == ()
    assert drill.process.client.assumptions_in_force == Assumptions()


@drilled(2, switches=Switches(backdated_refused=True))
async def test_a_refused_date_ends_dating_back(drill: Drill) -> None:
    await drill.deploy_new()
    await drill.until(lambda: drill.running() == 2, within=60.0)
    assert drill.process.client.assumptions_in_force.dated_back == 0
    assert drill.process.scheduler.state.book.window == Assumptions(backdate=0.0).doubt_window
