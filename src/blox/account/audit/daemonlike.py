"""What counts as a daemon on a cluster that blox did not set up.

Every DAEMON service is one. So is every family that runs almost everywhere, one task a host, by
whatever means it was started: by hand, by a service, by an environment of blox. Tasks of a REPLICA
service are spread by ECS and may come to lie one on each host by chance; they count only where the
service asks for distinct hosts, as people do who make daemons of such services.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_services.html
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from blox.account.surveyed import DAEMON, Survey, SurveyedTask
from blox.clusterstate.merge import OUR_GROUP
from blox.ecs.model import ACTIVE, Host, ServiceDocument, TaskDefinition
from blox.scheduler.eligibility import HostCondition, ineligible

EVERYWHERE: Final = 0.6
"""A family is a daemon when it runs on at least this part of the ready hosts that could run it,"""
FEW: Final = 3
"""on at least so many hosts or on every ready one,"""
ONE_EACH: Final = 0.9
"""and this part of the hosts that run it run exactly one."""


class RunnerKind(StrEnum):
    """What keeps a task running, or started it."""

    DAEMON_SERVICE = "daemonService"
    REPLICA_SERVICE = "replicaService"
    SERVICE = "service"
    """A service whose strategy is not known here."""
    ENVIRONMENT = "environment"
    """Of blox."""
    HAND = "hand"
    """Nothing: somebody, or a script, started it once."""


class Runner(Struct, frozen=True, kw_only=True):
    """Who runs some of a daemon's tasks."""

    kind: RunnerKind
    name: str = ""
    """The service's or environment's; for HAND the commonest startedBy, "" when most have none."""
    tasks: int = 0


class Daemon(Struct, frozen=True, kw_only=True):
    """A DAEMON service, or a family that runs almost everywhere."""

    family: str
    service: ServiceDocument | None
    """The DAEMON service; None for a family."""
    definition_arn: str
    """What a host without it would run: the service's, or the family's commonest."""
    tasks: tuple[SurveyedTask, ...]
    """All that ECS shows on hosts, stopped ones included, in ARN order."""
    runners: tuple[Runner, ...]
    """Of the live tasks, most tasks first."""

    @property
    def key(self) -> tuple[str, str]:
        """The order in which daemons are told."""
        return (self.family, self.service.service_name if self.service is not None else "")


def ready_hosts(survey: Survey) -> tuple[Host, ...]:
    """The hosts on which ECS starts tasks now, in ARN order."""
    return tuple(h for h in survey.hosts if survey.condition(h) is HostCondition.READY)


def definitions_wanted(survey: Survey) -> tuple[str, ...]:
    """ARNs of the task definitions that `daemons` and the audit ask about, in ARN order."""
    found = {daemon.definition_arn for daemon in _candidates(survey)}
    return tuple(sorted(found - {""}))


def daemons(survey: Survey) -> tuple[Daemon, ...]:
    """All of the cluster, in order of family."""
    return tuple(d for d in _candidates(survey) if d.service is not None or _everywhere(d, survey))


def wanted_by_host(tasks: Iterable[SurveyedTask]) -> dict[str, list[SurveyedTask]]:
    """The tasks that ECS means to run, by the ARN of their host."""
    found: dict[str, list[SurveyedTask]] = {}
    for item in tasks:
        if item.task.wanted_by_ecs:
            found.setdefault(item.task.host_arn, []).append(item)
    return found


def _candidates(survey: Survey) -> tuple[Daemon, ...]:
    """DAEMON services, and families that would be daemons if every host could run them all."""
    on_hosts = [item for item in survey.tasks if item.task.host_arn]
    services = {s.service_name: s for s in survey.services if s.status == ACTIVE}
    by_service: dict[str, list[SurveyedTask]] = {}
    by_family: dict[str, list[SurveyedTask]] = {}
    for item in on_hosts:
        of = services.get(item.service)
        if of is not None and of.scheduling_strategy == DAEMON:
            by_service.setdefault(of.service_name, []).append(item)
        else:
            by_family.setdefault(item.family, []).append(item)
    found = []
    served: set[str] = set()
    for name, service in sorted(services.items()):
        if service.scheduling_strategy != DAEMON:
            continue
        family = _family(service.task_definition, by_service.get(name, ()))
        served.add(family)
        tasks = [*by_service.get(name, ()), *by_family.get(family, ())]
        found.append(_daemon(family, service, service.task_definition, tasks, services))
    ready = len(ready_hosts(survey))
    for family, tasks in sorted(by_family.items()):
        if family not in served and _one_each(tasks, ready) and not _spread(tasks, services):
            found.append(_daemon(family, None, _commonest(tasks), tasks, services))
    return tuple(sorted(found, key=lambda daemon: daemon.key))


