"""How commands speak of environments: names, counters that add up, causes with a next step."""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import click

from blox.base.errors import InvalidInput, NotFound
from blox.base.ids import is_cluster_name, is_environment_name
from blox.cli.client import Client, JsonObject, path_of
from blox.cli.output import count, plain, say, say_wrapped, span

WANTED: Final = (
    "current",
    "settling",
    "outdated",
    "starting",
    "inDoubt",
    "stopping",
    "failing",
    "blocked",
    "occupied",
    "missing",
)
UNWANTED: Final = (
    "unmatched",
    "ineligible",
    "leaving",
    "notReady",
    "away",
    "lost",
    "held",
    "yielded",
)
CLASSES: Final = (*WANTED, *UNWANTED, "superseded")
_SPOKEN: Final = {"inDoubt": "in doubt", "notReady": "not ready"}
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


# --- Names ----------------------------------------------------------------------------------------


def split_reference(reference: str) -> tuple[str | None, str]:
    """The cluster, if one is named, and the name in `[CLUSTER/]NAME`. Raises InvalidInput."""
    cluster, slash, name = reference.rpartition("/")
    if not is_environment_name(name) or (slash and not is_cluster_name(cluster)):
        raise InvalidInput(
            f"{reference!r} names no environment: [CLUSTER/]NAME is needed, as in demo/logs."
        )
    return (cluster if slash else None), name


def find_environment(client: Client, reference: str) -> JsonObject:
    """The environment that `[CLUSTER/]NAME` means. Raises NotFound, InvalidInput."""
    cluster, name = split_reference(reference)
    if cluster is not None:
        return client.get(place(cluster, name))
    found = client.every("/v2/environments", {"name": name})
    if not found:
        raise NotFound(f"There is no environment named {name}. `blox environments list` shows all.")
    if len(found) > 1:
        choices = ", ".join(full_name(environment) for environment in found)
        raise InvalidInput(f"{name} stands on {len(found)} clusters: say which, one of {choices}.")
    return found[0]


def place(cluster: str, name: str, *more: str) -> str:
    """A path below an environment's."""
    return path_of("v2", "environments", cluster, name, *more)


def path_in(environment: JsonObject, *more: str) -> str:
    """A path below this environment's."""
    return place(environment["cluster"], environment["name"], *more)


def full_name(body: JsonObject) -> str:
    """`CLUSTER/NAME` of an environment, or of what belongs to one."""
    return f"{body['cluster']}/{body.get('environment') or body['name']}"


def revision_of(environment: JsonObject) -> str:
    """A revision in a few words: 2 = agent:7."""
    revision = environment["revision"]
    return f"{revision['number']} = {definition_name(revision['taskDefinition'])}"


def definition_name(arn: str) -> str:
    """`family:revision` of a task definition's ARN."""
    return arn.rsplit("/", 1)[-1]


def host_name(host: JsonObject) -> str:
    """A host as people type it: its instance id, else the container instance's."""
    return str(host.get("instanceId") or host["arn"].rsplit("/", 1)[-1])


# --- Freezes and holds ----------------------------------------------------------------------------


def frozen_words(freeze: JsonObject) -> str:
    """What a freeze is about: everything, cluster demo, demo/logs."""
    if freeze["scope"] == "cluster":
        return f"cluster {freeze['cluster']}"
    if freeze["scope"] == "environment":
        name = freeze["environment"]
        return f"{freeze['cluster']}/{name}" if name else "an environment that is deleted"
    return "everything"


def thaw_command(freeze: JsonObject) -> str:
    """What ends a freeze."""
    if freeze["scope"] == "cluster":
        return f"blox thaw --cluster {freeze['cluster']}"
    if freeze["scope"] == "environment":
        if freeze["environment"] is None:
            return f"blox thaw {freeze['id']}"
        return f"blox thaw --environment {frozen_words(freeze)}"
    return "blox thaw --everything"


def frozen_line(freeze: JsonObject) -> str:
    """FROZEN: everything until … (2 h left): why   command."""
    return plain(
        f"FROZEN: {frozen_words(freeze)} until {until(freeze)}: {freeze['why']}   "
        f"{thaw_command(freeze)}"
    )


def held_line(hold: JsonObject) -> str:
    """HELD: i-… on demo until … (2 h left): why   command."""
    name = held_name(hold)
    return plain(
        f"HELD: {name} on {hold['cluster']} until {until(hold)}: {hold['why']}   "
        f"blox hosts release {name}"
    )


def held_name(hold: JsonObject) -> str:
    """The held host as people type it."""
    return str(hold["instanceId"] or hold["host"].rsplit("/", 1)[-1])


def concerns(freeze: JsonObject, cluster: str, name: str | None = None) -> bool:
    """Whether a freeze stops what is done on a cluster, or for one of its environments."""
    if freeze["scope"] == "everything":
        return True
    if freeze["cluster"] != cluster:
        return False
    return freeze["scope"] == "cluster" or name is None or freeze["environment"] == name


def until(body: JsonObject) -> str:
    """When a freeze or a hold ends, and in how long."""
    left = (parse_time(body["until"]) - datetime.now(UTC)).total_seconds()
    # Rounded up: what was asked for 2 h a moment ago has 2 h left, not 119 min.
    return f"{second(body['until'])} ({span(max(0, math.ceil(left)))} left)"


# --- Counters -------------------------------------------------------------------------------------


