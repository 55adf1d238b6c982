"""The metrics of a cluster-state-service, read from its memory when somebody scrapes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from blox.app.view_gauges import ViewGauges
from blox.base.ambient import Clock
from blox.base.ids import short_id
from blox.clusterstate.api.context import Condition, OpenStreams, QueueSeen, StoreSeen
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.view import View
from blox.http.counted import CONDITION, RECENT_CHANGES, Counted, Figure

CONDITIONS: Final = ("copy", "credentials", "ecs-unreachable", "queue", "clusters", "cluster")
"""What can be wrong with the process as a whole."""

INSTANCES: Final = Figure(
    "blox_state_instances", "Container instances that are listed, INACTIVE ones too.", "cluster"
)
TASKS: Final = Figure("blox_state_tasks", "Tasks that are listed, stopped ones too.", "cluster")
PRIMED: Final = Figure(
    "blox_state_primed", "1 once this process has read the cluster completely.", "cluster"
)
VERSION: Final = Figure("blox_state_version", "The number of the last change of anything.")
UNSTORED: Final = Figure("blox_state_unstored", "Changes that the stored copy does not have yet.")
WATCHERS: Final = Figure("blox_state_watchers", "Open streams.")
QUEUE_DEPTH: Final = Figure("blox_queue_depth", "Messages that wait in the queue, about.")
QUEUE_FLOWING: Final = Figure("blox_queue_flowing", "1 while events are being read.")
QUEUE_HELD: Final = Figure(
    "blox_queue_held", "Messages that are applied and not yet removed from the queue."
)
SWEEPS: Final = Figure(
    "blox_sweeps", "Sweeps of clusters by how they ended.", "result", counts=True
)
READS_RETRIED: Final = Figure(
    "blox_reads_retried", "Reads that were made again because they may succeed then.", counts=True
)

_FIGURES: Final = (
    CONDITION,
    INSTANCES,
    TASKS,
    PRIMED,
    VERSION,
    UNSTORED,
    WATCHERS,
    QUEUE_DEPTH,
    QUEUE_FLOWING,
    QUEUE_HELD,
    RECENT_CHANGES,
    SWEEPS,
    READS_RETRIED,
)


class StateMetrics(Counted):
    """Everything that one cluster-state-service counts."""

    def __init__(self, *, version: str) -> None:
        super().__init__(_FIGURES, version=version)


class StateGauges:
    """Hands a view's, a catalogue's and a stored copy's figures to the metrics."""

    def __init__(
        self,
        metrics: StateMetrics,
        view: View,
        catalogue: Catalogue,
        clock: Clock,
        *,
        conditions: Callable[[], Sequence[Condition]],
        queue: Callable[[], QueueSeen | None],
        held: Callable[[], int],
        store: Callable[[], StoreSeen],
        watchers: OpenStreams,
    ) -> None:
        """`held()`: messages that are applied and not yet removed."""
        self._metrics = metrics
        self._view = view
        self._catalogue = catalogue
        self._conditions = conditions
        self._queue = queue
        self._of_view = ViewGauges(metrics, view, clock)
        metrics.watch(CONDITION, self._conditions_now)
        metrics.watch(INSTANCES, lambda: self._of_clusters(self._instances))
        metrics.watch(TASKS, lambda: self._of_clusters(self._tasks))
        metrics.watch(PRIMED, lambda: self._of_clusters(self._primed))
        metrics.watch(VERSION, lambda: {"": catalogue.last})
        metrics.watch(UNSTORED, lambda: {"": max(0, catalogue.last - store().stored_version)})
        metrics.watch(WATCHERS, lambda: {"": watchers.open})
        metrics.watch(QUEUE_DEPTH, self._depth)
        metrics.watch(QUEUE_FLOWING, self._flowing)
        metrics.watch(QUEUE_HELD, lambda: {} if queue() is None else {"": held()})
        metrics.watch(SWEEPS, self._sweeps)
        metrics.watch(READS_RETRIED, lambda: {"": view.counters.reads_retried})

    async def render(self) -> bytes:
        """Everything, as Prometheus reads it."""
        self._of_view.count_messages()
        return await self._metrics.render()

    def _of_clusters(self, figure: Callable[[str], float]) -> Mapping[str, float]:
        return {short_id(arn): figure(arn) for arn in self._view.clusters}

    def _instances(self, arn: str) -> float:
        return self._catalogue.count("instance", arn)

    def _tasks(self, arn: str) -> float:
        return self._catalogue.count("task", arn)

    def _primed(self, arn: str) -> float:
        seen = self._view.cluster(arn)
        return float(seen is not None and seen.primed)

    def _conditions_now(self) -> Mapping[str, float]:
        holding = {condition.code for condition in self._conditions()}
        return {code: float(code in holding) for code in CONDITIONS}

    def _depth(self) -> Mapping[str, float]:
        queue = self._queue()
        return {} if queue is None or queue.depth is None else {"": queue.depth}

    def _flowing(self) -> Mapping[str, float]:
        queue = self._queue()
        return {} if queue is None else {"": float(queue.flowing)}

    def _sweeps(self) -> Mapping[str, float]:
        counters = self._view.counters
        return {"complete": counters.sweeps_completed, "failed": counters.sweeps_failed}
