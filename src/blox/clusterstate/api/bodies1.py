"""What /v1 shows: the shapes of 0.3's contract, with its spelling. Pure."""

from msgspec import UNSET, Struct, UnsetType, field


class Shape(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all of them. What is not known is left out, unless the contract requires it."""


class Metadata(Shape, frozen=True, kw_only=True):
    """Of one entity, not from ECS."""

    entity_version: str
    """Grows with every change of anything; a stream goes on from it."""


class ContainerInstanceAttribute(Shape, frozen=True, kw_only=True):
    """An attribute of a host."""

    name: str
    value: str
    """"" when it has none."""


class ContainerInstanceResource(Shape, frozen=True, kw_only=True):
    """CPU, memory or the ports that are taken."""

    name: str
    type: str
    value: str
    """A number, or the members of a set with commas between them."""


class ContainerInstanceVersionInfo(Shape, frozen=True, kw_only=True):
    """The versions of a host's agent and Docker."""

    agent_hash: str | UnsetType = UNSET
    agent_version: str | UnsetType = UNSET
    docker_version: str | UnsetType = UNSET


class ContainerInstanceDetail(Shape, frozen=True, kw_only=True):
    """A host."""

    agent_connected: bool
    agent_update_status: str | UnsetType = UNSET
    attributes: tuple[ContainerInstanceAttribute, ...] | UnsetType = UNSET
    cluster_arn: str = field(name="clusterARN")
    container_instance_arn: str = field(name="containerInstanceARN")
    ec2_instance_id: str | UnsetType = field(name="EC2InstanceID", default=UNSET)
    registered_resources: tuple[ContainerInstanceResource, ...]
    remaining_resources: tuple[ContainerInstanceResource, ...]
    status: str
    version_info: ContainerInstanceVersionInfo


class ContainerInstance(Shape, frozen=True, kw_only=True):
    """A host and its version."""

    metadata: Metadata
    entity: ContainerInstanceDetail


class ContainerInstances(Shape, frozen=True, kw_only=True):
    """List of container instances"""

    items: tuple[ContainerInstance, ...]


class TaskNetworkBinding(Shape, frozen=True, kw_only=True):
    """A port of a container on its host."""

    bind_ip: str = field(name="bindIP")
    container_port: int
    host_port: int
    protocol: str | UnsetType = UNSET


class TaskContainer(Shape, frozen=True, kw_only=True):
    """A container of a task."""

    container_arn: str = field(name="containerARN")
    exit_code: int | UnsetType = UNSET
    last_status: str
    name: str
    network_bindings: tuple[TaskNetworkBinding, ...] | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class TaskEnvironment(Shape, frozen=True, kw_only=True):
    """An environment variable."""

    name: str
    value: str


class TaskContainerOverride(Shape, frozen=True, kw_only=True):
    """What was overridden in one container when the task was started."""

    command: tuple[str, ...] | UnsetType = UNSET
    environment: tuple[TaskEnvironment, ...] | UnsetType = UNSET
    name: str


class TaskOverride(Shape, frozen=True, kw_only=True):
    """What was overridden when the task was started."""

    container_overrides: tuple[TaskContainerOverride, ...]
    task_role_arn: str | UnsetType = UNSET


class TaskDetail(Shape, frozen=True, kw_only=True):
    """A task."""

    cluster_arn: str = field(name="clusterARN")
    container_instance_arn: str = field(name="containerInstanceARN")
    """"" for a task that runs on none: on Fargate, or not placed yet."""
    containers: tuple[TaskContainer, ...]
    created_at: str
    desired_status: str
    last_status: str
    overrides: TaskOverride
    started_at: str | UnsetType = UNSET
    started_by: str | UnsetType = UNSET
    stopped_at: str | UnsetType = UNSET
    stopped_reason: str | UnsetType = UNSET
    task_arn: str = field(name="taskARN")
    task_definition_arn: str = field(name="taskDefinitionARN")


class Task(Shape, frozen=True, kw_only=True):
    """A task and its version."""

    metadata: Metadata
    entity: TaskDetail


class Tasks(Shape, frozen=True, kw_only=True):
    """List of tasks"""

    items: tuple[Task, ...]
