"""What callers of SQS send, and the errors that they get, in the shapes of SQS's JSON protocol.

Shapes and error codes:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Operations.html
"""

import re
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from blox.simulator.sqs_queue import AttributeValue

_OLD = "AWS.SimpleQueueService."
_QUERY_CODES: Final[Mapping[str, str]] = {
    "QueueDoesNotExist": _OLD + "NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
    "QueueDeletedRecently": _OLD + "QueueDeletedRecently",
    "PurgeQueueInProgress": _OLD + "PurgeQueueInProgress",
    "EmptyBatchRequest": _OLD + "EmptyBatchRequest",
    "TooManyEntriesInBatchRequest": _OLD + "TooManyEntriesInBatchRequest",
    "BatchEntryIdsNotDistinct": _OLD + "BatchEntryIdsNotDistinct",
    "BatchRequestTooLong": _OLD + "BatchRequestTooLong",
    "InvalidBatchEntryId": _OLD + "InvalidBatchEntryId",
    "MessageNotInflight": _OLD + "MessageNotInflight",
    "UnsupportedOperation": _OLD + "UnsupportedOperation",
    "InvalidParameterValueException": "InvalidParameterValue",
    "MissingRequiredParameterException": "MissingParameter",
    "AccessDeniedException": "AccessDenied",
}

OPERATIONS: Final = (
    "ChangeMessageVisibility",
    "ChangeMessageVisibilityBatch",
    "CreateQueue",
    "DeleteMessage",
    "DeleteMessageBatch",
    "DeleteQueue",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListQueues",
    "PurgeQueue",
    "ReceiveMessage",
    "SendMessage",
    "SendMessageBatch",
    "SetQueueAttributes",
)
"""What the simulated SQS serves, sorted."""

T = TypeVar("T", bound="Request")


class QueueFault(Exception):
    """An error answer of SQS."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        """The shape's name, as in `__type: com.amazonaws.sqs#…`."""
        self.message = message
        self.status = status

    @property
    def query_code(self) -> str:
        """The code that clients of the query protocol know: for `x-amzn-query-error`."""
        return _QUERY_CODES.get(self.code, self.code)


class Request(Struct, frozen=True, kw_only=True, rename="pascal"):
    """What a caller sends. Unknown members are ignored, as SQS does."""


class Named(Request, frozen=True, kw_only=True):
    """A request about a queue by its name."""

    queue_name: str


class Create(Named, frozen=True, kw_only=True):
    """CreateQueue."""

    attributes: dict[str, str] = {}


class Listing(Request, frozen=True, kw_only=True):
    """ListQueues."""

    queue_name_prefix: str = ""
    max_results: int | None = None
    next_token: str | None = None


class Of(Request, frozen=True, kw_only=True):
    """A request about a queue by its URL."""

    queue_url: str


class GetAttributes(Of, frozen=True, kw_only=True):
    """GetQueueAttributes."""

    attribute_names: tuple[str, ...] = ()


class SetAttributes(Of, frozen=True, kw_only=True):
    """SetQueueAttributes."""

    attributes: dict[str, str]


class Receive(Of, frozen=True, kw_only=True):
    """ReceiveMessage. Seconds."""

    attribute_names: tuple[str, ...] = ()
    message_system_attribute_names: tuple[str, ...] = ()
    message_attribute_names: tuple[str, ...] = ()
    max_number_of_messages: int | None = None
    visibility_timeout: int | None = None
    wait_time_seconds: int | None = None


class Entry(Request, frozen=True, kw_only=True):
    """One entry of a batch; as a request of its own it has no id."""

    id: str = ""


class SendEntry(Entry, frozen=True, kw_only=True):
    """SendMessage, or one entry of its batch."""

    message_body: str
    delay_seconds: int | None = None
    message_attributes: dict[str, AttributeValue] = {}


class DeleteEntry(Entry, frozen=True, kw_only=True):
    """DeleteMessage, or one entry of its batch."""

    receipt_handle: str


class VisibilityEntry(Entry, frozen=True, kw_only=True):
    """ChangeMessageVisibility, or one entry of its batch."""

    receipt_handle: str
    visibility_timeout: int


def read(params: object, kind: type[T]) -> T:
    """`params` as a request of this kind. Raises QueueFault."""
    try:
        return msgspec.convert(params, kind)
    except msgspec.ValidationError as error:
        missing = re.search(r"missing required field `(\w+)`", str(error))
        if missing is not None:
            raise QueueFault(
                "MissingRequiredParameterException",
                f"The request must contain the parameter {missing[1]}.",
            ) from None
        raise QueueFault("SerializationException", str(error)) from None
