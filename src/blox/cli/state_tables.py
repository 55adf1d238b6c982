"""Tables of tasks, hosts and clusters: one line a row, on a terminal as many columns as fit."""

import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import click

from blox.base.ids import short_id
from blox.cli.client import JsonObject
from blox.cli.output import plain, print_table, short, table_lines
from blox.cli.state_words import (
    Load,
    agent,
    attribute,
    free,
    health,
    instance_name,
    runs,
    starter,
    state,
    swept,
    task_age,
    task_host,
    task_status,
    text,
    told,
    zone,
)

_GAP: Final = 2


class Context(NamedTuple):
    """What cells need besides their item."""

    now: datetime
    hosts: Mapping[str, str] = {}
    """ARN of each container instance → its name."""
    tasks: Mapping[str, Load] = {}
    """ARN of each container instance → its tasks."""


class Column(NamedTuple):
    """One column."""

    name: str
    cell: Callable[[JsonObject, Context], object]
    rank: int = 0
    """Where there is no room, the highest go first; 0 stays."""


INSTANCES: Final = (
    Column("INSTANCE", lambda item, _: instance_name(item)),
    Column("STATUS", lambda item, _: text(told(item), "status")),
    Column("AGENT", lambda item, _: agent(item)),
    Column("TASKS", lambda item, context: context.tasks.get(item["arn"], Load())),
    Column("FREE CPU", lambda item, _: free(item, "CPU"), 2),
    Column("FREE MIB", lambda item, _: free(item, "MEMORY"), 1),
    Column("TYPE", lambda item, _: attribute(item, "ecs.instance-type"), 4),
    Column("ZONE", lambda item, _: zone(item), 3),
    Column("PROVIDER", lambda item, _: text(told(item), "capacityProviderName"), 6),
    Column("ID", lambda item, _: short(item["arn"]), 5),
)
TASKS: Final = (
    Column("TASK", lambda item, _: short(item["arn"])),
    Column("RUNS", lambda item, _: runs(item)),
    Column("STATUS", lambda item, _: task_status(item)),
    Column("HEALTH", lambda item, _: health(item), 2),
    Column("HOST", lambda item, context: task_host(item, context.hosts)),
    Column("AGE", lambda item, context: task_age(item, context.now), 1),
    Column("GROUP", lambda item, _: text(told(item), "group"), 4),
    Column("STARTED BY", lambda item, _: starter(item), 3),
)
CLUSTERS: Final = (
    Column("CLUSTER", lambda item, _: item["name"]),
    Column("STATUS", lambda item, _: state(item)),
    Column("HOSTS", lambda item, _: item["instances"]),
    Column("TASKS", lambda item, _: item["live"]),
    Column("LAST READ COMPLETELY", lambda item, _: swept(item)),
    Column("PROBLEM", lambda item, _: "see below" if item["readError"] else ""),
)
_CLUSTER: Final = Column("CLUSTER", lambda item, _: item["cluster"])


def with_cluster(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns, behind one that names the cluster."""
    return (_CLUSTER, *columns)


def cells(
    columns: Sequence[Column], items: Iterable[JsonObject], context: Context
) -> list[list[str]]:
    """The table's texts, row by row."""
    return [[plain(column.cell(item, context)) for column in columns] for item in items]


def print_items(columns: Sequence[Column], items: Sequence[JsonObject], context: Context) -> None:
    """Print a line for each item. On a terminal, columns that do not fit are left out, and that is
    said on stderr; nothing at all when there are no items."""
    rows = cells(columns, items, context)
    if not rows:
        return
    names = [column.name for column in columns]
    if not sys.stdout.isatty():
        print_table(names, rows)
        return
    kept = fitting(columns, rows, shutil.get_terminal_size().columns)
    names = [names[place] for place in kept]
    rows = [[row[place] for place in kept] for row in rows]
    if width_of(names, rows) > shutil.get_terminal_size().columns:
        print_table(names, rows)  # Wrapped at words.
    else:
        head, *lines = table_lines(names, rows)
        click.secho(head, bold=True)
        for line in lines:
            click.echo(line)
    left_out = [column.name for place, column in enumerate(columns) if place not in kept]
    if left_out:
        click.echo(f"(no room here for {', '.join(left_out)})", err=True)


def fitting(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """The places of the columns that fit `width` together; those of rank 0 in any case."""
    widths = [
        max(len(column.name), *(len(row[place]) for row in rows)) if rows else len(column.name)
        for place, column in enumerate(columns)
    ]
    kept = list(range(len(columns)))
    while sum(widths[place] + _GAP for place in kept) - _GAP > width:
        least = max(kept, key=lambda place: columns[place].rank)
        if columns[least].rank == 0:
            break
        kept.remove(least)
    return kept


def width_of(names: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """How wide a table is that is not wrapped."""
    lines = [names, *rows]
    return sum(max(len(line[p]) for line in lines) + _GAP for p in range(len(names))) - _GAP


def by_host(item: JsonObject) -> tuple[str, str, str]:
    """The order of hosts: by cluster and name."""
    return item["cluster"], instance_name(item), item["arn"]


def by_definition(hosts: Mapping[str, str]) -> Callable[[JsonObject], tuple[str, ...]]:
    """The order of tasks: by cluster, what they run, status and host."""

    def key(item: JsonObject) -> tuple[str, ...]:
        where = task_host(item, hosts)
        return item["cluster"], runs(item), task_status(item), where, short_id(item["arn"])

    return key
