"""Every backend of the store behind one door, for suites that must not know which one they test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from blox.base.clock import LoopClock
from blox.simulator import loop as virtual
from blox.store.memory import MemoryData, MemoryStore
from blox.store.port import Change, Delete, Listing, Put, Store
from blox.store.shared import HISTORY
from blox.store.sqlite import InlineExecutor, SqliteStore

PATIENCE = 20.0
"""Seconds after which what should have come is declared missing."""


class SteppedClock(LoopClock):
    """The loop's time and what the test adds to it."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class Opener(Protocol):
    """Opens a store whose file, if it needs one, is in `folder`."""

    async def __call__(self, folder: Path, clock: SteppedClock, history: int) -> Store: ...


@dataclass(frozen=True)
class Backend:
    """How to open one kind of store, and on which kind of loop it runs."""

    name: str
    open: Opener
    run: Callable[[Coroutine[Any, Any, None]], None]


async def _memory(folder: Path, clock: SteppedClock, history: int) -> Store:
    return MemoryStore(clock, data=MemoryData(history=history))


async def _sqlite(folder: Path, clock: SteppedClock, history: int) -> Store:
    return await SqliteStore.open(folder / "blox.db", clock=clock, history=history)


async def _sqlite_inline(folder: Path, clock: SteppedClock, history: int) -> Store:
    return await SqliteStore.open(
        folder / "blox.db", clock=clock, history=history, executor=InlineExecutor()
    )


BACKENDS = (
    Backend("memory", _memory, virtual.run),
    Backend("sqlite", _sqlite, asyncio.run),
    Backend("sqlite-inline", _sqlite_inline, virtual.run),
)

Scenario = Callable[[Store, SteppedClock], Awaitable[None]]


def play(backend: Backend, folder: Path, scenario: Scenario, *, history: int = HISTORY) -> None:
    """Run a scenario on a new store and close it."""

    async def main() -> None:
        clock = SteppedClock()
        store = await backend.open(folder, clock, history)
        try:
            await scenario(store, clock)
        finally:
            await store.close()

    backend.run(main())


async def put(store: Store, key: str, value: bytes = b"", *, lease: int | None = None) -> int:
    """Write a key whatever is there; returns the revision."""
    outcome = await store.transact([], [Put(key, value, lease)])
    assert outcome.applied
    return outcome.revision


async def delete(store: Store, *keys: str) -> int:
    """Delete keys; returns the revision."""
    outcome = await store.transact([], [Delete(key) for key in keys])
    assert outcome.applied
    return outcome.revision


def keys_of(listing: Listing) -> list[str]:
    return [record.key for record in listing.records]


async def take(changes: AsyncIterator[Change], count: int) -> list[Change]:
    """The next changes of a watch that goes on."""
    async with asyncio.timeout(PATIENCE):
        return [await anext(changes) for _ in range(count)]


async def seen(store: Store, prefix: str, after: int, count: int) -> list[Change]:
    """The first changes of a new watch."""
    async with aclosing(store.watch(prefix, after)) as changes:  # type: ignore[type-var]
        return await take(changes, count)


def brief(changes: Sequence[Change]) -> list[tuple[str, bytes | None]]:
    """What changed to what; None: deleted."""
    return [(c.key, None if c.record is None else c.record.value) for c in changes]
