"""Environments and what surrounds them: defects that were found once, each told as the story that
showed it.

One bad host harms only itself, trouble ends when its cause does, and what waits costs little.
"""

import asyncio
from collections.abc import Callable

import pytest

from blox.base.clock import LoopClock
from blox.base.errors import InvalidInput
from blox.ecs.errors import Meaning
from blox.ecs.pacing import SLOWEST, Category, Pacer
from blox.ecs.port import NotDone
from blox.scheduler.model import Policy
from blox.scheduler.service import Wish
from blox.scheduler.stops import StopOrder
from blox.scheduler.tracked import Tracked
from blox.simulator import loop
from blox.store.errors import StoreRefused
from blox.store.memory import MemoryStore
from support.drills import QUICK, Drill, answered_late, drilled

# --- Refusals -------------------------------------------------------------------------------------


async def condition_seconds(drill: Drill, tracked: Tracked, *, seconds: int) -> int:
    """How many of the next seconds the environment was in a condition."""
    found = 0
    for _ in range(seconds):
        await asyncio.sleep(1.0)
        found += tracked.trouble is not None
    return found


@pytest.mark.parametrize("joins_later", [False, True])
@drilled(10)
async def test_two_poison_hosts_are_no_condition_of_the_environment(
    drill: Drill, joins_later: bool
) -> None:
    """Each refuses a whole call, alone and again and again; the ten others are well."""
    good = list(drill.hosts)
    if not joins_later:
        for _ in range(2):
            drill.add_host(poisoned=True)
    environment = await drill.deploy_new(policy=Policy(max_unavailable="10%"))
    await drill.until(lambda: drill.running() == 10, within=60.0)
    await asyncio.sleep(60.0)
    if joins_later:
        for _ in range(2):
            drill.add_host(poisoned=True)
    tracked = drill.tracked(environment)
    for host in good:
        assert await condition_seconds(drill, tracked, seconds=300) <= 5
        drill.lose_daemon(host)
        await drill.until(lambda: drill.running() == 10, within=6.0)


@drilled(30)
async def test_three_different_calls_refused_alike_are_the_environments_condition(
    drill: Drill,
) -> None:
    """It is then asked once a minute with one host, and all go on when that is answered: those
    that were asked with, too."""
    for host in drill.hosts:
        drill.cloud.poison_host(host)
    environment = await drill.deploy_new()
    await drill.until(lambda: drill.tracked(environment).trouble, within=10.0)
    assert len(drill.calls("StartTask")) <= 7
    begun = drill.time
    await asyncio.sleep(600.0)
    probes = drill.calls("StartTask", since=begun + 10.0)
    assert len(probes) <= 11
    assert all(len(call.params["containerInstances"]) == 1 for call in probes)  # type: ignore[arg-type]

    for host in drill.hosts:
        drill.cloud.poison_host(host, on=False)
    await drill.until(lambda: drill.running() == 30, within=90.0)
    assert drill.tracked(environment).trouble is None


@drilled(3)
async def test_an_environment_of_three_hosts_that_is_refused_concludes_too(drill: Drill) -> None:
    for host in drill.hosts:
        drill.cloud.poison_host(host)
    environment = await drill.deploy_new()
    await drill.until(lambda: drill.tracked(environment).trouble, within=10.0)


@drilled(5)
async def test_access_denied_concludes_with_the_first_answer(drill: Drill) -> None:
    drill.cloud.deny("StartTask")
    environment = await drill.deploy_new()
    await drill.until(lambda: drill.tracked(environment).trouble, within=3.0)
    await asyncio.sleep(30.0)
    assert len(drill.calls("StartTask")) == 1
    drill.cloud.deny("StartTask", on=False)
    await drill.until(lambda: drill.running() == 5, within=90.0)


# --- The definition -------------------------------------------------------------------------------


def inactive(drill: Drill, definition: str) -> None:
    """Somebody deregisters this definition."""
    drill.cloud.call(
        "DeregisterTaskDefinition", {"taskDefinition": definition}, now=drill.live.now()
    )


@drilled(2)
async def test_what_was_asked_about_another_target_is_not_applied_to_this_one(
    drill: Drill,
) -> None:
    """`agent:2` was a mistake; it is deregistered, and `agent:3` deployed before ECS has answered
    what became of `agent:2`."""
    environment = await drill.settled()
    mistake = drill.define()
    await drill.change(environment)
    inactive(drill, mistake)
    drill.wire.next("DescribeTaskDefinition", answered_late(3.0))
    await drill.process.service.deploy(environment.id)
    await asyncio.sleep(1.0)
    await drill.roll_out(environment)
    await drill.until(lambda: drill.running(":3") == 2, within=30.0)
    assert drill.running(":2") == 0


