"""Tasks: start, run, stop, list, describe.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StartTask.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
"""

import json
from typing import Final

from blox.simulator.access import refuses_role
from blox.simulator.definitions import startable
from blox.simulator.documents import RESERVED_TCP
from blox.simulator.expressions import facts_of, matches
from blox.simulator.lifecycle import ask_to_stop, create_task
from blox.simulator.model import (
    CallLogged,
    ClusterRecord,
    DefinitionRecord,
    Fault,
    HostRecord,
    Json,
    RepeatedHost,
    TaskRecord,
)
from blox.simulator.parameters import Parameters, invalid, size, started_by, tags, whole
from blox.simulator.state import State
from blox.simulator.visibility import page

MARKER: Final = "BLOX_INTENT"
_DAY: Final = 86400.0
_ARCHITECTURES: Final = {"X86_64": "x86_64", "ARM64": "arm64"}


class Order:
    """What StartTask and RunTask have in common: the request's members, checked whole. Raises
    Fault when nothing of it can be served."""

    def __init__(self, state: State, parameters: Parameters, *, longest_started_by: int) -> None:
        self.cluster: ClusterRecord = state.cluster(parameters.text("cluster"))
        self.started_by = started_by(parameters, longest=longest_started_by)
        self.group = parameters.text("group") or ""
        if len(self.group) > 255:
            raise invalid("group longer than 255.")
        self.tags = tags(parameters)
        reference = parameters.needed("taskDefinition", "TaskDefinition can not be blank.")
        self.definition: DefinitionRecord = startable(state, reference)
        self.execute_command = parameters.flag("enableExecuteCommand")
        self.overrides = parameters.child("overrides")
        self.marker, self.need = _overridden(self.overrides, self.definition)
        awsvpc = self.definition.document.get("networkMode") == "awsvpc"
        if awsvpc != bool(parameters.child("networkConfiguration").members):
            raise invalid(
                "Network Configuration must be provided when networkMode 'awsvpc' is specified."
                if awsvpc
                else "Network Configuration is not valid for the given networkMode of this task "
                "definition."
            )
        check_roles(state, self.definition)

    def start(self, state: State, host: HostRecord, request_id: str) -> TaskRecord:
        """A task of this order on `host`, which was found able."""
        return create_task(
            state,
            host,
            self.definition,
            started_by=self.started_by,
            group=self.group,
            overrides=dict(self.overrides.members),
            marker=self.marker,
            request_id=request_id,
            tags=self.tags,
            execute_command=self.execute_command,
            need=self.need,
        )


def _overridden(overrides: Parameters, definition: DefinitionRecord) -> tuple[str, tuple[int, int]]:
    """(marker, (cpu, memory) needed) after the overrides, which may be 8,192 characters long."""
    if len(json.dumps(overrides.members, separators=(",", ":"))) > 8192:
        raise invalid("Overrides cannot be longer than 8192 characters.")
    containers = definition.document.get("containerDefinitions")
    sizes = {
        str(item.get("name")): item
        for item in (containers if isinstance(containers, list) else [])
        if isinstance(item, dict)
    }
    marker, cpu, memory = "", definition.cpu, definition.memory
    for override in overrides.objects("containerOverrides"):
        name = Parameters(override).text("name") or ""
        if not name:
            raise invalid("Container override name cannot be empty.")
        if name not in sizes:
            raise invalid(
                f"Override for container named {name} is not a container in the TaskDefinition."
            )
        for variable in Parameters(override).objects("environment"):
            if variable.get("name") == MARKER:
                marker = str(variable.get("value", ""))
        if "cpu" in override and "cpu" not in definition.document:
            cpu += whole(override["cpu"]) - whole(sizes[name].get("cpu"))
        asked = override.get("memoryReservation", override.get("memory"))
        if asked is not None and "memory" not in definition.document:
            was = sizes[name].get("memoryReservation", sizes[name].get("memory"))
            memory += whole(asked) - whole(was)
    cpu, memory = size(overrides, "cpu") or cpu, size(overrides, "memory") or memory
    return marker, (cpu, memory)


def check_roles(state: State, definition: DefinitionRecord) -> None:
    """Raises Fault when the caller may not pass the definition's roles."""
    if refuses_role(state.denied, definition.family):
        role = definition.roles[0] if definition.roles else "task-role"
        raise denied(state, "iam:PassRole", role)


def denied(state: State, action: str, resource: str) -> Fault:
    """Access denied, in IAM's words."""
    user = f"arn:{state.partition}:sts::{state.account}:assumed-role/blox/simulated"
    return Fault(
        "AccessDeniedException",
        f"User: {user} is not authorized to perform: {action} on resource: {resource} because no "
        f"identity-based policy allows the {action} action",
        state.switches.denied_status,
    )


# --- May this host take it? -----------------------------------------------------------------------


