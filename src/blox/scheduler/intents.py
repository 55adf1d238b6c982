"""Acting once: what is known of each start call, from before it is signed until it can no longer
surprise.

StartTask has no client token, so a lost answer leaves a question that only time and looking can
settle. The rules, each one function here so that a test can break it:

    R1   the outcome of a call is remembered for V after it is known      `retention_over`
    R2   absence decides only in a look begun later than W after the
         signature                                                       `absence_decides`
    R4   a process that did not sign itself counts W from when it took
         over, on its own clock                                           `doubt_base`
    R5   a task belongs to the attempt whose id it carries, on that host  `resolves`
    R20  an open attempt blocks its slot whatever became of its
         environment; at most one is open in a slot                       `IntentBook.enter`

Everything is in this process's monotonic seconds, handed in.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from blox.ecs.model import Task
from blox.scheduler.model import Intent, Settled

Slot = tuple[str, str]
"""(environment id, host ARN)."""


class Phase(StrEnum):
    """How far a start call has come."""

    UNSENT = "unsent"
    """The intent is being made durable, or is and the request has not left."""
    CALLED = "called"
    """The request was handed to the transport; no answer yet."""
    DOUBT = "doubt"
    SETTLED = "settled"
    """Every host's outcome is known; kept for V."""


class Attempt(Struct, frozen=True, kw_only=True):
    """One intent and what this process knows of its call."""

    intent: Intent
    phase: Phase
    since: float
    """When the phase began."""
    base: float
    """The signature, or our acquisition if another process signed: W counts from here."""
    cause: str = ""
    request_id: str = ""


def doubt_base(signed_at: float | None, acquired_at: float) -> float:
    """R4: from when W counts. Recorded times are another clock's, so they decide nothing."""
    return acquired_at if signed_at is None else signed_at


def absence_decides(base: float, window: float, look_begun: float | None) -> bool:
    """R2: whether a complete look begun then proves that the call made no task.

    `window` is W = S' + E + V: the request can be accepted for S', its record exists E later, and a
    read begun V after that shows it.
    """
    return look_begun is not None and look_begun > base + window


def resolves(task: Task, intent: Intent) -> str | None:
    """R5: the host for which this task is the intent's outcome, or None."""
    if task.intent == intent.id and task.host_arn in intent.hosts:
        return task.host_arn
    return None


def retention_over(settled_at: float, read_lag: float, now: float) -> bool:
    """R1: whether reads begun now show every task that the intent tells of."""
    return now > settled_at + read_lag


def worth_presuming(intent: Intent, ecs_now: float, read_lag: float) -> bool:
    """Whether an intent found at start still knows more than a read would show. Its time and
    `ecs_now` are both ECS's clock, never this machine's."""
    return intent.answered_at is None or ecs_now <= intent.answered_at + read_lag + 60.0