@drilled(2)
async def test_a_definition_that_was_inactive_is_asked_about_again(drill: Drill) -> None:
    """ECS may have told what was, or is not any more."""
    environment = await drill.settled()
    definition = drill.define()
    await drill.change(environment)
    inactive(drill, definition)
    await drill.process.service.deploy(environment.id)
    await asyncio.sleep(30.0)
    assert drill.running(":1") == 2, "it cannot start, so nothing was stopped for it"

    record = drill.cloud.definitions[definition]
    record.active, record.document["status"] = True, "ACTIVE"
    await drill.until(lambda: drill.running(":2") == 2, within=120.0)


@drilled(1, health_check=True)
async def test_it_is_asked_about_again_for_failing_daemons_too(drill: Drill) -> None:
    await drill.settled()
    (definition,) = drill.cloud.definitions
    (failing,) = drill.on(drill.hosts[0])
    inactive(drill, definition)
    drill.happen(drill.cloud.set_unhealthy, failing.arn)
    await asyncio.sleep(120.0)
    assert drill.calls("StopTask") == []

    record = drill.cloud.definitions[definition]
    record.active, record.document["status"] = True, "ACTIVE"
    await drill.until(lambda: drill.on(drill.hosts[0]) not in ([failing], []), within=120.0)


@drilled(3)
async def test_daemons_leave_unmatched_hosts_although_the_definition_cannot_be_asked_about(
    drill: Drill,
) -> None:
    """Nothing replaces them, so nothing needs to be known of what would."""
    environment = await drill.settled(selector="")
    drill.define()
    stays = drill.hosts[0]
    instance = drill.cloud.hosts[stays].instance_id
    await drill.change(environment, selector=f"ec2InstanceId == {instance}")
    drill.cloud.deny("DescribeTaskDefinition")
    await drill.process.service.deploy(environment.id)
    await drill.until(
        lambda: [bool(drill.on(h)) for h in drill.hosts[1:]] == [False, False], within=90.0
    )
    assert drill.running(":1") == 1, "its replacement could perhaps not start"
    drill.cloud.deny("DescribeTaskDefinition", on=False)
    await drill.until(lambda: drill.running(":2") == 1, within=60.0)


# --- The store ------------------------------------------------------------------------------------


class Replaced:
    """A store whose file was replaced under it: it refuses whatever it is asked."""

    def __init__(self) -> None:
        self.on = False

    def before(self, operation: str, /) -> None:
        if self.on:
            raise StoreRefused("blox.db has been emptied or replaced. Restart blox.")

    def after(self, operation: str, /) -> None:
        pass


@pytest.mark.parametrize("after", [0.0, 0.05])
@drilled(10, begin=False)
async def test_a_store_that_refuses_for_good_is_store_trouble(drill: Drill, after: float) -> None:
    """No start without its intent (R13), so no stop that needs one; and nothing is stuck. `after`
    so many seconds of a rollout, which begins when its first step is durable."""
    replaced = Replaced()
    clock = LoopClock(drill.live.epoch)
    process = await drill.begin(store=MemoryStore(clock, data=drill.data, faults=replaced))
    policy = Policy(max_unavailable="30%", min_healthy_seconds=0)
    environment = await drill.settled(policy=policy)
    await drill.roll_out(environment)
    await asyncio.sleep(after)
    replaced.on = True
    await asyncio.sleep(900.0)
    executor = process.scheduler.executor
    assert executor is not None
    assert process.scheduler.state.book.unsettled() == []
    if after:
        assert "emptied or replaced" in executor.store_problem
        assert len(drill.calls("StopTask")) <= 3, "stops that were under way"
    else:
        assert drill.calls("StopTask") == []
    assert drill.running() == 10 - len(drill.calls("StopTask"))

    replaced.on = False
    await drill.until(lambda: drill.running(":2") == 10, within=300.0)
    assert executor.store_problem == ""


@drilled(2, begin=False)
async def test_a_step_that_the_store_refuses_to_note_holds_up_no_drain(drill: Drill) -> None:
    """A stop that needs no start after it goes on without the store."""
    replaced = Replaced()
    clock = LoopClock(drill.live.epoch)
    await drill.begin(store=MemoryStore(clock, data=drill.data, faults=replaced))
    environment = await drill.settled(policy=QUICK)
    await drill.roll_out(environment)
    replaced.on = True
    await asyncio.sleep(30.0)
    drill.happen(drill.cloud.drain_host, drill.hosts[0])
    await drill.until(lambda: not drill.on(drill.hosts[0]), within=50.0)
    assert drill.running(":1") == 1


@drilled(3, begin=False, health_check=True)
async def test_nothing_is_replaced_while_the_store_takes_no_intent(drill: Drill) -> None:
    replaced = Replaced()
    clock = LoopClock(drill.live.epoch)
    await drill.begin(store=MemoryStore(clock, data=drill.data, faults=replaced))
    await drill.settled(policy=Policy(max_unavailable="3", min_healthy_seconds=0))
    replaced.on = True
    drill.lose_daemon(drill.hosts[0])
    await asyncio.sleep(10.0)
    (unhealthy,) = drill.on(drill.hosts[1])
    drill.happen(drill.cloud.set_unhealthy, unhealthy.arn)
    await asyncio.sleep(300.0)
    assert drill.calls("StopTask") == []
    assert drill.running() == 2

    replaced.on = False
    await drill.until(lambda: drill.running() == 3 and not unhealthy.live, within=120.0)


