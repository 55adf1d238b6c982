"""What the scheduler's repository knows in memory: the stored records and their revisions.

Indexed for the questions that passes ask. Nothing here awaits; the repository puts in what the
store has said, in the order of revisions.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from msgspec import Struct

from blox.base.ids import short_id
from blox.ecs.model import Task
from blox.scheduler.model import Deployment, Environment, Freeze, Hold, Intent, Migration
from blox.store import codec, keys
from blox.store.port import ABSENT


class Name(Struct, frozen=True):
    """Under a cluster and a name: the live environment that has it."""

    environment_id: str


class Clean(Struct, frozen=True):
    """The last owner left with nothing open."""


class Copied(Struct, frozen=True):
    """What this is in is a backup: starts that came after it was made are unknown to it."""


KINDS: Final = (
    (keys.ENVIRONMENTS, "environment", Environment),
    (keys.DEPLOYMENTS, "deployment", Deployment),
    (keys.INTENTS, "intent", Intent),
    (keys.NAMES, "name", Name),
    (keys.FREEZES, "freeze", Freeze),
    (keys.HOLDS, "hold", Hold),
    (keys.MIGRATIONS, "migration", Migration),
    (keys.CLEAN, "clean", Clean),
    (keys.COPIED, "copied", Copied),
)
_NAME_OF_TYPE: Final[dict[type, str]] = {type_: kind for _, kind, type_ in KINDS}


def encode(value: Struct) -> bytes:
    """A record's bytes."""
    return codec.encode(_NAME_OF_TYPE[type(value)], value)


def decode(key: str, data: bytes) -> Struct | None:
    """The record under `key`; None under a key that this version does not know.

    Raises StoreRefused for a record that it cannot read.
    """
    for prefix, kind, type_ in KINDS:
        if key.startswith(prefix):
            value: Struct = codec.decode(type_, data, kind=kind)
            return value
    return None


class _Held(NamedTuple):
    value: Struct
    revision: int


