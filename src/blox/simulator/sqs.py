"""The API of SQS standard queues: requests and answers in the shapes of SQS's JSON protocol.

What it knows: create, delete, list, get-queue-url, attributes, send, receive, delete, visibility
(each also in batches), purge. No FIFO queues. It checks its input as SQS does and names the errors
as SQS does, in both forms: JSON shapes, and the older codes of the query protocol, which clients
still see through the header `x-amzn-query-error`.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html

Waiting (long polling) is the caller's: `Queues.patience` says how long a receive wants to wait.
"""

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from blox.simulator import sqs_queue
from blox.simulator.sqs_attributes import FaultyAttribute, apply_attributes, show_attributes
from blox.simulator.sqs_queue import AttributeValue, Message, Queue, digest
from blox.simulator.sqs_shapes import (
    Create,
    DeleteEntry,
    Entry,
    GetAttributes,
    Listing,
    Named,
    Of,
    QueueFault,
    Receive,
    SendEntry,
    SetAttributes,
    VisibilityEntry,
    read,
)

BATCH: Final = 10
"""The most entries of a batch call."""
REST: Final = 60.0
"""Seconds in which a deleted queue's name stays taken and a purge excludes the next."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")
_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")
E = TypeVar("E", bound=Entry)


class Queues:
    """Every queue of one account and region."""

    def __init__(self, *, account: str, region: str) -> None:
        self.account = account
        self.region = region
        self._queues: dict[str, Queue] = {}
        self._deleted: dict[str, float] = {}
        self._operations: dict[
            str, Callable[[Mapping[str, object], float, str], dict[str, object]]
        ] = {
            "CreateQueue": self._create,
            "DeleteQueue": self._delete_queue,
            "ListQueues": self._list,
            "GetQueueUrl": self._get_url,
            "GetQueueAttributes": self._get_attributes,
            "SetQueueAttributes": self._set_attributes,
            "PurgeQueue": self._purge,
            "SendMessage": self._send,
            "SendMessageBatch": self._send_batch,
            "ReceiveMessage": self._receive,
            "DeleteMessage": self._delete,
            "DeleteMessageBatch": self._delete_batch,
            "ChangeMessageVisibility": self._visibility,
            "ChangeMessageVisibilityBatch": self._visibility_batch,
        }

    def call(
        self, operation: str, params: Mapping[str, object], *, now: float, base: str
    ) -> dict[str, object]:
        """Answer one request. `base` is the address that queue URLs begin with, as the caller sees
        it: `http://127.0.0.1:4566`.

        Raises QueueFault.
        """
        handler = self._operations.get(operation)
        if handler is None:
            raise QueueFault(
                "UnknownOperationException",
                f"The simulated SQS does not know {operation or 'an operation without a name'}. It "
                f"knows {', '.join(sorted(self._operations))}.",
                status=404,
            )
        return handler(params, now, base)

    def patience(self, params: Mapping[str, object]) -> tuple[Queue, float]:
        """The queue that a ReceiveMessage names, and for how many seconds it wants to wait.

        Raises QueueFault.
        """
        request = read(params, Receive)
        queue = self._of(request.queue_url)
        wait = request.wait_time_seconds
        if wait is None:
            return queue, float(queue.settings.receive_message_wait_time_seconds)
        _in_range("WaitTimeSeconds", wait, 0, 20)
        return queue, float(wait)

    def named(self, name: str) -> Queue | None:
        """A queue by its name."""
        return self._queues.get(name)

    def names(self) -> list[str]:
        """The names of all queues, sorted."""
        return sorted(self._queues)

    # --- Queues ------------------------------------------------------------------------------

    def _create(self, params: Mapping[str, object], now: float, base: str) -> dict[str, object]:
        request = read(params, Create)
        name = request.queue_name
        if name.endswith(".fifo") or request.attributes.get("FifoQueue") == "true":
            raise QueueFault(
                "UnsupportedOperation", "The simulated SQS has standard queues, no FIFO queues."
            )
        if _NAME.match(name) is None:
            raise QueueFault(
                "InvalidParameterValueException",
                "Can only include alphanumeric characters, hyphens, or underscores. "
                "1 to 80 in length",
            )
        settings = _attributes(sqs_queue.Settings(), request.attributes)
        existing = self._queues.get(name)
        if existing is not None:
            if _attributes(existing.settings, request.attributes) != existing.settings:
                raise QueueFault(
                    "QueueNameExists",
                    "A queue already exists with the same name and a different value for "
                    "an attribute.",
                )
            return {"QueueUrl": self._url(base, name)}
        if now - self._deleted.get(name, float("-inf")) < REST:
            raise QueueFault(
                "QueueDeletedRecently",
                "You must wait 60 seconds after deleting a queue before you can create another "
                "with the same name.",
            )
        self._queues[name] = Queue(name=name, arn=self._arn(name), settings=settings, now=now)
        return {"QueueUrl": self._url(base, name)}

    def _delete_queue(
        self, params: Mapping[str, object], now: float, base: str
    ) -> dict[str, object]:
        del base
        queue = self._of(read(params, Of).queue_url)
        del self._queues[queue.name]
        self._deleted[queue.name] = now
        return {}

    def _list(self, params: Mapping[str, object], now: float, base: str) -> dict[str, object]:
        del now
        request = read(params, Listing)
        size = 1_000 if request.max_results is None else request.max_results
        _in_range("MaxResults", size, 1, 1_000)
        after = request.next_token or ""
        names = [name for name in self.names() if name.startswith(request.queue_name_prefix)]
        rest = [name for name in names if name > after]
        answer: dict[str, object] = {"QueueUrls": [self._url(base, name) for name in rest[:size]]}
        if len(rest) > size and request.max_results is not None:
            answer["NextToken"] = rest[size - 1]
        return answer

    def _get_url(self, params: Mapping[str, object], now: float, base: str) -> dict[str, object]:
        del now
        name = read(params, Named).queue_name
        owner = params.get("QueueOwnerAWSAccountId")
        if name not in self._queues or (owner and owner != self.account):
            raise _no_such_queue()
        return {"QueueUrl": self._url(base, name)}

    def _get_attributes(
        self, params: Mapping[str, object], now: float, base: str
    ) -> dict[str, object]:
        del base
        request = read(params, GetAttributes)
        try:
            shown = show_attributes(
                self._of(request.queue_url), wanted=request.attribute_names, now=now
            )
        except FaultyAttribute as error:
            raise QueueFault(error.code, error.message) from None
        return {"Attributes": shown} if shown else {}

    def _set_attributes(
        self, params: Mapping[str, object], now: float, base: str
    ) -> dict[str, object]:
        del base
        request = read(params, SetAttributes)
        queue = self._of(request.queue_url)
        queue.settings = _attributes(queue.settings, request.attributes)
        queue.modified_at = now
        return {}

    def _purge(self, params: Mapping[str, object], now: float, base: str) -> dict[str, object]:
        del base
        queue = self._of(read(params, Of).queue_url)
        if now - queue.purged_at < REST:
            raise QueueFault(
                "PurgeQueueInProgress",
                f"Only one PurgeQueue operation on {queue.name} is allowed every 60 seconds.",
            )
        queue.purge(now=now)
        return {}

    # --- Messages ----------------------------------------------------------------------------

    def _send(self, params: Mapping[str, object], now: float, base: str) -> dict[str, object]:
        del base
        queue = self._of(read(params, Of).queue_url)
        return _sent(queue, read(params, SendEntry), now=now)

    def _send_batch(self, params: Mapping[str, object], now: float, base: str) -> dict[str, object]:
        del base
        queue, entries = self._batch(params, SendEntry)
        if sum(_size(entry) for entry in entries) > sqs_queue.Settings().maximum_message_size:
            raise QueueFault(
                "BatchRequestTooLong", "Batch requests cannot be longer than 1048576 bytes."
            )
        return _each(entries, lambda entry: _sent(queue, entry, now=now))

    def _receive(self, params: Mapping[str, object], now: float, base: str) -> dict[str, object]:
        del base
        request = read(params, Receive)
        queue = self._of(request.queue_url)
        most = 1 if request.max_number_of_messages is None else request.max_number_of_messages
        _in_range("MaxNumberOfMessages", most, 1, 10)
        _in_range("WaitTimeSeconds", request.wait_time_seconds or 0, 0, 20)
        _in_range("VisibilityTimeout", request.visibility_timeout or 0, 0, 43_200)
        queue.settle(now=now)
        if queue.in_flight >= sqs_queue.IN_FLIGHT_LIMIT and not request.wait_time_seconds:
            raise QueueFault(
                "OverLimit", "Too many messages in flight; delete some that were received."
            )
        taken, dead = queue.receive(most=most, now=now, timeout=request.visibility_timeout)
        graveyard = self._queues.get(queue.settings.dead_letter_arn.rsplit(":", 1)[-1])
        for message in dead:
            if graveyard is not None:
                graveyard.adopt(message, source_arn=queue.arn, now=now)
        shown = [self._shown(message, handle, request) for message, handle in taken]
        return {"Messages": shown} if shown else {}

    def _shown(self, message: Message, handle: str, request: Receive) -> dict[str, object]:
        shown: dict[str, object] = {
            "MessageId": message.id,
            "ReceiptHandle": handle,
            "MD5OfBody": digest(message.body),
            "Body": message.body,
        }
        wanted = {*request.attribute_names, *request.message_system_attribute_names}
        system = {
            "SenderId": self.account,
            "SentTimestamp": str(int(message.sent_at * 1000)),
            "ApproximateReceiveCount": str(message.receives),
            "ApproximateFirstReceiveTimestamp": str(int(message.first_received_at * 1000)),
        }
        if message.dead_letter_source:
            system["DeadLetterQueueSourceArn"] = message.dead_letter_source
        chosen = {k: v for k, v in system.items() if "All" in wanted or k in wanted}
        if chosen:
            shown["Attributes"] = chosen
        own = {
            name: value
            for name, value in sorted(message.attributes.items())
            if any(_matches(name, pattern) for pattern in request.message_attribute_names)
        }
        if own:
            shown["MessageAttributes"] = {k: msgspec.to_builtins(v) for k, v in own.items()}
            shown["MD5OfMessageAttributes"] = sqs_queue.attributes_digest(own)
        return shown

    def _delete(self, params: Mapping[str, object], now: float, base: str) -> dict[str, object]:
        del base
        queue = self._of(read(params, Of).queue_url)
        return _deleted(queue, read(params, DeleteEntry), now=now)

    def _delete_batch(
        self, params: Mapping[str, object], now: float, base: str
    ) -> dict[str, object]:
        del base
        queue, entries = self._batch(params, DeleteEntry)
        return _each(entries, lambda entry: _deleted(queue, entry, now=now))

    def _visibility(self, params: Mapping[str, object], now: float, base: str) -> dict[str, object]:
        del base
        queue = self._of(read(params, Of).queue_url)
        return _changed(queue, read(params, VisibilityEntry), now=now)

    def _visibility_batch(
        self, params: Mapping[str, object], now: float, base: str
    ) -> dict[str, object]:
        del base
        queue, entries = self._batch(params, VisibilityEntry)
        return _each(entries, lambda entry: _changed(queue, entry, now=now))

    # --- Names -------------------------------------------------------------------------------

    def _batch(self, params: Mapping[str, object], kind: type[E]) -> tuple[Queue, list[E]]:
        queue = self._of(read(params, Of).queue_url)
        given = params.get("Entries")
        if not isinstance(given, list) or not given:
            raise QueueFault(
                "EmptyBatchRequest",
                "There should be at least one entry in the request.",
            )
        if len(given) > BATCH:
            raise QueueFault(
                "TooManyEntriesInBatchRequest",
                f"Maximum number of entries per request are 10. You have sent {len(given)}.",
            )
        entries = [read(entry, kind) for entry in given]
        seen: list[str] = []
        for entry in entries:
            if _ENTRY_ID.match(entry.id) is None:
                raise QueueFault(
                    "InvalidBatchEntryId",
                    "A batch entry id can only contain alphanumeric characters, hyphens and "
                    "underscores. It can be at most 80 letters long.",
                )
            if entry.id in seen:
                raise QueueFault("BatchEntryIdsNotDistinct", f"Id {entry.id} repeated.")
            seen.append(entry.id)
        return queue, entries

    def _of(self, url: str) -> Queue:
        parts = url.rstrip("/").rsplit("/", 2)
        queue = self._queues.get(parts[-1])
        if queue is None or (len(parts) > 1 and parts[-2] != self.account):
            raise _no_such_queue()
        return queue

    def _arn(self, name: str) -> str:
        return f"arn:aws:sqs:{self.region}:{self.account}:{name}"

    def _url(self, base: str, name: str) -> str:
        return f"{base}/{self.account}/{name}"


def _attributes(settings: sqs_queue.Settings, given: Mapping[str, str]) -> sqs_queue.Settings:
    try:
        return apply_attributes(settings, given)
    except FaultyAttribute as error:
        raise QueueFault(error.code, error.message) from None


def _no_such_queue() -> QueueFault:
    return QueueFault("QueueDoesNotExist", "The specified queue does not exist.")


def _in_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise QueueFault(
            "InvalidParameterValueException",
            f"Value {value} for parameter {name} is invalid. Reason: Must be between {low} and "
            f"{high}, if provided.",
        )


def _size(entry: SendEntry) -> int:
    total = len(entry.message_body.encode())
    for name, value in entry.message_attributes.items():
        for part in (name, value.data_type, value.string_value, value.binary_value):
            total += 0 if isinstance(part, UnsetType) else len(part.encode())
    return total


def _sent(queue: Queue, entry: SendEntry, *, now: float) -> dict[str, object]:
    if not entry.message_body:
        raise QueueFault(
            "MissingRequiredParameterException",
            "The request must contain the parameter MessageBody.",
        )
    if _size(entry) > queue.settings.maximum_message_size:
        raise QueueFault(
            "InvalidParameterValueException",
            "One or more parameters are invalid. Reason: Message must be shorter than "
            f"{queue.settings.maximum_message_size} bytes.",
        )
    if entry.delay_seconds is not None:
        _in_range("DelaySeconds", entry.delay_seconds, 0, 900)
    for name, value in entry.message_attributes.items():
        _check_attribute(name, value)
    message = queue.send(
        entry.message_body,
        now=now,
        delay=entry.delay_seconds,
        attributes=entry.message_attributes,
    )
    answer: dict[str, object] = {
        "MessageId": message.id,
        "MD5OfMessageBody": digest(message.body),
    }
    if message.attributes:
        answer["MD5OfMessageAttributes"] = sqs_queue.attributes_digest(message.attributes)
    return answer


def _check_attribute(name: str, value: AttributeValue) -> None:
    given = value.binary_value if value.data_type.startswith("Binary") else value.string_value
    if value.data_type.split(".")[0] not in ("String", "Number", "Binary") or given in (UNSET, ""):
        raise QueueFault(
            "InvalidParameterValueException",
            f"The message attribute '{name}' must have a type of String, Number or Binary and a "
            "value of that type.",
        )
    if not isinstance(value.binary_value, UnsetType):
        try:
            b64decode(value.binary_value, validate=True)
        except binascii.Error:
            raise QueueFault(
                "SerializationException", f"The value of '{name}' is not base64."
            ) from None


def _deleted(queue: Queue, entry: DeleteEntry, *, now: float) -> dict[str, object]:
    try:
        queue.delete(entry.receipt_handle, now=now)
    except sqs_queue.BadHandle:
        raise _bad_handle(entry.receipt_handle) from None
    return {}


def _changed(queue: Queue, entry: VisibilityEntry, *, now: float) -> dict[str, object]:
    _in_range("VisibilityTimeout", entry.visibility_timeout, 0, 43_200)
    try:
        queue.change_visibility(entry.receipt_handle, entry.visibility_timeout, now=now)
    except sqs_queue.BadHandle:
        raise _bad_handle(entry.receipt_handle) from None
    except sqs_queue.NotInFlight:
        raise QueueFault(
            "InvalidParameterValueException",
            f"Value {entry.receipt_handle} for parameter ReceiptHandle is invalid. Reason: Message "
            "does not exist or is not available for visibility timeout change.",
        ) from None
    except sqs_queue.BeyondCeiling:
        raise QueueFault(
            "InvalidParameterValueException",
            f"Value {entry.visibility_timeout} for parameter VisibilityTimeout is invalid. Reason: "
            "Total VisibilityTimeout for the message is beyond the limit [43200 seconds].",
        ) from None
    return {}


def _bad_handle(handle: str) -> QueueFault:
    return QueueFault(
        "ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not a valid one.'
    )


def _each(entries: list[E], act: Callable[[E], dict[str, object]]) -> dict[str, object]:
    """A batch's answer: HTTP 200 whatever happened, each entry in one of two lists."""
    done: list[dict[str, object]] = []
    failed: list[dict[str, object]] = []
    for entry in entries:
        try:
            done.append({"Id": entry.id, **act(entry)})
        except QueueFault as fault:
            failed.append(
                {
                    "Id": entry.id,
                    "SenderFault": True,
                    "Code": fault.query_code,
                    "Message": fault.message,
                }
            )
    answer: dict[str, object] = {}
    if done:
        answer["Successful"] = done
    if failed:
        answer["Failed"] = failed
    return answer


def _matches(name: str, pattern: str) -> bool:
    if pattern in ("All", ".*"):
        return True
    return name.startswith(pattern[:-2]) if pattern.endswith(".*") else name == pattern


def event_body(event: Mapping[str, object]) -> str:
    """An EventBridge event as the body of a message: the whole envelope as JSON."""
    return json.dumps(event, separators=(",", ":"))
