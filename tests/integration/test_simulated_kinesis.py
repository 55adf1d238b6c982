"""The simulated Kinesis as real clients see it, and the events that the rule puts into it."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.processes import wait_until
from support.simulated import ACCOUNT, REGION, Bench, on_a_bench

STREAM = "ecs-events"


def everything(kinesis: Any) -> list[Any]:
    """Every record's data in every shard, oldest first in each."""
    found: list[Any] = []
    for shard in kinesis.list_shards(StreamName=STREAM)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=STREAM, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        answer = kinesis.get_records(ShardIterator=iterator)
        assert answer["MillisBehindLatest"] == 0
        found += [record["Data"] for record in answer["Records"]]
    return found


def test_the_rule_puts_every_event_of_ecs_into_the_stream_as_into_the_queue() -> None:
    def work(bench: Bench) -> None:
        kinesis, events = bench.client("kinesis"), bench.client("events")
        targets = events.list_targets_by_rule(Rule="blox-ecs-events")["Targets"]
        arn = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{STREAM}"
        assert [target["Arn"].rsplit(":", 1)[-1] for target in targets] == [
            "events",
            f"stream/{STREAM}",
        ]
        assert events.list_rule_names_by_target(TargetArn=arn)["RuleNames"] == ["blox-ecs-events"]
        before = everything(kinesis)
        added = bench.control.post("hosts", {"cluster": "demo", "count": 3})["hosts"]
        told = [json.loads(data) for data in everything(kinesis) if data not in before]
        assert {event["detail"]["containerInstanceArn"] for event in told} == set(added)
        state = bench.control.get("state")["streams"][STREAM]
        assert (state["shards"], state["receivesEvents"]) == (2, True)
        assert state["records"] == len(before) + len(told)
        bench.control.post("rule", {"state": "DISABLED"})
        bench.control.post("hosts", {"cluster": "demo", "count": 1})
        wait_until(lambda: len(bench.hosts()) == 7, what="a host more")
        assert bench.control.get("state")["streams"][STREAM] == {**state, "receivesEvents": False}

    on_a_bench(work, streams=[STREAM])


def test_streams_are_resharded_as_boto3_does_it() -> None:
    def work(bench: Bench) -> None:
        kinesis = bench.client("kinesis")
        shards = kinesis.list_shards(StreamName=STREAM)["Shards"]
        kinesis.merge_shards(
            StreamName=STREAM,
            ShardToMerge=shards[0]["ShardId"],
            AdjacentShardToMerge=shards[1]["ShardId"],
        )
        (child,) = kinesis.list_shards(StreamName=STREAM, ShardFilter={"Type": "AT_LATEST"})[
            "Shards"
        ]
        assert child["ParentShardId"] == shards[0]["ShardId"]
        put = kinesis.put_record(StreamName=STREAM, Data=b"x", PartitionKey="k")
        assert put["ShardId"] == child["ShardId"]
        iterator = kinesis.get_shard_iterator(
            StreamName=STREAM,
            ShardId=child["ShardId"],
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            StartingSequenceNumber=put["SequenceNumber"],
        )["ShardIterator"]
        (record,) = kinesis.get_records(ShardIterator=iterator)["Records"]
        assert (record["Data"], record["PartitionKey"]) == (b"x", "k")
        assert record["ApproximateArrivalTimestamp"].year >= 2025
        summary = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]
        assert (summary["OpenShardCount"], summary["RetentionPeriodHours"]) == (1, 24)

    on_a_bench(work, streams=[STREAM])


def test_faults_and_denials_strike_kinesis_too() -> None:
    def work(bench: Bench) -> None:
        kinesis = bench.client("kinesis")
        bench.control.post("deny", {"what": "kinesis:ListShards"})
        with pytest.raises(ClientError, match="AccessDeniedException"):
            kinesis.list_shards(StreamName=STREAM)
        bench.control.post("deny", {"what": "*", "on": False})
        fault = {"service": "kinesis", "operation": "ListShards", "outcome": "throttle"}
        bench.control.post("faults", fault)
        with pytest.raises(ClientError, match="ProvisionedThroughputExceededException"):
            kinesis.list_shards(StreamName=STREAM)

    on_a_bench(work, streams=[STREAM])
