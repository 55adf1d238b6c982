"""The view: our copy of each watched cluster, kept by events, sweeps and our own calls' answers.

What is known is read synchronously, from memory. What changes is told to the listeners
synchronously too, after it is in. In the background, each cluster has two tasks: one sweeps it, the
other describes what is only half known. Clusters share nothing but the queue, so that one which
cannot be read holds up no other.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import structlog
from msgspec import Struct

from blox.base.ambient import Clock
from blox.base.backoff import exponential
from blox.base.ids import parse_arn, short_id
from blox.base.tasks import TaskSet
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.cluster import Cluster, EventOutcome
from blox.clusterstate.counters import Counters
from blox.clusterstate.drift import Drift, Tally
from blox.clusterstate.feeding import Feeder, MakesFeeder
from blox.clusterstate.merge import Evidence
from blox.clusterstate.providers import ScalingProviders
from blox.clusterstate.services import DaemonServices
from blox.clusterstate.shared import SharedCall, within
from blox.clusterstate.sweep import Sweeper
from blox.ecs.errors import EcsError
from blox.ecs.events import HostEvent, TaskEvent
from blox.ecs.model import HostDocument, Task, TaskDocument
from blox.ecs.port import EcsReads, Read
from blox.ecs.seen import ClusterSeen, HostSeen, Presumed, Touched
from blox.settings import Assumptions, ViewSettings

D = TypeVar("D", TaskDocument, HostDocument)

FIRST_RETRY = 1.0
LAST_RETRY = 60.0
"""Seconds until a sweep that failed is tried again; doubles in between."""

_log = structlog.get_logger("blox.clusterstate")

SUSPICION_REST = 10.0
"""Seconds after a sweep during which nothing that looks wrong begins another; where the cluster is
said not to be there, it begins one then."""
LONGEST_REST = 300.0
"""Seconds between two sweeps at the most: one that took long because this process was suspended in
the middle must not put off the next by as much."""


class Restored(Struct, Generic[D], frozen=True):
    """One task or host of a stored copy."""

    document: D
    shown: float
    """Our monotonic time at which ECS last told something new of it."""


@dataclass(slots=True)
class _Watched:
    """One watched cluster and its background tasks."""

    cluster: Cluster
    sweeper: Sweeper
    feeder: Feeder
    look: SharedCall[bool]
    wanted: int = 0
    """The number of the sweep that somebody asked for."""
    ended: float = -math.inf
    """When the last sweep ended."""
    doubted: float = math.inf
    """When the next one begins at the latest, because something looks wrong."""
    nudge: asyncio.Event = field(default_factory=asyncio.Event)
    """The pace of its sweeps may have changed."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Something in it may be half known."""
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)


