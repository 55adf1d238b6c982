"""What `blox doctor` found out, before anybody judges it."""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from blox.account.surveyed import Survey
from blox.settings import Settings


class Trouble(Struct, frozen=True, kw_only=True):
    """Something that could not be found out, and why."""

    action: str
    """What was asked, as IAM names it: `sqs:GetQueueAttributes`."""
    sentence: str
    code: str = ""
    """The service's error code; "" when no answer came."""
    denied: bool = False
    """The credentials are not allowed to ask."""


class Caller(Struct, frozen=True, kw_only=True):
    """Who the credentials belong to, as STS tells it."""

    account: str
    arn: str


class Verdict(StrEnum):
    """Whether a call is allowed."""

    ALLOWED = "allowed"
    PARTLY = "partly"
    """For some of what was asked about."""
    DENIED = "denied"
    UNKNOWN = "not known"


class How(StrEnum):
    """How a verdict came about."""

    TRIED = "tried"
    """The call was made."""
    IAM = "asked of IAM"
    NOWHERE = "tried on nothing"
    """The call was made for a task or host that cannot be."""
    NOT = "not tried"


class Permission(Struct, frozen=True, kw_only=True):
    """One action and what is known of it."""

    action: str
    verdict: Verdict
    how: How
    detail: str = ""
    """For whom or why not; "" when there is nothing to add."""
    denied_on: tuple[str, ...] = ()
    """Resources for which it is denied."""


ABSENT: Final = frozenset({"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"})
"""SQS's codes for a queue that is not there, or hidden from who asks."""


class TargetFacts(Struct, frozen=True, kw_only=True):
    """The queue as a target of a rule.
    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_Target.html"""

    transformed: bool = False
    """The rule sends something else than the event as it is."""
    role: str = ""
    dead_letters: str = ""
    """The ARN of the queue for events that could not be delivered; "" when there is none."""


class RuleFacts(Struct, frozen=True, kw_only=True):
    """A rule that has the queue as a target. A part that could not be read is a Trouble."""

    name: str
    arn: str = ""
    enabled: bool = False
    pattern: str = ""
    """The event pattern, JSON; "" for a rule that goes by a schedule."""
    target: TargetFacts | Trouble | None = None
    """None: ListTargetsByRule does not show the queue any more."""
    trouble: Trouble | None = None
    """Why the rule itself could not be read."""


class QueueFacts(Struct, frozen=True, kw_only=True):
    """An SQS queue that exists.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
    """

    name: str
    url: str
    arn: str = ""
    waiting: int | None = None
    """About how many messages wait; None when that could not be asked."""
    in_flight: int = 0
    """About how many somebody has received and not yet removed."""
    retention: float = 345_600.0
    """Seconds that a message is kept."""
    fifo: bool = False
    policy: str = ""
    """Its resource policy, JSON; "" for none."""
    redrive_to: str = ""
    """The ARN of its dead-letter queue."""
    redrive_after: int = 0
    """Receives after which a message goes there."""
    dead: "int | Trouble | None" = None
    """About how many messages lie in the dead-letter queue."""
    rules: "tuple[RuleFacts, ...] | Trouble" = ()
    permissions: tuple[Permission, ...] = ()
    troubles: tuple[Trouble, ...] = ()


class ClusterFacts(Struct, frozen=True, kw_only=True):
    """One cluster; `survey` or `trouble` is there."""

    name: str
    arn: str = ""
    survey: Survey | None = None
    trouble: Trouble | None = None
    permissions: tuple[Permission, ...] = ()


class Signatures(Struct, frozen=True, kw_only=True):
    """What trying old signatures showed."""

    stands: bool
    """ECS refuses signatures of the age that blox assumes."""
    sentence: str


class Facts(Struct, frozen=True, kw_only=True):
    """Everything, for one account and region."""

    region: str
    partition: str
    elsewhere: tuple[str, ...] = ()
    """`ecs at http://… (AWS_ENDPOINT_URL)` for each endpoint that is not AWS's own."""
    caller: Caller | Trouble | None = None
    principal: str = ""
    """The ARN that IAM was asked about; "" when it was not."""
    principal_given: bool = False
    """Somebody named the principal: its permissions are judged, not the caller's."""
    iam: Trouble | None = None
    """Why IAM could not say what is allowed."""
    state_service: bool = False
    """Judge for a cluster-state-service, which only reads."""
    tried_writes: bool = False
    """Acting calls were tried on nothing."""
    clock_behind: float | None = None
    """Seconds by which ECS's clock is ahead of this machine's; None when ECS told no time."""
    unreachable: Trouble | None = None
    """ECS could not be asked anything at all."""
    signatures: Signatures | None = None
    listing: Trouble | None = None
    """Why the clusters could not be listed."""
    clusters: tuple[ClusterFacts, ...] = ()
    queue_asked: str = ""
    """The queue's name or URL as it was given; "" when none was."""
    queue: QueueFacts | Trouble | None = None
    seen: int = 0
    """Assumptions about ECS that somebody has seen on a real account."""
    assumptions: int = 0
    settings: Settings
