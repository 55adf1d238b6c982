"""EventBridge as far as blox meets it: the default bus, the rule that feeds queues, PutEvents.

https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
One rule with queues and streams as its targets carries ECS's events. It can be disabled, removed,
restored and given another pattern; while it does not match, nothing reaches them. What callers put
on the bus is kept for whoever looks, and goes through the rule like everything else.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from uuid import UUID

from blox.simulator.documents import iso
from blox.simulator.model import Fault, Json
from blox.simulator.parameters import Parameters

RULE: Final = "blox-ecs-events"
"""The name of the rule that feeds the queues."""
PATTERN: Final[Json] = {
    "source": ["aws.ecs"],
    "detail-type": ["ECS Task State Change", "ECS Container Instance State Change"],
}
KEPT: Final = 10_000
"""How many put events are remembered."""
_ENTRIES: Final = 10
_BYTES: Final = 262_144
_NEEDED: Final = ("Source", "DetailType", "Detail")


class EventBus:
    """The default event bus of one account and region, with at most one rule."""

    def __init__(
        self, *, account: str, region: str, routes: Sequence[str], streams: Sequence[str] = ()
    ) -> None:
        """`routes`, `streams`: names of the queues and of the Kinesis streams that the rule feeds;
        read anew each time."""
        self.account = account
        self.region = region
        self.put: deque[Json] = deque(maxlen=KEPT)
        """Envelopes of the events that callers put, oldest first."""
        self.put_total = 0
        """How many there ever were, forgotten ones included."""
        self.exists = True
        self.enabled = True
        self.pattern: Json = dict(PATTERN)
        self._routes = routes
        self._streams = streams

    @property
    def state(self) -> str:
        """ENABLED, DISABLED, or GONE when there is no rule."""
        return ("ENABLED" if self.enabled else "DISABLED") if self.exists else "GONE"

    @property
    def rule_arn(self) -> str:
        """The rule's ARN, whether or not it is there."""
        return f"arn:aws:events:{self.region}:{self.account}:rule/{RULE}"

    def queue_policy(self, queue: str) -> str:
        """The queue's policy that lets the rule send into it, JSON
        (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html)."""
        statement: Json = {
            "Sid": "EventsToQueue",
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": self._arn(queue),
            "Condition": {"ArnEquals": {"aws:SourceArn": self.rule_arn}},
        }
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    def targets(self, event: Mapping[str, object]) -> list[str]:
        """Names of the queues that this event goes into."""
        return list(self._routes) if self._passes(event) else []

    def target_streams(self, event: Mapping[str, object]) -> list[str]:
        """Names of the Kinesis streams that this event goes into."""
        return list(self._streams) if self._passes(event) else []

    def _passes(self, event: Mapping[str, object]) -> bool:
        return self.exists and self.enabled and matches(self.pattern, event)

    def call(
        self,
        operation: str,
        params: Json,
        *,
        now: float,
        new_id: Callable[[], UUID],
        emit: Callable[[Json], None],
    ) -> Json:
        """Answer one request. `emit` gets each event that was put. Raises Fault."""
        parameters = Parameters(params)
        if operation == "PutEvents":
            return self._put_events(parameters, now=now, new_id=new_id, emit=emit)
        self._check_bus(parameters)
        if operation == "DescribeRule":
            self._check_rule(parameters.text("Name") or "")
            return self._rule()
        if operation == "ListRules":
            prefix = parameters.text("NamePrefix") or ""
            return {"Rules": [self._rule()] if self.exists and RULE.startswith(prefix) else []}
        if operation == "ListTargetsByRule":
            self._check_rule(parameters.text("Rule") or "")
            return {"Targets": [{"Id": name, "Arn": arn} for name, arn in self._targets().items()]}
        if operation == "ListRuleNamesByTarget":
            target = parameters.text("TargetArn") or ""
            fed = self.exists and target in self._targets().values()
            return {"RuleNames": [RULE] if fed else []}
        raise Fault("UnknownOperationException", f"The simulated EventBridge has no {operation}.")

    def _arn(self, queue: str) -> str:
        return f"arn:aws:sqs:{self.region}:{self.account}:{queue}"

    def _targets(self) -> dict[str, str]:
        """Target's id → ARN."""
        found = {name: self._arn(name) for name in self._routes}
        prefix = f"arn:aws:kinesis:{self.region}:{self.account}:stream/"
        return found | {f"stream-{name}": prefix + name for name in self._streams}

    def _check_bus(self, parameters: Parameters) -> None:
        name = (parameters.text("EventBusName") or "default").rsplit("/", 1)[-1]
        if name != "default":
            raise Fault("ResourceNotFoundException", f"Event bus {name} does not exist.")

    def _check_rule(self, name: str) -> None:
        if not self.exists or name != RULE:
            raise Fault(
                "ResourceNotFoundException", f"Rule {name} does not exist on EventBus default."
            )

    def _rule(self) -> Json:
        return {
            "Name": RULE,
            "Arn": self.rule_arn,
            "EventPattern": json.dumps(self.pattern),
            "State": self.state,
            "EventBusName": "default",
        }

    # --- PutEvents --------------------------------------------------------------------------------

    def _put_events(
        self,
        parameters: Parameters,
        *,
        now: float,
        new_id: Callable[[], UUID],
        emit: Callable[[Json], None],
    ) -> Json:
        entries = parameters.objects("Entries")
        if not 1 <= len(entries) <= _ENTRIES:
            raise Fault("ValidationException", "Entries must have 1 to 10 members.")
        if sum(_size(entry) for entry in entries) > _BYTES:
            raise Fault(
                "ValidationException", "Total size of the entries in the request is over the limit."
            )
        answers: list[Json] = []
        for entry in entries:
            problem = _problem(entry)
            if problem is not None:
                answers.append({"ErrorCode": problem[0], "ErrorMessage": problem[1]})
                continue
            key = str(new_id())
            event = self._envelope(entry, key, now)
            self.put.append(event)
            self.put_total += 1
            emit(event)
            answers.append({"EventId": key})
        return {
            "FailedEntryCount": sum("ErrorCode" in answer for answer in answers),
            "Entries": answers,
        }

    def _envelope(self, entry: Json, key: str, now: float) -> Json:
        time = entry.get("Time")
        return {
            "version": "0",
            "id": key,
            "detail-type": entry["DetailType"],
            "source": entry["Source"],
            "account": self.account,
            "time": iso(float(int(time if isinstance(time, (int, float)) else now))),
            "region": self.region,
            "resources": Parameters(entry).texts("Resources"),
            "detail": json.loads(str(entry["Detail"])),
        }


