"""From the view to the facts on one slot, and what is remembered of it from pass to pass."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from blox.ecs.model import Resources, Task
from blox.ecs.seen import HostSeen
from blox.scheduler.eligibility import HostCondition, Lack, Need
from blox.scheduler.intents import IntentBook, Phase
from blox.scheduler.model import Environment, Policy, Revision, SlotClass
from blox.scheduler.slots import Around, StopsKnown, Target, gather, remember, settled_notes
from blox.scheduler.verdicts import Gate, Notes, SlotFacts
from support.judging import (
    ECS_NOW,
    HOST,
    NEW,
    NOW,
    OLD,
    SETTINGS,
    attempt,
    dead,
    definition,
    dying,
    environment,
    facts,
    host,
    pending,
    task,
    verdict,
)


class OneHost:
    """A view that shows these tasks on every host."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks

    def tasks_on(self, host_arn: str) -> Sequence[Task]:
        return self.tasks

    def is_daemon_service(self, cluster_arn: str, group: str) -> bool:
        return group == "service:daemon"

    def scales_in(self, cluster_arn: str, provider: str) -> bool:
        return provider == "spot"


def gathered(
    *tasks: Task,
    selector: str = "",
    stops: StopsKnown | None = None,
    of: Environment | None = None,
    yields: bool = False,
    **more: Any,
) -> SlotFacts:
    given = {"host": host(), **more}
    revision = Revision(number=2, definition=definition(), digest=NEW, selector=selector)
    book = IntentBook(window=420.0, read_lag=300.0)
    if given.pop("doubtful", False):
        book.restore(attempt(Phase.DOUBT).intent, acquired_at=0.0)
    needs = {NEW: Need(cpu=100), OLD: Need(cpu=300)}
    target = Target(revision)
    target.need = needs[NEW]
    return gather(
        HostSeen(**given),
        of or environment(),
        target,
        Around(
            OneHost(tasks),  # type: ignore[arg-type]
            book,
            stops or StopsKnown(),
            lambda found: f"holder of {found.arn[-1]}",
            lambda _: 900.0 if yields else None,
        ),
        notes=Notes(),
        needs=needs,
        hold=None,
        now=NOW,
        settings=SETTINGS,
    )


def other(name: str = "x", **more: Any) -> Task:
    """Somebody else's task."""
    values = {"deployment": "ecs-svc/1", "intent": "", "group": "service:web"}
    values["definition_arn"] = "…/task-definition/web:1"
    return task(name, **(values | more))


class TestGather:
    def test_live_tasks_are_ours_or_may_be(self) -> None:
        found = gathered(task("a"), task("b", intent=None), task("c", intent=""), other())
        assert [t.arn[-1] for t in found.live] == ["a", "b"]
        assert found.unidentified == {task("b").arn}

    def test_deaths_count_only_for_the_revision_that_is_wanted(self) -> None:
        old = replace(dead("o", ended=1.0), started_by="d1")
        found = gathered(dead("n", ended=1.0), old)
        assert [t.arn[-1] for t in found.stopped] == ["n"]

    def test_somebody_elses_daemon_is_the_occupant(self) -> None:
        stranger = other("s", definition_arn="…/task-definition/agent:7")
        assert gathered(other("x"), stranger).occupant == "holder of s"
        assert gathered(other("x")).occupant == ""

    def test_a_drain_waits_for_others_tasks_but_not_for_daemons(self) -> None:
        tasks = (
            task("a"),
            other("x"),
            other("y", group="service:daemon"),
            other("z", group="blox:metrics"),
            other("w", last_status="STOPPED"),
            other("v", desired_status="STOPPED"),
        )
        draining = gathered(*tasks, host=host(status="DRAINING"), draining_since=7.0)
        assert draining.condition is HostCondition.DRAINING
        assert draining.condition_since == 7.0
        assert draining.drain_holders == 2
        assert gathered(*tasks).drain_holders == 0

    def test_what_is_not_known_of_a_host_is_no_mismatch(self) -> None:
        unsure = gathered(selector="agentVersion >= 1.80.0")
        surely = gathered(selector="attribute:pool == blue", host=host(attributes={"pool": "blue"}))
        never = gathered(selector="attribute:pool == blue", host=host(attributes={"pool": "red"}))
        assert (surely.matches, surely.surely_matches) == (True, True)
        assert (unsure.matches, unsure.surely_matches) == (True, False)
        assert (never.matches, never.surely_matches) == (False, False)

    def test_room_counts_what_our_own_daemon_would_free(self) -> None:
        small = host(remaining=Resources(cpu=0, memory=100))
        assert gathered(host=small).lack == Lack("CPU", 100, 0)
        assert gathered(task("a", deployment="d1"), host=small).lack is None

    def test_with_two_here_nothing_is_counted_as_freed(self) -> None:
        small = host(remaining=Resources(cpu=0, memory=100))
        assert gathered(task("a"), task("b"), host=small).lack == Lack("CPU", 100, 0)

    def test_an_open_start_is_part_of_the_facts(self) -> None:
        assert gathered().attempt is None
        assert gathered(doubtful=True).attempt is not None

    def test_stops_that_we_sent_are_part_of_the_facts_while_they_may_land(self) -> None:
        stops = StopsKnown()
        stops.asked[task("a").arn] = None
        stops.doubted[task("b").arn] = NOW.mono + 1.0
        stops.doubted[task("c").arn] = NOW.mono
        found = gathered(task("a"), task("b"), task("c"), stops=stops)
        assert found.asked == {task("a").arn}
        assert found.doubted_stops == {task("b").arn}
        stops.prune(NOW.mono)
        assert list(stops.doubted) == [task("b").arn]


