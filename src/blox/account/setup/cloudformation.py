"""The CloudFormation template of `blox setup`, as YAML.

Resources of IAM have no names of their own, so that stacks in several regions do not fight over
them; the outputs tell what CloudFormation called them.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from blox.account.setup.feed import (
    ATTEMPTS,
    DEAD,
    DEAD_RETENTION,
    DEAD_WHY,
    DELIVERY_WHY,
    POLICY_WHY,
    QUEUE_WHY,
    RECEIVES,
    RETENTION,
    RULE_WHY,
    VISIBILITY,
    Blanks,
    RunsOn,
    Template,
    heading,
    pattern,
    trust,
)
from blox.account.setup.policies import (
    LIMIT,
    VERSION,
    Permitted,
    Statement,
    documents,
    statements,
)
from blox.account.setup.yaml import Noted, Tag, Yaml, dump

INLINE_LIMIT: Final = 51_200
"""Bytes of a template that is not first put into S3.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html"""
ROOM: Final = 300
"""Characters kept free in each policy for what `${…}` will stand for."""

BLANKS: Final = Blanks(
    partition="${AWS::Partition}",
    region="${AWS::Region}",
    account="${AWS::AccountId}",
    cluster="${ClusterName}",
    family="${Family}",
    roles=("${TaskRoleArn}", "${ExecutionRoleArn}"),
)
"""What stands where the command line did not say."""

_PARAMETERS: Final[Mapping[str, tuple[str, str]]] = {
    "ClusterName": ("The cluster's name", "[A-Za-z0-9_-]{1,255}"),
    "Family": (
        "The family of the task definition that is to run on every host",
        "[A-Za-z0-9_-]{1,255}",
    ),
    "TaskRoleArn": (
        "The task role's ARN of that task definition; where it has none, the execution role's",
        "arn:aws[a-z-]*:iam::[0-9]{12}:role/.+",
    ),
    "ExecutionRoleArn": (
        "The execution role's ARN of that task definition; where it has none, the task role's",
        "arn:aws[a-z-]*:iam::[0-9]{12}:role/.+",
    ),
}
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z0-9:]+)\}")


def cloudformation(template: Template) -> str:
    """The template's text."""
    permitted = template.permitted
    policies = documents(statements(permitted), limit=LIMIT - ROOM)
    prefix = _prefix(permitted)
    names = [f"{prefix}Policy{number or ''}" for number in _numbers(len(policies))]
    resources = {**_feed(template), **_role(template)}
    roles: list[Yaml] = [Tag("Ref", name) for name in resources if name == f"{prefix}Role"]
    for place, (name, found) in enumerate(zip(names, policies, strict=True)):
        policy = _policy(found, permitted, roles)
        resources[name] = policy if place else Noted(POLICY_WHY, policy)
    body: dict[str, Yaml] = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"blox - a queue of ECS events and a policy for its {permitted.service}",
    }
    parameters = _parameters(resources)
    if parameters:
        body["Parameters"] = parameters
    body["Resources"] = resources
    body["Outputs"] = _outputs(template, names)
    return dump(body, comment=heading(template))


def _numbers(count: int) -> list[int]:
    """0, 2, 3, …: the first of several has no number."""
    return [0, *range(2, count + 1)]


# --- Events ---------------------------------------------------------------------------------------


def _feed(template: Template) -> dict[str, Yaml]:
    queue = template.permitted.queue
    return {
        "DeadLetters": Noted(DEAD_WHY, _queue(queue + DEAD, retention=DEAD_RETENTION)),
        "Events": Noted(
            QUEUE_WHY,
            _queue(
                queue,
                retention=RETENTION,
                more={
                    "VisibilityTimeout": VISIBILITY,
                    "RedrivePolicy": {
                        "deadLetterTargetArn": Tag("GetAtt", "DeadLetters.Arn"),
                        "maxReceiveCount": RECEIVES,
                    },
                },
            ),
        ),
        "EventsRule": Noted(RULE_WHY, _rule(template)),
        "EventsDelivery": Noted(DELIVERY_WHY, _delivery("Events")),
        "DeadLettersDelivery": _delivery("DeadLetters"),
    }


def _queue(name: str, *, retention: int, more: Mapping[str, Yaml] | None = None) -> Yaml:
    return {
        "Type": "AWS::SQS::Queue",
        "Properties": {
            "QueueName": name,
            "MessageRetentionPeriod": retention,
            "SqsManagedSseEnabled": True,
            **(more or {}),
        },
    }


def _rule(template: Template) -> Yaml:
    return {
        "Type": "AWS::Events::Rule",
        "Properties": {
            "Name": template.permitted.queue,
            "Description": "ECS task and container instance state changes for blox",
            "State": "ENABLED",
            "EventPattern": pattern(template.watched),
            "Targets": [
                {
                    "Id": "blox",
                    "Arn": Tag("GetAtt", "Events.Arn"),
                    "RetryPolicy": {
                        "MaximumEventAgeInSeconds": RETENTION,
                        "MaximumRetryAttempts": ATTEMPTS,
                    },
                    "DeadLetterConfig": {"Arn": Tag("GetAtt", "DeadLetters.Arn")},
                }
            ],
        },
    }


