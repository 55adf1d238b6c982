"""The scheduler's repository: what it stores and what it remembers."""

import asyncio

import pytest
from msgspec.structs import replace

from blox.base.errors import Conflict, InvalidInput, NotFound
from blox.scheduler.model import DeploymentStatus
from blox.scheduler.records import Records
from blox.scheduler.repository import Loaded
from blox.store import keys
from support.repositories import (
    ABSENT,
    FAILED,
    PROD,
    TASK,
    TEST,
    World,
    assert_remembers,
    deployment,
    environment,
    intent,
    play,
    settled,
    tombstone,
)

# --- Environments ---------------------------------------------------------------------------------


def test_a_restart_finds_everything() -> None:
    async def scenario(world: World) -> None:
        first = world.repository
        logs, mesh = environment("logs"), environment("mesh", cluster=TEST)
        await first.create_environment(mesh)
        await first.create_environment(logs)
        after = replace(logs, deployed={"id-logs-d1": "x"})
        await first.create_deployment(deployment(1), after)
        await first.open_intent(intent())
        await first.delete_environment(tombstone(mesh))

        second = world.process()
        loaded = await second.load()
        assert loaded.environments == (after, tombstone(mesh))
        assert loaded.deployments == (deployment(1),)
        assert loaded.intents == (intent(),)
        assert not loaded.clean
        assert second.environments() == (after,)
        assert second.tombstones() == (tombstone(mesh),)
        assert second.environment("id-mesh") == tombstone(mesh)
        assert second.deployments("id-logs") == (deployment(1),)
        assert second.intents() == (intent(),)
        await second.settle_intent(intent())
        await second.save_deployment(replace(deployment(1), status=DeploymentStatus.RUNNING))
        await assert_remembers(world, second)

    play(scenario)


def test_nothing_stored_is_an_empty_start() -> None:
    async def scenario(world: World) -> None:
        assert await world.repository.load() == Loaded((), (), (), clean=False)
        assert world.repository.environments() == ()
        assert world.repository.environment("x") is None
        assert world.repository.newest_deployment("x") is None
        assert world.repository.deployments("x") == ()

    play(scenario)


def test_a_name_is_unique_within_its_cluster_only() -> None:
    async def scenario(world: World) -> None:
        repository = world.repository
        here, there = environment(id_="1"), environment(cluster=TEST, id_="2")
        await repository.create_environment(here)
        await repository.create_environment(there)
        with pytest.raises(Conflict, match="logs exists already"):
            await repository.create_environment(environment(id_="3"))
        assert repository.find(PROD, "logs") == here
        assert repository.find(TEST, "logs") == there
        assert repository.find(PROD, "other") is None
        assert repository.named("logs") == [here, there]
        assert repository.named("other") == []
        assert repository.environment("3") is None
        await assert_remembers(world, repository)

    play(scenario)


def test_of_two_creations_at_once_one_wins() -> None:
    async def scenario(world: World) -> None:
        results = await asyncio.gather(
            world.repository.create_environment(environment(id_="1")),
            world.repository.create_environment(environment(id_="2")),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), Conflict]
        assert [e.id for e in world.repository.environments()] == ["1"]
        await assert_remembers(world, world.repository)

    play(scenario)


def test_a_name_is_free_again_after_deletion() -> None:
    async def scenario(world: World) -> None:
        repository = world.repository
        old, new = environment(id_="old"), environment(id_="new")
        await repository.create_environment(old)
        await repository.delete_environment(tombstone(old))
        assert repository.find(PROD, "logs") is None
        await repository.create_environment(new)
        await repository.replace_environment(replace(tombstone(old), token="t2"))
        await repository.forget_environment("old")
        assert repository.find(PROD, "logs") == new
        assert repository.tombstones() == ()
        await repository.forget_environment("old")
        await assert_remembers(world, repository)

    play(scenario)


def test_a_change_that_somebody_else_overtook_is_refused() -> None:
    async def scenario(world: World) -> None:
        repository = world.repository
        first = environment()
        await repository.create_environment(first)
        results = await asyncio.gather(
            repository.replace_environment(replace(first, token="t2")),
            repository.replace_environment(replace(first, token="t3")),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), Conflict]
        assert repository.environments() == (replace(first, token="t2"),)
        with pytest.raises(Conflict, match="changed meanwhile"):
            await repository.replace_environment(replace(first, token="t4"), was=first)
        await repository.replace_environment(
            replace(first, token="t4"), was=replace(first, token="t2")
        )
        await assert_remembers(world, repository)

    play(scenario)


