"""The verdict on one slot: every row of the slot table and of the host table."""

from typing import Any

import pytest

from blox.base.ambient import Now
from blox.ecs.model import Task
from blox.scheduler.daemons import running
from blox.scheduler.eligibility import HostCondition, Ineligible, Lack
from blox.scheduler.intents import Phase
from blox.scheduler.leaving import drain_allows
from blox.scheduler.model import DeploymentStatus, Policy, Revision
from blox.scheduler.verdicts import Context, Cost, Notes, Refusal, Stop, Trouble
from support.judging import (
    ECS_NOW,
    NOW,
    OLD,
    SETTINGS,
    attempt,
    context,
    dead,
    definition,
    dying,
    environment,
    facts,
    host,
    in_short,
    judged,
    later,
    pending,
    task,
)

OLDER = task("old", deployment="d1")
NEWER = task("new")
SICK = task("sick", deployment="dp", health="UNHEALTHY")


def probed_context(**more: Any) -> Context:
    """The target has a health check."""
    whole = environment(
        revisions=(
            Revision(number=1, definition=definition(), digest=OLD),
            Revision(number=2, definition=definition(check=True), digest="probed-digest"),
        )
    )
    return context(environment=whole, target=whole.newest, **more)


class TestNothingDeployedOrNotReadYet:
    """Row 0."""

    def test_without_a_deployment_nothing_is_decided(self) -> None:
        found = judged(facts(NEWER), context(deployment=None, target=None))
        assert in_short(found) == ("ignore", "missing", "not-deployed")
        assert not found.stops

    def test_an_unread_cluster_starts_nothing(self) -> None:
        assert in_short(judged(facts(), context(primed=False))) == ("wait", "missing", "unprimed")

    def test_an_unread_cluster_stops_nothing(self) -> None:
        found = judged(facts(task("a"), task("b")), context(primed=False))
        assert in_short(found) == ("wait", "stopping", "unprimed")
        assert not found.stops

    def test_an_unread_cluster_spends_no_budget(self) -> None:
        found = judged(facts(OLDER), context(primed=False), granted=Cost.ROLLOUT)
        assert found.candidate is Cost.NONE
        assert not found.stops

    def test_an_inactive_cluster_starts_nothing_and_says_so(self) -> None:
        found = judged(facts(), context(primed=False, cluster_active=False))
        assert in_short(found) == ("wait", "missing", "cluster-inactive")

    def test_what_is_known_still_counts_while_nothing_may_be_done(self) -> None:
        assert judged(facts(NEWER), context(primed=False)).available


class TestStartInFlightOrInDoubt:
    """Row 1."""

    @pytest.mark.parametrize("phase", [Phase.UNSENT, Phase.CALLED])
    def test_a_start_in_flight_is_not_repeated(self, phase: Phase) -> None:
        found = judged(facts(attempt=attempt(phase)))
        assert in_short(found) == ("wait", "starting", "calling")

    def test_a_start_in_doubt_is_not_repeated_and_names_its_call(self) -> None:
        unsure = attempt(Phase.DOUBT, cause="timeout", request_id="r-1")
        found = judged(facts(attempt=unsure))
        assert in_short(found) == ("wait", "inDoubt", "in-doubt")
        assert found.details == {"cause": "timeout", "request": "r-1", "intent": "intent-x"}

    def test_one_daemon_beside_a_doubt_is_not_stopped(self) -> None:
        found = judged(facts(OLDER, attempt=attempt(Phase.DOUBT)), granted=Cost.ROLLOUT)
        assert in_short(found) == ("wait", "inDoubt", "in-doubt")
        assert not found.stops
        assert not found.available

    def test_two_that_both_run_are_reduced_even_beside_a_doubt(self) -> None:
        found = judged(facts(task("a"), task("b"), attempt=attempt(Phase.DOUBT)))
        assert in_short(found) == ("stop", "stopping", "surplus")

    def test_two_of_which_one_is_pending_wait_for_the_doubt(self) -> None:
        found = judged(facts(task("a"), pending("b"), attempt=attempt(Phase.DOUBT)))
        assert found.reason == "in-doubt"
        assert not found.stops

    def test_a_leaving_host_with_a_start_in_flight_is_left_alone_until_it_is_known(self) -> None:
        slot = facts(NEWER, attempt=attempt(Phase.CALLED), condition=HostCondition.DRAINING)
        found = judged(slot)
        assert in_short(found) == ("wait", "leaving", "calling")


