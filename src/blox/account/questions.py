"""What blox takes for granted about real ECS and nobody has told it: one table.

`blox verify-aws` asks a real account, `blox doctor` counts what was never seen, README shows the
table, and a test holds them together. Each row says what the simulator assumes and by which of its
parameters, so that an answer from AWS can be put beside it.

A row becomes *seen* by hand, from a report of `blox verify-aws`, with the date and the region.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

BEGIN: Final = "<!-- verify-aws -->"
"""Stands before the table in README."""
END: Final = "<!-- /verify-aws -->"
"""Stands after it."""


class Seen(Struct, frozen=True, kw_only=True):
    """An answer that a real account gave."""

    date: str
    """YYYY-MM-DD."""
    region: str
    answer: str


class Question(Struct, frozen=True, kw_only=True):
    """One row of the table."""

    number: str
    """Its place in the table: 1, 2a, 2b, …"""
    id: str
    """What `blox verify-aws --only` takes."""
    question: str
    assumed: str
    """What the simulator does unless it is told otherwise, and blox expects."""
    parameter: str
    """What holds that: a field of the simulator's Switches or of the settings' Assumptions, as in
    `Switches.start_on_draining`; "" where the simulator can do nothing else."""
    both: bool
    """Whether simulated runs draw the other answer as well, so that the promises hold either
    way."""
    matters: str
    """What becomes of blox where the answer is another one."""
    promises: tuple[int, ...]
    """The promises that it bears on; none where only a warning or a figure does."""
    seen: Seen | None = None
    """None: never."""


_TABLE: Final = (
    Question(
        number="1",
        id="start-on-draining",
        question="What does StartTask do on a DRAINING host?",
        assumed="it starts the task",
        parameter="Switches.start_on_draining",
        both=True,
        matters="blox does not ask for it; a start call that a drain overtakes ends either way",
        promises=(2, 9),
    ),
    Question(
        number="2a",
        id="start-on-external",
        question="Does StartTask work on EXTERNAL hosts (ECS Anywhere)?",
        assumed="it starts the task, with launchType EXTERNAL",
        parameter="Switches.start_on_external",
        both=True,
        matters="without it blox is of no use on ECS Anywhere: each such host would be refused",
        promises=(5, 7),
    ),
    Question(
        number="2b",
        id="start-on-managed",
        question="Does StartTask work on hosts of ECS Managed Instances?",
        assumed="it starts the task, as on any EC2 host",
        parameter="",
        both=False,
        matters="without it each such host would be refused; ECS has Managed Daemons for them",
        promises=(5, 7),
    ),
    Question(
        number="3",
        id="placement-constraints",
        question="Does StartTask evaluate the task definition's placementConstraints?",
        assumed="no: the task starts where they do not hold",
        parameter="Switches.constraints_checked",
        both=True,
        matters="blox evaluates those that it can read; others would be refused with ATTRIBUTE",
        promises=(7,),
    ),
    Question(
        number="4a",
        id="same-host-twice",
        question="What does one StartTask do that names the same host twice?",
        assumed="it starts one task",
        parameter="Switches.repeated_host",
        both=True,
        matters="blox never asks so; were it to, two tasks might start",
        promises=(1,),
    ),
    Question(
        number="4b",
        id="eleven-hosts",
        question="What does a StartTask of 11 hosts give?",
        assumed="InvalidParameterException; nothing starts",
        parameter="",
        both=False,
        matters="blox names at most ten",
        promises=(4,),
    ),
    Question(
        number="4c",
        id="describe-101",
        question="What does a DescribeTasks of 101 tasks give?",
        assumed="InvalidParameterException",
        parameter="",
        both=False,
        matters="blox names at most a hundred",
        promises=(4,),
    ),
    Question(
        number="5a",
        id="list-started-by-stopped",
        question="Does ListTasks take startedBy together with desiredStatus STOPPED?",
        assumed="no: InvalidParameterException",
        parameter="Switches.started_by_alone",
        both=True,
        matters="blox lists by desiredStatus alone; with it a doubt would cost fewer reads",
        promises=(4,),
    ),
    Question(
        number="5b",
        id="list-started-by-host",
        question="Does ListTasks take startedBy together with containerInstance?",
        assumed="no: InvalidParameterException",
        parameter="",
        both=False,
        matters="as 5a",
        promises=(4,),
    ),
    Question(
        number="5c",
        id="list-host-family",
        question="Does ListTasks take containerInstance together with family?",
        assumed="yes",
        parameter="",
        both=False,
        matters="as 5a",
        promises=(4,),
    ),
    Question(
        number="6",
        id="read-lag",
        question="How long after StartTask can ListTasks and DescribeTasks miss the task?",
        assumed="at most V (300 s)",
        parameter="Assumptions.read_lag",
        both=False,
        matters="a task that is hidden longer may be doubled after a lost answer",
        promises=(1,),
    ),
    Question(
        number="7a",
        id="attributes-version",
        question="Does PutAttributes raise the host's version and send an event?",
        assumed="no",
        parameter="Switches.attributes_bump_version",
        both=True,
        matters="if not, a changed attribute is seen with the next sweep (60 s), not by an event",
        promises=(3,),
    ),
    Question(
        number="7b",
        id="draining-version",
        question="Does a change to DRAINING raise the host's version and send an event?",
        assumed="yes",
        parameter="Switches.draining_bumps_version",
        both=True,
        matters="if not, a drain is seen with the next sweep (60 s), not by an event",
        promises=(3,),
    ),
    Question(
        number="8",
        id="agent-disconnect",
        question="How long after a host's death is its agent shown as disconnected?",
        assumed="minutes, no number",
        parameter="",
        both=False,
        matters="until then the host counts as there and its daemon as running",
        promises=(7,),
    ),
    Question(
        number="9",
        id="list-tokens",
        question="How long does a listing's token live, and does a listing skip what stays?",
        assumed="a token lives as long as a sweep takes; what is there throughout is listed",
        parameter="",
        both=False,
        matters="a sweep whose token dies begins anew; a skipped task would look absent",
        promises=(1, 2),
    ),
    Question(
        number="10a",
        id="stop-reason",
        question="How long may a StopTask reason be?",
        assumed="255 characters come back whole, longer ones are cut at 1,024",
        parameter="",
        both=False,
        matters="blox sends at most 255; a refusal would keep it from stopping anything",
        promises=(6, 9),
    ),
    Question(
        number="10b",
        id="stop-stopped",
        question="What does StopTask say of a task that is STOPPED already?",
        assumed="it answers as for any other",
        parameter="Switches.stop_of_stopped_answers",
        both=True,
        matters="a stop is never resent; blox looks again whatever the answer is",
        promises=(9,),
    ),
    Question(
        number="11",
        id="event-latency",
        question="How late are events?",
        assumed="seconds in general; minutes, hours, 14 days or never must do no harm",
        parameter="Faults.event_late",
        both=True,
        matters="what an event tells late is decided late",
        promises=(3,),
    ),
    Question(
        number="12",
        id="event-overrides",
        question="Do task state change events carry the overrides' environment?",
        assumed="yes",
        parameter="Switches.events_carry_overrides",
        both=True,
        matters="if not, each unknown task on a host in doubt costs a DescribeTasks",
        promises=(4,),
    ),
    Question(
        number="13",
        id="backdated-signature",
        question="Do temporary credentials sign a StartTask that is dated four minutes back?",
        assumed="yes",
        parameter="Switches.backdated_refused",
        both=True,
        matters="if not, B becomes 0 and a lost answer keeps a host waiting 660 s, not 420 s",
        promises=(3,),
    ),
    Question(
        number="14",
        id="signature-age",
        question="From which age on is a signature refused: 300 s, 900 s, never?",
        assumed="more than S (300 s)",
        parameter="Switches.signature",
        both=False,
        matters="blox tries before its first start, and takes S = 900 s or does without the fence",
        promises=(1,),
    ),
    Question(
        number="15",
        id="ports-token",
        question="Does the same static host port twice on one host give RESOURCE:PORTS?",
        assumed="yes, in the network modes bridge and host",
        parameter="",
        both=False,
        matters="the verdict *no room* names the port; a second start could do no harm there",
        promises=(1, 7),
    ),
    Question(
        number="16",
        id="run-task-token",
        question="Does RunTask's clientToken give the first result again, placed by ec2InstanceId?",
        assumed="the same task, on the host named; other parameters give ConflictException",
        parameter="",
        both=False,
        matters="single starts could then be asked again at once instead of after W",
        promises=(1, 3),
    ),
    Question(
        number="17",
        id="group-prefix",
        question="May a task's group begin with `blox:`?",
        assumed="yes, and it is shown so",
        parameter="",
        both=False,
        matters="blox starts every daemon with such a group: a refusal would stop it altogether",
        promises=(3,),
    ),
    Question(
        number="18",
        id="acceptance-lag",
        question="How long after ECS accepted a StartTask is the task's record made?",
        assumed="at most E (60 s)",
        parameter="Assumptions.acceptance_lag",
        both=False,
        matters="a request that takes longer may start a second daemon after a lost answer",
        promises=(1,),
    ),
    Question(
        number="19",
        id="inactive-definition",
        question="Which error does StartTask give for an INACTIVE task definition?",
        assumed="ClientException",
        parameter="Switches.inactive_definition_code",
        both=True,
        matters="another code costs a few more calls until the cause is known",
        promises=(4, 7),
    ),
    Question(
        number="20",
        id="denied-status",
        question="Which HTTP status has AccessDeniedException: 400 or 403?",
        assumed="400",
        parameter="Switches.denied_status",
        both=True,
        matters="nothing: blox goes by the code",
        promises=(),
    ),
    Question(
        number="21",
        id="pending-behind-stopping",
        question="Does a new task stay PENDING while another task of its host is stopping?",
        assumed="yes, until that one is STOPPED",
        parameter="Switches.pending_waits_for_stopping",
        both=True,
        matters="the deadline of a PENDING daemon stands still meanwhile",
        promises=(2, 6),
    ),
    Question(
        number="22",
        id="arn-format",
        question="Do tasks and hosts have ARNs that name the cluster?",
        assumed="yes, the long format",
        parameter="Switches.short_arns",
        both=True,
        matters="blox reads both",
        promises=(),
    ),
)

QUESTIONS: Final[Mapping[str, Question]] = {question.id: question for question in _TABLE}
"""Every question by its id, in the order of the table."""


def markdown_table() -> str:
    """The table as README shows it between BEGIN and END: lines, each with its end."""
    lines = [
        "| | the question | the simulator assumes | why it matters | seen |",
        "|---|---|---|---|---|",
        *(_row(question) for question in QUESTIONS.values()),
    ]
    return "".join(f"{line}\n" for line in lines)


def _row(question: Question) -> str:
    also = " (and tries others)" if question.both else ""
    cells = (
        question.number,
        question.question,
        f"{question.assumed}{also}",
        question.matters,
        "never" if question.seen is None else _seen(question.seen),
    )
    return f"| {' | '.join(cells)} |"


def _seen(seen: Seen) -> str:
    return f"{seen.date}, {seen.region}: {seen.answer}"
