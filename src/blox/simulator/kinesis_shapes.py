"""What callers of Kinesis send, in the shapes of its JSON protocol.

https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Operations.html
"""

from typing import Final, TypeVar

import msgspec
from msgspec import Struct, field

from blox.simulator.model import Fault, Json

OPERATIONS: Final = (
    "CreateStream",
    "DecreaseStreamRetentionPeriod",
    "DeleteStream",
    "DescribeStream",
    "DescribeStreamSummary",
    "GetRecords",
    "GetShardIterator",
    "IncreaseStreamRetentionPeriod",
    "ListShards",
    "ListStreams",
    "MergeShards",
    "PutRecord",
    "PutRecords",
    "SplitShard",
)
"""What the simulated Kinesis serves, sorted."""

T = TypeVar("T", bound="Request")


class Request(Struct, frozen=True, kw_only=True, rename="pascal"):
    """What a caller sends. Unknown members are ignored, as Kinesis does."""


class OfStream(Request, frozen=True, kw_only=True):
    """A request about a stream by its name or ARN."""

    stream_name: str = ""
    stream_arn: str = field(default="", name="StreamARN")


class Create(Request, frozen=True, kw_only=True):
    """CreateStream."""

    stream_name: str
    shard_count: int = 1


class Retention(OfStream, frozen=True, kw_only=True):
    """Increase- or DecreaseStreamRetentionPeriod."""

    retention_period_hours: int


class ListStreams(Request, frozen=True, kw_only=True):
    """ListStreams."""

    limit: int = 100
    exclusive_start_stream_name: str = ""
    next_token: str = ""


class Describe(OfStream, frozen=True, kw_only=True):
    """DescribeStream."""

    limit: int = 100
    exclusive_start_shard_id: str = ""


class ShardFilter(Request, frozen=True, kw_only=True):
    """Which shards ListShards is to show."""

    type: str = "FROM_TRIM_HORIZON"
    shard_id: str = ""


class ListShards(OfStream, frozen=True, kw_only=True):
    """ListShards."""

    next_token: str = ""
    exclusive_start_shard_id: str = ""
    max_results: int = 1000
    shard_filter: ShardFilter = ShardFilter()


class Split(OfStream, frozen=True, kw_only=True):
    """SplitShard."""

    shard_to_split: str
    new_starting_hash_key: str


class Merge(OfStream, frozen=True, kw_only=True):
    """MergeShards."""

    shard_to_merge: str
    adjacent_shard_to_merge: str


class Record(Request, frozen=True, kw_only=True):
    """PutRecord, or one record of PutRecords. `data` is base64 on the wire."""

    data: bytes
    partition_key: str
    explicit_hash_key: str | None = None


class PutMany(OfStream, frozen=True, kw_only=True):
    """PutRecords."""

    records: tuple[Record, ...]


class Iterate(OfStream, frozen=True, kw_only=True):
    """GetShardIterator. `timestamp`: seconds since 1970-01-01 UTC."""

    shard_id: str
    shard_iterator_type: str
    starting_sequence_number: str = ""
    timestamp: float | None = None


class Get(Request, frozen=True, kw_only=True):
    """GetRecords."""

    shard_iterator: str
    limit: int = 10_000


def read(params: Json, kind: type[T]) -> T:
    """`params` as a request of this kind. Raises Fault."""
    try:
        return msgspec.convert(params, kind)
    except msgspec.ValidationError as error:
        code = "ValidationException" if "missing" in str(error) else "SerializationException"
        raise Fault(code, str(error)) from None
