"""The last so many entries, each with its number: a feed that is kept in memory."""

import asyncio
from collections.abc import Iterator
from typing import Generic, TypeVar

E = TypeVar("E")


class Ring(Generic[E]):
    """Full, it forgets what was put in first."""

    def __init__(self, *, kept: int, begin: int = 0) -> None:
        """The first entry gets the number after `begin`."""
        self._kept = kept
        self._entries: list[E] = []
        self._first = self._last = begin
        """Entry n is at (n - first - 1) modulo kept."""
        self._news = asyncio.Event()

    @property
    def last(self) -> int:
        """The number of the newest entry, or where it began."""
        return self._last

    @property
    def floor(self) -> int:
        """The number up to which nothing is kept."""
        return self._last - len(self._entries)

    def put(self, entry: E) -> int:
        """Keep it as the newest; its number."""
        self._last += 1
        if len(self._entries) < self._kept:
            self._entries.append(entry)
        else:
            self._entries[(self._last - self._first - 1) % self._kept] = entry
        news, self._news = self._news, asyncio.Event()
        news.set()
        return self._last

    def clear(self) -> None:
        """Forget everything, and leave a gap: something has happened that is in here for nobody."""
        self._entries.clear()
        self._last += 1
        self._first = self._last

    def after(self, position: int) -> Iterator[tuple[int, E]]:
        """The entries after a number that are kept, with their numbers."""
        for number in range(max(position, self.floor) + 1, self._last + 1):
            yield number, self._entries[(number - self._first - 1) % self._kept]

    async def news(self, position: int) -> None:
        """Wait until there is an entry after that number."""
        while self._last <= position:
            await self._news.wait()
