"""How `blox audit` reads: a line for each daemon and cause, then what is odd, then the sum."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from blox.account.audit.daemonlike import Runner, RunnerKind
from blox.account.audit.findings import Audit, DaemonFinding, Group, suggested
from blox.account.audit.images import MixedImage
from blox.account.audit.lacking import Basis, Cause, Lacking
from blox.account.shared_traits import Trait, traits_of
from blox.base.ids import short_id
from blox.cli.output import count, plain, print_table, say, short, span
from blox.ecs.model import Host
from blox.scheduler.eligibility import HostCondition

_NAMED: Final = 2
"""Hosts that are named where there are more."""
_IMAGES: Final = 5
"""Mixed images that are told without --all."""
_TRAITS: Final = 3
_RUNNERS: Final = 2
_NAME: Final = 30
"""Longest name of an environment."""
_SAME: Final = " "
"""A cell that goes on from the row above."""
_TRAIT_WORDS: Final = {
    "capacityProvider": "provider ",
    "agent": "agent ",
    "external": "external host: ",
}
_LOST: Final = {
    "ListServices": "only services that have tasks here are known",
    "DescribeServices": "which services are DAEMON services is not known: those that run almost "
    "everywhere are shown, and no service's placement constraints are considered",
    "DescribeTaskDefinition": "whether hosts could run what they lack, and have room for it, "
    "is not known for all",
}
_ROOM: Final = {"CPU": "CPU units", "MEMORY": "MiB"}


def say_audit(audit: Audit, *, every: bool) -> None:
    """Print it. `every`: a line for each host that lacks a daemon, and every mixed image."""
    hosts = {host.arn: host for host in audit.survey.hosts}
    at = audit.survey.at
    say(_head(audit))
    if audit.daemons:
        rows = [row for daemon in audit.daemons for row in _rows(daemon, hosts, at)]
        print_table(("FAMILY", "RUN BY", "HOSTS", "MISSING", "WHERE AND WHY"), rows)
    if every:
        _say_each(audit, hosts)
    for line in _oddities(audit, hosts, every=every):
        say(plain(line))
    for line in _sum(audit):
        say(plain(line))


def _head(audit: Audit) -> str:
    survey = audit.survey
    total = sum(audit.hosts.values())
    states = " + ".join(f"{number} {_STATES[state]}" for state, number in audit.hosts.items())
    live = sum(1 for item in survey.tasks if item.task.live)
    return plain(
        f"{short_id(survey.cluster_arn)}  {count(total, 'host')} = {states or 0}   "
        f"{count(live, 'task')} · {count(survey.total_calls, 'call')}, reads only · "
        f"{span(survey.took)}"
    )


_STATES: Final = {
    HostCondition.READY: "ready",
    HostCondition.DISCONNECTED: "with the agent disconnected",
    HostCondition.AWAY: "away",
    HostCondition.LOST: "lost",
    HostCondition.DRAINING: "draining",
    HostCondition.NOT_READY: "registering",
    HostCondition.LEAVING: "deregistering",
    HostCondition.GONE: "gone",
    HostCondition.SUPERSEDED: "old records of the same machines",
}


# --- The table ------------------------------------------------------------------------------------


def _rows(
    daemon: DaemonFinding, hosts: Mapping[str, Host], at: float
) -> Iterable[tuple[object, ...]]:
    counts = f"{daemon.running}/{daemon.running + daemon.missing_count}"
    head: tuple[object, ...] = (daemon.family, run_by(daemon), counts)
    for group in daemon.missing:
        text = f"{_names(group, hosts)}: {why(group, daemon, at)}{_how_long(group, at)}"
        yield (*head, len(group.hosts), f"{text}{_common(group.shared)}")
        head = (_SAME, _SAME, _SAME)
    if not daemon.missing:
        yield (*head, "-", _SAME)
        head = (_SAME, _SAME, _SAME)
    for group in daemon.excused:
        text = f"not missing on {_names(group, hosts)}: {why(group, daemon, at)}"
        yield (_SAME, _SAME, _SAME, _SAME, text)


def run_by(daemon: DaemonFinding) -> str:
    """Who runs it, in a few words; with numbers where several do."""
    several = len(daemon.runners) > 1
    shown = daemon.runners[:_RUNNERS]
    words = [_runner(r) + (f" ({r.tasks})" if several else "") for r in shown]
    if len(daemon.runners) > len(shown):
        left = daemon.runners[len(shown) :]
        words.append(f"{len(left)} more ({sum(runner.tasks for runner in left)})")
    return " + ".join(words) or (f"service/{daemon.service} DAEMON" if daemon.service else "")


def _runner(runner: Runner) -> str:
    if runner.kind is RunnerKind.HAND:
        return "by hand" + (f" ({runner.name})" if runner.name else "")
    if runner.kind is RunnerKind.ENVIRONMENT:
        return f"blox: {runner.name}"
    strategy = {RunnerKind.DAEMON_SERVICE: " DAEMON", RunnerKind.REPLICA_SERVICE: " REPLICA"}
    return f"service/{runner.name}{strategy.get(runner.kind, '')}"


def why(group: Group, daemon: DaemonFinding, at: float) -> str:
    """The cause of a group of hosts, without how long."""
    detail = group.detail
    match group.cause:
        case Cause.CANNOT_RUN:
            return f"cannot run there: {detail}"
        case Cause.NO_ROOM:
            return _room(group)
        case Cause.STOPPED:
            return f"{_stops(group, at)}: {detail}"
        case Cause.STOPPING:
            return f"being stopped ({detail}), and no other was started"
        case Cause.PENDING:
            return f"its task stays {detail}"
        case Cause.ENOUGH:
            return f"{detail} and has them"
        case Cause.EXCLUDED:
            return f"kept out by {detail}"
        case Cause.OTHER_FAMILY:
            return f"{detail} runs there instead"
        case Cause.NEW:
            return "registered a moment ago, it may be on its way"
        case _:
            return _unexplained(group, daemon)


def _unexplained(group: Group, daemon: DaemonFinding) -> str:
    if group.detail:
        return f"no cause to be seen: {group.detail}"
    kept = [r for r in daemon.runners if r.kind is not RunnerKind.HAND]
    if not kept and not daemon.service:
        return "nothing started it there, or it ended over an hour ago"
    return "no cause to be seen: no stopped task in the last hour, nothing in its way"


def _room(group: Group) -> str:
    lacks = [item.lack for item in group.hosts if item.lack is not None]
    asked = _between(sorted({lack.asked for lack in lacks}))
    unit = _ROOM.get(group.detail)
    if unit is None:
        return f"no room: host port {asked}/{'udp' if 'UDP' in group.detail else 'tcp'} is taken"
    free = _between(sorted({max(0, lack.free) for lack in lacks}))
    return f"no room: {asked} {unit} asked, {free} free"


def _between(numbers: Sequence[int]) -> str:
    if not numbers:
        return "?"
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _stops(group: Group, at: float) -> str:
    most = max(item.stops for item in group.hosts)
    ago = _span_of([at - item.since for item in group.hosts if item.since is not None])
    when = f"{ago} ago" if ago else "in the last hour"
    if most < 2:
        return f"stopped {when}"
    return f"stopped up to {most} times in the last hour, last {when}"


def _how_long(group: Group, at: float) -> str:
    """For how long, in words that say from where it is counted."""
    spans: dict[Basis, list[float]] = {}
    for item in group.hosts:
        if item.since is not None and item.basis is not None:
            spans.setdefault(item.basis, []).append(at - item.since)
    told = []
    for basis, seconds in spans.items():
        ago = _span_of(seconds)
        if basis is Basis.REGISTERED:
            told.append(f"host{'s' if len(seconds) > 1 else ''} up {ago}")
        elif basis is Basis.STOPPED and group.cause is not Cause.STOPPED:
            told.append(f"without it for {ago}")
        elif basis in (Basis.STOPPING, Basis.CREATED):
            told.append(f"for {ago}")
    return f" ({', '.join(told)})" if told else ""


def _span_of(seconds: Sequence[float]) -> str:
    if not seconds:
        return ""
    least, most = span(max(0.0, min(seconds))), span(max(0.0, max(seconds)))
    return least if least == most else f"{least} to {most}"


def _names(group: Group, hosts: Mapping[str, Host]) -> str:
    return _some([item.host_arn for item in group.hosts], hosts)


def _some(arns: Sequence[str], hosts: Mapping[str, Host]) -> str:
    """One host in full, of more the first ones by the beginnings of their names."""
    if len(arns) == 1:
        return host_name(arns[0], hosts)
    named = ", ".join(short(host_name(arn, hosts)) for arn in arns[:_NAMED])
    left = len(arns) - _NAMED
    return named + (f" and {left} more" if left > 0 else "")


def host_name(arn: str, hosts: Mapping[str, Host]) -> str:
    """A host as people type it: its machine's id, else the container instance's."""
    host = hosts.get(arn)
    return host.instance_id if host is not None and host.instance_id else short_id(arn)


def _common(shared: Sequence[Trait]) -> str:
    """What sets the hosts apart, after the cause."""
    if not shared:
        return ""
    first = shared[0]
    alike = [t for t in shared if (t.hosts, t.others) == (first.hosts, first.others)][:_TRAITS]
    values = ", ".join(f"{_TRAIT_WORDS.get(t.name, '')}{t.value}" for t in alike)
    if first.of == 1:
        return f"; the only one with {values}"
    whose = f"all {first.of}" if first.hosts == first.of else f"{first.hosts} of {first.of}"
    others = f"{first.others or 'none'} of the {first.of_others} that run it"
    return f"; {whose} ({others}): {values}"


def _say_each(audit: Audit, hosts: Mapping[str, Host]) -> None:
    at = audit.survey.at
    rows = [
        (
            host_name(item.host_arn, hosts),
            daemon.family,
            why(alone, daemon, at) + _how_long(alone, at),
            *(traits_of(hosts[item.host_arn]).get(name) for name in _COLUMNS),
        )
        for daemon in audit.daemons
        for group in daemon.missing
        for item in group.hosts
        for alone in (Group(cause=group.cause, detail=group.detail, hosts=(item,), shared=()),)
    ]
    if rows:
        say()
    print_table(("HOST", "LACKS", "WHY", "AMI", "TYPE", "ZONE", "PROVIDER", "ARCH"), rows)
    if rows:
        say()


_COLUMNS: Final = ("ami", "type", "zone", "capacityProvider", "architecture")


# --- What is odd ----------------------------------------------------------------------------------


def _oddities(audit: Audit, hosts: Mapping[str, Host], *, every: bool) -> Iterable[str]:
    for daemon in audit.daemons:
        for double in daemon.doubles:
            tasks = ", ".join(short_id(arn) for arn in double.tasks)
            yield (
                f"twice: {host_name(double.host_arn, hosts)} runs {daemon.family} "
                f"{len(double.tasks)} times: {tasks}"
            )
    shown = audit.images if every else audit.images[:_IMAGES]
    for image in shown:
        yield f"note: {_image(image, hosts)}"
    if len(audit.images) > len(shown):
        left = count(len(audit.images) - len(shown), "more image")
        yield f"note: {left} with several digests   --all"
    yield from _not_ready(audit, hosts)
    for unread in audit.survey.unread:
        lost = _LOST.get(unread.operation, "")
        cause = f"not allowed: ecs:{unread.operation}" if unread.denied else unread.sentence
        yield f"note: {cause}" + (f": {lost}" if lost else "")


def _image(image: MixedImage, hosts: Mapping[str, Host]) -> str:
    parts = " + ".join(str(digest.tasks) for digest in image.digests)
    rest = [arn for digest in image.digests[1:] for arn in digest.hosts]
    fewer = sum(digest.tasks for digest in image.digests[1:])
    return (
        f"{', '.join(image.families)}: {len(image.digests)} image digests under one tag "
        f"{image.image} ({parts} tasks), the {fewer} on {_some(list(dict.fromkeys(rest)), hosts)}"
        f"{_apart(image.shared)}"
    )


def _apart(shared: Sequence[Trait]) -> str:
    only = [trait for trait in shared if trait.only_here][:_TRAITS]
    return f"; only there: {', '.join(trait.value for trait in only)}" if only else ""


def _not_ready(audit: Audit, hosts: Mapping[str, Host]) -> Iterable[str]:
    """One line for all hosts in the same state that lack the same daemons."""
    lacked: dict[str, list[tuple[DaemonFinding, Lacking]]] = {}
    for daemon in audit.daemons:
        for item in daemon.not_ready:
            lacked.setdefault(item.host_arn, []).append((daemon, item))
    groups: dict[tuple[Cause, str, tuple[str, ...]], list[str]] = {}
    for arn in sorted(lacked):
        first = lacked[arn][0][1]
        families = tuple(daemon.family for daemon, _ in lacked[arn])
        groups.setdefault((first.cause, first.detail, families), []).append(arn)
    for (cause, status, families), arns in groups.items():
        state = "agent disconnected" if cause is Cause.DISCONNECTED else status
        verb = "lacks" if len(arns) == 1 else "lack"
        yield (f"note: not counted: {_some(arns, hosts)} ({state}) {verb} {', '.join(families)}")


# --- The sum --------------------------------------------------------------------------------------


def _sum(audit: Audit) -> Iterable[str]:
    if not audit.daemons:
        yield (
            "no daemons: there is no DAEMON service, and no family runs on 60 % of the ready hosts "
            "that could run it, one task a host"
        )
        return
    excused = f" + {audit.excused} not wanted" if audit.excused else ""
    without = f" on {count(audit.without_any, 'host')}" if audit.missing else ""
    yield (
        f"{count(audit.ready, 'ready host')} x {count(len(audit.daemons), 'daemon')} = "
        f"{audit.ready * len(audit.daemons)} = {audit.running} running + "
        f"{audit.missing} missing{without}{excused}"
    )
    if audit.missing:
        yield f"next: {next_step(audit)}"


def next_step(audit: Audit) -> str:
    """What to type next; "" when nothing is missing."""
    if not audit.missing:
        return ""
    daemon = suggested(audit.daemons)
    if daemon is None:
        return "blox status   (blox runs them already, and tells why they are missing)"
    create = (
        f"blox environments create {short_id(audit.survey.cluster_arn)}/{daemon.family[:_NAME]} "
        "--task-definition"
    )
    if all(group.cause is Cause.CANNOT_RUN for group in daemon.missing):
        family = daemon.family
        return f"register a revision of {family} that can run there, then {create} {family}"
    definition = short_id(daemon.definition_arn)
    return f"{create} {definition}   (it starts nothing until you deploy it)"
