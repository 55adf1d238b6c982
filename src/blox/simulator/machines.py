"""What happens to the world without a call of ECS's API: machines, foreign tasks, services."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from blox.simulator.definitions import register_task_definition
from blox.simulator.lifecycle import create_task, deregister, register_host, release, set_agent
from blox.simulator.model import HostRecord, Json, ServiceRecord
from blox.simulator.parameters import Parameters
from blox.simulator.providers import create_capacity_provider
from blox.simulator.services import create_service
from blox.simulator.state import State

_CAPABILITIES: Final = (
    "com.amazonaws.ecs.capability.logging-driver.json-file",
    "com.amazonaws.ecs.capability.logging-driver.awslogs",
    "com.amazonaws.ecs.capability.docker-remote-api.1.17",
    "com.amazonaws.ecs.capability.docker-remote-api.1.18",
    "com.amazonaws.ecs.capability.docker-remote-api.1.25",
    "com.amazonaws.ecs.capability.task-iam-role",
    "com.amazonaws.ecs.capability.task-iam-role-network-host",
    "com.amazonaws.ecs.capability.ecr-auth",
    "ecs.capability.execution-role-ecr-pull",
    "ecs.capability.execution-role-awslogs",
    "ecs.capability.container-health-check",
    "ecs.capability.container-ordering",
)
"""What a recent agent on Linux registers, among others."""
_AGENTS: Final = ("ecs.", "com.amazonaws.")
"""How the names of attributes begin that are the agent's and not a user's."""


def add_definition(
    state: State,
    family: str,
    *,
    size: tuple[int, int],
    host_ports: Sequence[int],
    network_mode: str,
    health_check: bool,
    stop_timeout: int | None,
    architecture: str | None,
    role: str | None,
    requires: Sequence[str],
    constraint: str | None,
) -> str:
    """Register the next revision of a family with one container, named like the family."""
    container: Json = {
        "name": family,
        "image": f"public.ecr.aws/simulated/{family}:1",
        "cpu": size[0],
        "memory": size[1],
        "essential": True,
        "portMappings": [
            {"containerPort": port, "hostPort": port, "protocol": "tcp"} for port in host_ports
        ],
    }
    if health_check:
        container["healthCheck"] = {"command": ["CMD-SHELL", "true"]}
    if stop_timeout is not None:
        container["stopTimeout"] = stop_timeout
    request: Json = {
        "family": family,
        "networkMode": network_mode,
        "containerDefinitions": [container],
    }
    if architecture is not None:
        request["runtimePlatform"] = {
            "cpuArchitecture": architecture,
            "operatingSystemFamily": "LINUX",
        }
    if role is not None:
        request["taskRoleArn"] = f"arn:{state.partition}:iam::{state.account}:role/{role}"
    if constraint is not None:
        request["placementConstraints"] = [{"type": "memberOf", "expression": constraint}]
    register_task_definition(state, Parameters(request))
    record = state.definitions[state.families[family][-1]]
    record.requires = (*record.requires, *requires)
    record.document["requiresAttributes"] = [{"name": name} for name in record.requires]
    return record.arn


def add_host(
    state: State,
    cluster: str,
    *,
    instance_id: str | None,
    size: tuple[int, int],
    attributes: Mapping[str, str],
    external: bool,
    arch: str,
    zone: str | None,
    status: str,
    provider: str,
) -> str:
    """A machine registers; without an `instance_id` or `zone` it gets one. Raises ValueError for an
    unknown capacity provider."""
    if provider and provider not in state.providers:
        raise ValueError(f"There is no capacity provider {provider!r}.")
    home = state.cluster(cluster)
    known: dict[str, str | None] = dict.fromkeys(_CAPABILITIES)
    known |= {"ecs.os-type": "linux", "ecs.os-family": "LINUX", "ecs.cpu-architecture": arch}
    if external:
        known["ecs.capability.external"] = None
    else:
        known |= {
            "ecs.capability.task-eni": None,
            "ecs.ami-id": "ami-0abc0abc0abc0abc0",
            "ecs.instance-type": "m7g.large" if arch == "arm64" else "m7i.large",
            "ecs.availability-zone": zone or f"{state.region}{'abc'[len(state.hosts) % 3]}",
            "ecs.vpc-id": "vpc-0abc0abc0abc0abc0",
            "ecs.subnet-id": "subnet-0abc0abc0abc0abc0",
        }
    known |= attributes
    prefix = "mi-" if external else "i-"
    host = HostRecord(
        arn=state.arn("container-instance", state.new_id(), cluster=home.name),
        cluster=home.name,
        instance_id=instance_id or prefix + state.new_id()[:17],
        registered_at=state.now,
        cpu=size[0],
        memory=size[1],
        attributes=known,
        custom=dict.fromkeys(name for name in attributes if not name.startswith(_AGENTS)),
        status=status,
        provider=provider,
    )
    register_host(state, host)
    return host.arn


def duplicate(state: State, old: HostRecord) -> str:
    """The machine of `old` registers a second time; `old` stays behind, disconnected."""
    set_agent(state, old, connected=False)
    old.alive = False
    host = HostRecord(
        arn=state.arn("container-instance", state.new_id(), cluster=old.cluster),
        cluster=old.cluster,
        instance_id=old.instance_id,
        registered_at=state.now,
        cpu=old.cpu,
        memory=old.memory,
        attributes=dict(old.attributes),
        custom=dict(old.custom),
        provider=old.provider,
    )
    register_host(state, host)
    return host.arn


def delete_cluster(state: State, name: str) -> None:
    """The cluster goes INACTIVE with all that is in it."""
    cluster = state.cluster(name)
    for arn in list(state.hosts_in.get(cluster.name, [])):
        deregister(state, state.hosts[arn], reason="Cluster was deleted.")
    for service in state.services.values():
        if service.cluster == cluster.name:
            service.status = "INACTIVE"
    cluster.status = "INACTIVE"


def stall(state: State, target: str, *, on: bool) -> None:
    """Tasks of this family or host stay PENDING, or go on."""
    if on:
        state.stalled[target] = None
        return
    state.stalled.pop(target, None)
    for arn in state.hosts:
        release_pending(state, arn)


def release_pending(state: State, host_arn: str) -> None:
    """What is held on a reachable host may go on; what still must wait is held again."""
    if state.hosts[host_arn].agent_connected:
        release(state, host_arn)


def start_foreign(
    state: State, cluster: str, host: str, family: str, *, service: str | None
) -> str:
    """A task that is not started through the calls under test."""
    state.cluster(cluster)
    task = create_task(
        state,
        state.hosts[host],
        state.definition(family),
        started_by="" if service is None else f"ecs-svc/{state.ids.getrandbits(60):019d}",
        group="" if service is None else f"service:{service}",
    )
    return task.arn


def add_service(
    state: State,
    cluster: str,
    name: str,
    strategy: str,
    *,
    definition: str,
    constraints: Sequence[str],
) -> str:
    """A service that is only described, or with a task definition one as CreateService makes it.
    Raises Fault."""
    home = state.cluster(cluster)
    arn = state.arn("service", name, cluster=home.name)
    if not definition:
        state.services[arn] = ServiceRecord(
            arn=arn, name=name, cluster=home.name, strategy=strategy, created_at=state.now
        )
        return arn
    request: Json = {
        "cluster": cluster,
        "serviceName": name,
        "schedulingStrategy": strategy,
        "taskDefinition": definition,
        "placementConstraints": [
            {"type": "memberOf", "expression": expression} for expression in constraints
        ],
    }
    if strategy == "REPLICA":
        request["desiredCount"] = 1
    create_service(state, Parameters(request))
    return arn


def add_provider(
    state: State,
    name: str,
    *,
    cluster: str | None,
    managed_scaling: bool,
    termination_protection: bool,
    managed_draining: bool,
) -> str:
    """A capacity provider over a group of the same name, given to a cluster. Raises Fault."""

    def switch(*, on: bool) -> str:
        return "ENABLED" if on else "DISABLED"

    home = None if cluster is None else state.cluster(cluster)
    group = (
        f"arn:{state.partition}:autoscaling:{state.region}:{state.account}:autoScalingGroup:"
        f"{state.new_uuid()}:autoScalingGroupName/{name}"
    )
    settings: Json = {
        "autoScalingGroupArn": group,
        "managedScaling": {"status": switch(on=managed_scaling)},
        "managedTerminationProtection": switch(on=termination_protection),
        "managedDraining": switch(on=managed_draining),
    }
    create_capacity_provider(
        state, Parameters({"name": name, "autoScalingGroupProvider": settings})
    )
    if home is not None:
        home.providers.append(name)
    return state.providers[name].arn


def set_digest(state: State, family: str, digest: str) -> str:
    """The tags of the images of a family's newest revision mean `digest` from now on, for whatever
    is pulled; "": a new one. Returns it. Raises Fault for an unknown family."""
    containers = Parameters(state.definition(family).document).objects("containerDefinitions")
    images = [str(item.get("image", "")) for item in containers]
    new = digest or "sha256:" + hashlib.sha256(state.digest(images[0]).encode()).hexdigest()
    for image in images:
        state.digests[image] = new
    return new
