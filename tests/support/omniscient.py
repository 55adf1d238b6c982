"""A caller that needs no view: it reads the simulated cloud's truth, or the truth of a while ago.

It keeps every promise by construction, with the plainest code that does, so whatever the oracle
holds against it is the oracle's mistake. `crime` makes it break one rule. It is never told to
freeze, to hold or to adopt, and deletes environments without their tasks.
"""

from collections import deque
from dataclasses import dataclass, field
from random import Random

from blox.simulator.cloud import Cloud
from blox.simulator.disturber import POOL, apply
from blox.simulator.model import Fault, HostRecord, Json, TaskRecord
from blox.simulator.oracle import Allowances, Oracle, Violation
from blox.simulator.oracle_truth import allowance
from blox.simulator.workload import Action, Size, Step, Workload

BEGIN = 1_750_000_000.0
OURS = "blox"
TICK = 5.0
HEALTHY_AFTER = 10.0
DRAIN_DEADLINE = 900.0
MANY = 100
"""Stops that the user confirms whenever hosts are selected anew: it guards against no mistakes."""


@dataclass(slots=True)
class Known:
    """One host as it was at some moment."""

    startable: bool
    leaving: bool
    draining_since: float | None


@dataclass(slots=True)
class Environment:
    key: str
    name: str
    cluster: str
    family: str
    pool: str
    max_unavailable: str
    definition: str = ""
    deployments: list[str] = field(default_factory=list)

    def selects(self, host: HostRecord) -> bool:
        return self.pool in ("", host.attributes.get(POOL))


