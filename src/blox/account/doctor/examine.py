"""What `blox doctor` asks of an account: only reads, IAM's opinion, and, when it is told to, acting
calls for things that cannot be.

Nothing that AWS refuses or leaves unanswered ends the examination: it becomes a part of the facts.
`blox.account.doctor.judge` makes findings of them.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct, field, structs

from blox.account.doctor.allowed import (
    Iam,
    targets_of,
    together,
    tried,
    try_on_nothing,
)
from blox.account.doctor.ask import asked, sent
from blox.account.doctor.facts import (
    Caller,
    ClusterFacts,
    Facts,
    Permission,
    QueueFacts,
    Signatures,
    Trouble,
    Verdict,
)
from blox.account.doctor.iam import Kind, Principal, principal_of
from blox.account.doctor.queue import look_at_queue
from blox.account.permissions import Part, Where, grants_for
from blox.account.questions import QUESTIONS
from blox.account.survey import Progress, survey
from blox.account.surveyed import Survey
from blox.base.ambient import Clock
from blox.base.errors import BloxError, NotFound
from blox.base.ids import cluster_name, parse_arn
from blox.ecs.aws import GET_CALLER_IDENTITY, identity_of
from blox.ecs.client import EcsClient
from blox.ecs.errors import CREDENTIAL_CODES, SIGNATURE_CODES, EcsError, EcsRefused
from blox.ecs.fence import Finding
from blox.ecs.model import TaskDefinition
from blox.ecs.port import EcsReads, Transport
from blox.settings import Settings

MOST_FAMILIES: Final = 20
"""So many families' definitions are asked IAM about at most."""
SAMPLES: Final = 5
"""Of other definitions."""
MOST_PAGES: Final = 100
_ID: Final = "sts:GetCallerIdentity"
_ECS_READS: Final = (Part.OBSERVE, Part.AUDIT)
_ACTS: Final = (Part.ACT, Part.MIGRATE)


class Doors(Struct, frozen=True, kw_only=True):
    """The ways to AWS. A Trouble says why a service is not asked at all."""

    reads: EcsReads
    acts: EcsClient | None
    """What tries acting calls on nothing; None: they are not tried."""
    client: EcsClient
    """For its clock and the test of old signatures, which is made of reads."""
    ecs: Transport
    sts: Transport | Trouble
    sqs: Transport | Trouble
    iam: Transport | Trouble
    events: Transport | Trouble


class Order(Struct, frozen=True, kw_only=True):
    """What is to be examined."""

    region: str
    partition: str
    elsewhere: tuple[str, ...] = ()
    """Endpoints that are not AWS's own, for people."""
    clusters: tuple[str, ...] = ()
    """Names or ARNs; none: all of the account."""
    queue: str = ""
    families: tuple[str, ...] = ()
    """What is to be started; none: what runs there already."""
    principal: str = ""
    """The ARN of a role or user to judge instead of the caller."""
    settings: Settings = field(default_factory=Settings)


async def examine(
    order: Order, doors: Doors, *, clock: Clock, progress: Callable[[str], None] | None = None
) -> Facts:
    """Find it all out. `progress` is told what is being asked.

    Raises NotFound for a family that is not there; for nothing else that AWS does.
    """
    return await _Examination(order, doors, clock, progress or _silent).run()