def test_another_process_is_noticed_when_it_gets_in_the_way() -> None:
    async def scenario(world: World) -> None:
        repository, other = world.repository, world.process()
        await repository.create_environment(environment())
        await other.load()
        changed = replace(environment(), token="theirs")
        await other.replace_environment(changed)
        with pytest.raises(Conflict):
            await repository.replace_environment(replace(environment(), token="ours"))
        assert repository.environments() == (changed,)
        await repository.delete_environment(tombstone(changed))
        with pytest.raises(Conflict):
            await other.open_intent(intent())
        assert other.environments() == ()
        await assert_remembers(world, other)

    play(scenario)


def test_what_a_replacement_may_not_change() -> None:
    async def scenario(world: World) -> None:
        repository = world.repository
        live = environment()
        await repository.create_environment(live)
        for changed in (
            replace(live, name="other"),
            replace(live, cluster_arn=TEST),
            tombstone(live),
        ):
            with pytest.raises(InvalidInput):
                await repository.replace_environment(changed)
        with pytest.raises(InvalidInput):
            await repository.delete_environment(live)
        with pytest.raises(NotFound):
            await repository.replace_environment(environment("missing"))
        with pytest.raises(Conflict):
            await repository.forget_environment(live.id)
        await repository.delete_environment(tombstone(live))
        with pytest.raises(Conflict):
            await repository.delete_environment(tombstone(live))
        with pytest.raises(Conflict):
            await repository.create_deployment(deployment(1), tombstone(live))
        await assert_remembers(world, repository)

    play(scenario)


def test_older_news_never_replaces_newer() -> None:
    records = Records()
    key = keys.environment("id-logs")
    records.place(key, environment(), 5)
    records.place(key, replace(environment(), token="older"), 4)
    assert records.live() == (environment(),)
    records.place(key, replace(environment(), token="newer"), 6)
    assert records.find(PROD, "logs") == replace(environment(), token="newer")


# --- Deployments ----------------------------------------------------------------------------------


def test_a_deployment_comes_with_its_environment_and_ends_the_former() -> None:
    async def scenario(world: World) -> None:
        repository = world.repository
        live = environment()
        await repository.create_environment(live)
        one = replace(live, deployed={"id-logs-d1": "x"})
        await repository.create_deployment(deployment(1), one)
        two = replace(one, deployed={"id-logs-d1": "x", "id-logs-d2": "y"})
        ended = replace(deployment(1), status=DeploymentStatus.SUPERSEDED)
        before = world.faults.transactions
        await repository.create_deployment(deployment(2), two, ended)
        assert world.faults.transactions == before + 1
        assert repository.environment(live.id) == two
        assert repository.deployments(live.id) == (deployment(2), ended)
        assert repository.newest_deployment(live.id) == deployment(2)
        assert repository.deployment("id-logs-d1") == ended
        with pytest.raises(Conflict):
            await repository.create_deployment(deployment(2), two)
        await assert_remembers(world, repository)

    play(scenario)


def test_history_is_bounded_but_keeps_what_should_run() -> None:
    async def scenario(world: World) -> None:
        repository = world.process(kept=3)
        live = environment()
        await repository.create_environment(live)
        completed = replace(deployment(1), status=DeploymentStatus.COMPLETED)
        await repository.create_deployment(deployment(1), live)
        await repository.save_deployment(completed)
        for sequence in range(2, 8):
            await repository.create_deployment(deployment(sequence), live)
            await repository.save_deployment(
                replace(deployment(sequence), status=DeploymentStatus.STOPPED)
            )
        assert [d.sequence for d in repository.deployments(live.id)] == [7, 6, 5, 1]
        with pytest.raises(NotFound):
            await repository.save_deployment(deployment(4))
        await repository.create_deployment(deployment(8), live)
        await repository.create_deployment(deployment(9), live)
        assert [d.sequence for d in repository.deployments(live.id)] == [9, 8, 7]
        await assert_remembers(world, repository)

    play(scenario)