class Omniscient:
    """A whole run: workload, cloud, oracle, caller."""

    def __init__(self, seed: int, *, size: Size, delay: float = 0.0, crime: str = "") -> None:
        self.workload = Workload(Random(seed), size)
        self.cloud = Cloud(seed, switches=self.workload.switches)
        self.oracle = Oracle(
            self.cloud, allowances=Allowances(), ours=lambda call: call.caller == OURS
        )
        self.now = BEGIN
        self.delay = delay
        self.crime = crime
        self.environments: dict[str, Environment] = {}
        self._counter = 0
        self._draining: dict[str, float] = {}
        self._past: deque[tuple[float, dict[tuple[str, str], Known]]] = deque()

    def run(self, *, healing: float = 3600.0) -> list[Violation]:
        """Everything that the oracle finds, the end included."""
        steps = deque([*self.workload.setup, *self.workload.steps])
        end = BEGIN + self.workload.healing_at + healing
        while self.now < end:
            tick = self.now + TICK
            while steps and BEGIN + steps[0].at <= tick:
                step = steps.popleft()
                self._move_to(max(self.now, BEGIN + step.at))
                self._take(step)
                self.oracle.step(self.now)
            self._move_to(tick)
            self._act()
        self.oracle.healed(self.now)
        return self.oracle.violations

    def _move_to(self, time: float) -> None:
        """Let time pass, showing the oracle every change at its time."""
        due = self.cloud.next_due()
        while due is not None and due <= time:
            self.now = max(self.now, due)
            self.cloud.advance(self.now)
            self.oracle.step(self.now)
            due = self.cloud.next_due()
        self.now = time
        self.cloud.advance(time)
        self.oracle.step(time)

    # --- The user ---------------------------------------------------------------------------------

    def _take(self, step: Step) -> None:
        if step.action == Action.FAULTS:
            return
        left = apply(step, self.cloud, self.now)
        if left is None:
            return
        name = step.text("environment")
        if step.action == Action.ENVIRONMENT_CREATE:
            self._counter += 1
            self.environments[name] = Environment(
                f"{name}#{self._counter}",
                name,
                step.text("cluster"),
                step.text("family"),
                step.text("pool"),
                step.text("max_unavailable"),
            )
            self._deploy(name)
        elif step.action in (Action.ENVIRONMENT_DELETE, Action.ENVIRONMENT_END):
            self.oracle.expect_none(self.environments.pop(name).key, now=self.now)
        elif step.action == Action.DEPLOY:
            self._deploy(name)
        elif step.action == Action.MOVE_POOL:
            self.environments[name].pool = step.text("pool")
            self._deploy(name)
            self.oracle.confirmed(self.environments[name].key, MANY, now=self.now)

    def _deploy(self, name: str) -> None:
        environment = self.environments[name]
        self._counter += 1
        environment.deployments.append(f"deployment-{self._counter}")
        definitions = self.cloud.definitions.values()
        environment.definition = [d.arn for d in definitions if d.family == environment.family][-1]
        pool = environment.pool
        self.oracle.expect(
            environment.key,
            now=self.now,
            name=name,
            cluster=environment.cluster,
            definition=environment.definition,
            selector=lambda host: pool in ("", host.attributes.get(POOL)),
            max_unavailable=environment.max_unavailable,
            healthy_after=HEALTHY_AFTER,
            drain_deadline=DRAIN_DEADLINE,
        )
        self.oracle.deployed(environment.key, environment.deployments[-1])

    # --- What it knows ----------------------------------------------------------------------------

    def _look(self) -> dict[tuple[str, str], Known]:
        """How every host stood `delay` seconds ago."""
        seen: dict[tuple[str, str], Known] = {}
        newest: dict[str, HostRecord] = {}
        for host in self.cloud.hosts.values():
            if host.status != "DRAINING":
                self._draining.pop(host.arn, None)
            elif host.arn not in self._draining:
                self._draining[host.arn] = self.now
            if host.agent_connected and not host.inactive:
                newest[host.instance_id] = host
        for environment in self.environments.values():
            for host in self.cloud.hosts.values():
                if host.cluster == environment.cluster and not host.inactive:
                    superseded = newest.get(host.instance_id, host) is not host
                    seen[environment.key, host.arn] = Known(
                        startable=host.status == "ACTIVE"
                        and host.agent_connected
                        and environment.selects(host)
                        and not superseded,
                        leaving=superseded
                        or (host.status == "ACTIVE" and not environment.selects(host)),
                        draining_since=self._draining.get(host.arn),
                    )
        self._past.append((self.now, seen))
        while len(self._past) > 1 and self._past[1][0] <= self.now - self.delay:
            self._past.popleft()
        return self._past[0][1]

    def _ours(self, environment: Environment, host: str) -> list[TaskRecord]:
        live = self.cloud.live_tasks(host)
        return [task for task in live if task.started_by in environment.deployments]

    def _able(self, environment: Environment, host: HostRecord) -> bool:
        document = self.cloud.definitions[environment.definition].document
        platform = document.get("runtimePlatform")
        asked = platform.get("cpuArchitecture") if isinstance(platform, dict) else None
        return asked is None or host.attributes["ecs.cpu-architecture"] == "x86_64"

    def _healthy(self, task: TaskRecord) -> bool:
        ran = task.started_at is not None and task.started_at + HEALTHY_AFTER <= self.now
        return ran and task.desired_status == "RUNNING" and task.health != "UNHEALTHY"

    # --- What it does -----------------------------------------------------------------------------

    def _act(self) -> None:
        known = self._look()
        for environment in list(self.environments.values()):
            wanted, free = self._budget(environment, known)
            budget = allowance(environment.max_unavailable, wanted) - (wanted - free)
            for (key, arn), host in known.items():
                if key != environment.key or self.cloud.hosts[arn].inactive:
                    continue
                budget -= self._act_on(environment, arn, host, budget)

    def _budget(
        self, environment: Environment, known: dict[tuple[str, str], Known]
    ) -> tuple[int, int]:
        """(wanted hosts, those with one healthy daemon)."""
        wanted = healthy = 0
        for (key, arn), host in known.items():
            if key != environment.key or not host.startable:
                continue
            if self._able(environment, self.cloud.hosts[arn]):
                wanted += 1
                tasks = self._ours(environment, arn)
                healthy += len(tasks) == 1 and self._healthy(tasks[0])
        return wanted, healthy

    def _act_on(self, environment: Environment, arn: str, known: Known, budget: int) -> int:
        """Returns how much budget it took."""
        tasks = self._ours(environment, arn)
        host = self.cloud.hosts[arn]
        startable = known.startable and self._able(environment, host)
        if not tasks:
            if startable or (self.crime == "starts anywhere" and host.agent_connected):
                self._start(environment, host)
            return 0
        wanted = [task for task in tasks if task.desired_status == "RUNNING"]
        if self.crime == "starts a second" and len(tasks) == 1:
            self._start(environment, host)
        if not wanted:
            return 0
        task = wanted[0]
        failing = task.health == "UNHEALTHY" or self._overdue(task)
        if known.leaving or failing or self._may_leave(known, arn):
            self._stop(task)
            return 0
        outdated = task.definition != environment.definition and startable and self._healthy(task)
        if (outdated and budget > 0) or self.crime == self._temptation(outdated=outdated):
            self._stop(task)
            return 1
        return 0

    def _temptation(self, *, outdated: bool) -> str:
        """What a criminal would do to a healthy daemon."""
        return "ignores the budget" if outdated else "stops unasked"

    def _may_leave(self, known: Known, arn: str) -> bool:
        if known.draining_since is None:
            return False
        if self.now - known.draining_since >= DRAIN_DEADLINE or self.crime == "leaves first":
            return True
        services = self.cloud.services.values()
        daemons = [f"service:{s.name}" for s in services if s.strategy == "DAEMON"]
        return all(
            task.group.startswith("blox:") or task.group in daemons
            for task in self.cloud.live_tasks(arn)
        )

    def _overdue(self, task: TaskRecord) -> bool:
        return task.started_at is None and self.now - task.created_at >= 300.0

    def _start(self, environment: Environment, host: HostRecord) -> None:
        live = self.cloud.live_tasks(host.arn)
        occupied = any(
            task.family == environment.family and task.started_by not in environment.deployments
            for task in live
        )
        if occupied and self.crime != "starts beside others":
            return
        self._counter += 1
        variables = [{"name": "BLOX_INTENT", "value": f"INTENT{self._counter:020d}"}]
        override = {"name": environment.family, "environment": variables}
        self._send(
            "StartTask",
            {
                "cluster": host.cluster,
                "taskDefinition": environment.definition,
                "containerInstances": [host.arn],
                "startedBy": environment.deployments[-1],
                "group": f"blox:{environment.name}",
                "overrides": {"containerOverrides": [override]},
            },
        )

    def _stop(self, task: TaskRecord) -> None:
        self._send("StopTask", {"cluster": task.cluster, "task": task.arn, "reason": "asked"})

    def _send(self, operation: str, params: Json) -> None:
        old = 0.0 if self.cloud.switches.backdated_refused else self.cloud.assumptions.dated_back
        try:
            self.cloud.call(operation, params, now=self.now, signed_at=self.now - old, caller=OURS)
        except Fault:
            pass
        finally:
            self.oracle.step(self.now)
