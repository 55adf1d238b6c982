"""The judge judged: lawful lives pass, and each kind of crime is found and named."""

from contextlib import suppress

import pytest

from blox.simulator.model import Fault, Switches
from blox.simulator.oracle import Allowances, ReportedHost
from blox.simulator.oracle_truth import allowance
from support.small_truth import CLUSTER, ENVIRONMENT, FAMILY, SmallTruth, promises

LONG = 900.0
"""Longer than any news may take: V + 180 s."""


# --- Promise 1: never two -------------------------------------------------------------------------


def test_one_daemon_on_each_host_is_lawful() -> None:
    truth = SmallTruth(hosts=12)
    assert truth.running() == []
    assert truth.healed() == []
    receipt = truth.oracle.statistics(truth.now)
    assert (receipt.starts, receipt.stops, receipt.hosts_with_two) == (12, 0, 0)
    assert receipt.calls["StartTask"] == 2


def test_a_second_live_daemon_is_found_at_its_creation() -> None:
    truth = SmallTruth()
    truth.start(truth.hosts[0])
    (violation,) = truth.start(truth.hosts[0])
    assert (violation.promise, violation.host) == (1, truth.hosts[0])
    assert len(violation.evidence) == 2
    assert truth.oracle.statistics(truth.now).hosts_with_two == 1


def test_a_start_executed_late_beside_a_newer_daemon_is_found() -> None:
    truth = SmallTruth()
    truth.start(truth.hosts[0], later=50.0)
    assert truth.start(truth.hosts[0]) == []
    assert promises(truth.run(60.0)) == [1]


def test_a_daemon_that_still_stops_counts_as_live() -> None:
    truth = SmallTruth()
    truth.start(truth.hosts[0])
    truth.run(60.0)
    truth.cloud.stop_foreign(truth.daemon(truth.hosts[0]).arn, now=truth.now)
    assert promises(truth.start(truth.hosts[0])) == [1]


def test_a_start_after_a_death_is_lawful() -> None:
    truth = SmallTruth()
    truth.running()
    truth.cloud.kill_task(truth.daemon(truth.hosts[0]).arn, now=truth.now)
    truth.run(5.0)
    assert truth.start(truth.hosts[0]) == []
    assert truth.run(LONG) == []
    assert truth.healed() == []


def test_two_are_tolerated_where_an_assumption_is_broken_but_three_never() -> None:
    truth = SmallTruth(allowances=Allowances(assumption_broken=True))
    truth.start(truth.hosts[0])
    assert truth.start(truth.hosts[0]) == []
    assert [violation.promise for violation in truth.oracle.tolerated] == [1]
    assert promises(truth.start(truth.hosts[0])) == [1]


def test_two_that_are_tolerated_must_be_mended_by_the_end() -> None:
    truth = SmallTruth(allowances=Allowances(assumption_broken=True))
    truth.start(truth.hosts[0])
    truth.start(truth.hosts[0])
    truth.run(LONG)
    assert promises(truth.healed()) == [1, 3]
    assert truth.stop(truth.daemons(truth.hosts[0])[1]) == []
    truth.run(LONG)
    assert truth.healed() == []


def test_environments_of_one_name_are_told_apart_by_their_deployments() -> None:
    truth = SmallTruth()
    truth.start(truth.hosts[0])
    truth.run(60.0)
    truth.oracle.expect_none(ENVIRONMENT, now=truth.now)
    truth.run(1.0)
    truth.want(key="env-1 again", deployment="deployment-9")
    assert truth.start(truth.hosts[0], deployment="deployment-9") == []
    assert promises(truth.start(truth.hosts[0], deployment="deployment-9")) == [1]


def test_an_intent_that_is_sent_twice_is_found() -> None:
    truth = SmallTruth(hosts=2)
    truth.start(truth.hosts[0], intent="SAME")
    (violation,) = truth.start(truth.hosts[1], intent="SAME")
    assert violation.promise == 1
    assert "SAME was sent twice" in violation.text


