"""The judge of what people order: freeze, hold, confirm, adopt, delete with the tasks, lose."""

import pytest

from blox.simulator.model import Json
from support.small_truth import CLUSTER, ENVIRONMENT, FAMILY, SmallTruth, promises

LONG = 900.0
IDLE = 300.0


def by_hand(truth: SmallTruth, host: str, family: str = FAMILY) -> str:
    """Somebody else starts a task there."""
    arn = truth.cloud.start_foreign(CLUSTER, host, family, now=truth.now)
    truth.oracle.step(truth.now)
    return arn


# --- Freeze and hold ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "target"),
    [
        ("everything", ""),
        ("cluster", CLUSTER),
        ("environment", f"{CLUSTER}/{FAMILY}"),
        ("host", ""),
    ],
)
def test_what_is_decided_after_a_freeze_or_a_hold_is_found(scope: str, target: str) -> None:
    truth = SmallTruth(hosts=2)
    truth.start(truth.hosts[0])
    truth.run(LONG)
    truth.cloud.drain_host(truth.hosts[0], now=truth.now)
    wanted = target or (truth.hosts[0] if scope == "host" else "")
    truth.oracle.ordered(scope, wanted, until=truth.now + 600.0, now=truth.now)  # type: ignore[arg-type]
    truth.run(60.0)
    (violation,) = truth.stop(truth.daemon(truth.hosts[0]))
    assert (violation.promise, violation.host) == (2, truth.hosts[0])
    found = truth.start(truth.hosts[1])
    assert promises(found) == ([] if scope == "host" else [9])


def test_what_was_decided_before_may_arrive_after() -> None:
    truth = SmallTruth()
    before = truth.now - truth.cloud.assumptions.dated_back
    truth.run(5.0)
    truth.oracle.ordered("everything", until=truth.now + 600.0, now=truth.now)
    truth.run(20.0)
    assert truth.start(truth.hosts[0], signed=before) == []


def test_what_is_over_or_taken_back_or_elsewhere_binds_nothing() -> None:
    truth = SmallTruth(hosts=3)
    oracle = truth.oracle
    oracle.ordered("everything", until=truth.now + 30.0, now=truth.now)
    taken = oracle.ordered("cluster", CLUSTER, until=truth.now + 600.0, now=truth.now)
    oracle.ordered("cluster", "west", until=truth.now + 600.0, now=truth.now)
    oracle.ordered("host", truth.hosts[2], until=truth.now + 600.0, now=truth.now)
    truth.run(35.0)
    assert promises(truth.start(truth.hosts[0])) == [9]
    oracle.taken_back(taken, now=truth.now)
    truth.run(5.0)
    assert truth.start(truth.hosts[1]) == []


# --- Adopting -------------------------------------------------------------------------------------


def test_an_adopted_task_is_judged_like_one_that_was_started() -> None:
    truth = SmallTruth(hosts=3)
    arns = [by_hand(truth, host) for host in truth.hosts]
    truth.run(LONG)
    assert truth.oracle.adopts(ENVIRONMENT, arns, now=truth.now) == []
    assert truth.healed() == []
    assert promises(truth.start(truth.hosts[0])) == [1, 1]
    (violation,) = truth.stop(truth.cloud.tasks[arns[1]])
    assert "unasked" in violation.text


def test_a_task_that_nobody_gave_us_is_not_ours_to_stop() -> None:
    truth = SmallTruth()
    arn = by_hand(truth, truth.hosts[0])
    truth.run(LONG)
    assert promises(truth.stop(truth.cloud.tasks[arn])) == [9]


def test_what_is_adopted_to_be_replaced_is_never_the_target() -> None:
    truth = SmallTruth(hosts=2)
    arns = [by_hand(truth, host) for host in truth.hosts]
    truth.run(LONG)
    truth.oracle.adopts(ENVIRONMENT, arns, to_replace=True, now=truth.now)
    truth.run(LONG)
    assert promises(truth.healed()) == [3, 3]
    assert truth.stop(truth.cloud.tasks[arns[0]]) == []
    assert promises(truth.stop(truth.cloud.tasks[arns[1]])) == [6], "the budget holds"


def test_adopting_beside_a_daemon_of_ours_is_found() -> None:
    truth = SmallTruth()
    truth.running()
    arn = by_hand(truth, truth.hosts[0])
    (violation,) = truth.oracle.adopts(ENVIRONMENT, [arn], now=truth.now)
    assert violation.promise == 1


