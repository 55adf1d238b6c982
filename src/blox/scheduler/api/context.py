"""What every operation holds in its hands, and what they all do alike."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from blox.base.ids import short_id
from blox.http.operations import Answer, Call, Parameter
from blox.http.pages import PAGE_SIZE, Page, page
from blox.scheduler.api.encoded import Answers
from blox.scheduler.api.find import Directory
from blox.scheduler.api.process import ProcessInfo
from blox.scheduler.model import Environment
from blox.scheduler.scheduler import Scheduler
from blox.scheduler.service import SchedulerService

T = TypeVar("T")
Key = TypeVar("Key", str, int)

MOST_ITEMS: Final = 1000
"""In one page of /v2."""

NEXT_TOKEN: Final = Parameter(
    name="nextToken", description="As the last page gave it, to go on after that page."
)
LIMIT: Final = Parameter(
    name="limit",
    description=f"Items in a page, 1 to {MOST_ITEMS}; {PAGE_SIZE} if not given.",
    kind="integer",
)
CLUSTER: Final = Parameter(name="cluster", description="The cluster's name.")
NAME: Final = Parameter(name="name", description="The environment's name.")
PLACE: Final = (CLUSTER, NAME)


class Api:
    """The scheduler as its API sees it."""

    def __init__(
        self, service: SchedulerService, scheduler: Scheduler, *, process: ProcessInfo
    ) -> None:
        self.service = service
        self.scheduler = scheduler
        self.process = process
        self.state = scheduler.state
        self.repository = scheduler.state.repository
        self.directory = Directory(self.repository, served=self.state.served)
        self.answers = Answers(self.state, conditions=process.conditions)

    def environment(self, call: Call) -> Environment:
        """The environment that a path of /v2 names. Raises NotFound."""
        return self.directory.environment(call.params["cluster"], call.params["name"])

    def instance_of(self, host_arn: str) -> str:
        """The instance id of a host, "" when it is gone."""
        seen = self.state.view.host(host_arn)
        return "" if seen is None else seen.host.instance_id

    def clusters(self) -> list[str]:
        """ARNs of every cluster that matters here, sorted."""
        environments = (*self.repository.environments(), *self.repository.tombstones())
        served = {e.cluster_arn for e in environments if self.state.served(e)}
        return sorted(served | set(self.process.clusters()))


def path_of(environment: Environment) -> str:
    """Where /v2 shows it."""
    return f"/v2/environments/{short_id(environment.cluster_arn)}/{environment.name}"


def listing(
    call: Call,
    items: Sequence[T],
    *,
    key: Callable[[T], Key],
    name: str,
    descending: bool = False,
) -> Page[T]:
    """The page that a call to /v2 asks for; see `blox.http.pages.page`."""
    return page(
        items,
        key=key,
        token=call.query.text("nextToken"),
        listing=name,
        descending=descending,
        size=call.query.number("limit", low=1, high=MOST_ITEMS, default=PAGE_SIZE),
    )


def sort_key(environment: Environment) -> str:
    """In the order in which environments are listed: by cluster, then name."""
    return f"{environment.cluster_arn}\0{environment.name}\0{environment.id}"


def answered(body: object, *, status: int = 200, **headers: str) -> Answer:
    """An answer in JSON."""
    return Answer(
        body=msgspec.json.encode(body),
        status=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
