"""Every AWS call that blox's code makes, and what an IAM policy must say for it.

One table, from which the policies of `blox setup --print iam` are written, by which `blox doctor`
tells which statement is missing, and against which a test holds the code: an operation that is sent
and not in here fails it.

Actions, resource types and condition keys are those of the service authorization reference:
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
(and of the like pages for SQS, EventBridge, IAM and STS).
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct


class Part(StrEnum):
    """What one may want blox to do; each needs its own calls."""

    OBSERVE = "observe"
    """Know the clusters: `daemon-scheduler --observe`, and the half of one that acts."""
    ACT = "act"
    """Start and stop daemons."""
    STATE = "state"
    """Know the clusters, and all there are: `cluster-state-service`."""
    QUEUE = "queue"
    """Hear of changes within a second, from an SQS queue."""
    STREAM = "stream"
    """The same from a Kinesis stream: `cluster-state-service` alone."""
    AUDIT = "audit"
    """`blox audit`."""
    DOCTOR = "doctor"
    """`blox doctor`, to find out everything it can."""
    MIGRATE = "migrate"
    """`blox migrate`: take hosts over from a DAEMON service."""
    NOTICES = "notices"
    """Tell an event bus when hosts and environments become ready."""
    VERIFY = "verify"
    """`blox verify-aws`, in a sandbox."""


class Resource(StrEnum):
    """What a statement's Resource is made of."""

    ANY = "*"
    """Actions that have no resource."""
    CLUSTER = "cluster"
    HOST = "container-instance"
    TASK = "task"
    SERVICE = "service"
    DEFINITION = "task-definition"
    PROVIDER = "capacity-provider"
    ROLE = "role"
    """The roles that task definitions name."""
    PRINCIPAL = "principal"
    """The user or role whose own permissions are asked for."""
    QUEUE = "queue"
    STREAM = "stream"
    BUS = "event-bus"
    RULE = "rule"


IN_CLUSTER: Final = "ecs:cluster"
"""Compares the cluster's ARN."""
PASSED_TO: Final = "iam:PassedToService"
CREATED_BY: Final = "ecs:CreateAction"


class Grant(Struct, frozen=True, kw_only=True):
    """One action of IAM, and why blox needs it."""

    action: str
    """As policies write it: `ecs:StartTask`."""
    operations: tuple[str, ...]
    """What is sent under it, by the names of the wire: mostly the one in `action`; none for an
    action that AWS checks along with another."""
    resource: Resource
    conditions: tuple[str, ...] = ()
    """Condition keys that narrow it down further."""
    parts: tuple[Part, ...]
    why: str
    """A sentence for whoever reviews the policy."""
    when: str = ""
    """If only some need it: which ones."""

    @property
    def service(self) -> str:
        """IAM's prefix of the service: `ecs`."""
        return self.action.partition(":")[0]

    @property
    def verb(self) -> str:
        """The action without its service: `StartTask`."""
        return self.action.partition(":")[2]


def _grant(
    action: str,
    resource: Resource,
    parts: Sequence[Part],
    why: str,
    *,
    conditions: tuple[str, ...] = (),
    sent: tuple[str, ...] | None = None,
    when: str = "",
) -> Grant:
    return Grant(
        action=action,
        operations=(action.partition(":")[2],) if sent is None else sent,
        resource=resource,
        conditions=conditions,
        parts=tuple(parts),
        why=why,
        when=when,
    )


_LOOK: Final = (Part.OBSERVE, Part.AUDIT, Part.DOCTOR, Part.MIGRATE, Part.VERIFY)
_SEE: Final = (*_LOOK, Part.STATE)
_SERVICES: Final = (Part.AUDIT, Part.DOCTOR, Part.MIGRATE)

