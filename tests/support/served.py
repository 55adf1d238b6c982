"""A real server on a free port of loopback, for tests of what clients see."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import TypeVar

from blox.http.app import create_app
from blox.http.metrics import Metrics
from blox.http.operations import Operation
from blox.http.server import address_of, bind, is_local, new_loop, parse_address, serving
from blox.http.unread import UNREAD_SECONDS, Unread

Result = TypeVar("Result")


def run(work: Coroutine[None, None, Result]) -> Result:
    """Run a coroutine on the loop that the product uses."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(work)


@contextlib.asynccontextmanager
async def served(
    operations: Sequence[Operation],
    *,
    ready: Callable[[], str | None] = lambda: None,
    metrics: Metrics | None = None,
    stop_seconds: int = 5,
    tell_streams: bool = True,
    unread: Unread | None = None,
    unread_seconds: float = UNREAD_SECONDS,
) -> AsyncIterator[str]:
    """Serve the operations; gives the URL. `tell_streams=False` leaves streams open at the end.
    `unread` and `unread_seconds`: who, and after how long the kernel cuts off clients that do not
    read."""
    counted = metrics or Metrics(version="test")
    with bind(parse_address("127.0.0.1:0"), unread_seconds=unread_seconds) as listener:
        app = create_app(
            operations,
            title="test",
            version="1",
            ready=ready,
            metrics=counted.render,
            local_only=is_local(listener),
        )
        url = f"http://{address_of(listener)}"
        on_stop = app.end_streams if tell_streams else lambda: None
        async with serving(
            app, listener, stop_seconds=stop_seconds, on_stop=on_stop, unread=unread
        ):
            yield url
