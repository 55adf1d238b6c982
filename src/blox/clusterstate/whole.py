"""Everything that ECS told of one task or host, member by member, as JSON.

The view's records (`blox.ecs.model`) hold what the scheduler decides by. Whoever lists a cluster
wants all of it, so here every member of ECS's document is kept as the JSON in which it came, and
merged by the same rule as the records (R15): each member is a register that holds what the account
with the greatest stamp said of it. What an account leaves out stays: events carry no health, tags
or counts.

Events give times as text, answers as seconds since 1970; what is kept has seconds. Two accounts
that differ only in how they are written (the order of members inside a value) are the same.

Pure. Values are shared between entities that have the same ones: thousands of hosts have the same
forty attributes.
"""

import sys
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct

from blox.clusterstate.merge import Lagging, Stamp
from blox.ecs.events import parse_time

_NEVER: Final[Stamp] = (-1, float("-inf"))
_OWN: Final = frozenset(
    {
        "attachments",
        "containers",
        "connectivityAt",
        "createdAt",
        "ec2InstanceId",
        "executionStoppedAt",
        "pullStartedAt",
        "pullStoppedAt",
        "registeredAt",
        "startedAt",
        "stoppedAt",
        "stoppingAt",
        "taskArn",
        "version",
    }
)
"""Members that hardly two entities share."""
_KEPT_OUT: Final = frozenset({"updatedAt"})
"""Of events alone: when the event was made, not when anything of the entity changed."""
_SHARED_VALUES: Final = 16_384
_SHARED_BYTES: Final = 4 * 1024 * 1024
"""Values that are looked through for an equal one at most; then the search begins anew."""

_decode_moment = msgspec.json.Decoder(datetime).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Whole(Struct, frozen=True, kw_only=True, gc=False):
    """One task or host with every member that ECS ever told."""

    names: tuple[str, ...] = ()
    """ECS's names, sorted."""
    values: tuple[bytes, ...] = ()
    """The JSON of each."""
    version: int = 0
    """ECS's own."""
    begun: float = float("-inf")
    """With `version`, the stamp of the newest account."""
    lagging: Lagging = ()

    def get(self, name: str) -> bytes | None:
        """The JSON of one member."""
        try:
            return self.values[self.names.index(name)]
        except ValueError:
            return None

    def members(self) -> dict[str, bytes]:
        """Each member's JSON."""
        return dict(zip(self.names, self.values, strict=True))

    def json(self) -> bytes:
        """The whole as one JSON object."""
        pairs = zip(heads(self.names), self.values, strict=True)
        return b"{" + b",".join([head + value for head, value in pairs]) + b"}"

    def shows_the_same(self, other: "Whole") -> bool:
        """Whether nobody who is shown both can tell them apart."""
        return self is other or (self.values == other.values and self.names == other.names)


NOTHING: Final = Whole()


def members_of(sent: bytes) -> dict[str, bytes]:
    """The members of an account as ECS sent it, those that are null left out and times turned into
    seconds. Raises ValueError for what is no JSON object."""
    members = {}
    for name, raw in _decode_members(sent).items():
        value = bytes(raw)
        if value == b"null":
            continue
        if name[-2:] == "At":
            if name in _KEPT_OUT:
                continue
            value = _seconds(value)
        members[name] = value
    return members


def whole_of(sent: bytes, *, version: int, begun: float, lagging: Lagging = ()) -> Whole:
    """What `Whole.json` gave. Raises ValueError for what is no JSON object."""
    members = {name: bytes(raw) for name, raw in _decode_members(sent).items()}
    for name, value in members.items():
        if name not in _OWN:
            members[name] = _shared.one(value)
    names = tuple(members)
    if sorted(members) != list(names):
        members = dict(sorted(members.items()))
        names = tuple(members)
    return Whole(
        names=_same_names(names),
        values=tuple(members.values()),
        version=version,
        begun=begun,
        lagging=lagging,
    )