GRANTS: Final[tuple[Grant, ...]] = (
    _grant(
        "ecs:DescribeClusters",
        Resource.CLUSTER,
        _SEE,
        "Find a cluster's ARN and whether it is still there; test how old a signature may be.",
    ),
    _grant(
        "ecs:ListContainerInstances",
        Resource.CLUSTER,
        _SEE,
        "Find every host.",
    ),
    _grant(
        "ecs:DescribeContainerInstances",
        Resource.HOST,
        _SEE,
        "Know a host's state, attributes and what is free on it.",
        conditions=(IN_CLUSTER,),
    ),
    _grant(
        "ecs:ListTasks",
        Resource.ANY,
        _SEE,
        "Find every task, of whomever, so that nothing is doubled.",
        conditions=(IN_CLUSTER,),
    ),
    _grant(
        "ecs:DescribeTasks",
        Resource.TASK,
        _SEE,
        "Know what a task is, where, and how it fares.",
        conditions=(IN_CLUSTER,),
    ),
    _grant(
        "ecs:DescribeTaskDefinition",
        Resource.ANY,
        _LOOK,
        "Know what a daemon needs of a host. The action has no resource.",
    ),
    _grant(
        "ecs:DescribeServices",
        Resource.SERVICE,
        _LOOK,
        "Tell DAEMON services, which drain last, from others.",
        conditions=(IN_CLUSTER,),
    ),
    _grant(
        "ecs:DescribeCapacityProviders",
        Resource.PROVIDER,
        _LOOK,
        "Know whose hosts managed scaling would remove when they are idle.",
    ),
    _grant(
        "ecs:ListServices",
        Resource.ANY,
        _SERVICES,
        "Find the DAEMON services of a cluster.",
        conditions=(IN_CLUSTER,),
    ),
    _grant(
        "ecs:ListClusters",
        Resource.ANY,
        (Part.DOCTOR, Part.STATE),
        "Look at every cluster when none is named. The action has no resource.",
        when="what names no cluster",
    ),
    _grant(
        "ecs:StartTask",
        Resource.DEFINITION,
        (Part.ACT, Part.MIGRATE, Part.VERIFY),
        "Start a daemon on a host that lacks it.",
        conditions=(IN_CLUSTER,),
    ),
    _grant(
        "ecs:StopTask",
        Resource.TASK,
        (Part.ACT, Part.MIGRATE, Part.VERIFY),
        "Stop a daemon that is to be replaced, or that is one too many.",
        conditions=(IN_CLUSTER,),
    ),
    _grant(
        "iam:PassRole",
        Resource.ROLE,
        (Part.ACT, Part.MIGRATE),
        "StartTask hands the definition's task role and execution role to the task.",
        conditions=(PASSED_TO,),
        sent=(),
        when="definitions that name a task role or an execution role",
    ),
    _grant(
        "ecs:TagResource",
        Resource.TASK,
        (Part.ACT, Part.MIGRATE),
        "StartTask gives the task its tags.",
        conditions=(CREATED_BY,),
        sent=(),
        when="environments whose task block has tags, propagateTags or enableECSManagedTags",
    ),
    _grant(
        "ecs:PutAttributes",
        Resource.HOST,
        (Part.MIGRATE, Part.VERIFY),
        "Mark the hosts that a DAEMON service is to leave.",
        conditions=(IN_CLUSTER,),
    ),
    _grant(
        "ecs:DeleteAttributes",
        Resource.HOST,
        (Part.MIGRATE, Part.VERIFY),
        "Take the mark away again.",
        conditions=(IN_CLUSTER,),
    ),
    _grant(
        "ecs:UpdateContainerInstancesState",
        Resource.HOST,
        (Part.VERIFY,),
        "Drain a host of the sandbox and make it ACTIVE again.",
        conditions=(IN_CLUSTER,),
    ),
    _grant(
        "ecs:RunTask",
        Resource.DEFINITION,
        (Part.VERIFY,),
        "Find out what its client token is worth.",
        conditions=(IN_CLUSTER,),
    ),
    _grant(
        "ecs:RegisterTaskDefinition",
        Resource.DEFINITION,
        (Part.VERIFY,),
        "Make the definitions that it starts.",
    ),
    _grant(
        "ecs:DeregisterTaskDefinition",
        Resource.ANY,
        (Part.VERIFY,),
        "Take them away again. The action has no resource.",
    ),
    _grant(
        "ecs:ListTaskDefinitions",
        Resource.ANY,
        (Part.VERIFY,),
        "Find those that an earlier run left. The action has no resource.",
    ),
    _grant(
        "sqs:GetQueueUrl",
        Resource.QUEUE,
        (Part.QUEUE, Part.DOCTOR),
        "Find the queue by its name.",
    ),
    _grant(
        "sqs:ReceiveMessage",
        Resource.QUEUE,
        (Part.QUEUE,),
        "Hear of changes.",
    ),
    _grant(
        "sqs:DeleteMessage",
        Resource.QUEUE,
        (Part.QUEUE,),
        "Take what was heard off the queue.",
        sent=("DeleteMessageBatch",),
    ),
    _grant(
        "sqs:GetQueueAttributes",
        Resource.QUEUE,
        (Part.DOCTOR, Part.STATE),
        "Tell how far behind the queue is, and whether it has a dead-letter queue.",
    ),
    _grant(
        "kinesis:ListShards",
        Resource.STREAM,
        (Part.STREAM,),
        "Find the shards of the stream, those that come by resharding included.",
    ),
    _grant(
        "kinesis:GetShardIterator",
        Resource.STREAM,
        (Part.STREAM,),
        "Go on in each shard where the last process stopped.",
    ),
    _grant(
        "kinesis:GetRecords",
        Resource.STREAM,
        (Part.STREAM,),
        "Hear of changes.",
    ),
    _grant(
        "events:ListRuleNamesByTarget",
        Resource.ANY,
        (Part.DOCTOR,),
        "Find the rule that feeds the queue. The action has no resource.",
    ),
    _grant(
        "events:DescribeRule",
        Resource.RULE,
        (Part.DOCTOR,),
        "Tell whether that rule is on and lets the right events through.",
    ),
    _grant(
        "events:ListTargetsByRule",
        Resource.RULE,
        (Part.DOCTOR,),
        "Tell whether it hands them over unchanged, and where those go that it cannot deliver.",
    ),
    _grant(
        "events:PutEvents",
        Resource.BUS,
        (Part.NOTICES,),
        "Tell an event bus when a host or an environment becomes ready.",
    ),
    _grant(
        "iam:SimulatePrincipalPolicy",
        Resource.PRINCIPAL,
        (Part.DOCTOR,),
        "Ask what a role may do without doing it.",
    ),
    _grant(
        "sts:GetCallerIdentity",
        Resource.ANY,
        (Part.OBSERVE, Part.DOCTOR),
        "Tell who we are. AWS lets everybody ask, whatever policies say.",
    ),
)
"""In the order of policies and of `blox doctor`."""

