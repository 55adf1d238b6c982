"""What counts as a daemon on a cluster that blox did not set up."""

from blox.account.audit.daemonlike import (
    Daemon,
    RunnerKind,
    daemons,
    definitions_wanted,
)
from blox.ecs.model import PlacementConstraint
from support.surveys import (
    definition,
    definition_arn,
    everywhere,
    host,
    of_service,
    service,
    stopped,
    survey,
    task,
)

FIVE = tuple(host(number) for number in range(1, 6))
ARM = {"ecs.cpu-architecture": "arm64"}


def families(found: tuple[Daemon, ...]) -> list[str]:
    return [daemon.family for daemon in found]


def test_a_daemon_service_is_one_even_where_it_runs_nowhere() -> None:
    (found,) = daemons(survey(*FIVE, services=(service("logs", "agent"),)))
    assert (found.family, found.definition_arn) == ("agent", definition_arn("agent"))
    assert found.service is not None
    assert found.tasks == ()


def test_a_service_that_is_being_deleted_is_none() -> None:
    assert daemons(survey(*FIVE, services=(service("logs", "agent", status="DRAINING"),))) == ()


def test_a_family_on_three_of_five_hosts_is_one_and_on_two_is_none() -> None:
    three = everywhere("agent", 1, 2, 3)
    assert families(daemons(survey(*FIVE, tasks=three))) == ["agent"]
    assert daemons(survey(*FIVE, tasks=three[:2])) == ()


def test_a_family_on_half_of_the_hosts_is_none() -> None:
    six = (*FIVE, host(6))
    assert daemons(survey(*six, tasks=everywhere("agent", 1, 2, 3))) == ()


def test_two_hosts_are_enough_where_there_are_only_two() -> None:
    assert families(daemons(survey(*FIVE[:2], tasks=everywhere("agent", 1, 2)))) == ["agent"]
    assert daemons(survey(*FIVE[:2], tasks=everywhere("agent", 1))) == ()


def test_hosts_that_cannot_run_it_do_not_count_against_it() -> None:
    hosts = (*FIVE[:3], *(host(number, ARM) for number in range(4, 9)))
    x86 = definition("agent", architecture="X86_64")
    tasks = everywhere("agent", 1, 2, 3)
    assert families(daemons(survey(*hosts, tasks=tasks, definitions=(x86,)))) == ["agent"]
    assert daemons(survey(*hosts, tasks=tasks)) == ()


def test_a_family_with_several_tasks_a_host_is_none() -> None:
    tasks = (*everywhere("web", 1, 2, 3, 4, 5), *everywhere("web", 1, 2, 3, first=2))
    assert daemons(survey(*FIVE, tasks=tasks)) == ()


def test_one_host_in_ten_with_two_does_not_make_it_another_thing() -> None:
    hosts = tuple(host(number) for number in range(1, 11))
    tasks = (*everywhere("agent", *range(1, 11)), task(9999, 1, "agent"))
    assert families(daemons(survey(*hosts, tasks=tasks))) == ["agent"]


def test_tasks_that_are_stopping_stopped_or_not_on_a_host_make_no_daemon() -> None:
    tasks = (
        *(stopped(number, number, "agent", ago=60.0) for number in range(1, 6)),
        *(task(100 + n, n, "job", desired_status="STOPPED") for n in range(1, 6)),
        *(task(200 + n, n, "fargate", host_arn="") for n in range(1, 6)),
    )
    assert daemons(survey(*FIVE, tasks=tasks)) == ()


def test_a_replica_service_counts_only_where_it_asks_for_distinct_hosts() -> None:
    tasks = tuple(of_service(number, number, "web", "web") for number in range(1, 6))
    spread = service("web", "web", "REPLICA")
    assert daemons(survey(*FIVE, tasks=tasks, services=(spread,))) == ()
    rule = PlacementConstraint(type="distinctInstance")
    distinct = service("web", "web", "REPLICA", placement_constraints=(rule,))
    (found,) = daemons(survey(*FIVE, tasks=tasks, services=(distinct,)))
    (runner,) = found.runners
    assert (runner.kind, runner.name, runner.tasks) == (RunnerKind.REPLICA_SERVICE, "web", 5)


def test_a_service_of_which_nothing_is_known_counts_and_is_named() -> None:
    tasks = tuple(of_service(number, number, "agent", "logs") for number in range(1, 6))
    (found,) = daemons(survey(*FIVE, tasks=tasks))
    (runner,) = found.runners
    assert (runner.kind, runner.name) == (RunnerKind.SERVICE, "logs")


def test_hand_started_tasks_of_a_services_family_belong_to_the_service() -> None:
    tasks = (
        *(of_service(number, number, "agent", "logs") for number in (1, 2, 3)),
        *(task(10 + n, n, "agent", started_by="userdata") for n in (4, 5)),
    )
    (found,) = daemons(survey(*FIVE, tasks=tasks, services=(service("logs", "agent"),)))
    assert [(r.kind, r.name, r.tasks) for r in found.runners] == [
        (RunnerKind.DAEMON_SERVICE, "logs", 3),
        (RunnerKind.HAND, "userdata", 2),
    ]


def test_a_family_that_an_environment_runs_says_which() -> None:
    tasks = tuple(task(n, n, "agent", group="blox:logs", intent="01") for n in range(1, 6))
    (found,) = daemons(survey(*FIVE, tasks=tasks))
    (runner,) = found.runners
    assert (runner.kind, runner.name) == (RunnerKind.ENVIRONMENT, "logs")


def test_two_services_of_one_family_are_told_apart() -> None:
    tasks = (of_service(1, 1, "agent", "a"), of_service(2, 2, "agent", "b"))
    found = daemons(
        survey(*FIVE, tasks=tasks, services=(service("a", "agent"), service("b", "agent")))
    )
    assert [[item.service for item in daemon.tasks] for daemon in found] == [["a"], ["b"]]


def test_the_commonest_definition_stands_for_a_family_and_the_latest_of_equals() -> None:
    old = tuple(task(n, n, "agent") for n in (1, 2))
    new = tuple(task(n, n, "agent", revision=10) for n in (3, 4))
    (found,) = daemons(survey(*FIVE, tasks=(*old, *new)))
    assert found.definition_arn == definition_arn("agent", 10)
    (found,) = daemons(survey(*FIVE, tasks=(*old, *new, task(5, 5, "agent"))))
    assert found.definition_arn == definition_arn("agent", 1)


def test_only_definitions_of_what_may_be_a_daemon_are_asked_for() -> None:
    tasks = (*everywhere("agent", 1, 2, 3), task(9000, 1, "job"), task(9001, 2, "job"))
    found = definitions_wanted(survey(*FIVE, tasks=tasks, services=(service("logs", "logs"),)))
    assert found == (definition_arn("agent"), definition_arn("logs"))


def test_a_cluster_without_ready_hosts_has_no_families_that_count() -> None:
    away = tuple(host(number, agent_connected=False) for number in range(1, 4))
    assert daemons(survey(*away, tasks=everywhere("agent", 1, 2, 3))) == ()
    assert daemons(survey()) == ()
