"""What a list or a stream is asked for: which tasks and hosts fit. Pure.

Every filter may stand with every other; what is shown satisfies all. Statuses and the like compare
without regard to case, names and ARNs exactly.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from blox.base.errors import InvalidInput
from blox.base.ids import family_of, is_definition_reference, parse_arn, short_id
from blox.clusterstate.entity import Entity
from blox.clusterstate.merge import Evidence, merge_host
from blox.ecs.model import LIFECYCLE, Host, HostDocument
from blox.ecs.selector import Selector
from blox.ecs.wire import without_nulls

TASK_STATUSES: Final = LIFECYCLE
INSTANCE_STATUSES: Final = (
    "REGISTERING",
    "REGISTRATION_FAILED",
    "ACTIVE",
    "DRAINING",
    "DEREGISTERING",
    "INACTIVE",
)
"""https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerInstance.html"""
DESIRED_STATUSES: Final = ("PENDING", "RUNNING", "STOPPED")
LAUNCH_TYPES: Final = ("EC2", "FARGATE", "EXTERNAL", "MANAGED_INSTANCES")
HEALTHS: Final = ("HEALTHY", "UNHEALTHY", "UNKNOWN")

Words = frozenset[str]
"""In upper case."""


class Machine(Struct, frozen=True):
    """A host as expressions of the cluster query language see it."""

    host: Host
    groups: tuple[str, ...]
    """Of the tasks that run there."""


FindsMachine = Callable[[str, str], Machine | None]
"""From a cluster's and a container instance's ARN; None: nothing is known of it."""


class TaskFilter(Struct, frozen=True, kw_only=True):
    """Which tasks are asked for. None: whatever it is."""

    statuses: Words | None = None
    desired: Words | None = None
    started_by: str | None = None
    group: str | None = None
    family: str | None = None
    definition: str | None = None
    """An ARN, family:revision, or a family."""
    launch_types: Words | None = None
    healths: Words | None = None
    instances: frozenset[str] | None = None
    """ARNs or ids of container instances."""
    selector: Selector | None = None
    """About the host that it runs on: what runs on none fits no expression."""

    @property
    def everything(self) -> bool:
        """Whether every task fits."""
        return self == TaskFilter()

    def fits(self, entity: Entity, machine: FindsMachine) -> bool:
        """Whether this task is asked for."""
        return (
            _is_one_of(entity, "lastStatus", self.statuses)
            and _is_one_of(entity, "desiredStatus", self.desired)
            and _equals(entity, "startedBy", self.started_by)
            and _equals(entity, "group", self.group)
            and (self.family is None or family_of(entity.text("taskDefinitionArn")) == self.family)
            and (
                self.definition is None or _runs(entity.text("taskDefinitionArn"), self.definition)
            )
            and _is_one_of(entity, "launchType", self.launch_types)
            and _is_one_of(entity, "healthStatus", self.healths)
            and (self.instances is None or _is_on(entity, self.instances))
            and _selected(entity, entity.text("containerInstanceArn"), self.selector, machine)
        )


class InstanceFilter(Struct, frozen=True, kw_only=True):
    """Which hosts are asked for. None: whatever it is."""

    statuses: Words | None = None
    instances: frozenset[str] | None = None
    """ARNs of container instances."""
    connected: bool | None = None
    capacity_provider: str | None = None
    selector: Selector | None = None

    @property
    def everything(self) -> bool:
        """Whether every host fits."""
        return self == InstanceFilter()

    def fits(self, entity: Entity, machine: FindsMachine) -> bool:
        """Whether this host is asked for."""
        return (
            _is_one_of(entity, "status", self.statuses)
            and (self.instances is None or entity.key in self.instances)
            and (
                self.connected is None
                or (entity.whole.get("agentConnected") == b"true") == self.connected
            )
            and _equals(entity, "capacityProviderName", self.capacity_provider)
            and _selected(entity, entity.key, self.selector, machine)
        )


Filter = TaskFilter | InstanceFilter


def upper(word: str) -> str:
    """A word in upper case; as it is where it has other letters than ASCII's, of which some
    become ASCII's: the i without a dot would be an I."""
    return word.upper() if word.isascii() else word


def words(
    text: str | None,
    known: Sequence[str],
    *,
    name: str,
    told: Callable[[], Container[str]] = frozenset,
) -> Words | None:
    """The words of a parameter, which commas part. Raises InvalidInput for an unknown one: that is
    neither `known` nor `told` now by ECS of anything."""
    if text is None:
        return None
    found = [upper(word.strip()) for word in text.split(",")]
    for word in found:
        if word not in known and word not in told():
            raise InvalidInput(
                f"The query parameter {name!r} has {word!r}; known are: {', '.join(known)}."
            )
    return frozenset(found)


def definition(text: str | None) -> str | None:
    """A task definition as it may be asked for. Raises InvalidInput for what is none."""
    if text is not None and not is_definition_reference(text):
        raise InvalidInput(
            f"{text!r} is no task definition: FAMILY, FAMILY:REVISION or an ARN is needed."
        )
    return text


def instances_named(reference: str, hosts: Iterable[Entity]) -> frozenset[str]:
    """The ARNs of the hosts that are called so: by their ARN, their id or their machine's id. One
    that is not known is looked for as it stands: tasks may name it, of a host that is listed a
    little later, or has left."""
    found = frozenset(host.key for host in hosts if is_called(host, reference))
    return found or frozenset({reference} - {""})


def is_called(entity: Entity, reference: str) -> bool:
    """Whether a task or host is called so: by its ARN, the last part of it, or, a host, by its
    machine's id (i-… or mi-…)."""
    return (
        reference in (entity.key, short_id(entity.key))
        or entity.text("ec2InstanceId") == reference != ""
    )


def host_of(entity: Entity) -> Host | None:
    """The record of a host that the view does not have, because it is INACTIVE; None when what is
    known of it makes none."""
    try:
        members: object = msgspec.json.decode(entity.whole.json())
        document = msgspec.convert(without_nulls(members), HostDocument)
    except (ValueError, RecursionError):
        return None
    return merge_host(None, document, Evidence(cluster_arn=entity.cluster_arn, received=0.0)).host


def _is_one_of(entity: Entity, member: str, wanted: Words | None) -> bool:
    return wanted is None or entity.text(member).upper() in wanted


def _is_on(task: Entity, instances: frozenset[str]) -> bool:
    arn = task.text("containerInstanceArn")
    return arn != "" and (arn in instances or short_id(arn) in instances)


def _equals(entity: Entity, member: str, wanted: str | None) -> bool:
    return wanted is None or entity.text(member) == wanted


def _runs(arn: str, wanted: str) -> bool:
    """Whether a task of this task definition is of the wanted one, however that is named."""
    if arn == wanted:
        return True
    if parse_arn(wanted) is not None:
        return False
    return (short_id(arn) if ":" in wanted else family_of(arn)) == wanted


def _selected(entity: Entity, arn: str, selector: Selector | None, machine: FindsMachine) -> bool:
    if selector is None:
        return True
    found = machine(entity.cluster_arn, arn) if arn else None
    return found is not None and selector.matches(found.host, groups=found.groups)
