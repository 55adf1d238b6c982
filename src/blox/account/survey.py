"""Reading one cluster completely, once, with reads alone.

Every call goes through `EcsReads`, whose pace is the client's: below blox's share of the account's
quotas, however large the cluster. What cannot be read is noted and the rest is read all the same;
whoever uses the survey decides what it is worth without that part.

Tasks are listed with desiredStatus RUNNING first and STOPPED after all its pages: a task that ECS
begins to stop in between is in the second list, and in the other order it would be in neither.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, TypeVar

from msgspec import UNSET

from blox.account.audit.daemonlike import definitions_wanted
from blox.account.surveyed import RunImage, Survey, SurveyedTask, Unread
from blox.base.ambient import Clock
from blox.base.backoff import exponential
from blox.base.errors import InvalidInput, NotFound
from blox.base.ids import cluster_name, is_cluster_reference, short_id
from blox.clusterstate.absence import superseded
from blox.clusterstate.merge import Evidence, merge_host
from blox.ecs.errors import CREDENTIAL_CODES, EcsError, EcsRefused, EcsSilent
from blox.ecs.model import (
    INACTIVE,
    MARKER,
    RUNNING,
    STOPPED,
    CapacityProviderDocument,
    ClusterDocument,
    ContainerDocument,
    Failure,
    Host,
    HostDocument,
    ServiceDocument,
    Task,
    TaskDefinition,
    TaskDocument,
)
from blox.ecs.port import EcsReads, Read
from blox.ecs.wire import PROVIDERS

T = TypeVar("T")
A = TypeVar("A")

PAGE: Final = 100
"""Most hosts, tasks or capacity providers that one Describe takes."""
SERVICES: Final = 10
"""Most services that one DescribeServices takes.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html"""
TRIES: Final = 4
"""How often one call is tried."""
CONCURRENT: Final = 8
"""Calls in flight at most. Their pace is the client's."""
MOST_PAGES: Final = 10_000
_GONE: Final = "ClusterNotFoundException"

Progress = Callable[[str, int, int | None], None]
"""Told what is being read, how many are there, and of how many (None: not known yet)."""


async def survey(
    reads: EcsReads,
    cluster: str,
    *,
    clock: Clock,
    providers: bool = True,
    definitions: bool = True,
    progress: Progress | None = None,
) -> Survey:
    """Read the cluster with this name or ARN. `providers`, `definitions`: whether to read these
    too, which costs calls of their own.

    Raises InvalidInput for what names no cluster, NotFound when there is none or it is INACTIVE,
    and EcsError when not even that can be asked. All else that fails is in `Survey.unread`.
    """
    if not is_cluster_reference(cluster):
        raise InvalidInput(f"{cluster!r} is neither a cluster's name nor its ARN.")
    surveyor = _Surveyor(reads, clock, progress or _silent)
    return await surveyor.survey(cluster, providers=providers, definitions=definitions)


