"""The next step of a migration, from what is seen of hosts and service; and what is told of it."""

import json
import shlex
from typing import Any

import pytest

from blox.ecs.model import PlacementConstraint, ServiceDocument, Task
from blox.scheduler.commands import delete_service, update_constraints
from blox.scheduler.gaps import Arrival, both_wanted, counted, measured, turn_of
from blox.scheduler.migrations import (
    PLACES,
    MovingHost,
    Step,
    attribute_of,
    constrained,
    constraint_of,
    next_step,
    place_of,
    with_ours,
    without_ours,
)
from blox.scheduler.model import LEAVING, MOVED, Environment, Migration, SlotClass
from blox.scheduler.phases import PHASES, phase_sentence, phase_step

MARK = attribute_of("logs")


def service(expression: str | None = constraint_of(MARK), **more: Any) -> ServiceDocument:
    found = (
        () if expression is None else (PlacementConstraint(type="memberOf", expression=expression),)
    )
    return ServiceDocument(
        service_name="fluent",
        scheduling_strategy="DAEMON",
        **({"placement_constraints": found} | more),
    )


def migration(**more: Any) -> Migration:
    values = {"environment_id": "e", "cluster_arn": "c", "service": "fluent", "attribute": MARK}
    return Migration(**(values | more))


def host(name: str, **more: Any) -> MovingHost:
    """One of the service's hosts."""
    values: dict[str, Any] = {
        "mark": None,
        "service_runs": True,
        "ours": False,
        "slot_class": SlotClass.UNMATCHED,
    }
    return MovingHost(arn=name, **(values | more))


def moved(name: str, **more: Any) -> MovingHost:
    """One of ours, healthy unless its class says otherwise."""
    values: dict[str, Any] = {
        "mark": MOVED,
        "service_runs": False,
        "ours": True,
        "slot_class": SlotClass.CURRENT,
        "available": more.get("slot_class", SlotClass.CURRENT) is SlotClass.CURRENT,
    }
    return host(name, **(values | more))


def step(
    *hosts: MovingHost,
    service_is: ServiceDocument | None = None,
    deployed: bool = True,
    wave: int = 2,
    **more: Any,
) -> Step:
    record = migration(wave=wave, **more)
    return next_step(record, hosts, service_is or service(), deployed=deployed, limit=wave)


class TestConstraint:
    @pytest.mark.parametrize(
        "expression",
        [
            "attribute:blox.logs !exists",
            " attribute:blox.logs   not_exists ",
            "not (attribute:blox.logs exists)",
            "(attribute:blox.logs !exists)",
        ],
    )
    def test_each_way_of_saying_it_counts(self, expression: str) -> None:
        assert constrained(service(expression), MARK)

    @pytest.mark.parametrize(
        "expression",
        [
            None,
            "attribute:blox.logs exists",
            "attribute:blox.logs2 !exists",
            "attribute:x == 1",
            "attribute:blox.logs !exists or attribute:x == 1",
        ],
    )
    def test_without_it_no_host_is_moved(self, expression: str | None) -> None:
        assert not constrained(service(expression), MARK)
        found = step(host("a"), service_is=service(expression))
        assert (found.phase, found.put, found.delete) == ("constraint", (), ())

    def test_marks_of_former_times_are_removed_in_two_steps(self) -> None:
        marked = host("a", mark=MOVED), host("b", mark=LEAVING), moved("c")
        found = step(*marked, service_is=service(None))
        assert (found.put, found.value, found.delete) == (("a",), LEAVING, ("b",))
        found = step(*marked, service_is=service(None), turns={"a": 1.0})
        assert (found.put, found.delete) == ((), ())

    def test_the_services_own_constraints_are_kept(self) -> None:
        own = PlacementConstraint(type="memberOf", expression="attribute:x == 1")
        distinct = PlacementConstraint(type="distinctInstance")
        ours = PlacementConstraint(type="memberOf", expression=constraint_of(MARK))
        before = service(placement_constraints=(own, distinct))
        assert with_ours(before, MARK) == (own, distinct, ours)
        after = service(placement_constraints=(own, ours, distinct))
        assert with_ours(after, MARK) == (own, distinct, ours)
        assert without_ours(after, MARK) == (own, distinct)


