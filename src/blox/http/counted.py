"""What every service of blox counts, for Prometheus. One registry of our own, nothing global.

Counters and histograms are moved as things happen. Gauges are asked for by callback and only when
somebody scrapes: they are read on the event loop, where the state that they describe lives, and
only the text is made in a thread.
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

METRICS_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


class Figure(NamedTuple):
    """A gauge, or a counter, that is asked for when somebody scrapes."""

    name: str
    description: str
    label: str = ""
    """"" for a single figure without a label."""
    counts: bool = False
    """It only grows."""


CONDITION: Final = Figure(
    "blox_condition", "1 while this is wrong with the process as a whole, else 0.", "condition"
)
RECENT_CHANGES: Final = Figure(
    "blox_recent_changes",
    "Changes of tasks in the last 10 to 20 minutes, by what told of them: an event, or a sweep.",
    "told_by",
)


class Counted:
    """Everything that one process counts, whichever service it is."""

    def __init__(self, figures: Sequence[Figure], *, version: str) -> None:
        """`figures`: those of this service, in the order in which they are shown. `version`: of
        blox."""
        self._registry = CollectorRegistry()
        self._version = version
        self._queue_lag: Callable[[], float | None] = lambda: None
        self._view_age: Callable[[], Mapping[str, float]] = dict
        self._figures: dict[Figure, Callable[[], Mapping[str, float]]] = dict.fromkeys(
            figures, dict
        )
        ProcessCollector(registry=self._registry)
        self._calls = self._counter(
            "blox_calls", "Calls to AWS by how they ended.", "operation", "outcome"
        )
        self._throttles = self._counter("blox_throttles", "Calls that AWS throttled.")
        self._messages = self._counter(
            "blox_event_messages", "Messages from the queue by what became of them.", "result"
        )

    def called(self, operation: str, outcome: str) -> None:
        """A call ended; `outcome` is one of few words."""
        self._calls.labels(operation, outcome).inc()

    def throttled(self) -> None:
        """AWS throttled a call."""
        self._throttles.inc()

    def message(self, result: str, *, count: int = 1) -> None:
        """So many messages from the queue were dealt with; `result` is one of few words."""
        self._messages.labels(result).inc(count)

    def watch_queue_lag(self, read: Callable[[], float | None]) -> None:
        """`read` gives the age in seconds of the newest event when we received it; None: no queue
        or no event yet."""
        self._queue_lag = read

    def watch_view_age(self, read: Callable[[], Mapping[str, float]]) -> None:
        """`read` gives for each cluster the seconds since its last complete sweep began."""
        self._view_age = read

    def watch(self, figure: Figure, read: Callable[[], Mapping[str, float]]) -> None:
        """`read` gives a value for each value of the figure's label; of a figure without a label
        one value, under ""."""
        self._figures[figure] = read

    async def render(self) -> bytes:
        """Everything in Prometheus's text format. Call it on the loop that owns the state."""
        return await asyncio.to_thread(
            generate_latest, _Rendering(self._registry, tuple(self._watched()))
        )

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(name, description, labels, registry=self._registry)

    def _watched(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("blox_build_info", "The version that runs.", labels=["version"])
        build.add_metric([self._version], 1)
        yield build
        lag = self._queue_lag()
        lags = GaugeMetricFamily(
            "blox_queue_lag_seconds", "Age of the newest event at its receipt."
        )
        if lag is not None:
            lags.add_metric([], lag)
        yield lags
        ages = GaugeMetricFamily(
            "blox_view_age_seconds",
            "Since the last complete sweep of a cluster began.",
            labels=["cluster"],
        )
        for cluster, age in self._view_age().items():
            ages.add_metric([cluster], age)
        yield ages
        yield from self._more()
        for figure, read in self._figures.items():
            labels = [figure.label] if figure.label else []
            family = CounterMetricFamily if figure.counts else GaugeMetricFamily
            shown = family(figure.name, figure.description, labels=labels)
            for key, value in read().items():
                shown.add_metric([key] if labels else [], value)
            yield shown

    def _more(self) -> Iterator[Metric]:
        """What only one service has, and is more than a figure."""
        yield from ()


class _Rendering(Collector):
    """The registry's metrics, without the times of their creation, and those read for a scrape."""

    def __init__(self, registry: CollectorRegistry, watched: tuple[Metric, ...]) -> None:
        self._registry = registry
        self._watched = watched

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            created = metric.name + "_created"
            metric.samples = [sample for sample in metric.samples if sample.name != created]
            yield metric
        yield from self._watched
