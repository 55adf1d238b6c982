"""How commands speak of freezes, holds, causes and tables that must fit."""

from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from click.testing import CliRunner

from blox.cli.common_traits import by_traits, traits_line
from blox.cli.groups import DefaultGroup
from blox.cli.output import Changing, fitted_lines, say_wrapped
from blox.cli.words import concerns, frozen_line, frozen_words, held_line, thaw_command, until
from blox.ecs.model import Host

ROWS = (("i-0a9b8c7d6e5f40312", "a sentence that is long enough to be wrapped", "-"),)


def freeze(scope: str, **more: object) -> dict[str, Any]:
    given = {"scope": scope, "cluster": None, "environment": None, "why": "INC-812", "id": "F1"}
    return {**given, "until": "2100-01-01T00:00:00Z", **more}


CLUSTER = freeze("cluster", cluster="demo")
LOGS = freeze("environment", cluster="demo", environment="logs")


# --- Freezes and holds ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words", "command"),
    [
        (freeze("everything"), "everything", "blox thaw --everything"),
        (CLUSTER, "cluster demo", "blox thaw --cluster demo"),
        (LOGS, "demo/logs", "blox thaw --environment demo/logs"),
        (freeze("environment"), "an environment that is deleted", "blox thaw F1"),
    ],
)
def test_a_freeze_says_what_it_is_about_and_what_ends_it(
    body: dict[str, Any], words: str, command: str
) -> None:
    assert frozen_words(body) == words
    assert thaw_command(body) == command
    assert frozen_line(body).startswith(f"FROZEN: {words} until 2100-01-01 00:00:00 UTC (")
    assert frozen_line(body).endswith(f" left): INC-812   {command}")


@pytest.mark.parametrize(
    ("body", "demo", "demo_logs", "demo_other", "prod_logs"),
    [
        (freeze("everything"), True, True, True, True),
        (CLUSTER, True, True, True, False),
        (LOGS, True, True, False, False),
    ],
)
def test_a_freeze_concerns_its_place_and_nothing_else(
    body: dict[str, Any], demo: bool, demo_logs: bool, demo_other: bool, prod_logs: bool
) -> None:
    assert concerns(body, "demo") is demo
    assert concerns(body, "demo", "logs") is demo_logs
    assert concerns(body, "demo", "other") is demo_other
    assert concerns(body, "prod", "logs") is prod_logs


def test_what_is_left_is_rounded_up_and_never_negative() -> None:
    soon = datetime.now(UTC) + timedelta(hours=2)
    assert until({"until": soon.isoformat()}).endswith(" UTC (2 h left)")
    assert until({"until": "2001-01-01T00:00:00Z"}) == "2001-01-01 00:00:00 UTC (0 s left)"


def test_a_reason_from_elsewhere_cannot_paint() -> None:
    assert "\x1b" not in frozen_line(freeze("everything", why="\x1b[31mred"))
    hold = {"instanceId": "", "host": "a/b", "cluster": "demo", "why": "\x1b[31m"}
    line = held_line({**hold, "until": "2100-01-01T00:00:00Z"})
    assert line.startswith("HELD: b on demo until 2100")
    assert line.endswith("\ufffd[31m   blox hosts release b")


# --- What hosts share -----------------------------------------------------------------------------


def host(number: int, zone: str, kind: str = "m5") -> Host:
    attributes = {"ecs.availability-zone": zone, "ecs.instance-type": kind}
    return Host(arn=f"host/{number}", cluster_arn="demo", attributes=attributes)


def test_failing_hosts_fall_into_groups_by_what_sets_them_apart() -> None:
    failing = [host(1, "f"), host(2, "f"), host(3, "f"), host(4, "a", "nano")]
    others = [host(n, "a") for n in range(10, 14)]
    groups = by_traits(failing, others)
    assert [[h.arn for h in hosts] for _, hosts in groups] == [
        ["host/1", "host/2", "host/3"],
        ["host/4"],
    ]
    assert [traits_line(traits) for traits, _ in groups] == [
        "zone f (all 3; 0 of 4 others)",
        "type nano (the one; 0 of 4 others)",
    ]


def test_every_failing_host_is_in_one_group() -> None:
    failing = [host(n, zone) for n, zone in enumerate("aabbcc")]
    groups = by_traits(failing, [host(9, "d")])
    assert sorted(h.arn for _, hosts in groups for h in hosts) == [h.arn for h in failing]
    assert by_traits([], [host(9, "d")]) == []
    assert by_traits(failing, []) == [((), failing)]


# --- Tables and lines -----------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_table_fits_and_breaks_no_name(width: int) -> None:
    lines = fitted_lines(("HOST", "WHY", "TASK"), ROWS, width)
    assert max(map(len, lines)) <= width
    assert "i-0a9b8c7d6e5f40312" in lines[1]
    words = [word for line in lines[1:] for word in line.split()]
    assert sorted(words) == sorted(" ".join(ROWS[0]).split())


def test_a_table_that_cannot_fit_is_wider_rather_than_torn() -> None:
    lines = fitted_lines(("HOST", "WHY"), [("i-0a9b8c7d6e5f40312", "x" * 30)], 20)
    assert "i-0a9b8c7d6e5f40312" in lines[1]
    assert "x" * 30 in lines[1]


def test_elsewhere_than_on_a_terminal_lines_are_not_wrapped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say_wrapped("  " + "word " * 60 + "\x1b[31m")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("\ufffd[31m")


def test_progress_elsewhere_is_a_line_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    for silent in (False, True):
        progress = Changing(silent=silent)
        for line in ("  1", "  1", "  2"):
            progress.show(line, beside="3 s")
        progress.end()
    assert capsys.readouterr().out == "  1\n  2\n"


# --- A group with a default -----------------------------------------------------------------------


@click.group(cls=DefaultGroup, default="list", usage="NAME | hold HOST")
@click.option("--endpoint")
def things(**_: object) -> None:
    """Things."""


@things.command("list")
@click.argument("name")
@click.option("--class", "kind")
@click.option("--all", "every", is_flag=True)
def list_(name: str, kind: str | None, every: bool) -> None:
    click.echo(f"list {name} {kind} {every}")


@things.command()
@click.argument("host")
def hold(host: str) -> None:
    click.echo(f"hold {host}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["logs"], "list logs None False"),
        (["logs", "--all"], "list logs None True"),
        (["--all", "logs"], "list logs None True"),
        (["--class", "hold", "logs"], "list logs hold False"),
        (["list", "hold"], "list hold None False"),
        (["hold", "i-1"], "hold i-1"),
        (["--endpoint", "list", "hold", "i-1"], "hold i-1"),
    ],
)
def test_the_default_need_not_be_named(words: list[str], said: str) -> None:
    result = CliRunner().invoke(things, words)
    assert (result.output.strip(), result.exit_code) == (said, 0)


def test_the_groups_help_shows_the_defaults_options_and_the_commands() -> None:
    told = CliRunner().invoke(things, ["--help"]).output
    assert "Usage: things NAME | hold HOST" in told
    for part in ("--class", "--all", "--endpoint", "hold", "list"):
        assert part in told, part
    assert CliRunner().invoke(things, ["logs", "--nothing"]).exit_code == 2
