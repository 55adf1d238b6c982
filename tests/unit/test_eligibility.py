"""Which hosts: their condition, what they can run, and what fits."""

from collections.abc import Mapping

import pytest

from blox.ecs.model import (
    ContainerDefinition,
    Host,
    KeyValue,
    PlacementConstraint,
    PortMapping,
    Resources,
    RuntimePlatform,
    TaskDefinition,
)
from blox.scheduler.eligibility import (
    HostCondition,
    Lack,
    Need,
    condition,
    ineligible,
    lacks,
    may_start,
    may_stay,
    need_of,
)
from blox.scheduler.view import HostSeen

CLUSTER = "arn:aws:ecs:us-east-1:111122223333:cluster/demo"
EC2_LINUX = {
    "ecs.os-type": "linux",
    "ecs.os-family": "LINUX",
    "ecs.cpu-architecture": "x86_64",
    "ecs.capability.task-eni": "",
    "com.amazonaws.ecs.capability.docker-remote-api.1.44": "",
}


def host(
    attributes: Mapping[str, str] = EC2_LINUX,
    *,
    status: str = "ACTIVE",
    connected: bool = True,
    tasks: int | None = None,
) -> Host:
    return Host(
        arn="arn:aws:ecs:us-east-1:111122223333:container-instance/demo/0001",
        cluster_arn=CLUSTER,
        instance_id="i-0001",
        status=status,
        agent_connected=connected,
        attributes=attributes,
        running_tasks_count=tasks,
    )


def condition_of(seen: HostSeen, *, now: float = 1000.0) -> HostCondition:
    return condition(seen, now_mono=now, away_after=60, lost_after=900)


# --- Condition ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("ACTIVE", HostCondition.READY),
        ("DRAINING", HostCondition.DRAINING),
        ("REGISTERING", HostCondition.NOT_READY),
        ("REGISTRATION_FAILED", HostCondition.NOT_READY),
        ("DEREGISTERING", HostCondition.LEAVING),
        ("INACTIVE", HostCondition.GONE),
        ("SOMETHING_NEW", HostCondition.NOT_READY),
    ],
)
def test_every_status_has_a_condition(status: str, expected: HostCondition) -> None:
    assert condition_of(HostSeen(host=host(status=status))) is expected
    if status != "ACTIVE":
        away = HostSeen(host=host(status=status, connected=False), disconnected_since=0)
        assert condition_of(away) is expected


@pytest.mark.parametrize(
    ("silent", "expected"),
    [
        (0, HostCondition.DISCONNECTED),
        (59.9, HostCondition.DISCONNECTED),
        (60, HostCondition.AWAY),
        (899.9, HostCondition.AWAY),
        (900, HostCondition.LOST),
        (10_000, HostCondition.LOST),
    ],
)
def test_a_silent_host_is_away_and_then_lost(silent: float, expected: HostCondition) -> None:
    seen = HostSeen(host=host(connected=False), disconnected_since=500.0)
    assert condition_of(seen, now=500 + silent) is expected


def test_a_host_that_is_not_known_to_be_silent_for_long_is_within_its_grace() -> None:
    assert condition_of(HostSeen(host=host(connected=False))) is HostCondition.DISCONNECTED


def test_a_connected_host_is_ready_whatever_was_before() -> None:
    assert condition_of(HostSeen(host=host(), disconnected_since=0)) is HostCondition.READY


@pytest.mark.parametrize("status", ["ACTIVE", "DRAINING", "DEREGISTERING", "REGISTERING"])
def test_an_older_record_of_a_machine_is_superseded(status: str) -> None:
    seen = HostSeen(host=host(status=status, connected=False), superseded_by="newer")
    assert condition_of(seen) is HostCondition.SUPERSEDED


def test_an_older_record_that_is_gone_is_gone() -> None:
    seen = HostSeen(host=host(status="INACTIVE"), superseded_by="newer")
    assert condition_of(seen) is HostCondition.GONE


@pytest.mark.parametrize("state", HostCondition)
def test_daemons_start_on_ready_hosts_only(state: HostCondition) -> None:
    assert may_start(state) is (state is HostCondition.READY)


@pytest.mark.parametrize("state", HostCondition)
@pytest.mark.parametrize("matches", [True, False])
def test_a_daemon_stays_unless_its_host_is_superseded_or_does_not_match(
    state: HostCondition, matches: bool
) -> None:
    must_go = {
        (HostCondition.READY, False),
        *((HostCondition.SUPERSEDED, m) for m in (True, False)),
    }
    assert may_stay(state, matches) is ((state, matches) not in must_go)


# --- Eligibility ----------------------------------------------------------------------------------


