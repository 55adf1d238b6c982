"""`blox doctor`: whether blox could work in this account, and what is missing."""

import asyncio
import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, Final

import click
from msgspec import structs

from blox.account.doctor.examine import Doors, Order, examine
from blox.account.doctor.facts import ClusterFacts, Facts, QueueFacts, Trouble
from blox.account.doctor.findings import Finding, Report, account_of, problem
from blox.account.doctor.judge import judge
from blox.account.doctor.load import sweep_calls
from blox.app.aws import Aws, find_aws
from blox.app.plan import cluster_named
from blox.app.reads import ReadingTransport, ReadsOnly
from blox.base.clock import SystemClock
from blox.base.errors import BloxError, InvalidInput
from blox.cli.output import count, plain, print_json, say
from blox.cli.progress import Progress
from blox.cli.session import session_of
from blox.ecs.aws import ECS, EVENTS, IAM, SQS, STS, AwsHttp, Service
from blox.ecs.client import EcsClient
from blox.ecs.endpoints import partition_of
from blox.ecs.pacing import Pacer
from blox.ecs.port import Transport
from blox.settings import Settings, load_settings

_CALL_TIMEOUT: Final = 30.0
_READS: Final = frozenset({"ListClusters"})
_SUBJECT: Final = 10
_LEVEL: Final = 9


_EPILOG: Final = """\
\b
--try-writes sends four calls that act, for things that cannot be: StopTask of
a task, StartTask on a host, PutAttributes and DeleteAttributes on a host, all
with the id 00000000000000000000000000000000, which ECS has given to nobody.
Nothing can start or stop by them. ECS refuses each: "there is no such task"
shows that the call is allowed, "access denied" that it is not. CloudTrail
records them. StartTask needs a real task definition: --family, or one that
runs in the cluster.

\b
Exit code: the number of problems, at most 100. 0: none.

\b
Example:
  blox doctor
  blox doctor --cluster payments-dev --queue blox-events
  blox doctor --cluster payments-dev --family falcon \\
    --principal arn:aws:iam::111122223333:role/blox-scheduler
  blox doctor --json | jq '.findings[] | select(.level == "PROBLEM")'
"""


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EPILOG)
@click.option(
    "--cluster",
    "clusters",
    metavar="NAME|ARN",
    multiple=True,
    help="The cluster to look at; may be repeated. Without it: every cluster of the account in "
    "this region.",
)
@click.option(
    "--queue",
    metavar="NAME|URL",
    default="",
    help="The SQS queue that the scheduler reads or is to read; and the rule that feeds it.",
)
@click.option(
    "--family",
    "families",
    metavar="FAMILY",
    multiple=True,
    help="A task definition that is to be started; may be repeated. Without it: those that look "
    "like daemons there already.",
)
@click.option(
    "--principal",
    metavar="ARN",
    default="",
    help="Judge the permissions of this role or user, as the one that the scheduler will have, "
    "not those of these credentials. They must be allowed iam:SimulatePrincipalPolicy.",
)
@click.option(
    "--try-writes",
    is_flag=True,
    help="Ask ECS itself whether it lets acting calls through, where IAM cannot be asked.",
)
@click.option(
    "--state-service",
    is_flag=True,
    help="Judge for a cluster-state-service, which only reads.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def doctor(
    context: click.Context,
    *,
    clusters: tuple[str, ...],
    queue: str,
    families: tuple[str, ...],
    principal: str,
    try_writes: bool,
    state_service: bool,
    as_json: bool,
) -> None:
    """Find out whether blox can work here: who you are, what your clusters are like, which calls
    are allowed, what feeds the queue, what would be in the way.

    No scheduler is needed. Only reads are sent, and questions to IAM's policy simulator, with the
    credentials and the region of the standard AWS environment (AWS_PROFILE, AWS_REGION …). A role
    that may read nothing will do too: each denial is told, with the statement that is missing.

    Every line is ok, a note, or a PROBLEM, with the next step behind an arrow.
    """
    as_json = as_json or session_of(context).as_json
    _check(clusters, principal, try_writes=try_writes)
    if state_service and (try_writes or families):
        raise InvalidInput("--state-service starts nothing: leave out --try-writes and --family.")
    try:
        facts = asyncio.run(
            _examine(
                clusters=clusters,
                queue=queue,
                families=families,
                principal=principal,
                try_writes=try_writes,
            )
        )
    except BloxError as error:
        report = Report(findings=(problem("blox", "cannot-look", error.message, ""),))
        _show(report, None, as_json=as_json)
        context.exit(report.exit_code)
    facts = structs.replace(facts, state_service=state_service)
    report = judge(facts)
    _show(report, facts, as_json=as_json)
    context.exit(report.exit_code)


