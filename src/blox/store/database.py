"""The SQLite file: opening it, and running groups of operations, on one thread and connection.

Group commit: all operations that wait are run in one transaction, with a savepoint for each that
writes, and one fsync makes all of them durable. An operation that is refused undoes only itself. An
error of the disk undoes the group, for SQLite rolls the whole transaction back then, savepoints
included (https://www.sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction).

What a failed COMMIT means depends on where it failed. A full disk: the commit record was not
written, so nothing happened. Anything else (a failed fsync): it may be on the disk or not. Then the
connection is thrown away, and the next one replays the write-ahead log, copies it into the
database and syncs that before anybody reads, so that what is read back will not change again.

The connection locks the file exclusively: other programs cannot open it, which also keeps SQLite
versions before 3.51.3 away, whose WAL-reset bug damages databases that two connections share.

Leases live in this process and on its monotonic clock. They do not survive a restart, and their
keys are deleted when the file is opened: only one process can use the file, so the process that
held them is gone, and a monotonic time of its life says nothing in ours.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import apsw

from blox.base.errors import BloxError, InvalidInput
from blox.store.errors import StoreRefused, StoreUnavailable, StoreUnknown
from blox.store.tables import TABLES, Lease, Tables

APPLICATION_ID: Final = 0x626C6F78
"""'blox', in the header of the file (https://www.sqlite.org/pragma.html#pragma_application_id)."""
LAYOUT: Final = 1
"""The version of the tables: `PRAGMA user_version`. Formats of records are the codec's."""
HISTORY_BYTES: Final = 64 * 1024 * 1024
"""The history's second bound: bytes of the values in it."""

_MAGIC: Final = b"SQLite format 3\0"
_SETTINGS: Final = (
    ("journal_mode", "wal"),
    ("synchronous", "full"),
    ("fullfsync", 1),  # On macOS a plain fsync does not reach the disk.
    ("checkpoint_fullfsync", 1),
    ("journal_size_limit", 16 * 1024 * 1024),
)
_NOTHING_HAPPENED: Final = (apsw.FullError, apsw.BusyError, apsw.LockedError)
"""Errors of COMMIT after which the commit record is certainly not in the log."""


@dataclass(slots=True)
class Operation:
    """One thing to do inside a group. `act` returns its answer or raises a BloxError."""

    act: Callable[[Tables], object]
    writes: bool


class Answer(NamedTuple):
    """What became of one operation: its value, or the error that it ends with."""

    value: object
    error: BloxError | None


class Group(NamedTuple):
    """What became of a group. `deadline`: when the next lease ends, on the monotonic clock."""

    answers: list[Answer]
    revision: int
    deadline: float | None


class _Lost(Exception):
    """The group's transaction is gone."""

    def __init__(self, error: BloxError) -> None:
        super().__init__(error.message)
        self.error = error


class Database:
    """Not thread-safe: one thread calls everything after the constructor.

    `vfs`: the name of a SQLite VFS, for tests that make the disk fail.
    """

    def __init__(
        self, path: str, *, history: int, history_bytes: int = HISTORY_BYTES, vfs: str = ""
    ) -> None:
        self.path = path
        self._vfs = vfs
        self._history = history
        self._history_bytes = history_bytes
        self._lease_ids = itertools.count(1)
        self._db: apsw.Connection | None = None
        self._tables: Tables | None = None
        self._leases: dict[int, Lease] = {}

    # --- Opening and closing ----------------------------------------------------------------------

    def open(self) -> int:
        """Open or create the file; returns the revision. Keys of former leases go.

        Raises StoreRefused for a file that is not ours, is newer or cannot be used, leaving it
        untouched; StoreUnavailable when the disk fails.
        """
        _refuse_foreign_header(self.path)
        try:
            if not os.path.exists(self.path):
                # SQLite gives its log the permissions of the file. They are not for everybody.
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            tables = self._connect(create=True)
        except (apsw.Error, OSError) as error:
            self._discard()
            raise _opening_error(self.path, error) from error
        except BloxError:
            self._discard()
            raise
        answer = self.run([Operation(Tables.drop_orphans, writes=True)], 0.0).answers[0]
        if answer.error is not None:
            self._discard()
            raise answer.error
        return tables.revision

    def close(self) -> None:
        """Copy the log into the database and close. What cannot be copied stays in the log."""
        if self._db is not None:
            with contextlib.suppress(apsw.Error):
                self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        self._discard()

    def snapshot(self) -> bytes:
        """The whole file as it is now, log included: a database that can be opened by itself.
        Raises StoreUnavailable when the disk fails.
        https://www.sqlite.org/c3ref/serialize.html"""
        try:
            if self._db is None:
                self._connect(create=False)
            assert self._db is not None
            return bytes(self._db.serialize("main"))
        except (apsw.Error, OSError) as error:
            raise StoreUnavailable(f"{self.path} cannot be copied: {error}.") from error

    def _connect(self, *, create: bool) -> Tables:
        flags = apsw.SQLITE_OPEN_READWRITE
        db = self._db = apsw.Connection(self.path, flags=flags, vfs=self._vfs or None)
        # Until we know that the file is ours nothing may be written to it, not even at close.
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        db.set_busy_timeout(2000)
        db.pragma("locking_mode", "exclusive")
        fresh = _refuse_foreign(self.path, db)
        if fresh and not create:
            raise StoreRefused(f"{self.path} has been emptied or replaced. Restart blox.")
        for name, value in _SETTINGS:
            db.pragma(name, value)
        if fresh:
            db.execute(
                f"BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {LAYOUT}; COMMIT"
            )
        db.pragma("wal_checkpoint", "truncate")
        self._tables = Tables(
            db, history=self._history, history_bytes=self._history_bytes, ids=self._lease_ids
        )
        return self._tables

    def _discard(self) -> None:
        self._tables = None
        if self._db is not None:
            with contextlib.suppress(apsw.Error):
                self._db.close(force=True)
        self._db = None

    # --- Groups -----------------------------------------------------------------------------------

    def run(self, operations: Sequence[Operation], now: float) -> Group:
        """Run the operations in order in one transaction. `now`: the monotonic clock.

        When the group is lost, those that only read are run again by themselves: an earlier write
        of the group that they saw has not happened, and a full disk does not prevent reading.
        """
        try:
            answers = self._transaction(operations, now)
        except _Lost as lost:
            reads = iter(self._again([op for op in operations if not op.writes], now, lost))
            answers = [_refused(lost.error) if op.writes else next(reads) for op in operations]
        deadline = min((lease.deadline for lease in self._leases.values()), default=None)
        revision = 0 if self._tables is None else self._tables.revision
        return Group(answers, revision, deadline)

    def _again(self, reads: Sequence[Operation], now: float, lost: _Lost) -> list[Answer]:
        try:
            return self._transaction(reads, now) if reads else []
        except _Lost:
            # A read happens or not; it is never in doubt.
            return [_refused(StoreUnavailable(lost.error.message)) for _ in reads]

    def _transaction(self, operations: Sequence[Operation], now: float) -> list[Answer]:
        """Raises _Lost when nothing, or nobody knows what, has happened."""
        try:
            tables = self._begin(now)
            answers = [self._one(tables, operation) for operation in operations]
            tables.trim()
        except (apsw.Error, OSError, StoreRefused) as error:
            self._roll_back()
            raise _Lost(_nothing_happened(self.path, error)) from error
        except BaseException:
            self._roll_back()
            raise
        try:
            self._execute("COMMIT")
        except _NOTHING_HAPPENED as error:
            self._roll_back()
            raise _Lost(_nothing_happened(self.path, error)) from error
        except apsw.Error as error:
            self._discard()
            raise _Lost(
                StoreUnknown(
                    f"{self.path}: writing failed at the last moment ({error}). It may or may not "
                    "have taken effect."
                )
            ) from error
        self._leases = tables.leases
        return answers

    def _begin(self, now: float) -> Tables:
        tables = self._tables if self._tables is not None else self._connect(create=False)
        self._execute("BEGIN IMMEDIATE")
        tables.leases = dict(self._leases)
        tables.now = now
        tables.expire()
        return tables

    def _one(self, tables: Tables, operation: Operation) -> Answer:
        if not operation.writes:
            try:
                return Answer(operation.act(tables), None)
            except BloxError as error:
                return Answer(None, error)
        self._execute("SAVEPOINT operation")
        try:
            answer = Answer(operation.act(tables), None)
        except BloxError as error:
            answer = Answer(None, error)
        except apsw.TooBigError as error:
            answer = Answer(None, InvalidInput(f"{self.path}: a value is too large ({error})."))
        if answer.error is not None:
            self._execute("ROLLBACK TO operation")
        self._execute("RELEASE operation")
        return answer

    def _roll_back(self) -> None:
        """Back to what the file says; if even that fails, the next group opens it anew."""
        try:
            if self._db is not None and self._db.in_transaction:
                self._execute("ROLLBACK")
            if self._tables is not None:
                self._tables.load()
        except apsw.Error:
            self._discard()

    def _execute(self, statement: str) -> None:
        assert self._db is not None
        self._db.execute(statement)


# --- What the file is, and what went wrong --------------------------------------------------------


def _refuse_foreign_header(path: str) -> None:
    """Judge an existing file by its first 100 bytes, without opening it as a database.

    Only a file that SQLite would read is left to it: merely opening a database of an unknown
    program can replay a journal into it. https://www.sqlite.org/fileformat.html#the_database_header
    """
    try:
        with open(path, "rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreRefused(f"{path} cannot be read: {error.strerror}.") from error
    if not header:
        return
    if len(header) < 100 or not header.startswith(_MAGIC):
        raise StoreRefused(f"{path} is not a database. Choose another file for blox.")
    version, application = int.from_bytes(header[60:64]), int.from_bytes(header[68:72])
    if application:  # 0: perhaps ours, if the tables are still in the log.
        _refuse_version(path, application, version)


def _refuse_foreign(path: str, db: apsw.Connection) -> bool:
    """Judge an open database, its log included; True if nothing is in it yet."""
    application, version = db.pragma("application_id"), db.pragma("user_version")
    tables = db.execute("SELECT count(*) FROM sqlite_schema").get
    if application == 0 and version == 0 and tables == 0:
        return True
    _refuse_version(path, application, version)
    return False


def _refuse_version(path: str, application: int, version: int) -> None:
    if application != APPLICATION_ID:
        raise StoreRefused(f"{path} is another program's database. Choose another file for blox.")
    if version > LAYOUT:
        raise StoreRefused(
            f"{path} was written by a newer version of blox (layout {version}; this version knows "
            f"{LAYOUT}). It was left untouched; start the newer version."
        )
    if version < 1:
        raise StoreRefused(f"{path} has layout {version}, which no version of blox wrote.")


def _opening_error(path: str, error: Exception) -> BloxError:
    if isinstance(error, apsw.NotADBError):
        return StoreRefused(f"{path} is not a database. Choose another file for blox.")
    if isinstance(error, apsw.BusyError):
        return StoreRefused(f"{path} is open in another program. Close it there.")
    if isinstance(error, (apsw.CantOpenError, apsw.ReadOnlyError, OSError)):
        return StoreRefused(f"{path} cannot be opened for writing: {error}.")
    if isinstance(error, apsw.FullError):
        return StoreUnavailable(f"The disk of {path} is full. Make room.")
    return StoreUnavailable(f"{path} cannot be opened: {error}.")


def _refused(error: BloxError) -> Answer:
    """An exception of its own for each who waits: a shared one would collect all their traces."""
    return Answer(None, type(error)(error.message))


def _nothing_happened(path: str, error: Exception) -> BloxError:
    if isinstance(error, StoreRefused):
        return error
    if isinstance(error, apsw.FullError):
        return StoreUnavailable(f"The disk of {path} is full; nothing was written. Make room.")
    return StoreUnavailable(f"{path}: {error}; nothing was written.")