# --- Inheriting -----------------------------------------------------------------------------------


def test_what_a_deleted_environment_left_is_its_heirs() -> None:
    truth = SmallTruth(hosts=2)
    truth.start(truth.hosts[0])
    truth.start(truth.hosts[1], later=50.0)
    truth.run(10.0)
    truth.oracle.expect_none(ENVIRONMENT, now=truth.now)
    truth.want(key="again", deployment="deployment-2")
    truth.oracle.inherits("again", ENVIRONMENT, now=truth.now)
    assert truth.run(LONG) == []
    assert truth.healed() == []
    found = truth.start(truth.hosts[1], deployment="deployment-2")
    assert promises(found) == [1, 1], "what came late is the heir's, too"


def test_without_an_heir_what_was_left_is_nobodys_business() -> None:
    truth = SmallTruth()
    truth.running()
    truth.oracle.expect_none(ENVIRONMENT, now=truth.now)
    truth.run(LONG)
    assert promises(truth.stop(truth.daemon(truth.hosts[0]))) == [2]


# --- Deleting with the tasks ----------------------------------------------------------------------


def test_deleted_with_its_tasks_they_may_be_stopped_and_must_be() -> None:
    truth = SmallTruth(hosts=2)
    truth.running()
    truth.oracle.ends(ENVIRONMENT, now=truth.now)
    assert truth.stop(truth.daemon(truth.hosts[0])) == []
    truth.run(LONG)
    (violation,) = truth.healed()
    assert (violation.promise, violation.host) == (3, truth.hosts[1])
    assert truth.stop(truth.daemon(truth.hosts[1])) == []
    assert truth.healed() == []
    assert promises(truth.start(truth.hosts[0])) == [0]


# --- Losing the store -----------------------------------------------------------------------------


def again(truth: SmallTruth) -> None:
    """The records are lost and the environment is created again."""
    truth.oracle.forgotten(now=truth.now)
    truth.want(key="again", deployment="deployment-2")


def test_a_start_beside_one_of_before_the_loss_is_a_second_one() -> None:
    truth = SmallTruth(hosts=2)
    truth.start(truth.hosts[0])
    truth.run(LONG)
    truth.start(truth.hosts[1], later=50.0)
    again(truth)
    assert truth.start(truth.hosts[1], deployment="deployment-2") == []
    assert promises(truth.run(60.0)) == [1]


def test_who_cannot_know_of_a_loss_is_excused() -> None:
    truth = SmallTruth()
    truth.start(truth.hosts[0], later=50.0)
    again(truth)
    assert truth.start(truth.hosts[0], deployment="deployment-2") == []
    assert truth.run(60.0) == []


def test_lost_tasks_are_nobodys_until_they_are_adopted() -> None:
    truth = SmallTruth(hosts=2)
    truth.running()
    again(truth)
    truth.run(LONG)
    assert promises(truth.stop(truth.daemon(truth.hosts[0]))) == [2]
    arn = truth.daemon(truth.hosts[1]).arn
    truth.oracle.adopts("again", [arn], to_replace=True, now=truth.now)
    truth.run(LONG)
    assert 2 not in promises(truth.stop(truth.cloud.tasks[arn]))


def test_orders_are_lost_too() -> None:
    truth = SmallTruth()
    truth.oracle.ordered("everything", until=truth.now + 6000.0, now=truth.now)
    truth.run(10.0)
    again(truth)
    truth.run(10.0)
    assert truth.start(truth.hosts[0], deployment="deployment-2") == []


# --- Many at once ---------------------------------------------------------------------------------


def unmatched(hosts: int) -> SmallTruth:
    truth = SmallTruth(hosts=hosts, pool=True, max_unavailable="100%")
    truth.running()
    for host in truth.hosts:
        truth.move(host, "green")
    truth.run(60.0)
    return truth


def test_more_stops_at_once_than_happen_without_a_mistake_are_found() -> None:
    truth = unmatched(12)
    found = [promises(truth.stop(truth.daemon(host))) for host in truth.hosts]
    assert found == [[]] * 10 + [[2]] * 2


def test_stops_that_take_their_time_or_are_confirmed_are_lawful() -> None:
    truth = unmatched(25)
    for host in truth.hosts[:10]:
        assert truth.stop(truth.daemon(host)) == []
    truth.run(310.0)
    for host in truth.hosts[10:20]:
        assert truth.stop(truth.daemon(host)) == []
    truth.oracle.confirmed(ENVIRONMENT, 5, now=truth.now)
    for host in truth.hosts[20:]:
        assert truth.stop(truth.daemon(host)) == []


