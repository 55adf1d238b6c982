"""Which tasks that others started may become ours, and what they then count as. Pure.

Adopting restarts nothing: from then on the task is the environment's by its ARN. A task of a
service is never adopted, because the service would start it again beside ours.
"""

from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct, structs

from blox.base.ids import short_id
from blox.ecs.model import STOPPED, Task, TaskDefinition, family_of_task
from blox.scheduler.daemons import Ownership, ownership
from blox.scheduler.model import AdoptedContent, Environment, digest_of

_SERVICE: Final = "service:"


class Choice(Struct, frozen=True, kw_only=True):
    """Which tasks are meant. All that is given must hold; nothing given: the environment's family,
    and its group, whoever started them."""

    family: str = ""
    started_by: str = ""
    tasks: tuple[str, ...] = ()
    """ARNs or ids."""

    def means(self, task: Task, environment: Environment) -> bool:
        """Whether the task is one of them, as far as all but its name is concerned."""
        if self.started_by and task.started_by != self.started_by:
            return False
        if self.family:
            return family_of_task(task) == self.family
        if self.tasks or self.started_by:
            return True
        family = environment.newest.definition.family
        return family_of_task(task) == family or task.group == environment.group


class Why(StrEnum):
    """Why a task is not adopted."""

    SERVICE = "service"
    OTHER = "other-environment"
    NO_HOST = "no-host"
    STOPPING = "stopping"
    BUSY = "busy"
    SECOND = "second"


class NotAdopted(Struct, frozen=True):
    """One task that was meant and stays whose it is."""

    task: Task
    why: Why
    sentence: str


class Sorted(Struct, frozen=True, kw_only=True):
    """What adopting would do."""

    adopted: tuple[Task, ...] = ()
    refused: tuple[NotAdopted, ...] = ()
    already: int = 0
    """Tasks that are the environment's own."""


def sort_out(
    tasks: Sequence[Task],
    environment: Environment,
    choice: Choice,
    *,
    owner: Callable[[Task], str],
    busy: Callable[[str], bool],
    all_of_them: bool = False,
) -> Sorted:
    """Which of the cluster's tasks become the environment's.

    `owner`: the live environment of ours that has the task, "" for none. `busy`: whether the
    environment has a daemon on that host, or a start there that may still happen. `all_of_them`:
    also a second one on the same host, because they are adopted to be stopped.
    """
    adopted: dict[str, Task] = {}
    extra: list[Task] = []
    refused: list[NotAdopted] = []
    already = 0
    named = frozenset(choice.tasks)
    for task in sorted(tasks, key=lambda t: (t.created_at or 0.0, t.arn)):
        if not task.live or not choice.means(task, environment):
            continue
        if named and task.arn not in named and short_id(task.arn) not in named:
            continue
        if ownership(task, environment) is not Ownership.FOREIGN:
            already += 1
            continue
        no = _refusal(task, owner=owner, busy=busy)
        if no is None and task.host_arn in adopted and not all_of_them:
            no = NotAdopted(task, Why.SECOND, "an older one on the same host is adopted")
        if no is not None:
            refused.append(no)
        elif task.host_arn in adopted:
            extra.append(task)
        else:
            adopted[task.host_arn] = task
    return Sorted(adopted=(*adopted.values(), *extra), refused=tuple(refused), already=already)


def _refusal(
    task: Task, *, owner: Callable[[Task], str], busy: Callable[[str], bool]
) -> NotAdopted | None:
    if task.group.startswith(_SERVICE):
        service = task.group.removeprefix(_SERVICE)
        sentence = f"service/{service} would start another in its place"
        return NotAdopted(task, Why.SERVICE, f"{sentence}: blox migrate service/{service}")
    if task.started_by.startswith("ecs-svc/"):
        return NotAdopted(task, Why.SERVICE, "its service would start another in its place")
    if name := owner(task):
        return NotAdopted(task, Why.OTHER, f"it belongs to environment {name}")
    if not task.host_arn:
        return NotAdopted(task, Why.NO_HOST, "it runs on no container instance")
    if task.desired_status == STOPPED:
        return NotAdopted(task, Why.STOPPING, "it is being stopped")
    if busy(task.host_arn):
        return NotAdopted(task, Why.BUSY, "the environment has a daemon on its host already")
    return None


