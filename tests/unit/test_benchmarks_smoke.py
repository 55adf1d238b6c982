"""The benchmarks run and say what they promise to say. Nothing here looks at how long it took."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks import (
    deployment,
    durability,
    environments,
    event_cost,
    http_reads,
    memory,
    promptness,
    stage,
    state_events,
    state_reads,
    state_start,
)
from benchmarks.__main__ import BENCHMARKS
from benchmarks.figures import Figure, at_most, percentile, readable, table
from benchmarks.truth import fewest_calls, quickest, seen_since

from support.worlds import marked, world

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemons are healthy as soon as they run, and nothing settles for its figures' sake."""
    monkeypatch.setattr(stage, "POLICY", {"minHealthySeconds": 0})
    monkeypatch.setattr(memory, "_SETTLE", 0.1)
    monkeypatch.setattr(promptness, "RAN_WELL", 0.1)
    monkeypatch.setattr(promptness, "_LATE", 2.0)
    monkeypatch.setattr(state_start, "_SETTLE", 0.1)


def _wellformed(figures: list[Figure]) -> None:
    assert figures
    for figure in figures:
        assert len(figure.cells()) == 6
        assert figure.what
        assert not math.isnan(figure.measured)
        assert bool(figure.target) == (figure.met is not None)
        assert figure.line()


class TestFigures:
    def test_a_figure_stands_beside_its_reference(self) -> None:
        figure = Figure(
            what="calls",
            measured=246,
            reference=200,
            reference_is="floor",
            target="= 1",
            met=False,
        )
        assert figure.cells() == ("calls", "246", "200 (floor)", "1.23", "= 1", "**missed**")
        assert figure.line() == "calls: 246, against 200 (floor), ratio 1.23, target = 1: missed"

    def test_without_a_reference_there_is_no_ratio(self) -> None:
        figure = Figure(what="throttled", measured=0, target="0", met=True)
        assert figure.cells() == ("throttled", "0", "", "", "0", "met")

    def test_a_table_is_markdown(self) -> None:
        lines = table([Figure(what="a", measured=1.5, unit="ms")]).splitlines()
        assert [line.count("|") for line in lines] == [7, 7, 7]
        assert lines[2].startswith("| a | 1.50 ms |")

    @pytest.mark.parametrize(
        ("number", "text"),
        [(0, "0"), (7100, "7,100"), (12.34, "12.3"), (0.123, "0.12"), (0.00041, "0.00041")],
    )
    def test_numbers_keep_the_digits_that_mean_something(self, number: float, text: str) -> None:
        assert readable(number) == text

    def test_percentiles_are_samples(self) -> None:
        samples = [float(number) for number in range(100, 0, -1)]
        assert (percentile(samples, 0.5), percentile(samples, 0.99)) == (50.0, 99.0)
        assert math.isnan(percentile([], 0.5))

    def test_what_is_no_number_meets_no_target(self) -> None:
        assert at_most(1.0, 1.0)
        assert not at_most(1.0, math.nan)
        assert not at_most(1.0, math.inf)


class TestTruth:
    def test_floors_come_from_the_published_quotas(self) -> None:
        assert [fewest_calls(hosts) for hosts in (1, 10, 11, 2000)] == [1, 1, 2, 200]
        assert quickest(200) == 6.25

    def test_doubles_and_empty_hosts_are_seen_from_outside(self) -> None:
        simulated = world(hosts=3)
        doubled, left, _ = simulated.hosts
        for host, intent in ((doubled, "a"), (doubled, "b"), (left, "c")):
            simulated.started(host, overrides=marked(intent))
        stopped = simulated.cloud.live_tasks(left)[0].arn
        simulated.call("StopTask", task=stopped)
        simulated.later(120.0)
        seen = seen_since(simulated.cloud, 0.0)
        assert (seen.calls, seen.stops, seen.doubles, seen.without) == (3, 1, 1, 2)


class TestRuns:
    """Each benchmark from end to end, on as little as it can do."""

    def test_a_deployment_under_virtual_time(self) -> None:
        figures = deployment.run((25,), on_the_wire=0)
        _wellformed(figures)
        measured = [figure.measured for figure in figures[:4]]
        assert measured == [3, 0, 0, 0]

    def test_a_deployment_with_a_real_process(self) -> None:
        figures = deployment.run((), on_the_wire=12)
        _wellformed(figures)
        assert [figure.measured for figure in figures[:4]] == [2, 0, 0, 0]

    @pytest.mark.parametrize(
        ("run", "count"),
        [
            (lambda: event_cost.run((10, 20), events=20, rounds=1), 8),
            (lambda: durability.run(seconds=0.05, waiters=(1, 4)), 2),
            (lambda: environments.run(hosts=3, environments=2, seconds=0.5), 1),
            (lambda: http_reads.run(hosts=2, seconds=0.2), 2),
            (lambda: promptness.run((3,), samples=3), 8),
            (lambda: memory.run(few=2, hosts=4, foreign=1, seconds=0.2), 5),
            (lambda: state_reads.run(hosts=2, others=1, seconds=0.2), 6),
            (lambda: state_events.run(hosts=3, events=10, watchers=2, changes=3), 3),
            (lambda: state_start.run(hosts=3, memory_hosts=2), 4),
        ],
        ids=[
            "event-cost",
            "durability",
            "environments",
            "http-reads",
            "promptness",
            "memory",
            "state-reads",
            "state-events",
            "state-start",
        ],
    )
    def test_it_gives_its_figures(self, run: Callable[[], list[Figure]], count: int) -> None:
        figures = run()
        _wellformed(figures)
        assert len(figures) == count


def test_a_name_that_is_no_benchmark_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "speed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    for name in BENCHMARKS:
        assert name in done.stdout
