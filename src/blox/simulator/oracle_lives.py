"""Lives of hosts and tasks: what held when, from the records of the simulated cloud.

Times are seconds since 1970-01-01 UTC by ECS's clock.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

from blox.ecs.model import ACTIVE, DRAINING, MARKER
from blox.simulator.model import CallLogged, DefinitionRecord, HostRecord, TaskRecord

T = TypeVar("T")

# --- Hosts ----------------------------------------------------------------------------------------


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


def draining(standing: Standing) -> bool:
    """The host was being emptied."""
    return standing.status == DRAINING


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A host as it was at some moment."""

    host: HostRecord
    """A copy."""
    superseded: bool
    """A newer record of the same machine was connected."""


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


class Timeline(Generic[T]):
    """What held of something, in the order of its beginning."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._facts: list[T] = []

    def record(self, at: float, fact: T) -> None:
        """`fact` holds from `at` on."""
        if self._facts and self._facts[-1] == fact:
            return
        self._times.append(at)
        self._facts.append(fact)

    def during(self, since: float, until: float) -> Sequence[T]:
        """Everything that held at some moment of [since, until]; a change at `since` included,
        with what it changed."""
        first = bisect_right(self._times, since)
        if first and self._times[first - 1] == since:
            first -= 1
        last = bisect_right(self._times, until)
        return self._facts[max(0, first - 1) : last]

    def spans(self, until: float) -> Iterator[tuple[float, float, T]]:
        """(from, to, what held), the last one up to `until`."""
        ends = [*self._times[1:], until]
        yield from zip(self._times, ends, self._facts, strict=True)

    def began(self) -> float:
        """Since when anything is known."""
        return self._times[0]

    def last(self) -> T:
        """What holds now."""
        return self._facts[-1]

    def since_when(self, holds: Callable[[T], bool]) -> float | None:
        """Since when `holds` is true without a break; None when it is not."""
        since = None
        for at, fact in zip(reversed(self._times), reversed(self._facts), strict=True):
            if not holds(fact):
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
    timeline: Timeline[Standing], tasks: Sequence[TaskRecord], since: float, until: float
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
