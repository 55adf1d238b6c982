"""Answers that wait because their clients do not read them.

What a client has asked for and does not read waits in this process, whole. A living machine behind
a closed window answers every probe, so that nothing ends this by itself. Whoever takes next to
nothing for a minute is cut off; when what waits for all of them together is more than this process
should hold, those who have taken next to nothing for a few seconds are, the slowest first.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

UNREAD_SECONDS: Final = 60.0
"""How long a client may take next to nothing of what it has asked for."""
MOST_UNREAD: Final = 256 * 1024 * 1024
"""Bytes that may wait for all clients together."""
HURRY: Final = 5.0
"""Seconds that are left to a client when more than that waits."""
NEXT_TO_NOTHING: Final = 64 * 1024
"""Bytes: who has taken so many, or all, has gone on reading."""
_LOOKS: Final = 5
"""Looks at each client within the time that it has."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Mark:
    """What waited for a client when it was last seen to go on reading."""

    at: float
    size: int


class Unread:
    """The connections whose clients are behind."""

    def __init__(
        self,
        *,
        seconds: float = UNREAD_SECONDS,
        most_bytes: int = MOST_UNREAD,
        hurry: float = HURRY,
    ) -> None:
        """`hurry`: seconds that a client has when more than `most_bytes` wait."""
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._hurry = min(hurry, seconds)
        self._marks: dict[asyncio.Transport, _Mark] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many clients are behind."""
        return len(self._marks)

    def behind(self, transport: asyncio.Transport) -> None:
        """More waits for this client than should."""
        now = asyncio.get_running_loop().time()
        self._marks[transport] = _Mark(now, transport.get_write_buffer_size())
        self._look_soon()

    def caught_up(self, transport: asyncio.Transport) -> None:
        """It has read, or left."""
        self._marks.pop(transport, None)
        if not self._marks and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_soon(self) -> None:
        if self._timer is None and self._marks:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._hurry / _LOOKS, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        waiting = 0
        for transport, mark in self._marks.items():
            size = transport.get_write_buffer_size()
            waiting += size
            if size > mark.size or size <= mark.size - NEXT_TO_NOTHING:
                mark.at, mark.size = now, size
        by_patience = sorted(self._marks.items(), key=lambda item: item[1].at)
        for transport, mark in by_patience:
            allowed = self._hurry if waiting > self._most_bytes else self._seconds
            if now - mark.at < allowed:
                break
            waiting -= self._cut(transport, now - mark.at)
        self._look_soon()

    def _cut(self, transport: asyncio.Transport, seconds: float) -> int:
        size = transport.get_write_buffer_size()
        _log.warning(
            "cut off a client that does not read what it asked for",
            client=str(transport.get_extra_info("peername")),
            seconds=round(seconds, 1),
            unread_bytes=size,
        )
        del self._marks[transport]
        transport.abort()
        return size
