"""ECS's nouns: what ECS says (documents) and what we remember of it (records).

A *document* is one source's account of a task or host. Fields that the source did not carry are
UNSET, so that merging can tell "unknown" from "empty" (events carry no health, tags or counts:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html).
A *record* is our merged copy, lean, because there is one for every task of every cluster.

Times are seconds since 1970-01-01 UTC by ECS's clock. Statuses are plain strings: ECS adds new
ones, and an unknown status counts as live.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import UNSET, Struct, UnsetType, field

RUNNING: Final = "RUNNING"
STOPPED: Final = "STOPPED"
ACTIVE: Final = "ACTIVE"
DRAINING: Final = "DRAINING"
INACTIVE: Final = "INACTIVE"

MARKER: Final = "BLOX_INTENT"
"""The environment variable in which a task carries the id of the intent that started it."""

WHOLE: Final = " whole"
"""No member of ECS's JSON has this name, so that nothing from outside can fill the field."""

LIFECYCLE: Final = (
    "PROVISIONING",
    "PENDING",
    "ACTIVATING",
    "RUNNING",
    "DEACTIVATING",
    "STOPPING",
    "DEPROVISIONING",
    "STOPPED",
    "DELETED",
)
"""A task's lastStatus only moves forward through these (statuses may be skipped):
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html"""

ENDED: Final = frozenset({"STOPPED", "DELETED"})
"""The only statuses in which a task holds nothing on its host."""


# --- Documents: what one source said --------------------------------------------------------------


