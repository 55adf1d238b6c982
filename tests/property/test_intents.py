"""The book of intents after any history: every open host is in its slot, and nothing is forgotten
too early."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from blox.scheduler.intents import IntentBook, Phase
from blox.scheduler.model import Intent, Settled
from support.judging import CLUSTER, task

HOSTS = ("h1", "h2", "h3")
WINDOW, LAG = 420.0, 300.0
KINDS = st.sampled_from(["task", "failed", "absent"])


class BookMachine(RuleBasedStateMachine):
    """Calls, answers, doubts, sightings, looks, deletions and restarts, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.made = 0
        self.book = IntentBook(window=WINDOW, read_lag=LAG)
        self.stored: dict[str, Intent] = {}
        """What the store holds."""
        self.open: dict[str, set[str]] = {}
        """Intent → hosts whose outcome nobody has learned, ever."""
        self.settled_at: dict[str, float] = {}
        self.signed_at: dict[str, float] = {}
        """The last moment at which somebody may have signed it."""

    def called(self) -> list[str]:
        return [a.intent.id for a in self.book.unsettled() if a.phase is not Phase.UNSENT]

    @rule(hosts=st.lists(st.sampled_from(HOSTS), min_size=1, unique=True))
    def start(self, hosts: list[str]) -> None:
        free = tuple(host for host in hosts if self.book.in_slot(("e", host)) is None)
        if not free:
            return
        self.made += 1
        name = f"i{self.made}"
        intent = Intent(
            id=name,
            environment_id="e",
            deployment_id="d2",
            cluster_arn=CLUSTER,
            definition_arn="agent:2",
            group="blox:e",
            hosts=free,
        )
        self.book.enter(intent, now=self.now)
        self.stored[name] = intent
        self.open[name] = set(free)
        self.book.called(name, signed_at=self.now)
        self.signed_at[name] = self.now

    @rule(data=st.data(), kind=KINDS)
    @precondition(lambda self: self.called())
    def learn(self, data: st.DataObject, kind: str) -> None:
        name = data.draw(st.sampled_from(self.called()))
        hosts = data.draw(st.lists(st.sampled_from(HOSTS), unique=True))
        self.settle(name, [host for host in hosts if host in self.open[name]], kind)

    def settle(self, name: str, hosts: list[str], kind: str) -> None:
        outcomes = {host: Settled(kind, "v") for host in hosts}  # type: ignore[arg-type]
        attempt = self.book.settle(name, outcomes, now=self.now, ecs_now=self.now)
        self.open[name] -= set(hosts)
        self.stored[name] = attempt.intent
        if attempt.phase is Phase.SETTLED:
            self.settled_at[name] = self.now

    @rule(data=st.data())
    @precondition(lambda self: self.called())
    def doubt(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.called()))
        signed = self.signed_at[name]
        attempt = self.book.get(name)
        assert attempt is not None
        if attempt.phase is Phase.CALLED:
            self.book.doubt(name, signed_at=signed, cause="c", request_id="", now=self.now)

    @rule(data=st.data(), host=st.sampled_from(HOSTS))
    @precondition(lambda self: self.made > 0)
    def see(self, data: st.DataObject, host: str) -> None:
        name = f"i{data.draw(st.integers(1, self.made))}"
        found = self.book.sighted(task("t", intent=name, host_arn=host))
        expected = host in self.open.get(name, ()) and name in self.stored
        assert (found is not None) is expected
        if found is not None:
            self.settle(name, [host], "task")

    @rule(behind=st.floats(0.0, 500.0))
    def look(self, behind: float) -> None:
        begun = self.now - behind
        for attempt in self.book.ended_by_absence(CLUSTER, begun):
            name = attempt.intent.id
            assert attempt.phase is Phase.DOUBT
            assert begun > self.signed_at[name] + WINDOW
            self.settle(name, list(attempt.intent.open_hosts), "absent")

    @rule()
    def tidy(self) -> None:
        for name in self.book.due(now=self.now):
            assert self.open[name] == set()
            assert self.now > self.settled_at[name] + LAG
            self.book.forget([name])
            del self.stored[name]

    @rule()
    def restart(self) -> None:
        self.book = IntentBook(window=WINDOW, read_lag=LAG)
        for name, intent in self.stored.items():
            self.book.restore(intent, acquired_at=self.now)
            self.signed_at[name] = self.now
            self.settled_at[name] = self.now

    @rule(seconds=st.sampled_from([1.0, 60.0, 301.0, 421.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def every_open_host_is_in_its_slot(self) -> None:
        for host in HOSTS:
            names = [name for name in self.stored if host in self.open[name]]
            found = self.book.in_slot(("e", host))
            assert (found is not None) is bool(names)
            assert len(names) <= 1
            if found is not None:
                assert found.intent.id == names[0]

    @invariant()
    def what_is_open_is_unsettled(self) -> None:
        unsettled = {a.intent.id for a in self.book.unsettled()}
        assert unsettled == {name for name in self.stored if self.open[name]}


TestBook = BookMachine.TestCase
TestBook.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
