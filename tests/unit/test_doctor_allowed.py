"""Asking what is allowed: of IAM, and of what a survey tried."""

from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import parse_qs

import pytest

from blox.account.doctor.allowed import Iam, together, tried
from blox.account.doctor.ask import PATIENCE, WAITS, sent, why_denied
from blox.account.doctor.facts import How, Permission, Trouble, Verdict
from blox.account.doctor.iam import principal_of
from blox.account.permissions import Grant, Part, Where, grant_of, grants_for
from blox.account.surveyed import Survey, Unread
from blox.ecs.model import ClusterDocument
from blox.ecs.port import Lost, NotSent, Permit, WireAnswer
from blox.simulator import loop
from support.documents import CLUSTER, PREFIX

T = TypeVar("T")

WHERE = Where(region="us-east-1", account="111122223333", clusters=("demo",), families=("agent",))
SSO = "AWSReservedSSO_ops_0123456789abcdef"
ROLE = principal_of("arn:aws:sts::111122223333:assumed-role/app/x", "us-east-1")


class ScriptedIam:
    """Answers forms with what `decide` says of an action and a resource; None: NoSuchEntity."""

    def __init__(
        self,
        decide: Callable[[str, str], str] = lambda _action, _resource: "allowed",
        *,
        known: str = "",
        more: str = "",
    ) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self.failing: list[WireAnswer | Exception] = []
        self._decide, self._known, self._more = decide, known, more

    async def send(
        self,
        operation: str,
        body: bytes,
        *,
        date: Callable[[], float],
        permit: Permit | None = None,
        fresh: bool = False,
    ) -> WireAnswer:
        """See `Transport.send`."""
        assert operation == "SimulatePrincipalPolicy"
        date()
        form = parse_qs(body.decode())
        self.asked.append(form)
        if self.failing:
            failure = self.failing.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure
        if self._known and form["PolicySourceArn"] != [self._known]:
            return refusal("NoSuchEntity", 404)
        actions = [v[0] for k, v in form.items() if k.startswith("ActionNames")]
        resources = [v[0] for k, v in form.items() if k.startswith("ResourceArns")]
        members = "".join(
            f"<member><EvalActionName>{action}</EvalActionName>"
            f"<EvalResourceName>{resource}</EvalResourceName>"
            f"<EvalDecision>{self._decide(action, resource)}</EvalDecision>{self._more}</member>"
            for action in actions
            for resource in resources
        )
        return answer(
            "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult>"
            f"<EvaluationResults>{members}</EvaluationResults>"
            "</SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
        )

    async def close(self) -> None:
        """See `Transport.close`."""


def answer(text: str, status: int = 200) -> WireAnswer:
    return WireAnswer(status=status, headers={}, body=text.encode(), begun=0.0, signed_at=0.0)


def refusal(code: str, status: int = 400, message: str = "no") -> WireAnswer:
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return answer(f"<ErrorResponse>{error}</ErrorResponse>", status)


def now() -> float:
    return 1_750_000_000.0


