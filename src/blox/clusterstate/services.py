"""Which services have the DAEMON strategy: on a draining host their tasks wait for ours to leave.

A task's group names its service, but not the service's strategy: DescribeServices tells, once an
hour, ten names a call. Where that is denied, a service counts as REPLICA.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html

A service keeps its strategy for life, but another one may be created under its name after it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from blox.base.ambient import Clock
from blox.clusterstate.lookup import Lookup
from blox.ecs.model import INACTIVE
from blox.ecs.port import EcsReads

_PREFIX: Final = "service:"


class DaemonServices:
    """What is known of the services that somebody asked about."""

    def __init__(self, reads: EcsReads, clock: Clock, *, changed: Callable[[str], None]) -> None:
        """`changed` is called with a cluster's ARN when an answer there has changed."""
        self._reads = reads
        self._lookup = Lookup(self._ask, clock, what="services", changed=changed)

    def is_daemon(self, cluster_arn: str, group: str) -> bool | None:
        """Whether `group` names a DAEMON service, as far as known; None until the first look.
        Asking makes it be looked up."""
        if not group.startswith(_PREFIX):
            return False
        return self._lookup.known(cluster_arn, group.removeprefix(_PREFIX))

    def forget(self, cluster_arn: str) -> None:
        """A cluster is not watched any more."""
        self._lookup.forget(cluster_arn)

    async def run(self) -> None:
        """Look up what is asked, for ever."""
        await self._lookup.run()

    async def _ask(self, cluster_arn: str, names: Sequence[str]) -> Mapping[str, bool]:
        answer = await self._reads.describe_services(cluster_arn, names)
        # A deleted service is shown for a while; one that lives under the same name comes last.
        shown = sorted(answer.items, key=lambda service: service.status != INACTIVE)
        return {service.service_name: service.scheduling_strategy == "DAEMON" for service in shown}
