"""Background tasks: named, watched, and cancelled with their owner."""

import asyncio

import pytest
from structlog.testing import capture_logs

from blox.base.tasks import BackgroundTaskEnded, TaskSet
from blox.simulator.loop import run


async def ever() -> None:
    await asyncio.Event().wait()


async def once() -> str:
    return "done"


async def breaks() -> None:
    await asyncio.sleep(1)
    raise ZeroDivisionError("boom")


def test_a_task_that_raises_is_logged_at_once_and_raised_to_who_watches() -> None:
    async def story() -> None:
        tasks = TaskSet("view")
        tasks.start(breaks(), name="sweep demo")
        with capture_logs() as logs, pytest.raises(BackgroundTaskEnded) as caught:
            await tasks.watch()
        assert "'view/sweep demo' failed: ZeroDivisionError('boom')" in str(caught.value)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert [log["task"] for log in logs] == ["view/sweep demo"]
        await tasks.close()

    run(story())


def test_an_eternal_task_must_not_return() -> None:
    async def story() -> None:
        tasks = TaskSet("view")
        tasks.start(once(), name="sweep", eternal=True)
        with pytest.raises(BackgroundTaskEnded, match="'view/sweep' ended although it never"):
            await tasks.watch()

    run(story())


def test_other_tasks_may_return_and_be_cancelled() -> None:
    async def story() -> None:
        tasks = TaskSet("view")
        assert await tasks.start(once(), name="look") == "done"
        tasks.start(ever(), name="sweep", eternal=True).cancel()
        await asyncio.sleep(0)
        watching = asyncio.create_task(tasks.watch())
        await asyncio.sleep(60)
        assert not watching.done()
        assert len(tasks) == 0
        watching.cancel()

    run(story())


def test_close_cancels_everything_and_waits_for_it() -> None:
    async def story() -> None:
        tasks = TaskSet("view")
        ended: list[str] = []

        async def tidy() -> None:
            try:
                await ever()
            finally:
                await asyncio.sleep(3)
                ended.append("tidy")

        task = tasks.start(tidy(), name="tidy", eternal=True)
        assert task.get_name() == "view/tidy"
        await asyncio.sleep(0)
        await tasks.close()
        assert ended == ["tidy"]
        late = tasks.start(ever(), name="late")
        with pytest.raises(asyncio.CancelledError):
            await late
        await tasks.close()

    run(story())