# --- Idle hosts -----------------------------------------------------------------------------------


def leaving(*, scales: bool = True) -> SmallTruth:
    """An environment that leaves the idle one of its two hosts; something runs on the other."""
    truth = SmallTruth()
    truth.cloud.add_provider("scaling", now=truth.now, cluster=CLUSTER, managed_scaling=scales)
    truth.cloud.add_definition("web", now=truth.now)
    truth.hosts = [truth.cloud.add_host(CLUSTER, now=truth.now, provider="scaling") for _ in "12"]
    (first,) = [arn for arn in truth.cloud.hosts if arn not in truth.hosts]
    truth.cloud.terminate_host(first, now=truth.now)
    truth.oracle.expect(
        ENVIRONMENT,
        now=truth.now,
        name=FAMILY,
        cluster=CLUSTER,
        definition=truth.definitions[-1],
        when_idle=IDLE,
    )
    by_hand(truth, truth.hosts[1], "web")
    truth.running()
    return truth


def test_leaving_an_idle_host_is_asked_for_and_leaving_a_busy_one_is_not() -> None:
    truth = leaving()
    assert truth.stop(truth.daemon(truth.hosts[0])) == []
    truth.run(LONG)
    assert truth.healed() == []
    assert promises(truth.stop(truth.daemon(truth.hosts[1]))) == [2]


def test_only_where_ecs_removes_idle_hosts() -> None:
    truth = leaving(scales=False)
    assert promises(truth.stop(truth.daemon(truth.hosts[0]))) == [2]


def test_a_daemon_that_stays_on_an_idle_host_is_found_at_the_end() -> None:
    (violation,) = leaving().healed()
    assert "idle" in violation.text


def test_coming_back_while_nothing_else_has_come_is_found() -> None:
    truth = leaving()
    truth.stop(truth.daemon(truth.hosts[0]))
    truth.run(LONG)
    assert promises(truth.start(truth.hosts[0])) == [0]


def test_coming_back_with_the_next_task_is_lawful_and_due() -> None:
    truth = leaving()
    truth.stop(truth.daemon(truth.hosts[0]))
    truth.run(LONG)
    by_hand(truth, truth.hosts[0], "web")
    truth.run(LONG)
    assert promises(truth.healed()) == [3]
    assert truth.start(truth.hosts[0]) == []
    truth.run(LONG)
    assert truth.healed() == []


def test_a_daemon_services_task_keeps_no_host_from_being_idle() -> None:
    truth = leaving()
    truth.cloud.add_definition("other", now=truth.now)
    truth.cloud.add_service(CLUSTER, "daemons", "DAEMON", now=truth.now, definition="other")
    truth.run(LONG)
    assert len(truth.cloud.live_tasks(truth.hosts[0])) == 2
    assert truth.stop(truth.daemon(truth.hosts[0])) == []


# --- Beside others --------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", [False, True])
def test_a_start_where_others_run_the_family_is_lawful_only_beside_them(*, beside: bool) -> None:
    truth = SmallTruth()
    truth.oracle.expect(
        ENVIRONMENT,
        now=truth.now,
        name=FAMILY,
        cluster=CLUSTER,
        definition=truth.definitions[-1],
        beside=beside,
    )
    by_hand(truth, truth.hosts[0])
    truth.run(LONG)
    assert promises(truth.healed()) == ([3] if beside else [])
    assert promises(truth.start(truth.hosts[0])) == ([] if beside else [9])


def test_even_beside_others_a_task_of_its_own_name_is_minded() -> None:
    """It may be one of before a loss."""
    truth = SmallTruth()
    params: Json = {
        "cluster": CLUSTER,
        "taskDefinition": truth.definitions[-1],
        "containerInstances": truth.hosts,
        "group": f"blox:{FAMILY}",
        "startedBy": "somebody",
    }
    truth.oracle.expect_none(ENVIRONMENT, now=truth.now)
    truth.cloud.call("StartTask", params, now=truth.now, caller="somebody")
    truth.run(LONG)
    truth.oracle.expect(
        "again",
        now=truth.now,
        name=FAMILY,
        cluster=CLUSTER,
        definition=truth.definitions[-1],
        beside=True,
    )
    truth.oracle.deployed("again", "deployment-2")
    assert promises(truth.start(truth.hosts[0], deployment="deployment-2")) == [9]
