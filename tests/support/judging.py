"""Slots to judge: small builders for hosts, tasks, facts and contexts."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from blox.base.ambient import Now
from blox.ecs.model import ContainerDefinition, HealthCheck, Host, Task, TaskDefinition
from blox.scheduler.eligibility import HostCondition
from blox.scheduler.intents import Attempt, Phase
from blox.scheduler.model import (
    Deployment,
    DeploymentStatus,
    Environment,
    Intent,
    Policy,
    Revision,
    SlotClass,
    VerdictKind,
)
from blox.scheduler.planner import judge
from blox.scheduler.verdicts import Context, Cost, SlotFacts, Stop, Verdict
from blox.settings import SchedulerSettings

CLUSTER = "arn:aws:ecs:eu-west-1:123456789012:cluster/prod"
HOST = "arn:aws:ecs:eu-west-1:123456789012:container-instance/prod/host-1"
ECS_NOW = 1_750_000_000.0
NOW = Now(mono=5000.0, ecs=ECS_NOW)
SETTINGS = SchedulerSettings()
OLD, NEW, PROBED = "old-digest", "new-digest", "probed-digest"
"""Digests of revision 1, of revision 2 (the target), and of one with a health check."""


def host(arn: str = HOST, **more: Any) -> Host:
    """A host of the cluster: ACTIVE and connected."""
    return Host(arn=arn, cluster_arn=CLUSTER, instance_id="i-1", **more)


def task(name: str = "a", *, age: float = 100.0, deployment: str = "d2", **more: Any) -> Task:
    """A daemon of ours, RUNNING for `age` seconds, of the target unless `deployment` says else."""
    values: dict[str, Any] = {
        "arn": f"arn:aws:ecs:eu-west-1:123456789012:task/prod/{name}",
        "cluster_arn": CLUSTER,
        "host_arn": HOST,
        "definition_arn": "arn:aws:ecs:eu-west-1:123456789012:task-definition/agent:2",
        "last_status": "RUNNING",
        "started_by": deployment,
        "group": "blox:agent",
        "intent": f"intent-of-{name}",
        "created_at": ECS_NOW - age - 1.0,
        "started_at": ECS_NOW - age,
        "version": 3,
    }
    return Task(**(values | more))


def pending(name: str = "a", *, deployment: str = "d2", **more: Any) -> Task:
    """A daemon that is on its way to RUNNING."""
    return task(name, deployment=deployment, started_at=None, **({"last_status": "PENDING"} | more))


def dying(name: str = "a", *, deployment: str = "d2", **more: Any) -> Task:
    """A daemon that ECS is stopping."""
    return task(name, deployment=deployment, desired_status="STOPPED", **more)


def dead(
    name: str, *, ended: float, ran: float = 0.0, code: str = "EssentialContainerExited"
) -> Task:
    """A daemon that ended `ended` seconds ago after having been RUNNING for `ran`."""
    return task(
        name,
        last_status="STOPPED",
        desired_status="STOPPED",
        created_at=ECS_NOW - ended - ran - 1.0,
        started_at=ECS_NOW - ended - ran,
        stopped_at=ECS_NOW - ended,
        stop_code=code,
        stopped_reason="Essential container in task exited",
        exit_code=1,
    )


def definition(*, check: bool = False, stop_timeout: int | None = None) -> TaskDefinition:
    """agent:2, with one container."""
    return TaskDefinition(
        task_definition_arn="arn:aws:ecs:eu-west-1:123456789012:task-definition/agent:2",
        family="agent",
        container_definitions=(
            ContainerDefinition(
                name="agent",
                stop_timeout=stop_timeout,
                health_check=HealthCheck(command=("CMD", "true")) if check else None,
            ),
        ),
    )


def environment(**more: Any) -> Environment:
    """Two revisions; d1 deployed the first, d2 the second, which is the target."""
    values: dict[str, Any] = {
        "id": "env-1",
        "name": "agent",
        "cluster_arn": CLUSTER,
        "revisions": (
            Revision(number=1, definition=definition(), digest=OLD),
            Revision(number=2, definition=definition(), digest=NEW),
        ),
        "token": "token",
        "deployed": {"d1": OLD, "d2": NEW, "dp": PROBED},
        "policy": Policy(),
    }
    return Environment(**(values | more))


def deployment(status: DeploymentStatus = DeploymentStatus.RUNNING, **more: Any) -> Deployment:
    """The one that deploys the target."""
    values: dict[str, Any] = {
        "id": "d2",
        "environment_id": "env-1",
        "sequence": 2,
        "revision": 2,
        "status": status,
    }
    return Deployment(**(values | more))


def context(
    *,
    status: DeploymentStatus = DeploymentStatus.RUNNING,
    now: Now = NOW,
    policy: Policy | None = None,
    **more: Any,
) -> Context:
    """A cluster that is known, a deployment that runs."""
    whole = environment() if policy is None else environment(policy=policy)
    values: dict[str, Any] = {
        "environment": whole,
        "now": now,
        "settings": SETTINGS,
        "deployment": deployment(status),
        "target": whole.newest,
        "checks": {OLD: False, NEW: False, PROBED: True},
    }
    return Context(**(values | more))


def facts(*live: Task, condition: HostCondition = HostCondition.READY, **more: Any) -> SlotFacts:
    """A slot with these live tasks of ours."""
    values: dict[str, Any] = {
        "host": host(agent_connected=condition is not HostCondition.DISCONNECTED),
        "condition": condition,
        "live": tuple(sorted(live, key=lambda t: t.arn)),
        "unidentified": frozenset(t.arn for t in live if t.intent is None),
    }
    if "matches" in more:
        values["surely_matches"] = more["matches"]
    return SlotFacts(**(values | more))


def attempt(
    phase: Phase, *, name: str = "intent-x", hosts: Sequence[str] = (HOST,), **more: Any
) -> Attempt:
    """A start that this slot waits for."""
    intent = Intent(
        id=name,
        environment_id="env-1",
        deployment_id="d2",
        cluster_arn=CLUSTER,
        definition_arn="arn:aws:ecs:eu-west-1:123456789012:task-definition/agent:2",
        group="blox:agent",
        hosts=tuple(hosts),
    )
    values: dict[str, Any] = {"intent": intent, "phase": phase, "since": NOW.mono, "base": NOW.mono}
    return Attempt(**(values | more))


def verdict(
    slot_class: SlotClass,
    *,
    kind: VerdictKind = VerdictKind.KEEP,
    reason: str = "current",
    available: bool = False,
    candidate: Cost = Cost.NONE,
    stops: tuple[Stop, ...] = (),
    details: Mapping[str, str] | None = None,
    **more: Any,
) -> Verdict:
    """A verdict to put on a board."""
    return Verdict(
        kind=kind,
        slot_class=slot_class,
        reason=reason,
        available=available,
        candidate=candidate,
        stops=stops,
        details=details or {},
        **more,
    )


def in_short(found: Verdict) -> tuple[str, str, str]:
    """Kind, class and reason: what most tests are about."""
    return found.kind.value, found.slot_class.value, found.reason


def judged(slot: SlotFacts, ctx: Context | None = None, *, granted: Cost = Cost.NONE) -> Verdict:
    """The verdict on a slot."""
    return judge(slot, context() if ctx is None else ctx, granted=granted)


def later(ctx: Context, seconds: float) -> Context:
    """The same, so much later on both clocks."""
    return replace(ctx, now=Now(ctx.now.mono + seconds, ctx.now.ecs + seconds))
