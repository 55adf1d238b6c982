"""From what a request asks to what the service is asked. Pure: values in, values out."""

import re
from collections.abc import Mapping
from typing import Final, TypeVar

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from blox.base.errors import InvalidInput
from blox.scheduler.adopting import Existing
from blox.scheduler.adoption import Choice
from blox.scheduler.api.bodies import EnvironmentPatch, NewEnvironment, PolicyWish
from blox.scheduler.api.bodies_orders import AdoptionWish
from blox.scheduler.model import Environment, Policy
from blox.scheduler.service import Wish

_FAMILY: Final = re.compile(r"[A-Za-z0-9_-]{1,255}\Z")
_ALLOWANCE: Final = re.compile(r"[0-9]{1,9}%?\Z")
T = TypeVar("T")


def wish_of(asked: NewEnvironment) -> Wish:
    """A new environment's content. Raises InvalidInput."""
    return Wish(
        task_definition=asked.task_definition,
        selector=asked.selector,
        task=asked.task,
        policy=policy_after(Policy(), asked.policy),
    )


def wish_after(environment: Environment, patch: EnvironmentPatch) -> Wish:
    """What a merge patch makes of an environment. Raises InvalidInput."""
    newest = environment.newest
    task: Mapping[str, object] | UnsetType = UNSET
    if patch.task is None:
        task = {}
    elif not isinstance(patch.task, UnsetType):
        task = merged(newest.task, patch.task)
    policy: Policy | UnsetType = UNSET
    if patch.policy is None:
        policy = Policy()
    elif not isinstance(patch.policy, UnsetType):
        policy = policy_after(environment.policy, patch.policy)
    return Wish(
        task_definition=patch.task_definition,
        selector="" if patch.selector is None else patch.selector,
        task=task,
        policy=policy,
    )


def merged(value: Mapping[str, object], patch: Mapping[str, object]) -> dict[str, object]:
    """`value` after a JSON merge patch: null takes a member away, objects are merged, everything
    else is replaced. https://www.rfc-editor.org/rfc/rfc7396"""
    result = dict(value)
    for name, change in patch.items():
        if change is None:
            result.pop(name, None)
        elif isinstance(change, Mapping):
            former = result.get(name)
            result[name] = merged(former if isinstance(former, Mapping) else {}, change)
        else:
            result[name] = change
    return result


def policy_after(policy: Policy, wish: PolicyWish) -> Policy:
    """The policy with the wish's members; null takes the default. Raises InvalidInput."""
    default = Policy()
    unavailable = wish.max_unavailable
    if isinstance(unavailable, int | str):
        unavailable = str(unavailable)
        if _ALLOWANCE.match(unavailable) is None:
            raise InvalidInput(
                f'maxUnavailable {unavailable!r}: a number of hosts ("3") or a share ("10%") is '
                "needed."
            )
    return replace(
        policy,
        max_unavailable=_chosen(unavailable, policy.max_unavailable, default.max_unavailable),
        min_healthy_seconds=_chosen(
            wish.min_healthy_seconds, policy.min_healthy_seconds, default.min_healthy_seconds
        ),
        progress_deadline=_chosen(
            wish.progress_deadline, policy.progress_deadline, default.progress_deadline
        ),
        drain_deadline=_chosen(wish.drain_deadline, policy.drain_deadline, default.drain_deadline),
        beside=_chosen(wish.beside, policy.beside, default.beside),
        when_idle=_chosen(wish.when_idle, policy.when_idle, default.when_idle),
    )


def existing_of(asked: NewEnvironment) -> Existing | None:
    """What to do about hosts that run the daemon already; None: ask."""
    existing = asked.existing
    return None if existing is None or isinstance(existing, UnsetType) else Existing(existing)


def choice_of(asked: AdoptionWish) -> Choice:
    """Which tasks are to be adopted. Raises InvalidInput."""
    family = "" if isinstance(asked.family, UnsetType) else asked.family
    if family and _FAMILY.match(family) is None:
        raise InvalidInput(f"{family!r} is no family of task definitions, as in `agent`.")
    return Choice(
        family=family,
        started_by="" if isinstance(asked.started_by, UnsetType) else asked.started_by,
        tasks=() if isinstance(asked.tasks, UnsetType) else asked.tasks,
    )


def _chosen(wished: T | UnsetType | None, present: T, default: T) -> T:
    if isinstance(wished, UnsetType):
        return present
    return default if wished is None else wished


def etag_of(token: str) -> str:
    """The ETag that stands for what an environment wants."""
    return f'"{token}"'


def precondition_holds(if_match: str, token: str) -> bool:
    """Whether an If-Match header allows changing what has this token. Weak tags never match.
    https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1"""
    tags = [tag.strip() for tag in if_match.split(",")]
    return tags == ["*"] or etag_of(token) in tags
