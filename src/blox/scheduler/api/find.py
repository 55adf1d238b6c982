"""From what stands in a path to the environment, deployment or host that it means."""

import re
from collections.abc import Callable, Iterable
from typing import Final
from uuid import UUID

from blox.base.errors import InvalidInput, NotFound
from blox.base.ids import is_cluster_name, is_cluster_reference, parse_arn, short_id
from blox.http.texts import INVALID_CLUSTER
from blox.scheduler.model import Deployment, Environment
from blox.scheduler.repository import Repository
from blox.scheduler.view import ClusterView, HostSeen

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


class Directory:
    """The live environments by cluster and name. Built anew when one comes, goes or changes."""

    def __init__(self, repository: Repository, *, served: Callable[[Environment], bool]) -> None:
        self._repository = repository
        self._served = served
        self._built_from: tuple[Environment, ...] | None = None
        self._by_place: dict[tuple[str, str], list[Environment]] = {}

    def environment(self, cluster: str, name: str) -> Environment:
        """The environment of this name on the cluster of this name. Raises NotFound."""
        found = self._places().get((cluster, name))
        if not found:
            if not is_cluster_name(cluster):
                raise NotFound(f"{cluster!r} is no name of a cluster.")
            raise NotFound(f"There is no environment named {name} on the cluster {cluster}.")
        if len(found) == 1:
            return found[0]
        # The database also holds another account's or region's: ours is meant.
        return next((environment for environment in found if self._served(environment)), found[0])

    def named(self, name: str) -> Environment | None:
        """The environment of this name, wherever it is; None if there is none.

        Raises InvalidInput when the name stands on several clusters.
        """
        found = self._repository.named(name)
        if len(found) > 1:
            places = ", ".join(environment.cluster_arn for environment in found)
            raise InvalidInput(
                f"The name {name} stands for environments on {len(found)} clusters ({places}), "
                "and /v1 cannot tell them apart. Use /v2/environments/{cluster}/{name}."
            )
        return found[0] if found else None

    def _places(self) -> dict[tuple[str, str], list[Environment]]:
        environments = self._repository.environments()
        if environments is not self._built_from:
            self._by_place = {}
            for environment in environments:
                place = (short_id(environment.cluster_arn), environment.name)
                self._by_place.setdefault(place, []).append(environment)
            self._built_from = environments
        return self._by_place


def on_cluster(environments: Iterable[Environment], reference: str | None) -> list[Environment]:
    """Those on the cluster of this name or ARN, all for None.

    Raises InvalidInput for what is neither.
    """
    if reference is None:
        return list(environments)
    if not is_cluster_reference(reference):
        raise InvalidInput(INVALID_CLUSTER)
    if parse_arn(reference) is not None:
        return [e for e in environments if e.cluster_arn == reference]
    return [e for e in environments if short_id(e.cluster_arn) == reference]


def deployment_of(
    repository: Repository, environment: Environment, deployment_id: str
) -> Deployment:
    """The environment's deployment of this id. Raises NotFound."""
    found = repository.deployment(deployment_id.lower())
    if found is None or found.environment_id != environment.id:
        raise NotFound(
            f"The environment {environment.name} has no deployment {deployment_id}, or keeps it no "
            "more."
        )
    return found


def read_token(text: str) -> str:
    """A token in the form in which it is stored. Raises InvalidInput for what is no UUID."""
    if _UUID.match(text) is None:
        raise InvalidInput("The deployment token is malformed: a UUID is needed.")
    return str(UUID(text))


def find_host(view: ClusterView, clusters: Iterable[str], reference: str) -> HostSeen:
    """The host that people call so: by instance id (i-…, mi-…), container instance id or ARN.

    Of several records of one machine, the one that stands for it. Raises NotFound.
    """
    looked = list(clusters)
    if reference.startswith("arn:"):
        seen = view.host(reference)
        if seen is not None and seen.host.cluster_arn in looked:
            return seen
    else:
        found = [
            seen
            for cluster in looked
            for seen in view.hosts(cluster)
            if reference in (seen.host.instance_id, short_id(seen.host.arn))
        ]
        for seen in found:
            if seen.superseded_by is None:
                return seen
        if found:
            return found[0]
    where = (
        f"on the cluster {short_id(looked[0])}" if len(looked) == 1 else "on any watched cluster"
    )
    raise NotFound(
        f"There is no host {reference} {where}. A host is named by its instance id (i-… or mi-…), "
        "its container instance id, or its ARN."
    )
