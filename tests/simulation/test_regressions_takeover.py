"""Taking over: defects that were found once, each told as the story that showed it.

What runs already must not get another daemon beside it, belongs to one environment at a time, and
is not stopped by who cannot start its successor.
"""

import asyncio
import copy
from collections.abc import Awaitable

import pytest
from msgspec.structs import replace

from blox.base.clock import LoopClock
from blox.base.errors import Conflict
from blox.scheduler.adopting import Existing, NotRead, Occupied
from blox.scheduler.adoption import Choice
from blox.scheduler.model import Environment, Policy, SlotClass
from blox.scheduler.service import Wish
from blox.store.errors import StoreUnavailable, StoreUnknown
from blox.store.memory import MemoryStore
from support.drills import QUICK, Drill, arrives_late, connecting_takes, drilled

ONE_AT_A_TIME = Policy(max_unavailable="1", min_healthy_seconds=0)
WISH = Wish(task_definition="agent", policy=QUICK)
READ_IN_ABOUT = 20.0
"""Seconds after which a new environment's cluster has been read, and what runs there is known."""


def record(drill: Drill, environment: Environment) -> Environment:
    """What is stored of it now."""
    found = drill.process.repository.environment(environment.id)
    assert found is not None
    return found


async def created(
    drill: Drill,
    name: str = "logs",
    existing: Existing | None = Existing.WAIT,
    *,
    policy: Policy = QUICK,
) -> Environment:
    wish = Wish(task_definition="agent", policy=policy)
    environment = await drill.process.service.create(name, "demo", wish, existing=existing)
    drill.process.environments_changed()
    return environment


async def adopted(drill: Drill, environment: Environment, **choice: object) -> int:
    """How many tasks became the environment's."""
    chosen = Choice(**choice)  # type: ignore[arg-type]
    found = await drill.process.service.adopting.adopt(record(drill, environment), chosen)
    return len(found.adopted)


class Disk:
    """What a store's disk does to its operations."""

    def __init__(self) -> None:
        self.takes: dict[str, float] = {}
        """Operation → seconds that it takes."""
        self.forgets: dict[str, int] = {}
        """Operation → how many of the next ones fail; a transaction is applied all the same."""

    def before(self, operation: str, /) -> Awaitable[None] | None:
        if operation != "transact" and self._forgets(operation):
            raise StoreUnavailable("the disk does not answer")
        seconds = self.takes.get(operation, 0.0)
        return asyncio.sleep(seconds) if seconds else None

    def after(self, operation: str, /) -> None:
        if operation == "transact" and self._forgets(operation):
            raise StoreUnknown("the answer was lost")

    def _forgets(self, operation: str) -> bool:
        left = self.forgets.get(operation, 0)
        self.forgets[operation] = max(0, left - 1)
        return left > 0


async def begin_on(drill: Drill, disk: Disk) -> None:
    """The first process, with this disk."""
    store = MemoryStore(LoopClock(drill.live.epoch), data=drill.data, faults=disk)
    await drill.begin(store=store)


# --- What was adopted, and a restart --------------------------------------------------------------


@drilled(1)
async def test_a_task_that_was_adopted_young_gets_no_second_one_after_a_restart(
    drill: Drill,
) -> None:
    """Only an event had told of it: no read shows it before V has passed."""
    (host,) = drill.hosts
    task = drill.cloud.tasks[drill.by_hand(host)]
    task.list_lag = task.describe_lag = 300.0
    environment = await created(drill)
    await asyncio.sleep(READ_IN_ABOUT)
    assert await adopted(drill, environment) == 1
    await drill.process.service.deploy(environment.id)
    await asyncio.sleep(READ_IN_ABOUT)
    assert drill.verdict(environment, host).slot_class is SlotClass.CURRENT
    await drill.crash_and_begin()
    await asyncio.sleep(900.0)
    assert drill.with_two() == []
    assert drill.verdict(environment, host).slot_class is SlotClass.CURRENT


