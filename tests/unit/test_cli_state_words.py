"""How tasks, hosts and clusters of the cluster-state-service are spoken of, and what changed."""

from datetime import UTC, datetime
from typing import Any

import pytest

from blox.base.errors import InvalidInput, NotFound
from blox.cli.output import table_lines
from blox.cli.state_changes import cluster_changes, instance_changes, same, task_changes
from blox.cli.state_filters import chosen, query_of
from blox.cli.state_tables import INSTANCES, TASKS, Column, Context, cells, fitting, width_of
from blox.cli.state_words import (
    Load,
    condition_notes,
    host_names,
    instances_sum,
    loads,
    stale_notes,
    state,
    swept,
    tasks_sum,
)
from support.state_items import Item, cluster_body, host_arn, instance_item, task_item

NOW = datetime(2026, 11, 22, 23, 3, 0, tzinfo=UTC)
"""Three minutes after everything was made."""


def shown(columns: tuple[Column, ...], item: Item, **context: Any) -> dict[str, str]:
    """One row by its columns' names."""
    (row,) = cells(columns, [item], Context(now=NOW, **context))
    return dict(zip([column.name for column in columns], row, strict=True))


# --- Rows -----------------------------------------------------------------------------------------


def test_a_hosts_row_says_what_is_free_and_what_runs() -> None:
    item = instance_item(1, cpu=1984, memory=3776, capacityProviderName="cp-spot")
    assert shown(INSTANCES, item, tasks={item["arn"]: Load(2, 1, 1)}) == {
        "INSTANCE": "i-00000000000000001",
        "STATUS": "ACTIVE",
        "AGENT": "ok",
        "TASKS": "2 +1 -1",
        "FREE CPU": "1984",
        "FREE MIB": "3776",
        "TYPE": "t3.medium",
        "ZONE": "us-east-1a",
        "PROVIDER": "cp-spot",
        "ID": "00000000…",
    }


def test_a_host_of_which_little_is_known_has_dashes() -> None:
    item = instance_item(2)
    item["instance"] = {"containerInstanceArn": host_arn(2), "agentConnected": False}
    assert shown(INSTANCES, item) == {
        "INSTANCE": f"{2:032x}",
        "STATUS": "-",
        "AGENT": "GONE",
        "TASKS": "0",
        **dict.fromkeys(("FREE CPU", "FREE MIB", "TYPE", "ZONE", "PROVIDER"), "-"),
        "ID": "00000000…",
    }


def test_a_tasks_row_says_where_it_runs_and_whose_it_is() -> None:
    item = task_item(1, host=1, healthStatus="HEALTHY")
    hosts = host_names([instance_item(1)])
    assert shown(TASKS, item, hosts=hosts) == {
        "TASK": "00000000…",
        "RUNS": "fluent-bit:1",
        "STATUS": "RUNNING",
        "HEALTH": "HEALTHY",
        "HOST": "i-00000000000000001",
        "AGE": "3 min",
        "GROUP": "family:fluent-bit",
        "STARTED BY": "0f8fad5b…",
    }


@pytest.mark.parametrize(
    ("members", "column", "said"),
    [
        ({"lastStatus": "PENDING"}, "STATUS", "PENDING"),
        ({"desiredStatus": "STOPPED"}, "STATUS", "RUNNING -> STOPPED"),
        ({"desiredStatus": "STOPPED", "lastStatus": "STOPPED"}, "STATUS", "STOPPED"),
        ({"startedBy": "ecs-svc/1234567890123456789"}, "STARTED BY", "ecs-svc/1234567890123456789"),
        ({"startedBy": ""}, "STARTED BY", "-"),
        ({"createdAt": None}, "AGE", "-"),
        ({"createdAt": "2026-11-22T23:04:00Z"}, "AGE", "0 s"),
        ({"healthStatus": "UNHEALTHY"}, "HEALTH", "UNHEALTHY"),
        ({"group": "a\x1b[31m"}, "GROUP", "a\ufffd[31m"),
    ],
)
def test_a_tasks_cells(members: dict[str, Any], column: str, said: str) -> None:
    assert shown(TASKS, task_item(1, **members))[column] == said


def test_tasks_without_a_host_and_hosts_that_are_not_known() -> None:
    assert shown(TASKS, task_item(1, host=None))["HOST"] == "fargate"
    assert shown(TASKS, task_item(1, host=7))["HOST"] == "00000000…"


# --- Sums -----------------------------------------------------------------------------------------


