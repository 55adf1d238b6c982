"""One cluster's records and their indexes, kept together so that they can never disagree.

Every change goes through one of the four methods that put or drop; each costs what one entity
costs, however many there are.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from blox.clusterstate.absence import superseded
from blox.clusterstate.merge import HostEntry, TaskEntry
from blox.ecs.model import DRAINING, INACTIVE, Host, Task
from blox.ecs.seen import HostSeen

_SERVICE_STARTED = "ecs-svc/"
"""What startedBy begins with on tasks of services: they are most tasks, and nobody asks by it."""


class Records:
    """The tasks and hosts of one cluster, by ARN, by host, by startedBy and by machine."""

    def __init__(self) -> None:
        self._tasks: dict[str, TaskEntry] = {}
        self._hosts: dict[str, HostEntry] = {}
        self._seen: dict[str, HostSeen] = {}
        self._inactive_since: dict[str, float] = {}
        self._on_host: dict[str, list[str]] = {}
        self._started_by: dict[str, list[str]] = {}
        self._machines: dict[str, list[str]] = {}
        self._listed: list[str] | None = []

    # --- Reading ---

    def task(self, arn: str) -> TaskEntry | None:
        """The entry of a task."""
        return self._tasks.get(arn)

    def host(self, arn: str) -> HostEntry | None:
        """The entry of a host, INACTIVE ones included."""
        return self._hosts.get(arn)

    def seen(self, arn: str) -> HostSeen | None:
        """A host that is not INACTIVE."""
        return self._seen.get(arn)

    def inactive_since(self, arn: str) -> float | None:
        """Since when, by our clock, a host has been seen INACTIVE; None for every other."""
        return self._inactive_since.get(arn)

    def all_tasks(self) -> Iterator[TaskEntry]:
        """Every task, in the order in which they came."""
        return iter(self._tasks.values())

    def all_hosts(self) -> Iterator[HostEntry]:
        """Every host, INACTIVE ones included, in the order in which they came."""
        return iter(self._hosts.values())

    def listed(self) -> Sequence[HostSeen]:
        """Every host that is not INACTIVE, in ARN order."""
        if self._listed is None:
            self._listed = sorted(self._seen)
        return [self._seen[arn] for arn in self._listed]

    def tasks_on(self, host_arn: str) -> tuple[Task, ...]:
        """Every task known on a host, in ARN order."""
        return tuple(self._tasks[arn].task for arn in self._on_host.get(host_arn, ()))

    def started_by(self, started_by: str) -> tuple[Task, ...]:
        """Every task with this startedBy, in ARN order."""
        if started_by.startswith(_SERVICE_STARTED):
            found = (e.task for e in self._tasks.values() if e.task.started_by == started_by)
            return tuple(sorted(found, key=lambda task: task.arn))
        return tuple(self._tasks[arn].task for arn in self._started_by.get(started_by, ()))

    # --- Changing ---

    def put_task(self, entry: TaskEntry) -> frozenset[str] | None:
        """Enter or replace a task. Returns the hosts on which anything changed; None when the task
        is the same as before."""
        task = entry.task
        before = self._tasks.get(task.arn)
        self._tasks[task.arn] = entry
        if before is None:
            self._index(task)
            return _hosts_of(task)
        old = before.task
        if old is task or old == task:
            return None
        if old.host_arn != task.host_arn or old.started_by != task.started_by:
            self._unindex(old)
            self._index(task)
        return _hosts_of(old) | _hosts_of(task)

    def drop_task(self, arn: str) -> frozenset[str]:
        """Forget a task. Returns the hosts on which anything changed."""
        entry = self._tasks.pop(arn, None)
        if entry is None:
            return frozenset()
        self._unindex(entry.task)
        return _hosts_of(entry.task)

    def put_host(self, entry: HostEntry, *, now: float) -> frozenset[str]:
        """Enter or replace a host. Returns the hosts that changed: it, and other records of the
        same machine that are superseded since, or not any more."""
        host = entry.host
        before = self._hosts.get(host.arn)
        self._hosts[host.arn] = entry
        if before is not None and (before.host is host or before.host == host):
            return frozenset()
        if before is not None and before.host.instance_id != host.instance_id:
            _remove(self._machines, before.host.instance_id, host.arn)
        if host.instance_id:
            _add(self._machines, host.instance_id, host.arn)
        self._note(host, now)
        machines = {host.instance_id}
        if before is not None:
            machines.add(before.host.instance_id)
        return frozenset({host.arn}).union(*(self._supersede(m) for m in sorted(machines)))

    def drop_host(self, arn: str) -> frozenset[str]:
        """Forget a host, but not its tasks. Returns the hosts that changed."""
        entry = self._hosts.pop(arn, None)
        if entry is None:
            return frozenset()
        self._inactive_since.pop(arn, None)
        if self._seen.pop(arn, None) is not None:
            self._listed = None
        _remove(self._machines, entry.host.instance_id, arn)
        return frozenset({arn}) | self._supersede(entry.host.instance_id)

    # --- Inside ---

    def _index(self, task: Task) -> None:
        if task.host_arn:
            _add(self._on_host, task.host_arn, task.arn)
        if task.started_by and not task.started_by.startswith(_SERVICE_STARTED):
            _add(self._started_by, task.started_by, task.arn)

    def _unindex(self, task: Task) -> None:
        _remove(self._on_host, task.host_arn, task.arn)
        _remove(self._started_by, task.started_by, task.arn)

    def _note(self, host: Host, now: float) -> None:
        """Renew what only watching tells: since when it is disconnected, draining, INACTIVE."""
        before = self._seen.get(host.arn)
        if host.status == INACTIVE:
            self._inactive_since.setdefault(host.arn, now)
            if self._seen.pop(host.arn, None) is not None:
                self._listed = None
            return
        self._inactive_since.pop(host.arn, None)
        if before is None:
            self._listed = None
            before = HostSeen(host=host)
        self._seen[host.arn] = replace(
            before,
            host=host,
            # A record that names no machine is no older record of one.
            superseded_by=before.superseded_by if host.instance_id else None,
            disconnected_since=_since(
                before.disconnected_since, now, holds=not host.agent_connected
            ),
            draining_since=_since(before.draining_since, now, holds=host.status == DRAINING),
        )

    def _supersede(self, instance_id: str) -> frozenset[str]:
        """R16 for one machine. Returns the records whose standing changed."""
        arns = self._machines.get(instance_id, ())
        newer = superseded(self._hosts[arn].host for arn in arns)
        changed = []
        for arn in arns:
            seen = self._seen.get(arn)
            if seen is not None and seen.superseded_by != newer.get(arn):
                self._seen[arn] = replace(seen, superseded_by=newer.get(arn))
                changed.append(arn)
        return frozenset(changed)


def _hosts_of(task: Task) -> frozenset[str]:
    return frozenset({task.host_arn} if task.host_arn else ())


def _since(before: float | None, now: float, *, holds: bool) -> float | None:
    if not holds:
        return None
    return now if before is None else before


def _add(index: dict[str, list[str]], key: str, arn: str) -> None:
    arns = index.setdefault(key, [])
    at = bisect_left(arns, arn)
    if at == len(arns) or arns[at] != arn:
        insort(arns, arn)


def _remove(index: dict[str, list[str]], key: str, arn: str) -> None:
    arns = index.get(key)
    if arns is None:
        return
    at = bisect_left(arns, arn)
    if at < len(arns) and arns[at] == arn:
        del arns[at]
    if not arns:
        del index[key]
