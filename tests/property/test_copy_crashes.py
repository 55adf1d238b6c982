"""A process that keeps a stored copy dies at any moment, again and again: nothing that was
acknowledged is lost, nothing comes back, no version is used twice, and who may go on misses
nothing."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blox.base.clock import LoopClock
from blox.simulator import loop
from blox.store.memory import MemoryData, MemoryStore
from blox.store.port import Compare, Delete, Listing, Outcome, Put, Record, Store
from blox.store.sqlite import InlineExecutor, SqliteStore
from support.copycrash import Disk, Judge, Killing, Step, live

KINDS = ("task", "task", "host", "task gone", "host gone")
BURST = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 6)), min_size=2, max_size=8)
"""What one round has to write, and what happens meanwhile."""
STEPS = st.lists(
    st.tuples(BURST, st.integers(0, 3), BURST).map(
        lambda three: [*three[0], ("round", three[1]), *three[2]]
    ),
    max_size=3,
).map(lambda bursts: [step for burst in bursts for step in burst])
LIVES = st.lists(
    st.tuples(STEPS, st.integers(0, 9), st.booleans(), st.booleans()), min_size=1, max_size=4
)
Lives = list[tuple[list[Step], int, bool, bool]]


class InMemory:
    """Data that new handles are opened on."""

    def __init__(self) -> None:
        self._data = MemoryData()

    async def open(self, clock: LoopClock, kill_at: int, *, applied: bool) -> Store:
        return MemoryStore(clock, data=self._data, faults=Killing(kill_at, applied=applied))

    async def die(self, store: Store) -> None:
        assert isinstance(store, MemoryStore)
        store.cut()


class Dying:
    """A SQLite store in a process that dies."""

    def __init__(self, store: SqliteStore, killing: Killing) -> None:
        self.store = store
        self._killing = killing

    async def get(self, key: str) -> Record | None:
        self._killing.before("get")
        found = await self.store.get(key)
        self._killing.after("get")
        return found

    async def list(self, prefix: str) -> Listing:
        self._killing.before("list")
        found = await self.store.list(prefix)
        self._killing.after("list")
        return found

    async def transact(
        self, compares: Sequence[Compare], writes: Sequence[Put | Delete]
    ) -> Outcome:
        self._killing.before("transact")
        outcome = await self.store.transact(compares, writes)
        self._killing.after("transact")
        return outcome


class OnDisk:
    """A file. Who dies leaves it, and its log, as they are at that moment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._number}.db"

    async def open(self, clock: LoopClock, kill_at: int, *, applied: bool) -> Store:
        store = await SqliteStore.open(self._path, clock=clock, executor=InlineExecutor())
        return Dying(store, Killing(kill_at, applied=applied))  # type: ignore[return-value]

    async def die(self, store: Store) -> None:
        assert isinstance(store, Dying)
        left = self._path
        self._number += 1
        for suffix in ("", "-wal"):
            shutil.copy(f"{left}{suffix}", f"{self._path}{suffix}")
        await store.store.close()


def play(disk: Disk, lives: Lives, block: int) -> Judge:
    judge = Judge()

    async def main() -> None:
        for seed, (steps, kill_at, applied, graceful) in enumerate([*lives, ([], 0, False, True)]):
            await live(
                disk,
                judge,
                steps,
                seed=seed,
                kill_at=kill_at,
                applied=applied,
                graceful=graceful,
                block=block,
            )

    loop.run(main())
    return judge


@settings(deadline=None, max_examples=300)
@given(LIVES, st.sampled_from((8, 1000)))
def test_whenever_it_dies(lives: Lives, block: int) -> None:
    play(InMemory(), lives, block)


@settings(deadline=None, max_examples=15)
@given(LIVES)
def test_whenever_it_dies_over_a_file(lives: Lives) -> None:
    with tempfile.TemporaryDirectory() as folder:
        play(OnDisk(Path(folder)), lives, 1000)


SIX: list[Step] = [("task", number) for number in range(1, 7)]
SCRIPTS: dict[str, list[Step]] = {
    "what changes twice before it is written": [("task", 1), *SIX, ("task", 1), ("round", 0)],
    "what changes while it is being written": [*SIX, ("round", 3), ("task", 1), ("host", 1)],
    "more deletions than the log keeps": [
        *SIX,
        ("round", 0),
        *[("task gone", number) for number in range(1, 6)],
        ("round", 2),
        ("task gone", 6),
        ("task", 7),
        ("round", 0),
    ],
    "deletions in several transactions": [
        *SIX,
        ("round", 0),
        *[("task gone", number) for number in range(1, 4)],
        ("round", 0),
    ],
    "what goes and comes again": [
        *SIX,
        ("round", 0),
        ("task gone", 1),
        ("task gone", 2),
        ("round", 1),
        ("task", 1),
        ("round", 0),
    ],
}


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("script", SCRIPTS)
def test_at_every_operation_of_a_script(script: str, applied: bool) -> None:
    for kill_at in range(1, 20):
        play(InMemory(), [(SCRIPTS[script], kill_at, applied, False)], 1000)


def test_the_judge_has_something_to_judge() -> None:
    """Versions that are known under one name over a crash, and positions that still hold."""
    steps: list[Step] = [("host", 1), ("task", 1), ("round", 0), ("task", 2), ("task gone", 1)]
    judge = play(InMemory(), [(steps, 0, False, False), (steps, 0, False, True)], 1000)
    (name,) = {name for name, _ in judge.states}
    assert judge.highest[name] > 1000
    assert len(judge.states) > 10
