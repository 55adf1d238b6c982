"""Every possible course of a small world: one slot, its start calls, all that can happen to them.

    python -m blox.simulator.small_world

Time passes in ticks of a minute. A process may be killed at any instant and another takes over; a
request is accepted at any time in its life, and its task's record appears at any time up to E
later; answers are lost; reads show any subset of what is younger than V, differently each time; a
task may die, by itself or by a stop that lands late; an event of any age may come. All of it is
tried, in every order. A state in which two tasks live is a violation, and the shortest way to it is
printed.

What decides is the scheduler's own code: `blox.scheduler.planner` whether a slot may be started,
`blox.scheduler.intents` when an outcome is known and how long it is remembered,
`blox.clusterstate.absence` when a task leaves the view, `blox.ecs.fence` how requests are dated.
The world around it is written down here once more, as plainly as it can be: no clocks, no tasks of
an event loop, only states and what may follow from each. Times are kept as ages, cut off where no
rule can tell the difference, so that the search covers runs of any length.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import combinations
from typing import NamedTuple

import click

from blox.base.ambient import Now
from blox.clusterstate import absence
from blox.ecs import fence
from blox.ecs.model import ContainerDefinition, Host, Task, TaskDefinition
from blox.scheduler import intents, planner
from blox.scheduler.eligibility import HostCondition
from blox.scheduler.intents import Attempt, Phase
from blox.scheduler.model import (
    Deployment,
    DeploymentStatus,
    Environment,
    Intent,
    Revision,
    VerdictKind,
)
from blox.scheduler.verdicts import Context, SlotFacts
from blox.settings import Assumptions, SchedulerSettings

TICK = 60.0
"""Seconds."""
WORLD = Assumptions(signature_age=120.0, backdate=60.0, acceptance_lag=60.0, read_lag=120.0)
"""Small, and with S', E and V all there: a request lives one tick, its record is one tick late, and
reads lag by two; W is four."""
_HOST, _CLUSTER = "host", "cluster"
_OPEN, _ABSENT = -2, -1
"""Outcomes of a stored intent; from 0 on, the number of its task."""


class Made(NamedTuple):
    """A task, as it truly is."""

    age: int
    live: bool
    mark: int
    """The intent that it carries."""


class Flying(NamedTuple):
    """A request that ECS may still carry out."""

    life: int
    """Ticks left."""
    mark: int


class Known(NamedTuple):
    """A task as the process knows it."""

    task: int
    live: bool
    shown: int
    """Age of the newest evidence."""


class Remembered(NamedTuple):
    """A start call as the process knows it."""

    mark: int
    phase: Phase
    age: int
    """Of the moment from which W counts while it is sent and open, of its outcome afterwards."""
    outcome: int = _OPEN


class Stored(NamedTuple):
    """An intent in the store."""

    mark: int
    outcome: int
    age: int
    """Of the answer, by ECS's clock."""


class State(NamedTuple):
    """All there is."""

    tasks: tuple[Made, ...] = ()
    requests: tuple[Flying, ...] = ()
    epoch: int = 0
    booting: bool = True
    """The process that owns the slot now has not read the cluster yet."""
    known: tuple[Known, ...] = ()
    book: tuple[Remembered, ...] = ()
    stored: tuple[Stored, ...] = ()
    attempts: int = 0
    deaths: int = 0
    events: int = 0


class Limits(NamedTuple):
    """How much may happen in one run."""

    attempts: int = 3
    deaths: int = 1
    takeovers: int = 2
    events: int = 1


class Found(NamedTuple):
    """What the search came to."""

    states: int
    path: tuple[str, ...] | None
    """The shortest way to two live tasks; None if there is none."""
    complete: bool
    """Every state that can be reached was visited."""
    seen: frozenset[str]
    """Every kind of step that was taken."""

    @property
    def holds(self) -> bool:
        return self.complete and self.path is None


Step = tuple[str, State]


