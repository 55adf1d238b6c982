"""`blox simulate services`, `providers`, `image`, `rule` and `events`: what stands around the tasks
in an account. All but the image can be done with the aws command too; this is shorter."""

import json
from typing import Any

import click

from blox.cli.simulate_shared import cluster_option, print_json, simulator_option
from blox.cli.simulator_client import Simulator


@click.group()
def services() -> None:
    """Make and delete services of ECS.

    One of strategy DAEMON acts as ECS's own: a task on every host that meets its constraints, a new
    one where somebody stopped it, none where a constraint is met no longer, last to leave draining
    hosts.
    """


@services.command("create")
@click.argument("name")
@click.argument("definition", metavar="[FAMILY[:REVISION]]", required=False, default="")
@cluster_option
@click.option(
    "--strategy",
    type=click.Choice(["DAEMON", "REPLICA"]),
    default="DAEMON",
    show_default=True,
    help="Tasks of REPLICA services are not placed: they are only described.",
)
@click.option(
    "--constraint",
    "constraints",
    metavar="EXPRESSION",
    multiple=True,
    help="A memberOf placement constraint. May be repeated.",
)
@simulator_option
def create(simulator: Simulator, **given: Any) -> None:
    """Create a service NAME; without a FAMILY it is only described.

    \b
    Examples:
      blox simulate services create logs fluent-bit
      blox simulate services create logs fluent-bit --constraint 'attribute:blox !exists'
    With the aws command the same, and changing it:
      aws ecs create-service --cluster demo --service-name logs --task-definition fluent-bit \\
          --scheduling-strategy DAEMON
      aws ecs update-service --cluster demo --service logs --placement-constraints \\
          'type=memberOf,expression=attribute:blox !exists'
    """
    click.echo(simulator.post("services", given)["service"])


@services.command("delete")
@click.argument("name")
@cluster_option
@simulator_option
def delete(simulator: Simulator, **given: Any) -> None:
    """Delete a service; its tasks stop."""
    simulator.post("services/delete", given)
    click.echo(f"{given['name']}: deleted")


@click.group()
def providers() -> None:
    """Make capacity providers, which Auto Scaling groups stand behind.

    Nothing scales by itself. `blox simulate state` says which hosts ECS could take away: those of a
    provider with managed scaling on which only tasks of DAEMON services run.
    """


@providers.command("add")
@click.argument("name")
@cluster_option
@click.option("--managed-scaling/--no-managed-scaling", default=True, show_default=True)
@click.option(
    "--termination-protection/--no-termination-protection", default=False, show_default=True
)
@click.option("--managed-draining/--no-managed-draining", default=True, show_default=True)
@simulator_option
def add_provider(simulator: Simulator, **given: Any) -> None:
    """Create a capacity provider NAME and give it to a cluster.

    \b
    Example:
      blox simulate providers add asg --termination-protection
      blox simulate hosts add 3 --capacity-provider asg
      aws ecs describe-capacity-providers --capacity-providers asg
    """
    click.echo(simulator.post("providers", given)["capacityProvider"])


@click.command()
@click.argument("family")
@click.option("--digest", metavar="sha256:…", default="", help="[default: a new one]")
@simulator_option
def image(simulator: Simulator, **given: Any) -> None:
    """Move the tag of FAMILY's image: tasks started from now on run something else.

    Those that run already keep their digest, so that two digests stand under one tag.

    \b
    Example:
      blox simulate image fluent-bit
      aws ecs describe-tasks --cluster demo --tasks … --query 'tasks[].containers[].imageDigest'
    """
    click.echo(simulator.post("digests", given)["digest"])


@click.command()
@click.argument(
    "action",
    type=click.Choice(["show", "enable", "disable", "remove", "restore"]),
    default="show",
)
@click.option("--pattern", metavar="JSON", default=None, help="The event pattern from now on.")
@simulator_option
def rule(simulator: Simulator, action: str, pattern: str | None) -> None:
    """Show or change the EventBridge rule that feeds the queues.

    While it is disabled or removed, or its pattern does not match, events are lost: none reaches a
    queue, then or afterwards.

    \b
    Examples:
      blox simulate rule disable
      blox simulate rule enable
      blox simulate rule show --pattern '{"source": ["aws.ec2"]}'
    """
    body: dict[str, object] = {}
    if action != "show":
        body["state"] = {"disable": "DISABLED", "remove": "GONE"}.get(action, "ENABLED")
    if pattern is not None:
        try:
            body["pattern"] = json.loads(pattern)
        except ValueError as error:
            raise click.BadParameter(f"--pattern is no JSON: {error}") from error
    print_json(simulator.post("rule", body))


@click.command()
@click.option(
    "--since",
    metavar="N",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="The first one to show, counted from 0.",
)
@simulator_option
def events(simulator: Simulator, since: int) -> None:
    """Print the events that callers put on the event bus (PutEvents), one JSON line each."""
    for event in simulator.get("events", {"since": str(since)})["events"]:
        click.echo(json.dumps(event, ensure_ascii=False))