def refusal(state: State, host: HostRecord, order: Order) -> str | None:
    """Why this host cannot take a task of the order, as `failures` says it; None: it can."""
    definition = order.definition
    if host.status in ("INACTIVE", "REGISTERING", "DEREGISTERING", "REGISTRATION_FAILED"):
        return "INACTIVE"
    if host.status == "DRAINING" and not state.switches.start_on_draining:
        return "INACTIVE"
    if not host.agent_connected:
        return "AGENT"
    if not _fits_attributes(state, host, definition):
        return "ATTRIBUTE"
    return lacking(state, host, definition, order.need)


def lacking(
    state: State, host: HostRecord, definition: DefinitionRecord, need: tuple[int, int]
) -> str | None:
    """Which resource the host lacks for `need`, (CPU units, MiB), and the definition's ports."""
    usage = state.usage(host.arn)
    if need[0] > host.cpu - usage.cpu:
        return "RESOURCE:CPU"
    if need[1] > host.memory - usage.memory:
        return "RESOURCE:MEMORY"
    taken = (*usage.tcp, *RESERVED_TCP)
    if any(port in taken for port in definition.ports_tcp):
        return "RESOURCE:PORTS"
    if any(port in usage.udp for port in definition.ports_udp):
        return "RESOURCE:PORTS"
    return None


def _fits_attributes(state: State, host: HostRecord, definition: DefinitionRecord) -> bool:
    if not supports(host, definition):
        return False
    if host.external and not state.switches.start_on_external:
        return False
    if not state.switches.constraints_checked:
        return True
    return all(_satisfies(state, host, expression) for expression in definition.constraints)


def supports(host: HostRecord, definition: DefinitionRecord) -> bool:
    """Whether the host's agent and architecture can run this definition at all."""
    if any(name not in host.attributes for name in definition.requires):
        return False
    if host.external and definition.document.get("networkMode") == "awsvpc":
        return False
    platform = definition.document.get("runtimePlatform")
    asked = platform.get("cpuArchitecture") if isinstance(platform, dict) else None
    has = host.attributes.get("ecs.cpu-architecture")
    return asked is None or has is None or _ARCHITECTURES.get(str(asked)) == has


def _satisfies(state: State, host: HostRecord, expression: str) -> bool:
    live = state.live_tasks(host.arn)
    groups = list(dict.fromkeys(task.group for task in live))
    running = state.usage(host.arn).running
    return matches(expression, facts_of(host, running=running, groups=groups))


# --- Operations -----------------------------------------------------------------------------------


def start_task(state: State, parameters: Parameters, logged: CallLogged) -> Json:
    """One task on each of up to ten named hosts; per host a task or a failure."""
    order = Order(state, parameters, longest_started_by=36)
    references = parameters.texts("containerInstances")
    if not references:
        raise invalid("Container instances cannot be empty.")
    if len(references) > 10:
        raise invalid("Instance placement list should be of at most 10.")
    named = [state.host(reference, order.cluster.name) for reference in references]
    if any(host is not None and host.poisoned for _, host in named):
        raise invalid("The requested configuration is currently not supported.")
    arns = [arn for arn, _ in named]
    if len(dict.fromkeys(arns)) < len(arns):
        if state.switches.repeated_host is RepeatedHost.REFUSED:
            raise invalid("Container instances contain duplicates.")
        if state.switches.repeated_host is RepeatedHost.ONE:
            named = list(dict(named).items())
    made: list[TaskRecord] = []
    failures: list[tuple[str, str]] = []
    for arn, host in named:
        reason = "MISSING" if host is None else refusal(state, host, order)
        if host is None or reason is not None:
            failures.append((arn, reason or "MISSING"))
        else:
            made.append(order.start(state, host, logged.request_id))
    return _placed(state, logged, made, failures)


def _placed(
    state: State,
    logged: CallLogged,
    made: list[TaskRecord],
    failures: list[tuple[str, str]],
) -> Json:
    logged.made = tuple(task.arn for task in made)
    logged.failed = tuple(failures)
    return {
        "tasks": [state.task_document(task, with_tags=True) for task in made],
        "failures": [{"arn": arn, "reason": reason} for arn, reason in failures],
    }


def run_task(state: State, parameters: Parameters, logged: CallLogged) -> Json:
    """Tasks on hosts that ECS picks; a clientToken makes it happen once
    (https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html)."""
    order = Order(state, parameters, longest_started_by=128)
    count = parameters.number("count", 1, least=1, most=10)
    parameters.choice("launchType", ("EC2", "EXTERNAL"))
    token = parameters.text("clientToken") or ""
    if len(token) > 64 or any(not 33 <= ord(character) <= 126 for character in token):
        raise invalid("clientToken must be at most 64 characters from ! to ~.")
    request = json.dumps(parameters.members, sort_keys=True)
    key = (order.cluster.name, token)
    earlier = state.tokens.get(key)
    if token and earlier is not None and _token_lives(state, earlier):
        if earlier[0] != request:
            raise Fault("ConflictException", "The client token was used with other parameters.")
        again = [state.tasks[arn] for arn in earlier[1]]
        return {"tasks": [state.task_document(task) for task in again], "failures": []}
    made: list[TaskRecord] = []
    failures: list[tuple[str, str]] = []
    for _ in range(count):
        host, failure = _pick(state, parameters, order)
        if host is None:
            failures.append(failure)
        else:
            made.append(order.start(state, host, logged.request_id))
    if token and made:
        state.tokens[key] = (request, [task.arn for task in made], state.now + _DAY)
    return _placed(state, logged, made, failures)


