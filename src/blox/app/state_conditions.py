"""What can be wrong with a cluster-state-service as a whole, each with what to do about it."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from blox.app.aws import Aws
from blox.app.meter import CallMeter
from blox.base.ids import short_id
from blox.clusterstate.api.context import Condition
from blox.clusterstate.discovery import Discovery
from blox.clusterstate.view import View
from blox.ecs.model import INACTIVE

CLUSTERS_TOLD: Final = 20
"""Clusters that cannot be read, told one by one; the others are counted."""


def conditions(
    *,
    aws: Aws,
    meter: CallMeter,
    view: View,
    named: Collection[str],
    discovery: Discovery | None,
    queue: str | None,
    store: str | None,
) -> tuple[Condition, ...]:
    """All of them. `named`: names and ARNs of the clusters that somebody wants to be watched.
    `queue`, `store`: why those do not work; None while they do."""
    return (
        *_store(store),
        *_aws(aws, meter),
        *_queue(queue),
        *_discovery(discovery),
        *_named(view, named),
        *_clusters(view),
    )


def _store(problem: str | None) -> Iterator[Condition]:
    if problem is not None:
        yield Condition(
            code="copy",
            sentence=problem,
            next_step="free space on the store's disk, or mend what the sentence names; until then "
            "a restart has an older copy, and messages stay in the queue",
        )


def _aws(aws: Aws, meter: CallMeter) -> Iterator[Condition]:
    if meter.credentials is not None:
        yield Condition(
            code="credentials",
            sentence=meter.credentials,
            next_step="give this process credentials that AWS accepts; it tries again by itself",
        )
    unreached = meter.unreached.get("ecs")
    if unreached is not None:
        yield Condition(
            code="ecs-unreachable",
            sentence=f"{aws.endpoints['ecs'].url}: {unreached}",
            next_step="mend the network or the endpoint; it tries again by itself",
        )


def _queue(problem: str | None) -> Iterator[Condition]:
    if problem is not None:
        yield Condition(
            code="queue",
            sentence=problem,
            next_step="mend what the sentence names; it tries again by itself",
        )


def _discovery(discovery: Discovery | None) -> Iterator[Condition]:
    if discovery is not None and discovery.problem is not None:
        yield Condition(code="clusters", sentence=discovery.problem, next_step=discovery.next_step)


def _named(view: View, named: Collection[str]) -> Iterator[Condition]:
    """Named clusters that are not found, and those that are not there any more."""
    unfound = view.unfound()
    for arn in view.clusters:
        seen, name = view.cluster(arn), short_id(arn)
        if seen is None or seen.status != INACTIVE or (arn not in named and name not in named):
            continue
        if not any(sentence.startswith(f"Cluster {name} ") for sentence in unfound):
            unfound += (f"Cluster {arn} is INACTIVE or not there.",)
    for sentence in unfound:
        yield Condition(
            code="cluster",
            sentence=sentence,
            next_step="create it, or leave it out of --cluster; it is looked for again by itself",
        )


def _clusters(view: View) -> Iterator[Condition]:
    """Watched clusters that cannot be read."""
    unread = [
        seen
        for arn in view.clusters
        if (seen := view.cluster(arn)) is not None and seen.read_error is not None
    ]
    for seen in unread[:CLUSTERS_TOLD]:
        yield Condition(
            code="cluster",
            sentence=seen.read_error or "",
            next_step="mend what the sentence names; it is read again by itself",
        )
    yield from _others([short_id(seen.arn) for seen in unread[CLUSTERS_TOLD:]])


def _others(names: Sequence[str]) -> Iterator[Condition]:
    if names:
        yield Condition(
            code="cluster",
            sentence=f"{len(names)} more clusters could not be read, {names[0]} among them.",
            next_step="see readError of each at /v2/clusters",
        )
