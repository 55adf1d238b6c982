"""What the oracle remembers of a run: who asked for what, what ECS saw, and when.

Everything here comes from two sources only: what the user asked (`Wish`) and the records of the
simulated cloud. Nothing comes from the scheduler or its view. Times are seconds since 1970-01-01
UTC by ECS's clock.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from blox.ecs.model import ACTIVE, DRAINING, MARKER
from blox.simulator.cloud import Cloud
from blox.simulator.model import CallLogged, DefinitionRecord, HostRecord, TaskRecord

GROUP_PREFIX: Final = "blox:"
"""Every task that blox starts has the group `blox:ENVIRONMENT`."""

HostTest = Callable[[HostRecord], bool]


def every_host(host: HostRecord) -> bool:
    """The empty selector."""
    return bool(host.arn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A promise that was not kept, with what proves it."""

    promise: int
    """The number of the promise; 0 for the table of where a daemon may start and may stay."""
    at: float
    environment: str
    """The key that `Oracle.expect` was given, or "" when no environment is concerned."""
    host: str
    """The container instance's ARN, or ""."""
    text: str
    evidence: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = " on ".join(part for part in (self.environment, self.host) if part)
        lines = [f"promise {self.promise} at {self.at:.3f} ({where or 'everywhere'}): {self.text}"]
        return "\n    ".join([*lines, *self.evidence])


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowances:
    """What the oracle forgives, because no caller of ECS could know or do better. Seconds."""

    news: float = 180.0
    """How long a change of a host, or the end of a task, may stay unknown to a caller that reads:
    two sweeps of a minute, with room for the reads themselves. Creations may take V more."""
    pending_deadline: float = 300.0
    healthy_deadline: float = 300.0
    away_after: float = 60.0
    """How long a host without its agent still counts as wanted."""
    clock_slack: float = 1.0
    """Between a caller's estimate of ECS's clock and that clock."""
    assumption_broken: bool = False
    """S, E or V is broken on purpose: two daemons on a host are tolerated if they are mended by
    the end, three never are."""
    throttles: bool = True
    """ThrottlingException is no fault of the caller's here: others use the quota, or the cloud
    throttles at random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the user asked of one environment, from one moment on."""

    at: float
    cluster: str
    """The cluster's name."""
    definition: str
    """The target's task definition ARN; "" while nothing was ever deployed."""
    content: str = ""
    """Tells apart revisions with one definition and different `task` blocks; "" if they do not
    matter."""
    selector: HostTest
    max_unavailable: str = "10%"
    healthy_after: float = 10.0
    drain_deadline: float = 900.0


_ARCHITECTURES: Final = {"X86_64": "x86_64", "ARM64": "arm64"}
"""A definition's words for what hosts say in `ecs.cpu-architecture`."""


def able(definition: DefinitionRecord | None, host: HostRecord) -> bool:
    """Whether tasks of this definition can run on the host at all, as far as both say."""
    if definition is None:
        return True
    platform = definition.document.get("runtimePlatform")
    asked = platform.get("cpuArchitecture") if isinstance(platform, dict) else None
    has = host.attributes.get("ecs.cpu-architecture")
    if asked is not None and has is not None and _ARCHITECTURES.get(str(asked)) != has:
        return False
    kinds = definition.document.get("compatibilities")
    if isinstance(kinds, list) and ("EXTERNAL" if host.external else "EC2") not in kinds:
        return False
    return all(name in host.attributes for name in definition.requires)


def allowance(max_unavailable: str, wanted: int) -> int:
    """How many of `wanted` hosts may be unavailable: "3", or "10%" rounded up; at least 1."""
    if max_unavailable.endswith("%"):
        return max(1, math.ceil(float(max_unavailable[:-1]) * wanted / 100 - 1e-9))
    return max(1, int(max_unavailable))


@dataclass(slots=True, kw_only=True)
class Asked:
    """One environment from its creation to its deletion."""

    key: str
    name: str
    wishes: list[Wish]
    ended: float | None = None

    @property
    def latest(self) -> Wish:
        return self.wishes[-1]

    @property
    def deploying_since(self) -> float:
        """When something was first deployed; infinity: not yet."""
        return next((wish.at for wish in self.wishes if wish.definition), math.inf)

    def during(self, since: float, until: float) -> list[Wish]:
        """Every wish in force at some moment of [since, until]."""
        if self.ended is not None and self.ended < since:
            return []
        first = bisect_right(self.wishes, since, key=lambda wish: wish.at)
        return [w for w in self.wishes[max(0, first - 1) :] if w.at <= until]


class Standing(NamedTuple):
    """How a host stands to an environment, apart from the tasks on it."""

    status: str
    connected: bool
    matches: bool
    able: bool
    superseded: bool

    @property
    def startable(self) -> bool:
        """A daemon may start here."""
        return self.ready and not self.superseded and self.connected

    @property
    def ready(self) -> bool:
        """Wanted, as long as its agent is not away for long."""
        return self.status == ACTIVE and self.matches and self.able


