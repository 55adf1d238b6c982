"""StartTask, RunTask and StopTask: what they check, what they refuse, and how they say it."""

import json
from collections.abc import Callable

import pytest

from blox.simulator.faults import Faults
from blox.simulator.model import RepeatedHost, Switches
from support.worlds import CLUSTER, World, marked, world


def test_one_call_starts_a_task_on_each_host_and_the_truth_shows_it() -> None:
    w = world(hosts=10)
    answer = w.start(startedBy="d" * 36, group="blox:agent", overrides=marked("01INTENT"))
    assert len(answer["tasks"]) == 10
    assert answer["failures"] == []
    for host in w.hosts:
        (task,) = w.cloud.live_tasks(host)
        assert (task.host, task.started_by, task.group) == (host, "d" * 36, "blox:agent")
        assert (task.marker, task.definition) == ("01INTENT", w.definition)
        assert (task.cluster, task.created_at) == (CLUSTER, w.now)
    (call,) = (call for call in w.cloud.log if call.operation == "StartTask")
    assert (call.outcome, len(call.made), call.executed_at) == ("done", 10, w.now)
    assert {w.cloud.tasks[arn].request_id for arn in call.made} == {call.request_id}


def test_the_group_defaults_to_the_family() -> None:
    assert world().started().group == "family:agent"


# --- Failures of single hosts ---------------------------------------------------------------------


def _disconnected(w: World) -> None:
    w.cloud.disconnect_agent(w.hosts[0], now=w.now)


def _terminated(w: World) -> None:
    w.cloud.terminate_host(w.hosts[0], now=w.now)


def _registering(w: World) -> None:
    w.cloud.set_host_status(w.hosts[0], "REGISTERING", now=w.now)


@pytest.mark.parametrize(
    ("change", "reason"),
    [(_disconnected, "AGENT"), (_terminated, "INACTIVE"), (_registering, "INACTIVE")],
)
def test_a_host_that_cannot_is_a_failure_and_the_others_start(
    change: Callable[[World], None], reason: str
) -> None:
    w = world(hosts=3)
    change(w)
    answer = w.start()
    assert answer["failures"] == [{"arn": w.hosts[0], "reason": reason}]
    assert {task["containerInstanceArn"] for task in answer["tasks"]} == set(w.hosts[1:])
    assert w.cloud.log[-1].failed == ((w.hosts[0], reason),)


@pytest.mark.parametrize(
    ("cpu", "memory", "ports", "reason"),
    [
        (4000, 10, (), "RESOURCE:CPU"),
        (10, 8000, (), "RESOURCE:MEMORY"),
        (10, 10, (8126,), "RESOURCE:PORTS"),
        (10, 10, (51678,), "RESOURCE:PORTS"),
    ],
)
def test_what_is_taken_is_not_given_twice(
    cpu: int, memory: int, ports: tuple[int, ...], reason: str
) -> None:
    w = world(cpu=100, memory=200, host_ports=[8126])
    w.started()
    big = w.cloud.add_definition("big", now=w.now, cpu=cpu, memory=memory, host_ports=ports)
    assert w.reason(taskDefinition=big) == reason


def test_a_host_is_filled_to_the_brim_and_not_beyond() -> None:
    w = world(cpu=2048, memory=4096)
    assert w.start([w.hosts[0]])["failures"] == []
    assert w.start([w.hosts[0]])["failures"] == []
    assert w.reason() == "RESOURCE:CPU"
    shown = w.call("DescribeContainerInstances", containerInstances=w.hosts)
    remaining = shown["containerInstances"][0]["remainingResources"]
    assert [item["integerValue"] for item in remaining[:2]] == [0, 0]


def test_missing_attributes_and_the_wrong_architecture_are_attribute_failures() -> None:
    w = world()
    needy = w.cloud.add_definition("needy", now=w.now, requires=["com.example.gpu"])
    arm = w.cloud.add_definition("arm", now=w.now, architecture="ARM64")
    assert w.reason(taskDefinition=needy) == "ATTRIBUTE"
    assert w.reason(taskDefinition=arm) == "ATTRIBUTE"
    w.call(
        "PutAttributes",
        attributes=[{"name": "com.example.gpu", "value": "1", "targetId": w.hosts[0]}],
    )
    assert w.start(taskDefinition=needy)["failures"] == []


def test_an_unknown_host_is_missing() -> None:
    w = world()
    unknown = w.hosts[0][:-4] + "0000"
    assert w.reason(unknown) == "MISSING"
    assert w.start(["f" * 32])["failures"][0]["reason"] == "MISSING"


def test_external_hosts_run_what_is_not_awsvpc() -> None:
    w = world()
    external = w.cloud.add_host(CLUSTER, now=w.now, external=True)
    assert w.cloud.hosts[external].instance_id.startswith("mi-")
    assert w.started(external).launch_type == "EXTERNAL"
    awsvpc = w.cloud.add_definition("vpc", now=w.now, network_mode="awsvpc")
    network = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
    assert w.reason(external, taskDefinition=awsvpc, networkConfiguration=network) == "ATTRIBUTE"


