"""The bodies of /v2: what requests may say, and what answers say. JSON names are in camel case."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from blox.http.shapes import AnswerBody, AskedBody, Json, PageBody
from blox.scheduler.api.bodies_orders import FreezeBody, MigrationBody
from blox.scheduler.model import DeploymentStatus, SlotClass, VerdictKind

# --- Requests -------------------------------------------------------------------------------------


class PolicyWish(AskedBody, frozen=True, kw_only=True):
    """How an environment is updated and watched. Left out: as it is; null: the default."""

    max_unavailable: str | int | UnsetType | None = UNSET
    """A number of hosts, or a share of the wanted ones as in "10%", rounded up, at least 1."""
    min_healthy_seconds: float | UnsetType | None = UNSET
    progress_deadline: float | UnsetType | None = UNSET
    drain_deadline: float | UnsetType | None = UNSET
    beside: bool | UnsetType | None = UNSET
    """Start also on hosts where somebody else runs this daemon."""
    when_idle: float | UnsetType | None = UNSET
    """On hosts that ECS would remove when idle: leave after nothing but daemons has run there for
    so many seconds. null: stay."""


class NewEnvironment(AskedBody, frozen=True, kw_only=True):
    """What should run where."""

    name: str
    cluster: str
    """A name or an ARN."""
    task_definition: str
    """`family`, `family:revision` or an ARN; pinned to a revision now."""
    selector: str = ""
    """In ECS's cluster query language; "" matches every host."""
    task: Mapping[str, Json] = {}
    """StartTask's optional members under ECS's names."""
    policy: PolicyWish = PolicyWish()
    existing: Literal["adopt", "stop", "beside", "wait"] | UnsetType | None = UNSET
    """What to do about hosts that run this daemon already. `adopt`: those tasks become ours as they
    are. `stop`: they become ours, and the first deployment replaces them. `beside`: ours runs
    beside them. `wait`: nothing runs there until they have gone. Left out or null: asked for, with
    a 409, if there are any."""
    accept_no_scale_in: bool = False
    """Daemons may keep idle hosts from being removed. Without it, and without `policy.whenIdle`,
    this is asked for, with a 409, where it would happen."""


class EnvironmentPatch(AskedBody, frozen=True, kw_only=True):
    """A merge patch (RFC 7396): what is left out stays, null takes away."""

    task_definition: str | UnsetType = UNSET
    selector: str | UnsetType | None = UNSET
    task: Mapping[str, Json] | UnsetType | None = UNSET
    policy: PolicyWish | UnsetType | None = UNSET


# --- Answers --------------------------------------------------------------------------------------


class RevisionBody(AnswerBody, frozen=True, kw_only=True):
    """One immutable version of an environment's content."""

    number: int
    task_definition: str
    selector: str
    task: Mapping[str, Json]
    digest: str
    """SHA-256 of the task definition's ARN and `task`: equal digests restart nothing."""
    created_at: datetime


class PolicyBody(AnswerBody, frozen=True, kw_only=True):
    """How an environment is updated and watched. Seconds."""

    max_unavailable: str
    min_healthy_seconds: float
    progress_deadline: float
    drain_deadline: float
    beside: bool
    """It starts also on hosts where somebody else runs this daemon."""
    when_idle: float | None
    """It leaves hosts that ECS would remove, after so long; null: it stays."""


class Counters(AnswerBody, frozen=True, kw_only=True):
    """hosts = wanted + unmatched + ineligible + leaving + notReady + away + lost + held + yielded,
    and wanted = current + settling + outdated + starting + inDoubt + stopping + failing + blocked +
    occupied + missing."""

    hosts: int
    wanted: int
    unmatched: int
    ineligible: int
    leaving: int
    not_ready: int
    away: int
    lost: int
    held: int
    yielded: int
    current: int
    settling: int
    outdated: int
    starting: int
    in_doubt: int
    stopping: int
    failing: int
    blocked: int
    occupied: int
    missing: int
    superseded: int
    """Older records of machines that registered anew: not hosts, counted beside."""
    unavailable: int
    """Wanted hosts without exactly one healthy daemon of ours, whatever its revision."""


