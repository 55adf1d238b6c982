"""The bodies of one host with all that runs there, and of adopting tasks."""

from collections.abc import Mapping
from datetime import datetime

from blox.http.shapes import AnswerBody
from blox.scheduler.api.bodies import HostStory, TaskBody
from blox.scheduler.api.bodies_orders import HoldBody


class Machine(AnswerBody, frozen=True, kw_only=True):
    """A host as ECS shows it."""

    instance_id: str
    id: str
    arn: str
    cluster: str
    status: str
    agent_connected: bool
    agent_version: str
    registered_at: datetime | None
    capacity_provider: str
    attributes: Mapping[str, str]
    """Those with a value."""


class TaskThere(AnswerBody, frozen=True, kw_only=True):
    """A task that holds its place on the host."""

    task: str
    """Its ARN."""
    family: str
    definition: str
    group: str
    status: str
    desired_status: str
    health: str
    started_by: str
    environment: str | None
    """The environment whose daemon it is; null: of none."""
    holder: str
    """Whose it is, in words."""
    since: datetime | None
    """RUNNING since then; before that, when it was created. null: not known, as of tasks of
    services, of which no times are kept."""


class ShareBody(AnswerBody, frozen=True, kw_only=True):
    """A task that holds some of a resource."""

    task: str
    definition: str
    group: str
    environment: str | None
    share: int | None
    """How much, as its definition says; null: its definition is not known here."""


class ResourceBody(AnswerBody, frozen=True, kw_only=True):
    """Something that a host has only so much of: registered = the known shares + unaccounted +
    remaining."""

    name: str
    """`cpu`, `memory`, or `port 24224/tcp`: ports are shown if they are taken."""
    unit: str
    """CPU units (1,024 are one vCPU), MiB, or "" for a port."""
    registered: int | None
    """null: not known. A port that the host keeps for itself is 0."""
    remaining: int | None
    unaccounted: int | None
    """Taken, and not by a task whose share is known."""
    holders: tuple[ShareBody, ...]
    """The largest share first; unknown ones last."""


class HostExplained(AnswerBody, frozen=True, kw_only=True):
    """One host, what runs there, and every environment of its cluster."""

    host: Machine
    hold: HoldBody | None
    resources: tuple[ResourceBody, ...]
    """Empty while ECS has not told them."""
    tasks: tuple[TaskThere, ...]
    """Live ones, daemons of blox first."""
    environments: tuple[HostStory, ...]


class AdoptedBody(AnswerBody, frozen=True, kw_only=True):
    """A task that is the environment's from now on."""

    task: TaskBody
    instance_id: str
    host: str
    """The container instance's ARN."""


class NotAdoptedBody(AnswerBody, frozen=True, kw_only=True):
    """A task that was meant and stays whose it is."""

    task: TaskBody
    instance_id: str
    host: str
    """The container instance's ARN; "" for a task without one."""
    why: str
    """`service`, `other-environment`, `no-host`, `stopping`, `stopped`, `busy` or `second`."""
    sentence: str


class AdoptionBody(AnswerBody, frozen=True, kw_only=True):
    """What was adopted, or would be."""

    adopted: tuple[AdoptedBody, ...]
    refused: tuple[NotAdoptedBody, ...]
    already: int
    """Tasks that are the environment's own."""
    dry_run: bool
