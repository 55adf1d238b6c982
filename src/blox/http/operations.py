"""What an API offers, declared: the same values route, check and document each operation.

A parameter that is not declared is refused, and one that is declared stands in /openapi.json;
neither can be forgotten.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

import msgspec

from blox.base.errors import InvalidInput
from blox.http.queries import Query

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Body = TypeVar("Body")
JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, read and checked, as an operation gets it."""

    method: str
    path: str
    params: Mapping[str, str]
    """The values of the path's parameters."""
    query: Query
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes = b""

    def decode(self, kind: type[Body]) -> Body:
        """The JSON body as `kind`. Raises InvalidInput with the place that does not fit."""
        if not self.body:
            raise InvalidInput("The request needs a body in JSON, and there is none.")
        try:
            return msgspec.json.decode(self.body, type=kind)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"The request's body does not fit: {error}.") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"The request's body is not JSON: {error}.") from None
        except RecursionError:
            raise InvalidInput("The request's body is nested too deeply.") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an operation answers with."""

    body: object = b""
    """Bytes are sent as they are, anything else as JSON."""
    status: int = 200
    """304 has neither a body nor a type."""
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str | None = None
    """None: JSON, in the spelling of the API's version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """An answer without an end: it stops when the client leaves or the server does."""

    chunks: AsyncIterator[bytes]
    media_type: str = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[Answer | Streaming]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of a query, a path or a header, as it is documented."""

    name: str
    description: str
    kind: Literal["string", "integer", "boolean"] = "string"
    required: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """One documented answer: when, and with what."""

    description: str
    body: object = None
    """The type of its body; None: it has none."""
    media_type: str = JSON
    also: tuple[str, ...] = ()
    """Other media types in which the same is to be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method on one path."""

    method: Method
    path: str
    """With its parameters in braces: `/v1/environments/{name}`. The last may be `{arn:path}`: it
    takes the rest of the path, slashes included."""
    id: str
    """Unique; names the operation in the document and in clients made from it."""
    summary: str
    handle: Handler
    description: str = ""
    tags: tuple[str, ...] = ()
    path_parameters: tuple[Parameter, ...] = ()
    query: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    body: object = None
    """The type of the request's body, for the document; None: a body is not read."""
    body_type: str = JSON
    answers: Mapping[int, Returned] = field(default_factory=dict)
    """Those of success. Errors are documented for every operation alike."""
    errors: tuple[int, ...] = (400, 404)
    any_query: bool = False
    """Take any query, for callers that may add their own, as probes and scrapers do."""
