"""One daemon: whose it is, how well it runs, and which of several stays."""

from itertools import permutations

import pytest

from blox.ecs.model import Task
from blox.scheduler.daemons import (
    Ownership,
    Readiness,
    death_cause,
    occupies,
    ownership,
    readiness,
    survivor,
)
from blox.scheduler.verdicts import Notes
from support.judging import (
    ECS_NOW,
    NOW,
    SETTINGS,
    context,
    dead,
    environment,
    facts,
    pending,
    task,
)


class TestWhose:
    """R10, R26."""

    def test_our_deployment_id_and_a_marker_make_it_ours(self) -> None:
        assert ownership(task(), environment()) is Ownership.OURS

    def test_our_deployment_id_without_a_known_marker_makes_it_perhaps_ours(self) -> None:
        assert ownership(task(intent=None), environment()) is Ownership.MAYBE

    def test_our_deployment_id_with_overrides_that_have_no_marker_is_somebody_elses(self) -> None:
        assert ownership(task(intent=""), environment()) is Ownership.FOREIGN

    def test_neither_group_nor_family_make_it_ours(self) -> None:
        stranger = task(deployment="ecs-svc/1", intent="", group="blox:agent")
        assert ownership(stranger, environment()) is Ownership.FOREIGN

    def test_a_marker_alone_does_not_make_it_ours(self) -> None:
        assert ownership(task(deployment="another"), environment()) is Ownership.FOREIGN

    def test_somebody_elses_daemon_of_the_same_family_occupies_the_host(self) -> None:
        assert occupies(task(deployment="x", intent="", group=""), environment(), "agent")

    def test_somebody_elses_task_of_our_group_occupies_the_host(self) -> None:
        other = task(deployment="x", intent="", definition_arn="…/task-definition/other:1")
        assert occupies(other, environment(), "agent")

    @pytest.mark.parametrize(
        "harmless",
        [
            task(),
            task(intent=None),
            task(deployment="x", intent="", last_status="STOPPED"),
            task(deployment="x", intent="", group="", definition_arn="…/web:1"),
        ],
    )
    def test_ours_ended_or_other_tasks_do_not_occupy_it(self, harmless: Task) -> None:
        assert not occupies(harmless, environment(), "agent")


class TestSurvivor:
    """R8: not being stopped, RUNNING, of the target, oldest, ARN; each before the next."""

    @pytest.mark.parametrize(
        ("kept", "other"),
        [
            (pending("b", deployment="d1"), task("a", age=999.0)),
            (task("b", deployment="d1", age=1.0), pending("a")),
            (task("b", age=1.0), task("a", deployment="d1", age=999.0)),
            (task("b", age=20.0), task("a", age=10.0)),
            (task("a", age=10.0), task("b", age=10.0)),
            (task("b", age=10.0), task("a", age=10.0, created_at=None)),
        ],
        ids=["not being stopped", "RUNNING", "target", "oldest", "ARN", "age known"],
    )
    def test_each_criterion_comes_before_the_next(self, kept: Task, other: Task) -> None:
        doubted = frozenset({other.arn}) if kept.last_status != "RUNNING" else frozenset[str]()
        of_target = [t.arn for t in (kept, other) if t.started_by == "d2"]
        for order in permutations((kept, other)):
            assert survivor(order, doubted=doubted, target=of_target) is kept


class TestReadiness:
    def test_getting_ready_counts_from_when_we_first_saw_it(self) -> None:
        slot = facts(pending(), notes=Notes(pending_since=NOW.mono - 299.0))
        assert readiness(pending(), slot, context()) == (Readiness.PENDING, NOW.mono + 1.0)

    def test_getting_ready_for_too_long_is_overdue(self) -> None:
        slot = facts(pending(), notes=Notes(pending_since=NOW.mono - 300.0))
        assert readiness(pending(), slot, context()) == (Readiness.OVERDUE, None)

    def test_seen_for_the_first_time_it_has_its_whole_deadline(self) -> None:
        due = NOW.mono + SETTINGS.pending_deadline
        assert readiness(pending(), facts(pending()), context()) == (Readiness.PENDING, due)

    @pytest.mark.parametrize(
        ("health", "age", "expected"),
        [
            ("HEALTHY", 0.0, Readiness.HEALTHY),
            ("UNHEALTHY", 0.0, Readiness.UNHEALTHY),
            ("UNKNOWN", 299.0, Readiness.SETTLING),
            ("UNKNOWN", 300.0, Readiness.SLOW),
        ],
    )
    def test_with_a_health_check(self, health: str, age: float, expected: Readiness) -> None:
        one = task(deployment="dp", health=health, age=age)
        assert readiness(one, facts(one), context())[0] is expected

    def test_without_a_start_time_it_has_run_since_it_was_created(self) -> None:
        one = task(started_at=None, created_at=ECS_NOW - 3.0)
        assert readiness(one, facts(one), context()) == (Readiness.SETTLING, NOW.mono + 7.0)

    def test_without_any_time_it_has_just_begun(self) -> None:
        one = task(started_at=None, created_at=None)
        assert readiness(one, facts(one), context()) == (Readiness.SETTLING, NOW.mono + 10.0)

    def test_a_clock_that_is_behind_does_not_make_it_run_backwards(self) -> None:
        one = task(age=-30.0)
        assert readiness(one, facts(one), context()) == (Readiness.SETTLING, NOW.mono + 10.0)

    def test_an_unknown_status_settles_until_something_happens(self) -> None:
        one = task(last_status="HIBERNATING")
        assert readiness(one, facts(one), context()) == (Readiness.SETTLING, None)


def test_a_death_is_told_in_the_words_of_ecs() -> None:
    assert death_cause(dead("a", ended=1.0)) == "Essential container in task exited (exit 1)"
    assert death_cause(task(last_status="STOPPED", stop_code="TaskFailedToStart")) == (
        "TaskFailedToStart"
    )
    assert death_cause(task(last_status="STOPPED")) == "no reason given"
