"""`blox store backup`: a copy of what the scheduler has decided."""

import asyncio
from pathlib import Path
from typing import Final

import click

from blox.app.plan import store_path
from blox.base.clock import SystemClock
from blox.base.errors import InvalidInput
from blox.cli.output import count, print_json, say, say_wrapped, span
from blox.cli.session import Session, pass_session, shared_options
from blox.scheduler.repository import Repository
from blox.settings import load_settings
from blox.store.backup import write_backup
from blox.store.errors import StoreRefused
from blox.store.sqlite import SqliteStore

_HELP: Final = {"help_option_names": ["-h", "--help"]}
_PREFIX: Final = "sqlite:"
_SNAPSHOT: Final = "/v2/store/snapshot"
_TIMEOUT: Final = 120.0


@click.group(context_settings=_HELP)
def store() -> None:
    """Back up what the scheduler has decided.

    \b
    Example:
      blox store backup /var/backups/blox.db
    """


@store.command(context_settings=_HELP)
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@click.option(
    "--store",
    "source",
    metavar="sqlite:FILE",
    help="Copy this file, while no scheduler runs on it. Without it: the running scheduler's.",
)
@click.option("--replace", is_flag=True, help="PATH may exist; it is replaced by the new copy.")
@shared_options
@pass_session
def backup(session: Session, path: Path, *, source: str | None, replace: bool) -> None:
    """Write a copy of the store to PATH, checked, readable by you only.

    The scheduler goes on meanwhile, and everything that it has acknowledged before is in the copy.
    A copy knows that it is one: a scheduler that is started from it leaves what runs alone, and
    gives hosts without a daemon one only after the time in which a start that the copy knows
    nothing of could still show.

    \b
    Example:
      blox store backup /var/backups/blox.db
      blox store backup /var/backups/blox.db --replace
      blox store backup /var/backups/blox.db --store sqlite:/var/lib/blox/blox.db
    """
    if source is None:
        client = session.client()
        window = client.get("/v2/status")["assumptions"]["doubtWindow"]
        data = client.fetch(_SNAPSHOT, timeout=_TIMEOUT)
        of = session.endpoint
    else:
        window = load_settings().assumptions.doubt_window
        data = asyncio.run(_read(_file(source)))
        of = source
    records = write_backup(data, path, replace=replace)
    if session.as_json:
        print_json(
            {
                "path": str(path.absolute()),
                "of": of,
                "records": records,
                "bytes": len(data),
                "doubtWindow": window,
            }
        )
        return
    say(f"backed up {of}: {count(records, 'record')}, {_size(len(data))}, checked")
    say(f"  {path.absolute()}")
    say_wrapped(
        "  in it: environments with their revisions and adopted tasks, deployments, start calls "
        "that are open, freezes, holds. Not in it: what runs (ECS knows that), credentials"
    )
    say_wrapped(
        "  to start from it, after the other scheduler has ended: daemon-scheduler --store "
        f"{_PREFIX}{path.absolute()}"
    )
    say_wrapped(
        f"  it then waits {span(window)} once before it starts anything on hosts without a daemon; "
        "what runs is not touched"
    )


def _file(source: str) -> Path:
    """The file that `sqlite:FILE` names. Raises InvalidInput: opening would make a new one."""
    path = Path(store_path(source))
    if not path.is_file():
        raise InvalidInput(f"{path}: there is no such file.")
    return path


async def _read(path: Path) -> bytes:
    """The file's content as of now. Raises StoreRefused, also while a scheduler runs on it."""
    try:
        opened = await SqliteStore.open(path, clock=SystemClock())
    except StoreRefused as error:
        raise StoreRefused(
            f"{error.message} If a scheduler runs on it: leave out --store, and it makes the copy "
            "itself (--endpoint says where it answers)."
        ) from error
    try:
        repository = Repository(opened)
        await repository.load()
        await repository.mark_copied(copied=True)
        try:
            return await opened.snapshot()
        finally:
            await repository.mark_copied(copied=False)
    finally:
        await opened.close()


def _size(size: int) -> str:
    return f"{size / 1000:.0f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"