def definition(
    *,
    architecture: str | None = None,
    family: str | None = None,
    compatibilities: tuple[str, ...] | None = ("EC2", "EXTERNAL"),
    needs: tuple[str, ...] = (),
    constraint: str | None = None,
) -> TaskDefinition:
    platform = RuntimePlatform(cpu_architecture=architecture, operating_system_family=family)
    return TaskDefinition(
        task_definition_arn="arn:aws:ecs:us-east-1:111122223333:task-definition/agent:1",
        compatibilities=compatibilities,
        requires_attributes=tuple(KeyValue(name=name) for name in needs),
        runtime_platform=platform if architecture or family else None,
        placement_constraints=None
        if constraint is None
        else (PlacementConstraint(type="memberOf", expression=constraint),),
    )


WINDOWS = EC2_LINUX | {"ecs.os-type": "windows", "ecs.os-family": "WINDOWS_SERVER_2022_CORE"}
ARM = EC2_LINUX | {"ecs.cpu-architecture": "arm64"}
EXTERNAL = {"ecs.os-type": "linux", "ecs.capability.external": ""}


@pytest.mark.parametrize(
    ("wanted", "attributes"),
    [
        (definition(), EC2_LINUX),
        (definition(architecture="X86_64", family="LINUX"), EC2_LINUX),
        (definition(architecture="ARM64"), ARM),
        (definition(architecture="ARM64", family="LINUX"), {}),
        (definition(family="WINDOWS_SERVER_2022_CORE"), WINDOWS),
        (definition(family="WINDOWS_SERVER_2022_CORE"), {"ecs.os-type": "windows"}),
        (definition(family="SOMETHING_NEW"), {"ecs.os-type": "linux"}),
        (definition(compatibilities=None), EXTERNAL),
        (definition(compatibilities=("EXTERNAL",)), EXTERNAL),
        (definition(needs=("ecs.capability.task-eni",)), EC2_LINUX),
        (definition(needs=("ecs.capability.task-eni",)), {"ecs.os-type": "linux", "rack": "7"}),
        (definition(constraint="attribute:ecs.os-type == linux"), EC2_LINUX),
        (definition(constraint="this is not the language"), EC2_LINUX),
        (definition(constraint="attribute:a =~ (?=x)"), EC2_LINUX),
        (definition(constraint="task:group == service:web"), EC2_LINUX),
        (definition(constraint="runningTasksCount == 0"), EC2_LINUX),
        (definition(constraint="agentConnected == true"), EC2_LINUX),
        (definition(constraint="agentVersion > 1.80"), EC2_LINUX),
    ],
)
def test_a_host_that_is_able_as_far_as_is_known(
    wanted: TaskDefinition, attributes: Mapping[str, str]
) -> None:
    assert ineligible(wanted, host(attributes, connected=False, tasks=3)) is None


@pytest.mark.parametrize(
    ("wanted", "attributes", "code", "detail"),
    [
        (definition(architecture="ARM64"), EC2_LINUX, "architecture", "ARM64 is needed"),
        (definition(family="LINUX"), WINDOWS, "os", "runs windows"),
        (definition(family="WINDOWS_SERVER_2019_CORE"), EC2_LINUX, "os", "runs linux"),
        (definition(family="WINDOWS_SERVER_2019_CORE"), WINDOWS, "os", "runs WINDOWS_SERVER_2022"),
        (definition(compatibilities=("EC2",)), EXTERNAL, "launchType", "not with EXTERNAL"),
        (definition(compatibilities=("FARGATE",)), EC2_LINUX, "launchType", "not with EC2"),
        (
            definition(needs=("ecs.capability.task-eni", "ecs.capability.gpu")),
            EC2_LINUX,
            "attribute",
            "does not have ecs.capability.gpu",
        ),
        (definition(constraint="attribute:rack == 7"), EC2_LINUX, "constraint", "attribute:rack"),
        (
            definition(constraint="attribute:rack == 7 and task:group == web"),
            EC2_LINUX,
            "constraint",
            "attribute:rack",
        ),
    ],
)
def test_a_host_that_cannot_run_it(
    wanted: TaskDefinition, attributes: Mapping[str, str], code: str, detail: str
) -> None:
    found = ineligible(wanted, host(attributes))
    assert found is not None
    assert found.code == code
    assert detail in found.detail


def test_other_constraints_than_member_of_do_not_concern_a_daemon() -> None:
    distinct = TaskDefinition(
        task_definition_arn="arn",
        placement_constraints=(
            PlacementConstraint(type="distinctInstance", expression="attribute:rack == 7"),
            PlacementConstraint(type="memberOf", expression=None),
        ),
    )
    assert ineligible(distinct, host()) is None


# --- Need -----------------------------------------------------------------------------------------


def containers(*items: ContainerDefinition, **fields: str) -> TaskDefinition:
    return TaskDefinition(
        task_definition_arn="arn",
        container_definitions=items,
        network_mode=fields.get("mode"),
        cpu=fields.get("cpu"),
        memory=fields.get("memory"),
    )


