"""Unknown things make no host unable; room and need agree with plain arithmetic."""

from hypothesis import assume, given
from hypothesis import strategies as st

from blox.ecs.model import (
    Host,
    KeyValue,
    PlacementConstraint,
    Resources,
    RuntimePlatform,
    TaskDefinition,
)
from blox.scheduler.eligibility import (
    HostCondition,
    Need,
    condition,
    ineligible,
    lacks,
    may_start,
    may_stay,
)
from blox.scheduler.view import HostSeen

NAMES = ["ecs.os-type", "ecs.os-family", "ecs.cpu-architecture", "ecs.capability.external"]
VALUES = ["linux", "LINUX", "windows", "WINDOWS_SERVER_2022_CORE", "x86_64", "arm64", ""]
ATTRIBUTES = st.dictionaries(
    st.sampled_from([*NAMES, "ecs.capability.a", "ecs.capability.b", "rack"]),
    st.sampled_from(VALUES),
)
OPTIONAL = st.one_of(st.none(), st.sampled_from(["X86_64", "ARM64", "LINUX", *VALUES]))
DEFINITIONS = st.builds(
    TaskDefinition,
    task_definition_arn=st.just("arn"),
    compatibilities=st.one_of(
        st.none(), st.lists(st.sampled_from(["EC2", "EXTERNAL", "FARGATE"])).map(tuple)
    ),
    requires_attributes=st.one_of(
        st.none(),
        st.lists(
            st.sampled_from(["ecs.capability.a", "ecs.capability.b"]).map(
                lambda name: KeyValue(name=name)
            )
        ).map(tuple),
    ),
    runtime_platform=st.one_of(
        st.none(),
        st.builds(RuntimePlatform, cpu_architecture=OPTIONAL, operating_system_family=OPTIONAL),
    ),
    placement_constraints=st.one_of(
        st.none(),
        st.lists(
            st.builds(
                PlacementConstraint,
                type=st.sampled_from(["memberOf", "distinctInstance", None]),
                expression=st.sampled_from(
                    ["attribute:rack exists", "task:group == a", "???", "agentConnected == true"]
                ),
            )
        ).map(tuple),
    ),
)


def host(attributes: dict[str, str], *, connected: bool = True, count: int | None = None) -> Host:
    return Host(
        arn="arn",
        cluster_arn="cluster",
        attributes=attributes,
        agent_connected=connected,
        running_tasks_count=count,
    )


@given(DEFINITIONS, ATTRIBUTES, st.sampled_from(NAMES[:3]))
def test_knowing_less_of_its_platform_makes_no_host_unable(
    wanted: TaskDefinition, attributes: dict[str, str], forgotten: str
) -> None:
    assume(ineligible(wanted, host(attributes)) is None)
    less = {name: value for name, value in attributes.items() if name != forgotten}
    assert ineligible(wanted, host(less)) is None


@given(DEFINITIONS, ATTRIBUTES, st.booleans(), st.one_of(st.none(), st.integers(0, 9)))
def test_what_runs_and_whether_the_agent_is_connected_change_nothing(
    wanted: TaskDefinition, attributes: dict[str, str], connected: bool, count: int | None
) -> None:
    changed = host(attributes, connected=connected, count=count)
    assert ineligible(wanted, changed) == ineligible(wanted, host(attributes))


PORTS = st.frozensets(st.integers(1, 6))
NEEDS = st.builds(Need, cpu=st.integers(0, 9), memory=st.integers(0, 9), tcp=PORTS, udp=PORTS)
ROOM = st.builds(
    Resources,
    cpu=st.one_of(st.none(), st.integers(-2, 9)),
    memory=st.one_of(st.none(), st.integers(-2, 9)),
    ports_tcp=PORTS,
    ports_udp=PORTS,
)


@given(NEEDS, ROOM, NEEDS)
def test_something_lacks_exactly_when_one_resource_does(
    need: Need, remaining: Resources, released: Need
) -> None:
    fits = [
        need.cpu == 0 or remaining.cpu is None or need.cpu - released.cpu <= remaining.cpu,
        need.memory == 0
        or remaining.memory is None
        or need.memory - released.memory <= remaining.memory,
        all(port not in remaining.ports_tcp or port in released.tcp for port in need.tcp),
        all(port not in remaining.ports_udp or port in released.udp for port in need.udp),
    ]
    names = ["CPU", "MEMORY", "PORTS", "PORTS_UDP"]
    lack = lacks(need, remaining, released)
    assert (lack.resource if lack else None) == next(
        (name for name, fit in zip(names, fits, strict=True) if not fit), None
    )


@given(
    status=st.sampled_from(["ACTIVE", "DRAINING", "INACTIVE", "REGISTERING", "DEREGISTERING", "?"]),
    connected=st.booleans(),
    since=st.one_of(st.none(), st.floats(0, 2000)),
    superseded_by=st.sampled_from([None, "newer"]),
    matches=st.booleans(),
)
def test_a_daemon_may_start_only_where_it_may_stay(
    status: str, connected: bool, since: float | None, superseded_by: str | None, matches: bool
) -> None:
    seen = HostSeen(
        host=Host(arn="a", cluster_arn="c", status=status, agent_connected=connected),
        disconnected_since=since,
        superseded_by=superseded_by,
    )
    state = condition(seen, now_mono=2000, away_after=60, lost_after=900)
    if may_start(state):
        assert (status, connected, superseded_by) == ("ACTIVE", True, None)
        assert may_stay(state, matches) is matches
    else:
        assert may_stay(state, matches) is (state is not HostCondition.SUPERSEDED)