def test_numbers_add_up() -> None:
    hosts = [
        instance_item(1),
        instance_item(2, agentConnected=False),
        instance_item(3, status="DRAINING"),
    ]
    tasks = [
        task_item(1, host=1, healthStatus="UNHEALTHY"),
        task_item(2, host=1, desiredStatus="STOPPED"),
        task_item(3, host=2, lastStatus="PENDING"),
        task_item(4, host=3, lastStatus="STOPPING", desiredStatus="STOPPED"),
        task_item(5, host=3, lastStatus="STOPPED", desiredStatus="STOPPED"),
        task_item(6, host=None),
    ]
    assert loads(tasks) == {
        host_arn(1): Load(2, 0, 0),
        host_arn(2): Load(0, 1, 0),
        host_arn(3): Load(0, 0, 1),
    }
    assert instances_sum(hosts, loads(tasks)) == (
        "3 instances = 2 ACTIVE + 1 DRAINING · 1 with the agent gone · "
        "tasks: 2 running + 1 starting + 1 stopping"
    )
    assert tasks_sum(tasks) == (
        "6 tasks = 3 RUNNING + 1 PENDING + 1 STOPPED + 1 STOPPING · 2 to be stopped · 1 UNHEALTHY"
    )


def test_sums_of_nothing_and_of_one() -> None:
    assert instances_sum([], {}) == "no instances"
    assert tasks_sum([]) == "no tasks"
    assert instances_sum([instance_item(1)], {}) == "1 instance = 1 ACTIVE · tasks: 0 running"
    assert str(Load(3)) == "3"


# --- Freshness ------------------------------------------------------------------------------------


def test_how_fresh_a_cluster_is() -> None:
    assert (swept(cluster_body()), state(cluster_body())) == ("12 s ago", "ACTIVE")
    unread = cluster_body(primed=False, age=None)
    assert (swept(unread), state(unread)) == ("not since the service began", "ACTIVE, not read yet")


def test_what_is_wrong_with_the_service_is_told_once() -> None:
    ill = {"code": "queue", "sentence": "No queue.", "nextStep": "mend it", "since": None}
    unread = {"code": "cluster", "sentence": "AccessDenied", "nextStep": "mend", "since": None}
    clusters = [cluster_body("a", error="AccessDenied")]
    assert condition_notes([ill, unread], clusters) == ["No queue -> mend it"]
    assert condition_notes([], clusters) == []
    assert condition_notes([unread], []) == [
        "AccessDenied -> mend",
        "the service knows no cluster yet, so nothing can be shown",
    ]


def test_what_must_be_known_of_old_rows() -> None:
    assert stale_notes([cluster_body(age=12.0), cluster_body(age=299.0)]) == []
    many = [cluster_body(name, primed=False, age=None) for name in "abcde"]
    assert stale_notes(many) == [
        "a, b, c and 2 more: not read completely since the service began, so rows may be old or "
        "missing"
    ]
    assert stale_notes(
        [
            cluster_body("a", error="AccessDenied", age=700.0),
            cluster_body("b", age=700.0),
            cluster_body("c", age=1200.0),
        ]
    ) == [
        "a: cannot be read (last complete 11 min ago): AccessDenied",
        "b, c: last read completely 20 min ago",
    ]


# --- Which columns fit ----------------------------------------------------------------------------


def test_columns_give_way_by_rank_until_the_table_fits() -> None:
    rows = cells(INSTANCES, [instance_item(n) for n in range(3)], Context(now=NOW))
    names = [column.name for column in INSTANCES]

    def kept(width: int) -> list[str]:
        places = fitting(INSTANCES, rows, width)
        shown = [[row[place] for place in places] for row in rows]
        wide = max(map(len, table_lines([names[place] for place in places], shown)))
        assert wide == width_of([names[place] for place in places], shown)
        assert wide <= max(width, 41)
        return [names[place] for place in places]

    least = ["INSTANCE", "STATUS", "AGENT", "TASKS"]
    assert kept(200) == names
    assert kept(80) == [*least, "FREE CPU", "FREE MIB", "ZONE"]
    assert kept(60) == [*least, "FREE MIB"]
    assert kept(20) == least


def test_a_table_without_rows_has_its_names_to_fit() -> None:
    assert fitting(TASKS, [], 30) == [0, 1, 2, 4, 5]
    assert fitting(TASKS, [], 28) == [0, 1, 2, 4]