class TestHost:
    """Row 2 and the host table."""

    def test_an_older_record_of_a_machine_loses_its_daemon(self) -> None:
        found = judged(facts(NEWER, condition=HostCondition.SUPERSEDED))
        assert in_short(found) == ("stop", "superseded", "superseded-stop")
        assert [s.task_arn for s in found.stops] == [NEWER.arn]

    def test_an_older_record_whose_daemon_is_stopping_gets_no_second_stop(self) -> None:
        found = judged(facts(dying(), condition=HostCondition.SUPERSEDED))
        assert in_short(found) == ("wait", "superseded", "stopping")
        assert not found.stops

    def test_an_empty_older_record_is_ignored(self) -> None:
        found = judged(facts(condition=HostCondition.SUPERSEDED))
        assert in_short(found) == ("ignore", "superseded", "superseded")

    @pytest.mark.parametrize("condition", [HostCondition.LOST, HostCondition.GONE])
    @pytest.mark.parametrize("live", [(), (NEWER,), (task("a"), task("b"))])
    def test_nothing_is_done_on_a_lost_host(
        self, condition: HostCondition, live: tuple[Task, ...]
    ) -> None:
        found = judged(facts(*live, condition=condition), granted=Cost.ROLLOUT)
        assert in_short(found) == ("wait", "lost", "lost")
        assert not found.stops

    def test_a_host_away_keeps_its_daemon_and_is_looked_at_when_it_is_lost(self) -> None:
        slot = facts(NEWER, condition=HostCondition.AWAY, condition_since=NOW.mono - 100.0)
        found = judged(slot)
        assert in_short(found) == ("keep", "away", "away")
        assert not found.available
        assert found.next_look == NOW.mono - 100.0 + SETTINGS.lost_after

    def test_a_host_whose_agent_is_disconnected_keeps_its_daemon_as_available(self) -> None:
        slot = facts(NEWER, condition=HostCondition.DISCONNECTED, condition_since=NOW.mono - 5.0)
        found = judged(slot)
        assert in_short(found) == ("keep", "current", "current")
        assert found.available

    def test_a_disconnected_host_is_looked_at_when_its_grace_ends(self) -> None:
        slot = facts(NEWER, condition=HostCondition.DISCONNECTED, condition_since=NOW.mono - 5.0)
        assert judged(slot).next_look == NOW.mono - 5.0 + SETTINGS.away_after

    def test_nothing_is_started_while_the_agent_is_disconnected(self) -> None:
        slot = facts(condition=HostCondition.DISCONNECTED, condition_since=NOW.mono - 5.0)
        assert in_short(judged(slot)) == ("wait", "missing", "disconnected")

    def test_nothing_is_replaced_while_the_agent_is_disconnected(self) -> None:
        slot = facts(OLDER, condition=HostCondition.DISCONNECTED, condition_since=NOW.mono - 5.0)
        found = judged(slot, granted=Cost.ROLLOUT)
        assert found.reason == "outdated-unstartable"
        assert not found.stops

    @pytest.mark.parametrize("condition", [HostCondition.NOT_READY, HostCondition.LEAVING])
    def test_a_host_that_is_not_active_gets_none_and_keeps_what_it_has(
        self, condition: HostCondition
    ) -> None:
        empty = judged(facts(condition=condition, host=host(status="REGISTERING")))
        full = judged(facts(NEWER, condition=condition))
        assert empty.reason == "not-ready"
        assert (full.kind, full.stops) == ("keep", ())
        assert empty.slot_class == full.slot_class
        assert empty.slot_class.value in ("notReady", "leaving")

    def test_a_host_that_stopped_matching_loses_its_daemon_within_the_budget(self) -> None:
        waiting = judged(facts(NEWER, matches=False))
        assert in_short(waiting) == ("keep", "unmatched", "unmatched-stop")
        assert waiting.candidate is Cost.UNMATCHED
        acting = judged(facts(NEWER, matches=False), granted=Cost.UNMATCHED)
        assert in_short(acting) == ("stop", "unmatched", "unmatched-stop")
        assert [s.needs_survivor for s in acting.stops] == [""]

    def test_a_host_that_does_not_match_gets_none(self) -> None:
        assert in_short(judged(facts(matches=False))) == ("ignore", "unmatched", "unmatched")

    @pytest.mark.parametrize(
        ("condition", "reason"),
        [
            (HostCondition.DISCONNECTED, "disconnected"),
            (HostCondition.AWAY, "away"),
            (HostCondition.NOT_READY, "not-ready"),
            (HostCondition.LEAVING, "not-ready"),
        ],
    )
    def test_an_unmatched_host_that_nothing_reaches_claims_no_budget(
        self, condition: HostCondition, reason: str
    ) -> None:
        slot = facts(NEWER, matches=False, condition=condition, condition_since=NOW.mono)
        found = judged(slot, granted=Cost.UNMATCHED)
        assert (found.kind, found.reason) == ("keep", reason)
        assert found.candidate is Cost.NONE
        assert not found.stops

    def test_a_host_that_may_match_keeps_its_daemon_and_gets_none(self) -> None:
        kept = judged(facts(NEWER, surely_matches=False))
        assert in_short(kept) == ("keep", "current", "current")
        assert in_short(judged(facts(surely_matches=False))) == ("wait", "missing", "unsure")

    def test_a_host_that_cannot_run_it_is_ineligible_and_not_wanted(self) -> None:
        unable = Ineligible("architecture", "arm64 is needed, and the host is x86_64")
        found = judged(facts(ineligible=unable))
        assert in_short(found) == ("ignore", "ineligible", "ineligible")
        assert "arm64" in found.details["cause"]

    def test_a_host_that_cannot_run_the_target_keeps_the_older_one(self) -> None:
        unable = Ineligible("architecture", "arm64 is needed")
        found = judged(facts(OLDER, ineligible=unable), granted=Cost.ROLLOUT)
        assert in_short(found) == ("keep", "ineligible", "outdated-unstartable")
        assert not found.stops


