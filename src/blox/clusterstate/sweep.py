"""Reading a cluster: sweeps, looks and single Describes, and when each is complete.

A *sweep* asks whether the cluster is ACTIVE, lists its hosts, describes them, lists its tasks and
describes those. A *look* lists the tasks and describes what is new or in doubt. Either is complete
only when every page and every Describe was answered; an item answered MISSING was answered. What
was read before something failed is applied all the same: it is evidence, only not of absence.

Tasks are listed with desiredStatus RUNNING first and STOPPED after all its pages: a task that ECS
begins to stop in between is in the second listing, and in the other order it would be in neither.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Any, TypeVar

import structlog
from msgspec.structs import replace

from blox.base.ambient import Clock
from blox.base.backoff import exponential
from blox.clusterstate.cluster import Cluster, Effort
from blox.clusterstate.counters import Counters
from blox.clusterstate.merge import Evidence
from blox.ecs.errors import EcsError, EcsRefused, EcsSilent
from blox.ecs.model import INACTIVE, RUNNING, STOPPED, Failure, HostDocument, TaskDocument
from blox.ecs.port import EcsReads, Read

T = TypeVar("T")

PAGE = 100
"""Most items that one Describe takes."""
TRIES = 4
"""How often one page or Describe is tried before the sweep that needs it fails."""
CONCURRENT = 8
"""Describes of one cluster in flight at most. Their pace is the client's."""
MOST_PAGES = 10_000

_log = structlog.get_logger("blox.clusterstate")