def test_forgetting_a_tombstone_takes_its_deployments_and_no_intents() -> None:
    async def scenario(world: World) -> None:
        repository = world.repository
        for name in ("logs", "mesh"):
            await repository.create_environment(environment(name))
            await repository.create_deployment(deployment(1, of=f"id-{name}"), environment(name))
        await repository.open_intent(intent())
        await repository.delete_environment(tombstone(environment()))
        await repository.forget_environment("id-logs")
        assert repository.deployments("id-logs") == ()
        assert repository.deployment("id-logs-d1") is None
        assert repository.deployments("id-mesh") == (deployment(1, of="id-mesh"),)
        assert repository.intents() == (intent(),)
        assert (await world.stored()).deployments == (deployment(1, of="id-mesh"),)

    play(scenario)


# --- Intents --------------------------------------------------------------------------------------


def test_a_start_call_costs_two_transactions() -> None:
    async def scenario(world: World) -> None:
        repository = world.repository
        await repository.create_environment(environment())
        await repository.open_intent(intent("old"))
        before = world.faults.transactions
        await repository.open_intent(intent("i1"), drop=["old"])
        done = replace(
            settled(intent("i1"), host_1=TASK, host_2=TASK, host_3=FAILED), answered_at=7.0
        )
        assert await repository.settle_intent(done) == done
        assert world.faults.transactions == before + 2
        assert repository.intents() == (done,)
        await repository.settle_intent(done)
        await repository.drop_intents([])
        await repository.drop_intents(["unknown"])
        assert world.faults.transactions == before + 2
        await assert_remembers(world, repository)
        await repository.drop_intents(["i1", "unknown"])
        assert repository.intents() == ()
        await assert_remembers(world, repository)

    play(scenario)


def test_a_change_that_was_acknowledged_binds_the_start() -> None:
    """The change is on its way when the start is asked for: its plan knew the old state."""

    async def scenario(world: World) -> None:
        repository = world.repository
        live = environment()
        await repository.create_environment(live)
        for change in (
            repository.replace_environment(replace(live, token="t2")),
            repository.create_deployment(deployment(1), replace(live, token="t3")),
            repository.delete_environment(tombstone(replace(live, token="t3"))),
        ):
            changing = asyncio.ensure_future(change)
            await asyncio.sleep(0)
            with pytest.raises(Conflict):
                await repository.open_intent(intent())
            await changing
        assert repository.intents() == ()
        with pytest.raises(Conflict, match="deleted"):
            await repository.open_intent(intent())
        await assert_remembers(world, repository)

    play(scenario)


def test_an_intent_is_opened_once() -> None:
    async def scenario(world: World) -> None:
        repository = world.repository
        await repository.create_environment(environment())
        await repository.open_intent(intent())
        with pytest.raises(Conflict):
            await repository.open_intent(intent())
        with pytest.raises(Conflict):
            await repository.open_intent(intent("i2", of="nowhere"))
        assert repository.intents() == (intent(),)

    play(scenario)


def test_accounts_of_one_intent_are_merged_and_a_task_is_never_unseen() -> None:
    async def scenario(world: World) -> None:
        repository = world.repository
        await repository.create_environment(environment())
        for id_ in ("i1", "i2"):
            await repository.open_intent(intent(id_))
        await asyncio.gather(
            repository.settle_intent(settled(intent(), host_1=TASK)),
            repository.settle_intent(settled(intent(), host_2=FAILED)),
            repository.settle_intent(settled(intent(), host_3=ABSENT)),
        )
        everything = settled(intent(), host_1=TASK, host_2=FAILED, host_3=ABSENT)
        assert repository.intents() == (everything, intent("i2"))
        stale = settled(intent(), host_1=ABSENT, host_3=TASK)
        merged = await repository.settle_intent(replace(stale, answered_at=3.0))
        assert merged == replace(
            settled(intent(), host_1=TASK, host_2=FAILED, host_3=TASK), answered_at=3.0
        )
        await repository.drop_intents(["i1"])
        with pytest.raises(Conflict):
            await repository.settle_intent(everything)
        await assert_remembers(world, repository)

    play(scenario)


# --- Clean hand-over ------------------------------------------------------------------------------


def test_the_clean_mark_is_taken_once() -> None:
    async def scenario(world: World) -> None:
        assert not await world.repository.take_clean()
        await world.repository.mark_clean()
        await world.repository.mark_clean()
        second = world.process()
        assert (await second.load()).clean
        assert await second.take_clean()
        assert not await second.take_clean()
        assert not (await second.load()).clean

    play(scenario)
