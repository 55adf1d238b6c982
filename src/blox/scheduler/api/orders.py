"""/v2/freezes, /v2/holds and confirmations: what people tell a scheduler that runs."""

from typing import Final

from msgspec import UnsetType

from blox.base.errors import Conflict, InvalidInput, NotFound
from blox.base.ids import short_id
from blox.http.operations import Answer, Call, Operation, Parameter, Returned
from blox.http.shapes import at
from blox.scheduler.api.bodies_orders import (
    ConfirmationBody,
    FreezeBody,
    FreezesPage,
    HoldBody,
    HoldsPage,
    NewFreeze,
    NewHold,
)
from blox.scheduler.api.context import LIMIT, NEXT_TOKEN, PLACE, Api, answered, listing
from blox.scheduler.api.find import find_host
from blox.scheduler.api.host_paths import in_every_form, reference_of
from blox.scheduler.api.shown import freeze_body, hold_body
from blox.scheduler.model import Freeze, Hold

_TAGS: Final = ("orders",)
_MOST_STOPS: Final = 1_000_000


class Orders:
    """The handlers."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._orders = api.service.orders

    # --- Freezes ----------------------------------------------------------------------------------

    async def freeze(self, call: Call) -> Answer:
        """Start and stop nothing there. The same freeze asked for again is renewed."""
        asked = call.decode(NewFreeze)
        target = self._target(asked)
        made = await self._orders.freeze(asked.scope, target, seconds=asked.seconds, why=asked.why)
        return answered(self._freeze(made), status=201, location=f"/v2/freezes/{made.id}")

    async def list_freezes(self, call: Call) -> Answer:
        """A page of those in force."""
        found = sorted(self._orders.freezes(), key=_age)
        shown = listing(call, found, key=_age, name="v2 freezes")
        items = tuple(self._freeze(freeze) for freeze in shown.items)
        return answered(FreezesPage(items=items, next_token=shown.next_token))

    async def show_freeze(self, call: Call) -> Answer:
        """One of those in force."""
        return answered(self._freeze(self._in_force(call.params["id"])))

    async def thaw(self, call: Call) -> Answer:
        """End one."""
        freeze = self._in_force(call.params["id"])
        await self._orders.thaw((freeze.id,))
        return answered(self._freeze(freeze))

    def _in_force(self, id_: str) -> Freeze:
        for freeze in self._orders.freezes():
            if freeze.id == id_:
                return freeze
        raise NotFound(f"There is no freeze {id_} in force: it has ended, or never was.")

    def _target(self, asked: NewFreeze) -> str:
        """The cluster's ARN or the environment's place, "" for everything. Raises InvalidInput and
        NotFound: a freeze of what nobody knows would protect nothing."""
        given = {
            name
            for name, value in (("cluster", asked.cluster), ("environment", asked.environment))
            if not isinstance(value, UnsetType)
        }
        wanted = {"everything": set(), "cluster": {"cluster"}}.get(
            asked.scope, {"cluster", "environment"}
        )
        if given != wanted:
            needed = " and ".join(sorted(wanted)) or "neither cluster nor environment"
            raise InvalidInput(f"A freeze with the scope {asked.scope} names {needed}.")
        if isinstance(asked.cluster, UnsetType):
            return ""
        if isinstance(asked.environment, UnsetType):
            return self._cluster(asked.cluster)
        name = short_id(asked.cluster)
        environment = self._api.directory.environment(name, asked.environment)
        if asked.cluster not in (name, environment.cluster_arn):
            raise NotFound(f"There is no environment {asked.environment} on {asked.cluster}.")
        return environment.place

    def _cluster(self, reference: str) -> str:
        for arn in self._api.clusters():
            if reference in (arn, short_id(arn)):
                return arn
        raise NotFound(f"No cluster {reference} is watched here.")

    def _freeze(self, freeze: Freeze) -> FreezeBody:
        return freeze_body(freeze)

    # --- Holds ------------------------------------------------------------------------------------

    async def hold(self, call: Call) -> Answer:
        """Leave a host as it is. A former hold of the same host is replaced."""
        asked = call.decode(NewHold)
        seen = find_host(self._api.state.view, self._api.clusters(), asked.host)
        made = await self._orders.hold(seen.host.arn, seconds=asked.seconds, why=asked.why)
        return answered(self._hold(made), status=201)

    async def list_holds(self, call: Call) -> Answer:
        """A page of those in force."""
        found = sorted(self._orders.holds(), key=lambda hold: hold.host_arn)
        shown = listing(call, found, key=lambda hold: hold.host_arn, name="v2 holds")
        items = tuple(self._hold(hold) for hold in shown.items)
        return answered(HoldsPage(items=items, next_token=shown.next_token))

    async def release(self, call: Call) -> Answer:
        """End a host's hold, also of a host that is not there any more."""
        host_arn = self._held(reference_of(call.params))
        return answered(self._hold(await self._orders.release(host_arn)))

    def _held(self, reference: str) -> str:
        named = [
            hold.host_arn
            for hold in self._orders.holds()
            if reference in (hold.host_arn, hold.instance_id, short_id(hold.host_arn))
        ]
        if len(named) == 1:
            return named[0]
        # Of several records of one machine, the one that stands for it.
        return find_host(self._api.state.view, self._api.clusters(), reference).host.arn

    def _hold(self, hold: Hold) -> HoldBody:
        seen = self._api.state.view.host(hold.host_arn)
        if seen is not None:
            return hold_body(hold, seen.host.cluster_arn)
        parts = hold.host_arn.split("/")
        return hold_body(hold, parts[1] if len(parts) > 2 else "")

    # --- Confirmations ----------------------------------------------------------------------------

    async def confirm(self, call: Call) -> Answer:
        """Say that the stops that are held are meant."""
        environment = self._api.environment(call)
        most = call.query.number("stops", low=1, high=_MOST_STOPS, default=_MOST_STOPS)
        tracked = self._api.state.tracked.get(environment.id)
        held = 0 if tracked is None else tracked.guard.held
        if held > most:
            raise Conflict(
                f"{held} stops of {environment.name} are held by now, more than {most}: look at "
                "them again."
            )
        confirmed = await self._orders.confirm(environment)
        return answered(
            ConfirmationBody(
                stops=confirmed.stops, revision=confirmed.revision, until=at(confirmed.until)
            )
        )