@drilled(3)
async def test_hosts_without_one_wait_no_longer_than_until_every_adopted_task_is_shown(
    drill: Drill,
) -> None:
    """Adopted young, then restarted: where reads show them at once, nobody waits for V."""
    shown, unshown, empty = drill.hosts
    for host in (shown, unshown):
        task = drill.cloud.tasks[drill.by_hand(host)]
        task.list_lag = task.describe_lag = 0.0
    environment = await created(drill)
    await asyncio.sleep(READ_IN_ABOUT)
    assert await adopted(drill, environment) == 2
    drill.cloud.tasks[drill.on(unshown)[0].arn].list_lag = 300.0
    drill.cloud.tasks[drill.on(unshown)[0].arn].describe_lag = 300.0
    await drill.crash_and_begin()
    await drill.process.service.deploy(environment.id)
    await asyncio.sleep(60.0)
    assert drill.verdict(environment, empty).reason == "adopted-unseen"
    drill.cloud.tasks[drill.on(unshown)[0].arn].list_lag = 0.0
    drill.cloud.tasks[drill.on(unshown)[0].arn].describe_lag = 0.0
    await asyncio.sleep(120.0)
    assert drill.verdict(environment, empty).slot_class is SlotClass.CURRENT
    assert drill.with_two() == []


# --- A lost database ------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", [0.0, 7.0])
@drilled(1)
async def test_lost_in_the_middle_of_a_replacement_the_successor_is_not_started_twice(
    drill: Drill, reading: float
) -> None:
    """Nothing of the old environment lives any more, and the start of its only daemon's successor
    travels. Also where the cluster takes longer to read than a creation waits for it."""
    environment = await drill.settled()
    drill.wire.next("StartTask", arrives_late(50.0))
    await drill.roll_out(environment)
    await drill.until_tried("StartTask", within=200.0)
    await asyncio.sleep(1.0)
    await drill.lose_store()
    if reading:
        drill.wire.next("ListContainerInstances", connecting_takes(reading))
    await drill.deploy_new()
    await asyncio.sleep(900.0)
    assert drill.with_two() == []
    assert len(drill.on(drill.hosts[0])) == 1


@pytest.mark.parametrize("existing", [Existing.ADOPT, Existing.STOP])
@drilled(3)
async def test_no_daemon_is_stopped_while_its_successor_may_not_be_started(
    drill: Drill, existing: Existing
) -> None:
    await drill.settled()
    await drill.lose_store()
    drill.define()
    environment = await created(drill, existing=existing)
    assert record(drill, environment).lost_past
    began = drill.time
    await drill.process.service.deploy(environment.id)
    await drill.until_called("StopTask", since=began, within=900.0)
    first = drill.time
    await drill.until(lambda: drill.running("agent:2") == 3, within=300.0)
    starts = drill.calls("StartTask", since=began)
    assert starts[0].time - drill.live.epoch < first + 60.0
    assert first - began > 300.0, "it waits for a start that may still arrive"


@drilled(3)
async def test_a_stop_of_the_lost_process_that_still_lands_counts(drill: Drill) -> None:
    """One at a time: the old process's stop is under way when the new one begins to replace, with
    another host, because the first was held."""
    environment = await drill.settled(policy=ONE_AT_A_TIME)
    await drill.process.service.orders.hold(min(drill.hosts), seconds=3600.0, why="we look at it")
    drill.wire.next("StopTask", arrives_late(50.0))
    await drill.roll_out(environment)
    await drill.until_tried("StopTask")
    await asyncio.sleep(1.5)
    await drill.lose_store()
    environment = await created(drill, existing=Existing.ADOPT, policy=ONE_AT_A_TIME)
    await drill.process.service.deploy(environment.id)
    fewest = 3
    for _ in range(900):
        await asyncio.sleep(1.0)
        wanted = [any(t.desired_status == "RUNNING" for t in drill.on(h)) for h in drill.hosts]
        fewest = min(fewest, sum(wanted))
    assert fewest == 2
    assert drill.running("agent:2") == 3


@drilled(2)
async def test_the_question_is_asked_however_long_the_cluster_takes_to_read(drill: Drill) -> None:
    for host in drill.hosts:
        drill.by_hand(host)
    drill.wire.next("ListContainerInstances", connecting_takes(8.0))
    with pytest.raises(NotRead):
        await created(drill, existing=None)
    await asyncio.sleep(READ_IN_ABOUT)
    with pytest.raises(Occupied):
        await created(drill, existing=None)
    assert drill.process.repository.environments() == ()