class TestDraining:
    """Daemons leave last (R17)."""

    def test_the_daemon_stays_while_other_tasks_run(self) -> None:
        slot = facts(
            NEWER, condition=HostCondition.DRAINING, condition_since=NOW.mono, drain_holders=2
        )
        found = judged(slot)
        assert in_short(found) == ("keep", "leaving", "draining-waits")
        assert found.next_look == NOW.mono + 900.0

    def test_the_daemon_leaves_after_the_last_other_task(self) -> None:
        found = judged(facts(NEWER, condition=HostCondition.DRAINING, condition_since=NOW.mono))
        assert in_short(found) == ("stop", "leaving", "draining-stop")
        assert found.details["cause"] == "no other task is left"

    def test_the_daemon_leaves_at_the_deadline_whatever_still_runs(self) -> None:
        slot = facts(
            NEWER,
            condition=HostCondition.DRAINING,
            condition_since=NOW.mono - 900.0,
            drain_holders=1,
        )
        found = judged(slot)
        assert in_short(found) == ("stop", "leaving", "draining-stop")
        assert found.details["cause"] == "the drain deadline has passed"

    def test_the_environment_decides_the_deadline(self) -> None:
        slot = facts(
            NEWER,
            condition=HostCondition.DRAINING,
            condition_since=NOW.mono - 30.0,
            drain_holders=1,
        )
        found = judged(slot, context(policy=Policy(drain_deadline=30.0)))
        assert found.kind == "stop"

    def test_nothing_is_started_on_a_draining_host(self) -> None:
        found = judged(facts(condition=HostCondition.DRAINING, condition_since=NOW.mono))
        assert in_short(found) == ("ignore", "leaving", "draining")

    def test_of_two_on_a_draining_host_one_leaves_at_once(self) -> None:
        slot = facts(
            task("a", age=50.0),
            task("b", age=90.0),
            condition=HostCondition.DRAINING,
            condition_since=NOW.mono,
            drain_holders=1,
        )
        found = judged(slot)
        assert in_short(found) == ("stop", "leaving", "surplus")
        assert [s.task_arn for s in found.stops] == [task("a").arn]

    @pytest.mark.parametrize(
        ("holders", "since", "now", "allowed"),
        [(0, None, 0.0, True), (1, None, 0.0, False), (1, 0.0, 9.9, False), (1, 0.0, 10.0, True)],
    )
    def test_the_rule_alone(
        self, holders: int, since: float | None, now: float, allowed: bool
    ) -> None:
        assert drain_allows(holders, since, 10.0, now)[0] is allowed


