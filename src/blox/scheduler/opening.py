"""From a process that runs to one that may act: who are we, and does the fence hold?

Nothing here is waited for by anything else: the API answers, the view is read and verdicts are made
meanwhile. Only starts wait, because W is not known before.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from blox.base.errors import BloxError
from blox.base.ids import parse_arn
from blox.ecs.client import EcsClient
from blox.ecs.fence import Finding
from blox.scheduler.scheduler import Scheduler

_log = structlog.get_logger("blox.opening")

RETRY = 10.0
"""Seconds until ECS is asked again after it gave no usable answer."""
FIRST_RETRY = 0.5


async def open_domain(
    scheduler: Scheduler,
    client: EcsClient,
    *,
    clusters: Callable[[], Sequence[str]],
    cluster_known: asyncio.Event,
    retry: float = RETRY,
) -> None:
    """Learn account and region from a cluster's ARN, then prove the fence, then let starts begin.

    `clusters()`: names or ARNs of clusters that we care about; `cluster_known` is set when there
    may be one. Returns when done; never raises but for cancellation.
    """
    delay = FIRST_RETRY
    while (cluster := await _serve(scheduler, client, clusters())) is None:
        if not clusters():
            cluster_known.clear()
            await cluster_known.wait()
            continue
        await asyncio.sleep(delay)
        delay = min(retry, delay * 2)
    delay = FIRST_RETRY
    while True:
        result = await client.probe(cluster)
        if result.finding is not Finding.UNANSWERED:
            break
        _log.warning("nothing is started yet", problem=result.sentence, again_in=delay)
        await asyncio.sleep(delay)
        delay = min(retry, delay * 2)
    log = _log.info if result.finding is Finding.STANDS else _log.warning
    log("fence", finding=result.finding.value, meaning=result.sentence)
    scheduler.allow_starts(result.assumptions)


async def _serve(scheduler: Scheduler, client: EcsClient, clusters: Sequence[str]) -> str | None:
    """Learn the domain from the first cluster that ECS knows; its ARN, or None."""
    for cluster in clusters:
        try:
            read = await client.describe_clusters([cluster])
        except BloxError as error:
            _log.warning("ECS does not tell the account yet", cluster=cluster, why=error.message)
            continue
        for found in read.items:
            arn = parse_arn(found.cluster_arn)
            if arn is not None:
                scheduler.serve(arn.domain)
                return found.cluster_arn
        _log.warning("no such cluster", cluster=cluster)
    return None