def played(work: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await work()

    return loop.run(main())


def asked(iam: Iam, *actions: str) -> dict[str, Permission]:
    grants: list[Grant] = [grant_of(action) for action in actions]
    found = played(lambda: iam.ask(grants, WHERE))
    assert [permission.action for permission in found] == list(actions)
    return {permission.action: permission for permission in found}


# --- IAM ------------------------------------------------------------------------------------------


def test_actions_on_the_same_kind_of_thing_are_one_question() -> None:
    transport = ScriptedIam()
    actions = ("ecs:StopTask", "ecs:StartTask", "ecs:DescribeTasks", "iam:PassRole")
    found = asked(Iam(transport, ROLE, now=now), *actions)
    assert {p.verdict for p in found.values()} == {Verdict.ALLOWED}
    assert {p.how for p in found.values()} == {How.IAM}
    first, second, third = transport.asked
    assert first["ActionNames.member.2"] == ["ecs:DescribeTasks"]
    assert first["ResourceArns.member.1"] == [f"{PREFIX}:task/demo/{'0' * 32}"]
    context = {
        first[f"ContextEntries.member.{n}.ContextKeyName"][0]: first[
            f"ContextEntries.member.{n}.ContextKeyValues.member.1"
        ][0]
        for n in (1, 2)
    }
    assert context == {"aws:RequestedRegion": "us-east-1", "ecs:cluster": CLUSTER}
    assert second["ResourceArns.member.1"] == [f"{PREFIX}:task-definition/agent:1"]
    assert third["ContextEntries.member.2.ContextKeyValues.member.1"] == ["ecs-tasks.amazonaws.com"]


def test_without_families_a_definition_of_nobody_is_asked_about() -> None:
    transport = ScriptedIam()
    everywhere = Where(region="us-east-1", account="111122223333")
    iam = Iam(transport, ROLE, now=now)
    grants = [grant_of("ecs:StartTask"), grant_of("ecs:DescribeServices")]
    played(lambda: iam.ask(grants, everywhere))
    assert [form["ResourceArns.member.1"] for form in transport.asked] == [
        [f"{PREFIX}:task-definition/blox-doctor:1"],
        [f"{PREFIX}:service/blox-doctor"],
    ]


def test_definitions_that_are_known_are_asked_about_themselves() -> None:
    live = [f"{PREFIX}:task-definition/{name}:3" for name in ("agent", "falcon")]
    transport = ScriptedIam(lambda _, arn: "implicitDeny" if "falcon" in arn else "allowed")
    iam = Iam(transport, ROLE, now=now)
    (found,) = played(lambda: iam.ask([grant_of("ecs:StartTask")], WHERE, live=live))
    assert found.verdict is Verdict.PARTLY
    assert found.denied_on == (live[1],)


@pytest.mark.parametrize(
    ("decision", "more", "verdict", "detail"),
    [
        ("implicitDeny", "", Verdict.DENIED, "no statement allows it"),
        ("explicitDeny", "", Verdict.DENIED, "a statement denies it"),
        (
            "implicitDeny",
            "<OrganizationsDecisionDetail><AllowedByOrganizations>false</AllowedByOrganizations>"
            "</OrganizationsDecisionDetail>",
            Verdict.DENIED,
            "a policy of the organization denies it",
        ),
        (
            "implicitDeny",
            "<PermissionsBoundaryDecisionDetail><AllowedByPermissionsBoundary>false"
            "</AllowedByPermissionsBoundary></PermissionsBoundaryDecisionDetail>",
            Verdict.DENIED,
            "the permissions boundary does not allow it",
        ),
        (
            "implicitDeny",
            "<MissingContextValues><member>aws:SourceVpc</member></MissingContextValues>",
            Verdict.UNKNOWN,
            "a policy goes by aws:SourceVpc, which only a real call carries",
        ),
        (
            "explicitDeny",
            "<MissingContextValues><member>aws:SourceVpc</member></MissingContextValues>",
            Verdict.DENIED,
            "a statement denies it",
        ),
    ],
)
def test_why_it_is_not_allowed(decision: str, more: str, verdict: Verdict, detail: str) -> None:
    iam = Iam(ScriptedIam(lambda *_: decision, more=more), ROLE, now=now)
    found = asked(iam, "ecs:StopTask")["ecs:StopTask"]
    assert (found.verdict, found.detail) == (verdict, detail)


def test_an_sso_role_is_tried_under_each_path_that_it_may_have() -> None:
    principal = principal_of(f"arn:aws:sts::111122223333:assumed-role/{SSO}/ann", "us-east-1")
    home = f"arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/us-east-1/{SSO}"
    transport = ScriptedIam(known=home)
    iam = Iam(transport, principal, now=now)
    assert asked(iam, "ecs:StopTask")["ecs:StopTask"].verdict is Verdict.ALLOWED
    assert iam.principal == home
    assert len(transport.asked) == 2
    asked(iam, "ecs:StopTask")
    assert len(transport.asked) == 3


def test_a_role_with_a_path_that_nobody_told_is_to_be_named() -> None:
    iam = Iam(ScriptedIam(known="arn:aws:iam::111122223333:role/team/app"), ROLE, now=now)
    assert asked(iam, "ecs:StopTask")["ecs:StopTask"].verdict is Verdict.UNKNOWN
    assert iam.trouble is not None
    assert "--principal" in iam.trouble.sentence
    assert iam.principal == ""


def test_who_is_denied_is_not_asked_again() -> None:
    transport = ScriptedIam()
    transport.failing.append(refusal("AccessDenied", 403, "no, because nobody allows it"))
    iam = Iam(transport, ROLE, now=now)
    found = asked(iam, "ecs:StopTask", "ecs:StartTask")
    assert {p.verdict for p in found.values()} == {Verdict.UNKNOWN}
    assert iam.trouble == Trouble(
        action="iam:SimulatePrincipalPolicy",
        sentence="iam:SimulatePrincipalPolicy is denied: nobody allows it",
        code="AccessDenied",
        denied=True,
    )
    assert len(transport.asked) == 1


@pytest.mark.parametrize("arn", ["arn:aws:iam::1:root", "arn:aws:sts::1:federated-user/x", ""])
def test_whom_iam_cannot_judge_it_is_not_asked_about(arn: str) -> None:
    transport = ScriptedIam()
    iam = Iam(transport, principal_of(arn, "us-east-1"), now=now)
    assert asked(iam, "ecs:StopTask")["ecs:StopTask"].verdict is Verdict.UNKNOWN
    assert transport.asked == []
    assert iam.trouble is not None


# --- Asking ---------------------------------------------------------------------------------------


def test_a_throttled_question_is_asked_again_and_a_refused_one_is_not() -> None:
    transport = ScriptedIam()
    transport.failing += [refusal("Throttling")] * 2
    found = asked(Iam(transport, ROLE, now=now), "ecs:StopTask")
    assert found["ecs:StopTask"].verdict is Verdict.ALLOWED
    assert len(transport.asked) == 3
    slow = ScriptedIam()
    slow.failing += [refusal("Throttling")] * 9
    iam = Iam(slow, ROLE, now=now)
    asked(iam, "ecs:StopTask")
    assert len(slow.asked) == len(WAITS) + 1
    assert iam.trouble is not None
    assert iam.trouble.code == "Throttling"


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (NotSent("connect", "refused"), "could not be sent: refused"),
        (Lost("reset", signed_at=0.0), "got no answer: reset"),
    ],
)
def test_what_never_came_back_is_a_trouble(failure: Exception, words: str) -> None:
    transport = ScriptedIam()
    transport.failing.append(failure)
    found = played(lambda: sent(transport, "iam:SimulatePrincipalPolicy", b"", now=now))
    assert isinstance(found, Trouble)
    assert found.sentence == f"iam:SimulatePrincipalPolicy {words}"
    assert PATIENCE < 60


