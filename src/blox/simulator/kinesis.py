"""The API of Kinesis data streams: requests and answers in the shapes of its JSON protocol.

What it knows: create, delete, list and describe streams, list, split and merge shards, put records,
iterators and reading, retention. Streams are ACTIVE at once. It checks its input as Kinesis does
and names the errors as Kinesis does; each shard answers five reads a second.
https://docs.aws.amazon.com/kinesis/latest/APIReference/Welcome.html
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import DecodeError, Struct, json

from blox.simulator.kinesis_shapes import (
    Create,
    Describe,
    Get,
    Iterate,
    ListShards,
    ListStreams,
    Merge,
    OfStream,
    PutMany,
    Record,
    Retention,
    Split,
    read,
)
from blox.simulator.kinesis_stream import KEYS, MOST_RECORDS, Kept, Shard, Stream
from blox.simulator.model import Fault, Json

EXPIRES: Final = 300.0
"""Seconds for which an iterator or a page's token may be used."""
MOST_SHARDS: Final = 1_000
_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{1,128}\Z")


class _Token(Struct, frozen=True):
    """What an iterator or a page's token says."""

    stream: str
    created: float
    shard: str
    after: str
    made: float


class Streams:
    """Every stream of one account and region."""

    def __init__(self, *, account: str, region: str) -> None:
        self.account = account
        self.region = region
        self._streams: dict[str, Stream] = {}
        self._made = 0
        self._operations: dict[str, Callable[[Json, float], Json]] = {
            "CreateStream": self._create,
            "DecreaseStreamRetentionPeriod": self._retention,
            "DeleteStream": self._delete,
            "DescribeStream": self._describe,
            "DescribeStreamSummary": self._summary,
            "GetRecords": self._get,
            "GetShardIterator": self._iterate,
            "IncreaseStreamRetentionPeriod": self._retention,
            "ListShards": self._shards,
            "ListStreams": self._list,
            "MergeShards": self._merge,
            "PutRecord": self._put,
            "PutRecords": self._put_many,
            "SplitShard": self._split,
        }

    def call(self, operation: str, params: Json, *, now: float) -> Json:
        """Answer one request. Raises Fault."""
        handler = self._operations.get(operation)
        if handler is None:
            raise Fault("UnknownOperationException", f"The simulated Kinesis has no {operation}.")
        return handler(params, now)

    def named(self, name: str) -> Stream | None:
        """A stream by its name."""
        return self._streams.get(name)

    def names(self) -> list[str]:
        """The names of all streams, sorted."""
        return sorted(self._streams)

    def arn(self, name: str) -> str:
        """The ARN of a stream of this name."""
        return f"arn:aws:kinesis:{self.region}:{self.account}:stream/{name}"

    # --- Streams ----------------------------------------------------------------------------------

    def _create(self, params: Json, now: float) -> Json:
        request = read(params, Create)
        if _NAME.match(request.stream_name) is None or not 1 <= request.shard_count <= MOST_SHARDS:
            raise Fault(
                "ValidationException",
                "streamName must satisfy [a-zA-Z0-9_.-]+, 1 to 128 in length, and shardCount be "
                f"from 1 to {MOST_SHARDS}.",
            )
        if request.stream_name in self._streams:
            raise Fault(
                "ResourceInUseException",
                f"Stream {request.stream_name} under account {self.account} already exists.",
            )
        self._made += 1
        self._streams[request.stream_name] = Stream(
            name=request.stream_name,
            arn=self.arn(request.stream_name),
            shards=request.shard_count,
            number=self._made,
            now=now,
        )
        return {}

    def _delete(self, params: Json, now: float) -> Json:
        del self._streams[self._of(read(params, OfStream), now).name]
        return {}

    def _list(self, params: Json, now: float) -> Json:
        del now
        request = read(params, ListStreams)
        after = request.next_token or request.exclusive_start_stream_name
        rest = [name for name in self.names() if name > after]
        shown = rest[: request.limit]
        answer: Json = {"StreamNames": shown, "HasMoreStreams": len(rest) > len(shown)}
        if len(rest) > len(shown):
            answer["NextToken"] = shown[-1]
        answer["StreamSummaries"] = [
            {
                "StreamName": name,
                "StreamARN": self.arn(name),
                "StreamStatus": "ACTIVE",
                "StreamModeDetails": {"StreamMode": "PROVISIONED"},
                "StreamCreationTimestamp": self._streams[name].created_at,
            }
            for name in shown
        ]
        return answer

    def _described(self, stream: Stream) -> Json:
        return {
            "StreamName": stream.name,
            "StreamARN": stream.arn,
            "StreamStatus": "ACTIVE",
            "StreamModeDetails": {"StreamMode": "PROVISIONED"},
            "RetentionPeriodHours": stream.retention,
            "StreamCreationTimestamp": stream.created_at,
            "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
            "EncryptionType": "NONE",
        }

    def _summary(self, params: Json, now: float) -> Json:
        stream = self._of(read(params, OfStream), now)
        shown = {**self._described(stream), "OpenShardCount": len(stream.open), "ConsumerCount": 0}
        return {"StreamDescriptionSummary": shown}

    def _describe(self, params: Json, now: float) -> Json:
        request = read(params, Describe)
        stream = self._of(request, now)
        after = request.exclusive_start_shard_id
        rest = [shard for shard in stream.shards.values() if shard.id > after]
        shown: Json = {
            **self._described(stream),
            "Shards": [_shown(shard) for shard in rest[: request.limit]],
            "HasMoreShards": len(rest) > request.limit,
        }
        return {"StreamDescription": shown}

    def _retention(self, params: Json, now: float) -> Json:
        request = read(params, Retention)
        stream = self._of(request, now)
        if not 24 <= request.retention_period_hours <= 8_760:
            raise Fault("InvalidArgumentException", "RetentionPeriodHours is from 24 to 8760.")
        stream.retention = request.retention_period_hours
        return {}

    # --- Shards -----------------------------------------------------------------------------------

    def _shards(self, params: Json, now: float) -> Json:
        request = read(params, ListShards)
        after = request.exclusive_start_shard_id
        if request.next_token:
            if request.stream_name or request.stream_arn or after:
                raise Fault(
                    "InvalidArgumentException",
                    "NextToken and StreamName cannot be provided together.",
                )
            token = self._token(request.next_token, now, expired="ExpiredNextTokenException")
            stream, after = self._named(token.stream), token.shard
        else:
            stream = self._of(request, now)
        stream.settle(now=now)
        kinds = request.shard_filter
        if kinds.type == "AFTER_SHARD_ID":
            after = kinds.shard_id
        elif kinds.type not in ("AT_LATEST", "FROM_TRIM_HORIZON", "AT_TRIM_HORIZON"):
            raise Fault(
                "InvalidArgumentException", f"The simulated Kinesis has no filter {kinds.type}."
            )
        known = stream.open if kinds.type == "AT_LATEST" else list(stream.shards.values())
        if kinds.type == "AT_TRIM_HORIZON":
            known = [one for one in known if not any(p in stream.shards for p in one.parents)]
        rest = sorted((one for one in known if one.id > after), key=lambda one: one.id)
        shown = rest[: min(request.max_results, MOST_SHARDS)]
        answer: Json = {"Shards": [_shown(shard) for shard in shown]}
        if len(rest) > len(shown):
            answer["NextToken"] = _text(stream, shown[-1].id, "", now)
        return answer

    def _split(self, params: Json, now: float) -> Json:
        request = read(params, Split)
        stream = self._of(request, now)
        stream.split(request.shard_to_split, _key(request.new_starting_hash_key), now=now)
        return {}

    def _merge(self, params: Json, now: float) -> Json:
        request = read(params, Merge)
        stream = self._of(request, now)
        stream.merge(request.shard_to_merge, request.adjacent_shard_to_merge, now=now)
        return {}

    # --- Records ----------------------------------------------------------------------------------

    def _put(self, params: Json, now: float) -> Json:
        return _put_one(self._of(read(params, OfStream), now), read(params, Record), now)

    def _put_many(self, params: Json, now: float) -> Json:
        request = read(params, PutMany)
        stream = self._of(request, now)
        if not 1 <= len(request.records) <= 500:
            raise Fault("ValidationException", "records must have 1 to 500 members.")
        done = [_put_one(stream, record, now) for record in request.records]
        return {"FailedRecordCount": 0, "Records": done, "EncryptionType": "NONE"}

    def _iterate(self, params: Json, now: float) -> Json:
        request = read(params, Iterate)
        stream = self._of(request, now)
        shard = stream.shard(request.shard_id)
        kind, records = request.shard_iterator_type, shard.records
        if kind == "TRIM_HORIZON":
            after = shard.starting
        elif kind == "LATEST":
            after = records[-1].sequence if records else (shard.ending or shard.starting)
        elif kind == "AT_TIMESTAMP" and request.timestamp is not None:
            earlier = [kept for kept in records if kept.arrived < request.timestamp]
            after = earlier[-1].sequence if earlier else shard.starting
        elif kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
            after = _sequence(stream, shard, request.starting_sequence_number)
            after -= kind == "AT_SEQUENCE_NUMBER"
        else:
            raise Fault("InvalidArgumentException", f"Invalid ShardIteratorType: {kind}.")
        return {"ShardIterator": _text(stream, shard.id, str(after), now)}

    def _get(self, params: Json, now: float) -> Json:
        request = read(params, Get)
        if not 1 <= request.limit <= MOST_RECORDS:
            raise Fault("InvalidArgumentException", f"Limit is from 1 to {MOST_RECORDS}.")
        token = self._token(request.shard_iterator, now, expired="ExpiredIteratorException")
        stream = self._named(token.stream)
        if stream.created_at != token.created:
            raise Fault("InvalidArgumentException", "Invalid ShardIterator.")
        stream.settle(now=now)
        shard = stream.shard(token.shard)
        after = int(token.after)
        found = stream.get(shard, after, most=request.limit, now=now)
        if found:
            after = found[-1].sequence
        rest = shard.records[shard.after(after) :]
        answer: Json = {
            "Records": [_given(kept) for kept in found],
            "MillisBehindLatest": int(1000 * (now - rest[0].arrived)) if rest else 0,
        }
        if rest or shard.ending is None:
            answer["NextShardIterator"] = _text(stream, shard.id, str(after), now)
        else:
            answer["ChildShards"] = [_child(child) for child in stream.children(shard)]
        return answer

    # --- Names ------------------------------------------------------------------------------------

    def _of(self, request: OfStream, now: float) -> Stream:
        name = request.stream_name or request.stream_arn.rpartition("/")[2]
        if not name:
            raise Fault("InvalidArgumentException", "Missing StreamName and StreamARN.")
        stream = self._named(name)
        stream.settle(now=now)
        return stream

    def _named(self, name: str) -> Stream:
        stream = self._streams.get(name)
        if stream is None:
            raise Fault(
                "ResourceNotFoundException",
                f"Stream {name} under account {self.account} not found.",
            )
        return stream

    def _token(self, text: str, now: float, *, expired: str) -> _Token:
        try:
            token = json.decode(b64decode(text, validate=True), type=_Token)
        except (ValueError, DecodeError):
            raise Fault("InvalidArgumentException", "Invalid ShardIterator.") from None
        if now > token.made + EXPIRES:
            raise Fault(
                expired,
                f"It was created at {token.made:.3f} while right now it is {now:.3f}, which is "
                f"further in the future than the tolerated delay of {EXPIRES * 1000:.0f} "
                "milliseconds.",
            )
        return token


