"""Keys that somebody should look at, each handed to one worker at a time.

A key that is added many times before a worker takes it is handed out once; a key that is added
while a worker holds it is handed out once more after that worker is done. So two passes over the
same key never overlap, and no reason for a pass is lost, because a pass begins after it was added.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_FEW: Final = 64
"""So many outdated appointments are not worth removing."""
_LONGEST_TIMER: Final = 3600.0
"""Seconds. Event loops refuse timers that are very long; this one is set again until it is time."""


class QueueClosed(Exception):
    """The queue hands out nothing any more."""


class KeyQueue(Generic[K]):
    """First added, first handed out. For the tasks of one event loop.

    Holds at most one place and one appointment for each key. `now` reads the monotonic clock that
    `add_at` means, in seconds; by default that of the running loop.
    """

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._now = now
        self._ready: deque[K] = deque()
        self._queued: set[K] = set()
        self._held: set[K] = set()
        self._again: set[K] = set()
        self._due: dict[K, float] = {}
        # An appointment here counts only while `_due` holds the same time for its key.
        self._appointments: list[tuple[float, int, K]] = []
        self._sequence = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def __len__(self) -> int:
        """How many keys could be handed out now."""
        return len(self._ready)

    @property
    def held(self) -> int:
        """How many keys are being worked on."""
        return len(self._held)

    def next_due(self, key: K) -> float | None:
        """The time for which `add_at` will add `key`, if any."""
        return self._due.get(key)

    def add(self, key: K) -> None:
        """Have `key` looked at: now, or right after its present look. Nothing once closed."""
        if self._closed:
            return
        if key in self._held:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.append(key)
            self._wake()

    def add_at(self, key: K, when_mono: float) -> None:
        """Add `key` at a time; the earliest asked for counts, and later ones are forgotten.

        Whoever looks at a key asks for its next look again each time, so that nothing is missed.
        """
        if self._closed:
            return
        known = self._due.get(key)
        if known is not None and known <= when_mono:
            return
        if when_mono <= self._read_clock():
            self._due.pop(key, None)
            self.add(key)
            return
        self._due[key] = when_mono
        self._sequence += 1
        heapq.heappush(self._appointments, (when_mono, self._sequence, key))
        if len(self._appointments) > 2 * len(self._due) + _FEW:
            self._drop_outdated()
        self._set_timer()

    async def get(self) -> K:
        """The key that has waited longest; it is the caller's until `done`.

        A cancelled call has taken no key. Await it directly or inside `asyncio.timeout`: a task
        around it that is cancelled after its end takes the key along. Raises QueueClosed.
        """
        while not self._closed and not self._ready:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()  # pass on the call that this one will not answer
                else:
                    with suppress(ValueError):  # a call may have passed over it already
                        self._waiting.remove(waiter)
                raise
        if self._closed:
            raise QueueClosed
        key = self._ready.popleft()
        self._queued.discard(key)
        self._held.add(key)
        if self._ready:
            self._wake()
        return key

    def done(self, key: K) -> None:
        """Give `key` back; it comes again if it was added meanwhile.

        Raises ValueError when nobody holds it.
        """
        if key not in self._held:
            raise ValueError(f"{key!r} is not being worked on")
        self._held.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Hand out nothing any more: every `get`, present and future, raises QueueClosed."""
        self._closed = True
        self._ready.clear()
        self._queued.clear()
        self._again.clear()
        self._due.clear()
        self._appointments.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            self._wake()

    def _wake(self) -> None:
        """Have one waiting call look again."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _read_clock(self) -> float:
        return asyncio.get_running_loop().time() if self._now is None else self._now()

    def _set_timer(self) -> None:
        """One timer serves the earliest appointment."""
        while self._appointments and self._outdated(self._appointments[0]):
            heapq.heappop(self._appointments)
        first = self._appointments[0][0] if self._appointments else None
        if self._timer is not None:
            if self._timer_at == first:
                return
            self._timer.cancel()
            self._timer = None
        if first is not None:
            now = self._read_clock()
            self._timer_at = min(first, now + _LONGEST_TIMER)
            delay = max(0.0, self._timer_at - now)
            self._timer = asyncio.get_running_loop().call_later(delay, self._ring)

    def _ring(self) -> None:
        # The loop may call a little early by our clock; what it was set for is due all the same.
        limit = max(self._timer_at, self._read_clock())
        self._timer = None
        while self._appointments and self._appointments[0][0] <= limit:
            appointment = heapq.heappop(self._appointments)
            if not self._outdated(appointment):
                key = appointment[2]
                del self._due[key]
                self.add(key)
        self._set_timer()

    def _outdated(self, appointment: tuple[float, int, K]) -> bool:
        return self._due.get(appointment[2]) != appointment[0]

    def _drop_outdated(self) -> None:
        self._appointments = [a for a in self._appointments if not self._outdated(a)]
        heapq.heapify(self._appointments)
