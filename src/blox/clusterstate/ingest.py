"""From the queue into the view: many receives at once, applied before they are removed.

    receive (several) → apply (one batch at a time, in order) → settle → remove (in the background)

A message is removed only after it is in the view, and, where there is a stored copy of the view,
after that has it too (`settled`). So a crash at any moment repeats messages and loses none, and
repeating changes nothing. Receiving does not wait for removal, until too many messages are applied
and not removed.

A message that is no event of ECS can never succeed: it is kept in memory for people to see, and
removed. The queue failing, or the stored copy, is a condition with a sentence; it ends by itself.
"""

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, Protocol

import structlog
from msgspec import Struct

from blox.base.ambient import Clock
from blox.base.backoff import exponential
from blox.base.errors import BloxError
from blox.base.tasks import TaskSet
from blox.clusterstate.counters import Counters
from blox.clusterstate.source import EventSource, M, QueueUnavailable
from blox.ecs.events import HostEvent, Ignored, Misunderstood, TaskEvent, read_event

RECEIVES: Final = 4
"""Receives under way at once, whether or not anything comes."""
MOST_RECEIVES: Final = 16
"""What a service that lives by its queue goes up to while messages wait."""
WORTH: Final = 5
"""Messages in one answer from which one more receive is worth its while: ten are the most that SQS
gives, and it often gives fewer although more wait."""
HELD: Final = 10_000
"""Messages that are applied and not yet removed, at most: receiving waits then."""
REMOVALS: Final = 4
"""Removals in the background at once; what is applied meanwhile goes with the next."""
SLICE: Final = 0.005
"""Seconds of applying after which everything else has its turn."""
SETTLES_WITHIN: Final = 20.0
"""Seconds until settling counts as failed. A message that was received comes again 30 s later
unless its queue says otherwise, so that there is little use in waiting longer."""
LAST_SETTLE: Final = 4.0
"""Seconds until settling is tried again, at the most: what is received meanwhile is held."""
LEAVING: Final = 1.5
"""Seconds that closing waits for the removal of what is applied."""
DEPTH_EVERY: Final = 30.0
"""Seconds between two questions how many messages wait."""
KEPT: Final = 100
"""Rejected messages that are kept."""
KEPT_BYTES: Final = 16_384
"""Of each one's body."""
FIRST_RETRY: Final = 1.0
LAST_RETRY: Final = 60.0
_KINDS: Final = 100
"""Different reasons that are logged at most."""

_log = structlog.get_logger("blox.clusterstate")


class Rejected(Struct, frozen=True, kw_only=True):
    """A message that could not be understood or applied."""

    id: str
    reason: str
    body: bytes
    """Its first 16 kB."""
    size: int
    """Bytes of the whole body."""
    at: float
    """When, by this machine's clock, seconds since 1970-01-01 UTC."""


class Intake(Protocol):
    """What `blox.clusterstate.view.View` offers to a queue."""

    counters: Counters

    def apply(self, event: TaskEvent | HostEvent) -> str:
        """Apply one event."""
        ...

    def queue_flows(self, *, flowing: bool) -> None:
        """Whether the queue is being read."""
        ...


