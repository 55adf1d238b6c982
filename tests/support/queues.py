"""A queue by hand, under virtual time."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from blox.clusterstate.source import QueueUnavailable


class Letter(NamedTuple):
    id: str
    body: bytes


class Queue:
    """A queue by hand: what is received and not deleted comes again after `redeliver` seconds."""

    def __init__(self, redeliver: float = 30.0) -> None:
        self.waiting: list[Letter] = []
        self.taken: dict[str, Letter] = {}
        self.deleted: list[str] = []
        self.problem: str | None = None
        self.undeletable: str | None = None
        self.on_delete: Callable[[Sequence[Letter]], None] = lambda letters: None
        self.receiving = 0
        self.most_receiving = 0
        self.delete_takes = 0.01
        self.deleting = 0
        self.most_deleting = 0
        self.depths_asked: list[float] = []
        self.uncounted: str | None = None
        self.closed = False
        self._redeliver = redeliver
        self._numbers = 0

    def put(self, *bodies: bytes) -> None:
        for body in bodies:
            self._numbers += 1
            self.waiting.append(Letter(f"m{self._numbers}", body))

    @property
    def left(self) -> list[str]:
        """What was not deleted: it comes again."""
        return sorted([*self.taken, *(letter.id for letter in self.waiting)])

    async def receive(self) -> Sequence[Letter]:
        self.receiving += 1
        self.most_receiving = max(self.most_receiving, self.receiving)
        try:
            await asyncio.sleep(0.1 if self.waiting else 1.0)
        finally:
            self.receiving -= 1
        if self.problem is not None:
            raise QueueUnavailable(self.problem)
        found, self.waiting = self.waiting[:10], self.waiting[10:]
        for letter in found:
            self.taken[letter.id] = letter
            asyncio.get_running_loop().call_later(self._redeliver, self._again, letter)
        return found

    def _again(self, letter: Letter) -> None:
        if self.taken.pop(letter.id, None) is not None:
            self.waiting.append(letter)

    async def delete(self, messages: Sequence[Letter]) -> None:
        self.deleting += 1
        self.most_deleting = max(self.most_deleting, self.deleting)
        try:
            await asyncio.sleep(self.delete_takes)
        finally:
            self.deleting -= 1
        if self.undeletable is not None:
            raise QueueUnavailable(self.undeletable)
        self.on_delete(messages)
        for letter in messages:
            self.taken.pop(letter.id, None)
            self.deleted.append(letter.id)

    async def depth(self) -> int | None:
        self.depths_asked.append(asyncio.get_running_loop().time())
        if self.uncounted is not None:
            raise QueueUnavailable(self.uncounted)
        return len(self.waiting)

    async def close(self) -> None:
        self.closed = True