def _check(clusters: Sequence[str], principal: str, *, try_writes: bool) -> None:
    """Raises InvalidInput for options that make no sense."""
    for cluster in clusters:
        cluster_named(cluster)
    if principal and try_writes:
        raise InvalidInput(
            "--try-writes tries with these credentials, not with those of --principal: leave one "
            "of them out."
        )
    if principal and not principal.startswith("arn:"):
        raise InvalidInput(
            f"--principal {principal!r} is not an ARN, as arn:aws:iam::111122223333:role/NAME."
        )


async def _examine(
    *,
    clusters: Sequence[str],
    queue: str,
    families: Sequence[str],
    principal: str,
    try_writes: bool,
) -> Facts:
    """Open the ways to AWS, look, and close them. Raises BloxError when there is no region."""
    clock = SystemClock()
    settings = load_settings()
    aws = await find_aws(clock)
    opened = _Opened(aws, clock, settings, acting=try_writes)
    order = Order(
        region=aws.region,
        partition=partition_of(aws.region),
        elsewhere=_elsewhere(aws),
        clusters=tuple(dict.fromkeys(clusters)),
        queue=queue,
        families=tuple(dict.fromkeys(families)),
        principal=principal,
        settings=settings,
    )
    progress = Progress("asking ECS whether it answers")
    try:
        async with progress.shown():
            return await examine(order, opened.doors(), clock=clock, progress=progress.tell)
    finally:
        await opened.close()


def _elsewhere(aws: Aws) -> tuple[str, ...]:
    """The endpoints that are not AWS's own: `ecs, sqs at http://… (AWS_ENDPOINT_URL)`."""
    places: dict[str, list[str]] = {}
    for name, endpoint in aws.endpoints.items():
        if endpoint.overridden:
            places.setdefault(f"{endpoint.url} ({endpoint.source})", []).append(name)
    return tuple(f"{', '.join(names)} at {place}" for place, names in places.items())


class _Opened:
    """The transports of one run. Unless it is told to act, ECS's lets nothing but reads through."""

    def __init__(self, aws: Aws, clock: SystemClock, settings: Settings, *, acting: bool) -> None:
        self._aws, self._clock, self._acting = aws, clock, acting
        self._opened: list[AwsHttp] = []
        transport = self._open(ECS)
        self._ecs: Transport = transport if acting else ReadingTransport(transport, also=_READS)
        self._client = EcsClient(
            self._ecs,
            clock=clock,
            assumptions=settings.assumptions,
            pacer=Pacer(clock, settings.pacing),
            timeout=_CALL_TIMEOUT,
        )

    def _open(self, service: Service) -> AwsHttp:
        transport = self._aws.transport(service, clock=self._clock)
        self._opened.append(transport)
        return transport

    def doors(self) -> Doors:
        return Doors(
            reads=ReadsOnly(self._client),
            acts=self._client if self._acting else None,
            client=self._client,
            ecs=self._ecs,
            sts=self._beside(STS),
            sqs=self._open(SQS),
            iam=self._beside(IAM),
            events=self._beside(EVENTS),
        )

    def _beside(self, service: Service) -> AwsHttp | Trouble:
        """Where somebody else's ECS was put in AWS's place, AWS's own services know nothing of
        it, and are not asked."""
        endpoints = self._aws.endpoints
        if endpoints["ecs"].overridden and not endpoints[service.name].overridden:
            return Trouble(
                action=service.name,
                sentence=f"ECS's endpoint is overridden and the one of {service.name} is not, so "
                "AWS's own is not asked",
            )
        return self._open(service)

    async def close(self) -> None:
        for transport in self._opened:
            await transport.close()


