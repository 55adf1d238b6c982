"""One line on stderr that says what is going on, when it takes long and somebody looks."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from typing import Final

import click

from blox.cli.output import plain, span

QUIET: Final = 2.0
"""Seconds without a word."""
_REDRAWN: Final = 0.25
_CLEAR: Final = "\r\x1b[K"


class Progress:
    """What is being done now, redrawn in place. Nothing at all where stderr is no terminal."""

    def __init__(self, first: str) -> None:
        """`first`: what is done first."""
        self._began = time.monotonic()
        self._told = first

    def tell(self, what: str) -> None:
        """Something else is being done from now on."""
        self._told = what

    @contextlib.asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Show it while the block runs."""
        if not sys.stderr.isatty():
            yield
            return
        task = asyncio.create_task(self._draw())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            if time.monotonic() - self._began > QUIET:
                click.echo(_CLEAR, err=True, nl=False)

    async def _draw(self) -> None:
        await asyncio.sleep(QUIET)
        while True:
            elapsed = span(time.monotonic() - self._began)
            click.echo(f"{_CLEAR}{plain(self._told)}   {elapsed}", err=True, nl=False)
            await asyncio.sleep(_REDRAWN)
