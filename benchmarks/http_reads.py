"""Reading the API: an environment, and a page of its hosts, asked for by another process.

What counts is how many answers one second of the server's CPU gives; the server has a core, the
client another. Beside it, in the same run, the same bytes from the bare HTTP server.
"""

import asyncio
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from benchmarks.figures import Figure, say
from benchmarks.processes import cpu_seconds
from benchmarks.stage import CLUSTER, ROOT, Stage, free_port, opened, python
from blox.cli.words import place

HOSTS: Final = 200
SECONDS: Final = 5.0
CONNECTIONS: Final = 8
_PATIENCE: Final = 20.0
ENOUGH: Final = 8000.0
"""Answers for each second of one core."""


@dataclass(frozen=True, slots=True)
class _Rate:
    per_core: float
    """Answers for each second of the server's CPU."""
    seen: float
    """Answers for each second of the clock."""
    body: int


def run(*, hosts: int = HOSTS, seconds: float = SECONDS) -> list[Figure]:
    """An environment and its hosts, and the bare server."""
    say(f"http reads: {hosts:,} hosts, a real process, {CONNECTIONS} connections")
    return opened(lambda stage: _measured(stage, seconds), hosts=hosts)


async def _measured(stage: Stage, seconds: float) -> list[Figure]:
    async with stage.scheduler() as pid:
        await stage.primed()
        await stage.create("logs")
        await stage.deploy("logs")
        await stage.completed("logs", what="http reads: first deployment")
        port = urlsplit(stage.api.endpoint).port
        assert port is not None
        one = await _asked(pid, port, place(CLUSTER, "logs"), seconds)
        page = await _asked(pid, port, place(CLUSTER, "logs", "hosts"), seconds)
    bare = [await _bare(stage, rate.body, seconds) for rate in (one, page)]
    return [
        _figure("GET of an environment", one, bare[0], ENOUGH),
        _figure("GET of a page of 100 hosts", page, bare[1], None),
    ]


def _figure(what: str, rate: _Rate, bare: _Rate, enough: float | None) -> Figure:
    return Figure(
        what=f"{what} ({rate.body:,} bytes; {rate.seen:,.0f}/s by the clock)",
        measured=rate.per_core,
        unit="per s of a core",
        reference=bare.per_core,
        reference_is="ceiling: the bare HTTP server with the same bytes",
        target="" if enough is None else f"≥ {enough:,.0f}",
        met=None if enough is None else rate.per_core >= enough,
    )


async def _asked(pid: int, port: int, path: str, seconds: float) -> _Rate:
    """Ask for `path` from another process for so long."""
    await _hammered(port, path, seconds / 5)
    before = cpu_seconds(pid)
    answers, took, body = await _hammered(port, path, seconds)
    return _Rate(answers / (cpu_seconds(pid) - before), answers / took, body)


async def _hammered(port: int, path: str, seconds: float) -> tuple[int, float, int]:
    client = await asyncio.create_subprocess_exec(
        *python("hammer", str(port), path, str(CONNECTIONS), str(seconds)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await asyncio.wait_for(client.communicate(), seconds + _PATIENCE)
    if client.returncode:
        raise RuntimeError(f"the client could not read {path}")
    answers, took, body = told.split()
    return int(answers), float(took), int(body)


async def _bare(stage: Stage, body: int, seconds: float) -> _Rate:
    """The bare server with so many bytes."""
    port = free_port()
    file = stage.folder / f"{body}.json"
    file.write_bytes(b"x" * body)
    server = await asyncio.create_subprocess_exec(
        *python("bare_http", str(port), str(file)), cwd=ROOT
    )
    try:
        await _listening(port)
        return await _asked(server.pid, port, "/", seconds)
    finally:
        server.terminate()
        await server.wait()


async def _listening(port: int) -> None:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise RuntimeError("the bare HTTP server does not answer")
