"""Many slots under one budget: the real planner and board over a world in which stops and starts
happen at once, unless a test says otherwise."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from blox.ecs.model import Task
from blox.scheduler.board import Board, Tally
from blox.scheduler.model import Deployment, DeploymentStatus, Environment, Policy, Revision
from blox.scheduler.planner import judge
from blox.scheduler.slots import remember
from blox.scheduler.verdicts import Context, Cost, Notes
from support.judging import NOW, context, definition, environment, facts, later, task


@dataclass
class Fleet:
    """`hosts` hosts; every revision has a health check, so that a test decides what is healthy."""

    hosts: int
    max_unavailable: str
    board: Board = field(default_factory=Board)
    tasks: dict[str, Task | None] = field(default_factory=dict)
    notes: dict[str, Notes] = field(default_factory=dict)
    unmatched: set[str] = field(default_factory=set)
    occupied: set[str] = field(default_factory=set)
    touched: list[str] = field(default_factory=list)
    """Hosts whose daemon was stopped, in order."""
    number: int = 0
    made: int = 0
    context: Context = field(init=False)

    def __post_init__(self) -> None:
        self.tasks = {f"host-{n:03}": None for n in range(self.hosts)}
        self.deploy()

    def deploy(self) -> None:
        """Another revision, deployed; the clock goes on."""
        self.number += 1
        now = NOW if self.number == 1 else self.context.now
        whole = self._environment()
        self.context = context(
            environment=whole,
            deployment=Deployment(
                id=f"d{self.number}",
                environment_id=whole.id,
                sequence=self.number,
                revision=self.number,
                status=DeploymentStatus.RUNNING,
            ),
            target=whole.newest,
            checks={revision.digest: True for revision in whole.revisions},
            now=now,
        )
        self.judge()

    def _environment(self) -> Environment:
        numbers = range(1, self.number + 1)
        return environment(
            revisions=tuple(
                Revision(number=n, definition=definition(check=True), digest=f"r{n}")
                for n in numbers
            ),
            deployed={f"d{n}": f"r{n}" for n in numbers},
            policy=Policy(max_unavailable=self.max_unavailable),
        )

    # --- Passes -----------------------------------------------------------------------------------

    def judge(self, hosts: Iterable[str] | None = None) -> Tally:
        """A pass over these slots, over all by default."""
        for host in self.tasks if hosts is None else hosts:
            found = self.tasks[host]
            slot = facts(
                *(() if found is None else (found,)),
                matches=host not in self.unmatched,
                occupant="service/other" if host in self.occupied else "",
                notes=self.notes.get(host, Notes()),
            )
            notes = remember(slot.notes, slot, now=self.context.now.mono)
            self.notes[host] = notes
            granted = self.board.granted.get(host, Cost.NONE)
            verdict = judge(replace(slot, notes=notes), self.context, granted=granted)
            self.board.put(host, verdict, now=self.context.now.mono)
        return self.board.tally()

    def spend(self) -> list[str]:
        """Grant what the budget allows; the hosts granted."""
        granted = self.board.spend(self.max_unavailable)
        self.judge(granted)
        return granted

    def stop(self) -> list[str]:
        """Carry out every stop that is wanted: the daemons are gone at once."""
        stopped = sorted({host for listed in self.board.stopping for host in listed})
        for host in stopped:
            self.tasks[host] = None
        self.touched += stopped
        self.judge()
        return stopped

    def start(self, health: str = "HEALTHY") -> list[str]:
        """Carry out every start that is wanted: RUNNING at once, with this health."""
        started = sorted({host for listed in self.board.ready for host in listed})
        for host in started:
            self.made += 1
            self.tasks[host] = task(
                f"{host}-{self.made}",
                deployment=f"d{self.number}",
                host_arn=host,
                health=health,
                started_at=self.context.now.ecs,
                created_at=self.context.now.ecs,
            )
        self.judge()
        return started

    def turn(self, health: str = "HEALTHY") -> list[str]:
        """Grant, stop and start once; the hosts stopped."""
        self.spend()
        stopped = self.stop()
        self.start(health)
        return stopped

    # --- The world --------------------------------------------------------------------------------

    def later(self, seconds: float) -> None:
        """Time passes, and everything is judged again."""
        self.context = later(self.context, seconds)
        self.judge()

    def become(self, health: str, hosts: Iterable[str] | None = None) -> None:
        """The daemons on these hosts, on all by default, are of this health now."""
        for host in list(self.tasks) if hosts is None else hosts:
            found = self.tasks[host]
            if found is not None:
                self.tasks[host] = replace(found, health=health)
        self.judge()

    def on(self, number: int) -> list[str]:
        """Hosts that run this revision."""
        return [
            host
            for host, found in self.tasks.items()
            if found is not None and found.started_by == f"d{number}"
        ]

    @property
    def down(self) -> int:
        """Wanted hosts without a healthy daemon."""
        return self.board.tally().unavailable


def settled(hosts: int, max_unavailable: str) -> Fleet:
    """A fleet whose first revision runs everywhere, healthy."""
    fleet = Fleet(hosts, max_unavailable)
    fleet.start()
    assert fleet.board.tally().current == hosts
    return fleet
