"""The events that the simulated ECS sends to EventBridge."""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from blox.ecs.model import HostDocument, TaskDocument
from blox.simulator.model import Switches
from support.worlds import World, marked, world

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z\Z")


def events(w: World, arn: str) -> list[Any]:
    """The events about one resource since the last time."""
    return [event for event in w.cloud.take_events() if event["resources"] == [arn]]


def test_the_envelope_is_event_bridges() -> None:
    w = world()
    w.started()
    task, host = w.cloud.take_events()
    for event, kind in (
        (task, "ECS Task State Change"),
        (host, "ECS Container Instance State Change"),
    ):
        assert set(event) == {
            "version", "id", "detail-type", "source", "account", "time", "region", "resources",
            "detail",
        }  # fmt: skip
        assert (event["version"], event["source"], event["detail-type"]) == ("0", "aws.ecs", kind)
        assert (event["account"], event["region"]) == ("111122223333", "us-east-1")
        assert ISO.match(str(event["time"]))
        assert json.loads(json.dumps(event)) == event
    assert task["id"] != host["id"]
    assert w.cloud.take_events() == []


def test_task_events_lack_health_and_tags_and_carry_iso_times() -> None:
    w = world(health_check=True)
    task = w.started(tags=[{"key": "a", "value": "b"}], startedBy="me")
    w.later(30.0)
    w.call("StopTask", task=task.arn)
    w.later(60.0)
    told = events(w, task.arn)
    last: Mapping[str, Any] = told[-1]["detail"]
    assert {"healthStatus", "tags"}.isdisjoint(last)
    assert "healthStatus" not in last["containers"][0]
    for name in ("createdAt", "startedAt", "stoppingAt", "stoppedAt", "updatedAt"):
        assert ISO.match(last[name]), name
    assert {"startedAt", "stoppedAt"}.isdisjoint(told[0]["detail"])
    assert (last["startedBy"], last["stopCode"]) == ("me", "UserInitiated")
    assert (last["desiredStatus"], last["lastStatus"]) == ("STOPPED", "STOPPED")
    assert last["version"] == task.version == len(told)


def test_host_events_lack_counts_registration_and_tags() -> None:
    w = world()
    w.started()
    w.cloud.disconnect_agent(w.hosts[0], now=w.now)
    told = events(w, w.hosts[0])
    assert [event["detail"]["version"] for event in told] == [2, 3]
    last = told[-1]["detail"]
    assert last["agentConnected"] is False
    absent = {
        "runningTasksCount", "pendingTasksCount", "registeredAt", "tags", "capacityProviderName",
    }  # fmt: skip
    assert absent.isdisjoint(last)
    cpu = next(item for item in last["remainingResources"] if item["name"] == "CPU")
    assert cpu["integerValue"] == 4096 - 64


def test_a_start_tells_of_the_task_and_of_the_hosts_resources() -> None:
    w = world(hosts=2)
    w.start()
    kinds = [str(event["detail-type"]) for event in w.cloud.take_events()]
    assert kinds == ["ECS Task State Change", "ECS Container Instance State Change"] * 2


def test_a_termination_tells_of_the_host_and_of_each_task() -> None:
    w = world()
    tasks = [w.started().arn for _ in range(2)]
    w.later(30.0)
    w.cloud.take_events()
    w.cloud.terminate_host(w.hosts[0], now=w.now)
    told = w.cloud.take_events()
    resources: list[Any] = [event["resources"] for event in told]
    assert resources == [[w.hosts[0]], *([task] for task in tasks)]
    detail: Any = told[0]["detail"]
    assert (detail["status"], detail["agentConnected"]) == ("INACTIVE", False)


def test_events_carry_the_marker_by_switch() -> None:
    for carries in (True, False):
        w = world(switches=Switches(events_carry_overrides=carries))
        task = w.started(overrides=marked("01MARK"))
        assert ("01MARK" in json.dumps(events(w, task.arn))) == carries
        shown = w.call("DescribeTasks", tasks=[task.arn])["tasks"][0]
        assert "01MARK" in json.dumps(shown["overrides"])


def test_answers_decode_into_the_documents_of_the_port() -> None:
    w = world(health_check=True)
    task = w.started(overrides=marked("01MARK"))
    w.later(30.0)
    shown = w.call("DescribeTasks", tasks=[task.arn])["tasks"][0]
    document = msgspec.convert(shown, TaskDocument)
    assert (document.task_arn, document.version) == (task.arn, task.version)
    assert (document.created_at, document.started_at) == (task.created_at, task.started_at)
    assert document.health_status == "HEALTHY"
    host = w.call("DescribeContainerInstances", containerInstances=w.hosts)["containerInstances"][0]
    decoded = msgspec.convert(host, HostDocument)
    assert (decoded.container_instance_arn, decoded.running_tasks_count) == (w.hosts[0], 1)
