"""Faults between a caller and the simulated AWS, as rules that can be changed while it runs.

A rule says which calls it strikes, how often, and what happens: waiting, a lost connection, an
error, a throttle, an answer that cannot be read; before the call was executed or after. The
difference is what a caller cannot see and must not guess.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase
from random import Random
from typing import Final, Literal

from msgspec import Struct, field

from blox.simulator.faults import Faults
from blox.simulator.known import OPERATIONS

Outcome = Literal["answer", "drop", "error", "throttle", "garble", "anonymous"]
"""`answer`: as if nothing had happened. `drop`: the connection is cut. `error`: `status` and
`code`. `throttle`: ThrottlingException, always before. `garble`: HTTP 200 with half a body.
`anonymous`: HTTP 200 as a proxy's page, without a request id."""
Stage = Literal["before", "accepted", "after"]
"""When the outcome strikes: before ECS sees the call (it never does), as soon as ECS has accepted
it (it is executed `slow` seconds later all the same), or after its execution."""


class Rule(Struct, kw_only=True, forbid_unknown_fields=True):
    """One fault. Seconds; `share` from 0 to 1."""

    service: Literal["ecs", "sqs", "sts", "iam", "events", "kinesis", "*"] = "ecs"
    operation: str = "*"
    """A name, or a pattern with `*`: `Describe*`."""
    outcome: Outcome = "answer"
    stage: Stage = "before"
    late: float = 0.0
    """The call reaches the service so much later; its signature ages meanwhile."""
    slow: float = 0.0
    """The service accepts at once and executes so much later (ECS's acting calls only)."""
    delay: float = 0.0
    """The answer leaves so much after the execution."""
    status: int = 500
    code: str = "ServerException"
    message: str = "Service Unavailable. Please try again later."
    skip: int = 0
    """How many matching calls pass before the rule strikes at all."""
    times: int | None = None
    """How many calls it strikes; None: until it is removed."""
    share: float = 1.0
    """The share of matching calls that it strikes."""
    struck: int = field(default=0)
    """How many calls it has struck."""


class Strike(Struct, kw_only=True):
    """What happens to one call."""

    outcome: Outcome = "answer"
    stage: Stage = "before"
    late: float = 0.0
    slow: float = 0.0
    delay: float = 0.0
    status: int = 500
    code: str = ""
    message: str = ""


QUIET: Final = Strike()


class FaultBook:
    """The rules in force, in the order in which they were made."""

    def __init__(self) -> None:
        self.rules: dict[str, Rule] = {}
        self._made = 0

    def add(self, rule: Rule) -> str:
        """Put a rule in force; returns the name under which it can be removed.

        Raises ValueError, with a sentence, for a rule that makes no sense.
        """
        problem = _problem(rule)
        if problem:
            raise ValueError(problem)
        self._made += 1
        key = f"fault-{self._made}"
        self.rules[key] = rule
        return key

    def remove(self, key: str | None = None) -> bool:
        """Remove one rule, or all of them. False when there is none of that name."""
        if key is None:
            self.rules.clear()
            return True
        return self.rules.pop(key, None) is not None

    def strike(self, service: str, operation: str, *, draw: Callable[[], float]) -> Strike:
        """What happens to this call. Waits add up; the first rule with an outcome decides it.

        `draw` gives a number in [0, 1).
        """
        if not self.rules:
            return QUIET
        result = Strike()
        for rule in self.rules.values():
            if not _hits(rule, service, operation, draw):
                continue
            result.late += rule.late
            result.slow += rule.slow
            result.delay += rule.delay
            if result.outcome == "answer":
                result.outcome, result.stage = rule.outcome, rule.stage
                result.status, result.code, result.message = rule.status, rule.code, rule.message
        return result


def _hits(rule: Rule, service: str, operation: str, draw: Callable[[], float]) -> bool:
    if rule.service not in ("*", service) or not fnmatchcase(operation, rule.operation):
        return False
    if rule.times is not None and rule.struck >= rule.times:
        return False
    if rule.skip > 0:
        rule.skip -= 1
        return False
    if rule.share < 1.0 and draw() >= rule.share:
        return False
    rule.struck += 1
    return True


def operations(service: str) -> list[str]:
    """The operations of one service, or with "*" of all, sorted."""
    found = [name for key, names in OPERATIONS.items() if service in ("*", key) for name in names]
    return sorted(set(found))


def _problem(rule: Rule) -> str:
    known = operations(rule.service)
    if not any(fnmatchcase(name, rule.operation) for name in known):
        whose = "any service" if rule.service == "*" else rule.service
        return f"There is no operation {rule.operation!r} of {whose}. Known: {', '.join(known)}."
    if not 0 <= rule.share <= 1:
        return "share is a number from 0 to 1."
    if min(rule.late, rule.slow, rule.delay) < 0 or rule.skip < 0:
        return "late, slow, delay and skip must not be negative."
    if rule.times is not None and rule.times < 1:
        return "times is at least 1; leave it out for a rule that stays."
    if not 400 <= rule.status <= 599:
        return "status is an HTTP error, 400 to 599."
    if rule.outcome == "throttle" and rule.stage != "before":
        return "a throttled call is always refused before it is executed: leave stage out."
    if rule.outcome in ("garble", "anonymous") and rule.stage == "accepted":
        return f"{rule.outcome} strikes before or after the execution."
    if rule.stage == "accepted" and rule.service != "ecs":
        return "only ECS accepts a call and executes it later: service must be ecs."
    return ""


def deliveries(faults: Faults, random: Random) -> list[float]:
    """After how many seconds an event enters a queue: once, at once; or as the rates of lost,
    doubled, late and ancient events have it."""
    if faults.event_lost and random.random() < faults.event_lost:
        return []
    copies = 1
    if faults.event_doubled and random.random() < faults.event_doubled:
        copies = random.randint(2, 3)
    return [_event_delay(faults, random) for _ in range(copies)]


def _event_delay(faults: Faults, random: Random) -> float:
    if faults.event_ancient and random.random() < faults.event_ancient:
        return random.uniform(3_600.0, 14 * 86_400.0)
    if faults.event_late and random.random() < faults.event_late:
        return random.uniform(5.0, 7_200.0)
    return 0.0