def _text(stream: Stream, shard: str, after: str, now: float) -> str:
    token = _Token(stream.name, stream.created_at, shard, after, now)
    return b64encode(json.encode(token)).decode()


def _key(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 40 and int(text) < KEYS):
        raise Fault("InvalidArgumentException", f"{text} is no hash key.")
    return int(text)


def _sequence(stream: Stream, shard: Shard, text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 130 else -1
    if not stream.owns(number) or number < shard.starting:
        raise Fault(
            "InvalidArgumentException",
            f"StartingSequenceNumber {text} used in GetShardIterator on shard {shard.id} in stream "
            f"{stream.name} is invalid because it did not come from this stream.",
        )
    return number


def _put_one(stream: Stream, record: Record, now: float) -> Json:
    if not record.partition_key or len(record.partition_key) > 256:
        raise Fault("ValidationException", "partitionKey must have 1 to 256 characters.")
    shard, kept = stream.put(
        record.data,
        partition_key=record.partition_key,
        hash_key=None if record.explicit_hash_key is None else _key(record.explicit_hash_key),
        now=now,
    )
    return {"ShardId": shard.id, "SequenceNumber": str(kept.sequence)}


def _given(kept: Kept) -> Json:
    return {
        "SequenceNumber": str(kept.sequence),
        "ApproximateArrivalTimestamp": round(kept.arrived, 3),
        "Data": b64encode(kept.data).decode(),
        "PartitionKey": kept.partition_key,
    }


def _range(shard: Shard) -> Json:
    return {"StartingHashKey": str(shard.first_key), "EndingHashKey": str(shard.last_key)}


def _shown(shard: Shard) -> Json:
    numbers: Json = {"StartingSequenceNumber": str(shard.starting)}
    if shard.ending is not None:
        numbers["EndingSequenceNumber"] = str(shard.ending)
    shown: Json = {
        "ShardId": shard.id,
        "HashKeyRange": _range(shard),
        "SequenceNumberRange": numbers,
    }
    names: Sequence[str] = ("ParentShardId", "AdjacentParentShardId")
    return shown | dict(zip(names, shard.parents, strict=False))


def _child(shard: Shard) -> Json:
    parents = list(shard.parents)
    return {"ShardId": shard.id, "ParentShards": parents, "HashKeyRange": _range(shard)}
