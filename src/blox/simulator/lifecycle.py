"""How tasks live and hosts come and go: what ECS and its agents do by themselves.

Statuses: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
Hosts: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-versions.html

A task's next change is planned under its `step`; planning anew overtakes the former plan. What
needs the agent while it is away is *held* and planned again when it is back.
"""

from bisect import insort
from collections.abc import Callable, Mapping
from typing import Final

from blox.simulator.model import DefinitionRecord, HostRecord, Json, TaskRecord
from blox.simulator.parameters import Parameters
from blox.simulator.state import State
from blox.simulator.visibility import draw_lag

STOPPED_SHOWN: Final = 3600.0
"""Seconds that a stopped task stays visible ("at least one hour")."""
DELETED_SHOWN: Final = 60.0
"""Seconds that it is then seen as DELETED, by Describe only."""


# --- Tasks ----------------------------------------------------------------------------------------


def create_task(
    state: State,
    host: HostRecord,
    definition: DefinitionRecord,
    *,
    started_by: str = "",
    group: str = "",
    overrides: Json | None = None,
    marker: str = "",
    request_id: str = "",
    tags: Mapping[str, str] | None = None,
    execute_command: bool = False,
    need: tuple[int, int] | None = None,
) -> TaskRecord:
    """A new task's record; from now on it is live. `need`: (cpu, memory) after overrides."""
    task = TaskRecord(
        arn=state.arn("task", state.new_id(), cluster=host.cluster),
        cluster=host.cluster,
        host=host.arn,
        definition=definition.arn,
        family=definition.family,
        created_at=state.now,
        started_by=started_by,
        group=group or f"family:{definition.family}",
        marker=marker,
        overrides=overrides or {"containerOverrides": []},
        request_id=request_id,
        launch_type="EXTERNAL" if host.external else "EC2",
        cpu=need[0] if need else definition.cpu,
        memory=need[1] if need else definition.memory,
        ports_tcp=definition.ports_tcp,
        ports_udp=definition.ports_udp,
        tags=dict(tags or {}),
        execute_command=execute_command,
        list_lag=draw_lag(state.sight, state.faults, state.read_bound),
        describe_lag=draw_lag(state.sight, state.faults, state.read_bound),
    )
    if definition.document.get("networkMode") == "awsvpc":
        task.last_status = "PROVISIONING"
    state.index_task(task)
    state.task_changed(task, first=True)
    state.host_changed(host)
    _plan(state, task, _start_delay(state), _progress)
    return task


def _start_delay(state: State) -> float:
    if state.faults.slow_task and state.life.random() < state.faults.slow_task:
        return state.life.uniform(30.0, 400.0)
    return state.life.uniform(0.2, 3.0)


def _plan(
    state: State, task: TaskRecord, delay: float, action: Callable[[State, TaskRecord], None]
) -> None:
    task.step += 1
    step = task.step
    task.held = False

    def due() -> None:
        if task.step == step and task.live:
            action(state, task)

    state.at(state.now + delay, due)


def _agent_reached(state: State, task: TaskRecord) -> bool:
    """Whether the host's agent can act; otherwise the task's next change is held."""
    host = state.hosts[task.host]
    task.held = not (host.agent_connected and host.alive)
    return not task.held


def _progress(state: State, task: TaskRecord) -> None:
    """The task's next change, by its status."""
    if not _agent_reached(state, task):
        return
    if task.desired_status == "STOPPED":
        _stop_further(state, task)
    elif task.last_status == "PROVISIONING":
        _enter(state, task, "PENDING")
        _plan(state, task, state.life.uniform(0.1, 1.0), _progress)
    elif task.last_status == "PENDING":
        _leave_pending(state, task)
    elif task.last_status == "ACTIVATING":
        _run(state, task)


def _enter(state: State, task: TaskRecord, status: str) -> None:
    task.last_status = status
    state.task_changed(task)


def _leave_pending(state: State, task: TaskRecord) -> None:
    if task.family in state.stalled or task.host in state.stalled or _waits(state, task):
        task.held = True
        return
    if state.faults.failing_task and state.life.random() < state.faults.failing_task:
        task.stop_code = "TaskFailedToStart"
        task.stopped_reason = "CannotPullContainerError: pull image manifest has been retried"
        _end(state, task, exit_code=None)
        return
    _pull(state, task)
    if state.life.random() < 0.5:
        _enter(state, task, "ACTIVATING")
        _plan(state, task, state.life.uniform(0.1, 2.0), _progress)
    else:
        _run(state, task)


def _pull(state: State, task: TaskRecord) -> None:
    """The images' tags are resolved when they are pulled: what they meant before does not show."""
    containers = Parameters(state.definitions[task.definition].document)
    images = [str(item.get("image", "")) for item in containers.objects("containerDefinitions")]
    task.digests = tuple(state.digest(image) for image in images)


