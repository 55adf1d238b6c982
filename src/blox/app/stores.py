"""Opening the file that one service keeps for itself.

The lock keeps a second process out while the first one runs; what is in the file keeps the other
service out for ever, because either would lock the other out on its next start, and a backup of one
would silently be a backup of half of both.
"""

from typing import Literal

from blox.base.ambient import Clock
from blox.store import keys
from blox.store.errors import StoreRefused
from blox.store.sqlite import SqliteStore

Service = Literal["daemon-scheduler", "cluster-state-service"]


async def open_store(path: str, *, clock: Clock, service: Service) -> SqliteStore:
    """The store in this file, made if it is not there.

    Raises StoreRefused when another process has it open, when it is the other service's, or cannot
    be used; StoreUnavailable when the disk fails.
    """
    store = await SqliteStore.open(path, clock=clock)
    try:
        owner = await _owner(store)
        if owner not in (None, service):
            raise StoreRefused(
                f"{path} is the store of a {owner}. Give the {service} a file of its own: another "
                "--store sqlite:PATH."
            )
    except BaseException:
        await store.close()
        raise
    return store


async def _owner(store: SqliteStore) -> Service | None:
    """Whose records are in it; None when it has none of either."""
    if await store.get(keys.STATE_NUMBERING) is not None:
        return "cluster-state-service"
    if (await store.list(keys.ENVIRONMENTS)).records:
        return "daemon-scheduler"
    return None
