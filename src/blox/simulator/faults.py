"""What goes wrong between a caller and ECS, and inside ECS: rates, and the decisions they lead to.

Every decision is a function of the rates and of a random generator that is handed in, so one seed
replays a run. Nothing here exceeds S, E or V; `blox.simulator.model.Switches` can.
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from random import Random

MICROSECOND = 1e-6
"""How far below a bound a delay "at the bound" stays, so that rounding never carries it over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often each fault strikes: 0 never, 1 always."""

    pause: float = 0.0
    """The caller's process stands still between signing and checking, for as long as ECS would
    still take the signature."""
    unreachable: float = 0.0
    """Connecting fails: nothing is sent."""
    drop_request: float = 0.0
    """The connection breaks after the first byte and ECS never sees the request."""
    late_request: float = 0.0
    """The request reaches ECS late, at any time until its signature is too old."""
    slow_execution: float = 0.0
    """ECS accepts it and executes it later, at any time up to E."""
    drop_answer: float = 0.0
    """It is executed and the connection breaks before the answer."""
    late_answer: float = 0.0
    """It is executed and the answer takes up to three minutes."""
    error_before: float = 0.0
    """5xx, and nothing was done."""
    error_after: float = 0.0
    """5xx, and it was done."""
    throttle: float = 0.0
    """ThrottlingException although the published quota was kept: others use it too."""
    garble: float = 0.0
    """The answer's body cannot be read, or it lacks ECS's request id; it was done."""
    omit_host: float = 0.0
    """StartTask's answer names a host neither among tasks nor among failures; it was done."""
    double_host: float = 0.0
    """StartTask's answer names a host in both lists."""
    lag: float = 0.0
    """How many new tasks and hosts reads show late, up to V after creation."""
    flicker: float = 0.0
    """How often one read does not show what an earlier one did, within V of creation."""
    short_page: float = 0.0
    """A page holds fewer items than asked although there are more."""
    slow_task: float = 0.0
    """A task takes minutes instead of seconds to start."""
    slow_stop: float = 0.0
    """A task takes its whole stopTimeout, and longer, to stop."""
    dying_task: float = 0.0
    """A task ends by itself within minutes."""
    failing_task: float = 0.0
    """A task goes from PENDING to STOPPED (its image cannot be pulled)."""
    agent_flap: float = 0.0
    """A host's agent goes away for seconds to a minute, several times an hour."""
    event_lost: float = 0.0
    event_doubled: float = 0.0
    event_late: float = 0.0
    """An event takes minutes to hours."""
    event_ancient: float = 0.0
    """An event takes up to 14 days."""

    @classmethod
    def none(cls) -> "Faults":
        """Nothing goes wrong."""
        return cls()

    @classmethod
    def draw(cls, random: Random) -> "Faults":
        """A swarm: in every run other faults are off, rare, frequent or extreme, because faults
        that are always on hide each other."""
        rates: dict[str, float] = {}
        for item in fields(cls):
            kind = random.random()
            if kind < 0.4:
                rate = 0.0
            elif kind < 0.7:
                rate = random.uniform(0.0, 0.05)
            elif kind < 0.93:
                rate = random.uniform(0.05, 0.3)
            else:
                rate = random.uniform(0.3, 0.8)
            rates[item.name] = rate
        return cls(**rates)


