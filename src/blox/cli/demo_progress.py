"""What the demo tells while it works, and waiting for things with a deadline."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, TypeVar

import click

T = TypeVar("T")
_POLL: Final = 0.02
_SILENCE: Final = 2.0
"""Nothing takes longer than this without a word."""


class NotSo(Exception):
    """Something that should have come true did not, or is not as it should be."""


class Progress:
    """Lines on stderr, each with the seconds since the beginning."""

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._waiting: list[Callable[[], str]] = []
        self._spoke = time.monotonic()

    def say(self, text: str) -> None:
        """One line."""
        self._spoke = time.monotonic()
        click.echo(f"{self._elapsed():5.1f} s  {text}", err=True)

    @contextlib.contextmanager
    def during(self, what: str | Callable[[], str]) -> Iterator[None]:
        """While the block runs, `what` is what is waited for."""
        told = what if callable(what) else lambda: what
        self._waiting.append(told)
        try:
            yield
        finally:
            self._waiting.remove(told)

    @contextlib.asynccontextmanager
    async def speaking(self) -> AsyncIterator[None]:
        """While the block runs, long silences are broken by what is waited for."""
        task = asyncio.create_task(self._speak())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _speak(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            if time.monotonic() - self._spoke > _SILENCE and self._waiting:
                self.say("… " + "; ".join(told() for told in self._waiting))


async def until(look: Callable[[], T], *, within: float, what: str) -> T:
    """The first truthy value of `look`. Raises NotSo when there is none `within` seconds."""
    deadline = time.monotonic() + within
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise NotSo(f"not within {within:g} s: {what}")
        await asyncio.sleep(_POLL)
    return seen


def insist(holds: object, otherwise: str) -> None:
    """Raises NotSo, with what is so instead, unless `holds`."""
    if not holds:
        raise NotSo(otherwise)
