"""The machine's clocks."""

import time

import pytest

from blox.base.clock import SystemClock


def test_time_that_the_machine_was_suspended_counts() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    told = SystemClock().monotonic()
    assert before <= told <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_night_asleep_makes_what_was_seen_before_old(monkeypatch: pytest.MonkeyPatch) -> None:
    asleep = {time.CLOCK_BOOTTIME: 8 * 3600.0}
    read = time.clock_gettime
    clock = SystemClock()
    before = clock.monotonic()
    monkeypatch.setattr(time, "clock_gettime", lambda which: read(which) + asleep.get(which, 0.0))
    assert clock.monotonic() - before >= 8 * 3600.0
