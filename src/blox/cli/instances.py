"""`blox instances`: the hosts of one cluster or of all, as the cluster-state-service knows them."""

from collections.abc import Mapping
from typing import Any, Final

import click

from blox.cli.groups import DefaultGroup
from blox.cli.output import print_json, say
from blox.cli.session import Session, pass_session, state_options
from blox.cli.state_filters import instance_filters, query_of
from blox.cli.state_show import about, find, say_instance, say_stale
from blox.cli.state_tables import INSTANCES, Context, by_host, print_items, with_cluster
from blox.cli.state_words import instances_sum, loads, utc_now

_HELP: Final = {"help_option_names": ["-h", "--help"]}
_PATH: Final = "/v2/instances"
_TASKS: Final = "/v2/tasks"


@click.group(
    cls=DefaultGroup,
    default="list",
    alone=True,
    usage="[CLUSTER] [OPTIONS] | show [CLUSTER/]HOST",
    context_settings=_HELP,
)
@state_options
def instances(**_: object) -> None:
    """List container instances as the cluster-state-service knows them, without asking ECS.

    Without a command it lists: `blox instances demo` is `blox instances list demo`. What is free
    is what ECS says can still be placed: CPU in units (1024 are a vCPU), memory in MiB. Of tasks it
    shows those that run, +1 for one that is being started, -1 for one that is being stopped. On a
    terminal, columns that do not fit are left out.

    \b
    Example:
      blox instances
      blox instances demo --status draining
      blox instances demo --query "attribute:ecs.instance-type =~ m5.*"
      blox instances demo --agent gone --json | jq -r '.[].instance.ec2InstanceId'
      blox instances show i-0a9b8c7d6e5f40312
    """


@instances.command("list", context_settings=_HELP, short_help="List the hosts.")
@click.argument("cluster", required=False, metavar="[CLUSTER]")
@instance_filters
@state_options
@pass_session
def list_(session: Session, /, cluster: str | None, **options: Any) -> None:
    """List the hosts of one cluster, or of all that are watched.

    \b
    Example:
      blox instances list demo
      blox instances list demo --status active --agent gone
    """
    client = session.state_client()
    whose = about(client, cluster)
    listed, _ = client.listing(_PATH, query_of(options, cluster))
    listed.sort(key=by_host)
    say_stale(whose)
    if session.as_json:
        print_json(listed)
        return
    tasks = loads(client.listing(_TASKS, _whose(cluster, options))[0]) if listed else {}
    columns = INSTANCES if cluster is not None else with_cluster(INSTANCES)
    print_items(columns, listed, Context(now=utc_now(), tasks=tasks))
    say(instances_sum(listed, tasks))


def _whose(cluster: str | None, options: Mapping[str, Any]) -> dict[str, str]:
    """The query for the tasks that run on what is listed: on more hosts than those, perhaps."""
    return query_of({name: options[name] for name in ("instance", "queries")}, cluster)


@instances.command("show", context_settings=_HELP, short_help="Show all that is known of one.")
@click.argument("host", metavar="[CLUSTER/]HOST")
@state_options
@pass_session
def show(session: Session, host: str) -> None:
    """Show all that is known of one host, and what runs there.

    HOST is an instance id (i-… or mi-…), a container instance id or the beginning of one, or an
    ARN.

    \b
    Example:
      blox instances show i-0a9b8c7d6e5f40312
      blox instances show demo/f30b04ab…
    """
    client = session.state_client()
    found = find(client, "instance", host)
    if session.as_json:
        print_json(found)
        return
    tasks, _ = client.listing(_TASKS, {"cluster": found["clusterArn"], "instance": found["arn"]})
    say_instance(found, tasks)