class _Surveyor:
    """The state of one survey."""

    def __init__(self, reads: EcsReads, clock: Clock, progress: Progress) -> None:
        self._reads = reads
        self._clock = clock
        self._progress = progress
        self._calls: dict[str, int] = {}
        self._unread: list[Unread] = []
        self._slots = asyncio.Semaphore(CONCURRENT)
        self._images: dict[tuple[RunImage, ...], tuple[RunImage, ...]] = {}

    async def survey(self, cluster: str, *, providers: bool, definitions: bool) -> Survey:
        begun = self._clock.monotonic()
        document = await self._cluster(cluster)
        name = document.cluster_arn
        hosts = await self._hosts(name)
        tasks = await self._tasks(name)
        services = await self._services(name, tasks)
        found = Survey(
            cluster=document,
            hosts=hosts,
            superseded=superseded(hosts),
            tasks=tasks,
            services=services,
            providers=await self._providers(document, hosts) if providers else (),
        )
        wanted = definitions_wanted(found) if definitions else ()
        return Survey(
            cluster=document,
            hosts=hosts,
            superseded=found.superseded,
            tasks=tasks,
            services=services,
            providers=found.providers,
            definitions=await self._definitions(wanted),
            unread=tuple(self._unread),
            calls=dict(sorted(self._calls.items())),
            at=self._reads.now(),
            took=self._clock.monotonic() - begun,
        )

    # --- The parts --------------------------------------------------------------------------------

    async def _cluster(self, cluster: str) -> ClusterDocument:
        operation = "DescribeClusters"
        try:
            answer = await self._ask(operation, lambda: self._reads.describe_clusters([cluster]))
        except EcsRefused as error:
            if error.code == _GONE:
                raise _no_such(cluster) from error
            if not error.denied:
                raise
            self._unread.append(_unread(operation, error, items=1))
            return ClusterDocument(
                cluster_arn=cluster, cluster_name=cluster_name(cluster), status=""
            )
        wanted = cluster_name(cluster)
        for document in answer.items:
            if cluster in (document.cluster_arn, document.cluster_name) or (
                cluster_name(document.cluster_arn) == wanted
            ):
                if document.status == INACTIVE:
                    raise NotFound(f"The cluster {cluster} is INACTIVE: it was deleted.")
                return document
        raise _no_such(cluster)

    async def _hosts(self, cluster: str) -> tuple[Host, ...]:
        listed = await self._listed(
            "ListContainerInstances",
            "hosts",
            lambda token: self._reads.list_hosts(cluster, next_token=token),
        )

        def kept(answer: Read[HostDocument]) -> list[Host]:
            evidence = Evidence(
                cluster_arn=cluster, received=self._clock.monotonic(), begun=answer.begun
            )
            return [merge_host(None, document, evidence).host for document in answer.items]

        described = await self._described(
            "DescribeContainerInstances",
            "hosts",
            _batches(listed, PAGE),
            lambda batch: self._reads.describe_hosts(cluster, batch),
            kept=kept,
            name=lambda document: document.container_instance_arn,
            of=len(listed),
        )
        known = {host.arn: host for host in described if host.status != INACTIVE}
        return tuple(known[arn] for arn in sorted(known))

    async def _tasks(self, cluster: str) -> tuple[SurveyedTask, ...]:
        listed: dict[str, None] = {}
        for status in (RUNNING, STOPPED):
            page = partial(self._reads.list_tasks, cluster, desired_status=status)
            listed |= dict.fromkeys(
                await self._listed(
                    "ListTasks",
                    "tasks",
                    lambda token, page=page: page(next_token=token),  # type: ignore[misc]
                    before=len(listed),
                )
            )
            if self._noted("ListTasks"):
                break
        described = await self._described(
            "DescribeTasks",
            "tasks",
            _batches(list(listed), PAGE),
            lambda batch: self._reads.describe_tasks(cluster, batch),
            kept=lambda answer: [self._surveyed(cluster, document) for document in answer.items],
            name=lambda document: document.task_arn,
            of=len(listed),
        )
        known = {item.task.arn: item for item in described}
        return tuple(known[arn] for arn in sorted(known))

    async def _services(
        self, cluster: str, tasks: Iterable[SurveyedTask]
    ) -> tuple[ServiceDocument, ...]:
        """Listed ones, and where listing is refused those that tasks name."""
        listed = await self._listed(
            "ListServices",
            "services",
            lambda token: self._reads.list_services(cluster, next_token=token),
        )
        names = sorted({short_id(arn) for arn in listed})
        if not names:
            names = sorted({item.service for item in tasks if item.service})
        described = await self._described(
            "DescribeServices",
            "services",
            _batches(names, SERVICES),
            lambda batch: self._reads.describe_services(cluster, batch),
            kept=lambda answer: list(answer.items),
            name=lambda document: document.service_name,
            of=len(names),
        )
        known = {document.service_name: document for document in described}
        return tuple(known[name] for name in sorted(known))

    async def _providers(
        self, cluster: ClusterDocument, hosts: Iterable[Host]
    ) -> tuple[CapacityProviderDocument, ...]:
        named = {*(cluster.capacity_providers or ()), *(host.capacity_provider for host in hosts)}
        names = sorted(named - {""})
        described = await self._described(
            "DescribeCapacityProviders",
            "capacity providers",
            _batches(names, PROVIDERS),
            self._reads.describe_capacity_providers,
            kept=lambda answer: list(answer.items),
            name=lambda document: document.name,
            of=len(names),
        )
        return tuple(sorted(described, key=lambda document: document.name))

    async def _definitions(self, wanted: Sequence[str]) -> dict[str, TaskDefinition]:
        described = await self._described(
            "DescribeTaskDefinition",
            "task definitions",
            _batches(wanted, 1),
            lambda batch: self._reads.describe_task_definition(batch[0]),
            kept=lambda answer: list(answer.items),
            name=lambda document: document.task_definition_arn,
            of=len(wanted),
        )
        return {document.task_definition_arn: document for document in described}

    # --- Documents --------------------------------------------------------------------------------

    def _surveyed(self, cluster: str, document: TaskDocument) -> SurveyedTask:
        containers = document.containers if isinstance(document.containers, tuple) else ()
        images = tuple(
            RunImage(sys.intern(c.image), sys.intern(c.image_digest or ""))
            for c in containers
            if c.image
        )
        return SurveyedTask(
            task=_task(cluster, document, containers),
            images=self._images.setdefault(images, images),
        )

    # --- Asking -----------------------------------------------------------------------------------

    async def _listed(
        self,
        operation: str,
        what: str,
        page: Callable[[str | None], Awaitable[Read[str]]],
        *,
        before: int = 0,
    ) -> list[str]:
        """All items of all pages; only an absent token ends a list. A list that breaks off is
        noted, and what it had shown is returned. `before`: how many were listed already."""
        items: dict[str, None] = {}
        token: str | None = None
        try:
            for _ in range(MOST_PAGES):
                answer = await self._ask(operation, lambda at=token: page(at))  # type: ignore[misc]
                items.update(dict.fromkeys(answer.items))
                self._progress(f"listing {what}", before + len(items), None)
                token = answer.next_token
                if not token:
                    return list(items)
            raise EcsSilent(operation, f"the list did not end within {MOST_PAGES} pages")
        except EcsError as error:
            self._unread.append(_unread(operation, error))
        return list(items)

    def _noted(self, operation: str) -> bool:
        return any(item.operation == operation for item in self._unread)

    async def _described(
        self,
        operation: str,
        what: str,
        batches: Sequence[Sequence[str]],
        call: Callable[[Sequence[str]], Awaitable[Read[T]]],
        *,
        kept: Callable[[Read[T]], list[A]],
        name: Callable[[T], str],
        of: int,
    ) -> list[A]:
        """What the answers say, in the order of the batches. What is MISSING is gone since it was
        listed. Batches that fail, or are answered in part, are noted together. `kept` makes of an
        answer what is kept of it, so that no more is."""
        done = 0
        failed: list[EcsError] = []

        async def one(batch: Sequence[str]) -> list[A]:
            nonlocal done
            async with self._slots:
                if failed and _hopeless(failed[-1]):
                    return []
                try:
                    answer = await self._ask(operation, lambda: call(batch))
                except EcsError as error:
                    failed.append(error)
                    return []
            shown = [name(document) for document in answer.items]
            unsaid = _unanswered(batch, shown, answer.failures)
            if unsaid:
                cause = f"the answer says nothing of {unsaid} of {len(batch)}"
                failed.append(EcsSilent(operation, cause))
            done += len(batch) - unsaid
            self._progress(f"reading {what}", done, of)
            return kept(answer)

        parts = await asyncio.gather(*(one(batch) for batch in batches))
        if failed:
            self._unread.append(_unread(operation, failed[0], items=of - done))
        return [item for part in parts for item in part]

    async def _ask(self, operation: str, call: Callable[[], Awaitable[Read[T]]]) -> Read[T]:
        """Make one call, and again where it may succeed then."""
        attempt = 0
        while True:
            attempt += 1
            self._calls[operation] = self._calls.get(operation, 0) + 1
            try:
                return await call()
            except EcsError as error:
                if attempt == TRIES or not _passing(error):
                    raise
            await asyncio.sleep(exponential(attempt, first=0.5, factor=2.0, most=8.0, jitter=0.0))


