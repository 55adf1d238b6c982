"""What a survey shows of a cluster's daemons: which hosts lack which, and why.

For each daemon every ready host is in exactly one of three: it runs there, it is excused, it is
missing. So ready = running + excused + missing, for each daemon and in the totals. Hosts that are
not ready, on which nobody could start anything now, are told apart and counted nowhere else.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from blox.account.audit.daemonlike import (
    Daemon,
    Runner,
    RunnerKind,
    daemons,
    ready_hosts,
    wanted_by_host,
)
from blox.account.audit.images import MixedImage, mixed_images
from blox.account.audit.lacking import EXCUSED, Cause, Judge, Lacking, siblings_of
from blox.account.shared_traits import Trait, shared_traits
from blox.account.surveyed import Survey, Unread
from blox.ecs.model import Host
from blox.scheduler.eligibility import HostCondition

_NEEDED: Final = (
    "ListContainerInstances",
    "DescribeContainerInstances",
    "ListTasks",
    "DescribeTasks",
)
"""Without all of these a host would be said to lack what nobody looked for."""


class Group(Struct, frozen=True, kw_only=True):
    """Hosts that lack a daemon for the same cause."""

    cause: Cause
    detail: str
    """What they have in common of `Lacking.detail`."""
    hosts: tuple[Lacking, ...]
    """In ARN order."""
    shared: tuple[Trait, ...]
    """What they have that the hosts with the daemon have not."""


class Double(Struct, frozen=True, kw_only=True):
    """A host on which a daemon runs more than once."""

    host_arn: str
    tasks: tuple[str, ...]
    """ARNs, in order."""


class DaemonFinding(Struct, frozen=True, kw_only=True):
    """One daemon and all ready hosts: ready = running + excused + missing."""

    family: str
    service: str
    """The DAEMON service's name; "" for a family."""
    definition_arn: str
    runners: tuple[Runner, ...]
    ready: int
    running: int
    missing: tuple[Group, ...]
    """Most hosts first."""
    excused: tuple[Group, ...]
    not_ready: tuple[Lacking, ...]
    """Hosts that lack it and are not ready; beside the sum."""
    doubles: tuple[Double, ...]

    @property
    def missing_count(self) -> int:
        return sum(len(group.hosts) for group in self.missing)

    @property
    def excused_count(self) -> int:
        return sum(len(group.hosts) for group in self.excused)


class Audit(Struct, frozen=True, kw_only=True):
    """All that the audit of one cluster has found."""

    survey: Survey
    hosts: Mapping[HostCondition, int]
    """How many hosts are in which state; together all that are not INACTIVE."""
    daemons: tuple[DaemonFinding, ...]
    """In order of family."""
    images: tuple[MixedImage, ...]

    @property
    def ready(self) -> int:
        return self.hosts.get(HostCondition.READY, 0)

    @property
    def running(self) -> int:
        """Daemons that run on ready hosts."""
        return sum(daemon.running for daemon in self.daemons)

    @property
    def missing(self) -> int:
        """Pairs of a ready host and a daemon that it lacks."""
        return sum(daemon.missing_count for daemon in self.daemons)

    @property
    def excused(self) -> int:
        return sum(daemon.excused_count for daemon in self.daemons)

    @property
    def without_any(self) -> int:
        """Ready hosts that miss at least one daemon."""
        arns = {
            lacking.host_arn
            for daemon in self.daemons
            for group in daemon.missing
            for lacking in group.hosts
        }
        return len(arns)


def blind_spot(survey: Survey) -> Unread | None:
    """What keeps anything from being said of the cluster: its hosts or tasks were not read, or
    only in part. None when they were."""
    found = (survey.not_read(operation) for operation in _NEEDED)
    return next((unread for unread in found if unread is not None), None)