class Ingest(Generic[M]):
    """Feeds one view from one queue."""

    def __init__(
        self,
        view: Intake,
        source: EventSource[M],
        clock: Clock,
        *,
        receives: int = RECEIVES,
        whole: bool = False,
        settled: Callable[[], Awaitable[None]] | None = None,
        ask_depth: bool = False,
    ) -> None:
        """`receives`: how many receives are under way at most; more than `RECEIVES` are while
        messages wait. `whole`: documents carry the account as it was sent. `settled()` returns when
        all that was applied before it was called is stored, and raises BloxError when it cannot be.
        `ask_depth`: ask every 30 s how many messages wait."""
        self._view = view
        self._source = source
        self._clock = clock
        self._most = receives
        self._started = 0
        self._whole = whole
        self._settled = settled
        self._ask_depth = ask_depth
        self._depth: int | None = None
        self._rejected: deque[Rejected] = deque(maxlen=KEPT)
        self._logged: set[str] = set()
        self._unread: str | None = None
        self._unsettled: str | None = None
        self._undeleted: str | None = None
        self._applying = asyncio.Lock()
        self._applied: list[M] = []
        self._some = asyncio.Event()
        self._held = 0
        self._room, self._none = asyncio.Event(), asyncio.Event()
        self._room.set()
        self._none.set()
        self._removing = asyncio.Semaphore(REMOVALS)
        self._tasks = TaskSet("ingest")
        self._receivers: dict[asyncio.Task[None], None] = {}

    @property
    def condition(self) -> str | None:
        """Why the queue cannot be read, or nothing be removed from it; None while both work, or
        have not been tried."""
        return self._unread or self._unsettled or self._undeleted

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """The last messages that were rejected, oldest first."""
        return tuple(self._rejected)

    @property
    def depth(self) -> int | None:
        """About how many messages waited in the queue at most 30 s ago; None where that is not
        known."""
        return self._depth

    @property
    def receives(self) -> int:
        """How many receives are under way, or being applied."""
        return len(self._receivers)

    @property
    def held(self) -> int:
        """How many messages are applied and not yet removed."""
        return self._held

    async def run(self) -> None:
        """Receive until cancelled. Raises BackgroundTaskEnded when a part of it has broken."""
        self._tasks.start(self._remove_applied(), name="remove", eternal=True)
        if self._ask_depth:
            self._tasks.start(self._watch_depth(), name="depth", eternal=True)
        for _ in range(min(RECEIVES, self._most)):
            self._start_receiver(extra=False)
        await self._tasks.watch()

    async def close(self, *, patience: float = LEAVING) -> None:
        """Stop receiving. What is applied is removed where that takes no longer than `patience`
        seconds; what is not removed comes again."""
        receivers = list(self._receivers)
        for task in receivers:
            task.cancel()
        if receivers:
            await asyncio.wait(receivers)
        if patience > 0 and len(self._tasks):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._none.wait()
        await self._tasks.close()
        await self._source.close()

    # --- Receiving --------------------------------------------------------------------------------

    def _start_receiver(self, *, extra: bool) -> None:
        self._started += 1
        task = self._tasks.start(
            self._receive(extra=extra), name=f"receive {self._started}", eternal=not extra
        )
        self._receivers[task] = None
        task.add_done_callback(lambda ended: self._receivers.pop(ended, None))

    async def _receive(self, *, extra: bool) -> None:
        """`extra`: only for as long as much comes."""
        failures = 0
        while True:
            await self._room.wait()
            try:
                messages = await self._source.receive()
            except QueueUnavailable as error:
                failures += 1
                self._failed(error.message)
                if extra:
                    return
                await asyncio.sleep(_pause(failures))
                continue
            failures = 0
            self._recovered()
            much = len(messages) >= WORTH
            if much and len(self._receivers) < self._most:
                self._start_receiver(extra=True)
            if messages:
                await self._take(messages)
            if extra and not much:
                return

    async def _take(self, messages: Sequence[M]) -> None:
        """Apply these, after all that came before."""
        async with self._applying:
            since = self._clock.monotonic()
            for message in messages:
                self._apply(message)
                if self._clock.monotonic() - since >= SLICE:
                    await asyncio.sleep(0)
                    since = self._clock.monotonic()
            self._applied += messages
            self._hold(len(messages))
            self._some.set()

    def _apply(self, message: M) -> None:
        try:
            event = read_event(message.body, whole=self._whole)
            if isinstance(event, Ignored):
                self._view.counters.events_ignored += 1
            else:
                self._view.apply(event)
        except Misunderstood as error:
            self._reject(message, str(error))
        except Exception as error:  # noqa: BLE001 - one message must not stop all that follow it
            _log.exception("event not applied", message=message.id)
            self._reject(message, f"could not be applied: {error!r}")

    def _reject(self, message: M, reason: str) -> None:
        self._view.counters.messages_rejected += 1
        self._rejected.append(
            Rejected(
                id=message.id,
                reason=reason,
                body=message.body[:KEPT_BYTES],
                size=len(message.body),
                at=self._clock.wall(),
            )
        )
        kind = _kind(reason)
        if kind not in self._logged and len(self._logged) < _KINDS:
            self._logged.add(kind)
            _log.warning("message rejected", message=message.id, reason=reason)

    def _failed(self, sentence: str) -> None:
        self._view.counters.queue_failures += 1
        if self._unread != sentence:
            _log.warning("queue unavailable", reason=sentence)
        self._unread = sentence
        self._view.queue_flows(flowing=False)

    def _recovered(self) -> None:
        if self._unread is not None:
            _log.info("queue available again")
        self._unread = None
        self._view.queue_flows(flowing=True)

    # --- Removing ---------------------------------------------------------------------------------

    async def _remove_applied(self) -> None:
        """Settle what is applied, remove it in the background, and again, for ever."""
        failures = 0
        while True:
            await self._some.wait()
            await self._removing.acquire()
            self._some.clear()
            taken, self._applied = self._applied, []
            if await self._settle():
                failures = 0
                self._tasks.start(self._remove(taken), name="remove messages")
                continue
            failures += 1
            self._removing.release()
            if self._held < HELD:
                self._applied = taken + self._applied
            else:  # Receiving is worth more than these: they come again, or their successors tell.
                self._hold(-len(taken))
            await asyncio.sleep(_pause(failures, most=LAST_SETTLE))
            self._some.set()  # Even if nothing comes any more.

    async def _settle(self) -> bool:
        """Whether all that was applied until now is stored, where it is to be."""
        if self._settled is None:
            return True
        try:
            async with asyncio.timeout(SETTLES_WITHIN):
                await self._settled()
        except BloxError as error:
            problem = error.message
        except TimeoutError:
            problem = f"The stored copy was not written within {SETTLES_WITHIN:g} s."
        else:
            if self._unsettled is not None:
                _log.info("messages are removed again")
            self._unsettled = None
            return True
        sentence = f"Nothing is removed from the queue until it is stored as well. {problem}"
        if self._unsettled != sentence:
            _log.warning("messages not stored", reason=problem)
        self._unsettled = sentence
        return False

    async def _remove(self, messages: Sequence[M]) -> None:
        """What cannot be removed comes again when the queue shows it again."""
        try:
            await self._source.delete(messages)
        except QueueUnavailable as error:
            self._view.counters.deletes_failed += 1
            if self._undeleted != error.message:
                _log.warning("messages not removed", reason=error.message)
            self._undeleted = error.message
        else:
            self._undeleted = None
        finally:
            self._removing.release()
            self._hold(-len(messages))

    def _hold(self, more: int) -> None:
        self._held += more
        _set(self._room, on=self._held < HELD)
        _set(self._none, on=self._held == 0)

    # --- How much waits ---------------------------------------------------------------------------

    async def _watch_depth(self) -> None:
        while True:
            try:
                self._depth = await self._source.depth()
            except QueueUnavailable:
                self._depth = None  # Receiving says why.
            await asyncio.sleep(DEPTH_EVERY)


def _pause(failures: int, *, most: float = LAST_RETRY) -> float:
    return exponential(failures, first=FIRST_RETRY, factor=2.0, most=most)


def _set(event: asyncio.Event, *, on: bool) -> None:
    if on:
        event.set()
    else:
        event.clear()


def _kind(reason: str) -> str:
    """A reason without what differs from message to message."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|arn:\S+|\d+", "…", reason)
