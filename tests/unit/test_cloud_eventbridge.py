"""EventBridge around the simulated ECS: the rule, its pattern, what callers put on the bus."""

import json
from typing import Any
from uuid import UUID

import pytest

from blox.simulator.eventbridge import RULE, EventBus, check_pattern, matches
from blox.simulator.model import Fault, Json

QUEUE = "arn:aws:sqs:us-east-1:111122223333:events"
TASK: Json = {
    "source": "aws.ecs",
    "detail-type": "ECS Task State Change",
    "detail": {"clusterArn": "arn:aws:ecs:us-east-1:111122223333:cluster/demo", "group": None},
    "resources": ["arn:aws:ecs:us-east-1:111122223333:task/demo/1"],
}


class Bus:
    """A bus with one queue, and what it emitted."""

    def __init__(self) -> None:
        self.bus = EventBus(account="111122223333", region="us-east-1", routes=["events"])
        self.emitted: list[Json] = []

    def call(self, operation: str, **params: object) -> Any:
        return self.bus.call(
            operation,
            dict(params),
            now=1_750_000_000.25,
            new_id=lambda: UUID(int=7),
            emit=self.emitted.append,
        )

    def refused(self, operation: str, **params: object) -> Fault:
        with pytest.raises(Fault) as caught:
            self.call(operation, **params)
        return caught.value


def entry(**members: object) -> Json:
    return {"Source": "blox", "DetailType": "host ready", "Detail": "{}", **members}


def test_the_rule_and_its_targets_are_told() -> None:
    bus = Bus()
    rule = bus.call("DescribeRule", Name=RULE)
    assert (rule["State"], rule["EventBusName"]) == ("ENABLED", "default")
    assert rule["Arn"] == f"arn:aws:events:us-east-1:111122223333:rule/{RULE}"
    assert json.loads(rule["EventPattern"])["source"] == ["aws.ecs"]
    assert bus.call("ListTargetsByRule", Rule=RULE)["Targets"] == [{"Id": "events", "Arn": QUEUE}]
    assert bus.call("ListRuleNamesByTarget", TargetArn=QUEUE)["RuleNames"] == [RULE]
    assert bus.call("ListRuleNamesByTarget", TargetArn=QUEUE + "x")["RuleNames"] == []
    assert [one["Name"] for one in bus.call("ListRules")["Rules"]] == [RULE]
    assert bus.call("ListRules", NamePrefix="other")["Rules"] == []
    policy = json.loads(bus.bus.queue_policy("events"))["Statement"][0]
    assert (policy["Resource"], policy["Condition"]["ArnEquals"]["aws:SourceArn"]) == (
        QUEUE,
        rule["Arn"],
    )


def test_what_is_not_there_is_told() -> None:
    bus = Bus()
    for operation, member in (("DescribeRule", "Name"), ("ListTargetsByRule", "Rule")):
        assert bus.refused(operation, **{member: "other"}).code == "ResourceNotFoundException"
    fault = bus.refused("DescribeRule", Name=RULE, EventBusName="mine")
    assert (fault.code, "mine" in fault.message) == ("ResourceNotFoundException", True)
    assert bus.refused("PutRule").code == "UnknownOperationException"


def test_a_disabled_or_missing_rule_feeds_nothing() -> None:
    bus = Bus()
    assert bus.bus.targets(TASK) == ["events"]
    bus.bus.enabled = False
    assert bus.bus.targets(TASK) == []
    assert bus.call("DescribeRule", Name=RULE)["State"] == "DISABLED"
    assert bus.call("ListRuleNamesByTarget", TargetArn=QUEUE)["RuleNames"] == [RULE]
    bus.bus.exists, bus.bus.enabled = False, True
    assert bus.bus.targets(TASK) == []
    assert bus.call("ListRuleNamesByTarget", TargetArn=QUEUE)["RuleNames"] == []
    assert bus.call("ListRules")["Rules"] == []
    assert bus.refused("DescribeRule", Name=RULE).code == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"source": ["aws.ecs"]}, True),
        ({"source": ["aws.ec2", "aws.ecs"]}, True),
        ({"source": ["aws.ec2"]}, False),
        ({"source": ["aws.ecs"], "detail-type": ["other"]}, False),
        ({"detail": {"clusterArn": [{"prefix": "arn:aws:ecs:us-east-1:"}]}}, True),
        ({"detail": {"clusterArn": [{"prefix": "arn:aws:ecs:eu-"}]}}, False),
        ({"detail": {"clusterArn": [{"exists": True}]}}, True),
        ({"detail": {"taskArn": [{"exists": True}]}}, False),
        ({"detail": {"taskArn": [{"exists": False}]}}, True),
        ({"detail": {"taskArn": ["x"]}}, False),
        ({"detail": {"group": [None]}}, True),
        ({"detail": {"clusterArn": {"deeper": ["x"]}}}, False),
        ({"resources": [{"prefix": "arn:aws:ecs:us-east-1:111122223333:task/demo"}]}, True),
        ({"source": "aws.ecs"}, False),
    ],
)
def test_patterns_match_as_eventbridge_has_it(pattern: Json, expected: bool) -> None:
    assert matches(pattern, TASK) == expected


@pytest.mark.parametrize(
    "pattern", [{}, {"source": "aws.ecs"}, {"source": []}, {"a": [{"suffix": "x"}]}, {"a": {}}]
)
def test_what_is_no_pattern_is_refused(pattern: Json) -> None:
    with pytest.raises(ValueError, match=r"pattern"):
        check_pattern(pattern)


def test_put_events_are_kept_and_emitted_as_envelopes() -> None:
    bus = Bus()
    answer = bus.call("PutEvents", Entries=[entry(Detail='{"host": "i-1"}', Resources=["a"])])
    assert answer == {"FailedEntryCount": 0, "Entries": [{"EventId": str(UUID(int=7))}]}
    assert list(bus.bus.put) == bus.emitted
    event: Any = bus.emitted[0]
    assert (event["source"], event["detail-type"]) == ("blox", "host ready")
    assert (event["time"], event["detail"]) == ("2025-06-15T15:06:40Z", {"host": "i-1"})
    assert (event["resources"], event["account"]) == (["a"], "111122223333")
    assert bus.bus.targets(event) == []
    bus.bus.pattern = {"source": ["blox"]}
    assert bus.bus.targets(event) == ["events"]


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"Source": ""}, "InvalidArgument"),
        ({"DetailType": None}, "InvalidArgument"),
        ({"Detail": ""}, "InvalidArgument"),
        ({"Detail": "[1]"}, "MalformedDetail"),
        ({"Detail": "{"}, "MalformedDetail"),
        ({"Source": "aws.ecs"}, "NotAuthorizedForSourceException"),
        ({"EventBusName": "mine"}, "InvalidArgument"),
    ],
)
def test_one_bad_entry_fails_alone(members: Json, code: str) -> None:
    bus = Bus()
    answer = bus.call("PutEvents", Entries=[entry(**members), entry()])
    assert answer["FailedEntryCount"] == 1
    assert answer["Entries"][0]["ErrorCode"] == code
    assert "EventId" in answer["Entries"][1]
    assert len(bus.emitted) == 1


def test_a_request_has_at_most_ten_entries_and_256_kib() -> None:
    bus = Bus()
    detail = json.dumps({"text": "x" * 262_144})
    for entries in ([], [entry()] * 11, [entry(Detail=detail)]):
        assert bus.refused("PutEvents", Entries=entries).code == "ValidationException"
    assert bus.emitted == []
