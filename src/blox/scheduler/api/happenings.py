"""What happens to slots, deployments, environments and clusters, kept for those who follow it.

Somebody must follow for anything to be kept: from the first who does until a while after the last
has left. Before and after that, this costs nothing.

Slots tell of themselves, when their verdict becomes another in what people see. Everything else is
looked at a few times a second, and told when it differs from what was told before; an environment
is looked at when something that it depends on has changed, and every few seconds, because its
health changes by nothing but time, too.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from msgspec import Struct

from blox.ecs.seen import ClusterSeen, Touched
from blox.http.ring import Ring
from blox.scheduler.api.context import Api
from blox.scheduler.board import Tally
from blox.scheduler.model import Deployment, Environment
from blox.scheduler.report import EnvironmentReport, SlotReport, slot_report

KEPT: Final = 10_000
"""Entries."""
LINGER: Final = 900.0
"""Seconds for which it is gone on with after the last who followed has left: he may come back."""
GATHER: Final = 0.02
"""Seconds in which changes of slots are gathered."""
LOOK_EVERY: Final = 0.25
HEALTH_EVERY: Final = 5.0
REPORT_APART: Final = 1.0
"""Seconds between two reports on one environment at the least."""
_SLOTS_AT_ONCE: Final = 200
_REPORTS_AT_ONCE: Final = 20
"""Then others get their turn."""

_log = structlog.get_logger("blox.events")


class SlotHappened(Struct, frozen=True, kw_only=True):
    """A slot's verdict is another."""

    at: float
    """ECS's time, seconds since 1970-01-01 UTC; here as in the others."""
    environment: Environment
    host_arn: str
    report: SlotReport | None
    """None: the host is gone, and the slot with it."""


class DeploymentHappened(Struct, frozen=True, kw_only=True):
    """A deployment is new, or has got on."""

    at: float
    environment: Environment
    deployment: Deployment
    tally: Tally | None
    """Of the one in force."""


class EnvironmentHappened(Struct, frozen=True, kw_only=True):
    """An environment is new, was changed, does better or worse, or is gone."""

    at: float
    environment: Environment
    report: EnvironmentReport | None
    """None: it was deleted."""
    primed: bool = False


class ClusterHappened(Struct, frozen=True, kw_only=True):
    """How well a cluster is known has changed."""

    at: float
    arn: str
    seen: ClusterSeen | None
    """None: it is not watched any more."""
    age: float | None
    hosts: int
    environments: int


Happening = SlotHappened | DeploymentHappened | EnvironmentHappened | ClusterHappened


