"""What holds of every verdict, whatever the slot looks like."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from blox.ecs.model import LIFECYCLE, Task
from blox.scheduler.board import recount
from blox.scheduler.daemons import running, survivor
from blox.scheduler.eligibility import HostCondition, Ineligible, Lack
from blox.scheduler.intents import Phase
from blox.scheduler.invariants import check_verdict
from blox.scheduler.model import (
    WANTED,
    DeploymentStatus,
    Freeze,
    Hold,
    Policy,
    SlotClass,
    VerdictKind,
)
from blox.scheduler.planner import judge
from blox.scheduler.reasons import REASONS, sentence
from blox.scheduler.verdicts import Context, Cost, Gate, Notes, Refusal, SlotFacts, Trouble
from support.judging import (
    ECS_NOW,
    NEW,
    NOW,
    OLD,
    PROBED,
    attempt,
    context,
    dead,
    environment,
    facts,
    task,
)

MANY = settings(max_examples=150, deadline=None)
RECENT = st.floats(NOW.mono - 2000.0, NOW.mono)
SOON = st.floats(NOW.mono - 100.0, NOW.mono + 100.0)
HELD = Hold(host_arn="host", why="mine", until=ECS_NOW + 60.0)
FROZEN = Freeze(id="f", scope="everything", why="sale", until=ECS_NOW + 60.0)
NAMES = ("a", "b", "c", "d")
STATUSES = (*LIFECYCLE[:-2], "HIBERNATING")


@st.composite
def live_task(draw: st.DrawFn, name: str) -> Task:
    """A daemon in any state short of its end."""
    return task(
        name,
        deployment=draw(st.sampled_from(["d1", "d2", "dp"])),
        last_status=draw(st.sampled_from([*["RUNNING", "PENDING"] * 5, *STATUSES])),
        desired_status=draw(st.sampled_from([*["RUNNING"] * 5, "STOPPED"])),
        intent=draw(st.sampled_from([*["marker"] * 5, None])),
        health=draw(st.sampled_from(["HEALTHY", "UNHEALTHY", "UNKNOWN"])),
        created_at=draw(st.none() | st.floats(ECS_NOW - 2000.0, ECS_NOW)),
        started_at=draw(st.none() | st.floats(ECS_NOW - 2000.0, ECS_NOW)),
    )


@st.composite
def slots(draw: st.DrawFn) -> SlotFacts:
    """Any slot."""
    names = draw(st.sampled_from(["", "a", "a", "a", "ab", "ab", "abc"]))
    live = [draw(live_task(name)) for name in names]
    arns = [t.arn for t in live]
    none = st.just(frozenset[str]())
    some = st.one_of(none, none, st.frozensets(st.sampled_from(arns))) if arns else none
    condition = draw(st.sampled_from([*HostCondition, *[HostCondition.READY] * 5]))
    since = None
    if condition is HostCondition.DISCONNECTED:
        since = draw(st.floats(NOW.mono - 59.0, NOW.mono))
    elif condition is HostCondition.AWAY:
        since = draw(st.floats(NOW.mono - 899.0, NOW.mono - 60.0))
    elif condition is HostCondition.DRAINING:
        since = draw(RECENT)
    refusal = draw(
        st.none()
        | st.builds(
            Refusal,
            code=st.sampled_from(["AGENT", "RESOURCE:CPU", "ATTRIBUTE", "InvalidParameter"]),
            text=st.just("no"),
            retry_at=SOON,
        )
    )
    return facts(
        *live,
        condition=condition,
        condition_since=since,
        matches=draw(st.sampled_from([True, True, True, False])),
        ineligible=draw(st.sampled_from([None, None, None, Ineligible("os", "windows")])),
        lack=draw(st.sampled_from([None, None, Lack("CPU", 2, 1)])),
        stopped=tuple(
            dead(f"z{n}", ended=draw(st.floats(0.0, 900.0)), ran=draw(st.floats(0.0, 60.0)))
            for n in range(draw(st.integers(0, 3)))
        ),
        occupant=draw(st.sampled_from(["", "", "service/x"])),
        drain_holders=draw(st.integers(0, 2)),
        attempt=draw(st.sampled_from([None, None, None, *(attempt(p) for p in list(Phase)[:3])])),
        asked=draw(some),
        doubted_stops=draw(some),
        hold=draw(st.sampled_from([None, None, None, None, HELD])),
        gate=draw(st.sampled_from([*[Gate.OPEN] * 5, Gate.THEIRS, Gate.LEAVING])),
        idle=draw(st.sampled_from([False, False, True])),
        yields_later=draw(st.booleans()),
        notes=Notes(
            idle_since=draw(st.none() | RECENT),
            pending_since=draw(st.none() | RECENT),
            stopping_since=draw(st.none() | RECENT),
            refusal=refusal,
            replace_not_before=draw(st.just(0.0) | SOON),
            replacing=draw(st.booleans()),
        ),
    )


@st.composite
def contexts(draw: st.DrawFn) -> Context:
    """Any environment that is deployed."""
    trouble = Trouble(code="x", text="denied", since=0.0, probe_at=draw(SOON))
    ending = draw(st.sampled_from([False, False, False, True]))
    when_idle = draw(st.sampled_from([None, 900.0]))
    return context(
        environment=environment(ending=ending, policy=Policy(when_idle=when_idle)),
        freeze=draw(st.sampled_from([None, None, None, FROZEN])),
        past_open=draw(st.sampled_from([False, False, True])),
        stops_held=draw(st.booleans()),
        status=draw(st.sampled_from([*DeploymentStatus, *[DeploymentStatus.RUNNING] * 4])),
        primed=draw(st.sampled_from([True, True, True, False])),
        trouble=draw(st.sampled_from([None, None, trouble])),
        definition_active=draw(st.booleans()),
        surplus_from=draw(SOON),
        checks={OLD: False, NEW: draw(st.booleans()), PROBED: True},
    )


COSTS = st.sampled_from(list(Cost))


@MANY
@given(slots(), contexts(), COSTS)
def test_every_verdict_holds_together_and_has_a_reason_from_the_table(
    slot: SlotFacts, ctx: Context, granted: Cost
) -> None:
    found = judge(slot, ctx, granted=granted)
    assert list(check_verdict(found)) == []
    assert "?" not in sentence(found.reason, found.details)
    assert REASONS[found.reason].who in ("blox", "ECS", "you")


@MANY
@given(slots(), contexts(), COSTS)
def test_a_start_needs_an_empty_ready_host_and_nothing_open(
    slot: SlotFacts, ctx: Context, granted: Cost
) -> None:
    if judge(slot, ctx, granted=granted).kind is VerdictKind.START:
        assert ctx.primed
        assert slot.live == ()
        assert slot.attempt is None
        assert slot.condition is HostCondition.READY
        assert slot.surely_matches
        assert slot.ineligible is None
        assert slot.occupant == ""
        assert ctx.trouble is None or ctx.now.mono >= ctx.trouble.probe_at


@MANY
@given(slots(), contexts(), COSTS)
def test_a_stop_is_of_a_daemon_that_is_known_to_be_ours_and_not_stopped_yet(
    slot: SlotFacts, ctx: Context, granted: Cost
) -> None:
    may = {t.arn for t in running(slot)}
    for stop in judge(slot, ctx, granted=granted).stops:
        assert ctx.primed
        assert stop.task_arn in may
        assert stop.task_arn not in slot.unidentified | slot.asked


@MANY
@given(slots(), contexts(), COSTS)
def test_the_last_daemon_is_stopped_only_for_a_reason_that_asks_for_it(
    slot: SlotFacts, ctx: Context, granted: Cost
) -> None:
    found = judge(slot, ctx, granted=granted)
    if found.stops and len(found.stops) == len(running(slot)):
        leaving = slot.condition in (HostCondition.SUPERSEDED, HostCondition.DRAINING)
        leaving |= ctx.environment.ending or slot.gate is Gate.LEAVING
        since = slot.notes.idle_since
        leaving |= slot.idle and since is not None and ctx.now.mono >= since + 900.0
        unmatched = not slot.matches and granted is Cost.UNMATCHED
        replaced = found.kind is VerdictKind.REPLACE and granted is not Cost.NONE
        assert leaving or unmatched or replaced
        if replaced:
            assert slot.condition is HostCondition.READY
            assert ctx.trouble is None
            assert ctx.definition_active
            assert slot.lack is None


@MANY
@given(slots(), contexts(), COSTS)
def test_surplus_stops_leave_one_that_the_look_must_show_running(
    slot: SlotFacts, ctx: Context, granted: Cost
) -> None:
    found = judge(slot, ctx, granted=granted)
    if found.reason == "surplus":
        kept = {t.arn for t in running(slot)} - {s.task_arn for s in found.stops}
        assert len(kept) == 1
        assert ctx.now.mono >= ctx.surplus_from
        (survivor_arn,) = kept
        shown = next(t for t in slot.live if t.arn == survivor_arn)
        needed = {s.needs_survivor for s in found.stops}
        assert needed == ({survivor_arn} if shown.last_status == "RUNNING" else {""})


@MANY
@given(slots(), contexts(), COSTS)
def test_waiting_never_spins(slot: SlotFacts, ctx: Context, granted: Cost) -> None:
    due = judge(slot, ctx, granted=granted).next_look
    assert due is None or due > ctx.now.mono


@MANY
@given(slots(), contexts(), COSTS)
def test_available_is_exactly_one_healthy_daemon_on_a_wanted_host(
    slot: SlotFacts, ctx: Context, granted: Cost
) -> None:
    found = judge(slot, ctx, granted=granted)
    if found.available:
        assert len(slot.live) == 1
        assert slot.live == running(slot)
        assert found.slot_class in WANTED
        assert slot.live[0].last_status == "RUNNING"
        digest = ctx.environment.deployed[slot.live[0].started_by]
        assert slot.live[0].health != "UNHEALTHY" or not ctx.checks[digest]


@MANY
@given(slots(), contexts(), COSTS, st.randoms(use_true_random=False))
def test_the_order_in_which_tasks_are_known_decides_nothing(
    slot: SlotFacts, ctx: Context, granted: Cost, random: object
) -> None:
    shuffled = list(slot.live)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first = judge(slot, ctx, granted=granted)
    second = judge(replace(slot, live=tuple(shuffled)), ctx, granted=granted)
    assert set(first.stops) == set(second.stops)
    assert replace(first, stops=()) == replace(second, stops=())


@MANY
@given(slots(), contexts(), COSTS)
def test_a_grant_changes_nothing_but_candidates_of_its_cost(
    slot: SlotFacts, ctx: Context, granted: Cost
) -> None:
    without = judge(slot, ctx)
    found = judge(slot, ctx, granted=granted)
    if without.candidate is granted or (without.candidate is Cost.FREE and granted is Cost.ROLLOUT):
        assert without.candidate is Cost.NONE or found.stops
    elif without.reason == "failing-waits" and granted is Cost.REPAIR:
        # The back-off begins with the stop that was granted, which goes on.
        assert found == without or found.stops
    else:
        assert found == without


@MANY
@given(st.lists(st.tuples(slots(), COSTS), max_size=12), contexts())
def test_the_counters_add_up_to_all_hosts(
    slots: list[tuple[SlotFacts, Cost]], ctx: Context
) -> None:
    verdicts = [judge(slot, ctx, granted=granted) for slot, granted in slots]
    tally = recount(verdicts)
    unwanted = [c for c in SlotClass if c not in WANTED and c is not SlotClass.SUPERSEDED]
    assert tally.hosts == tally.wanted + sum(tally.classes[c] for c in unwanted)
    assert tally.hosts + tally.classes[SlotClass.SUPERSEDED] == len(slots)
    assert 0 <= tally.available <= tally.wanted
    superseded = sum(s.condition is HostCondition.SUPERSEDED for s, _ in slots)
    assert tally.classes[SlotClass.SUPERSEDED] == superseded


@MANY
@given(slots(), contexts(), COSTS)
def test_the_class_says_what_the_host_is(slot: SlotFacts, ctx: Context, granted: Cost) -> None:
    found = judge(slot, ctx, granted=granted).slot_class
    yielded = found is SlotClass.YIELDED
    if slot.condition in (HostCondition.READY, HostCondition.DISCONNECTED):
        wanted = slot.matches and slot.ineligible is None and not ctx.environment.ending
        wanted = wanted and slot.hold is None and slot.gate is Gate.OPEN and not yielded
        assert (found in WANTED) is wanted
        assert slot.idle or not yielded
    else:
        assert found not in WANTED


@MANY
@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True).flatmap(
        lambda names: st.tuples(*(live_task(name) for name in names))
    ),
    st.frozensets(st.sampled_from(NAMES)),
    st.data(),
)
def test_the_survivor_does_not_depend_on_the_order_or_on_who_else_is_considered(
    tasks: tuple[Task, ...], doubted: frozenset[str], data: st.DataObject
) -> None:
    arns = frozenset(t.arn for t in tasks if t.arn.rsplit("/", 1)[-1] in doubted)
    of_target = [t.arn for t in tasks if t.started_by == "d2"]
    kept = survivor(tasks, doubted=arns, target=of_target)
    shuffled = data.draw(st.permutations(tasks))
    assert survivor(shuffled, doubted=arns, target=of_target) is kept
    fewer = [t for t in tasks if t is kept or data.draw(st.booleans())]
    assert survivor(fewer, doubted=arns, target=of_target) is kept


@MANY
@given(live_task("a"), live_task("b"), st.sampled_from(["HEALTHY", "UNHEALTHY", "UNKNOWN"]))
def test_health_takes_no_part_in_who_survives(one: Task, two: Task, health: str) -> None:
    of_target = [t.arn for t in (one, two) if t.started_by == "d2"]
    first = survivor([one, two], doubted=frozenset(), target=of_target)
    second = survivor([replace(one, health=health), two], doubted=frozenset(), target=of_target)
    assert first.arn == second.arn


@MANY
@given(slots(), contexts(), COSTS)
def test_a_freeze_stops_everything_and_changes_nothing_else(
    slot: SlotFacts, ctx: Context, granted: Cost
) -> None:
    free = judge(slot, replace(ctx, freeze=None))
    frozen = judge(slot, replace(ctx, freeze=FROZEN), granted=granted)
    assert frozen.kind in (VerdictKind.KEEP, VerdictKind.WAIT, VerdictKind.IGNORE)
    assert (frozen.stops, frozen.candidate) == ((), Cost.NONE)
    assert (frozen.slot_class, frozen.available) == (free.slot_class, free.available)
    acting = free.stops or free.kind is VerdictKind.START or free.candidate is not Cost.NONE
    assert acting or frozen == free


@MANY
@given(slots(), contexts(), COSTS)
def test_nothing_is_started_or_stopped_on_a_host_that_is_held(
    slot: SlotFacts, ctx: Context, granted: Cost
) -> None:
    ctx = replace(ctx, environment=replace(ctx.environment, ending=False))
    ready = replace(slot, condition=HostCondition.READY, hold=HELD, attempt=None)
    found = judge(ready, ctx, granted=granted)
    assert (found.stops, found.candidate) == ((), Cost.NONE)
    assert found.kind is not VerdictKind.START
    assert found.slot_class is SlotClass.HELD


@MANY
@given(slots(), contexts(), COSTS)
def test_nothing_is_started_where_a_lost_start_may_still_arrive(
    slot: SlotFacts, ctx: Context, granted: Cost
) -> None:
    found = judge(slot, replace(ctx, past_open=True), granted=granted)
    assert found.kind is not VerdictKind.START


@MANY
@given(slots(), contexts(), COSTS)
def test_an_environment_that_ends_only_stops(slot: SlotFacts, ctx: Context, granted: Cost) -> None:
    ctx = replace(ctx, environment=replace(ctx.environment, ending=True), freeze=None)
    found = judge(slot, ctx, granted=granted)
    assert found.kind not in (VerdictKind.START, VerdictKind.REPLACE)
    assert found.candidate is Cost.NONE
    if ctx.primed and slot.attempt is None and slot.hold is None:
        assert {stop.task_arn for stop in found.stops} == {task.arn for task in running(slot)}
