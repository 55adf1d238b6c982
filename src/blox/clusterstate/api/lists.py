"""Whole answers, kept until something in them changes.

Dashboards and schedulers ask for the same lists again and again, and a list of thousands of hosts
has megabytes. What was answered is kept by what was asked, with the version of the last change that
could concern it. A bounded number of bytes is kept; what was asked for longest ago goes first.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Final, NamedTuple

from blox.clusterstate.catalogue import Catalogue
from blox.http.operations import Answer

MOST_BYTES: Final = 32 * 1024 * 1024
"""Of all answers that are kept."""
MOST_ANSWERS: Final = 256


class _Kept(NamedTuple):
    """One answer's body."""

    version: int
    """Of the last change that could concern it."""
    numbering: str
    position: int
    """The last version of all when it was made, and of which numbering: the place to follow from
    that it names."""
    body: bytes


class Lists:
    """The last answers to lists."""

    def __init__(self, catalogue: Catalogue, *, most_bytes: int = MOST_BYTES) -> None:
        self._catalogue = catalogue
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._bytes = 0

    @property
    def kept_bytes(self) -> int:
        """Bytes of all that is kept."""
        return self._bytes

    def answer(
        self,
        key: Hashable,
        version: int,
        headers: Mapping[str, str],
        make: Callable[[], bytes],
    ) -> Answer:
        """The list that `key` names, as of `version`: 304 when the caller has it already, as it was
        kept, or as `make()` makes it. `headers`: the request's.

        The ETag names the run of this process too: after a restart, the last change that is still
        known of may be older than one that the caller has seen.
        """
        etag = f'"{self._catalogue.epoch}.{version}"'
        answered = {"etag": etag, "cache-control": "no-cache"}
        given = headers.get("if-none-match")
        if given is not None and _has(given, etag):
            return Answer(status=304, headers=answered)
        kept = self._kept.get(key)
        if kept is None or kept.version != version or not self._can_follow(kept):
            kept = _Kept(version, self._catalogue.name, self._catalogue.last, make())
            self._keep(key, kept)
        else:
            self._kept.move_to_end(key)
        return Answer(body=kept.body, headers=answered)

    def _can_follow(self, kept: _Kept) -> bool:
        """Whether a stream can still begin where the list says, and for a while from now: nothing
        in the list has changed since, but so much else may have that deletions after it are no
        longer kept."""
        log = self._catalogue.log
        recent = kept.position >= log.floor + (log.last - log.floor) // 2
        return recent and kept.numbering == self._catalogue.name

    def _keep(self, key: Hashable, made: _Kept) -> None:
        self._forget(key)
        if len(made.body) > self._most_bytes:
            return
        self._kept[key] = made
        self._bytes += len(made.body)
        while self._bytes > self._most_bytes or len(self._kept) > MOST_ANSWERS:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Hashable) -> None:
        former = self._kept.pop(key, None)
        if former is not None:
            self._bytes -= len(former.body)


def _has(given: str, etag: str) -> bool:
    """Whether a header If-None-Match names this version.
    https://www.rfc-editor.org/rfc/rfc9110#name-if-none-match"""
    tags = (tag.strip() for tag in given.split(","))
    return any(tag == "*" or tag.removeprefix("W/") == etag for tag in tags)
