"""What blox asks of ECS. Reads can be repeated at will; acts happen at most once.

One implementation, `blox.ecs.client.EcsClient`, serves both over a `Transport`: real HTTP
(`blox.ecs.aws`) or the simulated cloud in process (`blox.simulator.client`), so that the same
classification of outcomes runs under simulation and in production.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from blox.ecs.errors import Meaning
from blox.ecs.model import (
    CapacityProviderDocument,
    ClusterDocument,
    Failure,
    HostDocument,
    ServiceDocument,
    TaskDefinition,
    TaskDocument,
)

T = TypeVar("T")

Permit = Callable[[], str | None]
"""Asked after signing and before the first byte leaves: None to send, or why it must not be sent
(ownership lost, epoch over). R3: a pause before this check is caught by it, one after it by the age
that ECS allows a signature."""


class Read(Struct, Generic[T], frozen=True, kw_only=True):
    """An answered read. `begun` is our monotonic time just before it was sent: what it does not
    show may have come to be after that."""

    begun: float
    items: tuple[T, ...]
    failures: tuple[Failure, ...] = ()
    next_token: str | None = None
    request_id: str = ""


class StartRequest(Struct, frozen=True, kw_only=True):
    """One StartTask call, for 1 to 10 hosts.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StartTask.html"""

    cluster: str
    definition: str
    hosts: tuple[str, ...]
    started_by: str
    group: str
    intent: str
    first_container: str
    """The container whose override carries the marker."""
    options: Mapping[str, object] = {}
    """StartTask's optional members under ECS's names, from the environment's `task` block:
    networkConfiguration, overrides, enableExecuteCommand, tags, propagateTags,
    enableECSManagedTags."""


class NotDone(Struct, frozen=True, kw_only=True, tag=True):
    """Nothing happened at ECS, certainly."""

    meaning: Meaning
    """DID_NOT_HAPPEN, ENVIRONMENT, CLUSTER or BISECT; never IN_DOUBT."""
    code: str
    message: str
    request_id: str = ""
    throttled: bool = False


class InDoubt(Struct, frozen=True, kw_only=True, tag=True):
    """It may have happened, now or until the signature is too old."""

    cause: str
    signed_at: float
    """Our monotonic time of the signature."""
    request_id: str = ""


class Started(Struct, frozen=True, kw_only=True, tag=True):
    """ECS answered a StartTask: some hosts have a task, some a failure, and a host that is in
    neither list or in both is in doubt."""

    signed_at: float
    tasks: tuple[TaskDocument, ...]
    failures: tuple[Failure, ...]
    date: float
    """ECS's clock at the answer."""
    request_id: str


class Stopping(Struct, frozen=True, kw_only=True, tag=True):
    """ECS accepted a StopTask; `task` is its account of the task, or None if it sent none."""

    signed_at: float
    task: TaskDocument | None
    request_id: str


class Marked(Struct, frozen=True, kw_only=True, tag=True):
    """ECS accepted a PutAttributes or a DeleteAttributes."""

    request_id: str


StartOutcome = Started | NotDone | InDoubt
StopOutcome = Stopping | NotDone | InDoubt
MarkOutcome = Marked | NotDone | InDoubt


class EcsReads(Protocol):
    """Reads. Each may raise EcsRefused or EcsSilent. Lists return one page; only an absent
    `next_token` ends a list. Describes take at most 100 ARNs (services and capacity providers: 10).
    """

    async def describe_clusters(self, clusters: Sequence[str]) -> Read[ClusterDocument]: ...

    async def list_clusters(self, *, next_token: str | None = None) -> Read[str]:
        """ARNs of every cluster of the account in the region that is not INACTIVE."""
        ...

    async def list_hosts(self, cluster: str, *, next_token: str | None = None) -> Read[str]:
        """ARNs of every host that is not INACTIVE."""
        ...

    async def describe_hosts(self, cluster: str, hosts: Sequence[str]) -> Read[HostDocument]: ...

    async def list_tasks(
        self, cluster: str, *, desired_status: str, next_token: str | None = None
    ) -> Read[str]:
        """ARNs of the tasks with this desiredStatus, RUNNING or STOPPED."""
        ...

    async def describe_tasks(self, cluster: str, tasks: Sequence[str]) -> Read[TaskDocument]: ...

    async def describe_task_definition(self, definition: str) -> Read[TaskDefinition]: ...

    async def describe_services(
        self, cluster: str, services: Sequence[str]
    ) -> Read[ServiceDocument]: ...

    async def list_services(self, cluster: str, *, next_token: str | None = None) -> Read[str]:
        """ARNs of the cluster's services; a page is at most 100."""
        ...

    async def describe_capacity_providers(
        self, names: Sequence[str]
    ) -> Read[CapacityProviderDocument]: ...

    def now(self) -> float:
        """Our estimate of ECS's clock, seconds since 1970-01-01 UTC: the last Date header plus our
        monotonic time since (a lower bound); this machine's wall clock before the first answer."""
        ...


class EcsActs(Protocol):
    """The calls that act. They never raise and are never repeated by themselves."""

    async def start_task(self, request: StartRequest, permit: Permit) -> StartOutcome: ...

    async def stop_task(
        self, cluster: str, task: str, *, reason: str, permit: Permit
    ) -> StopOutcome: ...

    async def put_attribute(
        self, cluster: str, hosts: Sequence[str], *, name: str, value: str, permit: Permit
    ) -> MarkOutcome:
        """Give at most 10 hosts (ARNs) this custom attribute; replaces a former value. Can be
        repeated at will: doing it twice is doing it once."""
        ...

    async def delete_attribute(
        self, cluster: str, hosts: Sequence[str], *, name: str, permit: Permit
    ) -> MarkOutcome:
        """Take this custom attribute from at most 10 hosts (ARNs). Can be repeated at will."""
        ...


# --- Transport ------------------------------------------------------------------------------------


class WireAnswer(Struct, frozen=True, kw_only=True):
    """An HTTP answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    begun: float
    """Our monotonic time just before the first byte was sent."""
    signed_at: float
    signer: str = ""
    """The access key id that signed; not a secret. "" where there are no credentials."""


class NotSent(Exception):
    """Not one byte reached the transport: connecting failed, no credentials, or no permit."""

    def __init__(self, code: str, cause: str) -> None:
        super().__init__(cause)
        self.code = code
        """`permit`, `connect`, `credentials` or `tls`."""
        self.cause = cause


class Lost(Exception):
    """At least one byte was handed to the transport and no whole answer came back."""

    def __init__(self, cause: str, *, signed_at: float) -> None:
        super().__init__(cause)
        self.cause = cause
        self.signed_at = signed_at


class Transport(Protocol):
    """Sends one request once: never a retry, never a redirect followed."""

    async def send(
        self,
        operation: str,
        body: bytes,
        *,
        date: Callable[[], float],
        permit: Permit | None = None,
        fresh: bool = False,
    ) -> WireAnswer:
        """Connect, then call `date()` for the time (seconds since 1970-01-01 UTC) to sign with,
        sign, ask `permit`, and send.

        `fresh`: use a new connection or one used within the last 2 s, so that a dead one does not
        put the call in doubt.

        Raises NotSent when nothing left, Lost when something did and no whole answer came.
        """
        ...

    async def close(self) -> None: ...
