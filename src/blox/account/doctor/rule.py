"""Whether an event pattern lets a cluster's events through, and a queue's policy takes them in.

Only what patterns for ECS can sensibly say is understood; anything else is called unknown instead
of being guessed at.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

TASK_EVENTS: Final = "ECS Task State Change"
HOST_EVENTS: Final = "ECS Container Instance State Change"
KINDS: Final = (TASK_EVENTS, HOST_EVENTS)
"""The detail types that blox reads.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_cwe_events.html"""


class Passes(StrEnum):
    """Whether events of one kind get through."""

    ALL = "all"
    SOME = "some"
    """The pattern looks at something beyond the kind and the cluster."""
    NONE = "none"
    UNKNOWN = "unknown"


class Passage(Struct, frozen=True, kw_only=True):
    """What a pattern does to the events of one kind of one cluster."""

    passes: Passes
    why: str = ""
    """The member of the pattern that decides; "" when all pass."""


def passage(pattern: str, *, kind: str, cluster: str) -> Passage:
    """What the event pattern `pattern` (JSON) does to events of the detail type `kind` of the
    cluster with the ARN `cluster`."""
    try:
        content: object = msgspec.json.decode(pattern)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        return Passage(passes=Passes.NONE, why="it has no event pattern")
    _, _, _, region, account, _ = (cluster.split(":", 5) + [""] * 6)[:6]
    known: Mapping[str, str] = {
        "source": "aws.ecs",
        "detail-type": kind,
        "account": account,
        "region": region,
    }
    worst = Passage(passes=Passes.ALL)
    for name, wanted in content.items():
        if name == "detail":
            found = _detail(wanted, cluster)
        elif name in known:
            found = _member(name, wanted, known[name])
        else:
            found = Passage(passes=Passes.SOME, why=name)
        worst = _worse(worst, found)
    return worst


_ORDER: Final = (Passes.ALL, Passes.SOME, Passes.UNKNOWN, Passes.NONE)


def _worse(one: Passage, other: Passage) -> Passage:
    return max(one, other, key=lambda passage: _ORDER.index(passage.passes))


def _detail(wanted: object, cluster: str) -> Passage:
    if not isinstance(wanted, dict):
        return Passage(passes=Passes.UNKNOWN, why="detail")
    worst = Passage(passes=Passes.ALL)
    for name, values in wanted.items():
        if name == "clusterArn":
            found = _member("detail.clusterArn", values, cluster)
        else:
            found = Passage(passes=Passes.SOME, why=f"detail.{name}")
        worst = _worse(worst, found)
    return worst


def _member(name: str, wanted: object, value: str) -> Passage:
    if not isinstance(wanted, list):
        return Passage(passes=Passes.UNKNOWN, why=name)
    results = [_accepts(item, value) for item in wanted]
    if any(result is True for result in results):
        return Passage(passes=Passes.ALL)
    if any(result is None for result in results):
        return Passage(passes=Passes.UNKNOWN, why=name)
    return Passage(passes=Passes.NONE, why=name)


def _accepts(item: object, value: str) -> bool | None:
    """Whether one alternative of a pattern takes `value`; None when it is not understood."""
    if not isinstance(item, dict):
        return isinstance(item, str) and item == value
    if len(item) != 1:
        return None
    operator, operand = next(iter(item.items()))
    if operator == "exists":
        return operand is True
    if operator == "anything-but":
        if isinstance(operand, list):
            return all(item != value for item in operand)
        if isinstance(operand, dict):
            inner = _accepts(operand, value)
            return None if inner is None else not inner
        return bool(value != operand)
    if not isinstance(operand, str):
        return None
    if operator == "prefix":
        return value.startswith(operand)
    if operator == "suffix":
        return value.endswith(operand)
    if operator == "wildcard":
        return like(operand, value, single=False)
    if operator == "equals-ignore-case":
        return value.lower() == operand.lower()
    return None


def like(pattern: str, value: str, *, single: bool = True) -> bool:
    """Whether `value` is as `pattern` says: `*` is anything and, where `single`, `?` one
    character."""
    escaped = re.escape(pattern).replace(r"\*", ".*")
    if single:
        escaped = escaped.replace(r"\?", ".")
    return re.fullmatch(escaped, value, re.DOTALL) is not None


# --- The queue's own policy -----------------------------------------------------------------------

_ARN_OPERATORS: Final = frozenset({"arnequals", "arnlike", "stringequals", "stringlike"})


def lets_events_in(policy: str, *, queue: str, rule: str) -> bool | None:
    """Whether the queue's resource policy (JSON) lets EventBridge send what the rule with the ARN
    `rule` passes on; None when that cannot be told.
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html"""
    if not policy:
        return False
    try:
        content: object = msgspec.json.decode(policy)
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    statements = content.get("Statement")
    doubt = False
    for statement in _many(statements):
        if not isinstance(statement, Mapping):
            return None
        if statement.get("Effect") != "Allow":
            doubt = doubt or not _about_tls(statement)
            continue
        applies = _applies(statement, queue=queue, rule=rule)
        if applies:
            return None if doubt else True
        doubt = doubt or applies is None
    return None if doubt else False


def _about_tls(statement: Mapping[str, object]) -> bool:
    """Whether it refuses what comes without TLS, and nothing else: EventBridge uses TLS."""
    return statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}


def _applies(statement: Mapping[str, object], *, queue: str, rule: str) -> bool | None:
    principal = statement.get("Principal")
    services = principal.get("Service") if isinstance(principal, Mapping) else None
    anybody = principal == "*" or (isinstance(principal, Mapping) and principal.get("AWS") == "*")
    if not anybody and "events.amazonaws.com" not in _many(services):
        return False
    actions = [str(action).lower() for action in _many(statement.get("Action"))]
    if not any(like(action, "sqs:sendmessage") for action in actions):
        return False
    if not any(like(str(resource), queue) for resource in _many(statement.get("Resource"))):
        return False
    conditions = statement.get("Condition")
    if not conditions:
        return True
    if not isinstance(conditions, Mapping):
        return None
    return _holds(conditions, queue=queue, rule=rule)


def _holds(conditions: Mapping[str, object], *, queue: str, rule: str) -> bool | None:
    """Only conditions on the rule and its account are understood."""
    account = queue.split(":")[4] if queue.count(":") >= 5 else ""
    known = {"aws:sourcearn": rule, "aws:sourceaccount": account}
    unsure = False
    for operator, keys in conditions.items():
        if operator.lower() not in _ARN_OPERATORS or not isinstance(keys, Mapping):
            unsure = True
            continue
        for key, wanted in keys.items():
            value = known.get(str(key).lower())
            if value is None:
                unsure = True
            elif not any(like(str(item), value) for item in _many(wanted)):
                return False
    return None if unsure else True


def _many(value: object) -> Sequence[object]:
    if value is None:
        return ()
    return value if isinstance(value, list) else [value]
