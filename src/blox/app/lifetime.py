"""A service's life around its parts, the same for every service of blox.

    0      told to leave, and left
    1      could not begin, or a part has broken
    130    told twice to leave, at least half a second apart

On SIGTERM or SIGINT no more work is taken, open streams end, and the parts get some seconds to
finish; HTTP answers until then, but for /readyz. A timer in a thread of its own sees to it that the
process leaves within ten seconds, whatever hangs.
"""

import asyncio
import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import structlog

from blox.base.logs import configure_logs
from blox.base.tasks import BackgroundTaskEnded
from blox.http.edge import HttpApp
from blox.http.server import new_loop, serving

LAST_REQUESTS: Final = 1
"""Seconds that open requests get after everything else has stopped."""
PATIENCE: Final = 9.8
"""Seconds from the signal to the end, at the latest."""
INTERRUPTED: Final = 130
SAME_REQUEST: Final = 0.5
"""Seconds within which a second signal is the first one again: what starts us may forward one that
we have got ourselves, as shells and `timeout` do."""

_log = structlog.get_logger("blox")


class Serves(Protocol):
    """A service on a bound socket."""

    def __call__(
        self, *, stop: asyncio.Event, stopping: Callable[[], None]
    ) -> Coroutine[Any, Any, int]:
        """Serve until `stop` is set; the exit code. Calls `stopping` when the end begins."""
        ...


class Parts(Protocol):
    """Everything of a service that runs beside its HTTP server."""

    async def watch(self) -> None:
        """Raises BackgroundTaskEnded when a part has broken, which is a defect."""
        ...

    async def quiet(self) -> None:
        """The end has begun, and streams are still open: what they should tell before they end."""
        ...

    async def stop(self, *, broken: bool = False) -> None:
        """Take no more work, and finish what is due. Requests are still answered."""
        ...


def run(serve: Serves, *, logs: str) -> int:
    """Run a service until it is told to leave; the exit code. `logs`: the prefix of its two
    variables for logs.

    Raises BloxError, with a sentence, when it cannot begin.
    """
    configure_logs(prefix=logs)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_until_signalled(serve))


async def _until_signalled(serve: Serves) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    told = math.inf

    def told_to_leave(number: signal.Signals) -> None:
        nonlocal told
        if loop.time() >= told + SAME_REQUEST:
            os._exit(INTERRUPTED)
        if not stop.is_set():
            _log.info("stopping", signal=number.name)
            told = loop.time()
            stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_leave, number)
    return await serve(stop=stop, stopping=_leave_in_time)


async def answer_until_over(
    app: HttpApp,
    listener: socket.socket,
    parts: Parts,
    *,
    name: str,
    stop: asyncio.Event,
    stopping: Callable[[], None],
) -> bool:
    """Answer requests while the parts run; whether one of them has broken. `name`: the service's,
    for people."""
    broken = True
    async with serving(app, listener, stop_seconds=LAST_REQUESTS, on_stop=app.end_streams):
        try:
            broken = await _until_over(parts, stop, name=name)
        finally:
            stopping()
            await parts.quiet()
            app.end_streams()
            await parts.stop(broken=broken)
    return broken


async def _until_over(parts: Parts, stop: asyncio.Event, *, name: str) -> bool:
    """Wait until we are told to leave, or a part has broken: then True."""
    stopped = asyncio.ensure_future(stop.wait())
    watched = asyncio.ensure_future(parts.watch())
    try:
        await asyncio.wait((stopped, watched), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        watched.cancel()
    if not watched.done():
        return False
    failure = watched.exception()
    if not isinstance(failure, BackgroundTaskEnded):
        _log.critical(f"the {name} ended", exc_info=failure)
    else:
        _log.critical(f"a part of the {name} has broken; leaving", problem=str(failure))
    return True


def _leave_in_time() -> None:
    """Leave by force when something hangs: a disk, a resolver, a defect."""

    def force() -> None:
        _log.error("something hangs; leaving without it")
        os._exit(1)

    timer = threading.Timer(PATIENCE, force)
    timer.daemon = True
    timer.start()
