"""A scheduler whose view a service keeps, while ECS does not answer the scheduler itself."""

import asyncio

import pytest

from blox.simulator import lifecycle
from support.remote import RemoteStage, play_remote


def test_nothing_is_primed_before_ecs_has_told_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It dies just after a start, of which reads show nothing for as long as they may. The next one
    begins on a machine whose wall clock is ahead, and hears from the service alone: by that clock,
    what the retained intent tells was too old to be believed."""
    lags = {"bound": False}

    def draw(_random: object, _faults: object, bound: float) -> float:
        return bound if lags["bound"] else 0.0

    monkeypatch.setattr(lifecycle, "draw_lag", draw)

    async def act(stage: RemoteStage) -> None:
        await stage.create()
        await asyncio.sleep(700)
        host, lags["bound"], lost = stage.hosts[0], True, stage.now
        stage.lose(host)
        await stage.until(lambda: len(stage.calls("StartTask", since=lost)) == 1, within=200)
        await asyncio.sleep(3)
        await stage.kill()
        lags["bound"] = False
        stage.clock.step = 600.0
        await stage.restart()
        stage.running.transport.partitioned = True
        stage.running.environments_changed()
        await asyncio.sleep(60)
        assert not stage.seen.primed
        stage.running.transport.partitioned = False
        await asyncio.sleep(600)
        assert stage.seen.primed
        assert len(stage.calls("StartTask", since=lost)) == 1
        assert [len(stage.daemons(host)) for host in stage.hosts] == [1] * len(stage.hosts)

    play_remote(act, queue=False)
