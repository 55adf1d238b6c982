"""What `blox setup` has to find out, and what it prints from it.

A cluster's ARN comes from ECS; what is started there from the environments that a scheduler has;
the roles that are passed along from the task definitions. What nobody named stays blank, marked in
the manner of what is printed.
"""

import asyncio
from collections.abc import Mapping, Sequence

from msgspec import Struct

from blox.account.setup.feed import Blanks
from blox.account.setup.policies import Permitted, Served
from blox.base.errors import InvalidInput, NotFound
from blox.base.ids import Arn, family_of, parse_arn
from blox.ecs.model import INACTIVE, TaskDefinition
from blox.ecs.port import EcsReads

_AT_ONCE = 100
"""Clusters that one DescribeClusters takes."""
_IN_FLIGHT = 8
_TAGGING = ("tags", "propagateTags", "enableECSManagedTags")
"""StartTask's members that give a task tags."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What an environment starts, and where."""

    name: str
    cluster_arn: str
    definitions: tuple[str, ...]
    """ARNs: of its newest revision, and of the one in force."""
    task: Mapping[str, object]
    """Its `task` block."""


class Found(Struct, frozen=True, kw_only=True):
    """The account as far as it was named."""

    partition: str
    region: str
    account: str
    clusters: tuple[Served, ...]
    arns: tuple[str, ...]
    """Of the clusters."""
    roles: tuple[str, ...]


class Options(Struct, frozen=True, kw_only=True):
    """What else the command line said."""

    queue: str
    bus: str | None = None
    migrate: bool = False
    observe: bool = False
    state: bool = False
    """For a cluster-state-service."""
    stream: str = ""
    """The Kinesis stream that it reads; then `queue` is ""."""


# --- Asking ---------------------------------------------------------------------------------------


async def find_clusters(reads: EcsReads, named: Sequence[str]) -> tuple[str, ...]:
    """The ARNs of the clusters with these names or ARNs.

    Raises NotFound when one of them is not there, EcsError when ECS does not tell.
    """
    arns = []
    for at in range(0, len(named), _AT_ONCE):
        asked = named[at : at + _AT_ONCE]
        answer = await reads.describe_clusters(asked)
        known = {
            key: cluster.cluster_arn
            for cluster in answer.items
            if cluster.status != INACTIVE
            for key in (cluster.cluster_arn, cluster.cluster_name)
        }
        for name in asked:
            if name not in known:
                raise NotFound(
                    f"There is no cluster {name} in this account and region. "
                    "`aws ecs list-clusters` shows those there are."
                )
            arns.append(known[name])
    return tuple(dict.fromkeys(arns))


async def find_definitions(
    reads: EcsReads, definitions: Sequence[str]
) -> Mapping[str, TaskDefinition]:
    """The task definitions with these ARNs. Raises EcsError when ECS does not tell one."""
    turn = asyncio.Semaphore(_IN_FLIGHT)

    async def ask(definition: str) -> TaskDefinition:
        async with turn:
            return (await reads.describe_task_definition(definition)).items[0]

    wanted = list(dict.fromkeys(definitions))
    answers = await asyncio.gather(*(ask(definition) for definition in wanted))
    return dict(zip(wanted, answers, strict=True))


def found_of(
    clusters: Sequence[str],
    environments: Sequence[Wanted],
    definitions: Mapping[str, TaskDefinition],
) -> Found:
    """All of it together. `clusters`: ARNs, whether something is started there or not.
    `definitions`: those whose roles are to be passed along; none for a scheduler that observes.

    Raises InvalidInput when they are in more than one account or region.
    """
    arns = tuple(dict.fromkeys([*clusters, *(each.cluster_arn for each in environments)]))
    places = {arn: _parsed(arn) for arn in arns}
    first = next(iter(places.values()))
    for arn, place in places.items():
        if place.domain != first.domain or place.partition != first.partition:
            raise InvalidInput(
                f"{arn} and {arns[0]} are in different accounts or regions. One scheduler serves "
                "one account and region: print what each of them needs for itself."
            )
    here = {arn: [each for each in environments if each.cluster_arn == arn] for arn in arns}
    return Found(
        partition=first.partition,
        region=first.region,
        account=first.account,
        clusters=tuple(_served(places[arn].name, here[arn]) for arn in arns),
        arns=arns,
        roles=_roles(environments, definitions, first),
    )


def _parsed(arn: str) -> Arn:
    place = parse_arn(arn)
    if place is None:
        raise InvalidInput(f"{arn} is no ARN of a cluster.")
    return place


def _served(name: str, environments: Sequence[Wanted]) -> Served:
    families = {family_of(arn) for each in environments for arn in each.definitions}
    return Served(
        name=name,
        families=tuple(sorted(families)),
        tagged=any(is_tagged(each.task) for each in environments),
    )


def is_tagged(task: Mapping[str, object]) -> bool:
    """Whether tasks started with this block get tags, from itself, from their definition or from
    ECS: then StartTask needs ecs:TagResource.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/supported-iam-actions-tagging.html
    """
    return any(task.get(member) not in (None, False, [], "NONE") for member in _TAGGING)


def _roles(
    environments: Sequence[Wanted], definitions: Mapping[str, TaskDefinition], place: Arn
) -> tuple[str, ...]:
    """What is passed along: the definitions' roles, and those that a `task` block puts in their
    place."""
    named: list[object] = []
    for each in environments:
        for definition in (definitions[arn] for arn in each.definitions if arn in definitions):
            named += [definition.task_role_arn, definition.execution_role_arn]
        overrides = each.task.get("overrides")
        if isinstance(overrides, Mapping):
            named += [overrides.get("taskRoleArn"), overrides.get("executionRoleArn")]
    arns = {
        role_arn(role, partition=place.partition, account=place.account)
        for role in named
        if isinstance(role, str) and role
    }
    return tuple(sorted(arns))


def role_arn(role: str, *, partition: str, account: str) -> str:
    """The ARN of a role that a definition may name without it; a template's `${…}` as it is."""
    if role.startswith(("arn:", "${")):
        return role
    return f"arn:{partition}:iam::{account}:role/{role}"


# --- Printing -------------------------------------------------------------------------------------


def permitted_for(found: Found | None, blanks: Blanks, options: Options) -> Permitted:
    """What the scheduler is to be allowed: as found, blank where nothing was named. A cluster where
    nothing is started is only looked at, unless no environment was named at all."""
    partition = blanks.partition if found is None else found.partition
    account = blanks.account if found is None else found.account
    clusters = (Served(name=blanks.cluster),) if found is None else found.clusters
    if found is None and options.state:
        clusters = ()
    roles = () if found is None else found.roles
    if needs_families(found, options):
        clusters = tuple(Served(name=served.name, families=(blanks.family,)) for served in clusters)
        roles = tuple(role_arn(role, partition=partition, account=account) for role in blanks.roles)
    return Permitted(
        partition=partition,
        region=blanks.region if found is None else found.region,
        account=account,
        clusters=clusters,
        roles=roles,
        queue=options.queue,
        bus=options.bus,
        migrate=options.migrate,
        observe=options.observe,
        state=options.state,
        stream=options.stream,
    )


def needs_families(found: Found | None, options: Options) -> bool:
    """Whether what is to be started has to stay blank."""
    if options.observe or options.state:
        return False
    return found is None or not any(served.families for served in found.clusters)


def looked_at(found: Found | None, options: Options) -> tuple[str, ...]:
    """Names of clusters where nothing may be started, because others have the environments."""
    if found is None or options.observe or options.state or needs_families(found, options):
        return ()
    return tuple(served.name for served in found.clusters if not served.families)
