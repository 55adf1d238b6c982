"""The cluster query language, as the simulated ECS evaluates it: written apart from
`blox.ecs.selector`, so that each is a second opinion on the other.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-query-language.html
"""

import re
from collections.abc import Callable
from typing import Final

from blox.simulator.model import HostRecord
from blox.simulator.parameters import invalid

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<quoted>'[^']*'|\"[^\"]*\")|(?P<symbol>&&|\|\||==|!=|>=|<=|=~|!~|>|<|[()\[\],!])"
    r"|(?P<word>[^\s()\[\],!=<>~&|'\"]+))"
)
_NAMED: Final = {
    "equals": "==",
    "not_equals": "!=",
    "greater_than": ">",
    "greater_than_equal": ">=",
    "less_than": "<",
    "less_than_equal": "<=",
    "exists": "exists",
    "not_exists": "!exists",
    "in": "in",
    "not_in": "!in",
    "matches": "=~",
    "not_matches": "!~",
}
_SYMBOLS: Final = frozenset({"==", "!=", ">", ">=", "<", "<=", "=~", "!~"})
_SUBJECTS: Final = frozenset(
    {
        "ec2InstanceId",
        "agentConnected",
        "runningTasksCount",
        "registeredAt",
        "agentVersion",
        "task:group",
    }
)
Facts = Callable[[str], list[str]]
"""A subject (`attribute:NAME`, `ec2InstanceId`, …) → its values; none: it does not exist."""


def matches(expression: str, facts: Facts) -> bool:
    """Whether the expression holds. Raises Fault (InvalidParameterException) if it cannot be
    read."""
    reader = _Reader(expression, facts)
    result = reader.either()
    if reader.peek():
        raise _unreadable(expression)
    return result


def check(expression: str) -> None:
    """Raises Fault (InvalidParameterException) for an expression that cannot be read, whatever host
    it is asked about."""
    matches(expression, lambda subject: [""] if _is_subject(subject) else _unknown(subject))


def _is_subject(subject: str) -> bool:
    return subject in _SUBJECTS or subject.startswith("attribute:")


def _unknown(subject: str) -> list[str]:
    raise invalid(f"Unknown subject {subject} in expression.")


def facts_of(host: HostRecord, *, running: int, groups: list[str]) -> Facts:
    """What an expression can ask about a host."""

    def look(subject: str) -> list[str]:
        if subject.startswith("attribute:"):
            name = subject.removeprefix("attribute:")
            return [host.attributes[name] or ""] if name in host.attributes else []
        known = {
            "ec2InstanceId": [host.instance_id],
            "agentConnected": ["true" if host.agent_connected else "false"],
            "runningTasksCount": [str(running)],
            "registeredAt": [str(host.registered_at)],
            "agentVersion": ["1.90.0"],
            "task:group": groups,
        }
        return known[subject] if subject in known else _unknown(subject)

    return look


def _unreadable(expression: str) -> Exception:
    return invalid(f"Invalid expression: {expression}")


class _Reader:
    """Evaluates while it reads: `or` binds least, then `and`, then `not`."""

    def __init__(self, text: str, facts: Facts) -> None:
        self.text = text
        self.facts = facts
        self.tokens: list[tuple[str, bool]] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                raise _unreadable(text)
            quoted = match["quoted"]
            token = quoted[1:-1] if quoted else match["symbol"] or match["word"]
            self.tokens.append((token, bool(quoted)))
            at = match.end()
        self.tokens.reverse()

    def peek(self) -> str:
        return "" if not self.tokens or self.tokens[-1][1] else self.tokens[-1][0]

    def take(self) -> str:
        if not self.tokens:
            raise _unreadable(self.text)
        return self.tokens.pop()[0]

    def expect(self, token: str) -> None:
        if self.take() != token:
            raise _unreadable(self.text)

    def either(self) -> bool:
        result = self.both()
        while self.peek() in ("or", "||"):
            self.take()
            result = self.both() or result
        return result

    def both(self) -> bool:
        result = self.single()
        while self.peek() in ("and", "&&"):
            self.take()
            result = self.single() and result
        return result

    def single(self) -> bool:
        if self.peek() in ("not", "!"):
            self.take()
            return not self.single()
        if self.peek() == "(":
            self.take()
            result = self.either()
            self.expect(")")
            return result
        return self.simple()

    def simple(self) -> bool:
        values = self.facts(self.take())
        operator = self.operator()
        if operator in ("exists", "!exists"):
            return bool(values) == (operator == "exists")
        if operator in ("in", "!in"):
            found = self.list()
            return any(value in found for value in values) == (operator == "in")
        return _compare(operator, values, self.take())

    def operator(self) -> str:
        token = self.take()
        if token == "!":
            token += self.take()
        token = _NAMED.get(token, token)
        if token not in _SYMBOLS and token not in ("exists", "!exists", "in", "!in"):
            raise _unreadable(self.text)
        return token

    def list(self) -> list[str]:
        self.expect("[")
        found = [self.take()]
        while self.peek() == ",":
            self.take()
            found.append(self.take())
        self.expect("]")
        return found


def _compare(operator: str, values: list[str], argument: str) -> bool:
    if operator in ("!=", "!~"):
        return not _compare("==" if operator == "!=" else "=~", values, argument)
    if operator == "==":
        return argument in values
    if operator == "=~":
        try:
            return any(re.fullmatch(argument, value) for value in values)
        except re.error:
            raise invalid(f"Invalid regular expression: {argument}") from None
    return any(_ordered(operator, value, argument) for value in values)


def _ordered(operator: str, value: str, argument: str) -> bool:
    left, right = _rank(value), _rank(argument)
    return {">": left > right, ">=": left >= right, "<": left < right, "<=": left <= right}[
        operator
    ]


def _rank(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in re.findall(r"\d+", text))
