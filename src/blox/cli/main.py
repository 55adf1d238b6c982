"""The `blox` command. Commands are imported only when they are called.

Exit codes: 0 done · 1 error, a mistyped command included · 2 there are changes · 3 a deployment
failed · 5 timed out, still running · 130 interrupted.
"""

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import click

from blox import __version__
from blox.base.errors import BloxError
from blox.cli.session import (
    DEFAULT_CSS_ENDPOINT,
    DEFAULT_ENDPOINT,
    Session,
    shared_options,
    state_endpoint_option,
)

_INTERRUPTED: Final = 130


class Lazy(NamedTuple):
    """A command that is not imported yet."""

    module: str
    attribute: str
    help: str


COMMANDS: Final[Mapping[str, Lazy]] = {
    "status": Lazy("blox.cli.status", "status", "Show what needs you, and how the rest does."),
    "doctor": Lazy("blox.cli.doctor", "doctor", "Find out whether blox can work in this account."),
    "audit": Lazy("blox.cli.audit", "audit", "Show which hosts lack which daemon today."),
    "setup": Lazy("blox.cli.setup", "setup", "Print the queue, rule and permissions it needs."),
    "verify-aws": Lazy("blox.cli.verify", "verify_aws", "Ask a real ECS what nobody has told us."),
    "environments": Lazy(
        "blox.cli.environments", "environments", "Create, list, show, change and delete them."
    ),
    "adopt": Lazy("blox.cli.adopt", "adopt", "Make tasks that others started an environment's."),
    "migrate": Lazy(
        "blox.cli.migrate", "migrate", "Take over from a DAEMON service, host by host."
    ),
    "deploy": Lazy("blox.cli.deploy", "deploy", "Bring an environment's hosts to a definition."),
    "deployments": Lazy("blox.cli.deploy", "deployments", "List an environment's deployments."),
    "hosts": Lazy("blox.cli.look", "hosts", "Show every host and why; hold one, release it."),
    "explain": Lazy("blox.cli.explain", "explain", "Tell the story of one host, or of a cause."),
    "logs": Lazy("blox.cli.reach", "logs", "Print the aws command that shows a daemon's log."),
    "exec": Lazy("blox.cli.reach", "exec_", "Print the aws command that opens a shell in one."),
    "freeze": Lazy("blox.cli.orders", "freeze", "Start and stop nothing, for a while."),
    "thaw": Lazy("blox.cli.orders", "thaw", "End a freeze before its time."),
    "confirm": Lazy("blox.cli.orders", "confirm", "Say that many stops at once are meant."),
    "orphans": Lazy("blox.cli.look", "orphans", "List tasks of environments that are deleted."),
    "clusters": Lazy(
        "blox.cli.clusters", "clusters", "Show every cluster and how fresh; sweep one."
    ),
    "instances": Lazy("blox.cli.instances", "instances", "List hosts as ECS knows them."),
    "tasks": Lazy("blox.cli.state_tasks", "tasks", "List tasks as ECS knows them."),
    "watch": Lazy("blox.cli.watch", "watch", "Follow tasks and hosts as they change."),
    "store": Lazy("blox.cli.store", "store", "Back up what the scheduler has decided."),
    "simulate": Lazy("blox.cli.simulate", "simulate", "Run a simulated ECS to try things on."),
    "demo": Lazy("blox.cli.demo", "demo", "See it all work on this machine, without AWS."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and help, and imports the one that is called."""

    def __init__(self, *args: object, lazy: Mapping[str, Lazy], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which one meets them."""
        return [*self._lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, if there is one of that name."""
        lazy = self._lazy.get(cmd_name)
        if lazy is None:
            return super().get_command(ctx, cmd_name)
        from importlib import import_module

        command = getattr(import_module(lazy.module), lazy.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{lazy.module}:{lazy.attribute} is not a command")
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """The list in `--help`, without importing anything."""
        if self._lazy:
            with formatter.section("Commands"):
                formatter.write_dl([(name, lazy.help) for name, lazy in self._lazy.items()])


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="blox", message="%(prog)s %(version)s")
@state_endpoint_option
@shared_options
@click.pass_context
def blox(context: click.Context) -> None:
    """Exactly one task of each daemon on every host of an Amazon ECS cluster."""
    if context.obj is None:
        context.obj = Session()


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code."""
    session = Session(
        endpoint=os.environ.get("BLOX_ENDPOINT") or DEFAULT_ENDPOINT,
        css_endpoint=os.environ.get("BLOX_CSS_ENDPOINT") or DEFAULT_CSS_ENDPOINT,
    )
    try:
        code = blox.main(args=list(arguments), prog_name="blox", standalone_mode=False, obj=session)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return 1
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BloxError as error:
        return _complain(error.message)
    except OSError as error:
        if error.errno == errno.EPIPE:  # click leaves by itself when it happens inside a command
            return _leave_quietly()
        return _complain(str(error))
    except Exception as error:
        if os.environ.get("BLOX_DEBUG"):
            raise
        return _complain(
            f"this is a mistake in blox: {type(error).__name__}: {error}\n"
            "Run it again with BLOX_DEBUG=1 to see where."
        )
    return code if isinstance(code, int) else 0


def main() -> None:
    """The entry point of the `blox` script."""
    raise SystemExit(run(sys.argv[1:]))


def _complain(message: str) -> int:
    click.echo(f"blox: {message}", err=True)
    return 1


def _leave_quietly() -> int:
    """Whoever read our output has gone (`| head`): let nothing try to write to it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


if __name__ == "__main__":
    main()
