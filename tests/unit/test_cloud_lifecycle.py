"""How the simulated ECS's tasks and hosts live."""

from blox.ecs.model import LIFECYCLE
from blox.simulator.faults import Faults
from blox.simulator.model import Switches
from support.worlds import CLUSTER, statuses, world


def test_a_task_goes_from_pending_to_running_and_no_further() -> None:
    w = world()
    task = w.started()
    assert (task.last_status, task.desired_status) == ("PENDING", "RUNNING")
    w.later(30.0)
    assert task.last_status == "RUNNING"
    assert task.started_at is not None
    assert task.created_at < task.started_at <= w.now
    w.later(86400.0)
    assert task.live
    assert w.cloud.live_tasks(w.hosts[0]) == [task]


def test_an_awsvpc_task_is_provisioned_first() -> None:
    w = world(network_mode="awsvpc")
    network = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
    assert w.started(networkConfiguration=network).last_status == "PROVISIONING"


def test_statuses_only_move_forward_and_every_change_raises_the_version() -> None:
    seen: set[str] = set()
    for seed in range(20):
        w = world(seed=seed)
        task = w.started()
        w.later(30.0)
        w.call("StopTask", task=task.arn)
        w.later(60.0)
        events = [e for e in w.cloud.take_events() if e["resources"] == [task.arn]]
        order = [LIFECYCLE.index(status) for status in statuses(events, task.arn)]
        assert order == sorted(order)
        assert [e["detail"]["version"] for e in events] == list(range(1, len(events) + 1))  # type: ignore[index]
        seen.update(statuses(events, task.arn))
    assert seen == set(LIFECYCLE) - {"PROVISIONING", "DELETED"}


def test_stopping_shows_at_once_in_desired_status_and_frees_resources_only_at_the_end() -> None:
    w = world(host_ports=[8126])
    task = w.started()
    w.later(30.0)
    answer = w.call("StopTask", task=task.arn, reason="because")["task"]
    assert (answer["lastStatus"], answer["desiredStatus"]) == ("RUNNING", "STOPPED")
    assert (answer["stopCode"], answer["stoppedReason"]) == ("UserInitiated", "because")
    assert answer["stoppingAt"] == w.now
    assert w.reason() == "RESOURCE:PORTS"
    w.later(60.0)
    assert task.last_status == "STOPPED"
    assert w.start()["failures"] == []


def test_a_stop_without_a_reason_says_who_stopped_it() -> None:
    w = world()
    assert w.call("StopTask", task=w.started().arn)["task"]["stoppedReason"] == (
        "Task stopped by user"
    )


def test_a_slow_stop_takes_its_whole_timeout_and_longer() -> None:
    w = world(faults=Faults(slow_stop=1.0), stop_timeout=120)
    task = w.started()
    w.later(30.0)
    w.call("StopTask", task=task.arn)
    w.later(119.0)
    assert task.live
    assert task.last_status == "STOPPING"
    w.later(120.0)
    assert not task.live


def test_a_new_task_waits_in_pending_while_another_is_stopping() -> None:
    w = world(faults=Faults(slow_stop=1.0), stop_timeout=120)
    old = w.started()
    w.later(30.0)
    w.call("StopTask", task=old.arn)
    new = w.started()
    w.later(100.0)
    assert new.last_status == "PENDING"
    w.later(200.0)
    assert not old.live
    assert new.last_status == "RUNNING"


def test_a_stopped_task_is_described_for_an_hour_then_deleted_then_missing() -> None:
    w = world()
    task = w.started()
    w.later(30.0)
    w.cloud.kill_task(task.arn, now=w.now, exit_code=3)

    def described() -> str:
        answer = w.call("DescribeTasks", tasks=[task.arn])
        if answer["failures"]:
            return str(answer["failures"][0]["reason"])
        return str(answer["tasks"][0]["lastStatus"])

    w.later(3599.0)
    assert described() == "STOPPED"
    w.later(1.0)
    assert described() == "DELETED"
    assert w.call("ListTasks", desiredStatus="STOPPED")["taskArns"] == []
    w.later(60.0)
    assert described() == "MISSING"
    assert w.cloud.tasks[task.arn].lived() == (task.created_at, task.stopped_at)


