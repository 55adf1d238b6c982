"""Answers without an end: what changes, told to everybody who follows, as it changes.

A *feed* numbers its changes. A watcher is nothing but the number that it has come to: what it has
not been given yet stays in the feed, so a slow one costs no memory, and one that comes back goes on
where it was. What the feed does not keep any more it cannot go on from; such a watcher is told to
list again (`reset`), and its stream ends.

Entries travel in chunks: whatever has changed since the last one, up to 64 kB. Watchers that follow
the same thing get the same chunk, encoded once.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec
import structlog

from blox.base.errors import Unavailable
from blox.http.forms import Form

MOST_BYTES: Final = 64 * 1024
"""Of one chunk; a single entry may be larger."""
HEARTBEAT: Final = 15.0
"""Seconds after which a watcher that was sent nothing is told that we are still there."""
MOST_WATCHERS: Final = 1000
"""Streams of one feed that are open at a time."""
FALLEN_BEHIND: Final = "This watcher has not seen changes that are no longer kept. List again."
TOO_SLOW: Final = "This watcher takes what it is sent too slowly. List again."
STUCK: Final = 1.0
"""Seconds for which one chunk may be on its way before `most_behind` counts: bursts are no
slowness."""
_SCANNED: Final = 2048
"""Entries that are looked at before others get their turn."""
_CHUNKS_SHARED: Final = 64
_HAIR: Final = 0.001
"""Timers fire a little early."""

E_co = TypeVar("E_co", covariant=True)
E = TypeVar("E")
_log = structlog.get_logger("blox.streams")


class Feed(Protocol[E_co]):
    """Changes in an order, each with a number that is greater than all before it."""

    @property
    def floor(self) -> int:
        """Who has come no further than below this has missed something that is not kept."""
        ...

    @property
    def last(self) -> int:
        """The number of the last change."""
        ...

    def after(self, position: int) -> Iterator[tuple[int, E_co]]:
        """The changes after this one that are kept, with their numbers. The feed must not change
        while it is being read."""
        ...

    async def news(self, position: int) -> None:
        """Wait until something has changed after that."""
        ...


class Shown(NamedTuple):
    """One entry as watchers get it."""

    event: str
    """What kind of entry it is."""
    data: bytes
    """JSON."""


@dataclass(frozen=True, slots=True)
class Selection(Generic[E]):
    """What a watcher wants to be told, and how."""

    key: Hashable
    """Selections with equal keys tell the same."""
    tell: Callable[[E, int], Shown | None]
    """What is told of an entry to somebody who was told everything up to that number when it was
    the newest; None: nothing."""
    covers: Callable[[E], bool] = lambda _: False
    """Whether an entry speaks of everything before it. A feed may leave out what has changed again
    since; so such an entry is told when all that is known has been, and until then nobody is given
    a place to go on from that is beyond it."""


class Place(NamedTuple):
    """How far a watcher has come."""

    position: int
    """The number up to which entries were told, but for those that are held back."""
    known: int
    """The position when nothing was left to be told the last time."""
    held: int | None = None
    """The place to go on from while entries are held back that cover others."""


class Chunk(NamedTuple):
    """What follows after some place, and where that leads."""

    data: bytes
    place: Place


class Watchers(Generic[E]):
    """All who follow one feed."""

    def __init__(
        self,
        feed: Feed[E],
        *,
        token: Callable[[int], str] = str,
        heartbeat: float = HEARTBEAT,
        most: int = MOST_WATCHERS,
        most_bytes: int = MOST_BYTES,
        most_behind: int | None = None,
        counted: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`token`: a number as clients give it back. `heartbeat`: seconds. `most`: streams at a
        time. `most_bytes`: of a chunk. `most_behind`: changes that may come while one chunk is
        stuck on its way. `counted` is told how many streams are open, at each change."""
        self.feed = feed
        self.token = token
        self.heartbeat = heartbeat
        self._most = most
        self._most_bytes = most_bytes
        self.most_behind = most_behind
        self._counted = counted
        self._joined: dict[Watcher[E], None] = {}
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._chunks: OrderedDict[tuple[Hashable, Form, Place, int], Chunk] = OrderedDict()
        self._pump: asyncio.Task[None] | None = None
        self.broken = False

    def __len__(self) -> int:
        """How many streams are open."""
        return len(self._joined)

    def watch(
        self, selection: Selection[E], form: Form, *, after: int, begin: bytes | None = None
    ) -> "Watcher[E]":
        """Follow from what comes after a number. `begin`: what is sent first; None: a heartbeat,
        in a form that has any. Raises Unavailable when too many streams are open."""
        if len(self._joined) >= self._most:
            raise Unavailable(
                f"{self._most} streams are open here, and more are not served. End some, or ask "
                "again a little later."
            )
        return Watcher(self, selection, form, after=after, begin=begin)

    # --- For watchers -----------------------------------------------------------------------------

    def join(self, watcher: "Watcher[E]") -> None:
        """A stream begins."""
        self._joined[watcher] = None
        self._counted(len(self._joined))
        if self._pump is None:
            self.broken = False
            self._pump = asyncio.create_task(self._tell_news(self.feed.last), name="streams/news")
            self._pump.add_done_callback(self._pump_ended)

    def leave(self, watcher: "Watcher[E]") -> None:
        """A stream has ended."""
        if self._joined.pop(watcher, 0) == 0:
            return
        self._counted(len(self._joined))
        if not self._joined:
            self._chunks.clear()
            if self._pump is not None:
                self._pump.cancel()
                self._pump = None

    async def waited(self, waiter: asyncio.Future[None]) -> None:
        """Wait until there is news, or somebody wakes this waiter."""
        self._waiting[waiter] = None
        try:
            await waiter
        finally:
            self._waiting.pop(waiter, None)

    def chunk(self, selection: Selection[E], form: Form, place: Place) -> Chunk:
        """What comes next after a place, for all who are there and want the same."""
        # As of now: what was encoded before the last change may tell what is no longer so.
        key = (selection.key, form, place, self.feed.last)
        found = self._chunks.get(key)
        if found is None:
            found = self._chunks[key] = self._encode(selection, form, place)
            if len(self._chunks) > _CHUNKS_SHARED:
                self._chunks.popitem(last=False)
        return found

    def _encode(self, selection: Selection[E], form: Form, place: Place) -> Chunk:
        lines: list[bytes] = []
        size, (upto, known, held) = 0, place
        for scanned, (number, entry) in enumerate(self.feed.after(place.position), start=1):
            if selection.covers(entry):
                if held is None and selection.tell(entry, known) is not None:
                    held = number - 1
            elif (told := selection.tell(entry, known)) is not None:
                line = form.line(
                    told.event, self.token(number if held is None else held), told.data
                )
                if lines and size + len(line) > self._most_bytes:
                    return Chunk(b"".join(lines), Place(upto, known, held))
                lines.append(line)
                size += len(line)
            upto = number
            if scanned >= _SCANNED and number < self.feed.last:
                return Chunk(b"".join(lines), Place(upto, known, held))
        last = self.feed.last
        if held is not None:
            lines += self._covering(selection, form, Place(last, known, held))
        return Chunk(b"".join(lines), Place(last, last))

    def _covering(self, selection: Selection[E], form: Form, place: Place) -> list[bytes]:
        """The entries that were held back, now that all others have been told."""
        assert place.held is not None
        found = [entry for _, entry in self.feed.after(place.held) if selection.covers(entry)]
        told = [one for entry in found if (one := selection.tell(entry, place.known)) is not None]
        tokens = [place.held] * (len(told) - 1) + [place.position]
        return [
            form.line(one.event, self.token(number), one.data)
            for one, number in zip(told, tokens, strict=False)
        ]

    # --- News -------------------------------------------------------------------------------------

    async def _tell_news(self, seen: int) -> None:
        while True:
            await self.feed.news(seen)
            seen = self.feed.last
            self._wake()

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _pump_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        _log.error("streams get no news any more", exc_info=task.exception())
        self.broken = True
        self._wake()


