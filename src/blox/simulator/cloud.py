"""A whole ECS in one value: the simulated cloud that tests, simulations and demos run against.

It is a pure state machine: the time is an argument, randomness comes from the seed, nothing is
awaited. `call` executes one operation of ECS's JSON API; `advance` lets time pass (tasks start and
stop, agents come and go); `take_events` hands out what EventBridge would. It is an adversary, but a
lawful one: within S, E and V (`blox.settings.Assumptions`) it does whatever hurts, never more.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from blox.settings import Assumptions
from blox.simulator import (
    access,
    daemon_services,
    definitions,
    lifecycle,
    machines,
    operations,
    providers,
    services,
    starting,
)
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
    Ticket,
)
from blox.simulator.parameters import Parameters
from blox.simulator.quotas import CATEGORIES, MUTATIONS, Buckets
from blox.simulator.signatures import check_signature
from blox.simulator.state import State

_Operation = Callable[[State, Parameters], Json]
_Act = Callable[[State, Parameters, CallLogged], Json]

_ACTS: Final[Mapping[str, _Act]] = {
    "StartTask": starting.start_task,
    "RunTask": starting.run_task,
    "StopTask": starting.stop_task,
}
_OPERATIONS: Final[Mapping[str, _Operation]] = {
    "CreateCluster": operations.create_cluster,
    "DeleteCluster": operations.delete_cluster,
    "DescribeClusters": operations.describe_clusters,
    "ListClusters": operations.list_clusters,
    "RegisterTaskDefinition": definitions.register_task_definition,
    "DeregisterTaskDefinition": definitions.deregister_task_definition,
    "DescribeTaskDefinition": definitions.describe_task_definition,
    "ListTaskDefinitions": definitions.list_task_definitions,
    "ListTaskDefinitionFamilies": definitions.list_task_definition_families,
    "ListContainerInstances": operations.list_container_instances,
    "DescribeContainerInstances": operations.describe_container_instances,
    "DeregisterContainerInstance": operations.deregister_container_instance,
    "UpdateContainerInstancesState": operations.update_container_instances_state,
    "PutAttributes": operations.put_attributes,
    "DeleteAttributes": operations.delete_attributes,
    "ListAttributes": operations.list_attributes,
    "ListTasks": starting.list_tasks,
    "DescribeTasks": starting.describe_tasks,
    "TagResource": operations.tag_resource,
    "UntagResource": operations.untag_resource,
    "ListTagsForResource": operations.list_tags_for_resource,
    "CreateService": services.create_service,
    "UpdateService": services.update_service,
    "DeleteService": services.delete_service,
    "ListServices": services.list_services,
    "DescribeServices": services.describe_services,
    "CreateCapacityProvider": providers.create_capacity_provider,
    "UpdateCapacityProvider": providers.update_capacity_provider,
    "DeleteCapacityProvider": providers.delete_capacity_provider,
    "DescribeCapacityProviders": providers.describe_capacity_providers,
    "PutClusterCapacityProviders": providers.put_cluster_capacity_providers,
    "ListAccountSettings": operations.list_account_settings,
}


class Cloud:
    """One account's ECS in one region. Times are seconds since 1970-01-01 UTC by ECS's clock and
    must not go back from one method call to the next."""

    counts: dict[str, int]
    """Operation → calls that reached ECS, reads included, refused ones too."""
    throttled: int
    """Calls refused with ThrottlingException."""

    def __init__(
        self,
        seed: int | str,
        *,
        account: str = "111122223333",
        region: str = "us-east-1",
        partition: str = "aws",
        assumptions: Assumptions | None = None,
        switches: Switches | None = None,
        faults: Faults | None = None,
        quotas: bool = False,
        service_delay: float = 8.0,
    ) -> None:
        """`service_delay`: the most seconds that ECS's service scheduler takes to see a change on
        a host; each delay is drawn."""
        self._state = State(
            seed,
            account=account,
            region=region,
            partition=partition,
            assumptions=assumptions or Assumptions(),
            switches=switches or Switches(),
            faults=faults or Faults.none(),
            service_delay=service_delay,
        )
        self._state.stirred = lambda host: daemon_services.stir(self._state, host)
        self._buckets = Buckets() if quotas else None
        self._request_id = ""
        self.counts = {}
        self.throttled = 0

    # --- The truth, for judges --------------------------------------------------------------------

    @property
    def log(self) -> list[CallLogged]:
        """Every call that changes things, in the order of acceptance."""
        return self._state.log

    @property
    def clusters(self) -> dict[str, ClusterRecord]:
        """By name, INACTIVE ones included."""
        return self._state.clusters

    @property
    def hosts(self) -> dict[str, HostRecord]:
        """By ARN, INACTIVE ones included."""
        return self._state.hosts

    @property
    def tasks(self) -> dict[str, TaskRecord]:
        """By ARN, stopped and expired ones included."""
        return self._state.tasks

    @property
    def definitions(self) -> dict[str, DefinitionRecord]:
        """By ARN."""
        return self._state.definitions

    @property
    def services(self) -> dict[str, ServiceRecord]:
        """By ARN."""
        return self._state.services

    @property
    def providers(self) -> dict[str, ProviderRecord]:
        """Capacity providers by name."""
        return self._state.providers

    def live_tasks(self, host_arn: str) -> list[TaskRecord]:
        """The tasks that hold resources on this host, oldest first."""
        return self._state.live_tasks(host_arn)

    def could_scale_in(self, cluster: str) -> list[str]:
        """ARNs of the cluster's hosts that ECS's managed scaling may take away now: it is on for
        their capacity provider and only tasks of DAEMON services are there, or none."""
        arns = self._state.hosts_in.get(cluster, [])
        return [arn for arn in arns if providers.idle(self._state, self.hosts[arn])]

    @property
    def now(self) -> float:
        """The latest time that it was told."""
        return self._state.now

    @property
    def assumptions(self) -> Assumptions:
        """S, E and V."""
        return self._state.assumptions

    @property
    def switches(self) -> Switches:
        """The answers to open questions; may be replaced at any time."""
        return self._state.switches

    @switches.setter
    def switches(self, switches: Switches) -> None:
        self._state.switches = switches

    @property
    def faults(self) -> Faults:
        """May be replaced at any time, so that a run can heal."""
        return self._state.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._state.faults = faults
        for host in self._state.hosts.values():
            lifecycle.flap_sometimes(self._state, host)

    # --- The API ----------------------------------------------------------------------------------

    def call(
        self,
        operation: str,
        params: Json,
        *,
        now: float,
        signed_at: float | None = None,
        caller: str = "",
    ) -> Json:
        """Execute one operation at once and return its answer as ECS's wire has it (camelCase,
        times as epoch seconds). `signed_at`: the signature's date; None: not checked.

        Raises Fault.
        """
        self._state.advance(now)
        logged = self._admit(operation, params, signed_at, caller)
        return self._execute(operation, params, logged)

    def execute_later(
        self,
        operation: str,
        params: Json,
        *,
        now: float,
        due: float,
        signed_at: float | None = None,
        caller: str = "",
    ) -> Ticket:
        """Accept one operation now and execute it in `advance` at `due` (within E of now, unless a
        switch breaks E). Raises Fault when it is refused at the door: signature, quota, access,
        unknown operation; ValueError when `due` is beyond E."""
        state = self._state
        state.advance(now)
        if due > state.now + state.assumptions.acceptance_lag + state.switches.acceptance_overrun:
            raise ValueError(f"{operation} cannot be executed {due - state.now:g} s later")
        logged = self._admit(operation, params, signed_at, caller)
        ticket = Ticket(due=due, request_id=logged.request_id, logged=logged)

        def execute() -> None:
            try:
                ticket.answer = self._execute(operation, logged.params, logged)
            except Fault as fault:
                ticket.fault = fault

        state.at(due, execute)
        return ticket

    def last_request_id(self) -> str:
        """The x-amzn-requestid of the call accepted or refused last."""
        return self._request_id

    def new_request_id(self) -> str:
        """A request id for an answer that ECS's front gives without looking at the call."""
        return self._state.new_uuid()

    def _admit(
        self, operation: str, params: Json, signed_at: float | None, caller: str
    ) -> CallLogged:
        """The door: known operation, signature, quota, access. Raises Fault."""
        state = self._state
        self._request_id = state.new_uuid()
        logged = CallLogged(
            time=state.now,
            operation=operation,
            params=params,
            caller=caller,
            request_id=self._request_id,
            signed_at=signed_at,
        )
        if operation not in CATEGORIES:
            raise Fault("UnknownOperationException", f"{operation} is not simulated.", 404)
        self.counts[operation] = self.counts.get(operation, 0) + 1
        if operation in MUTATIONS:
            logged.params = copy.deepcopy(params)
            state.log.append(logged)
        try:
            check_signature(state, signed_at, acts=operation in _ACTS)
            if self._buckets is not None and not self._buckets.take(operation, state.now):
                self.throttled += 1
                raise Fault("ThrottlingException", "Rate exceeded")
            if access.refuses(state.denied, f"ecs:{operation}"):
                raise starting.denied(state, f"ecs:{operation}", "*")
        except Fault as fault:
            logged.outcome = fault.code
            raise
        return logged

    def _execute(self, operation: str, params: Json, logged: CallLogged) -> Json:
        logged.executed_at = self._state.now
        try:
            parameters = Parameters(params)
            if operation in _ACTS:
                answer = _ACTS[operation](self._state, parameters, logged)
            else:
                answer = _OPERATIONS[operation](self._state, parameters)
        except Fault as fault:
            logged.outcome = fault.code
            raise
        logged.outcome = "done"
        return answer

    # --- Time -------------------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Carry out everything that is due by `now`, in the order of its time."""
        self._state.advance(now)

    def next_due(self) -> float | None:
        """When something happens next by itself; None: never."""
        return self._state.next_due()

    def take_events(self) -> list[Json]:
        """EventBridge envelopes of what changed since the last time, in the order of change."""
        events = self._state.events
        self._state.events = []
        return events

    # --- What happens to the world ----------------------------------------------------------------

    def add_cluster(self, name: str, *, now: float) -> str:
        """Create (or revive) a cluster; returns its ARN."""
        self._state.advance(now)
        return operations.revive_cluster(self._state, name).arn

    def delete_cluster(self, name: str, *, now: float) -> None:
        """Make it INACTIVE, whatever still runs there: hosts go INACTIVE, tasks stop."""
        self._state.advance(now)
        machines.delete_cluster(self._state, name)

    def recreate_cluster(self, name: str, *, now: float) -> str:
        """Revive a deleted cluster: the same name and ARN, empty."""
        return self.add_cluster(name, now=now)

    def add_definition(
        self,
        family: str,
        *,
        now: float,
        cpu: int = 64,
        memory: int = 128,
        host_ports: Sequence[int] = (),
        network_mode: str = "bridge",
        health_check: bool = False,
        stop_timeout: int | None = None,
        architecture: str | None = None,
        role: str | None = None,
        requires: Sequence[str] = (),
        constraint: str | None = None,
    ) -> str:
        """Register the next revision of `family` with one container; returns its ARN."""
        self._state.advance(now)
        return machines.add_definition(
            self._state,
            family,
            size=(cpu, memory),
            host_ports=host_ports,
            network_mode=network_mode,
            health_check=health_check,
            stop_timeout=stop_timeout,
            architecture=architecture,
            role=role,
            requires=requires,
            constraint=constraint,
        )

    def add_host(
        self,
        cluster: str,
        *,
        now: float,
        instance_id: str | None = None,
        cpu: int = 4096,
        memory: int = 8192,
        attributes: Mapping[str, str] | None = None,
        external: bool = False,
        arch: str = "x86_64",
        zone: str | None = None,
        status: str = "ACTIVE",
        provider: str = "",
    ) -> str:
        """A machine registers with the cluster, from a capacity provider if one is named; returns
        its container instance's ARN. Raises ValueError for an unknown provider."""
        self._state.advance(now)
        return machines.add_host(
            self._state,
            cluster,
            instance_id=instance_id,
            size=(cpu, memory),
            attributes=attributes or {},
            external=external,
            arch=arch,
            zone=zone,
            status=status,
            provider=provider,
        )

    def terminate_host(self, arn: str, *, now: float, agent_connected: bool = True) -> None:
        """The machine goes for good. With a connected agent the record goes INACTIVE and its tasks
        STOPPED; without, the record stays ACTIVE, disconnected, its tasks RUNNING, for ever."""
        self._state.advance(now)
        lifecycle.terminate(self._state, self.hosts[arn], agent_connected=agent_connected)

    def set_host_status(self, arn: str, status: str, *, now: float) -> None:
        """Any status but INACTIVE: REGISTERING, ACTIVE, DRAINING, DEREGISTERING, …"""
        self._state.advance(now)
        operations.set_status(self._state, self.hosts[arn], status)

    def drain_host(self, arn: str, *, now: float) -> None:
        """ACTIVE → DRAINING."""
        self.set_host_status(arn, "DRAINING", now=now)

    def activate_host(self, arn: str, *, now: float) -> None:
        """DRAINING → ACTIVE."""
        self.set_host_status(arn, "ACTIVE", now=now)

    def disconnect_agent(self, arn: str, *, now: float) -> None:
        """The agent goes away; what it should do waits."""
        self._state.advance(now)
        lifecycle.set_agent(self._state, self.hosts[arn], connected=False)

    def connect_agent(self, arn: str, *, now: float) -> None:
        """The agent is back and catches up. Nothing happens if the machine was terminated."""
        self._state.advance(now)
        lifecycle.set_agent(self._state, self.hosts[arn], connected=True)

    def reboot_host(self, arn: str, *, now: float, seconds: float = 60.0) -> None:
        """The machine is away for so long and comes back as the same container instance, with the
        tasks that ran on it stopped."""
        self._state.advance(now)
        lifecycle.reboot(self._state, self.hosts[arn], seconds=seconds)

    def duplicate_host(self, arn: str, *, now: float) -> str:
        """The machine registers anew: a second ACTIVE record with the same instance id; the old
        record stays ACTIVE, disconnected, and its tasks RUNNING. Returns the new ARN."""
        self._state.advance(now)
        return machines.duplicate(self._state, self.hosts[arn])

    def kill_task(self, arn: str, *, now: float, exit_code: int = 1) -> None:
        """Its essential container exits by itself."""
        self._state.advance(now)
        lifecycle.exit_task(self._state, self.tasks[arn], exit_code=exit_code)
        self._state.advance(now)

    def set_unhealthy(self, arn: str, *, now: float, health: str = "UNHEALTHY") -> None:
        """Its health check's verdict changes: no version, no event."""
        self._state.advance(now)
        self.tasks[arn].health = health

    def crash_loop(self, target: str, seconds: float | None) -> None:
        """Tasks of this family, or on this host (ARN), started from now on end by themselves this
        long after they reached RUNNING. None: no more."""
        if seconds is None:
            self._state.crashing.pop(target, None)
        else:
            self._state.crashing[target] = seconds

    def stall_pending(self, target: str, *, on: bool = True, now: float) -> None:
        """Tasks of this family, or on this host (ARN), stay PENDING until switched off."""
        self._state.advance(now)
        machines.stall(self._state, target, on=on)

    def deny(self, what: str, *, on: bool = True) -> None:
        """Refuse an action (`StartTask`, `ecs:Describe*`, `sqs:ReceiveMessage`), or passing the
        roles of a family (`passrole:FAMILY`), with AccessDeniedException. Raises ValueError for
        what would deny nothing."""
        entry = access.canonical(what)
        if on:
            self._state.denied[entry] = None
        else:
            self._state.denied.pop(entry, None)

    @property
    def denied(self) -> list[str]:
        """What is denied, in the order in which it was."""
        return list(self._state.denied)

    def denial(self, action: str) -> Fault:
        """The answer to a call that is refused for want of this action."""
        return starting.denied(self._state, action, "*")

    def denies(self, action: str, resource: str = "*") -> bool:
        """Whether a call that needs this IAM action on this resource is refused. Only
        iam:PassRole looks at the resource: a role's ARN, or "*" for any role."""
        if action == "iam:PassRole":
            return access.denies_role(self._state, resource)
        return access.refuses(self._state.denied, action)

    def poison_host(self, arn: str, *, on: bool = True) -> None:
        """Every StartTask that names this host is refused whole, for all its hosts."""
        self.hosts[arn].poisoned = on

    def start_foreign(
        self, cluster: str, host: str, family: str, *, now: float, service: str | None = None
    ) -> str:
        """Somebody else starts a task of `family` on `host`, past all checks of resources; with
        `service`, as that service's task. Returns its ARN."""
        self._state.advance(now)
        return machines.start_foreign(self._state, cluster, host, family, service=service)

    def stop_foreign(self, arn: str, *, now: float, reason: str = "Scaling activity") -> None:
        """Somebody else stops a task: desiredStatus STOPPED, as by the service scheduler."""
        self._state.advance(now)
        lifecycle.ask_to_stop(
            self._state, self.tasks[arn], code="ServiceSchedulerInitiated", reason=reason
        )

    def add_service(
        self,
        cluster: str,
        name: str,
        strategy: str = "REPLICA",
        *,
        now: float,
        definition: str = "",
        constraints: Sequence[str] = (),
    ) -> str:
        """A service; strategy REPLICA or DAEMON. Without a task definition it is only described
        and places nothing; with one a DAEMON service acts on every host that meets the memberOf
        `constraints`. Returns its ARN. Raises Fault."""
        self._state.advance(now)
        return machines.add_service(
            self._state, cluster, name, strategy, definition=definition, constraints=constraints
        )

    def delete_service(self, cluster: str, name: str, *, now: float) -> None:
        """It ends, and its tasks with it. Raises Fault."""
        self._state.advance(now)
        members: Json = {"cluster": cluster, "service": name, "force": True}
        services.delete_service(self._state, Parameters(members))

    def add_provider(
        self,
        name: str,
        *,
        now: float,
        cluster: str | None = None,
        managed_scaling: bool = True,
        termination_protection: bool = False,
        managed_draining: bool = True,
    ) -> str:
        """A capacity provider over an Auto Scaling group of the same name, given to a cluster if
        one is named; returns its ARN. Raises Fault."""
        self._state.advance(now)
        return machines.add_provider(
            self._state,
            name,
            cluster=cluster,
            managed_scaling=managed_scaling,
            termination_protection=termination_protection,
            managed_draining=managed_draining,
        )

    def set_digest(self, family: str, digest: str = "", *, now: float) -> str:
        """The images of a family's newest revision resolve to this digest from now on ("": to a
        new one), although their tag stays: tasks that pulled before keep what they have. Returns
        the digest."""
        self._state.advance(now)
        return machines.set_digest(self._state, family, digest)
