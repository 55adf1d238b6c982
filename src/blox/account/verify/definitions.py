"""The task definitions that `blox verify-aws` registers: a container that sleeps, in variants.

Each carries the run's id in a label, so that what a killed run left behind can be told from
anything else of that family. Every task ends by itself after SLEEP seconds.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
"""

from enum import StrEnum
from typing import Final

from blox.account.verify.hosts import CPU, MEMORY, Kind

FAMILY: Final = "blox-verify"
LABEL: Final = "blox-verify"
"""The Docker label that holds the run's id."""
PREFIX: Final = "blox-verify/"
"""How startedBy begins; the run's id follows. StartTask takes 36 characters:
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StartTask.html"""
MARK: Final = "blox-verify"
"""The attribute that is put and taken away to see what that does."""
DRAIN_MARK: Final = "blox-verify-drained"
"""The attribute of a host that a run drains, put there first: --clean-up finds it by that. Its
value is the run's id, a colon, and ECS's time in seconds since 1970-01-01 UTC."""
DRAIN_BEGINS: Final = 300.0
"""Seconds after which a drain is not begun any more that was marked before."""
IMAGE: Final = "public.ecr.aws/docker/library/busybox:stable"
CONTAINER: Final = "sleep"
VARIABLE: Final = "VERIFY_RUN"
"""The environment variable that overrides set, to see whether events carry it."""
SLEEP: Final = 900
"""Seconds after which a task ends by itself."""
STOP_TIMEOUT: Final = 2
"""Seconds until SIGKILL: `sleep` as a container's first process takes no notice of SIGTERM."""
STUBBORN: Final = 15
"""The same of the task that is to stop slowly."""
NOWHERE: Final = "attribute:blox-verify-nowhere exists"
"""A placement constraint that no host satisfies."""


class Variant(StrEnum):
    """What sets a definition apart."""

    PLAIN = "plain"
    EXTERNAL = "for EXTERNAL hosts"
    MANAGED = "for hosts of ECS Managed Instances"
    CONSTRAINED = "with a placement constraint that no host satisfies"
    BRIDGE_PORT = "with a static host port, network mode bridge"
    HOST_PORT = "with a static host port, network mode host"
    STUBBORN = "that stops slowly"
    INACTIVE = "to be deregistered at once"


_SPECIAL: Final = {Variant.EXTERNAL: Kind.EXTERNAL, Variant.MANAGED: Kind.MANAGED}


def registration(
    variant: Variant, *, run: str, port: int = 0, kind: Kind = Kind.EC2
) -> dict[str, object]:
    """The members of RegisterTaskDefinition. `port`: of the variants that take one. `kind`: of the
    hosts that it is for, each with what its guide asks:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-anywhere.html
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters-managed-instances.html
    """
    kind = _SPECIAL.get(variant, kind)
    container: dict[str, object] = {
        "name": CONTAINER,
        "image": IMAGE,
        "command": ["sleep", str(SLEEP)],
        "cpu": CPU,
        "memory": MEMORY,
        "essential": True,
        "stopTimeout": STUBBORN if variant is Variant.STUBBORN else STOP_TIMEOUT,
        "dockerLabels": {LABEL: run},
    }
    members: dict[str, object] = {
        "family": FAMILY,
        "networkMode": "host" if kind is Kind.MANAGED else "none",
        "containerDefinitions": [container],
    }
    if variant in (Variant.BRIDGE_PORT, Variant.HOST_PORT):
        members["networkMode"] = "bridge" if variant is Variant.BRIDGE_PORT else "host"
        container["portMappings"] = [
            {"containerPort": port, "hostPort": port, "protocol": "tcp"},
        ]
    if variant is Variant.CONSTRAINED:
        members["placementConstraints"] = [{"type": "memberOf", "expression": NOWHERE}]
    if kind is not Kind.EC2:
        members["requiresCompatibilities"] = [kind.value]
    return members


def run_of(definition: object) -> str | None:
    """The id of the run that registered a definition (as DescribeTaskDefinition shows it); None:
    it is somebody else's."""
    if not isinstance(definition, dict):
        return None
    containers = definition.get("containerDefinitions")
    for container in containers if isinstance(containers, list) else []:
        labels = container.get("dockerLabels") if isinstance(container, dict) else None
        run = labels.get(LABEL) if isinstance(labels, dict) else None
        if isinstance(run, str) and run:
            return run
    return None