# --- Calls refused whole --------------------------------------------------------------------------


def test_at_most_ten_hosts_and_at_least_one() -> None:
    w = world(hosts=11)
    for hosts in ([], w.hosts):
        fault = w.refused("StartTask", containerInstances=hosts, taskDefinition=w.definition)
        assert fault.code == "InvalidParameterException"
    assert w.cloud.tasks == {}


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ({"startedBy": "x" * 37}, "InvalidParameterException", "startedBy longer than 36."),
        ({"startedBy": "a b"}, "InvalidParameterException", "may only hold"),
        ({"group": "x" * 256}, "InvalidParameterException", "group longer"),
        ({"cluster": "other"}, "ClusterNotFoundException", "Cluster not found."),
        ({"cluster": "no spaces"}, "InvalidParameterException", "Cluster must match"),
        ({"taskDefinition": "nope:1"}, "ClientException", "Unable to describe task definition."),
        ({"taskDefinition": ""}, "InvalidParameterException", "blank"),
        ({"overrides": marked("x", "nobody")}, "InvalidParameterException", "named nobody"),
        ({"overrides": marked("x" * 8192)}, "InvalidParameterException", "8192"),
        ({"tags": [{"key": "aws:x", "value": ""}]}, "InvalidParameterException", "reserved"),
        ({"networkConfiguration": {"a": {}}}, "InvalidParameterException", "Network"),
        ({"startedBy": 7}, "SerializationException", "must be a string"),
    ],
)
def test_a_wrong_member_refuses_the_whole_call(
    params: dict[str, object], code: str, message: str
) -> None:
    w = world()
    members = {"containerInstances": w.hosts, "taskDefinition": w.definition} | params
    fault = w.refused("StartTask", **members)
    assert (fault.code, fault.status) == (code, 400)
    assert message in fault.message
    assert w.cloud.tasks == {}
    assert w.cloud.log[-1].outcome == code


def test_a_host_of_another_cluster_refuses_the_whole_call() -> None:
    w = world()
    w.cloud.add_cluster("other", now=w.now)
    foreign = w.cloud.add_host("other", now=w.now)
    fault = w.refused("StartTask", containerInstances=[foreign], taskDefinition=w.definition)
    assert fault.message == (
        "Invalid identifier: Identifier is for cluster other. Your cluster is demo"
    )


def test_an_inactive_definition_refuses_with_either_code() -> None:
    for code in ("ClientException", "InvalidParameterException"):
        w = world(switches=Switches(inactive_definition_code=code))
        w.cloud.call("DeregisterTaskDefinition", {"taskDefinition": "agent:1"}, now=w.now)
        fault = w.refused("StartTask", containerInstances=w.hosts, taskDefinition=w.definition)
        assert (fault.code, fault.message) == (code, "TaskDefinition is inactive")


def test_denied_operations_and_roles_change_nothing() -> None:
    w = world(switches=Switches(denied_status=403))
    for what in ("StartTask", "passrole:agent"):
        w.cloud.deny(what)
        fault = w.refused("StartTask", containerInstances=w.hosts, taskDefinition=w.definition)
        assert (fault.code, fault.status) == ("AccessDeniedException", 403)
        w.cloud.deny(what, on=False)
    assert "iam:PassRole" in fault.message
    assert w.start()["failures"] == []


def test_one_poison_host_refuses_all_until_it_is_left_out() -> None:
    w = world(hosts=3)
    w.cloud.poison_host(w.hosts[1])
    fault = w.refused("StartTask", containerInstances=w.hosts, taskDefinition=w.definition)
    assert fault.code == "InvalidParameterException"
    assert w.cloud.tasks == {}
    assert len(w.start([w.hosts[0], w.hosts[2]])["tasks"]) == 2


# --- Open questions, both ways --------------------------------------------------------------------


def test_draining_hosts_by_switch() -> None:
    for allowed in (True, False):
        w = world(switches=Switches(start_on_draining=allowed))
        w.cloud.drain_host(w.hosts[0], now=w.now)
        assert bool(w.start()["tasks"]) == allowed


def test_a_host_named_twice_by_switch() -> None:
    for kind, tasks in ((RepeatedHost.ONE, 1), (RepeatedHost.TWO, 2)):
        w = world(switches=Switches(repeated_host=kind))
        assert len(w.start([w.hosts[0], w.hosts[0]])["tasks"]) == tasks
    w = world(switches=Switches(repeated_host=RepeatedHost.REFUSED))
    twice = [w.hosts[0], w.hosts[0].rsplit("/", 1)[-1]]
    fault = w.refused("StartTask", containerInstances=twice, taskDefinition=w.definition)
    assert fault.code == "InvalidParameterException"


def test_placement_constraints_by_switch() -> None:
    for checked in (True, False):
        w = world(
            switches=Switches(constraints_checked=checked),
            constraint="attribute:ecs.os-type == windows",
        )
        assert bool(w.start()["tasks"]) == (not checked)


