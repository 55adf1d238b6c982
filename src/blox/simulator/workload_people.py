"""What people do besides deploying, as features of a schedule: take over what runs already, tell
the scheduler to wait, delete environments with their tasks, make mistakes, lose the store.

These draw from randomness of their own, so that a schedule without them is the same with this
module and without it.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final

from blox.simulator.workload_features import APPLICATION, Course
from blox.simulator.workload_features import FEATURES as PLAIN
from blox.simulator.workload_steps import Action, Size, Step, Value

SERVICE: Final = "daemons"
NOWHERE: Final = "nowhere"
"""A pool that no host is in: a selector with a typing error."""


class PeoplesCourse(Course):
    """A schedule with these features too."""

    def __init__(self, randomness: Random, size: Size) -> None:
        same = Random()
        same.setstate(randomness.getstate())
        self._apart = Random(same.getrandbits(64))
        self.more = {
            name: self._apart.uniform(0.5, 1.5) * mean
            for name, (_, chance, mean) in sorted(PEOPLE.items())
            if self._apart.random() < chance
        }
        """The enabled features of this module with their mean number of occurrences."""
        super().__init__(randomness, size)

    def _furnish(self, cluster: str) -> None:
        if "idle" in self.more:
            provider = self._provider_of(cluster)
            self._emit(0.0, Action.PROVIDER_ADD, cluster=cluster, provider=provider)

    def _people_the_world(self) -> None:
        if "mistake" in self.more:
            for _ in range(self._apart.randrange(10, 16)):
                self._join(0.0, registering=False)
        if "adopt" in self.more:
            for machine in self._machines:
                if self._apart.random() < 0.5:
                    self._by_hand(0.0, machine.name)
        if "service" in self.more and self._apart.random() < 0.5:
            self._serve(0.0)

    def run(self) -> tuple[Step, ...]:
        """Everything after, in the order of time."""
        for name, mean in self.more.items():
            at = self._apart.expovariate(mean / self._healing_at)
            while at < self._healing_at:
                self._plan(at, partial(PEOPLE[name][0], self))
                at += self._apart.expovariate(mean / self._healing_at)
        return super().run()

    @staticmethod
    def _provider_of(cluster: str) -> str:
        return f"scaling-{cluster}"

    def _more_of_host(self, cluster: str, /) -> dict[str, Value]:
        if "idle" not in self.more or self._apart.random() < 0.25:
            return {}
        return {"provider": self._provider_of(cluster)}

    def _more_of_environment(self) -> dict[str, Value]:
        more: dict[str, Value] = {}
        if {"adopt", "service", "lose"} & set(self.more):
            ways = ("wait", "wait", "adopt", "stop", "beside")
            more["existing"] = self._apart.choice(ways)
        if "idle" in self.more and self._apart.random() < 0.8:
            more["when_idle"] = round(self._lasting_for(60.0, 900.0))
        return more

    # --- Parts ------------------------------------------------------------------------------------

    def _lasting_for(self, low: float, high: float) -> float:
        """A length of time between two bounds, short ones as likely as long ones."""
        return float(low * (high / low) ** self._apart.random())

    def _some_machine(self) -> str | None:
        there = [m.name for m in self._machines if not (m.gone or m.away)]
        return self._apart.choice(there) if there else None

    def _some_environment(self) -> str | None:
        return self._apart.choice(sorted(self._alive)) if self._alive else None

    def _by_hand(self, at: float, machine: str) -> None:
        """Somebody starts a daemon there by hand."""
        family = self._apart.choice(self._families)
        self._emit(at, Action.TASK_FOREIGN, machine=machine, family=family, service="")

    # --- Features ---------------------------------------------------------------------------------

    def adopt(self, at: float) -> None:
        name = self._some_environment()
        for _ in range(self._apart.choice((0, 1, 1, 3))):
            machine = self._some_machine()
            if machine is not None:
                self._by_hand(at, machine)
        if name is not None:
            self._later(
                at + self._lasting_for(0.1, 600.0),
                Action.ADOPT,
                environment=name,
                share=self._apart.choice((0.3, 1.0, 1.0)),
                replace=self._apart.random() < 0.3,
            )

    def service(self, at: float) -> None:
        self._serve(at)

    def _serve(self, at: float) -> None:
        cluster = self._apart.choice(self._clusters)
        until = at + self._lasting_for(60.0, 7200.0)
        if self._lasts(f"service {cluster}", until):
            family = self._apart.choice(self._families)
            self._emit(at, Action.SERVICE_ADD, cluster=cluster, service=SERVICE, family=family)
            if self._apart.random() < 0.7:
                self._later(until, Action.SERVICE_DELETE, cluster=cluster, service=SERVICE)

    def freeze(self, at: float) -> None:
        name = self._some_environment()
        scope = self._apart.choice(("everything", "cluster", "environment"))
        if name is not None:
            seconds = self._lasting_for(5.0, 1800.0)
            self._emit(at, Action.FREEZE, scope=scope, environment=name, seconds=seconds)
            if self._apart.random() < 0.4:
                self._later(at + seconds * self._apart.random(), Action.THAW)

    def hold(self, at: float) -> None:
        """Somebody looks at a host, and something happens there meanwhile."""
        machine = self._some_machine()
        if machine is None:
            return
        seconds = self._lasting_for(5.0, 1800.0)
        self._emit(at, Action.HOLD, machine=machine, seconds=seconds)
        if self._apart.random() < 0.4:
            over = at + seconds * self._apart.random()
            self._later(over, Action.RELEASE, machine=machine)
        meanwhile = at + seconds * self._apart.random()
        what = self._apart.choice((Action.TASK_CRASH, Action.TASK_SICKEN, Action.HOST_DRAIN, None))
        if what is Action.HOST_DRAIN:
            self._later(meanwhile, what, machine=machine)
            self._later(meanwhile + seconds, Action.HOST_ACTIVATE, machine=machine)
        elif what is not None:
            self._later(meanwhile, what, machine=machine, pick=self._apart.random())

    def end(self, at: float) -> None:
        """Deleted with its tasks, perhaps with a crash in the middle, and created again."""
        name = self._some_environment()
        if name is None:
            return
        family = self._alive.pop(name)
        self._emit(at, Action.ENVIRONMENT_END, environment=name)
        crash = at + self._lasting_for(0.1, 60.0)
        back = crash + self._lasting_for(0.5, 300.0)
        if self._apart.random() < 0.5 and back < self._healing_at and self._lasts("process", back):
            self._later(crash, Action.PROCESS_KILL)
            self._later(back, Action.PROCESS_RESTART)
        if self._apart.random() < 0.8:
            again = min(at + self._lasting_for(0.5, 600.0), self._healing_at)
            self._plan(again, lambda now: self._create(now, name, family))

    def mistake(self, at: float) -> None:
        """A selector that matches nothing, noticed after a while."""
        name = self._some_environment()
        until = at + self._lasting_for(60.0, 1500.0)
        if name is None or not self._lasts(f"mistake {name}", until):
            return
        self._emit(at, Action.MOVE_POOL, environment=name, pool=NOWHERE)
        noticed = at + (until - at) * self._apart.random()
        if self._apart.random() < 0.5:
            self._later(noticed, Action.CONFIRM, environment=name)
        self._later(until, Action.MOVE_POOL, environment=name, pool="")

    def idle(self, at: float) -> None:
        """Something else comes to run on a host, and goes again, perhaps never."""
        machine = self._some_machine()
        if machine is None:
            return
        if self._apart.random() < 0.2:
            self._emit(at, Action.TASK_FOREIGN, machine=machine, family=APPLICATION, service="")
            return
        self._emit(at, Action.TASK_OTHER, machine=machine, family=APPLICATION)
        ends = at + self._lasting_for(30.0, 2400.0)
        self._later(ends, Action.TASK_OTHER_ENDS, machine=machine, family=APPLICATION)

    def lose(self, at: float) -> None:
        """The store is lost while daemons are being started whose requests travel slowly."""
        lost = at + self._lasting_for(0.3, 5.0)
        if lost >= self._healing_at or not self._lasts("process", lost + 1.0):
            return
        self._storm(at, "lost", lost + 30.0, {"late_request": 0.9, "slow_execution": 0.9})
        for _ in range(self._apart.randrange(4)):
            machine = self._some_machine()
            if machine is not None:
                pick = self._apart.random()
                self._emit(at, Action.TASK_CRASH, machine=machine, pick=pick)
        existing = self._apart.choice(("adopt", "adopt", "wait", "stop"))
        self._later(lost, Action.STORE_LOSE, existing=existing)


PEOPLE: Final[dict[str, tuple[Callable[[PeoplesCourse, float], None], float, float]]] = {
    "adopt": (PeoplesCourse.adopt, 0.2, 3.0),
    "end": (PeoplesCourse.end, 0.15, 1.5),
    "freeze": (PeoplesCourse.freeze, 0.2, 2.0),
    "hold": (PeoplesCourse.hold, 0.2, 4.0),
    "idle": (PeoplesCourse.idle, 0.15, 8.0),
    "lose": (PeoplesCourse.lose, 0.12, 1.2),
    "mistake": (PeoplesCourse.mistake, 0.06, 1.2),
    "service": (PeoplesCourse.service, 0.15, 1.5),
}
"""Feature → what it does at one moment, how likely a seed has it, and how often on average."""

FEATURES: Final[dict[str, tuple[Callable[[PeoplesCourse, float], None], float]]] = {
    **PLAIN,
    **{name: (happen, chance) for name, (happen, chance, _) in PEOPLE.items()},
}
"""Every feature: what it does at one moment, and how likely a seed has it."""
