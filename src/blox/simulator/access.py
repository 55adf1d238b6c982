"""What IAM denies in the simulated account: a list of actions that can be changed at any time.

An entry is an action (`ecs:StartTask`, `sqs:ReceiveMessage`, `iam:PassRole`), a pattern with `*`
(`ecs:Describe*`), or `passrole:FAMILY` for passing the roles of one family's task definitions. The
calls themselves and iam:SimulatePrincipalPolicy follow the same list.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from blox.simulator.known import OPERATIONS
from blox.simulator.state import State

PASS_ROLE: Final = "passrole:"
_BATCHES: Final = "Batch"


def action_of(service: str, operation: str) -> str:
    """The IAM action that a call needs. SQS's batches need the action of the single call
    (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html)."""
    return f"{service}:{operation.removesuffix(_BATCHES)}"


def deniable() -> list[str]:
    """Every action that can be denied, sorted. sts:GetCallerIdentity needs no permission
    (https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html)."""
    found = [
        action_of(service, name)
        for service, names in OPERATIONS.items()
        for name in names
        if service != "sts"
    ]
    return sorted({*found, "iam:PassRole"})


def canonical(what: str) -> str:
    """The form in which an entry is kept; a name without a service means ECS. Raises ValueError
    for what would deny nothing."""
    if what.startswith(PASS_ROLE) and what != PASS_ROLE:
        return what
    action = what if ":" in what else f"ecs:{what}"
    known = deniable()
    if not any(fnmatchcase(one, action) for one in known):
        raise ValueError(
            f"There is no action {what!r} that could be denied. Known: passrole:FAMILY, "
            f"{', '.join(known)}; patterns with * are fine."
        )
    return action


def refuses(denied: Mapping[str, None], action: str) -> bool:
    """Whether the list denies this action, whatever it is done to."""
    return any(fnmatchcase(action, entry) for entry in denied)


def refuses_role(denied: Mapping[str, None], family: str) -> bool:
    """Whether the list denies passing the roles of this family's task definitions."""
    return PASS_ROLE + family in denied or refuses(denied, "iam:PassRole")


def denies_role(state: State, role: str) -> bool:
    """Whether passing this role (ARN; "*": some role) is denied."""
    if refuses(state.denied, "iam:PassRole"):
        return True
    families = [
        entry.removeprefix(PASS_ROLE) for entry in state.denied if entry.startswith(PASS_ROLE)
    ]
    roles = [
        found
        for definition in state.definitions.values()
        if definition.family in families
        for found in definition.roles
    ]
    return bool(families) if role == "*" else role in roles
