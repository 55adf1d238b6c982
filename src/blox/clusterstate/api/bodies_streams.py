"""The lines of /v2/stream, for its document. In server-sent events `event` and `data` are fields
of their own, and `position` is the id."""

from typing import Literal

from blox.clusterstate.api.bodies2 import InstanceItem, TaskItem
from blox.http.shapes import AnswerBody


class _Line(AnswerBody, frozen=True, kw_only=True, tag_field="event"):
    position: str
    """Where to go on after this line."""


class SweptItem(AnswerBody, frozen=True, kw_only=True):
    """The last complete sweep of a cluster."""

    epoch: str
    """The run of this service that counts the sweeps."""
    number: int
    """0: none was complete in this epoch."""


class ClusterItem(AnswerBody, frozen=True, kw_only=True):
    """How well a cluster is known, of what is told when it changes."""

    name: str
    arn: str
    status: str
    primed: bool
    version: int
    sweep: SweptItem
    read_error: str | None


class DeletedItem(AnswerBody, frozen=True, kw_only=True):
    """What is gone."""

    kind: Literal["task", "instance", "cluster"]
    arn: str
    cluster: str
    cluster_arn: str
    version: int


class HeartbeatItem(AnswerBody, frozen=True, kw_only=True):
    """We are still there."""

    position: str


class ResetItem(AnswerBody, frozen=True, kw_only=True):
    """Why this stream cannot go on."""

    reason: str


class TaskLine(_Line, frozen=True, kw_only=True, tag="task"):
    """A task is new, or has changed."""

    data: TaskItem


class InstanceLine(_Line, frozen=True, kw_only=True, tag="instance"):
    """A host is new, or has changed."""

    data: InstanceItem


class ClusterLine(_Line, frozen=True, kw_only=True, tag="cluster"):
    """How well a cluster is known has changed."""

    data: ClusterItem


class DeletedLine(_Line, frozen=True, kw_only=True, tag="deleted"):
    """Something is gone."""

    data: DeletedItem


class HeartbeatLine(_Line, frozen=True, kw_only=True, tag="heartbeat"):
    """Nothing has changed."""

    data: HeartbeatItem


class ResetLine(_Line, frozen=True, kw_only=True, tag="reset"):
    """The last line: list again."""

    data: ResetItem


Line = TaskLine | InstanceLine | ClusterLine | DeletedLine | HeartbeatLine | ResetLine