class _Examination:
    """One examination under way."""

    def __init__(
        self, order: Order, doors: Doors, clock: Clock, progress: Callable[[str], None]
    ) -> None:
        self._order, self._doors, self._clock = order, doors, clock
        self._progress = progress
        self._caller: Caller | Trouble | None = None
        self._definitions: dict[str, TaskDefinition] = {}

    async def run(self) -> Facts:
        self._progress("asking ECS whether it answers")
        unreachable, behind = await self._hello()
        if unreachable is not None:
            return self._facts(unreachable=unreachable, behind=behind)
        self._caller = await self._who()
        names, listing = await self._names()
        iam = Iam(self._doors.iam, self._principal(), now=self._now)
        clusters = [await self._cluster(name, iam) for name in names]
        queue = await self._queue(iam)
        return self._facts(
            behind=behind,
            signatures=await self._signatures(clusters[0].arn if clusters else "default"),
            iam=iam,
            listing=listing,
            clusters=clusters,
            queue=queue,
        )

    def _facts(
        self,
        *,
        behind: float | None,
        unreachable: Trouble | None = None,
        signatures: Signatures | None = None,
        iam: Iam | None = None,
        listing: Trouble | None = None,
        clusters: Sequence[ClusterFacts] = (),
        queue: QueueFacts | Trouble | None = None,
    ) -> Facts:
        order = self._order
        return Facts(
            region=order.region,
            partition=order.partition,
            elsewhere=order.elsewhere,
            caller=self._caller,
            principal="" if iam is None else iam.principal,
            principal_given=bool(order.principal),
            iam=None if iam is None else iam.trouble,
            tried_writes=self._doors.acts is not None,
            clock_behind=behind,
            unreachable=unreachable,
            signatures=signatures,
            listing=listing,
            clusters=tuple(clusters),
            queue_asked=order.queue,
            queue=queue,
            seen=sum(1 for question in QUESTIONS.values() if question.seen is not None),
            assumptions=len(QUESTIONS),
            settings=order.settings,
        )

    def _now(self) -> float:
        """ECS's time: with it, requests to the other services are accepted even where this
        machine's clock is wrong."""
        return self._doors.client.now()

    # --- Who and what -----------------------------------------------------------------------------

    async def _hello(self) -> tuple[Trouble | None, float | None]:
        """Whether ECS answers at all, and by how much its clock is ahead of this machine's."""
        action = "ecs:DescribeClusters"
        asked_for = self._order.clusters[0] if self._order.clusters else "default"
        trouble = None
        try:
            await self._doors.reads.describe_clusters([asked_for])
        except EcsRefused as error:
            if error.code in CREDENTIAL_CODES | SIGNATURE_CODES:
                trouble = Trouble(action=action, sentence=error.message, code=error.code)
        except EcsError as error:
            return Trouble(action=action, sentence=error.message), None
        return trouble, self._now() - self._clock.wall()

    async def _who(self) -> Caller | Trouble:
        sts = self._doors.sts
        if isinstance(sts, Trouble):
            return sts
        answer = await sent(sts, _ID, GET_CALLER_IDENTITY, now=self._now)
        if isinstance(answer, Trouble):
            return answer
        identity = identity_of(answer)
        if identity is None:
            return Trouble(action=_ID, sentence=f"STS answered HTTP {answer.status}")
        return Caller(account=identity.account, arn=identity.arn)

    def _principal(self) -> Principal:
        if self._order.principal:
            return principal_of(self._order.principal, self._order.region)
        if isinstance(self._caller, Caller):
            return principal_of(self._caller.arn, self._order.region)
        return Principal(kind=Kind.OTHER, shown="nobody that STS names")

    async def _names(self) -> tuple[tuple[str, ...], Trouble | None]:
        """The clusters to look at, and why they are not all."""
        if self._order.clusters:
            return self._order.clusters, None
        names: list[str] = []
        token: str | None = None
        for _ in range(MOST_PAGES):
            question = {"maxResults": 100, **({"nextToken": token} if token else {})}
            page = await asked(
                self._doors.ecs, "ecs:ListClusters", question, _ClusterArns, now=self._now
            )
            if isinstance(page, Trouble):
                return tuple(names), page
            names += page.cluster_arns
            token = page.next_token
            if not token:
                break
        return tuple(sorted(names)), None

    async def _signatures(self, cluster: str) -> Signatures:
        self._progress("trying whether ECS refuses old signatures")
        result = await self._doors.client.probe(cluster)
        return Signatures(stands=result.finding is Finding.STANDS, sentence=result.sentence)

    # --- One cluster ------------------------------------------------------------------------------

    async def _cluster(self, reference: str, iam: Iam) -> ClusterFacts:
        name = cluster_name(reference)
        try:
            found = await survey(
                self._doors.reads, reference, clock=self._clock, progress=self._told(name)
            )
        except BloxError as error:
            denied = isinstance(error, EcsRefused) and error.denied
            trouble = Trouble(action="ecs:DescribeClusters", sentence=error.message, denied=denied)
            return ClusterFacts(name=name, trouble=trouble)
        where = self._where(name, found)
        if where is None:
            return ClusterFacts(name=name, arn=found.cluster_arn, survey=found)
        self._progress(f"{name}: asking what is allowed")
        definitions = await self._started(found)
        permissions = await self._permissions(found, definitions, where, iam)
        return ClusterFacts(
            name=name, arn=self._arn(where, found), survey=found, permissions=permissions
        )

    def _told(self, name: str) -> Progress:
        def tell(what: str, done: int, of: int | None) -> None:
            self._progress(f"{name}: {what} {done}" + (f" of {of}" if of is not None else ""))

        return tell

    def _where(self, name: str, found: Survey) -> Where | None:
        """Where policies for the cluster apply; None when nothing tells the account."""
        arn = parse_arn(found.cluster_arn)
        if arn is not None:
            return Where(
                partition=arn.partition, region=arn.region, account=arn.account, clusters=(name,)
            )
        if isinstance(self._caller, Caller):
            return Where(
                partition=self._order.partition,
                region=self._order.region,
                account=self._caller.account,
                clusters=(name,),
            )
        return None

    def _arn(self, where: Where, found: Survey) -> str:
        if parse_arn(found.cluster_arn) is not None:
            return found.cluster_arn
        return (
            f"arn:{where.partition}:ecs:{where.region}:{where.account}:cluster/{where.clusters[0]}"
        )

    async def _started(self, found: Survey) -> tuple[TaskDefinition, ...]:
        """The definitions that would be started: those of the families asked for, else of what
        looks like a daemon there, else of a few that run there."""
        if not self._order.families:
            known = found.definitions
            shown = tuple(known[arn] for arn in sorted(known))[:MOST_FAMILIES]
            return shown or await self._running(found)
        for family in self._order.families:
            if family in self._definitions:
                continue
            try:
                read = await self._doors.reads.describe_task_definition(family)
            except EcsRefused as error:
                if error.denied or error.throttled or error.status >= 500:
                    return ()
                raise NotFound(f"ECS knows no task definition {family}: {error.reason}") from error
            except EcsError:
                return ()
            self._definitions[family] = read.items[0]
        return tuple(self._definitions[family] for family in self._order.families)

    async def _running(self, found: Survey) -> tuple[TaskDefinition, ...]:
        live = (item.task for item in found.tasks if item.task.live and item.task.host_arn)
        shown: list[TaskDefinition] = []
        for arn in sorted({task.definition_arn for task in live} - {""})[:SAMPLES]:
            with contextlib.suppress(EcsError):
                read = await self._doors.reads.describe_task_definition(arn)
                shown += read.items
        return tuple(shown)

    async def _permissions(
        self,
        found: Survey,
        definitions: Sequence[TaskDefinition],
        where: Where,
        iam: Iam,
    ) -> tuple[Permission, ...]:
        reads = [g for g in grants_for(*_ECS_READS) if g.service == "ecs"]
        roles = _roles(definitions)
        acts = [g for g in grants_for(*_ACTS) if g not in reads]
        if not roles:
            acts = [g for g in acts if g.action != "iam:PassRole"]
        families = self._order.families
        own = structs.replace(where, families=families, roles=roles)
        live = tuple(definition.task_definition_arn for definition in definitions)
        if self._order.principal:
            return _of_named(
                await iam.ask([*reads, *acts], own, live=live), known=bool(live or families)
            )
        shown = tried(found, reads)
        untried = [g for g, p in zip(reads, shown, strict=True) if p.verdict is Verdict.UNKNOWN]
        opinion = await iam.ask([*untried, *acts], own, live=live)
        opinion = _of_named(opinion, known=bool(live or families))
        nothing: tuple[Permission, ...] = ()
        if self._doors.acts is not None:
            self._progress(f"{where.clusters[0]}: trying acting calls on nothing")
            sample = next((d for d in definitions if d.network_mode != "awsvpc"), None)
            sample = sample or next(iter(definitions), None)
            nothing = await try_on_nothing(self._doors.acts, targets_of(where, sample))
        return together(shown, opinion, nothing)

    # --- The queue --------------------------------------------------------------------------------

    async def _queue(self, iam: Iam) -> QueueFacts | Trouble | None:
        if not self._order.queue:
            return None
        self._progress("looking at the queue and its rule")
        if isinstance(self._doors.sqs, Trouble):
            return self._doors.sqs
        found = await look_at_queue(
            self._order.queue, sqs=self._doors.sqs, events=self._doors.events, now=self._now
        )
        if isinstance(found, Trouble) or found.arn.count(":") != 5:
            return found
        _, partition, _, region, account, _ = found.arn.split(":")
        where = Where(partition=partition, region=region, account=account, queues=(found.name,))
        permissions = await iam.ask(grants_for(Part.QUEUE), where)
        return structs.replace(found, permissions=permissions)


class _ClusterArns(Struct, frozen=True, rename="camel"):
    cluster_arns: tuple[str, ...] = ()
    next_token: str | None = None


def _roles(definitions: Sequence[TaskDefinition]) -> tuple[str, ...]:
    """The ARNs of the roles that these hand to their tasks."""
    named = {
        role
        for definition in definitions
        for role in (definition.task_role_arn, definition.execution_role_arn)
        if isinstance(role, str) and role.startswith("arn:")
    }
    return tuple(sorted(named))


def _of_named(permissions: tuple[Permission, ...], *, known: bool) -> tuple[Permission, ...]:
    """Where no definition is `known`, IAM was asked about one that is not there: that a policy does
    not allow starting it does not show that it allows none."""
    if known:
        return permissions
    return tuple(
        structs.replace(
            permission,
            verdict=Verdict.UNKNOWN,
            detail="it is not allowed for every family: name yours with --family",
            denied_on=(),
        )
        if permission.action == "ecs:StartTask" and permission.verdict is Verdict.DENIED
        else permission
        for permission in permissions
    )


def _silent(_what: str) -> None:
    """Tells nobody."""