def test_external_hosts_by_switch() -> None:
    w = world(switches=Switches(start_on_external=False))
    assert w.reason(w.cloud.add_host(CLUSTER, now=w.now, external=True)) == "ATTRIBUTE"


# --- RunTask --------------------------------------------------------------------------------------


def run(w: World, token: str, host: int = 0, **params: object) -> dict[str, list[dict[str, str]]]:
    instance = w.cloud.hosts[w.hosts[host]].instance_id
    constraint = {"type": "memberOf", "expression": f"ec2InstanceId == {instance}"}
    answer = w.call(
        "RunTask",
        taskDefinition=w.definition,
        clientToken=token,
        launchType="EC2",
        placementConstraints=[constraint],
        **params,
    )
    assert isinstance(answer, dict)
    return answer


def test_run_task_starts_once_per_token_on_the_host_that_the_constraint_names() -> None:
    w = world(hosts=5)
    first, again = run(w, "token-1", host=3), run(w, "token-1", host=3)
    assert first["tasks"][0]["taskArn"] == again["tasks"][0]["taskArn"]
    assert first["tasks"][0]["containerInstanceArn"] == w.hosts[3]
    assert run(w, "token-2", host=3)["tasks"] != first["tasks"]
    assert len(w.cloud.live_tasks(w.hosts[3])) == 2


def test_a_token_used_with_other_parameters_is_a_conflict() -> None:
    w = world(hosts=2)
    run(w, "token")
    with pytest.raises(Exception, match="ConflictException"):
        run(w, "token", host=1)
    assert w.cloud.live_tasks(w.hosts[1]) == []


def test_a_token_that_started_nothing_and_one_whose_tasks_are_forgotten_serve_again() -> None:
    w = world()
    w.cloud.disconnect_agent(w.hosts[0], now=w.now)
    assert run(w, "token")["tasks"] == []
    w.cloud.connect_agent(w.hosts[0], now=w.now)
    (first,) = run(w, "token")["tasks"]
    w.later(30.0)
    w.cloud.kill_task(first["taskArn"], now=w.now)
    assert run(w, "token")["tasks"][0]["taskArn"] == first["taskArn"]
    w.later(3700.0)
    assert run(w, "token")["tasks"][0]["taskArn"] != first["taskArn"]


def test_a_task_is_as_large_as_its_overrides_say() -> None:
    w = world(cpu=64, memory=128)
    container = {"name": "agent", "cpu": 100, "memory": 300}
    task = w.started(overrides={"containerOverrides": [container]})
    assert (task.cpu, task.memory) == (100, 300)
    task = w.started(overrides={"cpu": "256", "memory": "512"})
    assert (task.cpu, task.memory) == (256, 512)
    fault = w.refused(
        "StartTask",
        containerInstances=w.hosts,
        taskDefinition=w.definition,
        overrides={"cpu": "much"},
    )
    assert fault.code == "ClientException"


def test_run_task_says_why_nothing_fits() -> None:
    w = world()
    w.cloud.disconnect_agent(w.hosts[0], now=w.now)
    assert run(w, "one")["failures"] == [{"arn": w.hosts[0], "reason": "AGENT"}]
    unsatisfied = w.call(
        "RunTask",
        taskDefinition=w.definition,
        placementConstraints=[{"type": "memberOf", "expression": "ec2InstanceId == i-0"}],
    )
    assert "unsatisfied" in unsatisfied["failures"][0]["reason"]


# --- StopTask -------------------------------------------------------------------------------------


def test_stop_task_is_repeatable_and_logs_what_it_really_asked() -> None:
    w = world(faults=Faults(slow_stop=1.0))
    task = w.started()
    w.later(30.0)
    w.call("StopTask", task=task.arn, reason="first")
    version = task.version
    answer = w.call("StopTask", task=task.arn.rsplit("/", 1)[-1], reason="second")["task"]
    assert (answer["stoppedReason"], task.version) == ("first", version)
    assert [call.stopped for call in w.cloud.log[-2:]] == [task.arn, ""]


def test_stopping_what_is_not_there_is_refused() -> None:
    w = world()
    fault = w.refused("StopTask", task="0" * 32)
    assert fault.message == "The referenced task was not found"


def test_stopping_a_stopped_task_by_switch() -> None:
    for answers in (True, False):
        w = world(switches=Switches(stop_of_stopped_answers=answers))
        task = w.started()
        w.later(30.0)
        w.cloud.kill_task(task.arn, now=w.now)
        if answers:
            assert w.call("StopTask", task=task.arn)["task"]["lastStatus"] == "STOPPED"
        else:
            assert w.refused("StopTask", task=task.arn).code == "InvalidParameterException"


def test_answers_are_json() -> None:
    w = world(hosts=2, health_check=True)
    w.cloud.disconnect_agent(w.hosts[0], now=w.now)
    answer = w.start(tags=[{"key": "team", "value": "obs"}])
    assert json.loads(json.dumps(answer)) == answer
    assert answer["tasks"][0]["tags"] == [{"key": "team", "value": "obs"}]