class Watcher(Generic[E]):
    """One stream: an iterator over chunks, which is closed when the client leaves. It counts from
    its first step on."""

    def __init__(
        self,
        watchers: Watchers[E],
        selection: Selection[E],
        form: Form,
        *,
        after: int,
        begin: bytes | None,
    ) -> None:
        self._watchers = watchers
        self._selection = selection
        self._form = form
        self._place = Place(after, after)
        self._begin = begin
        self._begun = False
        self._ended = False
        self._rested = True
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._given_at = 0.0
        self._given_last = after

    def __aiter__(self) -> "Watcher[E]":
        return self

    async def __anext__(self) -> bytes:
        """The next chunk."""
        if not self._begun:
            self._begun = True
            self._watchers.join(self)
            first = self._heartbeat() if self._begin is None else self._begin
            if first:
                return self._given(first)
        while not self._ended:
            sent = self._next()
            if sent:
                return self._given(sent)
            if self._place.position < self._watchers.feed.last:
                await asyncio.sleep(0)
            elif not self._ended:
                await self._wait()
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """The stream is over."""
        self._ended = self._begun = True
        self._watchers.leave(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self) -> bytes:
        """What is to be sent now; b"" for nothing."""
        feed = self._watchers.feed
        if self._place.position < feed.floor:
            return self._reset(FALLEN_BEHIND)
        if self._too_slow():
            return self._reset(TOO_SLOW)
        if self._watchers.broken:
            self._ended = True
            return b""
        if self._place.position < feed.last:
            data, self._place = self._watchers.chunk(self._selection, self._form, self._place)
            return data
        if self._form.speaks and asyncio.get_running_loop().time() >= self._due - _HAIR:
            return self._heartbeat()
        return b""

    def _too_slow(self) -> bool:
        """Whether too much has come while the last chunk was stuck on its way."""
        most = self._watchers.most_behind
        if most is None or self._rested:
            return False
        came = self._watchers.feed.last - self._given_last
        stuck = asyncio.get_running_loop().time() - self._given_at
        return came > most and stuck >= STUCK

    def _given(self, chunk: bytes) -> bytes:
        now = asyncio.get_running_loop().time()
        self._due = now + self._watchers.heartbeat
        self._given_at, self._given_last = now, self._watchers.feed.last
        self._rested = False
        return chunk

    def _heartbeat(self) -> bytes:
        if not self._form.speaks:
            return b""
        token = self._watchers.token(self._place.position)
        return self._form.line("heartbeat", token, msgspec.json.encode({"position": token}))

    def _reset(self, reason: str) -> bytes:
        """The last words: a form that has none just ends."""
        self._ended = True
        if not self._form.speaks:
            return b""
        token = self._watchers.token(self._watchers.feed.last)
        return self._form.line("reset", token, msgspec.json.encode({"reason": reason}))

    async def _wait(self) -> None:
        """Wait for news, or until a heartbeat is due."""
        loop = asyncio.get_running_loop()
        self._rested = True
        self._waiter = loop.create_future()
        if self._form.speaks and self._timer is None:
            self._timer = loop.call_at(self._due, self._time_passed)
        try:
            await self._watchers.waited(self._waiter)
        finally:
            self._waiter = None

    def _time_passed(self) -> None:
        """One timer lasts for many chunks: each of them only moves the time when it is due."""
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._due - _HAIR:
            self._waiter.set_result(None)
        else:
            self._timer = loop.call_at(self._due, self._time_passed)
