"""One cluster as the view knows it: applies every account, and keeps what a sweep proves.

Deterministic: every method is told the time. Whoever calls these methods then takes what changed
(`take_touched`) and tells the listeners.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from enum import IntEnum
from typing import Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from blox.clusterstate.absence import (
    absence_counts,
    ended_may_leave,
    event_admitted,
    left_with_host,
)
from blox.clusterstate.counters import Counters
from blox.clusterstate.drift import Drift
from blox.clusterstate.merge import (
    UNHEALTHY,
    Evidence,
    HostEntry,
    TaskEntry,
    merge_host,
    merge_task,
    presumed_task,
)
from blox.clusterstate.records import Records
from blox.ecs.model import ACTIVE, INACTIVE, STOPPED, HostDocument, TaskDocument
from blox.ecs.seen import ClusterSeen, Presumed, Touched
from blox.settings import ViewSettings

ASK_AFTER = 1.0
"""Seconds before an entity that is only half known is described: others may come to go along."""
ASK_UNKNOWN_MOST = 8.0
"""Longest wait before a task is described again that was listed and is in no Describe."""
ASK_AGAIN_MOST = 60.0
"""Longest wait before it is described again where the answer left it half known."""

LONG_AGO = -1e15
"""When a read began of which only a stored copy is left: before every other, and still a read."""

EventOutcome = Literal["applied", "known", "too old"]


class Effort(IntEnum):
    """What a read was part of, the greater ones including the smaller."""

    DESCRIBE = 1
    LOOK = 2
    SWEEP = 3


class Keeper(Protocol):
    """Keeps the whole of what ECS told, beside the records: `blox.clusterstate.catalogue`."""

    def task(self, entry: TaskEntry, document: TaskDocument, evidence: Evidence) -> None:
        """One account of a task has become part of its record."""
        ...

    def host(self, entry: HostEntry, document: HostDocument, evidence: Evidence) -> None:
        """One account of a host has become part of its record."""
        ...

    def gone(self, kind: Literal["task", "instance"], cluster_arn: str, arn: str) -> None:
        """A task or host has left the view."""
        ...


class Ask(Struct, frozen=True):
    """An entity to be described soon."""

    due: float
    wait: float
    """How long the last wait was; the next one is twice that."""


class Cluster:
    """The records of one cluster and how well they are known."""

    def __init__(
        self,
        arn: str,
        *,
        read_lag: float,
        settings: ViewSettings,
        counters: Counters,
        horizon: float,
        drift: Drift | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        """`horizon`: ECS's time now; stands for the begin of the first sweep until there is one.
        `drift`: counts what reads find; None where no queue is meant to tell it first. `keeper`:
        told of every account that is applied."""
        self.arn = arn
        self.records = Records()
        self.life = 1
        """Counts up when everything is forgotten: what was read across that is not complete."""
        self.asks_for_tasks: dict[str, Ask] = {}
        self.asks_for_hosts: dict[str, Ask] = {}
        self._read_lag = read_lag
        self._settings = settings
        self._counters = counters
        self._drift = drift
        self._keeper = keeper
        self._seen = ClusterSeen(arn=arn)
        self._horizon = horizon
        self._begun = False
        self._prime_after = -math.inf
        self._failed_effort = Effort.DESCRIBE
        self._hosts: dict[str, None] = {}
        self._tasks: dict[str, None] = {}
        self._cluster = False

    @property
    def seen(self) -> ClusterSeen:
        """How well it is known."""
        return self._seen

    @property
    def active(self) -> bool:
        """Whether ECS has not said that it is INACTIVE or not there."""
        return self._seen.status != INACTIVE

    def take_touched(self) -> Touched | None:
        """What has changed since this was last called; None if nothing."""
        if not (self._hosts or self._tasks or self._cluster):
            return None
        touched = Touched(
            cluster_arn=self.arn,
            hosts=frozenset(self._hosts),
            tasks=tuple(self._tasks),
            cluster=self._cluster,
        )
        self._hosts, self._tasks, self._cluster = {}, {}, False
        return touched

    # --- Accounts of tasks ---

    def read_tasks(
        self, documents: Iterable[TaskDocument], evidence: Evidence, *, own: bool = False
    ) -> None:
        """Apply the tasks of one answer. `own`: the answer to a call of ours that acted."""
        for document in documents:
            known = self.records.task(document.task_arn)
            if not own and self._drift is not None and self._seen.primed:
                version = document.version if isinstance(document.version, int) else 0
                if known is None or version > known.task.version > 0:
                    self._drift.found(document.task_arn, version, now=evidence.received)
            self._apply_task(known, document, evidence)

    def tasks_missing(
        self, arns: Iterable[str], *, begun: float, now: float, listed: Collection[str] = ()
    ) -> None:
        """Apply that a DescribeTasks begun then answered MISSING for these (R6).

        `listed`: what the listing before it showed; being listed is evidence against MISSING.
        """
        for arn in arns:
            entry = self.records.task(arn)
            if entry is None:
                self._ask_for_unknown(arn, now=now, listed=arn in listed)
            elif arn in listed:
                self.records.put_task(_shown(entry, now))
            elif entry.task.live and absence_counts(
                begun=begun, newest_evidence=entry.shown, read_lag=self._read_lag
            ):
                self._counters.tasks_absent += 1
                self._drop_task(arn)

    def task_event(self, document: TaskDocument, *, time: float, now: float) -> EventOutcome:
        """Apply an event about a task. `time`: its own, by ECS's clock (R7)."""
        arn = document.task_arn
        known = self.records.task(arn)
        if known is None and not event_admitted(
            event_time=time, horizon=self._horizon, read_lag=self._read_lag
        ):
            return "too old"
        self._apply_task(known, document, Evidence(cluster_arn=self.arn, received=now))
        after = self.records.task(arn)
        news = after is not None and (known is None or after.task is not known.task)
        if self._drift is not None and self._seen.primed and isinstance(document.version, int):
            self._drift.told(arn, document.version, news=news, now=now)
        return "applied" if news else "known"

    def may_enter(self, ecs_time: float) -> bool:
        """R7 for accounts of a service: whether what was read then, by ECS's clock, may put into
        the view what it does not hold. Before it is primed, everything may."""
        return not self._seen.primed or event_admitted(
            event_time=ecs_time, horizon=self._horizon, read_lag=self._read_lag
        )

    def presume(self, presumed: Presumed, *, now: float) -> None:
        """Enter a task that a retained intent names, if nothing is known of it."""
        if self.records.task(presumed.arn) is None:
            self._put_task(presumed_task(presumed, now))

    def _apply_task(
        self, known: TaskEntry | None, document: TaskDocument, evidence: Evidence
    ) -> None:
        entry = merge_task(
            known, document, evidence, confirmation=self._settings.unhealthy_confirmation
        )
        if known is None and entry.task.live and self._host_left(entry, evidence.received):
            return
        self._put_task(entry)
        if self._keeper is not None:
            self._keeper.task(entry, document, evidence)
        self._ask_for_task(entry, evidence.received)

    def _put_task(self, entry: TaskEntry) -> None:
        hosts = self.records.put_task(entry)
        if hosts is not None:
            self._tasks[entry.task.arn] = None
            self._hosts.update(dict.fromkeys(sorted(hosts)))

    def _drop_task(self, arn: str) -> None:
        self.asks_for_tasks.pop(arn, None)
        self._tasks[arn] = None
        self._hosts.update(dict.fromkeys(sorted(self.records.drop_task(arn))))
        if self._keeper is not None:
            self._keeper.gone("task", self.arn, arn)

    # --- Accounts of hosts ---

    def read_hosts(self, documents: Iterable[HostDocument], evidence: Evidence) -> None:
        """Apply the hosts of one answer."""
        for document in documents:
            self._apply_host(document, evidence)

    def hosts_missing(
        self, arns: Iterable[str], *, begun: float, now: float, listed: Collection[str] = ()
    ) -> None:
        """Apply that a DescribeContainerInstances begun then answered MISSING for these (R6). Their
        tasks stay: that a host is missing says nothing of them."""
        for arn in arns:
            entry = self.records.host(arn)
            if entry is None:
                self.asks_for_hosts.pop(arn, None)
            elif arn in listed:
                self.records.put_host(replace(entry, shown=max(entry.shown, now)), now=now)
            elif entry.host.status != INACTIVE and absence_counts(
                begun=begun, newest_evidence=entry.shown, read_lag=self._read_lag
            ):
                self._counters.hosts_absent += 1
                self._drop_host(arn)

    def host_event(self, document: HostDocument, *, time: float, now: float) -> EventOutcome:
        """Apply an event about a host. `time`: its own, by ECS's clock (R7)."""
        known = self.records.host(document.container_instance_arn)
        if known is None and not event_admitted(
            event_time=time, horizon=self._horizon, read_lag=self._read_lag
        ):
            return "too old"
        self._apply_host(document, Evidence(cluster_arn=self.arn, received=now))
        after = self.records.host(document.container_instance_arn)
        news = after is not None and (known is None or after.host is not known.host)
        return "applied" if news else "known"

    def _apply_host(self, document: HostDocument, evidence: Evidence) -> None:
        arn = document.container_instance_arn
        entry = merge_host(self.records.host(arn), document, evidence)
        changed = self.records.put_host(entry, now=evidence.received)
        if self._keeper is not None:
            self._keeper.host(entry, document, evidence)
        self._hosts.update(dict.fromkeys(sorted(changed)))
        if entry.host.status == INACTIVE or entry.host.registered_at is not None:
            self.asks_for_hosts.pop(arn, None)
        elif arn not in self.asks_for_hosts:
            self.asks_for_hosts[arn] = Ask(evidence.received + ASK_AFTER, ASK_AFTER)

    def _drop_host(self, arn: str) -> None:
        self.asks_for_hosts.pop(arn, None)
        self._hosts.update(dict.fromkeys(sorted(self.records.drop_host(arn))))
        if self._keeper is not None:
            self._keeper.gone("instance", self.arn, arn)

    def _host_left(self, entry: TaskEntry, now: float) -> bool:
        since = self.records.inactive_since(entry.task.host_arn)
        return left_with_host(now=now, inactive_since=since, read_lag=self._read_lag)

    def restore(
        self,
        hosts: Iterable[tuple[HostDocument, float]],
        tasks: Iterable[tuple[TaskDocument, float]],
    ) -> None:
        """Enter what a stored copy had, each with our time when ECS last told of it. Any read of
        the same version overrides it. The keeper has it already; it is told of what may not enter:
        live tasks of a host that has long left."""
        keeper, self._keeper = self._keeper, None
        kept_out = []
        try:
            for host, shown in hosts:
                self._apply_host(host, self._stored(shown))
            for task, shown in tasks:
                arn = task.task_arn
                self._apply_task(self.records.task(arn), task, self._stored(shown))
                if self.records.task(arn) is None:
                    kept_out.append(arn)
        finally:
            self._keeper = keeper
        self.asks_for_tasks.clear()
        self.asks_for_hosts.clear()
        if keeper is not None:
            for arn in kept_out:
                keeper.gone("task", self.arn, arn)

    def let_go(self) -> None:
        """Nobody watches it any more. What reads that are under way still tell is kept nowhere."""
        self._keeper = None

    def _stored(self, shown: float) -> Evidence:
        return Evidence(cluster_arn=self.arn, received=shown, begun=LONG_AGO)

    # --- What is half known, and described soon ---

    def next_ask(self) -> float | None:
        """When the next entity is to be described; None when none is."""
        asks = (*self.asks_for_tasks.values(), *self.asks_for_hosts.values())
        return min((ask.due for ask in asks), default=None)

    def asked(self, *, now: float) -> tuple[list[str], list[str]]:
        """The tasks and the hosts to be described now. They come again, later each time, until an
        answer has told what was missing."""
        return _due(self.asks_for_tasks, now), _due(self.asks_for_hosts, now)

    def doubt(self, tasks: Sequence[str], hosts: Sequence[str], *, now: float) -> None:
        """Have these described soon, and again until the answer shows them or proves them gone: who
        keeps this view does not show them."""
        for arn in tasks:
            self.asks_for_tasks.setdefault(arn, Ask(now + ASK_AFTER, ASK_AFTER))
        for arn in hosts:
            self.asks_for_hosts.setdefault(arn, Ask(now + ASK_AFTER, ASK_AFTER))

    def _ask_for_task(self, entry: TaskEntry, now: float) -> None:
        task = entry.task
        due = None
        if task.live and task.intent is None:
            due = now + ASK_AFTER
        elif task.live and entry.unhealthy_since is not None and task.health != UNHEALTHY:
            due = entry.unhealthy_since + self._settings.unhealthy_confirmation
        if due is None:
            self.asks_for_tasks.pop(task.arn, None)
        elif task.arn not in self.asks_for_tasks:
            self.asks_for_tasks[task.arn] = Ask(due, ASK_AFTER)

    def _ask_for_unknown(self, arn: str, *, now: float, listed: bool) -> None:
        """A task that a listing showed and Describe did not: too young, or about to be forgotten.
        It is asked for a few times more, then left to the next listing."""
        ask = self.asks_for_tasks.get(arn)
        if ask is None and listed:
            self.asks_for_tasks[arn] = Ask(now + ASK_AFTER, ASK_AFTER)
        elif ask is not None and not listed and ask.wait > ASK_UNKNOWN_MOST:
            del self.asks_for_tasks[arn]

    # --- What a sweep or a look proves ---

    def to_describe(
        self, running: Sequence[str], stopped: Sequence[str], *, everything: bool
    ) -> list[str]:
        """Which tasks a look describes after listing these by desiredStatus; sorted.

        Always: what is listed and not known or half known, what is listed as to be stopped and not
        known as that, and what is known as live and not listed. `everything`: all that is not known
        to have ended, for versions and health.
        """
        wanted = set()
        for arn in running:
            entry = self.records.task(arn)
            if entry is None or (entry.task.live and (everything or _half_known(entry))):
                wanted.add(arn)
        for arn in stopped:
            entry = self.records.task(arn)
            if entry is None or (
                entry.task.live
                and (everything or _half_known(entry) or entry.task.desired_status != STOPPED)
            ):
                wanted.add(arn)
        listed = {*running, *stopped}
        for entry in self.records.all_tasks():
            if entry.task.live and entry.task.arn not in listed:
                wanted.add(entry.task.arn)
        return sorted(wanted)

    def hosts_to_describe(self, listed: Sequence[str]) -> list[str]:
        """Which hosts a sweep describes after listing these: them, and those that it did not list
        although the view has them; sorted."""
        known = (e.host for e in self.records.all_hosts())
        return sorted({*listed, *(host.arn for host in known if host.status != INACTIVE)})

    def begin_sweep(self, *, ecs_time: float) -> None:
        """A sweep begins. Until one is complete, the first one's begin is R7's horizon."""
        if not self._begun:
            self._horizon = ecs_time
            self._begun = True

    def complete_sweep(
        self, *, number: int, begun: float, ecs_time: float, listing_begun: float, now: float
    ) -> None:
        """Every page and every Describe of a sweep was answered and has been applied.

        `number`: of this sweep, counting those that have begun. `begun` and `ecs_time`: its begin
        on both clocks. `listing_begun`: the begin of its listing of tasks.
        """
        self._horizon = max(self._horizon, ecs_time)
        self._counters.sweeps_completed += 1
        if begun > self._prime_after:
            self._seen = replace(
                self._seen,
                primed=True,
                sweeps=self._seen.sweeps + 1,
                sweep=number,
                swept_at=begun,
                sweep_ended=now,
            )
        self._expire(now)
        self.complete_look(begun=listing_begun)
        self.succeeded(Effort.SWEEP)
        self._cluster = True

    def complete_look(self, *, begun: float) -> None:
        """Every page of a listing of tasks begun then, and every Describe after it, was answered
        and has been applied."""
        before = self._seen.absence_horizon
        if before is None or begun > before:
            self._seen = replace(self._seen, absence_horizon=begun)
            self._cluster = True
        self.succeeded(Effort.LOOK)

    def _expire(self, now: float) -> None:
        """Let go of what need not be kept longer."""
        leaving = [e.task.arn for e in self.records.all_tasks() if self._may_leave(e, now)]
        for arn in leaving:
            self._drop_task(arn)
        gone = [
            e.host.arn
            for e in self.records.all_hosts()
            if self._ended_may_leave(self.records.inactive_since(e.host.arn), now)
        ]
        for arn in gone:
            self._drop_host(arn)

    def _may_leave(self, entry: TaskEntry, now: float) -> bool:
        if entry.task.live:
            return self._host_left(entry, now)
        return self._ended_may_leave(entry.ended_at, now)

    def _ended_may_leave(self, ended_at: float | None, now: float) -> bool:
        return ended_at is not None and ended_may_leave(
            now=now,
            ended_at=ended_at,
            swept_at=self._seen.swept_at,
            kept=self._settings.stopped_kept,
            sweep_interval=self._settings.sweep_interval_with_queue,
            read_lag=self._read_lag,
        )

    # --- The cluster itself ---

    def good_until(self, until: float, *, now: float) -> None:
        """R12: another service keeps this view; it justifies nothing after that. Told to the
        listeners where it justified nothing before: else nothing changes now."""
        if self._seen.good_until is None or self._seen.stale(now):
            self._cluster = True
        self._seen = replace(self._seen, good_until=until)

    def failed(self, effort: Effort, sentence: str) -> None:
        """A read failed. Only the success of an effort that is not smaller takes the sentence
        back: where listing is denied, a Describe that is answered proves little."""
        self._failed_effort = max(effort, self._failed_effort)
        if self._seen.read_error != sentence:
            self._seen = replace(self._seen, read_error=sentence)
            self._cluster = True

    def succeeded(self, effort: Effort) -> None:
        """All the reads of such an effort were answered."""
        if effort >= self._failed_effort and self._seen.read_error is not None:
            self._failed_effort = Effort.DESCRIBE
            self._seen = replace(self._seen, read_error=None)
            self._cluster = True

    def opened(self) -> None:
        """ECS says that it is ACTIVE."""
        if not self.active:
            self._seen = replace(self._seen, status=ACTIVE)
            self._cluster = True

    def gone(self) -> None:
        """ECS says that it is INACTIVE or not there: forget everything, and be unprimed.

        ECS deletes no cluster in which anything runs. Should it have said so wrongly, a fresh sweep
        need not show tasks younger than V; so where tasks were live, only a sweep begun V after
        their newest evidence primes it again.
        """
        if not self.active:
            return
        live = (e.shown for e in self.records.all_tasks() if e.task.live)
        newest = max(live, default=-math.inf)
        self._prime_after = max(self._prime_after, newest + self._read_lag)
        self._hosts.update(dict.fromkeys(seen.host.arn for seen in self.records.listed()))
        self._tasks.update(dict.fromkeys(e.task.arn for e in self.records.all_tasks()))
        if self._keeper is not None:
            for task in self.records.all_tasks():
                self._keeper.gone("task", self.arn, task.task.arn)
            for host in self.records.all_hosts():
                self._keeper.gone("instance", self.arn, host.host.arn)
        self.records = Records()
        self.life += 1
        self._begun = False
        self.asks_for_tasks.clear()
        self.asks_for_hosts.clear()
        self._seen = ClusterSeen(arn=self.arn, status=INACTIVE, sweep=self._seen.sweep)
        self._failed_effort = Effort.DESCRIBE
        self._cluster = True


def _half_known(entry: TaskEntry) -> bool:
    """Presumed, or of unknown overrides."""
    return entry.task.version == 0 or entry.task.intent is None


def _shown(entry: TaskEntry, now: float) -> TaskEntry:
    return TaskEntry(
        task=entry.task,
        begun=entry.begun,
        shown=max(entry.shown, now),
        lagging=entry.lagging,
        unhealthy_since=entry.unhealthy_since,
        ended_at=entry.ended_at,
    )


def _due(asks: dict[str, Ask], now: float) -> list[str]:
    due = sorted(arn for arn, ask in asks.items() if ask.due <= now)
    for arn in due:
        wait = min(2 * asks[arn].wait, ASK_AGAIN_MOST)
        asks[arn] = Ask(now + wait, wait)
    return due