class Happenings:
    """Collects what happens while somebody follows."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._state = api.state
        self.ring: Ring[Happening] = Ring(kept=KEPT, begin=int(api.process.began_at * 1000))
        """Numbers begin with the time, so that those of an earlier process are smaller."""
        self._collecting = False
        self._followers = 0
        self._ending: asyncio.TimerHandle | None = None
        self._gathering: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._slots: dict[tuple[str, str], None] = {}
        """Environment and host: to be told."""
        self._records: dict[str, Environment] = {}
        """By id, as told."""
        self._deployments: dict[str, tuple[Deployment, ...]] = {}
        self._keys: dict[str, tuple[object, ...]] = {}
        """Environment → what its report said when it was told."""
        self._marked: dict[str, None] = {}
        """Environments to be reported on in the next look."""
        self._reported_at: dict[str, float] = {}
        self._clusters: dict[str, tuple[object, ...]] = {}
        self._orders = -1
        self._health_at = 0.0
        self._state.view.subscribe(self._touched)

    # --- Who follows ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Somebody is about to follow: from now on everything is told."""
        if not self._collecting:
            self._collecting = True
            self.ring.clear()
            self._begin_from_here()
            self._looking = self._later(LOOK_EVERY, self._look)
        self.followed(self._followers)

    def followed(self, followers: int) -> None:
        """So many follow now."""
        self._followers = followers
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if followers == 0 and self._collecting:
            self._ending = self._later(LINGER, self._end)

    def _begin_from_here(self) -> None:
        """Whoever follows from now on has seen, or will see, what is so now."""
        state = self._state
        now = state.clock.monotonic()
        self._slots, self._marked = {}, {}
        self._records = {e.id: e for e in state.repository.environments()}
        self._deployments = {id_: state.repository.deployments(id_) for id_ in self._records}
        self._keys = {id_: self._report(e)[1] for id_, e in self._records.items()}
        self._reported_at = {}
        self._clusters = {arn: _known(state.view.cluster(arn)) for arn in self._api.clusters()}
        self._orders, self._health_at = state.repository.orders, now
        state.slot_changed = self._slot_changed

    def _end(self) -> None:
        self._collecting = False
        self._state.slot_changed = None
        for timer in (self._looking, self._gathering, self._ending):
            if timer is not None:
                timer.cancel()
        self._looking = self._gathering = self._ending = None
        self._records, self._deployments, self._keys, self._clusters = {}, {}, {}, {}
        self._slots, self._marked = {}, {}
        self.ring.clear()

    # --- What has changed -------------------------------------------------------------------------

    def _slot_changed(self, environment_id: str, host_arn: str) -> None:
        self._slots[environment_id, host_arn] = None
        self._marked[environment_id] = None
        if self._gathering is None:
            self._gathering = self._later(GATHER, self._tell_slots)

    def _touched(self, change: Touched) -> None:
        """The view changed. Called by the view, synchronously."""
        if not self._collecting or not change.cluster:
            return
        arn = change.cluster_arn
        seen = self._state.view.cluster(arn)
        if self._clusters.get(arn) == _known(seen):
            return
        self._clusters[arn] = _known(seen)
        swept = None if seen is None else seen.swept_at
        view = self._state.view
        here = [e.id for e in self._api.repository.environments() if e.cluster_arn == arn]
        self._marked.update(dict.fromkeys(here))
        self.ring.put(
            ClusterHappened(
                at=self._state.stamp(),
                arn=arn,
                seen=seen,
                age=None if swept is None else self._state.clock.monotonic() - swept,
                hosts=sum(host.superseded_by is None for host in view.hosts(arn)),
                environments=len(here),
            )
        )

    def _later(self, seconds: float, act: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self._guarded, act)

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception:  # noqa: BLE001 - a mistake here must not go unseen, nor end anything
            _log.exception("events could not be made")

    # --- Telling ----------------------------------------------------------------------------------

    def _tell_slots(self) -> None:
        self._gathering = None
        state = self._state
        for environment_id, host_arn in list(self._slots)[:_SLOTS_AT_ONCE]:
            del self._slots[environment_id, host_arn]
            tracked = state.tracked.get(environment_id)
            environment = state.repository.environment(environment_id)
            if tracked is None or environment is None:
                continue
            report = slot_report(state, tracked, host_arn, observing=self._api.scheduler.observing)
            self.ring.put(
                SlotHappened(
                    at=state.stamp(), environment=environment, host_arn=host_arn, report=report
                )
            )
        if self._slots:
            self._gathering = self._later(0.0, self._tell_slots)

    def _look(self) -> None:
        self._looking = self._later(LOOK_EVERY, self._look)
        repository = self._state.repository
        now = self._state.clock.monotonic()
        environments = {e.id: e for e in repository.environments()}
        for id_, environment in environments.items():
            if self._records.get(id_) is not environment:
                self._records[id_] = environment
                self._marked[id_] = None
            self._tell_deployments(environment)
        if repository.orders != self._orders or now >= self._health_at + HEALTH_EVERY:
            self._orders, self._health_at = repository.orders, now
            self._marked.update(dict.fromkeys(environments))
        due = [
            id_
            for id_ in self._marked
            if now >= self._reported_at.get(id_, -REPORT_APART) + REPORT_APART
        ]
        for id_ in due[:_REPORTS_AT_ONCE]:
            del self._marked[id_]
            self._reported_at[id_] = now
            if id_ in environments:
                self._tell_environment(environments[id_])
        for id_ in [known for known in self._records if known not in environments]:
            self._tell_deleted(id_)

    def _tell_deployments(self, environment: Environment) -> None:
        found = self._state.repository.deployments(environment.id)
        before = self._deployments.get(environment.id, ())
        if found == before:
            return
        self._deployments[environment.id] = found
        self._marked[environment.id] = None
        told = {id(deployment) for deployment in before}
        in_force = self._state.deployment_in_force(environment)
        tracked = self._state.tracked.get(environment.id)
        tally = None if tracked is None else tracked.board.tally()
        for deployment in reversed(found):
            if id(deployment) not in told:
                self.ring.put(
                    DeploymentHappened(
                        at=self._state.stamp(),
                        environment=environment,
                        deployment=deployment,
                        tally=tally if deployment is in_force else None,
                    )
                )

    def _tell_environment(self, environment: Environment) -> None:
        happened, key = self._report(environment)
        if self._keys.get(environment.id) != key:
            self._keys[environment.id] = key
            self.ring.put(happened)

    def _report(self, environment: Environment) -> tuple[EnvironmentHappened, tuple[object, ...]]:
        """How an environment does, and what of it is told when it is another."""
        held = self._api.answers.of(environment)
        report = held.report
        key = (
            environment,
            None if report.deployment is None else report.deployment.id,
            held.primed,
            report.served,
            [(problem.code, problem.count) for problem in report.problems],
            report.tally,
            report.frozen,
            report.stops_held,
            report.adopted,
            report.tasks_left,
            report.ending_waits,
            report.migration,
        )
        happened = EnvironmentHappened(
            at=self._state.stamp(), environment=environment, report=report, primed=held.primed
        )
        return happened, key

    def _tell_deleted(self, environment_id: str) -> None:
        environment = self._records.pop(environment_id)
        for kept in (self._deployments, self._keys, self._reported_at):
            kept.pop(environment_id, None)
        self.ring.put(
            EnvironmentHappened(at=self._state.stamp(), environment=environment, report=None)
        )


def _known(seen: ClusterSeen | None) -> tuple[object, ...]:
    """What of a cluster is told when it is another."""
    return () if seen is None else (seen.status, seen.primed, seen.read_error)
