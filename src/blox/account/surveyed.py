"""What a survey of one cluster found: hosts, tasks, services, all as ECS showed them once.

Times are seconds since 1970-01-01 UTC by ECS's clock unless a name says otherwise.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from blox.ecs.model import (
    CapacityProviderDocument,
    ClusterDocument,
    Host,
    ServiceDocument,
    Task,
    TaskDefinition,
    family_of_task,
)
from blox.ecs.seen import HostSeen
from blox.scheduler.eligibility import HostCondition, condition

SERVICE_GROUP: Final = "service:"
"""What the `group` of a service's task begins with; its name follows.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html"""
DAEMON: Final = "DAEMON"


class RunImage(Struct, frozen=True, gc=False):
    """The image of one container: what the definition asks for, and what was pulled."""

    image: str
    digest: str
    """"" when ECS does not tell."""


class SurveyedTask(Struct, frozen=True, kw_only=True, gc=False):
    """A task and the images of its containers."""

    task: Task
    images: tuple[RunImage, ...] = ()

    @property
    def family(self) -> str:
        """Of its task definition."""
        return family_of_task(self.task)

    @property
    def service(self) -> str:
        """The name of the service that it belongs to; "" for none."""
        group = self.task.group
        return group.removeprefix(SERVICE_GROUP) if group.startswith(SERVICE_GROUP) else ""


class Unread(Struct, frozen=True, kw_only=True):
    """Something that could not be read, and why."""

    operation: str
    """As ECS names it: DescribeServices."""
    sentence: str
    """What happened, for a person."""
    code: str = ""
    """ECS's error code; "" when no answer came."""
    denied: bool = False
    """The credentials are not allowed this operation."""
    items: int = 0
    """How many hosts, tasks, services … are not known therefore; 0: nobody can tell."""


class Survey(Struct, frozen=True, kw_only=True):
    """One cluster, read once."""

    cluster: ClusterDocument
    """Where DescribeClusters is denied: what was asked for, with the status ""."""
    hosts: tuple[Host, ...] = ()
    """Every host that is not INACTIVE, in ARN order."""
    superseded: Mapping[str, str] = {}
    """Older records of machines that have several → the newest one; ARNs."""
    tasks: tuple[SurveyedTask, ...] = ()
    """Live ones and those that ECS still shows after their end, in ARN order."""
    services: tuple[ServiceDocument, ...] = ()
    """In order of name."""
    providers: tuple[CapacityProviderDocument, ...] = ()
    """Of the cluster and of its hosts, in order of name."""
    definitions: Mapping[str, TaskDefinition] = {}
    """By ARN: those of DAEMON services and of families that may be daemons."""
    unread: tuple[Unread, ...] = ()
    calls: Mapping[str, int] = {}
    """Operation → how many calls were made, repeated ones included."""
    at: float = 0.0
    """When it was over."""
    took: float = 0.0
    """Seconds."""

    @property
    def cluster_arn(self) -> str:
        return self.cluster.cluster_arn

    @property
    def total_calls(self) -> int:
        return sum(self.calls.values())

    def condition(self, host: Host) -> HostCondition:
        """The state of one of the hosts. One look cannot tell for how long an agent has been
        disconnected, so none is ever AWAY or LOST."""
        seen = HostSeen(host=host, superseded_by=self.superseded.get(host.arn))
        return condition(seen, now_mono=0.0, away_after=1.0, lost_after=1.0)

    def not_read(self, operation: str) -> Unread | None:
        """Why an operation's part is missing or incomplete; None when it is all there."""
        return next((item for item in self.unread if item.operation == operation), None)