class ProblemBody(AnswerBody, frozen=True, kw_only=True):
    """One cause for being unhealthy."""

    code: str
    sentence: str
    who: str
    """Who acts next: blox, ECS or you."""
    next_step: str
    count: int
    """Hosts concerned; 0: all of it."""
    request_id: str
    """ECS's, to find the call in CloudTrail; "" when there is none."""
    since: datetime | None
    """For how long it has been so at the worst host, as far as this process knows."""


class HealthBody(AnswerBody, frozen=True, kw_only=True):
    """Unhealthy has a cause, healthy has none."""

    status: Literal["healthy", "unhealthy"]
    problems: tuple[ProblemBody, ...]


class HostName(AnswerBody, frozen=True, kw_only=True):
    """What a host is called."""

    instance_id: str
    """i-… or mi-…; "" when it is not known any more."""
    arn: str
    """Of the container instance."""


class CauseBody(AnswerBody, frozen=True, kw_only=True):
    """Hosts that are not current for one reason."""

    code: str
    sentence: str
    count: int
    hosts: tuple[HostName, ...]
    """At most 100 of them."""


class DeploymentBody(AnswerBody, frozen=True, kw_only=True):
    """The operation that brings a revision into existence."""

    id: str
    environment: str
    cluster: str
    revision: int
    task_definition: str
    status: DeploymentStatus
    completed_once: bool
    """It had completed, also if it was superseded since."""
    in_force: bool
    """It says what should run now: the newest that was not stopped."""
    reused: int
    """Daemons with equal content that ran already when it began, and were not restarted. They carry
    an older deployment's id in startedBy."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    counts: Counters | None
    """Of the one in force."""
    causes: tuple[CauseBody, ...]
    """Why it failed, as it was then."""
    waiting: tuple[CauseBody, ...]
    """Of the one in force: wanted hosts that are not current now, most first."""


class EnvironmentBody(AnswerBody, frozen=True, kw_only=True):
    """What should run where, and how that goes."""

    id: str
    name: str
    cluster: str
    cluster_arn: str
    revision: RevisionBody
    """The newest: what the next deployment deploys."""
    deployed_revision: int | None
    policy: PolicyBody
    token: str
    """Renewed by every accepted change and deployment; also the ETag."""
    created_at: datetime
    served: bool
    """False: it belongs to another account or region, and nothing is done about it here."""
    primed: bool
    """The cluster was read completely: `counts` are all of it."""
    counts: Counters
    """Before the first deployment: what it would find."""
    health: HealthBody
    deployment: DeploymentBody | None
    """The one in force, without what it waits for: ask for it by its id."""
    ending: bool
    """It is being deleted: its tasks are stopped, and it is gone when the last is on its way
    out."""
    ending_waits: str | None
    """Why it is not gone although it is ending and no task of it may be left."""
    tasks_left: int
    """While it is ending: its live tasks."""
    adopted: int
    """Its live tasks that others started."""
    stops_held: int
    """Stops of daemons that wait for somebody to confirm them, because so many hosts stopped
    matching at once."""
    frozen: FreezeBody | None
    """Why nothing is started or stopped; of several freezes, the one that lasts longest."""
    migration: MigrationBody | None
    """The replacement of a DAEMON service by this environment, while it goes on."""


class CreatedEnvironment(EnvironmentBody, frozen=True, kw_only=True):
    """A new environment, and what it begins with."""

    took_over: int
    """Live tasks that deleted environments of its name left on its cluster: they are its own."""


class DeletedEnvironment(AnswerBody, frozen=True, kw_only=True):
    """What was deleted, and what it left."""

    id: str
    name: str
    cluster: str
    tasks_left_running: int
    """Listed by /v2/orphans from now on."""
    stopping: int
    """Live tasks that are stopped first; it is gone when the last is on its way out."""


class TaskBody(AnswerBody, frozen=True, kw_only=True):
    """A task as ECS last showed it."""

    arn: str
    status: str
    desired_status: str
    definition: str
    health: str
    started_by: str


class HostBody(AnswerBody, frozen=True, kw_only=True):
    """One host as one environment sees it."""

    instance_id: str
    id: str
    """The container instance's id."""
    arn: str
    verdict: VerdictKind
    would: str | UnsetType = UNSET
    """Only while observing: `would start`, `would replace` or `would stop`."""
    slot_class: SlotClass = msgspec.field(name="class")
    reason: str
    sentence: str
    who: str
    next_step: str
    since_seconds: float
    """How long it has been in this class, as far as this process knows."""
    task: TaskBody | None
    attempts: int
    """Refused or unanswered starts in a row."""
    details: Mapping[str, str]


