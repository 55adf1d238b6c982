"""Token buckets that keep blox below its share of the account's request quotas.

ECS counts requests per account, region and *category* of operations, each category with a bucket of
its own: it holds `burst` tokens and refills at `rate` tokens a second
(https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html). One `Pacer`
serves one account and region; everything that calls ECS there shares it. Its buckets are the share
(settings) of ECS's: smaller, slower, and empty at start, because a process that has just crashed
may have emptied ECS's.

Three kinds of calls wait for tokens. Repairs (starts where nothing runs, surplus and drain stops)
and rollouts (replacements) draw on ONE bucket of the larger share, repairs first; a second, smaller
bucket bounds rollouts alone. Reads draw on the buckets of the read categories. Within a kind the
order is that of arrival. A call that ECS throttles all the same halves the rate, which comes back
by 5 % of the share each second without another.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from blox.base.ambient import Clock
from blox.settings import PacingSettings


class Category(StrEnum):
    """ECS's quota categories that blox uses."""

    RESOURCE_MODIFY = "cluster-resource-modify"
    RESOURCE_READ = "cluster-resource-read"
    CLUSTER_READ = "cluster-read"
    DEFINITION_READ = "task-definition-read"
    SERVICE_READ = "service-read"


class Kind(StrEnum):
    """What a call is for. Order matters: of those that wait, the first kind goes first."""

    REPAIR = "repair"
    ROLLOUT = "rollout"
    READ = "read"


PUBLISHED: Final = {
    Category.RESOURCE_MODIFY: (100.0, 40.0),
    Category.RESOURCE_READ: (100.0, 20.0),
    Category.CLUSTER_READ: (50.0, 20.0),
    Category.DEFINITION_READ: (50.0, 20.0),
    Category.SERVICE_READ: (100.0, 20.0),
}
"""Burst and refill a second, as AWS publishes them."""

CATEGORY_OF: Final = {
    "StartTask": Category.RESOURCE_MODIFY,
    "StopTask": Category.RESOURCE_MODIFY,
    "PutAttributes": Category.RESOURCE_MODIFY,
    "DeleteAttributes": Category.RESOURCE_MODIFY,
    "ListContainerInstances": Category.RESOURCE_READ,
    "DescribeContainerInstances": Category.RESOURCE_READ,
    "ListTasks": Category.RESOURCE_READ,
    "DescribeTasks": Category.RESOURCE_READ,
    "DescribeClusters": Category.CLUSTER_READ,
    "ListClusters": Category.CLUSTER_READ,
    "DescribeCapacityProviders": Category.CLUSTER_READ,
    "DescribeTaskDefinition": Category.DEFINITION_READ,
    "DescribeServices": Category.SERVICE_READ,
    "ListServices": Category.SERVICE_READ,
}
"""Where each call counts. AWS's list has no place for DescribeCapacityProviders: it is taken for a
cluster read, the smallest of the read buckets."""

RECOVERY: Final = 0.05
"""Part of the full rate that comes back each second without a throttle."""
SLOWEST: Final = 1 / 16
"""Halving ends here, so that nobody waits for ever."""
SAME_THROTTLE: Final = 1.0
"""Calls that were in flight together are throttled together: one halving in so many seconds."""
_SLACK: Final = 1e-9
"""Rounding of sums of tokens; far below one."""
_SHORTEST_TIMER: Final = 0.001


class PacingWatcher(Protocol):
    """Told what pacing does, for metrics. Called synchronously; must not raise."""

    def granted(self, category: Category, kind: Kind, waited: float) -> None:
        """A call may go, `waited` seconds after it asked."""
        ...

    def throttled(self, category: Category, factor: float) -> None:
        """ECS throttled a call; the rate is now `factor` of the full one."""
        ...


@dataclass(slots=True)
class Bucket:
    """Tokens at a moment. `capacity` bounds them, `rate` refills them each second."""

    capacity: float
    rate: float
    level: float = 0.0

    @property
    def ready(self) -> bool:
        return self.level >= 1.0 - _SLACK

    def refill(self, full_seconds: float) -> None:
        """Add what `full_seconds` at the full rate give."""
        self.level = min(self.capacity, self.level + self.rate * full_seconds)

    def missing(self) -> float:
        """Seconds at the full rate until there is a token."""
        return max(0.0, 1.0 - self.level) / self.rate


@dataclass(slots=True)
class _Throttle:
    """The part of the full rate that is in force, and how it grows back."""

    factor: float = 1.0
    since: float = 0.0
    last: float | None = None
    """When ECS last throttled a call (monotonic)."""
    halved: float | None = None
    """When the factor was last halved."""

    def at(self, now: float) -> float:
        return min(1.0, self.factor + RECOVERY * (now - self.since))

    def full_seconds(self, begin: float, end: float) -> float:
        """The integral of the factor from `begin` to `end`: seconds at the full rate."""
        whole_from = self.since + (1.0 - self.factor) / RECOVERY
        turn = min(max(whole_from, begin), end)
        slow = (self.at(begin) + self.at(turn)) / 2 * (turn - begin)
        return slow + (end - turn)


@dataclass(slots=True)
class _Waiter:
    future: "asyncio.Future[None]"
    asked: float


