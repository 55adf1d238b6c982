"""Which shards of a stream are read, from where, and in which order.

A stream is resharded by closing shards and opening others that hold their hash keys. A shard is
read once its parents are read to their end, so that of one partition key older records come first.
Where reading begins:

    a stored position               right after it
    the first start ever            in open shards at their end: what was before, a sweep tells;
                                    closed ones are not read
    a shard that appears later      at its first record
    a position that is trimmed      at the first record that is left

A shard that is not listed any more is older than the stream's retention: nothing of it is left, and
its children wait for it no longer.
https://docs.aws.amazon.com/streams/latest/dev/kinesis-using-sdk-java-after-resharding.html

Pure.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct


class Shard(Struct, frozen=True, kw_only=True):
    """A shard as Kinesis lists it."""

    id: str
    parents: tuple[str, ...] = ()
    closed: bool = False
    """No more records come into it."""


class Position(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a shard was taken: everything up to there is applied, and stored where it is to be.
    Without any of these: nothing was."""

    after: str = ""
    """The sequence number of the last record that was taken."""
    since: float | None = None
    """None was; but what arrived before this time is of no interest. Seconds since 1970-01-01
    UTC, by Kinesis's clock."""
    ended: bool = False
    """It is closed, and every record of it was taken."""


START: Final = Position()
"""The first record that is left."""


class Begin(Struct, frozen=True):
    """Read this shard from there on."""

    shard: str
    position: Position
    latest: bool = False
    """Rather: from its end on."""


class Shards:
    """What is known of one stream's shards."""

    def __init__(self, stored: Mapping[str, Position]) -> None:
        """`stored`: the positions that an earlier process left; none: there was none."""
        self._first = not stored
        self._positions = dict(stored)
        self._known: dict[str, Shard] = {}
        self._reading: dict[str, None] = {}
        self._ended = {key: -math.inf for key, position in stored.items() if position.ended}

    @property
    def reading(self) -> tuple[str, ...]:
        """The shards that are being read."""
        return tuple(self._reading)

    def listed(
        self, shards: Sequence[Shard], *, begun: float, clock: float
    ) -> tuple[list[Begin], dict[str, Position | None]]:
        """A complete list of the stream's shards. `begun`: when it was asked for, on our monotonic
        clock; `clock`: the same by Kinesis's clock, rather too early.

        Returns what is to be read, and the positions to be stored before (None: not any more).
        """
        self._known = {shard.id: shard for shard in shards}
        begins, news = self._begin_at_the_end(shards, clock) if self._first else ([], {})
        self._first = self._first and not shards
        for key in sorted({*self._positions, *self._ended}):
            known = self._known.get(key)
            if known is None and key not in self._reading:
                news[key] = None
            elif known is not None and not known.closed and self._ended.get(key, begun) < begun:
                # Another stream has taken the name, and the names of its shards begin anew.
                news[key] = None
        for key, position in news.items():
            if position is None:
                self._positions.pop(key, None)
                self._ended.pop(key, None)
            else:
                self._positions[key] = position
        return begins + self._due(), news

    def _begin_at_the_end(
        self, shards: Sequence[Shard], clock: float
    ) -> tuple[list[Begin], dict[str, Position | None]]:
        begins: list[Begin] = []
        news: dict[str, Position | None] = {}
        for shard in shards:
            if shard.closed:
                news[shard.id] = Position(ended=True)
                self._ended[shard.id] = -math.inf
            else:
                news[shard.id] = Position(since=clock)
                self._reading[shard.id] = None
                begins.append(Begin(shard.id, Position(since=clock), latest=True))
        return begins, news

    def exhausted(self, shard: str, children: Iterable[Shard], *, now: float) -> list[Begin]:
        """A shard was read to its end. `now`: on our monotonic clock. `children`: those that took
        over from it; of one with another parent that is not known the next list tells more.
        Returns what is to be read now."""
        self._reading.pop(shard, None)
        self._ended[shard] = now
        for child in children:
            if all(parent in self._known for parent in child.parents):
                self._known.setdefault(child.id, child)
        return self._due()

    def lost(self, shard: str, position: Position) -> None:
        """A shard could not be read on, because it is not there: the next list tells what became
        of it. `position`: how far it was read."""
        self._reading.pop(shard, None)
        self._positions[shard] = position

    def _due(self) -> list[Begin]:
        """The shards that may be read and are not, by their names: older ones first."""
        begins = []
        for key in sorted(self._known):
            if key in self._reading or key in self._ended:
                continue
            if any(self._waits_for(parent) for parent in self._known[key].parents):
                continue
            self._reading[key] = None
            begins.append(Begin(key, self._positions.get(key, START)))
        return begins

    def _waits_for(self, parent: str) -> bool:
        return parent in self._reading or (parent in self._known and parent not in self._ended)