def test_a_container_that_exits_says_so() -> None:
    w = world()
    task = w.started()
    w.later(30.0)
    w.cloud.kill_task(task.arn, now=w.now, exit_code=3)
    shown = w.call("DescribeTasks", tasks=[task.arn])["tasks"][0]
    assert (shown["stopCode"], shown["lastStatus"]) == ("EssentialContainerExited", "STOPPED")
    assert shown["containers"][0]["exitCode"] == 3


def test_a_crash_loop_ends_tasks_by_family_or_host_until_it_is_over() -> None:
    w = world(hosts=2)
    w.cloud.crash_loop("agent", 5.0)
    task = w.started()
    w.later(30.0)
    assert task.started_at is not None
    assert task.stopped_at == task.started_at + 5.0
    w.cloud.crash_loop("agent", None)
    w.cloud.crash_loop(w.hosts[1], 0.0)
    healthy, dying = w.started(), w.started(w.hosts[1])
    w.later(30.0)
    assert healthy.live
    assert not dying.live


def test_stalled_tasks_stay_pending_until_released() -> None:
    w = world()
    w.cloud.stall_pending("agent", now=w.now)
    task = w.started()
    w.later(3600.0)
    assert task.last_status == "PENDING"
    w.cloud.stall_pending("agent", on=False, now=w.now)
    w.later(30.0)
    assert task.last_status == "RUNNING"


def test_a_failing_image_stops_the_task_before_it_ran() -> None:
    w = world(faults=Faults(failing_task=1.0))
    task = w.started()
    w.later(60.0)
    shown = w.call("DescribeTasks", tasks=[task.arn])["tasks"][0]
    assert shown["stopCode"] == "TaskFailedToStart"
    assert "startedAt" not in shown
    assert "exitCode" not in shown["containers"][0]


def test_health_comes_later_and_changes_no_version() -> None:
    w = world(health_check=True)
    task = w.started()
    w.later(30.0)
    assert task.health == "HEALTHY"
    version = task.version
    w.cloud.take_events()
    w.cloud.set_unhealthy(task.arn, now=w.now)
    assert w.call("DescribeTasks", tasks=[task.arn])["tasks"][0]["healthStatus"] == "UNHEALTHY"
    assert task.version == version
    assert w.cloud.take_events() == []


# --- Hosts ----------------------------------------------------------------------------------------


def test_a_terminated_host_goes_inactive_with_its_tasks_and_is_missing_after_an_hour() -> None:
    w = world()
    task = w.started()
    w.later(30.0)
    w.cloud.terminate_host(w.hosts[0], now=w.now)
    assert not task.live
    assert "terminated" in task.stopped_reason
    assert w.call("ListContainerInstances")["containerInstanceArns"] == []
    shown = w.call("DescribeContainerInstances", containerInstances=w.hosts)
    assert shown["containerInstances"][0]["status"] == "INACTIVE"
    w.later(3599.0)
    assert w.call("DescribeContainerInstances", containerInstances=w.hosts)["failures"] == []
    w.later(1.0)
    assert w.call("DescribeContainerInstances", containerInstances=w.hosts)["failures"] == [
        {"arn": w.hosts[0], "reason": "MISSING"}
    ]


def test_without_an_agent_a_terminated_host_stays_active_for_ever() -> None:
    w = world()
    task = w.started()
    w.later(30.0)
    w.cloud.terminate_host(w.hosts[0], now=w.now, agent_connected=False)
    w.cloud.connect_agent(w.hosts[0], now=w.now)
    w.later(10 * 86400.0)
    host = w.call("DescribeContainerInstances", containerInstances=w.hosts)["containerInstances"][0]
    assert (host["status"], host["agentConnected"]) == ("ACTIVE", False)
    assert task.live
    assert task.last_status == "RUNNING"
    w.call("StopTask", task=task.arn)
    w.later(86400.0)
    assert task.live
    assert task.desired_status == "STOPPED"


