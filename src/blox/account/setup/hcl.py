"""Values as Terraform's HCL, laid out as `terraform fmt` does.

Only what templates need: blocks, attributes, lists, objects, function calls, references, comments.
https://developer.hashicorp.com/terraform/language/syntax/configuration
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from msgspec import Struct


class Expression(Struct, frozen=True):
    """Something of Terraform's that is no text: a reference, a type."""

    text: str


class Call(Struct, frozen=True):
    """A function of one argument."""

    function: str
    argument: "Hcl"


Hcl: TypeAlias = str | int | bool | Expression | Call | Sequence["Hcl"] | Mapping[str, "Hcl"]
"""What an attribute can have. `${…}` in a text is Terraform's own, and left as it is."""


class Attribute(Struct, frozen=True):
    """`name = value`"""

    name: str
    value: Hcl


class Comment(Struct, frozen=True):
    """Lines for people."""

    lines: tuple[str, ...]


class Block(Struct, frozen=True):
    """`kind "label" { … }`, below its comment."""

    kind: str
    labels: tuple[str, ...]
    body: tuple["Element", ...]
    comment: tuple[str, ...] = ()


Element = Attribute | Comment | Block
_INDENT: Final = "  "


def dump(elements: Sequence[Element]) -> str:
    """The document, with an empty line between its elements."""
    return "\n\n".join("\n".join(_element(element, "", {})) for element in elements) + "\n"


def _element(element: Element, indent: str, widths: Mapping[str, int]) -> Iterator[str]:
    if isinstance(element, Comment):
        yield from _comment(element.lines, indent)
    elif isinstance(element, Attribute):
        name = element.name.ljust(widths.get(element.name, 0))
        lines = _value(element.value, indent)
        yield f"{indent}{name} = {lines[0]}"
        yield from lines[1:]
    else:
        yield from _comment(element.comment, indent)
        labels = "".join(f' "{label}"' for label in element.labels)
        yield f"{indent}{element.kind}{labels} {{"
        yield from _body(element.body, indent + _INDENT)
        yield f"{indent}}}"


def _comment(lines: Sequence[str], indent: str) -> Iterator[str]:
    for line in lines:
        yield f"{indent}# {line}".rstrip()


def _body(elements: Sequence[Element], indent: str) -> Iterator[str]:
    """Attributes that stand together on lines of their own get their `=` below each other; an empty
    line stands before each block and after it."""
    for place, element in enumerate(elements):
        if place and (isinstance(element, Block) or isinstance(elements[place - 1], Block)):
            yield ""
        yield from _element(element, indent, _widths(elements, place))


def _widths(elements: Sequence[Element], place: int) -> dict[str, int]:
    """How wide the name of the attribute at `place` is written."""
    element = elements[place]
    if not isinstance(element, Attribute) or not _short(element):
        return {}
    first = last = place
    while first and _short(elements[first - 1]):
        first -= 1
    while last + 1 < len(elements) and _short(elements[last + 1]):
        last += 1
    names = [e.name for e in elements[first : last + 1] if isinstance(e, Attribute)]
    return {element.name: max(len(name) for name in names)}


def _short(element: Element) -> bool:
    """Whether it is an attribute on one line."""
    return isinstance(element, Attribute) and len(_value(element.value, "")) == 1


def _value(value: Hcl, indent: str) -> list[str]:
    """The value's lines; all but the first are indented."""
    if isinstance(value, Expression):
        return [value.text]
    if isinstance(value, Call):
        first, *rest = _value(value.argument, indent)
        lines = [f"{value.function}({first}", *rest]
        lines[-1] += ")"
        return lines
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, int):
        return [str(value)]
    if isinstance(value, str):
        return [json.dumps(value)]
    if isinstance(value, Mapping):
        return _object(value, indent)
    return _list(value, indent)


def _object(value: Mapping[str, Hcl], indent: str) -> list[str]:
    inner = indent + _INDENT
    elements = [
        Attribute(key if key.isidentifier() else json.dumps(key), below)
        for key, below in value.items()
    ]
    return ["{", *_body(elements, inner), f"{indent}}}"]


def _list(values: Sequence[Hcl], indent: str) -> list[str]:
    """On one line when there is one, else one a line."""
    if len(values) < 2:
        lines = [_value(value, indent) for value in values]
        if not lines or len(lines[0]) == 1:
            return [f"[{lines[0][0] if lines else ''}]"]
    inner = indent + _INDENT
    shown = ["["]
    for value in values:
        first, *rest = _value(value, inner)
        shown += [inner + first, *rest]
        shown[-1] += ","
    return [*shown, f"{indent}]"]
