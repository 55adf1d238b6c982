"""Taking start calls from the boards, and what their outcomes change.

`take` is "plan again": called when a pacing token is in hand, it judges each host anew and gives
only those that still want a start. From then on the slots are in flight, whatever the caller does.
"""

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from blox.base.ambient import Entropy
from blox.base.backoff import exponential
from blox.base.ids import short_id
from blox.ecs.errors import CREDENTIAL_CODES, SIGNATURE_CODES, Meaning
from blox.ecs.model import Failure
from blox.ecs.port import InDoubt, NotDone, Started, StartOutcome, StartRequest
from blox.scheduler.breaker import (
    Breaker,
    batch_allowed,
    call_answered,
    call_began,
    call_in_doubt,
    call_not_made,
)
from blox.scheduler.model import Deployment, Environment, Intent, Revision, Settled, VerdictKind
from blox.scheduler.slots import gate_of
from blox.scheduler.state import State, What
from blox.scheduler.tracked import Tracked
from blox.scheduler.verdicts import Gate, Refusal, Trouble

SAME_REFUSALS = 3
"""Calls for different hosts, refused alike, that make it the environment's condition."""


class StartBatch(Struct, frozen=True, kw_only=True):
    """One StartTask call to be."""

    environment: Environment
    deployment: Deployment
    revision: Revision
    intent: Intent
    rollout: bool

    def request(self) -> StartRequest:
        definition = self.revision.definition
        return StartRequest(
            cluster=self.environment.cluster_arn,
            definition=definition.task_definition_arn,
            hosts=self.intent.hosts,
            started_by=self.deployment.id,
            group=self.environment.group,
            intent=self.intent.id,
            first_container=definition.container_definitions[0].name,
            options=self.revision.task,
        )