def _task(cluster: str, document: TaskDocument, containers: Sequence[ContainerDocument]) -> Task:
    reason = _text(document.stopped_reason)
    told = next((c.reason for c in containers if c.reason), None)
    codes = [c.exit_code for c in containers if c.exit_code is not None]
    return Task(
        arn=document.task_arn,
        cluster_arn=cluster,
        host_arn=_text(document.container_instance_arn),
        definition_arn=_text(document.task_definition_arn),
        last_status=_text(document.last_status) or "PENDING",
        desired_status=_text(document.desired_status) or RUNNING,
        started_by=_text(document.started_by),
        group=_text(document.group),
        version=0 if document.version is UNSET else document.version,
        health=_text(document.health_status) or "UNKNOWN",
        intent=_intent(document),
        created_at=_time(document.created_at),
        started_at=_time(document.started_at),
        stopping_at=_time(document.stopping_at),
        stopped_at=_time(document.stopped_at),
        stop_code=_text(document.stop_code),
        # The cause of a failed start is often on the container alone.
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-errors.html
        stopped_reason=told if told and told not in reason else reason,
        exit_code=codes[0] if codes else None,
    )


def _intent(document: TaskDocument) -> str | None:
    overrides = document.overrides
    if overrides is UNSET or overrides is None:
        return None
    for container in overrides.container_overrides or ():
        for variable in container.environment or ():
            if variable.name == MARKER and variable.value:
                return variable.value
    return ""


