"""Who finds out what there is to be told, and hands it to those who are told.

A *look* compares the view and the boards with what was told before; what it costs depends on the
hosts that joined lately and on what changed about them. It runs beside the passes, on the same
loop, and only appends to queues.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import structlog

from blox.app.notices_bodies import parcel
from blox.app.notices_bus import Bus
from blox.app.notices_http import Webhook
from blox.app.notices_send import Fate, Outbox, Receiver
from blox.app.plan import Notify
from blox.base.ambient import Clock, Entropy, Now
from blox.base.tasks import TaskSet
from blox.clusterstate.shared import within
from blox.ecs.model import ACTIVE
from blox.ecs.port import Transport
from blox.ecs.seen import HostSeen, Touched
from blox.http.metrics import NOTICES_WAITING, Metrics
from blox.scheduler.model import Environment
from blox.scheduler.notices import (
    EnvironmentNow,
    Fault,
    Healths,
    HostNow,
    Joins,
    Notice,
    SlotNow,
    Standing,
    standing_of,
)
from blox.scheduler.reasons import REASONS, sentence
from blox.scheduler.report import Problem, environment_report
from blox.scheduler.scheduler import Scheduler
from blox.scheduler.verdicts import Verdict
from blox.settings import NoticeSettings

LOOK_APART: Final = 0.25
"""Seconds between two looks at the least."""
HEALTH_EVERY: Final = 5.0
"""Seconds between two looks at the health of all environments: it turns with time alone, too."""
LAST_NOTICES: Final = 2.0
"""Seconds that a process which stops gives its notices to leave."""

_log = structlog.get_logger("blox.notices")


def receivers_of(
    notify: Notify, *, bus: Callable[[], Transport], now: Callable[[], float]
) -> list[Receiver]:
    """Everybody who is told. `bus()` makes a transport to EventBridge, `now()` is the time to sign
    with."""
    found: list[Receiver] = [
        Webhook(url, label=label, secret=notify.secret)
        for url, label in zip(notify.urls, labels(notify.urls), strict=True)
    ]
    if notify.bus is not None:
        found.append(Bus(notify.bus, bus(), now=now))
    return found


def labels(urls: Sequence[str]) -> list[str]:
    """A name for each URL, with nothing in it that may be a password: scheme, host and port. A
    second one on the same host is called `… #2`."""
    named: dict[str, int] = {}
    found = []
    for url in urls:
        scheme, _, rest = url.partition("://")
        host = rest.replace("?", "/").partition("/")[0]
        name = f"{scheme}://{host}"
        named[name] = named.get(name, 0) + 1
        found.append(name if named[name] == 1 else f"{name} #{named[name]}")
    return found


class Notices:
    """Looks, and tells. Without receivers it does nothing."""

    def __init__(
        self,
        scheduler: Scheduler,
        receivers: Sequence[Receiver],
        *,
        settings: NoticeSettings,
        clock: Clock,
        entropy: Entropy,
        metrics: Metrics,
        conditions: Callable[[], tuple[Problem, ...]],
    ) -> None:
        """`conditions()`: what is wrong with the process as a whole."""
        self._scheduler = scheduler
        self._conditions = conditions
        self._settings = settings
        self._clock = clock
        self._joins = Joins(not_ready_after=settings.not_ready_after)
        self._healths = Healths(
            unhealthy_for=settings.unhealthy_for, healthy_for=settings.healthy_for
        )
        self._outboxes = [
            Outbox(
                receiver,
                clock=clock,
                entropy=entropy,
                settings=settings,
                count=metrics.notice,
            )
            for receiver in receivers
        ]
        for receiver in receivers:
            metrics.expect_notices(receiver.label, [fate.value for fate in Fate])
        self._changed = asyncio.Event()
        self._clusters: dict[str, None] = {}
        """Clusters to be listed in the next look."""
        self._hosts: dict[str, str] = {}
        """Host → its cluster: to be looked at in the next look."""
        self._boards: dict[str, None] = {}
        """Environments with another verdict since the last look."""
        self._deployed: dict[str, tuple[str, ...]] = {}
        """Cluster → its environments that were deployed at the last look."""
        self._judged: dict[str, dict[str, Verdict | None]] = {}
        """Host that is waited for → each of those environments' verdict when it was last judged.
        Without an entry it is judged in the next look."""
        self.slots_seen = 0
        """Verdicts that were put into words."""
        self._before: set[str] = set()
        """Clusters of whose hosts a process before us may have told."""
        self._health_at = float("-inf")
        self._tasks = TaskSet("notices")
        metrics.watch(NOTICES_WAITING, self._waiting)

    def start(self) -> None:
        """Begin to look, and to send. Nothing is told by a process that only observes."""
        if not self._outboxes:
            return
        names = [outbox.receiver.label for outbox in self._outboxes]
        if self._scheduler.observing:
            _log.warning("notices", to=names, state="none are sent: this process only observes")
            return
        _log.info("notices", to=names, not_ready_after=self._settings.not_ready_after)
        state = self._scheduler.state
        self._before.update(
            environment.cluster_arn
            for environment in state.repository.environments()
            if state.deployment_in_force(environment) is not None
        )
        state.view.subscribe(self.touched)
        self._scheduler.reconciler.subscribe(self._board_changed)
        for outbox in self._outboxes:
            self._tasks.start(outbox.run(), name=outbox.receiver.label, eternal=True)
        self._tasks.start(self._look_for_ever(), name="look", eternal=True)

    async def watch(self) -> None:
        """Raises BackgroundTaskEnded when a part has broken."""
        await self._tasks.watch()

    async def flush(self) -> None:
        """Give what is left to be sent a last chance."""
        if len(self._tasks):
            await asyncio.gather(*(outbox.flush(LAST_NOTICES) for outbox in self._outboxes))

    async def close(self) -> None:
        """Look and send no more."""
        await self._tasks.close()
        for outbox in self._outboxes:
            await outbox.receiver.close()

    # --- What wakes a look ------------------------------------------------------------------------

    def touched(self, change: Touched) -> None:
        """The view changed. Called by the view, synchronously."""
        if change.cluster:
            if self._joins.knows(change.cluster_arn):
                self._clusters[change.cluster_arn] = None
            else:
                # At once, so that a host that appears right after it counts as one that joins.
                self._list(change.cluster_arn, self._now())
        self._hosts.update(dict.fromkeys(sorted(change.hosts), change.cluster_arn))
        self._changed.set()

    def _board_changed(self, environment_id: str) -> None:
        if len(self._joins):
            self._boards[environment_id] = None
            self._changed.set()

    async def _look_for_ever(self) -> None:
        while True:
            now = self._clock.monotonic()
            due = self._joins.next_due()
            until = self._health_at + HEALTH_EVERY
            until = until if due is None else min(until, due + 0.001)
            await within(self._changed, until - now)
            self._changed.clear()
            try:
                self._look()
            except Exception:  # noqa: BLE001 - a mistake here must not end the scheduler
                _log.exception("notices could not be made")
                self._judged.clear()
                await asyncio.sleep(HEALTH_EVERY)
            await asyncio.sleep(LOOK_APART)

    # --- A look -----------------------------------------------------------------------------------

    def _look(self) -> None:
        now = self._now()
        told: list[Notice] = []
        clusters, self._clusters = self._clusters, {}
        hosts, self._hosts = self._hosts, {}
        for cluster_arn in clusters:
            told += self._list(cluster_arn, now)
        for host_arn, cluster_arn in hosts.items():
            told += self._look_at(cluster_arn, host_arn, now)
        told += self._judge(now)
        if now.mono >= self._health_at + HEALTH_EVERY:
            self._health_at = now.mono
            told += self._look_at_health(now)
        for notice in told:
            self._tell(notice)

    def _now(self) -> Now:
        return Now(self._clock.monotonic(), self._scheduler.state.stamp())

    def _list(self, cluster_arn: str, now: Now) -> Sequence[Notice]:
        view = self._scheduler.state.view
        seen = view.cluster(cluster_arn)
        if seen is None or not seen.primed:
            return self._joins.forget(cluster_arn, now=now)
        there = (_host_now(host) for host in view.hosts(cluster_arn))
        before = cluster_arn in self._before
        self._judged.clear()
        return self._joins.listed(cluster_arn, there, now=now, before=before)

    def _look_at(self, cluster_arn: str, host_arn: str, now: Now) -> Sequence[Notice]:
        if not self._joins.knows(cluster_arn):
            return ()
        seen = self._scheduler.state.view.host(host_arn)
        self._judged.pop(host_arn, None)
        if seen is None:
            told = self._joins.gone(cluster_arn, host_arn, now=now)
        else:
            told = self._joins.seen(_host_now(seen), now=now)
        return () if told is None else (told,)

    def _judge(self, now: Now) -> Sequence[Notice]:
        """What is to be told of the hosts that are waited for: of each that has joined, has waited
        for too long, or about which a verdict has changed since it was last judged."""
        boards, self._boards = self._boards, {}
        waiting = self._joins.waiting()
        if not waiting:
            self._judged.clear()
            return ()
        deployed = self._deployed_now()
        changed = self._verdicts(boards)
        overdue = frozenset(self._joins.overdue(now=now))
        judged, self._judged = self._judged, {}
        told = []
        for host in waiting:
            before = judged.get(host.arn)
            if (
                before is not None
                and host.arn not in overdue
                and all(of.get(host.arn) is before.get(id_) for id_, of in changed.items())
            ):
                self._judged[host.arn] = before
                continue
            environments = deployed.get(host.cluster_arn, ())
            slots, self._judged[host.arn] = self._slots(environments, host.arn)
            notice = self._joins.judge(host.arn, slots, now=now)
            if notice is not None:
                told.append(notice)
        return told

    def _deployed_now(self) -> dict[str, list[Environment]]:
        """The environments that are deployed, by cluster. If they are not those of the last look,
        every host is judged anew."""
        state = self._scheduler.state
        deployed: dict[str, list[Environment]] = {}
        for environment in state.repository.environments():
            if state.served(environment) and state.deployment_in_force(environment) is not None:
                deployed.setdefault(environment.cluster_arn, []).append(environment)
        ids = {cluster: tuple(e.id for e in here) for cluster, here in deployed.items()}
        if ids != self._deployed:
            self._deployed = ids
            self._judged.clear()
        return deployed

    def _verdicts(self, environments: Iterable[str]) -> dict[str, Mapping[str, Verdict]]:
        """Of each of these environments that is deployed: host → verdict."""
        tracked = self._scheduler.state.tracked
        deployed = {id_ for here in self._deployed.values() for id_ in here}
        return {
            id_: tracked[id_].board.verdicts if id_ in tracked else {}
            for id_ in environments
            if id_ in deployed
        }

    def _slots(
        self, environments: Sequence[Environment], host_arn: str
    ) -> tuple[list[SlotNow], dict[str, Verdict | None]]:
        """How these environments see the host, and the verdicts that say so."""
        tracked = self._scheduler.state.tracked
        slots: list[SlotNow] = []
        verdicts: dict[str, Verdict | None] = {}
        for environment in environments:
            found = tracked.get(environment.id)
            verdict = None if found is None else found.board.verdicts.get(host_arn)
            verdicts[environment.id] = verdict
            slots.append(slot_now(environment, verdict))
        self.slots_seen += len(slots)
        return slots, verdicts

    def _look_at_health(self, now: Now) -> Sequence[Notice]:
        state = self._scheduler.state
        troubles = self._conditions()
        environments = {e.id: e for e in state.repository.environments()}
        told: list[Notice] = list(self._healths.only(environments, now=now))
        for environment in environments.values():
            cluster = state.view.cluster(environment.cluster_arn)
            if (cluster is None or not cluster.primed) and not troubles:
                continue  # Nothing is known of it yet.
            report = environment_report(state, environment, troubles=troubles)
            notice = self._healths.seen(
                EnvironmentNow(
                    id=environment.id,
                    name=environment.name,
                    cluster_arn=environment.cluster_arn,
                    faults=tuple(_fault(problem) for problem in report.problems),
                ),
                now=now,
            )
            if notice is not None:
                told.append(notice)
        return told

    def _tell(self, notice: Notice) -> None:
        made = parcel(notice)
        _log.debug("notice", kind=made.kind, notice=made.id)
        for outbox in self._outboxes:
            outbox.put(made)

    def _waiting(self) -> dict[str, int]:
        return {outbox.receiver.label: len(outbox) for outbox in self._outboxes}


def slot_now(environment: Environment, verdict: Verdict | None) -> SlotNow:
    """One environment as a host sees it of which it has decided so."""
    standing = standing_of(verdict)
    if verdict is None or standing is Standing.UNJUDGED:
        return SlotNow(
            environment=environment.name,
            environment_id=environment.id,
            standing=Standing.UNJUDGED,
            sentence="nothing has been decided yet",
            who="blox",
            next_step="decides as soon as the cluster was read",
        )
    reason = REASONS[verdict.reason]
    return SlotNow(
        environment=environment.name,
        environment_id=environment.id,
        standing=standing,
        slot_class=verdict.slot_class.value,
        reason=verdict.reason,
        sentence=sentence(verdict.reason, verdict.details),
        who=reason.who,
        next_step=reason.next_step,
    )


def _host_now(seen: HostSeen) -> HostNow:
    host = seen.host
    return HostNow(
        arn=host.arn,
        cluster_arn=host.cluster_arn,
        instance_id=host.instance_id,
        zone=host.attributes.get("ecs.availability-zone", ""),
        capacity_provider=host.capacity_provider,
        registered_at=host.registered_at,
        able=host.status == ACTIVE and host.agent_connected,
        leaving=seen.superseded_by is not None or host.status in _LEAVING,
    )


_LEAVING: Final = ("DRAINING", "DEREGISTERING", "INACTIVE")


def _fault(problem: Problem) -> Fault:
    return Fault(
        code=problem.code,
        sentence=problem.sentence,
        who=problem.who,
        next_step=problem.next_step,
        count=problem.count,
        request_id=problem.request_id,
    )
