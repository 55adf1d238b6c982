"""What every backend does alike: which transactions are well formed, where a prefix ends, and how
watchers learn that something changed."""

import asyncio
from collections.abc import Sequence
from typing import Final

from blox.base.errors import InvalidInput
from blox.store.port import Compare, Delete, Put

HISTORY: Final = 10_000
"""How many changes are kept for watchers. Whole revisions are dropped, oldest first; the newest
revision always stays."""

_LAST: Final = chr(0x10FFFF)


def check_key(key: str) -> None:
    """Raises InvalidInput unless `key` is non-empty text without NUL that UTF-8 can express."""
    if not key:
        raise InvalidInput("A key must not be empty.")
    check_prefix(key)


def check_prefix(prefix: str) -> None:
    """Like `check_key`, but "" is allowed: it begins every key."""
    if "\0" in prefix:
        raise InvalidInput(f"The key {prefix!r} contains NUL.")
    try:
        prefix.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"The key {prefix!r} is not valid Unicode.") from None


def check_transaction(compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> None:
    """Raises InvalidInput for a bad key or for a key that is written twice."""
    for compare in compares:
        check_key(compare.key)
    written: set[str] = set()
    for write in writes:
        check_key(write.key)
        if write.key in written:
            raise InvalidInput(f"A transaction must not write {write.key!r} twice.")
        written.add(write.key)


def check_ttl(ttl: float) -> None:
    """Raises InvalidInput unless a lease can last `ttl` seconds."""
    if not 0 < ttl < float("inf"):
        raise InvalidInput(f"A lease cannot last {ttl!r} seconds.")


def prefix_end(prefix: str) -> str | None:
    """The smallest text above every text that begins with `prefix`; None if there is none.

    Texts compare by code point, which is also the order of their UTF-8 bytes.
    """
    head = prefix.rstrip(_LAST)
    if not head:
        return None
    following = ord(head[-1]) + 1
    if 0xD800 <= following <= 0xDFFF:  # Surrogates are not characters; UTF-8 skips them too.
        following = 0xE000
    return head[:-1] + chr(following)


class Bell:
    """Wakes every task that waits, in the order in which they came. For one event loop."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def ring(self) -> None:
        """Wake all who wait now."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self) -> None:
        """Return at the next ring. Decide to wait and call this without awaiting in between."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            if future in self._waiting:
                self._waiting.remove(future)
