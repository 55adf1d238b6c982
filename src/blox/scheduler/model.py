"""The scheduler's nouns. Stored records carry what a restart needs; the rest is derived.

Times in stored records are seconds since 1970-01-01 UTC by ECS's clock, for people only: no
decision compares them with our clock.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal

import msgspec
from msgspec import Struct

from blox.base.ids import short_id
from blox.ecs.model import Task, TaskDefinition


class Policy(Struct, frozen=True, kw_only=True):
    """How an environment is updated and watched. Takes effect at once."""

    max_unavailable: str = "10%"
    """A number of hosts ("3") or a share of the wanted ones ("10%"), rounded up, at least 1."""
    min_healthy_seconds: float = 10.0
    """RUNNING for so long is healthy, where the definition has no health check."""
    progress_deadline: float = 600.0
    drain_deadline: float = 900.0
    beside: bool = False
    """Start also where somebody else runs this daemon already."""
    when_idle: float | None = None
    """On hosts that ECS would remove when idle: leave after nothing but daemons has run there for
    so long, and come back with the next other task. None: stay."""


class Revision(Struct, frozen=True, kw_only=True):
    """One immutable version of what an environment wants. It takes effect when it is deployed."""

    number: int
    definition: TaskDefinition
    selector: str = ""
    """Cluster query language; "" matches every host."""
    task: Mapping[str, object] = {}
    """StartTask's optional members under ECS's names."""
    digest: str = ""
    created_at: float = 0.0

    @property
    def definition_arn(self) -> str:
        return self.definition.task_definition_arn


class AdoptedContent(Struct, frozen=True, kw_only=True):
    """What adopted tasks run: never deployed by us, so not a revision."""

    digest: str
    """Equal to a revision's if the tasks count as that revision; else no revision ever has it."""
    definition: TaskDefinition


class Confirmation(Struct, frozen=True, kw_only=True):
    """Somebody has said that the stops on these hosts are meant (R24)."""

    revision: int
    hosts: tuple[str, ...]
    """Ids of the container instances."""
    until: float
    """ECS's clock."""

    @property
    def stops(self) -> int:
        """How many stops are meant."""
        return len(self.hosts)


def digest_of(definition_arn: str, task: Mapping[str, object]) -> str:
    """What tells two revisions' tasks apart: SHA-256 over the definition's ARN and the `task` block
    in canonical JSON. Hosts, markers and deployment ids are not part of it."""
    content = msgspec.json.encode(
        {"task": task, "taskDefinition": definition_arn}, order="deterministic"
    )
    return hashlib.sha256(content).hexdigest()


