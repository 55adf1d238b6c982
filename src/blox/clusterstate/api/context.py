"""What every operation of the cluster-state-service's API holds in its hands."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct

from blox.base.ambient import Clock
from blox.base.errors import InvalidInput
from blox.base.ids import is_cluster_reference, short_id
from blox.clusterstate.api.filters import Machine, host_of
from blox.clusterstate.api.lists import Lists
from blox.clusterstate.api.positions import position_of
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.entity import Entity, Kind
from blox.clusterstate.ingest import Rejected
from blox.clusterstate.view import View
from blox.http.operations import Parameter
from blox.http.pages import PAGE_SIZE
from blox.http.texts import INVALID_CLUSTER

MOST_ITEMS: Final = 1000
"""In one page of /v2."""
LIMIT: Final = Parameter(
    name="limit",
    description=f"Items in a page, 1 to {MOST_ITEMS}; {PAGE_SIZE} if not given.",
    kind="integer",
)
NEXT_TOKEN: Final = Parameter(
    name="nextToken", description="As the last page gave it, to go on after that page."
)
CLUSTER: Final = Parameter(
    name="cluster", description="Only of this cluster: a name or an ARN. Unknown ones are empty."
)


class Condition(Struct, frozen=True, kw_only=True):
    """Something that is wrong with the process as a whole."""

    code: str
    """For programs: store, credentials, queue, ecs-unreachable …"""
    sentence: str
    """For people: what is wrong, with what, since when if that matters."""
    next_step: str = ""
    """What to do about it."""
    since: float | None = None
    """Seconds since 1970-01-01 UTC; None: not known."""


class QueueSeen(Struct, frozen=True, kw_only=True):
    """How the source of events does."""

    name: str
    flowing: bool
    lag_seconds: float
    """From the time in the last event to its receipt."""
    depth: int | None = None
    """Messages that wait in it; None: not known."""


class StoreSeen(Struct, frozen=True, kw_only=True):
    """How the stored copy does."""

    stored_version: int
    """The last change that is in the store."""
    problem: str | None = None
    """Why nothing can be written; None: it can."""


@dataclass(slots=True)
class OpenStreams:
    """How many streams are open; who serves them keeps it up to date."""

    open: int = 0


async def _nobody(_: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateInfo:
    """What the API tells of the process that it runs in, and asks of it. Providers are called when
    somebody asks, on the event loop; none of them may wait."""

    version: str
    """Of blox."""
    began_at: float
    """When this process began, seconds since 1970-01-01 UTC."""
    ready: Callable[[], str | None] = lambda: None
    """None, or a sentence that says why this process cannot serve."""
    conditions: Callable[[], tuple[Condition, ...]] = tuple
    notes: Callable[[], tuple[str, ...]] = tuple
    """What an operator should know and that makes nothing worse: a sentence each."""
    rejected: Callable[[], Sequence[Rejected]] = tuple
    """The queue's last messages that could not be understood, oldest first."""
    queue: Callable[[], QueueSeen | None] = lambda: None
    """None: there is no queue."""
    store: Callable[[], StoreSeen] = lambda: StoreSeen(stored_version=0)
    watch: Callable[[str], Awaitable[str | None]] = _nobody
    """Look a cluster up by its name and follow it from now on; its ARN, or None when this service
    watches only named clusters or ECS has none of that name."""
    watchers: OpenStreams = field(default_factory=OpenStreams)


class StateApi:
    """The view and its catalogue as the API sees them."""

    def __init__(self, view: View, catalogue: Catalogue, info: StateInfo, *, clock: Clock) -> None:
        self.view = view
        self.catalogue = catalogue
        self.info = info
        self.clock = clock
        self.lists = Lists(catalogue)
        self._named: dict[str, tuple[str, ...]] = {}
        self._arns: tuple[str, ...] = ()
        self._named_at = -1
        self._words: dict[tuple[Kind, str], tuple[int, frozenset[str]]] = {}

    def position(self, version: int | None = None) -> str:
        """The resume token of a version; of the last one without."""
        return position_of(self.catalogue, self.catalogue.last if version is None else version)

    def clusters(self) -> tuple[str, ...]:
        """The ARNs of the known clusters, sorted."""
        self._index()
        return self._arns

    def clusters_named(self, reference: str) -> tuple[str, ...]:
        """The ARNs of the known clusters that a name or an ARN means; none for what is not known.
        A name may stand for several: in other accounts, or other regions."""
        self._index()
        return self._named.get(reference, ())

    def _index(self) -> None:
        """Requests name clusters far more often than clusters change."""
        changed = self.catalogue.changed("cluster")
        if changed == self._named_at:
            return
        self._named_at = changed
        self._arns = self.catalogue.clusters
        named: dict[str, tuple[str, ...]] = {}
        for arn in self._arns:
            name = short_id(arn)
            named[name] = (*named.get(name, ()), arn)
            named[arn] = (arn,)
        self._named = named

    def machine(self, cluster_arn: str, arn: str) -> Machine | None:
        """A host as expressions of the cluster query language see it."""
        seen = self.view.host(arn)
        entity = None if seen else self.catalogue.get("instance", cluster_arn, arn)
        host = seen.host if seen else None if entity is None else host_of(entity)
        if host is None:
            return None
        groups = tuple(task.group for task in self.view.tasks_on(arn) if task.live)
        return Machine(host, groups)

    def changed(self, kinds: Iterable[Kind], arns: Sequence[str] | None) -> int:
        """The version of the last change of anything of these kinds in these clusters; None: in
        any."""
        if arns is None:
            return max(self.catalogue.changed(kind) for kind in kinds)
        return max((self.catalogue.changed(k, arn) for k in kinds for arn in arns), default=0)

    def members(
        self, kind: Kind, arns: Sequence[str] | None, *, after: tuple[str, str] = ("", "")
    ) -> Iterator[Entity]:
        """Every task or host of these clusters, or of all, by cluster and ARN, from behind that
        cluster's and that entity's ARN on."""
        cluster, last = after
        for arn in self.clusters() if arns is None else arns:
            if arn >= cluster:
                yield from self.catalogue.all_of(kind, arn, after=last if arn == cluster else "")

    def words_told(self, kind: Kind, member: str) -> frozenset[str]:
        """The texts that any task or host has now as this member, in upper case: ECS may know
        statuses and types that came after this was written."""
        version = self.catalogue.changed(kind)
        known = self._words.get((kind, member))
        if known is None or known[0] != version:
            told = frozenset(e.text(member).upper() for e in self.members(kind, None))
            known = self._words[kind, member] = version, told - {""}
        return known[1]


def of_cluster(api: StateApi, reference: str | None) -> tuple[str, ...] | None:
    """The ARNs of the clusters that a filter means: None for no filter, none for an unknown
    cluster. Raises InvalidInput for what is neither a name nor an ARN."""
    if not reference:
        return None
    if not is_cluster_reference(reference):
        raise InvalidInput(INVALID_CLUSTER)
    return api.clusters_named(reference)
