"""/v1: the contract of 0.3, for clients that were written for it.

Shapes and texts are what they were. 0.3 refused some filters beside each other, and statuses that
ECS has had since; here every combination of them is an answer.
"""

from collections.abc import Callable
from typing import Final

from blox.base.errors import InvalidInput, NotFound
from blox.clusterstate.api.bodies1 import ContainerInstance, ContainerInstances, Task, Tasks
from blox.clusterstate.api.context import CLUSTER, StateApi, of_cluster
from blox.clusterstate.api.filters import INSTANCE_STATUSES, TASK_STATUSES, upper
from blox.clusterstate.api.lists import Listed, sifted
from blox.clusterstate.api.shown1 import item_v1
from blox.clusterstate.entity import Entity, Kind
from blox.http.operations import Answer, Call, Operation, Parameter, Returned

UNSUPPORTED_FILTER: Final = "At least one of the filters provided is unsupported"
"""What this service's /v1 says of a query parameter that it does not have."""
INVALID_STATUS: Final = "Invalid status"
TASK_NOT_FOUND: Final = "Task not found"
INSTANCE_NOT_FOUND: Final = "Instance not found"

_TAGS: Final = ("v1",)
_STARTED_BY: Final = Parameter(name="startedBy", description="Only with this startedBy.")
_PLACE: Final = Parameter(name="cluster", description="The cluster's name.")


class V1:
    """The handlers."""

    def __init__(self, api: StateApi) -> None:
        self._api = api

    async def list_instances(self, call: Call) -> Answer:
        """Every host that fits."""
        status = self._status(call, INSTANCE_STATUSES, "instance", "status")

        def fits(entity: Entity) -> bool:
            return not status or entity.text("status").upper() == status

        return await self._list(call, "instance", fits, (status,))

    async def list_tasks(self, call: Call) -> Answer:
        """Every task that fits."""
        status = self._status(call, TASK_STATUSES, "task", "lastStatus")
        started_by = call.query.values.get("startedBy", "")

        def fits(entity: Entity) -> bool:
            return (not status or entity.text("lastStatus").upper() == status) and (
                not started_by or entity.text("startedBy") == started_by
            )

        return await self._list(call, "task", fits, (status, started_by))

    async def show_instance(self, call: Call) -> Answer:
        """One host."""
        return self._one(call, "instance", INSTANCE_NOT_FOUND)

    async def show_task(self, call: Call) -> Answer:
        """One task."""
        return self._one(call, "task", TASK_NOT_FOUND)

    async def _list(
        self, call: Call, kind: Kind, fits: Callable[[Entity], bool], filters: tuple[str, ...]
    ) -> Answer:
        reference = call.query.values.get("cluster")
        arns = of_cluster(self._api, reference)
        everything = not any(filters)

        async def make() -> Listed:
            found = self._api.members(kind, arns)
            return Listed(await sifted(found, None if everything else fits))

        return await self._api.lists.answer(
            ("v1", kind, arns, filters),
            lambda: self._api.changed((kind,), arns),
            call.headers,
            make,
            item_v1,
        )

    def _status(self, call: Call, known: tuple[str, ...], kind: Kind, member: str) -> str:
        """The status that is asked for, as ECS writes it; "" for any."""
        status = upper(call.query.values.get("status", ""))
        if status and status not in known and status not in self._api.words_told(kind, member):
            raise InvalidInput(INVALID_STATUS)
        return status

    def _one(self, call: Call, kind: Kind, unknown: str) -> Answer:
        arn = call.params["arn"]
        for cluster_arn in self._api.clusters_named(call.params["cluster"]):
            entity = self._api.catalogue.get(kind, cluster_arn, arn)
            if entity is not None:
                return Answer(body=item_v1(entity))
        raise NotFound(unknown)


def operations(api: StateApi) -> list[Operation]:
    """Every operation of /v1 but the streams."""
    v1 = V1(api)
    return [*_on_instances(v1), *_on_tasks(v1)]


def _on_instances(v1: V1) -> list[Operation]:
    return [
        Operation(
            method="GET",
            path="/v1/instances",
            id="ListInstances",
            summary="List container instances, after applying filters if any",
            handle=v1.list_instances,
            tags=_TAGS,
            query=(_status_of(INSTANCE_STATUSES), CLUSTER),
            answers={200: Returned(description="By cluster and ARN", body=ContainerInstances)},
            errors=(400,),
        ),
        Operation(
            method="GET",
            path="/v1/instances/{cluster}/{arn:path}",
            id="GetInstance",
            summary="Get a container instance by its cluster's name and its ARN",
            handle=v1.show_instance,
            tags=_TAGS,
            path_parameters=(_PLACE, Parameter(name="arn", description="The instance's ARN.")),
            answers={200: Returned(description="The instance", body=ContainerInstance)},
        ),
    ]


def _on_tasks(v1: V1) -> list[Operation]:
    return [
        Operation(
            method="GET",
            path="/v1/tasks",
            id="ListTasks",
            summary="List tasks, after applying filters if any",
            handle=v1.list_tasks,
            tags=_TAGS,
            query=(_status_of(TASK_STATUSES), CLUSTER, _STARTED_BY),
            answers={200: Returned(description="By cluster and ARN", body=Tasks)},
            errors=(400,),
        ),
        Operation(
            method="GET",
            path="/v1/tasks/{cluster}/{arn:path}",
            id="GetTask",
            summary="Get a task by its cluster's name and its ARN",
            handle=v1.show_task,
            tags=_TAGS,
            path_parameters=(_PLACE, Parameter(name="arn", description="The task's ARN.")),
            answers={200: Returned(description="The task", body=Task)},
        ),
    ]


def _status_of(known: tuple[str, ...]) -> Parameter:
    return Parameter(
        name="status", description=f"Only in this status, in any case: {', '.join(known)}."
    )
