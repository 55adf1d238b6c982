"""How long a daemon that dies young is left alone, told by its stopped tasks alone.

ECS shows a stopped task for at least an hour, so nothing has to be stored and a restart changes
nothing: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
"""

import zlib
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from blox.base.backoff import exponential
from blox.ecs.model import Task

FIRST_DELAY: Final = 1.0
"""Seconds after the first young death; each further one doubles it."""
RAN_WELL: Final = 10.0
"""A daemon that was RUNNING for so many seconds, and for as long as the last delay, ran well."""

_ENDED_BY_OTHERS: Final = frozenset(
    {"UserInitiated", "ServiceSchedulerInitiated", "SpotInterruption", "TerminationNotice"}
)
"""https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html, stopCode"""
_HOST_ENDED: Final = "Host EC2"
"""How the stoppedReason begins when the machine was stopped or terminated under the task:
https://repost.aws/knowledge-center/ecs-task-stopped"""


class Backoff(Struct, frozen=True, kw_only=True):
    """When a slot's daemon may be started again."""

    streak: int = 0
    """Young deaths in a row; 0: at once."""
    retry_at: float = 0.0
    """Not before this, by ECS's clock, in seconds since 1970-01-01 UTC."""
    last_death: Task | None = None
    """The last task that ended by itself, young or not."""


def death_backoff(stopped: Sequence[Task], *, now_ecs: float, max_delay: float = 300.0) -> Backoff:
    """The back-off that a slot's stopped tasks amount to. Pass those of one revision only: another
    begins with a streak of 0.

    A death before the daemon had been RUNNING for max(10 s, the last delay) adds to the streak;
    streak n means min(2^(n-1) s, `max_delay`), 10 % more or less, after the end of the last. A
    death after having run well ends the streak: restart at once.

    A task that StopTask ended, a service, or the end of its machine neither adds to the streak nor
    ends it. It tells nothing about the daemon: counted as young it would punish an operator's
    restart; counted as well it would let a stop cut short the back-off of one that keeps crashing.
    """
    streak, delay = 0, 0.0
    last: Task | None = None
    for task in sorted(stopped, key=_began):
        if task.live or _ended_by_others(task):
            continue
        last = task
        if _ran_for(task) >= max(RAN_WELL, delay):
            streak, delay = 0, 0.0
        else:
            streak += 1
            delay = _delay(streak, max_delay, jitter=0.0)
    if last is None:
        return Backoff()
    # The end by ECS's clock may lie a little ahead of our estimate, which is a lower bound; no
    # slot waits longer than its delay for that.
    ended = min(_ended(last), now_ecs)
    if streak == 0:
        return Backoff(retry_at=ended, last_death=last)
    wait = _delay(streak, max_delay, jitter=_jitter(last.arn))
    return Backoff(streak=streak, retry_at=ended + wait, last_death=last)


def _delay(streak: int, max_delay: float, *, jitter: float) -> float:
    if max_delay <= 0:
        return 0.0
    first = min(FIRST_DELAY, max_delay)
    return exponential(streak, first=first, factor=2.0, most=max_delay, jitter=jitter)


def _ended_by_others(task: Task) -> bool:
    return task.stop_code in _ENDED_BY_OTHERS or task.stopped_reason.startswith(_HOST_ENDED)


def _first(*times: float | None) -> float | None:
    """The first that is known."""
    return next((time for time in times if time is not None), None)


def _began(task: Task) -> tuple[float, str]:
    """Order of life; the ARN settles ties."""
    return (_first(task.created_at, task.started_at, _ended(task)) or 0.0, task.arn)


def _ended(task: Task) -> float:
    """When the task ended, or the latest time known of it."""
    ended = _first(task.stopped_at, task.stopping_at, task.started_at, task.created_at)
    return 0.0 if ended is None else ended


def _ran_for(task: Task) -> float:
    """Seconds that it was RUNNING; 0 where that cannot be told, since the other guess could start a
    daemon that crashes at once as fast as ECS allows."""
    until = _first(task.stopping_at, task.stopped_at)
    if task.started_at is None or until is None:
        return 0.0
    return max(0.0, until - task.started_at)


def _jitter(arn: str) -> float:
    """A number in [-1, 1] that the ARN decides: the same in every process, unlike `hash`."""
    return zlib.crc32(arn.encode()) / 0xFFFFFFFF * 2 - 1
