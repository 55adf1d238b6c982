"""/v2/environments/…/adoptions: tasks that others started become the environment's, as they are."""

from typing import Final

from blox.base.errors import NotFound
from blox.base.ids import short_id
from blox.ecs.model import Task
from blox.http.operations import Answer, Call, Operation, Parameter, Returned
from blox.scheduler.adoption import Choice, Sorted
from blox.scheduler.api.bodies_hosts import AdoptedBody, AdoptionBody, NotAdoptedBody
from blox.scheduler.api.bodies_orders import AdoptionWish
from blox.scheduler.api.context import PLACE, Api, answered
from blox.scheduler.api.shown import task_body
from blox.scheduler.api.wishes import choice_of
from blox.scheduler.model import Environment
from blox.scheduler.report import task_by_id

_TAGS: Final = ("adoptions",)


class Adoptions:
    """The handlers."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._adopting = api.service.adopting

    async def adopt(self, call: Call) -> Answer:
        """Take them over, or say what that would do."""
        asked = call.decode(AdoptionWish)
        dry_run = call.query.flag("dryRun")
        environment = self._api.environment(call)
        choice = choice_of(asked)
        named = self._named(environment, choice)
        if dry_run:
            found = self._adopting.preview(environment, choice, all_of_them=asked.replace)
        else:
            found = await self._adopting.adopt(environment, choice, to_replace=asked.replace)
        return answered(self._body(found, named, dry_run=dry_run))

    def _named(self, environment: Environment, choice: Choice) -> list[Task]:
        """The tasks that were named. Raises NotFound: one that nobody knows is a slip of the pen,
        and then nothing is adopted."""
        found: list[Task] = []
        for name in choice.tasks:
            task = self._api.state.view.task(name) if name.startswith("arn:") else None
            task = task or task_by_id(self._api.state, environment.cluster_arn, short_id(name))
            if task is None or task.cluster_arn != environment.cluster_arn:
                raise NotFound(
                    f"There is no task {name} on {short_id(environment.cluster_arn)}. Nothing was "
                    "adopted."
                )
            found.append(task)
        return found

    def _body(self, found: Sorted, named: list[Task], *, dry_run: bool) -> AdoptionBody:
        refused = [
            self._refused(no.task, why=no.why.value, sentence=no.sentence) for no in found.refused
        ]
        told = {no.task.arn for no in found.refused}
        for task in named:
            if task.arn in told:
                continue
            if not task.live:
                refused.append(self._refused(task, why="stopped", sentence="it has stopped"))
            elif not task.host_arn:
                sentence = "it runs on no container instance"
                refused.append(self._refused(task, why="no-host", sentence=sentence))
        return AdoptionBody(
            adopted=tuple(
                AdoptedBody(
                    task=task_body(task),
                    instance_id=self._api.instance_of(task.host_arn),
                    host=task.host_arn,
                )
                for task in found.adopted
            ),
            refused=tuple(refused),
            already=found.already,
            dry_run=dry_run,
        )

    def _refused(self, task: Task, *, why: str, sentence: str) -> NotAdoptedBody:
        return NotAdoptedBody(
            task=task_body(task),
            instance_id=self._api.instance_of(task.host_arn),
            host=task.host_arn,
            why=why,
            sentence=sentence,
        )


def operations(api: Api) -> list[Operation]:
    """Every operation on adoptions."""
    handlers = Adoptions(api)
    return [
        Operation(
            method="POST",
            path="/v2/environments/{cluster}/{name}/adoptions",
            id="adoptTasks",
            summary="Make tasks that others started the environment's",
            description=(
                "Nothing is started or stopped. All of them or, where this fails, none; asked for "
                "again, those that were adopted count as `already`. A task of a service is never "
                "adopted, because the service would start another in its place."
            ),
            handle=handlers.adopt,
            tags=_TAGS,
            path_parameters=PLACE,
            query=(
                Parameter(
                    name="dryRun", description="Only say what would be adopted.", kind="boolean"
                ),
            ),
            body=AdoptionWish,
            answers={
                200: Returned(description="What was adopted, and what not", body=AdoptionBody)
            },
            errors=(400, 404, 409, 415, 503),
        ),
    ]