class Timeline:
    """The standings of one host to one environment, in the order of their beginning."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._standings: list[Standing] = []

    def record(self, at: float, standing: Standing) -> None:
        """`standing` holds from `at` on."""
        if self._standings and self._standings[-1] == standing:
            return
        self._times.append(at)
        self._standings.append(standing)

    def during(self, since: float, until: float) -> Sequence[Standing]:
        """Every standing in force at some moment of [since, until]; a change at `since` included,
        with what it changed."""
        first = bisect_right(self._times, since)
        if first and self._times[first - 1] == since:
            first -= 1
        last = bisect_right(self._times, until)
        return self._standings[max(0, first - 1) : last]

    def spans(self, until: float) -> Iterator[tuple[float, float, Standing]]:
        """(from, to, standing), the last one up to `until`."""
        ends = [*self._times[1:], until]
        yield from zip(self._times, ends, self._standings, strict=True)

    def began(self) -> float:
        """When the host was first seen."""
        return self._times[0]

    def last(self) -> Standing:
        return self._standings[-1]

    def since_when(self, holds: Callable[[Standing], bool]) -> float | None:
        """Since when `holds` is true without a break; None when it is not."""
        since = None
        for at, standing in zip(reversed(self._times), reversed(self._standings), strict=True):
            if not holds(standing):
                break
            since = at
        return since


# --- One task's life ------------------------------------------------------------------------------


def wanted_until(task: TaskRecord) -> float:
    """When it ceased to be live with desiredStatus RUNNING; infinity: not yet."""
    ends = (task.stopping_at, task.execution_stopped_at, task.stopped_at)
    return min((end for end in ends if end is not None), default=math.inf)


def wanted_at(task: TaskRecord, at: float) -> bool:
    """Whether it was live with desiredStatus RUNNING just before `at`, and after it unless that
    is the very moment of its end."""
    return task.created_at <= at < wanted_until(task)


def live_during(task: TaskRecord, since: float, until: float) -> bool:
    """Whether it held its host's resources in the whole of [since, until]."""
    return task.created_at <= since and (task.stopped_at is None or task.stopped_at > until)


def ran_within(task: TaskRecord, since: float, until: float) -> bool:
    """Whether it was RUNNING, and wanted by ECS, at some moment of [since, until]."""
    if task.started_at is None or task.started_at > until:
        return False
    return wanted_until(task) > since


def healthy_within(task: TaskRecord, since: float, until: float, *, after: float) -> bool:
    """Whether it had been RUNNING for `after` seconds at some moment of [since, until]."""
    if task.started_at is None:
        return False
    healthy = task.started_at + after
    return healthy <= until and healthy < wanted_until(task) and wanted_until(task) > since


def longest_gap(
    timeline: Timeline, tasks: Sequence[TaskRecord], since: float, until: float
) -> float:
    """The longest time in [since, until] during which the host could have had its daemon and none
    of `tasks` was RUNNING."""
    runs = sorted((t.started_at, wanted_until(t)) for t in tasks if t.started_at is not None)
    longest = 0.0
    for begin, end, standing in timeline.spans(until):
        if not standing.startable:
            continue
        cursor = max(begin, since)
        for started, ended in runs:
            if started > cursor:
                longest = max(longest, min(started, end) - cursor)
            cursor = max(cursor, ended)
        longest = max(longest, end - cursor)
    return longest


def marker_in(params: Mapping[str, object]) -> str:
    """The BLOX_INTENT in a StartTask's overrides, or ""."""
    overrides = params.get("overrides")
    containers = overrides.get("containerOverrides") if isinstance(overrides, dict) else None
    for container in containers if isinstance(containers, Iterable) else ():
        pairs = container.get("environment") if isinstance(container, dict) else None
        for pair in pairs if isinstance(pairs, Iterable) else ():
            if isinstance(pair, dict) and pair.get("name") == MARKER:
                return str(pair.get("value", ""))
    return ""


# --- All of it ------------------------------------------------------------------------------------


@dataclass(slots=True)
class TakenDown:
    """A healthy daemon that we stopped to replace it."""

    host: str
    at: float
    task: str


