"""What the log says of a view: each cluster once, when it was first read completely."""

from collections.abc import Callable, Mapping

import structlog

from blox.app.meter import Outcome
from blox.base.ambient import Clock
from blox.base.ids import short_id
from blox.clusterstate.view import View
from blox.ecs.seen import Touched

_log = structlog.get_logger("blox")


class PrimedLines:
    """Says once for each cluster that it was read completely, and how long that took."""

    def __init__(
        self,
        view: View,
        clock: Clock,
        *,
        answered: Callable[[], Mapping[str, Outcome]],
        more: Mapping[str, str] | None = None,
    ) -> None:
        """`answered()`: ECS's operations that were tried and answered or denied. `more`: what else
        each line says."""
        self._view = view
        self._clock = clock
        self._answered = answered
        self._more = dict(more or {})
        self._said: set[str] = set()

    def touched(self, change: Touched) -> None:
        """The view changed."""
        arn = change.cluster_arn
        if not change.cluster or arn in self._said:
            return
        seen = self._view.cluster(arn)
        if seen is None or not seen.primed or seen.swept_at is None:
            return
        self._said.add(arn)
        hosts = list(self._view.hosts(arn))
        tasks = sum(task.live for host in hosts for task in self._view.tasks_on(host.host.arn))
        answered = self._answered()
        _log.info(
            f"view of {short_id(arn)} primed in {self._clock.monotonic() - seen.swept_at:.1f} s "
            f"({sum(host.superseded_by is None for host in hosts)} hosts, {tasks} tasks)",
            reads={name: answered[name].value for name in sorted(answered)},
            **self._more,
        )
