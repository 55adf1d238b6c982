"""What happened to each key lately, in memory: the story that `explain` tells."""

from collections import deque
from collections.abc import Hashable, Mapping
from typing import Final, Generic, Literal, TypeVar

from msgspec import Struct

K = TypeVar("K", bound=Hashable)

_FEW: Final = 64
"""So many holes are not worth closing."""


class Entry(Struct, frozen=True, gc=False):
    """One thing that happened."""

    at: float
    """Seconds since 1970-01-01 UTC by ECS's clock."""
    what: Literal["seen", "decided", "called", "answered", "failed"]
    text: str
    """A sentence for the person who reads it."""
    details: Mapping[str, str] = {}
    """Request ids, ARNs, codes."""


class Journal(Generic[K]):
    """The last entries of each key, and of all keys together.

    Full, it forgets what was noted first. Notes cost the same however much is kept.
    """

    def __init__(self, limit_per_key: int = 32, limit_total: int = 100_000) -> None:
        """Raises ValueError for a limit below 1."""
        if limit_per_key < 1 or limit_total < 1:
            raise ValueError(f"limits must be at least 1: {limit_per_key=} {limit_total=}")
        self._limit_per_key = limit_per_key
        self._limit_total = limit_total
        self._stories: dict[K, list[Entry]] = {}
        # Lists, although entries leave at the front: they are short, and an empty deque takes 600
        # bytes. There is one for every slot.
        self._total = 0
        # The key of every note in order. An entry that its own key's limit dropped leaves its place
        # in here; `_holes` says how many of a key's first places stand for nothing.
        self._order: deque[K] = deque()
        self._holes: dict[K, int] = {}

    def __len__(self) -> int:
        """How many entries are kept."""
        return self._total

    def note(self, key: K, entry: Entry) -> None:
        """Keep `entry` as the newest of `key`, and forget the oldest where a limit asks it."""
        story = self._stories.get(key)
        if story is None:
            story = self._stories[key] = []
        elif len(story) == self._limit_per_key:
            del story[0]
            self._total -= 1
            self._holes[key] = self._holes.get(key, 0) + 1
        story.append(entry)
        self._order.append(key)
        self._total += 1
        if self._total > self._limit_total:
            self._forget_oldest()
        if len(self._order) > 2 * self._total + _FEW:
            self._close_holes()

    def story(self, key: K) -> tuple[Entry, ...]:
        """The entries of `key`, oldest first; empty when nothing is known of it."""
        return tuple(self._stories.get(key, ()))

    def _forget_oldest(self) -> None:
        while True:
            key = self._order.popleft()
            if not self._is_hole(key):
                break
        story = self._stories[key]
        del story[0]
        self._total -= 1
        if not story:
            del self._stories[key]

    def _close_holes(self) -> None:
        """Runs when more than half of the places are holes, so that a note costs the same on
        average."""
        self._order = deque(key for key in self._order if not self._is_hole(key))

    def _is_hole(self, key: K) -> bool:
        """Whether the first place of `key` stands for nothing; it is taken as used up."""
        holes = self._holes.pop(key, 0)
        if holes > 1:
            self._holes[key] = holes - 1
        return holes > 0