class TestForward:
    def test_the_first_wave(self) -> None:
        found = step(host("c"), host("a"), host("b"))
        assert (found.put, found.value, found.busy) == (("a", "b"), MOVED, 2)

    def test_hosts_where_the_service_runs_go_first(self) -> None:
        bare = host("a", service_runs=False, quiet=True)
        assert step(bare, host("b"), host("c")).put == ("b", "c")
        assert step(bare).put == ("a",)

    def test_where_the_service_may_be_about_to_start_one_is_waited(self) -> None:
        found = step(moved("b"), host("a", service_runs=False))
        assert (found.phase, found.put) == ("moving", ())

    def test_the_next_only_when_those_before_have_arrived(self) -> None:
        waiting = moved("a", slot_class=SlotClass.OCCUPIED)
        settling = moved("b", slot_class=SlotClass.SETTLING)
        assert step(waiting, settling, host("c")).put == ()
        assert step(waiting, moved("b"), host("c")).put == ("c",)

    def test_a_mark_that_nobody_has_judged_yet_counts_as_under_way(self) -> None:
        stale = moved("a", slot_class=SlotClass.UNMATCHED)
        assert step(stale, host("b"), wave=1).put == ()
        assert step(moved("a", slot_class=None, available=False), host("b"), wave=1).put == ()

    def test_a_rollout_on_the_moved_hosts_holds_nothing_up(self) -> None:
        outdated = moved("a", slot_class=SlotClass.OUTDATED, available=True)
        assert step(outdated, host("b"), wave=1).put == ("b",)

    @pytest.mark.parametrize("slot_class", [SlotClass.FAILING, SlotClass.BLOCKED])
    def test_one_that_fails_stops_the_move(self, slot_class: SlotClass) -> None:
        found = step(moved("a", slot_class=slot_class), host("b"))
        assert (found.phase, found.put) == ("failing", ())
        held = moved("a", slot_class=slot_class, reachable=False, held=True)
        assert step(held, host("b")).put == ("b",)

    def test_a_service_that_stays_stops_the_move(self) -> None:
        found = step(moved("a", slot_class=SlotClass.OCCUPIED, late=True), host("b"))
        assert (found.phase, found.put) == ("service-stays", ())

    @pytest.mark.parametrize(
        "gone",
        [
            {"slot_class": SlotClass.AWAY, "reachable": False},
            {"slot_class": SlotClass.INELIGIBLE, "unable": "ineligible"},
            {"slot_class": SlotClass.YIELDED},
        ],
    )
    def test_a_moved_host_that_is_out_of_reach_holds_nothing_up(self, gone: Any) -> None:
        assert step(moved("a", **gone), host("b"), wave=1).put == ("b",)

    def test_hosts_that_cannot_take_it_are_left_to_the_service(self) -> None:
        found = step(moved("a"), host("b", unable="ineligible"), host("c", reachable=False))
        assert (found.phase, found.put) == ("moved", ())

    def test_a_mark_that_may_be_on_its_way_is_waited_for(self) -> None:
        doubt = host("a", settled=False)
        assert step(doubt, host("b"), host("c"), wave=2).put == ("b",)
        assert step(doubt, host("b"), wave=1).put == ()
        assert step(moved("a", settled=False), host("b"), wave=1).put == ()

    def test_nothing_before_the_first_deployment(self) -> None:
        assert step(host("a"), deployed=False) == Step(phase="not-deployed")

    def test_hosts_that_were_on_their_way_back_turn_round(self) -> None:
        found = step(host("a", mark=LEAVING, service_runs=False), host("b"), wave=1)
        assert (found.put, found.value) == (("a",), MOVED)


class TestBack:
    def test_ours_is_asked_to_leave_first(self) -> None:
        found = step(moved("a"), moved("b"), moved("c"), back=True)
        assert (found.put, found.value, found.delete) == (("a", "b"), LEAVING, ())

    def test_the_mark_goes_when_ours_has_gone(self) -> None:
        leaving = host("a", mark=LEAVING, service_runs=False, ours=True)
        assert step(leaving, back=True).delete == ()
        gone = host("a", mark=LEAVING, service_runs=False)
        assert step(gone, back=True).delete == ("a",)
        assert step(host("a", mark=LEAVING, settled=False), back=True).delete == ()

    def test_the_next_waits_until_the_service_has_started_its_own(self) -> None:
        given = host("a", service_runs=False, turn=True)
        assert step(given, moved("b"), back=True, wave=1).put == ()
        assert step(host("a"), moved("b"), back=True, wave=1).put == ("b",)

    def test_a_host_out_of_reach_is_marked_and_holds_nothing_up(self) -> None:
        away = moved("a", reachable=False, slot_class=SlotClass.AWAY)
        found = step(away, moved("b"), moved("c"), back=True, wave=1)
        assert found.put == ("a", "b")
        left = host("a", mark=LEAVING, reachable=False, ours=True)
        assert step(left, moved("b"), back=True, wave=1).put == ("b",)
        assert step(left, host("b"), back=True).phase == "given-back"

    def test_a_held_host_is_left_as_it_is(self) -> None:
        held = moved("a", reachable=False, held=True)
        empty = host("b", mark=LEAVING, reachable=False, held=True)
        found = step(held, empty, back=True)
        assert (found.phase, found.put, found.delete) == ("given-back", (), ())

    def test_the_end(self) -> None:
        assert step(host("a"), host("b"), back=True).phase == "given-back"