class TestOccupied:
    """Row 3."""

    def test_where_somebody_else_runs_it_nothing_is_started(self) -> None:
        found = judged(facts(occupant="service/agent"))
        assert in_short(found) == ("wait", "occupied", "occupied")
        assert found.details["holder"] == "service/agent"

    def test_our_own_daemon_beside_somebody_else_is_kept(self) -> None:
        assert judged(facts(NEWER, occupant="service/agent")).reason == "current"


class TestNoneHere:
    """Row 4."""

    def test_an_empty_host_gets_one(self) -> None:
        found = judged(facts())
        assert in_short(found) == ("start", "missing", "start")
        assert not found.rollout

    def test_a_start_after_a_replacement_is_paced_as_part_of_the_rollout(self) -> None:
        assert judged(facts(notes=Notes(replacing=True))).rollout

    @pytest.mark.parametrize("status", list(DeploymentStatus))
    def test_an_empty_host_gets_the_target_whatever_became_of_the_deployment(
        self, status: DeploymentStatus
    ) -> None:
        assert judged(facts(), context(status=status)).kind == "start"

    def test_an_environment_that_ecs_refuses_waits_for_its_probe(self) -> None:
        trouble = Trouble(
            code="AccessDeniedException",
            text="no iam:PassRole",
            since=NOW.mono,
            probe_at=NOW.mono + 60.0,
            request_id="r-9",
        )
        found = judged(facts(), context(trouble=trouble))
        assert in_short(found) == ("wait", "blocked", "condition")
        assert (found.details["cause"], found.details["request"]) == ("no iam:PassRole", "r-9")
        assert found.next_look == NOW.mono + 60.0
        assert judged(facts(), later(context(trouble=trouble), 60.0)).kind == "start"

    def test_a_busy_agent_is_asked_again_when_its_wait_is_over(self) -> None:
        slot = facts(notes=Notes(refusal=refusal("AGENT", 4.0)))
        found = judged(slot)
        assert in_short(found) == ("wait", "missing", "agent-busy")
        assert found.next_look == NOW.mono + 4.0
        assert judged(slot, later(context(), 4.0)).kind == "start"

    def test_a_host_that_refused_is_blocked_until_its_wait_is_over(self) -> None:
        slot = facts(notes=Notes(refusal=refusal("ATTRIBUTE", 4.0)))
        found = judged(slot)
        assert in_short(found) == ("wait", "blocked", "refused")
        assert found.details == {"cause": "ATTRIBUTE said no", "request": "r-7"}
        assert judged(slot, later(context(), 4.0)).kind == "start"

    def test_a_host_without_room_is_not_asked_again_however_long_it_lasts(self) -> None:
        lack = Lack("MEMORY", 512, 100)
        slot = facts(notes=Notes(refusal=refusal("RESOURCE:MEMORY", -1000.0)), lack=lack)
        found = judged(slot)
        assert in_short(found) == ("wait", "blocked", "no-room")
        assert found.details == {"resource": "MEMORY", "asked": "512", "free": "100"}
        assert found.next_look == NOW.mono + SETTINGS.resource_wait

    def test_a_host_that_has_room_again_still_waits_its_time(self) -> None:
        slot = facts(notes=Notes(refusal=refusal("RESOURCE:MEMORY", 4.0)))
        assert judged(slot).reason == "refused"
        assert judged(slot, later(context(), 4.0)).kind == "start"

    def test_a_host_that_seems_full_is_asked_once(self) -> None:
        assert judged(facts(lack=Lack("MEMORY", 512, 100))).kind == "start"

    def test_a_daemon_that_died_young_waits(self) -> None:
        slot = facts(stopped=(dead("x", ended=0.5),))
        found = judged(slot)
        assert in_short(found) == ("wait", "failing", "backoff")
        assert found.details["streak"] == "1"
        assert "exit 1" in found.details["cause"]
        assert found.next_look is not None
        assert NOW.mono < found.next_look <= NOW.mono + 0.61
        assert judged(slot, later(context(), 0.61)).kind == "start"

    def test_a_daemon_that_ran_well_is_started_again_at_once(self) -> None:
        assert judged(facts(stopped=(dead("x", ended=0.1, ran=60.0),))).kind == "start"

    def test_the_fifth_young_death_waits_sixteen_seconds(self) -> None:
        deaths = tuple(dead(f"x{n}", ended=40.0 * (5 - n) + 1.0) for n in range(1, 6))
        found = judged(facts(stopped=deaths))
        assert found.details["streak"] == "5"
        assert found.next_look == pytest.approx(NOW.mono + 15.0, abs=1.7)


