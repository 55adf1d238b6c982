"""/v1/stream/… and /v2/stream: what changes, as it changes.

A stream follows the catalogue's log, in which everything stands once, with its last change. So who
reads slowly gets the newest state of what has changed several times meanwhile, and every deletion
that is still kept; who has missed one that is not kept any more is told to list again, and its
stream ends. /v1 has no words for that: its stream just ends, and the next request with the same
`entityVersion` is refused.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Final

from msgspec import Struct

from blox.base.errors import InvalidInput
from blox.base.ids import is_cluster_reference, short_id
from blox.clusterstate.api.bodies1 import ContainerInstance, Task
from blox.clusterstate.api.bodies_streams import Line
from blox.clusterstate.api.context import StateApi
from blox.clusterstate.api.positions import LONGEST_VERSION, Expired, version_at
from blox.clusterstate.api.shown1 import item_v1
from blox.clusterstate.api.shown2 import cluster_v2, deleted_v2, item_v2
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.entity import Entity, Kind
from blox.http.forms import BYTES, EVENT_STREAM, EVENTS, ITEMS, JSON_LINES, LINES, asked_for
from blox.http.operations import Call, Operation, Parameter, Returned, Streaming
from blox.http.problems import PositionExpired, Refused
from blox.http.streams import HEARTBEAT, Selection, Shown, Watchers

INVALID_VERSION: Final = "Invalid entity version"
OUT_OF_RANGE: Final = "Entity version is out of range"
_KINDS: Final[dict[str, Kind]] = {
    "tasks": "task",
    "instances": "instance",
    "clusters": "cluster",
}


class Changes:
    """The catalogue's log as what streams follow."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    @property
    def floor(self) -> int:
        """Deletions up to this are not kept."""
        return self._catalogue.log.floor

    @property
    def last(self) -> int:
        """The version of the last change."""
        return self._catalogue.last

    def after(self, position: int) -> Iterator[tuple[int, Entity]]:
        """What has changed after a version, in its last state."""
        return ((entity.version, entity) for entity in self._catalogue.log.after(position))

    async def news(self, position: int) -> None:
        """Wait until something has changed after that."""
        await self._catalogue.news(position)


class Wanted(Struct, frozen=True, kw_only=True):
    """What a stream of /v2 is asked for. None: whatever it is."""

    kinds: frozenset[Kind]
    cluster: str | None = None
    """A name or an ARN."""
    started_by: str | None = None
    group: str | None = None

    def fits(self, entity: Entity) -> bool:
        """Whether a task, host or cluster is asked for: in its last state, if it is gone."""
        if entity.kind not in self.kinds:
            return False
        arn = entity.cluster_arn
        if self.cluster is not None and self.cluster not in (arn, short_id(arn)):
            return False
        if entity.kind != "task":
            return True
        return all(
            wanted is None or entity.text(member) == wanted
            for member, wanted in (("startedBy", self.started_by), ("group", self.group))
        )


def told_v1(kind: Kind) -> Selection[Entity]:
    """What a stream of /v1 tells. A deletion is told as the state that the task or host ended in,
    unless that has been told."""

    def tell(entity: Entity, known: int) -> Shown | None:
        if entity.kind != kind:
            return None
        if entity.deleted and entity.ended and entity.before <= known:
            return None
        return Shown(kind, item_v1(entity))

    return Selection(("v1", kind), tell)


def told_v2(wanted: Wanted, *, epoch: str) -> Selection[Entity]:
    """What a stream of /v2 tells. That a sweep is complete comes after all that it found."""

    def tell(entity: Entity, _: int) -> Shown | None:
        if not wanted.fits(entity):
            return None
        if entity.deleted:
            return Shown("deleted", deleted_v2(entity))
        if entity.kind == "cluster":
            return Shown("cluster", cluster_v2(entity, epoch=epoch))
        return Shown(entity.kind, item_v2(entity))

    def covers(entity: Entity) -> bool:
        return entity.kind == "cluster"

    return Selection(wanted, tell, covers)