# --- Who only looks -------------------------------------------------------------------------------


@drilled(1)
async def test_a_restored_copy_that_was_only_looked_at_is_still_a_copy(drill: Drill) -> None:
    """A backup is tried with --observe while the old process acts; then it takes over."""
    await drill.settled()
    old, wire = drill.process, drill.wire
    await old.repository.mark_copied(copied=True)
    backup = copy.deepcopy(drill.data)
    await old.repository.mark_copied(copied=False)
    drill.data = backup
    observer = await drill.begin(observe=True)
    await asyncio.sleep(600.0)
    await observer.stop()
    drill.add_host()
    wire.next("StartTask", arrives_late(50.0))
    await drill.until(lambda: not wire.once["StartTask"], within=60.0)
    await asyncio.sleep(0.5)
    await old.kill()
    await drill.begin()
    await asyncio.sleep(900.0)
    assert drill.with_two() == []
    assert drill.running() == 2


@drilled(2)
async def test_who_only_looks_writes_nothing_down(drill: Drill) -> None:
    """Neither that a copy is in use, nor that an environment which was ending has ended."""
    environment = await drill.settled()
    repository = drill.process.repository
    ending = replace(record(drill, environment), ending=True)
    await repository.replace_environment(ending)
    await repository.mark_copied(copied=True)
    await drill.process.kill()
    for host in drill.hosts:
        for task in drill.on(host):
            drill.happen(drill.cloud.kill_task, task.arn)
    before = dict(drill.data.records)
    await drill.begin(observe=True)
    await asyncio.sleep(900.0)
    await drill.process.stop()
    assert drill.data.records == before


# --- Adopting and starting at one time ------------------------------------------------------------


async def deployed(drill: Drill, disk: Disk) -> tuple[Environment, str]:
    """An environment that is deployed, its only host, which is away, and a task there to adopt;
    returns it and that task."""
    await begin_on(drill, disk)
    (host,) = drill.hosts
    drill.cloud.add_definition("old", now=drill.live.now())
    task = drill.by_hand(host, "old")
    drill.happen(drill.cloud.disconnect_agent, host)
    environment = await created(drill)
    await drill.process.service.deploy(environment.id)
    await asyncio.sleep(READ_IN_ABOUT)
    return environment, task


async def adopted_meanwhile(drill: Drill, environment: Environment, task: str) -> bool:
    """Adopt the task, and let its host come back before that is done; whether it was adopted."""
    adopting = asyncio.ensure_future(adopted(drill, environment, tasks=(task,)))
    await asyncio.sleep(0.1)
    drill.happen(drill.cloud.connect_agent, drill.hosts[0])
    try:
        return await adopting == 1
    except Conflict:
        return False


@drilled(1, begin=False)
async def test_a_start_that_overtakes_an_adoption_ends_it(drill: Drill) -> None:
    """The adoption reads back what the store is in doubt about; the start, which begins after that,
    has nothing to read back and is written first."""
    disk = Disk()
    environment, task = await deployed(drill, disk)
    disk.forgets = {"transact": 1, "get": 1}
    orders = drill.process.service.orders
    with pytest.raises(StoreUnknown):
        await orders.freeze("cluster", "elsewhere", seconds=60.0, why="not here")
    disk.takes["get"] = 3.0
    assert not await adopted_meanwhile(drill, environment, task)
    await asyncio.sleep(60.0)
    assert len(drill.calls("StartTask")) == 1
    assert record(drill, environment).adopted == {}


@drilled(1, begin=False)
async def test_an_adoption_that_overtakes_a_start_ends_that(drill: Drill) -> None:
    """The start is planned while the adoption is being written."""
    disk = Disk()
    environment, task = await deployed(drill, disk)
    disk.takes["transact"] = 3.0
    assert await adopted_meanwhile(drill, environment, task)
    await asyncio.sleep(600.0)
    assert drill.with_two() == []
    assert drill.running("agent:1") == 1, "what was adopted has been replaced"


