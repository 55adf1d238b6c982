"""`blox verify-aws`: put the open questions about ECS to a real account, and clean up."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from blox import __version__
from blox.account.verify.cleanup import Left, find_left
from blox.account.verify.client import RawEcs
from blox.account.verify.definitions import IMAGE
from blox.account.verify.events import Events
from blox.account.verify.hosts import CPU, MEMORY, Host, choose
from blox.account.verify.lab import Lab, Orders, Patience
from blox.account.verify.report import CleanUp, Outcome, Report, rendered
from blox.account.verify.verification import (
    Survey,
    Verification,
    chosen,
    clean_up,
    expected_not_asked,
    given_definition,
    survey,
)
from blox.app.aws import Aws, find_aws
from blox.base.clock import SystemClock
from blox.base.entropy import SystemEntropy
from blox.base.errors import InvalidInput, Unavailable
from blox.base.ids import is_cluster_reference
from blox.cli.output import clock_time, plain, print_json, say
from blox.cli.session import session_of, shared_options
from blox.cli.verify_words import (
    Intention,
    answer_line,
    intention_lines,
    report_lines,
    swept_lines,
)
from blox.clusterstate.sqs import SqsSource
from blox.ecs.aws import ECS, GET_CALLER_IDENTITY, SQS, STS, Identity, identity_of
from blox.ecs.port import Lost, NotSent
from blox.settings import load_settings

DIFFERS: Final = 2
FAILED: Final = 1
_INTERRUPTED: Final = 130
_AGAIN: Final = (
    "A run that was killed in the last 11 min may have had a call on its way that is carried out "
    "late: look again then."
)
"""DRAIN_BEGINS + S + E; a start call lives S + E, and is seen within V."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The command line."""

    cluster: str
    report: Path | None
    only: tuple[str, ...]
    hosts: tuple[str, ...]
    definition: str | None
    queue: str | None
    attributes: bool
    drain: bool
    drain_host: str | None
    yes: bool
    full: bool
    as_json: bool


@click.command(
    "verify-aws",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
)
@click.option(
    "--cluster",
    metavar="NAME|ARN",
    required=True,
    help="The cluster to try things on: a sandbox. There is no default.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write what was seen there, as JSON, after each answer.",
)
@click.option(
    "--only",
    metavar="QUESTION",
    multiple=True,
    help="Ask this question alone, by its name or number; may be repeated.",
)
@click.option(
    "--host",
    "hosts",
    metavar="HOST",
    multiple=True,
    help="Use this host (instance id, container instance id or ARN). At most two; without it the "
    "two least busy ones, of different kinds if there are.",
)
@click.option(
    "--task-definition",
    "definition",
    metavar="FAMILY[:REV]",
    help="Start tasks of this definition instead of registering any; some questions then cannot "
    "be asked.",
)
@click.option(
    "--queue",
    metavar="NAME|URL",
    help="An SQS queue of its own that ECS's events go into. Not the scheduler's: two readers "
    "take each other's events away.",
)
@click.option(
    "--allow-attributes",
    "attributes",
    is_flag=True,
    help="Put an attribute on one of the hosts and take it away again.",
)
@click.option(
    "--allow-drain",
    "drain",
    is_flag=True,
    help="Set one of the hosts to DRAINING and back, if nothing else runs on it.",
)
@click.option(
    "--drain-host",
    metavar="HOST",
    help="Set this host to DRAINING and back, whatever runs on it. Services move their tasks away.",
)
@click.option("--yes", is_flag=True, help="Do not ask before it begins.")
@click.option(
    "--full",
    is_flag=True,
    help="Leave the account's number in the report; else its last four digits.",
)
@click.option(
    "--clean-up",
    "cleaning",
    is_flag=True,
    help="Ask nothing: find what earlier runs left in this cluster, and take it back.",
)
@shared_options
@click.pass_context
def verify_aws(context: click.Context, /, *, cleaning: bool, **options: object) -> None:
    """Ask a real ECS what nobody has told us, and compare it with what the simulator assumes.

    It starts tiny tasks (busybox that sleeps) on at most two hosts of a cluster that you name,
    watches what ECS makes of odd requests, stops them all and deregisters their definitions. It
    shows what it will do and what that costs before it begins. It never touches a task that it did
    not start, and changes a host only with --allow-attributes, --allow-drain or --drain-host.

    Ctrl-C ends it and cleans up. What a run leaves that was killed, --clean-up finds.

    \b
    Examples:
      blox verify-aws --cluster sandbox --report seen.json
      blox verify-aws --cluster sandbox --only signature-age --only 13
      blox verify-aws --cluster sandbox --queue verify-events --allow-drain
      blox verify-aws --cluster sandbox --clean-up

    \b
    Exit codes: 0 all that could be asked is as assumed · 1 an error, or something
    is left behind · 2 something differs · 130 interrupted, and cleaned up.
    """
    wishes = Wishes(as_json=session_of(context).as_json, **options)  # type: ignore[arg-type]
    if not is_cluster_reference(wishes.cluster):
        raise InvalidInput(f"{wishes.cluster!r} is neither a cluster's name nor its ARN.")
    code = _clean(wishes) if cleaning else _verify(wishes)
    if code:
        context.exit(code)


