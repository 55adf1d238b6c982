"""A queue of ECS's events in process: EventBridge and SQS as one adversary under virtual time.

Delivery is at least once and in any order (https://docs.aws.amazon.com/AmazonECS/latest/
developerguide/ecs_cwet_handling.html): doubled, reordered, late by seconds, hours or 14 days, lost.
What is received and not deleted comes again.
"""

import asyncio
import heapq
import json
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from blox.simulator.faults import Faults
from blox.simulator.live import LiveCloud
from blox.simulator.model import Json

DAYS_KEPT = 14.0
BATCH = 10


class Message(NamedTuple):
    """One delivery of one event."""

    id: str
    """Names this delivery, to delete it by."""
    body: bytes
    """The event's envelope, JSON."""


class Feed:
    """One queue, subscribed to a cloud's events from its creation on.

    `faults`: None follows the cloud's. `wait`: seconds that `receive` waits for a message (long
    polling). `redeliver`: seconds after which what was not deleted comes again.
    """

    def __init__(
        self,
        live: LiveCloud,
        *,
        random: Random,
        faults: Faults | None = None,
        wait: float = 20.0,
        redeliver: float = 30.0,
    ) -> None:
        self._live = live
        self._random = random
        self._faults = faults
        self._wait = wait
        self._redeliver = redeliver
        self._pending: list[tuple[float, int, bytes]] = []
        self._taken: dict[str, asyncio.TimerHandle] = {}
        self._numbers = 0
        self._arrived = asyncio.Event()
        self.silent = False
        """The queue gives nothing out while this is set; what arrives waits."""
        self.lost = 0
        """Events that were never delivered."""
        live.subscribe(self._publish)

    def _publish(self, events: list[Json]) -> None:
        for event in events:
            self.inject(json.dumps(event).encode())

    def inject(self, body: bytes) -> None:
        """An event, or anything else, enters the queue; what becomes of it is decided here."""
        faults = self._live.cloud.faults if self._faults is None else self._faults
        if faults.event_lost and self._random.random() < faults.event_lost:
            self.lost += 1
            return
        copies = 1
        if faults.event_doubled and self._random.random() < faults.event_doubled:
            copies = self._random.randint(2, 3)
        for _ in range(copies):
            self._put(self._delay(faults), body)

    def _delay(self, faults: Faults) -> float:
        if faults.event_ancient and self._random.random() < faults.event_ancient:
            return self._random.uniform(3600.0, DAYS_KEPT * 86400.0)
        if faults.event_late and self._random.random() < faults.event_late:
            return self._random.uniform(5.0, 7200.0)
        return self._random.uniform(0.05, 2.0)

    def _put(self, delay: float, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._numbers += 1
        heapq.heappush(self._pending, (loop.time() + delay, self._numbers, body))
        self._arrived.set()

    async def receive(self) -> list[Message]:
        """Up to ten messages; an empty list when none came while it waited."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._wait
        while self.silent or not self._pending or self._pending[0][0] > loop.time():
            if self.silent:
                await asyncio.sleep(1.0)
                if loop.time() < until:
                    continue
            if loop.time() >= until:
                return []
            next_at = min(until, self._pending[0][0]) if self._pending else until
            self._arrived.clear()
            try:
                async with asyncio.timeout_at(next_at):
                    await self._arrived.wait()
            except TimeoutError:
                continue
        return self._take(loop.time())

    def _take(self, now: float) -> list[Message]:
        messages: list[Message] = []
        loop = asyncio.get_running_loop()
        while self._pending and self._pending[0][0] <= now and len(messages) < BATCH:
            _, number, body = heapq.heappop(self._pending)
            self._numbers += 1
            message = Message(f"{number}/{self._numbers}", body)
            self._taken[message.id] = loop.call_later(self._redeliver, self._again, message)
            messages.append(message)
        return messages

    def _again(self, message: Message) -> None:
        del self._taken[message.id]
        self._put(0.0, message.body)

    async def delete(self, messages: Sequence[Message]) -> None:
        """Acknowledge: these deliveries do not come again."""
        for message in messages:
            timer = self._taken.pop(message.id, None)
            if timer is not None:
                timer.cancel()

    async def depth(self) -> int:
        """How many deliveries wait, those that are still on their way included."""
        return len(self._pending)

    async def close(self) -> None:
        """It goes on without whoever read it: the next one reads the same queue."""
