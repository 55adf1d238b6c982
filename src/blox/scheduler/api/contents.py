"""/v2/environments/…/contents: what an environment's tasks run, as far as people who look into one
need it: containers, where they log, whether ECS Exec was enabled."""

from collections.abc import Mapping
from typing import Final

from blox.ecs.model import ContainerDefinition, LogConfiguration, LogOptions
from blox.http.operations import Answer, Call, Operation, Returned
from blox.http.shapes import AnswerBody
from blox.scheduler.api.context import PLACE, Api, answered
from blox.scheduler.api.preview import contents_of
from blox.scheduler.model import Environment


class ContainerBody(AnswerBody, frozen=True, kw_only=True):
    """One container of a task definition."""

    name: str
    image: str
    essential: bool
    log_driver: str
    """"" when the definition names none, or was read before this was kept."""
    log_group: str
    """Of the driver awslogs; "" likewise."""
    log_region: str
    """"" when the definition names none: the host's."""
    log_stream_prefix: str
    """Streams are PREFIX/CONTAINER/TASK-ID; "" when the definition names none."""


class ContentBody(AnswerBody, frozen=True, kw_only=True):
    """What some of its tasks run."""

    digest: str
    task_definition: str
    """Its ARN."""
    deployments: tuple[str, ...]
    """Tasks that say so in startedBy run this."""
    execute_command: bool | None
    """Whether ECS Exec was enabled at the start; null: somebody else started these tasks."""
    containers: tuple[ContainerBody, ...]


class ContentsBody(AnswerBody, frozen=True, kw_only=True):
    """All of them."""

    items: tuple[ContentBody, ...]
    """The newest revision's last."""


class Contents:
    """The handler."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def show(self, call: Call) -> Answer:
        """What its tasks run, or may run."""
        return answered(ContentsBody(items=_items(self._api.environment(call))))


def _items(environment: Environment) -> tuple[ContentBody, ...]:
    revisions = {revision.digest for revision in environment.revisions}
    return tuple(
        ContentBody(
            digest=digest,
            task_definition=definition.task_definition_arn,
            deployments=tuple(id_ for id_, of in environment.deployed.items() if of == digest),
            execute_command=_exec(task) if digest in revisions else None,
            containers=tuple(map(_container, definition.container_definitions)),
        )
        for digest, (definition, task) in contents_of(environment).items()
    )


def _exec(task: Mapping[str, object]) -> bool:
    return task.get("enableExecuteCommand") is True


def _container(container: ContainerDefinition) -> ContainerBody:
    logs = container.log_configuration or LogConfiguration()
    options = logs.options or LogOptions()
    return ContainerBody(
        name=container.name,
        image=container.image,
        essential=container.essential,
        log_driver=logs.log_driver or "",
        log_group=options.group or "",
        log_region=options.region or "",
        log_stream_prefix=options.stream_prefix or "",
    )


_TAGS: Final = ("environments",)


def operations(api: Api) -> list[Operation]:
    """The one operation."""
    return [
        Operation(
            method="GET",
            path="/v2/environments/{cluster}/{name}/contents",
            id="listContents",
            summary="Show what an environment's tasks run, and where they log",
            handle=Contents(api).show,
            tags=_TAGS,
            path_parameters=PLACE,
            answers={200: Returned(description="Its contents", body=ContentsBody)},
            errors=(404,),
        ),
    ]
