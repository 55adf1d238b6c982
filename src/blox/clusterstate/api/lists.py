"""Whole answers, kept until something in them changes.

Dashboards and schedulers ask for the same lists again and again, and a list of thousands of hosts
has megabytes. What was answered is kept by what was asked, with the version of the last change that
could concern it. When a few items have changed, the new answer is put together from the bytes of
the one before and the few that are encoded anew. A bounded number of bytes is kept, in proportion
to what the catalogue holds; what was asked for longest ago goes first.

A list is as of the instant at which its making begins: its version, its position and its items are
all taken then, at once. Encoding it may take longer, and lets others have their turns meanwhile; a
change that comes in between has a version after the list's, and a stream from the list's position
tells it. Those who ask for the same while it is being made get it too, if it was begun after they
asked; else the next one.
"""

import asyncio
from array import array
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from blox.clusterstate.api.positions import LONGEST_VERSION
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.entity import Entity
from blox.http.operations import Answer

BYTES_AT_LEAST: Final = 4 * 1024 * 1024
"""Of all answers that are kept, however little is known."""
BYTES_EACH: Final = 1024
"""And so many more for each task and host that is known, which itself takes several times that."""
MOST_ANSWERS: Final = 256
AT_ONCE: Final = 1000
"""Items that are filtered or encoded before others get their turn."""

_HEAD: Final = b'{"items":['


class Listed(NamedTuple):
    """What a list consists of, before it is encoded."""

    items: Sequence[Entity]
    tail: bytes = b"}"
    """What follows after the list."""


class _Kept(NamedTuple):
    """One answer's body."""

    version: int
    """Of the last change that could concern it."""
    numbering: str
    position: int
    """The last version of all when it was made, and of which numbering: the place to follow from
    that it names."""
    body: bytes
    versions: "array[int]"
    """Of each item: no two states of anything have the same one."""
    ends: "array[int]"
    """Where each item ends in the body."""

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.body) + 16 * len(self.versions)


class Lists:
    """The last answers to lists."""

    def __init__(self, catalogue: Catalogue, *, most_bytes: int | None = None) -> None:
        """`most_bytes`: of all that is kept; None: in proportion to the catalogue. The last answer
        is kept in any case: one that is larger than all of that is made once for all who ask."""
        self._catalogue = catalogue
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._bytes = 0
        self._making: dict[Hashable, asyncio.Future[_Kept | None]] = {}

    @property
    def kept_bytes(self) -> int:
        """Bytes of all that is kept."""
        return self._bytes

    async def answer(
        self,
        key: Hashable,
        changed: Callable[[], int],
        headers: Mapping[str, str],
        make: Callable[[], Awaitable[Listed]],
        show: Callable[[Entity], bytes],
    ) -> Answer:
        """The list that `key` names: 304 when the caller has it already, as it was kept, or made of
        `make()`, whose items are what is known when it is called, and what `show` gives for each.
        `changed()` is the version of the last change that could concern it. `headers`: the
        request's.

        The ETag names the run of this process too: after a restart, the last change that is still
        known of may be older than one that the caller has seen. And it names the position to follow
        from: a caller whose list has not changed, but from whose position nobody can follow any
        more, needs another one.
        """
        version = changed()
        now = f"{self._catalogue.epoch}.{version}"
        for tag in _tags(headers.get("if-none-match", "")):
            if tag == "*" or self._good(tag, now):
                had = f"{now}.{self._catalogue.name}.{self._catalogue.last}" if tag == "*" else tag
                return Answer(status=304, headers=_described(had))
        kept = self._kept.get(key)
        while kept is None or not self._still(kept, version):
            under_way = self._making.get(key)
            if under_way is None:
                kept = await self._make(key, changed(), make, show)
                break
            kept = await asyncio.shield(under_way)
        if key in self._kept:
            self._kept.move_to_end(key)
        etag = f"{self._catalogue.epoch}.{kept.version}.{kept.numbering}.{kept.position}"
        return Answer(body=kept.body, headers=_described(etag))

    def _still(self, kept: _Kept, version: int) -> bool:
        return kept.version >= version and self._can_follow(kept.numbering, kept.position)

    def _good(self, tag: str, now: str) -> bool:
        """Whether a caller's list is the present one, and can be followed from where it was."""
        version, numbering, position = ["", "", *tag.rsplit(".", 2)][-3:]
        if version != now or not position.isdecimal() or len(position) > LONGEST_VERSION:
            return False
        return numbering == self._catalogue.name and self._catalogue.log.holds(int(position))

    def _can_follow(self, numbering: str, position: int) -> bool:
        """Whether a stream can still begin where a list says, and for a while from now: nothing
        in the list has changed since, but so much else may have that deletions after it are no
        longer kept."""
        log = self._catalogue.log
        recent = position >= log.floor + (log.last - log.floor) // 2
        return recent and numbering == self._catalogue.name

    # --- Making one -------------------------------------------------------------------------------

    async def _make(
        self,
        key: Hashable,
        version: int,
        make: Callable[[], Awaitable[Listed]],
        show: Callable[[Entity], bytes],
    ) -> _Kept:
        """Make the list as of now, for all who ask for it meanwhile."""
        told: asyncio.Future[_Kept | None] = asyncio.get_running_loop().create_future()
        self._making[key] = told
        made = None
        try:
            numbering, position = self._catalogue.name, self._catalogue.last
            listed = await make()
            body, versions, ends = await _encoded(listed, show, self._kept.get(key))
            made = _Kept(version, numbering, position, body, versions, ends)
            self._keep(key, made)
        finally:
            del self._making[key]
            told.set_result(made)
        return made

    def _keep(self, key: Hashable, made: _Kept) -> None:
        self._forget(key)
        self._kept[key] = made
        self._bytes += made.size
        most = self._most()
        while len(self._kept) > 1 and (self._bytes > most or len(self._kept) > MOST_ANSWERS):
            self._forget(next(iter(self._kept)))

    def _most(self) -> int:
        if self._most_bytes is not None:
            return self._most_bytes
        known = sum(
            self._catalogue.count(kind, arn)
            for arn in self._catalogue.clusters
            for kind in ("task", "instance")
        )
        return BYTES_AT_LEAST + BYTES_EACH * known

    def _forget(self, key: Hashable) -> None:
        former = self._kept.pop(key, None)
        if former is not None:
            self._bytes -= former.size


