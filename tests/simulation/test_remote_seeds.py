"""Whole worlds whose scheduler follows cluster-state-services that lag, restart, hang and fail:
what every promise says holds by what ECS saw, and what the services have is what ECS has."""

import os
import subprocess
import sys
from dataclasses import fields

import pytest

from blox.simulator.scenario import Scenario
from blox.simulator.state_course import Event
from blox.simulator.state_line import Weather
from simulation.test_seeds import judged, silence

__all__ = ["silence"]

SEEDS, CHUNK = 100, 10
CHUNKS = [range(first, first + CHUNK) for first in range(0, SEEDS, CHUNK)]


@pytest.mark.parametrize("seeds", CHUNKS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_every_promise_is_kept_over_a_view_that_others_keep(seeds: range) -> None:
    judged([Scenario(seed, http=True).play() for seed in seeds])


def test_where_ecs_breaks_what_is_assumed_there_are_two_at_most_and_they_are_named() -> None:
    outcomes = [Scenario(seed, http=True, broken=True).play() for seed in range(10)]
    judged(outcomes, replayed_with=" --broken")


def traced(seed: int, *, hashing: int) -> str:
    """The trace of a seed, played by another process in which sets have another order."""
    played = subprocess.run(
        [sys.executable, "-m", "blox.simulator.run", "--seed", str(seed), "--view", "http"],
        env={**os.environ, "PYTHONHASHSEED": str(hashing)},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    (trace,) = [line for line in played.stdout.splitlines() if line.startswith("trace ")]
    return trace


@pytest.mark.parametrize("seed", [2, 9])
def test_a_seed_is_the_same_in_every_process(seed: int) -> None:
    found = traced(seed, hashing=1)
    assert len(found) > 60
    assert traced(seed, hashing=2) == found


def test_a_seed_without_services_is_the_same_whether_or_not_others_have_them() -> None:
    """What happens to services is drawn from randomness of its own."""
    assert Scenario(4).workload.steps == Scenario(4, http=True).workload.steps


def test_over_all_seeds_everything_happens_to_services_that_can() -> None:
    events, rates, services = set[Event](), set[str](), set[int]()
    queues, lost = set[bool](), set[bool]()
    for seed in range(SEEDS):
        played = Scenario(seed, http=True).services
        assert played is not None
        course = played.course
        services.add(len(course.services))
        queues |= {service.queue for service in course.services}
        rates |= {one.name for one in fields(Weather) if getattr(course.weather, one.name)}
        for happening in course.happenings:
            events.add(happening.event)
            if happening.event is Event.END:
                lost.add(bool(happening.number("lost")))
    assert events == set(Event)
    assert rates == {one.name for one in fields(Weather)}
    assert services == {1, 2}
    assert queues == lost == {True, False}
