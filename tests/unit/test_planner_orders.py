"""Verdicts that people and other services decide: held, frozen, ending, moved, yielded."""

import math
from typing import Any

import pytest
from msgspec.structs import replace

from blox.scheduler.eligibility import HostCondition
from blox.scheduler.intents import Phase
from blox.scheduler.model import (
    AdoptedContent,
    Environment,
    Freeze,
    Hold,
    Policy,
    SlotClass,
    VerdictKind,
)
from blox.scheduler.verdicts import Context, Cost, Gate, Notes, SlotFacts
from support.judging import (
    ECS_NOW,
    HOST,
    NOW,
    attempt,
    context,
    dying,
    environment,
    facts,
    in_short,
    judged,
    pending,
    task,
)

FREEZE = Freeze(id="f", scope="cluster", target="c", why="black friday", until=ECS_NOW + 60.0)
HOLD = Hold(host_arn=HOST, why="disk swap", until=ECS_NOW + 60.0)


def ending(**more: Any) -> Context:
    return context(environment=environment(ending=True), **more)


class TestHeld:
    def test_an_empty_host_gets_nothing(self) -> None:
        found = judged(facts(hold=HOLD))
        assert in_short(found) == ("wait", "held", "held")
        assert found.details["why"] == "disk swap"

    def test_what_runs_there_stays_even_two(self) -> None:
        assert judged(facts(task("a"), task("b"), hold=HOLD)).stops == ()

    def test_a_draining_host_keeps_its_daemon_for_as_long_as_it_is_held(self) -> None:
        found = judged(facts(task(), condition=HostCondition.DRAINING, hold=HOLD))
        assert in_short(found) == ("keep", "held", "held")

    def test_a_start_in_doubt_is_still_in_doubt(self) -> None:
        found = judged(facts(hold=HOLD, attempt=attempt(Phase.DOUBT)))
        assert (found.reason, found.slot_class) == ("in-doubt", SlotClass.HELD)

    def test_an_older_record_of_the_machine_is_not_held_but_over(self) -> None:
        found = judged(facts(task(), condition=HostCondition.SUPERSEDED, hold=HOLD))
        assert in_short(found) == ("stop", "superseded", "superseded-stop")


class TestFrozen:
    def test_what_would_start_waits_and_says_who_froze_it(self) -> None:
        found = judged(facts(), context(freeze=FREEZE))
        assert in_short(found) == ("wait", "missing", "frozen")
        assert found.details == {"why": "black friday", "scope": "cluster"}

    def test_a_replacement_waits_and_its_host_stays_available(self) -> None:
        found = judged(facts(task(deployment="d1")), context(freeze=FREEZE), granted=Cost.ROLLOUT)
        assert in_short(found) == ("keep", "outdated", "frozen")
        assert found.available

    @pytest.mark.parametrize(
        "slot",
        [
            facts(task("a"), task("b")),
            facts(task(), condition=HostCondition.DRAINING),
            facts(task(), matches=False),
        ],
        ids=["surplus", "draining", "unmatched"],
    )
    def test_no_stop_of_any_kind(self, slot: SlotFacts) -> None:
        assert judged(slot).stops or judged(slot, granted=Cost.UNMATCHED).stops
        assert judged(slot, context(freeze=FREEZE), granted=Cost.UNMATCHED).stops == ()

    def test_what_is_well_reads_as_well(self) -> None:
        assert in_short(judged(facts(task()), context(freeze=FREEZE)))[2] == "current"


class TestEnding:
    def test_its_daemon_is_stopped_without_asking_the_budget(self) -> None:
        found = judged(facts(task()), ending())
        assert in_short(found) == ("stop", "unmatched", "ending-stop")
        assert [stop.cause for stop in found.stops] == ["its environment is being deleted"]

    def test_a_start_that_may_have_happened_is_waited_for(self) -> None:
        found = judged(facts(attempt=attempt(Phase.DOUBT)), ending())
        assert (found.kind, found.reason) == (VerdictKind.WAIT, "in-doubt")

    def test_one_that_was_never_deployed_stops_what_it_adopted(self) -> None:
        found = judged(facts(task()), ending(deployment=None))
        assert found.reason == "ending-stop"

    def test_nothing_is_left_to_do_on_an_empty_host(self) -> None:
        assert in_short(judged(facts(), ending())) == ("ignore", "unmatched", "ending")
        assert in_short(judged(facts(dying()), ending())) == ("wait", "unmatched", "stopping")

    def test_not_before_the_cluster_is_known(self) -> None:
        assert judged(facts(task()), ending(primed=False)).stops == ()


