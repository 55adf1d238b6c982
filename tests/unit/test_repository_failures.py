"""The repository on a store that fails: what is known afterwards, and what is made of doubt."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from blox.base.clock import LoopClock
from blox.scheduler.repository import Loaded, Repository
from blox.store import keys
from blox.store.codec import NEWEST
from blox.store.errors import StoreRefused, StoreUnavailable, StoreUnknown
from blox.store.memory import MemoryStore
from blox.store.port import Put
from support.repositories import (
    TASK,
    World,
    assert_remembers,
    deployment,
    environment,
    intent,
    play,
    settled,
    tombstone,
)

Act = Callable[[Repository], Awaitable[object]]

CHANGES: dict[str, Act] = {
    "create_environment": lambda r: r.create_environment(environment("mesh")),
    "replace_environment": lambda r: r.replace_environment(replace(environment(), token="t2")),
    "delete_environment": lambda r: r.delete_environment(tombstone(environment())),
    "forget_environment": lambda r: r.forget_environment("id-gone"),
    "create_deployment": lambda r: r.create_deployment(
        deployment(2), replace(environment(), token="t2"), replace(deployment(1), reused=9)
    ),
    "save_deployment": lambda r: r.save_deployment(replace(deployment(1), reused=3)),
    "open_intent": lambda r: r.open_intent(intent("new"), drop=["i1"]),
    "settle_intent": lambda r: r.settle_intent(settled(intent(), host_1=TASK), drop=["i2"]),
    "drop_intents": lambda r: r.drop_intents(["i1", "i2"]),
    "mark_clean": lambda r: r.mark_clean(),
}


async def prepared(world: World) -> Repository:
    """Something for each of CHANGES to change."""
    repository = world.repository
    gone = environment("gone")
    await repository.create_environment(environment())
    await repository.create_environment(gone)
    await repository.create_deployment(deployment(1), environment())
    await repository.create_deployment(deployment(1, of="id-gone"), gone)
    await repository.delete_environment(tombstone(gone))
    await repository.open_intent(intent("i1"))
    await repository.open_intent(intent("i2"))
    return repository


@pytest.mark.parametrize("name", CHANGES)
def test_a_refused_transaction_changes_nothing(name: str) -> None:
    async def scenario(world: World) -> None:
        repository = await prepared(world)
        before = await world.stored()
        world.faults.fail("before", "transact", StoreUnavailable("down"))
        with pytest.raises(StoreUnavailable, match="down"):
            await CHANGES[name](repository)
        assert await world.stored() == before
        await assert_remembers(world, repository)
        await CHANGES[name](repository)
        assert await world.stored() != before
        await assert_remembers(world, repository)

    play(scenario)


@pytest.mark.parametrize("name", CHANGES)
def test_a_lost_answer_is_found_by_reading_back(name: str) -> None:
    async def scenario(world: World) -> None:
        repository = await prepared(world)
        before = await world.stored()
        world.faults.fail("after", "transact", StoreUnknown("lost"))
        await CHANGES[name](repository)
        assert await world.stored() != before
        await assert_remembers(world, repository)
        await repository.create_environment(environment("next"))
        await assert_remembers(world, repository)

    play(scenario)


@pytest.mark.parametrize("name", CHANGES)
def test_a_transaction_that_reading_back_does_not_find_did_not_happen(name: str) -> None:
    async def scenario(world: World) -> None:
        repository = await prepared(world)
        before = await world.stored()
        world.faults.fail("before", "transact", StoreUnknown("lost"))
        with pytest.raises(StoreUnavailable, match="Nothing was written"):
            await CHANGES[name](repository)
        assert await world.stored() == before
        await assert_remembers(world, repository)
        if name != "open_intent":  # An id is used for one attempt only.
            await CHANGES[name](repository)
            assert await world.stored() != before
            await assert_remembers(world, repository)

    play(scenario)


def test_what_stood_there_already_proves_no_transaction() -> None:
    """The environment is written as it was: only its revision tells whether it was written."""

    async def scenario(world: World) -> None:
        repository = world.repository
        await repository.create_environment(environment())
        world.faults.fail("before", "transact", StoreUnknown("lost"))
        with pytest.raises(StoreUnavailable):
            await repository.create_deployment(deployment(1), environment())
        assert repository.deployments("id-logs") == ()
        await repository.create_deployment(deployment(1), environment())
        await assert_remembers(world, repository)

    play(scenario)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_cannot_be_read_back_is_read_before_the_next_change(name: str, moment: str) -> None:
    async def scenario(world: World) -> None:
        repository = await prepared(world)
        world.faults.fail(moment, "transact", StoreUnknown("lost"))
        world.faults.fail("before", "get", StoreUnavailable("still down"))
        with pytest.raises(StoreUnknown, match="lost"):
            await CHANGES[name](repository)
        world.faults.fail("before", "get", StoreUnavailable("still down"))
        with pytest.raises(StoreUnavailable, match="still down"):
            await repository.create_environment(environment("next"))
        await repository.create_environment(environment("next"))
        await assert_remembers(world, repository)
        stored = await world.stored()
        assert "new" not in [i.id for i in stored.intents]

    play(scenario)


@pytest.mark.parametrize("name", CHANGES)
def test_memory_learns_what_a_cancelled_caller_began(name: str) -> None:
    async def scenario(world: World) -> None:
        repository = await prepared(world)
        before = await world.stored()
        world.faults.pause = asyncio.Event()
        caller = asyncio.ensure_future(CHANGES[name](repository))
        await asyncio.sleep(1)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        world.faults.pause.set()
        await asyncio.sleep(1)
        assert await world.stored() != before
        if name == "open_intent":
            # Its call will never be sent, so it must hold no host: the next change deletes it.
            assert [i.id for i in repository.intents()] == ["i2"]
            await repository.create_environment(environment("next"))
        await assert_remembers(world, repository)

    play(scenario)


def test_an_intent_in_doubt_must_not_be_sent_and_leaves_nothing_behind() -> None:
    async def scenario(world: World) -> None:
        repository = world.repository
        await repository.create_environment(environment())
        world.faults.fail("after", "transact", StoreUnknown("lost"))
        world.faults.fail("before", "get", StoreUnavailable("down"))
        with pytest.raises(StoreUnknown):
            await repository.open_intent(intent("lost"))
        assert [i.id for i in (await world.stored()).intents] == ["lost"]
        assert repository.intents() == ()
        await repository.open_intent(intent("again"))
        assert repository.intents() == (intent("again"),)
        await assert_remembers(world, repository)

    play(scenario)


def test_a_record_of_a_newer_version_is_refused_by_its_key() -> None:
    async def scenario(world: World) -> None:
        key = keys.intent("i1")
        newer = b'{"format":%d,"kind":"intent","value":{}}' % (NEWEST + 1)
        store = MemoryStore(LoopClock(), data=world.data)
        await store.transact([], [Put(key, newer)])
        with pytest.raises(StoreRefused, match=f"{key}.*format {NEWEST + 1}"):
            await world.repository.load()

    play(scenario)


def test_keys_that_this_version_does_not_know_are_left_alone() -> None:
    async def scenario(world: World) -> None:
        store = MemoryStore(LoopClock(), data=world.data)
        await store.transact([], [Put(keys.ROOT + "news/1", b"?"), Put("/other", b"?")])
        assert await world.repository.load() == Loaded((), (), (), clean=False)
        await world.repository.create_environment(environment())
        assert await store.get(keys.ROOT + "news/1") is not None

    play(scenario)


def test_nothing_passes_through_a_store_that_was_cut() -> None:
    """What a killed process had begun is never written."""

    async def scenario(world: World) -> None:
        store = MemoryStore(LoopClock(), data=world.data, faults=world.faults)
        dying = Repository(store)
        world.faults.pause = asyncio.Event()
        writing = asyncio.ensure_future(dying.create_environment(environment()))
        await asyncio.sleep(1)
        store.cut()
        world.faults.pause.set()
        with pytest.raises(StoreUnavailable):
            await writing
        assert (await world.stored()).environments == ()

    play(scenario)