def _size(entry: Json) -> int:
    """As AWS counts:
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevent-size.html"""
    texts = [str(entry.get(name, "")) for name in _NEEDED]
    texts += Parameters(entry).texts("Resources")
    return sum(len(text.encode()) for text in texts) + (14 if "Time" in entry else 0)


def _problem(entry: Json) -> tuple[str, str] | None:
    """(code, message) of an entry that the bus does not take."""
    for name in _NEEDED:
        if not Parameters(entry).text(name):
            return (
                "InvalidArgument",
                f"Parameter {name} is not valid. Reason: {name} is a required argument.",
            )
    if str(entry["Source"]).startswith("aws."):
        return "NotAuthorizedForSourceException", "Not authorized for the source."
    bus = str(entry.get("EventBusName") or "default").rsplit("/", 1)[-1]
    if bus != "default":
        return "InvalidArgument", f"Parameter EventBusName is not valid. Reason: no bus {bus}."
    try:
        detail = json.loads(str(entry["Detail"]))
    except ValueError:
        detail = None
    return None if isinstance(detail, dict) else ("MalformedDetail", "Detail is malformed.")


# --- Patterns -------------------------------------------------------------------------------------


def check_pattern(pattern: Mapping[str, object]) -> None:
    """Raises ValueError, with a sentence, for what is no event pattern or uses more of the language
    than lists of values, `prefix` and `exists`."""
    if not pattern:
        raise ValueError("An event pattern names at least one member.")
    for name, wanted in pattern.items():
        if isinstance(wanted, dict):
            check_pattern(wanted)
        elif not isinstance(wanted, list) or not wanted:
            raise ValueError(f"In an event pattern {name!r} is a list of values or an object.")
        else:
            for one in wanted:
                if isinstance(one, dict) and list(one) not in (["prefix"], ["exists"]):
                    raise ValueError(
                        "The simulated EventBridge knows values, prefix and exists in patterns, "
                        f"not {json.dumps(one)}."
                    )


def matches(pattern: Mapping[str, object], event: Mapping[str, object]) -> bool:
    """Whether an event matches a pattern
    (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html)."""
    for name, wanted in pattern.items():
        found = event.get(name)
        if isinstance(wanted, dict):
            if not isinstance(found, dict) or not matches(wanted, found):
                return False
        elif not isinstance(wanted, list) or not _any_of(wanted, found, there=name in event):
            return False
    return True


def _any_of(wanted: Sequence[object], found: object, *, there: bool) -> bool:
    values = found if isinstance(found, list) else [found]
    for one in wanted:
        if isinstance(one, dict) and "exists" in one:
            if one["exists"] == there:
                return True
        elif not there:
            continue
        elif isinstance(one, dict):
            prefix = str(one.get("prefix", ""))
            if any(isinstance(value, str) and value.startswith(prefix) for value in values):
                return True
        elif one in values:
            return True
    return False
