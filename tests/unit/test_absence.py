"""What may leave the view (R6), enter it (R7), and which record of a machine is the host (R16)."""

from typing import Any

import pytest

from blox.clusterstate.absence import (
    absence_counts,
    ended_may_leave,
    event_admitted,
    left_with_host,
    retention,
    superseded,
)
from blox.ecs.model import Host

V = 300.0


@pytest.mark.parametrize(("begun", "counts"), [(1299.0, False), (1300.0, False), (1300.001, True)])
def test_absence_counts_only_in_reads_begun_more_than_v_after_the_evidence(
    begun: float, counts: bool
) -> None:
    assert absence_counts(begun=begun, newest_evidence=1000.0, read_lag=V) is counts


@pytest.mark.parametrize(("time", "admitted"), [(699.0, False), (700.0, True), (5000.0, True)])
def test_an_event_of_an_unknown_arn_may_be_v_older_than_the_last_sweep(
    time: float, admitted: bool
) -> None:
    assert event_admitted(event_time=time, horizon=1000.0, read_lag=V) is admitted


def leaves(now: float, *, swept_at: float | None = 1e9, kept: float = 3600.0) -> bool:
    return ended_may_leave(
        now=now, ended_at=0.0, swept_at=swept_at, kept=kept, sweep_interval=60.0, read_lag=V
    )


def test_an_ended_task_is_kept_for_an_hour() -> None:
    assert not leaves(3600.0)
    assert leaves(3600.1)


def test_an_ended_task_is_kept_for_the_sweep_interval_and_2_v_at_least() -> None:
    assert retention(kept=10.0, sweep_interval=60.0, read_lag=V) == 660.0
    assert not leaves(660.0, kept=10.0)
    assert leaves(660.1, kept=10.0)


def test_while_sweeps_fail_nothing_that_ended_is_forgotten() -> None:
    assert not leaves(1e6, swept_at=None)
    assert not leaves(1e6, swept_at=600.0)
    assert leaves(1e6, swept_at=600.1)


def test_what_ended_cannot_be_revived_once_it_is_forgotten() -> None:
    # Forgotten only when a sweep began more than 2 V after the end: an event from before the end is
    # then older than that sweep's begin - V.
    for swept_at in (600.1, 5000.0):
        assert leaves(1e6, swept_at=swept_at)
        assert not event_admitted(event_time=0.0, horizon=swept_at, read_lag=V)


def test_tasks_leave_v_after_their_host_was_seen_inactive_and_never_because_it_is_missing() -> None:
    assert not left_with_host(now=400.0, inactive_since=100.0, read_lag=V)
    assert left_with_host(now=400.1, inactive_since=100.0, read_lag=V)
    assert not left_with_host(now=1e9, inactive_since=None, read_lag=V)


# --- One machine, one host ------------------------------------------------------------------------


def record(name: str, registered_at: float | None, **fields: Any) -> Host:
    given: dict[str, Any] = {"instance_id": "i-1", "cluster_arn": "c", **fields}
    return Host(arn=name, registered_at=registered_at, **given)


def test_machines_with_one_record_are_hosts() -> None:
    assert superseded([record("a", 1.0), record("b", 2.0, instance_id="i-2")]) == {}


def test_of_connected_records_the_one_registered_last_is_the_host() -> None:
    assert superseded([record("a", 3.0), record("b", 1.0), record("c", 2.0)]) == {
        "b": "a",
        "c": "a",
    }


def test_a_connected_record_beats_a_newer_disconnected_one() -> None:
    assert superseded([record("a", 1.0), record("b", 9.0, agent_connected=False)]) == {"b": "a"}


def test_when_none_is_connected_the_one_registered_last_is_the_host() -> None:
    away = {"agent_connected": False}
    assert superseded([record("a", 1.0, **away), record("b", 9.0, **away)]) == {"a": "b"}


def test_a_record_of_unknown_registration_supersedes_no_connected_one() -> None:
    assert superseded([record("a", 1.0), record("b", None)]) == {"b": "a"}


def test_ties_go_to_the_greatest_arn_in_any_order() -> None:
    one, two = record("a", 1.0), record("b", 1.0)
    assert superseded([one, two]) == superseded([two, one]) == {"a": "b"}


def test_inactive_records_and_those_without_a_machine_take_no_part() -> None:
    assert superseded([record("a", 1.0), record("b", 9.0, status="INACTIVE")]) == {}
    assert superseded([record("a", 1.0, instance_id=""), record("b", 9.0, instance_id="")]) == {}
