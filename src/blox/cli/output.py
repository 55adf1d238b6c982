"""How commands print: tables that line up, spans of time in words, exact JSON.

Texts that came from elsewhere lose their control characters, so that no stopped reason paints on
the terminal.
"""

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import click

from blox.base.errors import InvalidInput

_GAP: Final = "  "
_CONTROL: Final = dict.fromkeys([*range(32), *range(127, 160)], "\ufffd")
_UNITS: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def say(line: str = "") -> None:
    """Print one line."""
    click.echo(line)


def say_wrapped(line: str, *, indent: int = 4) -> None:
    """Print one line; on a terminal as many as it takes, those after the first indented. Words
    stay whole, so that names and commands can be copied."""
    text = plain(line)
    if not sys.stdout.isatty():
        click.echo(text)
        return
    lead = len(text) - len(text.lstrip())
    for part in textwrap.wrap(
        text.strip(),
        width=max(40, shutil.get_terminal_size().columns),
        initial_indent=" " * lead,
        subsequent_indent=" " * (lead + indent),
        break_long_words=False,
        break_on_hyphens=False,
    ):
        click.echo(part)


def print_json(value: object) -> None:
    """Print a value as JSON, in the order and spelling of the API."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows below their columns' names. Nothing at all when there are no rows."""
    if not rows:
        return
    texts = [[plain(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in table_lines(columns, texts):
            click.echo(line)
        return
    head, *lines = fitted_lines(columns, texts, shutil.get_terminal_size().columns)
    click.secho(head, bold=True)
    for line in lines:
        click.echo(line)


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The table as plain lines, each column as wide as its widest cell."""
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return [
        _GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def plain(value: object) -> str:
    """A cell's text: a dash for nothing, no control characters."""
    if value is None or value == "":
        return "-"
    return str(value).translate(_CONTROL)


def span(seconds: float) -> str:
    """A span of time as people say it: 40 ms, 4.6 s, 41 s, 3 min, 3 h, 6 d."""
    if seconds < 0:
        return f"-{span(-seconds)}"
    if seconds < 0.0995:
        return f"{round(seconds * 1000)} ms" if seconds else "0 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{round(seconds)} s"


def age(since: float, *, now: float) -> str:
    """How long ago a time was; both in seconds since 1970-01-01 UTC."""
    return span(max(0.0, now - since))


def clock_time(moment: float) -> str:
    """A moment (seconds since 1970-01-01 UTC) as UTC, in the form of ISO 8601."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def count(number: int, singular: str, plural: str | None = None) -> str:
    """A number and its noun: 1 host, 2 hosts."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def short(identifier: str, length: int = 8) -> str:
    """The beginning of an id or of an ARN's last part, as people tell them apart."""
    name = identifier.rsplit("/", 1)[-1]
    return name if len(name) <= length else f"{name[:length]}…"


class Changing:
    """One line that changes in place on a terminal; elsewhere a line for each change."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self._in_place = sys.stdout.isatty()
        self._last = ""

    def show(self, line: str, *, beside: str = "") -> None:
        """The state now. `beside`: what changes all the time, shown on a terminal only."""
        if self._silent or (line == self._last and not self._in_place):
            return
        if not self._in_place:
            say(line)
            self._last = line
            return
        text = f"{line}   {beside}" if beside else line
        text = text[: max(20, shutil.get_terminal_size().columns - 1)]
        click.echo(f"\r{text.ljust(len(self._last))}", nl=False)
        self._last = text

    def end(self) -> None:
        """Whatever comes next begins a line."""
        if self._in_place and self._last and not self._silent:
            say()
            self._last = ""


def asked_to_go_on(question: str, *, yes: bool) -> None:
    """Ask on a terminal, unless `yes` has been said; elsewhere `yes` must be said.

    Raises InvalidInput where nobody can be asked, click.Abort when the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInput(f"{question} Nobody can be asked here: say --yes. Nothing was changed.")
    click.confirm(question, abort=True)


def fitted_lines(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """The table as plain lines of at most `width`, cells wrapped at words. Words stay whole, so
    that names can be copied, even where the table gets wider by that."""
    lines = [list(columns), *(list(row) for row in rows)]
    places = range(len(columns))
    widths = [max(len(line[place]) for line in lines) for place in places]
    least = [max(len(word) for line in lines for word in line[p].split() or [""]) for p in places]
    excess = sum(widths) + len(_GAP) * (len(columns) - 1) - width
    while excess > 0:
        wide = [place for place in places if widths[place] > least[place]]
        if not wide:
            break
        widths[max(wide, key=lambda place: widths[place])] -= 1
        excess -= 1
    return [part for line in lines for part in _wrapped_row(line, widths)]


def _wrapped_row(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """One row in as many lines as its tallest cell needs."""
    wrapped = [
        textwrap.wrap(cell, max(1, width), break_long_words=False, break_on_hyphens=False) or [""]
        for cell, width in zip(cells, widths, strict=True)
    ]
    return [
        _GAP.join(
            (parts[line] if line < len(parts) else "").ljust(width)
            for parts, width in zip(wrapped, widths, strict=True)
        ).rstrip()
        for line in range(max(map(len, wrapped)))
    ]
