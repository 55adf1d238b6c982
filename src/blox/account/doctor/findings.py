"""What a finding of `blox doctor` is made of, and the words that several of them share."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

from blox.account.doctor.facts import Caller, Facts


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing is broken."""
    PROBLEM = "PROBLEM"
    """Counts towards the exit code."""


class Finding(Struct, frozen=True, kw_only=True):
    """One line."""

    subject: str
    """What it is about: `reads`, `queue`, `scale-in` …"""
    level: Level
    code: str
    """Names the finding for programs; does not change with the numbers in it."""
    sentence: str
    next_step: str = ""
    cluster: str = ""
    """The cluster's name; "" for what belongs to the account."""
    statements: tuple[Mapping[str, object], ...] = ()
    """What an IAM policy lacks."""


class Report(Struct, frozen=True, kw_only=True):
    """All findings, in the order in which they are shown."""

    findings: tuple[Finding, ...]

    @property
    def problems(self) -> int:
        return sum(1 for finding in self.findings if finding.level is Level.PROBLEM)

    @property
    def notes(self) -> int:
        return sum(1 for finding in self.findings if finding.level is Level.NOTE)

    @property
    def exit_code(self) -> int:
        """The number of problems, and 100 for all that are more: above 125 shells have meanings of
        their own."""
        return min(self.problems, 100)


def ok(subject: str, code: str, sentence: str, *, cluster: str = "") -> Finding:
    """A finding about something that is well."""
    return Finding(subject=subject, level=Level.OK, code=code, sentence=sentence, cluster=cluster)


def note(
    subject: str,
    code: str,
    sentence: str,
    next_step: str = "",
    *,
    cluster: str = "",
    statements: Sequence[Mapping[str, object]] = (),
) -> Finding:
    """A finding worth knowing."""
    return Finding(
        subject=subject,
        level=Level.NOTE,
        code=code,
        sentence=sentence,
        next_step=next_step,
        cluster=cluster,
        statements=tuple(statements),
    )


def problem(
    subject: str,
    code: str,
    sentence: str,
    next_step: str,
    *,
    cluster: str = "",
    statements: Sequence[Mapping[str, object]] = (),
) -> Finding:
    """A finding that somebody must do something about."""
    return Finding(
        subject=subject,
        level=Level.PROBLEM,
        code=code,
        sentence=sentence,
        next_step=next_step,
        cluster=cluster,
        statements=tuple(statements),
    )


def account_of(facts: Facts) -> str:
    """The account's number; "" when nothing tells it."""
    if isinstance(facts.caller, Caller):
        return facts.caller.account
    return next((c.arn.split(":")[4] for c in facts.clusters if c.arn.count(":") >= 5), "")


def counted(number: int, noun: str) -> str:
    """A number and its noun: 1 host, 2 hosts."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def named(names: Sequence[str], *, most: int = 3) -> str:
    """Some names, and how many are left: a, b, c and 4 more."""
    left = len(names) - most
    shown = ", ".join(names[:most])
    return f"{shown} and {left} more" if left > 0 else shown


def tally(values: Iterable[str]) -> str:
    """How often each value occurs, the most frequent first: x86_64 11 · arm64 5."""
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return " · ".join(f"{value} {number}" for value, number in ranked)