def refusal(code: str, wait: float) -> Refusal:
    return Refusal(code=code, text=f"{code} said no", retry_at=NOW.mono + wait, request_id="r-7")


class TestAllOnTheirWayOut:
    """Row 5."""

    def test_nothing_is_started_before_the_last_one_has_stopped(self) -> None:
        assert in_short(judged(facts(dying()))) == ("wait", "stopping", "stopping")

    @pytest.mark.parametrize("status", ["DEACTIVATING", "STOPPING", "DEPROVISIONING"])
    def test_a_task_past_running_is_on_its_way_out(self, status: str) -> None:
        found = judged(facts(task("a", last_status=status)))
        assert in_short(found) == ("wait", "stopping", "stopping")

    def test_a_task_that_we_have_asked_to_stop_is_on_its_way_out(self) -> None:
        found = judged(facts(NEWER, asked=frozenset({NEWER.arn})))
        assert in_short(found) == ("wait", "stopping", "stopping")

    def test_an_unknown_status_is_live(self) -> None:
        found = judged(facts(task("a", last_status="HIBERNATING")))
        assert found.kind == "keep"

    def test_a_stop_that_takes_far_too_long_is_stuck(self) -> None:
        slot = facts(dying(), notes=Notes(stopping_since=NOW.mono))
        assert judged(slot).next_look == NOW.mono + 330.0
        assert judged(slot, later(context(), 329.0)).reason == "stopping"
        found = judged(slot, later(context(), 330.0))
        assert in_short(found) == ("wait", "stopping", "stuck")

    def test_a_longer_stop_timeout_is_waited_for(self) -> None:
        whole = environment()
        target = Revision(number=2, definition=definition(stop_timeout=120), digest="new-digest")
        ctx = context(environment=whole, target=target)
        slot = facts(dying(), notes=Notes(stopping_since=NOW.mono))
        assert judged(slot, later(ctx, 419.0)).reason == "stopping"
        assert judged(slot, later(ctx, 420.0)).reason == "stuck"

    def test_a_task_that_may_be_ours_blocks_the_start_and_is_not_stopped(self) -> None:
        unknown = task("a", intent=None)
        found = judged(facts(unknown))
        assert in_short(found) == ("wait", "starting", "identifying")
        assert running(facts(unknown)) == ()

    def test_a_task_that_may_be_ours_is_not_stopped_on_a_leaving_host(self) -> None:
        slot = facts(task("a", intent=None), condition=HostCondition.SUPERSEDED)
        assert not judged(slot).stops

    def test_a_task_that_may_be_ours_is_no_surplus(self) -> None:
        found = judged(facts(task("a"), task("b", intent=None)))
        assert not found.stops
        assert not found.available


