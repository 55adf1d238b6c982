"""R12: what of a cluster-state-service is believed, and for how long.

Pure.
"""

import math
from typing import Final

from msgspec import UNSET
from msgspec.structs import replace

from blox.base.ambient import Now
from blox.clusterstate.merge import Evidence, HostEntry, TaskEntry, merge_host, merge_task
from blox.clusterstate.remote.port import ClusterTold, HostTold, TaskTold, Ticket
from blox.ecs.model import HostDocument, Overrides, TaskDocument

CLOCKS_APART: Final = 2.0
"""Seconds by which a read may have begun earlier than the two clocks say: ECS tells its time in
whole seconds, and the service's estimate of it is as good as ours."""
SILENCE: Final = 60.0
"""Seconds without a word of the service, heartbeats included, after which what it told before
justifies nothing: they come every 15 s."""


def covers(told: ClusterTold | None, ticket: Ticket) -> bool:
    """R12: whether the service has told everything that the sweep found which was asked for.
    Another run counts its sweeps anew: its numbers say nothing of this one's."""
    return told is not None and told.epoch == ticket.epoch and told.sweep >= ticket.number


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


def host_contradicted(entry: HostEntry, document: HostDocument, evidence: Evidence) -> bool:
    """Whether a host's record, which rests on a later read, says otherwise than this account of the
    same version.

    Not all that changes raises the version, and a service tells again only what has changed for
    itself. So one that was behind when it told this, and has read the same ever since, never tells
    it anew: the record would stay as it is for ever. Which of the two holds is ECS's to say.
    """
    if document.version != entry.host.version or _later(evidence, entry.begun):
        return False
    return merge_host(entry, document, _as_if_last(evidence)).host != entry.host


def task_contradicted(entry: TaskEntry, document: TaskDocument, evidence: Evidence) -> bool:
    """The same for a task. A status that went back contradicts nothing."""
    if document.version != entry.task.version or _later(evidence, entry.begun):
        return False
    again = merge_task(entry, document, _as_if_last(evidence), confirmation=0.0)
    return again.task != entry.task


def _later(evidence: Evidence, begun: float) -> bool:
    return evidence.begun is not None and evidence.begun >= begun


def _as_if_last(evidence: Evidence) -> Evidence:
    return replace(evidence, begun=math.inf)


def honest(document: TaskDocument) -> TaskDocument:
    """The document without overrides that name no container. What the service has of a task is put
    together from reads and events, and events sometimes come with empty overrides: taken for what a
    read said they would prove that a task of ours is not ours. Unknown, they are read from ECS."""
    overrides = document.overrides
    if isinstance(overrides, Overrides) and not overrides.container_overrides:
        return replace(document, overrides=UNSET)
    return document
