"""What the simulated ECS remembers: the truth that its API shows only late and in part.

Records are mutable and belong to one `Cloud`; judges may read them and must not change them. Times
are seconds since 1970-01-01 UTC by ECS's clock.
"""

from dataclasses import dataclass, field
from enum import StrEnum

Json = dict[str, object]
"""A JSON object as ECS's wire carries it."""


class Fault(Exception):
    """An error answer of ECS: its code, its message and its HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


class SignatureCheck(StrEnum):
    """How the simulated ECS treats the age of a signature."""

    ENFORCED = "enforced"
    """Refused when older than S or more than S in the future."""
    TRIPLED = "tripled"
    """The same with 3 S: the assumption is broken (or S was taken too short)."""
    OFF = "off"
    """Never looked at, as emulators do."""


class RepeatedHost(StrEnum):
    """What StartTask does with one container instance named twice."""

    ONE = "one task"
    TWO = "two tasks"
    REFUSED = "the call is refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """Questions about ECS that only a real account can settle, each answered one way here.

    A correct caller keeps its promises for every answer, except for the three fields at the end,
    which break an assumption on purpose.
    """

    start_on_draining: bool = True
    """StartTask on a DRAINING host starts; else it is a failure with reason INACTIVE."""
    start_on_external: bool = True
    """StartTask on an EXTERNAL host starts; else it is a failure with reason ATTRIBUTE."""
    constraints_checked: bool = False
    """StartTask evaluates the task definition's placementConstraints (failure ATTRIBUTE)."""
    repeated_host: RepeatedHost = RepeatedHost.ONE
    events_carry_overrides: bool = True
    """Task events carry the overrides' environment, so that they show a marker."""
    attributes_bump_version: bool = False
    """PutAttributes and DeleteAttributes raise the host's version and send an event."""
    draining_bumps_version: bool = True
    """A change between ACTIVE and DRAINING raises the host's version and sends an event."""
    started_by_alone: bool = True
    """ListTasks refuses startedBy together with desiredStatus STOPPED."""
    stop_of_stopped_answers: bool = True
    """StopTask on a stopped, still visible task answers; else InvalidParameterException."""
    inactive_definition_code: str = "ClientException"
    """The code beside "TaskDefinition is inactive": ClientException, InvalidParameterException."""
    denied_status: int = 400
    """The HTTP status of AccessDeniedException: documented as 400 and as 403."""
    pending_waits_for_stopping: bool = True
    """A host's agent holds new tasks in PENDING while another task of the host is stopping."""
    backdated_refused: bool = False
    """Role credentials refuse a signature dated more than a minute back, mutations only."""
    short_arns: bool = False
    """ARNs of tasks and container instances in the old format, without the cluster."""
    signature: SignatureCheck = SignatureCheck.ENFORCED
    acceptance_overrun: float = 0.0
    """Breaks E: an accepted request may take this many seconds more than E to execute."""
    read_overrun: float = 0.0
    """Breaks V: a created task may stay invisible this many seconds longer than V."""


@dataclass(slots=True, kw_only=True)
class ClusterRecord:
    """One cluster; deleting it makes it INACTIVE, creating it again revives the same ARN."""

    name: str
    arn: str
    created_at: float
    status: str = "ACTIVE"
    tags: dict[str, str] = field(default_factory=dict)
    providers: list[str] = field(default_factory=list)
    """Names of the capacity providers that it may use."""
    strategy: list[Json] = field(default_factory=list)
    """Its default capacity provider strategy."""


@dataclass(slots=True, kw_only=True)
class ProviderRecord:
    """A capacity provider over an Auto Scaling group. The switches are ENABLED or DISABLED."""

    arn: str
    name: str
    group_arn: str
    """The Auto Scaling group's."""
    managed_scaling: str = "DISABLED"
    target_capacity: int = 100
    termination_protection: str = "DISABLED"
    managed_draining: str = "ENABLED"
    status: str = "ACTIVE"
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class DefinitionRecord:
    """One revision of a task definition; `document` is what DescribeTaskDefinition shows."""

    arn: str
    family: str
    revision: int
    document: Json
    cpu: int
    """CPU units that a task needs: the task's own value, else the containers' sum."""
    memory: int
    """MiB that a task needs: the task's own value, else the sum of reservations or limits."""
    ports_tcp: tuple[int, ...]
    """Static host ports that a task takes."""
    ports_udp: tuple[int, ...]
    requires: tuple[str, ...]
    """Names of attributes that the host must have."""
    constraints: tuple[str, ...]
    """Expressions of memberOf placement constraints."""
    stop_timeout: float
    """Seconds between SIGTERM and SIGKILL: the longest of its containers."""
    health_check: bool
    """Whether an essential container has a health check."""
    roles: tuple[str, ...]
    active: bool = True
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class ServiceRecord:
    """A service. One of strategy DAEMON that has a task definition acts: it keeps a task on every
    host (`blox.simulator.daemon_services`). Every other is only described."""

    arn: str
    name: str
    cluster: str
    """The cluster's name."""
    strategy: str
    """REPLICA or DAEMON."""
    status: str = "ACTIVE"
    """ACTIVE; DRAINING while it was deleted and still has tasks; INACTIVE."""
    tags: dict[str, str] = field(default_factory=dict)
    definition: str = ""
    """The task definition's ARN; "" for a service that is only described."""
    constraints: tuple[tuple[str, str], ...] = ()
    """(type, expression) of its placement constraints; distinctInstance has no expression."""
    desired: int = 0
    """Tasks wanted by a REPLICA service; nothing places them."""
    launch_type: str = "EC2"
    created_at: float = 0.0
    deployment: str = ""
    """The id of its newest deployment, `ecs-svc/DIGITS`: its tasks' startedBy."""
    deployed_at: float = 0.0
    request: str = ""
    """The request that created it, to tell a repetition from a conflict."""
    planned: dict[str, float] = field(default_factory=dict)
    """Host ARN → when the service scheduler looks at that host next."""

    @property
    def acts(self) -> bool:
        """Whether it places and stops tasks by itself."""
        return self.strategy == "DAEMON" and self.definition != ""

    @property
    def group(self) -> str:
        """The group of its tasks."""
        return f"service:{self.name}"


