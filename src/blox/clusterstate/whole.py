"""Everything that ECS told of one task or host, member by member, as JSON.

The view's records (`blox.ecs.model`) hold what the scheduler decides by. Whoever lists a cluster
wants all of it, so here every member of ECS's document is kept as the JSON in which it came, and
merged by the same rule as the records (R15): each member is a register that holds what the account
with the greatest stamp said of it. What an account leaves out stays: events carry no health, tags
or counts.

Events give times as text, answers as seconds since 1970; what is kept has seconds.

Pure. Members are shared between entities that have the same ones: thousands of hosts have the same
forty attributes.
"""

import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct

from blox.clusterstate.merge import Lagging, Stamp
from blox.ecs.events import parse_time

_NEVER: Final[Stamp] = (-1, float("-inf"))
_OWN: Final = frozenset(
    {"taskArn", "createdAt", "startedAt", "containers", "attachments", "version", "pullStartedAt"}
)
"""Members that hardly two entities share."""
_SHORTEST_SHARED: Final = 24
"""Bytes from which sharing is worth looking for."""
_KEPT_OUT: Final = frozenset({"updatedAt"})
"""Of events alone: when the event was made, not when anything of the entity changed."""

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Whole(Struct, frozen=True, kw_only=True):
    """One task or host with every member that ECS ever told."""

    names: tuple[str, ...] = ()
    """ECS's names, sorted."""
    values: tuple[bytes, ...] = ()
    """The JSON of each."""
    version: int = 0
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
        pairs = zip(self.names, self.values, strict=True)
        return b"{" + b",".join(b'"' + n.encode() + b'":' + v for n, v in pairs) + b"}"


NOTHING: Final = Whole()


def members_of(sent: bytes) -> dict[str, bytes]:
    """The members of an account as ECS sent it, those that are null left out and the times of an
    event turned into seconds. Raises ValueError for what is no JSON object."""
    members = {}
    for name, raw in _decode_members(sent).items():
        value = bytes(raw)
        if value == b"null" or name in _KEPT_OUT:
            continue
        if name.endswith("At") and value.startswith(b'"'):
            value = _seconds(value)
        members[sys.intern(name)] = value
    return members


def merge_whole(
    known: Whole, told: Mapping[str, bytes], stamp: Stamp, overruled: Mapping[str, bytes]
) -> Whole:
    """What is known after one more account. The same object is returned when no member changed and
    no later account could tell the difference.

    `stamp`: the account's (version, begin of the call; minus infinity for an event). `overruled`:
    members whose value the record decides, because statuses never go back.
    """
    newest = _NEVER if known is NOTHING else (known.version, known.begun)
    top = max(stamp, newest)
    behind = dict(known.lagging)
    members = known.members()
    stamps: dict[str, Stamp] = {}
    changed = False
    for name in members:
        at = behind.get(name, newest)
        if name in told and stamp > at:
            at = stamp
        if at < top:
            stamps[name] = at
    for name, value in told.items():
        at = behind.get(name, newest) if name in members else _NEVER
        if stamp > at:
            changed = _take(members, name, value) or changed
            if name not in stamps and stamp < top:
                stamps[name] = stamp
    for name, value in overruled.items():
        changed = _take(members, name, value) or changed
    lagging = tuple(sorted(stamps.items()))
    if not changed and top == newest and lagging == known.lagging:
        return known
    names = tuple(sorted(members)) if len(members) != len(known.names) else known.names
    return Whole(
        names=_same_names(names),
        values=tuple(members[name] for name in names) if changed else known.values,
        version=top[0],
        begun=top[1],
        lagging=lagging,
    )


def _take(members: dict[str, bytes], name: str, value: bytes) -> bool:
    """Set a member; whether that changed anything."""
    if members.get(name) == value:
        return False
    if name not in _OWN and len(value) >= _SHORTEST_SHARED:
        value = _one(value)
    members[name] = value
    return True


@lru_cache(maxsize=16_384)
def _one(value: bytes) -> bytes:
    return value


@lru_cache(maxsize=1024)
def _same_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return names


def _seconds(value: bytes) -> bytes:
    """A time of an event as seconds; as it stands when it is none."""
    text = msgspec.json.decode(value)
    time = parse_time(text) if isinstance(text, str) else None
    return value if time is None else msgspec.json.encode(time)
