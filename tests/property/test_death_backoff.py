"""Whatever the history, the back-off stays within its bounds and depends on the deaths alone."""

import random

from hypothesis import given
from hypothesis import strategies as st

from blox.base.backoff import exponential
from blox.ecs.model import Task
from blox.scheduler.backoff import death_backoff

T0 = 1_750_000_000.0
NOW = T0 + 4000
TIME = st.one_of(st.none(), st.integers(0, 3600).map(lambda second: T0 + second))
STOPPED = st.lists(
    st.builds(
        Task,
        arn=st.integers(0, 10**6).map(lambda n: f"arn:aws:ecs:eu-west-1:1:task/demo/{n:032x}"),
        cluster_arn=st.just("cluster"),
        last_status=st.sampled_from(["STOPPED", "STOPPED", "STOPPED", "DELETED", "RUNNING"]),
        created_at=TIME,
        started_at=TIME,
        stopping_at=TIME,
        stopped_at=TIME,
        stop_code=st.sampled_from(
            ["EssentialContainerExited", "TaskFailedToStart", "", "UserInitiated"]
        ),
        stopped_reason=st.sampled_from(["", "Host EC2 (instance i-1) terminated."]),
    ),
    max_size=12,
    unique_by=lambda task: task.arn,
)


@given(STOPPED, st.floats(0, 1000))
def test_the_wait_is_bounded_and_ends(stopped: list[Task], max_delay: float) -> None:
    backoff = death_backoff(stopped, now_ecs=NOW, max_delay=max_delay)
    assert backoff.retry_at <= NOW + max_delay * 1.1
    assert backoff.streak <= sum(not task.live for task in stopped)
    assert backoff.last_death is None or backoff.last_death in stopped
    later = death_backoff(stopped, now_ecs=NOW + 1000, max_delay=max_delay)
    assert later == backoff, "waiting does not put off the end of the wait"


@given(STOPPED, st.randoms(use_true_random=False))
def test_order_does_not_matter(stopped: list[Task], chance: random.Random) -> None:
    shuffled = list(stopped)
    chance.shuffle(shuffled)
    assert death_backoff(shuffled, now_ecs=NOW) == death_backoff(stopped, now_ecs=NOW)


@given(STOPPED)
def test_ends_that_others_caused_change_nothing(stopped: list[Task]) -> None:
    own = [
        task
        for task in stopped
        if not task.live and task.stop_code != "UserInitiated" and not task.stopped_reason
    ]
    assert death_backoff(stopped, now_ecs=NOW) == death_backoff(own, now_ecs=NOW)


@given(
    attempt=st.integers(1, 10**9),
    first=st.floats(1e-3, 100),
    factor=st.floats(1, 10),
    times=st.floats(1, 1e6),
    jitter=st.floats(-1, 1),
)
def test_exponential_is_bounded_and_never_falls(
    attempt: int, first: float, factor: float, times: float, jitter: float
) -> None:
    most = first * times
    delay = exponential(attempt, first=first, factor=factor, most=most, jitter=jitter)
    assert first * 0.9 <= delay * 1.000001
    assert delay <= most * 1.1 * 1.000001
    plain = exponential(attempt, first=first, factor=factor, most=most, jitter=0)
    following = exponential(attempt + 1, first=first, factor=factor, most=most, jitter=0)
    assert following >= plain * 0.999999
