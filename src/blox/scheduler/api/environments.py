"""/v2/environments: what should run where."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from blox.base.errors import Conflict
from blox.base.ids import short_id
from blox.http.operations import MERGE_PATCH, Answer, Call, Operation, Parameter, Returned
from blox.http.problems import Refused
from blox.scheduler.api.bodies import (
    DeletedEnvironment,
    EncodedPage,
    EnvironmentBody,
    EnvironmentPatch,
    EnvironmentsPage,
    NewEnvironment,
)
from blox.scheduler.api.context import (
    LIMIT,
    NEXT_TOKEN,
    PLACE,
    Api,
    answered,
    listing,
    path_of,
    sort_key,
)
from blox.scheduler.api.find import on_cluster
from blox.scheduler.api.wishes import etag_of, precondition_holds, wish_after, wish_of
from blox.scheduler.model import Environment

_TAGS: Final = ("environments",)
_IF_MATCH: Final = Parameter(
    name="If-Match",
    description="The ETag that was read: the change is made only if nobody else made one since.",
)


class Environments:
    """The handlers."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, call: Call) -> Answer:
        """A new environment, not deployed yet."""
        asked = call.decode(NewEnvironment)
        environment = await self._api.service.create(asked.name, asked.cluster, wish_of(asked))
        self._api.process.environment_created()
        return self._shown(environment, status=201, location=path_of(environment))

    async def list_environments(self, call: Call) -> Answer:
        """A page of them."""
        cluster, name = call.query.text("cluster"), call.query.text("name")
        environments = on_cluster(self._api.repository.environments(), cluster)
        if name is not None:
            environments = [e for e in environments if e.name == name]
        shown = listing(call, environments, key=sort_key, name=f"v2 environments {cluster} {name}")
        items = tuple(
            msgspec.Raw(self._api.answers.of(environment).v2_bytes()) for environment in shown.items
        )
        return answered(EncodedPage(items=items, next_token=shown.next_token))

    async def show(self, call: Call) -> Answer:
        """One of them, from the cache."""
        return self._shown(self._api.environment(call))

    async def change(self, call: Call) -> Answer:
        """Apply a merge patch."""
        patch = call.decode(EnvironmentPatch)
        environment = self._api.environment(call)
        with _precondition(call, environment):
            changed = await self._api.service.change(
                environment.id, wish_after(environment, patch), token=environment.token
            )
        return self._shown(changed)

    async def delete(self, call: Call) -> Answer:
        """Delete it; its tasks stay."""
        environment = self._api.environment(call)
        with _precondition(call, environment):
            await self._api.service.delete(environment.id)
        return answered(
            DeletedEnvironment(
                id=environment.id,
                name=environment.name,
                cluster=short_id(environment.cluster_arn),
                tasks_left_running=sum(
                    orphan.environment_id == environment.id
                    for orphan in self._api.service.orphans()
                ),
            )
        )

    def _shown(self, environment: Environment, *, status: int = 200, **headers: str) -> Answer:
        return Answer(
            body=self._api.answers.of(environment).v2_bytes(),
            status=status,
            headers={"etag": etag_of(environment.token), **headers},
        )


@contextmanager
def _precondition(call: Call, environment: Environment) -> Iterator[None]:
    """With If-Match, every change that came before is a failed precondition: one that was made
    before this request, and one that was made while it was being checked."""
    wanted = call.headers.get("if-match")
    failed = Refused(
        412,
        f"The environment {environment.name} has changed since you read it: read it again and see "
        "whether your change still makes sense.",
    )
    if wanted is not None and not precondition_holds(wanted, environment.token):
        raise failed
    try:
        yield
    except Conflict:
        if wanted is not None:
            raise failed from None
        raise


_EVERY: Final = "/v2/environments"
_ONE: Final = "/v2/environments/{cluster}/{name}"
_SHOWN: Final = Returned(description="The environment", body=EnvironmentBody)


def operations(api: Api) -> list[Operation]:
    """Every operation on environments."""
    handlers = Environments(api)
    return [*_reading(handlers), *_changing(handlers)]


def _reading(handlers: Environments) -> list[Operation]:
    return [
        Operation(
            method="GET",
            path=_EVERY,
            id="listEnvironmentsV2",
            summary="List environments",
            handle=handlers.list_environments,
            tags=_TAGS,
            query=(
                Parameter(name="cluster", description="Only those on it: a name or an ARN."),
                Parameter(name="name", description="Only those of this name."),
                LIMIT,
                NEXT_TOKEN,
            ),
            answers={200: Returned(description="By cluster, then name", body=EnvironmentsPage)},
            errors=(400,),
        ),
        Operation(
            method="GET",
            path=_ONE,
            id="getEnvironmentV2",
            summary="Show an environment",
            handle=handlers.show,
            tags=_TAGS,
            path_parameters=PLACE,
            answers={200: _SHOWN},
            errors=(404,),
        ),
    ]


def _changing(handlers: Environments) -> list[Operation]:
    return [
        Operation(
            method="POST",
            path=_EVERY,
            id="createEnvironmentV2",
            summary="Create an environment",
            description="It does nothing until it is deployed. Its name is unique on its cluster.",
            handle=handlers.create,
            tags=_TAGS,
            body=NewEnvironment,
            answers={201: _SHOWN},
            errors=(400, 404, 409, 415, 503),
        ),
        Operation(
            method="PATCH",
            path=_ONE,
            id="changeEnvironment",
            summary="Change what an environment wants",
            description=(
                "A JSON merge patch. Other content makes the next revision, which runs when it is "
                "deployed; a policy takes effect at once."
            ),
            handle=handlers.change,
            tags=_TAGS,
            path_parameters=PLACE,
            headers=(_IF_MATCH,),
            body=EnvironmentPatch,
            body_type=MERGE_PATCH,
            answers={200: _SHOWN},
            errors=(400, 404, 409, 412, 415, 503),
        ),
        Operation(
            method="DELETE",
            path=_ONE,
            id="deleteEnvironmentV2",
            summary="Delete an environment",
            description="Its tasks go on running; /v2/orphans lists them.",
            handle=handlers.delete,
            tags=_TAGS,
            path_parameters=PLACE,
            headers=(_IF_MATCH,),
            answers={200: Returned(description="What was deleted", body=DeletedEnvironment)},
            errors=(404, 409, 412, 503),
        ),
    ]
