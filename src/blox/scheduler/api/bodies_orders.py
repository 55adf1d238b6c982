"""The bodies of what people tell a scheduler to leave alone, to go on with, and to take over."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from blox.http.shapes import AnswerBody, AskedBody, PageBody, Text

TasksNamed = Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=1000)]


# --- Requests -------------------------------------------------------------------------------------


class NewFreeze(AskedBody, frozen=True, kw_only=True):
    """Start and stop nothing there, for a while."""

    scope: Literal["everything", "cluster", "environment"]
    cluster: Text | UnsetType = UNSET
    """A name or an ARN; with the scopes `cluster` and `environment`."""
    environment: Text | UnsetType = UNSET
    """The environment's name, with the scope `environment`."""
    seconds: float
    """From 1 to 30 days; it ends by itself."""
    why: str
    """For the others who will read it: 1 to 200 characters."""


class NewHold(AskedBody, frozen=True, kw_only=True):
    """Leave one host as it is, for a while."""

    host: Text
    """Its instance id (i-… or mi-…), its container instance id, or that one's ARN."""
    seconds: float
    """From 1 to 30 days; it ends by itself."""
    why: str
    """For the others who will read it: 1 to 200 characters."""


class AdoptionWish(AskedBody, frozen=True, kw_only=True):
    """Which tasks are meant: all that is given must hold. With nothing given: those of the
    environment's family, and of its task group, whoever started them."""

    family: Text | UnsetType = UNSET
    started_by: Text | UnsetType = UNSET
    tasks: TasksNamed | UnsetType = UNSET
    """ARNs or ids."""
    replace: bool = False
    """The next deployment replaces them, whatever they run; several on one host are taken over."""


# --- Answers --------------------------------------------------------------------------------------


class FreezeBody(AnswerBody, frozen=True, kw_only=True):
    """Nothing of blox is started or stopped there until then."""

    id: str
    scope: Literal["everything", "cluster", "environment"]
    cluster: str | None
    """Its name; null: every cluster."""
    environment: str | None
    """Its name; null: every environment."""
    why: str
    until: datetime
    created_at: datetime


class HoldBody(AnswerBody, frozen=True, kw_only=True):
    """Nothing of blox is started or stopped on that host until then."""

    instance_id: str
    host: str
    """The container instance's ARN."""
    cluster: str
    why: str
    until: datetime
    created_at: datetime


class ConfirmationBody(AnswerBody, frozen=True, kw_only=True):
    """These stops are meant: they go on, paced."""

    stops: int
    revision: int
    """It counts for this revision only."""
    until: datetime


class MigrationBody(AnswerBody, frozen=True, kw_only=True):
    """A DAEMON service's replacement by the environment, host by host."""

    service: str
    attribute: str
    """The custom attribute of hosts by which they are moved."""
    back: bool
    """Hosts go back to the service."""
    wave: int
    """Hosts that are moved at once, at most."""
    moved: int
    worst_gap_seconds: float
    """The longest time that one moved host had neither daemon running."""
    total_gap_seconds: float
    """Of all moved hosts together."""
    created_at: datetime


class HolderBody(AnswerBody, frozen=True, kw_only=True):
    """Somebody who runs the same daemon, and on how many hosts."""

    holder: str
    hosts: int


class ProviderBody(AnswerBody, frozen=True, kw_only=True):
    """A capacity provider that removes idle hosts, and its hosts that are wanted."""

    name: str
    hosts: int


class QuestionProblem(AnswerBody, frozen=True, kw_only=True):
    """A problem (RFC 9457) that may ask: with `question`, nothing was created, and the same request
    succeeds with an answer to it. `existing`: `hosts`, `occupied`, `holders` and `ways` are there,
    and one of the ways answers. `scaleIn`: `providers` is there; `policy.whenIdle` or
    `acceptNoScaleIn` answers."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    question: Literal["existing", "scaleIn"] | UnsetType = UNSET
    hosts: int | UnsetType = UNSET
    """Hosts that the environment wants."""
    occupied: int | UnsetType = UNSET
    """Of those, hosts that run its daemon already: the sum over the holders."""
    holders: tuple[HolderBody, ...] | UnsetType = UNSET
    """Most hosts first."""
    ways: tuple[str, ...] | UnsetType = UNSET
    """The values of `existing` that make sense here."""
    providers: tuple[ProviderBody, ...] | UnsetType = UNSET


# --- Pages ----------------------------------------------------------------------------------------


class FreezesPage(PageBody, frozen=True, kw_only=True):
    """Freezes in force, oldest first."""

    items: tuple[FreezeBody, ...]


class HoldsPage(PageBody, frozen=True, kw_only=True):
    """Holds in force, by the host's ARN."""

    items: tuple[HoldBody, ...]
