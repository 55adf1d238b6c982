"""The simulated Kinesis: what a stream promises its readers, and how it says no."""

from base64 import b64decode, b64encode
from itertools import pairwise
from typing import Any

import pytest

from blox.simulator.kinesis import EXPIRES, Streams
from blox.simulator.kinesis_stream import CALLS, KEYS, MOST_BYTES
from blox.simulator.model import Fault

START = 1_750_000_000.0
HOUR = 3600.0
FIRST = "shardId-000000000000"


class Account:
    """An account with one stream, `s`, and a clock that tests turn."""

    def __init__(self, shards: int = 1) -> None:
        self.streams = Streams(account="111122223333", region="eu-west-1")
        self.now = START
        self.ask("CreateStream", StreamName="s", ShardCount=shards)

    def ask(self, operation: str, **params: object) -> dict[str, Any]:
        return self.streams.call(operation, params, now=self.now)

    def refused(self, operation: str, **params: object) -> Fault:
        with pytest.raises(Fault) as caught:
            self.ask(operation, **params)
        return caught.value

    def put(self, *bodies: str, key: str = "k", hash_key: int | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for body in bodies:
            record: dict[str, object] = {
                "Data": b64encode(body.encode()).decode(),
                "PartitionKey": key,
            }
            if hash_key is not None:
                record["ExplicitHashKey"] = str(hash_key)
            answer = self.ask("PutRecord", StreamName="s", **record)
        return answer

    def iterator(self, kind: str, shard: str = FIRST, **more: object) -> str:
        asked = {"StreamName": "s", "ShardId": shard, "ShardIteratorType": kind, **more}
        return str(self.ask("GetShardIterator", **asked)["ShardIterator"])

    def read(self, iterator: str, **more: object) -> tuple[list[str], dict[str, Any]]:
        answer = self.ask("GetRecords", ShardIterator=iterator, **more)
        return [b64decode(record["Data"]).decode() for record in answer["Records"]], answer

    def shards(self, **more: object) -> list[str]:
        return [s["ShardId"] for s in self.ask("ListShards", StreamName="s", **more)["Shards"]]


def test_records_are_read_in_order_from_an_iterator_on_and_stay() -> None:
    account = Account()
    account.put("a", "b", "c")
    for _ in range(2):
        iterator = account.iterator("TRIM_HORIZON")
        found, answer = account.read(iterator, Limit=2)
        assert found == ["a", "b"]
        assert account.read(answer["NextShardIterator"])[0] == ["c"]


def test_every_kind_of_iterator_begins_where_it_says() -> None:
    account = Account()
    first = account.put("a")["SequenceNumber"]
    account.now += 10
    account.put("b")
    latest = account.iterator("LATEST")
    account.now += 10
    account.put("c")
    started = {"StartingSequenceNumber": first}
    assert account.read(account.iterator("AT_SEQUENCE_NUMBER", **started))[0] == ["a", "b", "c"]
    assert account.read(account.iterator("AFTER_SEQUENCE_NUMBER", **started))[0] == ["b", "c"]
    assert account.read(account.iterator("AT_TIMESTAMP", Timestamp=START + 10))[0] == ["b", "c"]
    assert account.read(latest)[0] == ["c"]
    assert account.refused(
        "GetShardIterator", StreamName="s", ShardId=FIRST, ShardIteratorType="MIDDLE"
    ).code == ("InvalidArgumentException")


def test_how_far_behind_a_reader_is() -> None:
    account = Account()
    account.put("a")
    account.now += 5
    account.put("b")
    account.now += 5
    _, answer = account.read(account.iterator("TRIM_HORIZON"), Limit=1)
    assert answer["MillisBehindLatest"] == 5_000
    assert account.read(answer["NextShardIterator"])[1]["MillisBehindLatest"] == 0


def test_a_shard_answers_five_reads_a_second() -> None:
    account = Account()
    iterator = account.iterator("LATEST")
    for _ in range(CALLS):
        account.read(iterator)
    fault = account.refused("GetRecords", ShardIterator=iterator)
    assert (fault.code, fault.status) == ("ProvisionedThroughputExceededException", 400)
    assert fault.message.startswith(f"Rate exceeded for shard {FIRST} in stream s under account 1")
    account.now += 1
    account.read(iterator)


def test_after_ten_megabytes_a_shard_rests() -> None:
    account = Account()
    account.put(*["x" * (MOST_BYTES // 8)] * 9)
    found, answer = account.read(account.iterator("TRIM_HORIZON"))
    assert len(found) == 8
    account.now += 4
    rest = answer["NextShardIterator"]
    assert account.refused("GetRecords", ShardIterator=rest).code.startswith("ProvisionedThrough")
    account.now += 1
    assert len(account.read(rest)[0]) == 1


def test_an_iterator_expires() -> None:
    account = Account()
    iterator = account.iterator("LATEST")
    account.now += EXPIRES
    account.read(iterator)
    account.now += 1
    assert account.refused("GetRecords", ShardIterator=iterator).code == "ExpiredIteratorException"
    nonsense = b64encode(b"nonsense").decode()
    assert account.refused("GetRecords", ShardIterator=nonsense).code == "InvalidArgumentException"


def test_retention_trims_records_and_forgets_closed_shards() -> None:
    account = Account()
    old = account.put("old")["SequenceNumber"]
    account.ask("SplitShard", StreamName="s", ShardToSplit=FIRST, NewStartingHashKey=str(KEYS // 2))
    assert len(account.shards()) == 3
    account.now += 23 * HOUR
    account.put("young", hash_key=0)
    account.now += 1.5 * HOUR
    assert len(account.shards()) == 2
    fault = account.refused(
        "GetShardIterator",
        StreamName="s",
        ShardId=FIRST,
        ShardIteratorType="AFTER_SEQUENCE_NUMBER",
        StartingSequenceNumber=old,
    )
    assert fault.code == "ResourceNotFoundException"
    assert account.read(account.iterator("TRIM_HORIZON", account.shards()[0]))[0] == ["young"]
    account.ask("IncreaseStreamRetentionPeriod", StreamName="s", RetentionPeriodHours=48)
    account.now += 30 * HOUR
    left = account.shards()[0]
    assert account.read(account.iterator("TRIM_HORIZON", left))[0] == ["young"]


# --- Resharding -----------------------------------------------------------------------------------


def test_a_split_shard_is_read_to_its_end_and_names_its_children() -> None:
    account = Account()
    account.put("a", "b")
    account.ask("SplitShard", StreamName="s", ShardToSplit=FIRST, NewStartingHashKey="7")
    account.put("low", hash_key=6)
    account.put("high", hash_key=7)
    found, answer = account.read(account.iterator("TRIM_HORIZON"), Limit=1)
    assert (found, "ChildShards" in answer) == (["a"], False)
    found, answer = account.read(answer["NextShardIterator"])
    assert found == ["b"]
    assert "NextShardIterator" not in answer
    children = [child["ShardId"] for child in answer["ChildShards"]]
    assert children == account.shards()[1:]
    assert [child["ParentShards"] for child in answer["ChildShards"]] == [[FIRST], [FIRST]]
    assert [account.read(account.iterator("TRIM_HORIZON", one))[0] for one in children] == [
        ["low"],
        ["high"],
    ]
    listed = account.ask("ListShards", StreamName="s")["Shards"]
    assert "EndingSequenceNumber" in listed[0]["SequenceNumberRange"]
    assert "EndingSequenceNumber" not in listed[1]["SequenceNumberRange"]
    assert listed[1]["ParentShardId"] == FIRST


def test_merged_shards_have_one_child_with_two_parents() -> None:
    account = Account(shards=3)
    one, two, three = account.shards()
    merge = {"StreamName": "s", "ShardToMerge": one}
    fault = account.refused("MergeShards", **merge, AdjacentShardToMerge=three)
    assert fault.code == "InvalidArgumentException"
    account.ask("MergeShards", **merge, AdjacentShardToMerge=two)
    child = account.ask("ListShards", StreamName="s")["Shards"][-1]
    assert (child["ParentShardId"], child["AdjacentParentShardId"]) == (one, two)
    assert child["HashKeyRange"]["StartingHashKey"] == "0"
    assert account.shards(ShardFilter={"Type": "AT_LATEST"}) == [three, child["ShardId"]]
    assert account.shards(ShardFilter={"Type": "AT_TRIM_HORIZON"}) == [one, two, three]
    again = account.refused("MergeShards", **merge, AdjacentShardToMerge=two)
    assert "is not open" in again.message


def test_hash_keys_cover_every_shard() -> None:
    account = Account(shards=4)
    stream = account.streams.named("s")
    assert stream is not None
    edges = [(shard.first_key, shard.last_key) for shard in stream.open]
    assert edges[0][0] == 0
    assert edges[-1][1] == KEYS - 1
    assert all(low[1] + 1 == high[0] for low, high in pairwise(edges))
    account.put(*map(str, range(40)), key="always the same")
    assert sorted(len(shard.records) for shard in stream.open) == [0, 0, 0, 40]


# --- Streams --------------------------------------------------------------------------------------


def test_streams_are_made_listed_described_and_deleted() -> None:
    account = Account()
    account.ask("CreateStream", StreamName="t", ShardCount=2)
    assert account.refused("CreateStream", StreamName="t", ShardCount=2).code == (
        "ResourceInUseException"
    )
    listed = account.ask("ListStreams", Limit=1)
    assert (listed["StreamNames"], listed["HasMoreStreams"]) == (["s"], True)
    assert account.ask("ListStreams", NextToken=listed["NextToken"])["StreamNames"] == ["t"]
    arn = "arn:aws:kinesis:eu-west-1:111122223333:stream/t"
    shown = account.ask("DescribeStreamSummary", StreamARN=arn)["StreamDescriptionSummary"]
    assert (shown["StreamARN"], shown["StreamStatus"], shown["OpenShardCount"]) == (
        arn,
        "ACTIVE",
        2,
    )
    described = account.ask("DescribeStream", StreamName="t", Limit=1)["StreamDescription"]
    assert (len(described["Shards"]), described["HasMoreShards"]) == (1, True)
    account.ask("DeleteStream", StreamName="t")
    fault = account.refused("ListShards", StreamName="t")
    assert (fault.code, fault.message) == (
        "ResourceNotFoundException",
        "Stream t under account 111122223333 not found.",
    )


def test_shards_are_listed_in_pages_whose_tokens_expire() -> None:
    account = Account(shards=5)
    page = account.ask("ListShards", StreamName="s", MaxResults=2)
    token = page["NextToken"]
    account.now += EXPIRES
    rest = account.ask("ListShards", NextToken=token)["Shards"]
    assert [*(s["ShardId"] for s in page["Shards"]), *(s["ShardId"] for s in rest)] == (
        account.shards()
    )
    assert account.refused("ListShards", NextToken=token, StreamName="s").code == (
        "InvalidArgumentException"
    )
    account.now += 1
    assert account.refused("ListShards", NextToken=token).code == "ExpiredNextTokenException"


def test_a_sequence_number_of_another_stream_is_refused() -> None:
    account = Account()
    old = account.put("a")["SequenceNumber"]
    account.ask("DeleteStream", StreamName="s")
    account.ask("CreateStream", StreamName="s", ShardCount=1)
    fault = account.refused(
        "GetShardIterator",
        StreamName="s",
        ShardId=FIRST,
        ShardIteratorType="AFTER_SEQUENCE_NUMBER",
        StartingSequenceNumber=old,
    )
    assert fault.code == "InvalidArgumentException"
    assert "did not come from this stream" in fault.message


@pytest.mark.parametrize(
    ("operation", "params", "code"),
    [
        ("CreateStream", {"StreamName": "no spaces", "ShardCount": 1}, "ValidationException"),
        ("CreateStream", {"StreamName": "x", "ShardCount": 0}, "ValidationException"),
        ("PutRecord", {"StreamName": "s", "PartitionKey": "k"}, "ValidationException"),
        (
            "PutRecord",
            {"StreamName": "s", "Data": "eA==", "PartitionKey": ""},
            "ValidationException",
        ),
        ("PutRecords", {"StreamName": "s", "Records": []}, "ValidationException"),
        ("ListShards", {}, "InvalidArgumentException"),
        ("GetRecords", {"ShardIterator": "x", "Limit": 0}, "InvalidArgumentException"),
        ("RegisterStreamConsumer", {}, "UnknownOperationException"),
    ],
)
def test_refusals(operation: str, params: dict[str, object], code: str) -> None:
    assert Account().refused(operation, **params).code == code
