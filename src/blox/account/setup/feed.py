"""What is made so that a scheduler hears of changes, however it is written down.

EventBridge, default bus ──rule──▶ queue ──▶ daemon-scheduler
                            │         │
              cannot deliver└────┬────┘ received, never removed
                                 ▼
                          dead-letter queue
"""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from blox.account.setup.policies import Permitted

RETENTION: Final = 3_600
"""Seconds that the queue keeps an event. Events only save time: a scheduler that was away reads
every cluster completely when it is back, so that an older one has nothing to tell it, and a backlog
of at most an hour is read in minutes."""
DEAD_RETENTION: Final = 1_209_600
"""Seconds that the dead-letter queue keeps one: 14 days, the most there is, for people who look
after their holidays. A message's age counts from its first queue.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
"""
VISIBILITY: Final = 30
"""Seconds that a received event is hidden from other receives. It is applied to memory and removed
at once; one that could not be removed comes again then, and changes nothing."""
RECEIVES: Final = 10
"""A message that came so often and was never removed goes to the dead-letter queue. What is no
event of ECS is not among them: the scheduler removes it and shows it."""
ATTEMPTS: Final = 185
"""How often EventBridge tries to deliver one, within RETENTION: as often as it ever does.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html"""
PATTERN_LIMIT: Final = 2_048
"""Characters of a rule's pattern.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html"""
DETAIL_TYPES: Final = ("ECS Task State Change", "ECS Container Instance State Change")
"""https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_cwe_events.html"""
DEAD: Final = "-dead"
"""What the dead-letter queue's name has more than the queue's."""


class RunsOn(StrEnum):
    """Where the scheduler will run: what gets the role."""

    EC2 = "ec2"
    ECS = "ecs"
    ELSEWHERE = "elsewhere"
    """There is a role already, or there are other credentials: only the policy is made."""


class Blanks(Struct, frozen=True, kw_only=True):
    """What one kind of document has where the command line did not say."""

    partition: str
    region: str
    account: str
    cluster: str
    family: str
    roles: tuple[str, ...]
    """ARNs, or names."""


IAM_BLANKS: Final = Blanks(
    partition="aws",
    region="REGION",
    account="ACCOUNT",
    cluster="CLUSTER",
    family="FAMILY",
    roles=("TASK_ROLE", "EXECUTION_ROLE"),
)
"""A policy document has no variables: these are to be replaced by hand."""


class Template(Struct, frozen=True, kw_only=True):
    """All that a template is made from."""

    permitted: Permitted
    watched: tuple[str, ...] = ()
    """ARNs of the clusters whose events are wanted; none: of every cluster."""
    runs_on: RunsOn = RunsOn.EC2
    made_by: str
    """The command line that prints it again."""
    version: str
    """blox's."""


Pattern = Mapping[str, Sequence[str] | Mapping[str, Sequence[str]]]


def pattern(watched: Sequence[str]) -> Pattern:
    """The rule's pattern: the two kinds of event that say where a task or a host stands. Without
    the clusters where naming them would be too long: events of others change nothing."""
    return _pattern(() if too_many(watched) else watched)


def too_many(watched: Sequence[str]) -> bool:
    """Whether these clusters do not fit into a pattern."""
    return len(json.dumps(_pattern(watched), separators=(",", ":"))) > PATTERN_LIMIT


def _pattern(watched: Sequence[str]) -> Pattern:
    found: dict[str, Sequence[str] | Mapping[str, Sequence[str]]] = {
        "source": ["aws.ecs"],
        "detail-type": list(DETAIL_TYPES),
    }
    if watched:
        found["detail"] = {"clusterArn": list(watched)}
    return found


def trust(runs_on: RunsOn) -> tuple[str, str | None]:
    """Which service may take the role, and the condition key that must hold this account: it keeps
    the service from doing so on behalf of somebody else's.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
    """
    if runs_on is RunsOn.ECS:
        return "ecs-tasks.amazonaws.com", "aws:SourceAccount"
    return "ec2.amazonaws.com", None


def heading(template: Template) -> tuple[str, ...]:
    """The first lines of every template."""
    permitted = template.permitted
    mode = "a scheduler that starts and stops daemons"
    if permitted.observe:
        mode = "a scheduler that only observes"
    if permitted.state:
        mode = "a service that only reads"
    return (
        f"What a {permitted.service} of blox {template.version} needs in one account and region: a "
        "queue of",
        f"ECS's events, and a policy for {mode}. Printed by",
        f"  {template.made_by}",
        "Not tried on a real account so far.",
    )


QUEUE_WHY: Final = (
    "Events only save time: a scheduler that was away reads every cluster completely when it is",
    "back. An hour of them is enough.",
)
DEAD_WHY: Final = (
    "What could not be delivered, or was received ten times and never removed. Empty, when all is",
    "well; its attributes and the scheduler's log say why it is not.",
)
RULE_WHY: Final = ("Where tasks and hosts of ECS stand, from the account's default event bus.",)
DELIVERY_WHY: Final = ("That rule alone may send to the queues.",)
POLICY_WHY: Final = (
    "The least that the scheduler needs. What it may not do here it says in its log and in",
    "`blox status`.",
)