# --- Reaching AWS ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """AWS, with credentials that were found."""

    aws: Aws
    ecs: RawEcs
    clock: SystemClock
    temporary: bool
    queue: SqsSource | None


@asynccontextmanager
async def _reaching(wishes: Wishes) -> AsyncIterator[Reached]:
    clock = SystemClock()
    aws = await find_aws(clock)
    try:
        credentials = await aws.credentials.get()
    except NotSent as error:
        raise Unavailable(f"There are no AWS credentials: {error.cause}") from error
    transports = [aws.transport(ECS, clock=clock)]
    ecs = RawEcs(transports[0], cluster=wishes.cluster, clock=clock)
    queue = None
    if wishes.queue is not None:
        transports.append(aws.transport(SQS, clock=clock))
        queue = SqsSource(wishes.queue, transports[1], now=ecs.now)
    try:
        yield Reached(aws=aws, ecs=ecs, clock=clock, temporary=bool(credentials.token), queue=queue)
    finally:
        for transport in transports:
            await transport.close()


async def _identity(reached: Reached) -> Identity | None:
    """Who we are, where STS can know."""
    if not reached.aws.knows_identity:
        return None
    transport = reached.aws.transport(STS, clock=reached.clock)
    try:
        return identity_of(
            await transport.send("GetCallerIdentity", GET_CALLER_IDENTITY, date=reached.ecs.now)
        )
    except (NotSent, Lost):
        return None
    finally:
        await transport.close()


# --- Before anything is done ----------------------------------------------------------------------


async def _intend(wishes: Wishes) -> Intention:
    """Look, and decide; reads only."""
    _, names = chosen(wishes.only)
    async with _reaching(wishes) as reached:
        found = await survey(reached.ecs)
        identity = await _identity(reached)
        definition = container = None
        image = f"{IMAGE}; {CPU} CPU units, {MEMORY} MiB"
        if wishes.definition is not None:
            definition, container, image = await given_definition(reached.ecs, wishes.definition)
        named = dict.fromkeys([*wishes.hosts, *filter(None, [wishes.drain_host])])
        hosts = choose(found.hosts, tuple(named))
        orders = Orders(
            run=f"{datetime.now(UTC):%Y%m%d}-{SystemEntropy().token()[:8].lower()}",
            hosts=hosts,
            definition=definition,
            container=container,
            drain=_to_drain(wishes, hosts),
            attributes=wishes.attributes,
            temporary=reached.temporary,
            assumptions=load_settings().assumptions,
        )
        return Intention(
            survey=found,
            orders=orders,
            caller="" if identity is None else identity.arn,
            endpoint=reached.aws.endpoints["ecs"].url,
            image=image,
            refused=expected_not_asked(orders, names, queue=wishes.queue is not None),
        )


def _to_drain(wishes: Wishes, hosts: Sequence[Host]) -> Host | None:
    """The host to drain: the one named, or one on which nothing runs. Raises InvalidInput."""
    if wishes.drain_host is not None:
        names = [(host.name, host.arn, host.arn.rsplit("/", 1)[-1]) for host in hosts]
        return next(h for h, n in zip(hosts, names, strict=True) if wishes.drain_host in n)
    if not wishes.drain:
        return None
    idle = next((host for host in hosts if not host.running), None)
    if idle is None:
        raise InvalidInput(
            "--allow-drain takes a host on which nothing runs, and something runs on "
            f"{' and '.join(host.name for host in hosts)}. Name the host with --drain-host if its "
            "tasks may move."
        )
    return idle


# --- The run --------------------------------------------------------------------------------------


def _verify(wishes: Wishes) -> int:
    tell = _teller(wishes)
    intention = asyncio.run(_intend(wishes))
    for line in intention_lines(intention, only=wishes.only):
        tell(line)
    if not wishes.yes and not _agreed("Go on?"):
        tell("Nothing was done.")
        return FAILED
    report = asyncio.run(_carry_out(wishes, intention, tell))
    if report is None:
        return _INTERRUPTED
    for line in report_lines(report, cluster=wishes.cluster):
        tell(line)
    if wishes.report is not None:
        tell(f"report    {wishes.report}")
    if wishes.as_json:
        print_json(rendered(report, full=wishes.full))
    swept = report.clean_up or CleanUp()
    if report.ended not in ("complete", "interrupted") or not swept.done:
        return FAILED
    if report.ended == "interrupted":
        return _INTERRUPTED
    return DIFFERS if report.totals[Outcome.DIFFERS] else 0


