"""Keep up with the cluster-state-service: list everything, then follow what changes.

The position that a list comes with says from where to follow: nothing is missed in between. A
stream that is cut is taken up where it ended. Where the service cannot tell any more what has
changed since (it was too long, or it is another service's stream by now), everything is listed
again, and what is different from before is told as changes.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from blox.base.backoff import exponential
from blox.base.errors import BloxError, Unavailable
from blox.cli.client import JsonObject
from blox.cli.state_changes import same
from blox.cli.state_client import PositionExpired, StateClient, Stream
from blox.cli.state_words import condition_notes

TASK, INSTANCE, CLUSTER = "task", "instance", "cluster"
KINDS: Final = (CLUSTER, INSTANCE, TASK)
_COLLECTIONS: Final = {
    TASK: "/v2/tasks",
    INSTANCE: "/v2/instances",
    CLUSTER: "/v2/clusters",
}
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 10.0

Known = dict[str, JsonObject]
"""By ARN."""


class Wanted(NamedTuple):
    """What is followed."""

    kinds: tuple[str, ...] = KINDS
    clusters: tuple[JsonObject, ...] = ()
    """None of them: all that are watched."""
    filters: Mapping[str, str] = {}
    """Of tasks: startedBy, group."""

    def about(self, message: JsonObject) -> bool:
        """Whether a task, host or cluster is of the clusters that are followed."""
        arn = message.get("clusterArn", message.get("arn"))
        return not self.clusters or any(one["arn"] == arn for one in self.clusters)

    def queries(self, kind: str) -> list[dict[str, str]]:
        """The queries that list everything: one for each cluster, or one for all."""
        filters = dict(self.filters) if kind == TASK else {}
        if kind == CLUSTER or not self.clusters:
            return [filters]
        return [{"cluster": one["arn"], **filters} for one in self.clusters]


# --- News -----------------------------------------------------------------------------------------


class Listed(NamedTuple):
    """Everything was listed. `reason`: why again; "" the first time. What is different from before
    comes as changes after it."""

    position: str
    items: Mapping[str, Sequence[JsonObject]]
    """By kind."""
    reason: str


class Changed(NamedTuple):
    """A task, host or cluster is as `after`; `before` it was so, None: it was not there."""

    kind: str
    before: JsonObject | None
    after: JsonObject
    position: str
    found: bool = False
    """By listing again, not told by the stream."""


class Gone(NamedTuple):
    """The service has let go of a task, host or cluster."""

    kind: str
    before: JsonObject
    deleted: JsonObject
    position: str
    found: bool = False
    """By listing again, not told by the stream."""


class Cut(NamedTuple):
    """The stream has ended, and is taken up again after `wait` seconds."""

    why: str
    wait: float


class Back(NamedTuple):
    """The stream goes on where it was cut, `seconds` later."""

    seconds: float


class Ill(NamedTuple):
    """What is wrong with the service as a whole has changed: the sentences of all that is."""

    notes: tuple[str, ...]


class Beat(NamedTuple):
    """A heartbeat: nothing has changed."""


News = Listed | Changed | Gone | Cut | Back | Ill | Beat


# --- Following ------------------------------------------------------------------------------------


@dataclass
class Follower:
    """Follows one service. `run` gives the news, for ever."""

    client: StateClient
    wanted: Wanted
    known: dict[str, Known] = field(default_factory=dict)
    """By kind: what was told last."""
    position: str = ""
    doubtful: set[str] = field(default_factory=set)
    """ARNs of clusters of which something is missing in the list, and which the service has not
    read completely: what is missing may be there."""
    notes: tuple[str, ...] = ()
    """What was wrong with the service when it was asked last."""

    def run(self) -> Iterator[News]:
        """What happens. Raises BloxError's subclasses when the service does not answer the first
        time, or refuses what is asked."""
        yield self._list("")
        yield from self._ill()
        failures, since = 0, 0.0
        while True:
            try:
                with self._open() as stream:
                    for message in stream:
                        if failures:
                            yield Back(time.monotonic() - since)
                            failures = 0
                        if message["event"] == "reset":
                            raise PositionExpired(_reason(message))
                        yield from self._heard(message)
                        if message["event"] in (CLUSTER, "heartbeat"):
                            yield from self._ill()
            except PositionExpired as expired:
                yield from self._again(str(expired))
                failures = 0
            except Unavailable as error:
                since = since if failures else time.monotonic()
                failures += 1
                yield from _pause(error, failures)

    def _open(self) -> Stream:
        query = {
            "kinds": ",".join(f"{kind}s" for kind in self.wanted.kinds),
            "position": self.position,
            **self.wanted.filters,
        }
        if len(self.wanted.clusters) == 1:
            query["cluster"] = self.wanted.clusters[0]["arn"]
        return self.client.stream(query)

    # --- Listing ----------------------------------------------------------------------------------

    def _list(self, reason: str) -> Listed:
        """List everything. The position is that of the first answer: what changes while the rest is
        asked for comes again in the stream, and is then nothing new."""
        positions: list[str] = []
        found: dict[str, list[JsonObject]] = {kind: [] for kind in self.wanted.kinds}
        for kind, items in found.items():
            for query in self.wanted.queries(kind):
                listed, position = self.client.listing(_COLLECTIONS[kind], query)
                items += [one for one in listed if self.wanted.about(one)]
                positions.append(position)
        self.position = positions[0]
        self.known = {kind: {one["arn"]: one for one in items} for kind, items in found.items()}
        return Listed(self.position, found, reason)

    def _again(self, reason: str) -> Iterator[News]:
        """List again, as often as it takes, and tell what is different."""
        before = self.known
        failures = 0
        while True:
            try:
                listed = self._list(reason)
                break
            except Unavailable as error:
                failures += 1
                yield from _pause(error, failures)
        yield listed
        self.doubtful = set()
        for kind, known in self.known.items():
            old = before.get(kind, {})
            for arn in sorted({*old, *known}):
                if arn not in known:
                    yield from self._missing(kind, old[arn])
                elif arn not in old or not same(old[arn], known[arn]):
                    yield Changed(kind, old.get(arn), known[arn], self.position, found=True)

    def _missing(self, kind: str, item: JsonObject) -> Iterator[News]:
        """What was there is not listed: it is gone, or its cluster has not been read completely by
        a service that has begun anew, and will be listed once it has."""
        cluster = str(item["arn"] if kind == CLUSTER else item["clusterArn"])
        listed = self.known.get(CLUSTER, {}).get(cluster, {"primed": False})
        if CLUSTER not in self.wanted.kinds or listed["primed"]:
            yield Gone(kind, item, item, self.position, found=True)
            return
        unread = {"primed": False} if kind == CLUSTER else {}
        self.known[kind][item["arn"]] = {**item, "version": 0, **unread}
        self.doubtful.add(cluster)

    def _ill(self) -> Iterator[News]:
        """What is wrong with the service, if that has changed. The stream does not tell it."""
        if CLUSTER not in self.wanted.kinds:
            return
        try:
            conditions = self.client.conditions()
        except BloxError:
            return
        notes = tuple(condition_notes(conditions, list(self.known.get(CLUSTER, {}).values())))
        if notes != self.notes:
            self.notes = notes
            yield Ill(notes)

    # --- The stream -------------------------------------------------------------------------------

    def _heard(self, message: JsonObject) -> Iterator[News]:
        event, told = message["event"], message["data"]
        position = str(message["position"])
        kind = told["kind"] if event == "deleted" else event
        if event == "heartbeat":
            yield Beat()
        elif kind in self.wanted.kinds and self.wanted.about(told):
            known = self.known.setdefault(kind, {})
            before = known.get(told["arn"])
            if before is not None and before["version"] >= told["version"]:
                pass  # The list was newer.
            elif event != "deleted":
                known[told["arn"]] = told
                self.position = position
                yield Changed(kind, before, told, position)
                if kind == CLUSTER and told["primed"] and told["arn"] in self.doubtful:
                    raise PositionExpired(f"{told['name']} has been read completely")
            elif before is not None:
                del known[told["arn"]]
                yield Gone(kind, before, told, position)
        self.position = position


def _pause(error: Unavailable, failures: int) -> Iterator[News]:
    """Say that it is cut, and wait: longer with every failure in a row."""
    wait = exponential(failures, first=_FIRST_WAIT, factor=2, most=_LONGEST_WAIT)
    yield Cut(error.message, wait)
    time.sleep(wait)


def _reason(message: JsonObject) -> str:
    told = message.get("data")
    reason = told.get("reason") if isinstance(told, dict) else None
    return str(reason or "the service asked for it")
