"""The scheduler's nouns. Stored records carry what a restart needs; the rest is derived.

Times in stored records are seconds since 1970-01-01 UTC by ECS's clock, for people only: no
decision compares them with our clock.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

import msgspec
from msgspec import Struct

from blox.ecs.model import TaskDefinition


class Policy(Struct, frozen=True, kw_only=True):
    """How an environment is updated and watched. Takes effect at once."""

    max_unavailable: str = "10%"
    """A number of hosts ("3") or a share of the wanted ones ("10%"), rounded up, at least 1."""
    min_healthy_seconds: float = 10.0
    """RUNNING for so long is healthy, where the definition has no health check."""
    progress_deadline: float = 600.0
    drain_deadline: float = 900.0


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
    created_at: float = 0.0
    deleted_at: float | None = None
    """Set: a tombstone, kept while a live task carries one of its deployment ids."""

    @property
    def newest(self) -> Revision:
        return self.revisions[-1]

    @property
    def deployment_ids(self) -> tuple[str, ...]:
        return tuple(self.deployed)

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
"""hosts = wanted + unmatched + ineligible + leaving + notReady + away + lost."""


class VerdictKind(StrEnum):
    """What is to be done in a slot."""

    START = "start"
    REPLACE = "replace"
    STOP = "stop"
    KEEP = "keep"
    WAIT = "wait"
    IGNORE = "ignore"