def audit(survey: Survey) -> Audit:
    """Judge every daemon of the cluster. `blind_spot` must have been None for it."""
    states: dict[HostCondition, int] = {}
    for host in survey.hosts:
        state = survey.condition(host)
        states[state] = states.get(state, 0) + 1
    found = daemons(survey)
    groups = _groups(survey)
    return Audit(
        survey=survey,
        hosts={state: states[state] for state in HostCondition if state in states},
        daemons=tuple(
            _judged(
                daemon,
                survey,
                Judge(daemon, survey, siblings=siblings_of(daemon, found), groups=groups),
            )
            for daemon in found
        ),
        images=mixed_images(survey),
    )


def _groups(survey: Survey) -> dict[str, list[str]]:
    """The groups of the live tasks on each host."""
    found: dict[str, dict[str, None]] = {}
    for item in survey.tasks:
        if item.task.live and item.task.host_arn:
            found.setdefault(item.task.host_arn, {})[item.task.group] = None
    return {arn: sorted(names) for arn, names in found.items()}


def _judged(daemon: Daemon, survey: Survey, judge: Judge) -> DaemonFinding:
    ready = ready_hosts(survey)
    running = [host for host in ready if judge.runs_on(host)]
    on = frozenset(host.arn for host in running)
    lacking = [judge.why(host) for host in ready if host.arn not in on]
    other = [
        host
        for host in survey.hosts
        if survey.condition(host) not in (HostCondition.READY, HostCondition.SUPERSEDED)
    ]
    by_arn = {host.arn: host for host in survey.hosts}
    return DaemonFinding(
        family=daemon.family,
        service=daemon.service.service_name if daemon.service is not None else "",
        definition_arn=daemon.definition_arn,
        runners=daemon.runners,
        ready=len(ready),
        running=len(running),
        missing=_grouped([x for x in lacking if x.cause not in EXCUSED], running, by_arn),
        excused=_grouped([x for x in lacking if x.cause in EXCUSED], running, by_arn),
        not_ready=tuple(judge.why(host) for host in other if not judge.runs_on(host)),
        doubles=_doubles(daemon, survey),
    )


def _grouped(
    lacking: Sequence[Lacking], running: Sequence[Host], by_arn: Mapping[str, Host]
) -> tuple[Group, ...]:
    groups: dict[tuple[Cause, str], list[Lacking]] = {}
    for item in lacking:
        groups.setdefault((item.cause, item.detail), []).append(item)
    found = [
        Group(
            cause=cause,
            detail=detail,
            hosts=tuple(sorted(items, key=lambda item: item.host_arn)),
            shared=shared_traits([by_arn[item.host_arn] for item in items], running),
        )
        for (cause, detail), items in groups.items()
    ]
    order = list(Cause)
    return tuple(sorted(found, key=lambda g: (-len(g.hosts), order.index(g.cause), g.detail)))


def _doubles(daemon: Daemon, survey: Survey) -> tuple[Double, ...]:
    """Hosts with two or more. A machine's older record is no host of its own."""
    found = wanted_by_host(daemon.tasks)
    return tuple(
        Double(host_arn=host.arn, tasks=tuple(sorted(x.task.arn for x in found[host.arn])))
        for host in survey.hosts
        if len(found.get(host.arn, ())) > 1 and host.arn not in survey.superseded
    )


def suggested(found: Iterable[DaemonFinding]) -> DaemonFinding | None:
    """The daemon for which an environment would help most: it is missing on hosts that could run
    it and have room for it, on many, and nothing of blox runs it yet. None when there is none."""
    able = [daemon for daemon in found if daemon.missing and daemon.definition_arn]
    free = [d for d in able if all(r.kind is not RunnerKind.ENVIRONMENT for r in d.runners)]
    return max(free, key=_helped, default=None)


def _helped(daemon: DaemonFinding) -> tuple[int, int]:
    at_once = [g for g in daemon.missing if g.cause not in (Cause.CANNOT_RUN, Cause.NO_ROOM)]
    return sum(len(group.hosts) for group in at_once), daemon.missing_count