class Document(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of everything that ECS says in JSON: camelCase names, unknown fields ignored."""


class KeyValue(Document, frozen=True):
    name: str = ""
    value: str | None = None


class ContainerOverride(Document, frozen=True):
    name: str = ""
    environment: tuple[KeyValue, ...] | None = None


class Overrides(Document, frozen=True):
    container_overrides: tuple[ContainerOverride, ...] | None = None


class ContainerDocument(Document, frozen=True):
    name: str = ""
    image: str | None = None
    image_digest: str | None = None
    last_status: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    health_status: str | None = None


class TaskDocument(Document, frozen=True):
    """One account of one task, from an answer or (with the times converted) from an event."""

    task_arn: str
    whole: bytes | None = field(default=None, name=WHOLE)
    """The account as ECS sent it, where everything is kept; None where only the rest is."""
    cluster_arn: str | UnsetType = UNSET
    container_instance_arn: str | UnsetType | None = UNSET
    task_definition_arn: str | UnsetType = UNSET
    last_status: str | UnsetType = UNSET
    desired_status: str | UnsetType = UNSET
    started_by: str | UnsetType | None = UNSET
    group: str | UnsetType | None = UNSET
    version: int | UnsetType = UNSET
    launch_type: str | UnsetType | None = UNSET
    health_status: str | UnsetType | None = UNSET
    created_at: float | UnsetType | None = UNSET
    started_at: float | UnsetType | None = UNSET
    stopping_at: float | UnsetType | None = UNSET
    stopped_at: float | UnsetType | None = UNSET
    stop_code: str | UnsetType | None = UNSET
    stopped_reason: str | UnsetType | None = UNSET
    overrides: Overrides | UnsetType | None = UNSET
    containers: tuple[ContainerDocument, ...] | UnsetType | None = UNSET


class ResourceDocument(Document, frozen=True):
    name: str = ""
    type: str | None = None
    integer_value: int | None = None
    long_value: int | None = None
    double_value: float | None = None
    string_set_value: tuple[str, ...] | None = None


class VersionInfo(Document, frozen=True):
    agent_version: str | None = None


class HostDocument(Document, frozen=True):
    """One account of one container instance."""

    container_instance_arn: str
    whole: bytes | None = field(default=None, name=WHOLE)
    """The account as ECS sent it, where everything is kept; None where only the rest is."""
    ec2_instance_id: str | UnsetType | None = UNSET
    version: int | UnsetType = UNSET
    status: str | UnsetType = UNSET
    status_reason: str | UnsetType | None = UNSET
    agent_connected: bool | UnsetType = UNSET
    registered_at: float | UnsetType | None = UNSET
    running_tasks_count: int | UnsetType = UNSET
    pending_tasks_count: int | UnsetType = UNSET
    capacity_provider_name: str | UnsetType | None = UNSET
    attributes: tuple[KeyValue, ...] | UnsetType | None = UNSET
    remaining_resources: tuple[ResourceDocument, ...] | UnsetType | None = UNSET
    registered_resources: tuple[ResourceDocument, ...] | UnsetType | None = UNSET
    version_info: VersionInfo | UnsetType | None = UNSET


class ClusterDocument(Document, frozen=True):
    cluster_arn: str
    cluster_name: str = ""
    status: str = ACTIVE
    capacity_providers: tuple[str, ...] | None = None


class Failure(Document, frozen=True):
    """One item that a call could not serve, inside an answer of HTTP 200.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html"""

    arn: str = ""
    reason: str = ""
    detail: str | None = None


class PlacementConstraint(Document, frozen=True):
    type: str | None = None
    expression: str | None = None


class ServiceDocument(Document, frozen=True):
    """A service, reduced to what tells a DAEMON service's hosts.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Service.html"""

    service_name: str
    service_arn: str = ""
    scheduling_strategy: str = "REPLICA"
    launch_type: str = ""
    """EC2, FARGATE or EXTERNAL; "" when the service has a capacity provider strategy."""
    status: str = ACTIVE
    task_definition: str = ""
    desired_count: int = 0
    running_count: int = 0
    pending_count: int = 0
    placement_constraints: tuple[PlacementConstraint, ...] | None = None


class ManagedScaling(Document, frozen=True):
    status: str | None = None
    """ENABLED or DISABLED."""


class AutoScalingGroupProvider(Document, frozen=True):
    auto_scaling_group_arn: str = ""
    managed_scaling: ManagedScaling | None = None
    managed_termination_protection: str | None = None
    managed_draining: str | None = None


class CapacityProviderDocument(Document, frozen=True):
    """What makes hosts come and go.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CapacityProvider.html"""

    name: str
    status: str = ACTIVE
    auto_scaling_group_provider: AutoScalingGroupProvider | None = None

    @property
    def scales_in(self) -> bool:
        """Whether ECS removes idle hosts of this provider: a host on which any task runs that is
        not of a DAEMON service is never idle.
        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-termination-protection.html
        """
        group = self.auto_scaling_group_provider
        scaling = None if group is None else group.managed_scaling
        return scaling is not None and scaling.status == "ENABLED"


class PortMapping(Document, frozen=True):
    container_port: int | None = None
    host_port: int | None = None
    protocol: str | None = None


class HealthCheck(Document, frozen=True):
    command: tuple[str, ...] = ()


class LogOptions(Document, frozen=True):
    """Where the driver awslogs writes. Options of other drivers may hold secrets and are not read.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html"""

    group: str | None = field(default=None, name="awslogs-group")
    region: str | None = field(default=None, name="awslogs-region")
    stream_prefix: str | None = field(default=None, name="awslogs-stream-prefix")


class LogConfiguration(Document, frozen=True):
    log_driver: str | None = None
    options: LogOptions | None = None


class ContainerDefinition(Document, frozen=True):
    name: str
    image: str = ""
    cpu: int | None = None
    memory: int | None = None
    memory_reservation: int | None = None
    essential: bool = True
    port_mappings: tuple[PortMapping, ...] | None = None
    health_check: HealthCheck | None = None
    stop_timeout: int | None = None
    log_configuration: LogConfiguration | None = None


class RuntimePlatform(Document, frozen=True):
    cpu_architecture: str | None = None
    operating_system_family: str | None = None


class TaskDefinition(Document, frozen=True):
    """A task definition as DescribeTaskDefinition returns it, reduced to what decisions need."""

    task_definition_arn: str
    family: str = ""
    revision: int = 0
    status: str = ACTIVE
    network_mode: str | None = None
    cpu: str | None = None
    memory: str | None = None
    container_definitions: tuple[ContainerDefinition, ...] = ()
    compatibilities: tuple[str, ...] | None = None
    requires_attributes: tuple[KeyValue, ...] | None = None
    runtime_platform: RuntimePlatform | None = None
    placement_constraints: tuple[PlacementConstraint, ...] | None = None
    task_role_arn: str | None = None
    execution_role_arn: str | None = None

    @property
    def has_health_check(self) -> bool:
        """Whether an essential container has a health check, so that RUNNING is not enough."""
        return any(c.essential and c.health_check is not None for c in self.container_definitions)


# --- Records: what we remember --------------------------------------------------------------------


class Task(Struct, frozen=True, kw_only=True, gc=False):
    """Our merged copy of one task."""

    arn: str
    cluster_arn: str
    host_arn: str = ""
    """The container instance's ARN; empty for tasks without one (Fargate, PROVISIONING)."""
    definition_arn: str = ""
    last_status: str = "PENDING"
    desired_status: str = RUNNING
    started_by: str = ""
    group: str = ""
    version: int = 0
    """0: presumed from one of our own intents; any document overrides it."""
    health: str = "UNKNOWN"
    intent: str | None = None
    """The BLOX_INTENT that it carries; "" = overrides known and without one; None = not known."""
    created_at: float | None = None
    started_at: float | None = None
    stopping_at: float | None = None
    stopped_at: float | None = None
    stop_code: str = ""
    stopped_reason: str = ""
    exit_code: int | None = None
    """Of the first container that has one."""

    @property
    def live(self) -> bool:
        """Holds resources on its host. Unknown statuses are live."""
        return self.last_status not in ENDED

    @property
    def wanted_by_ecs(self) -> bool:
        """Live and not on its way out."""
        return self.live and self.desired_status != STOPPED


class Resources(Struct, frozen=True, kw_only=True, gc=False):
    """CPU units (1,024 = one vCPU), MiB of memory, and the ports that are TAKEN."""

    cpu: int | None = None
    memory: int | None = None
    ports_tcp: frozenset[int] = frozenset()
    ports_udp: frozenset[int] = frozenset()


class Host(Struct, frozen=True, kw_only=True):
    """Our merged copy of one container instance."""

    arn: str
    cluster_arn: str
    instance_id: str = ""
    """EC2 instance id (i-…) or, for external hosts, the managed instance id (mi-…)."""
    version: int = 0
    status: str = ACTIVE
    agent_connected: bool = True
    agent_version: str = ""
    registered_at: float | None = None
    capacity_provider: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Name → value; capabilities have the value "". Shared between hosts: never mutated."""
    remaining: Resources | None = None
    registered: Resources | None = None
    running_tasks_count: int | None = None

    @property
    def external(self) -> bool:
        return "ecs.capability.external" in self.attributes


def family_of_task(task: Task) -> str:
    """The family of the task definition that a task runs."""
    return task.definition_arn.rsplit("/", 1)[-1].split(":", 1)[0]