def _delivery(queue: str) -> Yaml:
    return {
        "Type": "AWS::SQS::QueuePolicy",
        "Properties": {
            "Queues": [Tag("Ref", queue)],
            "PolicyDocument": {
                "Version": VERSION,
                "Statement": [
                    {
                        "Sid": "EventsRuleAlone",
                        "Effect": "Allow",
                        "Principal": {"Service": "events.amazonaws.com"},
                        "Action": "sqs:SendMessage",
                        "Resource": Tag("GetAtt", f"{queue}.Arn"),
                        "Condition": {
                            "ArnEquals": {"aws:SourceArn": Tag("GetAtt", "EventsRule.Arn")}
                        },
                    }
                ],
            },
        },
    }


# --- Permissions ----------------------------------------------------------------------------------


def _policy(found: Sequence[Statement], permitted: Permitted, roles: Sequence[Yaml]) -> Yaml:
    properties: dict[str, Yaml] = {
        "Description": f"blox {permitted.service} reading the queue {permitted.queue}"
    }
    if roles:
        properties["Roles"] = roles
    properties["PolicyDocument"] = _document(found, permitted)
    return {"Type": "AWS::IAM::ManagedPolicy", "Properties": properties}


def _document(found: Sequence[Statement], permitted: Permitted) -> Yaml:
    return {
        "Version": VERSION,
        "Statement": [
            Noted(statement.why, _statement(statement, permitted)) for statement in found
        ],
    }


def _statement(statement: Statement, permitted: Permitted) -> Yaml:
    shown: dict[str, Yaml] = {
        "Sid": statement.sid,
        "Effect": "Allow",
        "Action": list(statement.actions),
        "Resource": [_text(value, permitted) for value in statement.resources],
    }
    if statement.conditions:
        block: dict[str, dict[str, Yaml]] = {}
        for condition in statement.conditions:
            values = [_text(value, permitted) for value in condition.values]
            block.setdefault(condition.operator, {})[condition.key] = values
        shown["Condition"] = block
    return shown


def _text(value: str, permitted: Permitted) -> Yaml:
    """A value as CloudFormation writes it: our own queue by reference, `${…}` filled in."""
    if value == permitted.queue_arn:
        return Tag("GetAtt", "Events.Arn")
    whole = _VARIABLE.fullmatch(value)
    if whole is not None:
        return Tag("Ref", whole[1])
    return Tag("Sub", value) if "${" in value else value


def _prefix(permitted: Permitted) -> str:
    """What the names of the service's own resources begin with."""
    return "StateService" if permitted.state else "Scheduler"


def _role(template: Template) -> dict[str, Yaml]:
    runs_on, prefix = template.runs_on, _prefix(template.permitted)
    if runs_on is RunsOn.ELSEWHERE:
        return {}
    service, key = trust(runs_on)
    statement: dict[str, Yaml] = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
    }
    if key is not None:
        statement["Condition"] = {"StringEquals": {key: Tag("Ref", "AWS::AccountId")}}
    found: dict[str, Yaml] = {
        f"{prefix}Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "Description": f"blox {template.permitted.service}",
                "AssumeRolePolicyDocument": {"Version": VERSION, "Statement": [statement]},
            },
        }
    }
    if runs_on is RunsOn.EC2:
        found[f"{prefix}Profile"] = {
            "Type": "AWS::IAM::InstanceProfile",
            "Properties": {"Roles": [Tag("Ref", f"{prefix}Role")]},
        }
    return found


def _parameters(resources: Mapping[str, Yaml]) -> dict[str, Yaml]:
    """A parameter for each blank that is used."""
    text = dump(resources)
    return {
        name: {"Type": "String", "Description": description, "AllowedPattern": allowed}
        for name, (description, allowed) in _PARAMETERS.items()
        if f"${{{name}}}" in text or f"!Ref {name}\n" in text
    }


def _outputs(template: Template, policies: Sequence[str]) -> Yaml:
    prefix = _prefix(template.permitted)
    word = "service" if template.permitted.state else "scheduler"
    found: dict[str, Yaml] = {
        "Queue": {
            "Description": f"For {template.permitted.service} --queue",
            "Value": Tag("GetAtt", "Events.QueueName"),
        },
        "DeadLetterQueue": {
            "Description": "Empty when all is well",
            "Value": Tag("GetAtt", "DeadLetters.QueueName"),
        },
    }
    for name in policies:
        found[f"{name}Arn"] = {"Description": "What may be done", "Value": Tag("Ref", name)}
    if template.runs_on is not RunsOn.ELSEWHERE:
        found["RoleArn"] = {
            "Description": f"The role of the {word}",
            "Value": Tag("GetAtt", f"{prefix}Role.Arn"),
        }
    if template.runs_on is RunsOn.EC2:
        found["InstanceProfile"] = {
            "Description": f"Launch the {word}'s machine with it",
            "Value": Tag("Ref", f"{prefix}Profile"),
        }
    return found