class World:
    """What may follow from a state."""

    def __init__(self, limits: Limits, assumptions: Assumptions) -> None:
        self._limits = limits
        self._lag = assumptions.read_lag
        self._window = assumptions.doubt_window
        latest = fence.acting_date(0.0, assumptions) + assumptions.signature_age
        self._life = round((latest + assumptions.acceptance_lag) / TICK)
        self._oldest = round(self._window / TICK) + 1
        """Ages beyond this make no difference to any rule."""
        self._young = round(self._lag / TICK) + 1
        self._answers: dict[tuple[int, Phase | None], bool] = {}

    # --- Steps ------------------------------------------------------------------------------------

    def steps(self, state: State) -> Iterator[Step]:
        """Everything that may happen next."""
        yield "a minute passes", self._tick(state)
        yield from self._requests(state)
        yield from self._deaths(state)
        if state.epoch < self._limits.takeovers:
            yield (
                "another process takes over",
                state._replace(epoch=state.epoch + 1, booting=True, known=(), book=()),
            )
        if state.booting:
            for shown in self._reads(state):
                yield "it reads the cluster first", self._boot(state, shown)
            return
        for shown in self._reads(state):
            yield "a look", self._looked(state, shown)
        yield from self._old_events(state)
        yield from self._calls(state)

    def _tick(self, state: State) -> State:
        young = self._young
        return state._replace(
            tasks=tuple(t._replace(age=min(t.age + 1, young)) for t in state.tasks),
            requests=tuple(Flying(r.life - 1, r.mark) for r in state.requests if r.life),
            known=tuple(
                k._replace(shown=min(k.shown + 1, young)) if k.live else k for k in state.known
            ),
            book=tuple(
                a if a.phase is Phase.UNSENT else a._replace(age=min(a.age + 1, self._most(a)))
                for a in state.book
            ),
            stored=tuple(
                s if s.outcome == _OPEN else s._replace(age=min(s.age + 1, young + 1))
                for s in state.stored
            ),
        )

    def _most(self, attempt: Remembered) -> int:
        return self._young + 1 if attempt.phase is Phase.SETTLED else self._oldest

    def _requests(self, state: State) -> Iterator[Step]:
        """ECS carries out a request; its answer arrives, or is lost."""
        for request in dict.fromkeys(state.requests):
            left = list(state.requests)
            left.remove(request)
            number = len(state.tasks)
            made = state._replace(
                tasks=(*state.tasks, Made(0, live=True, mark=request.mark)), requests=tuple(left)
            )
            yield "a start is carried out, no answer", made
            if any(a.mark == request.mark and a.phase is Phase.CALLED for a in state.book):
                known = (*state.known, Known(number, live=True, shown=0))
                answered = _settled(made, request.mark, number)
                yield "a start is answered", answered._replace(known=known)

    def _deaths(self, state: State) -> Iterator[Step]:
        if state.deaths < self._limits.deaths:
            for number, task in enumerate(state.tasks):
                if task.live:
                    tasks = list(state.tasks)
                    tasks[number] = task._replace(live=False)
                    yield (
                        "a task dies",
                        state._replace(tasks=tuple(tasks), deaths=state.deaths + 1),
                    )
        for number, known in enumerate(state.known):
            if known.live and not state.tasks[known.task].live:
                told = list(state.known)
                told[number] = Known(known.task, live=False, shown=0)
                yield "its death is told", state._replace(known=tuple(told))

    def _old_events(self, state: State) -> Iterator[Step]:
        """An event of any age says that a task runs: news if it was not known, else nothing, since
        a status never goes back."""
        if state.events >= self._limits.events:
            return
        known = {k.task for k in state.known}
        for number in range(len(state.tasks)):
            if number not in known:
                told = (*state.known, Known(number, live=True, shown=0))
                after = state._replace(known=_in_order(told), events=state.events + 1)
                yield "an old event", self._sighted(after)

    def _calls(self, state: State) -> Iterator[Step]:
        for attempt in state.book:
            if attempt.phase is Phase.UNSENT:
                base = _age(intents.doubt_base(0.0, 0.0), self._oldest)
                sent = _with(state, attempt._replace(phase=Phase.CALLED, age=base))
                request = Flying(self._life, attempt.mark)
                requests = tuple(sorted((*state.requests, request)))
                yield "it signs and sends", sent._replace(requests=requests)
            elif attempt.phase is Phase.CALLED:
                base = _age(intents.doubt_base(-attempt.age * TICK, 0.0), self._oldest)
                yield (
                    "it gives up waiting",
                    _with(state, attempt._replace(phase=Phase.DOUBT, age=base)),
                )
            elif attempt.phase is Phase.SETTLED:
                yield from self._kept(state, attempt)
        if state.attempts < self._limits.attempts and self._may_start(state):
            mark = state.attempts
            yield (
                "an intent is stored",
                state._replace(
                    book=(*state.book, Remembered(mark, Phase.UNSENT, 0)),
                    stored=(*state.stored, Stored(mark, _OPEN, 0)),
                    attempts=state.attempts + 1,
                ),
            )

    def _kept(self, state: State, attempt: Remembered) -> Iterator[Step]:
        """The later life of an intent whose outcome is known."""
        for number, stored in enumerate(state.stored):
            if stored.mark == attempt.mark and stored.outcome == _OPEN:
                told = list(state.stored)
                told[number] = Stored(attempt.mark, attempt.outcome, attempt.age)
                yield "an outcome is stored", state._replace(stored=tuple(told))
        if intents.retention_over(-attempt.age * TICK, self._lag, 0.0):
            yield (
                "an intent is deleted",
                state._replace(
                    book=tuple(a for a in state.book if a.mark != attempt.mark),
                    stored=tuple(s for s in state.stored if s.mark != attempt.mark),
                ),
            )

    # --- Reading ----------------------------------------------------------------------------------

    def _reads(self, state: State) -> Iterator[tuple[int, ...]]:
        """What a read begun now may show: everything older than V, and any of the rest."""
        must = [n for n, task in enumerate(state.tasks) if task.age * TICK > self._lag]
        may = [n for n, task in enumerate(state.tasks) if task.age * TICK <= self._lag]
        for count in range(len(may) + 1):
            for some in combinations(may, count):
                yield (*must, *some)

    def _boot(self, state: State, shown: Sequence[int]) -> State:
        """A new process has read the cluster for the first time, and the store."""
        known = {n: Known(n, live=state.tasks[n].live, shown=0) for n in shown}
        book = []
        for stored in state.stored:
            if stored.outcome == _OPEN:
                base = _age(intents.doubt_base(None, 0.0), self._oldest)
                book.append(Remembered(stored.mark, Phase.DOUBT, base))
                continue
            book.append(Remembered(stored.mark, Phase.SETTLED, 0, stored.outcome))
            answered = _intent(stored.mark, answered_at=-stored.age * TICK)
            if stored.outcome >= 0 and intents.worth_presuming(answered, 0.0, self._lag):
                known.setdefault(stored.outcome, Known(stored.outcome, live=True, shown=0))
        after = state._replace(booting=False, known=_in_order(known.values()), book=tuple(book))
        return self._decided(after)

    def _looked(self, state: State, shown: Sequence[int]) -> State:
        """A complete look at the cluster: what is shown is known, what is not may be gone."""
        known = {n: Known(n, live=state.tasks[n].live, shown=0) for n in shown}
        for entry in state.known:
            if entry.task in known:
                if not entry.live:
                    known[entry.task] = known[entry.task]._replace(live=False)
                continue
            gone = entry.live and absence.absence_counts(
                begun=0.0, newest_evidence=-entry.shown * TICK, read_lag=self._lag
            )
            if not gone:
                known[entry.task] = entry
        return self._decided(state._replace(known=_in_order(known.values())))

    def _decided(self, state: State) -> State:
        """After a complete look begun now: doubts end by presence, or by absence."""
        state = self._sighted(state)
        for attempt in state.book:
            if attempt.phase is Phase.DOUBT and intents.absence_decides(
                -attempt.age * TICK, self._window, 0.0
            ):
                state = _settled(state, attempt.mark, _ABSENT)
        return state

    def _sighted(self, state: State) -> State:
        """Open attempts whose task is known have their outcome."""
        for attempt in state.book:
            if attempt.phase is Phase.SETTLED:
                continue
            for known in state.known:
                task = _task(known.task, state.tasks[known.task].mark, live=known.live)
                if intents.resolves(task, _intent(attempt.mark)) is not None:
                    state = _settled(state, attempt.mark, known.task)
                    break
        return state

    # --- Deciding ---------------------------------------------------------------------------------

    def _may_start(self, state: State) -> bool:
        """What the planner says of the slot as the process knows it."""
        live = sum(k.live for k in state.known)
        phase = next((a.phase for a in state.book if a.phase is not Phase.SETTLED), None)
        if (live, phase) not in self._answers:
            self._answers[live, phase] = _judged(live, phase)
        return self._answers[live, phase]


