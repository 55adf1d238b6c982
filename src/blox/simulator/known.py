"""Every operation that the simulated AWS serves, by service."""

from collections.abc import Mapping
from typing import Final

from blox.simulator.kinesis_shapes import OPERATIONS as KINESIS
from blox.simulator.quotas import CATEGORIES
from blox.simulator.sqs_shapes import OPERATIONS as SQS

EVENTS: Final = (
    "DescribeRule",
    "ListRuleNamesByTarget",
    "ListRules",
    "ListTargetsByRule",
    "PutEvents",
)
OPERATIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "ecs": tuple(sorted(CATEGORIES)),
    "events": EVENTS,
    "iam": ("SimulatePrincipalPolicy",),
    "kinesis": KINESIS,
    "sqs": SQS,
    "sts": ("GetCallerIdentity",),
}
"""Service, as signatures name it → its operations, sorted."""
