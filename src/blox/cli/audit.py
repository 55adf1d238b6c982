"""`blox audit`: which hosts of a cluster lack which daemon, before blox runs anything there."""

import asyncio
from typing import Final

import click

from blox.account.audit.findings import audit as judge
from blox.account.audit.findings import blind_spot
from blox.account.survey import survey
from blox.account.surveyed import Survey, Unread
from blox.app.aws import find_aws
from blox.app.reads import ReadingTransport, ReadsOnly
from blox.base.clock import SystemClock
from blox.base.errors import Unavailable
from blox.cli.audit_json import audit_json
from blox.cli.audit_words import say_audit
from blox.cli.output import print_json
from blox.cli.progress import Progress
from blox.cli.session import session_of
from blox.ecs.aws import ECS
from blox.ecs.client import EcsClient
from blox.ecs.pacing import Pacer
from blox.settings import load_settings

MISSING: Final = 2
"""The exit code when a daemon is missing somewhere."""
_CALL_TIMEOUT: Final = 30.0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--cluster", required=True, metavar="NAME|ARN", help="The cluster to look at.")
@click.option("--all", "every", is_flag=True, help="A line for each host that lacks a daemon.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def audit(
    context: click.Context,
    cluster: str,
    every: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Show which hosts of a cluster lack which daemon, for how long, and why.

    No scheduler is needed, and nothing is changed: only reads of ECS are sent, with the credentials
    and the region of the standard AWS environment (AWS_PROFILE, AWS_REGION …), at most at half the
    rate that ECS allows.

    A daemon is every DAEMON service, and every family that runs on at least 60 % of the ready
    hosts that could run it (on at least 3 hosts, or all of them), one task a host, however it was
    started.

    \b
    Needs these permissions; without the last three it says what it cannot tell:
      ecs:DescribeClusters ecs:ListContainerInstances ecs:DescribeContainerInstances
      ecs:ListTasks ecs:DescribeTasks
      ecs:ListServices ecs:DescribeServices ecs:DescribeTaskDefinition

    \b
    Exit code: 0 nothing is missing · 1 error, or hosts or tasks could not be read · 2 a ready host
    lacks a daemon. Hosts with two of a daemon and differing images are told, and do not count.

    \b
    Example:
      blox audit --cluster payments-dev
      blox audit --cluster payments-dev --all
      blox audit --cluster payments-dev --json | jq '.daemons[] | select(.missing > 0)'
    """
    found = asyncio.run(_survey(cluster))
    unread = blind_spot(found)
    if unread is not None:
        raise Unavailable(_blind(cluster, unread))
    result = judge(found)
    if as_json or session_of(context).as_json:
        print_json(audit_json(result))
    else:
        say_audit(result, every=every)
    if result.missing:
        context.exit(MISSING)


def _blind(cluster: str, unread: Unread) -> str:
    """Why nothing is said, and what to do."""
    lost = f" {unread.items} of them are not known." if unread.items else ""
    step = "Run it again."
    if unread.denied:
        step = (
            f"Allow this role ecs:{unread.operation}; `blox audit --help` names all that is needed."
        )
    return (
        f"The cluster {cluster} could not be read completely, and hosts would seem to lack what "
        f"was not seen, so nothing is said of it. {unread.sentence}.{lost} {step}"
    )


async def _survey(cluster: str) -> Survey:
    """Read the cluster behind both walls against acting. Raises BloxError."""
    clock = SystemClock()
    settings = load_settings()
    aws = await find_aws(clock)
    transport = ReadingTransport(aws.transport(ECS, clock=clock))
    client = EcsClient(
        transport,
        clock=clock,
        assumptions=settings.assumptions,
        pacer=Pacer(clock, settings.pacing),
        timeout=_CALL_TIMEOUT,
    )
    progress = Progress("asking for the cluster")

    def tell(what: str, done: int, of: int | None) -> None:
        progress.tell(f"{what}: {done:,}" if of is None else f"{what}: {done:,} of {of:,}")

    try:
        async with progress.shown():
            return await survey(
                ReadsOnly(client), cluster, clock=clock, providers=False, progress=tell
            )
    finally:
        await transport.close()
