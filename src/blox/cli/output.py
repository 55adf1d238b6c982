"""How commands print: tables that line up, spans of time in words, exact JSON.

Texts that came from elsewhere lose their control characters, so that no stopped reason paints on
the terminal.
"""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import click

_GAP: Final = "  "
_CONTROL: Final = dict.fromkeys([*range(32), *range(127, 160)], "\ufffd")
_UNITS: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def say(line: str = "") -> None:
    """Print one line."""
    click.echo(line)


def print_json(value: object) -> None:
    """Print a value as JSON, in the order and spelling of the API."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows below their columns' names. Nothing at all when there are no rows."""
    if not rows:
        return
    texts = [[plain(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(columns, texts)
    else:
        for line in table_lines(columns, texts):
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


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
