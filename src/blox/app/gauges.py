"""The metrics that are read from the scheduler's memory when somebody scrapes."""

from collections.abc import Iterable

from blox.base.ids import short_id
from blox.clusterstate.counters import Counters
from blox.clusterstate.view import View
from blox.ecs.client import Notice, NoticeKind
from blox.http.metrics import Metrics, SlotCount
from blox.scheduler.scheduler import Scheduler

_RESULTS = {
    "events_applied": "applied",
    "events_known": "known",
    "events_too_old": "too-old",
    "events_ignored": "ignored",
    "messages_rejected": "rejected",
}
"""Field of `Counters` → what became of a message."""


class Gauges:
    """Hands a scheduler's and its view's figures to the metrics."""

    def __init__(self, metrics: Metrics, scheduler: Scheduler, view: View) -> None:
        self._metrics = metrics
        self._scheduler = scheduler
        self._view = view
        self._counted = Counters()
        self._doubles = 0
        scheduler.reconciler.observe_pass = metrics.reconciled
        metrics.watch_queue_lag(self._queue_lag)
        metrics.watch_view_age(self._view_age)
        metrics.watch_slots(self._slots)
        metrics.watch_host_seconds_without_daemon(self._host_seconds)

    async def render(self) -> bytes:
        """Everything, as Prometheus reads it."""
        self._count_messages()
        for _ in range(self._scheduler.state.doubles_seen - self._doubles):
            self._metrics.assumption_broken("double")
        self._doubles = self._scheduler.state.doubles_seen
        return await self._metrics.render()

    def noticed(self, notice: Notice) -> None:
        """The ECS client noticed something: that S does not hold is an assumption broken."""
        if notice.kind in (NoticeKind.AGE_LIMIT, NoticeKind.FENCE_OFF):
            self._metrics.assumption_broken("S")

    def _count_messages(self) -> None:
        now = self._view.counters
        for field, result in _RESULTS.items():
            for _ in range(getattr(now, field) - getattr(self._counted, field)):
                self._metrics.message(result)
            setattr(self._counted, field, getattr(now, field))

    def _queue_lag(self) -> float | None:
        counters = self._view.counters
        if not counters.events_applied + counters.events_known + counters.events_too_old:
            return None
        return counters.queue_lag

    def _view_age(self) -> dict[str, float]:
        now = self._scheduler.state.clock.monotonic()
        ages = {}
        for arn in self._view.clusters:
            seen = self._view.cluster(arn)
            if seen is not None and seen.swept_at is not None:
                ages[short_id(arn)] = now - seen.swept_at
        return ages

    def _slots(self) -> Iterable[SlotCount]:
        state = self._scheduler.state
        for environment in state.repository.environments():
            tracked = state.tracked.get(environment.id)
            if tracked is None:
                continue
            cluster = short_id(environment.cluster_arn)
            for slot_class, hosts in tracked.board.classes.items():
                yield SlotCount(cluster, environment.name, slot_class.value, hosts)

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
