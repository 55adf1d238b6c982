"""A story of taking over from a DAEMON service: service, environment, operator, what ECS saw."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from blox.scheduler.adopting import Existing
from blox.scheduler.migrations import constraint_of
from blox.scheduler.model import Environment, Migration, Policy
from blox.scheduler.moves import MigrationSeen
from blox.scheduler.service import Wish
from blox.simulator.faults import Faults
from blox.simulator.model import Json, TaskRecord
from support.drills import Drill

SERVICE = "shipper"
CONSTRAINT = constraint_of("blox.logs")
EASY = Policy(max_unavailable="100%", min_healthy_seconds=0)


class Story:
    """A service on every host, and an environment that is to take its place."""

    def __init__(self, drill: Drill) -> None:
        self.drill = drill
        self.cloud = drill.cloud
        self.environment: Environment

    async def serve(self, *, constraints: tuple[str, ...] = (), definition: str = "agent") -> None:
        """The service runs everywhere."""
        now = self.drill.live.now()
        self.cloud.add_service(
            "demo", SERVICE, "DAEMON", now=now, definition=definition, constraints=constraints
        )
        self.drill.live.settle()
        await self.drill.until(lambda: len(self.theirs()) == len(self.drill.hosts), within=60.0)

    def stops_slowly(self) -> None:
        """Containers ignore SIGTERM: each task takes more than half a minute to stop."""
        self.cloud.faults = replace(Faults.none(), slow_stop=1.0)

    async def begin(self, *, wave: int = 2, policy: Policy = EASY, family: str = "agent") -> None:
        """An environment for the family of the service, its migration, and its deployment."""
        service = self.drill.process.service
        wish = Wish(task_definition=family, policy=policy)
        self.environment = await service.create("logs", "demo", wish, existing=Existing.WAIT)
        self.drill.process.environments_changed()
        await service.takeover.begin(self.environment, SERVICE, wave=wave)
        await service.deploy(self.environment.id)

    def constrain(self, *expressions: str) -> None:
        """What the operator runs: `aws ecs update-service --placement-constraints …`."""
        wanted = [{"type": "memberOf", "expression": e} for e in expressions or (CONSTRAINT,)]
        self.call("UpdateService", service=SERVICE, placementConstraints=wanted)

    def call(self, operation: str, **members: Any) -> Json:
        """A call by the operator."""
        answer = self.cloud.call(
            operation, {"cluster": "demo", **members}, now=self.drill.live.now(), caller="operator"
        )
        self.drill.live.settle()
        return answer

    async def back(self, *, on: bool = True) -> None:
        await self.drill.process.service.takeover.change(self.record, back=on)

    # --- What is there ----------------------------------------------------------------------------

    @property
    def record(self) -> Environment:
        found = self.drill.process.repository.environment(self.environment.id)
        assert found is not None
        return found

    @property
    def migration(self) -> Migration:
        found = self.drill.process.repository.migration(self.environment.id)
        assert found is not None
        return found

    @property
    def seen(self) -> MigrationSeen:
        found = self.drill.process.scheduler.migrator.seen(self.environment.id)
        assert found is not None
        return found

    def phase(self) -> str:
        seen = self.drill.process.scheduler.migrator.seen(self.environment.id)
        return "" if seen is None else seen.step.phase

    def running(self, group: str) -> list[str]:
        """Hosts on which a task of the group runs and is wanted."""
        return sorted(
            task.host
            for task in self.cloud.tasks.values()
            if task.group == group and task.last_status == task.desired_status == "RUNNING"
        )

    def ours(self) -> list[str]:
        return self.running("blox:logs")

    def theirs(self) -> list[str]:
        return self.running(f"service:{SERVICE}")

    def mark(self, host: str) -> str | None:
        return self.cloud.hosts[host].attributes.get("blox.logs")

    def marked(self) -> list[str]:
        return [host for host in self.drill.hosts if self.mark(host) is not None]

    async def in_phase(self, phase: str, *, within: float = 900.0) -> float:
        return await self.drill.until(lambda: self.phase() == phase, within=within)

    def both_wanted(self) -> list[str]:
        """Pairs of tasks of both sides on one host that ECS wanted at one time."""
        return [
            f"{ours.arn} and {theirs.arn} on {ours.host}"
            for ours, theirs in self._pairs()
            if overlap(wanted(ours), wanted(theirs))
        ]

    def both_running(self) -> float:
        """Seconds for which both ran on one host, at the worst host."""
        return max((overlap(ran(ours), ran(theirs)) for ours, theirs in self._pairs()), default=0.0)

    def _pairs(self) -> Iterator[tuple[TaskRecord, TaskRecord]]:
        tasks = self.cloud.tasks.values()
        mine = [task for task in tasks if task.group == "blox:logs"]
        others = [task for task in tasks if task.group == f"service:{SERVICE}"]
        return ((m, o) for m, o in product(mine, others) if m.host == o.host)

    def healthy(self) -> None:
        """What must hold at the end of every story."""
        assert self.both_wanted() == []
        assert self.both_running() == 0.0


Span = tuple[float, float]
FOREVER = float("inf")


def wanted(task: TaskRecord) -> Span:
    """From its creation until ECS wanted it to stop."""
    ends = [end for end in (task.stopping_at, task.stopped_at) if end is not None]
    return task.created_at, min(ends, default=FOREVER)


def ran(task: TaskRecord) -> Span:
    """From RUNNING to STOPPED."""
    if task.started_at is None:
        return 0.0, 0.0
    return task.started_at, FOREVER if task.stopped_at is None else task.stopped_at


def overlap(first: Span, second: Span) -> float:
    """Seconds that two spans share."""
    return max(0.0, min(first[1], second[1]) - max(first[0], second[0]))
