"""/v2/…/migration: taking over from a DAEMON service; /v2/services: what such a service is."""

from collections.abc import Sequence
from typing import Final

from msgspec import UnsetType
from msgspec.structs import replace

from blox.base.errors import InvalidInput
from blox.base.ids import is_cluster_reference, short_id
from blox.ecs.model import ServiceDocument
from blox.http.operations import MERGE_PATCH, Answer, Call, Operation, Parameter, Returned
from blox.http.shapes import at
from blox.http.texts import INVALID_CLUSTER
from blox.scheduler.api.bodies import HostName
from blox.scheduler.api.bodies_migrations import (
    ArrivalBody,
    ConstraintBody,
    EndedMigration,
    GapsBody,
    MigrationPatch,
    MigrationReport,
    NeededConstraint,
    NewMigration,
    PlacesBody,
    ServiceBody,
    UnmovableBody,
)
from blox.scheduler.api.context import CLUSTER, PLACE, Api, answered, path_of
from blox.scheduler.api.shown import migration_body
from blox.scheduler.commands import delete_service, update_constraints
from blox.scheduler.gaps import Arrival
from blox.scheduler.migrations import (
    PLACES,
    Step,
    constrained,
    constraint_of,
    constraints_of,
    with_ours,
    without_ours,
)
from blox.scheduler.model import Environment, Gaps, Migration
from blox.scheduler.moves import MigrationSeen
from blox.scheduler.phases import PHASES, phase_sentence, phase_step

_TAGS: Final = ("migrations",)
_HOSTS_NAMED: Final = 100


class Migrations:
    """The handlers."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._takeover = api.service.takeover

    async def service(self, call: Call) -> Answer:
        """A service, asked of ECS now."""
        cluster = call.params["cluster"]
        if not is_cluster_reference(cluster):
            raise InvalidInput(INVALID_CLUSTER)
        found = await self._takeover.service(cluster, call.params["service"])
        return answered(
            ServiceBody(
                name=found.service_name,
                arn=found.service_arn,
                cluster=short_id(cluster),
                status=found.status,
                strategy=found.scheduling_strategy,
                task_definition=found.task_definition,
                desired=found.desired_count,
                running=found.running_count,
                pending=found.pending_count,
                placement_constraints=tuple(
                    ConstraintBody(type=c.type or "", expression=c.expression or "")
                    for c in constraints_of(found)
                ),
            )
        )

    async def begin(self, call: Call) -> Answer:
        """From now on, only hosts that were moved are the environment's."""
        asked = call.decode(NewMigration)
        environment = self._api.environment(call)
        held = self._api.repository.migration(environment.id)
        migration = await self._takeover.begin(environment, asked.service, wave=asked.wave)
        service = await self._takeover.service(environment.cluster_arn, migration.service)
        return self._shown(
            self._api.environment(call),
            service=service,
            status=200 if held is not None else 201,
            location=f"{path_of(environment)}/migration",
        )

    async def show(self, call: Call) -> Answer:
        """How it goes."""
        return self._shown(self._api.environment(call))

    async def change(self, call: Call) -> Answer:
        """Turn round, or move more or fewer hosts at once."""
        asked = call.decode(MigrationPatch)
        await self._takeover.change(
            self._api.environment(call),
            back=None if isinstance(asked.back, UnsetType) else asked.back,
            wave=None if isinstance(asked.wave, UnsetType) else asked.wave,
        )
        return self._shown(self._api.environment(call))

    async def finish(self, call: Call) -> Answer:
        """The service is gone, or it was not meant."""
        environment = self._api.environment(call)
        migration = self._takeover.of(environment)
        await self._takeover.finish(environment)
        left = self._api.repository.migration(environment.id)
        body = EndedMigration(
            environment=environment.name,
            cluster=short_id(environment.cluster_arn),
            service=migration.service,
            state="ended" if left is None else "ending",
        )
        return answered(body, status=200 if left is None else 202)

    # --- What is shown ----------------------------------------------------------------------------

    def _shown(
        self,
        environment: Environment,
        *,
        service: ServiceDocument | None = None,
        status: int = 200,
        **headers: str,
    ) -> Answer:
        """`service`: as ECS has just shown it."""
        migration = self._takeover.of(environment)
        seen = self._api.scheduler.migrator.seen(environment.id)
        if seen is None:
            seen = MigrationSeen(migration=migration, step=Step(phase="unread"), service=service)
        elif seen.migration.back != migration.back:  # Nobody has looked since it turned round.
            turned = Step(phase="giving-back" if migration.back else "moving")
            seen = replace(seen, step=turned, details={**seen.details, "busy": "0"})
        return answered(self._report(environment, migration, seen), status=status, **headers)

    def _report(
        self, environment: Environment, migration: Migration, seen: MigrationSeen
    ) -> MigrationReport:
        """The record as it is now, and the last look at the hosts."""
        cluster = short_id(environment.cluster_arn)
        phase = seen.step.phase
        shown = migration_body(migration)
        return MigrationReport(
            **{name: getattr(shown, name) for name in shown.__struct_fields__},
            environment=environment.name,
            cluster=cluster,
            phase=phase,
            sentence=phase_sentence(phase, seen.details),
            who=PHASES[phase].who,
            next_step=phase_step(phase, seen.details),
            at_once=seen.limit or migration.wave,
            constraint=_needed(cluster, migration, seen.service),
            delete_command=delete_service(cluster, migration.service),
            places=PlacesBody(hosts=sum(seen.places.values()), **_places(seen)),
            unmovable=self._unmovable(seen),
            without=seen.without,
            arrived=migration.arrived,
            there=self._gaps(migration.there),
            returned=self._gaps(migration.returned),
            arrivals=tuple(map(self._arrival, seen.arrivals)),
            problem=seen.problem,
        )

    def _host(self, arn: str) -> HostName:
        return HostName(instance_id=self._api.instance_of(arn), arn=arn)

    def _gaps(self, gaps: Gaps) -> GapsBody:
        mean = gaps.total / gaps.measured if gaps.measured else 0.0
        return GapsBody(
            hosts=gaps.hosts,
            measured=gaps.measured,
            worst_seconds=round(gaps.worst, 3),
            worst_host=self._host(gaps.worst_host) if gaps.worst_host else None,
            mean_seconds=round(mean, 3),
            total_seconds=round(gaps.total, 3),
            hosts_with_two=gaps.twos,
        )

    def _arrival(self, arrival: Arrival) -> ArrivalBody:
        return ArrivalBody(
            number=arrival.number,
            host=self._host(arrival.host),
            back=arrival.back,
            gap_seconds=None if arrival.gap is None else round(arrival.gap, 3),
            two=arrival.two,
            at=at(arrival.at),
        )

    def _unmovable(self, seen: MigrationSeen) -> tuple[UnmovableBody, ...]:
        groups: dict[tuple[str, str], list[str]] = {}
        for host, why in seen.unmovable.items():
            groups.setdefault((why.code, why.sentence), []).append(host)
        return tuple(
            UnmovableBody(
                code=code,
                sentence=sentence,
                count=len(hosts),
                hosts=tuple(self._host(host) for host in hosts[:_HOSTS_NAMED]),
            )
            for (code, sentence), hosts in sorted(
                groups.items(), key=lambda group: (-len(group[1]), group[0])
            )
        )


