"""The store port: ordered keys, transactions with compares, watches, leases.

Revisions are one growing number for the whole store: each transaction that writes takes the next.
A record knows the revision that created it and the one that wrote it last; a key that is deleted
and put again has a new `created`.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

from msgspec import Struct

ABSENT = 0
"""The revision to compare with for a key that must not exist."""


class Record(Struct, frozen=True):
    """What is stored under a key."""

    key: str
    value: bytes
    created: int
    """The revision that created the key."""
    modified: int
    """The revision that wrote it last."""


class Listing(Struct, frozen=True):
    """All records under a prefix, in key order, as of one revision."""

    records: tuple[Record, ...]
    revision: int


class Compare(Struct, frozen=True):
    """Holds if the key's revision equals `revision`; ABSENT for a key that must not exist."""

    key: str
    revision: int
    what: Literal["modified", "created"] = "modified"


class Put(Struct, frozen=True):
    """A write of one key."""

    key: str
    value: bytes
    lease: int | None = None
    """The key goes when this lease ends."""


class Delete(Struct, frozen=True):
    """Deletes the key if it exists."""

    key: str


class Outcome(Struct, frozen=True):
    """`applied`: every compare held and every write was made durable, at `revision`. Otherwise
    nothing was written."""

    applied: bool
    revision: int


class Change(Struct, frozen=True):
    """One key's change. `record` is None when the key was deleted or its lease ended."""

    key: str
    record: Record | None
    revision: int


class Store(Protocol):
    """Every method may raise StoreUnavailable (nothing happened). Keys are non-empty text without
    NUL; values are bytes."""

    async def get(self, key: str) -> Record | None: ...

    async def list(self, prefix: str) -> Listing:
        """Every record whose key begins with `prefix`, from one revision."""
        ...

    async def transact(
        self, compares: Sequence[Compare], writes: Sequence[Put | Delete]
    ) -> Outcome:
        """Apply all writes if all compares hold, else none. Durable when it returns.

        A transaction writes each key at most once. Raises StoreUnknown when it may or may not have
        been applied.
        """
        ...

    def watch(self, prefix: str, after: int) -> AsyncIterator[Change]:
        """Changes under `prefix` with a revision greater than `after`, in order, each once.

        Never ends by itself. Raises Compacted when changes after `after` are no longer kept.
        """
        ...

    async def grant_lease(self, ttl: float) -> int:
        """A new lease that ends `ttl` seconds after its last keep-alive."""
        ...

    async def keep_alive(self, lease: int) -> bool:
        """Renew; False when the lease has ended already."""
        ...

    async def revoke_lease(self, lease: int) -> None:
        """End the lease now and delete its keys. No error if it has ended."""
        ...

    async def close(self) -> None: ...
