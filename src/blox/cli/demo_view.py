"""How the live demo looks: from what is so and what blox says of it, to lines of styled text.

Pure: the same picture, width and height give the same lines, each as wide as the screen at most.
Green says nothing: a host that is as it should be takes one quiet line, whatever is not has its
reason and who acts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from blox.cli.screen import Line, clip, fit

GONE: Final = "gone"
CURRENT: Final = "current"
_DIM: Final = "dim"
_STYLES: Final = {
    CURRENT: "green",
    "settling": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "outdated": "yellow",
    "missing": "yellow",
    "inDoubt": "bold yellow",
    "failing": "bold red",
    "blocked": "bold red",
    "occupied": "bold red",
    "away": "red",
    "lost": "red",
}
_STATE: Final = 8
_DAEMON: Final = 19
_VERDICT: Final = 7
_WHO: Final = 4
_NAME_LEAST: Final = 10
_NAME_MOST: Final = 19
_FEWEST_EVENTS: Final = 3
_MOST_EVENTS: Final = 6
_LOW: Final = 28
"""Screens with fewer lines than this show only the first commands."""
_EXTRA_LINES: Final = 2
"""The most lines that a reason may take beyond its first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostShown:
    """One host: what ECS has of it, and what blox says."""

    arn: str
    """Of the container instance: a machine may have two records."""
    name: str
    state: str
    """ACTIVE, DRAINING, no agent, gone, …"""
    daemon: str
    """Id, revision and status of its daemon; "" when it has none."""
    two: bool = False
    """It has more than one."""
    verdict: str = ""
    slot_class: str = ""
    reason: str = ""
    who: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that happened, so many seconds after the demo began."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the simulated ECS has seen since the demo began."""

    calls: int
    starts: int
    stops: int
    reads: int
    throttled: int
    two: int
    """Hosts that ever had two daemons."""
    worst: float
    """Seconds that a ready host was without its daemon, at the worst one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything on the screen."""

    elapsed: float
    title: str
    deployment: str
    hosts: Sequence[HostShown]
    sums: Sequence[str]
    """Counters that add up."""
    events: Sequence[Happening]
    """Oldest first."""
    seen: Seen
    commands: Sequence[str] = ()
    problem: str = ""
    """Why what blox says may be old; "" when it is not."""


# --- The screen -----------------------------------------------------------------------------------


def frame(picture: Picture, *, width: int, height: int) -> list[Line]:
    """The whole screen: at most `height` lines of at most `width` characters."""
    head = [_title(picture, width), _deployment(picture, width)]
    sums: list[Line] = [((fit(text, width), ""),) for text in picture.sums]
    commands = _commands(picture, width, short=height < _LOW)
    seen = seen_lines(picture.seen, width)
    room = height - len(head) - len(sums) - len(commands) - len(seen) - 1
    events = min(len(picture.events), _FEWEST_EVENTS)
    rows = host_lines(picture.hosts, width=width, lines=max(1, room - events))
    left = room - len(rows) - events
    more = min(left, max(0, min(len(picture.events), _MOST_EVENTS) - events))
    happened = [_event(one, width) for one in picture.events[-(events + more) or None :]]
    sections: list[list[Line]] = [
        [*head, _heading(picture.hosts, width), *rows],
        sums,
        happened,
        seen,
        commands,
    ]
    return [clip(line, width) for line in _spaced(sections, height)]


def _spaced(sections: Sequence[Sequence[Line]], height: int) -> list[Line]:
    """The sections one below the other, with empty lines between while there is room."""
    spare = height - sum(len(section) for section in sections)
    lines: list[Line] = []
    for place, section in enumerate(sections):
        if place and spare > 0 and section and lines:
            lines.append(())
            spare -= 1
        lines += section
    return lines[:height]


def _title(picture: Picture, width: int) -> Line:
    minutes, seconds = divmod(int(picture.elapsed), 60)
    left = f"{picture.title}   {minutes}:{seconds:02d}"
    right = "Ctrl-C ends it"
    gap = " " * max(1, width - len(left) - len(right))
    return ((fit(left + gap + right, width), "bold"),)


def _deployment(picture: Picture, width: int) -> Line:
    if picture.problem:
        return ((fit(picture.problem, width), "bold red"),)
    return ((fit(picture.deployment, width), ""),)


def _event(event: Happening, width: int) -> Line:
    moment = f"{event.at:4.0f} s  "
    return ((moment, _DIM), (fit(event.text, width - len(moment)), ""))


def _commands(picture: Picture, width: int, *, short: bool) -> list[Line]:
    shown = picture.commands[:2] if short else picture.commands
    return [((fit(text, width), "cyan"),) for text in shown]