def test_a_start_without_a_marker_is_found() -> None:
    truth = SmallTruth()
    (violation,) = truth.start(truth.hosts[0], intent="")
    assert "no marker" in violation.text


def test_a_call_that_is_not_dated_back_is_found_unless_ecs_refuses_such_dates() -> None:
    truth = SmallTruth(hosts=2)
    (violation,) = truth.start(truth.hosts[0], signed=truth.now)
    assert "not dated back" in violation.text
    truth.cloud.switches = Switches(backdated_refused=True)
    assert truth.start(truth.hosts[1], signed=truth.now) == []


def test_a_start_tried_beside_a_daemon_that_everybody_must_know_is_found_even_if_refused() -> None:
    truth = SmallTruth()
    truth.new_definition(port=8125)
    truth.running()
    (violation,) = truth.start(truth.hosts[0])
    assert violation.promise == 1
    assert len(truth.daemons(truth.hosts[0])) == 1


# --- Promise 2: never zero by mistake -------------------------------------------------------------


def test_stopping_the_last_daemon_unasked_is_found() -> None:
    truth = SmallTruth()
    truth.running()
    (violation,) = truth.stop(truth.daemon(truth.hosts[0]))
    assert (violation.promise, violation.environment) == (2, ENVIRONMENT)
    assert "unasked" in violation.text


def test_stopping_the_daemon_of_a_draining_host_is_lawful() -> None:
    truth = SmallTruth()
    truth.running()
    truth.cloud.drain_host(truth.hosts[0], now=truth.now)
    truth.run(1.0)
    assert truth.stop(truth.daemon(truth.hosts[0])) == []


def test_a_drain_that_ended_long_ago_excuses_nothing() -> None:
    truth = SmallTruth()
    truth.running()
    truth.cloud.drain_host(truth.hosts[0], now=truth.now)
    truth.run(60.0)
    truth.cloud.activate_host(truth.hosts[0], now=truth.now)
    truth.run(LONG)
    assert promises(truth.stop(truth.daemon(truth.hosts[0]))) == [2]


def test_a_drain_that_ended_just_now_excuses_a_stop() -> None:
    truth = SmallTruth()
    truth.running()
    truth.cloud.drain_host(truth.hosts[0], now=truth.now)
    truth.run(60.0)
    truth.cloud.activate_host(truth.hosts[0], now=truth.now)
    truth.run(30.0)
    assert truth.stop(truth.daemon(truth.hosts[0])) == []


def test_old_news_excuse_a_caller_that_could_not_read_since() -> None:
    truth = SmallTruth()
    truth.running()
    truth.cloud.drain_host(truth.hosts[0], now=truth.now)
    truth.run(60.0)
    truth.oracle.blinded(now=truth.now)
    truth.cloud.activate_host(truth.hosts[0], now=truth.now)
    truth.run(LONG)
    truth.oracle.sighted(now=truth.now)
    assert truth.stop(truth.daemon(truth.hosts[0])) == []


def test_daemons_leave_a_draining_host_last() -> None:
    truth = SmallTruth()
    truth.running()
    truth.cloud.add_definition("shop", now=truth.now)
    truth.cloud.start_foreign(CLUSTER, truth.hosts[0], "shop", now=truth.now)
    truth.run(LONG)
    truth.cloud.drain_host(truth.hosts[0], now=truth.now)
    truth.run(60.0)
    assert promises(truth.stop(truth.daemon(truth.hosts[0]))) == [2]


def test_daemons_do_not_wait_for_daemon_services_nor_beyond_the_deadline() -> None:
    truth = SmallTruth(hosts=2)
    truth.running()
    truth.cloud.add_definition("shop", now=truth.now)
    truth.cloud.add_service(CLUSTER, "agent", "DAEMON", now=truth.now)
    first, second = truth.hosts
    truth.cloud.start_foreign(CLUSTER, first, "shop", now=truth.now, service="agent")
    truth.cloud.start_foreign(CLUSTER, second, "shop", now=truth.now)
    truth.run(LONG)
    for host in truth.hosts:
        truth.cloud.drain_host(host, now=truth.now)
    truth.run(60.0)
    assert truth.stop(truth.daemon(first)) == []
    truth.run(900.0)
    assert truth.stop(truth.daemon(second)) == []


