"""How long a daemon that dies young is left alone, and the delays of refused calls."""

import pytest

from blox.base.backoff import exponential
from blox.ecs.model import Task
from blox.scheduler.backoff import Backoff, death_backoff

T0 = 1_750_000_000.0
SOON = T0 + 100_000


def died(number: int, *, at: float, ran: float | None = 0.0, **fields: object) -> Task:
    """A task that ended by itself at T0 + `at` after `ran` seconds (None: never RUNNING)."""
    values: dict[str, object] = {
        "created_at": T0 + at - (ran or 0.0) - 1,
        "started_at": None if ran is None else T0 + at - ran,
        "stopped_at": T0 + at,
        "stop_code": "EssentialContainerExited",
    }
    return Task(
        arn=f"arn:aws:ecs:us-east-1:111122223333:task/demo/{number:032x}",
        cluster_arn="arn:aws:ecs:us-east-1:111122223333:cluster/demo",
        last_status="STOPPED",
        desired_status="STOPPED",
        **(values | fields),  # type: ignore[arg-type]
    )


def wait_after(backoff: Backoff, *, at: float) -> float:
    """Seconds from T0 + `at` until the next start."""
    return backoff.retry_at - (T0 + at)


def test_nothing_died_so_nothing_waits() -> None:
    assert death_backoff([], now_ecs=SOON) == Backoff(streak=0, retry_at=0.0, last_death=None)


@pytest.mark.parametrize(
    ("deaths", "delay"), [(1, 1), (2, 2), (3, 4), (5, 16), (9, 256), (10, 300), (40, 300)]
)
def test_the_delay_doubles_with_every_young_death(deaths: int, delay: float) -> None:
    tasks = [died(n, at=n * 400) for n in range(deaths)]
    backoff = death_backoff(tasks, now_ecs=SOON)
    assert backoff.streak == deaths
    assert backoff.last_death is tasks[-1]
    waited = wait_after(backoff, at=(deaths - 1) * 400)
    assert delay * 0.9 <= waited <= delay * 1.1


def test_the_jitter_differs_between_tasks_and_never_between_runs() -> None:
    waits = [wait_after(death_backoff([died(n, at=0)], now_ecs=SOON), at=0) for n in range(50)]
    again = [wait_after(death_backoff([died(n, at=0)], now_ecs=SOON), at=0) for n in range(50)]
    assert waits == again
    assert min(waits) < 0.95
    assert max(waits) > 1.05


def test_the_longest_delay_is_a_setting() -> None:
    tasks = [died(n, at=n * 20) for n in range(10)]
    backoff = death_backoff(tasks, now_ecs=SOON, max_delay=5)
    assert 4.5 <= wait_after(backoff, at=180) <= 5.5
    assert wait_after(death_backoff(tasks, now_ecs=SOON, max_delay=0), at=180) == 0


@pytest.mark.parametrize(("ran", "streak"), [(9.9, 1), (10.0, 0), (5000.0, 0), (None, 1)])
def test_a_daemon_that_ran_well_restarts_at_once(ran: float | None, streak: int) -> None:
    backoff = death_backoff([died(1, at=0, ran=ran)], now_ecs=SOON)
    assert backoff.streak == streak
    assert (wait_after(backoff, at=0) == 0) == (streak == 0)


def test_running_well_means_for_as_long_as_the_last_delay() -> None:
    crashes = [died(n, at=n * 100) for n in range(6)]  # the sixth waits for 32 s
    assert death_backoff([*crashes, died(9, at=900, ran=31)], now_ecs=SOON).streak == 7
    assert death_backoff([*crashes, died(9, at=900, ran=32)], now_ecs=SOON).streak == 0


def test_the_streak_counts_from_the_last_daemon_that_ran_well() -> None:
    tasks = [died(1, at=0), died(2, at=10), died(3, at=100, ran=50), died(4, at=110)]
    assert death_backoff(tasks, now_ecs=SOON).streak == 1


def test_the_order_in_which_the_tasks_are_given_does_not_matter() -> None:
    tasks = [died(1, at=0), died(3, at=100, ran=50), died(2, at=10), died(4, at=110)]
    assert death_backoff(tasks, now_ecs=SOON) == death_backoff(tasks[::-1], now_ecs=SOON)


