"""Small truths for the oracle: a real simulated cloud, and a caller who does exactly as told.

The cloud's tasks start and stop within seconds and nothing fails by itself, so that a test says
everything that goes wrong.
"""

from collections.abc import Sequence

from blox.simulator.cloud import Cloud
from blox.simulator.model import HostRecord, Json, TaskRecord
from blox.simulator.oracle import Allowances, Oracle, Violation

CLUSTER = "east"
FAMILY = "logs"
ENVIRONMENT = "env-1"
GROUP = f"blox:{FAMILY}"
BEGIN = 1_750_000_000.0
OURS = "blox"


class SmallTruth:
    """A cluster, an environment that runs `logs` everywhere, and a clock that moves when told."""

    def __init__(
        self,
        *,
        hosts: int = 1,
        quotas: bool = False,
        allowances: Allowances | None = None,
        max_unavailable: str = "1",
        pool: bool = False,
        health_check: bool = False,
    ) -> None:
        self.now = BEGIN
        self.cloud = Cloud("small", quotas=quotas)
        self.cloud.add_cluster(CLUSTER, now=self.now)
        self.definitions = [
            self.cloud.add_definition(FAMILY, now=self.now, health_check=health_check)
        ]
        self.max_unavailable = max_unavailable
        self.pool = pool
        self.oracle = Oracle(
            self.cloud, allowances=allowances, ours=lambda call: call.caller == OURS
        )
        self.hosts = [self.join() for _ in range(hosts)]
        self._intents = 0
        self.want()

    # --- The user ---------------------------------------------------------------------------------

    def want(self, *, key: str = ENVIRONMENT, deployment: str = "deployment-1") -> None:
        """The user deploys the newest definition."""
        self.oracle.expect(
            key,
            now=self.now,
            name=FAMILY,
            cluster=CLUSTER,
            definition=self.definitions[-1],
            max_unavailable=self.max_unavailable,
            selector=self._selected,
        )
        self.oracle.deployed(key, deployment)
        self.oracle.step(self.now)

    def _selected(self, host: HostRecord) -> bool:
        return not self.pool or host.attributes.get("pool") == "blue"

    def new_definition(self, *, health_check: bool = False, port: int | None = None) -> str:
        """The next revision, deployed."""
        ports = () if port is None else (port,)
        self.definitions.append(
            self.cloud.add_definition(
                FAMILY, now=self.now, health_check=health_check, host_ports=ports
            )
        )
        self.want(deployment=f"deployment-{len(self.definitions)}")
        return self.definitions[-1]

    # --- The world --------------------------------------------------------------------------------

    def join(self, *, arch: str = "x86_64", instance_id: str | None = None) -> str:
        """A host registers, in the blue pool."""
        return self.cloud.add_host(
            CLUSTER,
            now=self.now,
            attributes={"pool": "blue"},
            arch=arch,
            instance_id=instance_id,
        )

    def run(self, seconds: float, *, every: float = 5.0) -> list[Violation]:
        """Time passes, watched."""
        found: list[Violation] = []
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + every)
            self.cloud.advance(self.now)
            found += self.oracle.step(self.now)
        return found

    def move(self, host: str, pool: str) -> None:
        """The host's pool changes."""
        attribute = {
            "name": "pool",
            "value": pool,
            "targetType": "container-instance",
            "targetId": host,
        }
        params: Json = {"cluster": CLUSTER, "attributes": [attribute]}
        self.cloud.call("PutAttributes", params, now=self.now, caller="user")
        self.oracle.step(self.now)

    # --- The caller -------------------------------------------------------------------------------

    def start(
        self,
        *hosts: str,
        definition: str | None = None,
        intent: str | None = None,
        deployment: str | None = None,
        signed: float | None = None,
        later: float | None = None,
    ) -> list[Violation]:
        """StartTask, dated back as it must be; returns what the oracle says of it. `later`: ECS
        executes it so many seconds after it accepted it, and this returns at once."""
        self._intents += 1
        marker = f"INTENT{self._intents:020d}" if intent is None else intent
        variables = [{"name": "BLOX_INTENT", "value": marker}] if marker else []
        params: Json = {
            "cluster": CLUSTER,
            "taskDefinition": definition or self.definitions[-1],
            "containerInstances": list(hosts),
            "startedBy": deployment or f"deployment-{len(self.definitions)}",
            "group": GROUP,
            "overrides": {"containerOverrides": [{"name": FAMILY, "environment": variables}]},
        }
        return self._send("StartTask", params, signed, later)

    def stop(
        self, task: TaskRecord, *, signed: float | None = None, later: float | None = None
    ) -> list[Violation]:
        """StopTask, dated back as it must be; returns what the oracle says of it."""
        params: Json = {"cluster": CLUSTER, "task": task.arn, "reason": "test"}
        return self._send("StopTask", params, signed, later)

    def _send(
        self, operation: str, params: Json, signed: float | None, later: float | None
    ) -> list[Violation]:
        signed_at = self.now - self.cloud.assumptions.dated_back if signed is None else signed
        if later is None:
            self.cloud.call(operation, params, now=self.now, signed_at=signed_at, caller=OURS)
        else:
            self.cloud.execute_later(
                operation, params, now=self.now, due=self.now + later,
                signed_at=signed_at, caller=OURS,
            )  # fmt: skip
        return self.oracle.step(self.now)

    # --- Looking ----------------------------------------------------------------------------------

    def daemons(self, host: str) -> list[TaskRecord]:
        """Live tasks of the environment on the host, oldest first."""
        return [task for task in self.cloud.live_tasks(host) if task.group == GROUP]

    def daemon(self, host: str) -> TaskRecord:
        """The only one."""
        (task,) = self.daemons(host)
        return task

    def running(self) -> list[Violation]:
        """A daemon on every host, running for a quarter of an hour."""
        found: list[Violation] = []
        for first in range(0, len(self.hosts), 10):
            found += self.start(*self.hosts[first : first + 10])
        return found + self.run(900.0)

    def healed(self) -> list[Violation]:
        """What is wrong at the end."""
        return self.oracle.healed(self.now)


def promises(found: Sequence[Violation]) -> list[int]:
    """The promises that were broken, in order of finding."""
    return [violation.promise for violation in found]
