"""Asking IAM what a role may do: who to ask about, the question, the answer.

IAM's protocol is AWS Query: a form goes in, XML comes out.
https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final
from urllib.parse import urlencode
from xml.etree import ElementTree

from msgspec import Struct

_SSO: Final = "AWSReservedSSO_"
_SSO_PATH: Final = "aws-reserved/sso.amazonaws.com/"
_NOT_ALLOWED: Final = re.compile(r"not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)")


class Kind(StrEnum):
    """What may call."""

    ROLE = "role"
    USER = "user"
    ROOT = "root"
    """The account itself, to which no policy of its own applies."""
    OTHER = "other"
    """A federated user: IAM cannot be asked about it."""


class Principal(Struct, frozen=True, kw_only=True):
    """Whom to ask IAM about."""

    kind: Kind
    shown: str
    """For people: role/sre-readonly (SSO)."""
    candidates: tuple[str, ...] = ()
    """ARNs that it may have, the likeliest first: an assumed role's ARN does not tell its path."""


def principal_of(arn: str, region: str) -> Principal:
    """Whom the credentials with this ARN of GetCallerIdentity act as.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    The roles that IAM Identity Center makes have a path, with the region of its home if that is not
    us-east-1: https://docs.aws.amazon.com/singlesignon/latest/userguide/using-service-linked-roles-concept.html
    """
    head, _, name = arn.partition("/")
    partition, account = (head.split(":") + [""] * 5)[1], (head.split(":") + [""] * 5)[4]
    iam = f"arn:{partition}:iam::{account}"
    if head.endswith(":assumed-role"):
        role = name.partition("/")[0]
        if role.startswith(_SSO):
            shown = re.sub(r"_[0-9a-f]{16}$", "", role.removeprefix(_SSO))
            paths = (_SSO_PATH, f"{_SSO_PATH}{region}/", "")
            return Principal(
                kind=Kind.ROLE,
                shown=f"role/{shown} (SSO)",
                candidates=tuple(f"{iam}:role/{path}{role}" for path in paths),
            )
        return Principal(kind=Kind.ROLE, shown=f"role/{role}", candidates=(f"{iam}:role/{role}",))
    if head.endswith(":role"):
        return Principal(kind=Kind.ROLE, shown=f"role/{name}", candidates=(arn,))
    if head.endswith(":user"):
        return Principal(kind=Kind.USER, shown=f"user/{name}", candidates=(arn,))
    if head.endswith(":root"):
        return Principal(kind=Kind.ROOT, shown="root")
    return Principal(kind=Kind.OTHER, shown=arn.rsplit(":", 1)[-1] or "nobody that STS names")


class Question(Struct, frozen=True, kw_only=True):
    """Whether these actions are allowed on each of these resources."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    context: Mapping[str, str] = {}
    """Condition keys and their values; all strings."""


class Decision(Struct, frozen=True, kw_only=True):
    """IAM's word on one action and one resource."""

    action: str
    resource: str
    decision: str
    """`allowed`, `implicitDeny` or `explicitDeny`."""
    missing_context: tuple[str, ...] = ()
    """Condition keys that policies look at and the question did not carry."""
    by_organization: bool = False
    """A policy of the organization is what denies it."""
    by_boundary: bool = False
    """The permissions boundary is what denies it."""

    @property
    def allowed(self) -> bool:
        return self.decision == "allowed"


class Answer(Struct, frozen=True, kw_only=True):
    """One page of an answer."""

    decisions: tuple[Decision, ...]
    marker: str = ""
    """What asks for the next page; "" for none."""


class IamError(Struct, frozen=True, kw_only=True):
    """IAM refused to answer."""

    code: str
    message: str


def simulation(principal: str, question: Question, *, marker: str = "") -> bytes:
    """The form that asks it of IAM."""
    fields: list[tuple[str, str]] = [
        ("Action", "SimulatePrincipalPolicy"),
        ("Version", "2010-05-08"),
        ("PolicySourceArn", principal),
    ]
    fields += [(f"ActionNames.member.{n}", a) for n, a in enumerate(question.actions, 1)]
    fields += [(f"ResourceArns.member.{n}", r) for n, r in enumerate(question.resources, 1)]
    for number, (key, value) in enumerate(question.context.items(), 1):
        entry = f"ContextEntries.member.{number}"
        fields += [
            (f"{entry}.ContextKeyName", key),
            (f"{entry}.ContextKeyType", "string"),
            (f"{entry}.ContextKeyValues.member.1", value),
        ]
    if marker:
        fields.append(("Marker", marker))
    return urlencode(fields).encode()


def answer_of(status: int, body: bytes) -> Answer | IamError:
    """What IAM said. A body that is not IAM's is an IamError with the status as its code."""
    try:
        root = ElementTree.fromstring(body.decode("utf-8", "replace"))
    except (ElementTree.ParseError, ValueError):
        return IamError(code=str(status), message="an answer that is not IAM's")
    if status != 200:
        code, message = _text(root, "Error/Code"), _text(root, "Error/Message")
        return IamError(code=code or str(status), message=message)
    result = root.find("{*}SimulatePrincipalPolicyResult")
    if result is None:
        return IamError(code=str(status), message="an answer that is not IAM's")
    decisions = [
        decision
        for member in result.findall("{*}EvaluationResults/{*}member")
        for decision in _decisions(member)
    ]
    truncated = _text(result, "IsTruncated") == "true"
    return Answer(decisions=tuple(decisions), marker=_text(result, "Marker") if truncated else "")


def _decisions(member: ElementTree.Element) -> list[Decision]:
    """One for each resource where IAM tells them apart, else the one that it gives."""
    action = _text(member, "EvalActionName")
    whole = Decision(
        action=action,
        resource=_text(member, "EvalResourceName"),
        decision=_text(member, "EvalDecision"),
        missing_context=_missing(member),
        by_organization=_text(member, "OrganizationsDecisionDetail/AllowedByOrganizations")
        == "false",
        by_boundary=_text(member, "PermissionsBoundaryDecisionDetail/AllowedByPermissionsBoundary")
        == "false",
    )
    specific = [
        Decision(
            action=action,
            resource=_text(item, "EvalResourceName"),
            decision=_text(item, "EvalResourceDecision"),
            missing_context=_missing(item),
            by_organization=whole.by_organization,
            by_boundary=_text(
                item, "PermissionsBoundaryDecisionDetail/AllowedByPermissionsBoundary"
            )
            == "false"
            or whole.by_boundary,
        )
        for item in member.findall("{*}ResourceSpecificResults/{*}member")
    ]
    return specific or [whole]


def _missing(element: ElementTree.Element) -> tuple[str, ...]:
    return tuple(
        (item.text or "").strip() for item in element.findall("{*}MissingContextValues/{*}member")
    )


def _text(element: ElementTree.Element, path: str) -> str:
    found = element.findtext("/".join(f"{{*}}{step}" for step in path.split("/")))
    return (found or "").strip()


def denied_action(message: str) -> str:
    """The action that an AccessDenied names, `iam:PassRole` of a StartTask for one; "" if none.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html"""
    found = _NOT_ALLOWED.search(message)
    return found[1] if found else ""
