"""From the bound socket to the exit code: the process around a cluster-state-service
(`blox.app.lifetime`).

Nothing waits for AWS: what the stored copy holds is served at once. Told to leave, it takes no more
events, ends the streams, and stores what it knows.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from functools import partial

import structlog

import blox
from blox.app import lifetime, state_told
from blox.app.aws import find_aws
from blox.app.state_compose import StateProcess
from blox.app.state_plan import StatePlan
from blox.app.stores import open_store
from blox.base.clock import SystemClock
from blox.base.entropy import SystemEntropy
from blox.clusterstate.api.v1 import UNSUPPORTED_FILTER
from blox.ecs.errors import EcsError
from blox.http.app import create_app
from blox.http.server import address_of, is_local

_log = structlog.get_logger("blox")


def run(plan: StatePlan, listener: socket.socket) -> int:
    """Serve on a bound socket until told to leave; the exit code.

    Raises BloxError, with a sentence, when it cannot begin: nothing has changed then.
    """
    return lifetime.run(partial(serve, plan, listener), logs="CSS")


async def serve(
    plan: StatePlan,
    listener: socket.socket,
    *,
    stop: asyncio.Event,
    stopping: Callable[[], None] = lambda: None,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Run a service and its API until `stop` is set; 0, or 1 when a part has broken.

    `stopping()` is called when the end begins. Raises BloxError when it cannot begin.
    """
    clock = SystemClock()
    aws = await find_aws(clock, environ=environ)
    store = await open_store(plan.store, clock=clock, service="cluster-state-service")
    try:
        process = StateProcess(plan, aws, store, clock=clock, entropy=SystemEntropy())
        state_told.tell_beginning(plan, url=f"http://{address_of(listener)}", aws=aws)
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
    process: StateProcess,
    listener: socket.socket,
    *,
    stop: asyncio.Event,
    stopping: Callable[[], None],
) -> bool:
    """Answer requests while the service runs; whether a part of it has broken."""
    app = create_app(
        process.operations(),
        title="blox cluster-state-service",
        version=blox.__version__,
        description="A true, current copy of ECS clusters, to list, filter and stream.",
        ready=process.ready,
        metrics=process.render,
        local_only=is_local(listener),
        statuses={EcsError: 503},
        unsupported_filter=UNSUPPORTED_FILTER,
    )
    return await lifetime.answer_until_over(
        app, listener, process, name="service", stop=stop, stopping=stopping
    )