# --- One task, one environment --------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05])
@drilled(1, begin=False)
async def test_of_two_adoptions_at_a_time_one_gets_the_task(drill: Drill, seconds: float) -> None:
    disk = Disk()
    await begin_on(drill, disk)
    drill.by_hand(drill.hosts[0])
    first, second = await created(drill, "first"), await created(drill, "second")
    await asyncio.sleep(READ_IN_ABOUT)
    disk.takes["transact"] = seconds
    got = await asyncio.gather(adopted(drill, first), adopted(drill, second))
    assert sorted(got) == [0, 1]
    owners = [e for e in (first, second) if record(drill, e).adopted]
    assert len(owners) == 1


@drilled(1)
async def test_what_another_adopted_is_not_inherited_with_the_name(drill: Drill) -> None:
    former = await drill.settled("logs")
    await drill.process.service.delete(former.id)
    heir = await created(drill, "agents")
    assert await adopted(drill, heir) == 1
    await drill.process.service.deploy(heir.id)
    await asyncio.sleep(60.0)
    with pytest.raises(Occupied):
        await created(drill, "logs", existing=None)
    again = await created(drill, "logs")
    began = drill.time
    await drill.process.service.delete(again.id, stop_tasks=True)
    await asyncio.sleep(900.0)
    assert drill.calls("StopTask", since=began) == []
    assert drill.verdict(heir, drill.hosts[0]).slot_class is SlotClass.CURRENT


@drilled(1)
async def test_what_nothing_runs_any_more_is_not_inherited_for_ever(drill: Drill) -> None:
    """An environment that is deleted and created again, twenty times, sooner than W."""
    environment = await drill.settled()
    for _ in range(20):
        drill.define()
        await drill.process.service.delete(environment.id)
        environment = await drill.deploy_new()
        await asyncio.sleep(200.0)
    assert drill.running("agent:21") == 1
    await asyncio.sleep(3600.0)
    now = record(drill, environment)
    assert len(now.adopted_contents) == 0
    assert len(now.deployed) == 1
    assert drill.verdict(environment, drill.hosts[0]).slot_class is SlotClass.CURRENT


# --- Creations on one cluster ---------------------------------------------------------------------


@drilled(1)
async def test_a_creation_that_is_refused_leaves_the_cluster_to_the_one_beside_it(
    drill: Drill,
) -> None:
    """The cluster is new here: who is refused must not make nobody watch it."""
    drill.cloud.add_definition("metrics", now=drill.live.now())
    drill.by_hand(drill.hosts[0], "metrics")
    drill.wire.next("ListContainerInstances", connecting_takes(1.0))
    service = drill.process.service
    refused = service.create("metrics", "demo", Wish(task_definition="metrics"), existing=None)
    environment, refusal = await asyncio.gather(
        service.create("logs", "demo", WISH), refused, return_exceptions=True
    )
    assert isinstance(refusal, Occupied)
    assert isinstance(environment, Environment)
    drill.process.environments_changed()
    await service.deploy(environment.id)
    began = drill.time
    await drill.until_called("StartTask", since=began, within=60.0)


@drilled(0)
async def test_a_deleted_environment_that_is_forgotten_leaves_the_cluster_to_a_new_one(
    drill: Drill,
) -> None:
    """It is forgotten in the middle of the other one's creation."""
    for number in range(30):
        name = f"group-{number:02}"
        drill.cloud.add_provider(name, now=drill.live.now(), cluster="demo", managed_scaling=False)
        drill.add_host(provider=name)
    former = await drill.settled(policy=Policy(max_unavailable="100%", min_healthy_seconds=0))
    process = drill.process
    await process.service.delete(former.id)
    for host in drill.hosts:
        drill.lose_daemon(host)
    await asyncio.sleep(400.0)
    # Ten providers are asked about at a time.
    drill.wire.always["DescribeCapacityProviders"] = connecting_takes(55.0)
    creating = asyncio.ensure_future(
        process.service.create("logs2", "demo", WISH, accept_no_scale_in=False)
    )
    assert process.repository.tombstones()
    await drill.until(lambda: not process.repository.tombstones(), within=160.0)
    assert not creating.done(), "it is forgotten meanwhile"
    environment = await creating
    process.environments_changed()
    await process.service.deploy(environment.id)
    began = drill.time
    await drill.until_called("StartTask", since=began, within=60.0)