FREE: Final = frozenset({"sts:GetCallerIdentity"})
"""Actions that need no permission.
https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html"""


class Where(Struct, frozen=True, kw_only=True):
    """What policies are written for. An empty tuple stands for all."""

    partition: str = "aws"
    region: str
    account: str
    clusters: tuple[str, ...] = ()
    """Names."""
    families: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    """ARNs of the task and execution roles that definitions name."""
    principals: tuple[str, ...] = ()
    """ARNs of users and roles whose permissions may be asked for."""
    queues: tuple[str, ...] = ()
    """Names."""
    streams: tuple[str, ...] = ()
    """Names."""
    buses: tuple[str, ...] = ("default",)
    """Names."""


def grants_for(*parts: Part) -> tuple[Grant, ...]:
    """What these parts need together, in the table's order; without what everybody may do."""
    return tuple(
        grant
        for grant in GRANTS
        if grant.action not in FREE and any(part in grant.parts for part in parts)
    )


def grant_of(action: str) -> Grant:
    """The grant with this action, as policies write it. Raises KeyError when there is none."""
    for grant in GRANTS:
        if grant.action == action:
            return grant
    raise KeyError(action)


def cluster_arn(where: Where, name: str) -> str:
    """The ARN of a cluster of this name there."""
    return f"arn:{where.partition}:ecs:{where.region}:{where.account}:cluster/{name}"


