"""From the bound socket to the exit code: the process around a scheduler.

    0      told to leave, and left
    1      could not begin, or a part has broken
    130    told twice to leave

Nothing waits for AWS. On SIGTERM or SIGINT no more work is taken, open streams end, calls that are
under way get eight seconds for their answers; HTTP answers until then, but for /readyz. A timer in
a thread of its own sees to it that the process leaves within ten seconds, whatever hangs.
"""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Final

import structlog

import blox
from blox.app import told
from blox.app.aws import find_aws
from blox.app.compose import SchedulerProcess
from blox.app.plan import Plan
from blox.base.clock import SystemClock
from blox.base.entropy import SystemEntropy
from blox.base.logs import configure_logs
from blox.base.tasks import BackgroundTaskEnded
from blox.ecs.errors import EcsError
from blox.http.app import create_app
from blox.http.server import address_of, is_local, new_loop, serving
from blox.store.sqlite import SqliteStore

LAST_REQUESTS: Final = 1
"""Seconds that open requests get after everything else has stopped."""
PATIENCE: Final = 9.8
"""Seconds from the signal to the end, at the latest."""
INTERRUPTED: Final = 130

_log = structlog.get_logger("blox")


def run(plan: Plan, listener: socket.socket) -> int:
    """Serve on a bound socket until told to leave; the exit code.

    Raises BloxError, with a sentence, when it cannot begin: nothing has changed then.
    """
    configure_logs()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_until_signalled(plan, listener))


async def _until_signalled(plan: Plan, listener: socket.socket) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told_to_leave(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(INTERRUPTED)
        _log.info("stopping", signal=number.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_leave, number)
    return await serve(plan, listener, stop=stop, stopping=_leave_in_time)


async def serve(
    plan: Plan,
    listener: socket.socket,
    *,
    stop: asyncio.Event,
    stopping: Callable[[], None] = lambda: None,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Run a scheduler and its API until `stop` is set; 0, or 1 when a part has broken.

    `stopping()` is called when the end begins. Raises BloxError when it cannot begin.
    """
    clock = SystemClock()
    aws = await find_aws(clock, environ=environ)
    store = await SqliteStore.open(plan.store, clock=clock)
    try:
        process = SchedulerProcess(plan, aws, store, clock=clock, entropy=SystemEntropy())
        url = f"http://{address_of(listener)}"
        told.tell_beginning(plan, url=url, aws=aws, store=plan.store)
        try:
            await process.start()
            broken = await _serve(process, listener, stop=stop, stopping=stopping)
        finally:
            await process.close()
    finally:
        await store.close()
    _log.info("stopped")
    return 1 if broken else 0


async def _serve(
    process: SchedulerProcess,
    listener: socket.socket,
    *,
    stop: asyncio.Event,
    stopping: Callable[[], None],
) -> bool:
    """Answer requests while the scheduler runs; whether a part of it has broken."""
    app = create_app(
        process.operations(),
        title="blox daemon-scheduler",
        version=blox.__version__,
        description="Keeps exactly one task of each daemon on every host of an ECS cluster.",
        ready=process.ready,
        metrics=process.metrics,
        local_only=is_local(listener),
        statuses={EcsError: 503},
    )
    broken = True
    async with serving(app, listener, stop_seconds=LAST_REQUESTS, on_stop=app.end_streams):
        try:
            broken = await _until_over(process, stop)
        finally:
            stopping()
            app.end_streams()
            await process.stop(broken=broken)
    return broken


async def _until_over(process: SchedulerProcess, stop: asyncio.Event) -> bool:
    """Wait until we are told to leave, or a part has broken: then True."""
    stopped = asyncio.ensure_future(stop.wait())
    watched = asyncio.ensure_future(process.watch())
    try:
        await asyncio.wait((stopped, watched), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        watched.cancel()
    if not watched.done():
        return False
    failure = watched.exception()
    if not isinstance(failure, BackgroundTaskEnded):
        _log.critical("the scheduler ended", exc_info=failure)
    else:
        _log.critical("a part of the scheduler has broken; leaving", problem=str(failure))
    return True


def _leave_in_time() -> None:
    """Leave by force when something hangs: a disk, a resolver, a defect."""

    def force() -> None:
        _log.error("something hangs; leaving without it")
        os._exit(1)

    timer = threading.Timer(PATIENCE, force)
    timer.daemon = True
    timer.start()
