"""A backup holds everything that was acknowledged, and is a store by itself."""

import asyncio
from pathlib import Path

import pytest

from blox.base.clock import SystemClock
from blox.base.errors import InvalidInput
from blox.store.backup import write_backup
from blox.store.errors import StoreRefused, StoreUnavailable
from blox.store.port import Put
from blox.store.sqlite import SqliteStore


async def copy_of(path: Path, target: Path, *, records: int, replace: bool = False) -> int:
    store = await SqliteStore.open(path, clock=SystemClock())
    try:
        for number in range(records):
            await store.transact([], [Put(f"/k{number}", b"v" * 100)])
        return write_backup(await store.snapshot(), target, replace=replace)
    finally:
        await store.close()


async def keys_in(path: Path) -> list[str]:
    store = await SqliteStore.open(path, clock=SystemClock())
    try:
        return [record.key for record in (await store.list("/")).records]
    finally:
        await store.close()


def test_the_backup_has_everything_and_opens_as_a_store(tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    assert asyncio.run(copy_of(tmp_path / "blox.db", target, records=30)) == 30
    assert asyncio.run(keys_in(target)) == sorted(f"/k{number}" for number in range(30))
    assert target.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.glob(".*.part")] == []


def test_an_existing_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("precious")
    with pytest.raises(InvalidInput, match="exists"):
        asyncio.run(copy_of(tmp_path / "blox.db", target, records=1))
    assert target.read_text() == "precious"
    assert asyncio.run(copy_of(tmp_path / "blox.db", target, records=1, replace=True)) == 1


@pytest.mark.parametrize("data", [b"", b"no database", b"SQLite format 3\0" + bytes(4000)])
def test_what_is_no_store_gets_no_name(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(StoreRefused):
        write_backup(data, tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_none_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere" / "copy.db"):
        with pytest.raises(InvalidInput, match="folder"):
            write_backup(b"", place)


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    async def closed() -> None:
        store = await SqliteStore.open(tmp_path / "blox.db", clock=SystemClock())
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.snapshot()

    asyncio.run(closed())