def _places(seen: MigrationSeen) -> dict[str, int]:
    return {place: seen.places.get(place, 0) for place in PLACES}


def _needed(
    cluster: str, migration: Migration, service: ServiceDocument | None
) -> NeededConstraint:
    command = undo = ""
    if service is not None:
        name, mark = migration.service, migration.attribute
        command = update_constraints(cluster, name, with_ours(service, mark))
        undo = update_constraints(cluster, name, without_ours(service, mark))
    return NeededConstraint(
        expression=constraint_of(migration.attribute),
        present=service is not None and constrained(service, migration.attribute),
        command=command,
        undo_command=undo,
    )


_PATH: Final = "/v2/environments/{cluster}/{name}/migration"


def operations(api: Api) -> list[Operation]:
    """Every operation on migrations."""
    handlers = Migrations(api)
    return [_service(handlers), *_changing(handlers), _finish(handlers)]


def _service(handlers: Migrations) -> Operation:
    return Operation(
        method="GET",
        path="/v2/services/{cluster}/{service}",
        id="getService",
        summary="Show a service of ECS",
        description="Asked of ECS now. A service that was deleted is not found.",
        handle=handlers.service,
        tags=_TAGS,
        path_parameters=(CLUSTER, Parameter(name="service", description="The service's name.")),
        answers={200: Returned(description="The service", body=ServiceBody)},
        errors=(400, 404, 503),
    )


def _changing(handlers: Migrations) -> Sequence[Operation]:
    shown = Returned(description="How it goes", body=MigrationReport)
    return [
        Operation(
            method="POST",
            path=_PATH,
            id="beginMigration",
            summary="Take over from a DAEMON service, host by host",
            description=(
                "From now on only hosts that were moved are the environment's. None is moved "
                "before the service has the placement constraint that `constraint.command` gives "
                "it, and before the environment is deployed. Asked for again, only the wave "
                "changes."
            ),
            handle=handlers.begin,
            tags=_TAGS,
            path_parameters=PLACE,
            body=NewMigration,
            answers={
                201: shown,
                200: Returned(description="It goes on", body=MigrationReport),
            },
            errors=(400, 404, 409, 415, 503),
        ),
        Operation(
            method="GET",
            path=_PATH,
            id="getMigration",
            summary="Show how taking over from a service goes",
            handle=handlers.show,
            tags=_TAGS,
            path_parameters=PLACE,
            answers={200: shown},
            errors=(404,),
        ),
        Operation(
            method="PATCH",
            path=_PATH,
            id="changeMigration",
            summary="Give hosts back to the service, or go on; or change the wave",
            handle=handlers.change,
            tags=_TAGS,
            path_parameters=PLACE,
            body=MigrationPatch,
            body_type=MERGE_PATCH,
            answers={200: shown},
            errors=(400, 404, 409, 415, 503),
        ),
    ]


def _finish(handlers: Migrations) -> Operation:
    return Operation(
        method="DELETE",
        path=_PATH,
        id="finishMigration",
        summary="Say that the service is gone, or that the migration was not meant",
        description=(
            "A service that is gone is noticed by itself; this is for those that ECS does not let "
            "us ask about. Where nothing was deployed and no host is marked, the migration is "
            "forgotten."
        ),
        handle=handlers.finish,
        tags=_TAGS,
        path_parameters=PLACE,
        answers={
            200: Returned(description="It is forgotten", body=EndedMigration),
            202: Returned(description="Every host is the environment's", body=EndedMigration),
        },
        errors=(404, 409, 503),
    )
