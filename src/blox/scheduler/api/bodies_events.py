"""The entries of /v2/events. As server-sent events, `event` and `data` are fields of their own, and
`position` is the id."""

from datetime import datetime

from blox.http.shapes import AnswerBody
from blox.scheduler.api.bodies import ClusterBody, DeploymentBody, EnvironmentBody, HostBody


class SlotEvent(HostBody, frozen=True, kw_only=True, tag_field="state", tag="there"):
    """One host as one environment sees it, as in the list of its hosts."""

    at: datetime
    environment: str
    environment_id: str
    cluster: str


class GoneSlot(AnswerBody, frozen=True, kw_only=True, tag_field="state", tag="gone"):
    """The host is gone, and the slot with it."""

    at: datetime
    arn: str
    """Of the container instance."""
    id: str
    environment: str
    environment_id: str
    cluster: str


class DeploymentEvent(DeploymentBody, frozen=True, kw_only=True):
    """A deployment that is new, or has got on. Its `waiting` is empty."""

    at: datetime
    environment_id: str


class EnvironmentEvent(EnvironmentBody, frozen=True, kw_only=True, tag_field="state", tag="there"):
    """An environment that is new, was changed, or does better or worse."""

    at: datetime


class GoneEnvironment(AnswerBody, frozen=True, kw_only=True, tag_field="state", tag="gone"):
    """The environment was deleted."""

    at: datetime
    id: str
    name: str
    cluster: str
    cluster_arn: str


class ClusterEvent(ClusterBody, frozen=True, kw_only=True):
    """A cluster's status, whether it was read completely, or why it cannot be read is another."""

    at: datetime


class _Line(AnswerBody, frozen=True, kw_only=True, tag_field="event"):
    position: str
    """Where to go on after this entry."""


class HeartbeatItem(AnswerBody, frozen=True, kw_only=True):
    """We are still there."""

    position: str


class ResetItem(AnswerBody, frozen=True, kw_only=True):
    """Why something is missing before this."""

    reason: str


class SlotLine(_Line, frozen=True, kw_only=True, tag="slot"):
    """A slot's verdict is another."""

    data: SlotEvent | GoneSlot


class DeploymentLine(_Line, frozen=True, kw_only=True, tag="deployment"):
    """A deployment is new, or has got on."""

    data: DeploymentEvent


class EnvironmentLine(_Line, frozen=True, kw_only=True, tag="environment"):
    """An environment is new, another, or gone."""

    data: EnvironmentEvent | GoneEnvironment


class ClusterLine(_Line, frozen=True, kw_only=True, tag="cluster"):
    """How well a cluster is known has changed."""

    data: ClusterEvent


class HeartbeatLine(_Line, frozen=True, kw_only=True, tag="heartbeat"):
    """Nothing has happened."""

    data: HeartbeatItem


class ResetLine(_Line, frozen=True, kw_only=True, tag="reset"):
    """Something is missing before this: list again."""

    data: ResetItem


Line = SlotLine | DeploymentLine | EnvironmentLine | ClusterLine | HeartbeatLine | ResetLine
