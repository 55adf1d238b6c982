"""The order of changes: what changed last comes last, and every entity stands in it once.

Each change gets the next version. Of an entity that changes again, the earlier change is left out:
who follows from an older version sees its last state, and the log never holds more than there are
entities, plus a bounded number of deletions. A reader holds nothing but the version that it has
come to, so that a slow one costs no memory; and it is told when deletions that it has not seen are
no longer kept (`floor`).
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

DELETIONS_KEPT = 10_000
_SLACK = 1024


class Versioned(Protocol):
    """An entity's state as of one change."""

    @property
    def version(self) -> int:
        """Grows with every change of anything."""
        ...

    @property
    def key(self) -> str:
        """Names the entity."""
        ...

    @property
    def deleted(self) -> bool:
        """This is its last state: it is gone."""
        ...


E = TypeVar("E", bound=Versioned)


class ChangeLog(Generic[E]):
    """The newest change of every entity, in the order of versions."""

    def __init__(self, *, deletions_kept: int = DELETIONS_KEPT) -> None:
        self._entries: list[E] = []
        self._versions: list[int] = []
        self._newest: dict[str, E] = {}
        self._deletions: deque[E] = deque()
        self._kept = deletions_kept
        self._last = 0
        self._floor = 0

    @property
    def last(self) -> int:
        """The version of the last change, or where the log began."""
        return self._last

    @property
    def floor(self) -> int:
        """Who has come no further than below this has missed deletions: it must list again."""
        return self._floor

    def begin_after(self, *, floor: int, last: int) -> None:
        """Nothing is known of changes up to `floor`; versions up to `last` were given out."""
        self._floor, self._last = max(self._floor, floor), max(self._last, last)

    def __len__(self) -> int:
        return len(self._newest)

    def append(self, entry: E) -> None:
        """The next change. Its version is greater than all before it."""
        assert entry.version > self._last, (entry.version, self._last)
        self.put_back(entry)
        self._last = entry.version
        if entry.deleted:
            self._deletions.append(entry)
            self._forget_deletions()

    def put_back(self, entry: E) -> None:
        """An entry of before this log began: not above `last`, and in the order of versions."""
        self._entries.append(entry)
        self._versions.append(entry.version)
        self._newest[entry.key] = entry
        if len(self._entries) > 2 * len(self._newest) + _SLACK:
            self._compact()

    def after(self, version: int) -> Iterator[E]:
        """Every entity that changed after `version`, in its last state, by version. The log must
        not change while this is being read."""
        for at in range(bisect_right(self._versions, version), len(self._entries)):
            entry = self._entries[at]
            if self._newest.get(entry.key) is entry:
                yield entry

    def _forget_deletions(self) -> None:
        while len(self._deletions) > self._kept:
            old = self._deletions.popleft()
            if self._newest.get(old.key) is old:
                del self._newest[old.key]
                self._floor = max(self._floor, old.version)

    def _compact(self) -> None:
        self._entries = [e for e in self._entries if self._newest.get(e.key) is e]
        self._versions = [entry.version for entry in self._entries]
