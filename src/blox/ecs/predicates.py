"""The simple expressions of ECS's cluster query language: one subject compared with its argument.

`blox.ecs.selector` reads the language and says what it decides where ECS's documentation is silent.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final, Protocol, TypeVar

import re2
from msgspec import Struct

from blox.ecs.model import Host


class Operator(StrEnum):
    """How a subject is compared with its argument."""

    EQUALS = "=="
    NOT_EQUALS = "!="
    GREATER = ">"
    GREATER_EQUAL = ">="
    LESS = "<"
    LESS_EQUAL = "<="
    EXISTS = "exists"
    NOT_EXISTS = "!exists"
    IN = "in"
    NOT_IN = "!in"
    MATCHES = "=~"
    NOT_MATCHES = "!~"


SPELLINGS: Final = {op.value: op for op in Operator} | {
    "equals": Operator.EQUALS,
    "not_equals": Operator.NOT_EQUALS,
    "greater_than": Operator.GREATER,
    "greater_than_equal": Operator.GREATER_EQUAL,
    "less_than": Operator.LESS,
    "less_than_equal": Operator.LESS_EQUAL,
    "not_exists": Operator.NOT_EXISTS,
    "not_in": Operator.NOT_IN,
    "matches": Operator.MATCHES,
    "not_matches": Operator.NOT_MATCHES,
}
_NEGATIONS: Final = {
    Operator.NOT_EQUALS: Operator.EQUALS,
    Operator.NOT_EXISTS: Operator.EXISTS,
    Operator.NOT_IN: Operator.IN,
    Operator.NOT_MATCHES: Operator.MATCHES,
}
_BY_TEXT: Final = (
    Operator.EQUALS,
    Operator.NOT_EQUALS,
    Operator.IN,
    Operator.NOT_IN,
    Operator.MATCHES,
    Operator.NOT_MATCHES,
)
_BY_ORDER: Final = (
    Operator.EQUALS,
    Operator.NOT_EQUALS,
    Operator.GREATER,
    Operator.GREATER_EQUAL,
    Operator.LESS,
    Operator.LESS_EQUAL,
)
EXISTENCE: Final = (Operator.EXISTS, Operator.NOT_EXISTS)

SUBJECTS: Final[dict[str, tuple[Operator, ...]]] = {
    "agentConnected": _BY_TEXT,
    "agentVersion": _BY_ORDER,
    "ec2InstanceId": _BY_TEXT,
    "registeredAt": _BY_ORDER,
    "runningTasksCount": _BY_ORDER,
    "task:group": (*_BY_TEXT, *EXISTENCE),
}
"""The subjects with a fixed name, and the operators of each. `attribute:NAME` takes all."""

UNSTABLE: Final = {
    "agentConnected": "it changes whenever the agent reconnects, so daemons would stop with it",
    "runningTasksCount": "it changes with what runs, so daemons would start and stop each other",
    "task:group": "it changes with what runs, so daemons would start and stop each other",
}
"""Subjects that a host's own tasks or a flap of its agent change, and why that is a trouble."""


class Compare(Struct, frozen=True):
    """One simple expression. `values` has no item for exists, one or more for in, else one."""

    subject: str
    operator: Operator
    values: tuple[str, ...] = ()


Groups = Sequence[str] | None
"""The groups of a host's tasks; None: they, and all that changes with what runs, are unknown."""

Check = Callable[[Host, Groups], bool | None]
"""Whether a host satisfies something; None when what is known of it does not tell."""


