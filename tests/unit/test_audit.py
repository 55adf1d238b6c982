"""What a survey shows of a cluster's daemons: which hosts lack which, since when, and why."""

import pytest

from blox.account.audit.findings import Audit, DaemonFinding, audit, blind_spot, suggested
from blox.account.audit.lacking import UNREAD, Basis, Cause, Lacking
from blox.account.surveyed import Survey, Unread
from blox.ecs.model import Host, PlacementConstraint, Resources, TaskDefinition
from blox.scheduler.eligibility import HostCondition, Lack
from support.documents import host_arn, task_arn
from support.surveys import (
    AT,
    DAY,
    HOUR,
    definition,
    everywhere,
    host,
    of_service,
    service,
    stopped,
    survey,
    task,
)

ARM = {"ecs.cpu-architecture": "arm64"}
FIVE = tuple(host(number) for number in range(1, 6))
AGENT = definition("agent")


def finding(found: Survey) -> DaemonFinding:
    """The only daemon of a survey."""
    (daemon,) = audit(found).daemons
    return daemon


def lacking(found: Survey) -> Lacking:
    """The only host that misses the only daemon."""
    (group,) = finding(found).missing
    (item,) = group.hosts
    assert (group.cause, group.detail) == (item.cause, item.detail)
    return item


def four_and(
    last: Host, *tasks: object, definitions: tuple[TaskDefinition, ...] = (AGENT,), **fields: object
) -> Survey:
    """The agent on hosts 1 to 4, and `last`, number 5, with other tasks."""
    return survey(
        *FIVE[:4],
        last,
        tasks=(*everywhere("agent", 1, 2, 3, 4), *tasks),  # type: ignore[arg-type]
        definitions=definitions,
        **fields,
    )


# --- Why and since when ---------------------------------------------------------------------------


def test_nothing_is_missing_where_every_ready_host_runs_it() -> None:
    found = finding(survey(*FIVE, tasks=everywhere("agent", 1, 2, 3, 4, 5)))
    assert (found.ready, found.running, found.missing_count) == (5, 5, 0)
    assert found.missing == found.excused == ()


def test_a_host_of_another_architecture_cannot_run_it() -> None:
    item = lacking(
        four_and(host(5, ARM), definitions=(definition("agent", architecture="X86_64"),))
    )
    assert item.cause is Cause.CANNOT_RUN
    assert item.detail == "X86_64 is needed, and the host is arm64"
    assert (item.since, item.basis) == (AT - 6 * DAY, Basis.REGISTERED)


def test_a_host_without_room_says_what_is_asked_and_what_is_free() -> None:
    item = lacking(four_and(host(5, remaining=Resources(cpu=2048, memory=210))))
    assert item.cause is Cause.NO_ROOM
    assert item.lack == Lack("MEMORY", 512, 210)


def test_a_task_that_stopped_is_told_with_its_reason_and_its_end() -> None:
    item = lacking(
        four_and(
            FIVE[4],
            stopped(10, 5, "agent", ago=2 * HOUR / 3),
            stopped(11, 5, "agent", ago=720.0),
        )
    )
    assert item.cause is Cause.STOPPED
    assert item.detail == "Essential container in task exited (exit 1)"
    assert (item.since, item.basis, item.stops) == (AT - 720.0, Basis.STOPPED, 2)


def test_no_room_after_a_stop_says_since_when_it_is_gone() -> None:
    full = host(5, remaining=Resources(cpu=0, memory=0))
    item = lacking(four_and(full, stopped(10, 5, "agent", ago=720.0)))
    assert (item.cause, item.since, item.basis) == (Cause.NO_ROOM, AT - 720.0, Basis.STOPPED)


def test_stops_alike_but_for_ids_are_one_cause() -> None:
    reason = "Host EC2 (instance i-{:017x}) stopped."
    found = finding(
        survey(
            *(host(number) for number in range(1, 8)),
            tasks=(
                *everywhere("agent", 1, 2, 3, 4, 5),
                *(
                    stopped(n, n, "agent", ago=60.0, stopped_reason=reason.format(n))
                    for n in (6, 7)
                ),
            ),
        )
    )
    (group,) = found.missing
    assert group.detail == "Host EC2 (instance …) stopped. (exit 1)"
    assert [item.host_arn for item in group.hosts] == [host_arn(6), host_arn(7)]


def test_a_task_that_is_being_stopped_does_not_run_there() -> None:
    leaving = task(
        10, 5, "agent", desired_status="STOPPED", stopping_at=AT - 30.0, stopped_reason="bye"
    )
    item = lacking(four_and(FIVE[4], leaving))
    assert (item.cause, item.since, item.basis) == (Cause.STOPPING, AT - 30.0, Basis.STOPPING)