class TestTargetRuns:
    """Row 6."""

    def test_one_that_ran_for_ten_seconds_is_current(self) -> None:
        found = judged(facts(task("a", age=10.0)))
        assert in_short(found) == ("keep", "current", "current")
        assert found.available

    def test_one_that_has_just_begun_to_run_settles(self) -> None:
        found = judged(facts(task("a", age=4.0)))
        assert in_short(found) == ("keep", "settling", "settling")
        assert not found.available
        assert found.next_look == pytest.approx(NOW.mono + 6.0)

    def test_the_environment_decides_how_long_it_must_run(self) -> None:
        ctx = context(policy=Policy(min_healthy_seconds=0.0))
        assert judged(facts(task("a", age=0.0)), ctx).available

    @pytest.mark.parametrize("status", ["PROVISIONING", "PENDING", "ACTIVATING"])
    def test_one_on_its_way_is_waited_for(self, status: str) -> None:
        slot = facts(pending("a", last_status=status), notes=Notes(pending_since=NOW.mono - 10.0))
        slot_found = judged(slot)
        assert in_short(slot_found) == ("keep", "starting", "starting")
        assert slot_found.next_look == NOW.mono - 10.0 + SETTINGS.pending_deadline

    def test_one_that_is_pending_for_too_long_is_replaced_within_the_budget(self) -> None:
        slot = facts(pending("a"), notes=Notes(pending_since=NOW.mono - 300.0))
        waiting = judged(slot)
        assert in_short(waiting) == ("keep", "failing", "failing-waits")
        assert waiting.candidate is Cost.REPAIR
        acting = judged(slot, granted=Cost.REPAIR)
        assert in_short(acting) == ("replace", "failing", "replace-pending")
        assert acting.stops == (Stop(pending("a").arn, "it was not RUNNING within its deadline"),)
        assert acting.rollout

    def test_with_a_health_check_running_is_not_enough(self) -> None:
        found = judged(facts(task("a", deployment="dp", age=100.0)), probed_context())
        assert in_short(found) == ("keep", "settling", "settling")

    def test_with_a_health_check_healthy_is_current_at_once(self) -> None:
        slot = facts(task("a", deployment="dp", age=0.0, health="HEALTHY"))
        assert judged(slot, probed_context()).available

    def test_one_that_does_not_become_healthy_in_time_is_replaced(self) -> None:
        slot = facts(task("a", deployment="dp", age=300.0))
        assert judged(slot, probed_context()).candidate is Cost.REPAIR
        assert judged(slot, probed_context(), granted=Cost.REPAIR).reason == "replace-slow"

    def test_an_unhealthy_one_is_replaced_within_the_budget(self) -> None:
        assert judged(facts(SICK), probed_context()).candidate is Cost.REPAIR
        found = judged(facts(SICK), probed_context(), granted=Cost.REPAIR)
        assert in_short(found) == ("replace", "failing", "replace-unhealthy")

    def test_without_a_health_check_unhealthy_means_nothing(self) -> None:
        assert judged(facts(task("a", health="UNHEALTHY"))).available

    def test_replacing_what_keeps_failing_backs_off(self) -> None:
        slot = facts(SICK, notes=Notes(replace_not_before=NOW.mono + 20.0))
        found = judged(slot, probed_context())
        assert found.candidate is Cost.NONE
        assert found.next_look == NOW.mono + 20.0
        assert judged(slot, later(probed_context(), 20.0)).candidate is Cost.REPAIR

    @pytest.mark.parametrize(
        "against",
        [
            {"lack": Lack("CPU", 10, 1)},
            {"surely_matches": False},
            {"condition": HostCondition.DISCONNECTED},
        ],
    )
    def test_what_could_not_start_again_is_not_stopped(self, against: dict[str, Any]) -> None:
        found = judged(facts(SICK, **against), probed_context(), granted=Cost.REPAIR)
        assert found.reason == "failing-waits"
        assert not found.stops

    def test_one_whose_former_neighbour_still_stops_is_not_available(self) -> None:
        found = judged(facts(task("a"), dying("b")))
        assert in_short(found) == ("keep", "stopping", "stopping")
        assert not found.available

    def test_one_that_a_lost_stop_may_still_end_is_not_available(self) -> None:
        found = judged(facts(NEWER, doubted_stops=frozenset({NEWER.arn})))
        assert not found.available
        assert not found.stops