def _judged(live: int, phase: Phase | None) -> bool:
    definition = TaskDefinition(
        task_definition_arn="agent:1", container_definitions=(ContainerDefinition(name="agent"),)
    )
    revision = Revision(number=1, definition=definition, digest="digest")
    environment = Environment(
        id="environment",
        name="agent",
        cluster_arn=_CLUSTER,
        revisions=(revision,),
        token="",
        deployed={"deployment": "digest"},
    )
    deployment = Deployment(
        id="deployment",
        environment_id=environment.id,
        sequence=1,
        revision=1,
        status=DeploymentStatus.RUNNING,
    )
    attempt = None
    if phase is not None:
        attempt = Attempt(intent=_intent(0), phase=phase, since=0.0, base=0.0)
    facts = SlotFacts(
        host=Host(arn=_HOST, cluster_arn=_CLUSTER),
        condition=HostCondition.READY,
        live=tuple(_task(n, n, live=True) for n in range(live)),
        attempt=attempt,
    )
    context = Context(
        environment=environment,
        now=Now(0.0, 0.0),
        settings=SchedulerSettings(),
        deployment=deployment,
        target=revision,
    )
    return planner.judge(facts, context).kind is VerdictKind.START


@cache
def _intent(mark: int, *, answered_at: float | None = None) -> Intent:
    return Intent(
        id=f"intent-{mark}",
        environment_id="environment",
        deployment_id="deployment",
        cluster_arn=_CLUSTER,
        definition_arn="agent:1",
        group="blox:agent",
        hosts=(_HOST,),
        answered_at=answered_at,
    )


