"""What blox counts, for Prometheus. One registry of our own, nothing global.

Counters and histograms are moved as things happen. Gauges are asked for by callback and only when
somebody scrapes: they are read on the event loop, where the state that they describe lives, and
only the text is made in a thread.
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

METRICS_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_RECONCILE_BUCKETS: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_DELAY_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)


class SlotCount(NamedTuple):
    """On how many hosts an environment's slot is in one class."""

    cluster: str
    environment: str
    slot_class: str
    hosts: int


class ReasonCount(NamedTuple):
    """On how many hosts an environment's slot is as it is for one reason."""

    cluster: str
    environment: str
    reason: str
    who: str
    """Who acts next."""
    hosts: int


class Coverage(NamedTuple):
    """How the wanted hosts of an environment do."""

    cluster: str
    environment: str
    wanted: int
    """Hosts that should have a daemon now."""
    unavailable: int
    """Of those, the ones without exactly one healthy daemon."""
    longest_gap: float
    """Seconds for which the worst of those has been without."""
    stops_held: int
    """Stops that wait for a person's word."""


class Figure(NamedTuple):
    """A gauge that is asked for when somebody scrapes."""

    name: str
    description: str
    label: str = ""
    """"" for a single figure without a label."""


CONDITION: Final = Figure(
    "blox_condition", "1 while this is wrong with the process as a whole, else 0.", "condition"
)
DECISION_WAIT: Final = Figure(
    "blox_decision_wait_seconds", "For how long something has been waiting to be judged."
)
RECENT_CHANGES: Final = Figure(
    "blox_recent_changes",
    "Changes of tasks in the last 10 to 20 minutes, by what told of them: an event, or a sweep.",
    "told_by",
)
NOTICES_WAITING: Final = Figure(
    "blox_notices_waiting", "Notices that this receiver has not taken yet.", "receiver"
)
HOSTS_ONLY_DAEMONS: Final = Figure(
    "blox_hosts_only_daemons",
    "Hosts of scaling capacity providers on which only daemons run, some of them of blox.",
    "cluster",
)
_FIGURES: Final = (
    CONDITION,
    DECISION_WAIT,
    RECENT_CHANGES,
    NOTICES_WAITING,
    HOSTS_ONLY_DAEMONS,
)


