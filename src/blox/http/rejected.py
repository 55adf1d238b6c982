"""What a queue sent and nobody understood, as both services show it to people."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from blox.http.operations import Answer, Call, Operation, Returned
from blox.http.shapes import AnswerBody, Moment, PageBody, iso


class RejectedMessage(Protocol):
    """A message of the queue that could not be understood."""

    @property
    def id(self) -> str:
        """Names the message."""
        ...

    @property
    def reason(self) -> str:
        """Why, in words."""
        ...

    @property
    def body(self) -> bytes:
        """What is kept of it."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the whole message."""
        ...

    @property
    def at(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        ...


class RejectedBody(AnswerBody, frozen=True, kw_only=True):
    """A message of the queue that could not be understood."""

    id: str
    reason: str
    body: str
    """Its beginning, as text."""
    size: int
    """Bytes of the whole."""
    at: Moment


class RejectedPage(PageBody, frozen=True, kw_only=True):
    """The last of them."""

    items: tuple[RejectedBody, ...]


def list_rejected(messages: Callable[[], Sequence[RejectedMessage]]) -> Operation:
    """`GET /v2/queue/rejected` over what `messages()` gives, oldest first."""

    async def rejected(_: Call) -> Answer:
        items = tuple(
            RejectedBody(
                id=message.id,
                reason=message.reason,
                body=message.body.decode(errors="replace"),
                size=message.size,
                at=iso(message.at),
            )
            for message in reversed(messages())
        )
        return Answer(body=msgspec.json.encode(RejectedPage(items=items)))

    return Operation(
        method="GET",
        path="/v2/queue/rejected",
        id="listRejected",
        summary="The last messages of the queue that could not be understood",
        handle=rejected,
        tags=("process",),
        answers={200: Returned(description="Newest first", body=RejectedPage)},
        errors=(),
    )
