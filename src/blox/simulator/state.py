"""The simulated ECS's memory and its calendar: look-ups, identifiers, events, and what is due when.

Everything that changes a record goes through here or `blox.simulator.lifecycle`, so that versions,
events and indexes stay in step.
"""

import hashlib
import heapq
from bisect import bisect_left, insort
from collections.abc import Callable
from random import Random
from uuid import UUID

from blox.settings import Assumptions
from blox.simulator.documents import Usage, host_detail, host_document, iso, task_detail
from blox.simulator.documents import task_document as task_shown
from blox.simulator.faults import Faults
from blox.simulator.model import (
    CallLogged,
    ClusterRecord,
    DefinitionRecord,
    Fault,
    HostRecord,
    Json,
    ProviderRecord,
    ServiceRecord,
    Switches,
    TaskRecord,
)
from blox.simulator.parameters import check_cluster_name, invalid
from blox.simulator.visibility import shows

INACTIVE_SHOWN = 3600.0
"""Seconds that a deregistered container instance can still be described:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-versions.html"""


class State:
    """All that one simulated account and region knows. Owned by a `Cloud`."""

    def __init__(
        self,
        seed: int | str,
        *,
        account: str,
        region: str,
        partition: str,
        assumptions: Assumptions,
        switches: Switches,
        faults: Faults,
        service_delay: float = 8.0,
    ) -> None:
        """`service_delay`: the most seconds that the service scheduler takes to see a change."""
        self.account = account
        self.region = region
        self.partition = partition
        self.assumptions = assumptions
        self.switches = switches
        self.faults = faults
        self.now = 0.0
        self.ids = Random(f"{seed}/ids")
        self.life = Random(f"{seed}/life")
        self.sight = Random(f"{seed}/sight")
        self.placing = Random(f"{seed}/placing")
        self.service_delay = service_delay
        self.stirred: Callable[[HostRecord], None] = lambda _host: None
        """Called when something changed on a host that may concern services."""
        self.clusters: dict[str, ClusterRecord] = {}
        self.hosts: dict[str, HostRecord] = {}
        self.tasks: dict[str, TaskRecord] = {}
        self.definitions: dict[str, DefinitionRecord] = {}
        self.families: dict[str, list[str]] = {}
        """Family → ARNs of its revisions, oldest first."""
        self.services: dict[str, ServiceRecord] = {}
        self.providers: dict[str, ProviderRecord] = {}
        """By name."""
        self.digests: dict[str, str] = {}
        """Image → what its tag means now, where somebody moved it."""
        self.hosts_in: dict[str, list[str]] = {}
        """Cluster name → ARNs of its hosts that can be listed or described, in order."""
        self.tasks_in: dict[str, list[str]] = {}
        """Cluster name → ARNs of its tasks that have not expired, in order."""
        self.tasks_by: dict[tuple[str, str], list[str]] = {}
        """(cluster name, startedBy) → ARNs of tasks that have not expired, in order."""
        self.tasks_of: dict[str, list[str]] = {}
        """Host ARN → ARNs of its tasks that have not expired, in order."""
        self.live_on: dict[str, dict[str, None]] = {}
        """Host ARN → ARNs of its live tasks, oldest first."""
        self.tokens: dict[tuple[str, str], tuple[str, list[str], float]] = {}
        """(cluster name, RunTask's clientToken) → its request, the tasks made, when it expires."""
        self.denied: dict[str, None] = {}
        """What IAM denies: see `blox.simulator.access`."""
        self.crashing: dict[str, float] = {}
        """Family or host ARN → how long its tasks live."""
        self.stalled: dict[str, None] = {}
        """Families and host ARNs whose tasks stay PENDING."""
        self.events: list[Json] = []
        self.log: list[CallLogged] = []
        self._calendar: list[tuple[float, int, Callable[[], None]]] = []
        self._planned = 0

    # --- The calendar -----------------------------------------------------------------------------

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do `action` when `advance` reaches `time`; plans for one time keep their order."""
        self._planned += 1
        heapq.heappush(self._calendar, (max(time, self.now), self._planned, action))

    def next_due(self) -> float | None:
        """The time of the next plan."""
        return self._calendar[0][0] if self._calendar else None

    def advance(self, now: float) -> None:
        """Carry out what is due by `now`. A time before the last one counts as the last one."""
        until = max(self.now, now)
        while self._calendar and self._calendar[0][0] <= until:
            time, _, action = heapq.heappop(self._calendar)
            self.now = max(self.now, time)
            action()
        self.now = until

    # --- Names ------------------------------------------------------------------------------------

    def new_id(self) -> str:
        """32 hexadecimal digits, as ECS's ids are."""
        return f"{self.ids.getrandbits(128):032x}"

    def new_uuid(self) -> str:
        """A request's or an event's id."""
        return str(UUID(int=self.ids.getrandbits(128), version=4))

    def arn(self, kind: str, name: str, *, cluster: str | None = None) -> str:
        """An ARN of ours; with `cluster` in the long format."""
        middle = f"{cluster}/" if cluster is not None and not self.switches.short_arns else ""
        return f"arn:{self.partition}:ecs:{self.region}:{self.account}:{kind}/{middle}{name}"

    def cluster(self, reference: str | None) -> ClusterRecord:
        """The ACTIVE cluster of this name or ARN; None means `default`. Raises Fault."""
        name = (reference or "default").rsplit("/", 1)[-1]
        check_cluster_name(name)
        found = self.clusters.get(name)
        if found is None:
            raise Fault("ClusterNotFoundException", "Cluster not found.")
        if found.status != "ACTIVE":
            raise Fault("ClusterNotFoundException", "The referenced cluster was inactive.")
        return found

    def _find(self, kind: str, reference: str, cluster: str) -> str:
        """The ARN that `reference`, an ARN or an id, means in `cluster`. Raises Fault when a long
        ARN names another cluster (https://github.com/docker-archive/compose-cli/issues/2086)."""
        if not reference.startswith("arn:"):
            return self.arn(kind, reference, cluster=cluster)
        parts = reference.split("/")
        if len(parts) == 3 and parts[1] != cluster:
            raise invalid(
                f"Invalid identifier: Identifier is for cluster {parts[1]}. "
                f"Your cluster is {cluster}"
            )
        return reference

    def host(self, reference: str, cluster: str) -> tuple[str, HostRecord | None]:
        """The ARN that `reference` means in `cluster`, and the host if it can be described."""
        arn = self._find("container-instance", reference, cluster)
        found = self.hosts.get(arn)
        if found is None or found.cluster != cluster:
            return arn, None
        if found.inactive_at is not None and self.now >= found.inactive_at + INACTIVE_SHOWN:
            return arn, None
        return arn, found

    def task(self, reference: str, cluster: str) -> tuple[str, TaskRecord | None]:
        """The ARN that `reference` means in `cluster`, and the task if it has not expired."""
        arn = self._find("task", reference, cluster)
        found = self.tasks.get(arn)
        if found is None or found.cluster != cluster or found.expired:
            return arn, None
        return arn, found

    def service(self, reference: str, cluster: str) -> tuple[str, ServiceRecord | None]:
        """The ARN that a service's name or ARN means in `cluster`, and the service if there is
        one, of whatever status."""
        arn = self._find("service", reference, cluster)
        if arn.count("/") == 1:
            arn = self.arn("service", arn.rsplit("/", 1)[-1], cluster=cluster)
        found = self.services.get(arn)
        return arn, found if found is not None and found.cluster == cluster else None

    def definition(self, reference: str) -> DefinitionRecord:
        """The revision that `family`, `family:revision` or an ARN means. Raises Fault."""
        name = reference.rsplit("/", 1)[-1]
        found = self.definitions.get(self.arn("task-definition", name))
        if found is None and ":" not in name:
            active = [arn for arn in self.families.get(name, []) if self.definitions[arn].active]
            found = self.definitions[active[-1]] if active else None
        if found is None:
            raise Fault("ClientException", "Unable to describe task definition.")
        return found

    def digest(self, image: str) -> str:
        """What this image's tag means now."""
        made = hashlib.sha256(image.encode()).hexdigest()
        return self.digests.get(image, f"sha256:{made}")

    # --- Visibility -------------------------------------------------------------------------------

    @property
    def read_bound(self) -> float:
        """V, or what it really is when a switch breaks it."""
        return self.assumptions.read_lag + self.switches.read_overrun

    def task_shown(self, task: TaskRecord, *, listing: bool) -> bool:
        """Whether this one read shows the task."""
        return shows(
            self.sight,
            self.faults,
            age=self.now - task.created_at,
            lag=task.list_lag if listing else task.describe_lag,
            bound=self.read_bound,
        )

    def host_shown(self, host: HostRecord, *, listing: bool) -> bool:
        """Whether this one read shows the host."""
        return shows(
            self.sight,
            self.faults,
            age=self.now - host.registered_at,
            lag=host.list_lag if listing else host.describe_lag,
            bound=self.read_bound,
        )

    # --- Documents and events ---------------------------------------------------------------------

    def live_tasks(self, host_arn: str) -> list[TaskRecord]:
        """The tasks that hold resources on a host, oldest first."""
        return [self.tasks[arn] for arn in self.live_on.get(host_arn, {})]

    def usage(self, host_arn: str) -> Usage:
        """What a host's live tasks take."""
        live = self.live_tasks(host_arn)
        return Usage(
            cpu=sum(task.cpu for task in live),
            memory=sum(task.memory for task in live),
            tcp=tuple(port for task in live for port in task.ports_tcp),
            udp=tuple(port for task in live for port in task.ports_udp),
            running=sum(task.desired_status == "RUNNING" for task in live),
            pending=sum(task.last_status == "PENDING" for task in live),
        )

    def task_document(self, task: TaskRecord, *, with_tags: bool = False) -> Json:
        """The task as the API shows it now."""
        return task_shown(
            task,
            self.definitions[task.definition],
            self.hosts[task.host],
            cluster_arn=self.clusters[task.cluster].arn,
            with_tags=with_tags,
        )

    def host_document(
        self, host: HostRecord, *, with_tags: bool = False, with_health: bool = False
    ) -> Json:
        """The host as the API shows it now."""
        return host_document(
            host, self.usage(host.arn), with_tags=with_tags, with_health=with_health
        )

    def task_changed(self, task: TaskRecord, *, first: bool = False) -> None:
        """Raise the task's version, unless it is new, and tell EventBridge."""
        task.version += 0 if first else 1
        detail = task_detail(
            task,
            self.definitions[task.definition],
            self.hosts[task.host],
            cluster_arn=self.clusters[task.cluster].arn,
            time=self.now,
            with_overrides=self.switches.events_carry_overrides,
        )
        self._emit("ECS Task State Change", task.arn, detail)

    def host_changed(self, host: HostRecord, *, first: bool = False) -> None:
        """Raise the host's version, unless it is new, and tell EventBridge."""
        host.version += 0 if first else 1
        cluster_arn = self.clusters[host.cluster].arn
        detail = host_detail(host, self.usage(host.arn), cluster_arn=cluster_arn, time=self.now)
        self._emit("ECS Container Instance State Change", host.arn, detail)
        self.stirred(host)

    def _emit(self, kind: str, resource: str, detail: Json) -> None:
        envelope: Json = {
            "version": "0",
            "id": self.new_uuid(),
            "detail-type": kind,
            "source": "aws.ecs",
            "account": self.account,
            "time": iso(float(int(self.now))),
            "region": self.region,
            "resources": [resource],
            "detail": detail,
        }
        self.events.append(envelope)

    # --- Indexes ----------------------------------------------------------------------------------

    def index_task(self, task: TaskRecord) -> None:
        """Enter a new task everywhere."""
        self.tasks[task.arn] = task
        self.live_on.setdefault(task.host, {})[task.arn] = None
        for index in self._indexes(task):
            insort(index, task.arn)

    def expire_task(self, task: TaskRecord) -> None:
        """ECS forgets a stopped task; the truth keeps it."""
        task.expired = True
        for index in self._indexes(task):
            at = bisect_left(index, task.arn)
            if at < len(index) and index[at] == task.arn:
                del index[at]

    def _indexes(self, task: TaskRecord) -> list[list[str]]:
        return [
            self.tasks_in.setdefault(task.cluster, []),
            self.tasks_by.setdefault((task.cluster, task.started_by), []),
            self.tasks_of.setdefault(task.host, []),
        ]