class TestOtherRevisionRuns:
    """Row 7."""

    def test_it_waits_for_the_budget(self) -> None:
        found = judged(facts(OLDER))
        assert in_short(found) == ("keep", "outdated", "outdated")
        assert found.candidate is Cost.ROLLOUT
        assert found.available

    def test_within_the_budget_it_is_replaced_and_counts_as_unavailable_at_once(self) -> None:
        found = judged(facts(OLDER), granted=Cost.ROLLOUT)
        assert in_short(found) == ("replace", "outdated", "replace-outdated")
        assert found.stops == (Stop(OLDER.arn, "replaced by revision 2"),)
        assert found.rollout
        assert not found.available

    def test_one_that_failed_is_free(self) -> None:
        slot = facts(pending("a", deployment="d1"), notes=Notes(pending_since=NOW.mono - 300.0))
        assert judged(slot).candidate is Cost.FREE
        assert judged(slot, granted=Cost.FREE).kind == "replace"

    def test_one_that_is_still_settling_is_not_free(self) -> None:
        found = judged(facts(task("a", deployment="d1", age=1.0)))
        assert found.candidate is Cost.ROLLOUT
        assert not found.available

    def test_one_that_recovered_needs_budget_although_it_was_free_when_it_failed(self) -> None:
        found = judged(facts(OLDER), granted=Cost.FREE)
        assert not found.stops
        assert found.candidate is Cost.ROLLOUT

    @pytest.mark.parametrize("status", [DeploymentStatus.RUNNING, DeploymentStatus.COMPLETED])
    def test_a_host_that_returns_later_gets_the_target(self, status: DeploymentStatus) -> None:
        assert judged(facts(OLDER), context(status=status), granted=Cost.ROLLOUT).kind == "replace"

    @pytest.mark.parametrize(
        "status",
        [
            DeploymentStatus.PENDING,
            DeploymentStatus.FAILED,
            DeploymentStatus.STOPPED,
            DeploymentStatus.SUPERSEDED,
        ],
    )
    def test_it_stays_when_the_deployment_does_not_go_on(self, status: DeploymentStatus) -> None:
        found = judged(facts(OLDER), context(status=status), granted=Cost.ROLLOUT)
        assert in_short(found) == ("keep", "outdated", "outdated-kept")
        assert found.candidate is Cost.NONE
        assert not found.stops

    @pytest.mark.parametrize(
        ("against", "shared", "said"),
        [
            ({"lack": Lack("CPU", 10, 1)}, {}, "CPU: 10 asked, 1 free"),
            ({}, {"definition_active": False}, "not ACTIVE"),
            ({"surely_matches": False}, {}, "cannot take tasks"),
            (
                {},
                {"trouble": Trouble(code="x", text="denied", since=0.0, probe_at=0.0)},
                "denied",
            ),
        ],
    )
    def test_it_stays_while_the_target_could_not_start(
        self, against: dict[str, Any], shared: dict[str, Any], said: str
    ) -> None:
        found = judged(facts(OLDER, **against), context(**shared), granted=Cost.ROLLOUT)
        assert found.reason == "outdated-unstartable"
        assert said in found.details["cause"]
        assert found.candidate is Cost.NONE
        assert found.available

    def test_an_equal_digest_of_an_earlier_deployment_is_the_target(self) -> None:
        whole = environment(deployed={"d1": "new-digest", "d2": "new-digest"})
        found = judged(facts(OLDER), context(environment=whole))
        assert in_short(found) == ("keep", "current", "current")


