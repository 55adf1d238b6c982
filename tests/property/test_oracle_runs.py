"""The judge over whole random runs: it holds nothing against a caller that keeps every promise,
even one whose knowledge of hosts is a minute old, and convicts one that breaks a single rule."""

from collections.abc import Sequence

import pytest

from blox.simulator.workload import Size
from support.omniscient import Omniscient

SIZE = Size(turmoil=2400.0, events=30.0)
SHORT = Size(turmoil=300.0, events=10.0)
"""For crimes that are committed all the time."""
HEALING = 2400.0


@pytest.mark.parametrize("delay", [0.0, 60.0])
def test_a_caller_that_keeps_every_promise_is_acquitted(delay: float) -> None:
    starts = stops = replaced = 0
    for seed in range(25):
        run = Omniscient(seed, size=SIZE, delay=delay)
        assert [str(violation) for violation in run.run(healing=HEALING)] == [], f"seed {seed}"
        receipt = run.oracle.statistics(run.now)
        starts += receipt.starts
        stops += receipt.stops
        replaced += receipt.most_down_for_replacement > 0
    assert starts > 300, "the runs must put something to the test"
    assert stops > 80
    assert replaced > 5


@pytest.mark.parametrize(
    ("crime", "promise", "seeds", "size"),
    [
        ("starts anywhere", 0, range(3), SHORT),
        ("starts a second", 1, range(3), SHORT),
        ("stops unasked", 2, range(2), SHORT),
        ("leaves first", 2, (74, 153), SIZE),
        ("ignores the budget", 6, range(6), SIZE),
        ("starts beside others", 9, range(20), SIZE),
    ],
)
def test_a_caller_that_breaks_one_rule_is_convicted(
    crime: str, promise: int, seeds: Sequence[int], size: Size
) -> None:
    assert any(
        violation.promise == promise
        for seed in seeds
        for violation in Omniscient(seed, size=size, crime=crime).run(healing=0.0)
    )


def test_one_seed_gives_one_verdict() -> None:
    first, second = (Omniscient(1, size=SHORT, crime="starts a second") for _ in range(2))
    assert [str(v) for v in first.run(healing=0.0)] == [str(v) for v in second.run(healing=0.0)]
    assert first.oracle.statistics(first.now) == second.oracle.statistics(second.now)