def test_stopping_where_the_host_no_longer_matches_is_lawful() -> None:
    truth = SmallTruth(pool=True)
    truth.running()
    truth.move(truth.hosts[0], "green")
    truth.run(10.0)
    assert truth.stop(truth.daemon(truth.hosts[0])) == []


def test_stopping_on_an_older_record_of_the_same_machine_is_lawful() -> None:
    truth = SmallTruth()
    truth.running()
    truth.cloud.duplicate_host(truth.hosts[0], now=truth.now)
    truth.run(10.0)
    assert truth.stop(truth.daemon(truth.hosts[0])) == []


def test_stopping_after_the_environment_was_deleted_is_found() -> None:
    truth = SmallTruth()
    truth.running()
    truth.oracle.expect_none(ENVIRONMENT, now=truth.now)
    truth.cloud.drain_host(truth.hosts[0], now=truth.now)
    truth.run(LONG)
    assert promises(truth.stop(truth.daemon(truth.hosts[0]))) == [2]


def test_replacing_is_lawful_once_something_else_is_deployed() -> None:
    truth = SmallTruth()
    truth.running()
    truth.new_definition()
    assert truth.stop(truth.daemon(truth.hosts[0])) == []


def test_replacing_on_a_host_that_long_cannot_start_anything_is_found() -> None:
    truth = SmallTruth()
    truth.running()
    truth.cloud.disconnect_agent(truth.hosts[0], now=truth.now)
    truth.run(LONG)
    truth.new_definition()
    assert promises(truth.stop(truth.daemon(truth.hosts[0]))) == [2]


def test_stopping_an_unhealthy_daemon_is_lawful() -> None:
    truth = SmallTruth(health_check=True)
    truth.running()
    truth.cloud.set_unhealthy(truth.daemon(truth.hosts[0]).arn, now=truth.now)
    truth.run(20.0)
    assert truth.stop(truth.daemon(truth.hosts[0])) == []


def test_stopping_a_daemon_that_never_ran_is_lawful_only_after_the_deadline() -> None:
    truth = SmallTruth(hosts=2)
    truth.cloud.stall_pending(FAMILY, now=truth.now)
    truth.start(*truth.hosts)
    truth.run(200.0)
    assert promises(truth.stop(truth.daemon(truth.hosts[0]))) == [2]
    truth.run(150.0)
    assert truth.stop(truth.daemon(truth.hosts[1])) == []


def _two_running() -> SmallTruth:
    truth = SmallTruth(allowances=Allowances(assumption_broken=True))
    truth.start(truth.hosts[0])
    truth.start(truth.hosts[0])
    truth.run(LONG)
    return truth


def test_stopping_one_of_two_is_lawful_and_stopping_both_is_found() -> None:
    truth = _two_running()
    first, second = truth.daemons(truth.hosts[0])
    assert truth.stop(first) == []
    truth.run(1.0)
    assert promises(truth.stop(second)) == [2]


def test_stopping_both_of_two_at_one_moment_is_found() -> None:
    truth = _two_running()
    first, second = truth.daemons(truth.hosts[0])
    assert truth.stop(first) == []
    assert promises(truth.stop(second)) == [2]


def test_stopping_the_one_that_runs_and_keeping_one_that_does_not_is_found() -> None:
    truth = SmallTruth(allowances=Allowances(assumption_broken=True))
    truth.start(truth.hosts[0])
    truth.run(60.0)
    truth.cloud.stall_pending(FAMILY, now=truth.now)
    truth.start(truth.hosts[0])
    truth.run(60.0)
    first, second = truth.daemons(truth.hosts[0])
    assert (first.last_status, second.last_status) == ("RUNNING", "PENDING")
    (violation,) = truth.stop(first)
    assert violation.promise == 2
    assert "no RUNNING daemon" in violation.text