# --- The screen -----------------------------------------------------------------------------------


def _show(report: Report, facts: Facts | None, *, as_json: bool) -> None:
    if as_json:
        print_json(_json(report, facts))
        return
    cluster = ""
    for finding in report.findings:
        if facts is not None and len(facts.clusters) > 1 and finding.cluster != cluster:
            say()
            cluster = finding.cluster
        _say_finding(finding)
    say(_summary(report))


def _say_finding(finding: Finding) -> None:
    """One line; on a terminal as many as it takes, indented."""
    step = f"  -> {finding.next_step}" if finding.next_step else ""
    level = finding.level.value
    line = plain(f"{finding.subject:<{_SUBJECT}}{level:<{_LEVEL}}{finding.sentence}{step}")
    indent = " " * (_SUBJECT + _LEVEL)
    lines = [line]
    if sys.stdout.isatty():
        lines = textwrap.wrap(
            line,
            width=max(60, shutil.get_terminal_size().columns),
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    for text in lines:
        click.echo(text)
    for statement in finding.statements:
        for text in json.dumps(statement, indent=2).splitlines():
            click.echo(indent + plain(text))


def _summary(report: Report) -> str:
    parts = f"{count(report.problems, 'problem')}, {count(report.notes, 'note')}"
    return f"exit {report.exit_code} ({parts})"


# --- For programs ---------------------------------------------------------------------------------


def _json(report: Report, facts: Facts | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "problems": report.problems,
        "notes": report.notes,
        "findings": [_finding(finding) for finding in report.findings],
    }
    if facts is None:
        return found
    caller = facts.caller
    return {
        "account": account_of(facts) or None,
        "region": facts.region,
        "caller": None if caller is None or isinstance(caller, Trouble) else caller.arn,
        "principal": facts.principal or None,
        "clockBehindSeconds": None if facts.clock_behind is None else round(facts.clock_behind, 1),
        **found,
        "clusters": [_cluster(cluster) for cluster in facts.clusters],
        "queue": _queue(facts.queue) if isinstance(facts.queue, QueueFacts) else None,
        "assumptions": {"seen": facts.seen, "of": facts.assumptions},
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "subject": finding.subject,
        "level": finding.level.value,
        "code": finding.code,
        "cluster": finding.cluster or None,
        "sentence": finding.sentence,
        "nextStep": finding.next_step or None,
        "statements": list(finding.statements),
    }


def _cluster(cluster: ClusterFacts) -> dict[str, Any]:
    survey = cluster.survey
    shown: dict[str, Any] = {
        "name": cluster.name,
        "arn": cluster.arn or None,
        "read": survey is not None,
        "permissions": [
            {
                "action": permission.action,
                "verdict": permission.verdict.value,
                "how": permission.how.value,
                "detail": permission.detail or None,
                "deniedOn": list(permission.denied_on),
            }
            for permission in cluster.permissions
        ],
    }
    if survey is not None:
        states: dict[str, int] = {}
        for host in survey.hosts:
            state = survey.condition(host).value
            states[state] = states.get(state, 0) + 1
        shown |= {
            "hosts": len(survey.hosts) - len(survey.superseded),
            "states": states,
            "calls": survey.total_calls,
            "sweepCalls": sweep_calls(survey) or None,
        }
    return shown


def _queue(queue: QueueFacts) -> dict[str, Any]:
    rules = queue.rules
    return {
        "name": queue.name,
        "url": queue.url,
        "arn": queue.arn or None,
        "waiting": queue.waiting,
        "inFlight": queue.in_flight,
        "deadLetters": queue.dead if isinstance(queue.dead, int) else None,
        "rules": None
        if isinstance(rules, Trouble)
        else [{"name": rule.name, "enabled": rule.enabled} for rule in rules],
    }