@drilled(2, begin=False)
async def test_a_process_whose_store_refuses_ends_all_the_same(drill: Drill) -> None:
    """It cannot say that its end was clean: the next one waits as after a crash."""
    replaced = Replaced()
    clock = LoopClock(drill.live.epoch)
    process = await drill.begin(store=MemoryStore(clock, data=drill.data, faults=replaced))
    environment = await drill.settled(policy=QUICK)
    replaced.on = True
    await process.stop()
    await drill.begin()
    assert drill.process.scheduler.state.surplus_from > drill.time + 100.0
    await drill.roll_out(environment)
    await drill.until(lambda: drill.running(":2") == 2, within=200.0)


# --- Pacing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [0.05, 0.4, 0.9, 1.1])
def test_a_rate_that_is_throttled_on_and_on_keeps_falling(gap: float) -> None:
    """However close the throttles follow each other; and it comes back when they end."""

    async def story() -> None:
        pacer, category = Pacer(LoopClock()), Category.RESOURCE_MODIFY
        for _ in range(int(60.0 / gap)):
            await asyncio.sleep(gap)
            pacer.throttled(category)
        assert pacer.factor(category) == SLOWEST
        await asyncio.sleep(10.0)
        assert 0.5 < pacer.factor(category) < 0.6
        await asyncio.sleep(10.0)
        assert pacer.factor(category) == 1.0

    loop.run(story())


# --- Input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["²", "²%", "٣", "9" * 5000, "", "%", "0", "101%", "-1", "1.5"])
@drilled(1)
async def test_a_share_that_is_no_number_is_bad_input(drill: Drill, text: str) -> None:
    """Python takes more for digits than it can count with."""
    wish = Wish(task_definition="agent", policy=Policy(max_unavailable=text))
    with pytest.raises(InvalidInput, match="maxUnavailable"):
        await drill.process.service.create("logs", "demo", wish)
    assert not drill.process.repository.environments()


# --- Growth ---------------------------------------------------------------------------------------


def test_timers_that_are_set_again_and_again_do_not_pile_up() -> None:
    """A host that changes ten times a second while it waits for something five minutes off."""
    tracked = Tracked("environment", "cluster", now=0.0)
    for n in range(10_000):
        tracked.look_later("host", 300.0 + n * 0.1)
    assert len(tracked._looks) < 200
    assert tracked.next_look() == pytest.approx(300.0 + 999.9)
    assert tracked.due(1299.8) == []
    assert tracked.due(1299.8995) == ["host"], "loops fire timers a hair early"
    assert tracked.next_look() is None


@drilled(1)
async def test_slots_whose_stops_failed_once_are_not_remembered_for_ever(drill: Drill) -> None:
    """Hosts come and go; each one's last stop was denied."""
    environment = await drill.deploy_new()
    stops = drill.process.scheduler.stops
    denied = NotDone(meaning=Meaning.ENVIRONMENT, code="AccessDeniedException", message="no")
    for n in range(20_000):
        order = StopOrder(
            environment_id=environment.id,
            environment_name=environment.name,
            cluster_arn=environment.cluster_arn,
            host_arn=f"{environment.cluster_arn}/host-{n}",
            task_arn=f"{environment.cluster_arn}/task-{n}",
            cause="its host is draining",
            look_begun=drill.time,
        )
        stops.ended(order, denied)
        await asyncio.sleep(0.1)
    assert len(stops._hold) < 2000


def deregistered(drill: Drill) -> None:
    inactive(drill, next(iter(drill.cloud.definitions)))


def disconnected(drill: Drill) -> None:
    for host in drill.hosts:
        drill.happen(drill.cloud.disconnect_agent, host)


def poisoned(drill: Drill) -> None:
    for host in drill.hosts:
        drill.cloud.poison_host(host)


@pytest.mark.parametrize("why", [deregistered, disconnected, poisoned])
@drilled(5, health_check=True)
async def test_failing_daemons_that_cannot_be_replaced_now_cost_next_to_nothing(
    drill: Drill, why: Callable[[Drill], None]
) -> None:
    await drill.settled(policy=QUICK)
    why(drill)
    for host in drill.hosts:
        (task,) = drill.on(host)
        drill.happen(drill.cloud.set_unhealthy, task.arn)
    passes = drill.process.scheduler.reconciler.passes
    for minute in range(20):
        await asyncio.sleep(60.0)
        before, passes = passes, drill.process.scheduler.reconciler.passes
        assert passes - before <= 60, f"in minute {minute}"
