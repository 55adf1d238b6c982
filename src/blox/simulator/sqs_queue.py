"""One SQS standard queue: messages, visibility timeouts, retention, redelivery.

A message is in one of three places: *ready* (the next receive may take it), *hidden* (delayed, or
received and not yet deleted: in flight), or gone. Hidden messages come back when their time is
over, so a consumer that dies loses nothing and a slow one sees a message twice.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html

Times are seconds since 1970-01-01 UTC. Nothing here reads a clock: every method is told `now`.
"""

import base64
import binascii
import hashlib
import heapq
from collections.abc import Mapping
from typing import Final

from msgspec import UNSET, Struct, UnsetType, field

IN_FLIGHT_LIMIT: Final = 120_000
"""About so many messages of a standard queue can be received and not yet deleted."""
VISIBILITY_CEILING: Final = 43_200.0
"""A message stays hidden at most 12 hours after its first receive; extending does not reset it."""


class AttributeValue(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """A message attribute as a caller gave it. `binary_value` is base64 text, as on the wire."""

    data_type: str
    string_value: str | UnsetType = UNSET
    binary_value: str | UnsetType = UNSET


class Settings(Struct, kw_only=True):
    """What a queue's attributes say, with the defaults of SQS. Seconds and bytes."""

    visibility_timeout: int = 30
    message_retention_period: int = 345_600
    maximum_message_size: int = 1_048_576
    delay_seconds: int = 0
    receive_message_wait_time_seconds: int = 0
    dead_letter_arn: str = ""
    max_receive_count: int = 0
    """0: no redrive."""
    others: dict[str, str] = field(default_factory=dict)
    """Attributes that are kept and shown, and change nothing here: Policy and the like."""


class Message(Struct, kw_only=True):
    """One message and where it is."""

    id: str
    sequence: int
    body: str
    attributes: Mapping[str, AttributeValue]
    sent_at: float
    visible_at: float
    hidden: bool = False
    receives: int = 0
    first_received_at: float = 0.0
    dead_letter_source: str = ""


class BadHandle(Exception):
    """A receipt handle that this queue never gave out."""


class NotInFlight(Exception):
    """The message is deleted, expired, or visible again."""


class BeyondCeiling(Exception):
    """The message would stay hidden longer than 12 hours after its first receive."""


def digest(text: str) -> str:
    """The MD5 of a text in hexadecimal: a checksum that SQS clients compare, not a protection."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def attributes_digest(attributes: Mapping[str, AttributeValue]) -> str:
    """The MD5 of message attributes, in the encoding that clients compute for themselves:
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
    """
    total = hashlib.md5(usedforsecurity=False)
    for name, value in sorted(attributes.items()):
        binary = not isinstance(value.binary_value, UnsetType)
        raw = (
            base64.b64decode(value.binary_value)
            if not isinstance(value.binary_value, UnsetType)
            else ("" if isinstance(value.string_value, UnsetType) else value.string_value).encode()
        )
        for part in (name.encode(), value.data_type.encode()):
            total.update(len(part).to_bytes(4, "big") + part)
        total.update((b"\x02" if binary else b"\x01") + len(raw).to_bytes(4, "big") + raw)
    return total.hexdigest()


class Queue:
    """A standard queue that holds its messages in memory."""

    def __init__(self, *, name: str, arn: str, settings: Settings, now: float) -> None:
        self.name = name
        self.arn = arn
        self.settings = settings
        self.created_at = now
        self.modified_at = now
        self.purged_at = float("-inf")
        self.in_flight = 0
        self._messages: dict[str, Message] = {}
        self._sequence = 0
        self._ready: list[tuple[int, str]] = []
        self._hidden: list[tuple[float, int, str]] = []
        self._by_age: list[tuple[float, str]] = []

    # --- Sending -----------------------------------------------------------------------------

    def send(
        self,
        body: str,
        *,
        now: float,
        delay: float | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> Message:
        """Take a message. `delay` None: the queue's own delay."""
        self._sequence += 1
        hidden_for = self.settings.delay_seconds if delay is None else delay
        seed = digest(f"{self.arn} {self.created_at!r} {self._sequence}")
        message = Message(
            id=f"{seed[:8]}-{seed[8:12]}-4{seed[13:16]}-a{seed[17:20]}-{seed[20:]}",
            sequence=self._sequence,
            body=body,
            attributes=attributes or {},
            sent_at=now,
            visible_at=now + hidden_for,
        )
        self._put(message, hidden=hidden_for > 0)
        return message

    def adopt(self, message: Message, *, source_arn: str, now: float) -> None:
        """Take a message that another queue gave up on. Its age goes on counting."""
        self._sequence += 1
        moved = Message(
            id=message.id,
            sequence=self._sequence,
            body=message.body,
            attributes=message.attributes,
            sent_at=message.sent_at,
            visible_at=now,
            dead_letter_source=source_arn,
        )
        self._put(moved, hidden=False)

    def _put(self, message: Message, *, hidden: bool) -> None:
        self._messages[message.id] = message
        heapq.heappush(self._by_age, (message.sent_at, message.id))
        if len(self._by_age) > 2 * len(self._messages) + 1_000:
            self._by_age = [(one.sent_at, one.id) for one in self._messages.values()]
            heapq.heapify(self._by_age)
        if hidden:
            self._hide(message)
        else:
            heapq.heappush(self._ready, (message.sequence, message.id))

    def _hide(self, message: Message) -> None:
        message.hidden = True
        heapq.heappush(self._hidden, (message.visible_at, message.sequence, message.id))

    # --- Receiving ---------------------------------------------------------------------------

    def receive(
        self, *, most: int, now: float, timeout: float | None = None
    ) -> tuple[list[tuple[Message, str]], list[Message]]:
        """Up to `most` messages with their receipt handles, oldest first, hidden from now on for
        `timeout` seconds (None: the queue's own); and the messages that were received too often and
        leave for the dead-letter queue."""
        self.settle(now=now)
        taken: list[tuple[Message, str]] = []
        dead: list[Message] = []
        while self._ready and len(taken) < most and self.in_flight < IN_FLIGHT_LIMIT:
            _, key = heapq.heappop(self._ready)
            message = self._messages.get(key)
            if message is None or message.hidden:
                continue
            limit = self.settings.max_receive_count
            if limit and message.receives >= limit:
                del self._messages[key]
                dead.append(message)
                continue
            taken.append((message, self._take(message, now=now, timeout=timeout)))
        for message, _ in taken:
            if not message.hidden:
                heapq.heappush(self._ready, (message.sequence, message.id))
        return taken, dead

    def _take(self, message: Message, *, now: float, timeout: float | None) -> str:
        message.receives += 1
        if message.receives == 1:
            message.first_received_at = now
        hidden_for = self.settings.visibility_timeout if timeout is None else timeout
        if hidden_for > 0:
            message.visible_at = now + hidden_for
            self._hide(message)
            self.in_flight += 1
        text = f"{self.name}/{message.id}/{message.receives}"
        return base64.urlsafe_b64encode(text.encode()).decode()

    def delete(self, handle: str, *, now: float) -> bool:
        """Delete the message of a receipt handle; False when there was nothing to delete: it is
        gone already, or was received again since and only the newest handle counts.

        Raises BadHandle.
        """
        self.settle(now=now)
        message = self._of_handle(handle)
        if message is None:
            return False
        del self._messages[message.id]
        self._release(message)
        return True

    def change_visibility(self, handle: str, timeout: float, *, now: float) -> None:
        """Hide a message that is in flight for `timeout` seconds from now; 0 gives it back.

        Raises BadHandle, NotInFlight, BeyondCeiling.
        """
        self.settle(now=now)
        message = self._of_handle(handle)
        if message is None or not message.hidden:
            raise NotInFlight(handle)
        if now + timeout > message.first_received_at + VISIBILITY_CEILING:
            raise BeyondCeiling(handle)
        message.visible_at = now + timeout
        if timeout > 0:
            self._hide(message)
            return
        self._release(message)
        heapq.heappush(self._ready, (message.sequence, message.id))

    def _of_handle(self, handle: str) -> Message | None:
        try:
            name, key, count = base64.urlsafe_b64decode(handle.encode()).decode().split("/")
            number = int(count)
        except (binascii.Error, ValueError):
            raise BadHandle(handle) from None
        if name != self.name:
            raise BadHandle(handle)
        message = self._messages.get(key)
        return message if message is not None and message.receives == number else None

    def _release(self, message: Message) -> None:
        if message.hidden and message.receives:
            self.in_flight -= 1
        message.hidden = False

    # --- Time --------------------------------------------------------------------------------

    def settle(self, *, now: float) -> None:
        """Forget what is older than the retention period; show again what was hidden for long
        enough."""
        oldest = now - self.settings.message_retention_period
        while self._by_age and self._by_age[0][0] <= oldest:
            _, key = heapq.heappop(self._by_age)
            expired = self._messages.get(key)
            if expired is not None and expired.sent_at <= oldest:
                del self._messages[key]
                self._release(expired)
        while self._hidden and self._hidden[0][0] <= now:
            visible_at, _, key = heapq.heappop(self._hidden)
            message = self._messages.get(key)
            if message is None or not message.hidden or message.visible_at != visible_at:
                continue
            self._release(message)
            heapq.heappush(self._ready, (message.sequence, key))

    def next_visible(self) -> float | None:
        """When the next hidden message comes back, if any does. It may have been deleted since: a
        look at that time then finds nothing, which does no harm."""
        return self._hidden[0][0] if self._hidden else None

    def purge(self, *, now: float) -> None:
        """Delete every message."""
        self.purged_at = now
        self.in_flight = 0
        self._messages.clear()
        self._ready.clear()
        self._hidden.clear()
        self._by_age.clear()

    def counts(self, *, now: float) -> tuple[int, int, int]:
        """How many messages are visible, in flight, and delayed."""
        self.settle(now=now)
        hidden = sum(1 for message in self._messages.values() if message.hidden)
        delayed = hidden - self.in_flight
        return len(self._messages) - hidden, self.in_flight, delayed
