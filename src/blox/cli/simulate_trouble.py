"""`blox simulate deny`, `allow` and `faults`: calls that are refused, lost or late."""

from typing import Any
from urllib.parse import quote

import click

from blox.cli.simulate_shared import print_json, simulator_option
from blox.cli.simulator_client import Simulator


@click.command()
@click.argument("what", metavar="ACTION|passrole:FAMILY")
@click.option("--end", is_flag=True, help="Allow it again, as `blox simulate allow` does.")
@simulator_option
def deny(simulator: Simulator, what: str, *, end: bool) -> None:
    """Refuse an action, or passing a family's roles, with AccessDeniedException.

    ACTION is one of IAM's for the services that are simulated, or a pattern with *; without a
    service it is one of ECS. iam:SimulatePrincipalPolicy tells of it too.

    \b
    Examples:
      blox simulate deny StartTask
      blox simulate deny 'ecs:Describe*'
      blox simulate deny sqs:ReceiveMessage
      blox simulate deny passrole:fluent-bit
      blox simulate allow StartTask
    """
    simulator.post("deny", {"what": what, "on": not end})
    click.echo(f"{what}: {'allowed' if end else 'denied'}")


@click.command()
@click.argument("what", metavar="ACTION|passrole:FAMILY", required=False)
@click.option("--all", "everything", is_flag=True, help="All that is denied.")
@simulator_option
def allow(simulator: Simulator, what: str | None, *, everything: bool) -> None:
    """Allow again what `blox simulate deny` refused: give the same words, or --all."""
    if (what is None) != everything:
        raise click.UsageError("Give what is to be allowed again, or --all.")
    left = simulator.post("deny", {"what": what or "*", "on": False})["denied"]
    click.echo(f"{what or 'everything'}: allowed")
    if left:
        click.echo(f"still denied: {', '.join(left)}")


@click.group()
def faults() -> None:
    """Lose connections, delay and refuse calls.

    \b
    Examples:
      blox simulate faults add StartTask --outcome drop --stage after --times 1
      blox simulate faults add 'Describe*' --outcome error --share 0.1
      blox simulate faults add StopTask --late 2
      blox simulate faults clear
    """


@faults.command("add")
@click.argument("operation")
@click.option(
    "--service",
    default="ecs",
    show_default=True,
    type=click.Choice(["ecs", "sqs", "sts", "iam", "events", "*"]),
)
@click.option(
    "--outcome",
    default="answer",
    show_default=True,
    type=click.Choice(["answer", "drop", "error", "throttle", "garble", "anonymous"]),
)
@click.option(
    "--stage",
    type=click.Choice(["before", "accepted", "after"]),
    default="before",
    show_default=True,
    help="Before it is executed, once it is accepted, or after.",
)
@click.option(
    "--late",
    metavar="S",
    type=click.FloatRange(0),
    default=0.0,
    help="The call reaches ECS so much later.",
)
@click.option(
    "--slow",
    metavar="S",
    type=click.FloatRange(0),
    default=0.0,
    help="ECS executes it so much after it accepted it.",
)
@click.option(
    "--delay",
    metavar="S",
    type=click.FloatRange(0),
    default=0.0,
    help="The answer leaves so much later.",
)
@click.option(
    "--status",
    metavar="N",
    type=click.IntRange(400, 599),
    default=500,
    show_default=True,
    help="Of an error.",
)
@click.option("--code", default="ServerException", show_default=True, help="Of an error.")
@click.option("--share", metavar="0..1", type=click.FloatRange(0, 1), default=1.0)
@click.option("--times", metavar="N", type=click.IntRange(1), default=None)
@simulator_option
def add_fault(simulator: Simulator, **given: Any) -> None:
    """Let calls of OPERATION (a name, or a pattern with *) go wrong from now on."""
    click.echo(simulator.post("faults", given)["fault"])


@faults.command("list")
@simulator_option
def list_faults(simulator: Simulator) -> None:
    """Show the faults in force."""
    print_json(simulator.get("faults")["faults"])


@faults.command("clear")
@click.argument("name", required=False)
@simulator_option
def clear_faults(simulator: Simulator, name: str | None) -> None:
    """End one fault, or all of them."""
    simulator.delete("faults" + (f"/{quote(name)}" if name else ""))
    click.echo(f"{name or 'all faults'}: over")
