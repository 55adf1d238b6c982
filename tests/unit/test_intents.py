"""Acting once: what is remembered of each start call, and what may end a doubt."""

import pytest

from blox.ecs.model import Task
from blox.scheduler.intents import (
    IntentBook,
    Phase,
    absence_decides,
    doubt_base,
    resolves,
    retention_over,
    worth_presuming,
)
from blox.scheduler.model import Intent, Settled
from support.judging import CLUSTER, task

HOSTS = ("host-1", "host-2", "host-3")
WINDOW, LAG = 420.0, 300.0
SLOT = ("env-1", "host-1")


def intent(name: str = "i", hosts: tuple[str, ...] = HOSTS, **more: object) -> Intent:
    values: dict[str, object] = {
        "id": name,
        "environment_id": "env-1",
        "deployment_id": "d2",
        "cluster_arn": CLUSTER,
        "definition_arn": "agent:2",
        "group": "blox:agent",
        "hosts": hosts,
    }
    return Intent(**(values | more))  # type: ignore[arg-type]


def book() -> IntentBook:
    return IntentBook(window=WINDOW, read_lag=LAG)


def sent(found: IntentBook, *, at: float = 10.0, **more: object) -> Intent:
    """An intent whose call has left."""
    made = intent(**more)  # type: ignore[arg-type]
    found.enter(made, now=at - 5.0)
    found.called(made.id, signed_at=at)
    return made


def carrying(marker: str | None, host: str) -> Task:
    return task("t", intent=marker, host_arn=host)


class TestRules:
    def test_absence_decides_only_in_a_look_begun_later_than_the_window(self) -> None:
        assert not absence_decides(100.0, WINDOW, None)
        assert not absence_decides(100.0, WINDOW, 100.0 + WINDOW)
        assert absence_decides(100.0, WINDOW, 100.0 + WINDOW + 0.001)

    def test_the_window_counts_from_the_signature_if_we_signed_and_else_from_acquisition(
        self,
    ) -> None:
        assert doubt_base(50.0, 90.0) == 50.0
        assert doubt_base(None, 90.0) == 90.0

    def test_a_task_resolves_the_attempt_whose_id_it_carries_on_a_host_of_it(self) -> None:
        assert resolves(carrying("i", "host-2"), intent()) == "host-2"
        assert resolves(carrying("i", "elsewhere"), intent()) is None
        assert resolves(carrying("j", "host-2"), intent()) is None
        assert resolves(carrying("", "host-2"), intent()) is None
        assert resolves(carrying(None, "host-2"), intent()) is None

    def test_an_outcome_is_kept_until_every_read_shows_it(self) -> None:
        assert not retention_over(10.0, LAG, 10.0 + LAG)
        assert retention_over(10.0, LAG, 10.0 + LAG + 0.001)

    @pytest.mark.parametrize(
        ("answered", "now", "expected"),
        [(None, 1e9, True), (1000.0, 1360.0, True), (1000.0, 1360.1, False)],
    )
    def test_at_start_only_what_reads_may_not_show_yet_is_presumed(
        self, answered: float | None, now: float, expected: bool
    ) -> None:
        assert worth_presuming(intent(answered_at=answered), now, LAG) is expected


class TestOneCall:
    def test_a_slot_is_taken_from_before_the_intent_is_written(self) -> None:
        found = book()
        found.enter(intent(), now=1.0)
        attempt = found.in_slot(SLOT)
        assert attempt is not None
        assert attempt.phase is Phase.UNSENT

    def test_a_second_start_in_an_open_slot_is_refused(self) -> None:
        found = book()
        found.enter(intent(), now=1.0)
        with pytest.raises(AssertionError, match="already open"):
            found.enter(intent("j", ("host-3", "host-4")), now=2.0)
        assert found.in_slot(("env-1", "host-4")) is None

    def test_the_same_host_in_another_environment_is_another_slot(self) -> None:
        found = book()
        found.enter(intent(), now=1.0)
        found.enter(intent("j", environment_id="env-2"), now=1.0)
        assert len(found) == 2

    def test_an_answer_frees_its_slots_and_is_kept(self) -> None:
        found = book()
        sent(found)
        after = found.settle(
            "i", {host: Settled("task", f"t-{host}") for host in HOSTS}, now=11.0, ecs_now=500.0
        )
        assert after.phase is Phase.SETTLED
        assert after.intent.answered_at == 500.0
        assert found.in_slot(SLOT) is None
        assert found.due(now=11.0 + LAG) == []
        assert found.due(now=11.1 + LAG) == [], "its call has not ended"
        found.ended("i")
        assert found.due(now=11.1 + LAG) == ["i"]

    def test_an_answer_that_leaves_a_host_out_leaves_only_that_one_in_doubt(self) -> None:
        found = book()
        sent(found)
        found.settle("i", {"host-1": Settled("failed", "AGENT")}, now=11.0, ecs_now=500.0)
        found.doubt("i", signed_at=10.0, cause="left out", request_id="r", now=11.0)
        assert found.in_slot(SLOT) is None
        left = found.in_slot(("env-1", "host-2"))
        assert left is not None
        assert (left.phase, left.cause, left.request_id) == (Phase.DOUBT, "left out", "r")
        assert left.intent.answered_at is None

    def test_the_first_outcome_that_is_known_of_a_host_stands(self) -> None:
        found = book()
        sent(found, hosts=("host-1",))
        found.settle("i", {"host-1": Settled("task", "t")}, now=11.0, ecs_now=1.0)
        after = found.settle("i", {"host-1": Settled("absent")}, now=12.0, ecs_now=2.0)
        assert after.intent.settled["host-1"] == Settled("task", "t")

    def test_a_call_whose_tasks_were_all_seen_before_its_answer_is_not_in_doubt(self) -> None:
        found = book()
        sent(found, hosts=("host-1",))
        found.settle("i", {"host-1": Settled("task", "t")}, now=11.0, ecs_now=1.0)
        after = found.doubt("i", signed_at=10.0, cause="timeout", request_id="", now=70.0)
        assert after.phase is Phase.SETTLED
        assert found.unsettled() == []

    def test_what_was_never_sent_is_forgotten(self) -> None:
        found = book()
        found.enter(intent(), now=1.0)
        found.forget(["i", "unknown"])
        assert found.in_slot(SLOT) is None
        assert len(found) == 0


