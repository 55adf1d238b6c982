"""Why a host does not run a daemon, and since when, from one look at its cluster."""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Final

from msgspec import Struct

from blox.account.audit.daemonlike import Daemon, RunnerKind
from blox.account.surveyed import DAEMON, Survey
from blox.ecs.model import Host, ServiceDocument, Task, TaskDefinition
from blox.ecs.selector import Selector, SelectorError, parse
from blox.scheduler.eligibility import HostCondition, Lack, ineligible, lacks, need_of

NEW: Final = 180.0
"""Seconds for which a host that has just registered is given time to get its daemons."""
PENDING_TOO_LONG: Final = 300.0
"""Seconds after which a task that does not become RUNNING is no daemon that runs."""
UNREAD: Final = "its task definition is not known"


class Cause(StrEnum):
    """Why a daemon is not on a host."""

    EXCLUDED = "excluded"
    """By a placement constraint of the service or of the definition, or by the service's launch
    type: it is not meant to be there."""
    OTHER_FAMILY = "otherFamily"
    """It cannot run there, and a daemon of the same name for that platform does."""
    NEW = "new"
    """The host registered less than `NEW` ago."""
    CANNOT_RUN = "cannotRun"
    ENOUGH = "enough"
    """The REPLICA service that runs it asks for no more tasks."""
    STOPPING = "stopping"
    """Its task there is being stopped, and there is no other."""
    PENDING = "pending"
    """Its task there has been waiting for `PENDING_TOO_LONG` or more."""
    NO_ROOM = "noRoom"
    STOPPED = "stopped"
    """ECS still shows a task of it that has stopped there."""
    UNKNOWN = "unknown"
    """It can run there, there is room, and ECS shows no task of it that has stopped there; with
    the detail `UNREAD` only the last is known."""
    DRAINING = "draining"
    DISCONNECTED = "disconnected"
    NOT_READY = "notReady"
    """ECS is registering or deregistering the host, or its status is not known here."""


EXCUSED: Final = frozenset({Cause.EXCLUDED, Cause.OTHER_FAMILY, Cause.NEW})
"""Ready hosts that lack it for these causes are not missing it."""


class Basis(StrEnum):
    """What tells since when."""

    STOPPED = "stopped"
    """The end of the last task there that ECS still shows."""
    STOPPING = "stopping"
    CREATED = "created"
    """Of the task that is there and does not run."""
    REGISTERED = "registered"
    """The host's registration: at most so long, for ECS shows stopped tasks for an hour only.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html"""


class Lacking(Struct, frozen=True, kw_only=True):
    """One host without one daemon."""

    host_arn: str
    cause: Cause
    detail: str = ""
    """In ECS's or the definition's words: a constraint, a stop reason, what is needed."""
    lack: Lack | None = None
    """For NO_ROOM: what is asked and what is free."""
    since: float | None = None
    basis: Basis | None = None
    stops: int = 0
    """How many tasks of it that stopped on this host ECS still shows."""


class Judge:
    """Tells, for one daemon, why a host lacks it."""

    def __init__(
        self,
        daemon: Daemon,
        survey: Survey,
        *,
        siblings: Sequence[Daemon],
        groups: Mapping[str, Sequence[str]],
    ) -> None:
        """`siblings`: daemons of the same name for other platforms. `groups`: the groups of the
        live tasks on each host, by the host's ARN."""
        self._survey = survey
        self._groups = groups
        self._definition = survey.definitions.get(daemon.definition_arn)
        self._need = None if self._definition is None else need_of(self._definition, {})
        self._constraints = _constraints(daemon.service, self._definition)
        self._launch_type = "" if daemon.service is None else daemon.service.launch_type
        self._own_groups = frozenset(item.task.group for item in daemon.tasks)
        self._enough = _enough(daemon, survey)
        self._on: dict[str, list[Task]] = {}
        for item in daemon.tasks:
            self._on.setdefault(item.task.host_arn, []).append(item.task)
        self._elsewhere = {
            item.task.host_arn: sibling.family
            for sibling in siblings
            for item in sibling.tasks
            if _runs(item.task, survey.at)
        }

    def runs_on(self, host: Host) -> bool:
        """Whether a task of it runs there, or has begun to."""
        return any(_runs(task, self._survey.at) for task in self._on.get(host.arn, ()))

    def why(self, host: Host) -> Lacking:
        """Why a host on which it does not run lacks it."""
        found = self._why(host)
        stopped = self._stopped(host)
        if not stopped:
            return found
        last = stopped[-1]
        return Lacking(
            host_arn=host.arn,
            cause=found.cause,
            detail=found.detail,
            lack=found.lack,
            since=found.since if found.basis is not Basis.REGISTERED else last.stopped_at,
            basis=found.basis if found.basis is not Basis.REGISTERED else Basis.STOPPED,
            stops=len(stopped),
        )

    def _why(self, host: Host) -> Lacking:
        arn, registered = host.arn, host.registered_at
        basis = None if registered is None else Basis.REGISTERED

        def told(cause: Cause, detail: str = "", lack: Lack | None = None) -> Lacking:
            return Lacking(
                host_arn=arn, cause=cause, detail=detail, lack=lack, since=registered, basis=basis
            )

        state = self._survey.condition(host)
        if state is not HostCondition.READY:
            return told(_NOT_READY.get(state, Cause.NOT_READY), host.status)
        there = [task for task in self._on.get(arn, ()) if task.live]
        if there:
            return _present(arn, max(there, key=lambda task: (task.created_at or 0.0, task.arn)))
        kept_out = self._kept_out(host)
        if kept_out is not None:
            return told(*kept_out)
        lack = None if self._need is None else lacks(self._need, host.remaining)
        if lack is not None:
            return told(Cause.NO_ROOM, lack.resource, lack)
        stopped = self._stopped(host)
        if stopped:
            return told(Cause.STOPPED, _reason(stopped[-1]))
        if registered is not None and self._survey.at - registered < NEW:
            return told(Cause.NEW)
        return told(Cause.UNKNOWN, "" if self._definition is not None else UNREAD)

    def _kept_out(self, host: Host) -> tuple[Cause, str] | None:
        """What would keep it from the host, however much room there is."""
        groups = [g for g in self._groups.get(host.arn, ()) if g not in self._own_groups]
        for text, selector in self._constraints:
            if selector.truth(host, groups=groups) is False:
                return Cause.EXCLUDED, f"the constraint {text}"
        if self._launch_type and host.external != (self._launch_type == "EXTERNAL"):
            return Cause.EXCLUDED, f"the service's launch type {self._launch_type}"
        unable = None if self._definition is None else ineligible(self._definition, host)
        if unable is not None:
            other = self._elsewhere.get(host.arn)
            return (
                (Cause.CANNOT_RUN, unable.detail) if other is None else (Cause.OTHER_FAMILY, other)
            )
        return None if not self._enough else (Cause.ENOUGH, self._enough)

    def _stopped(self, host: Host) -> list[Task]:
        """Tasks of it that have stopped there and that ECS still shows, the last one last."""
        ended = [task for task in self._on.get(host.arn, ()) if not task.live]
        return sorted(ended, key=lambda task: (task.stopped_at or 0.0, task.arn))


