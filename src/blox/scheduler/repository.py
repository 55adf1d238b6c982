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
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from blox.base.errors import Conflict, InvalidInput, NotFound, Unavailable
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
from blox.scheduler.records import Clean, Copied, Name, Records, decode, encode
from blox.store import keys
from blox.store.errors import StoreRefused, StoreUnavailable, StoreUnknown
from blox.store.port import ABSENT, Compare, Delete, Put, Record, Store

DEPLOYMENTS_KEPT: Final = 50
_SETTLE_ATTEMPTS: Final = 5

Writes = Mapping[str, Struct | None]
"""Key → its new value; None deletes it."""


class Loaded(Struct, frozen=True):
    """Everything that was stored, tombstones included."""

    environments: tuple[Environment, ...]
    deployments: tuple[Deployment, ...]
    intents: tuple[Intent, ...]
    clean: bool
    """The last owner left with nothing open (`mark_clean`)."""


class Repository:
    """For one owner of the store: what others write is noticed only when it gets in the way.

    Every changing method may raise StoreUnavailable (nothing happened), StoreUnknown (nobody knows
    what happened) and Conflict (something else happened first; nothing was written).
    """

    def __init__(self, store: Store, *, deployments_kept: int = DEPLOYMENTS_KEPT) -> None:
        self._store = store
        self._kept = max(1, deployments_kept)
        self._records = Records()
        self._unsure: dict[str, None] = {}
        """Keys of which memory may be wrong."""
        self._abandoned: dict[str, None] = {}
        """Keys of intents whose call will never be sent: deleted with the next transaction."""
        self._running: set[asyncio.Future[None]] = set()

    async def load(self) -> Loaded:
        """Read everything. Raises StoreRefused, naming the key, for what cannot be read."""
        listing = await self._store.list(keys.ROOT)
        records = Records()
        clean = False
        for record in listing.records:
            value = _decoded(record)
            clean = clean or isinstance(value, Clean)
            if value is not None:
                records.place(record.key, value, record.modified)
        self._records, self._unsure, self._abandoned = records, {}, {}
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
        return self._records.live()

    def environment(self, environment_id: str) -> Environment | None:
        """Live or tombstone."""
        return self._records.environment(environment_id)

    def find(self, cluster_arn: str, name: str) -> Environment | None:
        """The live environment of this name."""
        return self._records.find(cluster_arn, name)

    def named(self, name: str) -> list[Environment]:
        """The live environments of this name on every cluster, by cluster."""
        return [environment for environment in self._records.live() if environment.name == name]

    def tombstones(self) -> tuple[Environment, ...]:
        """Deleted environments that are not yet forgotten, by cluster, then name."""
        return self._records.tombstones()

    def deployments(self, environment_id: str) -> tuple[Deployment, ...]:
        """Those that are kept, newest first."""
        return self._records.deployments(environment_id)

    def deployment(self, deployment_id: str) -> Deployment | None:
        """None when it is unknown, or no longer kept."""
        return self._records.deployment(deployment_id)

    def newest_deployment(self, environment_id: str) -> Deployment | None:
        """The one with the highest sequence, whatever its status."""
        return self._records.newest_deployment(environment_id)

    def intents(self) -> tuple[Intent, ...]:
        """Open and retained ones, in the order in which they became known."""
        return self._records.intents()

    def intent(self, intent_id: str) -> Intent | None:
        """None when it was dropped, or never opened."""
        return self._records.intent(intent_id)

    def freezes(self) -> tuple[Freeze, ...]:
        """Oldest first; those that are over included."""
        return self._records.freezes()

    def hold(self, host_arn: str, instance_id: str = "") -> Hold | None:
        """The host's or its machine's, over or not."""
        return self._records.hold(host_arn, instance_id)

    def holds(self) -> tuple[Hold, ...]:
        """By host; those that are over included."""
        return self._records.holds()

    def migration(self, environment_id: str) -> Migration | None:
        """The replacement of a DAEMON service by this environment."""
        return self._records.migration(environment_id)

    def migrations(self) -> tuple[Migration, ...]:
        """By environment."""
        return self._records.migrations()

    # --- Environments -----------------------------------------------------------------------------

    async def create_environment(
        self, environment: Environment, *, instead_of: Sequence[Environment] = ()
    ) -> None:
        """`instead_of`: tombstones whose tasks it takes over; they are forgotten with it. Raises
        Conflict when a live environment of its cluster has its name."""
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
            held = self._held_environment(tombstone.id, tombstone)
            if held.deleted_at is None:
                raise Conflict(f"The environment {held.name} is not deleted.")
            compares[keys.environment(held.id)] = self._records.revision(keys.environment(held.id))
            gone = [keys.deployment(held.id, d.sequence) for d in self.deployments(held.id)]
            writes |= dict.fromkeys((keys.environment(held.id), *gone))
        await self._change(compares, writes, conflict)

    async def replace_environment(
        self, environment: Environment, *, was: Environment | None = None
    ) -> None:
        """Store a changed environment or tombstone under its id.

        `was`: what the change was computed from; default: what is known at this call. Its name,
        cluster and deletion cannot change here.
        """
        held = self._held_environment(environment.id, was)
        if _identity(held) != _identity(environment):
            raise InvalidInput("An environment's name, cluster and deletion do not change so.")
        key = keys.environment(environment.id)
        await self._change({key: self._records.revision(key)}, {key: environment})

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
        await self._change(
            {key: self._records.revision(key)},
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
        await self._change({key: self._records.revision(key)}, dict.fromkeys((key, *gone)), None)

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
        compares = {key: self._records.revision(key), new: ABSENT}
        writes: dict[str, Struct | None] = dict.fromkeys(self._outdated(deployment))
        writes |= {key: environment_after, new: deployment}
        if superseded is not None:
            old = keys.deployment(held.id, superseded.sequence)
            compares[old] = self._held_deployment(superseded)
            writes[old] = superseded
        await self._change(compares, writes)

    async def save_deployment(self, deployment: Deployment) -> None:
        """Store a deployment's new state. Raises NotFound when it is not kept any more."""
        revision = self._held_deployment(deployment)
        key = keys.deployment(deployment.environment_id, deployment.sequence)
        await self._change({key: revision}, {key: deployment})

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
        compares = {environment: self._records.revision(environment), key: ABSENT}
        writes: dict[str, Struct | None] = {keys.intent(id_): None for id_ in drop}
        try:
            await self._change(compares, writes | {key: intent})
        except asyncio.CancelledError:
            self._abandon(key)
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
                await self._change({key: self._records.revision(key)}, dropped | {key: merged})
            except Conflict:
                continue
            return merged
        raise Conflict(f"The intent {intent.id} is not stored any more, or changes all the time.")

    async def drop_intents(self, ids: Sequence[str]) -> None:
        """Delete intents, in one transaction; none if there is nothing to delete."""
        known = [keys.intent(id_) for id_ in ids if self.intent(id_) is not None]
        if known:
            await self._change({}, dict.fromkeys(known))

    # --- What people ask for a while --------------------------------------------------------------

    async def freeze(self, freeze: Freeze) -> None:
        """Store a freeze under its id."""
        await self._change({}, {keys.freeze(freeze.id): freeze})

    async def thaw(self, ids: Sequence[str]) -> None:
        """Delete these freezes, in one transaction."""
        known = {freeze.id for freeze in self.freezes()}
        gone = [keys.freeze(id_) for id_ in ids if id_ in known]
        if gone:
            await self._change({}, dict.fromkeys(gone))

    async def hold_host(self, hold: Hold) -> None:
        """Store a host's hold; it replaces a former one."""
        await self._change({}, {keys.hold(hold.host_arn): hold})

    async def release_hosts(self, hosts: Sequence[str]) -> None:
        """Delete these hosts' holds, in one transaction."""
        held = [keys.hold(host) for host in hosts if self.hold(host) is not None]
        if held:
            await self._change({}, dict.fromkeys(held))

    async def save_migration(
        self, migration: Migration, environment: Environment | None = None
    ) -> None:
        """Store a migration's state, and with it its environment's if that changes."""
        key = keys.migration(migration.environment_id)
        compares = {key: self._records.revision(key)}
        writes: dict[str, Struct | None] = {key: migration}
        self._with_environment(environment, compares, writes)
        await self._change(compares, writes)

    async def end_migration(self, environment: Environment) -> None:
        """Delete the migration to this environment, and store the environment as it is after."""
        key = keys.migration(environment.id)
        compares = {key: self._records.revision(key)}
        writes: dict[str, Struct | None] = {key: None}
        self._with_environment(environment, compares, writes)
        await self._change(compares, writes)

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
            compares[key] = self._records.revision(key)
            writes[key] = environment

    # --- Clean hand-over --------------------------------------------------------------------------

    async def mark_clean(self) -> None:
        """The last act of an owner that leaves with nothing open."""
        await self._change({}, {keys.CLEAN: Clean()})

    async def take_clean(self) -> bool:
        """Whether the last owner left so. The mark is gone when this returns."""
        if await self._store.get(keys.CLEAN) is None:
            return False
        await self._change({}, {keys.CLEAN: None})
        return True

    # --- Backup -----------------------------------------------------------------------------------

    async def mark_copied(self, *, copied: bool) -> None:
        """Say in the store that what is copied from it now is a copy; or that it is none."""
        await self._change({}, {keys.COPIED: Copied() if copied else None})

    async def take_copied(self) -> bool:
        """Whether this store is a backup that is in use from now on. The mark is gone when this
        returns, and every environment knows that starts may have been made that it does not."""
        if await self._store.get(keys.COPIED) is None:
            return False
        writes: dict[str, Struct | None] = {keys.COPIED: None}
        compares: dict[str, int] = {}
        for environment in self.environments():
            key = keys.environment(environment.id)
            compares[key] = self._records.revision(key)
            writes[key] = msgspec.structs.replace(environment, lost_past=True)
        await self._change(compares, writes)
        return True

    # --- Transactions -----------------------------------------------------------------------------

    def _change(
        self, compares: Mapping[str, int], writes: Writes, conflict: str | None = None
    ) -> Awaitable[None]:
        """Begin a transaction now, by what is known now. It goes on if who awaits it is cancelled:
        what is being written cannot be called back, and memory must learn of it."""
        running = asyncio.ensure_future(self._transact(compares, writes, conflict))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return asyncio.shield(running)

    async def _transact(
        self, compares: Mapping[str, int], writes: Writes, conflict: str | None
    ) -> None:
        await self._clear_up()
        abandoned = tuple(self._abandoned)
        encoded: dict[str, bytes | None] = dict.fromkeys(abandoned)
        encoded |= {key: None if value is None else encode(value) for key, value in writes.items()}
        try:
            outcome = await self._store.transact(
                [Compare(key, revision) for key, revision in compares.items()],
                [Delete(key) if data is None else Put(key, data) for key, data in encoded.items()],
            )
            applied, revision = outcome.applied, outcome.revision
        except StoreUnknown as unknown:
            revision = await self._after_unknown(unknown, compares, encoded)
            applied = True
        except asyncio.CancelledError:
            self._doubt(compares, writes)
            raise
        if not applied:
            self._unsure |= dict.fromkeys((*compares, *writes))
            await self._clear_up()
            raise Conflict(conflict or "What this change was made for has changed meanwhile.")
        for key in abandoned:
            self._abandoned.pop(key, None)
        self._remember(writes, revision)

    async def _after_unknown(
        self,
        unknown: StoreUnknown,
        compares: Mapping[str, int],
        encoded: Mapping[str, bytes | None],
    ) -> int:
        """The revision at which a transaction was applied whose answer was lost.

        Raises StoreUnavailable if it was not applied, StoreUnknown if reading back fails too.
        """
        try:
            revision = await self._read_back(compares, encoded)
        except BaseException as error:
            self._doubt(compares, encoded)
            if isinstance(error, Unavailable):
                raise unknown from None
            raise
        if revision is None:
            # A store of several members may still apply it, after all.
            self._doubt(compares, encoded)
            raise StoreUnavailable(f"Nothing was written: {unknown.message}") from unknown
        return revision

    def _remember(self, writes: Writes, revision: int) -> None:
        for key, value in writes.items():
            if value is None:
                self._records.remove(key)
            elif key not in self._abandoned:
                self._records.place(key, value, revision)

    async def _read_back(
        self, compares: Mapping[str, int], encoded: Mapping[str, bytes | None]
    ) -> int | None:
        """The revision at which a transaction was applied, or None if it was not.

        It was applied whole or not at all, so one of its writes tells.
        """
        for key, data in encoded.items():
            record = await self._store.get(key)
            if data is None and record is not None:
                return None
            if data is not None:
                same = record is not None and record.value == data
                new = record is not None and record.modified != compares.get(key)
                return record.modified if record is not None and same and new else None
        return 0

    def _doubt(self, compares: Mapping[str, int], written: Iterable[str]) -> None:
        """This may be applied, now or later: read it again; abandon the intents that it opens."""
        for key in written:
            if key.startswith(keys.INTENTS) and compares.get(key) == ABSENT:
                self._abandon(key)
        self._unsure |= dict.fromkeys((*compares, *written))

    def _abandon(self, key: str) -> None:
        """The call of this intent will not be sent: it must not hold its hosts in doubt."""
        self._abandoned[key] = None
        self._records.remove(key)

    async def _clear_up(self) -> None:
        """Read again what memory may have wrong. Raises StoreUnavailable while that fails."""
        while self._unsure:
            key = next(iter(self._unsure))
            del self._unsure[key]  # Now, so that a doubt that comes up while reading stays.
            before = self._records.revision(key)
            try:
                record = await self._store.get(key)
            except BaseException:
                self._unsure[key] = None
                raise
            if self._records.revision(key) == before and key not in self._abandoned:
                if record is None:
                    self._records.remove(key)
                else:
                    self._place(record)

    def _place(self, record: Record) -> None:
        value = _decoded(record)
        if value is not None:
            self._records.place(record.key, value, record.modified)

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
        return self._records.revision(
            keys.deployment(deployment.environment_id, deployment.sequence)
        )


def _decoded(record: Record) -> Struct | None:
    try:
        return decode(record.key, record.value)
    except StoreRefused as error:
        raise StoreRefused(f"{record.key}: {error.message}") from error


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
