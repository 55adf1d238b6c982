"""The least that a daemon-scheduler must be allowed, for its clusters, families and roles; and a
cluster-state-service, for its clusters or all there are.

`blox.account.permissions` says which action needs which kind of resource; here these become the
statements of one scheduler: what it may start is told apart by cluster, what it stops and marks is
bound to clusters where something is to be started, and what is too long for one managed policy is
cut into several that allow the same together.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from blox.account.permissions import (
    CREATED_BY,
    IN_CLUSTER,
    Grant,
    Part,
    Resource,
    Where,
    conditions,
    grants_for,
    resources,
)

LIMIT: Final = 6144
"""Characters of a managed policy, white space not counted.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""
ATTACHED: Final = 10
"""Managed policies that a role may have, unless AWS has raised it (same page)."""
_LIST: Final = "ecs:ListClusters"
VERSION: Final = "2012-10-17"
"""Of the policy language, not of the policy."""


class Served(Struct, frozen=True, kw_only=True):
    """One cluster of the scheduler's."""

    name: str
    families: tuple[str, ...] = ()
    """What is started there; none: the cluster is only looked at."""
    tagged: bool = False
    """Whether something there is started with tags."""


class Permitted(Struct, frozen=True, kw_only=True):
    """What one service is for. Every text may hold a template's `${…}` instead of a value."""

    partition: str
    region: str
    account: str
    clusters: tuple[Served, ...]
    """None: every cluster; of a cluster-state-service alone."""
    roles: tuple[str, ...] = ()
    """ARNs of the roles that its tasks get."""
    queue: str
    """The name of the queue that it reads; "" for none."""
    stream: str = ""
    """The name of the Kinesis stream that it reads in place of a queue."""
    bus: str | None = None
    """The name of the event bus that it tells notices to."""
    migrate: bool = False
    """Whether `blox migrate` is to work."""
    observe: bool = False
    """Start, stop and mark nothing."""
    state: bool = False
    """It is a cluster-state-service, which only reads."""

    @property
    def service(self) -> str:
        """Its name."""
        return "cluster-state-service" if self.state else "daemon-scheduler"

    @property
    def queue_arn(self) -> str:
        """The queue's ARN."""
        return f"arn:{self.partition}:sqs:{self.region}:{self.account}:{self.queue}"


class Condition(Struct, frozen=True):
    """One line of a Condition block."""

    operator: str
    key: str
    values: tuple[str, ...]


