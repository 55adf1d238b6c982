"""A process that writes to a SQLite store for ever and prints what was acknowledged: to be killed.

Each of its writers owns a key and counts it up; "KEY NUMBER" is printed once the store has said
that NUMBER is durable. `python -m support.store_writer PATH`, with tests/ on the path.
"""

import asyncio
import os
import sys

from blox.base.clock import SystemClock
from blox.store.port import Compare, Put
from blox.store.sqlite import SqliteStore

WRITERS = 16


async def _count_up(store: SqliteStore, key: str) -> None:
    record = await store.get(key)
    revision = 0 if record is None else record.modified
    number = 0 if record is None else int(record.value)
    while True:
        number += 1
        value = b"%d" % number
        outcome = await store.transact(
            [Compare(key, revision)], [Put(key, value), Put(f"{key}/twin", value)]
        )
        if not outcome.applied:
            raise AssertionError(f"somebody else wrote {key}")
        revision = outcome.revision
        # In one piece and unbuffered: what is out counts as acknowledged, kill or no kill.
        os.write(1, f"{key} {number}\n".encode())


async def _main(path: str) -> None:
    store = await SqliteStore.open(path, clock=SystemClock())
    lease = await store.grant_lease(3600.0)
    await store.transact([], [Put("/leased", b"", lease)])
    async with asyncio.TaskGroup() as group:
        for number in range(WRITERS):
            group.create_task(_count_up(store, f"/count/{number:02}"))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
