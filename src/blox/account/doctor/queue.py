"""Looking at the queue that brings events, and at the rules that feed it. Reads only: nothing is
received, because what is received is hidden from the scheduler for a while.
"""

import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from blox.account.doctor.ask import Now, asked
from blox.account.doctor.facts import ABSENT, QueueFacts, RuleFacts, TargetFacts, Trouble
from blox.ecs.port import Transport

MOST_PAGES: Final = 20


class _Pascal(Struct, frozen=True, rename="pascal"):
    """Base of what SQS and EventBridge answer."""


class _Url(_Pascal, frozen=True):
    queue_url: str = ""


class _Attributes(_Pascal, frozen=True):
    attributes: Mapping[str, str] = {}


class _Rules(_Pascal, frozen=True):
    rule_names: tuple[str, ...] = ()
    next_token: str | None = None


class _Rule(_Pascal, frozen=True):
    name: str = ""
    arn: str = ""
    state: str = ""
    event_pattern: str = ""


class _DeadLetters(_Pascal, frozen=True):
    arn: str = ""


class _Target(_Pascal, frozen=True):
    arn: str = ""
    role_arn: str = ""
    input: str | None = None
    input_path: str | None = None
    input_transformer: Mapping[str, object] | None = None
    dead_letter_config: _DeadLetters | None = None


class _Targets(_Pascal, frozen=True):
    targets: tuple[_Target, ...] = ()
    next_token: str | None = None


async def look_at_queue(
    queue: str, *, sqs: Transport, events: Transport | Trouble, now: Now
) -> QueueFacts | Trouble:
    """The queue of this name or URL. `events`: EventBridge, or why it is not asked. A Trouble when
    not even the queue's address can be told."""
    url = await _address(queue, sqs=sqs, now=now)
    if isinstance(url, Trouble):
        return url
    name = urlsplit(url).path.rsplit("/", 1)[-1] or queue
    found = await _attributes(url, sqs=sqs, now=now)
    if isinstance(found, Trouble):
        if found.code in ABSENT:
            return found
        return QueueFacts(name=name, url=url, troubles=(found,), rules=_without_arn(found))
    arn = found.get("QueueArn", "")
    target, after = _redrive(found.get("RedrivePolicy", ""))
    return QueueFacts(
        name=name,
        url=url,
        arn=arn,
        waiting=_number(found.get("ApproximateNumberOfMessages")),
        in_flight=_number(found.get("ApproximateNumberOfMessagesNotVisible")) or 0,
        retention=float(_number(found.get("MessageRetentionPeriod")) or 345_600),
        fifo=found.get("FifoQueue", "").lower() == "true",
        policy=found.get("Policy", ""),
        redrive_to=target,
        redrive_after=after,
        dead=await _dead(target, arn, sqs=sqs, now=now) if target else None,
        rules=events if isinstance(events, Trouble) else await _rules(arn, events=events, now=now),
    )


def _without_arn(trouble: Trouble) -> Trouble:
    return Trouble(
        action="events:ListRuleNamesByTarget",
        sentence=f"rules are found by the queue's ARN, which {trouble.action} would tell",
    )


async def _address(queue: str, *, sqs: Transport, now: Now) -> str | Trouble:
    if "://" in queue:
        return queue
    found = await asked(sqs, "sqs:GetQueueUrl", {"QueueName": queue}, _Url, now=now)
    return found if isinstance(found, Trouble) else found.queue_url


async def _attributes(url: str, *, sqs: Transport, now: Now) -> Mapping[str, str] | Trouble:
    question = {"QueueUrl": url, "AttributeNames": ["All"]}
    found = await asked(sqs, "sqs:GetQueueAttributes", question, _Attributes, now=now)
    return found if isinstance(found, Trouble) else found.attributes


async def _dead(arn: str, source: str, *, sqs: Transport, now: Now) -> int | Trouble:
    """About how many messages lie in the dead-letter queue, which is of the same account and
    region as its source.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
    """
    account = source.split(":")[4] if source.count(":") >= 5 else ""
    question: dict[str, object] = {"QueueName": arn.rsplit(":", 1)[-1]}
    if account:
        question["QueueOwnerAWSAccountId"] = account
    url = await asked(sqs, "sqs:GetQueueUrl", question, _Url, now=now)
    if isinstance(url, Trouble):
        return url
    found = await _attributes(url.queue_url, sqs=sqs, now=now)
    if isinstance(found, Trouble):
        return found
    return _number(found.get("ApproximateNumberOfMessages")) or 0


def _redrive(policy: str) -> tuple[str, int]:
    """The dead-letter queue's ARN and after how many receives a message goes there."""
    try:
        content = json.loads(policy) if policy else {}
    except ValueError:
        content = {}
    if not isinstance(content, dict):
        return "", 0
    return str(content.get("deadLetterTargetArn", "")), _number(content.get("maxReceiveCount")) or 0


def _number(text: object) -> int | None:
    try:
        return int(str(text))
    except ValueError:
        return None


# --- Rules ----------------------------------------------------------------------------------------


async def _rules(queue: str, *, events: Transport, now: Now) -> tuple[RuleFacts, ...] | Trouble:
    """The rules of the default bus, where ECS's events are, that have the queue as a target.
    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListRuleNamesByTarget.html"""
    names: list[str] = []
    token: str | None = None
    for _ in range(MOST_PAGES):
        question = {"TargetArn": queue, **({"NextToken": token} if token else {})}
        page = await asked(events, "events:ListRuleNamesByTarget", question, _Rules, now=now)
        if isinstance(page, Trouble):
            return page
        names += page.rule_names
        token = page.next_token
        if not token:
            break
    return tuple([await _rule(name, queue, events=events, now=now) for name in sorted(names)])


async def _rule(name: str, queue: str, *, events: Transport, now: Now) -> RuleFacts:
    rule = await asked(events, "events:DescribeRule", {"Name": name}, _Rule, now=now)
    target = await _target(name, queue, events=events, now=now)
    if isinstance(rule, Trouble):
        return RuleFacts(name=name, target=target, trouble=rule)
    return RuleFacts(
        name=name,
        arn=rule.arn,
        # ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS is on as well.
        enabled=rule.state.startswith("ENABLED"),
        pattern=rule.event_pattern,
        target=target,
    )


async def _target(
    rule: str, queue: str, *, events: Transport, now: Now
) -> TargetFacts | Trouble | None:
    token: str | None = None
    for _ in range(MOST_PAGES):
        question = {"Rule": rule, **({"NextToken": token} if token else {})}
        page = await asked(events, "events:ListTargetsByRule", question, _Targets, now=now)
        if isinstance(page, Trouble):
            return page
        for target in page.targets:
            if target.arn == queue:
                dead = target.dead_letter_config
                return TargetFacts(
                    transformed=any(
                        value is not None
                        for value in (target.input, target.input_path, target.input_transformer)
                    ),
                    role=target.role_arn,
                    dead_letters="" if dead is None else dead.arn,
                )
        token = page.next_token
        if not token:
            break
    return None
