"""What is really so in the demo's cluster, read from the simulated ECS's own records.

Nothing here asks blox: what blox says is shown beside it, and compared. Times are seconds since
1970-01-01 UTC by the simulated clock.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from blox.simulator.cloud import Cloud
from blox.simulator.model import CallLogged, HostRecord, TaskRecord

CLUSTER: Final = "demo"
ENVIRONMENT: Final = "logs"
FAMILY: Final = "fluent-bit"
QUEUE: Final = "blox-events"
GROUP: Final = f"blox:{ENVIRONMENT}"
SCHEDULER_KEY: Final = "blox-scheduler"
"""The access key that the scheduler signs with: so its calls are told from yours."""
YOUR_KEY: Final = "you"
SCRIPT_KEY: Final = "demo"
"""The caller of what the demo itself asks of ECS."""


def daemons(cloud: Cloud, host: str) -> list[TaskRecord]:
    """The environment's live tasks on a host, oldest first."""
    return [task for task in cloud.live_tasks(host) if task.group == GROUP]


def every_daemon(cloud: Cloud, host: str) -> list[TaskRecord]:
    """All tasks that the environment ever had on a host, oldest first."""
    return [task for task in cloud.tasks.values() if task.host == host and task.group == GROUP]


def hosts_of(cloud: Cloud) -> list[HostRecord]:
    """The cluster's hosts in the order of registration, without those that are gone."""
    return [h for h in cloud.hosts.values() if h.cluster == CLUSTER and not h.inactive]


def superseded(cloud: Cloud, host: HostRecord) -> bool:
    """Whether the same machine has registered anew since."""
    return any(
        other.instance_id == host.instance_id
        and other is not host
        and other.registered_at > host.registered_at
        and other.agent_connected
        for other in hosts_of(cloud)
    )


def runs_one(cloud: Cloud, host: HostRecord, *, definition: str = "") -> bool:
    """Exactly one daemon, RUNNING, wanted, and of `definition` if one is given."""
    live = daemons(cloud, host.arn)
    return (
        len(live) == 1
        and live[0].last_status == "RUNNING"
        and live[0].desired_status == "RUNNING"
        and definition in ("", live[0].definition)
    )


def quiet_hosts(cloud: Cloud, *, ran_for: float, now: float) -> list[HostRecord]:
    """ACTIVE hosts with one daemon that has run for so long, longest first."""
    found = [
        (daemons(cloud, host.arn)[0].started_at or now, host)
        for host in hosts_of(cloud)
        if host.status == "ACTIVE" and host.agent_connected and runs_one(cloud, host)
    ]
    return [host for started, host in sorted(found, key=lambda f: f[0]) if now - started >= ran_for]


def unsettled(cloud: Cloud, definition: str) -> list[str]:
    """What is not yet as it should be, a phrase for each host; empty when all is well."""
    return list(_unsettled(cloud, definition))


def _unsettled(cloud: Cloud, definition: str) -> Iterator[str]:
    for host in hosts_of(cloud):
        live = daemons(cloud, host.arn)
        if superseded(cloud, host):
            if any(task.desired_status == "RUNNING" for task in live):
                yield f"the old record of {host.instance_id} still has a daemon"
        elif host.status == "ACTIVE" and host.agent_connected:
            if not runs_one(cloud, host, definition=definition):
                yield f"{host.instance_id} has {len(live)} daemons, or one that is not the target's"
        elif host.status == "DRAINING" and live:
            yield f"{host.instance_id} is draining and still has its daemon"


# --- Calls ----------------------------------------------------------------------------------------


def ours(call: CallLogged) -> bool:
    """Whether the scheduler made this call."""
    return call.caller == SCHEDULER_KEY


def starts_on(cloud: Cloud, host: str, *, since: float = 0.0) -> list[CallLogged]:
    """The scheduler's StartTask calls that named this host."""
    return [
        call
        for call in cloud.log
        if call.operation == "StartTask"
        and call.time >= since
        and ours(call)
        and host in _named(call)
    ]


def _named(call: CallLogged) -> Sequence[object]:
    hosts = call.params.get("containerInstances")
    return hosts if isinstance(hosts, list) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long after a host joined, or its daemon had STOPPED, the start call arrived. Seconds."""

    count: int
    p50: float
    p99: float


def latency(
    cloud: Cloud, *, since: float, apart: Collection[str], blind: Sequence[tuple[float, float]]
) -> Latency:
    """Over every start of a place that came free after `since`. Left out: the hosts in `apart`,
    where the scheduler waited on purpose, and what came free while it did not run (`blind`)."""
    found = sorted(
        wait
        for call in cloud.log
        if call.operation == "StartTask" and ours(call)
        for arn in call.made
        if (wait := _wait(cloud, cloud.tasks[arn], call, since, blind)) is not None
        and cloud.tasks[arn].host not in apart
    )
    if not found:
        return Latency(count=0, p50=0.0, p99=0.0)
    return Latency(count=len(found), p50=percentile(found, 0.5), p99=percentile(found, 0.99))


def _wait(
    cloud: Cloud,
    task: TaskRecord,
    call: CallLogged,
    since: float,
    blind: Sequence[tuple[float, float]],
) -> float | None:
    ends = [
        other.stopped_at
        for other in every_daemon(cloud, task.host)
        if other is not task and other.stopped_at is not None and other.stopped_at <= call.time
    ]
    free = max([cloud.hosts[task.host].registered_at, *ends])
    if free < since or any(begin <= free <= end for begin, end in blind):
        return None
    return call.time - free


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the ordered values that at least `share` of them do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def reads(counts: dict[str, int]) -> int:
    """How many of the calls were reads."""
    return sum(n for name, n in counts.items() if name.startswith(("List", "Describe")))