def test_the_reason_of_a_denial_is_what_follows_because() -> None:
    text = "User: x is not authorized to perform: a:B on resource: y"
    assert why_denied(f"{text} because no policy allows it.") == "no policy allows it"
    assert why_denied(f"{text} with an explicit deny in a service control policy") == (
        "explicit deny in a service control policy"
    )
    assert why_denied("Denied.") == "Denied"
    assert why_denied("") == "AWS says no more"


# --- What was tried -------------------------------------------------------------------------------


def test_a_survey_shows_what_is_allowed_denied_and_untried() -> None:
    survey = Survey(
        cluster=ClusterDocument(cluster_arn=CLUSTER),
        calls={"DescribeClusters": 1, "ListTasks": 3, "DescribeTasks": 2},
        unread=(
            Unread(operation="ListTasks", sentence="no answer"),
            Unread(operation="DescribeTasks", sentence="denied", denied=True),
        ),
    )
    grants = [g for g in grants_for(Part.OBSERVE) if g.service == "ecs"]
    found = {permission.action: permission for permission in tried(survey, grants)}
    assert found["ecs:DescribeClusters"].verdict is Verdict.ALLOWED
    assert found["ecs:ListTasks"].verdict is Verdict.UNKNOWN
    assert found["ecs:DescribeTasks"].verdict is Verdict.DENIED
    assert found["ecs:DescribeServices"].how is How.NOT


def test_who_knows_counts_and_of_those_the_last() -> None:
    def says(verdict: Verdict, detail: str = "") -> tuple[Permission, ...]:
        return (Permission(action="a:B", verdict=verdict, how=How.IAM, detail=detail),)

    unknown, allowed, denied = map(says, (Verdict.UNKNOWN, Verdict.ALLOWED, Verdict.DENIED))
    assert together(allowed, unknown) == allowed
    assert together(unknown, denied) == denied
    assert together(allowed, denied) == denied
    assert together(unknown, says(Verdict.UNKNOWN, "why")) == says(Verdict.UNKNOWN, "why")