def _token_lives(state: State, used: tuple[str, list[str], float]) -> bool:
    """A token is remembered for a day, or until an hour after its tasks stopped."""
    return state.now < used[2] and not all(state.tasks[arn].expired for arn in used[1])


def _pick(
    state: State, parameters: Parameters, order: Order
) -> tuple[HostRecord | None, tuple[str, str]]:
    """A host for one task, or (host ARN, why not)."""
    external = parameters.text("launchType") == "EXTERNAL"
    hosts = [state.hosts[arn] for arn in state.hosts_in.get(order.cluster.name, [])]
    hosts = [host for host in hosts if host.status == "ACTIVE" and host.external == external]
    if not hosts:
        raise invalid("No Container Instances were found in your cluster.")
    for item in parameters.objects("placementConstraints"):
        if item.get("type") == "memberOf":
            expression = str(item.get("expression", ""))
            if len(expression) > 2000:
                raise invalid("Placement constraint expression longer than 2000.")
            hosts = [host for host in hosts if _satisfies(state, host, expression)]
    if not hosts:
        return None, ("", "MemberOf placement constraint unsatisfied.")
    reasons = {host.arn: refusal(state, host, order) for host in hosts}
    able = [host for host in hosts if reasons[host.arn] is None]
    if able:
        return state.life.choice(able), ("", "")
    return None, (hosts[0].arn, reasons[hosts[0].arn] or "")


def stop_task(state: State, parameters: Parameters, logged: CallLogged) -> Json:
    """desiredStatus becomes STOPPED at once; the task stops when its containers have."""
    cluster = state.cluster(parameters.text("cluster"))
    reference = parameters.needed("task", "Task Identifier is invalid")
    _, task = state.task(reference, cluster.name)
    if task is None:
        raise invalid("The referenced task was not found")
    if not task.live and not state.switches.stop_of_stopped_answers:
        raise invalid("The referenced task was not found")
    reason = (parameters.text("reason") or "Task stopped by user")[:1024]
    if ask_to_stop(state, task, code="UserInitiated", reason=reason):
        logged.stopped = task.arn
    return {"task": state.task_document(task)}


def list_tasks(state: State, parameters: Parameters) -> Json:
    """ARNs of tasks with the given desiredStatus, RUNNING when none is given."""
    cluster = state.cluster(parameters.text("cluster"))
    desired = parameters.choice("desiredStatus", ("RUNNING", "PENDING", "STOPPED"))
    starter = parameters.text("startedBy")
    host = parameters.text("containerInstance")
    family, service = parameters.text("family"), parameters.text("serviceName")
    launch_type = parameters.text("launchType")
    others = [host, family, service, launch_type]
    if starter is not None:
        alone = state.switches.started_by_alone and desired == "STOPPED"
        if alone or any(other is not None for other in others):
            raise invalid("cannot specify startedBy with other arguments")
        if len(starter) > 128:
            raise invalid("startedBy longer than 128.")
    if family is not None and service is not None:
        raise invalid("cannot specify family and serviceName together")
    pool = state.tasks_in.get(cluster.name, [])
    if starter is not None:
        pool = state.tasks_by.get((cluster.name, starter), [])
    elif host is not None:
        pool = state.tasks_of.get(state.host(host, cluster.name)[0], [])

    def shown(arn: str) -> bool:
        task = state.tasks[arn]
        return (
            task.desired_status == (desired or "RUNNING")
            and task.last_status != "DELETED"
            and family in (None, task.family)
            and (service is None or task.group == f"service:{service.rsplit('/', 1)[-1]}")
            and launch_type in (None, task.launch_type)
            and state.task_shown(task, listing=True)
        )

    found, token = page(
        parameters,
        pool,
        scope=f"ListTasks {cluster.name} {desired} {starter} {others}",
        random=state.sight,
        faults=state.faults,
        shown=shown,
    )
    answer: Json = {"taskArns": found}
    if token is not None:
        answer["nextToken"] = token
    return answer


def describe_tasks(state: State, parameters: Parameters) -> Json:
    """Up to 100 tasks; those unknown, expired or not yet visible are MISSING."""
    cluster = state.cluster(parameters.text("cluster"))
    references = parameters.texts("tasks", most=100)
    if not references:
        raise invalid("Tasks cannot be empty.")
    with_tags = "TAGS" in parameters.texts("include")
    found: list[Json] = []
    failures: list[Json] = []
    for reference in dict.fromkeys(references):
        if not reference.startswith("arn:") and len(reference) > 36:
            raise invalid("taskId longer than 36.")
        arn, task = state.task(reference, cluster.name)
        if task is None or not state.task_shown(task, listing=False):
            failures.append({"arn": arn, "reason": "MISSING"})
        else:
            found.append(state.task_document(task, with_tags=with_tags))
    return {"tasks": found, "failures": failures}
