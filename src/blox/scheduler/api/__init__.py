"""The scheduler's REST API: /v1, the contract of 0.3 word for word, and /v2, which says more.

Operations are declared here and served by `blox.http.app`. They read memory and ask
`blox.scheduler.service` to change things; nothing here decides anything.
"""

from blox.http.operations import Operation
from blox.scheduler.api import (
    adoptions,
    backup,
    contents,
    deployments,
    environments,
    events,
    hosts,
    machines,
    migrations,
    orders,
    status,
    v1,
    why,
)
from blox.scheduler.api.context import Api
from blox.scheduler.api.process import ProcessInfo
from blox.scheduler.scheduler import Scheduler
from blox.scheduler.service import SchedulerService

__all__ = ["ProcessInfo", "operations"]


def operations(
    service: SchedulerService, scheduler: Scheduler, *, process: ProcessInfo
) -> list[Operation]:
    """Every operation of /v1 and /v2 over this scheduler."""
    api = Api(service, scheduler, process=process)
    return [
        *v1.operations(api),
        *environments.operations(api),
        *deployments.operations(api),
        *adoptions.operations(api),
        *orders.operations(api),
        *migrations.operations(api),
        *contents.operations(api),
        *hosts.operations(api),
        *machines.operations(api),
        *status.operations(api),
        *events.operations(api),
        *backup.operations(api),
        *why.operations(),
    ]
