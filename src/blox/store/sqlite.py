"""The embedded store: one SQLite file, one process, one thread that owns the connection.

Calls made while a group is being written wait together and form the next group, so that one fsync
serves all of them (`database`). A lock file keeps other processes away, and network file systems
are refused, because the lock and the fsync mean nothing there.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, ParamSpec, TypeVar

from blox.base.ambient import Clock
from blox.store.database import Database, Group, Operation
from blox.store.errors import StoreRefused, StoreUnavailable
from blox.store.filesystem import network_filesystem
from blox.store.lock import ProcessLock
from blox.store.port import Change, Compare, Delete, Listing, Outcome, Put, Record
from blox.store.shared import (
    HISTORY,
    Bell,
    check_key,
    check_prefix,
    check_transaction,
    check_ttl,
)
from blox.store.tables import Page, Tables

T = TypeVar("T")
P = ParamSpec("P")

MOUNTINFO: Final = "/proc/self/mountinfo"
GROUP: Final = 512
"""The most operations in one transaction."""
PAGE: Final = 500
"""The most changes that a watcher reads at once."""
_EXPIRY_RETRY: Final = 1.0
"""Seconds until a lease whose end could not be written is tried again."""


class InlineExecutor(Executor):
    """Runs everything on the calling thread, at once: for simulations, whose order of events must
    not depend on a second thread."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  The caller gets it, whatever it is.
            future.set_exception(error)
        return future


@dataclass(slots=True)
class _Waiting(Operation):
    """An operation and who waits for its answer."""

    future: asyncio.Future[object]


