"""Any sequence of calls has the same answers from SQLite as from the model in memory."""

import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Literal, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from blox.base.errors import BloxError
from blox.simulator.loop import run
from blox.store.errors import Compacted
from blox.store.memory import MemoryData, MemoryStore
from blox.store.port import Change, Compare, Delete, Put, Store
from blox.store.sqlite import InlineExecutor, SqliteStore
from support.stores import SteppedClock

HISTORY = 12
KEYS = ("a", "a/", "a/b", "a0", "b", "\ud7ff", "\ue000", "\U0010ffff", "\U0010ffff\U0010ffff")
PREFIXES = ("", "a", "a/", "b", "c", "\ud7ff", "\U0010ffff")


class Transact(NamedTuple):
    """`compares`: key, which revision (counted back from the newest; None: absent), of what."""

    compares: Sequence[tuple[str, int | None, Literal["modified", "created"]]]
    puts: dict[str, tuple[bytes, int | None]]
    """Key → value and which of the leases granted so far."""
    deletes: frozenset[str]


class List(NamedTuple):
    prefix: str


class Watch(NamedTuple):
    prefix: str
    back: int
    """How many revisions before the newest."""


class Grant(NamedTuple):
    ttl: int


class KeepAlive(NamedTuple):
    lease: int


class Revoke(NamedTuple):
    lease: int


class Pass(NamedTuple):
    seconds: int


class Restart(NamedTuple):
    """Close and open again. Leases end with the process."""


Step = Transact | List | Watch | Grant | KeepAlive | Revoke | Pass | Restart

keys = st.sampled_from(KEYS)
leases = st.integers(0, 3)
steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        Transact,
        compares=st.lists(
            st.tuples(
                keys,
                st.none() | st.integers(0, 4),
                st.sampled_from(["modified", "created"]),
            ),
            max_size=2,
        ),
        puts=st.dictionaries(
            keys, st.tuples(st.binary(max_size=3), st.none() | st.none() | leases), max_size=3
        ),
        deletes=st.frozensets(keys, max_size=3),
    ),
    st.builds(List, prefix=st.sampled_from(PREFIXES)),
    st.builds(Watch, prefix=st.sampled_from(PREFIXES), back=st.integers(0, HISTORY + 3)),
    st.builds(Grant, ttl=st.integers(1, 5)),
    st.builds(KeepAlive, lease=leases),
    st.builds(Revoke, lease=leases),
    st.builds(Pass, seconds=st.integers(0, 4)),
    st.just(Restart()),
)


class Player:
    """Plays steps on one store and writes down every answer, errors by their class."""

    def __init__(self, clock: SteppedClock) -> None:
        self.clock = clock
        self.leases: list[int] = []
        self.answers: list[object] = []

    async def play(self, store: Store, step: Step) -> None:
        try:
            self.answers.append((step, await self._answer(store, step)))
        except BloxError as error:
            self.answers.append((step, type(error)))

    async def _answer(self, store: Store, step: Step) -> object:
        match step:
            case Transact():
                return await self._transact(store, step)
            case List(prefix):
                return await store.list(prefix)
            case Watch(prefix, back):
                newest = (await store.list("")).revision
                return await _changes(store, prefix, max(0, newest - back), newest)
            case Grant(ttl):
                self.leases.append(await store.grant_lease(float(ttl)))
            case KeepAlive(lease):
                return await store.keep_alive(self._lease(lease))
            case Revoke(lease):
                await store.revoke_lease(self._lease(lease))
            case Pass(seconds):
                self.clock.ahead += seconds
            case Restart():
                for granted in self.leases:
                    await store.revoke_lease(granted)
                self.leases.clear()
        return await store.list("")

    async def _transact(self, store: Store, step: Transact) -> object:
        newest = (await store.list("")).revision
        compares = [
            Compare(key, 0 if back is None else max(0, newest - back), what)
            for key, back, what in step.compares
        ]
        writes: list[Put | Delete] = [
            Put(key, value, None if lease is None else self._lease(lease))
            for key, (value, lease) in step.puts.items()
        ]
        writes += [Delete(key) for key in sorted(step.deletes) if key not in step.puts]
        return await store.transact(compares, writes)

    def _lease(self, index: int) -> int:
        return self.leases[index] if index < len(self.leases) else 1_000 + index


async def _changes(store: Store, prefix: str, after: int, newest: int) -> list[Change]:
    """All changes up to `newest`, found with the help of one that is written to end the watch."""
    end = await store.transact([], [Put(prefix + "~end", b"")])
    seen: list[Change] = []
    try:
        async with aclosing(store.watch(prefix, after)) as changes:  # type: ignore[type-var]
            async for change in changes:
                seen.append(change)
                if change.revision == end.revision:
                    return seen
    except Compacted as error:
        return [*seen, Change("compacted", None, error.oldest)]
    raise AssertionError("a watch ended by itself")


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=40))
def test_sqlite_answers_as_the_model_does(script: list[Step]) -> None:
    async def main() -> None:
        clock = SteppedClock()
        data = MemoryData(history=HISTORY)
        model, real = Player(clock), Player(SteppedClock())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "blox.db"

            async def opened() -> SqliteStore:
                return await SqliteStore.open(
                    path, clock=real.clock, executor=InlineExecutor(), history=HISTORY
                )

            memory, sqlite = MemoryStore(clock, data=data), await opened()
            for step in script:
                await model.play(memory, step)
                await real.play(sqlite, step)
                assert _comparable(real) == _comparable(model)
                if isinstance(step, Restart):
                    await memory.close()
                    await sqlite.close()
                    memory, sqlite = MemoryStore(clock, data=data), await opened()
            await memory.close()
            await sqlite.close()

    run(main())


def _comparable(player: Player) -> object:
    return player.answers[-1:], len(player.leases)
