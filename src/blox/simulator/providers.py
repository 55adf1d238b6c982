"""Capacity providers over Auto Scaling groups, and which hosts ECS could take away.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateCapacityProvider.html
Nothing scales by itself here: `idle` says what managed scaling could remove.
"""

import re
from typing import Final

from blox.simulator import documents
from blox.simulator.lifecycle import of_daemon_service
from blox.simulator.model import Fault, HostRecord, Json, ProviderRecord
from blox.simulator.operations import cluster_shown
from blox.simulator.parameters import Parameters, client_error, invalid, tag_list, tags
from blox.simulator.state import State
from blox.simulator.visibility import page

_NAME: Final = re.compile(r"(?!aws|ecs|fargate)[a-zA-Z0-9\-_]{1,255}\Z", re.IGNORECASE)
_FARGATE: Final = ("FARGATE", "FARGATE_SPOT")
"""What every account has."""
_ON_OFF: Final = ("ENABLED", "DISABLED")


def idle(state: State, host: HostRecord) -> bool:
    """Whether managed scaling may remove the host: its provider has it on, and no task is there
    that is not of a DAEMON service
    (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-termination-protection.html).
    """
    provider = state.providers.get(host.provider)
    return (
        provider is not None
        and provider.managed_scaling == "ENABLED"
        and host.status in ("ACTIVE", "DRAINING")
        and all(of_daemon_service(state, task) for task in state.live_tasks(host.arn))
    )


def create_capacity_provider(state: State, parameters: Parameters) -> Json:
    """A provider over one Auto Scaling group."""
    name = parameters.needed("name", "The capacity provider name can not be blank.")
    if _NAME.match(name) is None:
        raise invalid(
            "A capacity provider's name has up to 255 letters, digits, hyphens and underscores and "
            "does not begin with aws, ecs or fargate."
        )
    group = parameters.child("autoScalingGroupProvider")
    if not group.members:
        raise invalid("autoScalingGroupProvider must be given.")
    if name in state.providers:
        raise client_error(
            "The specified capacity provider already exists. To change the configuration of an "
            "existing capacity provider, update the capacity provider."
        )
    record = ProviderRecord(
        arn=state.arn("capacity-provider", name),
        name=name,
        group_arn=group.needed("autoScalingGroupArn", "autoScalingGroupArn can not be blank."),
        tags=tags(parameters),
    )
    _configure(record, group)
    state.providers[name] = record
    return {"capacityProvider": documents.provider_document(record)}


def _configure(record: ProviderRecord, group: Parameters) -> None:
    """Take over what is given; what must not be together changes nothing."""
    scaling = group.child("managedScaling")
    managed = scaling.choice("status", _ON_OFF) or record.managed_scaling
    target = scaling.number("targetCapacity", record.target_capacity, least=1, most=100)
    protection = group.choice("managedTerminationProtection", _ON_OFF)
    protection = protection or record.termination_protection
    draining = group.choice("managedDraining", _ON_OFF) or record.managed_draining
    if protection == "ENABLED" and managed != "ENABLED":
        raise invalid(
            "The managed termination protection setting for the capacity provider is invalid. To "
            "enable managed termination protection for a capacity provider, managed scaling must "
            "be enabled."
        )
    record.managed_scaling, record.target_capacity = managed, target
    record.termination_protection, record.managed_draining = protection, draining


def update_capacity_provider(state: State, parameters: Parameters) -> Json:
    """Change its settings."""
    record = _existing(state, parameters.needed("name", "The name can not be blank."))
    _configure(record, parameters.child("autoScalingGroupProvider"))
    return {"capacityProvider": documents.provider_document(record)}


def delete_capacity_provider(state: State, parameters: Parameters) -> Json:
    """Remove it; refused while a cluster has it."""
    reference = parameters.needed("capacityProvider", "capacityProvider can not be blank.")
    record = _existing(state, reference)
    for cluster in state.clusters.values():
        if cluster.status == "ACTIVE" and record.name in cluster.providers:
            raise client_error(
                "The capacity provider cannot be deleted because it is associated with cluster: "
                f"{cluster.name}. Remove the capacity provider from the cluster and try again."
            )
    del state.providers[record.name]
    record.status = "INACTIVE"
    return {"capacityProvider": documents.provider_document(record)}


def _existing(state: State, reference: str) -> ProviderRecord:
    name = reference.rsplit("/", 1)[-1]
    record = state.providers.get(name)
    if record is None or reference not in (name, record.arn):
        raise invalid("The specified capacity provider does not exist.")
    return record


def describe_capacity_providers(state: State, parameters: Parameters) -> Json:
    """Up to 100 by name or ARN, or pages of all, ten each unless more are asked for."""
    named = parameters.texts("capacityProviders", most=100)
    with_tags = "TAGS" in parameters.texts("include")
    answer: Json = {"failures": []}
    if named:
        known = dict.fromkeys(reference.rsplit("/", 1)[-1] for reference in named)
        names = [name for name in known if name in state.providers or name in _FARGATE]
        answer["failures"] = [
            {"arn": state.arn("capacity-provider", name), "reason": "MISSING"}
            for name in known
            if name not in names
        ]
    else:
        size = parameters.number("maxResults", 10, least=1, most=10)
        names, token = page(
            Parameters(parameters.members | {"maxResults": size}),
            sorted([*state.providers, *_FARGATE]),
            scope="DescribeCapacityProviders",
            random=state.sight,
            faults=state.faults,
        )
        if token is not None:
            answer["nextToken"] = token
    answer["capacityProviders"] = [_shown(state, name, with_tags=with_tags) for name in names]
    return answer


def _shown(state: State, name: str, *, with_tags: bool) -> Json:
    record = state.providers.get(name)
    if record is None:
        arn = state.arn("capacity-provider", name)
        return {"capacityProviderArn": arn, "name": name, "status": "ACTIVE", "tags": []}
    document = documents.provider_document(record)
    return document | {"tags": tag_list(record.tags)} if with_tags else document


def put_cluster_capacity_providers(state: State, parameters: Parameters) -> Json:
    """Replace a cluster's providers and its default strategy."""
    cluster = state.cluster(parameters.needed("cluster", "Cluster can not be blank."))
    for name in ("capacityProviders", "defaultCapacityProviderStrategy"):
        if name not in parameters.members:
            raise invalid(f"{name} must be given; it may be empty.")
    given = dict.fromkeys(parameters.texts("capacityProviders", most=20))
    names = [name if name in _FARGATE else _existing(state, name).name for name in given]
    strategy = parameters.objects("defaultCapacityProviderStrategy")
    for item in strategy:
        if item.get("capacityProvider") not in names:
            raise invalid("The default strategy names a capacity provider that is not given.")
    removed = [name for name in cluster.providers if name not in names]
    for arn in state.hosts_in.get(cluster.name, []):
        host = state.hosts[arn]
        if host.provider in removed and state.live_tasks(arn):
            raise Fault(
                "ResourceInUseException",
                "The specified capacity provider is in use and cannot be removed.",
            )
    cluster.providers, cluster.strategy = names, strategy
    return {"cluster": cluster_shown(state, cluster)}
