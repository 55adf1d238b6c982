"""Query strings, read strictly: what is not known or stands twice is an error, never ignored.

A misspelt filter that is ignored answers a question that nobody asked, and a script believes it.
Pure: values in, values out.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from blox.base.errors import InvalidInput

_MOST_PARAMETERS: Final = 32
_BOOLEANS: Final = {"true": True, "false": False}


class UnsupportedParameter(InvalidInput):
    """The query names a parameter that this operation does not have."""

    def __init__(self, name: str, known: Collection[str]) -> None:
        choice = f"known here: {', '.join(sorted(known))}" if known else "there are none here"
        super().__init__(f"The query parameter {name!r} is not supported; {choice}.")
        self.name = name


class RepeatedParameter(InvalidInput):
    """The query gives a parameter more than once."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The query parameter {name!r} is specified multiple times.")
        self.name = name


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of one request, each given at most once."""

    values: Mapping[str, str]

    def text(self, name: str) -> str | None:
        """The value, or None when it was not given. An empty value raises InvalidInput."""
        value = self.values.get(name)
        if value == "":
            raise InvalidInput(f"The query parameter {name!r} is empty; leave it out or fill it.")
        return value

    def needed(self, name: str) -> str:
        """The value. Raises InvalidInput when it was not given."""
        value = self.text(name)
        if value is None:
            raise InvalidInput(f"The query parameter {name!r} is missing.")
        return value

    def flag(self, name: str) -> bool:
        """`true` or `false`; false when it was not given. Raises InvalidInput for anything else."""
        value = self.text(name)
        if value is None:
            return False
        if value not in _BOOLEANS:
            raise InvalidInput(f"The query parameter {name!r} is {value!r}: use true or false.")
        return _BOOLEANS[value]

    def number(self, name: str, *, low: int, high: int, default: int) -> int:
        """A whole number from `low` to `high`. Raises InvalidInput for anything else."""
        value = self.text(name)
        if value is None:
            return default
        digits = value.removeprefix("-")
        if len(digits) > 18 or not (digits.isascii() and digits.isdigit()):
            raise InvalidInput(f"The query parameter {name!r} is {value!r}: a number is needed.")
        number = int(value)
        if not low <= number <= high:
            raise InvalidInput(
                f"The query parameter {name!r} is {number}: it must be from {low} to {high}."
            )
        return number


def parse_query(raw: bytes, *, allowed: Collection[str]) -> Query:
    """The parameters in a request's query string, as it stood in the request line.

    Raises UnsupportedParameter, RepeatedParameter, or InvalidInput when it cannot be decoded.
    """
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError:
        raise InvalidInput(
            f"The query string cannot be read: it must be percent-encoded UTF-8 with at most "
            f"{_MOST_PARAMETERS} parameters."
        ) from None
    for name, _ in pairs:
        if name not in allowed:
            raise UnsupportedParameter(name, allowed)
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise RepeatedParameter(name)
    return Query(dict(pairs))
