"""The next step of a migration, from what is seen of hosts and service."""

from typing import Any

import pytest

from blox.ecs.model import PlacementConstraint, ServiceDocument
from blox.scheduler.migrations import (
    MovingHost,
    Step,
    attribute_of,
    constrained,
    constraint_of,
    next_step,
)
from blox.scheduler.model import LEAVING, MOVED, Migration, SlotClass

MARK = attribute_of("logs")


def service(expression: str | None = constraint_of(MARK), **more: Any) -> ServiceDocument:
    found = (
        () if expression is None else (PlacementConstraint(type="memberOf", expression=expression),)
    )
    return ServiceDocument(
        service_name="fluent",
        scheduling_strategy="DAEMON",
        placement_constraints=found,
        **more,
    )


def migration(**more: Any) -> Migration:
    values = {"environment_id": "e", "cluster_arn": "c", "service": "fluent", "attribute": MARK}
    return Migration(**(values | {"wave": 2} | more))


def host(name: str, **more: Any) -> MovingHost:
    """One of the service's hosts."""
    values: dict[str, Any] = {
        "mark": None,
        "ready": True,
        "service_runs": True,
        "ours": False,
        "slot_class": SlotClass.UNMATCHED,
    }
    return MovingHost(arn=name, **(values | more))


def moved(name: str, **more: Any) -> MovingHost:
    values: dict[str, Any] = {
        "mark": MOVED,
        "service_runs": False,
        "ours": True,
        "slot_class": SlotClass.CURRENT,
    }
    return host(name, **(values | more))


def step(
    *hosts: MovingHost,
    service_is: ServiceDocument | None = None,
    deployed: bool = True,
    **more: Any,
) -> Step:
    return next_step(migration(**more), hosts, service_is or service(), deployed=deployed)


class TestConstraint:
    @pytest.mark.parametrize(
        "expression",
        [
            "attribute:blox.logs !exists",
            " attribute:blox.logs   not_exists ",
            "not (attribute:blox.logs exists)",
        ],
    )
    def test_each_way_of_saying_it_counts(self, expression: str) -> None:
        assert constrained(service(expression), MARK)

    @pytest.mark.parametrize(
        "expression",
        [None, "attribute:blox.logs exists", "attribute:blox.logs2 !exists", "attribute:x == 1"],
    )
    def test_without_it_no_host_is_moved(self, expression: str | None) -> None:
        assert not constrained(service(expression), MARK)
        found = step(host("a"), service_is=service(expression))
        assert found == Step(phase="constraint")


class TestForward:
    def test_the_first_wave(self) -> None:
        found = step(host("c"), host("a"), host("b"))
        assert (found.put, found.value, found.busy) == (("a", "b"), MOVED, 2)

    def test_hosts_where_the_service_runs_go_first(self) -> None:
        assert step(host("a", service_runs=False), host("b"), host("c")).put == ("b", "c")

    def test_the_next_only_when_those_before_have_arrived(self) -> None:
        waiting = moved("a", slot_class=SlotClass.OCCUPIED)
        settling = moved("b", slot_class=SlotClass.SETTLING)
        assert step(waiting, settling, host("c")).put == ()
        assert step(waiting, moved("b"), host("c")).put == ("c",)

    def test_one_that_fails_stops_the_move(self) -> None:
        found = step(moved("a", slot_class=SlotClass.FAILING), host("b"))
        assert (found.phase, found.put) == ("failing", ())

    def test_a_moved_host_that_went_away_holds_nothing_up(self) -> None:
        assert step(moved("a", slot_class=SlotClass.AWAY), host("b"), wave=1).put == ("b",)

    def test_hosts_that_cannot_take_it_are_left_to_the_service(self) -> None:
        found = step(moved("a"), host("b", ready=False))
        assert (found.phase, found.put) == ("moved", ())

    def test_a_mark_that_may_be_on_its_way_is_waited_for(self) -> None:
        found = step(host("a", settled=False), host("b"), host("c"), wave=1)
        assert found.put == ("b",)
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

    def test_the_next_waits_until_the_service_has_started_its_own(self) -> None:
        given = host("a", service_runs=False, awaited=True)
        assert step(given, moved("b"), back=True, wave=1).put == ()
        assert step(host("a"), moved("b"), back=True, wave=1).put == ("b",)

    def test_the_end(self) -> None:
        assert step(host("a"), host("b"), back=True).phase == "given-back"


class TestServiceGone:
    def test_nothing_is_marked_any_more(self) -> None:
        gone = next_step(migration(), [host("a")], None, deployed=True)
        assert gone == Step(phase="service-gone")
        assert step(host("a"), service_is=service(status="DRAINING")).phase == "service-gone"

    def test_the_marks_are_removed_when_the_environment_has_every_host(self) -> None:
        found = step(moved("a"), host("b"), moved("c", settled=False), done=True)
        assert (found.phase, found.delete) == ("done", ("a",))
