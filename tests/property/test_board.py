"""The board's counters and lists after any history; the budget after any history of a fleet."""

from fractions import Fraction
from math import ceil

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from blox.scheduler.board import Board, allowance, recount
from blox.scheduler.invariants import check, check_budget
from blox.scheduler.model import SlotClass, VerdictKind
from blox.scheduler.verdicts import Cost, Stop, Verdict
from support.fleet import Fleet
from support.judging import verdict

HOSTS = [f"h{n}" for n in range(6)]


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    """Any verdict that holds together."""
    kind = draw(st.sampled_from(list(VerdictKind)))
    stops: tuple[Stop, ...] = ()
    if kind in (VerdictKind.STOP, VerdictKind.REPLACE):
        stops = (Stop("t", "because"),)
    available = kind is VerdictKind.KEEP and draw(st.booleans())
    classes = [SlotClass.CURRENT, SlotClass.OUTDATED] if available else list(SlotClass)[1:]
    return verdict(
        draw(st.sampled_from(classes)),
        kind=kind,
        reason="start",
        available=available,
        stops=stops,
        candidate=draw(st.sampled_from(list(Cost))) if kind is VerdictKind.KEEP else Cost.NONE,
        rollout=draw(st.booleans()),
    )


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(HOSTS), verdicts()),
        st.tuples(st.sampled_from(HOSTS), st.none()),
        st.tuples(st.just(""), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_counters_and_lists_agree_with_the_verdicts_after_any_history(
    steps: list[tuple[str, Verdict | None]],
) -> None:
    board, expected, moves = Board(), dict[str, Verdict](), 0
    for now, (host, found) in enumerate(steps):
        if found is not None:
            board.put(host, found, now=float(now))
            expected[host] = found
        elif host:
            board.drop(host)
            expected.pop(host, None)
        else:
            board.begin_deployment()
        assert board.verdicts == expected
        assert board.tally() == recount(expected.values())
        assert check(board, environment_id="e") == []
        assert board.moves >= moves
        moves = board.moves


@given(st.integers(1, 100), st.integers(0, 20_000))
def test_a_share_is_what_plain_arithmetic_says(percent: int, wanted: int) -> None:
    expected = max(1, ceil(Fraction(percent * wanted, 100)))
    assert allowance(f"{percent}%", wanted) == expected


class FleetMachine(RuleBasedStateMachine):
    """Updates, failures and recoveries in any order: the budget holds at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet(8, "25%")
        self.fleet.start()

    def healthy(self) -> int:
        """Daemons that run well, as the world has it."""
        return sum(t is not None and t.health == "HEALTHY" for t in self.fleet.tasks.values())

    @rule()
    @precondition(lambda self: self.fleet.number < 6)
    def deploy(self) -> None:
        self.fleet.deploy()

    @rule(health=st.sampled_from(["HEALTHY", "UNHEALTHY", "UNKNOWN"]), data=st.data())
    def some_turn(self, health: str, data: st.DataObject) -> None:
        some = data.draw(st.lists(st.sampled_from(sorted(self.fleet.tasks)), max_size=4))
        self.fleet.become(health, some)

    @rule(data=st.data())
    def some_die(self, data: st.DataObject) -> None:
        for host in data.draw(st.lists(st.sampled_from(sorted(self.fleet.tasks)), max_size=3)):
            self.fleet.tasks[host] = None
        self.fleet.judge()

    @rule()
    def grant(self) -> None:
        granted = self.fleet.spend()
        problems = check_budget(
            self.fleet.board, granted, max_unavailable=self.fleet.max_unavailable
        )
        assert problems == []

    @rule()
    def grant_and_stop_at_once(self) -> None:
        self.fleet.stop()
        before, down = self.healthy(), self.fleet.down
        self.fleet.spend()
        self.fleet.stop()
        taken = before - self.healthy()
        assert taken <= max(0, allowance("25%", 8) - down)

    @rule(health=st.sampled_from(["HEALTHY", "UNHEALTHY", "UNKNOWN"]))
    def start(self, health: str) -> None:
        self.fleet.start(health)

    @rule(seconds=st.sampled_from([1.0, 30.0, 301.0]))
    def time_passes(self, seconds: float) -> None:
        self.fleet.later(seconds)

    @invariant()
    def memory_holds_together(self) -> None:
        live = {host: 1 for host, found in self.fleet.tasks.items() if found is not None}
        assert check(self.fleet.board, environment_id="env-1", live=live) == []


TestFleet = FleetMachine.TestCase
TestFleet.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
