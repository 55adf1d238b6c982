"""Finding out what is allowed: what a survey tried, what IAM says, what tries on nothing show.

IAM is asked with iam:SimulatePrincipalPolicy, which does nothing. It knows the policies of the role
and of the organization, not those of resources, and says so itself: the result "can differ from
your live environment" (https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html).
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct, structs

from blox.account.doctor.ask import Now, refused, sent, why_denied
from blox.account.doctor.facts import How, Permission, Trouble, Verdict
from blox.account.doctor.iam import (
    Answer,
    Decision,
    IamError,
    Kind,
    Principal,
    Question,
    answer_of,
    denied_action,
    simulation,
)
from blox.account.permissions import (
    CREATED_BY,
    IN_CLUSTER,
    PASSED_TO,
    Grant,
    Resource,
    Where,
    cluster_arn,
    resources,
)
from blox.account.surveyed import Survey
from blox.base.ids import short_id
from blox.ecs.client import EcsClient
from blox.ecs.errors import DENIED_CODES
from blox.ecs.model import TaskDefinition
from blox.ecs.port import InDoubt, NotDone, StartRequest, Transport

ASK: Final = "iam:SimulatePrincipalPolicy"
NOBODY: Final = "0" * 32
"""An id that no task and no host has: ECS draws 32 hexadecimal digits at random."""
MOST_PAGES: Final = 20
SAYS_SO: Final = frozenset(
    {"InvalidParameterException", "TargetNotFoundException", "ClientException"}
)
"""Answers that come only after ECS has let the call through."""
MARK: Final = "blox.doctor"
"""The attribute that is set on no host."""


# --- What the survey tried ------------------------------------------------------------------------


def tried(survey: Survey, grants: Sequence[Grant]) -> tuple[Permission, ...]:
    """What reading the cluster showed of these, all of which are ECS's."""
    found = []
    for grant in grants:
        unread = survey.not_read(grant.verb)
        if unread is not None and unread.denied:
            verdict, how, detail = Verdict.DENIED, How.TRIED, unread.sentence
        elif unread is not None:
            verdict, how, detail = Verdict.UNKNOWN, How.TRIED, unread.sentence
        elif grant.verb in survey.calls:
            verdict, how, detail = Verdict.ALLOWED, How.TRIED, ""
        else:
            verdict, how, detail = Verdict.UNKNOWN, How.NOT, "there was nothing to ask about"
        found.append(Permission(action=grant.action, verdict=verdict, how=how, detail=detail))
    return tuple(found)


# --- What IAM says --------------------------------------------------------------------------------


class Iam:
    """IAM, asked about one principal."""

    def __init__(self, transport: Transport | Trouble, principal: Principal, *, now: Now) -> None:
        self._transport = transport
        self._now = now
        self._candidates = list(principal.candidates)
        self._known = False
        self.trouble = _unaskable(transport, principal)
        """Why it cannot be asked; None while it answers."""

    @property
    def principal(self) -> str:
        """The ARN that IAM knows it by; "" while no question was answered."""
        return self._candidates[0] if self._known else ""

    async def ask(
        self, grants: Sequence[Grant], where: Where, *, live: Sequence[str] = ()
    ) -> tuple[Permission, ...]:
        """Whether these are allowed there. `live`: ARNs of task definitions, instead of families'
        patterns."""
        found: dict[str, Permission] = {}
        for group in _groups(grants):
            question = Question(
                actions=tuple(grant.action for grant in group),
                resources=_examples(group[0].resource, where, live=live),
                context=_context(group[0], where),
            )
            decisions = await self._decisions(question)
            for grant in group:
                found[grant.action] = _permission(grant.action, decisions, self.trouble)
        return tuple(found[grant.action] for grant in grants)

    async def _decisions(self, question: Question) -> list[Decision] | None:
        """All pages; None when there is no answer, and then never asked again."""
        decisions: list[Decision] = []
        marker = ""
        for _ in range(MOST_PAGES):
            if self.trouble is not None:
                return None
            answer = await self._page(question, marker)
            if answer is None:
                return None
            decisions += answer.decisions
            marker = answer.marker
            if not marker:
                break
        return decisions

    async def _page(self, question: Question, marker: str) -> Answer | None:
        if isinstance(self._transport, Trouble):
            return None
        while True:
            body = simulation(self._candidates[0], question, marker=marker)
            answer = await sent(self._transport, ASK, body, now=self._now)
            if isinstance(answer, Trouble):
                self.trouble = answer
                return None
            read = answer_of(answer.status, answer.body)
            if isinstance(read, Answer):
                self._known = True
                return read
            if read.code == "NoSuchEntity" and len(self._candidates) > 1:
                self._candidates.pop(0)
                continue
            self.trouble = _refusal(read, self._candidates[0])
            return None