def _text(value: object) -> str:
    return sys.intern(value) if isinstance(value, str) else ""


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, float | int) else None


def _silent(what: str, done: int, of: int | None) -> None:
    """Tells nobody."""


def _passing(error: EcsError) -> bool:
    """Whether the same read may succeed when asked again."""
    if isinstance(error, EcsRefused):
        return error.throttled or error.status == 408 or error.status >= 500
    return True


def _hopeless(error: EcsError) -> bool:
    """Whether every other call of the operation would be refused alike."""
    return isinstance(error, EcsRefused) and (
        error.denied or error.code in CREDENTIAL_CODES or error.code == _GONE
    )


def _no_such(cluster: str) -> NotFound:
    return NotFound(
        f"There is no cluster {cluster} in this account and region. "
        "`aws ecs list-clusters` shows those that are."
    )


def _unread(operation: str, error: EcsError, *, items: int = 0) -> Unread:
    refused = error if isinstance(error, EcsRefused) else None
    return Unread(
        operation=operation,
        sentence=error.message,
        code="" if refused is None else refused.code,
        denied=refused is not None and refused.denied,
        items=items,
    )


def _unanswered(asked: Sequence[str], shown: Sequence[str], failures: Sequence[Failure]) -> int:
    """How many of these the answer neither shows nor calls MISSING. Names may be asked for and
    ARNs be answered, so only numbers are compared."""
    missing = sum(1 for failure in failures if failure.reason == "MISSING")
    return max(0, len(asked) - len(set(shown)) - missing)


def _batches(names: Sequence[str], size: int) -> list[Sequence[str]]:
    return [names[at : at + size] for at in range(0, len(names), size)]
