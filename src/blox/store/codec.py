"""Records as bytes: JSON with a kind and a format version, so that old records can be read.

    {"format": 1, "kind": "environment", "value": {...}}

The rule that makes upgrades and one step back safe: version N writes what version N-1 reads, for
one release. A new member is therefore optional and is ignored by the older version (unknown members
are no error); a change of meaning first teaches a release to read format n+1 (NEWEST), and only the
next one to write it (WRITTEN). Records of older formats are brought up by `UPGRADES`, step by step,
when they are read, and are rewritten in their new format when they next change.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from blox.store.errors import StoreRefused

T = TypeVar("T", bound=Struct)

Value = dict[str, object]
"""A record's value as plain JSON."""
Upgrade = Callable[[Value], Value]
"""Brings a value of format n to format n + 1. Pure."""

WRITTEN: Final = 1
"""The format that this version writes."""
NEWEST: Final = 1
"""The newest format that this version reads; never below WRITTEN."""
UPGRADES: Final[Mapping[tuple[str, int], Upgrade]] = {}
"""(kind, n) → the step from format n to n + 1. A kind without a step did not change in it."""


class _Envelope(Struct, frozen=True):
    format: int
    kind: str
    value: msgspec.Raw


class _Written(Struct, frozen=True):
    format: int
    kind: str
    value: Struct


def encode(kind: str, value: Struct) -> bytes:
    """A record's bytes, in format WRITTEN. Mappings keep their order."""
    return msgspec.json.encode(_Written(WRITTEN, kind, value))


def decode(
    wanted: type[T],
    data: bytes,
    *,
    kind: str | None = None,
    newest: int = NEWEST,
    upgrades: Mapping[tuple[str, int], Upgrade] = UPGRADES,
) -> T:
    """The value of a record that any version up to this one wrote.

    `kind`: what the record must be. Raises StoreRefused for a newer format, another kind, or bytes
    that are no such record.
    """
    try:
        envelope = msgspec.json.decode(data, type=_Envelope)
    except msgspec.MsgspecError as error:
        raise StoreRefused(f"A stored record cannot be read: {error}.") from error
    found = envelope.format
    if kind is not None and envelope.kind != kind:
        raise StoreRefused(f"A stored record is of kind {envelope.kind!r}, not {kind!r}.")
    if found > newest:
        raise StoreRefused(
            f"A stored record ({envelope.kind}) has format {found}; this version of blox reads up "
            f"to format {newest}. Start the newer version that wrote it."
        )
    if found < 1:
        raise StoreRefused(f"A stored record ({envelope.kind}) has format {found}.")
    try:
        if found == newest:
            return msgspec.json.decode(envelope.value, type=wanted)
        value = msgspec.json.decode(envelope.value, type=dict[str, object])
        for step in range(found, newest):
            value = upgrades.get((envelope.kind, step), _unchanged)(value)
        return msgspec.convert(value, type=wanted)
    except msgspec.MsgspecError as error:
        raise StoreRefused(f"A stored record ({envelope.kind}) cannot be read: {error}.") from error


def _unchanged(value: Value) -> Value:
    return value
