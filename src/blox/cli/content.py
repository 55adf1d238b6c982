"""The options that say what an environment wants, and what they mean in a request."""

import json
import math
from collections.abc import Callable, Mapping
from typing import IO, Any, TypeVar

import click

from blox.base.errors import InvalidInput
from blox.cli.client import JsonObject
from blox.cli.words import duration

Command = TypeVar("Command", bound=Callable[..., Any])


def _idle(text: str) -> float:
    """Seconds; infinity for `never`."""
    return math.inf if text == "never" else duration(text)


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
            click.option(
                "--when-idle",
                type=_idle,
                metavar="TIME|never",
                help="On hosts that ECS removes when idle: leave after nothing but daemons has run "
                "there for so long, come back with the next task. Default never.",
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
        "maxUnavailable": options.get("max_unavailable"),
        "minHealthySeconds": options.get("min_healthy"),
        "progressDeadline": options.get("progress_deadline"),
        "drainDeadline": options.get("drain_deadline"),
        "beside": options.get("beside"),
    }
    policy = {name: value for name, value in given.items() if value is not None}
    idle = options.get("when_idle")
    if idle is not None:
        policy["whenIdle"] = None if idle == math.inf else idle
    return policy
