"""What `blox verify-aws` says: what it is going to do, each answer, the sum, what it took back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from blox.account.questions import QUESTIONS
from blox.account.verify.definitions import FAMILY, SLEEP, Variant
from blox.account.verify.lab import Orders
from blox.account.verify.report import Answered, CleanUp, Outcome, Report
from blox.account.verify.verification import Survey, chosen
from blox.cli.output import count, plain, span

_WIDTH: Final = 10
_NAME: Final = 28
_OUTCOME: Final = 20
_ABOUT: Final = 25
"""Calls for looking around and cleaning up."""
_PER_TASK: Final = 4
"""Calls for starting, watching and stopping one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intention:
    """What a run is going to do."""

    survey: Survey
    orders: Orders
    caller: str
    """ARN of who asks, "" if that is not known."""
    endpoint: str
    image: str
    """What the tasks are, in words."""
    refused: dict[str, str]
    """Questions that cannot be asked → why."""


def intention_lines(intention: Intention, *, only: Sequence[str]) -> Iterator[str]:
    """What will be done, on which hosts, at what cost; and what cannot be asked."""
    found = intention.survey
    caller = f"   as {intention.caller}" if intention.caller else ""
    where = f"{found.name}   account {found.account}   region {found.region}{caller}"
    yield _line("cluster", where)
    yield _line("at", intention.endpoint)
    has = (
        count(len(found.hosts), "host"),
        count(found.tasks, "task"),
        count(found.services, "service"),
    )
    yield _line("it has", ", ".join(has))
    yield _line("uses", ", ".join(host.title for host in intention.orders.hosts))
    yield from _deeds(intention, only)
    _, names = chosen(only)
    refused = intention.refused
    cannot = f"; {len(refused)} cannot be asked so:" if refused else ""
    yield _line("asks", f"{len(names) - len(refused)} of {count(len(names), 'question')}{cannot}")
    for name, why in refused.items():
        yield _line("", f"{QUESTIONS[name].number:>3} {name}: {why}")


def _deeds(intention: Intention, only: Sequence[str]) -> Iterator[str]:
    """What it does and does not, and what that takes."""
    orders = intention.orders
    experiments, _ = chosen(only)
    tasks = sum(experiment.tasks for experiment in experiments)
    calls = _ABOUT + sum(experiment.calls for experiment in experiments) + _PER_TASK * tasks
    seconds = 10 + sum(experiment.seconds for experiment in experiments)
    start = f"start at most {count(tasks, 'task')} there, a few at a time"
    if not tasks:
        yield _line("does", "only read")
    elif orders.definition is None:
        most = len(Variant)
        yield _line("does", f"register up to {most} task definitions of the family {FAMILY}")
        yield _line("", f"{start}, startedBy {orders.started_by}")
        yield _line("", f"({intention.image}; each ends by itself after {SLEEP // 60} min)")
        yield _line("", "stop every one of them, deregister the definitions")
    else:
        yield _line("does", f"{start}, startedBy {orders.started_by}")
        yield _line("", f"(of {orders.definition}: {intention.image})")
        yield _line("", "stop every one of them")
    if orders.drain is not None:
        yield _line("", f"set {orders.drain.name} to DRAINING and back to ACTIVE")
        if orders.drain.running:
            yield _line("", "whose tasks that belong to services move to other hosts meanwhile")
    if orders.attributes:
        yield _line("", f"put an attribute on {orders.hosts[0].name} and take it away")
    spared = "" if orders.drain is not None else "; drain a host"
    spared += "" if orders.attributes or orders.drain is not None else "; put an attribute on one"
    yield _line("never", f"touch a task that it did not start{spared}")
    free = f"about {round(calls, -1)} calls of ECS, which are free"
    yield _line("costs", f"less than a cent: {free}, and small tasks on hosts that run anyway")
    yield _line("takes", f"about {span(seconds)}; Ctrl-C ends it and cleans up")


def _line(name: str, text: str) -> str:
    return plain(f"{name.ljust(_WIDTH)}{text}")


def answer_line(answered: Answered) -> str:
    """One answer, as soon as it is there."""
    finding = answered.finding
    question = QUESTIONS[finding.question]
    name = f"{question.number:>3} {question.id}".ljust(_NAME)
    return plain(f"{name}{_spoken(finding.outcome).ljust(_OUTCOME)}{finding.observed}")


def _spoken(outcome: Outcome) -> str:
    return outcome.value.upper() if outcome is Outcome.DIFFERS else outcome.value


def report_lines(report: Report, *, cluster: str) -> Iterator[str]:
    """The sum, what differs and what that means, what was taken back."""
    totals = report.totals
    yield ""
    if report.ended == "interrupted":
        yield "interrupted: what follows is what had been asked by then"
    yield (
        f"{count(len(report.answers), 'question')} = {totals[Outcome.AS_ASSUMED]} as assumed + "
        f"{totals[Outcome.DIFFERS]} differing + {totals[Outcome.NOT_ASKED]} that could not be asked"
    )
    for answer in report.answers:
        if answer.finding.outcome is Outcome.DIFFERS:
            question = QUESTIONS[answer.finding.question]
            both = "   (simulated runs draw this answer too)" if question.both else ""
            yield plain(f"{question.number:>3} {question.question}")
            yield plain(f"    assumed   {question.assumed}{both}")
            yield plain(f"    seen      {answer.finding.observed}")
            yield plain(f"    matters   {question.matters}")
    if report.ended.startswith("failed"):
        yield plain(f"It ended early: {report.ended}")
    yield from swept_lines(report.clean_up or CleanUp(), cluster=cluster)


def swept_lines(swept: CleanUp, *, cluster: str) -> Iterator[str]:
    """What was taken back, and what is left."""
    yield _line("cleaned", f"{swept.sentence}; {'nothing is left' if swept.done else 'NOT ALL:'}")
    if not swept.done:
        for line in dict.fromkeys((*swept.left, *swept.problems)):
            yield _line("", line)
        yield _line("next", f"blox verify-aws --cluster {cluster} --clean-up")
