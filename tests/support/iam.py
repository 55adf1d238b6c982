"""As much of IAM as it takes to tell what a policy allows, and what each call of ours asks for.

Written from AWS's pages and from nothing of the product's:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from support.simulated import ACCOUNT, REGION

ECS = f"arn:aws:ecs:{REGION}:{ACCOUNT}"
SQS = f"arn:aws:sqs:{REGION}:{ACCOUNT}"


class Asked(NamedTuple):
    """One thing that AWS looks up in the caller's policies."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()
    """Condition keys and their values."""


def allows(policies: Sequence[Mapping[str, Any]], asked: Asked, *, by: str = "") -> bool:
    """Whether some statement allows it and none denies it. `by`: the service that asks, where the
    policy is a resource's and names its principals."""
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in _listed(policy["Statement"])
        if _fits(statement, asked, by)
    }
    return effects == {"Allow"}


def refused(policies: Sequence[Mapping[str, Any]], asked: Iterable[Asked]) -> list[Asked]:
    """What they do not allow, each once, in order."""
    return [one for one in dict.fromkeys(asked) if not allows(policies, one)]


def _fits(statement: Mapping[str, Any], asked: Asked, by: str) -> bool:
    if not set(statement) <= {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}:
        raise ValueError(f"not understood: {statement}")
    return (
        any(_like(asked.action, pattern) for pattern in _listed(statement["Action"]))
        and any(_like(asked.resource, pattern) for pattern in _listed(statement["Resource"]))
        and _listed(statement.get("Principal", {}).get("Service", "")) == [by]
        and all(
            _holds(operator, key, _listed(values), dict(asked.context))
            for operator, block in statement.get("Condition", {}).items()
            for key, values in block.items()
        )
    )


def _holds(operator: str, key: str, values: Sequence[str], context: Mapping[str, str]) -> bool:
    """A key that the call does not have makes these operators false."""
    if key not in context:
        return False
    if operator == "StringEquals":
        return context[key] in values
    if operator in ("ArnEquals", "ArnLike", "StringLike"):
        return any(_like(context[key], pattern) for pattern in values)
    raise ValueError(f"not understood: {operator}")


def _like(value: str, pattern: str) -> bool:
    """`*` stands for any text, `?` for any character."""
    parts = {"*": ".*", "?": "."}
    return re.fullmatch("".join(parts.get(c, re.escape(c)) for c in pattern), value) is not None


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


# --- What calls ask for ---------------------------------------------------------------------------


def asked_by(
    operation: str, body: bytes, *, roles: Mapping[str, Sequence[str]] | None = None
) -> list[Asked]:
    """What AWS looks up for one call of ours. `roles`: the roles of each task definition's ARN.

    Raises KeyError for an operation that it does not know.
    """
    members = json.loads(body or b"{}")
    if operation in _OF_SQS:
        action, queue = _OF_SQS[operation]
        return [Asked(f"sqs:{action}", f"{SQS}:{str(members[queue]).rsplit('/', 1)[-1]}")]
    if operation == "StartTask":
        return _start(members, roles or {})
    of, name = _OF_ECS[operation]
    cluster = _arn("cluster", str(members.get("cluster", "")))
    context = (("ecs:cluster", cluster),) if of in ("container-instance", "task", "service") else ()
    if name == "cluster":
        return [Asked(f"ecs:{operation}", cluster)]
    if not name:
        within = (("ecs:cluster", cluster),) if "cluster" in members else ()
        return [Asked(f"ecs:{operation}", "*", within)]
    names = [
        str(one["targetId"] if isinstance(one, dict) else one) for one in _listed(members[name])
    ]
    prefix = cluster.rsplit("/", 1)[-1] + "/" if of == "service" else ""
    return [
        Asked(f"ecs:{operation}", arn, context)
        for arn in dict.fromkeys(_arn(of, one, prefix) for one in names)
    ]


_OF_ECS = {
    "DescribeClusters": ("cluster", "clusters"),
    "ListClusters": ("", ""),
    "ListContainerInstances": ("", "cluster"),
    "DescribeContainerInstances": ("container-instance", "containerInstances"),
    "ListTasks": ("", ""),
    "DescribeTasks": ("task", "tasks"),
    "DescribeTaskDefinition": ("", ""),
    "DescribeServices": ("service", "services"),
    "ListServices": ("", ""),
    "DescribeCapacityProviders": ("capacity-provider", "capacityProviders"),
    "StopTask": ("task", "task"),
    "PutAttributes": ("container-instance", "attributes"),
    "DeleteAttributes": ("container-instance", "attributes"),
}
"""Operation → the kind of resource, and the member of the request that names it."""
_OF_SQS = {
    "GetQueueUrl": ("GetQueueUrl", "QueueName"),
    "ReceiveMessage": ("ReceiveMessage", "QueueUrl"),
    "DeleteMessageBatch": ("DeleteMessage", "QueueUrl"),
    "GetQueueAttributes": ("GetQueueAttributes", "QueueUrl"),
}


def _arn(kind: str, named: str, prefix: str = "") -> str:
    return named if named.startswith("arn:") else f"{ECS}:{kind}/{prefix}{named}"


def _start(members: Mapping[str, Any], roles: Mapping[str, Sequence[str]]) -> list[Asked]:
    definition, cluster = str(members["taskDefinition"]), _arn("cluster", str(members["cluster"]))
    overrides = members.get("overrides", {})
    passed = [
        *roles.get(definition, ()),
        *(
            str(overrides[name])
            for name in ("taskRoleArn", "executionRoleArn")
            if name in overrides
        ),
    ]
    asked = [Asked("ecs:StartTask", definition, (("ecs:cluster", cluster),))]
    asked += [
        Asked("iam:PassRole", role, (("iam:PassedToService", "ecs-tasks.amazonaws.com"),))
        for role in passed
    ]
    if members.get("tags"):
        name = cluster.rsplit("/", 1)[-1]
        asked.append(
            Asked("ecs:TagResource", f"{ECS}:task/{name}/new", (("ecs:CreateAction", "StartTask"),))
        )
    return asked
