"""What ECS's service scheduler does for DAEMON services: one task on every host, by itself.

A service of strategy DAEMON keeps exactly one task on each ACTIVE host that meets its placement
constraints, and stops the tasks on hosts that meet them no longer
(https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html, member
schedulingStrategy). On DRAINING hosts its tasks leave last: `blox.simulator.lifecycle`.

A change on a host is seen after a drawn delay of at most `State.service_delay` seconds, for each
service and host apart; nothing runs by the clock alone.
"""

from typing import Final

from blox.simulator.expressions import facts_of, matches
from blox.simulator.lifecycle import ask_to_stop, create_task
from blox.simulator.model import HostRecord, ServiceRecord, TaskRecord
from blox.simulator.starting import lacking, supports
from blox.simulator.state import State

_SOONEST: Final = 0.2
_THROTTLED_FROM: Final = 10.0
_THROTTLED_MOST: Final = 900.0
"""Seconds between starts on a host where tasks end without having run, at first and at most
(https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-throttle-logic.html)."""


def stir(state: State, host: HostRecord) -> None:
    """Something changed on this host: its cluster's services look at it soon."""
    for service in state.services.values():
        if service.cluster == host.cluster and service.acts and service.status == "ACTIVE":
            _plan(state, service, host)


def stir_everywhere(state: State, service: ServiceRecord) -> None:
    """The service itself changed: it looks at every host of its cluster soon."""
    for arn in state.hosts_in.get(service.cluster, []):
        _plan(state, service, state.hosts[arn])


def tasks_of(state: State, service: ServiceRecord) -> list[TaskRecord]:
    """The service's live tasks, by host."""
    hosts = state.hosts_in.get(service.cluster, [])
    return [task for arn in hosts for task in _on(state, service, arn)]


def wants(state: State, service: ServiceRecord, host: HostRecord) -> bool:
    """Whether a DAEMON service is to have a task on this host, if there is room."""
    return (
        host.status == "ACTIVE"
        and host.external == (service.launch_type == "EXTERNAL")
        and _meets(state, service, host)
    )


def _on(state: State, service: ServiceRecord, host_arn: str) -> list[TaskRecord]:
    return [
        task
        for task in state.live_tasks(host_arn)
        if task.group == service.group and task.started_by.startswith("ecs-svc/")
    ]


def _meets(state: State, service: ServiceRecord, host: HostRecord) -> bool:
    """Whether the host meets the constraints of the service and of its task definition. The
    service's own tasks do not count as tasks of the host."""
    expressions = [text for kind, text in service.constraints if kind == "memberOf"]
    if service.definition:
        expressions += state.definitions[service.definition].constraints
    if not expressions:
        return True
    others = [task for task in state.live_tasks(host.arn) if task.group != service.group]
    groups = list(dict.fromkeys(task.group for task in others))
    running = sum(task.desired_status == "RUNNING" for task in others)
    facts = facts_of(host, running=running, groups=groups)
    return all(matches(expression, facts) for expression in expressions)


# --- Looking at one host --------------------------------------------------------------------------


def _plan(
    state: State, service: ServiceRecord, host: HostRecord, *, due: float | None = None
) -> None:
    """Look at the host at `due`, or soon; a look that is planned to come earlier stays."""
    planned = service.planned.get(host.arn)
    if planned is not None and (due is None and planned <= state.now + state.service_delay):
        return
    soonest = min(_SOONEST, state.service_delay)
    time = state.now + state.placing.uniform(soonest, state.service_delay) if due is None else due
    service.planned[host.arn] = time

    def look() -> None:
        if service.planned.get(host.arn) == time:
            del service.planned[host.arn]
            _look(state, service, host)

    state.at(time, look)


def _look(state: State, service: ServiceRecord, host: HostRecord) -> None:
    if state.services.get(service.arn) is not service:
        return
    mine = _on(state, service, host.arn)
    running = [task for task in mine if task.desired_status == "RUNNING"]
    if service.status != "ACTIVE":
        _stop(state, service, running)
        if not service.planned:
            settle_deleted(state, service)
    elif host.inactive or host.status == "DRAINING":
        return
    elif not _meets(state, service, host):
        _stop(state, service, running)
    else:
        current = [task for task in running if task.started_by == service.deployment]
        _stop(state, service, [task for task in running if task not in current[:1]])
        if not mine and wants(state, service, host):
            _start(state, service, host)


def _stop(state: State, service: ServiceRecord, tasks: list[TaskRecord]) -> None:
    """The reason's words: https://repost.aws/knowledge-center/ecs-task-stopped"""
    for task in tasks:
        ask_to_stop(
            state,
            task,
            code="ServiceSchedulerInitiated",
            reason=f"Scaling activity initiated by (deployment {service.deployment})",
        )


def settle_deleted(state: State, service: ServiceRecord) -> None:
    """A deleted service is INACTIVE once none of its tasks shall run any more."""
    if service.status == "DRAINING" and not any(
        task.desired_status == "RUNNING" for task in tasks_of(state, service)
    ):
        service.status = "INACTIVE"


def _start(state: State, service: ServiceRecord, host: HostRecord) -> None:
    """Start one, if the host can take it; otherwise the next change on the host decides again."""
    definition = state.definitions[service.definition]
    if not host.agent_connected or not supports(host, definition):
        return
    if lacking(state, host, definition, (definition.cpu, definition.memory)) is not None:
        return
    allowed = _allowed_from(state, service, host)
    if allowed > state.now:
        _plan(state, service, host, due=allowed)
        return
    create_task(state, host, definition, started_by=service.deployment, group=service.group)


def _allowed_from(state: State, service: ServiceRecord, host: HostRecord) -> float:
    """When the next start may be: at once, or later when the last ones ended without having run."""
    ended = [
        task
        for task in (state.tasks[arn] for arn in state.tasks_of.get(host.arn, []))
        if task.started_by == service.deployment and task.stopped_at is not None
    ]
    failures = 0
    for task in sorted(ended, key=lambda task: task.created_at, reverse=True):
        if task.started_at is not None or task.stop_code != "TaskFailedToStart":
            break
        failures += 1
    if not failures:
        return state.now
    last = max(task.stopped_at or 0.0 for task in ended)
    return last + min(_THROTTLED_MOST, _THROTTLED_FROM * 2.0 ** (failures - 1))
