"""`blox watch`: tasks, hosts and clusters as they change, live.

On a terminal a table that is kept up to date; elsewhere, or with --lines, a line for each change;
with --json a JSON object a line: everything as it is, then what changes.
"""

import contextlib
import json
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

import click

from blox.base.errors import InvalidInput
from blox.cli.client import JsonObject
from blox.cli.output import count, plain, say, span
from blox.cli.screen import console, styled, terminal
from blox.cli.session import Session, pass_session, state_options
from blox.cli.state_board import Board
from blox.cli.state_filters import chosen
from blox.cli.state_follow import (
    CLUSTER,
    INSTANCE,
    KINDS,
    TASK,
    Back,
    Beat,
    Changed,
    Cut,
    Follower,
    Gone,
    Ill,
    Listed,
    News,
    Wanted,
)
from blox.cli.state_teller import Teller
from blox.cli.state_words import instances_sum, loads, stale_notes, tasks_sum, utc_now

_WHAT: Final[Mapping[str, str]] = {
    "tasks": TASK,
    "instances": INSTANCE,
    "hosts": INSTANCE,
    "clusters": CLUSTER,
}
"""What can be named; lines call an instance a host."""
_REDRAWN: Final = 0.25
"""Seconds from a change to the picture that shows it, at most, unless pictures take longer."""
_CLOCK: Final = 1.0
"""Seconds between two pictures when nothing has."""
_AHEAD: Final = 1000
"""News that may wait for being shown; then the stream waits."""
_Heard = News | Exception


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument(
    "what", nargs=-1, metavar="[tasks|instances|clusters …]", type=click.Choice([*_WHAT])
)
@click.option(
    "--cluster",
    "names",
    metavar="NAME",
    multiple=True,
    help="Only of this cluster; may be repeated. Default: all that are watched.",
)
@click.option("--started-by", metavar="TEXT", help="Only tasks with this startedBy.")
@click.option("--group", metavar="TEXT", help="Only tasks of this group.")
@click.option("--lines", is_flag=True, help="A line for each change, on a terminal, too.")
@state_options
@pass_session
def watch(
    session: Session,
    what: tuple[str, ...],
    *,
    names: tuple[str, ...],
    started_by: str | None,
    group: str | None,
    lines: bool,
) -> None:
    """Follow tasks, hosts and clusters as they change, until Ctrl-C.

    On a terminal it is a table: what is unsettled stands on top, then what changed last. Without
    tasks, instances or clusters it is one line for each cluster. In a pipe it is one line for each
    change, of several kinds where several are named. With --json it is one object for each line:
    "listed", then everything as it is, then changes as the service tells them; at another "listed",
    forget everything before.

    When the connection is cut, it goes on from where it was and says so. Nothing is missed: where
    the service does not know any more what has changed meanwhile, everything is listed again.

    \b
    Example:
      blox watch
      blox watch tasks --cluster demo
      blox watch tasks --group service:web --lines
      blox watch instances --json | jq -c 'select(.event == "instance") | .data.instance.status'
    """
    client = session.state_client()
    given = {"startedBy": started_by, "group": group}
    filters = {name: value for name, value in given.items() if value is not None}
    shown = _shown(what, filters)
    known = client.clusters() if names else []
    clusters = {one["arn"]: one for name in names for one in chosen(known, name)}
    # Hosts have names, and clusters say how fresh the rest is: they are followed besides.
    kinds = shown if session.as_json else KINDS
    follower = Follower(client, Wanted(kinds, tuple(clusters.values()), filters))
    if session.as_json:
        _in_json(follower)
    elif lines or not terminal():
        _in_lines(follower, shown)
    elif len(set(what)) > 1:
        raise InvalidInput(
            f"A screen shows one of tasks, instances and clusters. {' and '.join(what)} together: "
            "--lines. All in short: blox watch."
        )
    else:
        _on_screen(follower, what)


def _shown(what: Sequence[str], filters: Mapping[str, str]) -> tuple[str, ...]:
    """The kinds that are shown. Raises InvalidInput for filters that make no sense."""
    if filters and set(what) - {"tasks"}:
        raise InvalidInput(
            "--started-by and --group choose tasks: blox watch tasks is what they go with."
        )
    asked = ("tasks",) if filters else what
    return tuple(kind for kind in KINDS if not asked or kind in {_WHAT[one] for one in asked})


# --- Lines ----------------------------------------------------------------------------------------


def _in_json(follower: Follower) -> None:
    """One object a line."""
    connection = _Connection()
    for news in follower.run():
        if isinstance(news, Listed):
            connection = _Connection()
            counts = {f"{kind}s": len(found) for kind, found in news.items.items()}
            _print_line("listed", news.position, {"reason": news.reason or None, **counts})
            for kind, found in news.items.items():
                for item in found:
                    _print_line(kind, news.position, item)
        elif isinstance(news, Changed) and not news.found:
            _print_line(news.kind, news.position, news.after)
        elif isinstance(news, Gone) and not news.found:
            _print_line("deleted", news.position, news.deleted)
        elif isinstance(news, Cut | Back):
            connection.say(news)


