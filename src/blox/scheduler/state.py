"""The scheduler's working memory, and the one way to judge a slot with it."""

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from msgspec.structs import replace

from blox.base.ambient import Clock, Now
from blox.base.ids import Domain, parse_arn, short_id
from blox.base.journal import Entry, Journal
from blox.ecs.model import Task
from blox.ecs.port import EcsReads
from blox.scheduler.breaker import Breaker
from blox.scheduler.eligibility import need_of
from blox.scheduler.intents import IntentBook, absence_decides
from blox.scheduler.model import (
    Deployment,
    DeploymentStatus,
    Environment,
    Freeze,
    Hold,
    Revision,
)
from blox.scheduler.planner import judge
from blox.scheduler.reasons import sentence
from blox.scheduler.repository import Repository
from blox.scheduler.slots import (
    Around,
    StopsKnown,
    Target,
    gather,
    remember,
    settled_notes,
)
from blox.scheduler.tracked import Tracked
from blox.scheduler.verdicts import Context, Cost, SlotFacts, Verdict, alike
from blox.scheduler.view import ClusterView, HostSeen
from blox.settings import Settings

What = Literal["seen", "decided", "called", "answered", "failed"]
StoryKey = tuple[str, str]
"""(environment id, host ARN)."""


_RESOLUTION = 1.0
"""Seconds: what a Date header leaves out."""
_CLOCK_STEP = 5.0
"""Seconds by which ECS's clock must have gone back for a stamp to follow it."""
SOONEST = 0.01
"""Seconds until a slot is judged again without anything having happened, at the least."""


