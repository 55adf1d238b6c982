"""The store in memory: the reference model of the port, and the store of the simulation.

`MemoryData` is what would be on the disk; a `MemoryStore` is one process's handle on it. A restart
is a new handle on the same data. A transaction is applied at one instant, whole or not at all;
`Faults` may refuse it before that instant or lose its answer after it.
"""

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from blox.base.ambient import Clock
from blox.base.errors import Conflict
from blox.store.errors import Compacted, StoreUnavailable
from blox.store.port import Change, Compare, Delete, Listing, Outcome, Put, Record
from blox.store.shared import (
    HISTORY,
    Bell,
    check_key,
    check_prefix,
    check_transaction,
    check_ttl,
)


class Faults(Protocol):
    """Called around every operation, whose name is that of the port's method.

    Either may return an awaitable to take time. To refuse, `before` raises StoreUnavailable. To
    leave the outcome open, raise StoreUnknown: from `before` nothing was applied, from `after` all.
    """

    def before(self, operation: str, /) -> Awaitable[None] | None:
        """Nothing has been applied yet."""
        ...

    def after(self, operation: str, /) -> Awaitable[None] | None:
        """It has been applied; the caller has not been told."""
        ...


@dataclass(slots=True)
class _Lease:
    ttl: float
    deadline: float
    keys: dict[str, None] = field(default_factory=dict)


