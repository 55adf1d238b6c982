"""Whole worlds, each from one seed: what every promise says holds by what ECS saw, to the end.

A seed that fails prints the command that plays it again.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import structlog

from blox.simulator.faults import Faults
from blox.simulator.run import describe
from blox.simulator.scenario import Outcome, Scenario
from blox.simulator.workload import FEATURES, Action

SEEDS, CHUNK = 300, 10
CHUNKS = [range(first, first + CHUNK) for first in range(0, SEEDS, CHUNK)]


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """A seed logs thousands of lines that nobody reads; the replay command shows them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def judged(outcomes: list[Outcome], *, replayed_with: str = "") -> None:
    """Fail with everything that is wrong with any of them."""
    wrong = [
        f"{line}{replayed_with if 'replay:' in line else ''}"
        for outcome in outcomes
        for line in describe(outcome)
    ]
    assert not wrong, "\n" + "\n".join(wrong)
    assert sum(outcome.statistics.starts for outcome in outcomes) > len(outcomes)
    assert all(outcome.steps for outcome in outcomes)


@pytest.mark.parametrize("seeds", CHUNKS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_every_promise_is_kept(seeds: range) -> None:
    judged([Scenario(seed).play() for seed in seeds])


def test_every_promise_is_kept_on_a_store_on_disk(tmp_path: Path) -> None:
    judged([Scenario(seed, sqlite=tmp_path / f"{seed}.db").play() for seed in range(20)])


def test_where_ecs_breaks_what_is_assumed_there_are_two_at_most_and_they_are_named() -> None:
    outcomes = [Scenario(seed, broken=True).play() for seed in range(20)]
    judged(outcomes, replayed_with=" --broken")
    assert sum(outcome.tolerated for outcome in outcomes) > 0
    assert sum(outcome.doubles_named for outcome in outcomes) > 0


def traced(seed: int, *, hashing: int) -> str:
    """The trace of a seed, played by another process in which sets have another order."""
    played = subprocess.run(
        [sys.executable, "-m", "blox.simulator.run", "--seed", str(seed)],
        env={**os.environ, "PYTHONHASHSEED": str(hashing)},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    (trace,) = [line for line in played.stdout.splitlines() if line.startswith("trace ")]
    return trace


@pytest.mark.parametrize("seed", [1, 2, 9])
def test_a_seed_is_the_same_in_every_process(seed: int) -> None:
    found = traced(seed, hashing=1)
    assert len(found) > 60
    assert traced(seed, hashing=2) == found
    assert traced(seed, hashing=0) == found


def test_different_seeds_are_different() -> None:
    assert len({Scenario(seed).play().trace for seed in range(3)}) == 3


def test_over_all_seeds_everything_happens_that_can() -> None:
    features, actions, faults = set[str](), set[Action](), set[str]()
    for seed in range(SEEDS):
        workload = Scenario(seed).workload
        features |= set(workload.features)
        for step in (*workload.setup, *workload.steps):
            actions.add(step.action)
            if step.action is Action.FAULTS:
                faults |= {name for name, rate in step.arguments.items() if rate}
    assert features == set(FEATURES)
    assert actions == set(Action)
    assert faults == {field.name for field in fields(Faults)}
