"""`blox environments`: what should run where."""

import json
from collections.abc import Sequence
from typing import Any, Final

import click

from blox.base.errors import InvalidInput
from blox.cli.client import Client, JsonObject
from blox.cli.content import content_options, policy_of, read_task
from blox.cli.create import create
from blox.cli.delete import delete
from blox.cli.output import count, plain, print_json, print_table, say, span
from blox.cli.session import Session, pass_session, shared_options
from blox.cli.words import (
    definition_name,
    find_environment,
    frozen_line,
    full_name,
    hosts_sum,
    migration_line,
    path_in,
    revision_of,
    say_environment,
)

_HELP: Final = {"help_option_names": ["-h", "--help"]}


@click.group(context_settings=_HELP)
def environments() -> None:
    """Create, list, show, change and delete environments.

    An environment says which task should run once on every host of a cluster. It is addressed as
    CLUSTER/NAME, or NAME where only one cluster has it. It does nothing until it is deployed.

    \b
    Example:
      blox environments create demo/logs --task-definition fluent-bit
      blox deploy demo/logs --wait
      blox environments show demo/logs
      blox environments delete demo/logs --tasks stop --wait
    """


environments.add_command(create)
environments.add_command(delete)


@environments.command("list", context_settings=_HELP)
@click.option("--cluster", metavar="NAME|ARN", help="Only those on this cluster.")
@shared_options
@pass_session
def list_(session: Session, cluster: str | None) -> None:
    """List environments, with hosts current of wanted.

    \b
    Example:
      blox environments list --cluster demo
    """
    asked = {"limit": "1000"} if cluster is None else {"limit": "1000", "cluster": cluster}
    found = session.client().every("/v2/environments", asked)
    if session.as_json:
        print_json(found)
        return
    if not found:
        if cluster is not None:
            say(f"no environments on cluster {cluster}")
            return
        say("no environments. Make one: blox environments create CLUSTER/NAME --task-definition F")
        return
    _say_freezes(found)
    print_table(
        ("ENVIRONMENT", "HEALTH", "CURRENT", "REVISION", "DEPLOYMENT", "HOSTS"),
        [_row(environment) for environment in found],
    )


def _say_freezes(found: Sequence[JsonObject]) -> None:
    """Each freeze once, however many environments it is about."""
    freezes = {e["frozen"]["id"]: e["frozen"] for e in found if e["frozen"] is not None}
    for freeze in freezes.values():
        say(frozen_line(freeze))


def _row(environment: JsonObject) -> tuple[object, ...]:
    counts, deployment = environment["counts"], environment["deployment"]
    health = environment["health"]["status"]
    if environment["frozen"] is not None:
        health += ", FROZEN"
    if environment["ending"]:
        health += f", being deleted ({count(environment['tasksLeft'], 'task')} left)"
    return (
        full_name(environment),
        health,
        f"{counts['current']}/{counts['wanted']}",
        revision_of(environment),
        "none" if deployment is None else f"r{deployment['revision']} {deployment['status']}",
        hosts_sum(counts),
    )


@environments.command(context_settings=_HELP)
@click.argument("environment", metavar="[CLUSTER/]NAME")
@shared_options
@pass_session
def show(session: Session, environment: str) -> None:
    """Show an environment: content, policy, counters, what is wrong.

    \b
    Example:
      blox environments show demo/logs
    """
    found = find_environment(session.client(), environment)
    if session.as_json:
        print_json(found)
        return
    _say_all(found)


def _say_all(environment: JsonObject) -> None:
    deployment, revision = environment["deployment"], environment["revision"]
    say(
        f"{full_name(environment)}  {environment['health']['status']}   "
        f"revision {revision_of(environment)}"
    )
    say_environment(environment)
    if environment["ending"]:
        pass
    elif deployment is None:
        say(f"  not deployed; next: blox deploy {full_name(environment)} --wait")
    else:
        what = definition_name(deployment["taskDefinition"])
        say(
            f"  deployment {deployment['id']} of revision {deployment['revision']} ({what}): "
            f"{deployment['status']}"
        )
        if deployment["revision"] != revision["number"]:
            say(
                f"  revision {revision['number']} is not deployed; next: blox deploy "
                f"{full_name(environment)} --wait"
            )
    say(f"  hosts: {revision['selector'] or 'all that can run it'}")
    if revision["task"]:
        say(f"  task: {json.dumps(revision['task'], ensure_ascii=False)}")
    if environment["adopted"]:
        verb = "was" if environment["adopted"] == 1 else "were"
        say(f"  adopted: {count(environment['adopted'], 'live task')} {verb} started by others")
    if environment["migration"] is not None:
        say(plain(f"  {migration_line(environment['migration'])}"))
    policy = environment["policy"]
    say(
        f"  policy: at most {policy['maxUnavailable']} unavailable · healthy after "
        f"{policy['minHealthySeconds']:g} s · progress deadline {policy['progressDeadline']:g} s · "
        f"drain deadline {policy['drainDeadline']:g} s"
        + (" · beside others' tasks" if policy["beside"] else "")
        + ("" if policy["whenIdle"] is None else f" · leaves idle hosts after {_idle(policy)}")
    )


def _idle(policy: JsonObject) -> str:
    return span(policy["whenIdle"])


@environments.command(context_settings=_HELP)
@click.argument("environment", metavar="[CLUSTER/]NAME")
@click.option("--task-definition", metavar="FAMILY[:REV]", help="What to run from now on.")
@click.option(
    "--beside/--not-beside",
    default=None,
    help="Start also on hosts where others run this daemon.",
)
@content_options
@shared_options
@pass_session
def change(
    session: Session, /, environment: str, task_definition: str | None, **options: Any
) -> None:
    """Change what an environment wants; only what is given changes.

    A policy takes effect at once. Anything else makes a new revision, which runs when it is
    deployed. An empty --selector matches all hosts again.

    \b
    Example:
      blox environments change demo/logs --max-unavailable 5
      blox environments change demo/logs --when-idle 15m
      blox environments change demo/logs --when-idle never
    """
    client = session.client()
    found = find_environment(client, environment)
    changed = patched(client, found, task_definition=task_definition, **options)
    if changed is None:
        raise InvalidInput("Nothing to change was given; --help shows what can be.")
    if session.as_json:
        print_json(changed)
        return
    _say_all(changed)


def patched(
    client: Client, environment: JsonObject, *, task_definition: str | None, **options: Any
) -> JsonObject | None:
    """The environment after the changes that the options ask for; None if they ask for none.

    Raises Conflict when somebody else changed it since it was read.
    """
    patch: JsonObject = {}
    if task_definition is not None:
        patch["taskDefinition"] = task_definition
    if options.get("selector") is not None:
        patch["selector"] = options["selector"]
    if options.get("task_file") is not None:
        patch["task"] = difference(environment["revision"]["task"], read_task(options["task_file"]))
    policy = policy_of(options)
    if policy:
        patch["policy"] = policy
    if not patch:
        return None
    headers = {"If-Match": f'"{environment["token"]}"'}
    return client.patch(path_in(environment), patch, headers=headers)


def difference(old: JsonObject, new: JsonObject) -> JsonObject:
    """The merge patch that makes `new` of `old`."""
    patch: JsonObject = {name: None for name in old if name not in new}
    for name, value in new.items():
        former = old.get(name)
        if isinstance(value, dict) and isinstance(former, dict):
            patch[name] = difference(former, value)
        elif value != former or name not in old:
            patch[name] = value
    return patch
