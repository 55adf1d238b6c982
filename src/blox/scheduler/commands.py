"""Ready-to-type `aws` commands about a service. Pure.

A shell must not touch what is inside: `!` is history to an interactive one, and expressions have
blanks and brackets. So everything that is not plain is in single quotes.
"""

import json
import re
import shlex
from collections.abc import Sequence
from typing import Final

from blox.ecs.model import PlacementConstraint

_SHORT: Final = re.compile(r"[A-Za-z0-9_.:!=~<>*+/() -]+\Z")
"""Expressions that the aws command's shorthand takes as they are: no comma, no quote, no bracket.
https://docs.aws.amazon.com/cli/latest/userguide/cli-usage-shorthand.html"""


def update_constraints(
    cluster: str, service: str, constraints: Sequence[PlacementConstraint]
) -> str:
    """Gives the service these placement constraints, and no others.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html"""
    return (
        f"aws ecs update-service --cluster {shlex.quote(cluster)} "
        f"--service {shlex.quote(service)} --placement-constraints {_listed(constraints)}"
    )


def delete_service(cluster: str, service: str) -> str:
    """Deletes the service; its tasks stop.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteService.html"""
    return (
        f"aws ecs delete-service --cluster {shlex.quote(cluster)} --service {shlex.quote(service)}"
    )


def _listed(constraints: Sequence[PlacementConstraint]) -> str:
    if not constraints:
        return "'[]'"
    if all(c.expression is None or _SHORT.match(c.expression) for c in constraints):
        return " ".join(map(_shorthand, constraints))
    members = [
        {"type": c.type or ""} | ({} if c.expression is None else {"expression": c.expression})
        for c in constraints
    ]
    return shlex.quote(json.dumps(members, ensure_ascii=False))


def _shorthand(constraint: PlacementConstraint) -> str:
    if constraint.expression is None:
        return f"type={constraint.type}"
    return shlex.quote(f"type={constraint.type},expression={constraint.expression}")