class State:
    """Everything that passes and calls share. Only the event loop's thread touches it."""

    def __init__(
        self,
        repository: Repository,
        view: ClusterView,
        reads: EcsReads,
        *,
        clock: Clock,
        settings: Settings,
        observing: bool = False,
    ) -> None:
        """`observing`: nothing acts in this process; verdicts say what would be done."""
        self.observing = observing
        self.repository = repository
        self.view = view
        self.reads = reads
        self.clock = clock
        self.settings = settings
        self.book = IntentBook(
            window=settings.assumptions.doubt_window, read_lag=settings.assumptions.read_lag
        )
        self.stops = StopsKnown()
        self.around = Around(view, self.book, self.stops, self.holder, self.yields, self.is_daemon)
        self.journal: Journal[StoryKey] = Journal()
        self.tracked: dict[str, Tracked] = {}
        self.breakers: dict[str, Breaker] = {}
        self._stamped = 0.0
        self._stamped_at = 0.0
        self.surplus_from = 0.0
        self.assumptions = settings.assumptions
        """S, E, V and B as they are in force now: the probe, or ECS, may have changed them."""
        self.fence_known = False
        """Whether W is what it will stay: no doubt ends by absence before."""
        self.domain: Domain | None = None
        """The account and region that this process acts in; None until ECS has said it."""
        self.adopted_before: set[str] = set()
        """Environments that had adopted tasks before this process began."""
        self._expiries: list[float] = []
        self._expiries_of = -1
        self.slot_changed: Callable[[str, str], None] | None = None
        """Told the environment's id and the host's ARN, synchronously, when a slot's verdict is
        another in what people see, and when its host is gone."""
        self.doubles_seen = 0
        """Slots found with more daemons than allowed: an assumption was broken."""

    def now(self) -> Now:
        return Now(self.clock.monotonic(), self.reads.now())

    def known(self, cluster_arn: str) -> bool:
        """Whether the cluster was read completely, and so lately that what is not in the view can
        be taken not to be there (R12)."""
        return self.unknown(cluster_arn) is None

    def unknown(self, cluster_arn: str) -> str | None:
        """Why what is not in the view of the cluster may be there all the same: what a sentence
        says of it. None: it is known."""
        cluster = self.view.cluster(cluster_arn)
        if cluster is None or not cluster.primed:
            return "has not been read completely yet"
        if cluster.stale(self.clock.monotonic()):
            return "has not been read lately enough by the cluster-state-service"
        return None

    def stamp(self) -> float:
        """ECS's time for records and stories. ECS tells it in whole seconds, so the estimate jumps
        within a second at each answer; what people read goes on evenly and never back."""
        mono, told = self.clock.monotonic(), self.reads.now()
        even = self._stamped + (mono - self._stamped_at)
        if told <= even < told + _RESOLUTION:
            told = even
        elif told < self._stamped < told + _CLOCK_STEP:
            told = self._stamped
        self._stamped, self._stamped_at = told, mono
        return told

    def served(self, environment: Environment) -> bool:
        """Whether the environment is in the domain that this process acts in."""
        arn = parse_arn(environment.cluster_arn)
        return self.domain is None or arn is None or arn.domain == self.domain

    def deployment_in_force(self, environment: Environment) -> Deployment | None:
        """The newest deployment that was not stopped."""
        newest = self.repository.newest_deployment(environment.id)
        if newest is None or newest.status is not DeploymentStatus.STOPPED:
            return newest
        for deployment in self.repository.deployments(environment.id):
            if deployment.status is not DeploymentStatus.STOPPED:
                return deployment
        return None

    def context(self, tracked: Tracked, environment: Environment) -> Context:
        """What all slots of the environment share now."""
        deployment = self.deployment_in_force(environment)
        target = None if deployment is None else environment.revision(deployment.revision)
        if target is None and environment.ending:
            target = environment.newest  # What runs was adopted: it is judged, to be stopped.
        self._prepare(tracked, environment, target)
        cluster = self.view.cluster(environment.cluster_arn)
        return Context(
            environment=environment,
            now=self.now(),
            settings=self.settings.scheduler,
            deployment=deployment,
            target=target,
            checks=tracked.checks,
            primed=cluster is not None and cluster.primed and self.served(environment),
            cluster_active=cluster is None or cluster.status == "ACTIVE",
            stale=cluster is not None and cluster.stale(self.clock.monotonic()),
            trouble=tracked.trouble,
            definition_active=tracked.definition_active,
            freeze=self.freeze_of(environment),
            past_open=self.past_open(tracked, environment),
            past_reason=self.past_reason(environment),
            stops_held=tracked.guard.held > 0,
            surplus_from=self.surplus_from,
            observing=self.observing,
        )

    def _prepare(self, tracked: Tracked, environment: Environment, target: Revision | None) -> None:
        """Compile what judging needs, once for each version of the environment's record."""
        if tracked.prepared_for is environment and (
            target is None or (tracked.target is not None and tracked.target.revision is target)
        ):
            return
        tracked.prepared_for = environment
        adopted, revisions = environment.adopted_contents, environment.revisions
        tracked.checks = {c.digest: c.definition.has_health_check for c in adopted}
        tracked.checks |= {r.digest: r.definition.has_health_check for r in revisions}
        tracked.needs = {c.digest: need_of(c.definition, {}) for c in adopted}
        tracked.needs |= {r.digest: need_of(r.definition, r.task) for r in revisions}
        if target is not None and (tracked.target is None or tracked.target.revision != target):
            tracked.target = Target(target)
            tracked.definition_active = True
            tracked.definition_checked = None
        elif target is not None and tracked.target is not None:
            tracked.target.revision = target

    def judge(
        self, tracked: Tracked, context: Context, host_arn: str, *, log: bool = True
    ) -> Verdict | None:
        """Judge one slot now and put the verdict on the board; None if the host is gone."""
        seen = self.view.host(host_arn)
        if seen is None:
            there = host_arn in tracked.board.verdicts
            tracked.drop(host_arn)
            if there and self.slot_changed is not None:
                self.slot_changed(tracked.id, host_arn)
            return None
        if tracked.target is None:
            return None
        facts = gather(
            seen,
            context.environment,
            tracked.target,
            self.around,
            notes=tracked.note(host_arn),
            needs=tracked.needs,
            hold=self.hold_of(seen),
            now=context.now,
            settings=context.settings,
        )
        notes = remember(facts.notes, facts, now=context.now.mono)
        if notes is not facts.notes:
            facts = replace(facts, notes=notes)
        verdict = judge(facts, context, granted=tracked.board.granted.get(host_arn, Cost.NONE))
        tracked.keep_note(host_arn, settled_notes(notes, verdict))
        tracked.look_later(host_arn, self._next_look(verdict, facts, context.now.mono))
        old = tracked.board.verdicts.get(host_arn)
        tracked.board.put(host_arn, verdict, now=context.now.mono)
        if self.slot_changed is not None and (old is None or not alike(old, verdict)):
            self.slot_changed(tracked.id, host_arn)
        if log and (old is None or (old.kind, old.reason) != (verdict.kind, verdict.reason)):
            self._decided(tracked, host_arn, verdict)
        return verdict

    def _next_look(self, verdict: Verdict, facts: SlotFacts, now: float) -> float | None:
        """When to judge again: as the verdict says, or when a lost StopTask can land no more. Never
        at once: clocks are compared, and a hair's difference must not spin."""
        times = [self.stops.doubted[arn] for arn in facts.doubted_stops]
        if verdict.next_look is not None:
            times.append(verdict.next_look)
        return max(min(times), now + SOONEST) if times else None

    def _decided(self, tracked: Tracked, host_arn: str, verdict: Verdict) -> None:
        if verdict.reason == "surplus":
            self.doubles_seen += 1
        # Mostly the same words for thousands of slots: one object for all of them.
        text = sys.intern(f"{verdict.kind}: {sentence(verdict.reason, verdict.details)}")
        self.journal.note(
            (tracked.id, host_arn),
            Entry(
                at=self.stamp(),
                what="decided",
                text=text,
                details={"reason": verdict.reason, **verdict.details},
            ),
        )

    def tell(self, environment_id: str, host_arn: str, what: What, text: str, **more: str) -> None:
        """Add to a slot's story."""
        details = {key: value for key, value in more.items() if value}
        self.journal.note(
            (environment_id, host_arn),
            Entry(at=self.stamp(), what=what, text=text, details=details),
        )

    def holder(self, task: Task) -> str:
        """Who a task that is not ours belongs to, in words."""
        owner = self.repository.owner(task)
        if owner is not None:
            kind = "environment" if owner.deleted_at is None else "deleted environment"
            return f"{kind} {owner.name}"
        if task.group.startswith("service:"):
            return f"service/{task.group.removeprefix('service:')}"
        return f"somebody's task of {task.group or short_id(task.definition_arn)}"

    def tasks_in(self, cluster_arn: str) -> Iterator[Task]:
        """Every known task on the cluster's hosts, ended ones included."""
        for seen in self.view.hosts(cluster_arn):
            yield from self.view.tasks_on(seen.host.arn)

    def unfollow_unused(self, cluster_arn: str) -> None:
        """Watch the cluster no more if no environment or tombstone is on it."""
        left = (*self.repository.environments(), *self.repository.tombstones())
        if all(environment.cluster_arn != cluster_arn for environment in left):
            self.view.unfollow(cluster_arn)

    def tasks_of(self, environment: Environment) -> list[Task]:
        """Every known task that says it is this environment's, or was adopted, ended ones included.
        Costs a walk over the cluster where tasks were adopted."""
        found = {
            task.arn: task
            for deployment_id in environment.deployed
            for task in self.view.started_by(deployment_id)
            if task.cluster_arn == environment.cluster_arn
        }
        if environment.adopted:
            for task in self.tasks_in(environment.cluster_arn):
                if short_id(task.arn) in environment.adopted:
                    found[task.arn] = task
        return list(found.values())

    def yields(self, task: Task) -> float | None:
        """After how many idle seconds the daemon of another environment leaves a host; None: it
        does not, or not now."""
        owner = self.repository.owner(task)
        if owner is None or owner.deleted_at is not None or owner.policy.when_idle is None:
            return None
        if self.deployment_in_force(owner) is None or self.freeze_of(owner) is not None:
            return None
        return owner.policy.when_idle

    def is_daemon(self, task: Task) -> bool:
        """Whether a task is a daemon of blox: started by it, or adopted."""
        if task.group.startswith("blox:"):
            return True
        owner = self.repository.owner(task)
        return owner is not None and owner.deleted_at is None

    def freeze_of(self, environment: Environment) -> Freeze | None:
        """What freezes the environment now: of several, the one that lasts longest."""
        freezes = self.repository.freezes()
        if not freezes:
            return None
        targets = {
            "everything": "",
            "cluster": environment.cluster_arn,
            "environment": environment.place,
        }
        found = [f for f in freezes if f.target == targets[f.scope] and self.in_force(f)]
        return max(found, key=lambda freeze: (freeze.until, freeze.id), default=None)

    def hold_of(self, seen: HostSeen) -> Hold | None:
        """What holds the host now."""
        hold = self.repository.hold(seen.host.arn, seen.host.instance_id)
        return hold if hold is not None and self.in_force(hold) else None

    def in_force(self, order: Freeze | Hold) -> bool:
        """Whether a freeze or a hold has not ended. Before ECS has told its time none has: this
        machine's clock may be wrong, and nothing is started before either."""
        return order.unsure or self.domain is None or self.reads.now() < order.until

    def next_expiry(self) -> float | None:
        """When, by ECS's clock, the next freeze or hold ends."""
        if self._expiries_of != self.repository.orders:
            self._expiries_of = self.repository.orders
            ends = [freeze.until for freeze in self.repository.freezes()]
            self._expiries = sorted(ends + [hold.until for hold in self.repository.holds()])
        place = bisect_right(self._expiries, self.reads.now())
        return self._expiries[place] if place < len(self._expiries) else None

    def of_lost_past(self, task: Task) -> bool:
        """Whether a blox whose records we do not have started this task."""
        marked = bool(task.intent) or (task.intent is None and task.group.startswith("blox:"))
        return marked and self.repository.owner(task) is None

    def has_lost_past(self, environment: Environment) -> bool:
        """Whether a blox whose records we do not have runs an environment of this name, or did so
        lately: a start that it made after the last of its tasks ended may still arrive."""
        recent = self.reads.now() - self.book.window
        return any(
            task.live or task.stopped_at is None or task.stopped_at > recent
            for task in self._lost_tasks(environment)
        )

    def _lost_tasks(self, environment: Environment) -> Iterator[Task]:
        """Tasks of this name that a blox started whose records we do not have."""
        for task in self.tasks_in(environment.cluster_arn):
            if task.group == environment.group and self.of_lost_past(task):
                yield task

    def left_by(self, tombstone: Environment) -> list[Task]:
        """Every known task that a deleted environment left, ended ones included: its own; and, if
        it followed one whose records are lost, what that one had started and nobody adopted."""
        lost = self._lost_tasks(tombstone) if tombstone.lost_past else ()
        return [*self.tasks_of(tombstone), *lost]

    def expect_late_calls(self) -> None:
        """Calls of a process whose records are lost may still arrive: stops as well as starts."""
        late = self.assumptions.request_life + self.assumptions.acceptance_lag
        self.surplus_from = max(self.surplus_from, self.clock.monotonic() + late)

    def past_open(self, tracked: Tracked, environment: Environment) -> bool:
        """Whether a start of the environment whose records are lost may still arrive: until a
        complete look that began W after we first knew of it."""
        if environment.past_unread:
            return True
        if self._adopted_unseen(tracked, environment):
            return True
        if not environment.lost_past:
            tracked.past_open_since = None
            return False
        if tracked.past_open_since is None:
            tracked.past_open_since = self.clock.monotonic()
        cluster = self.view.cluster(environment.cluster_arn)
        horizon = None if cluster is None or not self.fence_known else cluster.absence_horizon
        return not absence_decides(tracked.past_open_since, self.book.window, horizon)

    def past_reason(self, environment: Environment) -> str:
        """What `past_open` waits for."""
        return "adopted-unseen" if environment.id in self.adopted_before else "past-open"

    def _adopted_unseen(self, tracked: Tracked, environment: Environment) -> bool:
        """R1 for what was adopted: after a restart a task that was adopted young may not be shown
        yet, and nothing but a look begun V after it came to be tells that its host has none."""
        if environment.id not in self.adopted_before:
            return False
        cluster = self.view.cluster(environment.cluster_arn)
        horizon = None if cluster is None else cluster.absence_horizon
        if horizon is not None and horizon != tracked.adopted_looked:
            tracked.adopted_looked = horizon
            known = {short_id(task.arn) for task in self.tasks_of(environment)}
            if known.issuperset(environment.adopted):
                self.adopted_before.discard(environment.id)
                return False
        if self.domain is None or self.reads.now() < environment.adopted_until:
            tracked.shown_since = None
            return True
        if tracked.shown_since is None:
            tracked.shown_since = self.clock.monotonic()
        if horizon is None or horizon < tracked.shown_since:
            return True
        self.adopted_before.discard(environment.id)
        return False

    def touch(self, environment_id: str, hosts: Iterable[str]) -> None:
        tracked = self.tracked.get(environment_id)
        if tracked is not None:
            for host in hosts:
                tracked.touch(host)
