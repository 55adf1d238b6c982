"""The metrics of a view, read from memory when somebody scrapes, whichever service has it."""

from typing import Final

from blox.base.ambient import Clock
from blox.base.ids import short_id
from blox.clusterstate.counters import Counters
from blox.clusterstate.view import View
from blox.http.counted import RECENT_CHANGES, Counted

_RESULTS: Final = {
    "events_applied": "applied",
    "events_known": "known",
    "events_too_old": "too-old",
    "events_ignored": "ignored",
    "messages_rejected": "rejected",
}
"""Field of `Counters` → what became of a message."""


class ViewGauges:
    """Hands a view's figures to the metrics."""

    def __init__(self, metrics: Counted, view: View, clock: Clock) -> None:
        self._metrics = metrics
        self._view = view
        self._clock = clock
        self._began = clock.monotonic()
        self._counted = Counters()
        metrics.watch_queue_lag(self._queue_lag)
        metrics.watch_view_age(self._view_age)
        metrics.watch(RECENT_CHANGES, self._changes)

    def count_messages(self) -> None:
        """Count what has come since this was last called."""
        now = self._view.counters
        for field, result in _RESULTS.items():
            more = getattr(now, field) - getattr(self._counted, field)
            if more:
                self._metrics.message(result, count=more)
            setattr(self._counted, field, getattr(now, field))

    def _queue_lag(self) -> float | None:
        counters = self._view.counters
        if not counters.events_applied + counters.events_known + counters.events_too_old:
            return None
        return counters.queue_lag

    def _view_age(self) -> dict[str, float]:
        now = self._clock.monotonic()
        ages = {}
        for arn in self._view.clusters:
            seen = self._view.cluster(arn)
            if seen is not None:
                swept_at = self._began if seen.swept_at is None else seen.swept_at
                ages[short_id(arn)] = now - swept_at
        return ages

    def _changes(self) -> dict[str, float]:
        tally = self._view.changes()
        return {} if tally is None else {"event": tally.told, "sweep": tally.missed}
