"""Values as YAML that people read: block style, comments, CloudFormation's short tags.

Only what templates need: mappings, lists, texts, whole numbers, truth. A text is written plainly
where nothing else could be meant, else in double quotes.
https://yaml.org/spec/1.2.2/#double-quoted-style
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from msgspec import Struct


class Tag(Struct, frozen=True):
    """A value with one of CloudFormation's functions: `!Sub "…"`, `!GetAtt Events.Arn`."""

    name: str
    """Without the exclamation mark."""
    value: str


class Noted(Struct, frozen=True):
    """A value with a comment above it."""

    comment: tuple[str, ...]
    """A line each."""
    value: "Yaml"


Yaml: TypeAlias = str | int | bool | Tag | Noted | Sequence["Yaml"] | Mapping[str, "Yaml"]
"""What can be written."""

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_/.-]*(:{1,2}[A-Za-z][A-Za-z0-9_/.-]*)*")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""Texts that YAML 1.1 takes for something else."""


def dump(value: Mapping[str, Yaml], *, comment: Sequence[str] = ()) -> str:
    """The document, below its comment, with a line end."""
    lines = [*_comments(comment, ""), *_mapping(value, "")]
    return "\n".join(lines) + "\n"


def _mapping(value: Mapping[str, Yaml], indent: str) -> Iterator[str]:
    for key, below in value.items():
        if isinstance(below, Noted):
            yield from _comments(below.comment, indent)
        yield from _entry(f"{indent}{_text(key)}:", _bare(below), indent)


def _entry(head: str, value: Yaml, indent: str) -> Iterator[str]:
    """A key with what belongs to it, on its line or below it."""
    if isinstance(value, Mapping) and value:
        yield head
        yield from _mapping(value, indent + "  ")
    elif isinstance(value, list | tuple) and value:
        yield head
        yield from _items(value, indent + "  ")
    else:
        yield f"{head} {_scalar(value)}"


def _items(values: Sequence[Yaml], indent: str) -> Iterator[str]:
    for value in values:
        if isinstance(value, Noted):
            yield from _comments(value.comment, indent)
        yield from _item(_bare(value), indent)


def _item(value: Yaml, indent: str) -> Iterator[str]:
    """A dash and its value, whose further lines stand below its first."""
    if isinstance(value, Mapping) and value:
        lines: Iterable[str] = _mapping(value, indent + "  ")
    elif isinstance(value, list | tuple) and value:
        lines = _items(value, indent + "  ")
    else:
        yield f"{indent}- {_scalar(value)}"
        return
    for number, line in enumerate(lines):
        yield f"{indent}- {line[len(indent) + 2 :]}" if number == 0 else line


def _bare(value: Yaml) -> Yaml:
    return value.value if isinstance(value, Noted) else value


def _scalar(value: Yaml) -> str:
    if isinstance(value, Tag):
        return f"!{value.name} {_text(value.value)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _text(value)
    return "{}" if isinstance(value, Mapping) else "[]"


def _text(value: str) -> str:
    plain = _PLAIN.fullmatch(value) is not None and value.lower() not in _WORDS
    return value if plain else f'"{"".join(_letter(letter) for letter in value)}"'


def _letter(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return letter if letter.isascii() and letter.isprintable() else f"\\U{ord(letter):08x}"


def _comments(lines: Sequence[str], indent: str) -> Iterator[str]:
    for line in lines:
        yield f"{indent}# {line}".rstrip()