async def _encoded(
    listed: Listed, show: Callable[[Entity], bytes], former: _Kept | None
) -> tuple[bytes, "array[int]", "array[int]"]:
    """The JSON of a list, with each item's version and end. Items that stand in the former answer
    are copied from there, in runs of as many as stand side by side in both."""
    old = b"" if former is None else former.body
    starts = _starts(former)
    ends_before = array("q") if former is None else former.ends
    where = {} if former is None else {v: n for n, v in enumerate(former.versions)}
    parts: list[bytes | memoryview] = []
    versions, ends = array("q"), array("q")
    at, run_from, last = len(_HEAD) - 1, -1, -2

    def end_run() -> None:
        if run_from >= 0:
            parts.append(memoryview(old)[starts(run_from) : ends_before[last]])

    for number, item in enumerate(listed.items):
        if number % AT_ONCE == 0 and number:
            await asyncio.sleep(0)
        found = where.get(item.version, -1)
        if found >= 0:
            if found != last + 1 or run_from < 0:
                end_run()
                run_from = found
            last = found
            size = ends_before[found] - starts(found)
        else:
            end_run()
            run_from, last = -1, -2
            shown = show(item)
            parts.append(shown)
            size = len(shown)
        at += 1 + size
        versions.append(item.version)
        ends.append(at)
    end_run()
    return b"".join((_HEAD, b",".join(parts), b"]", listed.tail)), versions, ends


def _starts(former: _Kept | None) -> Callable[[int], int]:
    """Where each item of an answer begins: behind the comma after the one before."""
    ends = array("q") if former is None else former.ends
    return lambda number: ends[number - 1] + 1 if number else len(_HEAD)


async def sifted(
    found: Iterator[Entity], fits: Callable[[Entity], bool] | None, *, most: int | None = None
) -> list[Entity]:
    """Those that fit, no more than `most`; None: all. They are what `found` gives when this is
    called; judging them lets others have their turns."""
    if fits is None:
        return list(islice(found, most))
    looked_at = list(islice(found, AT_ONCE))
    fitting = list(filter(fits, looked_at))
    if most is not None and len(fitting) >= most:
        return fitting[:most]
    rest = list(found)
    for begin in range(0, len(rest), AT_ONCE):
        await asyncio.sleep(0)
        fitting += filter(fits, rest[begin : begin + AT_ONCE])
        if most is not None and len(fitting) >= most:
            return fitting[:most]
    return fitting


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
