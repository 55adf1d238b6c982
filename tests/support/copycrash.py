"""Runs of a process that keeps a stored copy and dies at any store operation, and what must hold
over all of them.

The judge knows everything that was ever shown: each state at each version, under each name of the
numbering. After every start it asks whether the store has what was acknowledged, whether a version
was given out twice, and whether everybody who may go on from where he was ends up with exactly what
the catalogue has.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from blox.base.clock import LoopClock
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.cluster import Cluster
from blox.clusterstate.copy import StoredCopy
from blox.clusterstate.copy_records import host_document, task_document
from blox.clusterstate.entity import Entity
from blox.ecs.seen import ClusterSeen
from blox.store.port import Store
from support.copying import (
    KINDS,
    cluster_of,
    copy_of,
    entities,
    host_told,
    read_at,
    shown,
    task_told,
)
from support.documents import CLUSTER, host_arn, task_arn

State = dict[str, tuple[int, bytes]]
Step = tuple[str, int]
"""What happens, and to which entity."""


class Killed(BaseException):
    """kill -9, as far as a coroutine can feel it."""


class Killing:
    """Faults of a memory store: the process dies at the operation with this number, before it is
    applied or after; 0: never. Listings do not count."""

    def __init__(self, at: int, *, applied: bool) -> None:
        self._left = at
        self._applied = applied

    def before(self, operation: str, /) -> None:
        if operation == "list":
            return
        self._left -= 1
        if self._left == 0 and not self._applied:
            raise Killed

    def after(self, operation: str, /) -> None:
        if operation != "list" and self._left == 0 and self._applied:
            raise Killed


class Disk(Protocol):
    """What outlives the process."""

    async def open(self, clock: LoopClock, kill_at: int, *, applied: bool) -> Store:
        """A new process's handle, which dies as told."""
        ...

    async def die(self, store: Store) -> None:
        """The process is gone."""
        ...


@dataclass
class Judge:
    """What was shown and acknowledged by all runs so far."""

    states: dict[tuple[str, int], State] = field(default_factory=dict)
    """(name of the numbering, version) → what held then."""
    acknowledged: State = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    """What has changed since."""
    highest: dict[str, int] = field(default_factory=dict)

    def saw(self, catalogue: Catalogue) -> None:
        self.states[catalogue.name, catalogue.last] = shown(catalogue)
        self.highest[catalogue.name] = catalogue.last

    def acknowledge(self, state: State, now: State) -> None:
        """This state is durable; what is otherwise now has changed since."""
        self.acknowledged, self.touched = state, _differing(state, now)

    def begins(self, catalogue: Catalogue) -> None:
        """Judge what was loaded."""
        loaded = shown(catalogue)
        for key, state in self.acknowledged.items():
            assert key in self.touched or loaded[key] == state, key
        for key, (version, members) in loaded.items():
            assert key in self.acknowledged or key in self.touched, f"{key} rose from the dead"
            before = [s[key] for s in self.states.values() if key in s]
            assert (version, members) in before, f"{key} was never shown so"
        assert catalogue.last >= self.highest.get(catalogue.name, 0)
        self.follows(catalogue)
        position = (catalogue.name, catalogue.last)
        assert self.states.get(position, loaded) == loaded, "a version is used twice"
        self.saw(catalogue)

    def follows(self, catalogue: Catalogue) -> None:
        """Everybody who may go on has everything in the end."""
        now = shown(catalogue)
        for (name, version), state in self.states.items():
            if name != catalogue.name or not catalogue.log.holds(version):
                continue
            mine = dict(state)
            for entity in catalogue.log.after(version):
                if entity.deleted:
                    mine.pop(entity.key, None)
                elif entity.kind != "cluster":
                    mine[entity.key] = (entity.version, entity.whole.json())
            assert mine == now, f"who came to {version} misses something"


def _differing(one: State, other: State) -> set[str]:
    return {key for key in one | other if one.get(key) != other.get(key)}


class Life:
    """One run, from its start to its death."""

    def __init__(self, judge: Judge, copy: StoredCopy, catalogue: Catalogue) -> None:
        self._judge = judge
        self._copy = copy
        self._catalogue = catalogue
        self._cluster: Cluster = cluster_of(catalogue)
        catalogue.cluster_changed(ClusterSeen(arn=CLUSTER))
        found: dict[str, list[Entity]] = {kind: [] for kind in KINDS}
        for entity in entities(catalogue).values():
            found[entity.kind].append(entity)
        self._cluster.restore(
            [(host_document(e), e.told_at) for e in found["instance"]],
            [(task_document(e), e.told_at) for e in found["task"]],
        )
        judge.saw(catalogue)

    async def play(self, steps: list[Step]) -> None:
        """Do these; while a round of writing goes on, some of those that follow it."""
        at = 0
        while at < len(steps):
            what, number = steps[at]
            at += 1
            if what != "round":
                self.step(what, number)
                continue
            meanwhile = [step for step in steps[at : at + number] if step[0] != "round"]
            await self._round(meanwhile)
            at += len(meanwhile)

    async def _round(self, meanwhile: list[Step]) -> None:
        before = shown(self._catalogue)
        writing = asyncio.create_task(self._copy._round())
        for what, number in meanwhile:
            for _ in range(number):
                await asyncio.sleep(0)
            self.step(what, number)
        await writing
        self._judge.acknowledge(before, shown(self._catalogue))

    def step(self, what: str, number: int) -> None:
        """Something changes."""
        before = shown(self._catalogue)
        if what == "task":
            known = self._cluster.records.task(task_arn(number))
            version = 1 if known is None else known.task.version + 1
            document = task_told(number, version=version, cpu=str(self._catalogue.last))
            self._cluster.read_tasks([document], read_at(1.0))
        elif what == "host":
            entry = self._cluster.records.host(host_arn(number))
            version = 1 if entry is None else entry.host.version + 1
            told = host_told(number, version=version, agentConnected=version % 2 == 0)
            self._cluster.read_hosts([told], read_at(1.0))
        elif what == "task gone":
            self._cluster.tasks_missing([task_arn(number)], begun=1e9, now=1e9)
        else:
            self._cluster.hosts_missing([host_arn(number)], begun=1e9, now=1e9)
        after = shown(self._catalogue)
        self._judge.touched |= {key for key in before | after if before.get(key) != after.get(key)}
        self._judge.saw(self._catalogue)
        self._judge.follows(self._catalogue)


async def live(
    disk: Disk,
    judge: Judge,
    steps: list[Step],
    *,
    seed: int,
    kill_at: int,
    applied: bool,
    graceful: bool,
    block: int,
) -> None:
    """One process: loads, does these steps, and dies at the latest after them."""
    clock = LoopClock()
    store = await disk.open(clock, kill_at, applied=applied)
    copy = copy_of(store, clock, seed, block=block, most_writes=2)
    try:
        catalogue = await copy.load()
        catalogue.log._kept = 3
        judge.begins(catalogue)
        life = Life(judge, copy, catalogue)
        await life.play(steps)
        if graceful:
            await copy.close()
            judge.acknowledge(shown(catalogue), shown(catalogue))
    except Killed:
        pass  # What it was doing besides goes with it.
    finally:
        await disk.die(store)
    await asyncio.sleep(1.0)
