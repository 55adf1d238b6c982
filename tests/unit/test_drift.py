"""Whether the queue tells everything."""

from blox.clusterstate.drift import ENOUGH, GRACE, PERIOD, Drift, Tally


def test_a_change_that_no_event_tells_in_time_is_missed() -> None:
    drift = Drift()
    drift.found("a", 2, now=0.0)
    assert drift.tally(now=GRACE - 0.1) == Tally(told=0, missed=0)
    assert drift.tally(now=GRACE) == Tally(told=0, missed=1)


def test_an_event_that_a_read_was_faster_than_has_told() -> None:
    drift = Drift()
    drift.found("a", 2, now=0.0)
    drift.told("a", 2, news=False, now=5.0)
    assert drift.tally(now=GRACE) == Tally(told=1, missed=0)


def test_an_older_event_has_not_told() -> None:
    drift = Drift()
    drift.found("a", 3, now=0.0)
    drift.told("a", 2, news=False, now=5.0)
    assert drift.tally(now=GRACE) == Tally(told=0, missed=1)


def test_repeated_events_count_once() -> None:
    drift = Drift()
    drift.told("a", 2, news=True, now=0.0)
    drift.told("a", 2, news=False, now=1.0)
    assert drift.tally(now=2.0) == Tally(told=1, missed=0)


def test_above_the_alarm_there_is_a_problem() -> None:
    drift = Drift()
    for number in range(95):
        drift.told(f"told-{number}", 2, news=True, now=0.0)
    for number in range(5):
        drift.found(f"found-{number}", 2, now=0.0)
    assert drift.problem(alarm=0.05, now=GRACE) is None
    drift.found("one more", 2, now=GRACE)
    problem = drift.problem(alarm=0.05, now=2 * GRACE)
    assert problem is not None
    assert problem.startswith("6 % of the last 101 changes of tasks (6)")


def test_few_changes_say_nothing() -> None:
    drift = Drift()
    for number in range(ENOUGH - 1):
        drift.found(str(number), 2, now=0.0)
    assert drift.problem(alarm=0.05, now=GRACE) is None


def test_what_is_two_periods_old_is_forgotten() -> None:
    drift = Drift()
    drift.told("a", 2, news=True, now=0.0)
    assert drift.tally(now=PERIOD).told == 1
    assert drift.tally(now=2 * PERIOD).told == 0
    drift.told("b", 2, news=True, now=2 * PERIOD)
    assert drift.tally(now=9 * PERIOD).told == 0


def test_while_the_queue_is_not_read_nothing_is_missed() -> None:
    drift = Drift()
    drift.found("a", 2, now=0.0)
    drift.flow(flowing=False)
    drift.found("b", 2, now=1.0)
    drift.flow(flowing=True)
    assert drift.tally(now=2 * GRACE) == Tally(told=0, missed=0)