@dataclass(slots=True, kw_only=True)
class HostRecord:
    """One container instance."""

    arn: str
    cluster: str
    """The cluster's name."""
    instance_id: str
    registered_at: float
    cpu: int
    memory: int
    attributes: dict[str, str | None]
    """Name → value; capabilities have None."""
    status: str = "ACTIVE"
    agent_connected: bool = True
    alive: bool = True
    """Whether the machine itself is there: false once terminated, whatever the record says."""
    version: int = 1
    poisoned: bool = False
    """Every StartTask that names it is refused whole."""
    inactive_at: float | None = None
    custom: dict[str, None] = field(default_factory=dict)
    """Names of attributes that a user gave it, of which there may be ten."""
    tags: dict[str, str] = field(default_factory=dict)
    list_lag: float = 0.0
    """Seconds after registration from which listings may show it; at V they must."""
    describe_lag: float = 0.0
    agent_changes: int = 0
    """Counts the agent's comings and goings, so that an overtaken return does not happen."""
    flaps: bool = False
    """Whether its agent's next flap is planned."""
    provider: str = ""
    """The name of the capacity provider that it came from, or ""."""

    @property
    def external(self) -> bool:
        """Whether it is an ECS Anywhere instance."""
        return "ecs.capability.external" in self.attributes

    @property
    def inactive(self) -> bool:
        """Whether it was deregistered."""
        return self.inactive_at is not None


@dataclass(slots=True, kw_only=True)
class TaskRecord:
    """One task and its life."""

    arn: str
    cluster: str
    """The cluster's name."""
    host: str
    """The container instance's ARN."""
    definition: str
    """The task definition's ARN."""
    family: str
    created_at: float
    """When its record came to be: it counts as live from here until `stopped_at`."""
    started_by: str = ""
    group: str = ""
    marker: str = ""
    """The value of BLOX_INTENT in its overrides, or ""."""
    overrides: Json = field(default_factory=dict)
    request_id: str = ""
    """Of the call that made it; "" when a control method did."""
    launch_type: str = "EC2"
    last_status: str = "PENDING"
    desired_status: str = "RUNNING"
    health: str = "UNKNOWN"
    version: int = 1
    started_at: float | None = None
    stopping_at: float | None = None
    stopped_at: float | None = None
    execution_stopped_at: float | None = None
    stop_code: str = ""
    stopped_reason: str = ""
    exit_code: int | None = None
    cpu: int = 0
    memory: int = 0
    ports_tcp: tuple[int, ...] = ()
    ports_udp: tuple[int, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    execute_command: bool = False
    digests: tuple[str, ...] = ()
    """What each container's image resolved to when it was pulled; () before that."""
    expired: bool = False
    """Stopped for more than an hour: the API answers MISSING."""
    list_lag: float = 0.0
    """Seconds after creation from which listings may show it; at V they must."""
    describe_lag: float = 0.0
    step: int = 0
    """Counts the plans for its next change, so that an overtaken plan is not carried out."""
    held: bool = False
    """Its next change waits for the host's agent, or for another task's stop."""

    @property
    def live(self) -> bool:
        """Whether it holds its host's resources."""
        return self.stopped_at is None

    def lived(self) -> tuple[float, float | None]:
        """From when until when it was live; None: it still is."""
        return self.created_at, self.stopped_at


@dataclass(slots=True, kw_only=True)
class CallLogged:
    """One call that changes things (or tried to), as ECS saw it."""

    time: float
    """When it was accepted or refused."""
    operation: str
    params: Json
    caller: str
    request_id: str
    signed_at: float | None
    executed_at: float | None = None
    """None while it waits, and for good when it was refused before any work."""
    outcome: str = "accepted"
    """`accepted` (not executed yet), `done`, or the code of the error."""
    made: tuple[str, ...] = ()
    """ARNs of the tasks that it started."""
    stopped: str = ""
    """ARN of the task that it asked to stop and that nobody had asked before."""
    failed: tuple[tuple[str, str], ...] = ()
    """(host ARN, reason) of the hosts that it could not serve."""


@dataclass(slots=True, kw_only=True)
class Ticket:
    """A call that ECS has accepted and executes at `due`."""

    due: float
    request_id: str
    logged: CallLogged | None
    answer: Json | None = None
    fault: Fault | None = None

    @property
    def done(self) -> bool:
        """Whether it was executed."""
        return self.answer is not None or self.fault is not None

    def result(self) -> Json:
        """The answer; raises the Fault that it ended in, RuntimeError before it is done."""
        if self.fault is not None:
            raise self.fault
        if self.answer is None:
            raise RuntimeError(f"call {self.request_id} is executed at {self.due}, not before")
        return self.answer
