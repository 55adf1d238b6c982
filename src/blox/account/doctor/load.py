"""What running blox costs in calls: sweeps of ECS, which are free and limited, and requests to SQS,
which are paid for.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from blox.account.surveyed import Survey
from blox.ecs.model import STOPPED
from blox.settings import PacingSettings, ViewSettings

PAGE: Final = 100
"""Items that a list or a describe of a sweep answers at most."""
RECEIVES: Final = 4
"""Receives that the scheduler has under way at the queue."""
WAIT: Final = 20
"""Seconds that each of them waits for a message."""
QUOTA: Final = 20.0
"""Reads of clusters' resources a second that an account has in a region.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html"""
DAY: Final = 86_400.0
MONTH: Final = 30
"""Days."""
PRICE: Final = 0.40
"""US dollars for a million requests to a standard queue, in us-east-1 and most regions, beyond the
first million of a month, which costs nothing. https://aws.amazon.com/sqs/pricing/"""
FREE: Final = 1_000_000
"""Requests a month."""


class Load(Struct, frozen=True, kw_only=True):
    """Calls to ECS for the sweeps of some clusters."""

    clusters: int
    calls: int
    """One sweep of each."""
    interval: float
    """Seconds from one sweep to the next."""
    a_day: int
    share: float
    """Of the account's quota for reads of clusters' resources in this region: 0 to 1."""


def sweep_calls(survey: Survey) -> int:
    """How many calls one sweep of this cluster takes; 0 when it could not be read completely."""
    lists = ("ListContainerInstances", "ListTasks", "DescribeTasks")
    if any(survey.not_read(operation) is not None for operation in lists):
        return 0
    hosts = len(survey.hosts)
    stopped = sum(1 for item in survey.tasks if item.task.desired_status == STOPPED)
    running = len(survey.tasks) - stopped
    return (
        1
        + _pages(hosts, least=1)
        + _pages(hosts)
        + _pages(running, least=1)
        + _pages(stopped, least=1)
        + _pages(len(survey.tasks))
    )


def _pages(items: int, *, least: int = 0) -> int:
    return max(least, -(-items // PAGE))


def load_of(
    surveys: Sequence[Survey], *, queue: bool, view: ViewSettings, pacing: PacingSettings
) -> Load | None:
    """Of the clusters that could be read; None when there is none."""
    calls = [number for number in map(sweep_calls, surveys) if number]
    if not calls:
        return None
    total = sum(calls)
    interval = view.sweep_interval_without_queue
    rate = pacing.read_rate_without_queue
    if queue:
        interval = view.sweep_interval_with_queue
        rate = QUOTA * pacing.read_share
    # A sweep begins no sooner than twice the time after the last one's begin that that one took.
    interval = max(interval, 2 * total / rate)
    resources = total - len(calls)
    return Load(
        clusters=len(calls),
        calls=total,
        interval=interval,
        a_day=round(total * DAY / interval),
        share=resources / interval / QUOTA,
    )


def idle_requests() -> int:
    """Requests to SQS a month that waiting for messages takes when none come."""
    return round(RECEIVES * DAY / WAIT * MONTH)


def price_of(requests: int) -> float:
    """US dollars a month, if nothing else of the account uses SQS."""
    return max(0, requests - FREE) / 1e6 * PRICE
