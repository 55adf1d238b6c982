"""What every store promises, asked of each backend alike."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from blox.base.errors import Conflict, InvalidInput
from blox.store.errors import Compacted, StoreUnavailable
from blox.store.port import ABSENT, Change, Compare, Delete, Put, Record, Store
from blox.store.shared import HISTORY
from support import stores
from support.stores import (
    BACKENDS,
    PATIENCE,
    Backend,
    Scenario,
    SteppedClock,
    brief,
    delete,
    keys_of,
    put,
    seen,
    take,
)

Play = Callable[..., None]


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    backend: Backend = request.param

    def played(scenario: Scenario, *, history: int = HISTORY) -> None:
        stores.play(backend, tmp_path, scenario, history=history)

    return played


# --- Records and revisions ------------------------------------------------------------------------


def test_a_record_knows_who_created_it_and_who_wrote_it_last(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        assert await store.get("/a") is None
        first = await put(store, "/a", b"1")
        other = await put(store, "/b", b"x")
        second = await put(store, "/a", b"2")
        assert 0 < first < other < second
        assert await store.get("/a") == Record("/a", b"2", created=first, modified=second)
        assert await store.get("/b") == Record("/b", b"x", created=other, modified=other)

    play(scenario)


def test_a_key_that_was_deleted_and_put_again_is_a_new_one(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        first = await put(store, "/a", b"1")
        gone = await delete(store, "/a")
        assert await store.get("/a") is None
        again = await put(store, "/a", b"1")
        assert first < gone < again
        assert await store.get("/a") == Record("/a", b"1", created=again, modified=again)

    play(scenario)


def test_what_changes_nothing_takes_no_revision(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        last = await put(store, "/a", b"1")
        assert await delete(store, "/nothing") == last
        assert (await store.transact([Compare("/a", last)], [])).applied
        refused = await store.transact([Compare("/a", ABSENT)], [Put("/b", b"")])
        assert not refused.applied
        assert refused.revision == last
        assert (await store.list("")).revision == last
        assert await put(store, "/b", b"") == last + 1

    play(scenario)


@pytest.mark.parametrize("size", [0, 1, 5_000, 3_000_000])
def test_values_of_any_size_come_back_as_they_were(play: Play, size: int) -> None:
    value = bytes(range(256)) * (size // 256) + bytes(size % 256)

    async def scenario(store: Store, clock: SteppedClock) -> None:
        await put(store, "/a", value)
        record = await store.get("/a")
        assert record is not None
        assert record.value == value
        assert brief(await seen(store, "/a", 0, 1)) == [("/a", value)]

    play(scenario)


# --- Transactions ---------------------------------------------------------------------------------


def test_compares_of_the_last_revision(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        first = await put(store, "/a", b"1")
        second = await put(store, "/a", b"2")
        for revision, holds in ((first, False), (second, True), (second + 1, False), (0, False)):
            outcome = await store.transact([Compare("/a", revision)], [])
            assert outcome.applied is holds, revision

    play(scenario)


def test_compares_of_the_creating_revision(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        first = await put(store, "/a", b"1")
        second = await put(store, "/a", b"2")
        for revision, holds in ((first, True), (second, False), (0, False)):
            outcome = await store.transact([Compare("/a", revision, "created")], [])
            assert outcome.applied is holds, revision

    play(scenario)


@pytest.mark.parametrize("what", ["modified", "created"])
def test_compares_of_absence(play: Play, what: str) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        compare = Compare("/a", ABSENT, what)  # type: ignore[arg-type]
        assert (await store.transact([compare], [Put("/a", b"1")])).applied
        assert not (await store.transact([compare], [Put("/a", b"2")])).applied
        await delete(store, "/a")
        assert not (await store.transact([Compare("/a", 1)], [Put("/a", b"3")])).applied
        assert (await store.transact([compare], [Put("/a", b"4")])).applied

    play(scenario)


def test_one_compare_that_fails_prevents_every_write(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        revision = await put(store, "/a", b"1")
        before = await store.list("")
        outcome = await store.transact(
            [Compare("/a", revision), Compare("/b", revision), Compare("/c", ABSENT)],
            [Put("/a", b"2"), Put("/c", b"3"), Delete("/a2")],
        )
        assert not outcome.applied
        assert await store.list("") == before

    play(scenario)


def test_the_writes_of_one_transaction_share_its_revision(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        await put(store, "/old", b"")
        outcome = await store.transact([], [Put("/b", b"2"), Delete("/old"), Put("/a", b"1")])
        assert outcome.applied
        listing = await store.list("")
        assert listing.revision == outcome.revision
        assert [(r.key, r.modified) for r in listing.records] == [
            ("/a", outcome.revision),
            ("/b", outcome.revision),
        ]

    play(scenario)


def test_a_transaction_may_compare_what_it_deletes(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        revision = await put(store, "/a", b"1")
        outcome = await store.transact([Compare("/a", revision)], [Delete("/a")])
        assert outcome.applied
        assert await store.get("/a") is None

    play(scenario)


def test_of_many_at_once_exactly_one_wins_each_round(play: Play) -> None:
    """64 callers add 1 to one number, each by compare and set until it succeeds."""

    async def scenario(store: Store, clock: SteppedClock) -> None:
        async def add() -> int:
            failures = 0
            while True:
                record = await store.get("/n")
                revision = ABSENT if record is None else record.modified
                value = 0 if record is None else int(record.value)
                outcome = await store.transact(
                    [Compare("/n", revision)], [Put("/n", b"%d" % (value + 1))]
                )
                if outcome.applied:
                    return failures
                failures += 1

        failures = await asyncio.gather(*(add() for _ in range(64)))
        record = await store.get("/n")
        assert record is not None
        assert record.value == b"64"
        assert record.modified == record.created + 63 == 64
        assert sum(failures) > 0

    play(scenario)


def test_many_writers_of_different_keys_all_succeed(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        async def write(number: int) -> list[int]:
            return [await put(store, f"/k/{number:02}", b"%d" % turn) for turn in range(10)]

        revisions = await asyncio.gather(*(write(number) for number in range(64)))
        assert sorted(revision for own in revisions for revision in own) == list(range(1, 641))
        listing = await store.list("/k/")
        assert [record.value for record in listing.records] == [b"9"] * 64

    play(scenario)


def test_a_malformed_transaction_is_refused_and_changes_nothing(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        malformed: list[list[Put | Delete]] = [
            [Put("/a", b"1"), Put("/a", b"2")],
            [Put("/a", b"1"), Delete("/a")],
            [Put("/a", b"1"), Put("", b"")],
            [Put("/a", b"1"), Put("/\0", b"")],
            [Put("/a", b"1"), Put("/\ud800", b"")],
        ]
        for writes in malformed:
            with pytest.raises(InvalidInput):
                await store.transact([], writes)
        with pytest.raises(InvalidInput):
            await store.transact([Compare("", 0)], [Put("/a", b"1")])
        with pytest.raises(InvalidInput):
            await store.get("")
        assert (await store.list("")).records == ()

    play(scenario)


def test_the_caller_may_change_its_lists_while_it_waits(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        writes: list[Put | Delete] = [Put("/a", b"1")]
        waiting = asyncio.ensure_future(store.transact([], writes))
        await asyncio.sleep(0)
        writes[0] = Put("/b", b"2")
        assert (await waiting).applied
        assert keys_of(await store.list("")) == ["/a"]

    play(scenario)


# --- Listing --------------------------------------------------------------------------------------


def test_a_listing_is_in_key_order_by_code_point(play: Play) -> None:
    names = ["/b", "/a/2", "/a/10", "/a", "/é", "/Z", "/\U0001f600", "/\uffff", "/\ud7ff", "/a/"]

    async def scenario(store: Store, clock: SteppedClock) -> None:
        for name in names:
            await put(store, name)
        assert keys_of(await store.list("")) == sorted(names)

    play(scenario)


def test_a_prefix_ends_where_it_ends(play: Play) -> None:
    top = chr(0x10FFFF)
    below = "\ud7ff"  # The next character is U+E000: between them are surrogates.
    names = [
        "/a",
        "/a/",
        "/a/1",
        "/a0",
        "/aa",
        "/b",
        "/a%",
        "/a_",
        f"/{top}",
        f"/{top}{top}",
        f"/{top}a",
        f"/{below}",
        f"/{below}x",
        "/\ue000",
        top,
        top * 300,
        "0",
    ]

    async def scenario(store: Store, clock: SteppedClock) -> None:
        for name in names:
            await put(store, name)
        prefixes = ["/a", "/a/", "/a%", "/a_", f"/{top}", f"/{below}", top, top * 299, "/", "", "z"]
        for prefix in prefixes:
            expected = sorted(name for name in names if name.startswith(prefix))
            assert keys_of(await store.list(prefix)) == expected, repr(prefix)

    play(scenario)


def test_a_listing_of_nothing_has_a_revision_too(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        assert (await store.list("/x")).revision == 0
        revision = await put(store, "/a")
        listing = await store.list("/x")
        assert (listing.records, listing.revision) == ((), revision)

    play(scenario)


# --- Watching -------------------------------------------------------------------------------------


def test_a_watch_replays_what_came_after_its_revision(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        first = await put(store, "/a/1", b"1")
        await put(store, "/b", b"not asked for")
        second = await put(store, "/a/1", b"2")
        third = await delete(store, "/a/1")
        assert await seen(store, "/a/", 0, 3) == [
            Change("/a/1", Record("/a/1", b"1", first, first), first),
            Change("/a/1", Record("/a/1", b"2", first, second), second),
            Change("/a/1", None, third),
        ]
        assert brief(await seen(store, "/a/", first, 2)) == [("/a/1", b"2"), ("/a/1", None)]

    play(scenario)


def test_a_watch_goes_on_with_what_happens(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        await put(store, "/a", b"old")
        listing = await store.list("")
        watching = asyncio.ensure_future(seen(store, "/", listing.revision, 3))
        await put(store, "/a", b"new")
        await asyncio.sleep(0)
        await store.transact([], [Put("/b", b"1"), Delete("/a")])
        assert brief(await watching) == [("/a", b"new"), ("/b", b"1"), ("/a", None)]

    play(scenario)


def test_a_long_replay_is_whole_and_in_order(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        for number in range(30):
            await store.transact([], [Put(f"/{key:02}", b"%d" % number) for key in range(50)])
        changes = brief(await seen(store, "/", 0, 1500))
        assert changes == [(f"/{n % 50:02}", b"%d" % (n // 50)) for n in range(1500)]

    play(scenario)


def test_a_watch_from_the_future_shows_nothing_earlier(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        watching = asyncio.ensure_future(seen(store, "/", 3, 1))
        for number in range(5):
            await put(store, f"/{number}")
            await asyncio.sleep(0)
        assert [change.revision for change in await watching] == [4]

    play(scenario)


def test_no_change_is_lost_or_doubled_while_many_write(play: Play) -> None:
    """Watchers that begin at different moments, read at different speeds and share a store."""

    async def scenario(store: Store, clock: SteppedClock) -> None:
        async def write(name: str) -> None:
            for turn in range(40):
                await put(store, f"/{name}", b"%d" % turn)

        async def follow(after: int, pause: int) -> list[int]:
            revisions = []
            async for change in store.watch("/", after):
                revisions.append(change.revision)
                if revisions[-1] == 320:
                    return revisions
                for _ in range(pause):
                    await asyncio.sleep(0)
            raise AssertionError("a watch ended by itself")

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            early = [group.create_task(follow(0, pause)) for pause in (0, 1, 3)]
            for name in "abcdefgh":
                group.create_task(write(name))
            late = group.create_task(follow(100, 0))
        for task in early:
            assert task.result() == list(range(1, 321))
        assert late.result() == list(range(101, 321))

    play(scenario)


def test_a_watch_of_what_is_no_longer_kept_says_so(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        for number in range(1, 26):
            await put(store, "/a", b"%d" % number)
        with pytest.raises(Compacted) as caught:
            await seen(store, "/", 14, 1)
        assert caught.value.oldest == 16
        assert [c.revision for c in await seen(store, "/", 15, 10)] == list(range(16, 26))
        with pytest.raises(Compacted):
            await seen(store, "/nothing", 0, 1)

    play(scenario, history=10)


def test_a_watch_that_is_too_slow_says_so(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        await put(store, "/a", b"0")
        changes = store.watch("/", 0)
        assert brief(await take(changes, 1)) == [("/a", b"0")]
        for number in range(1, 26):
            await put(store, "/a", b"%d" % number)
        with pytest.raises(Compacted):
            await take(changes, 1)

    play(scenario, history=10)


def test_history_drops_whole_revisions_and_keeps_the_newest(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        await put(store, "/a")
        await store.transact([], [Put(f"/{number}", b"") for number in range(8)])
        assert len(await seen(store, "/", 1, 8)) == 8
        with pytest.raises(Compacted):
            await seen(store, "/", 0, 1)
        last = await put(store, "/b")
        assert [c.revision for c in await seen(store, "/", last - 1, 1)] == [last]
        with pytest.raises(Compacted):
            await seen(store, "/", 1, 1)

    play(scenario, history=5)


# --- Leases ---------------------------------------------------------------------------------------


def test_the_keys_of_a_lease_go_when_it_ends(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        lease = await store.grant_lease(10.0)
        await put(store, "/b", b"1", lease=lease)
        await put(store, "/a", b"2", lease=lease)
        before = await put(store, "/stays", b"3")
        clock.ahead += 9.0
        assert keys_of(await store.list("")) == ["/a", "/b", "/stays"]
        clock.ahead += 1.0
        listing = await store.list("")
        assert keys_of(listing) == ["/stays"]
        assert listing.revision == before + 1
        assert await seen(store, "/", before, 2) == [
            Change("/a", None, before + 1),
            Change("/b", None, before + 1),
        ]

    play(scenario)


def test_keeping_alive_renews_from_that_moment(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        lease = await store.grant_lease(10.0)
        await put(store, "/a", lease=lease)
        for _ in range(5):
            clock.ahead += 9.0
            assert await store.keep_alive(lease)
        assert await store.get("/a") is not None
        clock.ahead += 10.0
        assert not await store.keep_alive(lease)
        assert await store.get("/a") is None

    play(scenario)


def test_a_revoked_lease_takes_its_keys_along(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        lease, other = await store.grant_lease(10.0), await store.grant_lease(10.0)
        assert lease != other
        await put(store, "/a", lease=lease)
        await put(store, "/b", lease=other)
        await store.revoke_lease(lease)
        assert keys_of(await store.list("")) == ["/b"]
        assert not await store.keep_alive(lease)
        await store.revoke_lease(lease)
        await store.revoke_lease(987)
        assert await store.keep_alive(other)

    play(scenario)


def test_nothing_can_be_put_under_a_lease_that_has_ended(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        lease = await store.grant_lease(10.0)
        clock.ahead += 10.0
        with pytest.raises(Conflict):
            await store.transact([], [Put("/a", b""), Put("/b", b"", lease)])
        assert (await store.list("")).records == ()
        refused = await store.transact([Compare("/a", 7)], [Put("/b", b"", lease)])
        assert not refused.applied

    play(scenario)


def test_a_key_belongs_to_the_lease_of_its_last_write(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        lease, other = await store.grant_lease(10.0), await store.grant_lease(10.0)
        for name in ("/freed", "/moved", "/again"):
            await put(store, name, lease=lease)
        await put(store, "/freed")
        await put(store, "/moved", lease=other)
        await delete(store, "/again")
        await put(store, "/again")
        await store.revoke_lease(lease)
        assert keys_of(await store.list("")) == ["/again", "/freed", "/moved"]
        await store.revoke_lease(other)
        assert keys_of(await store.list("")) == ["/again", "/freed"]

    play(scenario)


def test_a_watcher_sees_a_lease_end_though_nobody_asks(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        lease = await store.grant_lease(0.05)
        revision = await put(store, "/a", lease=lease)
        assert await seen(store, "/", revision, 1) == [Change("/a", None, revision + 1)]

    play(scenario)


def test_the_wall_clock_ends_no_lease(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        lease = await store.grant_lease(10.0)
        clock.step += 86_400.0
        assert await store.keep_alive(lease)

    play(scenario)


@pytest.mark.parametrize("ttl", [0.0, -1.0, float("inf"), float("nan")])
def test_a_lease_must_last_some_time_and_end(play: Play, ttl: float) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        with pytest.raises(InvalidInput):
            await store.grant_lease(ttl)

    play(scenario)


# --- Closing and cancelling -----------------------------------------------------------------------


def test_a_closed_store_serves_nothing(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        await put(store, "/a")
        watching = asyncio.ensure_future(seen(store, "/", 1, 1))
        await store.list("")
        await store.close()
        with pytest.raises(StoreUnavailable):
            await watching
        with pytest.raises(StoreUnavailable):
            await store.get("/a")
        with pytest.raises(StoreUnavailable):
            await store.transact([], [Put("/b", b"")])
        await store.close()

    play(scenario)


def test_callers_that_give_up_harm_nobody_else(play: Play) -> None:
    async def scenario(store: Store, clock: SteppedClock) -> None:
        tasks = [asyncio.ensure_future(put(store, f"/{n:02}")) for n in range(30)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        written = [n for n, result in enumerate(results) if isinstance(result, int)]
        assert len(written) == 20
        kept = keys_of(await store.list(""))
        assert set(kept) >= {f"/{n:02}" for n in written}
        assert await put(store, "/last") > 0

    play(scenario)