def _waits(state: State, task: TaskRecord) -> bool:
    """An agent starts nothing while what stops on its host still holds its resources."""
    if not state.switches.pending_waits_for_stopping:
        return False
    return any(
        other.desired_status == "STOPPED" and other.arn != task.arn
        for other in state.live_tasks(task.host)
    )


def _run(state: State, task: TaskRecord) -> None:
    task.started_at = state.now
    _enter(state, task, "RUNNING")
    life = state.crashing.get(task.family, state.crashing.get(task.host))
    if life is None and state.life.random() < state.faults.dying_task:
        life = state.life.uniform(0.0, 600.0)
    if life is not None:
        _plan(state, task, life, _exit)
    if state.definitions[task.definition].health_check:
        state.at(state.now + state.life.uniform(1.0, 10.0), lambda: _find_healthy(task))


def _find_healthy(task: TaskRecord) -> None:
    if task.live and task.health == "UNKNOWN":
        task.health = "HEALTHY"


def _exit(state: State, task: TaskRecord, exit_code: int = 1) -> None:
    """The essential container exits by itself; ECS hears of it from the agent."""
    if not _agent_reached(state, task):
        return
    if task.desired_status == "RUNNING":
        task.desired_status = "STOPPED"
        task.stopping_at = state.now
        ran = task.started_at is not None
        task.stop_code = "EssentialContainerExited" if ran else "TaskFailedToStart"
        task.stopped_reason = (
            "Essential container in task exited" if ran else "Task failed to start"
        )
    _end(state, task, exit_code=exit_code)


def exit_task(state: State, task: TaskRecord, *, exit_code: int) -> None:
    """The task's essential container exits now, or as soon as its agent is back."""
    if task.live:
        _plan(state, task, 0.0, lambda state, task: _exit(state, task, exit_code))


def ask_to_stop(state: State, task: TaskRecord, *, code: str, reason: str) -> bool:
    """desiredStatus becomes STOPPED; returns False when it was before."""
    if not task.live or task.desired_status == "STOPPED":
        return False
    task.desired_status = "STOPPED"
    task.stopping_at = state.now
    task.stop_code = code
    task.stopped_reason = reason
    state.task_changed(task)
    state.host_changed(state.hosts[task.host])
    _plan(state, task, state.life.uniform(0.05, 1.0), _progress)
    return True


def _stop_further(state: State, task: TaskRecord) -> None:
    if task.last_status in ("PROVISIONING", "PENDING"):
        _end(state, task, exit_code=None)
    elif task.last_status in ("ACTIVATING", "RUNNING") and state.life.random() < 0.5:
        _enter(state, task, "DEACTIVATING")
        _plan(state, task, state.life.uniform(0.05, 1.0), _progress)
    elif task.last_status in ("ACTIVATING", "RUNNING", "DEACTIVATING"):
        _enter(state, task, "STOPPING")
        _plan(state, task, _stop_delay(state, task), _progress)
    elif task.last_status == "STOPPING" and state.life.random() < 0.5:
        task.execution_stopped_at = state.now
        _enter(state, task, "DEPROVISIONING")
        _plan(state, task, state.life.uniform(0.05, 1.0), _progress)
    else:
        _end(state, task, exit_code=0)


def _stop_delay(state: State, task: TaskRecord) -> float:
    timeout = state.definitions[task.definition].stop_timeout
    if state.faults.slow_stop and state.life.random() < state.faults.slow_stop:
        return timeout + state.life.uniform(0.0, 60.0)
    return min(timeout, state.life.uniform(0.1, 2.0))


def _end(state: State, task: TaskRecord, *, exit_code: int | None) -> None:
    """STOPPED: resources come free, and what waited for them goes on."""
    task.step += 1
    task.held = False
    task.desired_status = "STOPPED"
    task.last_status = "STOPPED"
    task.stopping_at = state.now if task.stopping_at is None else task.stopping_at
    task.execution_stopped_at = task.execution_stopped_at or state.now
    task.stopped_at = state.now
    task.exit_code = exit_code
    task.tags.clear()
    state.live_on[task.host].pop(task.arn, None)
    state.task_changed(task)
    host = state.hosts[task.host]
    if not host.inactive:
        state.host_changed(host)
    state.at(state.now + STOPPED_SHOWN, lambda: _forget(state, task))
    release(state, task.host)


def _forget(state: State, task: TaskRecord) -> None:
    task.last_status = "DELETED"
    task.version += 1
    state.at(state.now + DELETED_SHOWN, lambda: state.expire_task(task))


