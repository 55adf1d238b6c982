"""One task or host in full, found by whatever people have at hand of its name."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import click

from blox.base.errors import InvalidInput, NotFound
from blox.base.ids import parse_arn, short_id
from blox.cli.client import JsonObject, path_of
from blox.cli.output import plain, say, say_wrapped, short
from blox.cli.state_client import StateClient
from blox.cli.state_filters import chosen
from blox.cli.state_tables import TASKS, Context, by_definition, print_items
from blox.cli.state_words import (
    agent,
    amount,
    attribute,
    condition_notes,
    health,
    instance_name,
    runs,
    stale_notes,
    task_age,
    task_host,
    task_status,
    tasks_sum,
    text,
    told,
    utc_now,
    zone,
)
from blox.cli.words import ago, second

_COLLECTIONS: Final = {"task": "/v2/tasks", "instance": "/v2/instances"}
_NOUNS: Final = {"task": "task", "instance": "host"}
_WHOLE: Final = re.compile(r"m?i-[0-9a-f]{8,17}|[0-9a-f]{32}|[0-9a-f-]{36}")
"""An id that is not the beginning of another."""
_LEAST: Final = 4
"""Characters of an id that may stand for it."""
_RESOURCES: Final = ("CPU", "MEMORY", "GPU")
_SAID: Final = (
    *("containerInstanceArn", "clusterArn", "ec2InstanceId", "status", "agentConnected"),
    *("runningTasksCount", "pendingTasksCount"),
)
"""Members of a host that are told otherwise; ECS's counts are only as new as the last read."""


def say_stale(clusters: Sequence[JsonObject]) -> None:
    """Say on stderr what must be known of rows that may be old or missing."""
    for note in stale_notes(clusters):
        click.echo(f"note: {plain(note)}", err=True)


def about(client: StateClient, reference: str | None) -> list[JsonObject]:
    """The clusters that a name or an ARN means, all of them for None. What is wrong with the
    service as a whole is said on stderr, whether there are any or not.

    Raises InvalidInput for what is no cluster's name, NotFound for one that is not watched.
    """
    clusters = client.clusters()
    for note in condition_notes(client.conditions(), clusters):
        click.echo(f"note: {plain(note)}", err=True)
    return chosen(clusters, reference)


# --- Finding one ----------------------------------------------------------------------------------


def find(client: StateClient, kind: Literal["task", "instance"], reference: str) -> JsonObject:
    """The task or host that an ARN, an id or its beginning means; `CLUSTER/` may stand before it.

    Raises NotFound, and InvalidInput when it could be several.
    """
    cluster, name = _parts(reference)
    clusters = about(client, cluster)
    say_stale(clusters)
    if _WHOLE.fullmatch(name):
        found = _by_id(client, kind, clusters, name)
    elif len(name) >= _LEAST:
        found = _by_beginning(client, kind, cluster, name)
    else:
        raise InvalidInput(f"{reference!r} is too short: {_LEAST} characters of an id are needed.")
    if not found:
        where = cluster or ("any cluster that is watched here" if clusters else "any cluster yet")
        raise NotFound(f"No {_NOUNS[kind]} {name} in {where}.")
    if len(found) > 1:
        several = ", ".join(f"{one['cluster']}/{short_id(one['arn'])}" for one in found[:4])
        more = " …" if len(found) > 4 else ""
        raise InvalidInput(f"{name} could be one of {len(found)}: {several}{more}")
    return found[0]


def _parts(reference: str) -> tuple[str | None, str]:
    """The cluster, if it is named, and the id."""
    arn = parse_arn(reference)
    if arn is not None:
        return arn.cluster, arn.name
    cluster, _, name = reference.rpartition("/")
    return cluster or None, name.removesuffix("…")


def _by_id(
    client: StateClient, kind: str, clusters: Sequence[JsonObject], name: str
) -> list[JsonObject]:
    found = []
    for cluster in clusters:
        try:
            found.append(client.get(_COLLECTIONS[kind] + path_of(cluster["name"], name)))
        except NotFound:
            continue
    return found


def _by_beginning(
    client: StateClient, kind: str, cluster: str | None, name: str
) -> list[JsonObject]:
    listed, _ = client.listing(_COLLECTIONS[kind], {} if cluster is None else {"cluster": cluster})
    return [
        item
        for item in listed
        if short_id(item["arn"]).startswith(name)
        or text(told(item), "ec2InstanceId").startswith(name)
    ]