def test_a_survivor_that_dies_while_the_stop_is_under_way_is_forgiven() -> None:
    truth = _two_running()
    first, second = truth.daemons(truth.hosts[0])
    truth.stop(first, later=30.0)
    truth.run(10.0)
    truth.cloud.kill_task(second.arn, now=truth.now)
    assert truth.run(60.0) == []
    assert truth.daemons(truth.hosts[0]) == []


def test_a_survivor_that_had_died_long_before_is_not_forgiven() -> None:
    truth = _two_running()
    first, second = truth.daemons(truth.hosts[0])
    truth.cloud.kill_task(second.arn, now=truth.now)
    truth.run(120.0)
    assert promises(truth.stop(first)) == [2]


def test_a_survivor_that_we_stopped_ourselves_is_not_forgiven() -> None:
    truth = _two_running()
    first, second = truth.daemons(truth.hosts[0])
    truth.stop(first, later=30.0)
    truth.run(10.0)
    assert truth.stop(second) == []
    assert promises(truth.run(60.0)) == [2]


def test_starting_what_nobody_asked_for_is_found() -> None:
    truth = SmallTruth()
    older = truth.definitions[0]
    truth.new_definition()
    truth.run(LONG)
    (violation,) = truth.start(truth.hosts[0], definition=older)
    assert violation.promise == 2
    assert "nobody asked for" in violation.text


# --- Promise 6: within budget ---------------------------------------------------------------------


def test_replacing_one_after_the_other_is_lawful() -> None:
    truth = SmallTruth(hosts=3)
    truth.running()
    truth.new_definition()
    for host in truth.hosts:
        assert truth.stop(truth.daemon(host)) == []
        truth.run(40.0)
        assert truth.start(host) == []
        truth.run(30.0)
    assert truth.healed() == []
    assert truth.oracle.statistics(truth.now).most_down_for_replacement == 1


def test_taking_down_more_than_the_budget_at_once_is_found() -> None:
    truth = SmallTruth(hosts=3)
    truth.running()
    truth.new_definition()
    assert truth.stop(truth.daemon(truth.hosts[0])) == []
    (violation,) = truth.stop(truth.daemon(truth.hosts[1]))
    assert violation.promise == 6
    assert "2 daemons were down for replacement at once; 1 may be" in violation.text
    assert truth.oracle.statistics(truth.now).most_down_for_replacement == 2


def test_a_share_of_the_wanted_hosts_is_rounded_up() -> None:
    truth = SmallTruth(hosts=4, max_unavailable="34%")
    truth.running()
    truth.new_definition()
    assert truth.stop(truth.daemon(truth.hosts[0])) == []
    assert truth.stop(truth.daemon(truth.hosts[1])) == []
    assert promises(truth.stop(truth.daemon(truth.hosts[2]))) == [6]


def test_a_new_daemon_counts_as_back_only_when_it_has_run_for_a_while() -> None:
    truth = SmallTruth(hosts=2)
    truth.running()
    truth.new_definition()
    truth.stop(truth.daemon(truth.hosts[0]))
    truth.run(40.0)
    truth.start(truth.hosts[0])
    truth.run(6.0, every=0.5)
    assert truth.daemon(truth.hosts[0]).last_status == "RUNNING"
    assert promises(truth.stop(truth.daemon(truth.hosts[1]))) == [6]


def test_stops_that_land_late_count_when_they_land() -> None:
    truth = SmallTruth(hosts=2)
    truth.running()
    truth.new_definition()
    truth.stop(truth.daemon(truth.hosts[0]), later=50.0)
    assert truth.stop(truth.daemon(truth.hosts[1])) == []
    assert promises(truth.run(60.0)) == [6]


