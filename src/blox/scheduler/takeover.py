"""Beginning, turning, ending and judging migrations, for every API."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from msgspec.structs import replace

from blox.base.errors import Conflict, InvalidInput, NotFound, Unavailable
from blox.base.ids import short_id
from blox.ecs.errors import EcsError, EcsRefused
from blox.ecs.model import ACTIVE, ServiceDocument
from blox.scheduler.migrations import (
    MOST_CONSTRAINTS,
    attribute_of,
    constrained,
    constraints_of,
)
from blox.scheduler.model import LEAVING, MOVED, Environment, Gaps, Migration
from blox.scheduler.scheduler import Scheduler
from blox.scheduler.sight import has_ours
from blox.scheduler.slots import of_service

MOST_AT_ONCE: Final = 100
_SERVICE: Final = re.compile(r"[a-zA-Z0-9\-_]{1,255}\Z")
_GONE: Final = ("ServiceNotFoundException", "ServiceNotActiveException")


class WouldStrand(Conflict):
    """Without the environment, hosts would have neither its daemon nor the service's."""


class Takeover:
    """What people ask of migrations."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._state = scheduler.state
        self._repository = scheduler.state.repository

    async def begin(self, environment: Environment, service: str, *, wave: int) -> Migration:
        """From now on only hosts that were moved are the environment's. None is moved before the
        service has its placement constraint. For a migration that goes on, only the wave changes.

        Raises InvalidInput, NotFound (no such service), Conflict (it is none that can be taken over
        so, or the environment runs elsewhere) and Unavailable (ECS cannot be asked).
        """
        name = service_name(service)
        check_wave(wave)
        if self._repository.migration(environment.id) is not None:
            return await self._go_on(environment, name, wave)
        found = await self.service(environment.cluster_arn, name)
        _check_service(found, attribute_of(environment.name))
        # Asking took a while: what is stored is made from what is true now.
        environment = self._live(environment)
        self._check_free(environment, name)
        self._check_daemons(environment)
        attribute = attribute_of(environment.name)
        migration = Migration(
            environment_id=environment.id,
            cluster_arn=environment.cluster_arn,
            service=name,
            attribute=attribute,
            wave=wave,
            created_at=self._state.stamp(),
        )
        gated = replace(environment, gate=attribute, gate_service=name)
        await self._repository.save_migration(migration, gated)
        self._scheduler.reconciler.track(environment.id)
        return migration

    async def _go_on(self, environment: Environment, service: str, wave: int) -> Migration:
        held = self.of(environment)
        if held.service != service:
            raise Conflict(
                f"{environment.name} is taking over from service {held.service} already."
            )
        if held.back:
            raise Conflict(
                f"{environment.name} is giving its hosts back to service {service}; turn round "
                "first if that is not meant."
            )
        return await self.change(environment, wave=wave)

    async def change(
        self, environment: Environment, *, back: bool | None = None, wave: int | None = None
    ) -> Migration:
        """Give the hosts back to the service, or go on moving them; or more or fewer at once.
        Raises InvalidInput, NotFound, Conflict (there is no way back any more)."""
        if wave is not None:
            check_wave(wave)
        held = self.of(environment)
        after = replace(
            held,
            back=held.back if back is None else back,
            wave=held.wave if wave is None else wave,
        )
        if after == held:
            return held
        if after.back != held.back:
            after = replace(after, **{"returned" if after.back else "there": Gaps()})
        if held.done:
            raise Conflict(
                f"The service {held.service} is gone and {environment.name} has every host; there "
                "is no way back to it."
            )
        await self._repository.save_migration(after)
        return after

    async def finish(self, environment: Environment) -> None:
        """Say that the service is gone: the environment takes every host now. Or, while no host
        was ever marked and nothing is deployed, that it was not meant.

        Raises NotFound, Conflict (the service is there, or hosts are marked) and Unavailable.
        """
        migration = self.of(environment)
        if migration.done:
            return
        gone = await self._is_gone(migration)
        environment = self._live(environment)
        migration = self.of(environment)
        migrator = self._scheduler.migrator
        if gone:
            await migrator.take_all(environment.id)
            return
        if self._state.deployment_in_force(environment) is not None or migration.turns:
            raise Conflict(
                f"The service {migration.service} is there. Delete it (aws ecs delete-service) and "
                f"{environment.name} has every host; or give the hosts back and delete "
                f"{environment.name}."
            )
        with self.nobody_left_alone(environment):
            await migrator.forget(environment.id)

    async def _is_gone(self, migration: Migration) -> bool:
        """Whether the service is gone. Where ECS may not be asked, the person's word counts, unless
        its tasks are seen."""
        try:
            found = await self.service(migration.cluster_arn, migration.service)
        except NotFound:
            return True
        except Unavailable as error:
            cause = error.__cause__
            if not (isinstance(cause, EcsRefused) and cause.denied):
                raise
            tasks = sum(
                task.wanted_by_ecs and of_service(task, migration.service)
                for task in self._state.tasks_in(migration.cluster_arn)
            )
            if tasks:
                raise Conflict(
                    f"{tasks} tasks of service {migration.service} run: it is not gone, and ECS "
                    f"does not let us ask about it: {cause.reason}"
                ) from error
            return True
        return found.status != ACTIVE

    def of(self, environment: Environment) -> Migration:
        """The environment's. Raises NotFound."""
        migration = self._repository.migration(environment.id)
        if migration is None:
            raise NotFound(f"{environment.name} takes over from no service.")
        return migration

    # --- What ECS says ----------------------------------------------------------------------------

    async def service(self, cluster: str, name: str) -> ServiceDocument:
        """A service as ECS shows it, one that is being deleted included. `cluster`: name or ARN.
        Raises NotFound, InvalidInput and Unavailable."""
        name = service_name(name)
        try:
            read = await self._state.reads.describe_services(cluster, [name])
        except EcsError as error:
            raise _unanswered(error, name, cluster) from error
        found = next((s for s in read.items if s.status != "INACTIVE"), None)
        if found is None:
            raise NotFound(f"There is no service {name} on the cluster {short_id(cluster)}.")
        return found

    # --- Deleting ---------------------------------------------------------------------------------

    @contextmanager
    def nobody_left_alone(self, environment: Environment) -> Iterator[None]:
        """Delete the environment inside. A host that is marked has no daemon of the service: no
        host may be marked, nor be marked meanwhile. Raises WouldStrand where one is, or may be."""
        migration = self._repository.migration(environment.id)
        if migration is not None and migration.done:
            yield  # No service minds the marks any more.
            return
        self._check_unmarked(environment, migration)
        with self._scheduler.migrator.halted(environment.id):
            yield

    def _check_unmarked(self, environment: Environment, migration: Migration | None) -> None:
        place = f"{short_id(environment.cluster_arn)}/{environment.name}"
        attribute = attribute_of(environment.name)
        cluster = self._state.view.cluster(environment.cluster_arn)
        if migration is not None:
            why = self._scheduler.migrator.unsure(environment.id)
            moved = bool(migration.turns or migration.arrived)
            unknown = self._state.unknown(environment.cluster_arn)
            if moved and unknown and cluster is not None and cluster.status == ACTIVE:
                why = f"its cluster {unknown}"
            if moved and why:
                raise WouldStrand(
                    f"{place} takes over from service {migration.service}, and which hosts are "
                    f"marked is not certain now ({why}). Try again in a moment."
                )
        marked = sum(
            seen.host.attributes.get(attribute) in (MOVED, LEAVING)
            for seen in self._state.view.hosts(environment.cluster_arn)
        )
        if not marked:
            return
        if migration is None:
            raise WouldStrand(
                f"{marked} hosts have the attribute {attribute}, which keeps a service away that "
                f"{place} was to replace: without {place} nobody would run there. Take the "
                "attribute from them (aws ecs delete-attributes), or begin the migration again and "
                "go back."
            )
        raise WouldStrand(
            f"{place} is taking over from service {migration.service} and has {marked} hosts on "
            "which that service does not run: without it nobody would. Give them back first: blox "
            f"migrate service/{migration.service} --to {place} --back. Or delete the service, and "
            "the migration ends by itself."
        )

    # --- Checks -----------------------------------------------------------------------------------

    def _live(self, environment: Environment) -> Environment:
        """As it is now. Raises NotFound and Conflict."""
        found = self._repository.environment(environment.id)
        if found is None or found.deleted_at is not None:
            raise NotFound(f"There is no environment {environment.name} any more.")
        if found.ending:
            raise Conflict(f"The environment {environment.name} is being deleted.")
        return found

    def _check_free(self, environment: Environment, service: str) -> None:
        """One service is replaced by one environment at a time."""
        for other in self._repository.migrations():
            if other.environment_id == environment.id:
                raise Conflict(f"{environment.name} is taking over from a service already.")
            if (other.cluster_arn, other.service) == (environment.cluster_arn, service):
                owner = self._repository.environment(other.environment_id)
                name = "another environment" if owner is None else owner.name
                raise Conflict(f"{name} is taking over from service {service} already.")

    def _check_daemons(self, environment: Environment) -> None:
        """Daemons of the environment run only where a former migration, whose record is lost, left
        its mark: anywhere else the service would come back beside them."""
        unknown = self._state.unknown(environment.cluster_arn)
        if unknown:
            raise Conflict(
                f"The cluster {short_id(environment.cluster_arn)} {unknown}; try again in a moment."
            )
        attribute = attribute_of(environment.name)
        elsewhere = sum(
            attribute not in seen.host.attributes
            and has_ours(self._state, environment, seen.host.arn)
            for seen in self._state.view.hosts(environment.cluster_arn)
        )
        if elsewhere:
            raise Conflict(
                f"{environment.name} has daemons of its own on {elsewhere} hosts already. A "
                "service is taken over by an environment that has none: create one for it."
            )