def _print_line(event: str, position: str, data: JsonObject) -> None:
    line = {"event": event, "position": position, "data": data}
    say(json.dumps(line, ensure_ascii=False, separators=(",", ":")))


def _in_lines(follower: Follower, shown: Sequence[str]) -> None:
    """One line for each change."""
    teller, connection = Teller(), _Connection()
    ill: tuple[str, ...] = ()
    for news in follower.run():
        if isinstance(news, Listed):
            connection = _Connection()
            teller.learn(news.items[INSTANCE])
            _say_listed(news, shown)
        elif isinstance(news, Changed | Gone):
            happened = teller.tell(news, utc_now())
            if happened is not None and news.kind in shown:
                say(f"{happened.clock}  {happened.cluster}  {happened.what}  {happened.words}")
        elif isinstance(news, Ill):
            for note in news.notes:
                if note not in ill:
                    _note(f"note: {note}")
            ill = news.notes
        elif isinstance(news, Cut | Back):
            connection.say(news)


def _say_listed(news: Listed, shown: Sequence[str]) -> None:
    """What there is to begin with, on stderr: no change is told by it."""
    clusters = news.items[CLUSTER]
    parts = [count(len(clusters), "cluster")] if CLUSTER in shown else []
    parts += (
        [instances_sum(news.items[INSTANCE], loads(news.items[TASK]))] if INSTANCE in shown else []
    )
    parts += [tasks_sum(news.items[TASK])] if TASK in shown else []
    again = f"listed again ({news.reason}); what is different follows: " if news.reason else ""
    _note(again + "; ".join(parts))
    for note in stale_notes(clusters):
        _note(f"note: {note}")


class _Connection:
    """Says on stderr that the stream was cut and that it goes on: each cause once."""

    def __init__(self) -> None:
        self._why = ""

    def say(self, news: Cut | Back) -> None:
        if isinstance(news, Back):
            _note(f"goes on from where it was, {span(news.seconds)} later; nothing is missed")
            self._why = ""
        elif news.why != self._why:
            _note(f"{news.why.rstrip('.')}; tried again from now on")
            self._why = news.why


def _note(line: str) -> None:
    click.echo(plain(line), err=True)


# --- The screen -----------------------------------------------------------------------------------


def _on_screen(follower: Follower, what: Sequence[str]) -> None:
    """A table that is kept up to date. A thread of its own hears the service: the clock on the
    screen goes on while nothing comes."""
    kind = _WHAT[what[0]] if what else TASK if follower.wanted.filters else CLUSTER
    clusters = follower.wanted.clusters
    parts = [" ".join(["blox watch", *what]), ", ".join(one["name"] for one in clusters)]
    parts += [f"{name} {value}" for name, value in follower.wanted.filters.items()]
    board = Board("   ".join(filter(None, parts)), kind=kind, several=len(clusters) != 1)
    heard: queue.Queue[_Heard] = queue.Queue(maxsize=_AHEAD)
    threading.Thread(target=_hear, args=(follower, heard), name="watch", daemon=True).start()
    _take(board, heard.get())
    _draw(board, heard)


def _hear(follower: Follower, heard: "queue.Queue[_Heard]") -> None:
    """Put everything that happens where it is shown, and what went wrong at last."""
    try:
        for news in follower.run():
            if not isinstance(news, Beat):
                heard.put(news)
    except Exception as error:  # noqa: BLE001 - raised where it is shown
        heard.put(error)


def _take(board: Board, one: "_Heard") -> None:
    """Show one piece of news. Raises what was raised where it was heard."""
    if isinstance(one, Exception):
        raise one
    board.hear(one, at=utc_now(), now=time.monotonic())


def _draw(board: Board, heard: "queue.Queue[_Heard]") -> None:
    """Draw it until interrupted: soon after each change, and for the clock."""
    from rich.live import Live
    from rich.text import Text

    drawn_on = console()
    with Live(
        console=drawn_on, screen=True, auto_refresh=False, vertical_overflow="crop"
    ) as screen:
        while True:
            began = time.monotonic()
            lines = board.frame(
                at=utc_now(), now=time.monotonic(), width=drawn_on.width, height=drawn_on.height
            )
            screen.update(styled(lines, Text), refresh=True)
            pause = max(_REDRAWN, 2 * (time.monotonic() - began))
            with contextlib.suppress(queue.Empty):
                _take(board, heard.get(timeout=_CLOCK))
                time.sleep(pause)  # Whatever else comes meanwhile is in the next picture.
                while True:
                    _take(board, heard.get_nowait())