@pytest.mark.parametrize("age", [10.0, 299.0])
def test_a_task_that_has_just_been_started_counts_as_running(age: float) -> None:
    young = task(10, 5, "agent", last_status="PENDING", created_at=AT - age)
    assert finding(four_and(FIVE[4], young)).running == 5


def test_a_task_that_stays_pending_does_not_run_there() -> None:
    stuck = task(10, 5, "agent", last_status="PENDING", created_at=AT - 1000.0)
    item = lacking(four_and(FIVE[4], stuck))
    assert (item.cause, item.detail) == (Cause.PENDING, "PENDING")
    assert (item.since, item.basis) == (AT - 1000.0, Basis.CREATED)


def test_a_status_that_is_not_known_here_counts_as_running() -> None:
    odd = task(10, 5, "agent", last_status="HIBERNATING", created_at=AT - DAY)
    assert finding(four_and(FIVE[4], odd)).running == 5


def test_nothing_in_the_way_and_nothing_to_be_seen_is_unknown() -> None:
    item = lacking(four_and(FIVE[4]))
    assert (item.cause, item.since, item.basis) == (
        Cause.UNKNOWN,
        AT - 6 * DAY,
        Basis.REGISTERED,
    )
    assert item.detail == ""
    assert lacking(four_and(FIVE[4], definitions=())).detail == UNREAD
    unregistered = lacking(four_and(host(5, registered_at=None)))
    assert (unregistered.since, unregistered.basis) == (None, None)


def test_a_replica_service_that_has_all_that_it_asks_for_says_so() -> None:
    rule = PlacementConstraint(type="distinctInstance")
    replicas = service(
        "web", "web", "REPLICA", desired_count=4, running_count=4, placement_constraints=(rule,)
    )
    tasks = tuple(of_service(n, n, "web", "web") for n in (1, 2, 3, 4))
    item = lacking(survey(*FIVE, tasks=tasks, services=(replicas,)))
    assert (item.cause, item.detail) == (Cause.ENOUGH, "service/web asks for 4")


# --- What is not missing --------------------------------------------------------------------------


def excused(found: Survey) -> tuple[Cause, str]:
    daemon = next(d for d in audit(found).daemons if d.family == "agent")
    (group,) = daemon.excused
    assert daemon.missing == ()
    assert daemon.running + daemon.excused_count == daemon.ready
    return group.cause, group.detail


def test_a_placement_constraint_of_the_service_excuses_a_host() -> None:
    rule = PlacementConstraint(type="memberOf", expression="attribute:role == web")
    hosts = (host(1, {"role": "web"}), host(2, {"role": "web"}), host(3))
    tasks = tuple(of_service(n, n, "agent", "logs") for n in (1, 2))
    served = service("logs", "agent", placement_constraints=(rule,))
    assert excused(survey(*hosts, tasks=tasks, services=(served,))) == (
        Cause.EXCLUDED,
        "the constraint attribute:role == web",
    )


def test_a_placement_constraint_of_the_definition_excuses_a_host() -> None:
    rule = PlacementConstraint(type="memberOf", expression="not(attribute:role == db)")
    picky = definition("agent", placement_constraints=(rule,))
    found = four_and(host(5, {"role": "db"}), definitions=(picky,))
    assert excused(found) == (Cause.EXCLUDED, "the constraint not(attribute:role == db)")


def test_a_constraint_on_groups_looks_at_the_other_tasks_of_the_host() -> None:
    rule = PlacementConstraint(type="memberOf", expression="task:group == service:web")
    hosts = (host(1), host(2), host(3))
    tasks = (
        *(of_service(n, n, "agent", "logs") for n in (1, 2)),
        *(of_service(10 + n, n, "web", "web") for n in (1, 2)),
    )
    served = service("logs", "agent", placement_constraints=(rule,))
    spread = service("web", "web", "REPLICA")
    found = survey(*hosts, tasks=tasks, services=(served, spread))
    assert excused(found)[0] is Cause.EXCLUDED


def test_a_constraint_that_cannot_be_read_here_excuses_nobody() -> None:
    rule = PlacementConstraint(type="memberOf", expression="attribute:a ~~ b")
    served = service("logs", "agent", placement_constraints=(rule,))
    tasks = tuple(of_service(n, n, "agent", "logs") for n in (1, 2, 3, 4))
    assert lacking(survey(*FIVE, tasks=tasks, services=(served,))).cause is Cause.UNKNOWN


