"""/v2/environments: what should run where."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from blox.base.errors import Conflict, InvalidInput
from blox.base.ids import short_id
from blox.http.operations import MERGE_PATCH, Answer, Call, Operation, Parameter, Returned
from blox.http.problems import PROBLEM_JSON, Refused
from blox.scheduler.adopting import NoScaleIn, Occupied
from blox.scheduler.api.bodies import (
    CreatedEnvironment,
    DeletedEnvironment,
    EncodedPage,
    EnvironmentBody,
    EnvironmentPatch,
    EnvironmentsPage,
    NewEnvironment,
)
from blox.scheduler.api.bodies_orders import QuestionProblem
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
from blox.scheduler.api.shown import environment_body
from blox.scheduler.api.wishes import (
    etag_of,
    existing_of,
    precondition_holds,
    wish_after,
    wish_of,
)
from blox.scheduler.model import Environment
from blox.scheduler.report import live_tasks
from blox.scheduler.repository import Repository

_TAGS: Final = ("environments",)
_IF_MATCH: Final = Parameter(
    name="If-Match",
    description="The ETag that was read: the change is made only if nobody else made one since.",
)


_TASKS: Final = Parameter(
    name="tasks",
    description="What becomes of its tasks; kept if not given.",
    choices=("keep", "stop"),
)


class Environments:
    """The handlers."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, call: Call) -> Answer:
        """A new environment, not deployed yet."""
        asked = call.decode(NewEnvironment)
        left_behind = [t for t in self._api.repository.tombstones() if t.name == asked.name]
        try:
            environment = await self._api.service.create(
                asked.name,
                asked.cluster,
                wish_of(asked),
                existing=existing_of(asked),
                accept_no_scale_in=asked.accept_no_scale_in,
            )
        except (Occupied, NoScaleIn) as question:
            raise Refused(409, question.message, extra=_members(question)) from None
        self._api.process.environment_created()
        return answered(
            self._created(environment, left_behind),
            status=201,
            etag=etag_of(environment.token),
            location=path_of(environment),
        )

    def _created(
        self, environment: Environment, left_behind: Sequence[Environment]
    ) -> CreatedEnvironment:
        """`left_behind`: deleted environments of its name, on any cluster, as they were before."""
        encoded = self._api.answers.of(environment)
        took_over = sum(
            any(former.digest_of(task) is not None for former in left_behind)
            for task in live_tasks(self._api.state, environment)
        )
        shown = environment_body(encoded.report, primed=encoded.primed)
        members = {name: getattr(shown, name) for name in shown.__struct_fields__}
        return CreatedEnvironment(**members, took_over=took_over)

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
        with _precondition(call, environment, self._api.repository):
            changed = await self._api.service.change(
                environment.id, wish_after(environment, patch), token=environment.token
            )
        return self._shown(changed)

    async def delete(self, call: Call) -> Answer:
        """Delete it; its tasks stay, or are stopped first."""
        stop_tasks = _stops_tasks(call.query.text("tasks"))
        environment = self._api.environment(call)
        with _precondition(call, environment, self._api.repository):
            await self._api.service.delete(environment.id, stop_tasks=stop_tasks)
        kept = [] if stop_tasks else self._api.service.orphans()
        body = DeletedEnvironment(
            id=environment.id,
            name=environment.name,
            cluster=short_id(environment.cluster_arn),
            tasks_left_running=sum(orphan.environment_id == environment.id for orphan in kept),
            stopping=len(live_tasks(self._api.state, environment)) if stop_tasks else 0,
        )
        return answered(body, status=202 if stop_tasks else 200)

    def _shown(self, environment: Environment, *, status: int = 200, **headers: str) -> Answer:
        return Answer(
            body=self._api.answers.of(environment).v2_bytes(),
            status=status,
            headers={"etag": etag_of(environment.token), **headers},
        )


def _members(question: Occupied | NoScaleIn) -> dict[str, object]:
    """What a program needs to ask its user."""
    if isinstance(question, NoScaleIn):
        providers = [{"name": name, "hosts": hosts} for name, hosts in question.providers.items()]
        return {"question": "scaleIn", "providers": providers}
    holders = question.holders
    ours = any(not holder.startswith(_NOT_ADOPTABLE) for holder in holders)
    return {
        "question": "existing",
        "hosts": question.hosts,
        "occupied": sum(holders.values()),
        "holders": [{"holder": holder, "hosts": hosts} for holder, hosts in holders.items()],
        "ways": ["adopt", "stop", "beside"] if ours else ["beside"],
    }


_NOT_ADOPTABLE: Final = ("service/", "environment ")
"""How the names of holders begin whose tasks cannot be adopted."""


def _stops_tasks(text: str | None) -> bool:
    """What to do about the tasks of a deleted environment. Raises InvalidInput."""
    if text not in (None, "keep", "stop"):
        raise InvalidInput(f"tasks={text}: use keep (they go on running) or stop.")
    return text == "stop"


@contextmanager
def _precondition(call: Call, environment: Environment, environments: Repository) -> Iterator[None]:
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
        now = environments.environment(environment.id)
        if wanted is not None and (now is None or now.token != environment.token):
            raise failed from None
        raise


_EVERY: Final = "/v2/environments"
_ONE: Final = "/v2/environments/{cluster}/{name}"
_SHOWN: Final = Returned(description="The environment", body=EnvironmentBody)


def operations(api: Api) -> list[Operation]:
    """Every operation on environments."""
    handlers = Environments(api)
    return [*_reading(handlers), _creating(handlers), *_changing(handlers)]


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


def _creating(handlers: Environments) -> Operation:
    return Operation(
        method="POST",
        path=_EVERY,
        id="createEnvironmentV2",
        summary="Create an environment",
        description=(
            "It does nothing until it is deployed. Its name is unique on its cluster. It takes "
            "over what a deleted environment of its name left running there. Where hosts run "
            "its daemon already, or would never be removed again, the answer is a question."
        ),
        handle=handlers.create,
        tags=_TAGS,
        body=NewEnvironment,
        answers={
            201: Returned(description="The environment", body=CreatedEnvironment),
            409: Returned(
                description="The name is taken, or an answer is needed first",
                body=QuestionProblem,
                media_type=PROBLEM_JSON,
            ),
        },
        errors=(400, 404, 415, 503),
    )


def _changing(handlers: Environments) -> list[Operation]:
    return [
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
            description=(
                "Its tasks go on running, and /v2/orphans lists them; or they are stopped first, "
                "paced, and it is gone when the last is on its way out. Asking again to keep them "
                "ends that."
            ),
            handle=handlers.delete,
            tags=_TAGS,
            path_parameters=PLACE,
            query=(_TASKS,),
            headers=(_IF_MATCH,),
            answers={
                200: Returned(description="What was deleted", body=DeletedEnvironment),
                202: Returned(description="What is being deleted", body=DeletedEnvironment),
            },
            errors=(400, 404, 409, 412, 503),
        ),
    ]