def content_of(
    definition: TaskDefinition, environment: Environment, *, deployed: int | None, replace: bool
) -> AdoptedContent:
    """What adopted tasks of this definition count as: the revision that runs it (the deployed one
    first, then the newest), else a content of their own. `replace`: nothing that is ever deployed,
    so that the next deployment replaces them."""
    arn = definition.task_definition_arn
    if replace:
        return AdoptedContent(digest=f"replace {arn}", definition=definition)
    newest_first = sorted(
        environment.revisions, key=lambda r: (r.number == deployed, r.number), reverse=True
    )
    for revision in newest_first:
        if revision.definition_arn == arn:
            return AdoptedContent(digest=revision.digest, definition=definition)
    return AdoptedContent(digest=digest_of(arn, {}), definition=definition)


def with_adopted(
    environment: Environment, found: Sequence[tuple[Task, AdoptedContent]]
) -> tuple[dict[str, int], tuple[AdoptedContent, ...]]:
    """The environment's `adopted` and `adopted_contents` with these tasks added."""
    contents = list(environment.adopted_contents)
    places = {content.digest: place for place, content in enumerate(contents)}
    adopted = dict(environment.adopted)
    for task, content in found:
        if content.digest not in places:
            places[content.digest] = len(contents)
            contents.append(content)
        adopted[short_id(task.arn)] = places[content.digest]
    return adopted, tuple(contents)


def without_ended(environment: Environment, *, live: Collection[str]) -> Environment:
    """The environment without adopted and disowned tasks that are not `live` (ids), and without
    what nothing can run any more."""
    adopted = {id_: place for id_, place in environment.adopted.items() if id_ in live}
    deployed = set(environment.deployed.values())
    used = set(adopted.values())
    kept = [
        place
        for place, content in enumerate(environment.adopted_contents)
        if place in used or content.digest in deployed
    ]
    places = {old: new for new, old in enumerate(kept)}
    return structs.replace(
        environment,
        adopted={id_: places[place] for id_, place in adopted.items()},
        adopted_contents=tuple(environment.adopted_contents[place] for place in kept),
        disowned=tuple(id_ for id_ in environment.disowned if id_ in live),
    )


def heir_of(
    environment: Environment,
    tombstones: Sequence[Environment],
    *,
    taken: Collection[str] = (),
    carried: Callable[[str], bool] = lambda _: True,
) -> Environment:
    """The environment with everything that deleted ones of its name left running: their deployment
    ids, their adopted tasks, and what all of those run. `taken`: ids of such tasks that another
    environment has adopted since. `carried`: whether a task may still carry this deployment's id.
    """
    oldest_first = sorted(tombstones, key=lambda t: (t.deleted_at or 0.0, t.id))
    deployed: dict[str, str] = {}
    adopted: dict[str, int] = {}
    contents: list[AdoptedContent] = []
    places: dict[str, int] = {}
    for tombstone in oldest_first:
        left = {id_: digest for id_, digest in tombstone.deployed.items() if carried(id_)}
        deployed |= left
        runs = {
            *left.values(),
            *(tombstone.adopted_contents[p].digest for p in tombstone.adopted.values()),
        }
        for revision in tombstone.revisions:
            if revision.digest not in places and revision.digest in runs:
                places[revision.digest] = len(contents)
                contents.append(
                    AdoptedContent(digest=revision.digest, definition=revision.definition)
                )
        for content in tombstone.adopted_contents:
            if content.digest not in places and content.digest in runs:
                places[content.digest] = len(contents)
                contents.append(content)
        for task_id, place in tombstone.adopted.items():
            if task_id not in taken:
                adopted[task_id] = places[tombstone.adopted_contents[place].digest]
    return structs.replace(
        environment,
        deployed={**deployed, **environment.deployed},
        adopted=adopted,
        adopted_until=max((t.adopted_until for t in tombstones), default=0.0),
        disowned=tuple(sorted(taken)),
        adopted_contents=tuple(contents),
        lost_past=environment.lost_past or any(t.lost_past for t in tombstones),
        past_unread=environment.past_unread or any(t.past_unread for t in tombstones),
    )
