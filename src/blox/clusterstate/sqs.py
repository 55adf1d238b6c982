"""Events from an SQS queue, over the same transport as ECS's calls.

Long polling, ten messages a call, and removal ten at a time:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
The protocol is AWS JSON 1.0 with the prefix AmazonSQS in X-Amz-Target.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from blox.clusterstate.queue_calls import MEANWHILE, QueueCalls
from blox.clusterstate.source import QueueUnavailable
from blox.ecs.errors import DENIED_CODES
from blox.ecs.port import Transport

BATCH = 10
"""Most messages that one receive or delete takes."""
WAIT = 20
"""Seconds that a receive waits for a message: the most that SQS allows."""
DELETES: Final = 16
"""Calls that remove messages, at once at most."""
_ABSENT_CODES = frozenset({"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"})


class _Denied(QueueUnavailable):
    """The permission is missing."""


class SqsMessage(Struct, frozen=True):
    """One delivery."""

    id: str
    body: bytes
    receipt: str
    """What deletes this delivery: another one of the same message has another."""


class _Shape(Struct, frozen=True, rename="pascal"):
    """Base of SQS's JSON: PascalCase names."""


class _QueueUrl(_Shape, frozen=True):
    queue_url: str


class _Received(_Shape, frozen=True):
    message_id: str
    receipt_handle: str
    body: str


class _Messages(_Shape, frozen=True):
    messages: tuple[_Received, ...] | None = None


class _NotDeleted(_Shape, frozen=True):
    id: str = ""
    code: str = ""


class _Deleted(_Shape, frozen=True):
    failed: tuple[_NotDeleted, ...] | None = None


class _Attributes(_Shape, frozen=True):
    attributes: dict[str, str] = {}


_WAITING: Final = "ApproximateNumberOfMessages"


class SqsSource:
    """One SQS queue. Nothing is asked of SQS before the first receive, and a queue that appears
    later is found then."""

    def __init__(self, queue: str, transport: Transport, *, now: Callable[[], float]) -> None:
        """`queue`: its name, in the transport's region and account, or its URL. `now`: the time to
        sign with, seconds since 1970-01-01 UTC."""
        self._queue = queue
        self._url = queue if "://" in queue else None
        self._call = QueueCalls("queue", queue, transport, now=now, refusal=self._refusal)
        self._answered = False
        self._deleting = asyncio.Semaphore(DELETES)

    async def receive(self) -> Sequence[SqsMessage]:
        """Up to ten messages, none when none came within 20 s. Nothing is waited for until SQS has
        answered once: so that it is known soon whether the queue can be read."""
        asked = {
            "QueueUrl": await self._where(),
            "MaxNumberOfMessages": BATCH,
            "WaitTimeSeconds": WAIT if self._answered else 0,
        }
        answer = await self._call("ReceiveMessage", asked, _Messages)
        self._answered = True
        return [
            SqsMessage(message.message_id, message.body.encode(), message.receipt_handle)
            for message in answer.messages or ()
        ]

    async def delete(self, messages: Sequence[SqsMessage]) -> None:
        """Remove these, ten a call, several calls at a time. Raises QueueUnavailable when some
        could not be removed; the others are."""
        batches = [messages[at : at + BATCH] for at in range(0, len(messages), BATCH)]
        ended = await asyncio.gather(*map(self._remove, batches), return_exceptions=True)
        left, cause = 0, None
        for batch, end in zip(batches, ended, strict=True):
            if isinstance(end, int):
                left += end
            elif isinstance(end, QueueUnavailable):
                left, cause = left + len(batch), end
            else:
                raise end
        if left:
            why = "" if cause is None else f" {cause.message}"
            raise QueueUnavailable(
                f"{left} of {len(messages)} messages could not be removed from the queue "
                f"{self._queue}.{why} They will come again, and change nothing then."
            )

    async def _remove(self, batch: Sequence[SqsMessage]) -> int:
        """Remove at most ten; how many are left."""
        entries = [
            {"Id": str(number), "ReceiptHandle": message.receipt}
            for number, message in enumerate(batch)
        ]
        async with self._deleting:
            asked = {"QueueUrl": await self._where(), "Entries": entries}
            answer = await self._call("DeleteMessageBatch", asked, _Deleted)
        return len(answer.failed or ())

    async def depth(self) -> int | None:
        """How many messages wait, as SQS estimates it; None where asking for it is denied.
        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
        """
        asked = {"QueueUrl": await self._where(), "AttributeNames": [_WAITING]}
        try:
            answer = await self._call("GetQueueAttributes", asked, _Attributes)
        except _Denied:
            return None
        text = answer.attributes.get(_WAITING, "")
        return int(text) if text.isascii() and text.isdigit() else None

    async def close(self) -> None:
        """Nothing goes on in the background."""

    async def _where(self) -> str:
        """The queue's URL: as given, or asked for once."""
        if self._url is None:
            asked = {"QueueName": self._queue}
            self._url = (await self._call("GetQueueUrl", asked, _QueueUrl)).queue_url
        return self._url

    def _refusal(self, code: str, message: str, _: str) -> QueueUnavailable | None:
        if code in _ABSENT_CODES:
            return QueueUnavailable(
                f"There is no queue {self._queue} in this region and account. Create it, or name "
                f"another one. {MEANWHILE}"
            )
        if code in DENIED_CODES:
            return _Denied(
                f"Reading the queue {self._queue} is denied: {message} Allow sqs:GetQueueUrl, "
                f"sqs:ReceiveMessage and sqs:DeleteMessage on it. {MEANWHILE}"
            )
        return None
