"""ECS's names and ARNs."""

import pytest

from blox.base.errors import InvalidInput
from blox.base.ids import (
    Arn,
    Domain,
    cluster_name,
    family_of,
    is_cluster_name,
    is_cluster_reference,
    is_definition_reference,
    is_environment_name,
    parse_arn,
    short_id,
)

PREFIX = "arn:aws:ecs:us-east-1:111122223333:"
TASK = "0123456789abcdef0123456789abcdef"
OLD_TASK = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("text", "kind", "cluster", "name"),
    [
        (f"task/demo/{TASK}", "task", "demo", TASK),
        (f"task/{OLD_TASK}", "task", None, OLD_TASK),
        (f"container-instance/demo/{TASK}", "container-instance", "demo", TASK),
        (f"container-instance/{OLD_TASK}", "container-instance", None, OLD_TASK),
        ("cluster/demo", "cluster", "demo", "demo"),
        ("cluster/123", "cluster", "123", "123"),
        ("service/demo/web", "service", "demo", "web"),
        ("task-definition/agent:7", "task-definition", None, "agent:7"),
    ],
)
def test_long_and_old_arns(text: str, kind: str, cluster: str | None, name: str) -> None:
    arn = parse_arn(PREFIX + text)
    assert arn == Arn("aws", "us-east-1", "111122223333", kind, cluster, name)
    assert arn is not None
    assert str(arn.domain) == "111122223333/us-east-1"


@pytest.mark.parametrize(
    ("partition", "region"),
    [
        ("aws", "eu-west-1"),
        ("aws-cn", "cn-north-1"),
        ("aws-us-gov", "us-gov-west-1"),
        ("aws-iso-b", "us-isob-east-1"),
        ("aws-eusc", "eusc-de-east-1"),
    ],
)
def test_every_partition(partition: str, region: str) -> None:
    arn = parse_arn(f"arn:{partition}:ecs:{region}:1:cluster/demo")
    assert arn is not None
    assert (arn.partition, arn.domain) == (partition, Domain("1", region))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "demo",
        "arn:aws:ec2:us-east-1:111122223333:instance/i-1",
        "arn:aws:ecs:us-east-1:111122223333:task",
        "arn:aws:ecs:us-east-1:111122223333:task/",
        "arn:aws:ecs:us-east-1:111122223333:task/demo/",
        "arn:aws:ecs:us-east-1:111122223333:task//x",
        "arn:aws:ecs:us-east-1:111122223333:task/a/b/c",
        "arn:aws:ecs:us-east-1:account:task/demo/x",
        f"{PREFIX}task/demo/x y",
        f"{PREFIX}task/demo/x\n",
        f" {PREFIX}task/demo/x",
    ],
)
def test_what_is_no_ecs_arn(text: str) -> None:
    assert parse_arn(text) is None


@pytest.mark.parametrize("text", ["demo", "1", "123", "-x", "_", "a" * 255, "De_mo-1"])
def test_cluster_names(text: str) -> None:
    assert is_cluster_name(text)
    assert is_cluster_reference(text)
    assert is_cluster_reference(f"{PREFIX}cluster/{text}")
    assert cluster_name(text) == text
    assert cluster_name(f"{PREFIX}cluster/{text}") == text


@pytest.mark.parametrize("text", ["", "a" * 256, "a b", "a/b", "a.b", "é", "demo\n"])
def test_what_is_no_cluster_name(text: str) -> None:
    assert not is_cluster_name(text)
    assert not is_cluster_reference(text)
    with pytest.raises(InvalidInput, match="neither a cluster's name nor its ARN"):
        cluster_name(text)


def test_an_arn_of_something_else_is_no_cluster() -> None:
    assert not is_cluster_reference(f"{PREFIX}task/demo/{TASK}")
    assert not is_cluster_reference(f"{PREFIX}cluster/demo/more")
    assert not is_definition_reference(f"{PREFIX}task-definition/demo/agent:7")


@pytest.mark.parametrize(
    ("text", "valid"),
    [("a", True), ("a" * 30, True), ("a" * 31, False), ("", False), ("a b", False), ("a\n", False)],
)
def test_environment_names(text: str, valid: bool) -> None:
    assert is_environment_name(text) is valid


@pytest.mark.parametrize(
    "text", ["agent", "agent:7", "a" * 255, f"{PREFIX}task-definition/agent:7"]
)
def test_definition_references(text: str) -> None:
    assert is_definition_reference(text)


@pytest.mark.parametrize(
    "text",
    ["", "agent:", "agent:0", "agent:07", "agent:x", "a:1:2", "a" * 256, f"{PREFIX}cluster/demo"],
)
def test_what_is_no_definition_reference(text: str) -> None:
    assert not is_definition_reference(text)


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("agent", "agent"),
        ("agent:7", "agent"),
        (f"{PREFIX}task-definition/agent:7", "agent"),
    ],
)
def test_family(text: str, family: str) -> None:
    assert family_of(text) == family


def test_short_ids_are_the_last_part() -> None:
    assert short_id(f"{PREFIX}task/demo/{TASK}") == TASK
    assert short_id(f"{PREFIX}task/{OLD_TASK}") == OLD_TASK
    assert short_id("i-0abc") == "i-0abc"
