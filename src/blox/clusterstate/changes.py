"""The order of changes: what changed last comes last, and every entity stands in it once.

Each change gets the next version. Of an entity that changes again, the earlier change is left out:
who follows from an older version sees its last state. A reader holds nothing but the version that
it has come to, so that a slow one costs no memory; and it is told when deletions that it has not
seen are no longer kept (`holds`).

With the deletions, the log holds a bounded number more than the most entities that there ever were
at once. So a deletion only takes the place of what is deleted: when a large cluster goes at one
stroke, nobody loses anything, neither its own watchers nor those of others.

Pure.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

DELETIONS_KEPT: Final = 10_000
"""At least; more while there are fewer entities than there once were."""
_SLACK: Final = 1024


class Versioned(Protocol):
    """An entity's state as of one change."""

    @property
    def version(self) -> int:
        """Grows with every change of anything."""
        ...

    @property
    def identity(self) -> str:
        """Names the entity; no other one has the same."""
        ...

    @property
    def deleted(self) -> bool:
        """This is its last state: it is gone."""
        ...


E = TypeVar("E", bound=Versioned)


class ChangeLog(Generic[E]):
    """The newest change of every entity, in the order of versions."""

    def __init__(self, *, deletions_kept: int = DELETIONS_KEPT) -> None:
        self._entries: list[E | None] = []
        """None where the entity has changed again: its former state is let go of at once."""
        self._versions: list[int] = []
        """Of each entry."""
        self._newest: dict[str, E] = {}
        self._deletions: deque[tuple[int, str]] = deque()
        """By versions; with some that were taken back since."""
        self._deleted = 0
        """Entities of which the newest change is a deletion."""
        self._most = 0
        """The most that there were at once of which it is not."""
        self._kept = deletions_kept
        self._last = 0
        self._floor = 0
        self._began = 0
        self._stored = 0

    @property
    def last(self) -> int:
        """The version of the last change, or where the log began."""
        return self._last

    @property
    def floor(self) -> int:
        """Who has come no further than below this has missed deletions: it must list again."""
        return self._floor

    @property
    def began(self) -> int:
        """Where the log began: versions above it were given out by this one."""
        return self._began

    def begin_after(self, *, floor: int, last: int) -> None:
        """Go on after an earlier log of which everything up to `floor` is known, but for deletions,
        and that gave out no version above `last`."""
        self._floor, self._last = max(self._floor, floor), max(self._last, last)
        self._stored, self._began = self._floor, self._last

    def holds(self, version: int) -> bool:
        """Whether who has come to this version can go on from it.

        Not when it has missed deletions that are no longer kept. Nor when it has seen changes of an
        earlier log that this one never had: of what came to be and went there, nothing would be
        told any more.
        """
        lost = self._stored < version < self._began
        return self._floor <= version <= self._last and not lost

    def __len__(self) -> int:
        """How many entities it has the last state of, deleted ones included."""
        return len(self._newest)

    def append(self, entry: E) -> None:
        """The next change. Its version is greater than all before it."""
        assert entry.version > self._last, (entry.version, self._last)
        self._put(entry)
        self._last = entry.version
        self._forget_deletions()

    def put_back(self, entry: E) -> None:
        """An entry of before this log began: not above `last`, and in the order of versions."""
        assert entry.version <= self._last, (entry.version, self._last)
        assert not self._versions or entry.version > self._versions[-1], entry.version
        self._put(entry)

    def after(self, version: int) -> Iterator[E]:
        """Every entity that changed after `version`, in its last state, by version. The log must
        not change while this is being read."""
        for at in range(bisect_right(self._versions, version), len(self._entries)):
            entry = self._entries[at]
            if entry is not None:
                yield entry

    def _put(self, entry: E) -> None:
        before = self._newest.get(entry.identity)
        if before is not None:
            self._blank(before.version)
            self._deleted -= before.deleted
        if entry.deleted:
            self._deleted += 1
            self._deletions.append((entry.version, entry.identity))
        self._entries.append(entry)
        self._versions.append(entry.version)
        self._newest[entry.identity] = entry
        self._most = max(self._most, len(self._newest) - self._deleted)
        if len(self._entries) > 2 * len(self._newest) + _SLACK:
            self._compact()

    def _blank(self, version: int) -> None:
        self._entries[bisect_left(self._versions, version)] = None

    def _forget_deletions(self) -> None:
        while self._deleted and len(self._newest) > self._most + self._kept:
            version, identity = self._deletions.popleft()
            if self._holds_deletion(version, identity):
                del self._newest[identity]
                self._deleted -= 1
                self._blank(version)
                self._floor = max(self._floor, version)
        if len(self._deletions) > 2 * self._deleted + _SLACK:
            self._deletions = deque(one for one in self._deletions if self._holds_deletion(*one))

    def _holds_deletion(self, version: int, identity: str) -> bool:
        """Whether it was not taken back: what came again stands elsewhere."""
        newest = self._newest.get(identity)
        return newest is not None and newest.version == version

    def _compact(self) -> None:
        self._entries = [entry for entry in self._entries if entry is not None]
        self._versions = [entry.version for entry in self._entries if entry is not None]