class Unusable(Exception):
    """An argument that cannot be used: which of them, at which of its characters, and why."""

    def __init__(self, problem: str, *, value: int = 0, offset: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.value = value
        self.offset = offset


# --- Checks ---------------------------------------------------------------------------------------

_Ordered = TypeVar("_Ordered", float, tuple[int, ...])


def _holds(found: _Ordered, op: Operator, bound: _Ordered) -> bool:
    match op:
        case Operator.EQUALS:
            return found == bound
        case Operator.GREATER:
            return found > bound
        case Operator.GREATER_EQUAL:
            return found >= bound
        case Operator.LESS:
            return found < bound
        case _:
            return found <= bound


def negate(check: Check) -> Check:
    """The opposite of a check; what is not known stays so."""

    def negated(host: Host, groups: Groups) -> bool | None:
        truth = check(host, groups)
        return None if truth is None else not truth

    return negated


def check_of(compare: Compare) -> Check:
    """Raises Unusable for an argument that does not fit its subject."""
    positive = _NEGATIONS.get(compare.operator)
    if positive is not None:
        return negate(check_of(Compare(compare.subject, positive, compare.values)))
    match compare.subject:
        case "agentVersion":
            version = _version(compare.values[0])
            if version is None:
                raise Unusable("expected a version of numbers and dots, as in 1.14.5")
            return _ordered(_agent_version, compare.operator, version)
        case "registeredAt":
            return _ordered(_registered_at, compare.operator, _seconds(compare.values[0]))
        case "runningTasksCount":
            return _running_tasks(compare.operator, compare.values[0])
        case "agentConnected":
            return _agent_connected(compare)
        case "ec2InstanceId":
            return _instance_id(_predicate(compare))
        case "task:group":
            return _task_group(_predicate(compare))
        case _:
            return _attribute(compare.subject.partition(":")[2], _predicate(compare))


def _ordered(read: Callable[[Host], _Ordered | None], op: Operator, bound: _Ordered) -> Check:
    def check(host: Host, groups: Groups) -> bool | None:  # noqa: ARG001
        found = read(host)
        return None if found is None else _holds(found, op, bound)

    return check


_VERSION = re.compile(r"v?([0-9]{1,9}(?:\.[0-9]{1,9})*)")


@lru_cache(maxsize=1024)
def _version(text: str, *, whole: bool = True) -> tuple[int, ...] | None:
    """1.14.0 → (1, 14): zeros at the end do not tell versions apart. None for what is no version.
    Not `whole`: what follows the numbers does not matter."""
    found = _VERSION.fullmatch(text) if whole else _VERSION.match(text)
    if found is None:
        return None
    parts = [int(part) for part in found[1].split(".")]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def _agent_version(host: Host) -> tuple[int, ...] | None:
    return _version(host.agent_version, whole=False)


def _registered_at(host: Host) -> float | None:
    return None if host.registered_at is None else host.registered_at // 1


_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:Z|[+-][0-9]{2}:[0-9]{2})?)?"
)


def _seconds(text: str) -> float:
    """Seconds since 1970-01-01 UTC of one of the four documented formats of a date."""
    problem = "expected a date, as in 2018-06-18, 2018-06-18T22:28:28, …28Z or …28+00:00"
    if _DATE.fullmatch(text) is None:
        raise Unusable(problem)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Unusable(problem) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _running_tasks(op: Operator, text: str) -> Check:
    if re.fullmatch(r"[0-9]{1,9}", text) is None:
        raise Unusable("expected a number of tasks, as in 3")
    bound = float(text)

    def check(host: Host, groups: Groups) -> bool | None:
        if groups is None or host.running_tasks_count is None:
            return None
        return _holds(float(host.running_tasks_count), op, bound)

    return check


def _agent_connected(compare: Compare) -> Check:
    if compare.operator is not Operator.MATCHES:
        for index, value in enumerate(compare.values):
            if value not in ("true", "false"):
                raise Unusable("expected true or false", value=index)
    holds = _predicate(compare)
    connected, disconnected = holds("true"), holds("false")

    def check(host: Host, groups: Groups) -> bool | None:
        if groups is None:
            return None
        return connected if host.agent_connected else disconnected

    return check


def _instance_id(holds: Callable[[str], bool]) -> Check:
    def check(host: Host, groups: Groups) -> bool | None:  # noqa: ARG001
        return holds(host.instance_id) if host.instance_id else None

    return check


