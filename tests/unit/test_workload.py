"""The schedule of disturbances: the same for a seed, in order, and over many seeds everything."""

from random import Random

import pytest

from blox.simulator.cloud import Cloud
from blox.simulator.disturber import apply, record_of
from blox.simulator.faults import Faults
from blox.simulator.model import Json
from blox.simulator.workload import (
    FEATURES,
    WORLD_ACTIONS,
    Action,
    Size,
    Step,
    Workload,
)

BEGIN = 1_750_000_000.0
SEEDS = range(300)

ENDS = {
    Action.HOST_JOIN: Action.HOST_READY,
    Action.AGENT_LOSE: Action.AGENT_FIND,
    Action.LOOP_BEGIN: Action.LOOP_END,
    Action.STALL_BEGIN: Action.STALL_END,
    Action.POISON_BEGIN: Action.POISON_END,
    Action.DENY_BEGIN: Action.DENY_END,
    Action.CLUSTER_DELETE: Action.CLUSTER_RECREATE,
    Action.TASK_OTHER: Action.TASK_OTHER_ENDS,
    Action.PROCESS_KILL: Action.PROCESS_RESTART,
    Action.STORE_FAIL: Action.STORE_MEND,
    Action.PARTITION_BEGIN: Action.PARTITION_END,
    Action.QUEUE_FAIL: Action.QUEUE_MEND,
}
"""What must be over when the healing begins, and what ends it."""


def workloads() -> list[Workload]:
    return [Workload(Random(seed), Size(clusters=1 + seed % 2)) for seed in SEEDS]


def test_one_seed_gives_one_schedule() -> None:
    for seed in range(20):
        first, second = Workload(Random(seed)), Workload(Random(seed))
        assert (first.setup, first.steps) == (second.setup, second.steps)
        assert first.switches == second.switches
    assert Workload(Random(1)).steps != Workload(Random(2)).steps


def test_every_action_and_feature_occurs_over_three_hundred_seeds() -> None:
    all_of_them = workloads()
    steps = [step for one in all_of_them for step in (*one.setup, *one.steps)]
    assert {step.action for step in steps} == set(Action)
    assert {name for one in all_of_them for name in one.features} == set(FEATURES)
    rates = {name for step in steps if step.action == Action.FAULTS for name in step.arguments}
    assert rates == set(Faults.__dataclass_fields__)


def test_seeds_differ_in_what_they_enable() -> None:
    enabled = [frozenset(one.features) for one in workloads()]
    assert len(set(enabled)) > 250
    assert min(map(len, enabled)) < 6
    assert max(map(len, enabled)) > 14


def test_steps_are_in_order_and_end_with_the_healing() -> None:
    for one in workloads():
        times = [step.at for step in one.steps]
        assert times == sorted(times)
        assert one.steps[-1] == Step(at=one.healing_at, action=Action.HEAL)
        assert all(step.at == 0.0 for step in one.setup)


def test_what_lasts_is_over_when_the_healing_begins() -> None:
    for one in workloads():
        open_now: dict[tuple[Action, str], int] = {}
        for step in (*one.setup, *one.steps):
            about = "/".join(step.text(n) for n in ("machine", "family", "cluster"))
            if step.action == Action.HOST_JOIN:
                if not step.arguments["registering"]:
                    continue
                about = f"{step.text('machine')}//"
            if step.action in ENDS:
                open_now[ENDS[step.action], about] = open_now.get((ENDS[step.action], about), 0) + 1
            elif (step.action, about) in open_now:
                open_now[step.action, about] -= 1
        assert {key: count for key, count in open_now.items() if count} == {}
        last = [step for step in one.steps if step.action == Action.FAULTS][-1]
        assert dict(last.arguments) == {}
        pauses = [step for step in one.steps if step.action == Action.PROCESS_PAUSE]
        assert all(step.at + step.number("seconds") <= one.healing_at + 1e-6 for step in pauses)


def test_a_process_is_not_killed_while_it_is_down_or_paused() -> None:
    for one in workloads():
        busy_until = 0.0
        for step in one.steps:
            if step.action in (Action.PROCESS_KILL, Action.PROCESS_PAUSE):
                assert step.at >= busy_until
            if step.action == Action.PROCESS_KILL:
                busy_until = one.healing_at
            elif step.action == Action.PROCESS_PAUSE:
                busy_until = step.at + step.number("seconds")
            elif step.action == Action.PROCESS_RESTART:
                busy_until = step.at


def test_a_cloud_takes_every_step_that_is_its_own_and_hands_back_the_others() -> None:
    for seed in range(60):
        one = Workload(Random(seed), Size(clusters=2))
        cloud = Cloud(seed, switches=one.switches)
        for step in (*one.setup, *one.steps):
            left = apply(step, cloud, BEGIN + step.at)
            assert (left is step) == (step.action in WORLD_ACTIONS)
            assert left is None or left is step
        assert cloud.faults == Faults.none()
        machines = {step.text("machine") for step in one.setup} - {""}
        assert machines <= {host.instance_id for host in cloud.hosts.values()}


def test_size_bounds_the_fleet() -> None:
    for seed in range(100):
        one = Workload(Random(seed), Size(hosts=3, most_hosts=5))
        there: dict[str, None] = {}
        for step in (*one.setup, *one.steps):
            if step.action == Action.HOST_JOIN:
                there[step.text("machine")] = None
            if step.action in (Action.HOST_TERMINATE, Action.HOST_VANISH):
                there.pop(step.text("machine"))
            if step.action == Action.CLUSTER_DELETE:
                there.clear()
            # Four may follow a cluster that was made again; a mistake takes many hosts.
            assert len(there) <= 5 + 4 + 15 * ("mistake" in one.features)


