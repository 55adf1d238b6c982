"""/v2/tasks and /v2/instances: lists with any combination of filters, in pages, and single ones."""

from collections.abc import Sequence
from typing import Final

import msgspec

from blox.base.errors import InvalidInput, NotFound
from blox.base.ids import cluster_name, is_cluster_name
from blox.clusterstate.api.bodies2 import InstanceItem, InstancesPage, TaskItem, TasksPage
from blox.clusterstate.api.context import (
    CLUSTER,
    LIMIT,
    MOST_ITEMS,
    NEXT_TOKEN,
    StateApi,
    of_cluster,
)
from blox.clusterstate.api.filters import (
    DESIRED_STATUSES,
    HEALTHS,
    INSTANCE_STATUSES,
    LAUNCH_TYPES,
    TASK_STATUSES,
    Filter,
    InstanceFilter,
    TaskFilter,
    Words,
    definition,
    instances_named,
    is_called,
    words,
)
from blox.clusterstate.api.lists import Listed, sifted
from blox.clusterstate.api.shown2 import item_v2
from blox.clusterstate.entity import Entity, Kind
from blox.ecs.model import INACTIVE
from blox.ecs.selector import Selector, parse
from blox.http.operations import Answer, Call, Operation, Parameter, Returned
from blox.http.pages import PAGE_SIZE, last_shown, token_after
from blox.http.queries import Query

_BOOLEANS: Final = ("true", "false")


