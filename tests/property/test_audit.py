"""Whatever a cluster looks like, an audit accounts for every ready host exactly once."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from blox.account.audit.findings import audit
from blox.account.audit.lacking import EXCUSED
from blox.account.shared_traits import shared_traits
from blox.account.surveyed import Survey
from blox.ecs.model import Host, PlacementConstraint, Resources
from blox.scheduler.eligibility import HostCondition
from support.surveys import AT, DAY, definition, host, service, survey, task

FAMILIES = ("agent", "agent-arm64", "logs", "web")
STATUSES = ("PENDING", "RUNNING", "STOPPING", "STOPPED", "NEW-STATUS")
GROUPS = ("family:x", "service:logs", "service:web", "blox:env")
RULES: tuple[tuple[PlacementConstraint, ...] | None, ...] = (
    None,
    (PlacementConstraint(type="distinctInstance"),),
    (PlacementConstraint(type="memberOf", expression="attribute:ecs.ami-id == ami-1"),),
)


@st.composite
def hosts(draw: st.DrawFn, number: int) -> Host:
    attributes = {
        "ecs.cpu-architecture": draw(st.sampled_from(("x86_64", "arm64"))),
        "ecs.ami-id": draw(st.sampled_from(("ami-1", "ami-2"))),
        "ecs.availability-zone": draw(st.sampled_from(("a", "b", "c"))),
    }
    return host(
        number,
        attributes,
        status=draw(st.sampled_from(("ACTIVE", "ACTIVE", "ACTIVE", "DRAINING", "REGISTERING"))),
        agent_connected=draw(st.booleans() | st.just(value=True)),
        registered_at=draw(st.sampled_from((None, AT - 10.0, AT - DAY))),
        instance_id=draw(st.sampled_from(("i-shared", f"i-{number}", f"i-{number}"))),
        remaining=draw(st.sampled_from((None, Resources(cpu=64, memory=64), Resources()))),
    )


@st.composite
def surveys(draw: st.DrawFn) -> Survey:
    found = [draw(hosts(number)) for number in range(1, draw(st.integers(0, 7)) + 1)]
    listed = []
    for number in range(draw(st.integers(0, 25))):
        on = draw(st.integers(1, 8))
        fields: dict[str, Any] = {
            "last_status": draw(st.sampled_from(STATUSES)),
            "desired_status": draw(st.sampled_from(("RUNNING", "RUNNING", "STOPPED"))),
            "group": draw(st.sampled_from(GROUPS)),
            "created_at": draw(st.sampled_from((None, AT - 5.0, AT - DAY))),
            "stopped_at": draw(st.sampled_from((None, AT - 5.0))),
        }
        digest = draw(st.sampled_from(("", "sha256:1", "sha256:2")))
        listed.append(task(number, on, draw(st.sampled_from(FAMILIES)), digest=digest, **fields))
    services = [
        service(
            name,
            draw(st.sampled_from(FAMILIES)),
            draw(st.sampled_from(("DAEMON", "REPLICA"))),
            placement_constraints=draw(st.sampled_from(RULES)),
        )
        for name in ("logs", "web")
        if draw(st.booleans())
    ]
    definitions = [
        definition(family, architecture=draw(st.sampled_from((None, "X86_64", "ARM64"))))
        for family in FAMILIES
        if draw(st.booleans())
    ]
    return survey(
        *found, tasks=tuple(listed), definitions=tuple(definitions), services=tuple(services)
    )


@given(surveys())
def test_every_ready_host_is_running_missing_or_excused_for_every_daemon(found: Survey) -> None:
    result = audit(found)
    ready = {h.arn for h in found.hosts if found.condition(h) is HostCondition.READY}
    assert sum(result.hosts.values()) == len(found.hosts)
    assert result.ready == len(ready)
    for daemon in result.daemons:
        lacking = [item.host_arn for g in (*daemon.missing, *daemon.excused) for item in g.hosts]
        assert len(lacking) == len(set(lacking))
        assert set(lacking) <= ready
        assert daemon.running + len(lacking) == daemon.ready == len(ready)
        assert all(group.cause not in EXCUSED for group in daemon.missing)
        assert all(group.cause in EXCUSED for group in daemon.excused)
        assert not ready & {item.host_arn for item in daemon.not_ready}
    pairs = result.ready * len(result.daemons)
    assert result.running + result.missing + result.excused == pairs
    assert result.without_any <= result.ready


@given(surveys())
def test_no_host_with_a_running_task_is_said_to_lack_it(found: Survey) -> None:
    running = {
        (item.task.host_arn, item.family)
        for item in found.tasks
        if item.task.wanted_by_ecs and item.task.last_status == "RUNNING"
    }
    for daemon in audit(found).daemons:
        if daemon.service:
            continue
        for group in daemon.missing:
            for item in group.hosts:
                assert (item.host_arn, daemon.family) not in running


@given(surveys(), st.randoms(use_true_random=False))
def test_the_order_in_which_ecs_lists_things_changes_nothing(found: Survey, random: Any) -> None:
    def shuffled(items: tuple[Any, ...]) -> tuple[Any, ...]:
        mixed = list(items)
        random.shuffle(mixed)
        return tuple(mixed)

    other = survey(
        *shuffled(found.hosts),
        tasks=shuffled(found.tasks),
        definitions=shuffled(tuple(found.definitions.values())),
        services=shuffled(found.services),
    )
    first, second = audit(found), audit(other)
    assert (first.daemons, first.images) == (second.daemons, second.images)


@given(st.lists(hosts(1), max_size=6), st.lists(hosts(2), max_size=6))
def test_traits_count_right_and_never_in_the_order_of_the_hosts(
    ours: list[Host], others: list[Host]
) -> None:
    found = shared_traits(ours, others)
    assert found == shared_traits(ours[::-1], others[::-1])
    for trait in found:
        assert (trait.of, trait.of_others) == (len(ours), len(others))
        assert 0 < trait.hosts <= trait.of
        assert trait.others < trait.of_others
        assert trait.hosts / trait.of > trait.others / trait.of_others
