"""How hosts, tasks and clusters of the cluster-state-service are spoken of: names, cells, sums.

An item is one of /v2: `kind`, `arn`, `cluster`, `version`, `readAt`, and below `task` or
`instance` what ECS told, under ECS's names. ECS leaves out members that it has nothing to say of,
and so does everything here.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from blox.base.ids import short_id
from blox.cli.client import JsonObject
from blox.cli.output import count, short, span
from blox.cli.words import definition_name, parse_time

OLD: Final = 300.0
"""Seconds: five times as long as a service with a queue takes between two sweeps."""
_NAMED: Final = 3
"""Clusters that a note names."""
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PLACES: Final[Mapping[str, int]] = {
    "RUNNING": 0,
    **dict.fromkeys(("PROVISIONING", "PENDING", "ACTIVATING"), 1),
    **dict.fromkeys(("DEACTIVATING", "STOPPING", "DEPROVISIONING"), 2),
}
"""Statuses of a task, and which of a host's numbers they are."""
ENDED: Final = "STOPPED,DELETED"
"""Statuses of a task that is over, as the API's filter takes them."""
_HEALTHS: Final = ("", "UNKNOWN")


def told(item: JsonObject) -> JsonObject:
    """What ECS told of a task or host."""
    found = item.get(item["kind"])
    return found if isinstance(found, dict) else {}


def text(members: Mapping[str, object], name: str) -> str:
    """A member that is a text; "" when there is none."""
    value = members.get(name)
    return value if isinstance(value, str) else ""


# --- Hosts ----------------------------------------------------------------------------------------


def instance_name(item: JsonObject) -> str:
    """A host as people type it: its instance id, else the container instance's."""
    return text(told(item), "ec2InstanceId") or short_id(item["arn"])


def attribute(item: JsonObject, name: str) -> str:
    """The value of a host's attribute; "" when it has none."""
    found = told(item).get("attributes") or []
    return next((text(one, "value") for one in found if one.get("name") == name), "")


def zone(item: JsonObject) -> str:
    """The availability zone of a host or a task; "" when it is not known."""
    return attribute(item, "ecs.availability-zone") or text(told(item), "availabilityZone")


def amount(members: Mapping[str, object], where: str, name: str) -> int | None:
    """A number among the resources of a host. `where`: registeredResources, remainingResources."""
    found = members.get(where)
    for one in found if isinstance(found, list) else ():
        if one.get("name") == name and isinstance(one.get("integerValue"), int):
            return int(one["integerValue"])
    return None


def free(item: JsonObject, name: str) -> str:
    """What a host has left of CPU (units) or MEMORY (MiB); "" when it is not known."""
    left = amount(told(item), "remainingResources", name)
    return "" if left is None else str(left)


def agent(item: JsonObject) -> str:
    """Whether a host's agent is connected: ok, GONE."""
    connected = told(item).get("agentConnected")
    return "" if connected is None else "ok" if connected else "GONE"


class Load(NamedTuple):
    """How many tasks a host has."""

    running: int = 0
    starting: int = 0
    stopping: int = 0

    def __str__(self) -> str:
        """12; 12 +1 -2: one is being started besides, and two are being stopped."""
        starting = f" +{self.starting}" if self.starting else ""
        return f"{self.running}{starting}{f' -{self.stopping}' if self.stopping else ''}"


def loads(tasks: Iterable[JsonObject]) -> dict[str, Load]:
    """ARN of each container instance → its tasks. ECS's own counts come with reads only, not with
    events."""
    found: dict[str, list[int]] = {}
    for item in tasks:
        members = told(item)
        place = _PLACES.get(text(members, "lastStatus"))
        arn = text(members, "containerInstanceArn")
        if place is not None and arn:
            found.setdefault(arn, [0, 0, 0])[place] += 1
    return {arn: Load(*numbers) for arn, numbers in found.items()}


def instances_sum(items: Sequence[JsonObject], tasks: Mapping[str, Load]) -> str:
    """16 instances = 14 ACTIVE + 2 DRAINING · 1 with the agent gone · tasks: 61 running."""
    parts = [_sum(items, "instance", (text(told(item), "status") for item in items))]
    gone = sum(agent(item) == "GONE" for item in items)
    if gone:
        parts.append(f"{gone} with the agent gone")
    here = [tasks.get(item["arn"], Load()) for item in items]
    running, starting, stopping = (sum(one[place] for one in here) for place in range(3))
    more = (f" + {starting} starting" if starting else "") + (
        f" + {stopping} stopping" if stopping else ""
    )
    return " · ".join([*parts, f"tasks: {running} running{more}"]) if items else parts[0]


# --- Tasks ----------------------------------------------------------------------------------------


def task_status(item: JsonObject) -> str:
    """RUNNING, or where it is going besides: RUNNING -> STOPPED."""
    members = told(item)
    last, desired = text(members, "lastStatus"), text(members, "desiredStatus")
    # What is on its way to RUNNING is to become that: only an end is news.
    return f"{last} -> STOPPED" if desired == "STOPPED" and last != desired else last