_NOT_READY: Final = {
    HostCondition.DRAINING: Cause.DRAINING,
    HostCondition.DISCONNECTED: Cause.DISCONNECTED,
}


def _runs(task: Task, now: float) -> bool:
    if not task.wanted_by_ecs:
        return False
    if task.last_status not in _BEFORE_RUNNING or task.created_at is None:
        return True
    return now - task.created_at < PENDING_TOO_LONG


_BEFORE_RUNNING: Final = ("PROVISIONING", "PENDING", "ACTIVATING")


def _present(host_arn: str, task: Task) -> Lacking:
    """A host whose task is there and yet does not run."""
    if task.wanted_by_ecs:
        return Lacking(
            host_arn=host_arn,
            cause=Cause.PENDING,
            detail=task.last_status,
            since=task.created_at,
            basis=None if task.created_at is None else Basis.CREATED,
        )
    return Lacking(
        host_arn=host_arn,
        cause=Cause.STOPPING,
        detail=_reason(task),
        since=task.stopping_at,
        basis=None if task.stopping_at is None else Basis.STOPPING,
    )


def _reason(task: Task) -> str:
    """Why a task ended, in ECS's words, without the ids that differ from task to task."""
    said = task.stopped_reason or task.stop_code or "no reason given"
    said = _IDS.sub("…", said)
    return said if task.exit_code is None else f"{said} (exit {task.exit_code})"


_IDS: Final = re.compile(r"\b(?:m?i-[0-9a-f]{8,17}|[0-9a-f]{32}|[0-9a-f-]{36})\b")


def _enough(daemon: Daemon, survey: Survey) -> str:
    """Of a family that one REPLICA service runs, which has all the tasks that it asks for."""
    if daemon.service is not None or len(daemon.runners) != 1:
        return ""
    runner = daemon.runners[0]
    if runner.kind is not RunnerKind.REPLICA_SERVICE:
        return ""
    for service in survey.services:
        if service.service_name == runner.name and service.scheduling_strategy != DAEMON:
            if service.running_count + service.pending_count >= service.desired_count:
                return f"service/{runner.name} asks for {service.desired_count}"
            return ""
    return ""


def _constraints(
    service: ServiceDocument | None, definition: TaskDefinition | None
) -> tuple[tuple[str, Selector], ...]:
    """The expressions that a host must satisfy, each with its text; those that cannot be read here
    keep no host out."""
    listed = [
        *((service.placement_constraints or ()) if service is not None else ()),
        *((definition.placement_constraints or ()) if definition is not None else ()),
    ]
    texts = dict.fromkeys(
        rule.expression for rule in listed if rule.type == "memberOf" and rule.expression
    )
    read = ((text, _selector(text)) for text in texts)
    return tuple((text, selector) for text, selector in read if selector is not None)


@lru_cache(maxsize=1024)
def _selector(text: str) -> Selector | None:
    try:
        return parse(text)
    except SelectorError:
        return None


# --- The same daemon for another platform ---------------------------------------------------------

_PLATFORM: Final = re.compile(
    r"(?:^|[-_])(?:amd64|arm64|aarch64|arm|graviton|x86[-_]64|x86|x64|linux|windows|win)"
    r"(?=[-_]|$)",
    re.IGNORECASE,
)


def siblings_of(daemon: Daemon, all_daemons: Sequence[Daemon]) -> tuple[Daemon, ...]:
    """The daemons whose family has the same name but for the platform in it: agent-arm64 beside
    agent-x86, or beside agent."""
    stem = _stem(daemon.family)
    return tuple(
        other
        for other in all_daemons
        if other.family != daemon.family and _stem(other.family) == stem
    )


def _stem(family: str) -> str:
    return _PLATFORM.sub("", family).strip("-_").casefold()