class StoryEntry(AnswerBody, frozen=True, kw_only=True):
    """One thing that was seen, decided, called or answered."""

    at: datetime
    what: Literal["seen", "decided", "called", "answered", "failed"]
    text: str
    details: Mapping[str, str]


class HostStory(HostBody, frozen=True, kw_only=True):
    """One host as one environment sees it, and what happened there."""

    environment: str
    cluster: str
    story: tuple[StoryEntry, ...]
    """Oldest first; the last 32 of this slot."""
    story_since: datetime
    """When this process began: it knows nothing older."""


class OrphanBody(AnswerBody, frozen=True, kw_only=True):
    """A live task of a deleted environment."""

    task: TaskBody
    instance_id: str
    host: str
    """The container instance's ARN."""
    environment: str
    environment_id: str
    cluster: str
    deleted_at: datetime


class ClusterBody(AnswerBody, frozen=True, kw_only=True):
    """A watched cluster, and how well it is known."""

    name: str
    arn: str
    status: str
    primed: bool
    """It was read completely at least once: nothing is started or stopped before."""
    age_seconds: float | None
    """Since the last complete sweep began; None before the first."""
    read_error: str | None
    hosts: int
    environments: int


class AssumptionsBody(AnswerBody, frozen=True, kw_only=True):
    """What must hold of ECS for "never two" to hold. Seconds."""

    signature_age: float
    acceptance_lag: float
    read_lag: float
    backdate: float
    doubt_window: float
    """A start without an answer is in doubt for at most so long, if nothing is seen of it."""
    checked: bool
    """ECS was seen to refuse old signatures, or not to; nothing is started before."""


class EnvironmentsCounted(AnswerBody, frozen=True, kw_only=True):
    """total = healthy + unhealthy."""

    total: int
    healthy: int
    unhealthy: int


class CoverageBody(AnswerBody, frozen=True, kw_only=True):
    """Of all environments that are deployed and served here."""

    wanted: int
    """Hosts that should run a daemon, counted once for each environment."""
    available: int
    """Of those, with exactly one healthy daemon of ours, whatever its revision."""


class StatusBody(AnswerBody, frozen=True, kw_only=True):
    """How this process does."""

    version: str
    now: datetime
    """ECS's clock, which all times here follow."""
    began_at: datetime
    mode: Literal["acting", "observing"]
    domain: str | None
    """`account/region`, by ECS, before it has said so by the credentials; None until known."""
    holding: str | None
    """Why nothing at all is started at the moment."""
    clusters: tuple[ClusterBody, ...]
    environments: EnvironmentsCounted
    assumptions: AssumptionsBody
    conditions: tuple[ProblemBody, ...]
    notes: tuple[str, ...]
    doubles_seen: int
    """Slots found with more daemons than allowed, since this process began."""
    starts_in_doubt: int
    rejected_messages: int
    coverage: CoverageBody
    freezes: tuple[FreezeBody, ...]
    """Those in force, oldest first."""
    holds: int
    """Hosts that are held."""
    orphans: int
    """Live tasks of deleted environments."""


# --- Pages ----------------------------------------------------------------------------------------


class EnvironmentsPage(PageBody, frozen=True, kw_only=True):
    """Environments by cluster, then name."""

    items: tuple[EnvironmentBody, ...]


class DeploymentsPage(PageBody, frozen=True, kw_only=True):
    """Deployments, newest first."""

    items: tuple[DeploymentBody, ...]


class HostsPage(PageBody, frozen=True, kw_only=True):
    """Hosts by ARN."""

    items: tuple[HostBody, ...]


class OrphansPage(PageBody, frozen=True, kw_only=True):
    """Orphans by ARN."""

    items: tuple[OrphanBody, ...]


class EncodedPage(PageBody, frozen=True, kw_only=True):
    """A page of items that are encoded already."""

    items: tuple[msgspec.Raw, ...]