def _task_group(holds: Callable[[str], bool]) -> Check:
    def check(host: Host, groups: Groups) -> bool | None:  # noqa: ARG001
        return None if groups is None else any(map(holds, groups))

    return check


def _attribute(name: str, holds: Callable[[str], bool]) -> Check:
    def check(host: Host, groups: Groups) -> bool | None:  # noqa: ARG001
        value = host.attributes.get(name)
        return value is not None and holds(value)

    return check


_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,9})?")


def _predicate(compare: Compare) -> Callable[[str], bool]:
    """What a subject's value, which exists, must satisfy."""
    match compare.operator:
        case Operator.EXISTS:
            return lambda value: True  # noqa: ARG005
        case Operator.EQUALS:
            wanted = compare.values[0]
            return lambda value: value == wanted
        case Operator.IN:
            accepted = frozenset(compare.values)
            return lambda value: value in accepted
        case Operator.MATCHES:
            return _regex(compare.values[0])
    if _NUMBER.fullmatch(compare.values[0]) is None:
        raise Unusable(f"expected a number: `{compare.operator}` compares numbers")
    op, bound = compare.operator, float(compare.values[0])
    return lambda value: _NUMBER.fullmatch(value) is not None and _holds(float(value), op, bound)


# --- Regular expressions --------------------------------------------------------------------------


_REGEX_MEMORY: Final = 1 << 20
"""Bytes that one compiled regular expression may take; larger ones are refused."""


class _Pattern(Protocol):
    def fullmatch(self, text: str) -> object | None: ...


def _regex(pattern: str) -> Callable[[str], bool]:
    """Raises Unusable for what RE2 refuses or would understand in another way than Java."""
    trap = _set_operation(pattern)
    if trap is not None:
        raise Unusable(
            "a class inside a class and `&&` in one are not supported in regular expressions; "
            "write `\\[` or `\\&` for the character",
            offset=trap,
        )
    options = re2.Options()
    options.log_errors = False  # it would print to stderr
    options.max_mem = _REGEX_MEMORY
    try:
        compiled: _Pattern = re2.compile(pattern, options)
    except UnicodeEncodeError as error:
        raise Unusable("this is not a character", offset=error.start) from None
    except re2.error as error:
        problem, part = _refusal(str(error.args[0], "utf-8", "replace"))
        raise Unusable(problem, offset=_place(part, pattern)) from None
    return lambda value: compiled.fullmatch(value) is not None


def _refusal(said: str) -> tuple[str, str]:
    """What RE2's error means, and the part of the pattern that it is about."""
    part = said.partition(": ")[2]
    if part in ("(?=", "(?!", "(?<", "(?<=", "(?<!"):
        return "look-around is not supported in regular expressions", part
    if part == "(?P" or re.match(r"\\[0-9k]", part):
        return (
            "back-references are not supported in regular expressions",
            "(?P=" if part == "(?P" else part,
        )
    return f"this regular expression cannot be used: {said}", part


def _place(part: str, pattern: str) -> int:
    """Where `part` stands unescaped in the pattern; 0 if that cannot be told."""
    at = pattern.find(part) if part else -1
    while at >= 0:
        before = pattern[:at]
        if (len(before) - len(before.rstrip("\\"))) % 2 == 0:
            return at
        at = pattern.find(part, at + 1)
    return 0


def _set_operation(pattern: str) -> int | None:
    """Where a character class holds `[` or `&&`, which in Java make unions and intersections and
    in RE2 stand for themselves."""
    at, opened = 0, -1
    while at < len(pattern):
        if pattern.startswith("\\Q", at) and opened < 0:
            end = pattern.find("\\E", at)
            at = len(pattern) if end < 0 else end + 2
            continue
        if pattern[at] == "\\":
            at += 2
            continue
        if opened < 0:
            opened = at if pattern[at] == "[" else -1
        elif pattern[at] == "[" or pattern.startswith("&&", at):
            return at
        elif pattern[at] == "]" and pattern[opened + 1 : at] not in ("", "^"):
            opened = -1
        at += 1
    return None