class Streams:
    """The handlers."""

    def __init__(self, api: StateApi, *, heartbeat: float = HEARTBEAT) -> None:
        self._api = api
        self._catalogue = api.catalogue
        self.watchers = Watchers(
            Changes(api.catalogue), token=api.position, heartbeat=heartbeat, counted=self._counted
        )

    def _counted(self, watchers: int) -> None:
        self._api.info.watchers.open = watchers

    async def instances_v1(self, call: Call) -> Streaming:
        """Hosts, one JSON item a line."""
        return self._items(call, "instance")

    async def tasks_v1(self, call: Call) -> Streaming:
        """Tasks, one JSON item a line."""
        return self._items(call, "task")

    def _items(self, call: Call, kind: Kind) -> Streaming:
        chunks = self.watchers.watch(told_v1(kind), ITEMS, after=self._after_v1(call))
        return _streaming(chunks, ITEMS.media_type)

    def _after_v1(self, call: Call) -> int:
        """The version before the one from which on a stream of /v1 is asked for."""
        text = call.query.values.get("entityVersion")
        if text is None:
            return self._catalogue.last
        if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_VERSION):
            raise Refused(400, INVALID_VERSION)
        after = int(text) - 1
        log = self._catalogue.log
        # Who names a version has seen it, as a rule: of a deletion that is no longer kept, too.
        if not (log.holds(after) or log.holds(after + 1)):
            raise Refused(400, OUT_OF_RANGE)
        return max(after, log.floor)

    async def stream_v2(self, call: Call) -> Streaming:
        """Everything that changes, and that we are still there."""
        wanted = _wanted(call)
        form = EVENTS if asked_for(call.headers.get("accept", ""), EVENT_STREAM) else LINES
        selection = told_v2(wanted, epoch=self._catalogue.epoch)
        chunks = self.watchers.watch(selection, form, after=self._after_v2(call))
        return _streaming(chunks, form.media_type)

    def _after_v2(self, call: Call) -> int:
        """Where to go on from. What a reader came to last counts more than where it once began."""
        asked = call.query.text("position")
        reached = call.headers.get("last-event-id", "")
        position = reached or asked
        if position is None:
            return self._catalogue.last
        try:
            version = version_at(self._catalogue, position)
        except Expired:
            version = None
        else:
            if version is None and not reached:
                raise InvalidInput(
                    f"The query parameter 'position' is {position!r}, which is no position. Lists "
                    "and streams give them."
                )
        if version is None:
            raise PositionExpired(
                f"This service cannot go on from {position!r}: it has changes from "
                f"{self._api.position(self._catalogue.log.floor)} to {self._api.position()}. List "
                "again, and follow from the position that the list gives."
            )
        return version


def _streaming(chunks: AsyncIterator[bytes], media_type: str) -> Streaming:
    return Streaming(chunks=chunks, media_type=media_type)


def _wanted(call: Call) -> Wanted:
    started_by, group = call.query.text("startedBy"), call.query.text("group")
    text = call.query.text("kinds")
    if text is None:
        only_tasks = started_by is not None or group is not None
        names = ["tasks"] if only_tasks else list(_KINDS)
    else:
        names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in _KINDS:
            raise InvalidInput(
                f"The query parameter 'kinds' has {name!r}; known are: {', '.join(_KINDS)}."
            )
    cluster = call.query.text("cluster")
    if cluster is not None and not is_cluster_reference(cluster):
        raise InvalidInput(f"{cluster!r} is neither a cluster's name nor its ARN.")
    return Wanted(
        kinds=frozenset(_KINDS[name] for name in names),
        cluster=cluster,
        started_by=started_by,
        group=group,
    )


# --- The operations -------------------------------------------------------------------------------

_FROM_VERSION: Final = Parameter(
    name="entityVersion",
    description="From this version on, it included; from now on without.",
    kind="integer",
)
_QUERY_V2: Final = (
    Parameter(
        name="kinds",
        description="Which of tasks, instances and clusters, with commas between them. All if not "
        "given; tasks alone where startedBy or group is.",
    ),
    Parameter(name="cluster", description="Only of this cluster: a name or an ARN."),
    Parameter(name="startedBy", description="Of tasks: only those with this startedBy."),
    Parameter(name="group", description="Of tasks: only those of this group."),
    Parameter(
        name="position",
        description="Go on after this position, as a list or a line gave it. From now on without.",
    ),
)
_LAST_EVENT_ID: Final = Parameter(
    name="last-event-id",
    description="The id of the last event that was received, as browsers send it when they connect "
    "anew. It counts more than `position`.",
)
_DESCRIPTION: Final = """
Lines of JSON, or server-sent events for who accepts `text/event-stream`. The first is a
`heartbeat`, at once; another comes whenever nothing was sent for 15 seconds. Each names the
`position` from which to go on after a break. Everything stands in the stream with its last state:
what changes often is not told as often to who reads slowly. That a cluster was swept is told after
everything that the sweep found. A `reset` is the last line of a stream that cannot go on: list
again, and follow from the position that the list gives.
"""


def operations(api: StateApi, *, heartbeat: float = HEARTBEAT) -> list[Operation]:
    """Every stream. `heartbeat`: seconds."""
    handlers = Streams(api, heartbeat=heartbeat)
    v1 = (
        ("instances", "StreamInstances", "hosts", handlers.instances_v1, ContainerInstance),
        ("tasks", "StreamTasks", "tasks", handlers.tasks_v1, Task),
    )
    return [
        *(
            Operation(
                method="GET",
                path=f"/v1/stream/{kind}",
                id=name,
                summary=f"Stream changes of {people}",
                handle=handle,
                description="One JSON item a line, as each change comes. What is gone is told as "
                "the state that it ended in.",
                tags=("v1",),
                query=(_FROM_VERSION,),
                answers={200: Returned(description="Items", body=body, media_type=BYTES)},
                errors=(400, 503),
            )
            for kind, name, people, handle, body in v1
        ),
        Operation(
            method="GET",
            path="/v2/stream",
            id="stream",
            summary="Stream changes of tasks, hosts and clusters",
            handle=handlers.stream_v2,
            description=" ".join(_DESCRIPTION.split()),
            tags=("streams",),
            query=_QUERY_V2,
            headers=(_LAST_EVENT_ID,),
            answers={
                200: Returned(
                    description="Lines",
                    body=Line,
                    media_type=JSON_LINES,
                    also=(EVENT_STREAM,),
                )
            },
            errors=(400, 410, 503),
        ),
    ]
