"""The live screen of `blox watch`: what is known, what changed last, and the lines that show it.

Pure but for the order in which it is told things: the same news, times, width and height give the
same lines. What is unsettled stands on top, then what changed last.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from blox.cli.client import JsonObject
from blox.cli.output import plain, span, table_lines
from blox.cli.screen import Line, clip, fit
from blox.cli.state_follow import (
    CLUSTER,
    INSTANCE,
    TASK,
    Back,
    Changed,
    Cut,
    Gone,
    Ill,
    Listed,
    News,
)
from blox.cli.state_tables import INSTANCES, TASKS, Column, Context, cells, fitting, with_cluster
from blox.cli.state_teller import Happened, Teller
from blox.cli.state_words import (
    Load,
    agent,
    health,
    instances_sum,
    loads,
    state,
    task_status,
    tasks_sum,
    text,
    told,
)

_FRESH: Final = 5.0
"""Seconds for which what has changed stands out."""
_RECENT: Final = 50
_FEWEST_RECENT: Final = 3
_MOST_RECENT: Final = 8
_MOST_NOTES: Final = 3
"""Lines about clusters that are not known well."""
_MOST_WORDS: Final = 34
"""Characters of a change for which the name of what has changed gives way."""
_STILL: Final[Mapping[str, tuple[str, ...]]] = {
    TASK: ("RUNNING", "STOPPED", "DELETED"),
    INSTANCE: ("ACTIVE", "INACTIVE"),
}
"""Statuses in which nothing is to become of it."""


class Board:
    """What the screen shows."""

    def __init__(self, title: str, *, kind: str, several: bool) -> None:
        """`kind`: of what there is a line each. `several`: lines name their cluster."""
        self._title = title
        self._kind = kind
        self._several = several
        self._known: dict[str, dict[str, JsonObject]] = {}
        self._changed: dict[str, float] = {}
        """ARN → when it changed last."""
        self._recent: deque[Happened] = deque(maxlen=_RECENT)
        self._teller = Teller()
        self._read: dict[str, float] = {}
        """ARN of a cluster → when it was read completely."""
        self._trouble = ""
        self._ill: tuple[str, ...] = ()
        """What is wrong with the service as a whole."""
        self._listed = False
        self._order: list[JsonObject] | None = None
        """What is listed, in its order; None: to be sorted again."""

    def hear(self, news: News, *, at: datetime, now: float) -> None:
        """Something has happened. `at`: the time of day; `now`: seconds of a clock that never goes
        back."""
        self._order = None
        if isinstance(news, Listed):
            self._known = {k: {i["arn"]: i for i in found} for k, found in news.items.items()}
            self._teller.learn(news.items[INSTANCE])
            for cluster in news.items[CLUSTER]:
                if cluster["sweep"]["ageSeconds"] is not None:
                    self._read[cluster["arn"]] = now - cluster["sweep"]["ageSeconds"]
            self._trouble, self._listed = "", True
        elif isinstance(news, Cut):
            self._trouble = f"CUT OFF, tried again every {span(news.wait)}: {news.why}"
        elif isinstance(news, Ill):
            self._ill = news.notes
        elif isinstance(news, Back):
            self._trouble = ""
        elif isinstance(news, Changed | Gone):
            self._change(news, at, now)

    def _change(self, news: Changed | Gone, at: datetime, now: float) -> None:
        known = self._known.setdefault(news.kind, {})
        happened = self._teller.tell(news, at)
        if isinstance(news, Gone):
            arn = news.before["arn"]
            known.pop(arn, None)
            self._changed.pop(arn, None)
            self._read.pop(arn, None)
        else:
            arn = news.after["arn"]
            if news.kind == CLUSTER and _swept_again(known.get(arn), news.after):
                self._read[arn] = now
            known[arn] = news.after
            if happened is not None:
                self._changed[arn] = now
        if happened is not None:
            self._recent.append(happened)

    # --- Drawing ----------------------------------------------------------------------------------

    def frame(self, *, at: datetime, now: float, width: int, height: int) -> list[Line]:
        """The whole screen: at most `height` lines of at most `width` characters."""
        head = [self._head(at, width), *self._sums(width)]
        recent = min(len(self._recent), _FEWEST_RECENT)
        room = height - len(head) - 1
        rows = self._rows(at, now, width, max(2, room - recent - (1 if recent else 0)))
        more = min(len(self._recent), _MOST_RECENT, max(recent, room - len(rows) - 1))
        lines: list[Line] = [*head, (), *rows]
        if more and len(lines) + 1 + more <= height:
            lines.append(())
            lines += [_recent_line(one, width) for one in list(self._recent)[-more:]]
        return [clip(line, width) for line in lines[:height]]

    def _head(self, at: datetime, width: int) -> Line:
        clock = at.strftime("%H:%M:%S UTC")
        if self._trouble:
            return ((fit(f"{self._title}   {self._trouble}", width), "bold red"),)
        left = f"{self._title}   {'live' if self._listed else 'listing'}   {clock}"
        right = "Ctrl-C ends it"
        gap = " " * max(1, width - len(left) - len(right))
        return ((fit(left + gap + right, width), "bold"),)

    def _sums(self, width: int) -> list[Line]:
        """What there is in all, and which clusters are not known well."""
        if not self._listed:
            return []
        sums = [
            instances_sum(self._items(INSTANCE), self._loads()),
            tasks_sum(self._items(TASK)),
        ]
        notes: list[tuple[str, str]] = [(note, "red") for note in self._ill]
        for cluster in self._items(CLUSTER):
            if cluster["readError"]:
                notes.append((f"{cluster['name']} cannot be read: {cluster['readError']}", "red"))
            elif not cluster["primed"] and self._kind != CLUSTER:
                text_ = "is not read completely yet: rows may be old or missing"
                notes.append((f"{cluster['name']} {text_}", "yellow"))
        more = len(notes) - _MOST_NOTES
        if more > 0:
            what = "more" if self._ill else "more clusters like that"
            notes[_MOST_NOTES - 1 :] = [(f"and {more + 1} {what}", "yellow")]
        lines: list[Line] = [((fit(line, width), ""),) for line in sums]
        return lines + [((fit(plain(text_), width), style),) for text_, style in notes]

    def _items(self, kind: str) -> list[JsonObject]:
        return list(self._known.get(kind, {}).values())

    def _loads(self) -> dict[str, Load]:
        return loads(self._items(TASK))

    def _rows(self, at: datetime, now: float, width: int, lines: int) -> list[Line]:
        """The table, in at most so many lines."""
        if self._order is None:
            self._order = self._ordered()
        listed = self._order
        if not listed:
            return [((f"no {self._kind}s", "dim"),)] if self._listed else []
        whole = len(listed) + 1 <= lines
        shown = listed[: lines - 1 if whole else max(1, lines - 2)]
        columns = self._columns(now)
        rows = cells(columns, shown, Context(now=at, hosts=self._teller.hosts, tasks=self._loads()))
        kept = fitting(columns, rows, width)
        names = [columns[place].name for place in kept]
        head, *texts = table_lines(names, [[row[place] for place in kept] for row in rows])
        result: list[Line] = [((head[:width], "dim"),)]
        for item, row in zip(shown, texts, strict=True):
            result.append(((row[:width], self._style(item, now)),))
        if not whole:
            result.append(((f"and {len(listed) - len(shown)} more", "dim"),))
        return result

    def _columns(self, now: float) -> Sequence[Column]:
        if self._kind == CLUSTER:
            return self._overview(now)
        columns = TASKS if self._kind == TASK else INSTANCES
        return with_cluster(columns) if self._several else columns

    def _overview(self, now: float) -> Sequence[Column]:
        def read(item: JsonObject, _: Context) -> str:
            at = self._read.get(item["arn"])
            return "not yet" if at is None else f"{span(max(0.0, now - at))} ago"

        return [
            Column("CLUSTER", lambda item, _: item["name"]),
            Column("STATUS", lambda item, _: state(item)),
            Column("HOSTS", _counted(self._items(INSTANCE))),
            Column("TASKS", _counted(self._items(TASK))),
            Column("READ COMPLETELY", read, 1),
        ]

    def _ordered(self) -> list[JsonObject]:
        if self._kind == CLUSTER:
            return sorted(self._items(CLUSTER), key=lambda one: (one["name"], one["arn"]))
        never = float("-inf")
        return sorted(
            self._items(self._kind),
            key=lambda one: (
                _settled(one),
                -self._changed.get(one["arn"], never),
                one["cluster"],
                one["arn"],
            ),
        )

    def _style(self, item: JsonObject, now: float) -> str:
        if self._trouble:
            return "dim"
        fresh = now - self._changed.get(item["arn"], float("-inf")) < _FRESH
        if "kind" in item and _ill(item):
            return "bold red"
        return "bold" if fresh else ""


def _swept_again(before: JsonObject | None, after: JsonObject) -> bool:
    return after["sweep"]["number"] > 0 and (
        before is None
        or any(before["sweep"][name] != after["sweep"][name] for name in ("epoch", "number"))
    )


def _status(item: JsonObject) -> str:
    if item["kind"] == TASK:
        return task_status(item)
    return "agent gone" if agent(item) == "GONE" else text(told(item), "status")


def _settled(item: JsonObject) -> bool:
    """Whether nothing is to become of a task or host: they stand below the others."""
    return not _ill(item) and _status(item) in _STILL[item["kind"]]


def _ill(item: JsonObject) -> bool:
    return agent(item) == "GONE" or health(item) == "UNHEALTHY"


def _counted(items: Sequence[JsonObject]) -> Callable[[JsonObject, Context], str]:
    """The cell that says how many of them a cluster has, by status: 58 RUNNING, 3 PENDING."""
    counted: dict[str, Counter[str]] = {}
    for item in items:
        counted.setdefault(item["clusterArn"], Counter())[_status(item)] += 1

    def cell(cluster: JsonObject, _: Context) -> str:
        found = counted.get(cluster["arn"], Counter())
        parts = sorted(found.items(), key=lambda one: (-one[1], one[0]))
        return ", ".join(f"{number} {status}" for status, number in parts) or "none"

    return cell


def _recent_line(one: Happened, width: int) -> Line:
    """One change. Where there is no room, the name gives way, and then the words."""
    moment = f"{one.at:%H:%M:%S}  "
    room = width - len(moment)
    words = min(len(one.words), _MOST_WORDS)
    where = fit(f"{one.cluster}  {one.what}", max(10, room - words - 2))
    return ((moment, "dim"), (f"{where}  ", ""), (fit(one.words, room - len(where) - 2), ""))