class Answer(StrEnum):
    """What becomes of an answer on its way."""

    WHOLE = "whole"
    DROPPED = "dropped"
    ERROR = "a 5xx in its place"
    GARBLED = "its body cannot be read"
    ANONYMOUS = "ECS's request id is missing"
    OMITS_HOST = "one host is in neither list"
    DOUBLES_HOST = "one host is in both lists"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of one request. Seconds."""

    connects: bool = True
    pauses: float = 0.0
    """Between signing and checking."""
    arrives_after: float | None = 0.005
    """After the first byte left; None: never."""
    refused: tuple[str, str, int] | None = None
    """(code, message, status) in place of execution."""
    executes_after: float = 0.0
    """After it arrived."""
    answer: Answer = Answer.WHOLE
    answers_after: float = 0.005
    """After it was executed."""
    picks: float = 0.0
    """In [0, 1): which host, which byte a broken answer is about."""


_ERRORS = (
    ("ServerException", "Service Unavailable. Please try again later.", 500),
    ("InternalFailure", "The request processing has failed because of an unknown error.", 500),
    ("ServiceUnavailable", "The request has failed due to a temporary failure.", 503),
    ("RequestTimeoutException", "The request timed out.", 408),
)
ACTS = frozenset({"StartTask", "RunTask", "StopTask"})
"""What may be executed later than it was accepted."""


def fate(random: Random, faults: Faults, operation: str, *, life: float, lag: float) -> Fate:
    """Decide what becomes of a request that can be accepted for `life` more seconds and, if it
    acts, be executed up to `lag` (E) after that. Both bounds are often reached exactly."""

    def strikes(rate: float) -> bool:
        return rate > 0.0 and random.random() < rate

    if strikes(faults.unreachable):
        return Fate(connects=False)
    arrives: float | None = random.uniform(0.001, 0.02)
    if strikes(faults.drop_request):
        arrives = None
    elif strikes(faults.late_request):
        arrives = up_to(random, life)
    acts = operation in ACTS
    return Fate(
        pauses=up_to(random, life) if acts and strikes(faults.pause) else 0.0,
        arrives_after=arrives,
        refused=_refusal(random, faults),
        executes_after=up_to(random, lag) if acts and strikes(faults.slow_execution) else 0.0,
        answer=_answer(random, faults, operation),
        answers_after=random.uniform(1.0, 180.0)
        if strikes(faults.late_answer)
        else random.uniform(0.001, 0.02),
        picks=random.random(),
    )


def up_to(random: Random, bound: float) -> float:
    """A delay of at most `bound`: one in four at the bound itself, some soon, the rest anywhere."""
    kind = random.random()
    latest = max(0.0, bound - MICROSECOND)
    if kind < 0.25:
        return latest
    return min(latest, random.uniform(0.0, latest if kind < 0.75 else 5.0))


def _refusal(random: Random, faults: Faults) -> tuple[str, str, int] | None:
    if faults.throttle and random.random() < faults.throttle:
        return ("ThrottlingException", "Rate exceeded", 400)
    if faults.error_before and random.random() < faults.error_before:
        return random.choice(_ERRORS)
    return None


def _answer(random: Random, faults: Faults, operation: str) -> Answer:
    chances = [
        (faults.drop_answer, Answer.DROPPED),
        (faults.error_after, Answer.ERROR),
        (faults.garble, Answer.GARBLED if random.random() < 0.5 else Answer.ANONYMOUS),
    ]
    if operation == "StartTask":
        chances.append((faults.omit_host, Answer.OMITS_HOST))
        chances.append((faults.double_host, Answer.DOUBLES_HOST))
    for rate, answer in chances:
        if rate and random.random() < rate:
            return answer
    return Answer.WHOLE


def error_for(fate: Fate) -> tuple[str, str, int]:
    """The 5xx that an answer of kind ERROR is replaced with."""
    return _ERRORS[int(fate.picks * len(_ERRORS))]


def mangled(answer: dict[str, object], fate: Fate) -> dict[str, object]:
    """StartTask's answer with one host taken out of it, or put into both lists."""
    tasks, failures = answer.get("tasks"), answer.get("failures")
    if not isinstance(tasks, list) or not isinstance(failures, list) or not tasks:
        return answer
    at = int(fate.picks * len(tasks))
    if fate.answer is Answer.OMITS_HOST:
        return {"tasks": tasks[:at] + tasks[at + 1 :], "failures": failures}
    if fate.answer is Answer.DOUBLES_HOST:
        again = {"arn": tasks[at]["containerInstanceArn"], "reason": "RESOURCE:MEMORY"}
        return {"tasks": tasks, "failures": [*failures, again]}
    return answer
