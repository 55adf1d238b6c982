"""Makes what follows a cluster-state-service, for each cluster, and sums up how that goes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from blox.base.ambient import Clock
from blox.clusterstate.cluster import Cluster
from blox.clusterstate.remote.follower import Follower
from blox.clusterstate.remote.outcome import Followed
from blox.clusterstate.remote.port import StateService
from blox.clusterstate.sweep import Sweeper
from blox.settings import ViewSettings


class Following:
    """Makes a `Follower` of each cluster (`blox.clusterstate.view.MakesFeeder`)."""

    def __init__(
        self,
        service: StateService,
        clock: Clock,
        *,
        settings: ViewSettings,
        ecs_now: Callable[[], float],
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.service = service
        self.followed = Followed()
        self._clock = clock
        self._settings = settings
        self._ecs_now = ecs_now
        self._around = around
        self._problems: dict[str, str] = {}

    def __call__(
        self, cluster: Cluster, sweeper: Sweeper, *, changed: Callable[[], None]
    ) -> Follower:
        return Follower(
            self.service,
            self._clock,
            cluster,
            sweeper,
            interval=self._settings.sweep_interval_with_queue,
            ecs_now=self._ecs_now,
            changed=changed,
            around=self._around,
            followed=self.followed,
            problems=self._problems,
        )

    @property
    def problem(self) -> str | None:
        """Why no service is being followed for some cluster; None while all are."""
        return next((text for _, text in sorted(self._problems.items())), None)


def following(
    service: StateService,
    clock: Clock,
    *,
    settings: ViewSettings,
    ecs_now: Callable[[], float],
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Following:
    """What `View(feeder=...)` takes to be kept by `service`.

    `ecs_now`: our estimate of ECS's clock (`EcsReads.now`). `around()` is entered while what the
    service has just told is applied.
    """
    return Following(service, clock, settings=settings, ecs_now=ecs_now, around=around)
