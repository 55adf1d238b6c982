"""`blox environments`: what should run where."""

import json
import time
from collections.abc import Callable, Mapping
from typing import IO, Any, Final, TypeVar

import click

from blox.base.errors import InvalidInput
from blox.cli.client import Client, JsonObject
from blox.cli.output import count, print_json, print_table, say, short
from blox.cli.session import Session, pass_session, shared_options
from blox.cli.words import (
    definition_name,
    duration,
    find_environment,
    full_name,
    hosts_sum,
    path_in,
    revision_of,
    say_environment,
    split_reference,
)

_HELP: Final = {"help_option_names": ["-h", "--help"]}
_FIRST_LOOK: Final = 5.0
"""Seconds that `create` waits for the first sweep of a cluster, to tell what is there."""
Command = TypeVar("Command", bound=Callable[..., Any])


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
    """


def content_options(command: Command) -> Command:
    """The options that say what an environment wants."""
    for option in reversed(
        (
            click.option(
                "--selector",
                metavar="EXPRESSION",
                help="Which hosts, in ECS's cluster query language: "
                "'attribute:ecs.instance-type =~ c6i.*'. Without it, all.",
            ),
            click.option(
                "--task",
                "task_file",
                type=click.File("rb"),
                metavar="FILE.json",
                help="StartTask's other members: overrides, networkConfiguration, tags …",
            ),
            click.option(
                "--max-unavailable",
                metavar="N|N%",
                help="Hosts without a healthy daemon at once during an update. Default 10%.",
            ),
            click.option(
                "--min-healthy",
                type=duration,
                metavar="TIME",
                help="RUNNING so long is healthy, without a health check. Default 10s.",
            ),
            click.option(
                "--progress-deadline",
                type=duration,
                metavar="TIME",
                help="A deployment without progress for so long has failed. Default 10m.",
            ),
            click.option(
                "--drain-deadline",
                type=duration,
                metavar="TIME",
                help="A draining host's daemon leaves at last after so long. Default 15m.",
            ),
        )
    ):
        command = option(command)
    return command


def read_task(file: IO[bytes]) -> JsonObject:
    """The JSON object in a file. Raises InvalidInput."""
    name = getattr(file, "name", "the file")
    try:
        value = json.load(file)
    except ValueError as error:
        raise InvalidInput(f"{name} is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise InvalidInput(
            f"{name} must hold a JSON object with members of StartTask, as in "
            '{"enableExecuteCommand": true}.'
        )
    return value


def policy_of(options: Mapping[str, Any]) -> JsonObject:
    """The policy's members that were given."""
    given = {
        "maxUnavailable": options["max_unavailable"],
        "minHealthySeconds": options["min_healthy"],
        "progressDeadline": options["progress_deadline"],
        "drainDeadline": options["drain_deadline"],
    }
    return {name: value for name, value in given.items() if value is not None}


@environments.command(context_settings=_HELP)
@click.argument("name", metavar="[CLUSTER/]NAME")
@click.option("--cluster", metavar="NAME|ARN", help="The cluster, if it is not in the name.")
@click.option(
    "--task-definition",
    required=True,
    metavar="FAMILY[:REV]",
    help="What to run; a family alone means its newest revision now.",
)
@content_options
@shared_options
@pass_session
def create(
    session: Session, /, name: str, cluster: str | None, task_definition: str, **options: Any
) -> None:
    """Create an environment. Nothing starts until it is deployed.

    \b
    Example:
      blox environments create logs --cluster demo --task-definition fluent-bit:41
      blox environments create demo/gpu-metrics --task-definition dcgm \\
        --selector 'attribute:ecs.instance-type =~ p4.*' --max-unavailable 1
    """
    named, name = split_reference(name)
    if (named is None) == (cluster is None):
        raise InvalidInput("Name the cluster once: CLUSTER/NAME, or NAME with --cluster CLUSTER.")
    body: JsonObject = {
        "name": name,
        "cluster": named or cluster,
        "taskDefinition": task_definition,
        "policy": policy_of(options),
    }
    if options["selector"] is not None:
        body["selector"] = options["selector"]
    if options["task_file"] is not None:
        body["task"] = read_task(options["task_file"])
    client = session.client()
    created = client.post("/v2/environments", body)
    if session.as_json:
        print_json(created)
        return
    created = _once_read(client, created)
    say(
        f"created {full_name(created)} (id {short(created['id'])}), revision "
        f"{revision_of(created)}, not deployed"
    )
    say_environment(created)
    counts = created["counts"]
    if counts["hosts"] and counts["unmatched"] == counts["hosts"]:
        say(f"  the selector matches none of the {counts['hosts']} hosts")
    if client.get("/v2/status")["mode"] == "observing":
        say("  next: start the scheduler without --observe to act; deploying now only records it")
    else:
        say(f"  next: blox deploy {full_name(created)} --wait")


def _once_read(client: Client, environment: JsonObject) -> JsonObject:
    """The environment once its cluster has been read, or as it is after a while."""
    until = time.monotonic() + _FIRST_LOOK
    while not environment["primed"] and environment["served"] and time.monotonic() < until:
        time.sleep(0.1)
        environment = client.get(path_in(environment))
    return environment


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
    print_table(
        ("ENVIRONMENT", "HEALTH", "CURRENT", "REVISION", "DEPLOYMENT", "HOSTS"),
        [_row(environment) for environment in found],
    )


def _row(environment: JsonObject) -> tuple[object, ...]:
    counts, deployment = environment["counts"], environment["deployment"]
    return (
        full_name(environment),
        environment["health"]["status"],
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
    if deployment is None:
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
    policy = environment["policy"]
    say(
        f"  policy: at most {policy['maxUnavailable']} unavailable · healthy after "
        f"{policy['minHealthySeconds']:g} s · progress deadline {policy['progressDeadline']:g} s · "
        f"drain deadline {policy['drainDeadline']:g} s"
    )


@environments.command(context_settings=_HELP)
@click.argument("environment", metavar="[CLUSTER/]NAME")
@click.option("--task-definition", metavar="FAMILY[:REV]", help="What to run from now on.")
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
    if options["selector"] is not None:
        patch["selector"] = options["selector"]
    if options["task_file"] is not None:
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


@environments.command(context_settings=_HELP)
@click.argument("environment", metavar="[CLUSTER/]NAME")
@shared_options
@pass_session
def delete(session: Session, environment: str) -> None:
    """Delete an environment. Its tasks go on running and are listed as orphans.

    \b
    Example:
      blox environments delete demo/logs
      blox orphans
    """
    client = session.client()
    found = find_environment(client, environment)
    deleted = client.delete(path_in(found))
    if session.as_json:
        print_json(deleted)
        return
    left = deleted["tasksLeftRunning"]
    say(f"deleted {full_name(deleted)}")
    if left:
        verb = "goes" if left == 1 else "go"
        say(f"  {count(left, 'task')} of it {verb} on running: blox orphans")
