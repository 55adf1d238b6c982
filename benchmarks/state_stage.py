"""A real `cluster-state-service` process on a stage, and what is asked of it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from benchmarks.figures import Progress
from benchmarks.stage import CLUSTER, QUEUE, REGION, Stage, free_port
from blox.base.errors import Unavailable
from blox.cli.client import Client, JsonObject
from blox.cli.demo_process import SchedulerProcess, environment
from blox.simulator.cloud import Cloud

_POLL: Final = 0.05
_PATIENCE: Final = 240.0
TASKS: Final = 2
"""Tasks of a service on each host."""


class StateService:
    """One that runs. Made by `state_service`."""

    def __init__(self, process: SchedulerProcess, port: int) -> None:
        self._process = process
        self.port = port
        self._client = Client(f"http://127.0.0.1:{port}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> JsonObject:
        """Ask it in a thread: the simulated AWS goes on meanwhile."""
        try:
            return await asyncio.to_thread(self._client.get, path, query)
        except Unavailable:
            if self._process.died.is_set():
                raise self._process.obituary() from None
            raise

    async def cluster(self, name: str = CLUSTER) -> JsonObject | None:
        """How well it knows a cluster; None while it does not answer or does not know it."""
        try:
            shown = await self.get("/v2/clusters")
        except Unavailable:
            return None
        return next((c for c in shown["items"] if c["name"] == name), None)

    async def primed(self, name: str = CLUSTER, *, tasks: int = 0, what: str) -> None:
        """Wait until it has read the whole cluster, and knows at least so many tasks."""
        progress = Progress(what)
        for _ in range(int(_PATIENCE / _POLL)):
            shown = await self.cluster(name)
            if shown is not None:
                progress.at(shown["tasks"], tasks)
                if shown["primed"] and shown["tasks"] >= tasks:
                    return
            await asyncio.sleep(_POLL)
        raise Unavailable(f"not within {_PATIENCE:g} s: {what}")


@contextlib.asynccontextmanager
async def state_service(
    stage: Stage,
    *options: str,
    store: str = "state.db",
    queue: str | None = QUEUE,
    clusters: Sequence[str] = (),
    pinned: int | None = None,
) -> AsyncIterator[StateService]:
    """A cluster-state-service while the block runs. `pinned`: the CPU that it may use."""
    port = free_port()
    arguments = ["--bind", f"127.0.0.1:{port}", "--store", f"sqlite:{stage.folder / store}"]
    if queue is not None:
        arguments += ["--queue", queue]
    for name in clusters:
        arguments += ["--cluster", name]
    environ = environment(
        stage.server.url, region=REGION, key="css", more={"CSS_LOG_LEVEL": "warn"}
    )
    process = SchedulerProcess(
        [*arguments, *options],
        environ=environ,
        log=stage.folder / "state.log",
        service="cluster-state-service",
    )
    await process.start()
    try:
        service = StateService(process, port)
        if pinned is not None:
            _pin(process.pid, pinned)
        yield service
    finally:
        await asyncio.shield(asyncio.ensure_future(process.stop()))


def _pin(pid: int, core: int) -> None:
    with contextlib.suppress(OSError):  # A machine may let nobody choose.
        os.sched_setaffinity(pid, {core})


def crowd(stage: Stage, tasks: int = TASKS) -> int:
    """So many tasks of a service on each host; how many there are then. They run soon."""

    def start(cloud: Cloud, now: float) -> int:
        hosts = list(cloud.hosts)
        for arn in hosts:
            for _ in range(tasks):
                cloud.start_foreign(CLUSTER, arn, "web", now=now, service="web")
        return tasks * len(hosts)

    return stage.act(start)
