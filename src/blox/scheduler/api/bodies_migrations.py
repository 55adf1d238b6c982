"""The bodies of /v2 about services, and about taking over from one of them."""

from datetime import datetime
from typing import Literal

from msgspec import UNSET, UnsetType

from blox.http.shapes import AnswerBody, AskedBody, Text
from blox.scheduler.api.bodies import HostName
from blox.scheduler.api.bodies_orders import MigrationBody
from blox.scheduler.migrations import Phase
from blox.scheduler.reasons import Actor

# --- Requests -------------------------------------------------------------------------------------


class NewMigration(AskedBody, frozen=True, kw_only=True):
    """Take over from a DAEMON service of the environment's cluster."""

    service: Text
    """Its name, as in `fluent-bit` or `service/fluent-bit`."""
    wave: int = 1
    """Hosts that are moved at once, 1 to 100; never more than `maxUnavailable` allows."""


class MigrationPatch(AskedBody, frozen=True, kw_only=True):
    """What is left out stays."""

    back: bool | UnsetType = UNSET
    """Give the hosts back to the service; false: go on moving them."""
    wave: int | UnsetType = UNSET


# --- Answers --------------------------------------------------------------------------------------


class ConstraintBody(AnswerBody, frozen=True, kw_only=True):
    """A placement constraint of a service, under ECS's names."""

    type: str
    expression: str


class ServiceBody(AnswerBody, frozen=True, kw_only=True):
    """A service as ECS shows it now."""

    name: str
    arn: str
    cluster: str
    status: str
    strategy: str
    """DAEMON or REPLICA."""
    task_definition: str
    desired: int
    running: int
    pending: int
    placement_constraints: tuple[ConstraintBody, ...]


class NeededConstraint(AnswerBody, frozen=True, kw_only=True):
    """What the service must be asked to mind, once, by somebody who may change it."""

    expression: str
    present: bool
    """The service has it, as far as ECS has said."""
    command: str
    """Gives it to the service, with all that it has already; "" while the service is not known."""
    undo_command: str
    """Takes it away again, and leaves the others; "" while the service is not known."""


class PlacesBody(AnswerBody, frozen=True, kw_only=True):
    """hosts = ours + moving + aside + leaving + theirs + unmovable."""

    hosts: int
    ours: int
    """Moved, and its daemon is healthy."""
    moving: int
    """On its way to the environment."""
    aside: int
    """Moved, and out of reach now: away, held, draining, or not able to run it."""
    leaving: int
    """On its way back to the service."""
    theirs: int
    """The service's, until its turn."""
    unmovable: int
    """The service's, and it cannot be moved now: `unmovable` says why."""


class UnmovableBody(AnswerBody, frozen=True, kw_only=True):
    """Hosts that cannot be moved now for one reason."""

    code: str
    sentence: str
    count: int
    hosts: tuple[HostName, ...]
    """At most 100 of them."""


class GapsBody(AnswerBody, frozen=True, kw_only=True):
    """What moving hosts one way has cost: seconds from the moment at which the former daemon was
    told to stop until the next was RUNNING, by ECS's clock."""

    hosts: int
    """Hosts that have arrived."""
    measured: int
    """Of those, the ones whose gap is known."""
    worst_seconds: float
    worst_host: HostName | None
    mean_seconds: float
    total_seconds: float
    hosts_with_two: int
    """Hosts on which ECS wanted both daemons at one time, as far as the view saw."""


class ArrivalBody(AnswerBody, frozen=True, kw_only=True):
    """One host that has come to where it was to go."""

    number: int
    """Of this migration, both ways, from 1."""
    host: HostName
    back: bool
    gap_seconds: float | None
    """null: not known."""
    two: bool
    at: datetime


class MigrationReport(MigrationBody, frozen=True, kw_only=True):
    """How a service's replacement goes."""

    environment: str
    cluster: str
    phase: Phase
    sentence: str
    who: Actor
    """Who acts next."""
    next_step: str
    at_once: int
    """Hosts that are moved at once now: the wave, or what `maxUnavailable` allows of it."""
    constraint: NeededConstraint
    delete_command: str
    """Deletes the service, once every host is moved."""
    places: PlacesBody
    unmovable: tuple[UnmovableBody, ...]
    """Most hosts first."""
    without: int
    """Hosts of the service on which none of its tasks runs."""
    arrived: int
    """Hosts that have come to where they were to go, both ways and every time."""
    there: GapsBody
    """From the service to the environment, since it last turned that way."""
    returned: GapsBody
    """From the environment back to the service, since it last turned that way."""
    arrivals: tuple[ArrivalBody, ...]
    """The last 200 hosts that have arrived, as far as this process saw them; oldest first."""
    problem: str
    """Why the last call failed; "" when it did not."""


class EndedMigration(AnswerBody, frozen=True, kw_only=True):
    """What `finish` came to."""

    environment: str
    cluster: str
    service: str
    state: Literal["ending", "ended"]
    """`ending`: every host is the environment's, and the marks are removed. `ended`: nothing had
    been moved, and the migration is forgotten."""
