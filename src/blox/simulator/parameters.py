"""Reading a request's members, with the errors that ECS answers to wrong ones.

Texts of errors, where a public thread shows one, are ECS's own:
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html
"""

import re
from typing import Final

from blox.simulator.model import Fault, Json

_CLUSTER: Final = re.compile(r"[a-zA-Z0-9\-_]{1,255}\Z")
_STARTED_BY: Final = re.compile(r"[A-Za-z0-9\-/_]*\Z")
_ATTRIBUTE_NAME: Final = re.compile(r"[A-Za-z0-9\-_/\\.]{1,128}\Z")
_ATTRIBUTE_VALUE: Final = re.compile(r"[A-Za-z0-9\-_/\\.@:]([A-Za-z0-9\-_/\\.@: ]{0,126}\S)?\Z")
_TAG: Final = re.compile(r"[\w\s.:/=+\-@]*\Z")


def invalid(message: str) -> Fault:
    """The error for a request that can never succeed as it is."""
    return Fault("InvalidParameterException", message)


def client_error(message: str) -> Fault:
    """The error for a caller's mistake that is not about a member's form."""
    return Fault("ClientException", message)


class Parameters:
    """The members of one request. Every reader raises Fault for a wrong type; unknown members are
    ignored, as ECS does."""

    def __init__(self, members: Json) -> None:
        self.members = members

    def text(self, name: str) -> str | None:
        """A string, or None when absent."""
        value = self.members.get(name)
        if value is None or isinstance(value, str):
            return value
        raise _wrong_type(name, "a string")

    def needed(self, name: str, message: str) -> str:
        """A string that must be there; else InvalidParameterException with `message`."""
        value = self.text(name)
        if not value:
            raise invalid(message)
        return value

    def choice(self, name: str, options: tuple[str, ...]) -> str | None:
        """One of `options`, or None when absent."""
        value = self.text(name)
        if value is not None and value not in options:
            raise invalid(f"{name} should be one of {', '.join(options)}, but was {value}.")
        return value

    def texts(self, name: str, *, most: int | None = None) -> list[str]:
        """A list of strings, empty when absent; at most `most` of them."""
        found = [item for item in self._items(name) if isinstance(item, str)]
        if len(found) != len(self._items(name)):
            raise _wrong_type(name, "a list of strings")
        if most is not None and len(found) > most:
            raise invalid(f"{name} can have at most {most} items.")
        return found

    def objects(self, name: str) -> list[Json]:
        """A list of objects, empty when absent."""
        found = [dict(item) for item in self._items(name) if isinstance(item, dict)]
        if len(found) != len(self._items(name)):
            raise _wrong_type(name, "a list of objects")
        return found

    def child(self, name: str) -> "Parameters":
        """An object's members, none when absent."""
        value = self.members.get(name)
        if value is None:
            return Parameters({})
        if not isinstance(value, dict):
            raise _wrong_type(name, "an object")
        return Parameters(value)

    def number(self, name: str, default: int, *, least: int, most: int) -> int:
        """A whole number within bounds."""
        value = self.members.get(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong_type(name, "an integer")
        if not least <= value <= most:
            raise invalid(f"{name} should be between {least} and {most}, but was {value}.")
        return value

    def flag(self, name: str) -> bool:
        """A boolean, False when absent."""
        value = self.members.get(name, False)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise _wrong_type(name, "a boolean")

    def _items(self, name: str) -> list[object]:
        value = self.members.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise _wrong_type(name, "a list")
        return value


def _wrong_type(name: str, expected: str) -> Fault:
    return Fault("SerializationException", f"{name} must be {expected}.")


def whole(value: object) -> int:
    """A JSON number as an int, 0 for anything else: for members whose type was checked before."""
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0


def size(parameters: Parameters, name: str) -> int:
    """A task's `cpu` (units) or `memory` (MiB), which travel as text; 0 when absent."""
    text = parameters.text(name) or "0"
    if not text.isdecimal():
        raise client_error(f"Invalid '{name}' setting for task.")
    return int(text)


def check_cluster_name(name: str) -> None:
    """Raises for a name that ECS would not take."""
    if _CLUSTER.match(name) is None:
        raise invalid(f"Cluster must match ^[a-zA-Z0-9\\-_]{{1,255}}$, but was {name}")


def started_by(parameters: Parameters, *, longest: int) -> str:
    """The checked `startedBy`, "" when absent."""
    value = parameters.text("startedBy") or ""
    if len(value) > longest:
        raise invalid(f"startedBy longer than {longest}.")
    if _STARTED_BY.match(value) is None:
        raise invalid("startedBy may only hold letters, digits, hyphens, slashes and underscores.")
    return value


def attribute(item: Json) -> tuple[str, str | None]:
    """The checked (name, value) of one attribute."""
    parameters = Parameters(item)
    name = parameters.needed("name", "Attribute name cannot be empty.")
    value = parameters.text("value")
    if _ATTRIBUTE_NAME.match(name) is None:
        raise invalid(f"Attribute name {name!r} is invalid.")
    if value is not None and _ATTRIBUTE_VALUE.match(value) is None:
        raise invalid(f"Attribute value {value!r} is invalid.")
    return name, value


def tags(parameters: Parameters, name: str = "tags") -> dict[str, str]:
    """The checked tags of a request, {} when absent."""
    found: dict[str, str] = {}
    for item in parameters.objects(name):
        tag = Parameters(item)
        key, value = tag.text("key") or "", tag.text("value") or ""
        if not 1 <= len(key) <= 128 or len(value) > 256:
            raise invalid("A tag's key has 1 to 128 characters and its value at most 256.")
        if _TAG.match(key) is None or _TAG.match(value) is None:
            raise invalid(f"Tag {key!r} holds characters that are not allowed.")
        if key.lower().startswith("aws:"):
            raise invalid("Tag keys beginning with aws: are reserved.")
        found[key] = value
    if len(found) > 50:
        raise invalid("A resource can have at most 50 tags.")
    return found


def tag_list(found: dict[str, str]) -> list[Json]:
    """Tags as ECS's wire has them."""
    return [{"key": key, "value": value} for key, value in found.items()]
