"""The scheduler's decisions, in memory and in the store.

Everything is read once, at start; from then on reads are answered from memory. Each method that
changes something is one transaction, which compares the revisions that were known when it was
called, and memory changes only after the store has said that it is applied. So compute a change
from what you read here without awaiting in between, or say with `was` what you computed it from: a
change that somebody else made meanwhile then raises Conflict and is never overwritten.

A transaction goes on when its caller is cancelled, so that memory learns what the store has. One
whose outcome the store does not know is read back; if that fails too, StoreUnknown is raised and
its keys are read again before the next transaction.

The cost: two transactions for each start call (open, settle), none for a host, none at rest.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from blox.base.errors import Conflict, InvalidInput, NotFound
from blox.ecs.model import Task
from blox.scheduler.model import (
    Deployment,
    DeploymentStatus,
    Environment,
    Freeze,
    Hold,
    Intent,
    Migration,
    Settled,
)
from blox.scheduler.records import Clean, Copied, Name
from blox.scheduler.writer import Writer
from blox.store import keys
from blox.store.port import ABSENT, Store

DEPLOYMENTS_KEPT: Final = 50
_SETTLE_ATTEMPTS: Final = 5


class Loaded(Struct, frozen=True):
    """Everything that was stored, tombstones included."""

    environments: tuple[Environment, ...]
    deployments: tuple[Deployment, ...]
    intents: tuple[Intent, ...]
    clean: bool
    """The last owner left with nothing open (`mark_clean`)."""


class Repository(Writer):
    """For one owner of the store: what others write is noticed only when it gets in the way.

    Every changing method may raise StoreUnavailable (nothing happened), StoreUnknown (nobody knows
    what happened) and Conflict (something else happened first; nothing was written).
    """

    def __init__(self, store: Store, *, deployments_kept: int = DEPLOYMENTS_KEPT) -> None:
        super().__init__(store)
        self._kept = max(1, deployments_kept)

    async def load(self) -> Loaded:
        """Read everything. Raises StoreRefused, naming the key, for what cannot be read."""
        clean = await self.read_all()
        records = self.records
        environments = records.live() + records.tombstones()
        return Loaded(
            environments=environments,
            deployments=tuple(d for e in environments for d in records.deployments(e.id)),
            intents=records.intents(),
            clean=clean,
        )

    # --- Reads, from memory -----------------------------------------------------------------------

    def environments(self) -> tuple[Environment, ...]:
        """The live ones, by cluster, then name."""
        return self.records.live()

    def environment(self, environment_id: str) -> Environment | None:
        """Live or tombstone."""
        return self.records.environment(environment_id)

    def find(self, cluster_arn: str, name: str) -> Environment | None:
        """The live environment of this name."""
        return self.records.find(cluster_arn, name)

    def named(self, name: str) -> list[Environment]:
        """The live environments of this name on every cluster, by cluster."""
        return [environment for environment in self.records.live() if environment.name == name]

    def tombstones(self) -> tuple[Environment, ...]:
        """Deleted environments that are not yet forgotten, by cluster, then name."""
        return self.records.tombstones()

    def deployments(self, environment_id: str) -> tuple[Deployment, ...]:
        """Those that are kept, newest first."""
        return self.records.deployments(environment_id)

    def deployment(self, deployment_id: str) -> Deployment | None:
        """None when it is unknown, or no longer kept."""
        return self.records.deployment(deployment_id)

    def newest_deployment(self, environment_id: str) -> Deployment | None:
        """The one with the highest sequence, whatever its status."""
        return self.records.newest_deployment(environment_id)

    def intents(self) -> tuple[Intent, ...]:
        """Open and retained ones, in the order in which they became known."""
        return self.records.intents()

    def intent(self, intent_id: str) -> Intent | None:
        """None when it was dropped, or never opened."""
        return self.records.intent(intent_id)

    def freezes(self) -> tuple[Freeze, ...]:
        """Oldest first; those that are over included."""
        return self.records.freezes()

    def hold(self, host_arn: str, instance_id: str = "") -> Hold | None:
        """The host's or its machine's, over or not."""
        return self.records.hold(host_arn, instance_id)

    def deployed_by(self, deployment_id: str) -> Environment | None:
        """The environment or tombstone that had this deployment."""
        return self.records.deployed_by(deployment_id)

    def owner(self, task: Task) -> Environment | None:
        """The environment or tombstone that has adopted the task, or whose deployment it names."""
        return self.records.owner(task)

    @property
    def orders(self) -> int:
        """Grows with each freeze and hold that is made or taken back."""
        return self.records.orders

    def holds(self) -> tuple[Hold, ...]:
        """By host; those that are over included."""
        return self.records.holds()

    def migration(self, environment_id: str) -> Migration | None:
        """The replacement of a DAEMON service by this environment."""
        return self.records.migration(environment_id)

    def migrations(self) -> tuple[Migration, ...]:
        """By environment."""
        return self.records.migrations()

    # --- Environments -----------------------------------------------------------------------------

    async def create_environment(
        self,
        environment: Environment,
        *,
        instead_of: Sequence[Environment] = (),
        unless: Callable[[], str] = lambda: "",
    ) -> None:
        """`instead_of`: tombstones whose tasks it takes over; they are forgotten with it. `unless`:
        as for `replace_environment`. Raises Conflict when a live environment of its cluster has its
        name."""
        name_key = keys.name(environment.cluster_arn, environment.name)
        key = keys.environment(environment.id)
        conflict = (
            f"An environment named {environment.name} exists already on {environment.cluster_arn}."
        )
        if self.find(environment.cluster_arn, environment.name) is not None:
            raise Conflict(conflict)
        compares = {name_key: ABSENT, key: ABSENT}
        writes: dict[str, Struct | None] = {name_key: Name(environment.id), key: environment}
        for tombstone in instead_of:
            held = self.environment(tombstone.id)
            if held is None or held != tombstone:
                raise Conflict("What an environment of this name left has changed; try again.")
            compares[keys.environment(held.id)] = self.records.revision(keys.environment(held.id))
            gone = [keys.deployment(held.id, d.sequence) for d in self.deployments(held.id)]
            writes |= dict.fromkeys((keys.environment(held.id), *gone))
        await self.change(compares, writes, conflict, unless)

    async def replace_environment(
        self,
        environment: Environment,
        *,
        was: Environment | None = None,
        unless: Callable[[], str] = lambda: "",
    ) -> None:
        """Store a changed environment or tombstone under its id.

        `was`: what the change was computed from; default: what is known at this call. Its name,
        cluster and deletion cannot change here. `unless()`: asked when nothing can come in between
        any more; what it says, if anything, is raised as Conflict.
        """
        held = self._held_environment(environment.id, was)
        if _identity(held) != _identity(environment):
            raise InvalidInput("An environment's name, cluster and deletion do not change so.")
        key = keys.environment(environment.id)
        await self.change({key: self.records.revision(key)}, {key: environment}, unless=unless)

    async def delete_environment(
        self, tombstone: Environment, *, was: Environment | None = None
    ) -> None:
        """Store the environment as deleted (`deleted_at` is set); its name is free again."""
        held = self._held_environment(tombstone.id, was)
        if tombstone.deleted_at is None:
            raise InvalidInput("A tombstone needs the time of the deletion.")
        if held.deleted_at is not None:
            raise Conflict(f"The environment {held.name} is deleted already.")
        key = keys.environment(tombstone.id)
        await self.change(
            {key: self.records.revision(key)},
            {
                key: tombstone,
                keys.name(held.cluster_arn, held.name): None,
                keys.migration(held.id): None,
            },
        )

    async def forget_environment(self, environment_id: str) -> None:
        """Delete a tombstone and its deployments. Intents stay: they end by themselves (R20).

        Raises Conflict for a live environment; does nothing when it is forgotten already.
        """
        held = self.environment(environment_id)
        if held is None:
            return
        if held.deleted_at is None:
            raise Conflict(f"The environment {held.name} is not deleted.")
        key = keys.environment(environment_id)
        gone = [keys.deployment(environment_id, d.sequence) for d in self.deployments(held.id)]
        await self.change({key: self.records.revision(key)}, dict.fromkeys((key, *gone)), None)

    # --- Deployments ------------------------------------------------------------------------------

    async def create_deployment(
        self,
        deployment: Deployment,
        environment_after: Environment,
        superseded: Deployment | None = None,
        *,
        was: Environment | None = None,
    ) -> None:
        """Store a new deployment, its environment's new state and the one that it supersedes.

        Deployments beyond the newest 50 are deleted with it, but never the newest that was not
        stopped, because it says what should run. Their ids stay in the environment (R10).
        """
        held = self._held_environment(environment_after.id, was)
        if held.deleted_at is not None:
            raise Conflict(f"The environment {held.name} is deleted.")
        if (
            _identity(held) != _identity(environment_after)
            or deployment.environment_id != environment_after.id
        ):
            raise InvalidInput("A deployment changes neither name nor cluster, and only its own.")
        key = keys.environment(held.id)
        new = keys.deployment(held.id, deployment.sequence)
        compares = {key: self.records.revision(key), new: ABSENT}
        writes: dict[str, Struct | None] = dict.fromkeys(self._outdated(deployment))
        writes |= {key: environment_after, new: deployment}
        if superseded is not None:
            old = keys.deployment(held.id, superseded.sequence)
            compares[old] = self._held_deployment(superseded)
            writes[old] = superseded
        await self.change(compares, writes)

    async def save_deployment(self, deployment: Deployment) -> None:
        """Store a deployment's new state. Raises NotFound when it is not kept any more."""
        revision = self._held_deployment(deployment)
        key = keys.deployment(deployment.environment_id, deployment.sequence)
        await self.change({key: revision}, {key: deployment})

    def _outdated(self, new: Deployment) -> list[str]:
        """Keys of the deployments that `new` pushes out."""
        history = self.deployments(new.environment_id)
        target = next((d for d in history if d.status != DeploymentStatus.STOPPED), None)
        return [
            keys.deployment(d.environment_id, d.sequence)
            for d in history[self._kept - 1 :]
            if d is not target
        ]

    # --- Intents ----------------------------------------------------------------------------------

    async def open_intent(self, intent: Intent, *, drop: Sequence[str] = ()) -> None:
        """Make an intent durable, before its call is signed (R1), and delete those in `drop`.

        Raises Conflict unless its environment is live and still as it was when this was called: a
        change or deletion that was acknowledged first binds the start. When it raises anything, the
        call must not be sent; an intent that may be stored all the same is then deleted by the next
        transaction.
        """
        held = self.environment(intent.environment_id)
        if held is None or held.deleted_at is not None:
            raise Conflict("The environment of this start has been deleted.")
        environment, key = keys.environment(held.id), keys.intent(intent.id)
        compares = {environment: self.records.revision(environment), key: ABSENT}
        writes: dict[str, Struct | None] = {keys.intent(id_): None for id_ in drop}
        try:
            await self.change(compares, writes | {key: intent})
        except asyncio.CancelledError:
            self.abandon(key)
            raise

    async def settle_intent(self, intent: Intent, *, drop: Sequence[str] = ()) -> Intent:
        """Store what is known about an intent's hosts, and delete those in `drop`.

        Outcomes stored meanwhile by others are kept: the two are merged, and a task that was seen
        is never unseen. Returns what is stored. Raises Conflict when the intent is gone.
        """
        key = keys.intent(intent.id)
        dropped: dict[str, Struct | None] = {keys.intent(id_): None for id_ in drop}
        for _ in range(_SETTLE_ATTEMPTS):
            held = self.intent(intent.id)
            if held is None:
                break
            merged = _merged(held, intent)
            if merged == held and not drop:
                return held
            try:
                await self.change({key: self.records.revision(key)}, dropped | {key: merged})
            except Conflict:
                continue
            return merged
        raise Conflict(f"The intent {intent.id} is not stored any more, or changes all the time.")

    async def drop_intents(self, ids: Sequence[str]) -> None:
        """Delete intents, in one transaction; none if there is nothing to delete."""
        known = [keys.intent(id_) for id_ in ids if self.intent(id_) is not None]
        if known:
            await self.change({}, dict.fromkeys(known))

    # --- What people ask for a while --------------------------------------------------------------

    async def freeze(self, freeze: Freeze, *, instead_of: Sequence[str] = ()) -> None:
        """Store a freeze under its id, and delete those that it replaces."""
        former: dict[str, Struct | None] = {keys.freeze(id_): None for id_ in instead_of}
        await self.change({}, former | {keys.freeze(freeze.id): freeze})

    async def thaw(self, ids: Sequence[str]) -> None:
        """Delete these freezes, in one transaction."""
        known = {freeze.id for freeze in self.freezes()}
        gone = [keys.freeze(id_) for id_ in ids if id_ in known]
        if gone:
            await self.change({}, dict.fromkeys(gone))

    async def hold_host(self, hold: Hold) -> None:
        """Store a host's hold; it replaces a former one."""
        await self.change({}, {keys.hold(hold.host_arn): hold})

    async def release_hosts(self, hosts: Sequence[str]) -> None:
        """Delete these hosts' holds, in one transaction."""
        held = [keys.hold(host) for host in hosts if self.hold(host) is not None]
        if held:
            await self.change({}, dict.fromkeys(held))

    async def save_migration(
        self, migration: Migration, environment: Environment | None = None
    ) -> None:
        """Store a migration's state, and with it its environment's if that changes."""
        key = keys.migration(migration.environment_id)
        compares = {key: self.records.revision(key)}
        writes: dict[str, Struct | None] = {key: migration}
        self._with_environment(environment, compares, writes)
        await self.change(compares, writes)

    async def end_migration(self, environment: Environment) -> None:
        """Delete the migration to this environment, and store the environment as it is after."""
        key = keys.migration(environment.id)
        compares = {key: self.records.revision(key)}
        writes: dict[str, Struct | None] = {key: None}
        self._with_environment(environment, compares, writes)
        await self.change(compares, writes)

    def _with_environment(
        self,
        environment: Environment | None,
        compares: dict[str, int],
        writes: dict[str, Struct | None],
    ) -> None:
        if environment is not None:
            held = self._held_environment(environment.id, None)
            if _identity(held) != _identity(environment):
                raise InvalidInput("An environment's name, cluster and deletion do not change so.")
            key = keys.environment(environment.id)
            compares[key] = self.records.revision(key)
            writes[key] = environment

    # --- Clean hand-over --------------------------------------------------------------------------

    async def mark_clean(self) -> None:
        """The last act of an owner that leaves with nothing open."""
        await self.change({}, {keys.CLEAN: Clean()})

    async def take_clean(self) -> bool:
        """Whether the last owner left so. The mark is gone when this returns."""
        if await self.store.get(keys.CLEAN) is None:
            return False
        await self.change({}, {keys.CLEAN: None})
        return True

    # --- Backup -----------------------------------------------------------------------------------

    async def mark_copied(self, *, copied: bool) -> None:
        """Say in the store that what is copied from it now is a copy; or that it is none."""
        await self.change({}, {keys.COPIED: Copied() if copied else None})

    async def take_copied(self) -> bool:
        """Whether this store is a backup that is in use from now on. The mark is gone when this
        returns, and every environment knows that starts may have been made that it does not."""
        if await self.store.get(keys.COPIED) is None:
            return False
        writes: dict[str, Struct | None] = {keys.COPIED: None}
        compares: dict[str, int] = {}
        for environment in (*self.environments(), *self.tombstones()):
            key = keys.environment(environment.id)
            compares[key] = self.records.revision(key)
            writes[key] = msgspec.structs.replace(environment, lost_past=True)
        await self.change(compares, writes)
        return True

    def _held_environment(self, environment_id: str, was: Environment | None) -> Environment:
        held = self.environment(environment_id)
        if held is None:
            raise NotFound("This environment does not exist.")
        if was is not None and was is not held and was != held:
            raise Conflict(f"The environment {held.name} has changed meanwhile.")
        return held

    def _held_deployment(self, deployment: Deployment) -> int:
        """Its revision."""
        if self.deployment(deployment.id) is None:
            raise NotFound(f"The deployment {deployment.id} is not kept any more.")
        return self.records.revision(
            keys.deployment(deployment.environment_id, deployment.sequence)
        )


def _identity(environment: Environment) -> tuple[str, str, float | None]:
    return environment.cluster_arn, environment.name, environment.deleted_at


def _merged(held: Intent, told: Intent) -> Intent:
    """Both accounts of an intent's hosts; where both know one, a task wins, else the later."""
    settled: dict[str, Settled] = {}
    for host in held.hosts:
        former, latter = held.settled.get(host), told.settled.get(host)
        outcome = former if latter is None or (former and former.kind == "task") else latter
        if outcome is not None:
            settled[host] = outcome
    answered = told.answered_at if told.answered_at is not None else held.answered_at
    return msgspec.structs.replace(held, settled=settled, answered_at=answered)
