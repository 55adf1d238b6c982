"""Transactions of the scheduler's records: what is written, what memory believes, what is in doubt.

A transaction goes on when its caller is cancelled, so that memory learns what the store has. One
whose outcome the store does not know is read back; if that fails too, StoreUnknown is raised and
its keys are read again before the next transaction.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from msgspec import Struct

from blox.base.errors import Conflict, Unavailable
from blox.scheduler.records import Clean, Records, decode, encode
from blox.store import keys
from blox.store.errors import StoreRefused, StoreUnavailable, StoreUnknown
from blox.store.port import ABSENT, Compare, Delete, Put, Record, Store

Writes = Mapping[str, Struct | None]
"""Key → its new value; None deletes it."""


class Writer:
    """The records in memory, and the one way to change them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.records = Records()
        self._unsure: dict[str, None] = {}
        """Keys of which memory may be wrong."""
        self._abandoned: dict[str, None] = {}
        """Keys of intents whose call will never be sent: deleted with the next transaction."""
        self.is_new = False
        """Nothing was in the store when it was read."""
        self._running: set[asyncio.Future[None]] = set()

    async def read_all(self) -> bool:
        """Read everything anew; whether the last owner left with nothing open. Raises StoreRefused,
        naming the key, for what cannot be read."""
        listing = await self.store.list(keys.ROOT)
        records = Records()
        clean = False
        for record in listing.records:
            value = decoded(record)
            clean = clean or isinstance(value, Clean)
            if value is not None:
                records.place(record.key, value, record.modified)
        self.records, self._unsure, self._abandoned = records, {}, {}
        self.is_new = not listing.records
        return clean

    def change(
        self,
        compares: Mapping[str, int],
        writes: Writes,
        conflict: str | None = None,
        unless: Callable[[], str] = lambda: "",
    ) -> Awaitable[None]:
        """Begin a transaction now, by what is known now. It goes on if who awaits it is cancelled:
        what is being written cannot be called back, and memory must learn of it."""
        running = asyncio.ensure_future(self._transact(compares, writes, conflict, unless))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return asyncio.shield(running)

    async def _transact(
        self,
        compares: Mapping[str, int],
        writes: Writes,
        conflict: str | None,
        unless: Callable[[], str],
    ) -> None:
        await self._clear_up()
        if why := unless():
            raise Conflict(why)
        abandoned = tuple(self._abandoned)
        encoded: dict[str, bytes | None] = dict.fromkeys(abandoned)
        encoded |= {key: None if value is None else encode(value) for key, value in writes.items()}
        try:
            outcome = await self.store.transact(
                [Compare(key, revision) for key, revision in compares.items()],
                [Delete(key) if data is None else Put(key, data) for key, data in encoded.items()],
            )
            applied, revision = outcome.applied, outcome.revision
        except StoreUnknown as unknown:
            revision = await self._after_unknown(unknown, compares, encoded)
            applied = True
        except asyncio.CancelledError:
            self._doubt(compares, writes)
            raise
        if not applied:
            self._unsure |= dict.fromkeys((*compares, *writes))
            await self._clear_up()
            raise Conflict(conflict or "What this change was made for has changed meanwhile.")
        for key in abandoned:
            self._abandoned.pop(key, None)
        self._remember(writes, revision)

    async def _after_unknown(
        self,
        unknown: StoreUnknown,
        compares: Mapping[str, int],
        encoded: Mapping[str, bytes | None],
    ) -> int:
        """The revision at which a transaction was applied whose answer was lost.

        Raises StoreUnavailable if it was not applied, StoreUnknown if reading back fails too.
        """
        try:
            revision = await self._read_back(compares, encoded)
        except BaseException as error:
            self._doubt(compares, encoded)
            if isinstance(error, Unavailable):
                raise unknown from None
            raise
        if revision is None:
            # A store of several members may still apply it, after all.
            self._doubt(compares, encoded)
            raise StoreUnavailable(f"Nothing was written: {unknown.message}") from unknown
        return revision

    def _remember(self, writes: Writes, revision: int) -> None:
        for key, value in writes.items():
            if value is None:
                self.records.remove(key)
            elif key not in self._abandoned:
                self.records.place(key, value, revision)

    async def _read_back(
        self, compares: Mapping[str, int], encoded: Mapping[str, bytes | None]
    ) -> int | None:
        """The revision at which a transaction was applied, or None if it was not.

        It was applied whole or not at all, so one of its writes tells.
        """
        for key, data in encoded.items():
            record = await self.store.get(key)
            if data is None and record is not None:
                return None
            if data is not None:
                same = record is not None and record.value == data
                new = record is not None and record.modified != compares.get(key)
                return record.modified if record is not None and same and new else None
        return 0

    def _doubt(self, compares: Mapping[str, int], written: Iterable[str]) -> None:
        """This may be applied, now or later: read it again; abandon the intents that it opens."""
        for key in written:
            if key.startswith(keys.INTENTS) and compares.get(key) == ABSENT:
                self.abandon(key)
        self._unsure |= dict.fromkeys((*compares, *written))

    def abandon(self, key: str) -> None:
        """The call of this intent will not be sent: it must not hold its hosts in doubt."""
        self._abandoned[key] = None
        self.records.remove(key)

    async def _clear_up(self) -> None:
        """Read again what memory may have wrong. Raises StoreUnavailable while that fails."""
        while self._unsure:
            key = next(iter(self._unsure))
            del self._unsure[key]  # Now, so that a doubt that comes up while reading stays.
            before = self.records.revision(key)
            try:
                record = await self.store.get(key)
            except BaseException:
                self._unsure[key] = None
                raise
            if self.records.revision(key) == before and key not in self._abandoned:
                if record is None:
                    self.records.remove(key)
                else:
                    self._place(record)

    def _place(self, record: Record) -> None:
        value = decoded(record)
        if value is not None:
            self.records.place(record.key, value, record.modified)


def decoded(record: Record) -> Struct | None:
    """The record's value; None under a key that this version does not know. Raises StoreRefused."""
    try:
        return decode(record.key, record.value)
    except StoreRefused as error:
        raise StoreRefused(f"{record.key}: {error.message}") from error
