"""The JSON of the control API: the bodies that it takes, and the truth as it shows it."""

from typing import Literal

from msgspec import Struct

from blox.simulator.model import CallLogged, HostRecord, Json, TaskRecord


class Command(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of a POST."""


class AddHosts(Command, kw_only=True):
    """`count` machines register with a cluster."""

    cluster: str
    count: int = 1
    instance_id: str | None = None
    cpu: int = 4096
    memory: int = 8192
    attributes: dict[str, str] = {}
    external: bool = False
    arch: str = "x86_64"
    zone: str | None = None
    status: str = "ACTIVE"
    capacity_provider: str = ""


class OnHosts(Command, kw_only=True):
    """Hosts by ARN, container instance id or machine id."""

    hosts: list[str]


class Terminate(OnHosts, kw_only=True):
    """Machines that go for good; with a connected agent ECS notices at once."""

    agent_connected: bool = True


class Reboot(OnHosts, kw_only=True):
    """Machines that restart and are away for so many seconds."""

    seconds: float = 60.0


class SetStatus(OnHosts, kw_only=True):
    """A status as ECS has it, but INACTIVE."""

    status: str


class Poison(OnHosts, kw_only=True):
    """Hosts for which every StartTask is refused whole."""

    on: bool = True


class OnTasks(Command, kw_only=True):
    """Tasks by name, or every live one of a family, on a host, or both."""

    tasks: list[str] = []
    family: str | None = None
    host: str | None = None


class Kill(OnTasks, kw_only=True):
    """Tasks whose essential container exits."""

    exit_code: int = 1


class Health(OnTasks, kw_only=True):
    """Tasks whose health check changes its verdict."""

    health: str = "UNHEALTHY"


class CrashLoop(Command, kw_only=True):
    """A family or host whose tasks end so many seconds after RUNNING; null: no more."""

    target: str
    seconds: float | None = 1.0


class Stall(Command, kw_only=True):
    """A family or host whose tasks stay PENDING."""

    target: str
    on: bool = True


class Deny(Command, kw_only=True):
    """An action, a pattern of actions, or `passrole:FAMILY`, that is denied or allowed again."""

    what: str
    on: bool = True


class Foreign(Command, kw_only=True):
    """Somebody else's task."""

    cluster: str
    host: str
    family: str
    service: str | None = None


class StopForeign(Command, kw_only=True):
    """A task that somebody else stops."""

    task: str
    reason: str = "Scaling activity"


class NewCluster(Command, kw_only=True):
    """A cluster by its name."""

    name: str


class NewDefinition(Command, kw_only=True):
    """One more revision of a family, with one container. MiB, CPU units, seconds."""

    family: str
    cpu: int = 64
    memory: int = 128
    host_ports: list[int] = []
    network_mode: str = "bridge"
    health_check: bool = False
    stop_timeout: int | None = None
    architecture: str | None = None


class OfService(Command, kw_only=True):
    """A service by its name."""

    cluster: str
    name: str


class NewService(OfService, kw_only=True):
    """A service; strategy REPLICA or DAEMON. Without a definition it places nothing."""

    strategy: str = "REPLICA"
    definition: str = ""
    """A family, `family:revision` or ARN."""
    constraints: list[str] = []
    """Expressions of memberOf constraints."""


class NewProvider(Command, kw_only=True):
    """A capacity provider over an Auto Scaling group of the same name."""

    name: str
    cluster: str | None = None
    managed_scaling: bool = True
    termination_protection: bool = False
    managed_draining: bool = True


class Move(Command, kw_only=True):
    """A family whose image's tag means `digest` from now on; "": something new."""

    family: str
    digest: str = ""


class SetRule(Command, kw_only=True):
    """The EventBridge rule that feeds the queues."""

    state: Literal["ENABLED", "DISABLED", "GONE"] | None = None
    pattern: dict[str, object] | None = None


class Route(Command, kw_only=True):
    """A queue that the EventBridge rule feeds."""

    queue: str


def shown_task(task: TaskRecord) -> Json:
    """A task as it truly is."""
    return {
        "taskArn": task.arn,
        "family": task.family,
        "taskDefinitionArn": task.definition,
        "host": task.host,
        "lastStatus": task.last_status,
        "desiredStatus": task.desired_status,
        "health": task.health,
        "startedBy": task.started_by,
        "group": task.group,
        "marker": task.marker,
        "createdAt": task.created_at,
        "requestId": task.request_id,
        "digests": list(task.digests),
    }


def shown_host(host: HostRecord, tasks: list[Json], *, idle: bool) -> Json:
    """A host as it truly is, with its live tasks. `idle`: managed scaling could remove it."""
    return {
        "containerInstanceArn": host.arn,
        "instanceId": host.instance_id,
        "status": host.status,
        "agentConnected": host.agent_connected,
        "alive": host.alive,
        "registeredAt": host.registered_at,
        "capacityProvider": host.provider,
        "couldScaleIn": idle,
        "tasks": tasks,
    }


def shown_call(index: int, call: CallLogged) -> Json:
    """One call that changed things, or tried to."""
    return {
        "index": index,
        "time": call.time,
        "operation": call.operation,
        "params": call.params,
        "caller": call.caller,
        "requestId": call.request_id,
        "signedAt": call.signed_at,
        "executedAt": call.executed_at,
        "outcome": call.outcome,
        "made": list(call.made),
        "failed": [list(one) for one in call.failed],
    }