class Starts:
    """The start side of acting. Synchronous: it changes memory; others wait."""

    def __init__(self, state: State, entropy: Entropy, *, wake_at: Callable[[float], None]) -> None:
        """`wake_at(when)`: look for work again then (monotonic)."""
        self._state = state
        self._entropy = entropy
        self._wake_at = wake_at
        self._turn: str = ""
        self._hold_until = 0.0
        self._hold_attempts = 0
        self.hold_reason = ""
        """Why the whole domain starts nothing at the moment; "" when it may."""
        self.allowed = False
        """Set once the fence was seen to hold (or known not to); nothing starts before."""

    # --- Taking -----------------------------------------------------------------------------------

    def ready(self, *, rollout: bool) -> bool:
        """Whether `take` could give a batch now."""
        now = self._state.clock.monotonic()
        if not self.allowed or now < self._hold_until:
            return False
        return any(self._may_take(tracked, rollout, now) for tracked in self._tracked())

    def _may_take(self, tracked: Tracked, rollout: bool, now: float) -> bool:  # noqa: FBT001
        if not tracked.board.ready[rollout]:
            return False
        if tracked.trouble is not None and now < tracked.trouble.probe_at:
            return False
        return batch_allowed(self._breaker(tracked.cluster_arn), now=now) > 0

    def take(self, *, rollout: bool) -> StartBatch | None:
        """The next call, environments taking turns; None if nothing wants a start any more."""
        now = self._state.clock.monotonic()
        if not self.allowed or now < self._hold_until:
            return None
        for tracked in self._in_turn():
            if not self._may_take(tracked, rollout, now):
                continue
            batch = self._batch(tracked, rollout=rollout, now=now)
            if batch is not None:
                self._turn = tracked.id
                return batch
        return None

    def _batch(self, tracked: Tracked, *, rollout: bool, now: float) -> StartBatch | None:
        environment = self._state.repository.environment(tracked.id)
        if environment is None or environment.deleted_at is not None:
            return None
        context = self._state.context(tracked, environment)
        if context.deployment is None or context.target is None:
            return None
        limit = batch_allowed(self._breaker(tracked.cluster_arn), now=now)
        if tracked.trouble is not None:
            limit = 1
        hosts: list[str] = []
        for host in list(tracked.board.ready[rollout]):
            wanted = tracked.note(host).batch_limit
            if wanted < limit:
                if hosts:
                    continue
                limit = wanted
            verdict = self._state.judge(tracked, context, host)
            if verdict is not None and verdict.kind is VerdictKind.START:
                hosts.append(host)
                if len(hosts) == limit:
                    break
        if not hosts:
            return None
        intent = Intent(
            id=self._entropy.token(),
            environment_id=environment.id,
            deployment_id=context.deployment.id,
            cluster_arn=environment.cluster_arn,
            definition_arn=context.target.definition_arn,
            group=environment.group,
            hosts=tuple(hosts),
            window=self._state.book.window,
            created_at=context.now.ecs,
        )
        self._state.book.enter(intent, now=now)
        self._began(tracked)
        self._judge_again(tracked, hosts)
        return StartBatch(
            environment=environment,
            deployment=context.deployment,
            revision=context.target,
            intent=intent,
            rollout=rollout,
        )

    def _began(self, tracked: Tracked) -> None:
        self._state.breakers[tracked.cluster_arn] = call_began(self._breaker(tracked.cluster_arn))
        if tracked.trouble is not None:
            probe = self._state.clock.monotonic() + self._state.settings.scheduler.condition_probe
            tracked.trouble = replace(tracked.trouble, probe_at=probe)

    # --- Outcomes ---------------------------------------------------------------------------------

    def outdated(self, batch: StartBatch) -> str | None:
        """Why a start whose intent is durable must not leave any more, None if it may. Asked
        between the signature and the first byte."""
        state = self._state
        if state.book.window > batch.intent.window:
            return "requests live longer now than this intent says"
        environment = state.repository.environment(batch.environment.id)
        if environment is None or environment.deleted_at is not None:
            return "the environment was deleted"
        unknown = state.unknown(environment.cluster_arn)
        if unknown is not None:
            return f"the cluster {unknown}"
        forbidden = self._forbidden(environment, batch.intent.hosts, batch.intent.id)
        if forbidden is not None:
            return forbidden
        deployment = state.deployment_in_force(environment)
        if deployment is None or deployment.id != batch.deployment.id:
            return "another deployment is in force"
        return None

    def _has_daemon(self, environment: Environment, host: str, intent_id: str) -> bool:
        """Whether something there became the environment's own since this start was planned."""
        return any(
            task.live and task.intent != intent_id and environment.digest_of(task) is not None
            for task in self._state.view.tasks_on(host)
        )

    def _forbidden(
        self, environment: Environment, hosts: Sequence[str], intent_id: str
    ) -> str | None:
        """Why somebody does not want this start any more. What was acknowledged binds a call whose
        first byte has not left."""
        state = self._state
        if environment.ending:
            return "the environment is being deleted"
        if state.freeze_of(environment) is not None:
            return "it was frozen"
        for arn in hosts:
            seen = state.view.host(arn)
            if seen is not None and state.hold_of(seen) is not None:
                return "a host is held"
            if self._has_daemon(environment, arn, intent_id):
                return "a host has a daemon by now"
            if seen is not None and gate_of(seen.host, environment) is not Gate.OPEN:
                return "a host went back to the service"
        return None

    def called(self, batch: StartBatch) -> None:
        """The request is signed and about to leave."""
        self._state.book.called(batch.intent.id, signed_at=self._state.clock.monotonic())
        for host in batch.intent.hosts:
            text = f"StartTask {short_id(batch.intent.definition_arn)} [{len(batch.intent.hosts)}]"
            self._state.tell(batch.environment.id, host, "called", text, intent=batch.intent.id)

    def unwritten(self, batch: StartBatch, *, why: str, hold: float) -> None:
        """The intent could not be made durable: nothing was or will be sent (R13)."""
        self._state.book.forget([batch.intent.id])
        if hold:
            self._hold(hold, why)
        self._changed_call(batch, call_not_made)
        self._finish(batch)

    def ended(self, batch: StartBatch, outcome: StartOutcome) -> Intent | None:
        """Note the outcome; returns the intent if it must be kept, None if it may be deleted."""
        kept: Intent | None
        self._state.book.ended(batch.intent.id)
        if isinstance(outcome, Started):
            kept = self._started(batch, outcome)
        elif isinstance(outcome, InDoubt):
            kept = self._in_doubt(batch, outcome)
        else:
            self._not_done(batch, outcome)
            kept = None
        self._finish(batch)
        return kept

    def _started(self, batch: StartBatch, outcome: Started) -> Intent:
        self._hold_attempts = 0
        failures = {failure.arn: failure for failure in outcome.failures}
        tasks = {
            str(task.container_instance_arn): task
            for task in outcome.tasks
            if task.container_instance_arn
        }
        settled: dict[str, Settled] = {}
        tracked = self._state.tracked.get(batch.environment.id)
        for host in batch.intent.hosts:
            task, failure = tasks.get(host), failures.get(host)
            if task is not None and failure is None:
                settled[host] = Settled("task", task.task_arn)
                text = f"task {short_id(task.task_arn)}"
                self._tell(batch, host, "answered", text, outcome.request_id, task=task.task_arn)
            elif failure is not None and task is None:
                settled[host] = Settled("failed", failure.reason)
                text = f"refused: {failure.reason} {failure.detail or ''}".rstrip()
                self._tell(batch, host, "failed", text, outcome.request_id)
                self._host_refused(tracked, host, failure, outcome.request_id)
        self._settle(batch, settled)
        for task in outcome.tasks:
            self._state.view.answer(task, outcome.signed_at)
        self._forget_doubts(tracked, settled)
        if tracked is not None and any(s.kind == "task" for s in settled.values()):
            if tracked.trouble is not None:
                self._condition_over(tracked, tracked.trouble.code)
            tracked.trouble, tracked.refused = None, None
        self._changed_call(batch, call_answered)
        attempt = self._state.book.get(batch.intent.id)
        assert attempt is not None
        if attempt.intent.open_hosts:
            self._doubt(batch, outcome.signed_at, "ECS's answer left it out", outcome.request_id)
        return attempt.intent

    def _in_doubt(self, batch: StartBatch, outcome: InDoubt) -> Intent:
        now = self._state.clock.monotonic()
        intervals = self._state.settings.scheduler.breaker_probes
        breaker = call_in_doubt(
            self._breaker(batch.environment.cluster_arn), now=now, intervals=intervals
        )
        self._state.breakers[batch.environment.cluster_arn] = breaker
        if breaker.open:
            self._wake_at(breaker.next_probe)
        self._doubt(batch, outcome.signed_at, outcome.cause, outcome.request_id)
        attempt = self._state.book.get(batch.intent.id)
        assert attempt is not None
        return attempt.intent

    def _doubt(self, batch: StartBatch, signed_at: float, cause: str, request_id: str) -> None:
        """Hosts that are still open are in doubt, and go alone next time (R14)."""
        attempt = self._state.book.doubt(
            batch.intent.id,
            signed_at=signed_at,
            cause=cause,
            request_id=request_id,
            now=self._state.clock.monotonic(),
        )
        tracked = self._state.tracked.get(batch.environment.id)
        for host in attempt.intent.open_hosts:
            self._tell(batch, host, "failed", f"in doubt: {cause}", request_id)
            if tracked is not None:
                notes = tracked.note(host)
                doubts = notes.doubts + 1
                tracked.keep_note(host, replace(notes, batch_limit=1, doubts=doubts))

    def _not_done(self, batch: StartBatch, outcome: NotDone) -> None:
        """Nothing happened, certainly: the intent is closed as absent and may go at once."""
        self._settle(batch, {host: Settled("absent") for host in batch.intent.hosts})
        for host in batch.intent.hosts:
            text = f"refused: {outcome.code}: {outcome.message}"
            self._tell(batch, host, "failed", text, outcome.request_id)
        tracked = self._state.tracked.get(batch.environment.id)
        if outcome.meaning is Meaning.DID_NOT_HAPPEN:
            self._changed_call(batch, call_not_made)
            if not outcome.throttled and outcome.code != "permit":
                self._hold_for(outcome)
            return
        self._changed_call(batch, call_answered)
        if tracked is None:
            return
        if outcome.meaning is not Meaning.BISECT:
            self._troubled(tracked, outcome)
            return
        if tracked.trouble is None and self._same_everywhere(tracked, batch, outcome):
            self._troubled(tracked, outcome)
        self._bisect(tracked, batch.intent.hosts, outcome)

    def _same_everywhere(self, tracked: Tracked, batch: StartBatch, outcome: NotDone) -> bool:
        """Whether calls for different hosts were refused with one code and none succeeded since, so
        that it is not the hosts. Two could be two bad hosts; hosts that were refused alone before
        prove nothing again."""
        known = frozenset(
            host
            for host in batch.intent.hosts
            if (refusal := tracked.note(host).refusal) is not None and refusal.code == outcome.code
        )
        hosts = frozenset(batch.intent.hosts) - known
        code, others = tracked.refused or (outcome.code, ())
        if code != outcome.code:
            others = ()
        if hosts and all(hosts.isdisjoint(other) for other in others):
            others = (*others, hosts)
        elif hosts:
            # A part of a call that was refused before: the narrower one is the better evidence.
            others = (*(other for other in others if hosts.isdisjoint(other)), hosts)
        tracked.refused = (outcome.code, others)
        return len(others) >= SAME_REFUSALS

    def _bisect(self, tracked: Tracked, hosts: Sequence[str], outcome: NotDone) -> None:
        now, settings = self._state.clock.monotonic(), self._state.settings.scheduler
        for host in hosts:
            notes = tracked.note(host)
            if len(hosts) > 1:
                tracked.keep_note(host, replace(notes, batch_limit=max(1, len(hosts) // 2)))
                continue
            attempts = notes.refusal.attempts + 1 if notes.refusal else 1
            wait = exponential(attempts, first=5.0, factor=2.0, most=settings.attribute_wait)
            refusal = Refusal(
                code=outcome.code,
                text=f"{outcome.code}: {outcome.message}",
                retry_at=now + wait,
                attempts=attempts,
                request_id=outcome.request_id,
            )
            tracked.keep_note(host, replace(notes, batch_limit=1, refusal=refusal))

    def _troubled(self, tracked: Tracked, outcome: NotDone) -> None:
        now = self._state.clock.monotonic()
        tracked.trouble = Trouble(
            code=outcome.code,
            text=f"{outcome.code}: {outcome.message}",
            since=tracked.trouble.since if tracked.trouble else now,
            probe_at=now + self._state.settings.scheduler.condition_probe,
            request_id=outcome.request_id,
        )
        tracked.definition_checked = None
        tracked.all_dirty = True

    def _condition_over(self, tracked: Tracked, code: str) -> None:
        """A probe was accepted. The others waited for it, and earlier probes were refused for the
        environment: they need not wait any longer. That they were refused stays known."""
        now = self._state.clock.monotonic()
        for host, notes in list(tracked.notes.items()):
            if notes.refusal is not None and notes.refusal.code == code:
                refusal = replace(notes.refusal, retry_at=now, attempts=1)
                tracked.keep_note(host, replace(notes, refusal=refusal))
        tracked.all_dirty = True

    def _host_refused(
        self, tracked: Tracked | None, host: str, failure: Failure, request_id: str
    ) -> None:
        if tracked is None:
            return
        notes, settings = tracked.note(host), self._state.settings.scheduler
        longest = settings.resource_wait
        if failure.reason == "AGENT":
            longest = settings.agent_wait
        elif failure.reason in ("ATTRIBUTE", "LOCATION"):
            longest = settings.attribute_wait
        elif failure.reason in ("INACTIVE", "MISSING"):
            self._state.view.recheck(host)
        attempts = notes.refusal.attempts + 1 if notes.refusal else 1
        wait = exponential(attempts, first=1.0, factor=2.0, most=longest)
        refusal = Refusal(
            code=failure.reason,
            text=f"{failure.reason} {failure.detail or ''}".rstrip(),
            retry_at=self._state.clock.monotonic() + wait,
            attempts=attempts,
            request_id=request_id,
        )
        tracked.keep_note(host, replace(notes, refusal=refusal))

    # --- Shared -----------------------------------------------------------------------------------

    def _settle(self, batch: StartBatch, settled: dict[str, Settled]) -> None:
        self._state.book.settle(
            batch.intent.id,
            settled,
            now=self._state.clock.monotonic(),
            ecs_now=self._state.reads.now(),
        )

    def _forget_doubts(self, tracked: Tracked | None, settled: Iterable[str]) -> None:
        if tracked is None:
            return
        for host in settled:
            notes = tracked.note(host)
            if notes.doubts or notes.batch_limit != 10:
                tracked.keep_note(host, replace(notes, doubts=0, batch_limit=10))

    def _hold_for(self, outcome: NotDone) -> None:
        """Nothing in this domain can be called: wait longer each time."""
        self._hold_attempts += 1
        slow = outcome.code in CREDENTIAL_CODES or outcome.code in SIGNATURE_CODES
        wait = exponential(self._hold_attempts, first=5.0 if slow else 0.5, factor=2.0, most=30.0)
        self._hold(wait, f"{outcome.code}: {outcome.message}")

    def _hold(self, seconds: float, why: str) -> None:
        self._hold_until = self._state.clock.monotonic() + seconds
        self.hold_reason = why
        self._wake_at(self._hold_until)

    @property
    def held(self) -> str:
        """Why nothing at all may start now, "" if it may."""
        return self.hold_reason if self._state.clock.monotonic() < self._hold_until else ""

    def _changed_call(self, batch: StartBatch, change: Callable[[Breaker], Breaker]) -> None:
        cluster = batch.environment.cluster_arn
        self._state.breakers[cluster] = change(self._breaker(cluster))

    def _breaker(self, cluster_arn: str) -> Breaker:
        return self._state.breakers.get(cluster_arn) or Breaker()

    def _finish(self, batch: StartBatch) -> None:
        self._state.touch(batch.environment.id, batch.intent.hosts)

    def _judge_again(self, tracked: Tracked, hosts: Iterable[str]) -> None:
        environment = self._state.repository.environment(tracked.id)
        if environment is not None:
            context = self._state.context(tracked, environment)
            for host in hosts:
                self._state.judge(tracked, context, host, log=False)

    def _tell(
        self, batch: StartBatch, host: str, what: What, text: str, request_id: str, **more: str
    ) -> None:
        self._state.tell(
            batch.environment.id,
            host,
            what,
            text,
            request=request_id,
            intent=batch.intent.id,
            **more,
        )

    def _tracked(self) -> Iterable[Tracked]:
        return self._state.tracked.values()

    def _in_turn(self) -> list[Tracked]:
        """Every environment, the one after the last that had its turn first."""
        ids = list(self._state.tracked)
        first = ids.index(self._turn) + 1 if self._turn in self._state.tracked else 0
        return [self._state.tracked[i] for i in (*ids[first:], *ids[:first])]
