"""A deployment's life, the clock of its deadline, and why hosts are behind."""

from itertools import product
from typing import TypeAlias

import pytest

from blox.scheduler.board import Tally, recount
from blox.scheduler.deployments import (
    TRANSITIONS,
    Happening,
    InvalidTransition,
    Progress,
    advance,
    causes_of,
    failed_hosts,
    next_happening,
    tick,
    v1_status,
)
from blox.scheduler.model import DeploymentStatus, FailureCause, SlotClass
from blox.scheduler.verdicts import Verdict
from support.judging import deployment, verdict

S: TypeAlias = DeploymentStatus
H: TypeAlias = Happening
CAUSE = FailureCause(code="backoff", sentence="died", hosts=("h",), count=1)


class TestTransitions:
    @pytest.mark.parametrize(("status", "happening"), list(product(S, H)))
    def test_what_the_table_does_not_name_is_refused(self, status: S, happening: H) -> None:
        before = deployment(status)
        if (status, happening) in TRANSITIONS:
            assert advance(before, happening, ecs_now=9.0).status is TRANSITIONS[status, happening]
        else:
            with pytest.raises(InvalidTransition, match=before.id):
                advance(before, happening, ecs_now=9.0)

    def test_nothing_leads_back_to_running_or_pending(self) -> None:
        for (before, _), after in TRANSITIONS.items():
            assert after is not S.PENDING
            assert after is not S.RUNNING or before is S.PENDING

    def test_completed_and_failed_can_only_be_superseded(self) -> None:
        over = {(b, h, a) for (b, h), a in TRANSITIONS.items() if b in (S.COMPLETED, S.FAILED)}
        assert over == {
            (S.COMPLETED, H.SUPERSEDED, S.SUPERSEDED),
            (S.FAILED, H.SUPERSEDED, S.SUPERSEDED),
        }

    def test_times_and_causes_are_noted_once(self) -> None:
        running = advance(deployment(S.PENDING), H.PRIMED, ecs_now=1.0, reused=4)
        assert (running.started_at, running.finished_at, running.reused) == (1.0, None, 4)
        failed = advance(running, H.DEADLINE, ecs_now=2.0, causes=(CAUSE,))
        assert (failed.finished_at, failed.causes) == (2.0, (CAUSE,))
        over = advance(failed, H.SUPERSEDED, ecs_now=3.0)
        assert (over.started_at, over.finished_at, over.causes) == (1.0, 2.0, (CAUSE,))


class TestOldWords:
    """0.3 knew pending, running and completed."""

    @pytest.mark.parametrize(
        ("happenings", "expected"),
        [
            ((), "pending"),
            ((H.PRIMED,), "running"),
            ((H.PRIMED, H.ALL_CURRENT), "completed"),
            ((H.PRIMED, H.DEADLINE), "running"),
            ((H.SUPERSEDED,), "running"),
            ((H.PRIMED, H.STOPPED), "running"),
            ((H.PRIMED, H.ALL_CURRENT, H.SUPERSEDED), "completed"),
            ((H.PRIMED, H.DEADLINE, H.SUPERSEDED), "running"),
        ],
    )
    def test_each_life_in_one_of_them(self, happenings: tuple[H, ...], expected: str) -> None:
        found = deployment(S.PENDING)
        for happening in happenings:
            found = advance(found, happening, ecs_now=1.0)
        assert v1_status(found) == expected


class TestClock:
    def test_it_runs_while_nothing_happens(self) -> None:
        clock = Progress(moves=0, at=0.0)
        for now in (10.0, 25.0):
            clock = tick(clock, moves=0, excused=False, now=now)
        assert clock.used == 25.0

    def test_it_stands_while_something_excuses_it(self) -> None:
        clock = tick(Progress(moves=0, at=0.0, used=5.0), moves=0, excused=True, now=500.0)
        assert clock.used == 5.0
        assert tick(clock, moves=0, excused=False, now=510.0).used == 15.0

    def test_progress_sets_it_back(self) -> None:
        clock = tick(Progress(moves=3, at=0.0, used=500.0), moves=4, excused=False, now=10.0)
        assert clock == Progress(moves=4, at=10.0)


