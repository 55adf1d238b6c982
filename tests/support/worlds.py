"""A small simulated ECS to test with: one cluster, one daemon, as many hosts as asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from blox.settings import Assumptions
from blox.simulator.cloud import Cloud
from blox.simulator.faults import Faults
from blox.simulator.model import Fault, Json, Switches, TaskRecord

EPOCH = 1_750_000_000.0
"""ECS's time at which every world begins."""
CLUSTER = "demo"


@dataclass(slots=True)
class World:
    """A cloud and the names of what is in it; time passes only by `later`."""

    cloud: Cloud
    definition: str
    hosts: list[str]
    now: float = EPOCH

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.cloud.advance(self.now)

    def call(self, operation: str, **params: object) -> Any:
        """One call on the world's cluster, unless `cluster` says otherwise."""
        params.setdefault("cluster", CLUSTER)
        return self.cloud.call(operation, dict(params), now=self.now)

    def refused(self, operation: str, **params: object) -> Fault:
        """The Fault that the call must end in."""
        with pytest.raises(Fault) as caught:
            self.call(operation, **params)
        return caught.value

    def start(self, hosts: Sequence[str] | None = None, **params: object) -> Any:
        """StartTask of the daemon on these hosts, on all by default."""
        chosen = self.hosts if hosts is None else hosts
        params.setdefault("taskDefinition", self.definition)
        return self.call("StartTask", containerInstances=list(chosen), **params)

    def started(self, host: str | None = None, **params: object) -> TaskRecord:
        """The truth about a task started on one host, the first by default."""
        answer = self.start([host or self.hosts[0]], **params)
        assert answer["failures"] == []
        return self.cloud.tasks[answer["tasks"][0]["taskArn"]]

    def reason(self, host: str | None = None, **params: object) -> str:
        """Why a start on one host fails."""
        answer = self.start([host or self.hosts[0]], **params)
        assert answer["tasks"] == []
        return str(answer["failures"][0]["reason"])


def world(
    *,
    hosts: int = 1,
    seed: int | str = 1,
    switches: Switches | None = None,
    faults: Faults | None = None,
    assumptions: Assumptions | None = None,
    quotas: bool = False,
    **definition: Any,
) -> World:
    """A cluster `demo` with hosts and a task definition `agent`, all long visible."""
    cloud = Cloud(seed, switches=switches, faults=faults, assumptions=assumptions, quotas=quotas)
    cloud.add_cluster(CLUSTER, now=EPOCH - 1000.0)
    arn = cloud.add_definition("agent", now=EPOCH - 1000.0, **definition)
    arns = [cloud.add_host(CLUSTER, now=EPOCH - 1000.0) for _ in range(hosts)]
    cloud.advance(EPOCH)
    cloud.take_events()
    return World(cloud, arn, arns)


def marked(intent: str, container: str = "agent") -> Json:
    """Overrides that carry a marker."""
    variable = {"name": "BLOX_INTENT", "value": intent}
    return {"containerOverrides": [{"name": container, "environment": [variable]}]}


def statuses(events: Sequence[Json], arn: str) -> list[str]:
    """The lastStatus (or status) that each event about this resource carries."""
    found = []
    for event in events:
        if event["resources"] == [arn]:
            detail = event["detail"]
            assert isinstance(detail, dict)
            found.append(str(detail.get("lastStatus", detail.get("status"))))
    return found
