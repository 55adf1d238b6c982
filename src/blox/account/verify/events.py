"""The events of one run, read from a queue beside everything else.

Only messages about tasks of this run are removed from the queue; what else is in it comes again.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Generic

import msgspec
from msgspec import Struct

from blox.account.verify.client import Json, text
from blox.base.ambient import Clock
from blox.clusterstate.source import EventSource, M, QueueUnavailable

TASK: str = "ECS Task State Change"
HOST: str = "ECS Container Instance State Change"
_AGAIN = 2.0
"""Seconds until a queue that could not be read is asked again."""


class Event(Struct, frozen=True, kw_only=True):
    """One event, at its first delivery."""

    received: float
    """Our monotonic clock."""
    kind: str
    resource: str
    """The ARN of the task or the host."""
    detail: Json


class Events(Generic[M]):
    """What came out of the queue since `start`."""

    def __init__(self, source: EventSource[M], *, started_by: str, clock: Clock) -> None:
        self._source = source
        self._started_by = started_by
        self._clock = clock
        self._ids: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.events: list[Event] = []
        self.trouble: str | None = None
        """Why the queue cannot be read, at the last try."""

    def start(self) -> None:
        """Read until `close`."""
        self._task = asyncio.create_task(self._run(), name="verify events")

    async def close(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def of_task(self, arn: str) -> list[Event]:
        """Events about a task, in the order of their receipt."""
        return [event for event in self.events if event.kind == TASK and event.resource == arn]

    def of_host(self, arn: str, *, since: float) -> list[Event]:
        """Events about a host that were received after `since`, a time of our monotonic clock."""
        return [
            event
            for event in self.events
            if event.kind == HOST and event.resource == arn and event.received >= since
        ]

    async def changed(self, within: float) -> None:
        """Return when another event has come since the last time, or after `within` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._changed.wait()
        self._changed.clear()

    async def _run(self) -> None:
        while True:
            try:
                messages = await self._source.receive()
                ours = [message for message in messages if self._take(message)]
                if ours:
                    await self._source.delete(ours)
                self.trouble = None
            except QueueUnavailable as error:
                self.trouble = error.message
                await asyncio.sleep(_AGAIN)

    def _take(self, message: M) -> bool:
        """Keep an event; whether it is about a task of this run."""
        try:
            envelope = msgspec.json.decode(message.body)
        except (ValueError, RecursionError):
            return False
        detail = envelope.get("detail") if isinstance(envelope, dict) else None
        if not isinstance(detail, dict):
            return False
        kind = text(envelope, "detail-type")
        resource = text(detail, "taskArn" if kind == TASK else "containerInstanceArn")
        ours = kind == TASK and text(detail, "startedBy") == self._started_by
        known = text(envelope, "id")
        if (ours or kind == HOST) and known not in self._ids:
            self._ids[known] = None
            self.events.append(
                Event(received=self._clock.monotonic(), kind=kind, resource=resource, detail=detail)
            )
            self._changed.set()
        return ours


def overrides_of(event: Event, *, container: str, variable: str) -> str | None:
    """The value that a task event's overrides give a variable; None: they do not."""
    overrides = event.detail.get("overrides")
    containers: Sequence[object] = (
        overrides.get("containerOverrides") or () if isinstance(overrides, dict) else ()
    )
    for item in containers:
        if isinstance(item, dict) and item.get("name") == container:
            for pair in item.get("environment") or ():
                if isinstance(pair, dict) and pair.get("name") == variable:
                    value = pair.get("value")
                    return value if isinstance(value, str) else None
    return None