class TestTwoOrMore:
    """Row 8."""

    def test_the_oldest_that_runs_is_kept(self) -> None:
        found = judged(facts(task("a", age=20.0), task("b", age=50.0), task("c", age=30.0)))
        assert in_short(found) == ("stop", "stopping", "surplus")
        assert [s.task_arn for s in found.stops] == [task("a").arn, task("c").arn]
        assert {s.needs_survivor for s in found.stops} == {task("b").arn}
        assert found.details == {"count": "3", "kept": task("b").arn}

    def test_surplus_is_left_alone_while_another_process_stops_may_still_land(self) -> None:
        ctx = context(surplus_from=NOW.mono + 100.0)
        found = judged(facts(task("a"), task("b")), ctx)
        assert in_short(found) == ("wait", "stopping", "surplus-waits")
        assert found.next_look == NOW.mono + 100.0
        assert judged(facts(task("a"), task("b")), later(ctx, 100.0)).kind == "stop"

    def test_while_none_is_running_none_is_stopped(self) -> None:
        slot = facts(pending("a"), pending("b"), notes=Notes(pending_since=NOW.mono))
        found = judged(slot)
        assert in_short(found) == ("wait", "stopping", "surplus-waits")
        assert found.next_look == NOW.mono + SETTINGS.pending_deadline

    def test_two_that_never_come_up_become_one(self) -> None:
        slot = facts(pending("a"), pending("b"), notes=Notes(pending_since=NOW.mono - 300.0))
        found = judged(slot)
        assert len(found.stops) == 1
        assert found.stops[0].needs_survivor == ""

    def test_one_running_beside_one_pending_is_kept(self) -> None:
        found = judged(facts(task("a", age=5.0), pending("b")))
        assert [s.task_arn for s in found.stops] == [pending("b").arn]

    def test_the_one_that_a_lost_stop_may_end_is_not_relied_on(self) -> None:
        older, younger = task("a", age=90.0), task("b", age=20.0)
        found = judged(facts(older, younger, doubted_stops=frozenset({older.arn})))
        assert [s.task_arn for s in found.stops] == [older.arn]

    def test_the_target_is_kept_rather_than_an_older_revision(self) -> None:
        found = judged(facts(task("a", age=900.0, deployment="d1"), task("b", age=20.0)))
        assert [s.task_arn for s in found.stops] == [task("a").arn]

    def test_health_does_not_choose(self) -> None:
        sick = task("a", deployment="dp", age=90.0, health="UNHEALTHY")
        well = task("b", deployment="dp", age=20.0, health="HEALTHY")
        found = judged(facts(sick, well), probed_context())
        assert [s.task_arn for s in found.stops] == [well.arn]


def test_time_is_an_argument_on_both_clocks() -> None:
    slot = facts(task("a", age=4.0))
    ctx = context(now=Now(mono=1.0, ecs=ECS_NOW + 6.0))
    assert judged(slot, ctx).available
