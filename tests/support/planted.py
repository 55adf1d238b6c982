"""Bugs to plant: for each rule, the function that keeps it, a broken one, and who must notice.

A rule that could be broken without anybody noticing would be a rule that nothing proves. What must
notice is one of

    the small world   an exhaustive search that must find two live tasks
    a story           a test that passes as things are and must fail with the bug
    seeds             played worlds in which the oracle must find a broken promise
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from msgspec.structs import replace

from blox.ecs.errors import Meaning
from blox.ecs.port import NotDone
from blox.scheduler.daemons import Ownership
from blox.simulator.scenario import Scenario
from blox.simulator.small_world import Limits, explore


@dataclass(frozen=True, slots=True)
class SmallWorld:
    """The exhaustive search finds two live tasks."""

    limits: Limits = field(default_factory=Limits)

    def notices(self) -> str:
        """How it was noticed; "" if it was not."""
        path = explore(self.limits).path
        return "" if path is None else " > ".join(path)


@dataclass(frozen=True, slots=True)
class Story:
    """A test without parameters fails: `module:function` or `module:Class.method` under tests/."""

    name: str

    def notices(self) -> str:
        """How it was noticed; "" if it was not."""
        module, _, path = self.name.partition(":")
        found: Any = importlib.import_module(module)
        *classes, function = path.split(".")
        for name in classes:
            found = getattr(found, name)()
        try:
            getattr(found, function)()
        except (AssertionError, ExceptionGroup, pytest.fail.Exception) as failure:
            return str(failure) or "an assertion failed"
        return ""


@dataclass(frozen=True, slots=True)
class Seeds:
    """One of these seeds is not good."""

    first: int
    last: int
    http: bool = False
    """Cluster-state-services keep the view."""

    def notices(self) -> str:
        """How it was noticed; "" if it was not."""
        for seed in range(self.first, self.last + 1):
            outcome = Scenario(seed, http=self.http).play()
            if outcome.violations:
                return f"seed {seed}: {outcome.violations[0]}"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """One bug."""

    rule: str
    """Its number, or for what has none a word."""
    what: str
    where: str
    """`module:attribute`: the name under which the function is called."""
    broken: Callable[..., Any]
    noticed_by: SmallWorld | Story | Seeds

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While this lasts, the broken function is called."""
        module, _, path = self.where.partition(":")
        owner: Any = importlib.import_module(module)
        *classes, name = path.split(".")
        for part in classes:
            owner = getattr(owner, part)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, self.broken)
            yield


DIRECTED: Final = "simulation.test_directed"
TAKEOVER: Final = "simulation.test_takeover"
ORDERS: Final = "simulation.test_orders"
LOSING: Final = "simulation.test_losing_the_store"
IDLE: Final = "simulation.test_idle_hosts"
SMALL: Final = SmallWorld()


async def _forgotten(_executor: Any, _batch: Any) -> bool:
    return True


def _unguarded(book: Any, intent: Any, *, now: float) -> None:
    book.restore(intent, acquired_at=now)


def _not_done(answer: Any) -> NotDone:
    return NotDone(
        meaning=Meaning.DID_NOT_HAPPEN, code="ThrottlingException", message="?", throttled=True
    )


def _ours_by_id_alone(task: Any, environment: Any) -> Ownership:
    return Ownership.OURS if task.started_by in environment.deployed else Ownership.FOREIGN


def _ours_if_we_started_it(task: Any, environment: Any) -> Ownership:
    ours = task.started_by in environment.deployed and task.intent
    return Ownership.OURS if ours else Ownership.FOREIGN


