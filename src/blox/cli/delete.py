"""`blox environments delete`: leaving, with the tasks kept or stopped."""

import time
from typing import Final

import click

from blox.base.errors import InvalidInput, NotFound
from blox.cli.client import Client, JsonObject
from blox.cli.output import Changing, asked_to_go_on, count, print_json, say, say_wrapped, span
from blox.cli.session import Session, pass_session, shared_options
from blox.cli.words import (
    duration,
    find_environment,
    frozen_line,
    full_name,
    path_in,
)

_HELP: Final = {"help_option_names": ["-h", "--help"]}
_TIMED_OUT: Final = 5
_FIRST_POLL: Final = 0.05
_POLL: Final = 0.5


@click.command(context_settings=_HELP)
@click.argument("environment", metavar="[CLUSTER/]NAME")
@click.option(
    "--tasks",
    type=click.Choice(["keep", "stop"]),
    help="keep (default): they go on running, and `blox orphans` lists them. stop: they are "
    "stopped first, paced by ECS's quota; it is gone when the last is on its way out.",
)
@click.option("--wait", is_flag=True, help="With --tasks stop: stay until it is gone.")
@click.option(
    "--timeout",
    type=duration,
    metavar="TIME",
    default="15m",
    show_default=True,
    help="Wait no longer; stopping goes on.",
)
@click.option("--yes", is_flag=True, help="Ask nothing.")
@shared_options
@pass_session
def delete(
    session: Session,
    environment: str,
    *,
    tasks: str | None,
    wait: bool,
    timeout: float,
    yes: bool,
) -> int:
    """Delete an environment; its tasks go on running, or are stopped first.

    Called again while its tasks are being stopped, it goes on watching; --tasks keep ends the
    stopping and keeps those that are left. An environment that is created again under its name on
    the same cluster takes over what was kept. Exit codes: 0 deleted, or being deleted; 1 error; 5
    timed out, it goes on.

    \b
    Example:
      blox environments delete demo/logs
      blox environments delete demo/logs --tasks stop --wait
    """
    client = session.client()
    found = find_environment(client, environment)
    if tasks == "stop" or (tasks is None and found["ending"]):
        return _stop(session, client, found, wait=wait, timeout=timeout, yes=yes)
    if wait:
        raise InvalidInput("Nothing is waited for: --wait belongs to --tasks stop.")
    deleted = client.delete(path_in(found), {"tasks": "keep"})
    if session.as_json:
        print_json(deleted)
        return 0
    left = deleted["tasksLeftRunning"]
    say(f"deleted {full_name(deleted)}")
    if found["ending"]:
        say("  no more of its tasks are stopped")
    if left:
        verb = "goes" if left == 1 else "go"
        say(f"  {count(left, 'task')} of it {verb} on running: blox orphans")
    return 0


def _stop(
    session: Session,
    client: Client,
    environment: JsonObject,
    *,
    wait: bool,
    timeout: float,
    yes: bool,
) -> int:
    """Stop its tasks and delete it; the exit code."""
    name = full_name(environment)
    if not environment["ending"]:
        _ask(session, client, environment, yes=yes)
    answer = client.delete(path_in(environment), {"tasks": "stop"})
    if not session.as_json:
        again = "goes on " if environment["ending"] else ""
        say(f"{again}stopping {count(answer['stopping'], 'task')} of {name}, which is then deleted")
        if environment["frozen"] is not None:
            say_wrapped(f"  {frozen_line(environment['frozen'])}")
    if wait:
        try:
            return _watch(session, client, environment, answer, timeout)
        except KeyboardInterrupt:
            click.echo(
                f"\nit goes on; to watch again: blox environments delete {name} --wait", err=True
            )
            raise
    if session.as_json:
        print_json(answer)
    else:
        say(f"  next: blox environments delete {name} --wait   shows how far it is")
        say(f"        blox environments delete {name} --tasks keep   keeps those that are left")
    return 0


def _ask(session: Session, client: Client, environment: JsonObject, *, yes: bool) -> None:
    if yes:
        return
    if session.as_json:
        raise InvalidInput("With --json nobody is asked: say --yes. Nothing was changed.")
    listed = client.every(path_in(environment, "hosts"), {"limit": "1000"})
    busy = sum(host["task"] is not None for host in listed)
    asked_to_go_on(
        f"Stop the tasks of {full_name(environment)} on {count(busy, 'host')}, as fast as ECS's "
        "quota allows, and delete it?",
        yes=False,
    )


def _watch(
    session: Session, client: Client, environment: JsonObject, answer: JsonObject, timeout: float
) -> int:
    """Show how far it is until it is gone; the exit code."""
    name, began = full_name(environment), time.monotonic()
    progress = Changing(silent=session.as_json)
    pause = _FIRST_POLL
    while True:
        left, why = _left(client, environment)
        waited = time.monotonic() - began
        if left is None:
            progress.end()
            return _gone(session, client, environment, answer, waited)
        done = max(0, answer["stopping"] - left)
        line = f"  {answer['stopping']} = {done} stopped + {left} to go"
        line += f"; {why}" if why else ""
        progress.show(line, beside=span(waited))
        if waited >= timeout:
            progress.end()
            if session.as_json:
                print_json({**answer, "stopping": left})
            else:
                say(f"{name}: still {count(left, 'task')} after {span(waited)}; it goes on")
                say(f"  next: blox hosts {name}   or   blox environments delete {name} --wait")
            return _TIMED_OUT
        time.sleep(min(pause, max(0.0, timeout - waited)))
        pause = min(_POLL, pause * 2)


def _gone(
    session: Session, client: Client, environment: JsonObject, answer: JsonObject, waited: float
) -> int:
    """Say what became of the tasks; the exit code. Those that ECS is still stopping, and those that
    somebody decided to keep meanwhile, are orphans by now."""
    orphans = client.every("/v2/orphans", {"limit": "1000"})
    mine = [o["task"] for o in orphans if o["environmentId"] == environment["id"]]
    stopping = sum(task["desiredStatus"] == "STOPPED" for task in mine)
    kept = len(mine) - stopping
    if session.as_json:
        print_json({**answer, "stopping": stopping, "tasksLeftRunning": kept})
        return 0
    total = max(answer["stopping"], len(mine))
    parts = [f"{total - len(mine)} stopped"]
    parts += [f"{stopping} being stopped"] if stopping else []
    parts += [f"{kept} left running: blox orphans"] if kept else []
    name = full_name(environment)
    say(f"deleted {name} after {span(waited)}   {count(total, 'task')} = {' + '.join(parts)}")
    return 0


def _left(client: Client, environment: JsonObject) -> tuple[int | None, str]:
    """How many of its tasks live, None once it is gone; and what else it waits for."""
    try:
        now = client.get(path_in(environment))
    except NotFound:
        return None, ""
    if now["id"] != environment["id"]:
        return None, ""  # Somebody created it anew under its name.
    return int(now["tasksLeft"]), now["endingWaits"] or ""