class TestDoubt:
    def doubtful(self, *, signed: float = 10.0) -> IntentBook:
        found = book()
        sent(found, at=signed)
        found.doubt("i", signed_at=signed, cause="timeout", request_id="", now=signed + 60.0)
        return found

    def test_it_ends_by_presence_at_any_time_for_that_host_alone(self) -> None:
        found = self.doubtful()
        seen = found.sighted(carrying("i", "host-2"))
        assert seen is not None
        attempt, host = seen
        assert host == "host-2"
        found.settle(attempt.intent.id, {host: Settled("task", "t")}, now=75.0, ecs_now=1.0)
        assert found.sighted(carrying("i", "host-2")) is None
        assert found.in_slot(("env-1", "host-2")) is None
        assert found.in_slot(SLOT) is not None

    def test_a_task_of_another_attempt_ends_nothing(self) -> None:
        assert self.doubtful().sighted(carrying("unknown", "host-1")) is None

    def test_it_ends_by_absence_only_after_the_window_from_the_signature(self) -> None:
        found = self.doubtful(signed=10.0)
        assert found.ended_by_absence(CLUSTER, None) == []
        assert found.ended_by_absence(CLUSTER, 430.0) == []
        assert [a.intent.id for a in found.ended_by_absence(CLUSTER, 430.1)] == ["i"]

    def test_looks_at_another_cluster_end_nothing(self) -> None:
        assert self.doubtful().ended_by_absence("another", 1e9) == []

    def test_calls_that_are_not_in_doubt_do_not_end_by_absence(self) -> None:
        found = book()
        sent(found)
        assert found.ended_by_absence(CLUSTER, 1e9) == []

    def test_a_window_that_grows_holds_for_doubts_that_have_begun(self) -> None:
        found = self.doubtful(signed=10.0)
        found.window = 660.0
        assert found.ended_by_absence(CLUSTER, 431.0) == []
        assert len(found.ended_by_absence(CLUSTER, 671.0)) == 1


class TestRestart:
    def test_an_open_intent_is_in_doubt_from_when_we_took_over(self) -> None:
        found = book()
        found.restore(intent(created_at=1.0), acquired_at=5000.0)
        attempt = found.in_slot(SLOT)
        assert attempt is not None
        assert attempt.phase is Phase.DOUBT
        assert found.ended_by_absence(CLUSTER, 5000.0 + WINDOW) == []
        assert len(found.ended_by_absence(CLUSTER, 5000.1 + WINDOW)) == 1

    def test_a_successor_waits_no_less_than_its_predecessor_would_have(self) -> None:
        found = book()
        found.restore(intent(window=1260.0), acquired_at=0.0)
        assert found.ended_by_absence(CLUSTER, 1000.0) == []
        assert len(found.ended_by_absence(CLUSTER, 1261.0)) == 1

    def test_an_answered_intent_blocks_nothing_and_is_deleted_in_time(self) -> None:
        found = book()
        settled = {host: Settled("task", "t") for host in HOSTS}
        found.restore(intent(settled=settled, answered_at=1.0), acquired_at=5000.0)
        assert found.in_slot(SLOT) is None
        assert found.unsettled() == []
        assert found.due(now=5000.0 + LAG) == []
        assert found.due(now=5000.1 + LAG) == ["i"]

    def test_of_a_half_answered_intent_only_the_open_hosts_are_in_doubt(self) -> None:
        found = book()
        found.restore(intent(settled={"host-1": Settled("task", "t")}), acquired_at=0.0)
        assert found.in_slot(SLOT) is None
        assert found.in_slot(("env-1", "host-2")) is not None

    def test_whatever_was_written_is_kept_even_two_open_intents_for_one_slot(self) -> None:
        found = book()
        found.restore(intent("i"), acquired_at=0.0)
        found.restore(intent("j"), acquired_at=0.0)
        absent = {host: Settled("absent") for host in HOSTS}
        found.settle("i", absent, now=1.0, ecs_now=1.0)
        left = found.in_slot(SLOT)
        assert left is not None
        assert left.intent.id == "j"
        found.settle("j", absent, now=1.0, ecs_now=1.0)
        assert found.in_slot(SLOT) is None