AGENT = ContainerDefinition(name="agent", cpu=100, memory=256, memory_reservation=128)
SIDE = ContainerDefinition(name="side", cpu=50, memory=64)
BARE = ContainerDefinition(name="bare")


def override(**values: object) -> dict[str, object]:
    return {"overrides": values}


@pytest.mark.parametrize(
    ("wanted", "task_block", "cpu", "memory"),
    [
        (containers(AGENT, SIDE, BARE), {}, 150, 192),
        (containers(AGENT, cpu="256", memory="512"), {}, 256, 512),
        (containers(AGENT, cpu="256"), {}, 256, 128),
        (containers(AGENT, cpu="0.5 vCPU", memory="1GB"), {}, 512, 1024),
        (containers(AGENT, cpu="much", memory=""), {}, 100, 128),
        (containers(AGENT, cpu="256", memory="512"), override(cpu="128", memory="300"), 128, 300),
        (
            containers(AGENT, SIDE),
            override(
                containerOverrides=[
                    {"name": "agent", "cpu": 10, "memoryReservation": 20},
                    {"name": "side", "memory": 30},
                    {"name": "stranger", "cpu": 9999},
                ]
            ),
            60,
            50,
        ),
        (
            containers(AGENT),
            override(containerOverrides=[{"name": "agent", "memory": 999, "cpu": None}]),
            100,
            128,
        ),
        (containers(AGENT), override(containerOverrides="nonsense", cpu=True), 100, 128),
        (containers(AGENT), override(containerOverrides=[None, 7]), 100, 128),
        (containers(AGENT), {"overrides": None}, 100, 128),
    ],
)
def test_cpu_and_memory(
    wanted: TaskDefinition, task_block: Mapping[str, object], cpu: int, memory: int
) -> None:
    need = need_of(wanted, task_block)
    assert (need.cpu, need.memory) == (cpu, memory)


PORTS = ContainerDefinition(
    name="ports",
    port_mappings=(
        PortMapping(container_port=8125, host_port=9125, protocol="udp"),
        PortMapping(container_port=8126, host_port=9126, protocol="tcp"),
        PortMapping(container_port=8127, host_port=0),
        PortMapping(container_port=8128),
    ),
)


@pytest.mark.parametrize(
    ("mode", "tcp", "udp"),
    [
        ("bridge", {9126}, {9125}),
        (None, {9126}, {9125}),
        ("host", {8126, 8127, 8128}, {8125}),
        ("awsvpc", set(), set()),
        ("none", set(), set()),
    ],
)
def test_ports_depend_on_the_network_mode(mode: str | None, tcp: set[int], udp: set[int]) -> None:
    wanted = TaskDefinition(
        task_definition_arn="arn", network_mode=mode, container_definitions=(PORTS, BARE)
    )
    need = need_of(wanted, {})
    assert (set(need.tcp), set(need.udp)) == (tcp, udp)


NEED = Need(cpu=100, memory=200, tcp=frozenset({80, 443}), udp=frozenset({53}))


def room(
    cpu: int | None = 100,
    memory: int | None = 200,
    tcp: tuple[int, ...] = (22,),
    udp: tuple[int, ...] = (),
) -> Resources:
    return Resources(cpu=cpu, memory=memory, ports_tcp=frozenset(tcp), ports_udp=frozenset(udp))


@pytest.mark.parametrize(
    ("remaining", "lack"),
    [
        (room(), None),
        (None, None),
        (room(cpu=None, memory=None), None),
        (room(cpu=99), Lack("CPU", 100, 99)),
        (room(cpu=-5), Lack("CPU", 100, -5)),
        (room(memory=0), Lack("MEMORY", 200, 0)),
        (room(cpu=None, memory=199), Lack("MEMORY", 200, 199)),
        (room(tcp=(22, 443, 80)), Lack("PORTS", 80, 0)),
        (room(tcp=(53,)), None),
        (room(udp=(53, 80)), Lack("PORTS_UDP", 53, 0)),
    ],
)
def test_what_a_host_lacks(remaining: Resources | None, lack: Lack | None) -> None:
    assert lacks(NEED, remaining) == lack


def test_what_is_not_needed_is_not_lacking() -> None:
    assert lacks(Need(), room(cpu=-1, memory=-1, tcp=(80,), udp=(53,))) is None


def test_what_a_stopping_daemon_holds_counts_as_free() -> None:
    full = room(cpu=0, memory=50, tcp=(22, 80, 443), udp=(53,))
    assert lacks(NEED, full, NEED) is None
    assert lacks(NEED, full, Need(cpu=99, memory=200)) == Lack("CPU", 100, 99)
    assert lacks(NEED, full, Need(cpu=100, memory=150, tcp=frozenset({80}))) == Lack(
        "PORTS", 443, 0
    )