def test_hosts_that_leave_free_the_budget() -> None:
    truth = SmallTruth(hosts=2)
    truth.running()
    truth.new_definition()
    truth.stop(truth.daemon(truth.hosts[0]))
    truth.cloud.drain_host(truth.hosts[0], now=truth.now)
    truth.run(30.0)
    assert truth.stop(truth.daemon(truth.hosts[1])) == []


def test_replacing_while_another_host_has_long_had_none_is_found() -> None:
    truth = SmallTruth(hosts=3)
    truth.running()
    truth.cloud.kill_task(truth.daemon(truth.hosts[0]).arn, now=truth.now)
    truth.run(LONG)
    truth.new_definition()
    (violation,) = truth.stop(truth.daemon(truth.hosts[1]))
    assert violation.promise == 6
    assert "while 1 hosts had none" in violation.text


def test_replacing_while_another_host_has_just_lost_its_daemon_is_forgiven() -> None:
    truth = SmallTruth(hosts=3)
    truth.running()
    truth.new_definition()
    truth.cloud.kill_task(truth.daemon(truth.hosts[0]).arn, now=truth.now)
    truth.run(30.0)
    assert truth.stop(truth.daemon(truth.hosts[1])) == []


def test_replacing_what_is_unhealthy_needs_no_budget() -> None:
    truth = SmallTruth(hosts=3, health_check=True)
    truth.running()
    truth.new_definition(health_check=True)
    for host in truth.hosts:
        truth.cloud.set_unhealthy(truth.daemon(host).arn, now=truth.now)
    truth.run(20.0)
    for host in truth.hosts:
        assert truth.stop(truth.daemon(host)) == []


@pytest.mark.parametrize(
    ("max_unavailable", "wanted", "allowed"),
    [("10%", 0, 1), ("10%", 10, 1), ("10%", 11, 2), ("34%", 3, 2), ("100%", 7, 7), ("3", 2, 3),
     ("0", 5, 1), ("30%", 10, 3)],
)  # fmt: skip
def test_allowance(max_unavailable: str, wanted: int, allowed: int) -> None:
    assert allowance(max_unavailable, wanted) == allowed


# --- Promises 4 and 9, and the table --------------------------------------------------------------


def test_throttled_calls_are_found_when_nobody_else_uses_the_quota() -> None:
    truth = SmallTruth(hosts=1, quotas=True, allowances=Allowances(throttles=False))
    truth.running()
    for _ in range(101):
        with suppress(Fault):
            truth.cloud.call("ListTasks", {"cluster": CLUSTER}, now=truth.now)
    assert promises(truth.healed()) == [4]
    assert truth.oracle.statistics(truth.now).throttled == 1


def test_a_host_named_twice_in_one_call_is_found() -> None:
    truth = SmallTruth()
    (violation,) = truth.start(truth.hosts[0], truth.hosts[0])
    assert violation.promise == 4


def test_stopping_somebody_elses_task_is_found() -> None:
    truth = SmallTruth()
    arn = truth.cloud.start_foreign(CLUSTER, truth.hosts[0], FAMILY, now=truth.now)
    truth.run(10.0)
    assert promises(truth.stop(truth.cloud.tasks[arn])) == [9]


def test_starting_beside_somebody_elses_daemon_is_found_once_it_must_be_known() -> None:
    truth = SmallTruth(hosts=2)
    truth.cloud.start_foreign(CLUSTER, truth.hosts[0], FAMILY, now=truth.now)
    truth.run(30.0)
    assert truth.start(truth.hosts[0]) == []
    truth.cloud.start_foreign(CLUSTER, truth.hosts[1], FAMILY, now=truth.now)
    truth.run(LONG)
    assert promises(truth.start(truth.hosts[1])) == [9]


def test_starting_for_no_environment_is_found() -> None:
    truth = SmallTruth()
    truth.oracle = type(truth.oracle)(truth.cloud, ours=lambda call: True)
    truth.start(truth.hosts[0])
    assert promises(truth.oracle.violations) == [9]