@dataclass(slots=True)
class Ledger:
    """Everything that judging needs, kept up by `Oracle.step`."""

    cloud: Cloud
    allowances: Allowances
    asked: dict[str, Asked] = field(default_factory=dict)
    deployments: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Deployment id → (environment key, content)."""
    slots: dict[str, dict[str, list[TaskRecord]]] = field(default_factory=dict)
    """Host ARN → environment key → every task that it ever had there, oldest first."""
    owners: dict[str, str] = field(default_factory=dict)
    """Task ARN → environment key."""
    others: dict[str, list[TaskRecord]] = field(default_factory=dict)
    """Host ARN → every task there that no environment started."""
    timelines: dict[str, dict[str, Timeline]] = field(default_factory=dict)
    """Environment key → host ARN → how the host stood to it."""
    unhealthy: dict[str, float] = field(default_factory=dict)
    """Task ARN → when it was last seen UNHEALTHY."""
    stopped_by_us: dict[str, float] = field(default_factory=dict)
    """Task ARN → when our first StopTask for it was executed."""
    taken_down: dict[str, list[TakenDown]] = field(default_factory=dict)
    most_down: dict[str, int] = field(default_factory=dict)
    """Environment key → the most daemons ever down for replacement at once."""
    markers: dict[str, str] = field(default_factory=dict)
    """BLOX_INTENT → the request id of the StartTask that carried it."""
    blind: list[tuple[float, float]] = field(default_factory=list)
    """When the caller could not read; the last may be open (infinity)."""

    def known_since(self, at: float) -> float:
        """What held without a change from this moment until `at`, a caller that acts at `at` must
        know: it could read for V + `news` seconds on end."""
        need = self.cloud.assumptions.read_lag + self.allowances.news
        cursor = at
        for begin, end in reversed(self.blind):
            if begin >= cursor:
                continue
            if cursor - min(end, cursor) >= need:
                break
            cursor = begin
        return cursor - need

    def decided_at(self, call: CallLogged) -> float:
        """The earliest moment at which this call can have been decided: its signature's date,
        without the back-dating."""
        if call.signed_at is None:
            return call.time
        forward = call.signed_at + self.cloud.assumptions.dated_back
        return min(call.time, forward) if self.dated_back(call) else call.signed_at

    def dated_back(self, call: CallLogged) -> bool:
        """Whether the call's signature was dated back by B or more when it arrived."""
        if call.signed_at is None:
            return False
        age = call.time - call.signed_at
        return age >= self.cloud.assumptions.dated_back - self.allowances.clock_slack

    def owner(self, task: TaskRecord) -> str | None:
        """The key of the environment that started it: by its deployment's id, else by its group,
        where of several environments that had this name the newest at its creation counts."""
        known = self.deployments.get(task.started_by)
        if known is not None:
            return known[0]
        if not task.group.startswith(GROUP_PREFIX):
            return None
        name = task.group.removeprefix(GROUP_PREFIX)
        named = [
            asked
            for asked in self.asked.values()
            if asked.name == name and asked.wishes[0].cluster == task.cluster
        ]
        older = [asked for asked in named if asked.wishes[0].at <= task.created_at]
        return (older or named)[-1].key if named else None

    def on_target(self, task: TaskRecord, wish: Wish) -> bool:
        """Whether the task runs what the wish asks. Contents are compared where both are known."""
        if task.definition != wish.definition:
            return False
        content = self.deployments.get(task.started_by, ("", ""))[1]
        return not content or not wish.content or content == wish.content

    def slot(self, key: str, host: str) -> Sequence[TaskRecord]:
        """Every task that the environment ever had on the host, oldest first."""
        return self.slots.get(host, {}).get(key, ())

    def standings(self, key: str, host: str, since: float, until: float) -> Sequence[Standing]:
        """How the host stood to the environment in [since, until]; empty if it was not there."""
        timeline = self.timelines[key].get(host)
        return timeline.during(since, until) if timeline is not None else ()

    def most_allowed(self, key: str, since: float, until: float) -> int:
        """The largest number of unavailable hosts that a caller could hold to be allowed at some
        moment of [since, until]."""
        asked = self.asked[key]
        grace = self.allowances.away_after
        wanted = sum(
            any(s.ready and s.connected for s in self.standings(key, host, since - grace, until))
            for host in self.timelines[key]
        )
        shares = [wish.max_unavailable for wish in asked.during(since, until)]
        return max((allowance(share, wanted) for share in shares), default=0)

    def occupants(self, key: str, host: str, family: str) -> list[TaskRecord]:
        """Tasks of this family on the host that the environment did not start, living or not."""
        found = [task for task in self.others.get(host, ()) if task.family == family]
        for env, tasks in self.slots.get(host, {}).items():
            if env != key:
                found += [task for task in tasks if task.family == family]
        return found

    def bystanders(self, host: str) -> list[TaskRecord]:
        """Tasks on the host that a draining daemon must wait for: not ours, not of a service with
        the DAEMON strategy."""
        daemons = {
            f"service:{service.name}"
            for service in self.cloud.services.values()
            if service.strategy == "DAEMON"
        }
        return [task for task in self.others.get(host, ()) if task.group not in daemons]


def draining(standing: Standing) -> bool:
    """The host was being emptied."""
    return standing.status == DRAINING


# --- Words ----------------------------------------------------------------------------------------


def describe_task(task: TaskRecord) -> str:
    """A task in one line, for evidence."""
    return (
        f"{task.arn} ({task.definition.rsplit('/', 1)[-1]}, {task.group or 'no group'}, "
        f"created {task.created_at:.3f}, last {task.last_status}, desired {task.desired_status})"
    )


def describe_call(call: CallLogged) -> str:
    """A call in one line, for evidence."""
    reason = call.params.get("reason", "")
    signed = "-" if call.signed_at is None else f"{call.signed_at:.3f}"
    return (
        f"{call.operation} {call.request_id} by {call.caller or '-'}: signed {signed}, "
        f"accepted {call.time:.3f}, executed {call.executed_at}, {call.outcome}, {reason!r}"
    )