def test_a_service_of_launch_type_ec2_is_not_meant_for_external_hosts() -> None:
    outside = host(5, {"ecs.capability.external": ""})
    tasks = tuple(of_service(n, n, "agent", "logs") for n in (1, 2, 3, 4))
    found = survey(*FIVE[:4], outside, tasks=tasks, services=(service("logs", "agent"),))
    assert excused(found) == (Cause.EXCLUDED, "the service's launch type EC2")


def test_a_host_that_registered_a_moment_ago_is_given_time() -> None:
    assert excused(four_and(host(5, registered_at=AT - 20.0)))[0] is Cause.NEW
    assert lacking(four_and(host(5, registered_at=AT - 200.0))).cause is Cause.UNKNOWN


def test_a_new_host_on_which_it_has_already_died_is_given_none() -> None:
    found = four_and(host(5, registered_at=AT - 60.0), stopped(10, 5, "agent", ago=20.0))
    assert lacking(found).cause is Cause.STOPPED


@pytest.mark.parametrize(
    "names",
    [("agent", "agent-arm64"), ("agent_amd64", "agent_arm64"), ("agent-x86", "agent-graviton")],
)
def test_the_same_agent_for_the_other_architecture_excuses_its_hosts(
    names: tuple[str, str],
) -> None:
    hosts = tuple(host(n, ARM if n > 5 else None) for n in range(1, 10))
    found = audit(
        survey(
            *hosts,
            tasks=(*everywhere(names[0], 1, 2, 3, 4, 5), *everywhere(names[1], 6, 7, 8)),
            definitions=(
                definition(names[0], architecture="X86_64"),
                definition(names[1], architecture="ARM64"),
            ),
        )
    )
    by_family = {daemon.family: daemon for daemon in found.daemons}
    x86, arm = by_family[names[0]], by_family[names[1]]
    (instead,) = x86.excused
    assert (instead.cause, instead.detail, len(instead.hosts)) == (
        Cause.OTHER_FAMILY,
        names[1],
        3,
    )
    assert [(g.cause, len(g.hosts)) for g in x86.missing] == [(Cause.CANNOT_RUN, 1)]
    assert [(g.cause, len(g.hosts)) for g in arm.missing] == [(Cause.UNKNOWN, 1)]
    assert arm.excused_count == 5


def test_another_agent_excuses_nobody() -> None:
    hosts = tuple(host(n, ARM if n > 5 else None) for n in range(1, 9))
    found = audit(
        survey(
            *hosts,
            tasks=(*everywhere("agent", 1, 2, 3, 4, 5), *everywhere("armory", *range(1, 9))),
            definitions=(definition("agent", architecture="X86_64"), definition("armory")),
        )
    )
    assert found.daemons[0].missing_count == 3


# --- Hosts that are not ready ---------------------------------------------------------------------


def test_hosts_that_are_not_ready_are_told_apart_and_not_counted() -> None:
    hosts = (
        *FIVE[:3],
        host(4, status="DRAINING"),
        host(5, agent_connected=False),
        host(6, status="REGISTERING"),
    )
    found = audit(survey(*hosts, tasks=everywhere("agent", 1, 2, 3)))
    (daemon,) = found.daemons
    assert (daemon.ready, daemon.running, daemon.missing) == (3, 3, ())
    assert [(item.cause, item.detail) for item in daemon.not_ready] == [
        (Cause.DRAINING, "DRAINING"),
        (Cause.DISCONNECTED, "ACTIVE"),
        (Cause.NOT_READY, "REGISTERING"),
    ]
    assert dict(found.hosts) == {
        HostCondition.READY: 3,
        HostCondition.DISCONNECTED: 1,
        HostCondition.DRAINING: 1,
        HostCondition.NOT_READY: 1,
    }


def test_an_older_record_of_a_machine_is_no_host() -> None:
    old = host(4, instance_id="i-same", registered_at=AT - 9 * DAY, agent_connected=False)
    new = host(5, instance_id="i-same")
    found = audit(survey(*FIVE[:3], old, new, tasks=everywhere("agent", 1, 2, 3, 4, 5)))
    (daemon,) = found.daemons
    assert (daemon.ready, daemon.running, daemon.not_ready) == (4, 4, ())
    assert found.hosts[HostCondition.SUPERSEDED] == 1


# --- Twice ----------------------------------------------------------------------------------------


def test_a_host_with_two_is_told_with_its_tasks() -> None:
    tasks = (*everywhere("agent", *range(1, 11)), task(7, 2, "agent"))
    found = finding(survey(*(host(number) for number in range(1, 11)), tasks=tasks))
    (double,) = found.doubles
    assert double.host_arn == host_arn(2)
    assert double.tasks == (task_arn(7), task_arn(1002))
    assert found.running == 10


