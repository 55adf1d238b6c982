"""/v2/hosts: the hosts of the watched clusters as ECS shows them, whatever runs there."""

from typing import Final

from blox.base.ids import short_id
from blox.http.operations import Answer, Call, Operation, Parameter, Returned
from blox.http.shapes import PageBody
from blox.scheduler.api.bodies_hosts import Machine
from blox.scheduler.api.context import LIMIT, NEXT_TOKEN, Api, answered, listing
from blox.scheduler.api.shown import machine

_TAGS: Final = ("hosts",)


class MachinesPage(PageBody, frozen=True, kw_only=True):
    """Hosts by ARN, older records of the same machines left out."""

    items: tuple[Machine, ...]


class Machines:
    """The handler."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def list_machines(self, call: Call) -> Answer:
        """A page of them."""
        cluster = call.query.text("cluster")
        hosts = sorted(
            (
                seen.host
                for arn in self._api.clusters()
                if cluster is None or cluster in (arn, short_id(arn))
                for seen in self._api.state.view.hosts(arn)
                if seen.superseded_by is None
            ),
            key=lambda host: host.arn,
        )
        shown = listing(call, hosts, key=lambda host: host.arn, name=f"v2 machines {cluster}")
        items = tuple(machine(host) for host in shown.items)
        return answered(MachinesPage(items=items, next_token=shown.next_token))


def operations(api: Api) -> list[Operation]:
    """The one operation."""
    return [
        Operation(
            method="GET",
            path="/v2/hosts",
            id="listMachines",
            summary="List the hosts of the watched clusters, with their attributes",
            handle=Machines(api).list_machines,
            tags=_TAGS,
            query=(
                Parameter(name="cluster", description="Only those on it: a name or an ARN."),
                LIMIT,
                NEXT_TOKEN,
            ),
            answers={200: Returned(description="By ARN", body=MachinesPage)},
            errors=(400,),
        ),
    ]
