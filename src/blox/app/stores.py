"""Opening the file that one service keeps for itself.

The lock keeps a second process out while the first one runs; a mark in the file, made with it,
keeps the other service out for ever, because either would lock the other out on its next start, and
a backup of one would silently be a backup of half of both. Files without a mark are known by their
records.
"""

from typing import Final, Literal

from blox.base.ambient import Clock
from blox.store import keys
from blox.store.errors import StoreRefused
from blox.store.port import Put
from blox.store.sqlite import SqliteStore

Service = Literal["daemon-scheduler", "cluster-state-service"]
_SERVICES: Final[tuple[Service, ...]] = ("daemon-scheduler", "cluster-state-service")


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
        if owner is None:
            await store.transact([], [Put(keys.OWNER, service.encode())])
    except BaseException:
        await store.close()
        raise
    return store


async def _owner(store: SqliteStore) -> Service | None:
    """Whose it is, by its mark, else by its records; None when it has neither."""
    mark = await store.get(keys.OWNER)
    if mark is not None:
        return next((one for one in _SERVICES if one.encode() == mark.value), None)
    if await store.get(keys.STATE_NUMBERING) is not None:
        return "cluster-state-service"
    left = await store.get(keys.CLEAN)
    if left is not None or (await store.list(keys.ENVIRONMENTS)).records:
        return "daemon-scheduler"
    return None
