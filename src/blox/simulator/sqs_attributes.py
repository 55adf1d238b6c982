"""Queue attributes: from the text that callers send to a queue's settings, and back.

Names, ranges and defaults:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
"""

import json
from collections.abc import Mapping
from typing import Final

import msgspec

from blox.simulator.sqs_queue import Queue, Settings

_NUMBERS: Final[Mapping[str, tuple[str, int, int]]] = {
    "VisibilityTimeout": ("visibility_timeout", 0, 43_200),
    "MessageRetentionPeriod": ("message_retention_period", 60, 1_209_600),
    "MaximumMessageSize": ("maximum_message_size", 1_024, 1_048_576),
    "DelaySeconds": ("delay_seconds", 0, 900),
    "ReceiveMessageWaitTimeSeconds": ("receive_message_wait_time_seconds", 0, 20),
}
_KEPT: Final = (
    "Policy",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "SqsManagedSseEnabled",
    "RedriveAllowPolicy",
)
_READ_ONLY: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
)


class FaultyAttribute(Exception):
    """An attribute that SQS does not know, or a value that it does not take."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class _Redrive(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    dead_letter_target_arn: str
    max_receive_count: int | str


def apply_attributes(settings: Settings, given: Mapping[str, str]) -> Settings:
    """`settings` with the given attributes; the argument is not changed.

    Raises FaultyAttribute.
    """
    changed = msgspec.structs.replace(settings, others=dict(settings.others))
    for name, text in given.items():
        if name in _NUMBERS:
            field, low, high = _NUMBERS[name]
            setattr(changed, field, _number(name, text, low, high))
        elif name == "RedrivePolicy":
            _redrive(changed, text)
        elif name in _KEPT:
            changed.others[name] = text
        elif not (name == "FifoQueue" and text == "false"):
            raise FaultyAttribute("InvalidAttributeName", f"Unknown Attribute {name}.")
    return changed


def _number(name: str, text: str, low: int, high: int) -> int:
    value = int(text) if text.isascii() and text.isdigit() else -1
    if not low <= value <= high:
        raise FaultyAttribute("InvalidAttributeValue", f"Invalid value for the parameter {name}.")
    return value


def _redrive(settings: Settings, text: str) -> None:
    if not text:
        settings.dead_letter_arn, settings.max_receive_count = "", 0
        return
    try:
        policy = msgspec.json.decode(text, type=_Redrive)
        limit = int(policy.max_receive_count)
    except (msgspec.DecodeError, ValueError):
        limit = 0
    if not 1 <= limit <= 1_000:
        raise FaultyAttribute(
            "InvalidAttributeValue",
            f"Value {text} for parameter RedrivePolicy is invalid. Reason: it must be JSON with a "
            "deadLetterTargetArn and a maxReceiveCount from 1 to 1000.",
        )
    settings.dead_letter_arn, settings.max_receive_count = policy.dead_letter_target_arn, limit


def show_attributes(queue: Queue, *, wanted: tuple[str, ...], now: float) -> dict[str, str]:
    """The attributes that were asked for, all as text. Raises FaultyAttribute."""
    settings = queue.settings
    visible, in_flight, delayed = queue.counts(now=now)
    known = {name: str(getattr(settings, field)) for name, (field, _, _) in _NUMBERS.items()}
    known |= {
        "ApproximateNumberOfMessages": str(visible),
        "ApproximateNumberOfMessagesNotVisible": str(in_flight),
        "ApproximateNumberOfMessagesDelayed": str(delayed),
        "CreatedTimestamp": str(int(queue.created_at)),
        "LastModifiedTimestamp": str(int(queue.modified_at)),
        "QueueArn": queue.arn,
        **settings.others,
    }
    if settings.max_receive_count:
        known["RedrivePolicy"] = json.dumps(
            {
                "deadLetterTargetArn": settings.dead_letter_arn,
                "maxReceiveCount": settings.max_receive_count,
            }
        )
    if "All" in wanted:
        return known
    for name in wanted:
        if name not in (*_NUMBERS, *_KEPT, *_READ_ONLY, "RedrivePolicy", "FifoQueue"):
            raise FaultyAttribute("InvalidAttributeName", f"Unknown Attribute {name}.")
    return {name: known[name] for name in wanted if name in known}