class IntentBook:
    """Every intent of this process's domain, by slot and by id."""

    def __init__(self, *, window: float, read_lag: float) -> None:
        self.window = window
        """W now; grows when back-dating had to be given up."""
        self._read_lag = read_lag
        self._attempts: dict[str, Attempt] = {}
        self._open: dict[Slot, dict[str, None]] = {}
        """At most one id a slot, but for intents found at start: whatever was written is kept."""
        self._on_host: dict[str, dict[str, None]] = {}
        self._calling: dict[str, None] = {}
        """Attempts whose call has not ended: they are not forgotten, whatever is seen meanwhile."""

    def __len__(self) -> int:
        return len(self._attempts)

    def get(self, intent_id: str) -> Attempt | None:
        return self._attempts.get(intent_id)

    def in_slot(self, slot: Slot) -> Attempt | None:
        """The attempt that is open in this slot."""
        open_here = self._open.get(slot)
        return None if open_here is None else self._attempts[next(iter(open_here))]

    def open_on(self, host: str) -> list[Attempt]:
        """Every attempt that is open on this host, whatever its environment."""
        return [self._attempts[intent_id] for intent_id in self._on_host.get(host, ())]

    def enter(self, intent: Intent, *, now: float) -> None:
        """A new attempt, before its intent is written. Its slots must have none open (R20)."""
        for host in intent.hosts:
            if (intent.environment_id, host) in self._open:
                raise AssertionError(f"a start is already open for {host}")
        self._calling[intent.id] = None
        self._put(Attempt(intent=intent, phase=Phase.UNSENT, since=now, base=now))

    def ended(self, intent_id: str) -> None:
        """The call has ended, whatever its outcome."""
        self._calling.pop(intent_id, None)

    def restore(self, intent: Intent, *, acquired_at: float) -> None:
        """An intent found in the store: its open hosts are in doubt since we took over."""
        phase = Phase.DOUBT if intent.open_hosts else Phase.SETTLED
        base = doubt_base(None, acquired_at)
        cause = "the process that called ended before the answer" if intent.open_hosts else ""
        self._put(Attempt(intent=intent, phase=phase, since=acquired_at, base=base, cause=cause))

    def called(self, intent_id: str, *, signed_at: float) -> None:
        """The request is about to leave, signed then."""
        attempt = self._attempts[intent_id]
        self._put(
            replace(
                attempt, phase=Phase.CALLED, since=signed_at, base=doubt_base(signed_at, signed_at)
            )
        )

    def doubt(
        self, intent_id: str, *, signed_at: float, cause: str, request_id: str, now: float
    ) -> Attempt:
        """The call got no clear answer for the hosts that are still open."""
        attempt = self._attempts[intent_id]
        attempt = replace(
            attempt,
            phase=Phase.DOUBT if attempt.intent.open_hosts else Phase.SETTLED,
            since=now,
            base=doubt_base(signed_at, now),
            cause=cause,
            request_id=request_id,
        )
        return self._put(attempt)

    def settle(
        self, intent_id: str, outcomes: Mapping[str, Settled], *, now: float, ecs_now: float
    ) -> Attempt:
        """Fill in hosts' outcomes; the first that is known of a host stands."""
        attempt = self._attempts[intent_id]
        settled = {**outcomes, **attempt.intent.settled}
        intent = replace(attempt.intent, settled=settled)
        if intent.open_hosts:
            return self._put(replace(attempt, intent=intent))
        intent = replace(intent, answered_at=ecs_now)
        return self._put(replace(attempt, intent=intent, phase=Phase.SETTLED, since=now))

    def sighted(self, task: Task) -> tuple[Attempt, str] | None:
        """The open attempt and host whose outcome this task is (R5)."""
        attempt = self._attempts.get(task.intent or "")
        if attempt is None:
            return None
        host = resolves(task, attempt.intent)
        if host is None or host in attempt.intent.settled:
            return None
        return attempt, host

    def ended_by_absence(self, cluster_arn: str, look_begun: float | None) -> list[Attempt]:
        """Attempts in doubt on this cluster that a look begun then proves to have made no more."""
        return [
            attempt
            for attempt in self.doubts(cluster_arn)
            if absence_decides(attempt.base, self.window_of(attempt), look_begun)
        ]

    def window_of(self, attempt: Attempt) -> float:
        """W for this attempt: ours, or the caller's if its requests could live longer."""
        return max(self.window, attempt.intent.window)

    def doubts(self, cluster_arn: str) -> list[Attempt]:
        return [
            attempt
            for attempt in self._attempts.values()
            if attempt.phase is Phase.DOUBT and attempt.intent.cluster_arn == cluster_arn
        ]

    def unsettled(self) -> list[Attempt]:
        return [a for a in self._attempts.values() if a.phase is not Phase.SETTLED]

    def on_cluster(self, cluster_arn: str) -> list[Attempt]:
        return [a for a in self._attempts.values() if a.intent.cluster_arn == cluster_arn]

    def due(self, *, now: float) -> list[str]:
        """Ids of settled intents that may be deleted from the store (R1)."""
        return [
            attempt.intent.id
            for attempt in self._attempts.values()
            if attempt.phase is Phase.SETTLED
            and attempt.intent.id not in self._calling
            and retention_over(attempt.since, self._read_lag, now)
        ]

    def forget(self, intent_ids: Iterable[str]) -> None:
        """They are gone from the store, or were never written."""
        for intent_id in intent_ids:
            self._calling.pop(intent_id, None)
            attempt = self._attempts.pop(intent_id, None)
            if attempt is not None:
                for host in attempt.intent.hosts:
                    self._close((attempt.intent.environment_id, host), intent_id)

    def _put(self, attempt: Attempt) -> Attempt:
        intent = attempt.intent
        self._attempts[intent.id] = attempt
        for host in intent.hosts:
            slot = (intent.environment_id, host)
            if host in intent.settled:
                self._close(slot, intent.id)
            else:
                self._open.setdefault(slot, {})[intent.id] = None
                self._on_host.setdefault(host, {})[intent.id] = None
        return attempt

    def _close(self, slot: Slot, intent_id: str) -> None:
        _remove(self._open, slot, intent_id)
        _remove(self._on_host, slot[1], intent_id)


_K = TypeVar("_K")


def _remove(index: dict[_K, dict[str, None]], key: _K, intent_id: str) -> None:
    ids = index.get(key)
    if ids is not None:
        ids.pop(intent_id, None)
        if not ids:
            del index[key]