class Statement(Struct, frozen=True, kw_only=True):
    """Actions that are allowed on any of the resources where all conditions hold."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()
    why: tuple[str, ...] = ()
    """A sentence for each action."""


_SIDS: Final[Mapping[tuple[Resource, bool], str]] = {
    (Resource.CLUSTER, False): "Clusters",
    (Resource.PROVIDER, False): "CapacityProviders",
    (Resource.DEFINITION, True): "Start",
    (Resource.TASK, True): "Stop",
    (Resource.HOST, True): "MarkHosts",
    (Resource.ROLE, False): "PassRoles",
    (Resource.QUEUE, False): "Queue",
    (Resource.STREAM, False): "Stream",
    (Resource.BUS, False): "Notices",
}
"""By resource, and whether something is done to it."""


def parts_of(permitted: Permitted) -> tuple[Part, ...]:
    """What the service does, in the words of the table of permissions."""
    if permitted.state:
        return (Part.STATE, Part.STREAM if permitted.stream else Part.QUEUE)
    parts = [Part.OBSERVE, Part.QUEUE]
    if not permitted.observe:
        parts.append(Part.ACT)
    if permitted.migrate and not permitted.observe:
        parts.append(Part.MIGRATE)
    if permitted.bus is not None:
        parts.append(Part.NOTICES)
    return tuple(parts)


def statements(permitted: Permitted) -> tuple[Statement, ...]:
    """What the service needs and nothing else: what it reads, what it does, and what it needs
    besides ECS. Each Sid is there once."""
    grants = [grant for grant in grants_for(*parts_of(permitted)) if _asked(grant, permitted)]
    ecs = [grant for grant in grants if grant.service == "ecs"]
    found = [
        *_grouped([g for g in ecs if not _acts(g)], _where(permitted, permitted.clusters)),
        *_acting([g for g in ecs if _acts(g)], permitted),
        *_grouped([g for g in grants if g not in ecs], _where(permitted, permitted.clusters)),
    ]
    return tuple(_numbered(found))


def _asked(grant: Grant, permitted: Permitted) -> bool:
    """Whether this service sends it: clusters are listed where none is named, and only of a queue
    that is there something is asked."""
    if grant.action == _LIST:
        return not permitted.clusters
    return grant.resource is not Resource.QUEUE or bool(permitted.queue)


def _acts(grant: Grant) -> bool:
    """Whether it changes something."""
    return not grant.verb.startswith(("Describe", "List"))


def _acting(grants: Sequence[Grant], permitted: Permitted) -> list[Statement]:
    """What is done, and only where something is to be started."""
    acting = [served for served in permitted.clusters if served.families]
    if not acting:
        return []
    starts = [grant for grant in grants if grant.resource is Resource.DEFINITION]
    tags = [grant for grant in grants if CREATED_BY in grant.conditions]
    others = [grant for grant in grants if grant not in starts and grant not in tags]
    found = [
        statement
        for clusters in _alike(acting)
        for statement in _grouped(starts, _where(permitted, clusters), acts=True)
    ]
    found += _grouped(others, _where(permitted, acting), acts=True)
    tagged = [served for served in acting if served.tagged]
    if tagged:
        found += _grouped(tags, _where(permitted, tagged), acts=True)
    return found


def _alike(clusters: Sequence[Served]) -> list[list[Served]]:
    """Clusters where the same is started, together: a family that is for one cluster alone must not
    be allowed on another."""
    groups: dict[tuple[str, ...], list[Served]] = {}
    for served in clusters:
        groups.setdefault(tuple(sorted(served.families)), []).append(served)
    return list(groups.values())


def _where(permitted: Permitted, clusters: Sequence[Served]) -> Where:
    families = dict.fromkeys(family for served in clusters for family in served.families)
    return Where(
        partition=permitted.partition,
        region=permitted.region,
        account=permitted.account,
        clusters=tuple(served.name for served in clusters),
        families=tuple(sorted(families)),
        roles=permitted.roles,
        queues=(permitted.queue,),
        streams=(permitted.stream,) if permitted.stream else (),
        buses=() if permitted.bus is None else (permitted.bus,),
    )


def _grouped(grants: Sequence[Grant], where: Where, *, acts: bool = False) -> list[Statement]:
    """A statement for each kind of resource with its conditions."""
    groups: dict[tuple[Resource, tuple[str, ...]], list[Grant]] = {}
    for grant in grants:
        if grant.resource is not Resource.ROLE or where.roles:
            # What is read in a cluster is bound to it by the condition: one statement says it all.
            inside = not acts and IN_CLUSTER in grant.conditions
            everywhere = grant.service == "ecs" and not where.clusters
            kind = Resource.ANY if inside or everywhere else grant.resource
            keys = () if everywhere else grant.conditions
            groups.setdefault((kind, keys), []).append(grant)
    return [
        Statement(
            sid=_sid(kind, keys, alike, acts=acts),
            actions=tuple(grant.action for grant in alike),
            resources=_named(kind, keys, where),
            conditions=tuple(
                Condition(operator, key, (value,) if isinstance(value, str) else tuple(value))
                for operator, block in conditions(keys, where).items()
                for key, value in block.items()
            ),
            why=tuple(f"{grant.verb}: {grant.why}" for grant in alike),
        )
        for (kind, keys), alike in groups.items()
    ]


def _named(kind: Resource, keys: Sequence[str], where: Where) -> tuple[str, ...]:
    """What the statement is about. Of several clusters the condition alone makes the difference:
    naming each twice would double what counts against the limit."""
    several = IN_CLUSTER in keys and len(where.clusters) > 1
    narrowed = replace(where, clusters=()) if several else where
    return tuple(dict.fromkeys(resources(kind, narrowed)))


def _sid(kind: Resource, keys: Sequence[str], grants: Sequence[Grant], *, acts: bool) -> str:
    if CREATED_BY in keys:
        return "TagOnStart"
    if any(grant.action == _LIST for grant in grants):
        return "AllClusters"
    if kind is Resource.ANY:
        return "InClusters" if keys else "Definitions"
    return _SIDS[kind, acts]


def _numbered(found: Iterable[Statement]) -> list[Statement]:
    """Each Sid once: Start, Start2, Start3 …"""
    seen: dict[str, int] = {}
    named = []
    for statement in found:
        base = statement.sid.rstrip("0123456789")
        number = seen[base] = seen.get(base, 0) + 1
        named.append(replace(statement, sid=base if number == 1 else f"{base}{number}"))
    return named


# --- Documents ------------------------------------------------------------------------------------


def document(found: Sequence[Statement]) -> dict[str, object]:
    """The policy document with these statements, as IAM reads it."""
    return {"Version": VERSION, "Statement": [_as_json(statement) for statement in found]}


def _as_json(statement: Statement) -> dict[str, object]:
    shown: dict[str, object] = {
        "Sid": statement.sid,
        "Effect": "Allow",
        "Action": _one_or_more(statement.actions),
        "Resource": _one_or_more(statement.resources),
    }
    if statement.conditions:
        block: dict[str, dict[str, object]] = {}
        for condition in statement.conditions:
            block.setdefault(condition.operator, {})[condition.key] = _one_or_more(condition.values)
        shown["Condition"] = block
    return shown


def _one_or_more(values: Sequence[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)


def size(found: Sequence[Statement]) -> int:
    """The characters that IAM counts against its limit: all but white space."""
    text = json.dumps(document(found), separators=(",", ":"), ensure_ascii=False)
    return len("".join(text.split()))


def documents(
    found: Sequence[Statement], *, limit: int = LIMIT
) -> tuple[tuple[Statement, ...], ...]:
    """The statements, in their order, in as many policies as `limit` characters each demand;
    together they allow exactly the same.

    Raises ValueError when a single line is longer than that.
    """
    packed: list[list[Statement]] = []
    for statement in _numbered(piece for whole in found for piece in _cut(whole, limit)):
        if packed and size([*packed[-1], statement]) <= limit:
            packed[-1].append(statement)
        else:
            packed.append([statement])
    return tuple(tuple(statements) for statements in packed)


_ROOM: Final = 4
"""Characters kept free for the number that tells the pieces of a statement apart."""


def _cut(statement: Statement, limit: int) -> list[Statement]:
    """The statement in pieces that fit, halved along its longest list: of resources, or of what a
    condition compares with. Either half allows nothing that the whole did not."""
    if size([statement]) + _ROOM <= limit:
        return [statement]
    lists = [statement.resources, *(condition.values for condition in statement.conditions)]
    longest = max(range(len(lists)), key=lambda place: len(lists[place]))
    values = lists[longest]
    if len(values) < 2:
        raise ValueError(f"{statement.sid} does not fit into {limit} characters")
    middle = len(values) // 2
    return [
        piece
        for half in (values[:middle], values[middle:])
        for piece in _cut(_with_list(statement, longest, half), limit)
    ]


def _with_list(statement: Statement, place: int, values: tuple[str, ...]) -> Statement:
    """The statement with another list at a place of `_cut`'s."""
    if place == 0:
        return replace(statement, resources=values)
    found = list(statement.conditions)
    found[place - 1] = replace(found[place - 1], values=values)
    return replace(statement, conditions=tuple(found))