class Environment(Struct, frozen=True, kw_only=True):
    """What should run where. Its id never changes; its name may be used again after deletion."""

    id: str
    name: str
    cluster_arn: str
    revisions: tuple[Revision, ...]
    """Oldest first; the last is what the next deployment deploys."""
    token: str
    """Renewed by every accepted change: 0.3's deploymentToken."""
    policy: Policy = Policy()
    deployed: Mapping[str, str] = {}
    """Deployment id → digest of its revision, for every deployment that a live task may still carry
    in startedBy (R10), oldest first."""
    adopted: Mapping[str, int] = {}
    """Task id → what it runs: an index into `adopted_contents`. Tasks that others started and that
    are ours since somebody said so."""
    adopted_contents: tuple[AdoptedContent, ...] = ()
    disowned: tuple[str, ...] = ()
    """Ids of tasks that carry its deployments and that another environment has adopted."""
    adopted_until: float = 0.0
    """ECS's clock: before this moment a read may miss a task that was adopted young."""
    stops_held: bool = False
    """R24: stops wait for a person's word, also after a restart."""
    lost_past: bool = False
    """It follows one whose records are lost: a start of that one may still arrive, so none of ours
    begins until it certainly would have shown."""
    past_unread: bool = False
    """Its cluster could not be read when it was created: whether it follows such a one is not known
    before it has been."""
    ending: bool = False
    """Its tasks are being stopped; it is deleted when none is left."""
    gate: str = ""
    """A custom attribute of hosts: while a DAEMON service is being replaced, only hosts that it
    marks as ours are ours. "" when there is no such service."""
    gate_service: str = ""
    """That service's name. Until the replacement has ended, a host on which one of its tasks lives
    is occupied, whatever that task runs."""
    confirmed: Confirmation | None = None
    created_at: float = 0.0
    deleted_at: float | None = None
    """Set: a tombstone, kept while a live task carries one of its deployment ids."""

    @property
    def newest(self) -> Revision:
        return self.revisions[-1]

    @property
    def deployment_ids(self) -> tuple[str, ...]:
        return tuple(self.deployed)

    def digest_of(self, task: Task) -> str | None:
        """The digest of what the task runs, if it says that it is this environment's; whether it is
        indeed, `ownership` decides."""
        if self.adopted:
            index = self.adopted.get(short_id(task.arn))
            if index is not None:
                return self.adopted_contents[index].digest
        if self.disowned and short_id(task.arn) in self.disowned:
            return None
        return self.deployed.get(task.started_by)

    @property
    def place(self) -> str:
        """Its cluster and name: what a freeze of it says, whoever has the name."""
        return f"{self.cluster_arn}/{self.name}"

    @property
    def group(self) -> str:
        """The task group of everything it starts; decides no ownership."""
        return f"blox:{self.name}"

    def revision(self, number: int) -> Revision:
        for revision in self.revisions:
            if revision.number == number:
                return revision
        raise KeyError(number)


class DeploymentStatus(StrEnum):
    """Where a deployment is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    SUPERSEDED = "superseded"


class FailureCause(Struct, frozen=True, kw_only=True):
    """Hosts that failed a deployment for one reason."""

    code: str
    sentence: str
    hosts: tuple[str, ...]
    """ARNs."""
    count: int


class Deployment(Struct, frozen=True, kw_only=True):
    """The operation that brings a revision into existence."""

    id: str
    environment_id: str
    sequence: int
    """1 for an environment's first."""
    revision: int
    status: DeploymentStatus = DeploymentStatus.PENDING
    completed_once: bool = False
    """It had completed before it was superseded or stopped."""
    reused: int = 0
    """Daemons of an equal digest that were running already when it began."""
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    causes: tuple[FailureCause, ...] = ()

    @property
    def in_progress(self) -> bool:
        return self.status in (DeploymentStatus.PENDING, DeploymentStatus.RUNNING)


class Settled(Struct, frozen=True):
    """How one host's start ended."""

    kind: Literal["task", "failed", "absent"]
    value: str = ""
    """The task's ARN, or the failure's reason."""


class Intent(Struct, frozen=True, kw_only=True):
    """The durable record of one StartTask call, from before it is signed until V after its outcome
    is known (R1). Hosts without an entry in `settled` are open."""

    id: str
    environment_id: str
    deployment_id: str
    cluster_arn: str
    definition_arn: str
    group: str
    hosts: tuple[str, ...]
    settled: Mapping[str, Settled] = {}
    window: float = 0.0
    """W (seconds) as it was for the process that called: a successor waits no less."""
    created_at: float = 0.0
    answered_at: float | None = None
    """ECS's clock when the last host was settled."""

    @property
    def open_hosts(self) -> tuple[str, ...]:
        return tuple(host for host in self.hosts if host not in self.settled)


class Freeze(Struct, frozen=True, kw_only=True):
    """Somebody told us to start and stop nothing, there and for a while."""

    id: str
    scope: Literal["everything", "cluster", "environment"]
    target: str = ""
    """The cluster's ARN, or that and the environment's name with a slash between."""
    why: str
    until: float
    """ECS's clock."""
    created_at: float = 0.0
    unsure: bool = False
    """It was made before ECS had told its time: `until` is by this machine's clock."""


