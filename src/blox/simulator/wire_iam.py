"""IAM SimulatePrincipalPolicy, in the query protocol: a form in, XML out.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
It answers what the simulated account itself would: `allowed`, or `implicitDeny` for an action that
is denied at the moment. Each pair of an action and a resource has a result of its own.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from blox.simulator.model import Fault

VERSION: Final = "2010-05-08"
"""The `Version` of IAM's forms, which tells them from those of STS."""
NAMESPACE: Final = f"https://iam.amazonaws.com/doc/{VERSION}/"
_ACTION: Final = re.compile(r"[a-z0-9-]+:[A-Za-z0-9*]+\Z")
_PRINCIPAL: Final = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):(user|role|group)/\S+\Z")
_MOST: Final = 1_000


def form_of(body: bytes) -> dict[str, str]:
    """A form's members, the last of each name."""
    found = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in found.items()}


def simulate(
    form: Mapping[str, str],
    *,
    account: str,
    denies: Callable[[str, str], bool],
    request_id: str,
) -> bytes:
    """The answer of SimulatePrincipalPolicy. `denies`: (action, resource) → whether it is denied.
    Raises Fault."""
    principal = _PRINCIPAL.match(form.get("PolicySourceArn", ""))
    if principal is None:
        raise Fault(
            "InvalidInput",
            f"Invalid Entity Arn: {form.get('PolicySourceArn', '')} does not clearly define entity "
            "type and name.",
        )
    if principal[1] != account:
        raise Fault("NoSuchEntity", "The principal is not one of this account.", 404)
    actions = _members(form, "ActionNames")
    if not actions:
        raise Fault("ValidationError", "ActionNames must have at least one member.")
    for action in actions:
        if _ACTION.match(action) is None:
            raise Fault("InvalidInput", f"Invalid action: {action}")
    pairs = [(one, res) for one in actions for res in _members(form, "ResourceArns") or ["*"]]
    start, size = _window(form)
    shown = pairs[start : start + size]
    rest = start + size < len(pairs)
    marker = f"<Marker>{start + size}</Marker>" if rest else ""
    results = "".join(_result(one, res, denied=denies(one, res)) for one, res in shown)
    return (
        f'<SimulatePrincipalPolicyResponse xmlns="{NAMESPACE}"><SimulatePrincipalPolicyResult>'
        f"<IsTruncated>{'true' if rest else 'false'}</IsTruncated>{marker}"
        f"<EvaluationResults>{results}</EvaluationResults></SimulatePrincipalPolicyResult>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        "</SimulatePrincipalPolicyResponse>"
    ).encode()


def _members(form: Mapping[str, str], name: str) -> Sequence[str]:
    """A list as forms carry it: `NAME.member.1`, `NAME.member.2`, …"""
    found: list[str] = []
    while (value := form.get(f"{name}.member.{len(found) + 1}")) is not None:
        found.append(value)
    return found


def _window(form: Mapping[str, str]) -> tuple[int, int]:
    texts = (form.get("Marker", "0"), form.get("MaxItems", "100"))
    if not all(text.isascii() and text.isdigit() for text in texts):
        raise Fault("InvalidInput", "Invalid Marker or MaxItems.")
    start, size = int(texts[0]), int(texts[1])
    if not 1 <= size <= _MOST:
        raise Fault("ValidationError", "MaxItems is from 1 to 1000.")
    return start, size


def _result(action: str, resource: str, *, denied: bool) -> str:
    decision = "implicitDeny" if denied else "allowed"
    return (
        f"<member><EvalActionName>{escape(action)}</EvalActionName>"
        f"<EvalResourceName>{escape(resource)}</EvalResourceName>"
        f"<EvalDecision>{decision}</EvalDecision><MatchedStatements/><MissingContextValues/>"
        "</member>"
    )
