"""Carries out those steps of a workload that concern the cloud.

A step that no longer fits (its machine is gone, its cluster deleted) changes nothing: schedules are
made without knowing what comes of them.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from blox.ecs.model import ACTIVE, DRAINING
from blox.simulator.cloud import Cloud
from blox.simulator.faults import Faults
from blox.simulator.model import Fault, HostRecord, Json, TaskRecord
from blox.simulator.workload_steps import WORLD_ACTIONS, Action, Step

USER: Final = "user"
"""The caller of what people do by hand."""
POOL: Final = "pool"
"""The attribute by which environments select hosts."""


def apply(step: Step, cloud: Cloud, now: float) -> Step | None:
    """Do to the cloud what the step says. `now`: ECS's clock, in seconds since 1970-01-01 UTC.

    Returns the step when it is not the cloud's (`WORLD_ACTIONS`), else None.
    """
    if step.action in WORLD_ACTIONS:
        return step
    doing = _Doing(step, cloud, now)
    if step.action in _ON_CLOUD:
        _ON_CLOUD[step.action](doing)
        return None
    host = record_of(cloud, step.text("machine"))
    if host is None:
        return None
    if step.action in _ON_HOST:
        _ON_HOST[step.action](doing, host)
        return None
    task = doing.picked(host)
    if task is not None:
        _ON_TASK[step.action](doing, task)
    return None


def record_of(cloud: Cloud, machine: str) -> HostRecord | None:
    """The machine's newest record that is not INACTIVE."""
    records = [h for h in cloud.hosts.values() if h.instance_id == machine and not h.inactive]
    return records[-1] if records else None


@dataclass(frozen=True, slots=True)
class _Doing:
    """One step being carried out; a method for each kind."""

    step: Step
    cloud: Cloud
    now: float

    # --- The cloud itself -------------------------------------------------------------------------

    def add_cluster(self) -> None:
        self.cloud.add_cluster(self.step.text("cluster"), now=self.now)

    def delete_cluster(self) -> None:
        self.cloud.delete_cluster(self.step.text("cluster"), now=self.now)

    def recreate_cluster(self) -> None:
        self.cloud.recreate_cluster(self.step.text("cluster"), now=self.now)

    def add_definition(self) -> None:
        port = int(self.step.number("port"))
        family = self.step.text("family")
        self.cloud.add_definition(
            family,
            now=self.now,
            cpu=int(self.step.number("cpu")),
            memory=int(self.step.number("memory")),
            host_ports=(port,) if port else (),
            health_check=bool(self.step.arguments["health_check"]),
            stop_timeout=int(self.step.number("stop_timeout")),
            architecture=self.step.text("architecture") or None,
            role=f"{family}-role",
        )

    def join(self) -> None:
        cluster = self.step.text("cluster")
        if self.cloud.clusters[cluster].status != ACTIVE:
            return
        self.cloud.add_host(
            cluster,
            now=self.now,
            instance_id=self.step.text("machine"),
            attributes={POOL: self.step.text("pool")},
            external=bool(self.step.arguments["external"]),
            arch=self.step.text("arch"),
            status="REGISTERING" if self.step.arguments["registering"] else ACTIVE,
            provider=self.step.text("provider"),
        )

    def add_provider(self) -> None:
        self.cloud.add_provider(
            self.step.text("provider"), now=self.now, cluster=self.step.text("cluster")
        )

    def add_service(self) -> None:
        with suppress(Fault):
            self.cloud.add_service(
                self.step.text("cluster"),
                self.step.text("service"),
                "DAEMON",
                now=self.now,
                definition=self.step.text("family"),
            )

    def delete_service(self) -> None:
        with suppress(Fault):
            self.cloud.delete_service(
                self.step.text("cluster"), self.step.text("service"), now=self.now
            )

    def faults(self) -> None:
        rates = {name: float(rate) for name, rate in self.step.arguments.items()}
        self.cloud.faults = Faults(**rates)

    def deny(self) -> None:
        begins = self.step.action == Action.DENY_BEGIN
        self.cloud.deny(f"passrole:{self.step.text('family')}", on=begins)

    def loop(self) -> None:
        begins = self.step.action == Action.LOOP_BEGIN
        for target in self.targets():
            self.cloud.crash_loop(target, self.step.number("seconds") if begins else None)

    def stall(self) -> None:
        begins = self.step.action == Action.STALL_BEGIN
        for target in self.targets():
            self.cloud.stall_pending(target, on=begins, now=self.now)

    def poison(self) -> None:
        for arn in self.targets():
            self.cloud.poison_host(arn, on=self.step.action == Action.POISON_BEGIN)

    def targets(self) -> list[str]:
        """A family, or every record that the machine ever had: what lasts ends on all of them."""
        family, machine = self.step.text("family"), self.step.text("machine")
        if family:
            return [family]
        return [host.arn for host in self.cloud.hosts.values() if host.instance_id == machine]

    # --- Hosts ------------------------------------------------------------------------------------

    def ready(self, host: HostRecord) -> None:
        if host.status == "REGISTERING":
            self.cloud.set_host_status(host.arn, ACTIVE, now=self.now)

    def drain(self, host: HostRecord) -> None:
        if host.status == ACTIVE:
            self.cloud.drain_host(host.arn, now=self.now)

    def activate(self, host: HostRecord) -> None:
        if host.status == DRAINING:
            self.cloud.activate_host(host.arn, now=self.now)

    def terminate(self, host: HostRecord) -> None:
        connected = self.step.action == Action.HOST_TERMINATE
        self.cloud.terminate_host(host.arn, now=self.now, agent_connected=connected)

    def duplicate(self, host: HostRecord) -> None:
        if host.alive:
            self.cloud.duplicate_host(host.arn, now=self.now)

    def reboot(self, host: HostRecord) -> None:
        if host.alive:
            self.cloud.reboot_host(host.arn, now=self.now, seconds=self.step.number("seconds"))

    def move(self, host: HostRecord) -> None:
        attribute: Json = {
            "name": POOL,
            "value": self.step.text("pool"),
            "targetType": "container-instance",
            "targetId": host.arn,
        }
        params: Json = {"cluster": host.cluster, "attributes": [attribute]}
        with suppress(Fault):
            self.cloud.call("PutAttributes", params, now=self.now, caller=USER)

    def lose(self, host: HostRecord) -> None:
        self.cloud.disconnect_agent(host.arn, now=self.now)

    def find(self, host: HostRecord) -> None:
        self.cloud.connect_agent(host.arn, now=self.now)

    def foreign(self, host: HostRecord) -> None:
        self.cloud.start_foreign(
            host.cluster,
            host.arn,
            self.step.text("family"),
            now=self.now,
            service=self.step.text("service") or None,
        )

    def foreign_ends(self, host: HostRecord) -> None:
        for task in self.cloud.live_tasks(host.arn):
            if task.family == self.step.text("family"):
                self.cloud.stop_foreign(task.arn, now=self.now)

    # --- Daemons ----------------------------------------------------------------------------------

    def crash(self, task: TaskRecord) -> None:
        self.cloud.kill_task(task.arn, now=self.now)

    def kill(self, task: TaskRecord) -> None:
        self.cloud.stop_foreign(task.arn, now=self.now, reason="Stopped by a user")

    def sicken(self, task: TaskRecord) -> None:
        if self.cloud.definitions[task.definition].health_check:
            self.cloud.set_unhealthy(task.arn, now=self.now)

    def picked(self, host: HostRecord) -> TaskRecord | None:
        """The daemon on the host that the step's number in [0, 1) picks."""
        live = self.cloud.live_tasks(host.arn)
        daemons = [task for task in live if task.group.startswith("blox:")]
        return daemons[int(self.step.number("pick") * len(daemons))] if daemons else None