class MemoryData:
    """What outlives a process: records, the last `history` changes, and leases."""

    def __init__(self, *, history: int = HISTORY) -> None:
        self.limit = history
        self.records: dict[str, Record] = {}
        self.revision = 0
        self.changes: deque[Change] = deque()
        self.dropped = 0
        """Changes up to this revision are no longer kept."""
        self.leases: dict[int, _Lease] = {}
        self.last_lease = 0
        self.holder: dict[str, int] = {}
        """Key → the lease with which it goes."""
        self.bell = Bell()

    def apply(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Outcome:
        """Apply the whole transaction, or nothing. Raises Conflict for a lease that has ended."""
        if not all(self._holds(compare) for compare in compares):
            return Outcome(applied=False, revision=self.revision)
        for write in writes:
            if (
                isinstance(write, Put)
                and write.lease is not None
                and write.lease not in self.leases
            ):
                raise Conflict(f"The lease {write.lease} has ended.")
        changed = [write for write in writes if isinstance(write, Put) or write.key in self.records]
        if changed:
            self.revision += 1
            for write in changed:
                self._write(write)
            self._announce()
        return Outcome(applied=True, revision=self.revision)

    def _holds(self, compare: Compare) -> bool:
        record = self.records.get(compare.key)
        if record is None:
            return compare.revision == 0
        return compare.revision == (
            record.modified if compare.what == "modified" else record.created
        )

    def _write(self, write: Put | Delete) -> None:
        key = write.key
        former = self.records.pop(key, None)
        lease = self.holder.pop(key, None)
        if lease is not None:
            self.leases[lease].keys.pop(key)
        record = None
        if isinstance(write, Put):
            created = self.revision if former is None else former.created
            record = Record(key, bytes(write.value), created, self.revision)
            self.records[key] = record
            if write.lease is not None:
                self.holder[key] = write.lease
                self.leases[write.lease].keys[key] = None
        self.changes.append(Change(key, record, self.revision))

    def _announce(self) -> None:
        """Drop what is too old, whole revisions at a time, and wake the watchers."""
        while len(self.changes) > self.limit and self.changes[0].revision < self.revision:
            self.dropped = self.changes[0].revision
            while self.changes[0].revision == self.dropped:
                self.changes.popleft()
        self.bell.ring()

    def listing(self, prefix: str) -> Listing:
        """Every record under `prefix`, in key order."""
        keys = sorted(key for key in self.records if key.startswith(prefix))
        return Listing(tuple(self.records[key] for key in keys), self.revision)

    def since(self, prefix: str, after: int) -> list[Change]:
        """Changes after a revision. Raises Compacted."""
        if after < self.dropped:
            raise Compacted(self.dropped + 1)
        return [c for c in self.changes if c.revision > after and c.key.startswith(prefix)]

    def grant(self, ttl: float, now: float) -> int:
        """A new lease that begins now."""
        self.last_lease += 1
        self.leases[self.last_lease] = _Lease(ttl, now + ttl)
        return self.last_lease

    def end(self, lease: int) -> None:
        """End a lease: its keys go in one revision. No error if it has ended."""
        held = self.leases.get(lease)
        if held is None:
            return
        keys = sorted(held.keys)
        if keys:
            self.apply((), [Delete(key) for key in keys])
        del self.leases[lease]

    def expire(self, now: float) -> float | None:
        """End what is over; returns when the next lease ends."""
        over = sorted((h.deadline, lease) for lease, h in self.leases.items() if h.deadline <= now)
        for _, lease in over:
            self.end(lease)
        return min((held.deadline for held in self.leases.values()), default=None)


class MemoryStore:
    """One process's handle. Every operation suspends at least once, as those of real stores do."""

    def __init__(
        self,
        clock: Clock,
        *,
        faults: Faults | None = None,
        data: MemoryData | None = None,
    ) -> None:
        self._clock = clock
        self._faults = faults
        self._timer: asyncio.TimerHandle | None = None
        self._cut = False
        self.data = MemoryData() if data is None else data

    async def get(self, key: str) -> Record | None:
        check_key(key)
        await self._enter("get")
        record = self.data.records.get(key)
        await self._leave("get")
        return record

    async def list(self, prefix: str) -> Listing:
        check_prefix(prefix)
        await self._enter("list")
        listing = self.data.listing(prefix)
        await self._leave("list")
        return listing

    async def transact(
        self, compares: Sequence[Compare], writes: Sequence[Put | Delete]
    ) -> Outcome:
        check_transaction(compares, writes)
        compares, writes = tuple(compares), tuple(writes)
        await self._enter("transact")
        outcome = self.data.apply(compares, writes)
        await self._leave("transact")
        return outcome

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Change]:
        check_prefix(prefix)
        while True:
            await self._enter("watch")
            changes = self.data.since(prefix, after)
            after = max(after, self.data.revision)
            for change in changes:
                yield change
            if after >= self.data.revision and not self._cut:
                await self.data.bell.wait()

    async def grant_lease(self, ttl: float) -> int:
        check_ttl(ttl)
        await self._enter("grant_lease")
        lease = self.data.grant(ttl, self._clock.monotonic())
        self._arm()
        await self._leave("grant_lease")
        return lease

    async def keep_alive(self, lease: int) -> bool:
        await self._enter("keep_alive")
        held = self.data.leases.get(lease)
        if held is not None:
            held.deadline = self._clock.monotonic() + held.ttl
        await self._leave("keep_alive")
        return held is not None

    async def revoke_lease(self, lease: int) -> None:
        await self._enter("revoke_lease")
        self.data.end(lease)
        await self._leave("revoke_lease")

    async def close(self) -> None:
        self.cut()

    def cut(self) -> None:
        """Nothing passes through this handle any more, not even what has begun already.

        A simulated kill -9 calls it, so that no task of the dead process can still write.
        """
        self._cut = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.data.bell.ring()

    async def _enter(self, operation: str) -> None:
        await asyncio.sleep(0)
        if self._faults is not None:  # Asked last: if it takes no time, nothing comes between.
            await _taking_time(self._faults.before(operation))
        if self._cut:
            raise StoreUnavailable("The store is closed.")
        self._arm()

    async def _leave(self, operation: str) -> None:
        if self._faults is not None:
            await _taking_time(self._faults.after(operation))

    def _arm(self) -> None:
        """End what is over, and look again when the next lease ends, so that watchers see it."""
        following = self.data.expire(self._clock.monotonic())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if following is not None:
            delay = following - self._clock.monotonic()
            self._timer = asyncio.get_running_loop().call_later(delay, self._arm)


async def _taking_time(pending: Awaitable[None] | None) -> None:
    if inspect.isawaitable(pending):
        await pending
