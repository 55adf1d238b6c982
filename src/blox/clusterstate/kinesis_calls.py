"""The calls to Kinesis that reading a stream takes, over the same transport as ECS's calls.

The protocol is AWS JSON 1.1 with the prefix Kinesis_20131202 in X-Amz-Target.
https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Operations.html
"""

from collections.abc import Callable
from typing import Final

from msgspec import Struct, field

from blox.clusterstate.kinesis_shards import Begin, Shard
from blox.clusterstate.queue_calls import MEANWHILE, QueueCalls
from blox.clusterstate.source import QueueUnavailable
from blox.ecs.errors import DENIED_CODES, THROTTLE_CODES
from blox.ecs.port import Transport

LIMIT: Final = 500
"""Records of one answer: more would be applied at a stretch, and an answer of 10 MB makes the shard
rest for five seconds."""
_PAGES: Final = 100
"""Of a thousand shards each."""
_ABSENT: Final = "ResourceNotFoundException"
_EXPIRED: Final = frozenset({"ExpiredIteratorException", "ExpiredNextTokenException"})
_INVALID: Final = frozenset({"InvalidArgumentException", "ValidationException"})
_BUSY: Final = frozenset({"KMSThrottlingException", *THROTTLE_CODES})
_DENIED: Final = frozenset({"KMSAccessDeniedException", *DENIED_CODES})


class Throttled(QueueUnavailable):
    """Asked too often; others may read the same stream."""


class Absent(QueueUnavailable):
    """There is no such stream, or no such shard."""


class Expired(QueueUnavailable):
    """The iterator or token is older than five minutes."""


class Invalid(QueueUnavailable):
    """The iterator, or the sequence number to begin after, is none of this stream's."""


class _Shape(Struct, frozen=True, rename="pascal"):
    """Base of Kinesis's JSON: PascalCase names."""


class _Numbers(_Shape, frozen=True):
    ending_sequence_number: str | None = None


class _Shard(_Shape, frozen=True):
    shard_id: str
    sequence_number_range: _Numbers = _Numbers()
    parent_shard_id: str | None = None
    adjacent_parent_shard_id: str | None = None


class _Shards(_Shape, frozen=True):
    shards: tuple[_Shard, ...] | None = None
    next_token: str | None = None


class _Iterator(_Shape, frozen=True):
    shard_iterator: str


class Record(_Shape, frozen=True):
    """One record."""

    sequence_number: str
    data: bytes
    """What was put, no longer base64."""


class _Child(_Shape, frozen=True):
    shard_id: str
    parent_shards: tuple[str, ...] = ()


class Records(_Shape, frozen=True):
    """What one GetRecords answers."""

    records: tuple[Record, ...] = ()
    next_shard_iterator: str | None = None
    """None: the shard is closed, and this was its end."""
    behind: int | None = field(default=None, name="MillisBehindLatest")
    """Milliseconds between the last record here and the newest one; 0: there are no more."""
    child_shards: tuple[_Child, ...] | None = None

    @property
    def children(self) -> list[Shard]:
        """At the end of a shard: those that took over."""
        return [Shard(id=c.shard_id, parents=c.parent_shards) for c in self.child_shards or ()]


class KinesisCalls:
    """One stream."""

    def __init__(self, stream: str, transport: Transport, *, now: Callable[[], float]) -> None:
        """`stream`: its name, in the transport's region and account. `now`: the time to sign with,
        seconds since 1970-01-01 UTC."""
        self._stream = stream
        self._call = QueueCalls("stream", stream, transport, now=now, refusal=self._refusal)

    async def shards(self) -> list[Shard]:
        """Every shard of which any record may be left."""
        found: list[Shard] = []
        asked: dict[str, object] = {"StreamName": self._stream}
        for _ in range(_PAGES):
            answer = await self._call("ListShards", asked, _Shards)
            found += map(_shard, answer.shards or ())
            if not answer.next_token:
                break
            asked = {"NextToken": answer.next_token}
        return found

    async def iterator(self, begin: Begin) -> str:
        """An iterator: where to read. Good for five minutes. Raises Invalid when the position is
        none of this shard's, or no longer; Absent when there is no such shard."""
        asked: dict[str, object] = {"StreamName": self._stream, "ShardId": begin.shard}
        position = begin.position
        if begin.latest:
            asked["ShardIteratorType"] = "LATEST"
        elif position.after:
            asked["ShardIteratorType"] = "AFTER_SEQUENCE_NUMBER"
            asked["StartingSequenceNumber"] = position.after
        elif position.since is not None:
            asked["ShardIteratorType"] = "AT_TIMESTAMP"
            asked["Timestamp"] = position.since
        else:
            asked["ShardIteratorType"] = "TRIM_HORIZON"
        return (await self._call("GetShardIterator", asked, _Iterator)).shard_iterator

    async def records(self, iterator: str) -> Records:
        """The records at an iterator, and the next one. Raises Expired, Invalid, Absent."""
        asked = {"ShardIterator": iterator, "Limit": LIMIT}
        return await self._call("GetRecords", asked, Records)

    def _refusal(self, code: str, message: str, told: str) -> QueueUnavailable | None:
        if code == _ABSENT:
            return Absent(
                f"There is no Kinesis stream {self._stream} in this region and account. Create it, "
                f"or name another one. {MEANWHILE}"
            )
        if code in _BUSY:
            return Throttled(told)
        if code in _EXPIRED:
            return Expired(told)
        if code in _INVALID:
            return Invalid(told)
        if code in _DENIED:
            return QueueUnavailable(
                f"Reading the stream {self._stream} is denied: {message} Allow kinesis:ListShards, "
                "kinesis:GetShardIterator and kinesis:GetRecords on it, and kms:Decrypt where it "
                f"is encrypted. {MEANWHILE}"
            )
        return None


def _shard(listed: _Shard) -> Shard:
    parents = (listed.parent_shard_id, listed.adjacent_parent_shard_id)
    return Shard(
        id=listed.shard_id,
        parents=tuple(parent for parent in parents if parent),
        closed=listed.sequence_number_range.ending_sequence_number is not None,
    )