class TestGettingReady:
    def clock(self, *seconds: float, held: Sequence[bool] = ()) -> float | None:
        """Since when it counts as getting ready, after these passes."""
        notes = Notes()
        for at, stands in zip(seconds, held or [False] * len(seconds), strict=True):
            notes = remember(notes, facts(pending(), others_stopping=stands), now=at)
        return notes.pending_since

    def test_it_counts_from_the_first_look(self) -> None:
        assert self.clock(10.0, 50.0, 90.0) == 10.0

    def test_it_stands_while_another_task_of_the_host_is_stopping(self) -> None:
        assert self.clock(10.0, 20.0, 50.0, 60.0, held=[False, True, False, False]) == 40.0

    def test_it_stands_between_looks_too(self) -> None:
        assert self.clock(10.0, 500.0, held=[True, True]) == 500.0

    def test_it_stands_while_the_agent_is_disconnected(self) -> None:
        notes = Notes()
        for at, condition in ((10.0, HostCondition.DISCONNECTED), (70.0, HostCondition.READY)):
            notes = remember(notes, facts(pending(), condition=condition), now=at)
        assert notes.pending_since == 70.0

    @pytest.mark.parametrize("live", [(), (task(),), (dying(),), (pending("p"), task("r"))])
    def test_it_is_over_when_nothing_is_getting_ready(self, live: tuple[Task, ...]) -> None:
        before = Notes(pending_since=1.0, held_since=2.0)
        after = remember(before, facts(*live), now=3.0)
        assert (after.pending_since, after.held_since) == (None, None)


class TestGoingAway:
    def test_it_counts_while_all_are_stopping(self) -> None:
        first = remember(Notes(), facts(dying("a"), dying("b")), now=5.0)
        assert remember(first, facts(dying("b")), now=9.0).stopping_since == 5.0

    def test_one_that_stays_ends_it(self) -> None:
        before = Notes(stopping_since=1.0)
        assert remember(before, facts(dying("a"), task("b")), now=9.0).stopping_since is None

    def test_an_empty_slot_ends_it(self) -> None:
        assert remember(Notes(stopping_since=1.0), facts(), now=9.0).stopping_since is None

    def test_one_that_we_have_asked_to_stop_counts(self) -> None:
        slot = facts(task("a"), asked=frozenset({task("a").arn}))
        assert remember(Notes(), slot, now=9.0).stopping_since == 9.0


def test_nothing_new_is_the_same_notes() -> None:
    notes = Notes(batch_limit=1)
    assert remember(notes, facts(task()), now=9.0) is notes


def test_a_daemon_that_is_current_wipes_the_slate() -> None:
    notes = Notes(replacing=True, replacements=3, replace_not_before=99.0, doubts=2, batch_limit=1)
    assert settled_notes(notes, verdict(SlotClass.CURRENT)) == Notes(batch_limit=1)
    assert settled_notes(notes, verdict(SlotClass.SETTLING)) is notes


def test_doubts_long_ago_do_not_count_against_a_host_that_was_well_since() -> None:
    assert settled_notes(Notes(doubts=2), verdict(SlotClass.CURRENT)) == Notes()


def test_the_view_of_a_host_is_matched_once_as_long_as_it_stays_the_same() -> None:
    target = Target(Revision(number=1, definition=definition(), selector="attribute:pool == blue"))
    before = host(attributes={"pool": "blue"})
    assert target.fits(before) == (True, None)
    assert target.fits(before) is not None
    assert target.fits(replace(before, attributes={"pool": "red"}))[0] is False
    target.forget(HOST)
    assert target.fits(before) == (True, None)