class TestNext:
    def tally(self, *classes: SlotClass) -> Tally:
        return recount(verdict(slot_class) for slot_class in classes)

    def happening(
        self, status: S, *classes: SlotClass, used: float = 0.0, hopeless: bool = False
    ) -> H | None:
        return next_happening(
            deployment(status),
            self.tally(*classes),
            Progress(moves=0, at=0.0, used=used),
            deadline=600.0,
            hopeless=hopeless,
        )

    def test_a_pass_over_a_known_cluster_begins_it(self) -> None:
        assert self.happening(S.PENDING, SlotClass.MISSING) is H.PRIMED

    def test_it_completes_when_every_wanted_host_is_current(self) -> None:
        unwanted = [c for c in SlotClass if c in (SlotClass.AWAY, SlotClass.INELIGIBLE)]
        assert self.happening(S.RUNNING, SlotClass.CURRENT, *unwanted) is H.ALL_CURRENT

    def test_on_an_empty_cluster_it_completes_at_once(self) -> None:
        assert self.happening(S.RUNNING) is H.ALL_CURRENT

    @pytest.mark.parametrize(
        "behind",
        [
            SlotClass.SETTLING,
            SlotClass.OCCUPIED,
            SlotClass.IN_DOUBT,
            SlotClass.BLOCKED,
            SlotClass.OUTDATED,
            SlotClass.STOPPING,
        ],
    )
    def test_one_wanted_host_behind_holds_it_open_until_the_deadline(
        self, behind: SlotClass
    ) -> None:
        slots = (SlotClass.CURRENT, behind)
        assert self.happening(S.RUNNING, *slots, used=600.0) is None
        assert self.happening(S.RUNNING, *slots, used=600.1) is H.DEADLINE

    def test_a_host_that_is_in_doubt_for_the_third_time_running_ends_it(self) -> None:
        assert self.happening(S.RUNNING, SlotClass.IN_DOUBT, hopeless=True) is H.DEADLINE

    @pytest.mark.parametrize("status", [S.COMPLETED, S.FAILED, S.STOPPED, S.SUPERSEDED])
    def test_what_is_over_stays_over(self, status: S) -> None:
        assert self.happening(status, SlotClass.CURRENT, used=1e9, hopeless=True) is None


class TestCauses:
    def crashed(self, streak: str, cause: str = "exit 1", **more: str) -> Verdict:
        details = {"streak": streak, "cause": cause, "retry": f"{streak}.5", "task": streak, **more}
        return verdict(SlotClass.FAILING, reason="backoff", details=details)

    def test_equal_causes_are_one_however_often_each_host_died(self) -> None:
        causes = causes_of({"b": self.crashed("5"), "a": self.crashed("7")})
        assert [(c.code, c.hosts, c.count) for c in causes] == [("backoff", ("a", "b"), 2)]
        assert causes[0].sentence == "died young (several in a row), last: exit 1"

    def test_hosts_without_room_are_one_cause_however_much_is_free(self) -> None:
        def full(free: str) -> Verdict:
            details = {"resource": "MEMORY", "asked": "512", "free": free}
            return verdict(SlotClass.BLOCKED, reason="no-room", details=details)

        (cause,) = causes_of({"a": full("10"), "b": full("20")})
        assert cause.sentence == "MEMORY: 512 asked, less free"

    def test_most_hosts_come_first(self) -> None:
        verdicts = {
            "a": verdict(SlotClass.OCCUPIED, reason="occupied", details={"holder": "service/x"}),
            "b": self.crashed("1"),
            "c": self.crashed("2"),
        }
        assert [c.count for c in causes_of(verdicts)] == [2, 1]

    def test_hosts_that_are_current_or_not_wanted_are_no_cause(self) -> None:
        verdicts = {
            "a": verdict(SlotClass.CURRENT),
            "b": verdict(SlotClass.LOST, reason="lost"),
            "c": verdict(SlotClass.INELIGIBLE, reason="ineligible"),
        }
        assert causes_of(verdicts) == ()

    def test_a_cause_names_a_hundred_hosts_and_counts_them_all(self) -> None:
        (cause,) = causes_of({f"h{n:04}": self.crashed("1") for n in range(250)})
        assert (len(cause.hosts), cause.count) == (100, 250)
        assert list(cause.hosts) == sorted(cause.hosts)


def test_failed_hosts_are_the_failing_the_blocked_and_the_occupied() -> None:
    verdicts = {slot_class.value: verdict(slot_class) for slot_class in SlotClass}
    assert failed_hosts(verdicts) == ["blocked", "failing", "occupied"]