async def _carry_out(
    wishes: Wishes, intention: Intention, tell: Callable[[str], None]
) -> Report | None:
    """Ask and clean up; None when it was interrupted before anything was done."""
    orders, found = intention.orders, intention.survey
    async with _reaching(wishes) as reached:
        events = None
        if reached.queue is not None:
            events = Events(reached.queue, started_by=orders.started_by, clock=reached.clock)
            events.start()
        lab = Lab(reached.ecs, orders, uniform=SystemEntropy().uniform, events=events)
        verification = Verification(
            lab,
            _blank(intention, found, began=reached.clock.wall()),
            only=wishes.only,
            tell=lambda answered: tell(answer_line(answered)),
            note=lambda line: tell(f"    … {line}"),
            save=_ReportFile(wishes, tell).save,
        )
        try:
            return await _interruptible(verification, tell)
        except asyncio.CancelledError:
            return None
        finally:
            if events is not None:
                await events.close()


def _blank(intention: Intention, found: Survey, *, began: float) -> Report:
    """The report before the first answer."""
    assumed = intention.orders.assumptions
    return Report(
        blox=__version__,
        run=intention.orders.run,
        cluster=found.arn,
        region=found.region,
        account=found.account,
        caller=intention.caller,
        endpoint=intention.endpoint,
        began=clock_time(began),
        assumptions={
            "S": assumed.signature_age,
            "E": assumed.acceptance_lag,
            "V": assumed.read_lag,
            "B": assumed.dated_back,
        },
    )


async def _interruptible(verification: Verification, tell: Callable[[str], None]) -> Report:
    """Run it; a signal ends the asking, a second one the cleaning."""
    loop = asyncio.get_running_loop()
    run = loop.create_task(verification.run())

    def interrupted() -> None:
        tell("Interrupted: cleaning up. Once more leaves what is left to --clean-up.")
        run.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, interrupted)
    try:
        return await run
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


# --- Cleaning up after an earlier run -------------------------------------------------------------


def _clean(wishes: Wishes) -> int:
    tell = _teller(wishes)
    left = asyncio.run(_look(wishes))
    for problem in left.problems:
        tell(plain(problem))
    if left.nothing:
        if not left.problems:
            tell(f"Nothing of blox verify-aws is left in cluster {wishes.cluster}.")
            tell(_AGAIN)
        return FAILED if left.problems else _print_swept(wishes, CleanUp())
    tell(f"Left in cluster {wishes.cluster} by {' and '.join(left.runs)}:")
    for line in left.lines:
        tell(plain(f"  {line}"))
    tell("A run that is still going on elsewhere would lose its tasks.")
    if not wishes.yes and not _agreed("Take all of it back?"):
        tell("Nothing was done.")
        return FAILED
    swept = asyncio.run(_take_back(wishes, left, tell))
    for line in swept_lines(swept, cluster=wishes.cluster):
        tell(line)
    tell(_AGAIN)
    code = _print_swept(wishes, swept)
    return code if swept.done else FAILED


async def _look(wishes: Wishes) -> Left:
    async with _reaching(replace(wishes, queue=None)) as reached:
        await survey(reached.ecs)  # says so when there is no such cluster
        return await find_left(reached.ecs)


async def _take_back(wishes: Wishes, left: Left, tell: Callable[[str], None]) -> CleanUp:
    async with _reaching(replace(wishes, queue=None)) as reached:
        return await clean_up(
            reached.ecs,
            left,
            assumptions=load_settings().assumptions,
            patience=Patience(),
            note=tell,
        )


def _print_swept(wishes: Wishes, swept: CleanUp) -> int:
    if wishes.as_json:
        print_json(
            {
                "tasksStopped": swept.tasks_stopped,
                "definitionsDeregistered": swept.definitions_deregistered,
                "hostsActivated": swept.hosts_activated,
                "attributesRemoved": swept.attributes_removed,
                "left": list(swept.left),
                "problems": list(swept.problems),
            }
        )
    return 0


# --- Small things ---------------------------------------------------------------------------------


def _teller(wishes: Wishes) -> Callable[[str], None]:
    """Prints a line: on standard output, or beside the JSON on standard error. Never fails: a
    terminal that has gone away must not keep the clean-up from happening."""

    def tell(line: str) -> None:
        try:
            if wishes.as_json:
                click.echo(line, err=True)
            else:
                say(line)
        except OSError:
            return

    return tell


def _agreed(question: str) -> bool:
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        return False


class _ReportFile:
    """The file of the report, always whole: a run that is killed leaves the last one written."""

    def __init__(self, wishes: Wishes, tell: Callable[[str], None]) -> None:
        self._path = wishes.report
        self._full = wishes.full
        self._tell = tell
        self._written = 0
        self._trouble = False

    def save(self, report: Report) -> None:
        """Write it. Raises InvalidInput when that is not possible, the first time, when nothing
        has been done yet; later on it is only said, and once."""
        if self._path is None:
            return
        text = json.dumps(rendered(report, full=self._full), indent=2, ensure_ascii=False)
        beside = self._path.with_name(f".{self._path.name}.new")
        try:
            beside.write_text(f"{text}\n", encoding="utf-8")
            beside.replace(self._path)
        except OSError as error:
            sentence = f"Cannot write {self._path}: {error.strerror}."
            if not self._written:
                raise InvalidInput(f"{sentence} Nothing was done.") from error
            if not self._trouble:
                self._tell(sentence)
            self._trouble = True
        else:
            self._written += 1
