"""/v2/events: what happens to slots, deployments, environments and clusters, as it happens."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from blox.base.ids import short_id
from blox.http.forms import EVENT_STREAM, EVENTS, JSON_LINES, LINES, Form, asked_for
from blox.http.operations import Call, Operation, Parameter, Returned, Streaming
from blox.http.shapes import at
from blox.http.streams import FALLEN_BEHIND, HEARTBEAT, Selection, Shown, Watchers
from blox.scheduler.api.bodies_events import (
    ClusterEvent,
    DeploymentEvent,
    EnvironmentEvent,
    GoneEnvironment,
    GoneSlot,
    Line,
    SlotEvent,
)
from blox.scheduler.api.context import Api
from blox.scheduler.api.happenings import (
    ClusterHappened,
    DeploymentHappened,
    EnvironmentHappened,
    Happening,
    Happenings,
    SlotHappened,
)
from blox.scheduler.api.shown import (
    InstanceOf,
    cluster_body,
    deployment_body,
    environment_body,
    host_body,
)

MOST_BEHIND: Final = 1000
"""Entries that may come while one chunk is stuck on its way to a reader."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What a reader asks for. None: whatever it is."""

    cluster: str | None = None
    """A name or an ARN."""
    environment: str | None = None
    """A name. Nothing about clusters as such is told then."""

    def fits(self, happened: Happening) -> bool:
        """Whether it is asked for."""
        if isinstance(happened, ClusterHappened):
            name, cluster_arn = None, happened.arn
        else:
            name, cluster_arn = happened.environment.name, happened.environment.cluster_arn
        if self.environment is not None and self.environment != name:
            return False
        return self.cluster is None or self.cluster in (cluster_arn, short_id(cluster_arn))


def told(happened: Happening, instance_of: InstanceOf) -> Shown:
    """What readers get of it."""
    if isinstance(happened, SlotHappened):
        return Shown("slot", msgspec.json.encode(_slot(happened)))
    if isinstance(happened, DeploymentHappened):
        return Shown("deployment", msgspec.json.encode(_deployment(happened, instance_of)))
    if isinstance(happened, EnvironmentHappened):
        return Shown("environment", msgspec.json.encode(_environment(happened)))
    body = cluster_body(
        happened.arn,
        happened.seen,
        age=happened.age,
        hosts=happened.hosts,
        environments=happened.environments,
    )
    return Shown("cluster", msgspec.json.encode(ClusterEvent(at=at(happened.at), **_members(body))))


def _slot(happened: SlotHappened) -> SlotEvent | GoneSlot:
    environment = happened.environment
    if happened.report is None:
        return GoneSlot(
            at=at(happened.at),
            arn=happened.host_arn,
            id=short_id(happened.host_arn),
            environment=environment.name,
            environment_id=environment.id,
            cluster=short_id(environment.cluster_arn),
        )
    return SlotEvent(
        at=at(happened.at),
        environment=environment.name,
        environment_id=environment.id,
        cluster=short_id(environment.cluster_arn),
        **_members(host_body(happened.report)),
    )


def _deployment(happened: DeploymentHappened, instance_of: InstanceOf) -> DeploymentEvent:
    body = deployment_body(
        happened.environment,
        happened.deployment,
        tally=happened.tally,
        instance_of=instance_of,
    )
    return DeploymentEvent(
        at=at(happened.at), environment_id=happened.environment.id, **_members(body)
    )


def _environment(happened: EnvironmentHappened) -> EnvironmentEvent | GoneEnvironment:
    environment = happened.environment
    if happened.report is None:
        return GoneEnvironment(
            at=at(happened.at),
            id=environment.id,
            name=environment.name,
            cluster=short_id(environment.cluster_arn),
            cluster_arn=environment.cluster_arn,
        )
    body = environment_body(happened.report, primed=happened.primed)
    return EnvironmentEvent(at=at(happened.at), **_members(body))


def _members(body: Struct) -> dict[str, Any]:
    return {name: getattr(body, name) for name in body.__struct_fields__}


class Events:
    """The handler."""

    def __init__(self, api: Api, *, heartbeat: float) -> None:
        self._api = api
        self._happenings = Happenings(api)
        self.watchers: Watchers[Happening] = Watchers(
            self._happenings.ring,
            heartbeat=heartbeat,
            most_behind=MOST_BEHIND,
            counted=self._happenings.followed,
        )

    async def follow(self, call: Call) -> Streaming:
        """Everything that happens from now on, or since the reader was here last."""
        wanted = Wanted(
            cluster=call.query.text("cluster"), environment=call.query.text("environment")
        )
        accept = call.headers.get("accept", "")
        lines = asked_for(accept, JSON_LINES) and not asked_for(accept, EVENT_STREAM)
        form = LINES if lines else EVENTS
        self._happenings.begin()
        after = self._after(call.headers.get("last-event-id", ""))
        begin = None
        if after is None:
            after = self._happenings.ring.last
            begin = self._missed(form, after)
        chunks = self.watchers.watch(self._selection(wanted), form, after=after, begin=begin)
        return Streaming(chunks=chunks, media_type=form.media_type)

    def _selection(self, wanted: Wanted) -> Selection[Happening]:
        def tell(happened: Happening, _: int) -> Shown | None:
            return told(happened, self._api.instance_of) if wanted.fits(happened) else None

        return Selection(wanted, tell)

    def _after(self, last_event_id: str) -> int | None:
        """Where to go on from; None when that is not known here any more."""
        ring = self._happenings.ring
        if not last_event_id:
            return ring.last
        if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= 18):
            return None
        number = int(last_event_id)
        return number if ring.floor <= number <= ring.last else None

    @staticmethod
    def _missed(form: Form, number: int) -> bytes:
        return form.line("reset", str(number), msgspec.json.encode({"reason": FALLEN_BEHIND}))


_DESCRIPTION: Final = """
Server-sent events, or lines of JSON for who accepts `application/x-ndjson`. The first is a
`heartbeat`, at once; another comes whenever nothing was sent for 15 seconds. `slot`: a host's
verdict in an environment is another. `deployment`: one is new, or has got on. `environment`: one is
new, was changed, does better or worse, or is gone. `cluster`: its status, or how well it is known,
is another. Each entry tells what was so then. The last 10,000 are kept while somebody follows, and
for 15 minutes after; who comes back with `Last-Event-ID` goes on where it was. What is not kept any
more is told by a `reset`: list again. A reader that is too slow gets one as the last entry.
"""


def operations(api: Api, *, heartbeat: float = HEARTBEAT) -> list[Operation]:
    """The stream. `heartbeat`: seconds."""
    return [
        Operation(
            method="GET",
            path="/v2/events",
            id="events",
            summary="Stream what happens",
            handle=Events(api, heartbeat=heartbeat).follow,
            description=" ".join(_DESCRIPTION.split()),
            tags=("events",),
            query=(
                Parameter(name="cluster", description="Only of this cluster: a name or an ARN."),
                Parameter(
                    name="environment",
                    description="Only of environments of this name; nothing about clusters then.",
                ),
            ),
            headers=(
                Parameter(
                    name="last-event-id",
                    description="The id of the last event that was received, as browsers send it "
                    "when they connect anew.",
                ),
            ),
            answers={
                200: Returned(
                    description="Events", body=Line, media_type=EVENT_STREAM, also=(JSON_LINES,)
                )
            },
            errors=(400, 503),
        )
    ]
