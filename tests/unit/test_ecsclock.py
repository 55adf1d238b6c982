"""ECS's time is known from its Date headers alone."""

import pytest

from blox.ecs.ecsclock import EcsTime, observe, parse_date

NOON = 1_762_000_000.0


def test_before_the_first_answer_the_wall_clock_serves() -> None:
    assert EcsTime().at(100.0, wall=NOON) == NOON
    assert not EcsTime().known


def test_after_it_only_monotonic_time_moves_the_estimate() -> None:
    time = observe(EcsTime(), NOON, received=100.0, wall=NOON).time
    assert time.known
    for wall in (NOON, NOON + 3600, NOON - 3600):
        assert time.at(130.0, wall=wall) == NOON + 30.0


def test_the_newest_date_counts_and_a_large_difference_is_told() -> None:
    time = EcsTime(NOON, 100.0)
    near = observe(time, NOON + 14.0, received=110.0, wall=0.0)
    assert near.jump is None
    assert near.time.at(110.0, wall=0.0) == NOON + 14.0
    ahead = observe(time, NOON + 100.0, received=110.0, wall=0.0)
    assert ahead.jump == 90.0
    assert ahead.time.at(111.0, wall=0.0) == NOON + 101.0
    behind = observe(time, NOON - 30.0, received=110.0, wall=0.0)
    assert behind.jump == -40.0
    assert behind.time.at(110.0, wall=0.0) == NOON - 30.0


def test_the_first_date_tells_how_wrong_this_machine_is() -> None:
    assert observe(EcsTime(), NOON, received=1.0, wall=NOON + 3600).jump == -3600.0
    assert observe(EcsTime(), NOON, received=1.0, wall=NOON + 4.0).jump is None


def test_the_estimate_is_never_ahead_of_ecs() -> None:
    """An answer that took its time on the way, and a header of whole seconds."""
    true_at_receipt = NOON + 0.9 + 2.0
    time = observe(EcsTime(), NOON, received=50.0, wall=0.0).time
    assert time.at(50.0, wall=0.0) <= true_at_receipt
    assert time.at(80.0, wall=0.0) <= true_at_receipt + 30.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0),
        ("Sun, 06 Nov 1994 08:49:37 +0000", 784111777.0),
        ("Sun, 06 Nov 1994 08:49:37", 784111777.0),
        ("yesterday", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("", None),
        (None, None),
    ],
)
def test_http_dates(header: str | None, seconds: float | None) -> None:
    assert parse_date(header) == seconds
