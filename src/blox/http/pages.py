"""Lists in pages: the next one begins after the last key that was shown.

Counting from the front would skip or repeat entries when others come and go between two calls;
continuing after a key does neither, and needs no memory on our side. The token is opaque to
clients: base64url of a version, a checksum and the key. The checksum covers the listing's name and
filters as well, so that a token is good only for the listing that gave it. It is no secret: a
forged token could name only a place to continue from.
Pure: values in, values out.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec

from blox.base.errors import InvalidInput

PAGE_SIZE: Final = 100
_VERSION: Final = b"\x01"
_CHECKSUM_BYTES: Final = 6
_LONGEST_TOKEN: Final = 4096

Item = TypeVar("Item")
Key = TypeVar("Key", str, int)


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A part of a list, and the token of the rest; None when there is no rest."""

    items: tuple[Item, ...]
    next_token: str | None


def page(
    items: Sequence[Item],
    *,
    key: Callable[[Item], Key],
    token: str | None,
    listing: str,
    descending: bool = False,
    size: int = PAGE_SIZE,
) -> Page[Item]:
    """The part of `items` that `token` asks for; None asks for the first.

    `items` are sorted by `key`, which is unique, upwards or `descending`. `listing` names the list
    and its filters. Raises InvalidInput for a token that this listing did not give.
    """
    start = 0 if token is None else _place_after(items, key, token, listing, descending)
    shown = tuple(items[start : start + size])
    rest = start + size < len(items)
    return Page(shown, _make_token(key(shown[-1]), listing) if rest and shown else None)


def last_shown(token: str, listing: str) -> str:
    """The key after which `token` asks to go on, of a listing whose keys are texts. Raises
    InvalidInput for a token that this listing did not give."""
    key = _read_token(token, listing)
    if not isinstance(key, str):
        raise _foreign()
    return key


def token_after(key: str, listing: str) -> str:
    """The token that asks for what follows after a key."""
    return _make_token(key, listing)


def _place_after(
    items: Sequence[Item],
    key: Callable[[Item], Key],
    token: str,
    listing: str,
    descending: bool,  # noqa: FBT001
) -> int:
    """Where the first item after the token's key stands."""
    low, high = 0, len(items)
    last = _read_token(token, listing)
    while low < high:
        middle = (low + high) // 2
        here = key(items[middle])
        if type(here) is not type(last):
            raise _foreign()
        if _is_after(here, last, descending=descending):
            high = middle
        else:
            low = middle + 1
    return low


def _is_after(here: str | int, last: str | int, *, descending: bool) -> bool:
    if isinstance(here, str) and isinstance(last, str):
        return here < last if descending else here > last
    if isinstance(here, int) and isinstance(last, int):
        return here < last if descending else here > last
    raise _foreign()


def _make_token(key: str | int, listing: str) -> str:
    content = msgspec.json.encode(key)
    sealed = _VERSION + _checksum(content, listing) + content
    return _as_text(sealed)


def _as_text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")


def _read_token(token: str, listing: str) -> str | int:
    if not 0 < len(token) <= _LONGEST_TOKEN or not token.isascii():
        raise _foreign()
    padded = token + "=" * (-len(token) % 4)
    try:
        sealed = base64.b64decode(padded, altchars=b"-_", validate=True)
    except ValueError:
        raise _foreign() from None
    content = sealed[1 + _CHECKSUM_BYTES :]
    ours = _VERSION + _checksum(content, listing) + content
    if sealed != ours or token != _as_text(ours):
        raise _foreign()
    try:
        return msgspec.json.decode(content, type=str | int)
    except msgspec.DecodeError:
        raise _foreign() from None


def _checksum(content: bytes, listing: str) -> bytes:
    return hashlib.blake2b(listing.encode() + b"\0" + content, digest_size=_CHECKSUM_BYTES).digest()


def _foreign() -> InvalidInput:
    return InvalidInput(
        "The nextToken is not one that this list has given. Ask for the first page without one."
    )