@pytest.mark.parametrize(
    "how",
    [
        {"stop_code": "UserInitiated"},
        {"stop_code": "ServiceSchedulerInitiated"},
        {"stop_code": "SpotInterruption"},
        {"stop_code": "TerminationNotice"},
        {"stop_code": "", "stopped_reason": "Host EC2 (instance i-0abc) terminated."},
        {"last_status": "RUNNING"},
        {"last_status": "DEPROVISIONING"},
    ],
)
@pytest.mark.parametrize("ran", [0.0, 5000.0])
def test_a_task_that_others_ended_or_that_lives_changes_nothing(
    how: dict[str, object], ran: float
) -> None:
    crashes = [died(1, at=0), died(2, at=10)]
    values = how if "last_status" not in how else {}
    other = died(3, at=6000, ran=ran, **values)
    if "last_status" in how:
        other = Task(
            arn=other.arn,
            cluster_arn=other.cluster_arn,
            last_status=str(how["last_status"]),
            created_at=T0 + 6000,
        )
    assert death_backoff([*crashes, other], now_ecs=SOON) == death_backoff(crashes, now_ecs=SOON)
    assert death_backoff([other], now_ecs=SOON) == Backoff()


@pytest.mark.parametrize("code", ["TaskFailedToStart", "", "SomethingNew"])
def test_every_other_end_is_a_death(code: str) -> None:
    assert death_backoff([died(1, at=0, ran=None, stop_code=code)], now_ecs=SOON).streak == 1


def test_the_time_from_the_decision_to_stop_until_the_end_is_not_running() -> None:
    task = died(1, at=40, ran=39, stopping_at=T0 + 5)
    assert death_backoff([task], now_ecs=SOON).streak == 1


@pytest.mark.parametrize(
    ("missing", "base"),
    [
        ({"stopped_at": None, "stopping_at": T0 + 7}, 7),
        ({"stopped_at": None}, 10),
        ({"stopped_at": None, "started_at": None}, 9),
    ],
)
def test_a_missing_time_is_replaced_by_the_latest_known(
    missing: dict[str, object], base: float
) -> None:
    task = died(1, at=10, ran=0.0, **missing)
    backoff = death_backoff([task], now_ecs=SOON)
    assert backoff.streak == 1
    assert 0.9 <= wait_after(backoff, at=base) <= 1.1


def test_a_task_without_any_time_is_young_and_long_ago() -> None:
    nothing = {"created_at": None, "started_at": None, "stopped_at": None}
    backoff = death_backoff([died(1, at=0, **nothing)], now_ecs=SOON)
    assert backoff.streak == 1
    assert backoff.retry_at < 2


def test_an_end_ahead_of_our_clock_makes_no_wait_longer_than_its_delay() -> None:
    backoff = death_backoff([died(1, at=50)], now_ecs=T0)
    assert 0.9 <= wait_after(backoff, at=0) <= 1.1


@pytest.mark.parametrize(
    ("attempt", "delay"), [(1, 2.0), (2, 6.0), (3, 18.0), (4, 50.0), (100_000, 50.0)]
)
def test_exponential_grows_to_its_bound(attempt: int, delay: float) -> None:
    assert exponential(attempt, first=2, factor=3, most=50, jitter=0) == delay
    assert exponential(attempt, first=2, factor=3, most=50, jitter=1) == pytest.approx(delay * 1.1)
    assert exponential(attempt, first=2, factor=3, most=50, jitter=-1) == pytest.approx(delay * 0.9)


def test_exponential_may_stay_constant() -> None:
    assert exponential(1000, first=2, factor=1, most=2, jitter=0) == 2
    assert exponential(1000, first=2, factor=1, most=3, jitter=0) == 2


@pytest.mark.parametrize(
    ("attempt", "first", "factor", "most", "jitter"),
    [(0, 1, 2, 9, 0), (1, 0, 2, 9, 0), (1, 9, 2, 1, 0), (1, 1, 0.5, 9, 0), (1, 1, 2, 9, 1.5)],
)
def test_numbers_that_make_no_delay_are_refused(
    attempt: int, first: float, factor: float, most: float, jitter: float
) -> None:
    with pytest.raises(ValueError, match="no delay"):
        exponential(attempt, first=first, factor=factor, most=most, jitter=jitter)