def test_starting_for_an_environment_deleted_long_ago_is_found() -> None:
    truth = SmallTruth()
    truth.oracle.expect_none(ENVIRONMENT, now=truth.now)
    assert truth.start(truth.hosts[0]) == []
    truth.cloud.kill_task(truth.daemon(truth.hosts[0]).arn, now=truth.now)
    truth.run(LONG)
    (violation,) = truth.start(truth.hosts[0])
    assert (violation.promise, "deleted long ago" in violation.text) == (0, True)


@pytest.mark.parametrize("how", ["drained", "disconnected", "not selected", "unable"])
def test_starting_on_a_host_that_long_may_not_is_found(how: str) -> None:
    truth = SmallTruth(hosts=1, pool=True)
    host = truth.hosts[0]
    if how == "drained":
        truth.cloud.drain_host(host, now=truth.now)
    elif how == "disconnected":
        truth.cloud.disconnect_agent(host, now=truth.now)
    elif how == "not selected":
        truth.move(host, "green")
    else:
        truth.definitions.append(
            truth.cloud.add_definition(FAMILY, now=truth.now, architecture="ARM64")
        )
        truth.want()
    truth.run(30.0)
    assert truth.start(host) == []
    for task in truth.daemons(host):
        truth.cloud.kill_task(task.arn, now=truth.now)
    truth.run(LONG)
    assert 0 in promises(truth.start(host))


# --- Promises 3, 5 and 7: the end -----------------------------------------------------------------


def test_a_ready_host_without_its_daemon_is_found_at_the_end() -> None:
    truth = SmallTruth(hosts=2)
    truth.start(truth.hosts[0])
    truth.run(LONG)
    (violation,) = truth.healed()
    assert (violation.promise, violation.host) == (3, truth.hosts[1])
    assert truth.oracle.statistics(truth.now).longest_without_daemon == pytest.approx(LONG)


def test_an_older_definition_is_found_at_the_end() -> None:
    truth = SmallTruth()
    truth.running()
    truth.new_definition()
    truth.run(LONG)
    assert promises(truth.healed()) == [3]


def test_a_daemon_that_does_not_run_is_found_at_the_end() -> None:
    truth = SmallTruth()
    truth.cloud.stall_pending(FAMILY, now=truth.now)
    truth.start(truth.hosts[0])
    truth.run(LONG)
    assert promises(truth.healed()) == [3]


def test_a_host_that_changed_just_now_is_not_judged() -> None:
    truth = SmallTruth()
    truth.running()
    truth.hosts.append(truth.join())
    truth.run(30.0)
    assert truth.healed() == []
    truth.run(60.0)
    assert promises(truth.healed()) == [3]


@pytest.mark.parametrize("how", ["drained", "not selected", "superseded"])
def test_a_daemon_where_none_may_be_is_found_at_the_end(how: str) -> None:
    truth = SmallTruth(pool=True)
    truth.running()
    host = truth.hosts[0]
    if how == "drained":
        truth.cloud.drain_host(host, now=truth.now)
    elif how == "not selected":
        truth.move(host, "green")
    else:
        truth.start(truth.cloud.duplicate_host(host, now=truth.now))
    truth.run(LONG)
    assert promises(truth.healed()) == [3]
    assert truth.stop(truth.daemon(host)) == []
    truth.run(LONG)
    assert truth.healed() == []


@pytest.mark.parametrize("why", ["away", "occupied", "poisoned", "full", "unable", "inactive"])
def test_a_host_that_cannot_have_a_daemon_is_excused_at_the_end(why: str) -> None:
    truth = SmallTruth(hosts=1)
    host = truth.hosts[0]
    if why == "away":
        truth.cloud.disconnect_agent(host, now=truth.now)
    elif why == "occupied":
        truth.cloud.start_foreign(CLUSTER, host, FAMILY, now=truth.now)
    elif why == "poisoned":
        truth.cloud.poison_host(host)
    elif why == "full":
        truth.cloud.add_definition("huge", now=truth.now, memory=8_100)
        truth.cloud.start_foreign(CLUSTER, host, "huge", now=truth.now)
    elif why == "unable":
        truth.definitions.append(
            truth.cloud.add_definition(FAMILY, now=truth.now, architecture="ARM64")
        )
        truth.want()
    else:
        truth.cloud.terminate_host(host, now=truth.now)
    truth.run(LONG)
    assert truth.healed() == []


