"""A `Cloud` that lives on the running event loop: its calendar becomes timers, its events go out.

Everything that talks to one cloud in process (transports, feeds, the workload) shares one of these.
"""

import asyncio
from collections.abc import Callable

from blox.simulator.cloud import Cloud
from blox.simulator.model import Json

Listener = Callable[[list[Json]], None]


class LiveCloud:
    """Drives a cloud by the loop's time. ECS's clock is `epoch` + loop time: nothing that happens
    to a caller's clocks changes it."""

    def __init__(self, cloud: Cloud, *, epoch: float = 1_750_000_000.0) -> None:
        self.cloud = cloud
        self.epoch = epoch
        self._listeners: list[Listener] = []
        self._observers: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def now(self) -> float:
        """ECS's clock, seconds since 1970-01-01 UTC."""
        return self.epoch + asyncio.get_running_loop().time()

    def subscribe(self, listener: Listener) -> None:
        """Hand every event's envelope to `listener`, in the order of change."""
        self._listeners.append(listener)

    def observe(self, observer: Callable[[], None]) -> None:
        """Call `observer` whenever something may have changed."""
        self._observers.append(observer)

    def settle(self) -> None:
        """Let the cloud catch up with the clock, hand out its events, and wake up when something
        is next due. To be called after every change made to the cloud."""
        self._catch_up(self.now())

    def close(self) -> None:
        """The cloud stands still from now on."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _catch_up(self, now: float) -> None:
        self.cloud.advance(now)
        events = self.cloud.take_events()
        if events:
            for listener in self._listeners:
                listener(events)
        for observer in self._observers:
            observer()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.cloud.next_due()
        if due is not None and not self._closed:
            loop = asyncio.get_running_loop()
            # The sum of epoch and loop time is rounded: what was due may seem a hair away.
            self._timer = loop.call_at(
                due - self.epoch, lambda: self._catch_up(max(due, self.now()))
            )