def health(item: JsonObject) -> str:
    """HEALTHY, UNHEALTHY; "" without a health check, and before its first verdict."""
    found = text(told(item), "healthStatus")
    return "" if found in _HEALTHS else found


def runs(item: JsonObject) -> str:
    """What a task runs: family:revision."""
    return definition_name(text(told(item), "taskDefinitionArn"))


def starter(item: JsonObject) -> str:
    """Who started a task, as it says of itself; an id is cut."""
    found = text(told(item), "startedBy")
    return short(found) if _UUID.fullmatch(found) else found


def task_host(item: JsonObject, hosts: Mapping[str, str]) -> str:
    """Where a task runs. `hosts`: ARN of the container instance → its name."""
    arn = text(told(item), "containerInstanceArn")
    if not arn:
        return text(told(item), "launchType").lower()
    return hosts.get(arn) or short(arn)


def task_age(item: JsonObject, now: datetime) -> str:
    """How long ago a task was made; "" when that is not known."""
    made = text(told(item), "createdAt")
    if not made:
        return ""
    return span(max(0.0, (now - parse_time(made)).total_seconds()))


def tasks_sum(items: Sequence[JsonObject]) -> str:
    """61 tasks = 58 RUNNING + 3 PENDING · 2 to be stopped · 1 UNHEALTHY."""
    parts = [_sum(items, "task", (text(told(item), "lastStatus") for item in items))]
    leaving = sum(task_status(item).endswith("-> STOPPED") for item in items)
    if leaving:
        parts.append(f"{leaving} to be stopped")
    unhealthy = sum(health(item) == "UNHEALTHY" for item in items)
    if unhealthy:
        parts.append(f"{unhealthy} UNHEALTHY")
    return " · ".join(parts)


def host_names(instances: Iterable[JsonObject]) -> dict[str, str]:
    """ARN of each container instance → its name."""
    return {item["arn"]: instance_name(item) for item in instances}


def _sum(items: Sequence[JsonObject], noun: str, statuses: Iterable[str]) -> str:
    """16 instances = 14 ACTIVE + 2 DRAINING. The most come first."""
    counted = Counter(statuses)
    parts = [
        f"{n} {name or 'of unknown status'}"
        for name, n in sorted(counted.items(), key=lambda one: (-one[1], one[0]))
    ]
    return f"{count(len(items), noun)} = {' + '.join(parts)}" if items else f"no {noun}s"


# --- Clusters -------------------------------------------------------------------------------------


def swept(cluster: JsonObject) -> str:
    """When a cluster was last read completely: 12 s ago, not since the service began."""
    seconds = cluster["sweep"]["ageSeconds"]
    return "not since the service began" if seconds is None else f"{span(max(0.0, seconds))} ago"


def state(cluster: JsonObject) -> str:
    """A cluster's status, and whether what is known of it is whole."""
    return str(cluster["status"]) if cluster["primed"] else f"{cluster['status']}, not read yet"


def stale_notes(clusters: Sequence[JsonObject]) -> list[str]:
    """What must be known of rows that may be old or missing: a sentence for each cause."""
    notes = []
    unprimed = [one for one in clusters if not one["primed"]]
    if unprimed:
        notes.append(
            f"{_names(unprimed)}: not read completely since the service began, so rows may be old "
            "or missing"
        )
    notes += [
        f"{one['name']}: cannot be read ({_last_read(one)}): {one['readError']}"
        for one in clusters
        if one["readError"]
    ]
    old = [
        one
        for one in clusters
        if one["primed"] and not one["readError"] and (one["sweep"]["ageSeconds"] or 0.0) > OLD
    ]
    if old:
        oldest = max(old, key=lambda one: float(one["sweep"]["ageSeconds"]))
        notes.append(f"{_names(old)}: last read completely {swept(oldest)}")
    return notes


def condition_notes(conditions: Sequence[JsonObject], clusters: Sequence[JsonObject]) -> list[str]:
    """What is wrong with the service as a whole: a sentence for each cause. `clusters`: all that
    are watched; why one of them cannot be read is told with it."""
    told_with_them = {one["readError"] for one in clusters}
    notes = [
        f"{one['sentence'].rstrip('.')} -> {one['nextStep']}"
        for one in conditions
        if one["sentence"] not in told_with_them
    ]
    if not clusters:
        notes.append("the service knows no cluster yet, so nothing can be shown")
    return notes


def _last_read(cluster: JsonObject) -> str:
    words = swept(cluster)
    return words if cluster["sweep"]["ageSeconds"] is None else f"last complete {words}"


def _names(clusters: Sequence[JsonObject]) -> str:
    names = ", ".join(one["name"] for one in clusters[:_NAMED])
    more = len(clusters) - _NAMED
    return names + (f" and {more} more" if more > 0 else "")


def utc_now() -> datetime:
    """This machine's clock."""
    return datetime.now(UTC)
