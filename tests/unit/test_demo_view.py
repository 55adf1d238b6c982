"""The live demo's screen, from a given picture."""

from dataclasses import replace

import pytest

from blox.cli.demo_view import (
    Happening,
    HostShown,
    Picture,
    Seen,
    frame,
    host_lines,
    plain_row,
    wrap,
)
from blox.cli.screen import Line, fit

GOOD = HostShown(
    arn="arn:good",
    name="i-a1b29e37",
    state="ACTIVE",
    daemon="5a2ef6:1 RUNNING",
    verdict="keep",
    slot_class="current",
    reason="one daemon, target revision, healthy",
    who="blox",
)
FAILING = replace(
    GOOD,
    arn="arn:failing",
    name="i-a1b2f1b8",
    daemon="",
    verdict="wait",
    slot_class="failing",
    reason="died young 3 times, last: Essential container in task exited (exit 1)",
    who="blox",
)
REFUSED = replace(
    GOOD, arn="arn:refused", slot_class="blocked", verdict="wait", reason="no memory", who="you"
)
QUIET = Seen(calls=16, starts=4, stops=2, reads=10, throttled=0, two=0, worst=4.9)
PICTURE = Picture(
    elapsed=75.0,
    title="blox demo   demo/logs",
    deployment="deployment of revision 1 (fluent-bit:1): completed",
    hosts=[replace(GOOD, arn=f"arn:{n}", name=f"i-{n:08x}") for n in range(11)] + [FAILING],
    sums=["12 hosts = 12 wanted", "12 wanted = 11 current + 1 failing"],
    events=[Happening(at=float(n), text=f"event {n}") for n in range(9)],
    seen=QUIET,
    commands=[f"command {n}" for n in range(6)],
)


def texts(lines: list[Line]) -> list[str]:
    return ["".join(part for part, _ in line).rstrip() for line in lines]


def styles_of(lines: list[Line], text: str) -> set[str]:
    return {style for line in lines for part, style in line if text in part}


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("height", [10, 24, 30, 40, 60])
def test_it_never_leaves_the_screen(width: int, height: int) -> None:
    lines = texts(frame(PICTURE, width=width, height=height))
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_everything_is_on_thirty_lines(width: int) -> None:
    lines = texts(frame(PICTURE, width=width, height=30))
    screen = "\n".join(lines)
    assert "blox demo   demo/logs   1:15" in lines[0]
    for host in PICTURE.hosts:
        assert screen.count(host.name) == 1
    for text in (*PICTURE.sums, *PICTURE.commands, "event 8", "event 7", "event 6"):
        assert text in screen
    assert "ECS saw 16 calls: 4 StartTask, 2 StopTask, 10 reads; throttled 0" in lines
    assert "hosts that ever had two daemons: 0   longest without one: 4.9 s" in lines


def test_at_120_columns_reasons_are_whole() -> None:
    lines = texts(frame(PICTURE, width=120, height=30))
    assert sum(GOOD.reason in line for line in lines) == 11
    assert "".join(lines).count("blox died young 3 times") == 1


def test_at_80_columns_the_reason_of_what_is_wrong_is_wrapped_and_the_others_are_cut() -> None:
    lines = texts(host_lines(PICTURE.hosts, width=80, lines=15))
    assert len(lines) == 14
    assert lines[0].endswith("one daemon, target revision")
    wrapped = " ".join(line.strip() for line in lines[11:])
    assert wrapped.endswith(FAILING.reason)


def test_hosts_that_are_well_give_way_on_a_small_screen() -> None:
    lines = texts(host_lines(PICTURE.hosts, width=80, lines=4))
    assert len(lines) == 4
    assert lines[2].startswith(FAILING.name)
    assert lines[3] == "and 9 more, all as they should be"


def test_more_failures_than_fit_are_not_called_well() -> None:
    hosts = [replace(FAILING, arn=f"arn:{n}") for n in range(6)]
    assert texts(host_lines(hosts, width=80, lines=4))[3] == "and 3 more, …"


def test_who_acts_is_named_where_something_is_to_do() -> None:
    good, refused = texts(host_lines([GOOD, REFUSED], width=120, lines=4))
    assert " you  no memory" in refused
    assert "blox" not in good
    assert plain_row(REFUSED).endswith("wait: no memory (you act)")
    assert "acts" not in plain_row(GOOD)


def test_two_daemons_are_loud() -> None:
    two = replace(GOOD, daemon="2 DAEMONS", two=True)
    assert styles_of(host_lines([two], width=80, lines=4), "2 DAEMONS") == {"bold red"}
    picture = replace(PICTURE, seen=replace(QUIET, two=1))
    lines = frame(picture, width=80, height=30)
    assert "bold red" in {style for line in lines for part, style in line if part == "1"}


def test_a_problem_takes_the_place_of_what_may_be_old() -> None:
    picture = replace(PICTURE, problem="what blox says is old: nobody listens")
    lines = frame(picture, width=80, height=30)
    assert texts(lines)[1] == "what blox says is old: nobody listens"
    assert styles_of(lines, "nobody listens") == {"bold red"}


def test_before_anything_is_known_there_is_a_screen_too() -> None:
    empty = Picture(
        elapsed=0.0, title="t", deployment="d", hosts=[], sums=[], events=[], seen=QUIET
    )
    assert len(frame(empty, width=80, height=30)) >= 5


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 10, "short"),
        ("one daemon, target revision, healthy", 27, "one daemon, target revision"),
        ("one daemon, target revision, healthy", 19, "one daemon"),
        ("nowhere to cut this", 10, "nowhere t…"),
        ("anything", 0, ""),
    ],
)
def test_texts_are_cut_at_the_end_of_a_clause(text: str, width: int, expected: str) -> None:
    assert fit(text, width) == expected


def test_wrapping_keeps_every_word() -> None:
    assert wrap("a start call is on its way", 12) == ["a start call", "is on its", "way"]
    assert wrap("", 12) == [""]
