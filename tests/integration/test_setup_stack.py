"""The CloudFormation template, carried out: an event travels, and the role may do what it must."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from blox.account.setup.cloudformation import BLANKS, cloudformation
from blox.account.setup.feed import RunsOn, Template
from blox.account.setup.found import Found, Options, permitted_for
from blox.account.setup.policies import Served
from support.iam import Asked, allows
from support.simulated import REGION
from support.stacks import Account, account

MOTO = "123456789012"
DEMO = f"arn:aws:ecs:{REGION}:{MOTO}:cluster/demo"
AGENT = f"arn:aws:ecs:{REGION}:{MOTO}:task-definition/fluent-bit:3"
ROLE = f"arn:aws:iam::{MOTO}:role/task"
FOUND = Found(
    partition="aws",
    region=REGION,
    account=MOTO,
    clusters=(Served(name="demo", families=("fluent-bit",)),),
    arns=(DEMO,),
    roles=(ROLE,),
)
BLANK = {
    "ClusterName": "demo",
    "Family": "fluent-bit",
    "TaskRoleArn": ROLE,
    "ExecutionRoleArn": ROLE,
}


@pytest.fixture
def aws() -> Iterator[Account]:
    with account() as made:
        yield made


def written(found: Found | None, *, runs_on: RunsOn = RunsOn.EC2) -> str:
    """The template for a scheduler of what was found."""
    return cloudformation(
        Template(
            permitted=permitted_for(found, BLANKS, Options(queue="blox-events")),
            watched=() if found is None else found.arns,
            runs_on=runs_on,
            made_by="blox setup",
            version="1.0.0",
        )
    )


def queue(aws: Account, name: str) -> tuple[str, dict[str, Any]]:
    """A queue's URL and attributes."""
    sqs = aws.client("sqs")
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]


def put(aws: Account, kind: str, cluster: str) -> str:
    """An event on the default bus; its id."""
    entry = {"Source": "aws.ecs", "DetailType": kind, "Detail": json.dumps({"clusterArn": cluster})}
    answer = aws.client("events").put_events(Entries=[entry])
    assert answer["FailedEntryCount"] == 0
    return str(answer["Entries"][0]["EventId"])