class TestServiceGone:
    def test_nothing_is_marked_any_more(self) -> None:
        gone = next_step(migration(), [host("a")], None, deployed=True, limit=1)
        assert gone == Step(phase="service-gone")
        assert step(host("a"), service_is=service(status="DRAINING")).phase == "service-gone"

    def test_the_marks_are_removed_when_the_environment_has_every_host(self) -> None:
        found = step(moved("a"), host("b"), moved("c", settled=False), done=True)
        assert (found.phase, found.delete) == ("done", ("a",))


# --- Counting and telling -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "back", "place"),
    [
        (moved("a"), False, "ours"),
        (moved("a", slot_class=SlotClass.OCCUPIED), False, "moving"),
        (moved("a", slot_class=SlotClass.AWAY, reachable=False), False, "aside"),
        (host("a", mark=LEAVING, turn=True), False, "moving"),
        (host("a", mark=LEAVING, turn=True), True, "leaving"),
        (host("a", turn=True), True, "leaving"),
        (host("a"), True, "theirs"),
        (host("a"), False, "theirs"),
        (host("a", unable="ineligible"), False, "unmovable"),
        (host("a", reachable=False), False, "unmovable"),
    ],
)
def test_every_host_is_counted_in_one_place(seen: MovingHost, back: bool, place: str) -> None:
    assert place_of(seen, back=back) == place
    assert place in PLACES


@pytest.mark.parametrize(
    ("seen", "back", "state"),
    [
        (None, False, "over"),
        (host("a", settled=False), False, "goes on"),
        (host("a"), False, "over"),
        (moved("a", slot_class=SlotClass.SETTLING), False, "goes on"),
        (moved("a"), False, "arrived"),
        (moved("a"), True, "over"),
        (host("a", mark=LEAVING), True, "goes on"),
        (host("a", service_runs=False), True, "goes on"),
        (host("a", service_runs=False, reachable=False), True, "over"),
        (host("a"), True, "arrived"),
    ],
)
def test_a_turn_ends_when_the_host_has_arrived(
    seen: MovingHost | None, back: bool, state: str
) -> None:
    assert turn_of(seen, back=back, given_up=False) == state


def test_a_service_that_does_not_come_ends_the_turn_too() -> None:
    assert turn_of(host("a", service_runs=False), back=True, given_up=True) == "arrived"