class SqliteStore:
    """Made by `open`, for the event loop that runs then. Lease ids are valid until `close`."""

    def __init__(
        self, database: Database, lock: ProcessLock, *, clock: Clock, executor: Executor
    ) -> None:
        self._database = database
        self._lock = lock
        self._clock = clock
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting] = []
        self._busy = False
        self._closed = False
        self._revision = 0
        self._timer: asyncio.TimerHandle | None = None
        self._changed = Bell()
        self._idle = Bell()

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        clock: Clock,
        executor: Executor | None = None,
        history: int = HISTORY,
        vfs: str = "",
    ) -> "SqliteStore":
        """Open the file, or create it in an existing folder, and lock it for this process.

        `executor`: runs one call at a time and in order; default: a thread of its own. It is shut
        down at close. `history`: how many changes are kept for watchers. `vfs`: a SQLite VFS.
        Raises StoreRefused for a missing or unwritable folder, a network file system, a file that
        another process holds or that is not ours or newer; StoreUnavailable when the disk fails.
        """
        real = _place(path)
        lock = ProcessLock(real)
        lock.take(clock.wall())
        database = Database(real, history=history, vfs=vfs)
        if executor is None:
            executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="blox-sqlite")
        store = cls(database, lock, clock=clock, executor=executor)
        try:
            store._revision = await store._run(database.open)
        except BaseException:
            executor.submit(database.close)
            executor.shutdown(wait=True)
            lock.release()
            raise
        return store

    # --- The port ---------------------------------------------------------------------------------

    async def get(self, key: str) -> Record | None:
        check_key(key)
        return await self._do(lambda tables: tables.get(key))

    async def list(self, prefix: str) -> Listing:
        check_prefix(prefix)
        return await self._do(lambda tables: tables.list(prefix))

    async def transact(
        self, compares: Sequence[Compare], writes: Sequence[Put | Delete]
    ) -> Outcome:
        check_transaction(compares, writes)
        compares, writes = tuple(compares), tuple(writes)
        return await self._do(lambda tables: tables.transact(compares, writes), writes=bool(writes))

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Change]:
        check_prefix(prefix)
        cursor: int | None = None
        while True:
            page: Page = await self._do(
                partial(Tables.changes, prefix=prefix, after=after, cursor=cursor, limit=PAGE)
            )
            cursor = page.cursor
            for change in page.changes:
                yield change
            if not page.full and self._revision <= page.revision and not self._closed:
                await self._changed.wait()

    async def grant_lease(self, ttl: float) -> int:
        check_ttl(ttl)
        return await self._do(lambda tables: tables.grant(ttl))

    async def keep_alive(self, lease: int) -> bool:
        return await self._do(lambda tables: tables.keep_alive(lease))

    async def revoke_lease(self, lease: int) -> None:
        await self._do(lambda tables: tables.revoke(lease), writes=True)

    async def snapshot(self) -> bytes:
        """A copy of the whole file, as of one moment: everything acknowledged before is in it.
        Raises StoreUnavailable."""
        if self._closed:
            raise StoreUnavailable(f"The store {self._database.path} is closed.")
        return await self._run(self._database.snapshot)

    async def close(self) -> None:
        """Finish what waits, close the file and let go of the lock. Watchers end with
        StoreUnavailable, as does every later call."""
        if self._closed:
            return
        self._closed = True
        while self._busy:
            await self._idle.wait()
        if self._timer is not None:
            self._timer.cancel()
        self._changed.ring()
        try:
            await self._run(self._database.close)
        finally:
            self._executor.shutdown(wait=False)
            self._lock.release()

    # --- Groups -----------------------------------------------------------------------------------

    async def _run(self, function: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._executor, function)

    async def _do(self, act: Callable[[Tables], T], *, writes: bool = False) -> T:
        """Queue an operation and wait for its answer. Who is cancelled after its group has begun
        does not learn the answer; before, nothing happens."""
        if self._closed:
            raise StoreUnavailable(f"The store {self._database.path} is closed.")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append(_Waiting(act, writes, future))  # type: ignore[arg-type]
        if not self._busy:
            self._busy = True
            # Not at once: what this turn of the loop still asks for joins the group.
            self._loop.call_soon(self._next_group)
        return await future

    def _next_group(self) -> None:
        waiting = [operation for operation in self._waiting if not operation.future.done()]
        group, self._waiting = waiting[:GROUP], waiting[GROUP:]
        if not group:
            self._busy = False
            self._idle.ring()
            return
        pending = self._executor.submit(self._database.run, group, self._clock.monotonic())
        pending.add_done_callback(partial(self._hand_over, group))

    def _hand_over(self, group: Sequence[_Waiting], pending: Future[Group]) -> None:
        """On the owning thread: give the answers to the loop, unless that has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._deliver, group, pending)

    def _deliver(self, group: Sequence[_Waiting], pending: Future[Group]) -> None:
        error = pending.exception()
        if error is not None:
            for operation in group:
                if not operation.future.done():
                    operation.future.set_exception(error)
        else:
            done = pending.result()
            for operation, answer in zip(group, done.answers, strict=True):
                if operation.future.done():
                    continue
                if answer.error is None:
                    operation.future.set_result(answer.value)
                else:
                    operation.future.set_exception(answer.error)
            self._arm(done.deadline)
            if done.revision > self._revision:
                self._revision = done.revision
                self._changed.ring()
        self._next_group()

    # --- Leases -----------------------------------------------------------------------------------

    def _arm(self, deadline: float | None) -> None:
        """Look again when the next lease ends, so that its keys go without being asked for."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is None or self._closed:
            return
        delay = deadline - self._clock.monotonic()
        self._timer = self._loop.call_later(delay if delay > 0 else _EXPIRY_RETRY, self._expire)

    def _expire(self) -> None:
        """Every group begins with ending what is over, so an empty one will do."""
        if self._closed:
            return
        nobody: asyncio.Future[object] = self._loop.create_future()
        nobody.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._waiting.append(_Waiting(lambda _: None, writes=False, future=nobody))
        if not self._busy:
            self._busy = True
            self._next_group()


def _place(given: str | os.PathLike[str]) -> str:
    """The file's real path: two names of one file must meet at one lock.

    Raises StoreRefused unless a file there can be locked, synced and written.
    """
    path = os.path.realpath(given)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise StoreRefused(f"The folder {folder} does not exist. Create it, or choose another.")
    if os.path.isdir(path):
        raise StoreRefused(f"{path} is a folder; blox needs a file in it, say {path}/blox.db.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreRefused(f"The folder {folder} is not writable. Choose another, or permit it.")
    try:
        with open(MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
            mountinfo = file.read()
    except OSError:  # Not Linux: there is nothing to ask.
        return path
    kind = network_filesystem(mountinfo, path)
    if kind is not None:
        raise StoreRefused(
            f"{path} is on a network file system ({kind}), where neither locks nor durability can "
            "be relied on. Choose a local disk."
        )
    return path