class Records:
    """Every record under its key, and indexes over them."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._environments: dict[str, Environment] = {}
        self._names: dict[tuple[str, str], str] = {}
        """(cluster ARN, name) → id, of live environments."""
        self._deployments: dict[str, dict[int, Deployment]] = {}
        """Environment id → sequence → deployment."""
        self._by_id: dict[str, Deployment] = {}
        self._intents: dict[str, Intent] = {}
        self._owner_by_deployment: dict[str, str] = {}
        self._owner_by_task: dict[str, str] = {}
        """Deployment id, and id of an adopted task → environment or tombstone."""
        self._freezes: dict[str, Freeze] = {}
        self._holds: dict[str, Hold] = {}
        self._held_machines: dict[str, dict[str, Hold]] = {}
        """Instance id → host → hold: a machine that registers anew is still held."""
        self.orders = 0
        """Grows with each freeze and hold that is made or taken back."""
        self._migrations: dict[str, Migration] = {}
        self._live: tuple[Environment, ...] | None = None
        self._listed_intents: tuple[Intent, ...] | None = None

    # --- Putting in -------------------------------------------------------------------------------

    def revision(self, key: str) -> int:
        """The revision of the record under `key`, ABSENT if none is known."""
        held = self._held.get(key)
        return ABSENT if held is None else held.revision

    def place(self, key: str, value: Struct, revision: int) -> None:
        """The store has this under `key` as of `revision`. Older news is ignored."""
        if revision <= self.revision(key):
            return
        if not isinstance(value, Intent):  # Which only change in place, and keep their order.
            self.remove(key)
        self._held[key] = _Held(value, revision)
        if isinstance(value, Environment):
            self._environments[value.id] = value
            self._owner_by_deployment.update(dict.fromkeys(value.deployed, value.id))
            self._owner_by_task.update(dict.fromkeys(value.adopted, value.id))
            self._live = None
            if value.deleted_at is None:
                self._names[value.cluster_arn, value.name] = value.id
        elif isinstance(value, Deployment):
            self._deployments.setdefault(value.environment_id, {})[value.sequence] = value
            self._by_id[value.id] = value
        elif isinstance(value, Intent):
            self._intents[value.id] = value
            self._listed_intents = None
        elif isinstance(value, Freeze):
            self._freezes[value.id] = value
            self.orders += 1
        elif isinstance(value, Hold):
            self._holds[value.host_arn] = value
            self._held_machines.setdefault(value.instance_id, {})[value.host_arn] = value
            self.orders += 1
        elif isinstance(value, Migration):
            self._migrations[value.environment_id] = value

    def remove(self, key: str) -> None:
        """The store has nothing under `key`. No error if that is known."""
        held = self._held.pop(key, None)
        value = None if held is None else held.value
        if isinstance(value, Environment):
            del self._environments[value.id]
            _disown(self._owner_by_deployment, value.deployed, value.id)
            _disown(self._owner_by_task, value.adopted, value.id)
            self._live = None
            if self._names.get((value.cluster_arn, value.name)) == value.id:
                del self._names[value.cluster_arn, value.name]
        elif isinstance(value, Deployment):
            siblings = self._deployments[value.environment_id]
            del siblings[value.sequence], self._by_id[value.id]
            if not siblings:
                del self._deployments[value.environment_id]
        elif isinstance(value, Intent):
            del self._intents[value.id]
            self._listed_intents = None
        elif isinstance(value, Freeze):
            del self._freezes[value.id]
            self.orders += 1
        elif isinstance(value, Hold):
            del self._holds[value.host_arn]
            records = self._held_machines[value.instance_id]
            del records[value.host_arn]
            if not records:
                del self._held_machines[value.instance_id]
            self.orders += 1
        elif isinstance(value, Migration):
            del self._migrations[value.environment_id]

    # --- Asking -----------------------------------------------------------------------------------

    def environment(self, environment_id: str) -> Environment | None:
        """Live or tombstone."""
        return self._environments.get(environment_id)

    def live(self) -> tuple[Environment, ...]:
        """By cluster, then name."""
        if self._live is None:
            self._live = _sorted(e for e in self._environments.values() if e.deleted_at is None)
        return self._live

    def tombstones(self) -> tuple[Environment, ...]:
        """By cluster, then name."""
        return _sorted(e for e in self._environments.values() if e.deleted_at is not None)

    def find(self, cluster_arn: str, name: str) -> Environment | None:
        """The live environment of this name."""
        found = self._names.get((cluster_arn, name))
        return None if found is None else self._environments[found]

    def deployment(self, deployment_id: str) -> Deployment | None:
        """By its id."""
        return self._by_id.get(deployment_id)

    def deployments(self, environment_id: str) -> tuple[Deployment, ...]:
        """Newest first."""
        siblings = self._deployments.get(environment_id, {})
        return tuple(siblings[sequence] for sequence in sorted(siblings, reverse=True))

    def newest_deployment(self, environment_id: str) -> Deployment | None:
        """The one with the highest sequence."""
        siblings = self._deployments.get(environment_id)
        return siblings[max(siblings)] if siblings else None

    def intent(self, intent_id: str) -> Intent | None:
        """By its id."""
        return self._intents.get(intent_id)

    def freezes(self) -> tuple[Freeze, ...]:
        """Oldest first; those that are over included."""
        return tuple(sorted(self._freezes.values(), key=lambda f: (f.created_at, f.id)))

    def hold(self, host_arn: str, instance_id: str = "") -> Hold | None:
        """The host's or its machine's, over or not; of several the one that lasts longest."""
        if not self._holds:
            return None
        found = [self._holds[host_arn]] if host_arn in self._holds else []
        if instance_id:
            found += self._held_machines.get(instance_id, {}).values()
        return max(found, key=lambda hold: (hold.until, hold.host_arn), default=None)

    def deployed_by(self, deployment_id: str) -> Environment | None:
        """The environment or tombstone that had this deployment."""
        found = self._owner_by_deployment.get(deployment_id)
        return None if found is None else self._environments[found]

    def owner(self, task: Task) -> Environment | None:
        """The environment or tombstone that has adopted the task, or whose deployment it names."""
        found = self._owner_by_task.get(short_id(task.arn)) if self._owner_by_task else None
        if found is None:
            found = self._owner_by_deployment.get(task.started_by)
        return None if found is None else self._environments[found]

    def holds(self) -> tuple[Hold, ...]:
        """By host; those that are over included."""
        return tuple(self._holds[host] for host in sorted(self._holds))

    def migration(self, environment_id: str) -> Migration | None:
        """To this environment."""
        return self._migrations.get(environment_id)

    def migrations(self) -> tuple[Migration, ...]:
        """By environment."""
        return tuple(self._migrations[id_] for id_ in sorted(self._migrations))

    def intents(self) -> tuple[Intent, ...]:
        """In the order in which they became known."""
        if self._listed_intents is None:
            self._listed_intents = tuple(self._intents.values())
        return self._listed_intents


def _disown(owners: dict[str, str], ids: Iterable[str], environment_id: str) -> None:
    for id_ in ids:
        if owners.get(id_) == environment_id:
            del owners[id_]


def _sorted(environments: Iterable[Environment]) -> tuple[Environment, ...]:
    return tuple(sorted(environments, key=lambda e: (e.cluster_arn, e.name, e.id)))