@cache
def _task(number: int, mark: int, *, live: bool) -> Task:
    return Task(
        arn=f"task-{number}",
        cluster_arn=_CLUSTER,
        host_arn=_HOST,
        definition_arn="agent:1",
        last_status="RUNNING" if live else "STOPPED",
        started_by="deployment",
        intent=f"intent-{mark}",
    )


def _settled(state: State, mark: int, outcome: int) -> State:
    """The outcome of an attempt is known; the first that is known stands."""
    book = tuple(
        Remembered(mark, Phase.SETTLED, 0, outcome)
        if attempt.mark == mark and attempt.phase is not Phase.SETTLED
        else attempt
        for attempt in state.book
    )
    return state._replace(book=book)


def _with(state: State, changed: Remembered) -> State:
    book = tuple(changed if a.mark == changed.mark else a for a in state.book)
    return state._replace(book=book)


def _in_order(known: Iterable[Known]) -> tuple[Known, ...]:
    return tuple(sorted(known))


def _age(moment: float, oldest: int) -> int:
    """Ticks since a moment before now."""
    return min(oldest, max(0, round(-moment / TICK)))


# --- The search -----------------------------------------------------------------------------------


def explore(
    limits: Limits | None = None, *, assumptions: Assumptions = WORLD, most: int = 5_000_000
) -> Found:
    """Visit every state that can be reached, nearest first, until two tasks live.

    `most`: give up after so many states.
    """
    world = World(limits or Limits(), assumptions)
    begin = State()
    came: dict[State, tuple[State, str] | None] = {begin: None}
    waiting = deque([begin])
    taken: set[str] = set()
    while waiting and len(came) <= most:
        state = waiting.popleft()
        for name, after in world.steps(state):
            if after in came:
                continue
            came[after] = (state, name)
            taken.add(name)
            if sum(task.live for task in after.tasks) > 1:
                path = _path(came, after)
                return Found(len(came), path, complete=False, seen=frozenset(taken))
            waiting.append(after)
    return Found(len(came), None, complete=not waiting, seen=frozenset(taken))


def _path(came: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    names: list[str] = []
    while (step := came[state]) is not None:
        state, name = step
        names.append(name)
    return tuple(reversed(names))


def _print(title: str, search: Callable[[], Found]) -> bool:
    began = time.perf_counter()
    found = search()
    seconds = time.perf_counter() - began
    click.echo(f"{title}: {found.states:,} states, {seconds:.1f} s: ", nl=False)
    click.echo("never two" if found.holds else "TWO LIVE" if found.path else "not finished")
    for number, name in enumerate(found.path or (), start=1):
        click.echo(f"  {number:3} {name}")
    return found.holds


@click.command()
@click.option("--attempts", default=3, show_default=True, help="Start calls in one run.")
@click.option("--deaths", default=1, show_default=True, help="Tasks that die in one run.")
@click.option("--takeovers", default=2, show_default=True, help="Processes killed in one run.")
@click.option("--events", default=1, show_default=True, help="Old events in one run.")
def main(*, attempts: int, deaths: int, takeovers: int, events: int) -> None:
    """Search the whole of a small world for two live tasks."""
    limits = Limits(attempts, deaths, takeovers, events)
    if not _print("one slot", lambda: explore(limits)):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