def _family(definition: str, tasks: Sequence[SurveyedTask]) -> str:
    """The family of a service, of whose definition only what its tasks say may be known."""
    named = definition.rsplit("/", 1)[-1].split(":", 1)[0]
    return named or next((item.family for item in tasks), "")


def _daemon(
    family: str,
    service: ServiceDocument | None,
    definition: str,
    tasks: Iterable[SurveyedTask],
    services: Mapping[str, ServiceDocument],
) -> Daemon:
    ordered = tuple(sorted(tasks, key=lambda item: item.task.arn))
    return Daemon(
        family=family,
        service=service,
        definition_arn=definition or _commonest(ordered),
        tasks=ordered,
        runners=_runners(ordered, services),
    )


def _one_each(tasks: Sequence[SurveyedTask], ready: int) -> bool:
    """Whether enough hosts run the family, and nearly all of them one task of it."""
    counts = [len(items) for items in wanted_by_host(tasks).values()]
    if len(counts) < min(FEW, ready) or not counts:
        return False
    return counts.count(1) >= ONE_EACH * len(counts)


def _spread(tasks: Sequence[SurveyedTask], services: Mapping[str, ServiceDocument]) -> bool:
    """Whether most of the tasks are of REPLICA services that do not ask for distinct hosts."""
    live = [item for item in tasks if item.task.live]
    replicas = 0
    for item in live:
        service = services.get(item.service)
        if service is None or service.scheduling_strategy == DAEMON:
            continue
        rules = service.placement_constraints or ()
        replicas += all(rule.type != "distinctInstance" for rule in rules)
    return replicas > len(live) / 2


def _commonest(tasks: Iterable[SurveyedTask]) -> str:
    """The definition of most live tasks, the latest of several; "" when none lives."""
    counts: dict[str, int] = {}
    for item in tasks:
        if item.task.wanted_by_ecs:
            arn = item.task.definition_arn
            counts[arn] = counts.get(arn, 0) + 1
    return max(counts, key=lambda arn: (counts[arn], _revision(arn), arn), default="")


def _revision(arn: str) -> int:
    number = arn.rsplit(":", 1)[-1]
    return int(number) if number.isdecimal() else 0


def _runners(
    tasks: Sequence[SurveyedTask], services: Mapping[str, ServiceDocument]
) -> tuple[Runner, ...]:
    counts: dict[tuple[RunnerKind, str], int] = {}
    started_by: dict[str, int] = {}
    for item in tasks:
        if not item.task.wanted_by_ecs:
            continue
        key = _runner(item, services)
        counts[key] = counts.get(key, 0) + 1
        if key[0] is RunnerKind.HAND:
            name = item.task.started_by
            started_by[name] = started_by.get(name, 0) + 1
    by = max(started_by, key=lambda name: (started_by[name], name), default="")
    found = [
        Runner(kind=kind, name=by if kind is RunnerKind.HAND else name, tasks=number)
        for (kind, name), number in counts.items()
    ]
    return tuple(sorted(found, key=lambda runner: (-runner.tasks, runner.kind, runner.name)))


def _runner(item: SurveyedTask, services: Mapping[str, ServiceDocument]) -> tuple[RunnerKind, str]:
    if item.service:
        service = services.get(item.service)
        if service is None:
            return RunnerKind.SERVICE, item.service
        daemon = service.scheduling_strategy == DAEMON
        kind = RunnerKind.DAEMON_SERVICE if daemon else RunnerKind.REPLICA_SERVICE
        return kind, item.service
    if item.task.group.startswith(OUR_GROUP):
        return RunnerKind.ENVIRONMENT, item.task.group.removeprefix(OUR_GROUP)
    return RunnerKind.HAND, ""


def _everywhere(daemon: Daemon, survey: Survey) -> bool:
    """Whether a family runs on enough of the ready hosts that could run it."""
    definition: TaskDefinition | None = survey.definitions.get(daemon.definition_arn)
    running = wanted_by_host(daemon.tasks)
    ready = ready_hosts(survey)
    # A host that runs it can run it, whatever its definition seems to say.
    able = [
        host
        for host in ready
        if host.arn in running or definition is None or ineligible(definition, host) is None
    ]
    on = sum(1 for host in able if host.arn in running)
    if on == 0 or on < min(FEW, len(ready)):
        return False
    return on >= EVERYWHERE * len(able)
