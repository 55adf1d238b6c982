"""Records as bytes: what is written, what older and newer versions make of it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from blox.ecs.model import ContainerDefinition, TaskDefinition
from blox.scheduler.model import (
    Deployment,
    DeploymentStatus,
    Environment,
    FailureCause,
    Intent,
    Revision,
    Settled,
)
from blox.store import keys
from blox.store.codec import NEWEST, UPGRADES, WRITTEN, Upgrade, Value, decode, encode
from blox.store.errors import StoreRefused

ARN = "arn:aws:ecs:eu-west-1:123456789012:cluster/prod"


class Host(Struct, frozen=True):
    """As this version knows it."""

    name: str
    ports: tuple[int, ...] = ()


class NewerHost(Struct, frozen=True):
    """As the next version knows it: with one more optional member."""

    name: str
    ports: tuple[int, ...] = ()
    zone: str = ""


def written(format_: int, value: object, *, kind: str = "host") -> bytes:
    return msgspec.json.encode({"format": format_, "kind": kind, "value": value})


def test_a_record_names_its_format_and_kind() -> None:
    assert msgspec.json.decode(encode("host", Host("a", (1, 2)))) == {
        "format": WRITTEN,
        "kind": "host",
        "value": {"name": "a", "ports": [1, 2]},
    }


@pytest.mark.parametrize(
    "value",
    [
        Environment(
            id="e1",
            name="logs",
            cluster_arn=ARN,
            token="t",
            revisions=(
                Revision(
                    number=1,
                    definition=TaskDefinition(
                        task_definition_arn="arn:aws:ecs:eu-west-1:123456789012:task-definition/a:1",
                        container_definitions=(ContainerDefinition(name="main", cpu=10),),
                    ),
                    selector="attribute:zone == é",
                    task={"overrides": {"cpu": "1"}, "tags": [{"key": "k", "value": "v"}]},
                    digest="d",
                    created_at=1.5,
                ),
            ),
            deployed={"d1": "digest"},
            deleted_at=2.5,
        ),
        Deployment(
            id="d1",
            environment_id="e1",
            sequence=3,
            revision=1,
            status=DeploymentStatus.FAILED,
            causes=(FailureCause(code="RESOURCE", sentence="s", hosts=("h",), count=1),),
        ),
        Intent(
            id="i1",
            environment_id="e1",
            deployment_id="d1",
            cluster_arn=ARN,
            definition_arn="a:1",
            group="blox:logs",
            hosts=("h1", "h2"),
            settled={"h1": Settled("task", "t"), "h2": Settled("absent")},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_stored_comes_back_whole(value: Struct) -> None:
    assert decode(type(value), encode("any", value)) == value


@given(st.builds(Host, name=st.text(), ports=st.lists(st.integers(-(2**63), 2**64 - 1)).map(tuple)))
def test_any_text_and_number_comes_back(value: Host) -> None:
    assert decode(Host, encode("host", value), kind="host") == value


def test_mappings_keep_their_order() -> None:
    value = Environment(
        id="e",
        name="logs",
        cluster_arn=ARN,
        token="t",
        revisions=(),
        deployed={"z": "1", "a": "2", "m": "3"},
    )
    assert decode(Environment, encode("environment", value)).deployment_ids == ("z", "a", "m")


def test_a_member_that_only_newer_versions_know_is_ignored() -> None:
    data = encode("host", NewerHost("a", (1,), "z"))
    assert decode(Host, data) == Host("a", (1,))
    assert decode(NewerHost, encode("host", Host("a"))) == NewerHost("a")


def test_older_formats_are_brought_up_step_by_step() -> None:
    def ports_became_many(value: Value) -> Value:
        return {"title": value["title"], "ports": [value["port"]]}

    def title_became_name(value: Value) -> Value:
        return {"name": value["title"], "ports": value["ports"]}

    upgrades: dict[tuple[str, int], Upgrade] = {
        ("host", 1): ports_became_many,
        ("host", 3): title_became_name,
    }
    expected = Host("a", (7,))
    for format_, value in (
        (1, {"title": "a", "port": 7}),
        (2, {"title": "a", "ports": [7]}),
        (3, {"title": "a", "ports": [7]}),
        (4, {"name": "a", "ports": [7]}),
    ):
        assert decode(Host, written(format_, value), newest=4, upgrades=upgrades) == expected


def test_another_kinds_upgrades_are_not_applied() -> None:
    def spoil(value: Value) -> Value:
        raise AssertionError(value)

    data = written(1, {"name": "a"})
    assert decode(Host, data, newest=2, upgrades={("other", 1): spoil}) == Host("a")


def test_a_newer_format_is_refused_by_both_numbers() -> None:
    with pytest.raises(StoreRefused, match=rf"format {NEWEST + 6}.*format {NEWEST}\b"):
        decode(Host, written(NEWEST + 6, {"name": "a"}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"format":1,"kind":"host"}',
        b'{"format":"1","kind":"host","value":{"name":"a"}}',
        b'{"format":0,"kind":"host","value":{"name":"a"}}',
        b'{"format":1,"kind":"host","value":[]}',
        b'{"format":1,"kind":"host","value":{"name":1}}',
        b'{"format":1,"kind":"host","value":{"name":"a"}',
    ],
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(StoreRefused):
        decode(Host, data)


def test_a_record_of_another_kind_is_refused() -> None:
    with pytest.raises(StoreRefused, match="'host', not 'intent'"):
        decode(Host, encode("host", Host("a")), kind="intent")


def test_what_we_write_we_can_read() -> None:
    assert WRITTEN <= NEWEST
    assert all(1 <= step < NEWEST for _, step in UPGRADES)


def test_keys_of_deployments_sort_by_age() -> None:
    sequences = [1, 2, 9, 10, 99, 100, 12_345, 999_999_999]
    stored = [keys.deployment("e1", sequence) for sequence in sequences]
    assert stored == sorted(stored)
    assert all(key.startswith(keys.deployments("e1")) for key in stored)
    assert not stored[0].startswith(keys.deployments("e"))


def test_no_two_things_share_a_key() -> None:
    all_keys = [
        keys.environment("x"),
        keys.name(ARN, "x"),
        keys.name(ARN, "y"),
        keys.deployment("x", 1),
        keys.intent("x"),
        keys.CLEAN,
    ]
    assert len(set(all_keys)) == len(all_keys)
    assert all(key.startswith(keys.ROOT) for key in all_keys)
