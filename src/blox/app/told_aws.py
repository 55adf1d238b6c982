"""What the log says of AWS, whichever service asks: where it is, who we are, what is allowed."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from blox.app.aws import Aws
from blox.app.meter import Outcome
from blox.ecs.aws import GET_CALLER_IDENTITY, Identity, identity_of
from blox.ecs.port import Lost, NotSent, Transport

IDENTITY_RETRY: Final = (5.0, 15.0, 60.0, 300.0)
"""Seconds until STS is asked again who we are."""
_NEEDED: Final = {
    "DescribeClusters": "ecs:DescribeClusters",
    "ListClusters": "ecs:ListClusters",
    "ListContainerInstances": "ecs:ListContainerInstances",
    "DescribeContainerInstances": "ecs:DescribeContainerInstances",
    "ListTasks": "ecs:ListTasks",
    "DescribeTasks": "ecs:DescribeTasks",
    "DescribeTaskDefinition": "ecs:DescribeTaskDefinition",
    "DescribeServices": "ecs:DescribeServices",
    "ListServices": "ecs:ListServices",
    "DescribeCapacityProviders": "ecs:DescribeCapacityProviders",
    "StartTask": "ecs:StartTask, and iam:PassRole on the definition's roles",
    "StopTask": "ecs:StopTask",
    "PutAttributes": "ecs:PutAttributes",
    "DeleteAttributes": "ecs:DeleteAttributes",
    "GetQueueUrl": "sqs:GetQueueUrl",
    "ReceiveMessage": "sqs:ReceiveMessage",
    "DeleteMessageBatch": "sqs:DeleteMessage",
    "GetQueueAttributes": "sqs:GetQueueAttributes",
    "ListShards": "kinesis:ListShards",
    "GetShardIterator": "kinesis:GetShardIterator",
    "GetRecords": "kinesis:GetRecords",
    "PutEvents": "events:PutEvents",
}
"""Operation → what a role must be allowed for it."""

_QUEUE_STATES: Final = {
    "GetQueueUrl": "found",
    "ReceiveMessage": "events are read",
    "ListShards": "found",
    "GetRecords": "events are read",
}

_log = structlog.get_logger("blox")


def tell_place(
    aws: Aws, *, queue: str | None, source: str = "sqs", followed: Sequence[str] = ()
) -> None:
    """Which AWS this is, and which queue is to be read. Nothing was asked of it yet. `source`: the
    service that has the queue. `followed`: cluster-state-services that are followed instead."""
    ecs = aws.endpoints["ecs"]
    _log.info("aws", region=aws.region, ecs=ecs.url, endpoint_from=ecs.source)
    if followed:
        _log.info("view", css_endpoints=list(followed), state="not asked yet")
    elif queue is None:
        _log.info("queue", state="none: changes are found by sweeps alone")
    else:
        where = {source: aws.endpoints[source].url}
        _log.info("queue", name=queue, state="not asked yet", **where)


def tell_identity(identity: Identity | None, *, why: str = "") -> None:
    """Who the credentials belong to, or why that is not known."""
    if identity is None:
        _log.info("identity unknown", why=why)
    else:
        _log.info("identity", account=identity.account, role=identity.arn)


def tell_call_news(_service: str, operation: str, outcome: Outcome, text: str) -> None:
    """An operation was answered for the first time, or its permission has changed."""
    if outcome is Outcome.DENIED:
        needed = _NEEDED.get(operation, operation)
        _log.warning("denied", operation=operation, needed=needed, answer=text)
    elif operation in _QUEUE_STATES:
        _log.info("queue", state=_QUEUE_STATES[operation])
    else:
        _log.debug("allowed", operation=operation)


async def identify(
    aws: Aws,
    transport: Callable[[], Transport],
    *,
    now: Callable[[], float],
    found: Callable[[Identity], None] = lambda _: None,
) -> None:
    """Find out who we are, for the log, and for who reads `blox status`: nothing is decided by it.
    `transport()`: a new one to STS. `now`: the time to sign with. `found()` is told it."""
    if not aws.knows_identity:
        tell_identity(None, why="ECS's endpoint is overridden and STS's is not")
        return
    sts = transport()
    attempt, last = 0, ""
    while True:
        why = ""
        try:
            answer = await sts.send("GetCallerIdentity", GET_CALLER_IDENTITY, date=now)
            identity = identity_of(answer)
            if identity is not None:
                tell_identity(identity)
                found(identity)
                await sts.close()
                return
            why = f"STS answered HTTP {answer.status}"
        except (NotSent, Lost) as error:
            why = error.cause
        if why != last:
            tell_identity(None, why=why)
        last = why
        await asyncio.sleep(IDENTITY_RETRY[min(attempt, len(IDENTITY_RETRY) - 1)])
        attempt += 1