class View:
    """What `blox.scheduler.view.ClusterView` asks for, and the way in for events."""

    def __init__(
        self,
        reads: EcsReads,
        clock: Clock,
        *,
        assumptions: Assumptions,
        settings: ViewSettings,
        clusters: Sequence[str] = (),
        queue: bool = False,
        counters: Counters | None = None,
        catalogue: Catalogue | None = None,
        feeder: MakesFeeder | None = None,
        stranger: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`clusters`: names or ARNs that are watched from the start and never let go. `queue`:
        events are meant to come; until `queue_flows` says that they do, sweeps go at the pace of a
        view without a queue. `catalogue`: keeps the whole of what ECS tells, for others. `feeder`:
        what keeps clusters in place of our own sweeps. `stranger`: told the ARN of a cluster that
        an event is about and that is not watched."""
        self.counters = Counters() if counters is None else counters
        self._reads = reads
        self._clock = clock
        self._assumptions = assumptions
        self._settings = settings
        self._named = tuple(clusters)
        self._catalogue = catalogue
        self._feeder = feeder
        self._stranger = stranger
        self._drift = Drift() if queue else None
        self._flowing = False
        self._watched: dict[str, _Watched] = {}
        self._numbers: dict[str, int] = {}
        """How many sweeps had begun of clusters that were let go: their numbers are never used
        again, or one of long ago would pass for one that was asked for (R12)."""
        self._restored: set[str] = set()
        """Those of a stored copy which nobody has asked for since."""
        self._resolving: dict[str, str | None] = {}
        self._early: dict[str, list[tuple[Presumed, float]]] = {}
        self._listeners: list[Callable[[Touched], None]] = []
        self._services = DaemonServices(reads, clock, changed=self._touch_all)
        self._providers = ScalingProviders(reads, clock, changed=self._touch_all)
        self._tasks = TaskSet("view")

    # --- What is known ----------------------------------------------------------------------------

    @property
    def clusters(self) -> tuple[str, ...]:
        """The ARNs of the watched clusters, sorted."""
        return tuple(sorted(self._watched))

    def cluster(self, cluster_arn: str) -> ClusterSeen | None:
        """How well a cluster is known; None when it is not watched."""
        watched = self._watched.get(cluster_arn)
        return None if watched is None else watched.cluster.seen

    def hosts(self, cluster_arn: str) -> Iterable[HostSeen]:
        """Every host that is not INACTIVE, superseded ones included, in ARN order."""
        watched = self._watched.get(cluster_arn)
        return () if watched is None else watched.cluster.records.listed()

    def host(self, host_arn: str) -> HostSeen | None:
        """One host; None when it is unknown, INACTIVE or gone."""
        for cluster in self._clusters_of(host_arn, "container-instance"):
            seen = cluster.records.seen(host_arn)
            if seen is not None:
                return seen
        return None

    def tasks_on(self, host_arn: str) -> Sequence[Task]:
        """Every task known on a host, ended ones included while they are kept, in ARN order."""
        for cluster in self._clusters_of(host_arn, "container-instance"):
            tasks = cluster.records.tasks_on(host_arn)
            if tasks:
                return tasks
        return ()

    def task(self, task_arn: str) -> Task | None:
        """One task; None when nothing is known of it."""
        for cluster in self._clusters_of(task_arn, "task"):
            entry = cluster.records.task(task_arn)
            if entry is not None:
                return entry.task
        return None

    def started_by(self, started_by: str) -> Sequence[Task]:
        """Every known task with this startedBy, in ARN order."""
        found = [
            task
            for watched in self._watched.values()
            for task in watched.cluster.records.started_by(started_by)
        ]
        return sorted(found, key=lambda task: task.arn)

    def is_daemon_service(self, cluster_arn: str, group: str) -> bool | None:
        """Whether `group` names a service with the DAEMON strategy, as far as known; asking makes
        it be looked up. None until the first look."""
        return self._services.is_daemon(cluster_arn, group)

    def scales_in(self, cluster_arn: str, provider: str) -> bool | None:
        """Whether ECS removes idle hosts of this capacity provider, as far as known; asking makes
        it be looked up. False for "", None until the first look."""
        return self._providers.scales_in(cluster_arn, provider)

    def subscribe(self, listener: Callable[[Touched], None]) -> None:
        """Call `listener` after each change, before the change's cause returns."""
        self._listeners.append(listener)

    def changes(self) -> Tally | None:
        """Changes of tasks of the last ten to twenty minutes, told by events and missed by them;
        None without a queue."""
        return None if self._drift is None else self._drift.tally(now=self._clock.monotonic())

    @property
    def flowing(self) -> bool:
        """Whether a queue is being read."""
        return self._flowing

    def unfound(self) -> tuple[str, ...]:
        """Why clusters that were named are not watched yet: a sentence each."""
        return tuple(text for _, text in sorted(self._resolving.items()) if text is not None)

    def problems(self) -> tuple[str, ...]:
        """What is wrong beside single clusters' read errors: a sentence each."""
        found = list(self.unfound())
        if self._drift is not None:
            text = self._drift.problem(
                alarm=self._settings.missed_events_alarm, now=self._clock.monotonic()
            )
            if text is not None:
                found.append(text)
        return tuple(found)

    # --- What comes in ----------------------------------------------------------------------------

    def answer(self, task: TaskDocument, begun: float) -> None:
        """Apply the account of a task that a call of ours returned; `begun`: when it was sent."""
        for cluster in self._clusters_of(task.task_arn, "task", task.cluster_arn):
            evidence = Evidence(
                cluster_arn=cluster.arn, received=self._clock.monotonic(), begun=begun
            )
            cluster.read_tasks((task,), evidence, own=True)
            self._changed(cluster)
            return

    def recheck(self, host_arn: str) -> None:
        """Have this host described soon: ECS says of it what the view does not know."""
        for cluster in self._clusters_of(host_arn, "container-instance"):
            sweeper = self._watched[cluster.arn].sweeper
            self._tasks.start(sweeper.describe_hosts((host_arn,)), name=f"recheck {host_arn}")

    def presume(self, task: Presumed) -> None:
        """Enter a task that a retained intent names, if nothing is known of it. It waits for its
        cluster to be followed."""
        now = self._clock.monotonic()
        watched = self._watched.get(task.cluster_arn)
        if watched is None:
            self._early.setdefault(task.cluster_arn, []).append((task, now))
            return
        watched.cluster.presume(task, now=now)
        self._changed(watched.cluster)

    def apply(self, event: TaskEvent | HostEvent) -> EventOutcome | Literal["ignored"]:
        """Apply one event; what became of it. Events about clusters that are not watched, or that
        ECS says are not there, are ignored: their next sweep tells, and is due soon."""
        watched = self._watched.get(event.cluster_arn)
        if watched is None or not watched.cluster.active:
            self.counters.events_ignored += 1
            if watched is None:
                self._stranger(event.cluster_arn)
            else:
                self.suspect(event.cluster_arn)
            return "ignored"
        now = self._clock.monotonic()
        cluster = watched.cluster
        if isinstance(event, TaskEvent):
            told = cluster.task_event(event.task, time=event.time, now=now)
            host_arn = event.task.container_instance_arn
            if told == "applied" and isinstance(host_arn, str) and host_arn:
                self._know(cluster, host_arn)
        else:
            told = cluster.host_event(event.host, time=event.time, now=now)
        if told == "applied":
            self.counters.events_applied += 1
        elif told == "known":
            self.counters.events_known += 1
        else:
            self.counters.events_too_old += 1
        self.counters.queue_lag = max(0.0, self._reads.now() - event.time)
        self._changed(cluster)
        return told

    def _know(self, cluster: Cluster, host_arn: str) -> None:
        """A task runs on this host: then the cluster must have it."""
        if cluster.records.host(host_arn) is None:
            self.suspect(cluster.arn)

    def queue_flows(self, *, flowing: bool) -> None:
        """The queue is being read, or it cannot be: then sweeps are all there is."""
        if flowing == self._flowing:
            return
        self._flowing = flowing
        if self._drift is not None:
            self._drift.flow(flowing=flowing)
        for watched in self._watched.values():
            watched.nudge.set()

    # --- Watching ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Watch the named clusters, and keep everything going until cancelled.

        Raises BackgroundTaskEnded when a part of the view has broken.
        """
        self._tasks.start(self._services.run(), name="services", eternal=True)
        self._tasks.start(self._providers.run(), name="capacity providers", eternal=True)
        # Names first: one is not looked up where a cluster so named is asked for already.
        for cluster in sorted(self._named, key=lambda cluster: parse_arn(cluster) is not None):
            await self.follow(cluster)
        await self._tasks.watch()

    async def close(self) -> None:
        """Stop reading."""
        await self._tasks.close()

    async def follow(self, cluster: str) -> None:
        """Watch a cluster (name or ARN) from now on; its first sweep begins at once and is not
        waited for. A name is looked up even where a stored copy has a cluster of that name: it may
        be one of another account or region."""
        arn = parse_arn(cluster)
        if arn is not None:
            self._restored.discard(cluster)
            self._watch(cluster)
        elif cluster not in self._resolving and not any(
            short_id(arn) == cluster for arn in self._watched if arn not in self._restored
        ):
            self._resolving[cluster] = None
            self._tasks.start(self._resolve(cluster), name=f"find {cluster}")

    def unfollow(self, cluster_arn: str) -> None:
        """Stop watching a cluster and forget it, unless it was named from the start."""
        if cluster_arn not in self._named and short_id(cluster_arn) not in self._named:
            self._forget(cluster_arn)

    def _forget(self, cluster_arn: str) -> None:
        self._restored.discard(cluster_arn)
        watched = self._watched.pop(cluster_arn, None)
        if watched is None:
            return
        self._numbers[cluster_arn] = watched.sweeper.begun
        watched.cluster.let_go()
        for task in watched.tasks:
            task.cancel()
        self._services.forget(cluster_arn)
        self._providers.forget(cluster_arn)
        if self._catalogue is not None:
            self._catalogue.cluster_forgotten(cluster_arn)
        self._tell(Touched(cluster_arn=cluster_arn, cluster=True))

    def request_sweep(self, cluster_arn: str) -> int | None:
        """Have the cluster swept soon; the number of that sweep, which has not begun yet. It is
        done when `ClusterSeen.sweep` is not smaller. None when the cluster is not watched."""
        watched = self._watched.get(cluster_arn)
        if watched is None:
            return None
        watched.wanted = watched.feeder.begun + 1
        watched.nudge.set()
        return watched.wanted

    def suspect(self, cluster_arn: str) -> None:
        """Something does not fit what is known of the cluster: sweep it, unless that was just
        done; one that ECS said is not there is swept all the same, a little later."""
        watched = self._watched.get(cluster_arn)
        if watched is None or (watched.cluster.active and not watched.cluster.seen.primed):
            return
        if self._clock.monotonic() - watched.ended >= SUSPICION_REST:
            self.request_sweep(cluster_arn)
        elif not watched.cluster.active:
            watched.doubted = watched.ended + SUSPICION_REST
            watched.nudge.set()

    def restore(
        self,
        cluster_arn: str,
        hosts: Sequence[Restored[HostDocument]],
        tasks: Sequence[Restored[TaskDocument]],
        *,
        more: bool = False,
    ) -> None:
        """Watch a cluster from now on, and begin with what a stored copy had of it: it stays
        unprimed until it is swept, and whatever ECS tells overrides it. `more`: another call brings
        the rest; the cluster is not read before that."""
        if cluster_arn not in self._watched:
            self._restored.add(cluster_arn)
        self._enter(cluster_arn)
        cluster = self._watched[cluster_arn].cluster
        cluster.restore(
            [(item.document, item.shown) for item in hosts],
            [(item.document, item.shown) for item in tasks],
        )
        self._changed(cluster)
        if not more:
            self._watch(cluster_arn)

    async def look(self, cluster_arn: str) -> bool:
        """List the cluster's tasks and describe what is new or in doubt; whether that was complete.
        Callers during a look share the next one."""
        watched = self._watched.get(cluster_arn)
        return watched is not None and bool(await watched.look())

    async def describe(self, cluster_arn: str, tasks: Sequence[str]) -> Read[TaskDocument] | None:
        """Describe these tasks and apply what is shown; None when a call failed."""
        watched = self._watched.get(cluster_arn)
        if watched is None:
            return None
        return await watched.sweeper.describe(tuple(tasks))

    def _watch(self, arn: str) -> None:
        self._enter(arn)
        watched = self._watched[arn]
        if watched.tasks:
            return
        name = arn.rsplit("/", 1)[-1]
        watched.tasks += [
            self._tasks.start(self._sweep(watched), name=f"sweep {name}", eternal=True),
            self._tasks.start(self._clarify(watched), name=f"clarify {name}", eternal=True),
            self._tasks.start(watched.feeder.run(), name=f"follow {name}", eternal=True),
        ]

    def _enter(self, arn: str) -> None:
        """Take up a cluster, without reading it yet."""
        if arn in self._watched:
            return
        cluster = Cluster(
            arn,
            read_lag=self._assumptions.read_lag,
            settings=self._settings,
            counters=self.counters,
            horizon=self._reads.now(),
            drift=self._drift,
            keeper=self._catalogue,
        )

        def changed() -> None:
            self._changed(cluster)

        sweeper = Sweeper(
            self._reads,
            self._clock,
            cluster,
            counters=self.counters,
            changed=changed,
            begun=self._numbers.get(arn, 0),
        )
        feeder: Feeder = sweeper
        if self._feeder is not None:
            feeder = self._feeder(cluster, sweeper, changed=changed)
        name = arn.rsplit("/", 1)[-1]

        def start(work: Coroutine[Any, Any, bool]) -> "asyncio.Task[bool]":
            return self._tasks.start(work, name=f"look at {name}")

        watched = _Watched(cluster, sweeper, feeder, SharedCall(sweeper.look, start))
        self._watched[arn] = watched
        for presumed, now in self._early.pop(arn, ()):
            cluster.presume(presumed, now=now)
        if self._catalogue is not None:
            self._catalogue.cluster_changed(cluster.seen)
        self._changed(cluster)

    # --- In the background ------------------------------------------------------------------------

    async def _sweep(self, watched: _Watched) -> None:
        """Sweep one cluster for ever."""
        failures = 0
        while True:
            begun = self._clock.monotonic()
            watched.doubted = math.inf
            complete = await watched.feeder.sweep()
            watched.ended = self._clock.monotonic()
            took = watched.ended - begun
            if complete or not watched.cluster.active:
                failures = 0
            else:
                failures += 1
            await self._pause(watched, begun=begun, took=took, failures=failures)

    async def _pause(self, watched: _Watched, *, begun: float, took: float, failures: int) -> None:
        """Until the next sweep is due. The interval may change meanwhile."""
        while True:
            if failures:
                wait = exponential(
                    failures, first=FIRST_RETRY, factor=2.0, most=LAST_RETRY, jitter=0.0
                )
                due = begun + took + wait
            elif watched.wanted > watched.feeder.begun:
                due = begun + took + min(took, LONGEST_REST)
            else:
                due = begun + took + min(max(self._interval() - took, took), LONGEST_REST)
                due = min(due, watched.doubted)
            watched.nudge.clear()
            if not await within(watched.nudge, due - self._clock.monotonic()):
                return

    def _interval(self) -> float:
        if self._flowing or self._feeder is not None:
            return self._settings.sweep_interval_with_queue
        return self._settings.sweep_interval_without_queue

    async def _clarify(self, watched: _Watched) -> None:
        """Describe what is half known in one cluster, for ever."""
        cluster = watched.cluster
        while True:
            due = cluster.next_ask()
            watched.asked.clear()
            if due is None:
                await watched.asked.wait()
                continue
            now = self._clock.monotonic()
            if due > now:
                await within(watched.asked, due - now)
                continue
            tasks, hosts = cluster.asked(now=now)
            if tasks:
                await watched.sweeper.describe(tasks)
            if hosts:
                await watched.sweeper.describe_hosts(hosts)

    async def _resolve(self, name: str) -> None:
        """Find the ARN of a cluster that was named, however long that takes, and watch it."""
        failures = 0
        while True:
            try:
                answer = await self._reads.describe_clusters([name])
                if answer.items:
                    break
                problem = f"Cluster {name} is not there."
            except EcsError as error:
                problem = f"Cluster {name} could not be looked up: {error.message}"
            if self._resolving[name] != problem:
                _log.warning("cluster not found", cluster=name, problem=problem)
            self._resolving[name] = problem
            failures += 1
            await asyncio.sleep(
                exponential(failures, first=FIRST_RETRY, factor=2.0, most=LAST_RETRY, jitter=0.0)
            )
        del self._resolving[name]
        found = answer.items[0].cluster_arn
        self._restored.discard(found)
        self._watch(found)
        for arn in [arn for arn in sorted(self._restored) if short_id(arn) == name]:
            if arn not in self._named:
                _log.warning("cluster of another account or region forgotten", cluster=arn)
                self._forget(arn)

    # --- Inside -----------------------------------------------------------------------------------

    def _clusters_of(self, arn: str, kind: str, cluster_arn: object = None) -> Iterable[Cluster]:
        """The cluster that an ARN names; all of them for ARNs of the old format, without one."""
        if not isinstance(cluster_arn, str):
            cluster_arn = _owner(arn, kind)
        if cluster_arn is not None:
            watched = self._watched.get(cluster_arn)
            return () if watched is None else (watched.cluster,)
        return tuple(watched.cluster for watched in self._watched.values())

    def _changed(self, cluster: Cluster) -> None:
        """Tell the listeners what has changed, and wake who describes what is half known."""
        watched = self._watched.get(cluster.arn)
        if watched is None or watched.cluster is not cluster:
            return
        if cluster.asks_for_tasks or cluster.asks_for_hosts:
            watched.asked.set()
        touched = cluster.take_touched()
        if touched is None:
            return
        if touched.cluster and self._catalogue is not None:
            self._catalogue.cluster_changed(cluster.seen)
        self._tell(touched)

    def _touch_all(self, cluster_arn: str) -> None:
        self._tell(Touched(cluster_arn=cluster_arn, cluster=True))

    def _tell(self, touched: Touched) -> None:
        for listener in self._listeners:
            listener(touched)


def _owner(arn: str, kind: str) -> str | None:
    """The cluster's ARN in a long ARN of a task or host; None for an old one.

    By splitting and not by `parse_arn`: this runs for every lookup."""
    head, *rest = arn.split("/")
    if len(rest) != 2 or not head.endswith(f":{kind}"):
        return None
    return f"{head.removesuffix(kind)}cluster/{rest[0]}"
