"""The SQLite store against real files, disks that fail and processes that are killed."""

import asyncio
import os
import random
import sqlite3
import struct
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from blox.base.clock import SystemClock
from blox.store import sqlite
from blox.store.database import APPLICATION_ID, LAYOUT
from blox.store.errors import StoreRefused, StoreUnavailable, StoreUnknown
from blox.store.port import Compare, Delete, Put, Record
from blox.store.sqlite import InlineExecutor, SqliteStore
from support.badvfs import BadDisk
from support.processes import running
from support.stores import delete, keys_of, put, seen

TESTS = Path(__file__).parents[1]


def on_store(
    path: Path, act: Callable[[SqliteStore], Coroutine[Any, Any, None]], *, vfs: str = ""
) -> None:
    """Open the store on this thread, act, close."""

    async def main() -> None:
        store = await SqliteStore.open(
            path, clock=SystemClock(), executor=InlineExecutor(), vfs=vfs
        )
        try:
            await act(store)
        finally:
            await store.close()

    asyncio.run(main())


def refused(path: Path) -> str:
    """The sentence with which opening is refused."""

    async def nothing(store: SqliteStore) -> None:
        raise AssertionError("it was opened")

    with pytest.raises(StoreRefused) as caught:
        on_store(path, nothing)
    return caught.value.message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "blox.db"


# --- Durability -----------------------------------------------------------------------------------