def spoken(slot_class: str) -> str:
    """A class's name in a sentence."""
    return _SPOKEN.get(slot_class, slot_class)


def hosts_sum(counts: JsonObject) -> str:
    """12 hosts = 9 wanted + 2 ineligible + 1 away."""
    parts = [f"{counts['wanted']} wanted"]
    parts += [f"{counts[c]} {spoken(c)}" for c in UNWANTED if counts[c]]
    beside = counts["superseded"]
    more = f"  (beside: {count(beside, 'superseded record')})" if beside else ""
    return f"{count(counts['hosts'], 'host')} = {' + '.join(parts)}{more}"


def wanted_sum(counts: JsonObject) -> str:
    """9 wanted = 7 current + 2 starting."""
    parts = [f"{counts[c]} {spoken(c)}" for c in WANTED if counts[c]]
    return f"{counts['wanted']} wanted = {' + '.join(parts) or 0}"


# --- Causes ---------------------------------------------------------------------------------------


def problem_line(problem: JsonObject, *, look: str = "") -> str:
    """A count, a cause, a next step. `look`: the command that shows more."""
    whole = problem["count"] == 0
    number = "the whole environment" if whole else count(problem["count"], "host")
    request = f" (request {problem['requestId']})" if problem["requestId"] else ""
    ending = f"   {look}" if look and not whole else ""
    step = f"{problem['who']}: {problem['nextStep']}"
    return plain(f"{number}: {problem['sentence']}{request} -> {step}{ending}")


def cause_lines(causes: Iterable[JsonObject]) -> list[str]:
    """Each cause with its hosts, by name when they are few."""
    return [
        plain(f"{count(cause['count'], 'host')}: {cause['sentence']}   {_named(cause)}")
        for cause in causes
    ]


def _named(cause: JsonObject) -> str:
    return named_hosts(cause["hosts"], of=cause["count"])


def named_hosts(hosts: Sequence[JsonObject], *, of: int | None = None) -> str:
    """A few of the hosts by name, and how many more there are. `of`: so many in all."""
    names = [host_name(host) for host in hosts[:3]]
    left = (len(hosts) if of is None else of) - len(names)
    return ", ".join(names) + (f" and {left} more" if left > 0 else "")


def say_environment(environment: JsonObject, *, look: bool = True) -> None:
    """The counters and problems of an environment, indented below its name, and why nothing moves.
    `look`: say which command shows the hosts."""
    command = f"blox hosts {full_name(environment)}" if look else ""
    if environment["frozen"] is not None:
        say_wrapped(f"  {frozen_line(environment['frozen'])}")
    if environment["ending"]:
        say_wrapped(f"  {ending_line(environment)}")
    if not environment["served"]:
        say("  belongs to another account or region; this scheduler leaves it alone")
    elif not environment["primed"]:
        say("  its cluster has not been read completely yet; the counts may lack hosts")
    say(f"  {hosts_sum(environment['counts'])}")
    if environment["counts"]["wanted"]:
        say(f"  {wanted_sum(environment['counts'])}")
    for problem in environment["health"]["problems"]:
        say_wrapped(f"  {problem_line(problem, look=command)}")


def ending_line(environment: JsonObject) -> str:
    """That it is being deleted, and how to watch that."""
    left = count(environment["tasksLeft"], "task")
    return (
        f"it is being deleted, {left} left to stop   "
        f"blox environments delete {full_name(environment)} --wait"
    )


def migration_line(migration: JsonObject) -> str:
    """That hosts are moved from a DAEMON service, and how far that is."""
    way = "hosts go back to" if migration["back"] else "hosts are taken over from"
    return (
        f"{way} service/{migration['service']}: {count(migration['moved'], 'host')} moved so far, "
        f"longest gap {span(migration['worstGapSeconds'])}"
    )


# --- Times ----------------------------------------------------------------------------------------


def parse_time(text: str) -> datetime:
    """A time of the API's."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def second(text: str) -> str:
    """A time of the API's as people read it: 2026-11-22 03:40:12 UTC."""
    return parse_time(text).strftime("%Y-%m-%d %H:%M:%S UTC")


def moment(text: str) -> str:
    """The time of day of the API's, to the millisecond: 03:40:12.120."""
    return parse_time(text).strftime("%H:%M:%S.%f")[:-3]


def ago(text: str) -> str:
    """How long ago a time of the API's was, by this machine's clock."""
    return span(max(0.0, (datetime.now(UTC) - parse_time(text)).total_seconds()))


def seconds_between(begin: str, end: str) -> float:
    """From one of the API's times to another, at least 0: ECS's clock, which they follow, is known
    only to the second and may seem to go back by as much."""
    return max(0.0, (parse_time(end) - parse_time(begin)).total_seconds())


def duration(text: str) -> float:
    """Seconds, from 90, 90s, 15m, 2h or 1d: the type of options that take a time."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    try:
        seconds = float(number) * _UNITS[unit]
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise click.BadParameter(f"{text!r} is no duration: 90, 90s, 15m, 2h or 1d")
    return seconds


def grouped(items: Sequence[JsonObject], *keys: str) -> dict[tuple[str, ...], list[JsonObject]]:
    """Items by the values of some members, in order of first appearance."""
    groups: dict[tuple[str, ...], list[JsonObject]] = {}
    for item in items:
        groups.setdefault(tuple(str(item[key]) for key in keys), []).append(item)
    return groups