# --- What each step does --------------------------------------------------------------------------


def _step(action: Action, **arguments: str | float | bool) -> Step:
    return Step(at=0.0, action=action, arguments={"machine": "i-1", **arguments})


@pytest.fixture
def cloud() -> Cloud:
    made = Cloud("disturbed")
    made.add_cluster("east", now=BEGIN)
    made.add_definition("logs", now=BEGIN, health_check=True)
    made.add_definition("shop", now=BEGIN)
    made.add_host("east", now=BEGIN, instance_id="i-1", attributes={"pool": "blue"})
    params: Json = {
        "cluster": "east",
        "taskDefinition": "logs",
        "containerInstances": list(made.hosts),
        "group": "blox:logs",
    }
    made.call("StartTask", params, now=BEGIN)
    made.advance(BEGIN + 60.0)
    return made


def test_hosts_drain_return_move_and_go(cloud: Cloud) -> None:
    (host,) = cloud.hosts.values()
    apply(_step(Action.HOST_DRAIN), cloud, BEGIN + 61)
    assert host.status == "DRAINING"
    apply(_step(Action.HOST_ACTIVATE), cloud, BEGIN + 62)
    assert host.status == "ACTIVE"
    apply(_step(Action.HOST_MOVE, pool="green"), cloud, BEGIN + 63)
    assert host.attributes["pool"] == "green"
    apply(_step(Action.AGENT_LOSE), cloud, BEGIN + 64)
    assert not host.agent_connected
    apply(_step(Action.AGENT_FIND), cloud, BEGIN + 65)
    assert host.agent_connected
    apply(_step(Action.HOST_DUPLICATE), cloud, BEGIN + 66)
    newer = record_of(cloud, "i-1")
    assert newer is not None
    assert newer is not host
    apply(_step(Action.HOST_VANISH), cloud, BEGIN + 67)
    assert (newer.status, newer.agent_connected) == ("ACTIVE", False)
    apply(_step(Action.HOST_TERMINATE), cloud, BEGIN + 68)
    assert newer.status == "ACTIVE", "its agent is not there to deregister it"


def test_a_terminated_machine_takes_no_further_steps(cloud: Cloud) -> None:
    (host,) = cloud.hosts.values()
    apply(_step(Action.HOST_TERMINATE), cloud, BEGIN + 61)
    assert host.inactive
    assert apply(_step(Action.HOST_DRAIN), cloud, BEGIN + 62) is None
    assert host.status == "INACTIVE"


@pytest.mark.parametrize(
    ("action", "desired"),
    [
        (Action.TASK_CRASH, "STOPPED"),
        (Action.TASK_KILL, "STOPPED"),
        (Action.TASK_SICKEN, "RUNNING"),
    ],
)
def test_daemons_are_struck(cloud: Cloud, action: Action, desired: str) -> None:
    (task,) = cloud.tasks.values()
    apply(_step(action, pick=0.9), cloud, BEGIN + 61)
    cloud.advance(BEGIN + 62)
    assert task.desired_status == desired
    assert (task.health == "UNHEALTHY") == (action == Action.TASK_SICKEN)


def test_others_come_and_go(cloud: Cloud) -> None:
    (host,) = cloud.hosts
    apply(_step(Action.TASK_FOREIGN, family="logs", service="somebody"), cloud, BEGIN + 61)
    apply(_step(Action.TASK_OTHER, family="shop"), cloud, BEGIN + 61)
    families = [task.family for task in cloud.live_tasks(host)]
    assert families == ["logs", "logs", "shop"]
    apply(_step(Action.TASK_OTHER_ENDS, family="shop"), cloud, BEGIN + 62)
    cloud.advance(BEGIN + 300)
    assert [task.family for task in cloud.live_tasks(host)] == ["logs", "logs"]


def test_a_loop_on_a_machine_ends_on_all_its_records(cloud: Cloud) -> None:
    apply(_step(Action.LOOP_BEGIN, seconds=0.5), cloud, BEGIN + 61)
    apply(_step(Action.HOST_DUPLICATE), cloud, BEGIN + 62)
    apply(_step(Action.LOOP_END), cloud, BEGIN + 63)
    apply(_step(Action.POISON_BEGIN), cloud, BEGIN + 63)
    assert all(host.poisoned for host in cloud.hosts.values())
    apply(_step(Action.POISON_END), cloud, BEGIN + 64)
    assert not any(host.poisoned for host in cloud.hosts.values())
    (older, newer) = cloud.hosts
    for host in (older, newer):
        cloud.connect_agent(host, now=BEGIN + 65)
        cloud.start_foreign("east", host, "shop", now=BEGIN + 65)
    cloud.advance(BEGIN + 300)
    assert all(any(t.family == "shop" for t in cloud.live_tasks(h)) for h in (older, newer))


def test_storms_set_the_rates(cloud: Cloud) -> None:
    apply(Step(at=0.0, action=Action.FAULTS, arguments={"throttle": 0.5}), cloud, BEGIN + 61)
    assert cloud.faults == Faults(throttle=0.5)
    apply(Step(at=0.0, action=Action.FAULTS), cloud, BEGIN + 62)
    assert cloud.faults == Faults.none()


def test_a_step_can_be_read() -> None:
    step = Step(at=12.5, action=Action.HOST_DRAIN, arguments={"machine": "i-1"})
    assert str(step).split() == ["12.500", "host.drain", "machine=i-1"]
