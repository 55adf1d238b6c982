"""Where events come from: the port that a queue's adapter fills."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from blox.base.errors import Unavailable


class QueueUnavailable(Unavailable):
    """The queue cannot be read, or something cannot be removed from it, for now. The text is for
    the operator: what happened, to which queue, what to do."""


class Message(Protocol):
    """One delivery of one message. The same message may be delivered more than once."""

    @property
    def id(self) -> str:
        """Names this delivery, for people."""
        ...

    @property
    def body(self) -> bytes:
        """What was sent."""
        ...


M = TypeVar("M", bound=Message)


class EventSource(Protocol[M]):
    """A queue or stream that delivers at least once, in any order. Several receives may be under
    way; what they return is to be applied in the order in which they returned it."""

    async def receive(self) -> Sequence[M]:
        """Wait for messages, for some seconds; none when none came. What is received and not
        deleted comes again, to this process or the next one. Raises QueueUnavailable."""
        ...

    async def delete(self, messages: Sequence[M]) -> None:
        """These need not come again; of a stream, neither need what was received before them.
        Several calls may be under way. Raises QueueUnavailable when some may come again."""
        ...

    async def depth(self) -> int | None:
        """About how many messages wait to be received; None where that cannot be known. Raises
        QueueUnavailable when it cannot be known now."""
        ...

    async def close(self) -> None:
        """Stop what goes on in the background. Nothing else is called afterwards."""
        ...