class Hold(Struct, frozen=True, kw_only=True):
    """Somebody told us to leave one host as it is for a while."""

    host_arn: str
    instance_id: str = ""
    why: str
    until: float
    """ECS's clock."""
    created_at: float = 0.0
    unsure: bool = False
    """It was made before ECS had told its time: `until` is by this machine's clock."""


class Gaps(Struct, frozen=True, kw_only=True):
    """What moving hosts one way has cost so far. Seconds by ECS's clock."""

    hosts: int = 0
    """Hosts that have arrived."""
    measured: int = 0
    """Of those, the ones of which it is known how long they had neither daemon running."""
    worst: float = 0.0
    worst_host: str = ""
    """ARN of the host with the longest gap."""
    total: float = 0.0
    twos: int = 0
    """Hosts on which ECS wanted both daemons at one time, as far as the view saw."""


class Migration(Struct, frozen=True, kw_only=True):
    """The replacement of a DAEMON service by an environment, host by host."""

    environment_id: str
    cluster_arn: str
    service: str
    """Its name."""
    attribute: str
    """The custom attribute by which hosts are moved: the environment's gate."""
    back: bool = False
    """Hosts go back to the service."""
    done: bool = False
    """The service is gone and the environment has every host; only marks are left to be removed."""
    wave: int = 1
    """Hosts that are moved at once, at most."""
    turns: Mapping[str, float] = {}
    """Host → when its turn came (ECS's clock): stored before it is marked, until it has arrived.
    At most a wave of them, and those that went away in the middle."""
    arrived: int = 0
    """Hosts that have come to where they were to go, both ways and every time."""
    there: Gaps = Gaps()
    """From the service to the environment, since it last turned that way."""
    returned: Gaps = Gaps()
    """From the environment back to the service, since it last turned that way."""
    created_at: float = 0.0

    @property
    def moved(self) -> int:
        """Hosts that have arrived at the environment."""
        return self.there.hosts

    @property
    def worst_gap(self) -> float:
        """The longest time that one moved host had neither daemon running."""
        return self.there.worst

    @property
    def total_gap(self) -> float:
        """The sum over the moved hosts."""
        return self.there.total


MOVED: Final = "ours"
LEAVING: Final = "leaving"
"""Values of a gate attribute: the host is ours; it is going back to the service."""


class SlotClass(StrEnum):
    """Where a slot is counted. Every (environment, host) pair is in exactly one."""

    CURRENT = "current"
    SETTLING = "settling"
    OUTDATED = "outdated"
    STARTING = "starting"
    IN_DOUBT = "inDoubt"
    STOPPING = "stopping"
    FAILING = "failing"
    BLOCKED = "blocked"
    OCCUPIED = "occupied"
    MISSING = "missing"
    UNMATCHED = "unmatched"
    INELIGIBLE = "ineligible"
    LEAVING = "leaving"
    NOT_READY = "notReady"
    AWAY = "away"
    LOST = "lost"
    HELD = "held"
    """Somebody told us to leave the host alone."""
    YIELDED = "yielded"
    """Nothing but daemons ran there: ours left so that ECS can remove the host."""
    SUPERSEDED = "superseded"
    """Not a host; counted beside."""


WANTED = frozenset(
    {
        SlotClass.CURRENT,
        SlotClass.SETTLING,
        SlotClass.OUTDATED,
        SlotClass.STARTING,
        SlotClass.IN_DOUBT,
        SlotClass.STOPPING,
        SlotClass.FAILING,
        SlotClass.BLOCKED,
        SlotClass.OCCUPIED,
        SlotClass.MISSING,
    }
)
"""hosts = wanted + unmatched + ineligible + leaving + notReady + away + lost + held + yielded."""


class VerdictKind(StrEnum):
    """What is to be done in a slot."""

    START = "start"
    REPLACE = "replace"
    STOP = "stop"
    KEEP = "keep"
    WAIT = "wait"
    IGNORE = "ignore"
