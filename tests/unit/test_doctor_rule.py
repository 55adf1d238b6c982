"""What event patterns let through, and whom a queue's policy lets in."""

import json
from typing import Any

import pytest

from blox.account.doctor.rule import (
    HOST_EVENTS,
    KINDS,
    TASK_EVENTS,
    Passes,
    lets_events_in,
    like,
    passage,
)

CLUSTER = "arn:aws:ecs:eu-west-1:111122223333:cluster/demo"
QUEUE = "arn:aws:sqs:eu-west-1:111122223333:events"
RULE = "arn:aws:events:eu-west-1:111122223333:rule/blox"


def passes(pattern: object, kind: str = TASK_EVENTS) -> tuple[Passes, str]:
    found = passage(json.dumps(pattern), kind=kind, cluster=CLUSTER)
    return found.passes, found.why


@pytest.mark.parametrize(
    "pattern",
    [
        {"source": ["aws.ecs"]},
        {"source": ["aws.ecs"], "detail-type": list(KINDS)},
        {"source": ["aws.ec2", "aws.ecs"], "detail": {"clusterArn": [CLUSTER]}},
        {"source": [{"prefix": "aws."}], "account": ["111122223333"], "region": ["eu-west-1"]},
        {"detail-type": [{"wildcard": "ECS * State Change"}]},
        {"detail-type": [{"suffix": "State Change"}]},
        {"detail": {"clusterArn": [{"prefix": "arn:aws:ecs:eu-west-1:111122223333:cluster/"}]}},
        {"detail": {"clusterArn": [{"anything-but": [CLUSTER + "2"]}]}},
        {"detail": {"clusterArn": [{"anything-but": {"prefix": "arn:aws:ecs:us-"}}]}},
        {"detail": {"clusterArn": [{"equals-ignore-case": CLUSTER.upper()}]}},
        {"detail": {"clusterArn": [{"exists": True}]}},
    ],
)
def test_patterns_that_let_everything_of_a_cluster_through(pattern: object) -> None:
    for kind in KINDS:
        assert passes(pattern, kind) == (Passes.ALL, "")


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ({"source": ["aws.ec2"]}, "source"),
        ({"source": ["my.app"], "detail": {"clusterArn": [CLUSTER]}}, "source"),
        ({"detail": {"clusterArn": [CLUSTER + "2"]}}, "detail.clusterArn"),
        ({"detail": {"clusterArn": [{"exists": False}]}}, "detail.clusterArn"),
        ({"detail": {"clusterArn": [{"anything-but": CLUSTER}]}}, "detail.clusterArn"),
        ({"account": ["444455556666"]}, "account"),
        ({"detail-type": ["ECS Service Action"]}, "detail-type"),
        ({"detail": {"clusterArn": []}}, "detail.clusterArn"),
    ],
)
def test_patterns_that_let_nothing_through(pattern: object, why: str) -> None:
    assert passes(pattern) == (Passes.NONE, why)


def test_a_pattern_may_let_one_kind_through_and_not_the_other() -> None:
    pattern = {"source": ["aws.ecs"], "detail-type": [TASK_EVENTS]}
    assert passes(pattern, TASK_EVENTS) == (Passes.ALL, "")
    assert passes(pattern, HOST_EVENTS) == (Passes.NONE, "detail-type")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"detail": {"lastStatus": ["STOPPED"]}}, (Passes.SOME, "detail.lastStatus")),
        ({"resources": [CLUSTER]}, (Passes.SOME, "resources")),
        (
            {"detail": {"clusterArn": [{"numeric": [">", 1]}]}},
            (Passes.UNKNOWN, "detail.clusterArn"),
        ),
        ({"source": "aws.ecs"}, (Passes.UNKNOWN, "source")),
        ({"detail": [1]}, (Passes.UNKNOWN, "detail")),
    ],
)
def test_what_goes_by_something_else_is_not_called_whole(
    pattern: object, expected: tuple[Passes, str]
) -> None:
    assert passes(pattern) == expected


@pytest.mark.parametrize("pattern", ["", "{", "[]", "7"])
def test_a_rule_without_a_pattern_lets_no_event_through(pattern: str) -> None:
    assert passage(pattern, kind=TASK_EVENTS, cluster=CLUSTER).passes is Passes.NONE


# --- The queue's policy ---------------------------------------------------------------------------


def statement(**more: Any) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": QUEUE,
        "Condition": {"ArnEquals": {"aws:SourceArn": RULE}},
        **more,
    }


def admitted(*statements: object) -> bool | None:
    policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return lets_events_in(policy, queue=QUEUE, rule=RULE)


TLS = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "sqs:*",
    "Resource": QUEUE,
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}


@pytest.mark.parametrize(
    "allow",
    [
        statement(),
        statement(Condition=None),
        statement(Action=["SQS:sendmessage", "sqs:ReceiveMessage"]),
        statement(Action="sqs:*", Resource="*"),
        statement(Principal="*"),
        statement(Principal={"Service": ["sns.amazonaws.com", "events.amazonaws.com"]}),
        statement(Condition={"ArnLike": {"aws:SourceArn": "arn:aws:events:*:*:rule/*"}}),
        statement(Condition={"StringEquals": {"AWS:SourceAccount": "111122223333"}}),
    ],
)
def test_policies_that_let_events_in(allow: object) -> None:
    assert admitted(allow) is True
    assert admitted(TLS, allow) is True


@pytest.mark.parametrize(
    "other",
    [
        statement(Principal={"Service": "sns.amazonaws.com"}),
        statement(Principal={"AWS": "111122223333"}),
        statement(Action="sqs:ReceiveMessage"),
        statement(Resource=QUEUE + "2"),
        statement(Condition={"ArnEquals": {"aws:SourceArn": RULE + "2"}}),
        statement(Condition={"StringEquals": {"aws:SourceAccount": "444455556666"}}),
    ],
)
def test_policies_that_keep_events_out(other: object) -> None:
    assert admitted(other) is False
    assert admitted(other, statement()) is True


def test_no_policy_lets_nobody_in() -> None:
    assert lets_events_in("", queue=QUEUE, rule=RULE) is False
    assert admitted() is False


@pytest.mark.parametrize(
    "odd",
    [
        statement(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}),
        statement(Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}}),
        {"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": "*"},
    ],
)
def test_what_is_not_understood_is_not_guessed(odd: object) -> None:
    assert admitted(odd) is None
    assert lets_events_in("nonsense", queue=QUEUE, rule=RULE) is None


def test_asterisks_and_question_marks() -> None:
    assert like("arn:*:rule/b?ox", RULE)
    assert not like("arn:*:rule/b?ox", RULE + "x")
    assert not like("b?ox", "blox", single=False)
    assert like("b.ox", "b.ox")
    assert not like("b.ox", "blox")
