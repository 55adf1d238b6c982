"""The metrics that are read from the scheduler's memory when somebody scrapes."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from blox.app.view_gauges import ViewGauges
from blox.base.ids import short_id
from blox.clusterstate.view import View
from blox.ecs.client import Notice, NoticeKind
from blox.ecs.model import Task
from blox.http.counted import CONDITION
from blox.http.metrics import (
    DECISION_WAIT,
    HOSTS_ONLY_DAEMONS,
    Coverage,
    Metrics,
    ReasonCount,
    SlotCount,
)
from blox.scheduler.reasons import REASONS
from blox.scheduler.report import Problem
from blox.scheduler.scheduler import Scheduler

CONDITIONS: Final = ("store", "credentials", "ecs-unreachable", "queue", "state-service")
"""What can be wrong with the process as a whole."""
ONLY_DAEMONS_EVERY: Final = 30.0
"""Seconds: looking at every task of every host is not for each scrape."""
_HOSTS_BETWEEN_YIELDS: Final = 200


class Gauges:
    """Hands a scheduler's and its view's figures to the metrics."""

    def __init__(
        self,
        metrics: Metrics,
        scheduler: Scheduler,
        view: View,
        *,
        conditions: Callable[[], Iterable[Problem]] = tuple,
    ) -> None:
        """`conditions()`: what is wrong with the process as a whole."""
        self._metrics = metrics
        self._scheduler = scheduler
        self._view = view
        self._conditions = conditions
        self._of_view = ViewGauges(metrics, view, scheduler.state.clock)
        self._waiting: dict[str, tuple[object, float]] = {}
        """Environment → what was seen waiting to be judged there, and since when."""
        self._only_daemons: dict[str, float] = {}
        self._only_daemons_at = float("-inf")
        self._doubles = 0
        scheduler.reconciler.observe_pass = metrics.reconciled
        metrics.watch_slots(self._slots)
        metrics.watch_reasons(self._reasons)
        metrics.watch_host_seconds_without_daemon(self._host_seconds)
        metrics.watch_coverage(self._coverage)
        metrics.watch(CONDITION, self._conditions_now)
        metrics.watch(DECISION_WAIT, self._decision_wait)
        metrics.watch(HOSTS_ONLY_DAEMONS, lambda: self._only_daemons)

    async def render(self) -> bytes:
        """Everything, as Prometheus reads it."""
        self._of_view.count_messages()
        for _ in range(self._scheduler.state.doubles_seen - self._doubles):
            self._metrics.assumption_broken("double")
        self._doubles = self._scheduler.state.doubles_seen
        await self._look_for_only_daemons()
        return await self._metrics.render()

    def noticed(self, notice: Notice) -> None:
        """The ECS client noticed something: that S does not hold is an assumption broken."""
        if notice.kind in (NoticeKind.AGE_LIMIT, NoticeKind.FENCE_OFF):
            self._metrics.assumption_broken("S")

    def _slots(self) -> Iterable[SlotCount]:
        state = self._scheduler.state
        for environment in state.repository.environments():
            tracked = state.tracked.get(environment.id)
            if tracked is None:
                continue
            cluster = short_id(environment.cluster_arn)
            for slot_class, hosts in tracked.board.classes.items():
                yield SlotCount(cluster, environment.name, slot_class.value, hosts)

    def _reasons(self) -> Iterable[ReasonCount]:
        state = self._scheduler.state
        for environment in state.repository.environments():
            tracked = state.tracked.get(environment.id)
            if tracked is None:
                continue
            cluster = short_id(environment.cluster_arn)
            for reason, hosts in tracked.board.reasons.items():
                yield ReasonCount(cluster, environment.name, reason, REASONS[reason].who, hosts)

    def _host_seconds(self) -> dict[str, float]:
        state = self._scheduler.state
        now = state.clock.monotonic()
        seconds = {}
        for environment in state.repository.environments():
            tracked = state.tracked.get(environment.id)
            if tracked is not None:
                tracked.account(now)
                name = f"{short_id(environment.cluster_arn)}/{environment.name}"
                seconds[name] = tracked.without_seconds
        return seconds

    def _coverage(self) -> Iterable[Coverage]:
        state = self._scheduler.state
        now = state.clock.monotonic()
        for environment in state.repository.environments():
            tracked = state.tracked.get(environment.id)
            if tracked is None:
                continue
            tally = tracked.board.tally()
            oldest = min(tracked.board.without.values(), default=now)
            yield Coverage(
                cluster=short_id(environment.cluster_arn),
                environment=environment.name,
                wanted=tally.wanted,
                unavailable=tally.unavailable,
                longest_gap=max(0.0, now - oldest),
                stops_held=tracked.guard.held,
            )

    def _conditions_now(self) -> dict[str, float]:
        holding = {problem.code for problem in self._conditions()}
        return {code: float(code in holding) for code in CONDITIONS}

    def _decision_wait(self) -> dict[str, float]:
        """Every pass takes what is marked and leaves an empty dict: as long as the same one is
        there with something in it, no pass has begun. Counted from the scrape that saw it first."""
        now = self._scheduler.state.clock.monotonic()
        waiting: dict[str, tuple[object, float]] = {}
        for id_, tracked in self._scheduler.state.tracked.items():
            if tracked.dirty or tracked.all_dirty:
                before, since = self._waiting.get(id_, (None, now))
                waiting[id_] = (tracked.dirty, since if before is tracked.dirty else now)
        self._waiting = waiting
        return {"": now - min((since for _, since in waiting.values()), default=now)}

    async def _look_for_only_daemons(self) -> None:
        """Count, for each cluster, the hosts that ECS would remove if our daemons did not run
        there. Every daemon but those of DAEMON services keeps a host from being idle:
        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-auto-scaling.html"""
        now = self._scheduler.state.clock.monotonic()
        if now < self._only_daemons_at + ONLY_DAEMONS_EVERY:
            return
        self._only_daemons_at = now
        found: dict[str, float] = {}
        for cluster_arn in self._view.clusters:
            count = 0
            hosts = list(self._view.hosts(cluster_arn))
            ours = self._ours(cluster_arn)
            for number, seen in enumerate(hosts, start=1):
                host = seen.host
                if self._view.scales_in(cluster_arn, host.capacity_provider):
                    count += self._runs_only_daemons(cluster_arn, host.arn, ours)
                if number % _HOSTS_BETWEEN_YIELDS == 0:
                    await asyncio.sleep(0)
            found[short_id(cluster_arn)] = count
        self._only_daemons = found

    def _ours(self, cluster_arn: str) -> Callable[[Task], bool]:
        """Whether a task is a daemon of an environment of this cluster."""
        environments = [
            environment
            for environment in self._scheduler.state.repository.environments()
            if environment.cluster_arn == cluster_arn
        ]
        started_by = {id_ for environment in environments for id_ in environment.deployed}
        adopted = {id_ for environment in environments for id_ in environment.adopted}

        def is_ours(task: Task) -> bool:
            return (
                task.started_by in started_by
                or task.group.startswith("blox:")
                or (bool(adopted) and short_id(task.arn) in adopted)
            )

        return is_ours

    def _runs_only_daemons(
        self, cluster_arn: str, host_arn: str, ours: Callable[[Task], bool]
    ) -> bool:
        """Whether at least one daemon of blox runs there, and nothing but daemons."""
        some = False
        for task in self._view.tasks_on(host_arn):
            if not task.live:
                continue
            if ours(task):
                some = True
            elif not self._view.is_daemon_service(cluster_arn, task.group):
                return False
        return some
