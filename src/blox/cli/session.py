"""What every command shares: where the services are, and whether to print JSON."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from blox.cli.client import Client
    from blox.cli.state_client import StateClient

DEFAULT_ENDPOINT: Final = "http://127.0.0.1:2000"
DEFAULT_CSS_ENDPOINT: Final = "http://127.0.0.1:3000"
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Session:
    """The answers to the options that every command takes."""

    endpoint: str = DEFAULT_ENDPOINT
    css_endpoint: str = DEFAULT_CSS_ENDPOINT
    as_json: bool = False

    def client(self) -> "Client":
        """A client of the scheduler's API. Raises InvalidInput for an endpoint that is no URL."""
        from blox.cli.client import Client

        return Client(self.endpoint)

    def state_client(self) -> "StateClient":
        """A client of the cluster-state-service's API. Raises InvalidInput for an endpoint that is
        no URL."""
        from blox.cli.state_client import StateClient

        return StateClient(self.css_endpoint)


def _set_endpoint(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value:
        context.obj = replace(session_of(context), endpoint=value)


def _set_css_endpoint(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value:
        context.obj = replace(session_of(context), css_endpoint=value)


def _set_json(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
    if value:
        context.obj = replace(session_of(context), as_json=True)


def session_of(context: click.Context) -> Session:
    """The session of a command's context."""
    return context.find_object(Session) or Session()


def shared_options(command: Command) -> Command:
    """Give a command `--endpoint` and `--json`, so that they may stand before or after its name."""
    endpoint = click.option(
        "--endpoint",
        metavar="URL",
        expose_value=False,
        callback=_set_endpoint,
        help=f"Where the scheduler answers. BLOX_ENDPOINT; default {DEFAULT_ENDPOINT}",
    )
    return endpoint(_json_option(command))


def state_endpoint_option(command: Command) -> Command:
    """Give a command `--css-endpoint`."""
    return click.option(
        "--css-endpoint",
        metavar="URL",
        expose_value=False,
        callback=_set_css_endpoint,
        help="Where the cluster-state-service answers. BLOX_CSS_ENDPOINT; default "
        f"{DEFAULT_CSS_ENDPOINT}",
    )(command)


def state_options(command: Command) -> Command:
    """Give a command that asks the cluster-state-service `--css-endpoint` and `--json`."""
    return state_endpoint_option(_json_option(command))


def _json_option(command: Command) -> Command:
    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_set_json,
        help="Print JSON, for programs.",
    )(command)


pass_session = click.make_pass_decorator(Session)
"""A command decorated with it gets the Session as its first argument."""
