"""Reading the cluster-state-service: a list of 2,000 instances, one of them, and nothing new.

Counted per second of the server's CPU, as `http_reads` does; with one cluster, and again with many
others beside it. Blox 0.3 at 2,000 hosts: 27 lists a second, 684 single entities.
"""

import asyncio
from typing import Final
from urllib.parse import quote

from benchmarks.figures import Figure, say
from benchmarks.processes import cpu_seconds
from benchmarks.stage import CLUSTER, ROOT, Stage, opened, python
from benchmarks.state_stage import StateService, crowd, state_service
from blox.simulator.cloud import Cloud

HOSTS: Final = 2000
OTHERS: Final = 50
"""Other clusters, of ten hosts each."""
SECONDS: Final = 5.0
CONNECTIONS: Final = 4
LISTS: Final = 400.0
ENTITIES: Final = 8000.0
UNCHANGED: Final = 0.2
"""Milliseconds of CPU for a poll that is answered with 304."""
OLD_LISTS: Final = 27.0
OLD_ENTITIES: Final = 684.0
_PATIENCE: Final = 30.0


def run(*, hosts: int = HOSTS, others: int = OTHERS, seconds: float = SECONDS) -> list[Figure]:
    """Alone, and beside others."""
    say(f"state reads: {hosts:,} hosts, a real process, {CONNECTIONS} connections")
    return opened(lambda stage: _measured(stage, others, seconds), hosts=hosts)


async def _measured(stage: Stage, others: int, seconds: float) -> list[Figure]:
    figures = []
    tasks = crowd(stage)
    async with state_service(stage) as service:
        await service.primed(tasks=tasks, what="state reads: the first sweep")
        figures += await _round(service, stage.hosts, seconds, f"{stage.hosts:,} hosts")
        stage.act(lambda cloud, now: _more_clusters(cloud, others, now))
        for number in range(others):
            await service.primed(f"other-{number}", what=f"state reads: cluster other-{number}")
        figures += await _round(service, stage.hosts, seconds, f"with {others} other clusters")
    return figures


def _more_clusters(cloud: Cloud, others: int, now: float) -> None:
    for number in range(others):
        name = f"other-{number}"
        cloud.add_cluster(name, now=now)
        for _ in range(10):
            cloud.add_host(name, now=now)


async def _round(service: StateService, hosts: int, seconds: float, where: str) -> list[Figure]:
    listing = await service.get("/v2/instances", {"cluster": CLUSTER, "limit": "1"})
    arn = quote(listing["items"][0]["arn"], safe="/:")
    shown = await service.get("/v1/instances", {"cluster": CLUSTER})
    assert len(shown["items"]) == hosts
    lists = await _asked(service, f"/v1/instances?cluster={CLUSTER}", seconds)
    one = await _asked(service, f"/v1/instances/{CLUSTER}/{arn}", seconds)
    poll = await _asked(service, f"/v2/instances?cluster={CLUSTER}&limit=1000", seconds, etag=True)
    return [
        _rate(f"list of all instances, /v1 ({where})", lists, LISTS, OLD_LISTS),
        _rate(f"one instance, /v1 ({where})", one, ENTITIES, OLD_ENTITIES),
        Figure(
            what=f"CPU of a poll with If-None-Match, nothing new ({where})",
            measured=1000 / poll,
            unit="ms",
            reference=UNCHANGED,
            reference_is="budget",
            target="≤ 1",
            met=1000 / poll <= UNCHANGED,
        ),
    ]


def _rate(what: str, rate: float, enough: float, old: float) -> Figure:
    return Figure(
        what=what,
        measured=rate,
        unit="per s of a core",
        reference=old,
        reference_is="0.3",
        target=f"≥ {enough:,.0f}",
        met=rate >= enough,
    )


async def _asked(service: StateService, path: str, seconds: float, *, etag: bool = False) -> float:
    """Answers for each second of the server's CPU."""
    await _hammered(service.port, path, seconds / 5, etag=etag)
    before = cpu_seconds(service.pid)
    answers = await _hammered(service.port, path, seconds, etag=etag)
    return answers / (cpu_seconds(service.pid) - before)


async def _hammered(port: int, path: str, seconds: float, *, etag: bool) -> int:
    client = await asyncio.create_subprocess_exec(
        *python(
            "hammer", str(port), path, str(CONNECTIONS), str(seconds), *(["etag"] if etag else [])
        ),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await asyncio.wait_for(client.communicate(), seconds + _PATIENCE)
    if client.returncode:
        raise RuntimeError(f"the client could not read {path}")
    return int(told.split()[0])
