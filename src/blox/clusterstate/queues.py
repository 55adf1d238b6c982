"""What `--queue` may name: an SQS queue by name or URL, or a Kinesis stream.

Pure.
"""

import re
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from blox.base.errors import InvalidInput

_QUEUE: Final = re.compile(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo")
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-queue-message-identifiers.html"""
_STREAM: Final = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
"""https://docs.aws.amazon.com/kinesis/latest/APIReference/API_CreateStream.html"""
_FORMS: Final = "NAME, sqs://NAME or the queue's URL"


class Source(StrEnum):
    """What brings ECS's events."""

    SQS = "sqs"
    KINESIS = "kinesis"


class EventQueue(Struct, frozen=True, kw_only=True):
    """Where events come from."""

    source: Source
    name: str
    """The queue's name or URL, or the stream's name."""

    def __str__(self) -> str:
        return self.name if self.source is Source.SQS else f"kinesis://{self.name}"


def queue_named(text: str, *, streams: bool = True) -> EventQueue:
    """What `--queue` names: NAME, sqs://NAME, a queue's URL, or kinesis://NAME. `streams`: whether
    this process reads Kinesis streams. Raises InvalidInput for anything else."""
    forms = f"{_FORMS}, or kinesis://NAME" if streams else _FORMS
    scheme, separator, rest = text.partition("://")
    if not separator:
        return EventQueue(source=Source.SQS, name=_named(text, text, _QUEUE, forms))
    if scheme == Source.SQS:
        return EventQueue(source=Source.SQS, name=_named(text, rest, _QUEUE, forms))
    if scheme == Source.KINESIS:
        if not streams:
            raise InvalidInput(
                f"--queue {text!r} is a Kinesis stream, which only cluster-state-service reads. "
                "Start that with this --queue, and daemon-scheduler with --css-endpoint; or name "
                "an SQS queue."
            )
        return EventQueue(source=Source.KINESIS, name=_named(text, rest, _STREAM, forms))
    if scheme in ("http", "https"):
        return EventQueue(source=Source.SQS, name=_url(text))
    raise InvalidInput(f"--queue {text!r} begins with {scheme}://. A queue is {forms}.")


def _named(text: str, name: str, form: re.Pattern[str], forms: str) -> str:
    if form.fullmatch(name) is not None:
        return name
    if name.startswith("arn:"):
        kind = "kinesis://" if ":kinesis:" in name else ""
        last = re.split("[:/]", name)[-1]
        raise InvalidInput(
            f"--queue {text!r} is an ARN. Name it instead: {kind}{last}. It is looked for in the "
            "region and account that this process uses."
        )
    raise InvalidInput(f"--queue {text!r} names no queue. A queue is {forms}.")


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        right = bool(parts.hostname) and _QUEUE.fullmatch(parts.path.rpartition("/")[2]) is not None
    except ValueError:
        right = False
    if not right or parts.query or parts.fragment:
        raise InvalidInput(
            f"--queue {text!r} is no URL of a queue: https://sqs.REGION.amazonaws.com/ACCOUNT/"
            "NAME, as `aws sqs get-queue-url` prints it."
        )
    return text
