"""Makes the schedule of a workload: a model of the machines, and one method for each feature.

Things that happen are drawn for each enabled feature over the whole time, then carried out in the
order of time on the model, so that a step names a machine that is there. What lasts plans its own
end.
"""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

from blox.simulator.workload_draws import definition, draw_rates
from blox.simulator.workload_steps import EVERYWHERE, Action, Size, Step, Value


@dataclass(slots=True)
class _Machine:
    name: str
    cluster: str
    draining: bool = False
    away: bool = False
    gone: bool = False


Happening = Callable[[float], None]
"""Something that happens at the time that it is given."""

POOLS: Final = ("blue", "green")
FAMILIES: Final = ("logs", "metrics", "proxy", "audit")
APPLICATION: Final = "application"
"""The family of tasks that are nobody's daemon."""


class Course:
    """Makes one schedule. The public methods are the features: each makes its disturbance happen at
    a moment, on whatever the model of the machines says is there."""

    def __init__(self, randomness: Random, size: Size) -> None:
        self._random = randomness
        self._size = size
        self._healing_at = size.turmoil
        self._clusters = [f"cluster-{n}" for n in range(1, size.clusters + 1)]
        self._machines: list[_Machine] = []
        self._made = 0
        self._planned: list[tuple[float, int, Step | Happening]] = []
        self._count = 0
        self._lasting: dict[str, None] = {}
        self._storms: dict[str, dict[str, float]] = {}
        self._steps: list[Step] = []
        self._alive: dict[str, str] = {}
        self._families: tuple[str, ...] = FAMILIES[: max(1, min(size.environments, len(FAMILIES)))]
        self._base = draw_rates(randomness)
        self.features = self._choose()
        """The enabled features with their mean number of occurrences."""

    # --- Making the schedule ----------------------------------------------------------------------

    def _choose(self) -> dict[str, float]:
        chosen = {
            name: self._random.uniform(0.2, 1.0)
            for name, (_, chance) in sorted(FEATURES.items())
            if self._random.random() < chance
        }
        chosen.setdefault("join", 0.5)
        total = sum(chosen.values())
        events = self._size.events * self._random.uniform(0.3, 1.5)
        return {name: events * weight / total for name, weight in chosen.items()}

    def set_up(self) -> tuple[Step, ...]:
        """What is there at time 0."""
        self._emit(0.0, Action.FAULTS, **self._base)
        for cluster in self._clusters:
            self._emit(0.0, Action.CLUSTER_ADD, cluster=cluster)
            self._furnish(cluster)
        self._emit(0.0, Action.DEFINITION_ADD, **definition(APPLICATION))
        for number, family in enumerate(self._families):
            self._emit(0.0, Action.DEFINITION_ADD, **self._draw_definition(family, number))
        for _ in range(self._size.hosts):
            self._join(0.0, registering=False)
        for number in range(self._size.environments):
            self._create(0.0, f"env-{number + 1}", self._families[number % len(self._families)])
        self._people_the_world()
        done, self._steps = tuple(self._steps), []
        return done

    def run(self) -> tuple[Step, ...]:
        """Everything after, in the order of time. Call `set_up` first."""
        for name, mean in self.features.items():
            at = self._random.expovariate(mean / self._healing_at)
            while at < self._healing_at:
                self._plan(at, partial(FEATURES[name][0], self))
                at += self._random.expovariate(mean / self._healing_at)
        while self._planned:
            at, _, what = heapq.heappop(self._planned)
            if isinstance(what, Step):
                self._steps.append(what)
                self._forget(what)
            else:
                what(at)
        self._emit(self._healing_at, Action.FAULTS)
        self._emit(self._healing_at, Action.HEAL)
        return tuple(self._steps)

    def _plan(self, at: float, what: "Step | Happening") -> None:
        self._count += 1
        heapq.heappush(self._planned, (at, self._count, what))

    def _emit(self, at: float, action: Action, **arguments: Value) -> None:
        self._steps.append(Step(at=at, action=action, arguments=arguments))

    def _later(self, at: float, action: Action, **arguments: Value) -> None:
        """A step that follows, at the latest when the healing begins."""
        ends = min(at, self._healing_at)
        self._plan(ends, Step(at=ends, action=action, arguments=arguments))

    def _lasts(self, key: str, until: float) -> bool:
        """Whether something that lasts may begin: it is not going on already."""
        if key in self._lasting:
            return False
        self._lasting[key] = None
        self._plan(min(until, self._healing_at), lambda _: self._end_of(key))
        return True

    def _end_of(self, key: str) -> None:
        del self._lasting[key]

    def _forget(self, step: Step) -> None:
        """Keep the model of the machines in step with what was planned earlier."""
        for machine in self._machines:
            if machine.name == step.text("machine"):
                if step.action == Action.HOST_ACTIVATE:
                    machine.draining = False
                if step.action == Action.AGENT_FIND:
                    machine.away = False

    def _span(self, low: float, high: float) -> float:
        """A length of time between two bounds, short ones as likely as long ones."""
        return float(low * (high / low) ** self._random.random())

    def _machine(self, *, settled: bool = True) -> _Machine | None:
        """One machine that is there; `settled`: connected and not draining."""
        there = [m for m in self._machines if not m.gone]
        if settled:
            there = [m for m in there if not m.draining and not m.away]
        return self._random.choice(there) if there else None

    def _environment(self) -> str | None:
        return self._random.choice(sorted(self._alive)) if self._alive else None

    def _join(self, at: float, *, registering: bool) -> None:
        self._made += 1
        external = self._random.random() < 0.1
        name = f"{'mi' if external else 'i'}-{self._made:017x}"
        cluster = self._random.choice(self._clusters)
        self._machines.append(_Machine(name, cluster))
        self._emit(
            at,
            Action.HOST_JOIN,
            cluster=cluster,
            machine=name,
            pool=self._random.choice(POOLS),
            arch="arm64" if self._random.random() < 0.15 else "x86_64",
            external=external,
            registering=registering,
            **self._more_of_host(cluster),
        )
        if registering:
            self._later(at + self._span(1.0, 120.0), Action.HOST_READY, machine=name)

    def _create(self, at: float, name: str, family: str) -> None:
        self._alive[name] = family
        self._emit(
            at,
            Action.ENVIRONMENT_CREATE,
            environment=name,
            cluster=self._random.choice(self._clusters),
            family=family,
            pool=self._draw_pool(),
            max_unavailable=self._random.choice(("10%", "34%", "1", "2")),
            **self._more_of_environment(),
        )

    def _furnish(self, cluster: str) -> None:
        """What else a cluster has from the beginning."""

    def _people_the_world(self) -> None:
        """What else is there at time 0."""

    def _more_of_host(self, _: str, /) -> dict[str, Value]:
        """More arguments of a host that joins."""
        return {}

    def _more_of_environment(self) -> dict[str, Value]:
        """More arguments of an environment that is created."""
        return {}

    def _draw_pool(self) -> str:
        return self._random.choice((EVERYWHERE, EVERYWHERE, *POOLS))

    def _draw_definition(self, family: str, number: int) -> dict[str, Value]:
        draw = self._random.random
        return definition(
            family,
            health_check=draw() < 0.3,
            port=8100 + number if draw() < 0.3 else 0,
            stop_timeout=round(self._span(30.0, 600.0)) if draw() < 0.3 else 30,
            cpu=self._random.choice((16, 64, 256)),
            memory=self._random.choice((64, 128, 512)),
            architecture="X86_64" if draw() < 0.2 else "",
        )

    def _storm(self, at: float, name: str, until: float, rates: Mapping[str, float]) -> None:
        """Raise some fault rates for a while, on top of what else is going on."""
        if not self._lasts(f"storm {name}", until):
            return
        self._storms[name] = dict(rates)
        self._emit(at, Action.FAULTS, **self._rates())

        def over(end: float) -> None:
            del self._storms[name]
            self._emit(end, Action.FAULTS, **self._rates())

        self._plan(min(until, self._healing_at), over)

    def _rates(self) -> dict[str, Value]:
        rates = dict(self._base)
        for storm in self._storms.values():
            for name, rate in storm.items():
                rates[name] = max(rates.get(name, 0.0), rate)
        return dict(rates)

    # --- Features: hosts --------------------------------------------------------------------------

    def join(self, at: float) -> None:
        burst = self._random.choice((1, 1, 1, 2, 4))
        for _ in range(burst):
            if sum(not m.gone for m in self._machines) < self._size.most_hosts:
                self._join(at, registering=self._random.random() < 0.2)

    def drain(self, at: float) -> None:
        machine = self._machine()
        if machine is None:
            return
        machine.draining = True
        self._emit(at, Action.HOST_DRAIN, machine=machine.name)
        ends = at + self._span(5.0, 2400.0)
        if self._random.random() < 0.5:
            self._later(ends, Action.HOST_ACTIVATE, machine=machine.name)
        elif self._random.random() < 0.7:
            self._plan(min(ends, self._healing_at), lambda end: self._end(machine, end))

    def _end(self, machine: _Machine, at: float) -> None:
        if not machine.gone:
            machine.gone = True
            self._emit(at, Action.HOST_TERMINATE, machine=machine.name)

    def terminate(self, at: float) -> None:
        machine = self._machine(settled=False)
        if machine is not None:
            self._end(machine, at)

    def vanish(self, at: float) -> None:
        machine = self._machine()
        if machine is not None:
            machine.gone = True
            self._emit(at, Action.HOST_VANISH, machine=machine.name)

    def away(self, at: float) -> None:
        machine = self._machine()
        if machine is None:
            return
        machine.away = True
        self._emit(at, Action.AGENT_LOSE, machine=machine.name)
        self._later(at + self._span(0.5, 7200.0), Action.AGENT_FIND, machine=machine.name)

    def duplicate(self, at: float) -> None:
        machine = self._machine()
        if machine is not None:
            self._emit(at, Action.HOST_DUPLICATE, machine=machine.name)

    def reboot(self, at: float) -> None:
        machine = self._machine()
        if machine is not None:
            seconds = self._span(5.0, 900.0)
            self._emit(at, Action.HOST_REBOOT, machine=machine.name, seconds=seconds)

    def move(self, at: float) -> None:
        machine = self._machine()
        if machine is not None:
            pool = self._random.choice(POOLS)
            self._emit(at, Action.HOST_MOVE, machine=machine.name, pool=pool)

    def cluster(self, at: float) -> None:
        cluster = self._random.choice(self._clusters)
        back = at + self._span(1.0, 900.0)
        if not self._lasts(f"cluster {cluster}", back):
            return
        for machine in self._machines:
            machine.gone = machine.gone or machine.cluster == cluster
        self._emit(at, Action.CLUSTER_DELETE, cluster=cluster)
        self._later(back, Action.CLUSTER_RECREATE, cluster=cluster)
        for _ in range(self._random.randrange(1, 5)):
            joins = min(back + self._span(1.0, 300.0), self._healing_at)
            self._plan(joins, lambda now: self._join(now, registering=False))

    # --- Features: tasks --------------------------------------------------------------------------

    def _on_task(self, at: float, action: Action) -> None:
        machine = self._machine(settled=False)
        if machine is not None:
            self._emit(at, action, machine=machine.name, pick=self._random.random())

    def crash(self, at: float) -> None:
        self._on_task(at, Action.TASK_CRASH)

    def kill(self, at: float) -> None:
        self._on_task(at, Action.TASK_KILL)

    def sicken(self, at: float) -> None:
        self._on_task(at, Action.TASK_SICKEN)

    def foreign(self, at: float) -> None:
        machine = self._machine()
        if machine is not None:
            self._emit(
                at,
                Action.TASK_FOREIGN,
                machine=machine.name,
                family=self._random.choice(self._families),
                service=self._random.choice(("", "somebody")),
            )

    def other(self, at: float) -> None:
        machine = self._machine()
        if machine is None:
            return
        self._emit(at, Action.TASK_OTHER, machine=machine.name, family=APPLICATION)
        ends = at + self._span(30.0, 3600.0)
        self._later(ends, Action.TASK_OTHER_ENDS, machine=machine.name, family=APPLICATION)

    def _target(self) -> tuple[str, str] | None:
        """A family or a machine, for what befalls either."""
        if self._random.random() < 0.5:
            return "family", self._random.choice(self._families)
        machine = self._machine(settled=False)
        return ("machine", machine.name) if machine is not None else None

    def _between(
        self, at: float, begin: Action, end: Action, *, longest: float, **extra: Value
    ) -> None:
        target = self._target()
        until = at + self._span(20.0, longest)
        if target is None or not self._lasts(f"{begin} {target[1]}", until):
            return
        kind, name = target
        self._emit(at, begin, **{kind: name}, **extra)
        self._later(until, end, **{kind: name})

    def loop(self, at: float) -> None:
        seconds = self._span(0.1, 30.0)
        self._between(at, Action.LOOP_BEGIN, Action.LOOP_END, longest=1800.0, seconds=seconds)

    def stall(self, at: float) -> None:
        self._between(at, Action.STALL_BEGIN, Action.STALL_END, longest=1800.0)

    def poison(self, at: float) -> None:
        machine = self._machine()
        until = at + self._span(20.0, 1800.0)
        if machine is not None and self._lasts(f"poison {machine.name}", until):
            self._emit(at, Action.POISON_BEGIN, machine=machine.name)
            self._later(until, Action.POISON_END, machine=machine.name)

    # --- Features: ECS's service ------------------------------------------------------------------

    def deny(self, at: float) -> None:
        family = self._random.choice(self._families)
        until = at + self._span(20.0, 1800.0)
        if self._lasts(f"deny {family}", until):
            self._emit(at, Action.DENY_BEGIN, family=family)
            self._later(until, Action.DENY_END, family=family)

    def errors(self, at: float) -> None:
        rate = self._random.choice((0.1, 0.5, 1.0))
        share = self._random.random()
        rates = {"error_before": rate * share, "error_after": rate * (1 - share)}
        self._storm(at, "errors", at + self._span(5.0, 900.0), rates)

    def losses(self, at: float) -> None:
        rate = self._random.choice((0.1, 0.4, 0.9))
        names = ("drop_request", "late_request", "drop_answer", "late_answer", "garble")
        rates = {name: rate * self._random.random() for name in names}
        self._storm(at, "losses", at + self._span(5.0, 600.0), rates)

    def throttles(self, at: float) -> None:
        until = at + self._span(5.0, 300.0)
        self._storm(at, "throttles", until, {"throttle": self._random.choice((0.2, 0.9))})

    # --- Features: the user -----------------------------------------------------------------------

    def deploy(self, at: float) -> None:
        name = self._environment()
        if name is None:
            return
        family = self._alive[name]
        if self._random.random() < 0.85:
            number = self._families.index(family)
            self._emit(at, Action.DEFINITION_ADD, **self._draw_definition(family, number))
        again = self._random.random() < 0.5
        self._emit(at, Action.DEPLOY, environment=name, supersede=again)

    def select(self, at: float) -> None:
        name = self._environment()
        if name is not None:
            self._emit(at, Action.MOVE_POOL, environment=name, pool=self._draw_pool())

    def recreate(self, at: float) -> None:
        name = self._environment()
        if name is None:
            return
        family = self._alive.pop(name)
        self._emit(at, Action.ENVIRONMENT_DELETE, environment=name)
        if self._random.random() < 0.8:
            again = min(at + self._span(0.5, 1200.0), self._healing_at)
            self._plan(again, lambda now: self._create(now, name, family))

    # --- Features: the process --------------------------------------------------------------------

    def kill_process(self, at: float) -> None:
        back = at + self._span(0.5, 900.0)
        if self._lasts("process", back):
            self._emit(at, Action.PROCESS_KILL)
            self._later(back, Action.PROCESS_RESTART)

    def pause(self, at: float) -> None:
        seconds = min(self._span(0.5, 1800.0), self._healing_at - at)
        if self._lasts("process", at + seconds):
            self._emit(at, Action.PROCESS_PAUSE, seconds=seconds)

    def clock(self, at: float) -> None:
        self._emit(at, Action.CLOCK_STEP, seconds=self._random.uniform(-3600.0, 3600.0))

    def store(self, at: float) -> None:
        until = at + self._span(1.0, 300.0)
        if self._lasts("store", until):
            self._emit(at, Action.STORE_FAIL, applied=self._random.random() < 0.5)
            self._later(until, Action.STORE_MEND)

    def partition(self, at: float) -> None:
        until = at + self._span(1.0, 900.0)
        if self._lasts("partition", until):
            self._emit(at, Action.PARTITION_BEGIN, lost=self._random.random() < 0.5)
            self._later(until, Action.PARTITION_END)

    def queue(self, at: float) -> None:
        until = at + self._span(10.0, 3600.0)
        if self._lasts("queue", until):
            self._emit(at, Action.QUEUE_FAIL)
            self._later(until, Action.QUEUE_MEND)


