"""The tables of the SQLite store and what can be done to them inside a transaction.

`records` holds the present, `history` the last changes for watchers. The revision is that of the
newest change, which the history always keeps; its revisions have no gaps, so what is no longer kept
is exactly what lies below the oldest one.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import apsw

from blox.base.errors import Conflict
from blox.store.errors import Compacted
from blox.store.port import Change, Compare, Delete, Listing, Outcome, Put, Record
from blox.store.shared import prefix_end

TABLES: Final = """
CREATE TABLE records (
    key TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL,
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    lease INTEGER
) STRICT;
CREATE INDEX records_by_lease ON records (lease) WHERE lease IS NOT NULL;
CREATE TABLE history (
    seq INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    key TEXT NOT NULL,
    value BLOB,
    created INTEGER NOT NULL
) STRICT;
"""


class Lease(NamedTuple):
    """`deadline` is on the monotonic clock."""

    ttl: float
    deadline: float


class Page(NamedTuple):
    """Some changes, and the cursor to go on from. `full`: there may be more right now."""

    changes: list[Change]
    cursor: int
    revision: int
    full: bool


class _Entry(NamedTuple):
    """One revision in the history: its first row, how many rows, and the bytes of their values."""

    revision: int
    first: int
    rows: int
    size: int


class Tables:
    """Every method runs inside a transaction of the caller.

    What is known in memory changes with the tables; when the caller's transaction is undone, it
    calls `load`. apsw's errors pass through.
    """

    def __init__(
        self, db: apsw.Connection, *, history: int, history_bytes: int, ids: Iterator[int]
    ) -> None:
        self._sql = db.execute
        self._limit = history
        self._limit_bytes = history_bytes
        self._ids = ids
        self.leases: dict[int, Lease] = {}
        self.now = 0.0
        """The monotonic clock at the begin of the transaction."""
        self.load()

    def load(self) -> None:
        """Learn anew from the file what is kept in memory about the history."""
        rows = self._sql(
            "SELECT revision, min(seq), count(*), total(length(value)) FROM history "
            "GROUP BY revision ORDER BY revision"
        )
        self._history = deque(_Entry(r, first, n, int(size)) for r, first, n, size in rows)
        self._changes = sum(entry.rows for entry in self._history)
        self._bytes = sum(entry.size for entry in self._history)
        self.revision, self._seq = 0, 0
        if self._history:
            last = self._history[-1]
            self.revision, self._seq = last.revision, last.first + last.rows - 1

    # --- Records ----------------------------------------------------------------------------------

    def get(self, key: str) -> Record | None:
        """The record under `key`."""
        row = self._sql("SELECT value, created, modified FROM records WHERE key = ?", (key,)).get
        return None if row is None else Record(key, *row)

    def list(self, prefix: str) -> Listing:
        """Every record under `prefix`, in key order."""
        low, high = _bounds(prefix)
        rows = self._sql(
            "SELECT key, value, created, modified FROM records "
            "WHERE key >= ? AND key < ? ORDER BY key",
            (low, high),
        )
        return Listing(tuple(Record(*row) for row in rows), self.revision)

    def transact(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Outcome:
        """Raises Conflict when a lease has ended; the caller undoes what was written by then."""
        if not all(self._holds(compare) for compare in compares):
            return Outcome(applied=False, revision=self.revision)
        revision, first = self.revision + 1, self._seq + 1
        seq, size = self._seq, 0
        for write in writes:
            if isinstance(write, Put):
                created = self._put(write, revision)
                value: bytes | None = write.value
                size += len(write.value)
            elif self._delete(write.key):
                created, value = 0, None
            else:
                continue
            seq += 1
            self._sql(
                "INSERT INTO history (seq, revision, key, value, created) VALUES (?, ?, ?, ?, ?)",
                (seq, revision, write.key, value, created),
            )
        if seq > self._seq:
            self._history.append(_Entry(revision, first, seq - self._seq, size))
            self._changes += seq - self._seq
            self._bytes += size
            self.revision, self._seq = revision, seq
        return Outcome(applied=True, revision=self.revision)

    def _holds(self, compare: Compare) -> bool:
        row = self._sql("SELECT created, modified FROM records WHERE key = ?", (compare.key,)).get
        if row is None:
            return compare.revision == 0
        created, modified = row
        return bool(compare.revision == (modified if compare.what == "modified" else created))

    def _put(self, write: Put, revision: int) -> int:
        """Returns the revision that created the key."""
        if write.lease is not None and write.lease not in self.leases:
            raise Conflict(f"The lease {write.lease} has ended.")
        created = self._sql(
            "INSERT INTO records (key, value, created, modified, lease) VALUES (?1, ?2, ?3, ?3, ?4)"
            " ON CONFLICT (key) DO UPDATE SET value = ?2, modified = ?3, lease = ?4"
            " RETURNING created",
            (write.key, write.value, revision, write.lease),
        ).get
        return int(created)

    def _delete(self, key: str) -> bool:
        return self._sql("DELETE FROM records WHERE key = ? RETURNING 1", (key,)).get is not None

    # --- History ----------------------------------------------------------------------------------

    def changes(self, prefix: str, after: int, *, cursor: int | None, limit: int) -> Page:
        """Changes after the revision `after` and, once there is one, after the cursor.

        Raises Compacted when some of them are no longer kept.
        """
        oldest = self._history[0] if self._history else _Entry(1, 1, 0, 0)
        if cursor is None:
            if after < oldest.revision - 1:
                raise Compacted(oldest.revision)
            skip = after + 1 - oldest.revision
            cursor = self._history[skip].first - 1 if skip < len(self._history) else self._seq
        elif cursor < oldest.first - 1:
            raise Compacted(oldest.revision)
        low, high = _bounds(prefix)
        rows: list[tuple[int, int, str, bytes | None, int]] = self._rows(
            "SELECT seq, revision, key, value, created FROM history WHERE seq > ? AND revision > ?"
            " AND key >= ? AND key < ? ORDER BY seq LIMIT ?",
            (cursor, after, low, high, limit),
        )
        changes = [
            Change(key, None if value is None else Record(key, value, created, revision), revision)
            for _, revision, key, value, created in rows
        ]
        full = len(rows) == limit
        return Page(changes, rows[-1][0] if full else self._seq, self.revision, full)

    def trim(self) -> None:
        """Drop the oldest revisions beyond the bounds; the newest stays, whatever its size."""
        cut = 0
        while len(self._history) > 1 and (
            self._changes > self._limit or self._bytes > self._limit_bytes
        ):
            entry = self._history.popleft()
            self._changes -= entry.rows
            self._bytes -= entry.size
            cut = entry.first + entry.rows - 1
        if cut:
            self._sql("DELETE FROM history WHERE seq <= ?", (cut,))

    # --- Leases -----------------------------------------------------------------------------------

    def grant(self, ttl: float) -> int:
        """A new lease; its id was never given before in this opening of the file."""
        lease = next(self._ids)
        self.leases[lease] = Lease(ttl, self.now + ttl)
        return lease

    def keep_alive(self, lease: int) -> bool:
        """Renew a lease from now; False if it has ended."""
        held = self.leases.get(lease)
        if held is None:
            return False
        self.leases[lease] = held._replace(deadline=self.now + held.ttl)
        return True

    def revoke(self, lease: int) -> None:
        """End a lease; its keys go in one revision. No error if it has ended."""
        if lease not in self.leases:
            return
        rows = self._rows("SELECT key FROM records WHERE lease = ? ORDER BY key", (lease,))
        self.transact((), [Delete(key) for (key,) in rows])
        del self.leases[lease]

    def expire(self) -> None:
        """End the leases whose time is over, the one that was over first first."""
        over = sorted((h.deadline, lease) for lease, h in self.leases.items())
        for deadline, lease in over:
            if deadline <= self.now:
                self.revoke(lease)

    def drop_orphans(self) -> None:
        """Delete the keys of leases that an earlier process held."""
        rows = self._rows("SELECT key FROM records WHERE lease IS NOT NULL ORDER BY key")
        self.transact((), [Delete(key) for (key,) in rows])

    def _rows(self, statement: str, bindings: Sequence[int | str | bytes] = ()) -> Any:
        """All rows; their types are the caller's knowledge of the columns."""
        return self._sql(statement, bindings).fetchall()


def _bounds(prefix: str) -> tuple[str, str | bytes]:
    """The range of keys that begin with `prefix`. Without an end, the empty blob stands for it: in
    SQLite every blob is above every text (https://www.sqlite.org/datatype3.html#comparisons)."""
    end = prefix_end(prefix)
    return prefix, end if end is not None else b""
