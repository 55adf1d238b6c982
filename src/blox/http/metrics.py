"""What a daemon-scheduler counts, for Prometheus, beside what every service does."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client import Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from blox.http.counted import CONDITION, RECENT_CHANGES, Counted, Figure

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


DECISION_WAIT: Final = Figure(
    "blox_decision_wait_seconds", "For how long something has been waiting to be judged."
)
NOTICES_WAITING: Final = Figure(
    "blox_notices_waiting", "Notices that this receiver has not taken yet.", "receiver"
)
HOSTS_ONLY_DAEMONS: Final = Figure(
    "blox_hosts_only_daemons",
    "Hosts of scaling capacity providers on which only daemons run, some of them of blox.",
    "cluster",
)
STATE_SERVICE_IN_USE: Final = Figure(
    "blox_state_service_in_use",
    "1 for the cluster-state-service that the view is followed from, 0 for the others.",
    "endpoint",
)
STATE_SERVICE_TOLD: Final = Figure(
    "blox_state_service_told",
    "Accounts of tasks and hosts that the cluster-state-service told.",
    counts=True,
)
STATE_SERVICE_FAILURES: Final = Figure(
    "blox_state_service_failures",
    "Streams of the cluster-state-service that were cut, and requests to it that failed.",
    counts=True,
)
VIEW_GOOD_FOR: Final = Figure(
    "blox_view_good_for_seconds",
    "Until what the cluster-state-service showed of a cluster is too old to act on; 0: it is.",
    "cluster",
)
_FIGURES: Final = (
    CONDITION,
    DECISION_WAIT,
    RECENT_CHANGES,
    NOTICES_WAITING,
    HOSTS_ONLY_DAEMONS,
    STATE_SERVICE_IN_USE,
    STATE_SERVICE_TOLD,
    STATE_SERVICE_FAILURES,
    VIEW_GOOD_FOR,
)


class Metrics(Counted):
    """Everything that one daemon-scheduler counts."""

    def __init__(self, *, version: str) -> None:
        super().__init__(_FIGURES, version=version)
        self._slots: Callable[[], Iterable[SlotCount]] = tuple
        self._reasons: Callable[[], Iterable[ReasonCount]] = tuple
        self._host_seconds: Callable[[], Mapping[str, float]] = dict
        self._coverage: Callable[[], Iterable[Coverage]] = tuple
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
        self._broken = self._counter(
            "blox_assumptions_broken",
            "Times that ECS did what an assumption excludes.",
            "assumption",
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

    def assumption_broken(self, assumption: str) -> None:
        """ECS did what assumption S, E or V excludes."""
        self._broken.labels(assumption).inc()

    def expect_notices(self, receiver: str, results: Iterable[str]) -> None:
        """Show counters for this receiver that have not moved yet."""
        for result in results:
            self._notices.labels(receiver, result)

    def notice(self, receiver: str, result: str) -> None:
        """A notice was dealt with; `result` is one of few words."""
        self._notices.labels(receiver, result).inc()

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

    def _more(self) -> Iterator[Metric]:
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
