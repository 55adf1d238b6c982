"""The options by which tasks and hosts are chosen, and the query that they make."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click

from blox.base.errors import InvalidInput, NotFound
from blox.base.ids import is_cluster_reference
from blox.cli.client import JsonObject

Command = TypeVar("Command", bound=Callable[..., Any])

_NAMES: Final[Mapping[str, str]] = {
    "started_by": "startedBy",
    "group": "group",
    "family": "family",
    "definition": "taskDefinition",
    "launch_type": "launchType",
    "health": "health",
    "instance": "instance",
    "provider": "capacityProvider",
}
"""Options that are one parameter of the API."""
_STATUS: Final = "In this status, in any case; several with commas between: {} …"
_QUERY: Final = (
    "Only {} that this expression of ECS's cluster query language selects; given twice, both must."
)
_INSTANCE: Final = "An instance id (i-… or mi-…), a container instance id, or its ARN."


def instance_filters(command: Command) -> Command:
    """Give a command the options that choose hosts."""
    for option in reversed(
        (
            _text("--status", "STATUS", _STATUS.format("ACTIVE, DRAINING")),
            click.option(
                "--agent",
                type=click.Choice(["connected", "gone"]),
                help="Only those whose agent is connected, or is not.",
            ),
            _text("--instance", "HOST", _INSTANCE),
            _text("--capacity-provider", "NAME", "Of this capacity provider.", name="provider"),
            _query("hosts"),
        )
    ):
        command = option(command)
    return command


def task_filters(command: Command) -> Command:
    """Give a command the options that choose tasks."""
    for option in reversed(
        (
            _text("--status", "STATUS", _STATUS.format("PENDING, RUNNING, STOPPED")),
            _text("--desired-status", "STATUS", "What ECS wants of it: RUNNING, STOPPED."),
            _text("--family", "NAME", "Of this task definition, whatever the revision."),
            _text("--definition", "FAMILY:REVISION", "Of this revision; an ARN will do."),
            _text("--started-by", "TEXT", "With this startedBy."),
            _text("--group", "TEXT", "Of this group, as in service:web or family:logs."),
            _text("--health", "STATUS", "HEALTHY, UNHEALTHY or UNKNOWN."),
            _text("--launch-type", "TYPE", "EC2, FARGATE, EXTERNAL …"),
            _text("--instance", "HOST", f"On this host. {_INSTANCE}"),
            _query("tasks on hosts"),
        )
    ):
        command = option(command)
    return command


def _text(flag: str, metavar: str, shown: str, *, name: str = "") -> Callable[[Command], Command]:
    names = (flag, name) if name else (flag,)
    return click.option(*names, metavar=metavar, help=shown)


def _query(what: str) -> Callable[[Command], Command]:
    return click.option(
        "--query", "queries", metavar="EXPR", multiple=True, help=_QUERY.format(what)
    )


def query_of(options: Mapping[str, Any], cluster: str | None) -> dict[str, str]:
    """The API's query for what was chosen."""
    asked = {} if cluster is None else {"cluster": cluster}
    for option, name in _NAMES.items():
        if options.get(option) is not None:
            asked[name] = options[option]
    for option, name in (("status", "status"), ("desired_status", "desiredStatus")):
        if options.get(option) is not None:
            asked[name] = options[option].upper()
    if options.get("agent") is not None:
        asked["agentConnected"] = "true" if options["agent"] == "connected" else "false"
    expressions: Sequence[str] = options.get("queries") or ()
    if expressions:
        both = " and ".join(f"({expression})" for expression in expressions)
        asked["query"] = expressions[0] if len(expressions) == 1 else both
    return asked


def chosen(clusters: Sequence[JsonObject], reference: str | None) -> list[JsonObject]:
    """The clusters that a name or an ARN means, all of them for None.

    Raises InvalidInput for what is no cluster's name, NotFound for one that is not watched.
    """
    if reference is None:
        return list(clusters)
    if not is_cluster_reference(reference):
        raise InvalidInput(f"{reference!r} is neither a cluster's name nor its ARN.")
    found = [one for one in clusters if reference in (one["name"], one["arn"])]
    if not found:
        names = ", ".join(one["name"] for one in clusters[:5])
        verb = "is" if len(clusters) == 1 else "are"
        there = (
            f"there {verb} {names}{' …' if len(clusters) > 5 else ''}" if names else "none is yet"
        )
        raise NotFound(f"No cluster {reference} is watched here; {there}. See: blox clusters")
    return found
