"""What is encoded of tasks and hosts, kept for the next who asks, within a bound. Pure.

A change is told to many watchers, and the same few entities are asked for again and again. To keep
what is encoded of everything would cost more than everything itself does.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from blox.clusterstate.entity import Entity

MOST_BYTES: Final = 1024 * 1024


class Encoded:
    """Which entities have something encoded at them, oldest first."""

    def __init__(self, drop: Callable[[Entity], None], *, most_bytes: int = MOST_BYTES) -> None:
        """`drop` takes from an entity what is encoded of it."""
        self._drop = drop
        self._most_bytes = most_bytes
        self._entities: deque[tuple[Entity, int]] = deque()
        self._bytes = 0

    def add(self, entity: Entity, size: int) -> None:
        """So many bytes are kept at an entity now."""
        self._entities.append((entity, size))
        self._bytes += size
        while self._bytes > self._most_bytes and len(self._entities) > 1:
            oldest, freed = self._entities.popleft()
            self._bytes -= freed
            self._drop(oldest)