class Metrics:
    """Everything that one process counts."""

    def __init__(self, *, version: str) -> None:
        self._registry = CollectorRegistry()
        self._version = version
        self._queue_lag: Callable[[], float | None] = lambda: None
        self._view_age: Callable[[], Mapping[str, float]] = dict
        self._slots: Callable[[], Iterable[SlotCount]] = tuple
        self._reasons: Callable[[], Iterable[ReasonCount]] = tuple
        self._host_seconds: Callable[[], Mapping[str, float]] = dict
        self._coverage: Callable[[], Iterable[Coverage]] = tuple
        self._figures: dict[Figure, Callable[[], Mapping[str, float]]] = dict.fromkeys(
            _FIGURES, dict
        )
        ProcessCollector(registry=self._registry)
        self._reconcile = Histogram(
            "blox_reconcile_seconds",
            "Time that one pass over an environment took.",
            buckets=_RECONCILE_BUCKETS,
            registry=self._registry,
        )
        self._start_delay = Histogram(
            "blox_start_delay_seconds",
            "From the receipt of an event to the start call that it caused.",
            buckets=_DELAY_BUCKETS,
            registry=self._registry,
        )
        self._calls = self._counter(
            "blox_calls", "Calls to ECS and SQS by how they ended.", "operation", "outcome"
        )
        self._throttles = self._counter("blox_throttles", "Calls that AWS throttled.")
        self._broken = self._counter(
            "blox_assumptions_broken",
            "Times that ECS did what an assumption excludes.",
            "assumption",
        )
        self._messages = self._counter(
            "blox_event_messages", "Messages from the queue by what became of them.", "result"
        )
        self._notices = self._counter(
            "blox_notices", "Notices by what became of them.", "receiver", "result"
        )
        for assumption in ("S", "double"):
            # A counter that appears with its first event has not grown, as Prometheus sees it.
            self._broken.labels(assumption)

    def reconciled(self, seconds: float) -> None:
        """One pass ended."""
        self._reconcile.observe(seconds)

    def start_delayed(self, seconds: float) -> None:
        """A start call left so long after the event that caused it was received."""
        self._start_delay.observe(seconds)

    def called(self, operation: str, outcome: str) -> None:
        """A call ended; `outcome` is one of few words."""
        self._calls.labels(operation, outcome).inc()

    def throttled(self) -> None:
        """AWS throttled a call."""
        self._throttles.inc()

    def assumption_broken(self, assumption: str) -> None:
        """ECS did what assumption S, E or V excludes."""
        self._broken.labels(assumption).inc()

    def message(self, result: str) -> None:
        """A message from the queue was dealt with; `result` is one of few words."""
        self._messages.labels(result).inc()

    def expect_notices(self, receiver: str, results: Iterable[str]) -> None:
        """Show counters for this receiver that have not moved yet."""
        for result in results:
            self._notices.labels(receiver, result)

    def notice(self, receiver: str, result: str) -> None:
        """A notice was dealt with; `result` is one of few words."""
        self._notices.labels(receiver, result).inc()

    def watch_queue_lag(self, read: Callable[[], float | None]) -> None:
        """`read` gives the age in seconds of the newest event when we received it; None: no queue
        or no event yet."""
        self._queue_lag = read

    def watch_view_age(self, read: Callable[[], Mapping[str, float]]) -> None:
        """`read` gives for each cluster the seconds since its last complete sweep began."""
        self._view_age = read

    def watch_slots(self, read: Callable[[], Iterable[SlotCount]]) -> None:
        """`read` gives the slots of every environment by class."""
        self._slots = read

    def watch_reasons(self, read: Callable[[], Iterable[ReasonCount]]) -> None:
        """`read()`: each environment's hosts by reason."""
        self._reasons = read

    def watch_host_seconds_without_daemon(self, read: Callable[[], Mapping[str, float]]) -> None:
        """`read` gives for each environment the seconds that all its wanted hosts together have
        been without a daemon, the present gaps included. It never falls."""
        self._host_seconds = read

    def watch_coverage(self, read: Callable[[], Iterable[Coverage]]) -> None:
        """`read` gives how the wanted hosts of every environment do."""
        self._coverage = read

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
        slots = GaugeMetricFamily(
            "blox_slots",
            "Hosts of an environment by what is the case there.",
            labels=["cluster", "environment", "class"],
        )
        for slot in self._slots():
            slots.add_metric([slot.cluster, slot.environment, slot.slot_class], slot.hosts)
        yield slots
        reasons = GaugeMetricFamily(
            "blox_reasons",
            "Hosts of an environment by why they are as they are, and who acts next.",
            labels=["cluster", "environment", "reason", "who"],
        )
        for one in self._reasons():
            reasons.add_metric([one.cluster, one.environment, one.reason, one.who], one.hosts)
        yield reasons
        gaps = CounterMetricFamily(
            "blox_host_seconds_without_daemon",
            "Seconds that wanted hosts were without a daemon, all hosts added up.",
            labels=["environment"],
        )
        for environment, seconds in self._host_seconds().items():
            gaps.add_metric([environment], seconds)
        yield gaps
        yield from _covered(tuple(self._coverage()))
        for figure, read in self._figures.items():
            labels = [figure.label] if figure.label else []
            gauge = GaugeMetricFamily(figure.name, figure.description, labels=labels)
            for key, value in read().items():
                gauge.add_metric([key] if labels else [], value)
            yield gauge


def _covered(coverage: Sequence[Coverage]) -> Iterator[Metric]:
    """One gauge for each figure of the environments' coverage."""
    for name, description, read in _COVERAGE:
        gauge = GaugeMetricFamily(name, description, labels=["cluster", "environment"])
        for one in coverage:
            gauge.add_metric([one.cluster, one.environment], read(one))
        yield gauge


_COVERAGE: Final[Sequence[tuple[str, str, Callable[[Coverage], float]]]] = (
    (
        "blox_wanted_hosts",
        "Hosts that should have the daemon now.",
        lambda one: one.wanted,
    ),
    (
        "blox_unavailable_hosts",
        "Of the wanted hosts, those without exactly one healthy daemon.",
        lambda one: one.unavailable,
    ),
    (
        "blox_longest_gap_seconds",
        "For how long the worst wanted host has been without a healthy daemon; 0: none is.",
        lambda one: one.longest_gap,
    ),
    (
        "blox_stops_held",
        "Daemons on hosts that stopped matching whose stop waits for a person's word.",
        lambda one: one.stops_held,
    ),
)


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
