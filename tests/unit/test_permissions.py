"""The table of permissions: what the code sends is in it, and what is in it the code sends."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import botocore.session
import pytest

import blox
from blox.account.permissions import (
    CREATED_BY,
    FREE,
    GRANTS,
    IN_CLUSTER,
    PASSED_TO,
    Grant,
    Part,
    Resource,
    Where,
    grant_of,
    grants_for,
    statements,
)
from blox.app.reads import READS

SOURCE = Path(blox.__file__).parent
SERVICES = ("ecs", "sqs", "kinesis", "sts", "iam", "events")
TABLES = ("account/permissions.py", "ecs/pacing.py", "app/meter.py")
"""Modules that name operations without sending any."""
WHERE = Where(
    region="eu-west-1",
    account="111122223333",
    clusters=("demo",),
    families=("agent",),
    roles=("arn:aws:iam::111122223333:role/agent",),
    queues=("events",),
)


@cache
def operations() -> dict[str, frozenset[str]]:
    """Each operation of the services that blox speaks to, with the services that have it."""
    session: Any = botocore.session.get_session()
    found: dict[str, set[str]] = {}
    for service in SERVICES:
        for name in session.get_service_model(service).operation_names:
            found.setdefault(name, set()).add(service)
    return {name: frozenset(services) for name, services in found.items()}


def modules() -> Iterator[Path]:
    """Every module that is part of the product and not of its simulator."""
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE).as_posix()
        if place.startswith(("simulator/", "cli/simulat", "cli/demo")) or place in TABLES:
            continue
        if place.startswith("account/setup/"):  # what they name is for others to do
            continue
        yield path


def named_in(path: Path) -> set[str]:
    """Operations that a module names in a text of their own: `ListTasks`, `ecs:ListTasks`, or the
    Action of a form."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str | bytes):
            continue
        text = node.value if isinstance(node.value, str) else node.value.decode(errors="replace")
        form = re.match(r"Action=(\w+)", text) or re.fullmatch(r"(?:[a-z]+:)?(\w+)", text)
        if form and form[1] in operations():
            found.add(form[1])
    return found


@cache
def named() -> dict[str, tuple[str, ...]]:
    """Operation → the modules that name it."""
    found: dict[str, list[str]] = {}
    for path in modules():
        for name in named_in(path):
            found.setdefault(name, []).append(path.relative_to(SOURCE).as_posix())
    return {name: tuple(places) for name, places in sorted(found.items())}


WITHOUT_CALL = {grant.verb for grant in GRANTS if not grant.operations}
SENT = {operation for grant in GRANTS for operation in grant.operations}


def test_every_operation_that_the_code_names_is_in_the_table() -> None:
    verbs = {grant.verb for grant in GRANTS}
    unknown = {name: places for name, places in named().items() if name not in SENT | verbs}
    assert unknown == {}


def test_nothing_is_in_the_table_that_the_code_does_not_name() -> None:
    """A permission that nothing needs is one too many."""
    assert [operation for operation in sorted(SENT) if operation not in named()] == []


def test_the_client_of_ecs_sends_what_the_table_has_for_ecs() -> None:
    """Every request that can be written is written in one module."""
    tree = ast.parse((SOURCE / "ecs/wire.py").read_text(encoding="utf-8"))
    written = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "_request"
        and isinstance(node.args[0], ast.Constant)
    }
    of_ecs = {o for grant in GRANTS if grant.service == "ecs" for o in grant.operations}
    assert {"StartTask", "StopTask", "PutAttributes"} < written
    assert written <= of_ecs


def test_an_observer_may_do_all_that_it_sends_and_cannot_act() -> None:
    observer = {o for grant in grants_for(Part.OBSERVE) for o in grant.operations}
    assert READS - observer <= {"ListServices", "ListClusters"}
    assert observer <= READS
    acting = {grant.action for grant in grants_for(Part.ACT)}
    assert acting == {"ecs:StartTask", "ecs:StopTask", "iam:PassRole", "ecs:TagResource"}


def test_a_cluster_state_service_may_read_clusters_and_nothing_else() -> None:
    """Its view asks for definitions, services and capacity providers only when a scheduler does."""
    service = {o for grant in grants_for(Part.STATE) for o in grant.operations}
    assert service - {"GetQueueAttributes"} == {
        "ListClusters",
        "DescribeClusters",
        "ListContainerInstances",
        "DescribeContainerInstances",
        "ListTasks",
        "DescribeTasks",
    }
    assert service - {"GetQueueAttributes"} < READS
    assert {grant.service for grant in grants_for(Part.STREAM)} == {"kinesis"}


