"""Beginning, turning and judging migrations, for every API."""

from msgspec.structs import replace

from blox.base.errors import Conflict, InvalidInput, NotFound, Unavailable
from blox.ecs.errors import EcsError
from blox.ecs.model import ACTIVE
from blox.scheduler.migrations import attribute_of
from blox.scheduler.model import Environment, Migration
from blox.scheduler.scheduler import Scheduler

MOST_AT_ONCE = 100


class Takeover:
    """What people ask of migrations."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._state = scheduler.state
        self._repository = scheduler.state.repository

    async def begin(self, environment: Environment, service: str, *, wave: int) -> Migration:
        """From now on only hosts that were moved are the environment's. None is moved before the
        service has its placement constraint.

        Raises InvalidInput, NotFound (no such service), Conflict (it is none that can be taken over
        so, or the environment runs already) and Unavailable (ECS cannot be asked).
        """
        name = service.removeprefix("service/").removeprefix("service:")
        if not 1 <= wave <= MOST_AT_ONCE:
            raise InvalidInput(f"wave {wave}: 1 to {MOST_AT_ONCE} hosts at once are possible.")
        held = self._repository.migration(environment.id)
        if held is not None:
            if held.service == name and not held.back:
                return held
            raise Conflict(
                f"{environment.name} is taking over from service {held.service} already."
            )
        if environment.ending:
            raise Conflict(f"The environment {environment.name} is being deleted.")
        await self._check_service(environment, name)
        if any(task.live for task in self._state.tasks_of(environment)) or self._open(environment):
            raise Conflict(
                f"{environment.name} has daemons of its own on this cluster already. A service is "
                "taken over by an environment that has none: create one for it."
            )
        attribute = attribute_of(environment.name)
        migration = Migration(
            environment_id=environment.id,
            cluster_arn=environment.cluster_arn,
            service=name,
            attribute=attribute,
            wave=wave,
            created_at=self._state.stamp(),
        )
        await self._repository.save_migration(migration, replace(environment, gate=attribute))
        self._scheduler.reconciler.track(environment.id)
        return migration

    def _open(self, environment: Environment) -> bool:
        return any(
            attempt.intent.environment_id == environment.id
            for attempt in self._state.book.unsettled()
        )

    async def turn(self, environment: Environment, *, back: bool) -> Migration:
        """Give the hosts back to the service, or go on moving them. Raises NotFound, Conflict."""
        migration = self.of(environment)
        if migration.done:
            raise Conflict(f"The service {migration.service} is gone; there is no way back to it.")
        if migration.back == back:
            return migration
        after = replace(migration, back=back)
        await self._repository.save_migration(after)
        return after

    def of(self, environment: Environment) -> Migration:
        """The environment's. Raises NotFound."""
        migration = self._repository.migration(environment.id)
        if migration is None:
            raise NotFound(f"{environment.name} takes over from no service.")
        return migration

    async def _check_service(self, environment: Environment, name: str) -> None:
        try:
            read = await self._state.reads.describe_services(environment.cluster_arn, [name])
        except EcsError as error:
            raise Unavailable(
                f"ECS cannot be asked about the service {name}: {error.message}"
            ) from error
        service = next((s for s in read.items if s.status == ACTIVE), None)
        if service is None:
            raise NotFound(f"There is no active service {name} on this cluster.")
        if service.scheduling_strategy != "DAEMON":
            raise Conflict(
                f"The service {name} has the strategy {service.scheduling_strategy}. Only a DAEMON "
                "service leaves a host because of the host's attributes."
            )