def service_name(reference: str) -> str:
    """The name in `service/NAME`, `service:NAME`, an ARN or a plain name. Raises InvalidInput."""
    name = reference.rsplit("/", 1)[-1].removeprefix("service:")
    if _SERVICE.match(name) is None:
        raise InvalidInput(f"{reference!r} names no service: service/NAME is needed.")
    return name


def check_wave(wave: int) -> None:
    """Raises InvalidInput."""
    if not 1 <= wave <= MOST_AT_ONCE:
        raise InvalidInput(f"wave {wave}: 1 to {MOST_AT_ONCE} hosts at once are possible.")


def _check_service(service: ServiceDocument, attribute: str) -> None:
    name = service.service_name
    if service.status != ACTIVE:
        raise Conflict(
            f"The service {name} is {service.status}: it stops its tasks by itself, and there is "
            "nothing to take over. Deploy the environment without a migration."
        )
    if service.scheduling_strategy != "DAEMON":
        raise Conflict(
            f"The service {name} has the strategy {service.scheduling_strategy}. Only a DAEMON "
            "service leaves a host because of the host's attributes."
        )
    full = len(constraints_of(service)) >= MOST_CONSTRAINTS
    if full and not constrained(service, attribute):
        raise Conflict(
            f"The service {name} has {MOST_CONSTRAINTS} placement constraints, the most that ECS "
            "allows: join two of them with `and`, so that there is room for one more."
        )


def _unanswered(error: EcsError, service: str, cluster: str) -> NotFound | Unavailable:
    if isinstance(error, EcsRefused):
        if error.code == "ClusterNotFoundException":
            return NotFound(f"The cluster {short_id(cluster)} does not exist.")
        if error.code in _GONE:
            return NotFound(f"There is no service {service} on the cluster {short_id(cluster)}.")
        if error.denied:
            return Unavailable(
                f"ECS denies us ecs:DescribeServices, so the service {service} cannot be looked "
                f"at: {error.reason}"
            )
    return Unavailable(f"ECS cannot be asked about the service {service} now: {error.message}")
