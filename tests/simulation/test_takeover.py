"""Taking over what runs already: adoption, creation on occupied hosts, neighbours, observing."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from blox.scheduler.adopting import Existing, Occupied
from blox.scheduler.adoption import Choice, Why
from blox.scheduler.model import DeploymentStatus, Environment, SlotClass
from blox.scheduler.service import Wish
from blox.simulator.model import CallLogged
from blox.simulator.world import Process
from support.drills import QUICK, Drill, answered_late, arrives_late, drilled

WISH = Wish(task_definition="agent", policy=QUICK)


def acted(drill: Drill, *, since: float = 0.0) -> list[CallLogged]:
    """Calls that act, of every caller."""
    return [*drill.calls("StartTask", since=since), *drill.calls("StopTask", since=since)]


def counted(drill: Drill, environment: Environment) -> dict[SlotClass, int]:
    return {k: n for k, n in drill.tracked(environment).board.classes.items() if n}


async def created(
    drill: Drill, existing: Existing | None = Existing.WAIT, name: str = "logs"
) -> Environment:
    environment = await drill.process.service.create(name, "demo", WISH, existing=existing)
    drill.process.environments_changed()
    return environment


async def adopted(drill: Drill, environment: Environment, **choice: object) -> int:
    """How many tasks became the environment's."""
    now = drill.process.repository.environment(environment.id)
    assert now is not None
    found = await drill.process.service.adopting.adopt(now, Choice(**choice))  # type: ignore[arg-type]
    return len(found.adopted)


# --- Adopting -------------------------------------------------------------------------------------


@drilled(3)
async def test_hosts_that_run_the_family_are_adopted_without_a_start_or_a_stop(
    drill: Drill,
) -> None:
    tasks = [drill.by_hand(host) for host in drill.hosts]
    await asyncio.sleep(900.0)
    environment = await created(drill, Existing.ADOPT)
    deployment = await drill.process.service.deploy(environment.id)
    await asyncio.sleep(60.0)
    assert drill.status(deployment) is DeploymentStatus.COMPLETED
    assert counted(drill, environment) == {SlotClass.CURRENT: 3}
    await drill.crash_and_begin()
    await asyncio.sleep(900.0)
    assert counted(drill, environment) == {SlotClass.CURRENT: 3}
    assert acted(drill) == []
    assert sorted(task.arn for host in drill.hosts for task in drill.on(host)) == sorted(tasks)


@drilled(3)
async def test_what_is_adopted_is_kept_like_what_was_started(drill: Drill) -> None:
    """Replaced within the budget, and started again when it dies."""
    for host in drill.hosts:
        drill.by_hand(host)
    await asyncio.sleep(900.0)
    environment = await created(drill, Existing.ADOPT)
    await drill.process.service.deploy(environment.id)
    await asyncio.sleep(60.0)
    drill.lose_daemon(drill.hosts[0])
    await drill.until(lambda: drill.running() == 3, within=10.0)
    await drill.roll_out(environment)
    fewest = 3

    def rolled_out() -> bool:
        nonlocal fewest
        fewest = min(fewest, drill.running())
        return drill.running("agent:2") == 3

    await drill.until(rolled_out, within=120.0)
    assert fewest == 2
    assert drill.with_two() == []


@drilled(2, health_check=True)
async def test_an_adopted_task_that_turns_unhealthy_is_replaced(drill: Drill) -> None:
    task = drill.by_hand(drill.hosts[0])
    drill.by_hand(drill.hosts[1])
    await asyncio.sleep(900.0)
    environment = await created(drill, Existing.ADOPT)
    await drill.process.service.deploy(environment.id)
    await asyncio.sleep(60.0)
    drill.happen(drill.cloud.set_unhealthy, task)
    await drill.until(lambda: not drill.cloud.tasks[task].live, within=180.0)
    await drill.until(lambda: drill.running() == 2, within=30.0)


@drilled(3)
async def test_what_is_adopted_to_be_replaced_goes_with_the_first_deployment(drill: Drill) -> None:
    for host in (*drill.hosts, drill.hosts[0]):
        drill.by_hand(host)
    await asyncio.sleep(900.0)
    environment = await created(drill, Existing.STOP)
    await asyncio.sleep(300.0)
    assert acted(drill) == []
    await drill.process.service.deploy(environment.id)
    await drill.until(lambda: counted(drill, environment) == {SlotClass.CURRENT: 3}, within=180.0)
    assert len(drill.calls("StopTask")) == 4
    assert len(drill.calls("StartTask")) == 3


@drilled(3)
async def test_only_those_that_are_meant_are_adopted(drill: Drill) -> None:
    chosen = drill.by_hand(drill.hosts[0])
    drill.by_hand(drill.hosts[1])
    drill.by_hand(drill.hosts[2], service="web")
    await asyncio.sleep(900.0)
    environment = await created(drill)
    await drill.process.service.deploy(environment.id)
    assert await adopted(drill, environment, tasks=(chosen,)) == 1
    await asyncio.sleep(120.0)
    assert counted(drill, environment) == {SlotClass.CURRENT: 1, SlotClass.OCCUPIED: 2}
    assert acted(drill) == []
    now = drill.process.repository.environment(environment.id)
    assert now is not None
    found = await drill.process.service.adopting.adopt(now, Choice())
    assert ([refused.why for refused in found.refused], found.already) == ([Why.SERVICE], 1)
    assert len(found.adopted) == 1


