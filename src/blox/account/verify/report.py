"""What `blox verify-aws` found out, as values: outcomes, evidence, what was left behind.

Nothing here is ever "probably": an answer is as assumed, or it differs, or it could not be had.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec
from msgspec import Struct

from blox.account.questions import QUESTIONS


class Outcome(StrEnum):
    """How a real answer stands beside the assumption."""

    AS_ASSUMED = "as assumed"
    DIFFERS = "differs"
    NOT_ASKED = "could not be asked"


class Finding(Struct, frozen=True, rename="camel"):
    """The answer to one question."""

    question: str
    """Its id."""
    outcome: Outcome
    observed: str
    """What was seen; of what could not be asked: why."""


def judged(question: str, observed: str, *, same: bool) -> Finding:
    """An answer, the same as assumed or not."""
    return Finding(question, Outcome.AS_ASSUMED if same else Outcome.DIFFERS, observed)


def not_asked(question: str, why: str) -> Finding:
    """No answer, and why."""
    return Finding(question, Outcome.NOT_ASKED, why)


class CallRecord(Struct, frozen=True, kw_only=True, rename="camel"):
    """One call and what came of it: evidence, and the way to CloudTrail."""

    operation: str
    status: int
    """HTTP status; 0 when no answer came."""
    code: str = ""
    """The error's code."""
    message: str = ""
    request_id: str = ""
    date: str = ""
    """The answer's Date header."""
    dated_back: float = 0.0
    """Seconds that its signature was dated back."""


class Answered(Struct, frozen=True, kw_only=True, rename="camel"):
    """One finding and how it was come by."""

    finding: Finding
    calls: Sequence[CallRecord] = ()
    """Of the experiment that led to it; one experiment may answer several questions."""
    seconds: float = 0.0


class CleanUp(Struct, frozen=True, kw_only=True, rename="camel"):
    """What was taken back at the end."""

    tasks_stopped: int = 0
    definitions_deregistered: int = 0
    hosts_activated: int = 0
    """Set from DRAINING back to ACTIVE."""
    attributes_removed: int = 0
    left: Sequence[str] = ()
    """What is still there, each with what it is."""
    problems: Sequence[str] = ()
    """What went wrong meanwhile."""

    @property
    def done(self) -> bool:
        """Whether nothing is left, as far as can be known."""
        return not self.left and not self.problems

    @property
    def sentence(self) -> str:
        """What was done, in one line."""
        parts = [
            _count(self.tasks_stopped, "task", "stopped"),
            _count(self.definitions_deregistered, "task definition", "deregistered"),
        ]
        if self.hosts_activated:
            parts.append(_count(self.hosts_activated, "host", "set back to ACTIVE"))
        if self.attributes_removed:
            parts.append(_count(self.attributes_removed, "attribute", "removed"))
        return ", ".join(parts)


def _count(number: int, noun: str, done: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'} {done}"


class Report(Struct, frozen=True, kw_only=True, rename="camel"):
    """One run of `blox verify-aws`."""

    blox: str
    """Version."""
    run: str
    cluster: str
    """ARN."""
    region: str
    account: str
    caller: str = ""
    """ARN of who asked; "" when STS did not say."""
    endpoint: str = ""
    began: str = ""
    """UTC, ISO 8601."""
    seconds: float = 0.0
    ended: str = "running"
    """`complete`, `interrupted`, `failed: …`; `running` in the file of a run that was killed."""
    assumptions: Mapping[str, float] = {}
    """S, E, V and B in seconds, as this process was told them."""
    hosts: Sequence[str] = ()
    """The hosts used: instance id and kind."""
    answers: Sequence[Answered] = ()
    calls: Mapping[str, int] = {}
    """Operation → calls made, clean-up included."""
    clean_up: CleanUp | None = None

    @property
    def totals(self) -> dict[Outcome, int]:
        """Outcome → answers with it; they add up to the answers."""
        found = Counter(answer.finding.outcome for answer in self.answers)
        return {outcome: found[outcome] for outcome in Outcome}


def rendered(report: Report, *, full: bool) -> dict[str, object]:
    """The report as JSON: questions and assumptions beside the answers, totals first. Without
    `full` the account's number shows its last four digits only, wherever it stands."""
    whole: dict[str, object] = msgspec.to_builtins(report)
    totals = report.totals
    whole["totals"] = {"questions": len(report.answers)} | {
        name: totals[outcome]
        for name, outcome in (
            ("asAssumed", Outcome.AS_ASSUMED),
            ("differ", Outcome.DIFFERS),
            ("notAsked", Outcome.NOT_ASKED),
        )
    }
    whole["answers"] = [_answer(answer) for answer in report.answers]
    if full or not report.account:
        return whole
    text = msgspec.json.encode(whole).decode()
    masked: dict[str, object] = msgspec.json.decode(mask(text, report.account))
    return masked


def mask(text: str, account: str) -> str:
    """`text` with all but the last four digits of the account's number starred out."""
    return text.replace(account, f"{'*' * (len(account) - 4)}{account[-4:]}") if account else text


def _answer(answer: Answered) -> dict[str, object]:
    question = QUESTIONS[answer.finding.question]
    return {
        "id": question.id,
        "number": question.number,
        "question": question.question,
        "assumed": question.assumed,
        "parameter": question.parameter,
        "promises": list(question.promises),
        "outcome": answer.finding.outcome.value,
        "observed": answer.finding.observed,
        "seconds": round(answer.seconds, 3),
        "calls": msgspec.to_builtins(list(answer.calls)),
    }


def in_order(answers: Iterable[Answered]) -> list[Answered]:
    """Answers in the order of the table."""
    places = {name: place for place, name in enumerate(QUESTIONS)}
    return sorted(answers, key=lambda answer: places[answer.finding.question])