# --- Telling it -----------------------------------------------------------------------------------


def say_instance(item: JsonObject, tasks: Sequence[JsonObject]) -> None:
    """A host: what it is, what is free, every other member, and its tasks."""
    connected = {"ok": "agent connected", "GONE": "AGENT DISCONNECTED"}.get(agent(item), "")
    facts = [attribute(item, "ecs.instance-type"), zone(item), attribute(item, "ecs.ami-id")]
    state = ", ".join(part for part in (text(told(item), "status"), connected) if part)
    shown = "  ".join(fact for fact in facts if fact)
    say_wrapped(f"{instance_name(item)}  on {item['cluster']}  {state}   {shown}".rstrip())
    _say_source(item)
    for name in _RESOURCES:
        registered = amount(told(item), "registeredResources", name)
        remaining = amount(told(item), "remainingResources", name)
        if registered and remaining is not None:
            unit = {"CPU": " units", "MEMORY": " MiB"}.get(name, "")
            taken = registered - remaining
            say(f"  {name}: {registered}{unit} = {taken} taken + {remaining} free")
    _say_members(item, without=_SAID)
    say()
    if tasks:
        hosts = {item["arn"]: instance_name(item)}
        columns = [column for column in TASKS if column.name != "HOST"]
        listed = sorted(tasks, key=by_definition(hosts))
        print_items(columns, listed, Context(now=utc_now(), hosts=hosts))
    say(tasks_sum(tasks))


def say_task(item: JsonObject, hosts: Mapping[str, str]) -> None:
    """A task: what it runs, where, how it does, and every other member."""
    members = told(item)
    age = task_age(item, utc_now())
    status = ", ".join(part for part in (task_status(item), health(item)) if part)
    where = task_host(item, hosts)
    made = f"   made {age} ago" if age else ""
    say_wrapped(
        f"{short(item['arn'])}  {runs(item)}  on {item['cluster']}"
        f"{f', {where}' if where else ''}  {status}{made}"
    )
    _say_source(item)
    if reason := text(members, "stoppedReason"):
        say_wrapped(f"  why it stopped: {reason}")
    _say_members(item, without=("taskArn", "clusterArn", "stoppedReason"))


def _say_source(item: JsonObject) -> None:
    """Its ARN, and how old what is told of it is."""
    say(plain(f"  {item['arn']}"))
    read = f"read {ago(item['readAt'])} ago" if item["readAt"] else "told by events alone so far"
    say(f"  version {item['version']}, {read}")


def _say_members(item: JsonObject, *, without: Sequence[str]) -> None:
    members = {name: value for name, value in told(item).items() if name not in without}
    width = max(map(len, members), default=0)
    for name, value in sorted(members.items()):
        shown = _shown(name, value)
        if shown:
            say_wrapped(plain(f"  {name.ljust(width)}  {shown}"), indent=width + 2)


def _shown(name: str, value: object) -> str:
    """A member's value on one line; "" for what says nothing."""
    if value is None or value == [] or value == {} or value == "":
        return ""
    if isinstance(value, str):
        return second(value) if name.endswith("At") else value
    if isinstance(value, list) and all(isinstance(one, dict) and "name" in one for one in value):
        return ", ".join(_named(one) for one in value)
    return json.dumps(value, ensure_ascii=False)


def _named(one: Mapping[str, object]) -> str:
    """One of a list of things with names: attributes, resources, containers."""
    name = str(one["name"])
    if "integerValue" in one or "stringSetValue" in one:  # A resource of a host.
        value = one.get("stringSetValue", one.get("integerValue"))
        return f"{name}={' '.join(value) or 'none' if isinstance(value, list) else value}"
    if "containerArn" in one or "lastStatus" in one:  # A container of a task.
        told = [str(one[key]) for key in ("lastStatus", "healthStatus") if one.get(key)]
        if one.get("exitCode") is not None:
            told.append(f"exit code {one['exitCode']}")
        if one.get("reason"):
            told.append(str(one["reason"]))
        return f"{name}: {' '.join(told)}"
    return f"{name}={one['value']}" if one.get("value") else name
