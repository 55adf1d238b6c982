"""Whole answers, kept until something in them changes.

Dashboards and schedulers ask for the same lists again and again, and a list of thousands of hosts
has megabytes. What was answered is kept by what was asked, with the version of the last change that
could concern it. A bounded number of bytes is kept; what was asked for longest ago goes first.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Final, NamedTuple

from blox.clusterstate.api.positions import LONGEST_VERSION
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
        known of may be older than one that the caller has seen. And it names the position to follow
        from: a caller whose list has not changed, but from whose position nobody can follow any
        more, needs another one.
        """
        now = f"{self._catalogue.epoch}.{version}"
        for tag in _tags(headers.get("if-none-match", "")):
            if tag == "*" or self._good(tag, now):
                had = f"{now}.{self._catalogue.name}.{self._catalogue.last}" if tag == "*" else tag
                return Answer(status=304, headers=_described(had))
        kept = self._kept.get(key)
        followable = kept is not None and self._can_follow(kept)
        if kept is None or kept.version != version or not followable:
            kept = _Kept(version, self._catalogue.name, self._catalogue.last, make())
            self._keep(key, kept)
        else:
            self._kept.move_to_end(key)
        etag = f"{now}.{kept.numbering}.{kept.position}"
        return Answer(body=kept.body, headers=_described(etag))

    def _good(self, tag: str, now: str) -> bool:
        """Whether a caller's list is the present one, and can be followed from where it was."""
        version, numbering, position = ["", "", *tag.rsplit(".", 2)][-3:]
        if version != now or not position.isdecimal() or len(position) > LONGEST_VERSION:
            return False
        return numbering == self._catalogue.name and self._catalogue.log.holds(int(position))

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


def _described(etag: str) -> dict[str, str]:
    return {"etag": f'"{etag}"', "cache-control": "no-cache"}


def _tags(given: str) -> Iterator[str]:
    """What a header If-None-Match names, without quotes.
    https://www.rfc-editor.org/rfc/rfc9110#name-if-none-match"""
    for tag in given.split(",") if given else ():
        text = tag.strip().removeprefix("W/")
        if text == "*":
            yield text
        elif len(text) > 1 and text[0] == text[-1] == '"':
            yield text[1:-1]
