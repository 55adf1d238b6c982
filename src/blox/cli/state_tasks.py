"""`blox tasks`: the tasks of one cluster or of all, as the cluster-state-service knows them."""

from typing import Any, Final

import click

from blox.cli.client import JsonObject
from blox.cli.groups import DefaultGroup
from blox.cli.output import print_json, say
from blox.cli.session import Session, pass_session, state_options
from blox.cli.state_client import StateClient
from blox.cli.state_filters import query_of, task_filters
from blox.cli.state_show import about, find, say_stale, say_task
from blox.cli.state_tables import TASKS, Context, by_definition, print_items, with_cluster
from blox.cli.state_words import host_names, tasks_sum, text, told, utc_now

_HELP: Final = {"help_option_names": ["-h", "--help"]}


@click.group(
    cls=DefaultGroup,
    default="list",
    alone=True,
    usage="[CLUSTER] [OPTIONS] | show [CLUSTER/]TASK",
    context_settings=_HELP,
)
@state_options
def tasks(**_: object) -> None:
    """List tasks as the cluster-state-service knows them, without asking ECS.

    Without a command it lists: `blox tasks demo` is `blox tasks list demo`. Tasks that have
    stopped are listed for as long as ECS shows them, about an hour. On a terminal, columns that do
    not fit are left out.

    \b
    Example:
      blox tasks
      blox tasks demo --status pending,running --family fluent-bit
      blox tasks demo --instance i-0a9b8c7d6e5f40312
      blox tasks demo --query "attribute:ecs.availability-zone == us-east-1a"
      blox tasks --status stopped --json | jq -r '.[] | .task.stoppedReason'
      blox tasks show 7ac10b86…
    """


@tasks.command("list", context_settings=_HELP, short_help="List the tasks.")
@click.argument("cluster", required=False, metavar="[CLUSTER]")
@task_filters
@state_options
@pass_session
def list_(session: Session, /, cluster: str | None, **options: Any) -> None:
    """List the tasks of one cluster, or of all that are watched.

    \b
    Example:
      blox tasks list demo
      blox tasks list demo --started-by ecs-svc/1234567890123456789
    """
    client = session.state_client()
    whose = about(client, cluster)
    listed, _ = client.listing("/v2/tasks", query_of(options, cluster))
    say_stale(whose)
    if session.as_json:
        print_json(sorted(listed, key=lambda item: (item["cluster"], item["arn"])))
        return
    hosts = _hosts(client, listed, cluster)
    listed.sort(key=by_definition(hosts))
    columns = TASKS if cluster is not None else with_cluster(TASKS)
    print_items(columns, listed, Context(now=utc_now(), hosts=hosts))
    say(tasks_sum(listed))


def _hosts(client: StateClient, listed: list[JsonObject], cluster: str | None) -> dict[str, str]:
    """The names of the hosts that tasks run on; nothing is asked when none does."""
    if not any(text(told(item), "containerInstanceArn") for item in listed):
        return {}
    found, _ = client.listing("/v2/instances", query_of({}, cluster))
    return host_names(found)


@tasks.command("show", context_settings=_HELP, short_help="Show all that is known of one.")
@click.argument("task", metavar="[CLUSTER/]TASK")
@state_options
@pass_session
def show(session: Session, task: str) -> None:
    """Show all that is known of one task.

    TASK is its id or the beginning of one, or its ARN.

    \b
    Example:
      blox tasks show 7ac10b86…
      blox tasks show demo/7ac10b867f4a4f0aa16c7b1e6d1f8c55 --json
    """
    client = session.state_client()
    found = find(client, "task", task)
    if session.as_json:
        print_json(found)
        return
    arn = text(told(found), "containerInstanceArn")
    where = _hosts(client, [found], found["clusterArn"]) if arn else {}
    say_task(found, where)
