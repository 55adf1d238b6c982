"""Times as JSON shows them: ISO 8601 in UTC with milliseconds, `2026-03-01T12:00:00.250Z`. Pure.

ECS's answers give times as seconds since 1970; its events give the same ones as text. Readers get
one form, whichever told last.
"""

from typing import Final

import msgspec

from blox.http.shapes import iso as iso

_NAMED_OTHERWISE: Final = frozenset({"lastUpdated", "lastStatusChange"})
"""Times within a host's health whose names do not end in At:
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_InstanceHealthCheckResult.html"""
_SIGNS: Final = (b'At"', b"lastUpdated", b"lastStatusChange")
_DEEPEST: Final = 32
"""Levels below a member that are looked through; ECS's documents have four."""


def is_time(name: str) -> bool:
    """Whether ECS gives a time under this name."""
    return name.endswith("At") or name in _NAMED_OTHERWISE


def time_text(value: bytes) -> str | None:
    """A member that is a time, as text; None when it is neither a number nor a text. A text is
    shown as it came: only numbers are ECS's other form."""
    try:
        found: object = msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return None
    shown = _shown(found)
    return shown if isinstance(shown, str) else None


def with_times(name: str, value: bytes) -> bytes:
    """A member's JSON with every time in it as text, nested ones included."""
    if is_time(name):
        text = time_text(value)
        return value if text is None else msgspec.json.encode(text)
    if value[:1] not in (b"[", b"{") or not any(sign in value for sign in _SIGNS):
        return value
    try:
        found: object = msgspec.json.decode(value)
        return msgspec.json.encode(_nested(found, _DEEPEST))
    except (ValueError, OverflowError, RecursionError):
        return value


def _nested(found: object, depth: int) -> object:
    if depth == 0:
        return found
    if isinstance(found, list):
        return [_nested(item, depth - 1) for item in found]
    if isinstance(found, dict):
        return {
            name: _shown(item) if is_time(name) else _nested(item, depth - 1)
            for name, item in found.items()
        }
    return found


def _shown(found: object) -> object:
    """A number as a time; anything else as it is."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return found
    try:
        return iso(found)
    except ValueError:
        return found
