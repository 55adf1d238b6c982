"""Which hosts: what state a host is in, whether it can run a task, and whether it has room.

May a daemon start here, may a running one stay?

    condition                     may start    may stay
    READY, selected               yes          yes
    READY, not selected           no           no
    DISCONNECTED, AWAY, LOST      no           yes: nothing reaches the host; decided on its return
    DRAINING                      no           yes, until the drain rule says that its time has come
    NOT_READY, LEAVING, GONE      no           yes: ECS is at work on the host, or done with it
    SUPERSEDED                    no           no: its machine has a newer record

A host that cannot run the task (`ineligible`) is not started on either; what runs there stays.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Final

from msgspec import Struct

from blox.ecs import model
from blox.ecs.model import ContainerDefinition, Host, Resources, TaskDefinition
from blox.ecs.selector import Selector, SelectorError, parse
from blox.scheduler.view import HostSeen


class HostCondition(StrEnum):
    """The state of a host, as far as starting and stopping daemons goes."""

    READY = "ready"
    DISCONNECTED = "disconnected"
    """The agent is disconnected, for less than the grace."""
    AWAY = "away"
    LOST = "lost"
    DRAINING = "draining"
    NOT_READY = "notReady"
    """Not registered (yet), or in a status that is not known here."""
    LEAVING = "leaving"
    GONE = "gone"
    SUPERSEDED = "superseded"


_BY_STATUS: Final = {
    model.INACTIVE: HostCondition.GONE,
    model.DRAINING: HostCondition.DRAINING,
    "DEREGISTERING": HostCondition.LEAVING,
}


def condition(
    seen: HostSeen, *, now_mono: float, away_after: float, lost_after: float
) -> HostCondition:
    """The state of a host at `now_mono`, our monotonic clock; all times in seconds.

    `away_after` and `lost_after` both count from when this process first saw the agent
    disconnected. A status other than ACTIVE matters more than the agent.
    """
    host = seen.host
    if seen.superseded_by is not None and host.status != model.INACTIVE:
        return HostCondition.SUPERSEDED
    if host.status != model.ACTIVE:
        return _BY_STATUS.get(host.status, HostCondition.NOT_READY)
    if host.agent_connected:
        return HostCondition.READY
    if seen.disconnected_since is None:
        return HostCondition.DISCONNECTED
    silent = now_mono - seen.disconnected_since
    if silent < away_after:
        return HostCondition.DISCONNECTED
    return HostCondition.AWAY if silent < lost_after else HostCondition.LOST


def may_start(state: HostCondition) -> bool:
    """Whether the host's state permits a start; the selector and eligibility are asked apart."""
    return state is HostCondition.READY


def may_stay(state: HostCondition, matches: bool) -> bool:  # noqa: FBT001 (the table's other axis)
    """Whether the host's state permits a running daemon to stay.

    `matches`: whether the selector selects the host. Pass True where it is not known: what is not
    known justifies no stop. On a DRAINING host the drain rule ends the stay.
    """
    if state is HostCondition.READY:
        return matches
    return state is not HostCondition.SUPERSEDED


# --- Can it run there? ----------------------------------------------------------------------------


class Ineligible(Struct, frozen=True):
    """Why a host cannot run a task definition, whatever else runs there."""

    code: str
    """`architecture`, `os`, `launchType`, `attribute` or `constraint`."""
    detail: str


_CAPABILITIES: Final = ("ecs.capability.", "com.amazonaws.ecs.capability.")


def ineligible(definition: TaskDefinition, host: Host) -> Ineligible | None:
    """Why `host` cannot run `definition`, or None when it can as far as is known.

    Anything unknown counts as able: ECS has the last word (failure ATTRIBUTE). Attributes:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-constraints.html
    """
    return (
        _other_platform(definition, host)
        or _other_launch_type(definition, host)
        or _lacks_attribute(definition, host)
        or _constrained_away(definition, host)
    )


def _other_platform(definition: TaskDefinition, host: Host) -> Ineligible | None:
    platform = definition.runtime_platform
    if platform is None:
        return None
    wanted = platform.cpu_architecture
    found = host.attributes.get("ecs.cpu-architecture")
    if _differ(wanted, found):
        return Ineligible("architecture", f"{wanted} is needed, and the host is {found}")
    family = platform.operating_system_family
    kind = _os_type(family)
    found = host.attributes.get("ecs.os-type")
    if _differ(kind, found):
        return Ineligible("os", f"{family} is needed, and the host runs {found}")
    found = host.attributes.get("ecs.os-family")
    if _differ(family, found):
        return Ineligible("os", f"{family} is needed, and the host runs {found}")
    return None


def _differ(wanted: str | None, found: str | None) -> bool:
    """Both known, and not the same word: ECS writes X86_64 in definitions, x86_64 on hosts."""
    return bool(wanted and found) and str(wanted).casefold() != str(found).casefold()


def _os_type(family: str | None) -> str | None:
    """`ecs.os-type` of an operating system family: LINUX, or WINDOWS_SERVER_… and the like."""
    if family is None:
        return None
    upper = family.upper()
    if upper.startswith("WINDOWS"):
        return "windows"
    return "linux" if upper == "LINUX" else None


def _other_launch_type(definition: TaskDefinition, host: Host) -> Ineligible | None:
    able = definition.compatibilities
    needed = "EXTERNAL" if host.external else "EC2"
    if not able or needed in able:
        return None
    return Ineligible(
        "launchType", f"the definition is compatible with {', '.join(able)}, not with {needed}"
    )