def merge_whole(
    known: Whole, told: Mapping[str, bytes], stamp: Stamp, overruled: Mapping[str, bytes]
) -> Whole:
    """What is known after one more account. The same object is returned when no member changed and
    no later account could tell the difference.

    `stamp`: the account's (version, begin of the call; minus infinity for an event). `overruled`:
    members whose value the record decides, because statuses never go back; they have no stamp.
    """
    newest = _NEVER if known is NOTHING else (known.version, known.begun)
    members = dict(zip(known.names, known.values, strict=True))
    if stamp > newest:
        lagging = _left_out(known, told, newest, overruled)
        changed = _take(members, told, overruled)
        newest = stamp
    else:
        won, lagging = _still_won(known, members, told, stamp, overruled)
        changed = _take(members, won, overruled)
    if changed:
        names, values = known.names, tuple(members.values())
        if len(values) != len(names):
            ordered = dict(sorted(members.items()))
            names, values = _same_names(tuple(ordered)), tuple(ordered.values())
    elif newest == (known.version, known.begun) and lagging == known.lagging:
        return known
    else:
        names, values = known.names, known.values
    return Whole(names=names, values=values, version=newest[0], begun=newest[1], lagging=lagging)


def _left_out(
    known: Whole, told: Mapping[str, bytes], newest: Stamp, overruled: Mapping[str, bytes]
) -> Lagging:
    """The members that a newer account says nothing of, with their stamps; sorted."""
    behind = dict(known.lagging)
    return tuple(
        [
            (name, behind.get(name, newest))
            for name in known.names
            if name not in told and name not in overruled
        ]
    )


def _still_won(
    known: Whole,
    members: Mapping[str, bytes],
    told: Mapping[str, bytes],
    stamp: Stamp,
    overruled: Mapping[str, bytes],
) -> tuple[dict[str, bytes], Lagging]:
    """What an account that is not the newest wins all the same: members that nobody has told, or
    only older accounts."""
    if not known.lagging and members.keys() >= told.keys():
        return {}, ()
    newest = (known.version, known.begun)
    behind = dict(known.lagging)
    won = {}
    for name, value in told.items():
        at = behind.get(name, newest) if name in members else _NEVER
        if name in overruled or stamp <= at:
            continue
        won[name] = value
        if stamp < newest:
            behind[name] = stamp
        else:
            behind.pop(name, None)
    return won, tuple(sorted(behind.items()))


def _take(
    members: dict[str, bytes], told: Mapping[str, bytes], overruled: Mapping[str, bytes]
) -> bool:
    """Set what was told; whether that changed anything."""
    changed = False
    for name, value in told.items():
        before = members.get(name)
        if value == before or name in overruled or _written_otherwise(value, before):
            continue
        members[sys.intern(name)] = value if name in _OWN else _shared.one(value)
        changed = True
    for name, value in overruled.items():
        if members.get(name) != value:
            members[name] = value
            changed = True
    return changed


def _written_otherwise(value: bytes, before: bytes | None) -> bool:
    """Whether two values that are not the same bytes are equal JSON: events and answers may order
    the members of a value differently."""
    if before is None or len(value) != len(before) or value[:1] not in (b"{", b"["):
        return False
    return bool(msgspec.json.decode(value) == msgspec.json.decode(before))


class _Shared:
    """Gives one object for equal values. What it holds on to is bounded."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._bytes = 0

    def one(self, value: bytes) -> bytes:
        """An equal value; the same one as before, as a rule."""
        found = self._values.get(value)
        if found is not None:
            return found
        if len(self._values) >= _SHARED_VALUES or self._bytes > _SHARED_BYTES:
            self._values.clear()
            self._bytes = 0
        self._values[value] = value
        self._bytes += len(value)
        return value


_shared = _Shared()


@lru_cache(maxsize=1024)
def _same_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sys.intern(name) for name in names)


@lru_cache(maxsize=1024)
def heads(names: tuple[str, ...]) -> tuple[bytes, ...]:
    """What stands before each value in the JSON."""
    return tuple(msgspec.json.encode(name) + b":" for name in names)


def _seconds(value: bytes) -> bytes:
    """A time as seconds, written in one way; as it stands when it is none."""
    try:
        time = float(value) if value[:1] != b'"' else _seconds_of(value)
    except ValueError:
        time = None
    return value if time is None else msgspec.json.encode(time)


def _seconds_of(value: bytes) -> float | None:
    try:
        moment = _decode_moment(value)
    except msgspec.ValidationError:
        return parse_time(msgspec.json.decode(value, type=str))
    return None if moment.tzinfo is None else moment.timestamp()
