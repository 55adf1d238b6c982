"""From the queue into the view: several receives at once, applied before they are removed.

A message is removed only after it is in the view, so a crash in between repeats it, and repeating
changes nothing. A message that is no event of ECS can never succeed: it is kept in memory for
people to see, and removed. The queue failing is a condition with a sentence; it ends by itself.
"""

import asyncio
import re
from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol

import structlog
from msgspec import Struct

from blox.base.ambient import Clock
from blox.base.backoff import exponential
from blox.base.tasks import TaskSet
from blox.clusterstate.counters import Counters
from blox.clusterstate.source import EventSource, M, QueueUnavailable
from blox.ecs.events import HostEvent, Ignored, Misunderstood, TaskEvent, read_event

RECEIVES = 4
"""How many receives are under way at once."""
KEPT = 100
"""Rejected messages that are kept."""
KEPT_BYTES = 16_384
"""Of each one's body."""
FIRST_RETRY = 1.0
LAST_RETRY = 60.0
_KINDS = 100
"""Different reasons that are logged at most."""

_log = structlog.get_logger("blox.clusterstate")


class Rejected(Struct, frozen=True, kw_only=True):
    """A message that could not be understood or applied."""

    id: str
    reason: str
    body: bytes
    """Its first 16 kB."""
    size: int
    """Bytes of the whole body."""
    at: float
    """When, by this machine's clock, seconds since 1970-01-01 UTC."""


class Intake(Protocol):
    """What `blox.clusterstate.view.View` offers to a queue."""

    counters: Counters

    def apply(self, event: TaskEvent | HostEvent) -> str:
        """Apply one event."""
        ...

    def queue_flows(self, *, flowing: bool) -> None:
        """Whether the queue is being read."""
        ...


class Ingest(Generic[M]):
    """Feeds one view from one queue."""

    def __init__(
        self, view: Intake, source: EventSource[M], clock: Clock, *, receives: int = RECEIVES
    ) -> None:
        """`receives`: how many receives are under way at once."""
        self._view = view
        self._source = source
        self._clock = clock
        self._receives = receives
        self._rejected: deque[Rejected] = deque(maxlen=KEPT)
        self._logged: set[str] = set()
        self._unread: str | None = None
        self._undeleted: str | None = None
        self._tasks = TaskSet("ingest")

    @property
    def condition(self) -> str | None:
        """Why the queue cannot be read, or nothing be removed from it; None while both work, or
        have not been tried."""
        return self._unread or self._undeleted

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """The last messages that were rejected, oldest first."""
        return tuple(self._rejected)

    async def run(self) -> None:
        """Receive until cancelled. Raises BackgroundTaskEnded when a receiver has broken."""
        for number in range(self._receives):
            self._tasks.start(self._receive(), name=f"receive {number + 1}", eternal=True)
        await self._tasks.watch()

    async def close(self) -> None:
        """Stop receiving. What was received and not applied comes again."""
        await self._tasks.close()

    async def _receive(self) -> None:
        failures = 0
        while True:
            try:
                messages = await self._source.receive()
                self._recovered()
                if messages:
                    await self._take(messages)
                failures = 0
            except QueueUnavailable as error:
                failures += 1
                self._failed(error.message)
                await asyncio.sleep(
                    exponential(
                        failures, first=FIRST_RETRY, factor=2.0, most=LAST_RETRY, jitter=0.0
                    )
                )

    async def _take(self, messages: Sequence[M]) -> None:
        """Apply, then remove. What cannot be removed comes again when SQS shows it again."""
        for message in messages:
            self._apply(message)
        try:
            await self._source.delete(messages)
        except QueueUnavailable as error:
            self._view.counters.deletes_failed += 1
            if self._undeleted != error.message:
                _log.warning("messages not removed", reason=error.message)
            self._undeleted = error.message
        else:
            self._undeleted = None

    def _apply(self, message: M) -> None:
        try:
            event = read_event(message.body)
            if isinstance(event, Ignored):
                self._view.counters.events_ignored += 1
            else:
                self._view.apply(event)
        except Misunderstood as error:
            self._reject(message, str(error))
        except Exception as error:  # noqa: BLE001 - one message must not stop all that follow it
            _log.exception("event not applied", message=message.id)
            self._reject(message, f"could not be applied: {error!r}")

    def _reject(self, message: M, reason: str) -> None:
        self._view.counters.messages_rejected += 1
        self._rejected.append(
            Rejected(
                id=message.id,
                reason=reason,
                body=message.body[:KEPT_BYTES],
                size=len(message.body),
                at=self._clock.wall(),
            )
        )
        kind = _kind(reason)
        if kind not in self._logged and len(self._logged) < _KINDS:
            self._logged.add(kind)
            _log.warning("message rejected", message=message.id, reason=reason)

    def _failed(self, sentence: str) -> None:
        self._view.counters.queue_failures += 1
        if self._unread != sentence:
            _log.warning("queue unavailable", reason=sentence)
        self._unread = sentence
        self._view.queue_flows(flowing=False)

    def _recovered(self) -> None:
        if self._unread is not None:
            _log.info("queue available again")
        self._unread = None
        self._view.queue_flows(flowing=True)


def _kind(reason: str) -> str:
    """A reason without what differs from message to message."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|arn:\S+|\d+", "…", reason)
