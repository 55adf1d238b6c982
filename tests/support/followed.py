"""A cluster-state-service written by hand, and a view that follows it, under virtual time."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from blox.base.clock import LoopClock
from blox.clusterstate.remote.following import Following, following
from blox.clusterstate.remote.port import (
    ClusterTold,
    Gone,
    HostTold,
    Listing,
    PositionExpired,
    ServiceUnavailable,
    TaskTold,
    Ticket,
    Told,
)
from blox.clusterstate.view import View
from blox.ecs.model import HostDocument, TaskDocument
from blox.ecs.seen import ClusterSeen, Touched
from blox.settings import Assumptions, ViewSettings
from blox.simulator import loop
from support.documents import CLUSTER
from support.scriptedecs import ScriptedEcs

HEARTBEAT = 15.0


class ScriptedService:
    """Tells what the test says. Sweeps are asked for, and complete when `swept` is called: or by
    themselves after `sweep_takes` seconds."""

    def __init__(self, name: str = "css:3000") -> None:
        self.name = name
        self.epoch = "e1"
        self.shown: dict[str, TaskTold | HostTold] = {}
        self.cluster: ClusterTold | None = None
        self.sweep_takes: float | None = 0.5
        self.before_swept: Callable[[], None] = lambda: None
        """Called when a sweep is complete, before that is told: what it found."""
        self.down: BaseException | None = None
        """What every call raises."""
        self.deaf: BaseException | None = None
        """What requests for sweeps raise."""
        self.asked: list[float] = []
        """When sweeps were asked for."""
        self.listings = 0
        self.followed: list[str] = []
        """The position of each stream that was opened."""
        self.expired: set[str] = set()
        self.left: list[str] = []
        """How it did not do."""
        self.next: str | None = None
        """The endpoint of another one that is there."""
        self.next_epoch = "e2"
        self._number = 0
        self._log: list[tuple[int, Told]] = []
        self._streams: list[asyncio.Queue[object]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    # --- What the test does -----------------------------------------------------------------------

    def tell(self, *told: Told | TaskDocument | HostDocument, read_at: float | None = None) -> None:
        """This is news, in one batch."""
        batch: list[Told] = []
        for item in told:
            if isinstance(item, TaskDocument):
                item = TaskTold(document=item, read_at=read_at)
            elif isinstance(item, HostDocument):
                item = HostTold(document=item, read_at=read_at)
            batch.append(item)
            if isinstance(item, TaskTold):
                self.shown[item.document.task_arn] = item
            elif isinstance(item, HostTold):
                self.shown[item.document.container_instance_arn] = item
            elif isinstance(item, Gone):
                self.shown.pop(item.arn, None)
            else:
                self.cluster = item
            self._log.append((len(self._log) + 1, item))
        for stream in self._streams:
            stream.put_nowait((len(self._log), batch))

    def silently(self, *told: TaskDocument | HostDocument, read_at: float | None = None) -> None:
        """From now on this is in lists, and was never told."""
        streams, self._streams = self._streams, []
        self.tell(*told, read_at=read_at)
        self._streams = streams

    def swept(self, **more: Any) -> None:
        """The sweeps that were asked for are complete."""
        self.before_swept()
        self.tell(ClusterTold(epoch=self.epoch, sweep=self._number, **more))

    def cut(self, error: BaseException | None = None) -> None:
        """All streams break."""
        for stream in self._streams:
            stream.put_nowait(error or ServiceUnavailable("the stream was cut"))

    def restart(self, epoch: str, *, shown: Sequence[Told] = ()) -> None:
        """Another run: it counts its sweeps anew, and has only what a copy had."""
        self.epoch, self._number = epoch, 0
        self.shown.clear()
        self.cut()
        self.tell(ClusterTold(epoch=epoch, sweep=0), *shown)

    # --- StateService -----------------------------------------------------------------------------

    def serves(self, cluster_arn: str) -> str:
        assert cluster_arn == CLUSTER
        return self.name

    def leave(self, cluster_arn: str, endpoint: str, how: str) -> bool:
        assert endpoint == self.name
        self.left.append(how)
        if self.next is None:
            return False
        self.name, self.next = self.next, self.name
        self.restart(self.next_epoch)
        return True

    async def listing(self, cluster_arn: str) -> Listing:
        assert cluster_arn == CLUSTER
        await self._call()
        self.listings += 1
        told = list(self.shown.values())
        return Listing(
            position=f"{self.epoch}.{len(self._log)}",
            tasks=tuple(item for item in told if isinstance(item, TaskTold)),
            hosts=tuple(item for item in told if isinstance(item, HostTold)),
            cluster=self.cluster or ClusterTold(epoch=self.epoch, sweep=0),
        )

    async def follow(
        self, cluster_arn: str, position: str
    ) -> AsyncGenerator[tuple[str, Sequence[Told]], None]:
        await self._call()
        self.followed.append(position)
        if position in self.expired:
            raise PositionExpired
        at = int(position.rpartition(".")[2])
        stream: asyncio.Queue[object] = asyncio.Queue()
        stream.put_nowait((len(self._log), [told for number, told in self._log if number > at]))
        self._streams.append(stream)
        try:
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT):
                        item = await stream.get()
                except TimeoutError:
                    item = (len(self._log), [])
                if isinstance(item, BaseException):
                    raise item
                assert isinstance(item, tuple)
                yield f"{self.epoch}.{item[0]}", item[1]
        finally:
            if stream in self._streams:
                self._streams.remove(stream)

    async def request_sweep(self, cluster_arn: str) -> Ticket:
        await self._call()
        if self.deaf is not None:
            raise self.deaf
        self._number += 1
        self.asked.append(asyncio.get_running_loop().time())
        if self.sweep_takes is not None:
            task = asyncio.create_task(self._sweep(self._number, self.epoch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return Ticket(epoch=self.epoch, number=self._number)

    async def _sweep(self, number: int, epoch: str) -> None:
        assert self.sweep_takes is not None
        await asyncio.sleep(self.sweep_takes)
        if epoch == self.epoch:
            self.swept()

    async def _call(self) -> None:
        await asyncio.sleep(0.002)
        if self.down is not None:
            raise self.down


class Paced:
    """Makes a scripted service sweep as a real one does: one sweep after the other, each of which
    takes so long, with a rest of that long in between; a request waits for the next to begin."""

    def __init__(self, service: ScriptedService, takes: float) -> None:
        self._service = service
        self._takes = takes
        self._begun = 0
        self._wanted = asyncio.Event()
        service.request_sweep = self._request  # type: ignore[method-assign]
        self._task = asyncio.create_task(self._run())

    def end(self) -> None:
        """No more sweeps."""
        self._task.cancel()

    async def _request(self, cluster_arn: str) -> Ticket:
        await asyncio.sleep(0.002)
        self._wanted.set()
        return Ticket(epoch=self._service.epoch, number=self._begun + 1)

    async def _run(self) -> None:
        while True:
            self._begun += 1
            self._wanted.clear()
            await asyncio.sleep(self._takes)
            self._service.tell(ClusterTold(epoch=self._service.epoch, sweep=self._begun))
            await asyncio.sleep(self._takes)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, 60.0 - 2 * self._takes)):
                    await self._wanted.wait()


class Scene:
    """A view that follows, what it follows, what ECS itself would say, and what the view told."""

    def __init__(self, **view: Any) -> None:
        self.clock = LoopClock()
        self.ecs = ScriptedEcs(self.clock)
        self.service = ScriptedService()
        self.touched: list[Touched] = []
        settings = ViewSettings()
        self.following: Following = following(
            self.service, self.clock, settings=settings, ecs_now=self.ecs.now
        )
        self.view = View(
            self.ecs,
            self.clock,
            assumptions=Assumptions(),
            settings=settings,
            feeder=self.following,
            **view,
        )
        self.view.subscribe(self.touched.append)

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    @property
    def seen(self) -> ClusterSeen:
        """What the view says of the demo cluster."""
        seen = self.view.cluster(CLUSTER)
        assert seen is not None
        return seen

    @property
    def stale(self) -> bool:
        return self.seen.stale(self.now)

    def task(self, arn: str) -> str | None:
        """The lastStatus of a task; None when it is not in the view."""
        task = self.view.task(arn)
        return None if task is None else task.last_status


def follow(story: Callable[[Scene], Awaitable[None]], **view: Any) -> Scene:
    """Run `story` with a view that follows the demo cluster, and close the view."""

    async def main() -> Scene:
        scene = Scene(**view)
        await scene.view.follow(CLUSTER)
        try:
            await story(scene)
        finally:
            await scene.view.close()
        return scene

    return loop.run(main())
