"""The cluster-state-service that keeps a scheduler's view, as the process around it has it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from blox.app.delays import StartDelays
from blox.app.whereabouts import Whereabouts
from blox.base.ambient import Clock
from blox.base.ids import short_id
from blox.clusterstate.remote.client import StateClient
from blox.clusterstate.remote.following import Following, following
from blox.clusterstate.view import View
from blox.http.metrics import (
    STATE_SERVICE_FAILURES,
    STATE_SERVICE_IN_USE,
    STATE_SERVICE_TOLD,
    VIEW_GOOD_FOR,
    Metrics,
)
from blox.settings import Settings


class StateFeed:
    """Follows one of the endpoints for every cluster of a view."""

    def __init__(
        self,
        endpoints: Sequence[str],
        clock: Clock,
        *,
        settings: Settings,
        ecs_now: Callable[[], float],
        delays: StartDelays,
    ) -> None:
        """`ecs_now`: ECS's time, as this process knows it. `delays` is told when something that the
        service told is applied. Nothing is asked yet."""
        self.client = StateClient(endpoints)
        self._whereabouts = Whereabouts(self.client.endpoints)
        self.feeder: Following = following(
            self.client,
            clock,
            settings=settings.view,
            ecs_now=ecs_now,
            around=_timed(delays),
        )
        self._clock = clock

    async def ask(self) -> None:
        """Find out who is at the endpoints, before there is a cluster to follow."""
        await self._whereabouts.ask()

    @property
    def problem(self) -> str | None:
        """Why no service can be followed; None while one is."""
        if self.feeder.problem is not None:
            only = len(self.client.endpoints) == 1
            other = self._whereabouts.another(self.client.name) if only else None
            return other or self.feeder.problem
        return None if self.feeder.followed.told else self._whereabouts.problem

    @property
    def note(self) -> str:
        """Where the view comes from, in a sentence."""
        others = [endpoint for endpoint in self.client.endpoints if endpoint != self.client.name]
        more = f" Others to turn to: {', '.join(others)}." if others else ""
        name = self.client.name
        if self._whereabouts.answers(name) or self.feeder.followed.told:
            return f"The cluster-state-service at {name} keeps the view of clusters.{more}"
        return (
            f"The cluster-state-service at {name} is to keep the view of clusters, and has not "
            f"answered yet.{more}"
        )

    def show(self, metrics: Metrics, view: View) -> None:
        """Have the metrics say how following goes."""
        followed = self.feeder.followed
        metrics.watch(STATE_SERVICE_TOLD, lambda: {"": followed.told})
        metrics.watch(STATE_SERVICE_FAILURES, lambda: {"": followed.failures})
        metrics.watch(
            STATE_SERVICE_IN_USE,
            lambda: {name: float(name == self.client.name) for name in self.client.endpoints},
        )
        metrics.watch(VIEW_GOOD_FOR, lambda: dict(self._good_for(view)))

    async def close(self) -> None:
        """End all connections."""
        await self.client.close()

    def _good_for(self, view: View) -> Iterator[tuple[str, float]]:
        now = self._clock.monotonic()
        for arn in view.clusters:
            seen = view.cluster(arn)
            until = None if seen is None else seen.good_until
            yield short_id(arn), 0.0 if until is None else max(0.0, until - now)


def _timed(delays: StartDelays) -> Callable[[], AbstractContextManager[None]]:
    @contextmanager
    def around() -> Iterator[None]:
        delays.event_begins()
        try:
            yield
        finally:
            delays.event_ends()

    return around