@drilled(2)
async def test_nothing_is_adopted_where_a_start_of_ours_may_still_happen(drill: Drill) -> None:
    environment = await drill.settled()
    drill.wire.next("StartTask", arrives_late(50.0, executes_after=50.0), answered_late(30.0))
    for host in drill.hosts:
        drill.lose_daemon(host)
        await drill.until_tried("StartTask")
    for host in drill.hosts:
        drill.by_hand(host)
    await asyncio.sleep(40.0)
    assert await adopted(drill, environment) == 0
    await asyncio.sleep(900.0)
    assert counted(drill, environment) == {SlotClass.CURRENT: 2}


@drilled(1)
async def test_nothing_is_adopted_where_a_former_environments_start_may_still_happen(
    drill: Drill,
) -> None:
    environment = await drill.settled()
    drill.wire.next("StartTask", arrives_late(50.0, executes_after=50.0))
    drill.lose_daemon(drill.hosts[0])
    await drill.until_tried("StartTask")
    await asyncio.sleep(2.0)
    await drill.process.service.delete(environment.id)
    heir = await created(drill)
    by_hand = drill.by_hand(drill.hosts[0])
    await asyncio.sleep(20.0)
    assert await adopted(drill, heir) == 0
    await asyncio.sleep(900.0)
    assert [task.arn == by_hand for task in drill.on(drill.hosts[0])] == [True, False]


# --- Creating where it runs already ---------------------------------------------------------------


@drilled(3)
async def test_creation_asks_what_is_meant_and_changes_nothing(drill: Drill) -> None:
    drill.by_hand(drill.hosts[0])
    drill.by_hand(drill.hosts[1], service="daemons")
    await asyncio.sleep(900.0)
    with pytest.raises(Occupied) as asked:
        await created(drill, None)
    assert asked.value.hosts == 3
    assert sum(asked.value.holders.values()) == 2
    assert drill.process.repository.environments() == ()
    assert acted(drill) == []


@drilled(2)
async def test_beside_others_ours_runs_everywhere_and_touches_none(drill: Drill) -> None:
    theirs = drill.by_hand(drill.hosts[0])
    await asyncio.sleep(900.0)
    environment = await created(drill, Existing.BESIDE)
    await drill.process.service.deploy(environment.id)
    await drill.until(lambda: counted(drill, environment) == {SlotClass.CURRENT: 2}, within=30.0)
    assert [len(drill.on(host)) for host in drill.hosts] == [2, 1]
    assert drill.cloud.tasks[theirs].desired_status == "RUNNING"


@drilled(2)
async def test_a_daemon_service_keeps_its_hosts_and_ours_follows_when_it_goes(drill: Drill) -> None:
    drill.cloud.add_service("demo", "daemons", "DAEMON", now=drill.live.now(), definition="agent")
    drill.live.settle()
    await drill.until(lambda: drill.running() == 2, within=60.0)
    environment = await created(drill)
    await drill.process.service.deploy(environment.id)
    assert await adopted(drill, environment) == 0
    await asyncio.sleep(600.0)
    assert counted(drill, environment) == {SlotClass.OCCUPIED: 2}
    assert acted(drill) == []
    drill.cloud.delete_service("demo", "daemons", now=drill.live.now())
    drill.live.settle()
    await drill.until(lambda: counted(drill, environment) == {SlotClass.CURRENT: 2}, within=90.0)
    assert drill.calls("StopTask") == []


@drilled(2)
async def test_a_daemon_service_that_starts_again_what_one_stops_is_not_fought(
    drill: Drill,
) -> None:
    """Ours may be quicker, then both run there; nobody stops the other's."""
    drill.cloud.add_service("demo", "daemons", "DAEMON", now=drill.live.now(), definition="agent")
    drill.live.settle()
    await drill.until(lambda: drill.running() == 2, within=60.0)
    environment = await created(drill)
    await drill.process.service.deploy(environment.id)
    for _ in range(5):
        (task, *_) = [t for t in drill.on(drill.hosts[0]) if t.group == "service:daemons"]
        drill.happen(drill.cloud.stop_foreign, task.arn)
        await asyncio.sleep(300.0)
    assert drill.calls("StopTask") == []
    groups = [sorted(task.group for task in drill.on(host)) for host in drill.hosts]
    assert groups[1] == ["service:daemons"]
    assert groups[0] in (["service:daemons"], ["blox:logs", "service:daemons"])


# --- A name used again ----------------------------------------------------------------------------