class Sweeper:
    """The reads of one cluster. Every method applies what it reads and tells the listeners."""

    def __init__(
        self,
        reads: EcsReads,
        clock: Clock,
        cluster: Cluster,
        *,
        counters: Counters,
        changed: Callable[[], None],
        begun: int = 0,
    ) -> None:
        """`changed` is called after each answer that has been applied. `begun`: how many sweeps of
        this cluster have begun in this process before."""
        self._reads = reads
        self._clock = clock
        self._cluster = cluster
        self._counters = counters
        self._changed = changed
        self._slots = asyncio.Semaphore(CONCURRENT)
        self._begun = begun

    @property
    def begun(self) -> int:
        """How many sweeps have begun: the number of the last one."""
        return self._begun

    async def run(self) -> None:
        """Nothing goes on between two sweeps."""
        await asyncio.Event().wait()

    async def sweep(self) -> bool:
        """One sweep; whether it was complete. False too when the cluster is not ACTIVE."""
        self._begun += 1
        number = self._begun
        begun = self._clock.monotonic()
        cluster = self._cluster
        try:
            if not await self.exists():
                return False
            ecs_time = self._reads.now()
            cluster.begin_sweep(ecs_time=ecs_time)
            life = cluster.life
            newcomers = await self._sweep_hosts()
            listing_begun = await self._read_tasks(everything=True)
        except EcsError as error:
            self._counters.sweeps_failed += 1
            self._failed(Effort.SWEEP, error)
            return False
        if cluster.life != life:
            return False
        for documents, evidence in newcomers:
            cluster.read_hosts(documents, evidence)
        cluster.complete_sweep(
            number=number,
            begun=begun,
            ecs_time=ecs_time,
            listing_begun=listing_begun,
            now=self._clock.monotonic(),
        )
        self._changed()
        return True

    async def look(self) -> bool:
        """One look; whether it was complete."""
        life = self._cluster.life
        if not self._cluster.active:
            return False
        try:
            begun = await self._read_tasks(everything=False)
        except EcsError as error:
            self._counters.looks_failed += 1
            self._failed(Effort.LOOK, error)
            return False
        if self._cluster.life != life:
            return False
        self._counters.looks_completed += 1
        self._cluster.complete_look(begun=begun)
        self._changed()
        return True

    async def describe(self, tasks: Sequence[str]) -> Read[TaskDocument] | None:
        """Describe these tasks. What was shown, since the begin of the earliest call; None when
        one failed."""
        try:
            read = await self._describe_tasks(tasks)
        except EcsError as error:
            self._failed(Effort.DESCRIBE, error)
            return None
        self._cluster.succeeded(Effort.DESCRIBE)
        self._changed()
        return read

    async def describe_hosts(self, hosts: Sequence[str]) -> bool:
        """Describe these hosts; whether every call was answered."""
        try:
            await self._describe_hosts(hosts, apply_new=True)
        except EcsError as error:
            self._failed(Effort.DESCRIBE, error)
            return False
        self._cluster.succeeded(Effort.DESCRIBE)
        self._changed()
        return True

    # --- The parts of a sweep ---

    async def exists(self) -> bool:
        """Whether ECS says that the cluster is there; forgets it when ECS says that it is not.
        Raises EcsError."""
        arn = self._cluster.arn
        answer = await self._ask(lambda: self._reads.describe_clusters([arn]))
        status = next((c.status for c in answer.items if c.cluster_arn == arn), None)
        if status is None and not any(f.reason == "MISSING" for f in answer.failures):
            raise EcsSilent("DescribeClusters", "the answer says nothing of the cluster")
        if status is None or status == INACTIVE:
            self._gone("is not there" if status is None else "is INACTIVE")
            return False
        self._cluster.opened()
        return True

    async def _sweep_hosts(self) -> list[tuple[tuple[HostDocument, ...], Evidence]]:
        """List and describe the hosts. Those that the view does not have are handed back: they
        enter it only after the tasks on them, so that nothing is started beside a task unseen."""
        listed = await self._pages(
            lambda token: self._reads.list_hosts(self._cluster.arn, next_token=token)
        )
        wanted = self._cluster.hosts_to_describe(listed)
        return await self._describe_hosts(wanted, listed=frozenset(listed))

    async def _read_tasks(self, *, everything: bool) -> float:
        """List and describe the tasks. The begin of the listing."""
        begun = self._clock.monotonic()
        running = await self._list_tasks(RUNNING)
        stopped = await self._list_tasks(STOPPED)
        wanted = self._cluster.to_describe(running, stopped, everything=everything)
        listed = frozenset((*running, *stopped))
        await self._together(lambda batch: self._show_tasks(batch, listed), _batches(wanted))
        return begun

    async def _list_tasks(self, desired_status: str) -> list[str]:
        return await self._pages(
            lambda token: self._reads.list_tasks(
                self._cluster.arn, desired_status=desired_status, next_token=token
            )
        )

    async def _show_tasks(self, batch: Sequence[str], listed: Collection[str]) -> None:
        """Describe and apply a batch, and keep nothing: a sweep reads a hundred thousand tasks."""
        await self._describe_batch(batch, listed)

    async def _describe_batch(
        self, batch: Sequence[str], listed: Collection[str]
    ) -> Read[TaskDocument]:
        cluster = self._cluster
        answer = await self._ask(lambda: self._reads.describe_tasks(cluster.arn, batch))
        now = self._clock.monotonic()
        evidence = self._evidence(answer.begun, now)
        cluster.read_tasks(answer.items, evidence)
        shown = {document.task_arn for document in answer.items}
        missing = _missing("DescribeTasks", batch, shown, answer.failures)
        cluster.tasks_missing(missing, begun=answer.begun, now=now, listed=listed)
        self._changed()
        return answer

    async def _describe_tasks(self, tasks: Sequence[str]) -> Read[TaskDocument]:
        answers = await self._together(
            lambda batch: self._describe_batch(batch, frozenset()), _batches(tasks)
        )
        return Read(
            begun=min((answer.begun for answer in answers), default=self._clock.monotonic()),
            items=tuple(task for answer in answers for task in answer.items),
        )

    async def _describe_hosts(
        self,
        hosts: Sequence[str],
        *,
        listed: Collection[str] = frozenset(),
        apply_new: bool = False,
    ) -> list[tuple[tuple[HostDocument, ...], Evidence]]:
        cluster = self._cluster
        shared: dict[object, Any] = {}

        async def describe(
            batch: Sequence[str],
        ) -> tuple[tuple[HostDocument, ...], Evidence]:
            answer = await self._ask(lambda: self._reads.describe_hosts(cluster.arn, batch))
            now = self._clock.monotonic()
            evidence = self._evidence(answer.begun, now)
            known: list[HostDocument] = []
            new: list[HostDocument] = []
            for document in answer.items:
                held_back = not apply_new and (
                    cluster.records.host(document.container_instance_arn) is None
                )
                (new if held_back else known).append(document)
            cluster.read_hosts(known, evidence)
            shown = {document.container_instance_arn for document in answer.items}
            missing = _missing("DescribeContainerInstances", batch, shown, answer.failures)
            cluster.hosts_missing(missing, begun=answer.begun, now=now, listed=listed)
            self._changed()
            return tuple(_slim(document, shared) for document in new), evidence

        answers = await self._together(describe, _batches(hosts))
        return [(new, evidence) for new, evidence in answers if new]

    def _evidence(self, begun: float, now: float) -> Evidence:
        return Evidence(
            cluster_arn=self._cluster.arn,
            received=now,
            begun=begun,
            ecs_time=self._reads.now() - (now - begun),
        )

    # --- Asking ---

    async def _pages(self, page: Callable[[str | None], Awaitable[Read[str]]]) -> list[str]:
        """All items of all pages; only an absent token ends a list."""
        items: dict[str, None] = {}
        token: str | None = None
        for _ in range(MOST_PAGES):
            answer = await self._ask(lambda at=token: page(at))  # type: ignore[misc]
            items.update(dict.fromkeys(answer.items))
            token = answer.next_token
            if not token:
                return list(items)
        raise EcsSilent("List", f"the list did not end within {MOST_PAGES} pages")

    async def _ask(self, call: Callable[[], Awaitable[Read[T]]]) -> Read[T]:
        """Make one call, and again where it may succeed then."""
        for attempt in range(1, TRIES):
            try:
                return await call()
            except EcsError as error:
                if not _passing(error):
                    raise
                self._counters.reads_retried += 1
                await asyncio.sleep(
                    exponential(attempt, first=0.5, factor=2.0, most=8.0, jitter=0.0)
                )
        return await call()

    async def _together(
        self,
        call: Callable[[Sequence[str]], Awaitable[T]],
        batches: Iterator[Sequence[str]],
    ) -> list[T]:
        """One call for each batch, side by side, bounded, all to their end; then raise the first
        failure."""

        async def bounded(batch: Sequence[str]) -> T:
            async with self._slots:
                return await call(batch)

        results = await asyncio.gather(*map(bounded, batches), return_exceptions=True)
        done: list[T] = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            done.append(result)
        return done

    def _failed(self, effort: Effort, error: EcsError) -> None:
        if isinstance(error, EcsRefused) and error.code == "ClusterNotFoundException":
            self._gone(f"was refused: {error.message}")
            return
        name = self._cluster.arn
        _log.warning("read failed", cluster=name, effort=effort.name.lower(), error=error.message)
        self._cluster.failed(effort, f"Cluster {name} could not be read: {error.message}")
        self._changed()

    def _gone(self, how: str) -> None:
        if self._cluster.active:
            _log.warning("cluster gone", cluster=self._cluster.arn, how=how)
        self._cluster.gone()
        self._changed()