class MemberLists:
    """The handlers."""

    def __init__(self, api: StateApi) -> None:
        self._api = api

    async def list_tasks(self, call: Call) -> Answer:
        """A page of the tasks that fit."""
        arns = self._clusters(call.query)
        return await self._list(call, "task", arns, self._task_filter(call.query, arns))

    async def list_instances(self, call: Call) -> Answer:
        """A page of the hosts that fit."""
        arns = self._clusters(call.query)
        return await self._list(call, "instance", arns, self._instance_filter(call.query, arns))

    async def show_task(self, call: Call) -> Answer:
        """One task."""
        return self._one(call, "task", "task", "task")

    async def show_instance(self, call: Call) -> Answer:
        """One host."""
        return self._one(call, "instance", "container-instance", "instance")

    def _clusters(self, query: Query) -> tuple[str, ...] | None:
        reference = query.text("cluster")
        if reference is not None:
            cluster_name(reference)  # raises what tells which text is wrong
        return of_cluster(self._api, reference)

    # --- Lists ------------------------------------------------------------------------------------

    async def _list(
        self, call: Call, kind: Kind, arns: Sequence[str] | None, wanted: Filter
    ) -> Answer:
        given = tuple(sorted(call.query.values.items()))
        size = call.query.number("limit", low=1, high=MOST_ITEMS, default=PAGE_SIZE)
        token = call.query.text("nextToken")
        filters = [item for item in given if item[0] not in ("limit", "nextToken")]
        listing = f"v2 {kind} {filters}"
        cluster, _, last = ("" if token is None else last_shown(token, listing)).partition("\0")

        def fits(entity: Entity) -> bool:
            return wanted.fits(entity, self._api.machine)

        async def make() -> Listed:
            position = self._api.position()
            found = self._api.members(kind, arns, after=(cluster, last))
            items = await sifted(found, None if wanted.everything else fits, most=size + 1)
            more = len(items) > size
            shown = items[:size]
            return Listed(shown, _tail(_token(shown[-1], listing) if more else None, position))

        # Which tasks fit may also depend on their hosts, and the other way round.
        depends: tuple[Kind, ...] = (kind,)
        if wanted.selector is not None or "instance" in call.query.values:
            depends = ("task", "instance")
        return await self._api.lists.answer(
            ("v2", kind, arns, given),
            lambda: self._api.changed(depends, arns),
            call.headers,
            make,
            item_v2,
        )

    def _task_filter(self, query: Query, arns: Sequence[str] | None) -> TaskFilter:
        return TaskFilter(
            statuses=self._words(query, "status", TASK_STATUSES, "task", "lastStatus"),
            desired=self._words(query, "desiredStatus", DESIRED_STATUSES, "task"),
            started_by=query.text("startedBy"),
            group=query.text("group"),
            family=query.text("family"),
            definition=definition(query.text("taskDefinition")),
            launch_types=self._words(query, "launchType", LAUNCH_TYPES, "task"),
            healths=self._words(query, "health", HEALTHS, "task", "healthStatus"),
            instances=self._instances(query, arns),
            selector=_selector(query),
        )

    def _instance_filter(self, query: Query, arns: Sequence[str] | None) -> InstanceFilter:
        connected = query.text("agentConnected")
        if connected is not None and connected.lower() not in _BOOLEANS:
            raise InvalidInput(
                f"The query parameter 'agentConnected' is {connected!r}: use true or false."
            )
        return InstanceFilter(
            statuses=self._words(query, "status", INSTANCE_STATUSES, "instance"),
            instances=self._instances(query, arns),
            connected=None if connected is None else connected.lower() == "true",
            capacity_provider=query.text("capacityProvider"),
            selector=_selector(query),
        )

    def _words(
        self, query: Query, name: str, known: Sequence[str], kind: Kind, member: str | None = None
    ) -> Words | None:
        """The words of a parameter about a member of ECS's, which has the parameter's name unless
        `member` is given."""
        return words(
            query.text(name),
            known,
            name=name,
            told=lambda: self._api.words_told(kind, member or name),
        )

    def _instances(self, query: Query, arns: Sequence[str] | None) -> frozenset[str] | None:
        reference = query.text("instance")
        if reference is None:
            return None
        return instances_named(reference, self._api.members("instance", arns))

    # --- Single ones ------------------------------------------------------------------------------

    def _one(self, call: Call, kind: Kind, part: str, noun: str) -> Answer:
        cluster, reference = call.params["cluster"], call.params["id"]
        if not is_cluster_name(cluster):
            raise NotFound(f"{cluster!r} is no name of a cluster.")
        arns = self._api.clusters_named(cluster)
        if not arns:
            raise NotFound(
                f"There is no cluster {cluster} here; /v2/clusters lists those there are."
            )
        for cluster_arn in arns:
            found = self._find(kind, part, cluster_arn, reference)
            if found is not None:
                return Answer(body=item_v2(found))
        raise NotFound(f"There is no {noun} {reference} in the cluster {cluster}.")

    def _find(self, kind: Kind, part: str, cluster_arn: str, reference: str) -> Entity | None:
        """By ARN or id at once; otherwise by looking at each: ARNs of the old format, machines."""
        catalogue = self._api.catalogue
        long_arn = f"{cluster_arn.replace(':cluster/', f':{part}/', 1)}/{reference}"
        found = catalogue.get(kind, cluster_arn, reference) or catalogue.get(
            kind, cluster_arn, long_arn
        )
        if found is not None or reference.startswith("arn:"):
            return found
        called = (e for e in catalogue.all_of(kind, cluster_arn) if is_called(e, reference))
        return max(called, key=_standing, default=None)


def _standing(entity: Entity) -> tuple[bool, float, int]:
    """Of several records of one machine, the one that stands for it: not INACTIVE, and registered
    last."""
    registered = entity.whole.get("registeredAt")
    at: object = 0.0 if registered is None else msgspec.json.decode(registered)
    return (
        entity.text("status") != INACTIVE,
        at if isinstance(at, float | int) else 0.0,
        entity.version,
    )


def _token(last: Entity, listing: str) -> str:
    return token_after(f"{last.cluster_arn}\0{last.key}", listing)


def _tail(next_token: str | None, position: str) -> bytes:
    """What follows after the items of a page."""
    tail = b"" if next_token is None else b',"nextToken":%b' % msgspec.json.encode(next_token)
    return b'%b,"position":%b}' % (tail, msgspec.json.encode(position))


def _selector(query: Query) -> Selector | None:
    text = query.text("query")
    return None if text is None else parse(text)


# --- What is offered ------------------------------------------------------------------------------


