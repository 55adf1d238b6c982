"""Tasks and hosts that are told by hand, a catalogue that keeps them, and its stored copy."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from blox.base.ambient import Clock
from blox.base.entropy import SeededEntropy
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.cluster import Cluster, Keeper
from blox.clusterstate.copy import StoredCopy
from blox.clusterstate.counters import Counters
from blox.clusterstate.entity import Entity, Kind
from blox.clusterstate.merge import Evidence
from blox.ecs.model import HostDocument, TaskDocument
from blox.ecs.wire import with_whole
from blox.settings import ViewSettings
from blox.store.port import Store
from support.documents import CLUSTER, DEFINITION, host_arn, task_arn

KINDS: tuple[Kind, ...] = ("instance", "task")


def task_told(number: int = 1, cluster: str = CLUSTER, **members: Any) -> TaskDocument:
    """One account of a task, with itself as ECS sent it."""
    return with_whole(_raw(task_members(number, cluster, **members)), TaskDocument)


def host_told(number: int = 1, cluster: str = CLUSTER, **members: Any) -> HostDocument:
    """One account of a host, with itself as ECS sent it."""
    name = cluster.rsplit("/", 1)[-1]
    given = {
        "containerInstanceArn": host_arn(number, name),
        "ec2InstanceId": f"i-{number:017x}",
        "status": "ACTIVE",
        "agentConnected": True,
        "version": 5,
        "attributes": [{"name": f"ecs.capability.{at}"} for at in range(38)],
        **members,
    }
    return with_whole(_raw(given), HostDocument)


def task_members(number: int = 1, cluster: str = CLUSTER, **members: Any) -> dict[str, Any]:
    """What ECS says of a task."""
    name = cluster.rsplit("/", 1)[-1]
    return {
        "taskArn": task_arn(number, name),
        "clusterArn": cluster,
        "containerInstanceArn": host_arn(1, name),
        "taskDefinitionArn": DEFINITION,
        "lastStatus": "RUNNING",
        "desiredStatus": "RUNNING",
        "group": "service:web",
        "version": 3,
        "overrides": {"containerOverrides": [{"name": "agent"}]},
        **members,
    }


def _raw(members: Mapping[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(members, separators=(",", ":")).encode())


def cluster_of(keeper: Keeper, arn: str = CLUSTER) -> Cluster:
    """A cluster that tells this keeper."""
    return Cluster(
        arn,
        read_lag=300.0,
        settings=ViewSettings(),
        counters=Counters(),
        horizon=0.0,
        keeper=keeper,
    )


def read_at(begun: float, cluster: str = CLUSTER) -> Evidence:
    """A read that began then, and was answered at once."""
    return Evidence(cluster_arn=cluster, received=begun, begun=begun, ecs_time=1e9 + begun)


def copy_of(store: Store, clock: Clock, seed: int | str = 1, **options: Any) -> StoredCopy:
    """A stored copy whose names come from a seed."""
    return StoredCopy(store, clock, SeededEntropy(seed), **options)


def entities(catalogue: Catalogue) -> dict[str, Entity]:
    """Every task and host that a catalogue has, by ARN."""
    return {
        entity.key: entity
        for entity in catalogue.log.after(0)
        if entity.kind != "cluster" and not entity.deleted
    }


def shown(catalogue: Catalogue) -> dict[str, tuple[int, bytes]]:
    """The version and the members of each of them."""
    return {key: (e.version, e.whole.json()) for key, e in sorted(entities(catalogue).items())}
