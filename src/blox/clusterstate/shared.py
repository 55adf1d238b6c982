"""Waiting together: one run of an expensive call for everyone who asks, and waits with an end."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedCall(Generic[T]):
    """Callers who may share: each is served by a run that began after it asked.

    Who asks while none runs begins one. Who asks while one runs waits for the next, together with
    all who ask in the meantime: the one under way may have read already what they want to know.
    """

    def __init__(
        self,
        call: Callable[[], Awaitable[T]],
        start: Callable[[Coroutine[Any, Any, T]], "asyncio.Task[T]"],
    ) -> None:
        """`start` runs a coroutine as a background task that belongs to somebody."""
        self._call = call
        self._start = start
        self._running: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def __call__(self) -> T | None:
        """The result of a run that begins after now; None when its owner closed meanwhile."""
        if self._next is None:
            self._next = self._start(self._run(self._running))
        run = self._next
        await asyncio.wait({run})
        return None if run.cancelled() else run.result()

    async def _run(self, before: "asyncio.Task[T] | None") -> T:
        if before is not None:
            await asyncio.wait({before})
        self._running, self._next = self._next, None
        return await self._call()


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Whether `event` is set before so many seconds have passed."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        return False
    return True
