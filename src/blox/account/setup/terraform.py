"""The Terraform configuration of `blox setup`, as HCL.

Names of IAM are prefixes, which Terraform completes, so that two regions do not fight over them.
"""

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
from blox.account.setup.hcl import (
    Attribute,
    Block,
    Call,
    Comment,
    Element,
    Expression,
    Hcl,
    dump,
)
from blox.account.setup.policies import LIMIT, Permitted, Statement, documents, statements

PROVIDER: Final = ">= 5.0"
"""Of hashicorp/aws; everything here is older."""
ROOM: Final = 300
"""Characters kept free in each policy for what `${…}` will stand for."""

BLANKS: Final = Blanks(
    partition="${local.partition}",
    region="${local.region}",
    account="${local.account}",
    cluster="${local.cluster}",
    family="${var.family}",
    roles=("${var.task_role_arn}", "${var.execution_role_arn}"),
)
"""What stands where the command line did not say."""

_VARIABLES: Final[Mapping[str, str]] = {
    "cluster_arn": "The cluster's ARN",
    "family": "The family of the task definition that is to run on every host",
    "task_role_arn": "That definition's task role; where it has none, its execution role",
    "execution_role_arn": "That definition's execution role; where it has none, its task role",
}
_PARTS: Final[Mapping[str, str]] = {
    "partition": 'split(":", var.cluster_arn)[1]',
    "region": 'split(":", var.cluster_arn)[3]',
    "account": 'split(":", var.cluster_arn)[4]',
    "cluster": 'split("/", var.cluster_arn)[1]',
}


def terraform(template: Template) -> str:
    """The configuration's text."""
    permitted = template.permitted
    policies = documents(statements(permitted), limit=LIMIT - ROOM)
    names = [f"{_name(permitted)}{number}" for number in ["", *range(2, len(policies) + 1)]]
    body: list[Element] = [*_feed(template)]
    for place, (name, found) in enumerate(zip(names, policies, strict=True)):
        body += _policy(name, found, permitted, comment=() if place else POLICY_WHY)
    body += _role(template, names)
    body += _outputs(template, names)
    return dump([Comment(heading(template)), _versions(), *_variables(dump(body)), *body])


def _versions() -> Block:
    source: Hcl = {"source": "hashicorp/aws", "version": PROVIDER}
    required = Block("required_providers", (), (Attribute("aws", source),))
    return Block("terraform", (), (required,))


def _variables(text: str) -> list[Element]:
    """A variable for each blank that is used."""
    parts = [name for name in _PARTS if f"${{local.{name}}}" in text]
    used = [
        name for name in _VARIABLES if f"var.{name}" in text or (name == "cluster_arn" and parts)
    ]
    found: list[Element] = [
        Block(
            "variable",
            (name,),
            (
                Attribute("description", _VARIABLES[name]),
                Attribute("type", Expression("string")),
            ),
        )
        for name in used
    ]
    if parts:
        values = tuple(Attribute(name, Expression(_PARTS[name])) for name in parts)
        found.append(Block("locals", (), values))
    return found


def _resource(kind: str, name: str, *body: Element, comment: tuple[str, ...] = ()) -> Block:
    return Block("resource", (kind, name), body, comment)


def _document(name: str, *body: Element, comment: tuple[str, ...] = ()) -> Block:
    return Block("data", ("aws_iam_policy_document", name), body, comment)


def _condition(operator: str, key: str, values: Sequence[Hcl]) -> Block:
    return Block(
        "condition",
        (),
        (
            Attribute("test", operator),
            Attribute("variable", key),
            Attribute("values", values),
        ),
    )


def _service(name: str) -> Block:
    return Block(
        "principals",
        (),
        (Attribute("type", "Service"), Attribute("identifiers", [name])),
    )


# --- Events ---------------------------------------------------------------------------------------


def _feed(template: Template) -> list[Element]:
    queue = template.permitted.queue
    redrive: Hcl = {
        "deadLetterTargetArn": Expression("aws_sqs_queue.dead_letters.arn"),
        "maxReceiveCount": RECEIVES,
    }
    return [
        _resource(
            "aws_sqs_queue",
            "dead_letters",
            Attribute("name", queue + DEAD),
            Attribute("message_retention_seconds", DEAD_RETENTION),
            Attribute("sqs_managed_sse_enabled", value=True),
            comment=DEAD_WHY,
        ),
        _resource(
            "aws_sqs_queue",
            "events",
            Attribute("name", queue),
            Attribute("message_retention_seconds", RETENTION),
            Attribute("visibility_timeout_seconds", VISIBILITY),
            Attribute("sqs_managed_sse_enabled", value=True),
            Attribute("redrive_policy", Call("jsonencode", redrive)),
            comment=QUEUE_WHY,
        ),
        *_rule(template),
        *_delivery("events", comment=DELIVERY_WHY),
        *_delivery("dead_letters"),
    ]


def _rule(template: Template) -> list[Element]:
    return [
        _resource(
            "aws_cloudwatch_event_rule",
            "events",
            Attribute("name", template.permitted.queue),
            Attribute("description", "ECS task and container instance state changes for blox"),
            Attribute("event_pattern", Call("jsonencode", pattern(template.watched))),
            comment=RULE_WHY,
        ),
        _resource(
            "aws_cloudwatch_event_target",
            "events",
            Attribute("rule", Expression("aws_cloudwatch_event_rule.events.name")),
            Attribute("target_id", "blox"),
            Attribute("arn", Expression("aws_sqs_queue.events.arn")),
            Block(
                "retry_policy",
                (),
                (
                    Attribute("maximum_event_age_in_seconds", RETENTION),
                    Attribute("maximum_retry_attempts", ATTEMPTS),
                ),
            ),
            Block(
                "dead_letter_config",
                (),
                (Attribute("arn", Expression("aws_sqs_queue.dead_letters.arn")),),
            ),
        ),
    ]