# --- Changes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"lastStatus": "PENDING"}, {"lastStatus": "RUNNING"}, ["PENDING -> RUNNING"]),
        (
            {},
            {"desiredStatus": "STOPPED", "stoppedReason": "Scaling activity"},
            ["to be stopped", "Scaling activity"],
        ),
        (
            {"lastStatus": "STOPPING", "desiredStatus": "STOPPED", "stoppedReason": "why"},
            {
                "lastStatus": "STOPPED",
                "desiredStatus": "STOPPED",
                "stoppedReason": "why",
                "containers": [{"name": "a", "exitCode": 137}, {"name": "b"}],
            },
            ["STOPPING -> STOPPED", "why", "a exit 137"],
        ),
        ({}, {"healthStatus": "HEALTHY"}, ["health UNKNOWN -> HEALTHY"]),
        ({"healthStatus": None}, {"healthStatus": "UNKNOWN"}, []),
        ({}, {"version": 9, "containers": []}, []),
        ({}, {"enableExecuteCommand": True}, ["enableExecuteCommand true"]),
        ({}, {"tags": [{"key": "a", "value": "b"}]}, ["tags"]),
    ],
)
def test_what_changed_of_a_task(
    before: dict[str, Any], after: dict[str, Any], said: list[str]
) -> None:
    assert task_changes(task_item(1, **before), task_item(1, **after)) == said


def test_what_is_told_of_a_task_that_is_new() -> None:
    assert task_changes(None, task_item(1, lastStatus="PENDING")) == ["new, PENDING"]
    ended = task_item(1, lastStatus="STOPPED", stoppedReason="OutOfMemory", containers=[])
    assert task_changes(None, ended) == ["new, STOPPED, OutOfMemory"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({}, {"status": "DRAINING"}, ["ACTIVE -> DRAINING"]),
        ({}, {"agentConnected": False}, ["agent gone"]),
        ({"agentConnected": False}, {}, ["agent connected"]),
        ({}, {"cpu": 1984, "memory": 3776}, ["free CPU 2048 -> 1984", "free MiB 3904 -> 3776"]),
        ({}, {"runningTasksCount": 3, "version": 4}, []),
        ({}, {"capacityProviderName": "cp"}, ['capacityProviderName "cp"']),
    ],
)
def test_what_changed_of_a_host(before: Any, after: Any, said: list[str]) -> None:
    assert instance_changes(instance_item(1, **before), instance_item(1, **after)) == said


def test_what_is_told_of_a_host_that_is_new() -> None:
    assert instance_changes(None, instance_item(1)) == ["new, ACTIVE"]
    gone = instance_item(1, agentConnected=False)
    assert instance_changes(None, gone) == ["new, ACTIVE, agent gone"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"sweep": 7}, {"sweep": 8}, []),
        ({"primed": False}, {}, ["read completely"]),
        ({}, {"primed": False}, ["not read completely yet"]),
        ({}, {"error": "AccessDenied"}, ["cannot be read: AccessDenied"]),
        ({"error": "AccessDenied"}, {}, ["can be read again"]),
    ],
)
def test_what_changed_of_a_cluster(before: Any, after: Any, said: list[str]) -> None:
    old, new = cluster_body(**before), cluster_body(**after)
    assert cluster_changes(old, new) == said
    assert same(old, new) == (said == [])


def test_a_cluster_that_is_new_and_one_that_is_deleted() -> None:
    assert cluster_changes(None, cluster_body()) == ["watched from now on, ACTIVE"]
    assert cluster_changes(cluster_body(), {**cluster_body(), "status": "INACTIVE"}) == [
        "ACTIVE -> INACTIVE"
    ]


def test_two_accounts_are_the_same_whatever_their_version() -> None:
    assert same(task_item(1, version=1), task_item(1, version=9))
    assert not same(task_item(1), task_item(1, lastStatus="STOPPED"))


# --- Filters --------------------------------------------------------------------------------------


def test_options_become_one_query() -> None:
    options = {
        "status": "pending,running",
        "desired_status": None,
        "definition": "fluent-bit:1",
        "provider": "cp",
        "agent": "gone",
        "queries": (),
    }
    assert query_of(options, "demo") == {
        "cluster": "demo",
        "status": "PENDING,RUNNING",
        "taskDefinition": "fluent-bit:1",
        "capacityProvider": "cp",
        "agentConnected": "false",
    }
    assert query_of({"agent": "connected"}, None) == {"agentConnected": "true"}


def test_two_expressions_must_both_hold() -> None:
    assert query_of({"queries": ("a == b or c == d",)}, None) == {"query": "a == b or c == d"}
    both = query_of({"queries": ("a == b or c == d", "agentConnected == true")}, None)
    assert both == {"query": "(a == b or c == d) and (agentConnected == true)"}


def test_a_cluster_is_chosen_by_its_name_or_arn() -> None:
    known = [cluster_body(name) for name in ("demo", "edge")]
    assert chosen(known, None) == known
    assert chosen(known, "edge") == chosen(known, known[1]["arn"]) == [known[1]]
    with pytest.raises(NotFound, match="No cluster prod is watched here; there are demo, edge"):
        chosen(known, "prod")
    with pytest.raises(NotFound, match="none is yet"):
        chosen([], "prod")
    with pytest.raises(InvalidInput, match="neither a cluster's name nor its ARN"):
        chosen(known, "a b")