def _unaskable(transport: Transport | Trouble, principal: Principal) -> Trouble | None:
    if isinstance(transport, Trouble):
        return transport
    if principal.kind is Kind.ROOT:
        return Trouble(
            action=ASK, sentence="the account's root user has no policies that IAM could judge"
        )
    if not principal.candidates:
        return Trouble(action=ASK, sentence=f"IAM judges roles and users, not {principal.shown}")
    return None


def _refusal(error: IamError, principal: str) -> Trouble:
    if error.code == "NoSuchEntity":
        return Trouble(
            action=ASK,
            code=error.code,
            sentence=f"IAM knows no {principal}: it may have a path, which the credentials do not "
            "tell. Name it with --principal",
        )
    return refused(ASK, error.code, error.message)


def _groups(grants: Sequence[Grant]) -> list[list[Grant]]:
    """Grants of the same kind of resource and conditions: one question each."""
    groups: dict[tuple[Resource, tuple[str, ...]], list[Grant]] = {}
    for grant in grants:
        groups.setdefault((grant.resource, grant.conditions), []).append(grant)
    return list(groups.values())


def _examples(resource: Resource, where: Where, *, live: Sequence[str]) -> tuple[str, ...]:
    """What a call would be made for: IAM judges no patterns."""
    if resource is Resource.DEFINITION and live:
        return tuple(live)
    ends = {Resource.HOST: NOBODY, Resource.TASK: NOBODY}
    end = ends.get(resource, "blox-doctor")
    return tuple(
        arn if arn == "*" else f"{arn[:-1]}{end}" if arn.endswith("*") else arn
        for arn in (_with_revision(arn) for arn in resources(resource, where))
    )


def _with_revision(arn: str) -> str:
    """A pattern of task definitions with some revision in it."""
    if ":task-definition/" not in arn:
        return arn
    return f"{arn[:-1]}1" if arn.endswith(":*") else f"{arn}:1".replace("*:1", "blox-doctor:1")


def _context(grant: Grant, where: Where) -> dict[str, str]:
    context = {"aws:RequestedRegion": where.region}
    if IN_CLUSTER in grant.conditions and len(where.clusters) == 1:
        context[IN_CLUSTER] = cluster_arn(where, where.clusters[0])
    if PASSED_TO in grant.conditions:
        context[PASSED_TO] = "ecs-tasks.amazonaws.com"
    if CREATED_BY in grant.conditions:
        context[CREATED_BY] = "StartTask"
    return context


def _permission(
    action: str, decisions: Sequence[Decision] | None, trouble: Trouble | None
) -> Permission:
    own = [decision for decision in decisions or () if decision.action == action]
    if not own:
        why = trouble.sentence if trouble is not None else "IAM's answer says nothing of it"
        return Permission(action=action, verdict=Verdict.UNKNOWN, how=How.NOT, detail=why)
    denied = [decision for decision in own if not decision.allowed]
    if not denied:
        return Permission(action=action, verdict=Verdict.ALLOWED, how=How.IAM)
    missing = sorted({key for decision in denied for key in decision.missing_context})
    if missing and not any(decision.decision == "explicitDeny" for decision in denied):
        return Permission(
            action=action,
            verdict=Verdict.UNKNOWN,
            how=How.IAM,
            detail=f"a policy goes by {', '.join(missing)}, which only a real call carries",
        )
    return Permission(
        action=action,
        verdict=Verdict.DENIED if len(denied) == len(own) else Verdict.PARTLY,
        how=How.IAM,
        detail=_why(denied),
        denied_on=tuple(sorted({decision.resource for decision in denied})),
    )


def _why(denied: Sequence[Decision]) -> str:
    if any(decision.by_organization for decision in denied):
        return "a policy of the organization denies it"
    if any(decision.by_boundary for decision in denied):
        return "the permissions boundary does not allow it"
    if any(decision.decision == "explicitDeny" for decision in denied):
        return "a statement denies it"
    return "no statement allows it"


# --- What tries on nothing show -------------------------------------------------------------------


class Targets(Struct, frozen=True, kw_only=True):
    """A task and a host that cannot be, and a definition that is."""

    cluster: str
    """ARN."""
    task: str
    host: str
    definition: TaskDefinition | None