def release(state: State, host_arn: str) -> None:
    """What was held on this host, or waited for others to leave it, may go on."""
    stop_services(state, state.hosts[host_arn])
    for task in state.live_tasks(host_arn):
        if task.held:
            _plan(state, task, state.life.uniform(0.05, 0.5), _progress_or_exit)


def _progress_or_exit(state: State, task: TaskRecord) -> None:
    if task.desired_status == "RUNNING" and task.last_status == "RUNNING":
        _exit(state, task)
    else:
        _progress(state, task)


def stop_services(state: State, host: HostRecord) -> None:
    """On a DRAINING host ECS stops the tasks of services, those of DAEMON services when only they
    are left; standalone tasks are their owner's
    (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-instance-draining.html).
    """
    if host.status != "DRAINING":
        return
    live = state.live_tasks(host.arn)
    daemons = [task for task in live if of_daemon_service(state, task)]
    for task in live:
        is_daemon = task in daemons
        if task.group.startswith("service:") and (not is_daemon or len(daemons) == len(live)):
            _stop_when_drained(state, host, task)


def of_daemon_service(state: State, task: TaskRecord) -> bool:
    """Whether the task counts as one of a service with strategy DAEMON."""
    name = task.group.removeprefix("service:")
    service = state.services.get(state.arn("service", name, cluster=task.cluster))
    return task.group != name and service is not None and service.strategy == "DAEMON"


def _stop_when_drained(state: State, host: HostRecord, task: TaskRecord) -> None:
    def due() -> None:
        if host.status == "DRAINING":
            ask_to_stop(
                state, task, code="ServiceSchedulerInitiated", reason="Scaling activity initiated"
            )

    state.at(state.now + state.life.uniform(0.5, 60.0), due)


# --- Hosts ----------------------------------------------------------------------------------------


def register_host(state: State, host: HostRecord) -> None:
    """A machine registers as a container instance."""
    host.list_lag = draw_lag(state.sight, state.faults, state.read_bound)
    host.describe_lag = draw_lag(state.sight, state.faults, state.read_bound)
    state.hosts[host.arn] = host
    state.live_on.setdefault(host.arn, {})
    insort(state.hosts_in.setdefault(host.cluster, []), host.arn)
    state.host_changed(host, first=True)
    flap_sometimes(state, host)


def set_agent(state: State, host: HostRecord, *, connected: bool) -> None:
    """The agent goes or comes; nothing changes when it is so already."""
    connected = connected and host.alive and not host.inactive
    if host.agent_connected == connected:
        return
    host.agent_connected = connected
    host.agent_changes += 1
    state.host_changed(host)
    if connected:
        release(state, host.arn)


def flap_sometimes(state: State, host: HostRecord) -> None:
    """Agents disconnect and reconnect several times an hour as a matter of course
    (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_container_instance_events.html).
    """
    if host.flaps or not state.faults.agent_flap:
        return
    host.flaps = True
    state.at(state.now + state.life.uniform(30.0, 1200.0), lambda: _flap(state, host))


def _flap(state: State, host: HostRecord) -> None:
    host.flaps = False
    if host.inactive or not host.alive:
        return
    if host.agent_connected and state.life.random() < state.faults.agent_flap:
        set_agent(state, host, connected=False)
        changes = host.agent_changes

        def back() -> None:
            if host.agent_changes == changes:
                set_agent(state, host, connected=True)

        state.at(state.now + state.life.uniform(0.5, 60.0), back)
    flap_sometimes(state, host)


def deregister(state: State, host: HostRecord, *, reason: str) -> None:
    """The record goes INACTIVE, and the tasks' records go STOPPED."""
    if host.inactive:
        return
    host.status = "INACTIVE"
    host.inactive_at = state.now
    host.agent_connected = False
    host.agent_changes += 1
    state.host_changed(host)
    for task in state.live_tasks(host.arn):
        if task.desired_status == "RUNNING":
            task.stopped_reason = reason
        _end(state, task, exit_code=None)


def terminate(state: State, host: HostRecord, *, agent_connected: bool) -> None:
    """The machine is gone; its record goes only if the agent was connected."""
    if agent_connected and host.agent_connected:
        host.alive = False
        deregister(state, host, reason=f"Host EC2 (instance {host.instance_id}) terminated.")
        return
    set_agent(state, host, connected=False)
    host.alive = False


def reboot(state: State, host: HostRecord, *, seconds: float) -> None:
    """The agent goes away; once it is back, every container has exited."""
    set_agent(state, host, connected=False)
    changes = host.agent_changes

    def back() -> None:
        if host.agent_changes != changes or not host.alive:
            return
        set_agent(state, host, connected=True)
        for task in state.live_tasks(host.arn):
            if task.started_at is not None:
                exit_task(state, task, exit_code=137)

    state.at(state.now + seconds, back)