@dataclass(slots=True)
class _Lane:
    """One category: the bucket that its kinds share, a bucket of its own for rollouts."""

    shared: Bucket
    rollouts: Bucket
    refilled: float | None = None
    """Up to when tokens were added (monotonic); None before the first use."""
    throttle: _Throttle = field(default_factory=_Throttle)
    queues: dict[Kind, deque[_Waiter]] = field(
        default_factory=lambda: {kind: deque() for kind in Kind}
    )
    timer: asyncio.TimerHandle | None = None

    def buckets(self, kind: Kind) -> tuple[Bucket, ...]:
        return (self.shared, self.rollouts) if kind is Kind.ROLLOUT else (self.shared,)

    def refill(self, now: float) -> None:
        if self.refilled is None:
            self.refilled = now
        if now <= self.refilled:
            return
        seconds = self.throttle.full_seconds(self.refilled, now)
        self.shared.refill(seconds)
        self.rollouts.refill(seconds)
        self.refilled = now


class Pacer:
    """Grants calls to one account and region. `fraction` is this process's part of the shares,
    below 1 when several processes act there."""

    def __init__(
        self,
        clock: Clock,
        settings: PacingSettings | None = None,
        *,
        fraction: float = 1.0,
        read_rate: float | None = None,
        watcher: PacingWatcher | None = None,
    ) -> None:
        """`read_rate`: at most so many reads of container instances and tasks a second (where
        sweeps are all there is); None leaves it at the share."""
        self._clock = clock
        self._settings = settings or PacingSettings()
        self._fraction = fraction
        self._read_rate = read_rate
        self._watcher = watcher
        self._lanes = {category: self._lane(category) for category in Category}

    def _lane(self, category: Category) -> _Lane:
        burst, rate = self._settings.rates.get(category.value, PUBLISHED[category])
        acts = category is Category.RESOURCE_MODIFY
        share = self._settings.repair_share if acts else self._settings.read_share
        rollout = min(share, self._settings.rollout_share)
        refill = share * rate * self._fraction
        if category is Category.RESOURCE_READ and self._read_rate is not None:
            refill = min(refill, self._read_rate)
        return _Lane(
            _bucket(share * burst * self._fraction, refill),
            _bucket(rollout * burst * self._fraction, rollout * rate * self._fraction),
        )

    async def acquire(self, category: Category, kind: Kind) -> None:
        """Wait for a token of `category`. A caller that is cancelled takes none."""
        lane = self._lanes[category]
        waiter = _Waiter(asyncio.get_running_loop().create_future(), self._clock.monotonic())
        lane.queues[kind].append(waiter)
        self._serve(category)
        try:
            await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled():
                for bucket in lane.buckets(kind):
                    bucket.level = min(bucket.capacity, bucket.level + 1.0)
            else:
                with suppress(ValueError):
                    lane.queues[kind].remove(waiter)
            self._serve(category)
            raise
        if self._watcher is not None:
            self._watcher.granted(category, kind, self._clock.monotonic() - waiter.asked)

    def throttled(self, category: Category) -> None:
        """ECS throttled a call of `category`: halve its rate, and expect nothing in the bucket."""
        lane = self._lanes[category]
        now = self._clock.monotonic()
        lane.refill(now)
        lane.shared.level = min(lane.shared.level, 0.0)
        lane.rollouts.level = min(lane.rollouts.level, 0.0)
        throttle = lane.throttle
        if throttle.halved is None or now - throttle.halved >= SAME_THROTTLE:
            throttle.factor = max(SLOWEST, throttle.at(now) / 2)
            throttle.halved = now
        # Otherwise nothing has come back since: recovery takes seconds without a throttle.
        throttle.since = throttle.last = now
        self._serve(category)
        if self._watcher is not None:
            self._watcher.throttled(category, throttle.factor)

    def throttled_recently(self, category: Category, *, within: float = 10.0) -> bool:
        """Whether ECS throttled a call of `category` in the last `within` seconds."""
        last = self._lanes[category].throttle.last
        return last is not None and self._clock.monotonic() - last <= within

    def factor(self, category: Category) -> float:
        """The part of the full rate that is in force, 1 when ECS throttles nothing."""
        return self._lanes[category].throttle.at(self._clock.monotonic())

    def waiting(self, category: Category, kind: Kind) -> int:
        """How many calls wait for a token."""
        return len(self._lanes[category].queues[kind])

    def _serve(self, category: Category) -> None:
        """Grant what can be granted now, and set a timer for the next."""
        lane = self._lanes[category]
        lane.refill(self._clock.monotonic())
        for kind in Kind:
            queue, buckets = lane.queues[kind], lane.buckets(kind)
            while queue and all(bucket.ready for bucket in buckets):
                waiter = queue.popleft()
                if waiter.future.done():
                    continue
                for bucket in buckets:
                    bucket.level -= 1.0
                waiter.future.set_result(None)
        if lane.timer is not None:
            lane.timer.cancel()
            lane.timer = None
        waits = [
            max(bucket.missing() for bucket in lane.buckets(kind))
            for kind in Kind
            if lane.queues[kind]
        ]
        if waits:
            # At the rate in force now: recovery can only make the token come sooner, and the
            # timer's look finds out.
            factor = lane.throttle.at(self._clock.monotonic())
            delay = max(min(waits) / factor, _SHORTEST_TIMER)
            lane.timer = asyncio.get_running_loop().call_later(delay, self._serve, category)


def _bucket(capacity: float, rate: float) -> Bucket:
    """A bucket that can hold at least one token, or nothing would ever pass."""
    if rate <= 0:
        raise ValueError("a share of nothing would wait for ever")
    return Bucket(max(1.0, capacity), rate)
