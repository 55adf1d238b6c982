"""How commands read names and times, and how they speak of counters and causes."""

import click
import pytest

from blox.base.errors import InvalidInput
from blox.cli.words import (
    UNWANTED,
    WANTED,
    cause_lines,
    duration,
    hosts_sum,
    problem_line,
    split_reference,
    wanted_sum,
)

NONE = dict.fromkeys((*WANTED, *UNWANTED, "superseded", "hosts", "wanted", "unavailable"), 0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86_400), (".5s", 0.5)],
)
def test_a_duration_is_seconds_or_has_a_unit(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "soon", "-1s", "1w", "1 m 3", "nan", "inf", "1e999"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no duration"):
        duration(text)


def test_a_reference_is_a_name_with_or_without_its_cluster() -> None:
    assert split_reference("logs") == (None, "logs")
    assert split_reference("demo/logs") == ("demo", "logs")
    for bad in ("", "/", "demo/", "/logs", "a/b/c", "a b", "demo/lo.gs", "x" * 31):
        with pytest.raises(InvalidInput, match="names no environment"):
            split_reference(bad)


def test_sums_name_what_is_there_and_nothing_else() -> None:
    counts = {**NONE, "hosts": 12, "wanted": 9, "ineligible": 2, "notReady": 1}
    counts |= {"current": 6, "inDoubt": 3}
    assert hosts_sum(counts) == "12 hosts = 9 wanted + 2 ineligible + 1 not ready"
    assert wanted_sum(counts) == "9 wanted = 6 current + 3 in doubt"
    assert hosts_sum(NONE) == "0 hosts = 0 wanted"
    assert wanted_sum(NONE) == "0 wanted = 0"
    one = {**NONE, "hosts": 1, "wanted": 1, "superseded": 1}
    assert hosts_sum(one) == "1 host = 1 wanted  (beside: 1 superseded record)"


def test_a_problem_has_a_count_a_cause_and_a_next_step() -> None:
    problem = {
        "code": "refused",
        "sentence": "ECS refused it\x1b[31m",
        "who": "you",
        "nextStep": "mend it",
        "count": 2,
        "requestId": "r-1",
    }
    assert problem_line(problem, look="blox hosts demo/logs") == (
        "2 hosts: ECS refused it\ufffd[31m (request r-1) -> you: mend it   blox hosts demo/logs"
    )
    whole = {**problem, "count": 0, "requestId": ""}
    assert problem_line(whole, look="x") == (
        "the whole environment: ECS refused it\ufffd[31m -> you: mend it"
    )


def test_causes_name_a_few_hosts() -> None:
    hosts = [{"instanceId": f"i-{number}", "arn": "a/b"} for number in range(5)]
    hosts[1]["instanceId"] = ""
    causes = [{"count": 7, "sentence": "no room", "hosts": hosts}]
    assert cause_lines(causes) == ["7 hosts: no room   i-0, b, i-2 and 4 more"]
