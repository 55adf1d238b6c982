"""Errors as RFC 9457 problem details, the form of every error outside /v1.

https://www.rfc-editor.org/rfc/rfc9457. `type` is a URN that programs may compare, `title` says the
same in words, `detail` is the sentence of this occurrence, `instance` the path that was asked.
"""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import quote

import msgspec

from blox.base.errors import BloxError, Conflict, InvalidInput, NotFound, Unavailable

PROBLEM_JSON: Final = "application/problem+json"
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_STANDARD_MEMBERS: Final = frozenset({"type", "title", "status", "detail", "instance"})


class Refused(BloxError):
    """An error that carries its own HTTP status, for what only HTTP knows: 403, 405, 412, 413 …

    `headers` are added to the answer, `extra` to the problem's members.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        headers: Mapping[str, str] = NOTHING,
        extra: Mapping[str, object] = NOTHING,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.extra = extra


class PositionExpired(BloxError):
    """Changes after this place in a stream are not kept any more, or it is another service's."""


class _Kind(NamedTuple):
    status: int
    slug: str
    title: str


_KINDS: Final[tuple[tuple[type[BloxError], _Kind], ...]] = (
    (InvalidInput, _Kind(400, "invalid-input", "The request can never succeed as it is")),
    (NotFound, _Kind(404, "not-found", "What the request names does not exist")),
    (Conflict, _Kind(409, "conflict", "The request contradicts the present state")),
    (PositionExpired, _Kind(410, "position-expired", "This stream cannot go on from there")),
    (Unavailable, _Kind(503, "unavailable", "Something that blox needs does not answer")),
)
_INTERNAL: Final = _Kind(500, "internal", "blox made a mistake")


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One problem as it is sent, without its extra members."""

    type: str
    title: str
    status: int
    detail: str
    instance: str


def status_of(error: BloxError) -> int:
    """The HTTP status of an error; 500 for a kind that has none of its own."""
    return _kind_of(error).status


def problem_of(error: BloxError, *, instance: str) -> Problem:
    """The problem that tells of `error`, raised while `instance` (a path) was asked."""
    kind = _kind_of(error)
    return Problem(
        type=f"urn:blox:problem:{kind.slug}",
        title=kind.title,
        status=kind.status,
        detail=error.message,
        instance=quote(instance, safe="/:@!$&'()*+,;=~"),
    )


def encode_problem(problem: Problem, *, extra: Mapping[str, object] = NOTHING) -> bytes:
    """The problem as JSON; `extra` members follow the standard ones and never replace them."""
    members: dict[str, object] = msgspec.structs.asdict(problem)
    members.update({name: extra[name] for name in extra if name not in _STANDARD_MEMBERS})
    return msgspec.json.encode(members)


def _kind_of(error: BloxError) -> _Kind:
    if isinstance(error, Refused):
        return _kind_of_status(error.status)
    for base, kind in _KINDS:
        if isinstance(error, base):
            return kind
    return _INTERNAL


def _kind_of_status(status: int) -> _Kind:
    """One type has one title, whoever raised it."""
    for kind in (*(kind for _, kind in _KINDS), _INTERNAL):
        if kind.status == status:
            return kind
    phrase = HTTPStatus(status).phrase
    return _Kind(status, phrase.lower().replace(" ", "-"), phrase)