def test_while_the_agent_is_away_nothing_starts_stops_or_is_told() -> None:
    w = world(hosts=2)
    young, old = w.started(), w.started(w.hosts[1])
    w.cloud.disconnect_agent(w.hosts[0], now=w.now)
    w.later(60.0)
    w.cloud.disconnect_agent(w.hosts[1], now=w.now)
    w.cloud.kill_task(old.arn, now=w.now)
    w.later(600.0)
    assert young.last_status == "PENDING"
    assert old.last_status == "RUNNING"
    w.cloud.connect_agent(w.hosts[0], now=w.now)
    w.cloud.connect_agent(w.hosts[1], now=w.now)
    w.later(60.0)
    assert young.last_status == "RUNNING"
    assert not old.live


def test_a_reboot_keeps_the_record_and_ends_the_tasks() -> None:
    w = world()
    task = w.started()
    w.later(30.0)
    w.cloud.reboot_host(w.hosts[0], now=w.now, seconds=40.0)
    w.later(39.0)
    assert task.live
    assert w.reason() == "AGENT"
    w.later(2.0)
    assert not task.live
    assert w.start()["failures"] == []


def test_a_machine_that_registers_twice_has_two_active_records() -> None:
    w = world()
    task = w.started()
    w.later(30.0)
    new = w.cloud.duplicate_host(w.hosts[0], now=w.now)
    w.later(1.0)
    shown = w.call("DescribeContainerInstances", containerInstances=[w.hosts[0], new])
    old_host, new_host = shown["containerInstances"]
    assert old_host["ec2InstanceId"] == new_host["ec2InstanceId"]
    assert (old_host["status"], old_host["agentConnected"]) == ("ACTIVE", False)
    assert (new_host["status"], new_host["agentConnected"]) == ("ACTIVE", True)
    assert new_host["registeredAt"] > old_host["registeredAt"]
    assert task.live
    assert task.host == w.hosts[0]


def test_draining_stops_services_but_no_standalone_task_and_daemon_services_last() -> None:
    w = world()
    w.cloud.add_service(CLUSTER, "web", "REPLICA", now=w.now)
    w.cloud.add_service(CLUSTER, "mesh", "DAEMON", now=w.now)
    ours = w.started()
    web = w.cloud.tasks[
        w.cloud.start_foreign(CLUSTER, w.hosts[0], "agent", service="web", now=w.now)
    ]
    mesh = w.cloud.tasks[
        w.cloud.start_foreign(CLUSTER, w.hosts[0], "agent", service="mesh", now=w.now)
    ]
    w.later(30.0)
    w.cloud.drain_host(w.hosts[0], now=w.now)
    w.later(600.0)
    assert (ours.live, web.live, mesh.live) == (True, False, True)
    w.call("StopTask", task=ours.arn)
    w.later(600.0)
    assert not mesh.live


def test_flapping_agents_always_come_back() -> None:
    w = world(hosts=5, faults=Faults(agent_flap=1.0))
    away = 0
    for _ in range(400):
        w.later(10.0)
        away += sum(not host.agent_connected for host in w.cloud.hosts.values())
    assert away > 0
    w.cloud.faults = Faults.none()
    w.later(2000.0)
    assert all(host.agent_connected for host in w.cloud.hosts.values())
    assert w.cloud.next_due() is None


def test_a_deleted_cluster_refuses_everything_and_comes_back_empty_under_the_same_arn() -> None:
    w = world()
    task = w.started()
    w.later(10.0)
    arn = w.cloud.clusters[CLUSTER].arn
    w.cloud.delete_cluster(CLUSTER, now=w.now)
    assert not task.live
    fault = w.refused("ListTasks")
    assert (fault.code, fault.message) == (
        "ClusterNotFoundException",
        "The referenced cluster was inactive.",
    )
    shown = w.call("DescribeClusters", clusters=[CLUSTER])["clusters"][0]
    assert shown["status"] == "INACTIVE"
    assert w.cloud.recreate_cluster(CLUSTER, now=w.now) == arn
    assert w.call("ListContainerInstances")["containerInstanceArns"] == []


def test_quiet_draining_changes_no_version_where_the_switch_says_so() -> None:
    for bumps in (True, False):
        w = world(switches=Switches(draining_bumps_version=bumps))
        w.cloud.drain_host(w.hosts[0], now=w.now)
        assert (w.cloud.hosts[w.hosts[0]].version > 1) == bumps
        assert bool(w.cloud.take_events()) == bumps
