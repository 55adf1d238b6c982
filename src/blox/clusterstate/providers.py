"""Which capacity providers scale in: there, a daemon of ours keeps an otherwise idle host for ever.

A host names its capacity provider, but not whether ECS manages that provider's size:
DescribeCapacityProviders tells, once an hour, ten names a call, because no more fit into an answer.
Where that is denied, a provider counts as not scaling in.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeCapacityProviders.html
"""

from collections.abc import Callable, Mapping, Sequence

from blox.base.ambient import Clock
from blox.clusterstate.lookup import Lookup
from blox.ecs.port import EcsReads


class ScalingProviders:
    """What is known of the capacity providers that somebody asked about."""

    def __init__(self, reads: EcsReads, clock: Clock, *, changed: Callable[[str], None]) -> None:
        """`changed` is called with a cluster's ARN when an answer there has changed."""
        self._reads = reads
        self._lookup = Lookup(
            # A provider with an Auto Scaling group has one name in account and region.
            lambda _cluster_arn, names: self._ask(names),
            clock,
            what="capacity providers",
            changed=changed,
        )

    def scales_in(self, cluster_arn: str, provider: str) -> bool | None:
        """Whether ECS removes idle hosts of this provider, as far as known; False for "", a host
        of no provider; None until the first look. Asking makes it be looked up."""
        return provider != "" and self._lookup.known(cluster_arn, provider)

    def forget(self, cluster_arn: str) -> None:
        """A cluster is not watched any more."""
        self._lookup.forget(cluster_arn)

    async def run(self) -> None:
        """Look up what is asked, for ever."""
        await self._lookup.run()

    async def _ask(self, names: Sequence[str]) -> Mapping[str, bool]:
        answer = await self._reads.describe_capacity_providers(names)
        return {provider.name: provider.scales_in for provider in answer.items}