def _word(name: str, what: str, known: Sequence[str]) -> Parameter:
    return Parameter(
        name=name, description=f"{what}, several with commas, in any case: {', '.join(known)}."
    )


_INSTANCE: Final = "A container instance's ARN or id, or its machine's id (i-… or mi-…)."
_TASK_FILTERS: Final = (
    CLUSTER,
    _word("status", "Only in this lastStatus", TASK_STATUSES),
    _word("desiredStatus", "Only with this desiredStatus", DESIRED_STATUSES),
    Parameter(name="startedBy", description="Only with this startedBy."),
    Parameter(name="group", description="Only of this group, as in service:web."),
    Parameter(name="family", description="Only of this family of task definitions."),
    Parameter(
        name="taskDefinition",
        description="Only of this task definition: an ARN, FAMILY:REVISION or FAMILY.",
    ),
    _word("launchType", "Only of this launch type", LAUNCH_TYPES),
    _word("health", "Only with this healthStatus", HEALTHS),
    Parameter(name="instance", description=f"Only on this host. {_INSTANCE}"),
    Parameter(
        name="query",
        description="Only on hosts that fit this expression of ECS's cluster query language.",
    ),
    LIMIT,
    NEXT_TOKEN,
)
_INSTANCE_FILTERS: Final = (
    CLUSTER,
    _word("status", "Only in this status", INSTANCE_STATUSES),
    Parameter(name="instance", description=f"Only this one. {_INSTANCE}"),
    Parameter(
        name="agentConnected",
        description="Only with, or only without a connected agent: true or false.",
    ),
    Parameter(name="capacityProvider", description="Only of this capacity provider."),
    Parameter(
        name="query",
        description="Only those that fit this expression of ECS's cluster query language.",
    ),
    LIMIT,
    NEXT_TOKEN,
)
_PLACE: Final = Parameter(name="cluster", description="The cluster's name.")
_IF_NONE_MATCH: Final = Parameter(
    name="If-None-Match", description="The ETag of an earlier answer: 304 when it is still true."
)
_UNCHANGED: Final = Returned(description="Nothing has changed since")


def operations(api: StateApi) -> list[Operation]:
    """Every operation on tasks and instances."""
    handlers = MemberLists(api)
    return [*_on_tasks(handlers), *_on_instances(handlers)]


def _on_tasks(handlers: MemberLists) -> list[Operation]:
    return [
        Operation(
            method="GET",
            path="/v2/tasks",
            id="findTasks",
            summary="List tasks, with any combination of filters",
            handle=handlers.list_tasks,
            tags=("tasks",),
            query=_TASK_FILTERS,
            headers=(_IF_NONE_MATCH,),
            answers={
                200: Returned(description="By cluster and ARN", body=TasksPage),
                304: _UNCHANGED,
            },
            errors=(400,),
        ),
        Operation(
            method="GET",
            path="/v2/tasks/{cluster}/{id:path}",
            id="showTask",
            summary="Show one task",
            handle=handlers.show_task,
            tags=("tasks",),
            path_parameters=(
                _PLACE,
                Parameter(name="id", description="The task's ARN, or the last part of it."),
            ),
            answers={200: Returned(description="The task", body=TaskItem)},
            errors=(404,),
        ),
    ]


def _on_instances(handlers: MemberLists) -> list[Operation]:
    return [
        Operation(
            method="GET",
            path="/v2/instances",
            id="findInstances",
            summary="List container instances, with any combination of filters",
            handle=handlers.list_instances,
            tags=("instances",),
            query=_INSTANCE_FILTERS,
            headers=(_IF_NONE_MATCH,),
            answers={
                200: Returned(description="By cluster and ARN", body=InstancesPage),
                304: _UNCHANGED,
            },
            errors=(400,),
        ),
        Operation(
            method="GET",
            path="/v2/instances/{cluster}/{id:path}",
            id="showInstance",
            summary="Show one container instance",
            handle=handlers.show_instance,
            tags=("instances",),
            path_parameters=(_PLACE, Parameter(name="id", description=_INSTANCE)),
            answers={200: Returned(description="The instance", body=InstanceItem)},
            errors=(404,),
        ),
    ]