def _report(truth: SmallTruth, **states: str) -> list[int]:
    said = [
        ReportedHost(environment=ENVIRONMENT, host=host, state=state, reason="because")
        for host, state in zip(truth.hosts, states.values(), strict=True)
    ]
    return promises(truth.oracle.healed(truth.now, reported=lambda: said))


def test_true_reports_pass() -> None:
    truth = SmallTruth(hosts=3)
    truth.running()
    truth.cloud.drain_host(truth.hosts[1], now=truth.now)
    truth.run(1.0)
    truth.stop(truth.daemon(truth.hosts[1]))
    truth.cloud.disconnect_agent(truth.hosts[2], now=truth.now)
    truth.run(LONG)
    assert _report(truth, a="current", b="leaving", c="away") == []


@pytest.mark.parametrize(
    ("first", "second"),
    [("settling", "leaving"), ("current", "current"), ("current", "unmatched")],
)
def test_false_reports_are_found(first: str, second: str) -> None:
    truth = SmallTruth(hosts=2)
    truth.running()
    truth.cloud.drain_host(truth.hosts[1], now=truth.now)
    truth.run(1.0)
    truth.stop(truth.daemon(truth.hosts[1]))
    truth.run(LONG)
    assert _report(truth, a=first, b=second) == [7]


def test_a_host_called_current_without_a_daemon_is_found() -> None:
    truth = SmallTruth()
    truth.run(LONG)
    assert _report(truth, a="current") == [3, 7]


def test_hosts_left_out_or_reported_twice_or_without_reason_are_found() -> None:
    truth = SmallTruth()
    truth.running()
    one = ReportedHost(environment=ENVIRONMENT, host=truth.hosts[0], state="current", reason="")
    for said in ([], [one, one], [one]):
        found = truth.oracle.healed(truth.now, reported=said.copy)
        assert promises(found) == [7]


def test_hosts_that_have_long_gone_may_not_be_reported() -> None:
    truth = SmallTruth(hosts=2)
    truth.running()
    truth.cloud.terminate_host(truth.hosts[1], now=truth.now)
    truth.run(120.0)
    assert _report(truth, a="current", b="away") == []
    truth.run(LONG)
    assert _report(truth, a="current", b="away") == [7]


def test_a_daemon_whose_health_check_never_passes_may_be_replaced_in_time() -> None:
    truth = SmallTruth(hosts=2, health_check=True)
    truth.start(*truth.hosts)
    truth.run(60.0)
    for host in truth.hosts:
        truth.cloud.set_unhealthy(truth.daemon(host).arn, now=truth.now, health="UNKNOWN")
    assert promises(truth.stop(truth.daemon(truth.hosts[0]))) == [2]
    truth.run(300.0)
    assert truth.stop(truth.daemon(truth.hosts[1])) == []


def test_completed_is_found_out_where_it_is_not_so() -> None:
    truth = SmallTruth(hosts=2)
    truth.running()
    assert truth.oracle.completed(ENVIRONMENT, now=truth.now) == []
    truth.new_definition()
    truth.stop(truth.daemon(truth.hosts[0]))
    truth.run(40.0)
    truth.start(truth.hosts[0])
    truth.run(LONG)
    (violation,) = truth.oracle.completed(ENVIRONMENT, now=truth.now)
    assert (violation.promise, violation.host) == (7, truth.hosts[1])


def test_a_violation_can_be_read() -> None:
    truth = SmallTruth()
    truth.running()
    (violation,) = truth.stop(truth.daemon(truth.hosts[0]))
    assert str(violation).startswith("promise 2 at ")
    assert "StopTask" in str(violation)
