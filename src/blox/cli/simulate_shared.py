"""What the commands of `blox simulate` share: where the simulator is, and printing JSON."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from blox.cli.simulator_client import DEFAULT_SIMULATOR, Simulator

Command = TypeVar("Command", bound=Callable[..., Any])


def simulator_option(command: Command) -> Command:
    """The option `--endpoint`, which gives the command a `simulator`."""
    return click.option(
        "--endpoint",
        "simulator",
        metavar="URL",
        envvar="BLOX_SIMULATOR",
        default=DEFAULT_SIMULATOR,
        show_default=True,
        callback=lambda _context, _parameter, value: Simulator(value),
        help="Where the simulator listens. BLOX_SIMULATOR",
    )(command)


def cluster_option(command: Command) -> Command:
    """The option `--cluster`, `demo` when it is left out."""
    return click.option("--cluster", metavar="NAME", default="demo", show_default=True)(command)


def print_json(value: object) -> None:
    """JSON for people and programs."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
