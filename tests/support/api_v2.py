"""Asking /v2 in tests: its problems, its counters, its patches."""

from collections.abc import Callable
from typing import Any, Final

from support.running import Bench, Response

ONE: Final = "/v2/environments/demo/logs"
WANTED: Final = (
    "current",
    "settling",
    "outdated",
    "starting",
    "inDoubt",
    "stopping",
    "failing",
    "blocked",
    "occupied",
    "missing",
)
UNWANTED: Final = (
    "unmatched",
    "ineligible",
    "leaving",
    "notReady",
    "away",
    "lost",
    "held",
    "yielded",
)


def problem(answer: Response, status: int) -> str:
    """The sentence of an error, which is a problem document."""
    assert answer.status == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == status
    return str(answer.json["detail"])


def adds_up(counts: Any) -> bool:
    """Whether the two sums of the counters hold."""
    return bool(
        counts["wanted"] == sum(counts[name] for name in WANTED)
        and counts["hosts"] == counts["wanted"] + sum(counts[name] for name in UNWANTED)
    )


def patch(bench: Bench, change: object, *, if_match: str | None = None) -> Response:
    """A merge patch of the environment `logs`."""
    headers = {"Content-Type": "application/merge-patch+json"}
    if if_match is not None:
        headers["If-Match"] = if_match
    return bench.ask("PATCH", ONE, change, headers=headers)


def current(number: int) -> Callable[[Any], bool]:
    """Whether so many hosts of an environment are current."""
    return lambda found: bool(found["counts"]["current"] == number)