FEATURES: Final[dict[str, tuple[Callable[[Course, float], None], float]]] = {
    "away": (Course.away, 0.4),
    "clock": (Course.clock, 0.2),
    "cluster": (Course.cluster, 0.08),
    "crash": (Course.crash, 0.5),
    "deny": (Course.deny, 0.15),
    "deploy": (Course.deploy, 0.6),
    "drain": (Course.drain, 0.5),
    "duplicate": (Course.duplicate, 0.2),
    "errors": (Course.errors, 0.35),
    "foreign": (Course.foreign, 0.2),
    "join": (Course.join, 0.6),
    "kill": (Course.kill, 0.3),
    "kill-process": (Course.kill_process, 0.5),
    "loop": (Course.loop, 0.25),
    "losses": (Course.losses, 0.5),
    "move": (Course.move, 0.2),
    "other": (Course.other, 0.3),
    "partition": (Course.partition, 0.25),
    "pause": (Course.pause, 0.3),
    "poison": (Course.poison, 0.2),
    "queue": (Course.queue, 0.2),
    "reboot": (Course.reboot, 0.2),
    "recreate": (Course.recreate, 0.2),
    "select": (Course.select, 0.2),
    "sicken": (Course.sicken, 0.25),
    "stall": (Course.stall, 0.2),
    "store": (Course.store, 0.25),
    "terminate": (Course.terminate, 0.4),
    "throttles": (Course.throttles, 0.2),
    "vanish": (Course.vanish, 0.2),
}
"""Feature → what it does at one moment, and how likely a seed has it."""
