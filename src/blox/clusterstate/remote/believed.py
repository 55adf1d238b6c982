"""R12: what of a cluster-state-service is believed, and for how long.

Pure.
"""

from typing import Final

from msgspec import UNSET
from msgspec.structs import replace

from blox.base.ambient import Now
from blox.clusterstate.merge import UNHEALTHY, Evidence
from blox.clusterstate.remote.port import ClusterTold, HostTold, TaskTold, Ticket
from blox.ecs.model import Overrides, TaskDocument

CLOCKS_APART: Final = 2.0
"""Seconds by which a read may have begun earlier than the two clocks say: ECS tells its time in
whole seconds, and the service's estimate of it is as good as ours."""
LONGEST_GOOD: Final = 900.0
"""Seconds after its end for which a sweep that took long justifies anything: what takes an hour
because the service was cut off from ECS must not be good for two."""
SILENCE: Final = 60.0
"""Seconds without a word of the service, heartbeats included, after which what it told before
justifies nothing: they come every 15 s."""


def covers(told: ClusterTold | None, ticket: Ticket) -> bool:
    """R12: whether the service has told everything that the sweep found which was asked for.
    Another run counts its sweeps anew: its numbers say nothing of this one's."""
    return told is not None and told.epoch == ticket.epoch and told.sweep >= ticket.number


def sweep_justifies(*, begun: float, now: float, interval: float) -> float:
    """R12: until when a sweep justifies anything that was asked for at `begun` and told now: for
    two intervals. Where it took longer than one, what it took counts as the interval, up to
    `LONGEST_GOOD`: a service rests as long as it has read, so that the next sweep takes as long,
    from the request to the end, and one that is steady is never found too old."""
    return now + max(2 * interval, min(2 * (now - begun), LONGEST_GOOD))


def justifies_until(*, swept: float, heard: float) -> float:
    """R12: until when a view that a service keeps justifies a start or a stop. `swept`: until when
    its last complete sweep is young enough, however long it took. `heard`: when the service last
    told anything; one that is silent knows of changes that we do not."""
    return min(swept, heard + SILENCE)


def evidence_of(told: TaskTold | HostTold, cluster_arn: str, *, now: Now) -> Evidence:
    """What an account is evidence of: a read that began when the service says that it did, never
    later than now; or, where only events told of it, an event."""
    begun = told.read_at
    if begun is not None:
        begun = min(now.mono, now.mono - (now.ecs - begun) - CLOCKS_APART)
    return Evidence(cluster_arn=cluster_arn, received=now.mono, begun=begun, ecs_time=told.read_at)


def healthy_or_unknown(document: TaskDocument) -> TaskDocument:
    """The document without UNHEALTHY. R15 takes two reads that are far enough apart to believe
    that, and when the service's read began is known by two clocks only: ECS is asked twice."""
    if document.health_status == UNHEALTHY:
        return replace(document, health_status=UNSET)
    return document


def honest(document: TaskDocument) -> TaskDocument:
    """The document without overrides that name no container. What the service has of a task is put
    together from reads and events, and events sometimes come with empty overrides: taken for what a
    read said they would prove that a task of ours is not ours. Unknown, they are read from ECS."""
    overrides = document.overrides
    if isinstance(overrides, Overrides) and not overrides.container_overrides:
        return replace(document, overrides=UNSET)
    return document
