"""The hosts that `blox verify-aws` may use, and which of them it takes: at most two.

Nothing is changed on a host that was not chosen here.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from blox.base.errors import InvalidInput
from blox.base.ids import short_id
from blox.ecs.model import HostDocument, KeyValue, ResourceDocument

MOST: Final = 2
"""Hosts used by one run."""
CPU: Final = 16
"""CPU units of one task."""
MEMORY: Final = 16
"""MiB of one task."""
ROOM: Final = 6
"""How many tasks a host must have room for."""


class Kind(StrEnum):
    """What runs a host; StartTask may treat each in its own way."""

    EC2 = "EC2"
    EXTERNAL = "EXTERNAL"
    MANAGED = "MANAGED_INSTANCES"


class Host(Struct, frozen=True, kw_only=True):
    """One container instance, as far as this is about it."""

    arn: str
    name: str
    """Its EC2 or SSM instance id, else the container instance's."""
    kind: Kind
    status: str
    connected: bool
    os: str
    version: int
    running: int
    """Tasks that run there, whoever started them."""
    cpu: int
    """Units that are free."""
    memory: int
    """MiB that are free."""
    taken: frozenset[str]
    """TCP and UDP ports in use."""
    marks: tuple[tuple[str, str], ...]
    """(name, value) of the attributes that an own or earlier run has put there."""
    provider: str

    @property
    def problem(self) -> str | None:
        """Why it cannot be used; None: it can."""
        if self.status != "ACTIVE":
            return f"it is {self.status}"
        if not self.connected:
            return "its agent is disconnected"
        if self.os not in ("", "linux"):
            return f"it runs {self.os}, and the task is a Linux one"
        if self.cpu < ROOM * CPU or self.memory < ROOM * MEMORY:
            return (
                f"it has {self.cpu} CPU units and {self.memory} MiB free; "
                f"{ROOM * CPU} and {ROOM * MEMORY} are needed"
            )
        return None

    @property
    def title(self) -> str:
        """The host in a few words."""
        tasks = "nothing else runs there" if not self.running else f"{self.running} tasks run there"
        if self.running == 1:
            tasks = "1 task runs there"
        return f"{self.name} ({self.kind}; {tasks})"


def host_of(document: HostDocument, *, managed_providers: Sequence[str], prefix: str) -> Host:
    """A host from ECS's account of it. `managed_providers`: capacity providers of ECS Managed
    Instances. `prefix`: of the names of our own attributes."""
    attributes = _attributes(document)
    provider = document.capacity_provider_name or ""
    if "ecs.capability.external" in attributes:
        kind = Kind.EXTERNAL
    elif provider in managed_providers:
        kind = Kind.MANAGED
    else:
        kind = Kind.EC2
    resources = document.remaining_resources or ()
    return Host(
        arn=document.container_instance_arn,
        name=document.ec2_instance_id or short_id(document.container_instance_arn),
        kind=kind,
        status=document.status or "",
        connected=document.agent_connected is True,
        os=attributes.get("ecs.os-type", ""),
        version=document.version or 0,
        running=(document.running_tasks_count or 0) + (document.pending_tasks_count or 0),
        cpu=_amount(resources, "CPU"),
        memory=_amount(resources, "MEMORY"),
        taken=frozenset(
            port
            for resource in resources
            if resource.name in ("PORTS", "PORTS_UDP")
            for port in resource.string_set_value or ()
        ),
        marks=tuple((name, attributes[name]) for name in attributes if name.startswith(prefix)),
        provider=provider,
    )


def _attributes(document: HostDocument) -> dict[str, str]:
    pairs: Sequence[KeyValue] = document.attributes or ()
    return {pair.name: pair.value or "" for pair in pairs}


def _amount(resources: Sequence[ResourceDocument], name: str) -> int:
    for resource in resources:
        if resource.name == name:
            values = (resource.integer_value, resource.long_value, resource.double_value)
            return int(next((value for value in values if value), 0))
    return 0


def choose(hosts: Sequence[Host], named: Sequence[str]) -> tuple[Host, ...]:
    """The hosts to use, EC2 first: those named, else the two least busy ones, of two kinds if
    there are two.

    Raises InvalidInput when a name fits no host or several, when a named host cannot be used, and
    when no host can.
    """
    if len(dict.fromkeys(named)) > MOST:
        raise InvalidInput(f"{len(named)} hosts are named; {MOST} at most are used.")
    if named:
        chosen = dict.fromkeys(_named(hosts, name) for name in named)
        return tuple(sorted(chosen, key=lambda host: host.kind is not Kind.EC2))
    able = sorted((host for host in hosts if host.problem is None), key=_business)
    if not able:
        raise InvalidInput(_none_able(hosts))
    first = next((host for host in able if host.kind is Kind.EC2), able[0])
    others = [host for host in able if host is not first]
    second = next((host for host in others if host.kind is not first.kind), None)
    second = second or (others[0] if others else None)
    return (first,) if second is None else (first, second)


def _business(host: Host) -> tuple[int, str]:
    return host.running, host.arn


def _named(hosts: Sequence[Host], name: str) -> Host:
    found = [host for host in hosts if name in (host.name, host.arn, short_id(host.arn))]
    able = [host for host in found if host.problem is None]
    if len(able) == 1:
        return able[0]
    if not found:
        raise InvalidInput(
            f"No host of the cluster is called {name}: an instance id, a container instance's id "
            "or its ARN is needed."
        )
    problem = found[0].problem
    raise InvalidInput(
        f"{name} stands for {len(able)} container instances; name one by its ARN."
        if problem is None
        else f"{name} cannot be used: {problem}."
    )


def _none_able(hosts: Sequence[Host]) -> str:
    if not hosts:
        return "The cluster has no hosts; one or two are needed."
    reasons = [f"{host.name}: {host.problem}" for host in hosts[:3]]
    more = f" and {len(hosts) - 3} more" if len(hosts) > 3 else ""
    return f"No host of the cluster can be used: {'; '.join(reasons)}{more}."
