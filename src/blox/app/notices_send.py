"""How notices leave: one bounded queue and one sender for each receiver.

Nothing ever waits for a receiver: `Outbox.put` only appends. Each receiver gets its notices in the
order in which they were made, one at a time, and the next only when the one before was taken or
given up. A receiver that is down costs memory for at most `limit` notices, and others nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

import structlog

from blox.app.notices_bodies import Parcel
from blox.base.ambient import Clock, Entropy
from blox.base.backoff import exponential
from blox.settings import NoticeSettings

FIRST_RETRY: Final = 1.0
LAST_RETRY: Final = 60.0
"""Seconds until a receiver is tried again; doubles in between."""
LONGEST_ASKED: Final = 300.0
"""Seconds that a receiver may ask us to wait."""

_log = structlog.get_logger("blox.notices")


class Outcome(StrEnum):
    """What became of one attempt."""

    SENT = "sent"
    AGAIN = "again"
    """The receiver, or the way to it, is in trouble: the same is sent again."""
    REFUSED = "refused"
    """The receiver does not want this notice, and never will."""


class Tried(NamedTuple):
    """One attempt."""

    outcome: Outcome
    why: str = ""
    """For people; never holds a secret."""
    wait: float = 0.0
    """Seconds for which the receiver asked to be left alone."""


class Fate(StrEnum):
    """What became of a notice: a metric's label."""

    SENT = "sent"
    REFUSED = "refused"
    DROPPED = "dropped"
    """Pushed out by newer ones while the receiver did not take any."""
    EXPIRED = "expired"
    """Not taken for so long that nobody needs it any more."""


class Receiver(Protocol):
    """Somebody who is told. `send` takes one notice once and never raises for the receiver's or
    the network's sake."""

    @property
    def label(self) -> str:
        """Its name in logs and metrics; holds no secret."""
        ...

    async def send(self, parcel: Parcel) -> Tried: ...

    async def close(self) -> None: ...


class Outbox:
    """One receiver's notices that have not been taken yet."""

    def __init__(
        self,
        receiver: Receiver,
        *,
        clock: Clock,
        entropy: Entropy,
        settings: NoticeSettings,
        count: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        """`count(label, fate)`: told what became of each notice."""
        self.receiver = receiver
        self._clock = clock
        self._entropy = entropy
        self._settings = settings
        self._count = count
        self._waiting: deque[tuple[float, Parcel]] = deque()
        self._current: tuple[float, Parcel] | None = None
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._failures = 0
        self._overflowed = False

    def __len__(self) -> int:
        """How many notices have not been taken yet, the one that is being sent included."""
        return len(self._waiting) + (self._current is not None)

    def put(self, parcel: Parcel) -> None:
        """Have it sent after all that came before. The oldest that waits goes when there is no room
        left."""
        if len(self._waiting) >= self._settings.queue_limit:
            self._waiting.popleft()
            self._count(self.receiver.label, Fate.DROPPED)
            if not self._overflowed:
                self._overflowed = True
                _log.warning(
                    "notices are dropped",
                    receiver=self.receiver.label,
                    waiting=len(self._waiting) + 1,
                    meaning="it takes none; of those that wait, the oldest go first",
                )
        self._waiting.append((self._clock.monotonic(), parcel))
        self._empty.clear()
        self._filled.set()

    async def run(self) -> None:
        """Send what comes, for ever."""
        while True:
            if not self._waiting:
                self._overflowed = False
                self._empty.set()
                self._filled.clear()
                await self._filled.wait()
            self._current = self._waiting.popleft()
            await self._deliver(*self._current)
            self._current = None

    async def flush(self, patience: float) -> None:
        """Wait until everything was taken, at most so many seconds."""
        try:
            async with asyncio.timeout(patience):
                await self._empty.wait()
        except TimeoutError:
            _log.warning("notices were not sent", receiver=self.receiver.label, count=len(self))

    async def _deliver(self, made: float, parcel: Parcel) -> None:
        """Send one notice as often as it takes."""
        while self._clock.monotonic() - made < self._settings.kept_for:
            tried = await self._attempt(parcel)
            if tried.outcome is not Outcome.AGAIN:
                self._answered(parcel, tried)
                return
            self._failures += 1
            if self._failures == 1:
                _log.warning("notices do not get through", receiver=self._label, why=tried.why)
            await asyncio.sleep(max(self._backoff(), min(tried.wait, LONGEST_ASKED)))
        self._count(self._label, Fate.EXPIRED)
        _log.warning("notice given up", receiver=self._label, notice=parcel.id, kind=parcel.kind)

    async def _attempt(self, parcel: Parcel) -> Tried:
        try:
            return await self.receiver.send(parcel)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the scheduler
            return Tried(Outcome.AGAIN, type(error).__name__)

    def _answered(self, parcel: Parcel, tried: Tried) -> None:
        if self._failures:
            _log.info("notices get through again", receiver=self._label)
        self._failures = 0
        if tried.outcome is Outcome.SENT:
            self._count(self._label, Fate.SENT)
            return
        self._count(self._label, Fate.REFUSED)
        _log.warning(
            "notice refused",
            receiver=self._label,
            notice=parcel.id,
            kind=parcel.kind,
            why=tried.why,
            meaning="it is not sent again",
        )

    def _backoff(self) -> float:
        jitter = self._entropy.uniform(-1.0, 1.0)
        return exponential(
            self._failures, first=FIRST_RETRY, factor=2.0, most=LAST_RETRY, jitter=jitter
        )

    @property
    def _label(self) -> str:
        return self.receiver.label