def _lacks_attribute(definition: TaskDefinition, host: Host) -> Ineligible | None:
    for attribute in definition.requires_attributes or ():
        if attribute.name in host.attributes:
            continue
        # An agent registers its capabilities all at once: without any, none is known.
        if not any(name.startswith(_CAPABILITIES) for name in host.attributes):
            return None
        return Ineligible("attribute", f"the host does not have {attribute.name}")
    return None


def _constrained_away(definition: TaskDefinition, host: Host) -> Ineligible | None:
    for constraint in definition.placement_constraints or ():
        if constraint.type != "memberOf" or not constraint.expression:
            continue
        selector = _constraint(constraint.expression)
        # Without groups, what changes with what runs is unknown: it makes no host unable.
        if selector is not None and selector.truth(host) is False:
            return Ineligible("constraint", f"the definition asks for {constraint.expression}")
    return None


@lru_cache(maxsize=1024)
def _constraint(text: str) -> Selector | None:
    """A placement constraint's expression; None when it cannot be read here."""
    try:
        return parse(text)
    except SelectorError:
        return None


# --- Is there room? -------------------------------------------------------------------------------


class Need(Struct, frozen=True, kw_only=True):
    """What one task takes of its host: CPU units (1,024 = one vCPU), MiB, and host ports."""

    cpu: int = 0
    memory: int = 0
    tcp: frozenset[int] = frozenset()
    udp: frozenset[int] = frozenset()


class Lack(Struct, frozen=True):
    """What a host has too little of."""

    resource: str
    """CPU, MEMORY, PORTS or PORTS_UDP, as ECS names them."""
    asked: int
    """CPU units, MiB, or the lowest port that is taken."""
    free: int
    """CPU units or MiB; 0 for a port."""


def need_of(definition: TaskDefinition, task_block: Mapping[str, object]) -> Need:
    """What a task of `definition` takes when started with the environment's `task` block.

    CPU and memory: the task's own values where set, else the sums over its containers, of memory
    the reservation before the limit; after overrides. What cannot be read counts as nothing: ECS
    has the last word (failure RESOURCE).
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html
    """
    overrides = _mapping(task_block.get("overrides"))
    listed = overrides.get("containerOverrides")
    items = listed if isinstance(listed, (list, tuple)) else ()
    by_name = {str(item.get("name")): item for item in map(_mapping, items)}
    containers = definition.container_definitions
    cpu = _cpu_units(overrides.get("cpu")) or _cpu_units(definition.cpu)
    memory = _mebibytes(overrides.get("memory")) or _mebibytes(definition.memory)
    if not cpu:
        cpu = sum(_container_cpu(c, by_name.get(c.name, {})) for c in containers)
    if not memory:
        memory = sum(_container_memory(c, by_name.get(c.name, {})) for c in containers)
    return Need(
        cpu=cpu, memory=memory, tcp=_ports(definition, "tcp"), udp=_ports(definition, "udp")
    )


def _mapping(value: object) -> Mapping[str, object]:
    return {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else {}


def _number(value: object) -> int:
    """A count of something; 0 for what is not one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return max(0, value)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value):
        return int(value)
    return 0


_SIZE: Final = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(vcpu|gb)\s*", re.IGNORECASE)


def _cpu_units(value: object) -> int:
    """Of a task's `cpu`: "256", or "1 vCPU"."""
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is not None and found[2].lower() == "vcpu":
        return round(float(found[1]) * 1024)
    return _number(value)


def _mebibytes(value: object) -> int:
    """Of a task's `memory`: "512", or "1 GB"."""
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is not None and found[2].lower() == "gb":
        return round(float(found[1]) * 1024)
    return _number(value)


def _container_cpu(container: ContainerDefinition, override: Mapping[str, object]) -> int:
    return _number(_overridden(override, "cpu", container.cpu))


def _container_memory(container: ContainerDefinition, override: Mapping[str, object]) -> int:
    reserved = _overridden(override, "memoryReservation", container.memory_reservation)
    return _number(reserved) or _number(_overridden(override, "memory", container.memory))


def _overridden(override: Mapping[str, object], name: str, own: int | None) -> object:
    value = override.get(name)
    return own if value is None else value


def _ports(definition: TaskDefinition, protocol: str) -> frozenset[int]:
    """The host's ports that a task takes: in host mode every container port, in bridge mode (the
    default) the static host ports, with a network interface of its own none. Ports that Docker
    chooses (host port 0) are never in the way."""
    mode = definition.network_mode
    if mode in ("awsvpc", "none"):
        return frozenset()
    taken = set[int]()
    for container in definition.container_definitions:
        for mapping in container.port_mappings or ():
            port = mapping.container_port if mode == "host" else mapping.host_port
            if port and (mapping.protocol or "tcp") == protocol:
                taken.add(port)
    return frozenset(taken)


def lacks(need: Need, remaining: Resources | None, released: Need | None = None) -> Lack | None:
    """R22: what `remaining` has too little of for `need`, or None when it fits or is not known.

    `released` is what a daemon of the same slot that is stopping, or is about to be replaced, still
    holds and will have given back. The ports in `remaining` are those taken.
    """
    if remaining is None:
        return None
    back = released or _NOTHING
    for name, asked, left, given in (
        ("CPU", need.cpu, remaining.cpu, back.cpu),
        ("MEMORY", need.memory, remaining.memory, back.memory),
    ):
        if left is not None and 0 < asked > left + given:
            return Lack(name, asked, left + given)
    for name, ports, taken, freed in (
        ("PORTS", need.tcp, remaining.ports_tcp, back.tcp),
        ("PORTS_UDP", need.udp, remaining.ports_udp, back.udp),
    ):
        if not ports.isdisjoint(taken):
            clash = (ports & taken) - freed
            if clash:
                return Lack(name, min(clash), 0)
    return None


_NOTHING: Final = Need()