def resources(resource: Resource, where: Where) -> tuple[str, ...]:
    """The ARNs, or patterns of ARNs, that a statement on `resource` names."""
    ecs = f"arn:{where.partition}:ecs:{where.region}:{where.account}"
    events = f"arn:{where.partition}:events:{where.region}:{where.account}"
    iam = f"arn:{where.partition}:iam::{where.account}"
    queues = f"arn:{where.partition}:sqs:{where.region}:{where.account}"
    streams = f"arn:{where.partition}:kinesis:{where.region}:{where.account}:stream"
    match resource:
        case Resource.ANY:
            return ("*",)
        case Resource.CLUSTER:
            return tuple(f"{ecs}:cluster/{name}" for name in where.clusters or ("*",))
        case Resource.HOST | Resource.TASK | Resource.SERVICE:
            names = tuple(f"{name}/*" for name in where.clusters) or ("*",)
            return tuple(f"{ecs}:{resource.value}/{name}" for name in names)
        case Resource.DEFINITION:
            names = tuple(f"{name}:*" for name in where.families) or ("*",)
            return tuple(f"{ecs}:task-definition/{name}" for name in names)
        case Resource.PROVIDER:
            return (f"{ecs}:capacity-provider/*",)
        case Resource.ROLE:
            return where.roles or (f"{iam}:role/*",)
        case Resource.PRINCIPAL:
            return where.principals or (f"{iam}:role/*", f"{iam}:user/*")
        case Resource.QUEUE:
            return tuple(f"{queues}:{name}" for name in where.queues or ("*",))
        case Resource.STREAM:
            return tuple(f"{streams}/{name}" for name in where.streams or ("*",))
        case Resource.BUS:
            return tuple(f"{events}:event-bus/{name}" for name in where.buses or ("*",))
        case Resource.RULE:
            return (f"{events}:rule/*",)


def conditions(keys: Sequence[str], where: Where) -> dict[str, dict[str, list[str] | str]]:
    """The Condition block of a statement with these keys; {} when nothing narrows it down."""
    block: dict[str, dict[str, list[str] | str]] = {}
    for key in keys:
        if key == IN_CLUSTER and where.clusters:
            arns = [cluster_arn(where, name) for name in where.clusters]
            block["ArnEquals"] = {key: arns[0] if len(arns) == 1 else arns}
        elif key == PASSED_TO:
            block.setdefault("StringEquals", {})[key] = "ecs-tasks.amazonaws.com"
        elif key == CREATED_BY:
            block.setdefault("StringEquals", {})[key] = "StartTask"
    return block


def statements(grants: Sequence[Grant], where: Where) -> tuple[dict[str, object], ...]:
    """IAM statements that allow `grants` and nothing else: one for each kind of resource and its
    conditions, in the order of first appearance."""
    groups: dict[tuple[Resource, tuple[str, ...]], list[str]] = {}
    for grant in grants:
        groups.setdefault((grant.resource, grant.conditions), []).append(grant.action)
    found = []
    for (resource, keys), actions in groups.items():
        arns = resources(resource, where)
        statement: dict[str, object] = {
            "Sid": _sid(resource, keys),
            "Effect": "Allow",
            "Action": actions[0] if len(actions) == 1 else actions,
            "Resource": arns[0] if len(arns) == 1 else list(arns),
        }
        block = conditions(keys, where)
        if block:
            statement["Condition"] = block
        found.append(statement)
    return tuple(found)


_SIDS: Final[Mapping[Resource, str]] = {
    Resource.ANY: "WithoutResource",
    Resource.CLUSTER: "Clusters",
    Resource.HOST: "Hosts",
    Resource.TASK: "Tasks",
    Resource.SERVICE: "Services",
    Resource.DEFINITION: "Definitions",
    Resource.PROVIDER: "CapacityProviders",
    Resource.ROLE: "PassRoles",
    Resource.PRINCIPAL: "AskIam",
    Resource.QUEUE: "Queue",
    Resource.STREAM: "Stream",
    Resource.BUS: "EventBus",
    Resource.RULE: "Rules",
}


def _sid(resource: Resource, keys: tuple[str, ...]) -> str:
    """Letters and digits, unlike every other of one policy: a kind of resource comes at most with
    and without the cluster, and with the call that creates."""
    if CREATED_BY in keys:
        return "TagOnStart"
    if resource is Resource.ANY and IN_CLUSTER in keys:
        return "ListInClusters"
    if resource is Resource.DEFINITION and IN_CLUSTER in keys:
        return "Start"
    return _SIDS[resource]
