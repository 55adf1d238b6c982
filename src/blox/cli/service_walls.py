"""What stands between a service's command and the operating system: exit codes, and the first
moments, in which a signal ends it at once."""

import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NoReturn

import click

from blox.base.errors import BloxError

if TYPE_CHECKING:
    from blox.settings import Settings

_INTERRUPTED: Final = 130


def run_service(
    command: click.Command,
    arguments: Sequence[str],
    *,
    name: str,
    settings: "Settings | None" = None,
) -> int:
    """Run one command line of a service to its end; the exit code.

    `settings`: other values than the defaults, for what neither flags nor the environment say.
    """
    try:
        code = command.main(
            args=list(arguments), prog_name=name, standalone_mode=False, obj=settings
        )
    except click.ClickException as error:
        error.show()
        return 1
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BloxError as error:
        click.echo(f"{name}: {error.message}", err=True)
        return 1
    except Exception as error:  # noqa: BLE001 - told in full
        traceback.print_exc()
        click.echo(f"{name}: this is a mistake in blox: {type(error).__name__}: {error}", err=True)
        return 1
    return code if isinstance(code, int) else 0


def enter(run: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run a service's script to its end."""

    def leave(_number: int, _frame: object) -> NoReturn:
        raise SystemExit(0)

    # Until the service has handlers of its own, nothing has begun that would have to be finished.
    signal.signal(signal.SIGTERM, leave)
    raise SystemExit(run(sys.argv[1:]))
