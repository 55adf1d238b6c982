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
    """A queue that delivers at least once, in any order. Several receives may be under way."""

    async def receive(self) -> Sequence[M]:
        """Wait for messages, for some seconds; none when none came. What is received and not
        deleted comes again. Raises QueueUnavailable."""
        ...

    async def delete(self, messages: Sequence[M]) -> None:
        """These need not come again. Raises QueueUnavailable when some may."""
        ...
