"""Judging a cluster-state-service: is its catalogue the truth, and do those who follow it have it?

The truth is the simulated cloud's records alone. What changed within the last moments is not
judged: `Truth` is taken twice, and only what is the same in both counts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.entity import Entity
from blox.simulator.cloud import Cloud

Look = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """What ECS has of one cluster, by ARN."""

    tasks: Mapping[str, Look]
    """Host, lastStatus, desiredStatus; of those that have not STOPPED."""
    hosts: Mapping[str, Look]
    """Machine, status, whether its agent is connected; of those that are not INACTIVE."""

    @classmethod
    def of(cls, cloud: Cloud, cluster: str) -> "Truth":
        """As of now. `cluster`: its name."""
        return cls(
            tasks={
                task.arn: (task.host, task.last_status, task.desired_status)
                for task in cloud.tasks.values()
                if task.cluster == cluster and task.stopped_at is None
            },
            hosts={
                host.arn: (host.instance_id, host.status, str(host.agent_connected))
                for host in cloud.hosts.values()
                if host.cluster == cluster and not host.inactive
            },
        )


def shown(catalogue: Catalogue, cluster_arn: str) -> Truth:
    """The same as a catalogue tells it."""
    return Truth(
        tasks={
            entity.key: _of_task(entity)
            for entity in catalogue.all_of("task", cluster_arn)
            if not entity.ended
        },
        hosts={
            entity.key: _of_host(entity)
            for entity in catalogue.all_of("instance", cluster_arn)
            if not entity.ended
        },
    )


def _of_task(entity: Entity) -> Look:
    names = ("containerInstanceArn", "lastStatus", "desiredStatus")
    return tuple(entity.text(name) for name in names)


def _of_host(entity: Entity) -> Look:
    connected = entity.whole.get("agentConnected") == b"true"
    return entity.text("ec2InstanceId"), entity.text("status"), str(connected)


def differences(before: Truth, after: Truth, told: Truth) -> Iterator[str]:
    """What the catalogue tells and is not so, or does not tell; a line each. `before` and `after`:
    the truth some time ago and now."""
    for word, was, now, said in (
        ("task", before.tasks, after.tasks, told.tasks),
        ("host", before.hosts, after.hosts, told.hosts),
    ):
        for arn, look in now.items():
            if was.get(arn) == look and said.get(arn) != look:
                yield f"{word} {arn} is {look}, and told as {said.get(arn, 'not there')}"
        for arn, look in said.items():
            if arn not in was and arn not in now:
                yield f"{word} {arn} is not there, and told as {look}"


def judge_versions(catalogue: Catalogue, cluster_arn: str, given_out: int) -> Iterator[str]:
    """Versions only grow. `given_out`: the greatest that anybody was ever told of this numbering
    before this run began."""
    entries = list(catalogue.log.after(0))
    versions = [entity.version for entity in entries]
    if versions != sorted(set(versions)):
        yield "the log is not in the order of versions"
    if versions and versions[-1] > catalogue.last:
        yield f"version {versions[-1]} is above the last, {catalogue.last}"
    if catalogue.last < given_out:
        yield f"the last version is {catalogue.last}, though {given_out} was told before"
    logged = {entity.key: entity for entity in entries}
    listed = (*catalogue.all_of("task", cluster_arn), *catalogue.all_of("instance", cluster_arn))
    for entity in listed:
        if logged.get(entity.key) is not entity:
            yield f"{entity.kind} {entity.key} in the list is not the one in the log"