def targets_of(where: Where, definition: TaskDefinition | None) -> Targets:
    """For the one cluster in `where`."""
    own = where.clusters[0]
    ecs = f"arn:{where.partition}:ecs:{where.region}:{where.account}"
    return Targets(
        cluster=cluster_arn(where, own),
        task=f"{ecs}:task/{own}/{NOBODY}",
        host=f"{ecs}:container-instance/{own}/{NOBODY}",
        definition=definition,
    )


async def try_on_nothing(client: EcsClient, targets: Targets) -> tuple[Permission, ...]:
    """Send the acting calls for what does not exist. ECS must refuse each of them; how it does
    tells whether they were allowed."""
    stop = await client.stop_task(
        targets.cluster,
        targets.task,
        reason="blox doctor asks whether it may; there is no such task",
        permit=_granted,
    )
    put = await client.put_attribute(
        targets.cluster, [targets.host], name=MARK, value="none", permit=_granted
    )
    delete = await client.delete_attribute(
        targets.cluster, [targets.host], name=MARK, permit=_granted
    )
    return (
        *await _try_start(client, targets),
        _outcome("ecs:StopTask", stop),
        _outcome("ecs:PutAttributes", put),
        _outcome("ecs:DeleteAttributes", delete),
    )


async def _try_start(client: EcsClient, targets: Targets) -> tuple[Permission, ...]:
    """A start names a real definition: ECS looks that up before it asks IAM."""
    definition = targets.definition
    if definition is None or not definition.container_definitions:
        return (
            Permission(
                action="ecs:StartTask",
                verdict=Verdict.UNKNOWN,
                how=How.NOT,
                detail="it needs a task definition to try with: name one with --family",
            ),
        )
    outcome = await client.start_task(
        StartRequest(
            cluster=targets.cluster,
            definition=definition.task_definition_arn,
            hosts=(targets.host,),
            started_by="blox-doctor",
            group="blox:doctor",
            intent="doctor",
            first_container=definition.container_definitions[0].name,
        ),
        _granted,
    )
    found = _outcome("ecs:StartTask", outcome)
    if isinstance(outcome, NotDone) and outcome.code == "ClientException":
        # The definition itself may be what ECS complains of, and that comes before IAM.
        detail = f"{outcome.code}: {outcome.message}"
        return (structs.replace(found, verdict=Verdict.UNKNOWN, detail=detail),)
    if found.verdict is Verdict.DENIED and isinstance(outcome, NotDone):
        other = denied_action(outcome.message)
        if other and other != found.action:
            return (
                Permission(
                    action=other,
                    verdict=Verdict.DENIED,
                    how=How.NOWHERE,
                    detail=why_denied(outcome.message),
                ),
            )
    if found.verdict is Verdict.ALLOWED and _has_role(definition):
        # StartTask depends on it: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
        name = short_id(definition.task_definition_arn)
        passed = Permission(
            action="iam:PassRole",
            verdict=Verdict.ALLOWED,
            how=How.NOWHERE,
            detail=f"ECS let a start with the roles of {name} through",
        )
        return (found, passed)
    return (found,)


def _has_role(definition: TaskDefinition) -> bool:
    return bool(definition.task_role_arn or definition.execution_role_arn)


def _outcome(action: str, outcome: object) -> Permission:
    """What the outcome of an act tells of its permission."""
    if isinstance(outcome, InDoubt):
        verdict, detail = Verdict.UNKNOWN, outcome.cause
    elif not isinstance(outcome, NotDone):
        verdict, detail = Verdict.ALLOWED, ""
    elif outcome.code in DENIED_CODES:
        verdict, detail = Verdict.DENIED, why_denied(outcome.message)
    elif outcome.code in SAYS_SO and outcome.request_id:
        verdict, detail = Verdict.ALLOWED, f"ECS answered {outcome.code}"
    else:
        verdict, detail = Verdict.UNKNOWN, f"{outcome.code}: {outcome.message}"
    return Permission(action=action, verdict=verdict, how=How.NOWHERE, detail=detail)


def _granted() -> str | None:
    """The permit of a call that cannot do anything."""
    return None


# --- Together -------------------------------------------------------------------------------------


def together(*sources: Sequence[Permission]) -> tuple[Permission, ...]:
    """The best verdict on each action: what a later source says, unless it does not know and an
    earlier one does."""
    best: dict[str, Permission] = {}
    for source in sources:
        for permission in source:
            known = best.get(permission.action)
            if (
                known is None
                or known.verdict is Verdict.UNKNOWN
                or permission.verdict is not Verdict.UNKNOWN
            ):
                best[permission.action] = permission
    return tuple(best.values())
