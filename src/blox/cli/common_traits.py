"""What the hosts that fail alike have in common and the others have not."""

from collections.abc import Sequence
from typing import Final

from blox.account.shared_traits import Trait, shared_traits, traits_of
from blox.cli.client import Client, JsonObject
from blox.ecs.model import Host

_MOST: Final = 3
"""Traits that are told of one group."""
_NAMES: Final = {"capacityProvider": "capacity provider", "external": "external host:"}
_EXTERNAL: Final = "ecs.capability.external"


def machines_of(client: Client, cluster_arn: str) -> dict[str, Host]:
    """The hosts of a cluster by ARN, with what may be common to some of them."""
    found = client.every("/v2/hosts", {"cluster": cluster_arn, "limit": "1000"})
    return {machine["arn"]: _host(machine, cluster_arn) for machine in found}


def _host(machine: JsonObject, cluster_arn: str) -> Host:
    attributes = dict(machine["attributes"])
    if machine["instanceId"].startswith("mi-"):  # Attributes without a value are not shown.
        attributes[_EXTERNAL] = ""
    return Host(
        arn=machine["arn"],
        cluster_arn=cluster_arn,
        instance_id=machine["instanceId"],
        agent_version=machine["agentVersion"],
        capacity_provider=machine["capacityProvider"],
        attributes=attributes,
    )


def by_traits(
    hosts: Sequence[Host], others: Sequence[Host]
) -> list[tuple[tuple[Trait, ...], list[Host]]]:
    """The hosts in groups: those that share what tells most, then what tells most of the rest, and
    last those that share nothing that the others have not."""
    groups: list[tuple[tuple[Trait, ...], list[Host]]] = []
    left = list(hosts)
    while left:
        traits = shared_traits(left, others)
        if not traits:
            groups.append(((), left))
            break
        lead = traits[0]
        group = [host for host in left if traits_of(host).get(lead.name) == lead.value]
        groups.append((shared_traits(group, others)[:_MOST], group))
        left = [host for host in left if traits_of(host).get(lead.name) != lead.value]
    return groups


def traits_line(traits: Sequence[Trait]) -> str:
    """zone eu-west-1b (all 3; 0 of 98 others) · type c6i.large (all 3; 4 of 98 others)."""
    return " · ".join(
        f"{_NAMES.get(trait.name, trait.name)} {trait.value} ({_share(trait)}; "
        f"{trait.others} of {trait.of_others} others)"
        for trait in traits
    )


def _share(trait: Trait) -> str:
    if trait.hosts < trait.of:
        return f"{trait.hosts} of {trait.of}"
    return "the one" if trait.of == 1 else f"all {trait.of}"
