"""A view that is kept by another service and too old (R12): nothing is decided by it."""

import asyncio
from typing import Any

import pytest

from blox.base.errors import Conflict
from blox.scheduler.adoption import Choice
from blox.scheduler.model import DeploymentStatus, SlotClass
from blox.scheduler.report import environment_report
from support.directed import CLUSTER, Stage, play


class Age:
    """Makes the stage's view one that is good until some time."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def good_for(self, seconds: float) -> None:
        stage = self._stage
        watched = stage.running.view._watched[stage.cluster]
        now = stage.clock.monotonic()
        watched.cluster.good_until(now + seconds, now=now)
        stage.running.view._changed(watched.cluster)


def reasons(stage: Stage) -> set[str]:
    """The reasons of all verdicts."""
    return {verdict.reason for verdict in stage.tracked.board.verdicts.values()}


def problems(stage: Stage) -> set[str]:
    """The codes of what is wrong with the environment."""
    report = environment_report(stage.running.scheduler.state, stage.environment)
    return {problem.code for problem in report.problems}


def test_time_alone_makes_it_stale_and_being_renewed_ends_that() -> None:
    async def act(stage: Stage) -> None:
        await stage.create()
        await asyncio.sleep(30.0)
        age = Age(stage)
        age.good_for(600.0)
        await asyncio.sleep(599.5)
        assert "view-stale" not in reasons(stage)
        # Nothing happens but that the time is over.
        await asyncio.sleep(1.0)
        assert reasons(stage) == {"view-stale"}
        assert problems(stage) == {"view-stale"}
        assert stage.count(SlotClass.CURRENT) == 3  # What runs, runs.
        age.good_for(600.0)
        await asyncio.sleep(1.0)
        assert "view-stale" not in reasons(stage)
        assert problems(stage) == set()

    play(act)


def test_nothing_is_started_or_stopped_while_it_is_stale() -> None:
    async def act(stage: Stage) -> None:
        await stage.create()
        await asyncio.sleep(30.0)
        age = Age(stage)
        age.good_for(5.0)
        await asyncio.sleep(10.0)
        began = stage.now
        stage.lose(stage.hosts[0])
        stage.double(stage.hosts[1])
        await asyncio.sleep(120.0)
        acted = [c for c in stage.cloud.log if c.time > began and c.caller == "blox"]
        assert [c.operation for c in acted if c.operation in ("StartTask", "StopTask")] == []
        age.good_for(3600.0)
        await stage.until(
            lambda: all(len(stage.daemons(host)) == 1 for host in stage.hosts), within=120.0
        )

    play(act)


def test_a_start_that_was_decided_in_time_does_not_leave_too_late() -> None:
    """Making an intent durable and connecting take time, and so does a process that is paused."""

    async def act(stage: Stage) -> None:
        await stage.create()
        await asyncio.sleep(30.0)
        age = Age(stage)
        age.good_for(3600.0)
        repository = stage.running.repository
        durable = repository.open_intent

        async def slowly(*given: Any, **more: Any) -> None:
            await durable(*given, **more)
            age.good_for(-1.0)

        repository.open_intent = slowly  # type: ignore[method-assign]
        began = stage.now
        stage.lose(stage.hosts[0])
        await asyncio.sleep(60.0)
        assert stage.calls("StartTask", since=began) == []
        repository.open_intent = durable  # type: ignore[method-assign]
        age.good_for(3600.0)
        await stage.until(lambda: stage.count(SlotClass.CURRENT) == 3, within=60.0)
        assert stage.most == 1

    play(act)


def test_a_deployment_neither_completes_nor_fails_while_it_is_stale() -> None:
    async def act(stage: Stage) -> None:
        await stage.create()
        age = Age(stage)
        age.good_for(1.0)
        await asyncio.sleep(5.0)
        await stage.update()
        await asyncio.sleep(3 * 600.0)
        assert stage.deployment.status is DeploymentStatus.PENDING
        age.good_for(1e6)
        await stage.until(
            lambda: stage.deployment.status is DeploymentStatus.COMPLETED, within=900.0
        )

    play(act)


def test_a_deployment_under_way_stands_still() -> None:
    async def act(stage: Stage) -> None:
        await stage.create(max_unavailable="1")
        await stage.update()
        await stage.until(lambda: stage.deployment.status is DeploymentStatus.RUNNING)
        age = Age(stage)
        age.good_for(0.5)
        await asyncio.sleep(3 * 600.0)
        assert stage.deployment.status is DeploymentStatus.RUNNING
        age.good_for(1e6)
        await stage.until(
            lambda: stage.deployment.status is DeploymentStatus.COMPLETED, within=900.0
        )

    play(act)


def test_what_an_old_view_does_not_show_is_not_taken_to_be_gone() -> None:
    async def act(stage: Stage) -> None:
        await stage.create()
        await asyncio.sleep(60.0)
        age = Age(stage)
        age.good_for(1.0)
        await asyncio.sleep(5.0)
        for host in stage.hosts:
            stage.lose(host)
        await asyncio.sleep(5.0)
        await stage.running.service.delete(stage.environment_id, stop_tasks=True)
        await asyncio.sleep(300.0)
        assert stage.environment.deleted_at is None
        age.good_for(1e6)
        await stage.until(lambda: _gone(stage), within=600.0)

    play(act)


def _gone(stage: Stage) -> bool:
    found = stage.running.repository.environment(stage.environment_id)
    return found is None or found.deleted_at is not None


def test_nothing_is_adopted_by_an_old_view() -> None:
    async def act(stage: Stage) -> None:
        await stage.create()
        age = Age(stage)
        age.good_for(1.0)
        await asyncio.sleep(5.0)
        adopting = stage.running.service.adopting
        with pytest.raises(Conflict, match=f"{CLUSTER} has not been read lately enough by the"):
            adopting.preview(stage.environment, Choice())
        age.good_for(1e6)
        adopting.preview(stage.environment, Choice())

    play(act)