def _delivery(queue: str, *, comment: tuple[str, ...] = ()) -> list[Element]:
    name = f"{queue}_delivery"
    statement = Block(
        "statement",
        (),
        (
            Attribute("sid", "EventsRuleAlone"),
            Attribute("actions", ["sqs:SendMessage"]),
            Attribute("resources", [Expression(f"aws_sqs_queue.{queue}.arn")]),
            _service("events.amazonaws.com"),
            _condition(
                "ArnEquals", "aws:SourceArn", [Expression("aws_cloudwatch_event_rule.events.arn")]
            ),
        ),
    )
    return [
        _document(name, statement, comment=comment),
        _resource(
            "aws_sqs_queue_policy",
            queue,
            Attribute("queue_url", Expression(f"aws_sqs_queue.{queue}.id")),
            Attribute("policy", Expression(f"data.aws_iam_policy_document.{name}.json")),
        ),
    ]


# --- Permissions ----------------------------------------------------------------------------------


def _policy(
    name: str, found: Sequence[Statement], permitted: Permitted, *, comment: tuple[str, ...]
) -> list[Element]:
    return [
        _document(
            name, *(_statement(statement, permitted) for statement in found), comment=comment
        ),
        _resource(
            "aws_iam_policy",
            name,
            Attribute("name_prefix", _name_prefix(permitted)),
            Attribute(
                "description", f"blox {permitted.service} reading the queue {permitted.queue}"
            ),
            Attribute("policy", Expression(f"data.aws_iam_policy_document.{name}.json")),
        ),
    ]


def _statement(statement: Statement, permitted: Permitted) -> Block:
    body: list[Element] = [
        Attribute("sid", statement.sid),
        Attribute("actions", list(statement.actions)),
        Attribute("resources", [_text(value, permitted) for value in statement.resources]),
    ]
    body += [
        _condition(
            condition.operator,
            condition.key,
            [_text(value, permitted) for value in condition.values],
        )
        for condition in statement.conditions
    ]
    return Block("statement", (), tuple(body), statement.why)


def _text(value: str, permitted: Permitted) -> Hcl:
    """A value as Terraform writes it: our queue by reference, a variable alone without `${…}`."""
    if value == permitted.queue_arn:
        return Expression("aws_sqs_queue.events.arn")
    if value.startswith("${") and value.find("}") == len(value) - 1:
        return Expression(value[2:-1])
    return value


def _name(permitted: Permitted) -> str:
    """What the service's own resources are called."""
    return "state_service" if permitted.state else "scheduler"


def _name_prefix(permitted: Permitted) -> str:
    """What their names in AWS begin with."""
    return f"blox-{_name(permitted).replace('_', '-')}-"


def _role(template: Template, policies: Sequence[str]) -> list[Element]:
    runs_on, permitted = template.runs_on, template.permitted
    name, prefix = _name(permitted), _name_prefix(permitted)
    if runs_on is RunsOn.ELSEWHERE:
        return []
    service, key = trust(runs_on)
    body: list[Element] = [Attribute("actions", ["sts:AssumeRole"]), _service(service)]
    found: list[Element] = []
    if key is not None:
        body.append(_condition("StringEquals", key, [Expression(_OUR_ACCOUNT)]))
    found += [
        _document("trust", Block("statement", (), tuple(body))),
        _resource(
            "aws_iam_role",
            name,
            Attribute("name_prefix", prefix),
            Attribute("description", f"blox {permitted.service}"),
            Attribute("assume_role_policy", Expression("data.aws_iam_policy_document.trust.json")),
        ),
    ]
    found += [
        _resource(
            "aws_iam_role_policy_attachment",
            policy,
            Attribute("role", Expression(f"aws_iam_role.{name}.name")),
            Attribute("policy_arn", Expression(f"aws_iam_policy.{policy}.arn")),
        )
        for policy in policies
    ]
    if runs_on is RunsOn.EC2:
        found.append(
            _resource(
                "aws_iam_instance_profile",
                name,
                Attribute("name_prefix", prefix),
                Attribute("role", Expression(f"aws_iam_role.{name}.name")),
            )
        )
    return found


_OUR_ACCOUNT: Final = 'split(":", aws_sqs_queue.events.arn)[4]'


def _outputs(template: Template, policies: Sequence[str]) -> list[Element]:
    permitted, resource = template.permitted, _name(template.permitted)
    word = "service" if permitted.state else "scheduler"
    found = {
        "queue": (f"For {permitted.service} --queue", "aws_sqs_queue.events.name"),
        "dead_letter_queue": ("Empty when all is well", "aws_sqs_queue.dead_letters.name"),
    }
    for name in policies:
        found[f"{name}_policy_arn"] = ("What may be done", f"aws_iam_policy.{name}.arn")
    if template.runs_on is not RunsOn.ELSEWHERE:
        found["role_arn"] = (f"The role of the {word}", f"aws_iam_role.{resource}.arn")
    if template.runs_on is RunsOn.EC2:
        found["instance_profile"] = (
            f"Launch the {word}'s machine with it",
            f"aws_iam_instance_profile.{resource}.name",
        )
    return [
        Block(
            "output",
            (name,),
            (Attribute("description", description), Attribute("value", Expression(value))),
        )
        for name, (description, value) in found.items()
    ]
