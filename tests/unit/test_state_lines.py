"""What a cluster-state-service answers, understood: pages, lines, and what is neither."""

import json
from typing import Any

import pytest

from blox.clusterstate.remote.lines import (
    Expired,
    Unreadable,
    detail_of,
    read_cluster,
    read_items,
    read_line,
    read_page,
    read_ticket,
)
from blox.clusterstate.remote.port import ClusterTold, Gone, HostTold, TaskTold, Ticket
from blox.ecs.model import ContainerOverride, Overrides
from support.documents import CLUSTER, OTHER_CLUSTER, host_arn, task_arn


def item(kind: str = "task", **more: Any) -> dict[str, Any]:
    """A task or host as lists and streams show it."""
    whole: dict[str, Any] = {
        "taskArn": task_arn(1),
        "clusterArn": CLUSTER,
        "createdAt": "2025-06-15T15:06:40.250Z",
        "lastStatus": "RUNNING",
        "version": 7,
        "overrides": {"containerOverrides": [{"name": "agent"}]},
        "attachments": [{"id": "x"}],
    }
    if kind == "instance":
        whole = {
            "containerInstanceArn": host_arn(1),
            "registeredAt": "2025-06-15T15:06:40.250Z",
            "status": "ACTIVE",
            "version": 5,
            "attributes": [{"name": "a", "value": "b"}],
        }
    return {
        "kind": kind,
        "arn": task_arn(1) if kind == "task" else host_arn(1),
        "cluster": "demo",
        "clusterArn": CLUSTER,
        "version": 1234,
        "readAt": "2025-06-15T15:07:00.000Z",
        kind: whole,
        **more,
    }


def line(event: str, data: object, position: str = "k.12") -> bytes:
    return json.dumps({"event": event, "position": position, "data": data}).encode()


def page(*items: object, **more: object) -> bytes:
    return json.dumps({"items": items, "position": "k.12", **more}).encode()


def only(body: bytes) -> TaskTold | HostTold:
    (found,) = read_items(read_page(body).items, CLUSTER)
    return found


def test_a_page_of_tasks_with_times_as_seconds() -> None:
    found = read_page(page(item(), nextToken="t"))
    assert (found.position, found.next_token) == ("k.12", "t")
    told = only(page(item()))
    assert isinstance(told, TaskTold)
    assert told.read_at == 1_750_000_020.0
    assert told.document.created_at == 1_750_000_000.25
    assert told.document.version == 7
    assert told.document.overrides == Overrides(
        container_overrides=(ContainerOverride(name="agent"),)
    )


def test_a_page_of_hosts() -> None:
    told = only(page(item("instance", readAt=None)))
    assert isinstance(told, HostTold)
    assert told.read_at is None
    assert told.document.registered_at == 1_750_000_000.25
    assert told.document.status == "ACTIVE"


def test_nulls_further_down_are_what_ecs_leaves_out() -> None:
    shown = item()
    shown["task"]["containers"] = [{"name": None, "exitCode": None}]
    told = only(page(shown))
    assert isinstance(told, TaskTold)
    assert isinstance(told.document.containers, tuple)
    assert told.document.containers[0].exit_code is None


def test_a_time_that_is_a_number_is_taken_as_one() -> None:
    shown = item()
    shown["task"]["createdAt"] = 1.5
    told = only(page(shown))
    assert isinstance(told, TaskTold)
    assert told.document.created_at == 1.5


def test_lines_of_a_stream() -> None:
    position, told = read_line(line("task", item()), CLUSTER)
    assert (position, type(told)) == ("k.12", TaskTold)
    assert isinstance(read_line(line("instance", item("instance")), CLUSTER)[1], HostTold)
    assert read_line(line("heartbeat", {"position": "k.12"}), CLUSTER) == ("k.12", None)
    cluster = {
        "name": "demo",
        "arn": CLUSTER,
        "status": "ACTIVE",
        "primed": True,
        "version": 9,
        "sweep": {"epoch": "e", "number": 4},
        "readError": "ListTasks was denied",
    }
    assert read_line(line("cluster", cluster), CLUSTER)[1] == ClusterTold(
        epoch="e", sweep=4, status="ACTIVE", read_error="ListTasks was denied"
    )


@pytest.mark.parametrize("kind", ["task", "instance"])
def test_a_deletion(kind: str) -> None:
    gone = {"kind": kind, "arn": "a", "cluster": "demo", "clusterArn": CLUSTER, "version": 3}
    told = read_line(line("deleted", gone), CLUSTER)[1]
    assert isinstance(told, Gone)
    assert (told.kind, told.arn) == (kind, "a")


def test_a_cluster_that_is_let_go_of_is_ecs_s_to_judge() -> None:
    gone = {"kind": "cluster", "arn": CLUSTER, "cluster": "demo", "clusterArn": CLUSTER}
    assert read_line(line("deleted", gone), CLUSTER)[1] == ClusterTold(
        epoch="", sweep=0, status="INACTIVE"
    )


def test_the_last_words_of_a_stream() -> None:
    with pytest.raises(Expired):
        read_line(line("reset", {"reason": "too slow"}), CLUSTER)


def test_a_sweep_that_was_asked_for() -> None:
    body = json.dumps({"cluster": "demo", "clusterArn": CLUSTER, "epoch": "e", "sweep": 5})
    assert read_ticket(body.encode()) == (CLUSTER, Ticket(epoch="e", number=5))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b'{"items":[]}',
        b'{"items":{},"position":"k.1"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_page(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read_page(body)


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        ({**item(), "clusterArn": OTHER_CLUSTER}, "is about"),
        ({**item(), "readAt": "yesterday"}, "readAt"),
        ({**item(), "kind": "instance"}, "without that member"),
        ({**item(), "kind": "service"}, "of kind 'service'"),
        ({**item(), "task": []}, "not an object"),
        ({**item(), "task": {"lastStatus": "RUNNING"}}, "taskArn"),
        ({**item(), "task": {"taskArn": 5}}, "taskArn"),
        ({"kind": "task"}, "clusterArn"),
    ],
)
def test_an_item_that_cannot_be_read_is_an_error_and_never_left_out(
    shown: dict[str, Any], why: str
) -> None:
    with pytest.raises(Unreadable, match=why):
        list(read_items(read_page(page(item(), shown)).items, CLUSTER))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b'{"event":"task","position":"k.1"}',
        line("task", {}),
        line("surprise", {}),
        line("cluster", {"arn": CLUSTER}),
        line("cluster", {"arn": OTHER_CLUSTER, "status": "A", "sweep": {"epoch": "", "number": 1}}),
        line("deleted", {"kind": "task", "arn": "a", "clusterArn": OTHER_CLUSTER}),
    ],
)
def test_a_line_that_cannot_be_read(text: bytes) -> None:
    with pytest.raises(Unreadable):
        read_line(text, CLUSTER)


def test_a_cluster_that_cannot_be_read() -> None:
    with pytest.raises(Unreadable):
        read_cluster(b'{"arn":"a","status":"ACTIVE"}')


def test_what_a_problem_says() -> None:
    assert detail_of(b'{"type":"t","detail":"why"}') == "why"
    assert detail_of(b"<html>") == ""
    assert detail_of(b"[]") == ""