def test_everything_is_there_after_a_restart(path: Path) -> None:
    async def write(store: SqliteStore) -> None:
        await put(store, "/a", b"1")
        await put(store, "/b", b"2")
        await put(store, "/a", b"3")
        await delete(store, "/b")

    async def read(store: SqliteStore) -> None:
        listing = await store.list("")
        assert (listing.records, listing.revision) == ((Record("/a", b"3", 1, 3),), 4)
        assert [change.revision for change in await seen(store, "/", 1, 3)] == [2, 3, 4]
        assert await put(store, "/c") == 5

    on_store(path, write)
    on_store(path, read)
    assert sorted(file.name for file in path.parent.iterdir()) == ["blox.db", "blox.db.lock"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_killed_process_loses_nothing_that_it_acknowledged(path: Path, tmp_path: Path) -> None:
    """kill -9 at random moments, ten times over the same file."""
    pause = random.Random(7)
    for round_ in range(10):
        output = tmp_path / f"acknowledged-{round_}"
        wanted = pause.randrange(20, 1_500)
        with running(
            ["-m", "support.store_writer", str(path)],
            output=output,
            environment={"PYTHONPATH": str(TESTS)},
        ) as writer:
            writer.wait_for(lambda: output.read_bytes().count(b"\n") >= wanted)  # noqa: B023
            writer.kill()
        acknowledged = _acknowledged(output)
        assert len(acknowledged) > 0
        on_store(path, lambda store: _holds(store, acknowledged))  # noqa: B023


def _acknowledged(output: Path) -> dict[str, int]:
    """The last number that was printed for each key."""
    return {
        key: int(number)
        for key, number in (line.split() for line in output.read_text().splitlines())
    }


async def _holds(store: SqliteStore, acknowledged: dict[str, int]) -> None:
    records = {record.key: record for record in (await store.list("")).records}
    for key, number in acknowledged.items():
        # One more may have been written whose acknowledgement was not printed any more.
        assert int(records[key].value) in (number, number + 1)
        twin = records[f"{key}/twin"]
        assert (twin.value, twin.modified) == (records[key].value, records[key].modified)
    assert "/leased" not in records


# --- Disks that are full or fail ------------------------------------------------------------------


def limit_pages(store: SqliteStore, pages: int) -> None:
    connection = store._database._db
    assert connection is not None
    connection.pragma("max_page_count", pages)


def test_a_full_disk_refuses_the_whole_group_and_then_recovers(path: Path) -> None:
    async def act(store: SqliteStore) -> None:
        await put(store, "/before", b"1")
        limit_pages(store, 30)
        big = bytes(200_000)
        results = await asyncio.gather(
            put(store, "/small/1", b"1"),
            put(store, "/big", big),
            store.get("/small/1"),
            store.get("/before"),
            put(store, "/small/2", b"2"),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [
            StoreUnavailable,
            StoreUnavailable,
            type(None),
            Record,
            StoreUnavailable,
        ]
        assert "full" in str(results[0])
        assert keys_of(await store.list("")) == ["/before"]
        assert await put(store, "/small/1", b"1") == 2
        limit_pages(store, 1_000_000)
        assert await put(store, "/big", big) == 3
        assert [change.revision for change in await seen(store, "/", 0, 3)] == [1, 2, 3]

    on_store(path, act)
    on_store(path, _has("/before", "/big", "/small/1"))


def test_leases_are_as_before_when_their_group_is_lost(path: Path) -> None:
    async def act(store: SqliteStore) -> None:
        lease = await store.grant_lease(1000.0)
        await put(store, "/leased", lease=lease)
        limit_pages(store, 30)
        results = await asyncio.gather(
            store.revoke_lease(lease), put(store, "/big", bytes(200_000)), return_exceptions=True
        )
        assert [type(result) for result in results] == [StoreUnavailable, StoreUnavailable]
        assert await store.keep_alive(lease)
        assert keys_of(await store.list("")) == ["/leased"]
        await store.revoke_lease(lease)
        assert keys_of(await store.list("")) == []

    on_store(path, act)


def test_a_disk_that_stays_full_stays_readable(path: Path) -> None:
    async def act(store: SqliteStore) -> None:
        await put(store, "/a", b"1")
        limit_pages(store, 30)
        for _ in range(20):
            with pytest.raises(StoreUnavailable):
                await store.transact([Compare("/a", 1)], [Put("/a", bytes(200_000))])
            assert await store.get("/a") == Record("/a", b"1", 1, 1)
        lease = await store.grant_lease(10.0)
        assert await store.keep_alive(lease)

    on_store(path, act)


def _has(*keys: str) -> Callable[[SqliteStore], Coroutine[Any, Any, None]]:
    async def check(store: SqliteStore) -> None:
        assert keys_of(await store.list("")) == list(keys)

    return check


@pytest.fixture
def disk() -> Iterator[BadDisk]:
    bad = BadDisk()
    yield bad
    bad.unregister()


def test_a_failed_sync_is_unknown_and_what_is_read_back_stays(path: Path, disk: BadDisk) -> None:
    found: list[str] = []

    async def act(store: SqliteStore) -> None:
        await put(store, "/before")
        lease = await store.grant_lease(100.0)
        disk.failing = True
        results = await asyncio.gather(
            put(store, "/doubtful"), put(store, "/doubtful/2"), return_exceptions=True
        )
        assert [type(result) for result in results] == [StoreUnknown, StoreUnknown]
        assert disk.failures > 0
        disk.failing = False
        found.extend(keys_of(await store.list("")))
        assert found in (["/before"], ["/before", "/doubtful", "/doubtful/2"])
        assert await store.keep_alive(lease)
        assert await store.grant_lease(1.0) != lease
        await put(store, "/z", lease=None)

    on_store(path, act, vfs=disk.NAME)
    on_store(path, _has(*found, "/z"))


def test_reads_of_a_group_that_is_in_doubt_are_answered(path: Path, disk: BadDisk) -> None:
    async def act(store: SqliteStore) -> None:
        await put(store, "/a", b"1")
        disk.failing = True
        written, read = await asyncio.gather(
            put(store, "/b"), store.get("/a"), return_exceptions=True
        )
        assert isinstance(written, StoreUnknown)
        # The file can be opened anew only when what is in its log can be made safe.
        assert read == Record("/a", b"1", 1, 1) or isinstance(read, StoreUnavailable)
        disk.failing = False
        assert await store.get("/a") == Record("/a", b"1", 1, 1)
        assert (await store.transact([Compare("/a", 1)], [Delete("/a")])).applied

    on_store(path, act, vfs=disk.NAME)


def test_a_file_that_is_emptied_meanwhile_is_not_made_anew(path: Path, disk: BadDisk) -> None:
    async def act(store: SqliteStore) -> None:
        await put(store, "/a")
        disk.failing = True
        with pytest.raises(StoreUnknown):
            await put(store, "/b")
        disk.failing = False
        for file in path.parent.glob("blox.db*"):
            os.truncate(file, 0)
        with pytest.raises((StoreRefused, StoreUnavailable)):
            await store.get("/a")

    on_store(path, act, vfs=disk.NAME)


# --- What is refused, and left as it is -----------------------------------------------------------


def header(path: Path) -> tuple[int, int]:
    """`user_version` and `application_id` as they stand in the file."""
    data = path.read_bytes()
    version, application = struct.unpack(">I4xI", data[60:72])
    return version, application


def test_the_file_says_whose_it_is(path: Path) -> None:
    on_store(path, _has())
    assert header(path) == (LAYOUT, APPLICATION_ID)


def test_a_newer_layout_is_refused_and_left_untouched(path: Path) -> None:
    async def write(store: SqliteStore) -> None:
        await put(store, "/a", b"1")

    on_store(path, write)
    with sqlite3.connect(path) as newer:
        newer.execute(f"PRAGMA user_version = {LAYOUT + 1}")
    newer.close()
    before = path.read_bytes()
    assert f"layout {LAYOUT + 1}" in refused(path)
    assert path.read_bytes() == before
    assert not path.with_name("blox.db-wal").exists()


def test_a_newer_layout_that_is_only_in_the_log_is_refused_and_left_untouched(
    path: Path, tmp_path: Path
) -> None:
    on_store(path, _has())
    newer = apsw.Connection(str(path))
    newer.pragma("locking_mode", "exclusive")
    newer.pragma("wal_autocheckpoint", 0)
    newer.pragma("user_version", LAYOUT + 1)
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    copies = [crashed / name for name in ("blox.db", "blox.db-wal")]
    for copy in copies:
        copy.write_bytes((tmp_path / copy.name).read_bytes())
    newer.close()
    before = [copy.read_bytes() for copy in copies]
    assert header(copies[0])[0] == LAYOUT
    assert f"layout {LAYOUT + 1}" in refused(copies[0])
    assert [copy.read_bytes() for copy in copies] == before


@pytest.mark.parametrize(
    "content", [b"x", b"SQLite format 3\0", b"SQLite format 4\0" + bytes(4096), bytes(5000)]
)
def test_a_file_that_is_no_database_is_refused_and_left_untouched(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    assert "not a database" in refused(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("application", [0, 12345])
def test_another_programs_database_is_refused_and_left_untouched(
    path: Path, application: int
) -> None:
    other = sqlite3.connect(path)
    other.executescript(f"PRAGMA application_id = {application}; CREATE TABLE theirs (x);")
    other.close()
    before = path.read_bytes()
    assert "another program" in refused(path)
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    on_store(path, _has())
    assert header(path) == (LAYOUT, APPLICATION_ID)


READER = """
import signal, sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN")
other.execute("SELECT count(*) FROM records").fetchall()
print("reading", flush=True)
signal.pause()
"""


def test_a_database_that_another_program_uses_is_refused(path: Path, tmp_path: Path) -> None:
    on_store(path, _has())
    with running(["-c", READER, str(path)], output=tmp_path / "output") as reader:
        reader.wait_for_output("reading")
        assert "another program" in refused(path)
    on_store(path, _has())


def test_a_place_where_no_file_can_be_is_refused(path: Path) -> None:
    assert "does not exist" in refused(path.parent / "missing" / "blox.db")
    assert "is a folder" in refused(path.parent)
    assert not (path.parent / "missing").exists()
    message = refused(Path("/proc/blox.db"))
    assert "/proc" in message


def test_a_network_file_system_is_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"36 22 0:30 / {path.parent.resolve()} rw - nfs4 server:/export rw\n")
    monkeypatch.setattr(sqlite, "MOUNTINFO", str(mountinfo))
    message = refused(path)
    assert "network file system (nfs4)" in message
    assert not path.exists()


# --- One process at a time ------------------------------------------------------------------------


def test_a_second_process_is_refused_by_the_first_ones_pid_until_it_is_gone(
    path: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    with running(
        ["-m", "support.store_writer", str(path)],
        output=output,
        environment={"PYTHONPATH": str(TESTS)},
    ) as first:
        first.wait_for_output("/count/00")
        message = refused(path)
        assert f"process {first.pid} on " in message
        assert str(path) in message
        link = tmp_path / "link.db"
        link.symlink_to(path)
        assert f"process {first.pid} on " in refused(link)
        first.kill()
    on_store(path, _holds_something)


async def _holds_something(store: SqliteStore) -> None:
    assert (await store.list("/count/")).records


def test_a_store_that_is_closed_can_be_opened_again(path: Path) -> None:
    async def first(store: SqliteStore) -> None:
        assert f"process {os.getpid()} on " in await asyncio.to_thread(refused, path)

    on_store(path, first)
    on_store(path, _has())


def test_a_refused_opening_leaves_no_lock_behind(path: Path) -> None:
    path.write_bytes(b"not a database")
    refused(path)
    path.unlink()
    on_store(path, _has())
