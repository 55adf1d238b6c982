"""DAEMON services of the simulated ECS: what its service scheduler does by itself, and the API."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from blox.simulator.faults import Faults
from blox.simulator.model import Switches, TaskRecord
from support.worlds import CLUSTER, EPOCH, World, statuses, world

SEEN = 8.0
"""Seconds within which the service scheduler has seen a change."""
SETTLED = 60.0
"""Seconds within which what it then does is over."""


def constraint(expression: str) -> list[dict[str, str]]:
    return [{"type": "memberOf", "expression": expression}]


def daemon(w: World, name: str = "mesh", **members: object) -> Any:
    """The answer to CreateService of a DAEMON service."""
    members.setdefault("taskDefinition", "agent")
    return w.call("CreateService", serviceName=name, schedulingStrategy="DAEMON", **members)[
        "service"
    ]


def mine(w: World, host: str, name: str = "mesh") -> list[TaskRecord]:
    return [task for task in w.cloud.live_tasks(host) if task.group == f"service:{name}"]


def counts(w: World, hosts: Sequence[str] | None = None) -> list[int]:
    return [len(mine(w, host)) for host in (w.hosts if hosts is None else hosts)]


def described(w: World, name: str = "mesh") -> Any:
    return w.call("DescribeServices", services=[name])["services"][0]


# --- One task on every host -----------------------------------------------------------------------


def test_a_service_starts_one_task_on_every_host_within_its_delay() -> None:
    w = world(hosts=5)
    made = daemon(w)
    assert (made["status"], made["desiredCount"], made["runningCount"]) == ("ACTIVE", 5, 0)
    w.later(SEEN)
    assert counts(w) == [1] * 5
    task = mine(w, w.hosts[0])[0]
    assert re.fullmatch(r"ecs-svc/\d{19}", task.started_by)
    assert task.group == "service:mesh"
    assert {EPOCH < one.created_at <= EPOCH + SEEN for one in w.cloud.tasks.values()} == {True}
    assert len({one.created_at for one in w.cloud.tasks.values()}) == 5
    w.later(SETTLED)
    shown = described(w)
    assert (shown["desiredCount"], shown["runningCount"], shown["pendingCount"]) == (5, 5, 0)
    assert [one["id"] for one in shown["deployments"]] == [task.started_by]
    assert shown["deployments"][0]["rolloutState"] == "COMPLETED"
    assert w.cloud.next_due() is None
    assert counts(w) == [1] * 5


def test_its_tasks_are_listed_by_service_and_seen_in_events() -> None:
    w = world()
    daemon(w)
    w.later(SETTLED)
    listed = w.call("ListTasks", serviceName="mesh")["taskArns"]
    assert listed == [task.arn for task in mine(w, w.hosts[0])]
    assert statuses(w.cloud.take_events(), listed[0])[-1] == "RUNNING"


def test_hosts_that_join_or_get_ready_get_one_too() -> None:
    w = world()
    daemon(w)
    joined = w.cloud.add_host(CLUSTER, now=w.now)
    registering = w.cloud.add_host(CLUSTER, now=w.now, status="REGISTERING")
    away = w.cloud.add_host(CLUSTER, now=w.now)
    w.cloud.disconnect_agent(away, now=w.now)
    w.later(SEEN)
    assert counts(w, [joined, registering, away]) == [1, 0, 0]
    w.cloud.set_host_status(registering, "ACTIVE", now=w.now)
    w.cloud.connect_agent(away, now=w.now)
    w.later(SEEN)
    assert counts(w, [joined, registering, away]) == [1, 1, 1]


@pytest.mark.parametrize("how", ["stopped", "died"])
def test_a_task_that_somebody_stopped_or_that_died_is_replaced_when_it_is_gone(how: str) -> None:
    w = world()
    daemon(w)
    w.later(SETTLED)
    task = mine(w, w.hosts[0])[0]
    if how == "stopped":
        w.call("StopTask", task=task.arn)
    else:
        w.cloud.kill_task(task.arn, now=w.now)
    w.later(SETTLED)
    again = mine(w, w.hosts[0])
    assert [one.last_status for one in again] == ["RUNNING"]
    assert again[0].arn != task.arn
    assert task.stopped_at is not None
    assert task.stopped_at < again[0].created_at <= task.stopped_at + SEEN


def test_external_hosts_belong_to_services_of_that_launch_type() -> None:
    w = world()
    outside = w.cloud.add_host(CLUSTER, now=w.now, external=True)
    daemon(w)
    daemon(w, "edge", launchType="EXTERNAL")
    w.later(SEEN)
    assert [len(mine(w, host, "mesh")) for host in (w.hosts[0], outside)] == [1, 0]
    assert [len(mine(w, host, "edge")) for host in (w.hosts[0], outside)] == [0, 1]


def test_a_host_without_room_gets_its_task_when_there_is_room() -> None:
    w = world(cpu=3000)
    ours = w.started()
    w.later(SETTLED)
    daemon(w)
    w.later(SETTLED)
    assert counts(w) == [0]
    w.call("StopTask", task=ours.arn)
    w.later(SETTLED)
    assert counts(w) == [1]


def test_a_host_that_cannot_run_the_definition_gets_none() -> None:
    w = world(hosts=1, architecture="ARM64")
    arm = w.cloud.add_host(CLUSTER, now=w.now, arch="arm64")
    daemon(w)
    w.later(SETTLED)
    assert counts(w, [w.hosts[0], arm]) == [0, 1]


def test_tasks_that_never_run_are_started_at_growing_intervals() -> None:
    w = world(faults=Faults(failing_task=1.0))
    daemon(w)
    w.later(3600.0)
    begun = sorted(task.created_at for task in w.cloud.tasks.values())
    gaps = [later - earlier for earlier, later in pairwise(begun)]
    assert 5 <= len(begun) <= 12
    assert gaps == sorted(gaps)
    assert max(gaps) > 600.0
    w.cloud.faults = Faults.none()
    w.later(1000.0)
    assert counts(w) == [1]


# --- Placement constraints ------------------------------------------------------------------------


def test_an_attribute_moves_a_host_away_from_the_service_and_back() -> None:
    """As https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html has it:
    tasks that do not meet the constraints are stopped."""
    for bumps in (True, False):
        w = world(hosts=3, switches=Switches(attributes_bump_version=bumps))
        daemon(w)
        w.later(SETTLED)
        before = [mine(w, host)[0] for host in w.hosts]
        w.call(
            "UpdateService", service="mesh", placementConstraints=constraint("attribute:b !exists")
        )
        w.later(SETTLED)
        assert [mine(w, host)[0] for host in w.hosts] == before, "no new deployment"
        target = {"targetId": w.hosts[1]}
        w.call("PutAttributes", attributes=[{"name": "b", "value": "x"} | target])
        w.later(SETTLED)
        assert counts(w) == [1, 0, 1]
        assert before[1].stop_code == "ServiceSchedulerInitiated"
        assert before[1].started_by in before[1].stopped_reason
        assert described(w)["desiredCount"] == 2
        w.call("DeleteAttributes", attributes=[{"name": "b"} | target])
        w.later(SETTLED)
        assert counts(w) == [1, 1, 1]
        assert [before[0].live, before[2].live] == [True, True]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("attribute:pool == a", [1, 0, 0]),
        ("not(attribute:pool == a)", [0, 1, 1]),
        ("attribute:pool exists and !(attribute:pool == b)", [1, 0, 0]),
        ("attribute:pool !exists", [0, 0, 1]),
        ("attribute:pool in [a, b]", [1, 1, 0]),
        ("not(task:group == family:agent)", [1, 1, 0]),
        ("not(task:group == service:mesh)", [1, 1, 1]),
    ],
)
def test_constraints_choose_the_hosts(expression: str, expected: list[int]) -> None:
    w = world(hosts=0)
    hosts = [
        w.cloud.add_host(CLUSTER, now=w.now, attributes={"pool": pool} if pool else {})
        for pool in ("a", "b", "")
    ]
    w.cloud.start_foreign(CLUSTER, hosts[2], "agent", now=w.now)
    daemon(w, placementConstraints=constraint(expression))
    w.later(SETTLED)
    assert counts(w, hosts) == expected


def test_the_task_definitions_own_constraints_count_too() -> None:
    w = world(hosts=2, constraint="attribute:disk == ssd")
    daemon(w)
    w.later(SETTLED)
    assert counts(w) == [0, 0]
    w.call("PutAttributes", attributes=[{"name": "disk", "value": "ssd", "targetId": w.hosts[0]}])
    w.later(SETTLED)
    assert counts(w) == [1, 0]


def test_what_cannot_be_a_constraint_is_refused_and_changes_nothing() -> None:
    w = world()
    bad: list[list[dict[str, str]]] = [
        constraint("attribute:a ="),
        constraint("colour == red"),
        constraint("attribute:a =~ ["),
        constraint("attribute:a == " + "x" * 2000),
        [{"type": "memberOf"}],
        [{"type": "distinctInstance", "expression": "attribute:a exists"}],
        [{"expression": "attribute:a exists"}],
        constraint("attribute:a exists") * 11,
    ]
    for constraints in bad:
        fault = w.refused(
            "CreateService",
            serviceName="mesh",
            taskDefinition="agent",
            schedulingStrategy="DAEMON",
            placementConstraints=constraints,
        )
        assert fault.code == "InvalidParameterException"
    assert w.cloud.services == {}
    daemon(w, placementConstraints=[{"type": "distinctInstance"}])
    w.refused("UpdateService", service="mesh", placementConstraints=bad[0], taskDefinition="agent")
    assert described(w)["placementConstraints"] == [{"type": "distinctInstance"}]
    w.call("UpdateService", service="mesh", placementConstraints=[])
    assert described(w)["placementConstraints"] == []


# --- Deployments, draining, deletion --------------------------------------------------------------


@pytest.mark.parametrize("forced", [True, False])
def test_a_new_deployment_replaces_every_task(forced: bool) -> None:
    w = world(hosts=3, host_ports=(9000,))
    daemon(w)
    w.later(SETTLED)
    old = [mine(w, host)[0] for host in w.hosts]
    newer = w.cloud.add_definition("agent", now=w.now, host_ports=(9000,))
    change: dict[str, object] = (
        {"forceNewDeployment": True} if forced else {"taskDefinition": "agent"}
    )
    answer = w.call("UpdateService", service="mesh", **change)["service"]
    assert answer["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    assert answer["deployments"][0]["id"] != old[0].started_by
    w.later(2 * SETTLED)
    new = [mine(w, host) for host in w.hosts]
    assert [len(tasks) for tasks in new] == [1, 1, 1]
    assert {tasks[0].started_by for tasks in new} == {answer["deployments"][0]["id"]}
    assert {tasks[0].definition for tasks in new} == {w.definition if forced else newer}
    assert [task.live for task in old] == [False] * 3
    assert described(w)["deployments"][0]["rolloutState"] == "COMPLETED"


def test_naming_the_same_definition_again_deploys_nothing() -> None:
    w = world()
    daemon(w)
    w.later(SETTLED)
    before = mine(w, w.hosts[0])
    w.call("UpdateService", service="mesh", taskDefinition="agent:1")
    w.later(SETTLED)
    assert mine(w, w.hosts[0]) == before


def test_a_second_task_of_the_service_on_a_host_is_stopped() -> None:
    w = world()
    daemon(w)
    w.later(SETTLED)
    first = mine(w, w.hosts[0])[0]
    extra = w.cloud.start_foreign(CLUSTER, w.hosts[0], "agent", service="mesh", now=w.now)
    w.later(SETTLED)
    assert mine(w, w.hosts[0]) == [first]
    assert not w.cloud.tasks[extra].live


def test_on_a_draining_host_it_leaves_last_and_does_not_come_back() -> None:
    w = world()
    daemon(w)
    ours = w.started()
    w.later(SETTLED)
    w.cloud.drain_host(w.hosts[0], now=w.now)
    w.later(600.0)
    assert counts(w) == [1]
    w.call("StopTask", task=ours.arn)
    w.later(600.0)
    assert counts(w) == [0]
    assert described(w)["desiredCount"] == 0
    w.cloud.activate_host(w.hosts[0], now=w.now)
    w.later(SEEN)
    assert counts(w) == [1]


def test_a_deleted_service_drains_and_its_name_is_free_again() -> None:
    w = world(hosts=3)
    daemon(w)
    w.later(SETTLED)
    old = [mine(w, host)[0] for host in w.hosts]
    assert w.call("DeleteService", service="mesh")["service"]["status"] == "DRAINING"
    assert w.call("ListServices")["serviceArns"] == []
    again = {"serviceName": "mesh", "taskDefinition": "agent", "schedulingStrategy": "DAEMON"}
    assert "Draining" in w.refused("CreateService", **again).message
    assert w.refused("UpdateService", service="mesh").code == "ServiceNotActiveException"
    w.later(SETTLED)
    assert described(w)["status"] == "INACTIVE"
    assert [task.live for task in old] == [False] * 3
    assert w.refused("DeleteService", service="mesh").code == "ServiceNotFoundException"
    assert w.cloud.next_due() is not None, "the stopped tasks are still to be forgotten"
    daemon(w)
    w.later(SETTLED)
    assert counts(w) == [1] * 3


def test_a_service_created_anew_keeps_its_tasks_whatever_the_old_one_had_planned() -> None:
    w = world(hosts=2)
    daemon(w)
    w.call("DeleteService", service="mesh", force=True)
    assert described(w)["status"] == "INACTIVE"
    daemon(w, placementConstraints=constraint("attribute:none !exists"))
    w.later(SETTLED)
    assert counts(w) == [1, 1]
    assert len(w.cloud.tasks) == 2


def test_a_deleted_cluster_takes_its_services_along() -> None:
    w = world()
    daemon(w)
    w.later(SETTLED)
    w.cloud.delete_cluster(CLUSTER, now=w.now)
    w.cloud.recreate_cluster(CLUSTER, now=w.now)
    host = w.cloud.add_host(CLUSTER, now=w.now)
    w.later(SETTLED)
    assert w.call("ListServices")["serviceArns"] == []
    assert counts(w, [host]) == [0]


# --- The API --------------------------------------------------------------------------------------


def test_a_record_without_a_definition_is_only_described() -> None:
    w = world()
    w.cloud.add_service(CLUSTER, "mesh", "DAEMON", now=w.now)
    w.cloud.add_service(CLUSTER, "logs", "DAEMON", now=w.now, definition="agent")
    w.later(SETTLED)
    assert [task.group for task in w.cloud.tasks.values()] == ["service:logs"]
    assert "taskDefinition" not in described(w)
    w.cloud.delete_service(CLUSTER, "logs", now=w.now)
    w.later(SETTLED)
    assert [task.live for task in w.cloud.tasks.values()] == [False]


def test_creating_twice_is_one_service_and_otherwise_refused() -> None:
    w = world()
    first = daemon(w)
    assert daemon(w)["serviceArn"] == first["serviceArn"]
    w.later(SETTLED)
    assert counts(w) == [1]
    fault = w.refused(
        "CreateService", serviceName="mesh", taskDefinition="agent:1", schedulingStrategy="DAEMON"
    )
    assert "idempotent" in fault.message


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"serviceName": ""}, "name"),
        ({"serviceName": "a b"}, "name"),
        ({"taskDefinition": ""}, "TaskDefinition"),
        ({"taskDefinition": "nothing"}, "task definition"),
        ({"desiredCount": 2}, "daemon scheduling strategy"),
        ({"launchType": "FARGATE"}, "Fargate"),
        ({"schedulingStrategy": "REPLICA"}, "desiredCount"),
        ({"schedulingStrategy": "SOME"}, "schedulingStrategy"),
        ({"cluster": "nowhere"}, "Cluster not found"),
    ],
)
def test_what_cannot_be_a_service_is_refused(members: dict[str, object], words: str) -> None:
    w = world()
    given = {"serviceName": "mesh", "taskDefinition": "agent", "schedulingStrategy": "DAEMON"}
    assert words in w.refused("CreateService", **{**given, **members}).message
    assert w.cloud.services == {}


def test_passing_a_denied_role_is_refused_for_services_too() -> None:
    w = world(role="agent-role")
    w.cloud.deny("passrole:agent")
    fault = w.refused(
        "CreateService", serviceName="mesh", taskDefinition="agent", schedulingStrategy="DAEMON"
    )
    assert (fault.code, "agent-role" in fault.message) == ("AccessDeniedException", True)


def test_replica_services_are_data_and_need_force_to_go() -> None:
    w = world()
    w.call("CreateService", serviceName="web", taskDefinition="agent", desiredCount=3)
    w.later(SETTLED)
    assert w.cloud.tasks == {}
    w.cloud.start_foreign(CLUSTER, w.hosts[0], "agent", service="web", now=w.now)
    w.later(SETTLED)
    shown = described(w, "web")
    assert (shown["desiredCount"], shown["runningCount"]) == (3, 1)
    assert "above 0" in w.refused("DeleteService", service="web").message
    w.call("DeleteService", service="web", force=True)
    w.later(SETTLED)
    assert described(w, "web")["status"] == "INACTIVE"
    assert [task.live for task in w.cloud.tasks.values()] == [False]


def test_services_are_listed_in_pages_of_ten_and_described_ten_at_a_time() -> None:
    w = world(hosts=0)
    for number in range(23):
        w.cloud.add_service(CLUSTER, f"s{number:02}", "DAEMON", now=w.now)
    pages: list[list[str]] = []
    token: dict[str, object] = {}
    while not pages or token:
        answer = w.call("ListServices", **token)
        pages.append(answer["serviceArns"])
        token = {"nextToken": answer["nextToken"]} if "nextToken" in answer else {}
    assert [len(one) for one in pages] == [10, 10, 3]
    assert len(w.call("ListServices", maxResults=100)["serviceArns"]) == 23
    assert w.call("ListServices", schedulingStrategy="REPLICA")["serviceArns"] == []
    assert len(w.call("DescribeServices", services=pages[1])["services"]) == 10
    assert "at most 10" in w.refused("DescribeServices", services=pages[0] + pages[1]).message
    answer = w.call("DescribeServices", services=["s00", "nope"])
    assert [one["reason"] for one in answer["failures"]] == ["MISSING"]
    assert answer["failures"][0]["arn"].endswith(":service/demo/nope")


def test_tags_are_shown_when_they_are_asked_for() -> None:
    w = world(hosts=0)
    daemon(w, tags=[{"key": "team", "value": "logs"}])
    assert "tags" not in described(w)
    shown = w.call("DescribeServices", services=["mesh"], include=["TAGS"])["services"][0]
    assert shown["tags"] == [{"key": "team", "value": "logs"}]
