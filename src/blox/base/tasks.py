"""Background tasks with a name, an owner and a guard.

A task that nobody awaits fails in silence: its exception is kept until the task is collected. Here
every task belongs to a TaskSet, which reports each failure at once, treats the end of a task that
should never end as a failure, and cancels what is left when its owner closes.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

_log = structlog.get_logger("blox.tasks")


class BackgroundTaskEnded(Exception):
    """A task that should never end has ended, or a background task raised. A defect of blox, not
    of its surroundings: the owner's service cannot go on."""

    def __init__(self, name: str, cause: BaseException | None) -> None:
        what = "ended although it never should" if cause is None else f"failed: {cause!r}"
        super().__init__(f"background task {name!r} {what}")
        self.name = name
        self.cause = cause


class TaskSet:
    """The background tasks of one owner.

    `start` them, let the owner's main coroutine await `watch`, and `close` at the end.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._tasks: dict[asyncio.Task[Any], bool] = {}
        self._failure: BackgroundTaskEnded | None = None
        self._failed = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        """How many are running."""
        return len(self._tasks)

    def start(
        self, work: Coroutine[Any, Any, Any], *, name: str, eternal: bool = False
    ) -> asyncio.Task[Any]:
        """Run `work` in the background as `owner/name`. `eternal`: returning is a failure too.

        After `close`, nothing is started: the task that is returned is cancelled already.
        """
        task = asyncio.get_running_loop().create_task(work, name=f"{self._owner}/{name}")
        if self._closed:
            task.cancel()
            return task
        self._tasks[task] = eternal
        task.add_done_callback(self._done)
        return task

    async def watch(self) -> None:
        """Wait until a task fails; raises BackgroundTaskEnded, caused by what it raised."""
        await self._failed.wait()
        if self._failure is not None:
            raise self._failure from self._failure.cause

    async def close(self) -> None:
        """Cancel every task and wait until all have ended. May be called more than once."""
        self._closed = True
        left = list(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    def _done(self, task: asyncio.Task[Any]) -> None:
        eternal = self._tasks.pop(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None and not eternal:
            return
        failure = BackgroundTaskEnded(task.get_name(), error)
        _log.error("background task ended", task=task.get_name(), exc_info=error)
        if self._failure is None:
            self._failure = failure
            self._failed.set()