@pytest.mark.parametrize(
    ("prefix", "part"),
    [("account/verify", Part.VERIFY), ("account/doctor", Part.DOCTOR)],
)
def test_a_part_may_do_what_its_modules_send(prefix: str, part: Part) -> None:
    allowed = {o for grant in GRANTS if part in grant.parts for o in grant.operations}
    asked_of_iam = {o for grant in grants_for(Part.ACT, Part.MIGRATE) for o in grant.operations}
    about = WITHOUT_CALL | (asked_of_iam if part is Part.DOCTOR else set())
    sent = {
        name
        for path in modules()
        if path.relative_to(SOURCE).as_posix().startswith(prefix)
        for name in named_in(path)
    }
    assert sent
    assert sent - about - allowed == set()


def test_actions_are_written_as_iam_writes_them_and_once() -> None:
    assert len({grant.action for grant in GRANTS}) == len(GRANTS)
    for grant in GRANTS:
        assert grant.service in SERVICES
        assert grant.verb in operations() or grant.verb == "PassRole"
        for operation in grant.operations:
            assert grant.service in operations()[operation]
        assert grant.parts
        assert grant.why.endswith(".")
    assert grant_of("ecs:StartTask").verb == "StartTask"
    with pytest.raises(KeyError):
        grant_of("ecs:CreateService")


def test_conditions_are_those_that_the_action_knows() -> None:
    """https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html"""
    without = {"DescribeClusters", "ListContainerInstances", "ListClusters"}
    without |= {"DescribeTaskDefinition", "DescribeCapacityProviders"}
    for grant in GRANTS:
        if IN_CLUSTER in grant.conditions:
            assert grant.service == "ecs"
            assert grant.verb not in without
    assert grant_of("iam:PassRole").conditions == (PASSED_TO,)
    assert grant_of("ecs:TagResource").conditions == (CREATED_BY,)


def test_what_everybody_may_do_is_in_no_policy() -> None:
    assert {grant.action for grant in grants_for(*Part)} & FREE == set()
    assert len(grants_for(*Part)) == len(GRANTS) - len(FREE)


def test_statements_name_the_cluster_wherever_they_can() -> None:
    found = statements(grants_for(Part.OBSERVE, Part.ACT, Part.MIGRATE, Part.QUEUE), WHERE)
    for statement in found:
        if statement["Action"] in ("ecs:DescribeTaskDefinition",):
            continue
        text = json.dumps(statement)
        assert re.search(r"cluster/demo|/demo/|:events|role/agent|capacity-provider", text), text
    start = next(s for s in found if s["Sid"] == "Start")
    assert start == {
        "Sid": "Start",
        "Effect": "Allow",
        "Action": "ecs:StartTask",
        "Resource": "arn:aws:ecs:eu-west-1:111122223333:task-definition/agent:*",
        "Condition": {
            "ArnEquals": {"ecs:cluster": "arn:aws:ecs:eu-west-1:111122223333:cluster/demo"}
        },
    }


def test_without_names_statements_are_for_all() -> None:
    everywhere = Where(partition="aws-cn", region="cn-north-1", account="111122223333")
    found = {str(s["Sid"]): s for s in statements(grants_for(Part.OBSERVE, Part.ACT), everywhere)}
    assert (
        found["Hosts"]["Resource"] == "arn:aws-cn:ecs:cn-north-1:111122223333:container-instance/*"
    )
    assert "Condition" not in found["Hosts"]
    assert found["Start"]["Resource"] == "arn:aws-cn:ecs:cn-north-1:111122223333:task-definition/*"


def test_sids_are_letters_and_digits_and_differ_in_every_policy() -> None:
    for size in (1, 2, 3):
        for parts in combinations(Part, size):
            sids = [str(s["Sid"]) for s in statements(grants_for(*parts), WHERE)]
            assert len(set(sids)) == len(sids)
            assert all(re.fullmatch(r"[A-Za-z0-9]+", sid) for sid in sids)


def test_two_clusters_stand_in_one_statement() -> None:
    both = Where(region="eu-west-1", account="111122223333", clusters=("a", "b"))
    grants: list[Grant] = [g for g in GRANTS if g.resource is Resource.TASK and g.service == "ecs"]
    stop = statements([g for g in grants if g.verb == "StopTask"], both)[0]
    assert stop["Resource"] == [
        f"arn:aws:ecs:eu-west-1:111122223333:task/{name}/*" for name in ("a", "b")
    ]
    assert stop["Condition"] == {
        "ArnEquals": {
            "ecs:cluster": [
                f"arn:aws:ecs:eu-west-1:111122223333:cluster/{name}" for name in ("a", "b")
            ]
        }
    }


def test_a_new_call_would_be_noticed(tmp_path: Path) -> None:
    module = tmp_path / "new.py"
    module.write_text(
        '_request("ListAttributes", {})\nask("iam:GetRole")\nX = b"Action=GetUser&V=1"\n'
    )
    assert named_in(module) == {"ListAttributes", "GetRole", "GetUser"}
    assert named_in(module) & SENT == set()
