"""From the bound socket to the exit code: the process around a scheduler (`blox.app.lifetime`).

Nothing waits for AWS. Told to leave, it gives calls that are under way eight seconds for their
answers.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from functools import partial

import structlog

import blox
from blox.app import lifetime, told
from blox.app.aws import find_aws
from blox.app.compose import SchedulerProcess
from blox.app.plan import Plan
from blox.app.stores import open_store
from blox.base.clock import SystemClock
from blox.base.entropy import SystemEntropy
from blox.ecs.errors import EcsError
from blox.http.app import create_app
from blox.http.server import address_of, is_local

_log = structlog.get_logger("blox")


def run(plan: Plan, listener: socket.socket) -> int:
    """Serve on a bound socket until told to leave; the exit code.

    Raises BloxError, with a sentence, when it cannot begin: nothing has changed then.
    """
    return lifetime.run(partial(serve, plan, listener), logs="DS")


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
    store = await open_store(plan.store, clock=clock, service="daemon-scheduler")
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
    return await lifetime.answer_until_over(
        app, listener, process, name="scheduler", stop=stop, stopping=stopping
    )