class TestGaps:
    ENVIRONMENT = Environment(
        id="e", name="logs", cluster_arn="c", revisions=(), token="t", deployed={"d1": "x"}
    )

    def ours(self, created: float, started: float | None, **more: Any) -> Task:
        values = {"last_status": "RUNNING" if started else "PENDING", "started_by": "d1"}
        return Task(
            arn="ours",
            cluster_arn="c",
            created_at=created,
            started_at=started,
            **(values | more),
        )

    def theirs(self, stopping: float | None, **more: Any) -> Task:
        stopped = stopping is not None
        values = {
            "last_status": "STOPPED" if stopped else "RUNNING",
            "desired_status": "STOPPED" if stopped else "RUNNING",
            "created_at": 1.0,
            "started_at": 2.0,
        }
        return Task(
            arn="theirs",
            cluster_arn="c",
            group="service:fluent",
            stopping_at=stopping,
            **(values | more),
        )

    def gap(self, *tasks: Task, back: bool = False, turn: float = 100.0) -> Any:
        return measured(tasks, self.ENVIRONMENT, "fluent", back=back, turn=turn)

    def test_from_the_end_of_theirs_to_the_beginning_of_ours(self) -> None:
        assert self.gap(self.theirs(103.0), self.ours(108.0, 110.5)) == (7.5, False)

    def test_where_theirs_was_not_it_counts_from_the_turn(self) -> None:
        assert self.gap(self.ours(108.0, 110.0)) == (10.0, False)
        assert self.gap(self.theirs(30.0), self.ours(108.0, 110.0)) == (10.0, False)

    def test_without_ours_nothing_is_measured(self) -> None:
        assert self.gap(self.theirs(103.0), self.ours(108.0, None)) == (None, False)

    def test_two_that_were_wanted_at_one_time_are_told(self) -> None:
        assert self.gap(self.theirs(109.0), self.ours(108.0, 110.0)) == (1.0, True)
        assert self.gap(self.theirs(None), self.ours(108.0, 110.0)) == (10.0, True)
        both = [self.theirs(None), self.ours(108.0, 110.0)]
        assert both_wanted(both, self.ENVIRONMENT, "fluent")
        assert not both_wanted([self.theirs(1.0), self.ours(2.0, 3.0)], self.ENVIRONMENT, "fluent")

    def test_back_it_is_the_other_way_round(self) -> None:
        gone = self.ours(1.0, 2.0, stopping_at=120.0, desired_status="STOPPED")
        new = self.theirs(None, created_at=130.0, started_at=133.0)
        assert self.gap(gone, new, back=True) == (13.0, False)

    def test_each_host_counts_once_and_its_turn_ends(self) -> None:
        began = migration(turns={"a": 1.0, "b": 1.0, "c": 2.0})
        arrivals = [arrival(1, "a", 4.0), arrival(2, "b", None)]
        found = counted(began, arrivals, twos=1)
        assert (found.there.hosts, found.there.measured) == (2, 1)
        assert (found.there.worst, found.there.worst_host, found.there.total) == (4.0, "a", 4.0)
        assert (found.there.twos, found.turns) == (1, {"c": 2.0})
        found = counted(found, [arrival(3, "c", 3.0)], twos=0)
        assert (found.moved, found.worst_gap, found.total_gap) == (3, 4.0, 7.0)
        assert found.there.worst_host == "a"
        back = counted(found, [arrival(4, "a", 9.0, back=True)], twos=0)
        assert (back.there, back.returned.worst) == (found.there, 9.0)


def arrival(number: int, name: str, gap: float | None, *, back: bool = False) -> Arrival:
    return Arrival(number=number, host=name, back=back, gap=gap, two=False, at=1.0)


class TestPhases:
    def test_each_says_who_acts(self) -> None:
        assert all(code == phase.code for code, phase in PHASES.items())
        assert {phase.who for phase in PHASES.values()} <= {"blox", "ECS", "you"}
        said = [(phase.sentence, phase.next_step) for phase in PHASES.values()]
        assert len(said) == len({*said})

    def test_sentences_are_filled(self) -> None:
        details = {"busy": "2", "limit": "3", "place": "demo/logs"}
        assert phase_sentence("moving", details) == "2 on their way, at most 3 at once"
        assert phase_step("not-deployed", details) == "blox deploy demo/logs"
        assert phase_sentence("frozen", {}) == "frozen: ?"


class TestCommands:
    def constraints(self, command: str) -> Any:
        """What a shell and the aws command make of it."""
        words = shlex.split(command)
        given = words[words.index("--placement-constraints") + 1 :]
        if given[0].startswith("["):
            return json.loads(given[0])
        return [dict(part.split("=", 1) for part in word.split(",")) for word in given]

    def test_a_plain_expression_is_quoted_against_the_shells_history(self) -> None:
        command = update_constraints("demo", "fluent", with_ours(service(None), MARK))
        assert command == (
            "aws ecs update-service --cluster demo --service fluent --placement-constraints "
            "'type=memberOf,expression=attribute:blox.logs !exists'"
        )

    def test_what_the_shorthand_cannot_say_goes_as_json(self) -> None:
        own = PlacementConstraint(
            type="memberOf", expression="ec2InstanceId in ['i-a', 'i-b'] and attribute:x == \"y\""
        )
        distinct = PlacementConstraint(type="distinctInstance")
        wanted = with_ours(service(placement_constraints=(own, distinct)), MARK)
        found = self.constraints(update_constraints("demo", "fluent", wanted))
        assert found == [
            {"type": "memberOf", "expression": own.expression},
            {"type": "distinctInstance"},
            {"type": "memberOf", "expression": constraint_of(MARK)},
        ]

    def test_none_left_is_said(self) -> None:
        command = update_constraints("demo", "fluent", without_ours(service(), MARK))
        assert command.endswith("--placement-constraints '[]'")

    def test_deleting(self) -> None:
        assert delete_service("demo", "fluent") == (
            "aws ecs delete-service --cluster demo --service fluent"
        )