_ON_CLOUD: Final[dict[Action, Callable[[_Doing], None]]] = {
    Action.CLUSTER_ADD: _Doing.add_cluster,
    Action.CLUSTER_DELETE: _Doing.delete_cluster,
    Action.CLUSTER_RECREATE: _Doing.recreate_cluster,
    Action.DEFINITION_ADD: _Doing.add_definition,
    Action.HOST_JOIN: _Doing.join,
    Action.PROVIDER_ADD: _Doing.add_provider,
    Action.SERVICE_ADD: _Doing.add_service,
    Action.SERVICE_DELETE: _Doing.delete_service,
    Action.FAULTS: _Doing.faults,
    Action.DENY_BEGIN: _Doing.deny,
    Action.DENY_END: _Doing.deny,
    Action.LOOP_BEGIN: _Doing.loop,
    Action.LOOP_END: _Doing.loop,
    Action.STALL_BEGIN: _Doing.stall,
    Action.STALL_END: _Doing.stall,
    Action.POISON_BEGIN: _Doing.poison,
    Action.POISON_END: _Doing.poison,
}

_ON_HOST: Final[dict[Action, Callable[[_Doing, HostRecord], None]]] = {
    Action.HOST_READY: _Doing.ready,
    Action.HOST_DRAIN: _Doing.drain,
    Action.HOST_ACTIVATE: _Doing.activate,
    Action.HOST_TERMINATE: _Doing.terminate,
    Action.HOST_VANISH: _Doing.terminate,
    Action.HOST_DUPLICATE: _Doing.duplicate,
    Action.HOST_REBOOT: _Doing.reboot,
    Action.HOST_MOVE: _Doing.move,
    Action.AGENT_LOSE: _Doing.lose,
    Action.AGENT_FIND: _Doing.find,
    Action.TASK_FOREIGN: _Doing.foreign,
    Action.TASK_OTHER: _Doing.foreign,
    Action.TASK_OTHER_ENDS: _Doing.foreign_ends,
}

_ON_TASK: Final[dict[Action, Callable[[_Doing, TaskRecord], None]]] = {
    Action.TASK_CRASH: _Doing.crash,
    Action.TASK_KILL: _Doing.kill,
    Action.TASK_SICKEN: _Doing.sicken,
}