def _age(freeze: Freeze) -> str:
    return f"{freeze.created_at:020.6f} {freeze.id}"


def operations(api: Api) -> list[Operation]:
    """Every operation on freezes, holds and confirmations."""
    handlers = Orders(api)
    return [*_freezes(handlers), *_holds(handlers), _confirm(handlers)]


def _freezes(handlers: Orders) -> list[Operation]:
    shown = Returned(description="The freeze", body=FreezeBody)
    one = (Parameter(name="id", description="The freeze's id."),)
    return [
        Operation(
            method="POST",
            path="/v2/freezes",
            id="freeze",
            summary="Start and stop nothing, there and for a while",
            description=(
                "When this is answered, no call leaves any more. Several may be in force; one with "
                "the same scope and the same reason takes the place of the former."
            ),
            handle=handlers.freeze,
            tags=_TAGS,
            body=NewFreeze,
            answers={201: shown},
            errors=(400, 404, 415, 503),
        ),
        Operation(
            method="GET",
            path="/v2/freezes",
            id="listFreezes",
            summary="List the freezes in force",
            handle=handlers.list_freezes,
            tags=_TAGS,
            query=(LIMIT, NEXT_TOKEN),
            answers={200: Returned(description="Oldest first", body=FreezesPage)},
            errors=(400,),
        ),
        Operation(
            method="GET",
            path="/v2/freezes/{id}",
            id="getFreeze",
            summary="Show a freeze in force",
            handle=handlers.show_freeze,
            tags=_TAGS,
            path_parameters=one,
            answers={200: shown},
            errors=(404,),
        ),
        Operation(
            method="DELETE",
            path="/v2/freezes/{id}",
            id="thaw",
            summary="End a freeze",
            handle=handlers.thaw,
            tags=_TAGS,
            path_parameters=one,
            answers={200: Returned(description="The freeze that has ended", body=FreezeBody)},
            errors=(404, 503),
        ),
    ]


def _holds(handlers: Orders) -> list[Operation]:
    return [
        Operation(
            method="POST",
            path="/v2/holds",
            id="holdHost",
            summary="Leave one host as it is, for a while",
            handle=handlers.hold,
            tags=_TAGS,
            body=NewHold,
            answers={201: Returned(description="The hold", body=HoldBody)},
            errors=(400, 404, 415, 503),
        ),
        Operation(
            method="GET",
            path="/v2/holds",
            id="listHolds",
            summary="List the hosts that are held",
            handle=handlers.list_holds,
            tags=_TAGS,
            query=(LIMIT, NEXT_TOKEN),
            answers={200: Returned(description="By the host's ARN", body=HoldsPage)},
            errors=(400,),
        ),
        *in_every_form(
            Operation(
                method="DELETE",
                path="/v2/holds",
                id="releaseHost",
                summary="End a host's hold",
                handle=handlers.release,
                tags=_TAGS,
                answers={200: Returned(description="The hold that has ended", body=HoldBody)},
                errors=(404, 503),
            )
        ),
    ]


def _confirm(handlers: Orders) -> Operation:
    return Operation(
        method="POST",
        path="/v2/environments/{cluster}/{name}/confirmations",
        id="confirmStops",
        summary="Say that the stops that are held are meant",
        description=(
            "Too many hosts that stop matching at once look like a mistake: their daemons are kept "
            "until somebody confirms. It counts for the revision in force, and for an hour."
        ),
        handle=handlers.confirm,
        tags=_TAGS,
        path_parameters=PLACE,
        query=(
            Parameter(
                name="stops",
                description="Confirm only if no more than so many are held.",
                kind="integer",
            ),
        ),
        answers={200: Returned(description="What was confirmed", body=ConfirmationBody)},
        errors=(400, 404, 409, 503),
    )