PLANTED: Final = (
    Planted(
        rule="R1",
        what="an outcome is forgotten as soon as it is known",
        where="blox.scheduler.intents:retention_over",
        broken=lambda settled_at, read_lag, now: True,
        noticed_by=SMALL,
    ),
    Planted(
        rule="R1",
        what="a successor does not believe what answered intents tell",
        where="blox.scheduler.intents:worth_presuming",
        broken=lambda intent, ecs_now, read_lag: False,
        noticed_by=SMALL,
    ),
    Planted(
        rule="R2",
        what="any look without the task ends a doubt",
        where="blox.scheduler.intents:absence_decides",
        broken=lambda base, window, look_begun: True,
        noticed_by=SMALL,
    ),
    Planted(
        rule="R2",
        what="a look at W ends a doubt, not only one after it",
        where="blox.scheduler.intents:absence_decides",
        broken=lambda base, window, look_begun: look_begun >= base + window,
        noticed_by=SMALL,
    ),
    Planted(
        rule="R2",
        what="W leaves out that reads lag",
        where="blox.scheduler.intents:absence_decides",
        broken=lambda base, window, look_begun: look_begun > base + window - 120.0,
        noticed_by=SMALL,
    ),
    Planted(
        rule="R2",
        what="an answer of 500 means that nothing was done",
        where="blox.ecs.outcomes:act_refusal",
        broken=_not_done,
        noticed_by=Story(f"{DIRECTED}:test_an_error_after_the_first_byte_is_no_refusal"),
    ),
    Planted(
        rule="R3",
        what="calls are not dated back, so they live longer than W allows for",
        where="blox.ecs.fence:acting_date",
        broken=lambda now, limits: now,
        noticed_by=SMALL,
    ),
    Planted(
        rule="R3",
        what="the same, in whole worlds",
        where="blox.ecs.fence:acting_date",
        broken=lambda now, limits: now,
        noticed_by=Seeds(0, 9),
    ),
    Planted(
        rule="R4",
        what="a successor counts W from long ago",
        where="blox.scheduler.intents:doubt_base",
        broken=lambda signed_at, acquired_at: -1e6 if signed_at is None else signed_at,
        noticed_by=SMALL,
    ),
    Planted(
        rule="R5",
        what="any task on the host counts as the outcome of the open attempt",
        where="blox.scheduler.intents:resolves",
        broken=lambda task, intent: task.host_arn,
        noticed_by=SMALL,
    ),
    Planted(
        rule="R6",
        what="a task that one read does not show is gone",
        where="blox.clusterstate.absence:absence_counts",
        broken=lambda *, begun, newest_evidence, read_lag: True,
        noticed_by=SMALL,
    ),
    Planted(
        rule="R7",
        what="an event of any age makes a task known",
        where="blox.clusterstate.cluster:event_admitted",
        broken=lambda *, event_time, horizon, read_lag: True,
        noticed_by=Story("unit.test_view:test_old_events_raise_no_ghosts"),
    ),
    Planted(
        rule="R8",
        what="the one that stays need not have been shown by the look",
        where="blox.scheduler.stops:survives",
        broken=lambda shown, survivor: True,
        noticed_by=Story(f"{DIRECTED}:test_a_daemon_is_not_relied_on_that_the_look_did_not_show"),
    ),
    Planted(
        rule="R8",
        what="the youngest stays",
        where="blox.scheduler.surplus:survivor",
        broken=lambda tasks, *, doubted, target: max(tasks, key=lambda task: task.created_at),
        noticed_by=Story(
            f"{DIRECTED}:test_a_second_daemon_of_ours_is_removed_and_the_older_one_stays"
        ),
    ),
    Planted(
        rule="R8",
        what="which one stays depends on the order in which they are seen",
        where="property.test_planner:survivor",
        broken=lambda tasks, *, doubted, target: tasks[0],
        noticed_by=Story(
            "property.test_planner:"
            "test_the_survivor_does_not_depend_on_the_order_or_on_who_else_is_considered"
        ),
    ),
    Planted(
        rule="R10",
        what="our deployment's id alone makes a task ours",
        where="blox.scheduler.slots:ownership",
        broken=_ours_by_id_alone,
        noticed_by=Story(
            f"{DIRECTED}:test_what_somebody_else_started_is_left_alone_even_in_our_name"
        ),
    ),
    Planted(
        rule="R10",
        what="what was adopted is not ours",
        where="blox.scheduler.slots:ownership",
        broken=_ours_if_we_started_it,
        noticed_by=Story(f"{TAKEOVER}:test_what_is_adopted_is_kept_like_what_was_started"),
    ),
    Planted(
        rule="R10",
        what="what a service runs may be adopted",
        where="blox.scheduler.adoption:_refusal",
        broken=lambda task, *, owner, busy: None,
        noticed_by=Story(f"{TAKEOVER}:test_only_those_that_are_meant_are_adopted"),
    ),
    Planted(
        rule="R10",
        what="adopting minds no start that may still happen",
        where="blox.scheduler.adopting:Adopting._busy",
        broken=lambda adopting, environment, host: False,
        noticed_by=Story(
            f"{TAKEOVER}:test_nothing_is_adopted_where_a_former_environments_start_may_still_happen"
        ),
    ),
    Planted(
        rule="R13",
        what="a start does not wait for its intent to be stored",
        where="blox.scheduler.executor:Executor._make_durable",
        broken=_forgotten,
        noticed_by=Story(f"{DIRECTED}:test_without_a_store_nothing_is_started"),
    ),
    Planted(
        rule="R14",
        what="calls stay large while no answers come",
        where="blox.scheduler.starts:batch_allowed",
        broken=lambda breaker, *, now: 10,
        noticed_by=Story(f"{DIRECTED}:test_a_storm_of_lost_answers_leaves_most_hosts_out_of_it"),
    ),
    Planted(
        rule="R15",
        what="whatever is told last is believed",
        where="blox.clusterstate.merge:_beats",
        broken=lambda name, theirs, stamp, ours, at: True,
        noticed_by=Story(
            "property.test_merge_orders:test_any_order_and_repetition_of_accounts_ends_in_one_record"
        ),
    ),
    Planted(
        rule="R16",
        what="two records of one machine are two hosts",
        where="blox.clusterstate.records:superseded",
        broken=lambda hosts: {},
        noticed_by=Story(f"{DIRECTED}:test_a_machine_that_registers_again_has_one_daemon"),
    ),
    Planted(
        rule="R17",
        what="the daemon leaves a draining host at once",
        where="blox.scheduler.leaving:drain_allows",
        broken=lambda holders, since, deadline, now: (True, None),
        noticed_by=Story(f"{DIRECTED}:test_the_daemon_leaves_a_draining_host_last"),
    ),
    Planted(
        rule="R17",
        what="the same, in whole worlds",
        where="blox.scheduler.leaving:drain_allows",
        broken=lambda holders, since, deadline, now: (True, None),
        noticed_by=Seeds(0, 29),
    ),
    Planted(
        rule="R19",
        what="the budget counts nobody as unavailable",
        where="blox.scheduler.board:recount",
        broken=lambda verdicts, recount=importlib.import_module("blox.scheduler.board").recount: (
            replace(tally := recount(verdicts), available=tally.wanted)
        ),
        noticed_by=Story("unit.test_budget:test_a_bad_revision_stalls_at_the_budget"),
    ),
    Planted(
        rule="R19",
        what="there is no budget, in whole worlds",
        where="blox.scheduler.board:allowance",
        broken=lambda max_unavailable, wanted: max(1, wanted),
        noticed_by=Seeds(0, 29),
    ),
    Planted(
        rule="R20",
        what="an open start does not stand against another",
        where="blox.scheduler.planner:_in_flight",
        broken=lambda facts, context: None,
        noticed_by=SMALL,
    ),
    Planted(
        rule="R20",
        what="the book takes a second start for a slot",
        where="blox.scheduler.intents:IntentBook.enter",
        broken=_unguarded,
        noticed_by=Story(
            "unit.test_intents:TestOneCall.test_a_second_start_in_an_open_slot_is_refused"
        ),
    ),
    Planted(
        rule="R22",
        what="a host without room is asked again and again",
        where="blox.scheduler.planner:_refused",
        broken=lambda facts, context: None,
        noticed_by=Story(
            "unit.test_planner:"
            "TestNoneHere.test_a_host_without_room_is_not_asked_again_however_long_it_lasts"
        ),
    ),
    Planted(
        rule="R24",
        what="no number of hosts that stop matching at once looks like a mistake",
        where="blox.scheduler.guard:too_many",
        broken=lambda pending, recent, hosts: False,
        noticed_by=Story(f"{ORDERS}:test_many_that_stop_matching_at_once_wait_for_a_person"),
    ),
    Planted(
        rule="R24",
        what="the same, in whole worlds",
        where="blox.scheduler.guard:too_many",
        broken=lambda pending, recent, hosts: False,
        noticed_by=Seeds(105, 105),
    ),
    Planted(
        rule="R26",
        what="a host on which somebody else runs the daemon counts as empty",
        where="blox.scheduler.slots:occupies",
        broken=lambda task, environment, family: False,
        noticed_by=Story(f"{DIRECTED}:test_where_somebody_else_runs_the_daemon_nothing_is_started"),
    ),
    Planted(
        rule="R26",
        what="the same, in whole worlds",
        where="blox.scheduler.slots:occupies",
        broken=lambda task, environment, family: False,
        noticed_by=Seeds(0, 29),
    ),
    Planted(
        rule="freeze",
        what="what is frozen goes on",
        where="blox.scheduler.planner:_frozen",
        broken=lambda verdict, context: verdict,
        noticed_by=Story(f"{ORDERS}:test_a_frozen_daemon_stays_on_its_draining_host"),
    ),
    Planted(
        rule="freeze",
        what="the same, in whole worlds",
        where="blox.scheduler.planner:_frozen",
        broken=lambda verdict, context: verdict,
        noticed_by=Seeds(5, 5),
    ),
    Planted(
        rule="freeze",
        what="a start that was taken leaves whatever was ordered meanwhile",
        where="blox.scheduler.starts:Starts._forbidden",
        broken=lambda starts, environment, hosts, intent_id: None,
        noticed_by=Story(f"{ORDERS}:test_a_freeze_binds_a_start_whose_first_byte_has_not_left"),
    ),
    Planted(
        rule="hold",
        what="a held host is like any other",
        where="blox.scheduler.planner:held",
        broken=lambda facts: None,
        noticed_by=Story(f"{ORDERS}:test_a_held_host_is_left_as_it_is_and_the_rest_goes_on"),
    ),
    Planted(
        rule="hold",
        what="the same, in whole worlds",
        where="blox.scheduler.planner:held",
        broken=lambda facts: None,
        noticed_by=Seeds(4, 4),
    ),
    Planted(
        rule="deletion",
        what="an environment is gone although its tasks run on",
        where="blox.scheduler.housekeeping:Housekeeping._all_stopped",
        broken=lambda housekeeping, environment: True,
        noticed_by=Story(
            f"{ORDERS}:test_an_unanswered_start_is_waited_for_before_the_deletion_is_done"
        ),
    ),
    Planted(
        rule="lost past",
        what="a start of before the store was lost is not waited for",
        where="blox.scheduler.state:State.past_open",
        broken=lambda state, tracked, environment: False,
        noticed_by=Story(
            f"{LOSING}:test_an_empty_host_waits_for_what_may_still_arrive_and_not_for_ever"
        ),
    ),
    Planted(
        rule="lost past",
        what="the same, in whole worlds",
        where="blox.scheduler.state:State.past_open",
        broken=lambda state, tracked, environment: False,
        noticed_by=Seeds(114, 114),
    ),
    Planted(
        rule="heirs",
        what="an environment that is created again takes nothing over",
        where="blox.scheduler.service:heir_of",
        broken=lambda environment, tombstones, **_: environment,
        noticed_by=Story(f"{TAKEOVER}:test_created_again_under_its_name_it_takes_its_orphans_over"),
    ),
    Planted(
        rule="heirs",
        what="the same, in whole worlds",
        where="blox.scheduler.service:heir_of",
        broken=lambda environment, tombstones, **_: environment,
        noticed_by=Seeds(1, 1),
    ),
    Planted(
        rule="idle hosts",
        what="daemons stay where nothing else runs",
        where="blox.scheduler.planner:yielded",
        broken=lambda facts, context: None,
        noticed_by=Story(
            f"{IDLE}:test_a_daemon_leaves_an_idle_host_and_comes_back_with_the_next_task"
        ),
    ),
    Planted(
        rule="idle hosts",
        what="the daemon that came first leaves first",
        where="blox.scheduler.slots:_younger",
        broken=lambda daemons, live: False,
        noticed_by=Story(f"{IDLE}:test_the_daemon_that_came_last_leaves_first"),
    ),
)
"""Every rule has at least one row."""