class TestGate:
    GATED = environment(gate="blox.agent")

    @pytest.mark.parametrize(
        ("mark", "gate"),
        [(None, Gate.THEIRS), ("ours", Gate.OPEN), ("leaving", Gate.LEAVING), ("x", Gate.THEIRS)],
    )
    def test_the_mark_on_the_host_says_whose_it_is(self, mark: str | None, gate: Gate) -> None:
        attributes = {} if mark is None else {"blox.agent": mark}
        assert gathered(of=self.GATED, host=host(attributes=attributes)).gate is gate

    def test_the_service_that_is_replaced_occupies_whatever_its_task_runs(self) -> None:
        theirs = task(
            "x", started_by="ecs-svc/1", group="service:old", definition_arn="arn:x/other:1"
        )
        for policy in (Policy(), Policy(beside=True)):
            replacing = environment(gate_service="old", policy=policy)
            assert gathered(theirs, of=replacing).occupant
        assert not gathered(theirs, of=environment(gate_service="older")).occupant
        assert not gathered(theirs).occupant

    def test_without_a_service_every_host_is_ours(self) -> None:
        assert gathered(host=host(attributes={"blox.agent": "leaving"})).gate is Gate.OPEN


class TestBeside:
    BESIDE = environment(policy=Policy(beside=True))

    def test_others_of_the_family_are_no_obstacle(self) -> None:
        assert gathered(other(), of=self.BESIDE).occupant == ""

    def test_one_of_the_same_name_is(self) -> None:
        lost = other(group="blox:agent", deployment="unknown")
        assert gathered(lost, of=self.BESIDE).occupant != ""


class TestIdle:
    YIELDING = environment(policy=Policy(when_idle=900.0))

    def idle(self, *tasks: Task, provider: str = "spot", **more: Any) -> SlotFacts:
        given = {"registered_at": ECS_NOW - 5000.0, **more.pop("of_host", {})}
        found = host(capacity_provider=provider, **given)
        return gathered(*tasks, of=self.YIELDING, host=found, **more)

    def test_a_host_with_nothing_but_daemons(self) -> None:
        service = other(group="service:daemon", definition_arn="a:task-definition/x:1")
        assert self.idle(task(), service).idle

    @pytest.mark.parametrize("group", ["family:web", "service:web"])
    def test_any_other_task_keeps_it_busy(self, group: str) -> None:
        assert not self.idle(task(), other(group=group)).idle

    def test_only_where_ecs_removes_hosts(self) -> None:
        assert not self.idle(task(), provider="on-demand").idle
        assert not self.idle(task(), provider="").idle

    def test_only_if_every_daemon_of_blox_there_leaves_too(self) -> None:
        neighbour = other(group="blox:metrics", definition_arn="a:task-definition/m:1")
        assert not self.idle(task(), neighbour).idle
        assert self.idle(task(), neighbour, yields=True).idle

    def test_the_younger_one_leaves_first(self) -> None:
        young = other("y", age=1.0, group="blox:metrics", definition_arn="a:task-definition/m:1")
        assert self.idle(task(age=50.0), young, yields=True).yields_later
        leaving = replace(young, desired_status="STOPPED")
        assert not self.idle(task(age=50.0), leaving, yields=True).yields_later

    def test_who_does_not_ask_for_it_does_not_watch(self) -> None:
        found = gathered(task(), host=host(capacity_provider="spot"))
        assert (found.idle, found.watches_idle) == (False, False)

    def remembered(self, slot: SlotFacts, notes: Notes = Notes()) -> Notes:
        return remember(notes, replace(slot, notes=notes), now=NOW.mono)

    def test_it_counts_from_when_it_was_first_seen_idle(self) -> None:
        first = self.remembered(self.idle(task()))
        assert first.idle_since == NOW.mono
        later = remember(first, replace(self.idle(task()), notes=first), now=NOW.mono + 60.0)
        assert later.idle_since == NOW.mono

    def test_a_busy_moment_begins_it_anew(self) -> None:
        first = self.remembered(self.idle(task()))
        busy = self.remembered(self.idle(task(), other(group="family:web")), first)
        assert busy.idle_since is None
        assert self.remembered(self.idle(), busy).idle_since == NOW.mono

    def test_an_empty_host_that_was_idle_before_we_looked_was_yielded(self) -> None:
        assert self.remembered(self.idle()).idle_since == float("-inf")

    def test_one_that_has_just_joined_was_not(self) -> None:
        found = self.idle(of_host={"registered_at": ECS_NOW - 10.0})
        assert self.remembered(found).idle_since == NOW.mono
