"""The live screen of `blox watch`, and the lines that tell changes, from given news."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from blox.cli.screen import Line
from blox.cli.state_board import Board
from blox.cli.state_follow import CLUSTER, INSTANCE, TASK, Back, Changed, Cut, Gone, Listed
from blox.cli.state_teller import Teller
from support.state_items import Item, cluster_body, deleted, instance_item, task_item

AT = datetime(2026, 11, 22, 23, 1, 0, 377_000, tzinfo=UTC)
"""A minute after everything was made."""


def listed(
    tasks: Sequence[Item] = (),
    instances: Sequence[Item] = (),
    clusters: Sequence[Item] = (),
) -> Listed:
    """Everything as it is at first."""
    return Listed("k.1", {CLUSTER: clusters, INSTANCE: instances, TASK: tasks}, "")


def changed(before: Item | None, after: Item, kind: str = "") -> Changed:
    """One change."""
    return Changed(kind or after["kind"], before, after, "k.2")


def board(kind: str = TASK, *, several: bool = False, title: str = "blox watch") -> Board:
    """A screen that has been told nothing."""
    return Board(title, kind=kind, several=several)


def lines(shown: Board, *, now: float = 0.0, width: int = 80, height: int = 24) -> list[str]:
    """What the screen says."""
    return ["".join(text for text, _ in one).rstrip() for one in drawn(shown, now, width, height)]


def drawn(shown: Board, now: float = 0.0, width: int = 80, height: int = 24) -> list[Line]:
    """The screen, which fits."""
    found = shown.frame(at=AT, now=now, width=width, height=height)
    assert len(found) <= height
    assert max(sum(len(text) for text, _ in line) for line in found) <= width
    return found


def style_of(found: Sequence[Line], text: str) -> str:
    """The style of the first part that has this text in it."""
    return next(style for line in found for part, style in line if text in part)


# --- The screen -----------------------------------------------------------------------------------


def test_tasks_as_they_are_and_what_changed_last() -> None:
    shown = board(title="blox watch tasks   demo")
    shown.hear(
        listed(
            [task_item(1), task_item(2, lastStatus="PENDING")],
            [instance_item(1)],
            [cluster_body()],
        ),
        at=AT,
        now=0.0,
    )
    shown.hear(
        changed(task_item(2, lastStatus="PENDING"), task_item(2)),
        at=AT,
        now=1.0,
    )
    assert lines(shown, now=1.0) == [
        "blox watch tasks   demo   live   23:01:00 UTC                     Ctrl-C ends it",
        "1 instance = 1 ACTIVE · tasks: 2 running",
        "2 tasks = 2 RUNNING",
        "",
        "TASK       RUNS          STATUS   HEALTH  HOST                 AGE   STARTED BY",
        "00000000…  fluent-bit:1  RUNNING  -       i-00000000000000001  60 s  0f8fad5b…",
        "00000000…  fluent-bit:1  RUNNING  -       i-00000000000000001  60 s  0f8fad5b…",
        "",
        "23:01:00  demo  task 00000000… fluent-bit:1 on i-0000000000…  PENDING -> RUNNING",
    ]


def test_before_anything_is_known_it_says_so() -> None:
    assert lines(board()) == [
        "blox watch   listing   23:01:00 UTC                               Ctrl-C ends it",
        "",
    ]
    shown = board()
    shown.hear(listed(), at=AT, now=0.0)
    assert lines(shown)[1:] == ["no instances", "no tasks", "", "no tasks"]


def test_what_is_unsettled_stands_on_top_then_what_changed_last() -> None:
    items = [
        instance_item(1),
        instance_item(2),
        instance_item(3, status="DRAINING"),
        instance_item(4, agentConnected=False),
    ]
    shown = board(INSTANCE)
    shown.hear(listed(instances=items, clusters=[cluster_body()]), at=AT, now=0.0)
    shown.hear(changed(items[1], instance_item(2, cpu=100)), at=AT, now=1.0)
    rows = [line.split()[0] for line in lines(shown, now=1.0) if line.startswith("i-")]
    assert rows == [f"i-{number:017x}" for number in (3, 4, 2, 1)]
    found = drawn(shown, now=1.0)
    assert style_of(found, f"i-{4:017x}") == "bold red"
    assert style_of(found, f"i-{2:017x}") == "bold"
    assert style_of(drawn(shown, now=7.0), f"i-{2:017x}") == ""


def test_more_rows_than_fit_are_counted() -> None:
    shown = board()
    tasks = [task_item(number) for number in range(3000)]
    shown.hear(listed(tasks, [instance_item(1)], [cluster_body()]), at=AT, now=0.0)
    found = lines(shown, height=12)
    rows = [line for line in found if line.startswith("00000")]
    assert found[-1] == f"and {3000 - len(rows)} more"
    assert len(rows) == 6
    assert "3000 tasks = 3000 RUNNING" in found


@pytest.mark.parametrize("height", [1, 3, 5, 8, 24, 60])
@pytest.mark.parametrize("width", [20, 40, 80, 160])
def test_it_fits_every_screen(width: int, height: int) -> None:
    shown = board(several=True, title="blox watch tasks   a-cluster-with-a-long-name")
    tasks = [task_item(number, lastStatus="PENDING") for number in range(50)]
    clusters = [cluster_body(name, primed=False) for name in "abcdef"]
    shown.hear(listed(tasks, [instance_item(1)], clusters), at=AT, now=0.0)
    for item in tasks:
        after = {**item, "task": {**item["task"], "lastStatus": "RUNNING"}}
        shown.hear(changed(item, after), at=AT, now=1.0)
    drawn(shown, 1.0, width, height)


def test_the_overview_counts_each_clusters_hosts_and_tasks() -> None:
    shown = board(CLUSTER, several=True)
    shown.hear(
        listed(
            [task_item(1), task_item(2), task_item(3, lastStatus="PENDING")],
            [instance_item(1), instance_item(2, agentConnected=False)],
            [cluster_body(age=30.0), cluster_body("edge", primed=False, age=None, sweep=0)],
        ),
        at=AT,
        now=100.0,
    )
    assert lines(shown, now=112.0, width=120)[4:] == [
        "CLUSTER  STATUS                HOSTS                   TASKS                 "
        "READ COMPLETELY",
        "demo     ACTIVE                1 ACTIVE, 1 agent gone  2 RUNNING, 1 PENDING  42 s ago",
        "edge     ACTIVE, not read yet  none                    none                  not yet",
    ]
    assert lines(shown, now=112.0)[4].endswith("TASKS")


def test_a_sweep_more_makes_a_cluster_fresh_without_a_word() -> None:
    shown = board(CLUSTER)
    shown.hear(listed(clusters=[cluster_body(age=30.0, sweep=7)]), at=AT, now=100.0)
    shown.hear(changed(cluster_body(sweep=7), cluster_body(sweep=8), CLUSTER), at=AT, now=110.0)
    assert lines(shown, now=111.0)[-1].endswith("1.0 s ago")


def test_clusters_that_are_not_known_well_are_named_and_counted() -> None:
    shown = board(several=True)
    clusters = [
        cluster_body("a", error="AccessDenied: ecs:ListTasks"),
        *(cluster_body(name, primed=False) for name in "bcde"),
    ]
    shown.hear(listed(clusters=clusters), at=AT, now=0.0)
    assert lines(shown)[3:6] == [
        "a cannot be read: AccessDenied: ecs:ListTasks",
        "b is not read completely yet: rows may be old or missing",
        "and 3 more clusters like that",
    ]


def test_while_it_is_cut_off_nothing_looks_current() -> None:
    shown = board()
    shown.hear(listed([task_item(1)], [instance_item(1)], [cluster_body()]), at=AT, now=0.0)
    shown.hear(Cut("the stream ended: the connection was closed", 0.5), at=AT, now=0.0)
    found = drawn(shown)
    assert lines(shown)[0].startswith("blox watch   CUT OFF, tried again every 0.5 s: the stream")
    assert style_of(found, "CUT OFF") == "bold red"
    assert style_of(found, "RUNNING  ") == "dim"
    shown.hear(Back(2.0), at=AT, now=0.0)
    assert "live" in lines(shown)[0]
    assert style_of(drawn(shown), "RUNNING  ") == ""


def test_what_is_gone_is_not_listed() -> None:
    item = task_item(1)
    shown = board()
    shown.hear(listed([item], [instance_item(1)], [cluster_body()]), at=AT, now=0.0)
    shown.hear(Gone(TASK, item, deleted(item, version=9), "k.9"), at=AT, now=0.0)
    assert lines(shown)[2:5] == ["no tasks", "", "no tasks"]
    assert lines(shown)[-1].endswith("gone")


# --- Lines ----------------------------------------------------------------------------------------


def test_a_change_is_told_with_what_it_is_about() -> None:
    teller = Teller()
    teller.learn([instance_item(1)])
    told = teller.tell(changed(task_item(1, lastStatus="PENDING"), task_item(1)), AT)
    assert told is not None
    assert (told.clock, told.cluster, told.what, told.words) == (
        "23:01:00.377",
        "demo",
        "task 00000000… fluent-bit:1 on i-00000000000000001",
        "PENDING -> RUNNING",
    )


def test_hosts_are_known_by_name_from_when_they_are_told_of() -> None:
    teller = Teller()
    new = teller.tell(changed(None, task_item(1, host=7)), AT)
    assert new is not None
    assert new.what == "task 00000000… fluent-bit:1 on 00000000…"
    assert teller.tell(changed(None, instance_item(7)), AT) is not None
    again = teller.tell(changed(None, task_item(2, host=7)), AT)
    assert again is not None
    assert again.what.endswith("on i-00000000000000007")


def test_nothing_is_told_of_what_says_nothing() -> None:
    teller = Teller()
    assert teller.tell(changed(task_item(1, version=1), task_item(1, version=2)), AT) is None
    sweep = changed(cluster_body(sweep=7), cluster_body(sweep=8), CLUSTER)
    assert teller.tell(sweep, AT) is None


def test_a_cluster_is_told_by_its_name() -> None:
    told = Teller().tell(changed(cluster_body(), cluster_body(error="no\nwhere"), CLUSTER), AT)
    assert told is not None
    assert (told.cluster, told.what, told.words) == (
        "demo",
        "cluster",
        "cannot be read: no\ufffdwhere",
    )
