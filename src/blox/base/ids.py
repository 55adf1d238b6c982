"""ECS's names and ARNs: every partition, long and old formats, cluster names of digits.

Formats: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-account-settings.html
    long  arn:PARTITION:ecs:REGION:ACCOUNT:task/CLUSTER/ID    (all resources made since April 2021)
    old   arn:PARTITION:ecs:REGION:ACCOUNT:task/ID
"""

import re
from functools import lru_cache
from typing import NamedTuple

from blox.base.errors import InvalidInput

_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z0-9-]*):ecs:(?P<region>[a-z0-9-]+):(?P<account>\d+)"
    r":(?P<kind>[a-z-]+)/(?P<rest>\S+)\Z"
)
_WITHOUT_CLUSTER = ("cluster", "task-definition")
"""Kinds whose ARN has one part after the kind."""
_CLUSTER_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}\Z")
_DEFINITION = re.compile(r"(?P<family>[A-Za-z0-9_-]{1,255})(:(?P<revision>[1-9]\d*))?\Z")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z0-9_-]{1,30}\Z")


class Domain(NamedTuple):
    """One account and region: the unit of quota, credentials and ownership."""

    account: str
    region: str

    def __str__(self) -> str:
        return f"{self.account}/{self.region}"


class Arn(NamedTuple):
    """A parsed ECS ARN. `cluster` is None for old ARNs that do not name it."""

    partition: str
    region: str
    account: str
    kind: str
    cluster: str | None
    name: str

    @property
    def domain(self) -> Domain:
        return Domain(self.account, self.region)


@lru_cache(maxsize=1024)
def parse_arn(text: str) -> Arn | None:
    """The parts of an ECS ARN, or None when `text` is not one."""
    match = _ARN.match(text)
    if match is None:
        return None
    rest = match["rest"].split("/")
    if not all(rest) or len(rest) > (1 if match["kind"] in _WITHOUT_CLUSTER else 2):
        return None
    cluster = rest[0] if match["kind"] == "cluster" or len(rest) == 2 else None
    return Arn(
        match["partition"], match["region"], match["account"], match["kind"], cluster, rest[-1]
    )


def is_cluster_reference(text: str) -> bool:
    """Whether `text` is a cluster's name or its ARN."""
    arn = parse_arn(text)
    if arn is not None:
        return arn.kind == "cluster" and is_cluster_name(arn.name)
    return is_cluster_name(text)


def is_cluster_name(text: str) -> bool:
    """1 to 255 letters, digits, hyphens and underscores; digits alone are a name too."""
    return _CLUSTER_NAME.match(text) is not None


def is_environment_name(text: str) -> bool:
    """The form that /v1 has always asked: 1 to 30 letters, digits, hyphens and underscores."""
    return _ENVIRONMENT_NAME.match(text) is not None


def cluster_name(reference: str) -> str:
    """The cluster's name from its name or ARN.

    Raises InvalidInput when `reference` is neither.
    """
    if not is_cluster_reference(reference):
        raise InvalidInput(f"{reference!r} is neither a cluster's name nor its ARN.")
    return reference.rsplit("/", 1)[-1]


def short_id(arn: str) -> str:
    """The last part of an ARN: what people read and type."""
    return arn.rsplit("/", 1)[-1]


def family_of(definition: str) -> str:
    """The family in a task definition's ARN, `family:revision` or `family`."""
    return short_id(definition).split(":", 1)[0]


def is_definition_reference(text: str) -> bool:
    """Whether `text` is `family`, `family:revision` or a task definition's ARN."""
    arn = parse_arn(text)
    if arn is not None:
        return arn.kind == "task-definition" and _DEFINITION.match(arn.name) is not None
    return _DEFINITION.match(text) is not None