@drilled(3)
async def test_created_again_under_its_name_it_takes_its_orphans_over(drill: Drill) -> None:
    environment = await drill.settled()
    await drill.process.service.delete(environment.id)
    began = drill.time
    await drill.crash_and_begin()
    heir = await drill.deploy_new()
    await asyncio.sleep(120.0)
    assert counted(drill, heir) == {SlotClass.CURRENT: 3}
    assert acted(drill, since=began) == []
    await drill.roll_out(heir)
    await drill.until(lambda: drill.running("agent:2") == 3, within=120.0)
    assert drill.with_two() == []


@drilled(1)
async def test_what_its_former_self_began_to_start_becomes_its_own(drill: Drill) -> None:
    environment = await drill.settled()
    drill.wire.next("StartTask", arrives_late(50.0, executes_after=50.0))
    drill.lose_daemon(drill.hosts[0])
    await drill.until_tried("StartTask")
    await asyncio.sleep(2.0)
    await drill.process.service.delete(environment.id)
    heir = await drill.deploy_new()
    await drill.until(lambda: counted(drill, heir) == {SlotClass.CURRENT: 1}, within=900.0)
    assert drill.with_two() == []
    assert len(drill.on(drill.hosts[0])) == 1


# --- Neighbours -----------------------------------------------------------------------------------


async def second(drill: Drill) -> Process:
    """Another installation: a process with a store of its own on the same account."""
    process = Process(drill.live, drill.feed, random=Random(7), settings=drill.settings)
    process.transport._caller = "the other blox"
    await process.start()
    return process


async def among_two(
    drill: Drill, tell: Callable[[Process], Awaitable[None]]
) -> dict[str, set[str]]:
    """What `tell` a second installation leads to: caller → the environments' groups of the tasks
    that it stopped."""
    other = await second(drill)
    try:
        await tell(other)
        assert other.failure is None
    finally:
        await other.kill()
    stopped: dict[str, set[str]] = {}
    for call in drill.calls("StopTask"):
        group = drill.cloud.tasks[str(call.params["task"])].group
        stopped.setdefault(call.caller, set()).add(group)
    return stopped


@drilled(3)
async def test_two_installations_leave_each_other_alone(drill: Drill) -> None:
    drill.cloud.add_definition("metrics", now=drill.live.now())
    environment = await drill.settled()

    async def tell(other: Process) -> None:
        wish = Wish(task_definition="metrics", policy=QUICK)
        theirs = await other.service.create("metrics", "demo", wish)
        other.environments_changed()
        await other.service.deploy(theirs.id)
        await drill.until(lambda: all(len(drill.on(h)) == 2 for h in drill.hosts), within=60.0)
        drill.cloud.add_definition("metrics", now=drill.live.now())
        await other.service.change(theirs.id, wish)
        await other.service.deploy(theirs.id, supersede=True)
        await drill.roll_out(environment)
        await asyncio.sleep(300.0)
        drill.happen(drill.cloud.drain_host, drill.hosts[0])
        await drill.until(lambda: not drill.on(drill.hosts[0]), within=120.0)

    stopped = await among_two(drill, tell)
    assert stopped == {"blox": {"blox:logs"}, "the other blox": {"blox:metrics"}}


@drilled(3)
async def test_of_two_installations_with_one_family_neither_stops_the_others(drill: Drill) -> None:
    """Not even under one name. Where one has taken its own away to replace it, the other may come
    first; then that host is the other's."""
    environment = await drill.settled()

    async def tell(other: Process) -> None:
        theirs = await other.service.create("logs", "demo", WISH)
        other.environments_changed()
        await other.service.deploy(theirs.id)
        await asyncio.sleep(600.0)
        assert {call.caller for call in drill.calls("StartTask")} == {"blox"}
        ours = {task.arn for host in drill.hosts for task in drill.on(host)}
        await drill.roll_out(environment)
        await asyncio.sleep(600.0)
        assert {call.stopped for call in drill.calls("StopTask")} <= ours
        assert all(drill.on(host) for host in drill.hosts)

    assert await among_two(drill, tell) == {"blox": {"blox:logs"}}


# --- Observing ------------------------------------------------------------------------------------


@drilled(3, begin=False)
async def test_who_only_observes_makes_no_call_that_acts_whatever_is_asked(drill: Drill) -> None:
    await drill.begin(observe=True)
    drill.by_hand(drill.hosts[0])
    drill.by_hand(drill.hosts[1])
    await asyncio.sleep(600.0)
    environment = await created(drill, Existing.STOP)
    service = drill.process.service
    await service.deploy(environment.id)
    await asyncio.sleep(300.0)
    freeze = await service.orders.freeze("everything", "", seconds=60.0, why="a drill")
    await service.orders.hold(drill.hosts[2], seconds=60.0, why="a drill")
    await service.orders.thaw((freeze.id,))
    await adopted(drill, environment)
    await asyncio.sleep(120.0)
    await service.delete(environment.id, stop_tasks=True)
    await asyncio.sleep(900.0)
    assert acted(drill) == []
    assert [len(drill.on(host)) for host in drill.hosts] == [1, 1, 0]
    assert {"StartTask", "StopTask", "PutAttributes"}.isdisjoint(drill.wire.tried)