def test_a_service_and_a_hand_started_task_make_two() -> None:
    tasks = (
        *(of_service(n, n, "agent", "logs") for n in range(1, 6)),
        task(10, 3, "agent"),
    )
    found = finding(survey(*FIVE, tasks=tasks, services=(service("logs", "agent"),)))
    assert [double.host_arn for double in found.doubles] == [host_arn(3)]


def test_one_that_is_leaving_beside_its_successor_makes_no_two() -> None:
    leaving = task(10, 5, "agent", desired_status="STOPPED")
    found = finding(survey(*FIVE, tasks=(*everywhere("agent", 1, 2, 3, 4, 5), leaving)))
    assert found.doubles == ()


# --- Images ---------------------------------------------------------------------------------------


def test_two_digests_under_one_tag_are_told_with_the_fewers_hosts() -> None:
    tasks = (
        *(task(n, n, "agent", digest="sha256:old") for n in (1, 2, 3)),
        *(task(n, n, "agent", digest="sha256:new") for n in (4, 5)),
        task(6, 1, "other", digest="sha256:one"),
        stopped(7, 1, "other", ago=5.0, digest="sha256:two"),
    )
    hosts = (*FIVE[:3], *(host(n, {"ecs.ami-id": "ami-2"}) for n in (4, 5)))
    (mixed,) = audit(survey(*hosts, tasks=tasks)).images
    assert (mixed.image, mixed.families) == ("repo/agent:1", ("agent",))
    assert [(d.digest, d.tasks) for d in mixed.digests] == [("sha256:old", 3), ("sha256:new", 2)]
    assert mixed.digests[1].hosts == (host_arn(4), host_arn(5))
    assert [(trait.name, trait.only_here) for trait in mixed.shared] == [("ami", True)]


def test_digests_that_are_not_known_are_no_difference() -> None:
    tasks = (task(1, 1, "agent", digest="sha256:a"), task(2, 2, "agent"))
    assert audit(survey(*FIVE, tasks=tasks)).images == ()


# --- The whole ------------------------------------------------------------------------------------


def test_hosts_that_lack_it_alike_are_grouped_with_what_they_share() -> None:
    hosts = (
        *FIVE,
        *(host(n, ARM | {"ecs.ami-id": "ami-2"}) for n in (6, 7)),
        host(8, remaining=Resources(cpu=0, memory=9999)),
    )
    x86 = definition("agent", architecture="X86_64")
    found = finding(survey(*hosts, tasks=everywhere("agent", 1, 2, 3, 4, 5), definitions=(x86,)))
    cannot, full = found.missing
    assert (cannot.cause, len(cannot.hosts)) == (Cause.CANNOT_RUN, 2)
    assert [trait.name for trait in cannot.shared] == ["ami", "architecture"]
    assert (full.cause, full.detail, len(full.hosts)) == (Cause.NO_ROOM, "CPU", 1)
    assert full.shared == ()


def test_the_totals_add_up() -> None:
    found = audit(
        survey(
            *FIVE,
            host(6, registered_at=AT - 1.0),
            tasks=(*everywhere("agent", 1, 2, 3, 4), *everywhere("other", 1, 2, 3, 4, 5, first=2)),
        )
    )
    assert (found.ready, len(found.daemons)) == (6, 2)
    assert (found.running, found.missing, found.excused) == (9, 1, 2)
    assert found.without_any == 1


def test_what_was_not_read_makes_it_blind_where_it_would_be_wrong() -> None:
    def blind(operation: str) -> Unread | None:
        unread = Unread(operation=operation, sentence=f"{operation} was refused", items=7)
        return blind_spot(survey(*FIVE, unread=(unread,)))

    for operation in (
        "ListContainerInstances",
        "DescribeContainerInstances",
        "ListTasks",
        "DescribeTasks",
    ):
        unread = blind(operation)
        assert unread is not None
        assert unread.operation == operation
    assert blind("DescribeServices") is None
    assert blind_spot(survey(*FIVE)) is None


def test_the_environment_that_would_help_on_most_hosts_is_suggested() -> None:
    hosts = (*FIVE, host(6, ARM), host(7, ARM))
    found: Audit = audit(
        survey(
            *hosts,
            tasks=(
                *everywhere("x86", 1, 2, 3, 4, 5),
                *everywhere("gone", 1, 2, 3, 4, 5, 6, first=2),
                *(task(9000 + n, n, "ours", group="blox:ours") for n in (1, 2, 3, 4, 5)),
            ),
            definitions=(definition("x86", architecture="X86_64"),),
        )
    )
    best = suggested(found.daemons)
    assert best is not None
    assert best.family == "gone"
    assert suggested([d for d in found.daemons if d.family == "ours"]) is None
    assert suggested([]) is None