def received(aws: Account, url: str) -> list[str]:
    """The ids of the events in a queue, which are removed."""
    sqs, found = aws.client("sqs"), []
    while messages := sqs.receive_message(QueueUrl=url).get("Messages"):
        for message in messages:
            found.append(json.loads(message["Body"])["id"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def test_an_event_reaches_the_queue(aws: Account) -> None:
    outputs = aws.create(written(None), **BLANK)
    assert outputs["Queue"] == "blox-events"
    url, _ = queue(aws, "blox-events")
    wanted = [
        put(aws, "ECS Task State Change", DEMO),
        put(aws, "ECS Container Instance State Change", f"{DEMO}-2"),
    ]
    put(aws, "ECS Deployment State Change", DEMO)
    assert received(aws, url) == wanted


def test_only_events_of_the_named_clusters_do(aws: Account) -> None:
    aws.create(written(FOUND))
    url, _ = queue(aws, "blox-events")
    wanted = put(aws, "ECS Task State Change", DEMO)
    put(aws, "ECS Task State Change", f"{DEMO}-2")
    assert received(aws, url) == [wanted]


def test_what_is_never_removed_goes_to_the_dead_letter_queue(aws: Account) -> None:
    outputs = aws.create(written(FOUND))
    url, _ = queue(aws, outputs["Queue"])
    dead, _ = queue(aws, outputs["DeadLetterQueue"])
    lost = put(aws, "ECS Task State Change", DEMO)
    sqs = aws.client("sqs")
    for _ in range(10):
        assert len(sqs.receive_message(QueueUrl=url, VisibilityTimeout=0)["Messages"]) == 1
    assert "Messages" not in sqs.receive_message(QueueUrl=url, VisibilityTimeout=0)
    assert received(aws, dead) == [lost]


@pytest.mark.parametrize("name", ["blox-events", "blox-events-dead"])
def test_the_rule_alone_may_send(aws: Account, name: str) -> None:
    aws.create(written(FOUND))
    _, attributes = queue(aws, name)
    rule = aws.client("events").describe_rule(Name="blox-events")["Arn"]
    policy, arn = [json.loads(attributes["Policy"])], attributes["QueueArn"]
    send = Asked("sqs:SendMessage", arn, (("aws:SourceArn", rule),))
    assert allows(policy, send, by="events.amazonaws.com")
    assert not allows(policy, send, by="sns.amazonaws.com")
    assert not allows(policy, send._replace(context=()), by="events.amazonaws.com")
    other = (("aws:SourceArn", f"{rule}-2"),)
    assert not allows(policy, send._replace(context=other), by="events.amazonaws.com")
    read = send._replace(action="sqs:ReceiveMessage")
    assert not allows(policy, read, by="events.amazonaws.com")


def test_the_queues_keep_events_as_long_as_they_say(aws: Account) -> None:
    aws.create(written(FOUND))
    _, events = queue(aws, "blox-events")
    _, dead = queue(aws, "blox-events-dead")
    assert (events["MessageRetentionPeriod"], events["VisibilityTimeout"]) == ("3600", "30")
    assert dead["MessageRetentionPeriod"] == "1209600"
    assert {events["SqsManagedSseEnabled"], dead["SqsManagedSseEnabled"]} == {"true"}
    redrive = json.loads(events["RedrivePolicy"])
    assert redrive == {"deadLetterTargetArn": dead["QueueArn"], "maxReceiveCount": 10}


def test_the_target_says_where_goes_what_cannot_be_delivered(aws: Account) -> None:
    aws.create(written(FOUND))
    (target,) = aws.client("events").list_targets_by_rule(Rule="blox-events")["Targets"]
    assert target["Arn"] == queue(aws, "blox-events")[1]["QueueArn"]
    assert target["DeadLetterConfig"] == {"Arn": queue(aws, "blox-events-dead")[1]["QueueArn"]}


@pytest.mark.parametrize("found", [FOUND, None], ids=["named", "parameters"])
def test_the_role_may_do_what_a_scheduler_does(aws: Account, found: Found | None) -> None:
    outputs = aws.create(written(found), **({} if found else BLANK))
    policies = aws.policies(outputs["RoleArn"].rsplit("/", 1)[-1])
    here = (("ecs:cluster", DEMO),)
    passed = (("iam:PassedToService", "ecs-tasks.amazonaws.com"),)
    for asked in (
        Asked("ecs:DescribeClusters", DEMO),
        Asked("ecs:ListTasks", "*", here),
        Asked("ecs:StartTask", AGENT, here),
        Asked("ecs:StopTask", f"{DEMO.replace('cluster/', 'task/')}/x", here),
        Asked("iam:PassRole", ROLE, passed),
        Asked("sqs:ReceiveMessage", queue(aws, "blox-events")[1]["QueueArn"]),
    ):
        assert allows(policies, asked), asked
    for asked in (
        Asked("ecs:StartTask", AGENT, (("ecs:cluster", f"{DEMO}-2"),)),
        Asked("iam:PassRole", f"{ROLE}-2", passed),
        Asked("sqs:ReceiveMessage", queue(aws, "blox-events-dead")[1]["QueueArn"]),
    ):
        assert not allows(policies, asked), asked


@pytest.mark.parametrize(
    ("runs_on", "service"),
    [(RunsOn.EC2, "ec2.amazonaws.com"), (RunsOn.ECS, "ecs-tasks.amazonaws.com")],
)
def test_the_role_is_for_where_the_scheduler_runs(
    aws: Account, runs_on: RunsOn, service: str
) -> None:
    outputs = aws.create(written(FOUND, runs_on=runs_on))
    iam = aws.client("iam")
    role = iam.get_role(RoleName=outputs["RoleArn"].rsplit("/", 1)[-1])["Role"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": service}
    of_ours = {"StringEquals": {"aws:SourceAccount": MOTO}}
    assert statement.get("Condition") == (of_ours if runs_on is RunsOn.ECS else None)
    assert ("InstanceProfile" in outputs) is (runs_on is RunsOn.EC2)
    if runs_on is RunsOn.EC2:
        profile = iam.get_instance_profile(InstanceProfileName=outputs["InstanceProfile"])
        (held,) = profile["InstanceProfile"]["Roles"]
        assert held["Arn"] == outputs["RoleArn"]


def test_elsewhere_there_is_a_policy_and_no_role(aws: Account) -> None:
    outputs = aws.create(written(FOUND, runs_on=RunsOn.ELSEWHERE))
    assert "RoleArn" not in outputs
    iam = aws.client("iam")
    assert iam.list_roles()["Roles"] == []
    policy = iam.get_policy(PolicyArn=outputs["SchedulerPolicyArn"])["Policy"]
    assert policy["AttachmentCount"] == 0
