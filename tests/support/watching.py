"""A view over hand-written reads, under virtual time."""

from collections.abc import Awaitable, Callable
from typing import Any

from blox.base.clock import LoopClock
from blox.clusterstate.view import View
from blox.ecs.events import HostEvent, Ignored, TaskEvent, read_event
from blox.ecs.seen import ClusterSeen, Touched
from blox.settings import Assumptions, ViewSettings
from blox.simulator import loop
from support.documents import CLUSTER
from support.scriptedecs import ScriptedEcs

V = Assumptions().read_lag


class Watch:
    """One view, what it reads from, and what it told."""

    def __init__(self, *, queue: bool = False, page: int = 100, latency: float = 0.01) -> None:
        self.clock = LoopClock()
        self.ecs = ScriptedEcs(self.clock, page=page, latency=latency)
        self.touched: list[Touched] = []
        self.view = View(
            self.ecs, self.clock, assumptions=Assumptions(), settings=ViewSettings(), queue=queue
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

    def event(self, body: bytes) -> str:
        """Apply one event; what became of it."""
        event = read_event(body)
        assert not isinstance(event, Ignored)
        applied: TaskEvent | HostEvent = event
        return self.view.apply(applied)


def watch(
    story: Callable[[Watch], Awaitable[None]], *, follow: bool = True, **options: Any
) -> Watch:
    """Run `story` with a view that follows the demo cluster, and close the view."""

    async def main() -> Watch:
        scene = Watch(**options)
        if follow:
            await scene.view.follow(CLUSTER)
        try:
            await story(scene)
        finally:
            await scene.view.close()
        return scene

    return loop.run(main())
