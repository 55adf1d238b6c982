"""R12: where a cluster-state-service tells otherwise than we know, at the same version of ECS's.

Not all that changes raises the version, and a service tells again only what has changed for itself.
So one that was behind when it told something, and has read the same ever since, never tells it
anew: a record that rests on a read in between, of another service or of our own, would stay as it
is for ever. Which of the two holds is ECS's to say, after every sweep, until both agree.

Pure.
"""

import math
from collections.abc import Collection

from msgspec.structs import replace

from blox.clusterstate.merge import Evidence, HostEntry, TaskEntry, merge_host, merge_task
from blox.clusterstate.records import Records
from blox.ecs.model import Host, HostDocument, TaskDocument


class Differing:
    """What a service told last of one cluster, where our records say otherwise.

    Of tasks, what was told and overruled; their statuses never change without a version. Of hosts,
    what each would be by the service's word.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, TaskDocument] = {}
        self._hosts: dict[str, Host] = {}

    def clear(self) -> None:
        """Everything is told anew."""
        self._tasks.clear()
        self._hosts.clear()

    def note_task(self, entry: TaskEntry, document: TaskDocument, evidence: Evidence) -> bool:
        """A task's account was merged into this record; whether the record says otherwise."""
        self._tasks.pop(entry.task.arn, None)
        differs = not _later(evidence, entry.begun) and _contradicted(entry, document)
        if differs:
            self._tasks[entry.task.arn] = document
        return differs

    def note_host(self, entry: HostEntry, document: HostDocument, evidence: Evidence) -> bool:
        """The same for a host."""
        told = entry.host
        if document.version == told.version and not _later(evidence, entry.begun):
            told = merge_host(entry, document, replace(evidence, begun=math.inf)).host
        self._hosts[entry.host.arn] = told
        return told != entry.host

    def left(self, records: Records, shown: Collection[str]) -> tuple[list[str], list[str]]:
        """The tasks and the hosts that differ now, of those that the service shows; sorted."""
        for arn, document in list(self._tasks.items()):
            entry = records.task(arn)
            if arn not in shown or entry is None or not _contradicted(entry, document):
                del self._tasks[arn]
        hosts = []
        for arn, told in list(self._hosts.items()):
            known = records.host(arn)
            if arn not in shown or known is None:
                del self._hosts[arn]
            elif known.host is not told and known.host != told:
                hosts.append(arn)
        return sorted(self._tasks), sorted(hosts)


def _contradicted(entry: TaskEntry, document: TaskDocument) -> bool:
    """Whether a task's record says otherwise than this account of the same version. A status that
    went back contradicts nothing."""
    if document.version != entry.task.version:
        return False
    last = Evidence(cluster_arn=entry.task.cluster_arn, received=entry.shown, begun=math.inf)
    return merge_task(entry, document, last, confirmation=0.0).task != entry.task


def _later(evidence: Evidence, begun: float) -> bool:
    return evidence.begun is not None and evidence.begun >= begun