def _passing(error: EcsError) -> bool:
    """Whether the same read may succeed when asked again at once."""
    if isinstance(error, EcsRefused):
        return error.throttled or error.status == 408 or error.status >= 500
    return True


def _slim(document: HostDocument, shared: dict[object, Any]) -> HostDocument:
    """The same document with parts that are one object in all of them: attributes and resources are
    most of its 9 kB, and hosts differ little in them. `shared`: the parts seen so far."""

    def one(parts: Any) -> Any:
        return shared.setdefault(parts, parts) if isinstance(parts, tuple) else parts

    return replace(
        document,
        attributes=one(document.attributes),
        registered_resources=one(document.registered_resources),
        remaining_resources=one(document.remaining_resources),
    )


def _batches(arns: Sequence[str]) -> Iterator[Sequence[str]]:
    return (arns[at : at + PAGE] for at in range(0, len(arns), PAGE))


def _missing(
    operation: str, asked: Sequence[str], shown: Collection[str], failures: Sequence[Failure]
) -> list[str]:
    """Which of these were answered MISSING. Raises EcsSilent when the answer leaves one out."""
    missing = {failure.arn for failure in failures if failure.reason == "MISSING"}
    unanswered = [arn for arn in asked if arn not in shown and arn not in missing]
    if unanswered:
        raise EcsSilent(operation, f"the answer says nothing of {len(unanswered)} of {len(asked)}")
    return [arn for arn in asked if arn in missing and arn not in shown]
