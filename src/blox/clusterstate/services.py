"""Which services have the DAEMON strategy: on a draining host their tasks wait for ours to leave.

A task's group names its service, but not the service's strategy: DescribeServices tells, once an
hour, ten names a call. Where that is denied, a service counts as REPLICA.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog
from msgspec import Struct

from blox.base.ambient import Clock
from blox.clusterstate.shared import within
from blox.ecs.errors import EcsError, EcsRefused
from blox.ecs.port import EcsReads

KEPT = 3600.0
"""Seconds for which an answer stands."""
AGAIN = 60.0
"""Seconds until a call that failed is made again."""
NAMES = 10
"""Most services that one DescribeServices takes."""
_PREFIX = "service:"

_log = structlog.get_logger("blox.clusterstate")


class _Known(Struct):
    daemon: bool = False
    due: float = 0.0
    asked: bool = True


class DaemonServices:
    """What is known of the services that somebody asked about."""

    def __init__(self, reads: EcsReads, clock: Clock, *, changed: Callable[[str], None]) -> None:
        """`changed` is called with a cluster's ARN when an answer there has changed."""
        self._reads = reads
        self._clock = clock
        self._changed = changed
        self._known: dict[tuple[str, str], _Known] = {}
        self._wanted = asyncio.Event()

    def is_daemon(self, cluster_arn: str, group: str) -> bool:
        """Whether `group` names a DAEMON service, as far as known. Asking makes it be looked up."""
        if not group.startswith(_PREFIX):
            return False
        known = self._known.setdefault((cluster_arn, group.removeprefix(_PREFIX)), _Known())
        if known.due <= self._clock.monotonic():
            known.asked = True
            self._wanted.set()
        return known.daemon

    def forget(self, cluster_arn: str) -> None:
        """A cluster is not watched any more."""
        for key in [key for key in self._known if key[0] == cluster_arn]:
            del self._known[key]

    async def run(self) -> None:
        """Look up what is asked, for ever."""
        while True:
            self._wanted.clear()
            now = self._clock.monotonic()
            waiting = [known.due for known in self._known.values() if known.asked]
            if not waiting:
                await self._wanted.wait()
                continue
            if min(waiting) > now:
                await within(self._wanted, min(waiting) - now)
                continue
            await self._look_up_due(now)

    async def _look_up_due(self, now: float) -> None:
        due = sorted(key for key, known in self._known.items() if known.asked and known.due <= now)
        for cluster_arn in sorted({cluster for cluster, _ in due}):
            names = [name for cluster, name in due if cluster == cluster_arn]
            for at in range(0, len(names), NAMES):
                await self._look_up(cluster_arn, names[at : at + NAMES])

    async def _look_up(self, cluster_arn: str, names: Sequence[str]) -> None:
        daemons: frozenset[str] | None = frozenset()
        wait = KEPT
        try:
            answer = await self._reads.describe_services(cluster_arn, names)
            daemons = frozenset(
                s.service_name for s in answer.items if s.scheduling_strategy == "DAEMON"
            )
        except EcsRefused as error:
            if not error.denied:
                daemons, wait = None, AGAIN
            _log.warning("services not described", cluster=cluster_arn, error=error.message)
        except EcsError as error:
            daemons, wait = None, AGAIN
            _log.warning("services not described", cluster=cluster_arn, error=error.message)
        due = self._clock.monotonic() + wait
        changed = False
        for name in names:
            known = self._known.get((cluster_arn, name))
            if known is None:
                continue
            known.asked = daemons is None
            known.due = due
            if daemons is not None and known.daemon != (name in daemons):
                known.daemon = name in daemons
                changed = True
        if changed:
            self._changed(cluster_arn)
