"""Whom IAM is asked about, how, and what its answers mean."""

from urllib.parse import parse_qsl

import pytest

from blox.account.doctor.iam import (
    Answer,
    Decision,
    IamError,
    Kind,
    Question,
    answer_of,
    denied_action,
    principal_of,
    simulation,
)

STS = "arn:aws:sts::111122223333"
IAM = "arn:aws:iam::111122223333"
SSO = "AWSReservedSSO_sre-readonly_0123456789abcdef"


@pytest.mark.parametrize(
    ("arn", "kind", "shown", "candidates"),
    [
        (f"{STS}:assumed-role/app/i-1", Kind.ROLE, "role/app", (f"{IAM}:role/app",)),
        (
            f"{STS}:assumed-role/{SSO}/ann@example.com",
            Kind.ROLE,
            "role/sre-readonly (SSO)",
            (
                f"{IAM}:role/aws-reserved/sso.amazonaws.com/{SSO}",
                f"{IAM}:role/aws-reserved/sso.amazonaws.com/eu-west-1/{SSO}",
                f"{IAM}:role/{SSO}",
            ),
        ),
        (f"{IAM}:role/team/app", Kind.ROLE, "role/team/app", (f"{IAM}:role/team/app",)),
        (f"{IAM}:user/ops/ann", Kind.USER, "user/ops/ann", (f"{IAM}:user/ops/ann",)),
        (f"{IAM}:root", Kind.ROOT, "root", ()),
        (f"{STS}:federated-user/ann", Kind.OTHER, "federated-user/ann", ()),
        ("", Kind.OTHER, "nobody that STS names", ()),
        (
            "arn:aws-cn:sts::111122223333:assumed-role/app/x",
            Kind.ROLE,
            "role/app",
            ("arn:aws-cn:iam::111122223333:role/app",),
        ),
    ],
)
def test_a_caller_is_who_iam_knows_it_by(
    arn: str, kind: Kind, shown: str, candidates: tuple[str, ...]
) -> None:
    found = principal_of(arn, "eu-west-1")
    assert (found.kind, found.shown, found.candidates) == (kind, shown, candidates)


def test_a_question_is_a_form() -> None:
    question = Question(
        actions=("ecs:StopTask", "ecs:DescribeTasks"),
        resources=("arn:aws:ecs:eu-west-1:1:task/demo/0",),
        context={"ecs:cluster": "arn:c", "aws:RequestedRegion": "eu-west-1"},
    )
    assert parse_qsl(simulation("arn:r", question, marker="m").decode()) == [
        ("Action", "SimulatePrincipalPolicy"),
        ("Version", "2010-05-08"),
        ("PolicySourceArn", "arn:r"),
        ("ActionNames.member.1", "ecs:StopTask"),
        ("ActionNames.member.2", "ecs:DescribeTasks"),
        ("ResourceArns.member.1", "arn:aws:ecs:eu-west-1:1:task/demo/0"),
        ("ContextEntries.member.1.ContextKeyName", "ecs:cluster"),
        ("ContextEntries.member.1.ContextKeyType", "string"),
        ("ContextEntries.member.1.ContextKeyValues.member.1", "arn:c"),
        ("ContextEntries.member.2.ContextKeyName", "aws:RequestedRegion"),
        ("ContextEntries.member.2.ContextKeyType", "string"),
        ("ContextEntries.member.2.ContextKeyValues.member.1", "eu-west-1"),
        ("Marker", "m"),
    ]


def document(results: str, *, more: str = "<IsTruncated>false</IsTruncated>") -> bytes:
    return (
        '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        f"<SimulatePrincipalPolicyResult>{more}<EvaluationResults>{results}</EvaluationResults>"
        "</SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
    ).encode()


def test_an_answer_is_a_decision_for_each_action_and_resource() -> None:
    results = (
        "<member><EvalActionName>ecs:StopTask</EvalActionName><EvalDecision>allowed</EvalDecision>"
        "<EvalResourceName>arn:t</EvalResourceName></member>"
        "<member><EvalActionName>ecs:StartTask</EvalActionName>"
        "<EvalDecision>implicitDeny</EvalDecision><EvalResourceName>arn:a</EvalResourceName>"
        "<OrganizationsDecisionDetail><AllowedByOrganizations>false</AllowedByOrganizations>"
        "</OrganizationsDecisionDetail><ResourceSpecificResults>"
        "<member><EvalResourceName>arn:a</EvalResourceName>"
        "<EvalResourceDecision>allowed</EvalResourceDecision></member>"
        "<member><EvalResourceName>arn:b</EvalResourceName>"
        "<EvalResourceDecision>explicitDeny</EvalResourceDecision><MissingContextValues>"
        "<member>aws:SourceVpc</member></MissingContextValues></member>"
        "</ResourceSpecificResults></member>"
    )
    found = answer_of(200, document(results))
    assert found == Answer(
        decisions=(
            Decision(action="ecs:StopTask", resource="arn:t", decision="allowed"),
            Decision(
                action="ecs:StartTask", resource="arn:a", decision="allowed", by_organization=True
            ),
            Decision(
                action="ecs:StartTask",
                resource="arn:b",
                decision="explicitDeny",
                missing_context=("aws:SourceVpc",),
                by_organization=True,
            ),
        )
    )
    assert isinstance(found, Answer)
    assert [decision.allowed for decision in found.decisions] == [True, True, False]


def test_a_long_answer_has_more_pages() -> None:
    more = "<IsTruncated>true</IsTruncated><Marker>next</Marker>"
    assert answer_of(200, document("", more=more)) == Answer(decisions=(), marker="next")


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (
            403,
            b'<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error>'
            b"<Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>",
            "AccessDenied",
        ),
        (200, b"<html></html>", "200"),
        (502, b"bad gateway", "502"),
        (400, b"<x/>", "400"),
    ],
)
def test_what_is_no_answer_is_an_error(status: int, body: bytes, code: str) -> None:
    found = answer_of(status, body)
    assert isinstance(found, IamError)
    assert found.code == code


def test_an_access_denied_names_what_was_denied() -> None:
    text = (
        "User: arn:aws:sts::1:assumed-role/app/x is not authorized to perform: iam:PassRole on "
        "resource: arn:aws:iam::1:role/agent because no identity-based policy allows the "
        "iam:PassRole action"
    )
    assert denied_action(text) == "iam:PassRole"
    assert denied_action("no") == ""