class TestGate:
    def test_a_host_that_was_not_moved_is_left_to_the_service(self) -> None:
        found = judged(facts(gate=Gate.THEIRS, occupant="service/x"))
        assert in_short(found) == ("ignore", "unmatched", "not-moved")

    def test_our_daemon_makes_way_where_the_service_comes_back(self) -> None:
        found = judged(facts(task(), gate=Gate.LEAVING))
        assert in_short(found) == ("stop", "unmatched", "handed-back-stop")
        assert in_short(judged(facts(gate=Gate.LEAVING)))[2] == "handed-back"

    def test_a_moved_host_waits_until_the_services_task_is_gone(self) -> None:
        replacing = context(environment=environment(gate="blox.agent", gate_service="x"))
        found = judged(facts(occupant="service/x"), replacing)
        assert in_short(found) == ("wait", "occupied", "service-leaves")
        assert in_short(judged(facts(occupant="service/y"), replacing))[2] == "occupied"
        assert in_short(judged(facts(occupant="service/x")))[2] == "occupied"
        assert in_short(judged(facts()))[2] == "start"

    @pytest.mark.parametrize("gate", [Gate.THEIRS, Gate.LEAVING])
    @pytest.mark.parametrize("condition", [HostCondition.DISCONNECTED, HostCondition.AWAY])
    def test_a_host_that_is_not_ours_is_not_wanted_while_it_is_away(
        self, gate: Gate, condition: HostCondition
    ) -> None:
        found = judged(facts(gate=gate, condition=condition))
        assert (found.kind, found.slot_class) == (VerdictKind.IGNORE, SlotClass.UNMATCHED)

    def test_our_daemon_on_a_host_of_theirs_is_not_stopped_by_that_alone(self) -> None:
        assert judged(facts(task(), gate=Gate.THEIRS)).stops == ()


class TestYield:
    IDLE = Policy(when_idle=900.0)

    def idle(self, *live: object, since: float, **more: object) -> SlotFacts:
        notes = Notes(idle_since=NOW.mono - since)
        return facts(*live, idle=True, notes=notes, **more)  # type: ignore[arg-type]

    def ctx(self) -> Context:
        return context(policy=self.IDLE)

    def test_ours_leaves_a_host_that_has_been_idle_for_long_enough(self) -> None:
        found = judged(self.idle(task(), since=900.0), self.ctx())
        assert in_short(found) == ("stop", "yielded", "yielded-stop")

    def test_not_earlier_and_time_alone_brings_it_about(self) -> None:
        found = judged(self.idle(task(), since=600.0), self.ctx())
        assert in_short(found) == ("keep", "current", "current")
        assert found.next_look == NOW.mono + 300.0

    def test_it_stays_away_while_nothing_else_runs(self) -> None:
        found = judged(self.idle(since=math.inf), self.ctx())
        assert in_short(found) == ("ignore", "yielded", "yielded")

    def test_it_comes_back_with_the_next_other_task(self) -> None:
        assert in_short(judged(facts(), self.ctx()))[2] == "start"

    def test_the_youngest_daemon_leaves_first(self) -> None:
        slot = self.idle(task(), since=900.0, yields_later=True)
        assert judged(slot, self.ctx()).stops == ()

    def test_an_environment_that_does_not_yield_stays(self) -> None:
        assert in_short(judged(self.idle(task(), since=9e9)))[2] == "current"

    def test_a_daemon_that_is_not_running_yet_yields_too(self) -> None:
        assert judged(self.idle(pending(), since=900.0), self.ctx()).reason == "yielded-stop"


def test_too_many_stops_are_held_and_remain_candidates() -> None:
    found = judged(facts(task(), matches=False), context(stops_held=True))
    assert in_short(found) == ("keep", "unmatched", "stop-held")
    assert found.candidate is Cost.UNMATCHED


def test_a_start_of_a_lost_past_is_waited_for_where_nothing_runs() -> None:
    assert in_short(judged(facts(), context(past_open=True))) == ("wait", "missing", "past-open")
    assert in_short(judged(facts(task()), context(past_open=True)))[2] == "current"


class TestAdopted:
    """A task that was adopted counts as what it was adopted as."""

    def adopted(self, digest: str) -> tuple[SlotFacts, Context]:
        hand = task("hand", deployment="", intent="", group="family:agent")
        return facts(hand), context(environment=with_hand(digest))

    def test_as_the_target_it_is_current(self) -> None:
        slot, ctx = self.adopted("new-digest")
        assert in_short(judged(slot, ctx)) == ("keep", "current", "current")

    def test_as_anything_else_it_is_replaced_within_the_budget(self) -> None:
        slot, ctx = self.adopted("something")
        assert in_short(judged(slot, ctx)) == ("keep", "outdated", "outdated")
        assert judged(slot, ctx).candidate is Cost.ROLLOUT


def with_hand(digest: str) -> Environment:
    """The environment with the task `hand` adopted as this digest."""
    of = environment()
    content = AdoptedContent(digest=digest, definition=of.newest.definition)
    return replace(of, adopted={"hand": 0}, adopted_contents=(content,))
