"""How commands speak of environments: names, counters that add up, causes with a next step."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import click

from blox.base.errors import InvalidInput, NotFound
from blox.base.ids import is_cluster_name, is_environment_name
from blox.cli.client import Client, JsonObject, path_of
from blox.cli.output import count, plain, say

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
UNWANTED: Final = ("unmatched", "ineligible", "leaving", "notReady", "away", "lost")
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
    names = [host_name(host) for host in cause["hosts"][:3]]
    left = cause["count"] - len(names)
    return ", ".join(names) + (f" and {left} more" if left > 0 else "")


def say_environment(environment: JsonObject, *, look: bool = True) -> None:
    """The counters and problems of an environment, indented below its name. `look`: say which
    command shows the hosts."""
    command = f"blox hosts {full_name(environment)}" if look else ""
    if not environment["served"]:
        say("  belongs to another account or region; this scheduler leaves it alone")
    elif not environment["primed"]:
        say("  its cluster has not been read completely yet; the counts may lack hosts")
    say(f"  {hosts_sum(environment['counts'])}")
    if environment["counts"]["wanted"]:
        say(f"  {wanted_sum(environment['counts'])}")
    for problem in environment["health"]["problems"]:
        say(f"  {problem_line(problem, look=command)}")


# --- Times ----------------------------------------------------------------------------------------


def parse_time(text: str) -> datetime:
    """A time of the API's."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


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
