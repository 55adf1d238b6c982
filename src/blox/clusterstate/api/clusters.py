"""/v2/clusters: how well each cluster is known, and having one swept."""

from typing import Final

import msgspec

from blox.base.errors import NotFound
from blox.base.ids import is_cluster_name, short_id
from blox.clusterstate.api.bodies2 import ClusterBody, ClustersPage, SweepAsked, SweepBody
from blox.clusterstate.api.context import LIMIT, MOST_ITEMS, NEXT_TOKEN, StateApi
from blox.ecs.seen import ClusterSeen
from blox.http.operations import Answer, Call, Operation, Parameter, Returned
from blox.http.pages import PAGE_SIZE, page
from blox.http.shapes import iso

_TAGS: Final = ("clusters",)
_CLUSTER: Final = Parameter(name="cluster", description="The cluster's name.")


class Clusters:
    """The handlers."""

    def __init__(self, api: StateApi) -> None:
        self._api = api

    async def list_clusters(self, call: Call) -> Answer:
        """A page of them."""
        shown = page(
            self._api.clusters(),
            key=lambda arn: arn,
            token=call.query.text("nextToken"),
            listing="v2 clusters",
            size=call.query.number("limit", low=1, high=MOST_ITEMS, default=PAGE_SIZE),
        )
        body = ClustersPage(
            items=tuple(self._cluster(arn) for arn in shown.items),
            next_token=shown.next_token or msgspec.UNSET,
            position=self._api.position(),
        )
        return Answer(body=msgspec.json.encode(body))

    async def show(self, call: Call) -> Answer:
        """One of them."""
        name = _name(call)
        for arn in self._api.clusters_named(name):
            return Answer(body=msgspec.json.encode(self._cluster(arn)))
        raise _unknown(name)

    async def sweep(self, call: Call) -> Answer:
        """Have it swept soon; one that is not watched is watched from now on, if this service
        watches whatever there is."""
        name = _name(call)
        for arn in self._api.clusters_named(name):
            number = self._api.view.request_sweep(arn)
            if number is not None:
                return self._asked(arn, number)
        found = await self._api.info.watch(name)
        number = None if found is None else self._api.view.request_sweep(found)
        if found is None or number is None:
            raise _unknown(name)
        return self._asked(found, number)

    def _asked(self, arn: str, number: int) -> Answer:
        body = SweepAsked(
            cluster=short_id(arn),
            cluster_arn=arn,
            epoch=self._api.catalogue.epoch,
            sweep=number,
        )
        return Answer(status=202, body=msgspec.json.encode(body))

    def _cluster(self, arn: str) -> ClusterBody:
        catalogue = self._api.catalogue
        entity = catalogue.cluster(arn)
        known = ClusterSeen(arn=arn) if entity is None or entity.seen is None else entity.seen
        seen = self._api.view.cluster(arn) or known
        return ClusterBody(
            name=short_id(arn),
            arn=arn,
            status=seen.status,
            primed=seen.primed,
            instances=catalogue.count("instance", arn),
            tasks=catalogue.count("task", arn),
            version=0 if entity is None else entity.version,
            sweep=self._sweep(seen),
            read_error=seen.read_error,
        )

    def _sweep(self, seen: ClusterSeen) -> SweepBody:
        clock = self._api.clock
        now = clock.monotonic()
        ended = seen.sweep_ended
        return SweepBody(
            epoch=self._api.catalogue.epoch,
            number=seen.sweep,
            completed_at=None if ended is None else iso(clock.wall() - (now - ended)),
            age_seconds=None if seen.swept_at is None else round(now - seen.swept_at, 3),
        )


def _name(call: Call) -> str:
    name = call.params["cluster"]
    if not is_cluster_name(name):
        raise NotFound(f"{name!r} is no name of a cluster.")
    return name


def _unknown(name: str) -> NotFound:
    return NotFound(
        f"There is no cluster {name} here: either ECS has none of that name, or this service was "
        "told with --cluster to watch others only."
    )


def operations(api: StateApi) -> list[Operation]:
    """Every operation on clusters."""
    handlers = Clusters(api)
    return [
        Operation(
            method="GET",
            path="/v2/clusters",
            id="listClusters",
            summary="List the clusters, and how well each is known",
            handle=handlers.list_clusters,
            tags=_TAGS,
            query=(LIMIT, NEXT_TOKEN),
            answers={200: Returned(description="By ARN", body=ClustersPage)},
            errors=(400,),
        ),
        Operation(
            method="GET",
            path="/v2/clusters/{cluster}",
            id="showCluster",
            summary="Show how well a cluster is known",
            handle=handlers.show,
            tags=_TAGS,
            path_parameters=(_CLUSTER,),
            answers={200: Returned(description="The cluster", body=ClusterBody)},
            errors=(404,),
        ),
        Operation(
            method="POST",
            path="/v2/clusters/{cluster}/sweep",
            id="sweepCluster",
            summary="Have a cluster read whole, soon",
            description="The sweep begins after this request has come in: what it reads is newer.",
            handle=handlers.sweep,
            tags=_TAGS,
            path_parameters=(_CLUSTER,),
            answers={202: Returned(description="The number of that sweep", body=SweepAsked)},
            errors=(404, 503),
        ),
    ]