def seen_lines(seen: Seen, width: int) -> list[Line]:
    """The footer: what only the simulated ECS can say."""
    calls = (
        f"ECS saw {seen.calls} calls: {seen.starts} StartTask, {seen.stops} StopTask, "
        f"{seen.reads} reads; throttled "
    )
    return [
        ((fit(f"{calls}{seen.throttled}", width), _alarm(seen.throttled)),),
        (
            ("hosts that ever had two daemons: ", ""),
            (str(seen.two), "bold red" if seen.two else "bold green"),
            (f"   longest without one: {seen.worst:.1f} s", ""),
        ),
    ]


def _alarm(number: int) -> str:
    return "bold red" if number else ""


# --- Hosts ----------------------------------------------------------------------------------------


def host_lines(hosts: Sequence[HostShown], *, width: int, lines: int) -> list[Line]:
    """A line for each host; longer reasons are wrapped where there is room, and when there is none
    even for all hosts, those that are as they should be give way."""
    chosen, hidden = _chosen(hosts, lines)
    name = _name_width(hosts)
    reason = max(1, width - _before_reason(name))
    spare = lines - len(chosen) - (1 if hidden else 0)
    result: list[Line] = []
    for host in chosen:
        parts = [fit(host.reason, reason)]
        if host.slot_class != CURRENT:
            wrapped = wrap(host.reason, reason)
            if len(wrapped) - 1 <= min(spare, _EXTRA_LINES):
                parts = wrapped
        spare -= len(parts) - 1
        result.append(_row(host, name, parts[0]))
        result += [((" " * _before_reason(name) + part, ""),) for part in parts[1:]]
    if hidden:
        what = "all as they should be" if all(h.slot_class == CURRENT for h in hidden) else "…"
        result.append(((fit(f"and {len(hidden)} more, {what}", width), _DIM),))
    return result


def _chosen(
    hosts: Sequence[HostShown], lines: int
) -> tuple[Sequence[HostShown], Sequence[HostShown]]:
    """The hosts to show, in their order, and the others."""
    if len(hosts) <= lines:
        return hosts, ()
    places = sorted(range(len(hosts)), key=lambda at: hosts[at].slot_class == CURRENT)
    shown = sorted(places[: max(0, lines - 1)])
    return [hosts[at] for at in shown], [h for at, h in enumerate(hosts) if at not in shown]


def _heading(hosts: Sequence[HostShown], width: int) -> Line:
    name = _name_width(hosts)
    text = " ".join(
        (
            "HOST".ljust(name),
            "STATE".ljust(_STATE),
            "DAEMON".ljust(_DAEMON),
            "BLOX".ljust(_VERDICT),
            "ACTS".ljust(_WHO),
            "WHY",
        )
    )
    return ((fit(text, width), _DIM),)


def _row(host: HostShown, name: int, reason: str) -> Line:
    style = _STYLES.get(host.slot_class, _DIM)
    quiet = host.slot_class == CURRENT
    return (
        (_cell(host.name, name), _DIM if host.state == GONE else ""),
        (_cell(host.state, _STATE), "" if host.state == "ACTIVE" else "yellow"),
        (_cell(host.daemon or "none", _DAEMON), _daemon_style(host)),
        (_cell(host.verdict, _VERDICT), style),
        (_cell("" if quiet else host.who, _WHO), "bold" if host.who == "you" else ""),
        (reason, _DIM if quiet else style),
    )


def _daemon_style(host: HostShown) -> str:
    if host.two:
        return "bold red"
    return "" if host.daemon else _DIM


def _cell(text: str, width: int) -> str:
    return fit(text, width).ljust(width) + " "


def _name_width(hosts: Sequence[HostShown]) -> int:
    longest = max((len(host.name) for host in hosts), default=0)
    return min(_NAME_MOST, max(_NAME_LEAST, longest))


def _before_reason(name: int) -> int:
    return name + _STATE + _DAEMON + _VERDICT + _WHO + 5


# --- Texts ----------------------------------------------------------------------------------------


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` characters, broken between words."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(fit(word, width))
    return [line for line in lines if line] or [""]


def plain_row(host: HostShown) -> str:
    """A host in one line without styles, as wide as it is."""
    daemon = host.daemon or "none"
    acts = "you act" if host.who == "you" else f"{host.who} acts"
    who = f" ({acts})" if host.who and host.slot_class != CURRENT else ""
    return f"{host.name}  {host.state}  {daemon}  {host.verdict}: {host.reason}{who}"
