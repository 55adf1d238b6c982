"""What /v2 shows of tasks, hosts and clusters, and of this process."""

from typing import Annotated, Literal

import msgspec

from blox.http.shapes import AnswerBody, Json, Moment

EcsMembers = Annotated[
    dict[str, Json],
    msgspec.Meta(
        extra_json_schema={
            "description": "Every member that ECS told, under ECS's names; times as ISO 8601 text."
        }
    ),
]


class Member(AnswerBody, frozen=True, kw_only=True):
    """What a task and an instance have in common here."""

    arn: str
    cluster: str
    """Its name."""
    cluster_arn: str
    version: int
    """Grows with every change of anything."""
    read_at: Moment | None
    """When the newest read began that told anything new of it, by ECS's clock; null when only
    events did. Reads that found nothing new do not count: how old what is shown may be at most, its
    cluster's `sweep` tells."""


class TaskItem(Member, frozen=True, kw_only=True):
    """A task."""

    kind: Literal["task"]
    task: EcsMembers


class InstanceItem(Member, frozen=True, kw_only=True):
    """A container instance: a host."""

    kind: Literal["instance"]
    instance: EcsMembers


class Listed(AnswerBody, frozen=True, kw_only=True):
    """What every list of tasks or instances has."""

    next_token: str | msgspec.UnsetType = msgspec.UNSET
    """Without it, this is the last page."""
    position: str
    """Follow from here, with the stream, whatever changes after this answer. Who lists page by
    page follows from the first page's."""


class TasksPage(Listed, frozen=True, kw_only=True):
    """A page of tasks, by cluster and ARN."""

    items: tuple[TaskItem, ...]


class InstancesPage(Listed, frozen=True, kw_only=True):
    """A page of container instances, by cluster and ARN."""

    items: tuple[InstanceItem, ...]


class SweepBody(AnswerBody, frozen=True, kw_only=True):
    """The last complete sweep of a cluster: every task and host of it was listed and described."""

    epoch: str
    """The run of this service that counts the sweeps."""
    number: int
    """0: none was complete in this epoch."""
    completed_at: Moment | None
    age_seconds: float | None
    """Since it began: nothing that is shown is older."""


class ClusterBody(AnswerBody, frozen=True, kw_only=True):
    """A cluster, and how well it is known."""

    name: str
    arn: str
    status: str
    primed: bool
    """It was swept in this epoch. Before, what is shown is what an earlier run left."""
    instances: int
    tasks: int
    """Those that ended are counted for as long as they are shown."""
    version: int
    sweep: SweepBody
    read_error: str | None
    """Why ECS could not be read last; null when it could."""


class ClustersPage(AnswerBody, frozen=True, kw_only=True):
    """A page of clusters, by ARN."""

    items: tuple[ClusterBody, ...]
    next_token: str | msgspec.UnsetType = msgspec.UNSET
    position: str


class SweepAsked(AnswerBody, frozen=True, kw_only=True):
    """A sweep that will begin. It is complete when the cluster's `sweep` has this epoch and a
    number that is not smaller."""

    cluster: str
    cluster_arn: str
    epoch: str
    sweep: int


class QueueBody(AnswerBody, frozen=True, kw_only=True):
    """The queue that events come from."""

    name: str
    flowing: bool
    """It can be read."""
    lag_seconds: float
    """From the time in the last event to its receipt."""
    depth: int | None
    """Messages that wait in it, about; null: not known."""
    rejected: int
    """Messages in /v2/queue/rejected."""


class StoreBody(AnswerBody, frozen=True, kw_only=True):
    """The copy on disk, which the next run begins with."""

    problem: str | None
    stored_version: int
    """Changes up to this version are in it."""
    last_version: int


class ConditionBody(AnswerBody, frozen=True, kw_only=True):
    """Something that is wrong with the process as a whole."""

    code: str
    sentence: str
    next_step: str
    since: Moment | None


class StateStatus(AnswerBody, frozen=True, kw_only=True):
    """How this process does."""

    version: str
    """Of blox."""
    name: str
    """Of the numbering of versions; positions begin with it."""
    epoch: str
    """Of this run."""
    started_at: Moment
    ready: bool
    not_ready: str | None
    """Why it is not."""
    clusters: int
    instances: int
    tasks: int
    position: str
    """Of the last change."""
    queue: QueueBody | None
    store: StoreBody
    watchers: int
    """Open streams."""
    conditions: tuple[ConditionBody, ...]
    notes: tuple[str, ...]
