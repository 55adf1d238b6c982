"""Templates: a parser reads what is written, linters agree, and each form says the same."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml
from hcl2.utils import SerializationOptions
from hypothesis import given
from hypothesis import strategies as st

from blox.account.setup import hcl as templates_hcl
from blox.account.setup import yaml as templates_yaml
from blox.account.setup.cloudformation import BLANKS, cloudformation
from blox.account.setup.feed import IAM_BLANKS, PATTERN_LIMIT, RunsOn, Template, pattern
from blox.account.setup.found import Found, Options, permitted_for
from blox.account.setup.hcl import Attribute, Block, Call, Expression
from blox.account.setup.policies import Permitted, Served, document, documents, statements
from blox.account.setup.terraform import BLANKS as TERRAFORM_BLANKS
from blox.account.setup.terraform import terraform
from blox.account.setup.yaml import Noted, Tag
from support.iam import ECS
from support.simulated import ACCOUNT, REGION

DEMO = f"{ECS}:cluster/demo"
FOUND = Found(
    partition="aws",
    region=REGION,
    account=ACCOUNT,
    clusters=(Served(name="demo", families=("agent",), tagged=True), Served(name="edge")),
    arns=(DEMO, f"{ECS}:cluster/edge"),
    roles=(f"arn:aws:iam::{ACCOUNT}:role/agent",),
)
ALL = Options(queue="blox-events", bus="ops", migrate=True)


def template(permitted: Permitted, *, runs_on: RunsOn = RunsOn.EC2, **more: Any) -> Template:
    return Template(
        permitted=permitted, runs_on=runs_on, made_by="blox setup", version="1.0.0", **more
    )


# --- YAML -----------------------------------------------------------------------------------------


class Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads CloudFormation's short tags too."""


Loader.add_multi_constructor("!", lambda loader, tag, node: Tag(tag, node.value))

texts = st.text(st.characters(codec="utf-8"), max_size=12)
scalars = texts | st.integers(-(10**9), 10**9) | st.booleans()
values = st.recursive(
    scalars,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(texts, below, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(texts, values, min_size=1, max_size=4))
def test_yaml_reads_back_as_what_was_written(value: Mapping[str, Any]) -> None:
    assert yaml.load(templates_yaml.dump(value), Loader) == value


@pytest.mark.parametrize(
    "word", ["true", "No", "on", "null", "~", "1", "1.5", "2012-10-17", "0x1", "a: b", "# x", ""]
)
def test_words_that_yaml_takes_for_something_else_stay_texts(word: str) -> None:
    assert yaml.load(templates_yaml.dump({"value": word}), Loader) == {"value": word}


def test_comments_and_tags_stand_where_they_belong() -> None:
    written = templates_yaml.dump(
        {
            "Queue": Noted(("What it is.",), {"Name": Tag("Sub", "${A}-x"), "None": []}),
            "List": [Noted(("The first.",), {"Id": "a", "Of": ["b"]}), [True, 3]],
        },
        comment=("A template.",),
    )
    assert written.splitlines() == [
        "# A template.",
        "# What it is.",
        "Queue:",
        '  Name: !Sub "${A}-x"',
        '  "None": []'.replace('"', ""),
        "List:",
        "  # The first.",
        "  - Id: a",
        "    Of:",
        "      - b",
        "  - - true",
        "    - 3",
    ]


# --- HCL ------------------------------------------------------------------------------------------

PLAIN = SerializationOptions(strip_string_quotes=True, explicit_blocks=False, with_comments=False)


def test_hcl_is_laid_out_as_terraform_does() -> None:
    block = Block(
        "resource",
        ("aws_x", "y"),
        (
            Attribute("name", "a"),
            Attribute("seconds", 30),
            Attribute("policy", Call("jsonencode", {"detail-type": ["x", "y"], "on": True})),
            Block("nested", (), (Attribute("arn", Expression("aws_z.w.arn")),)),
            Attribute("last", ["one"]),
        ),
        comment=("What it is.",),
    )
    assert templates_hcl.dump([block]).splitlines() == [
        "# What it is.",
        'resource "aws_x" "y" {',
        '  name    = "a"',
        "  seconds = 30",
        "  policy = jsonencode({",
        '    "detail-type" = [',
        '      "x",',
        '      "y",',
        "    ]",
        "    on = true",
        "  })",
        "",
        "  nested {",
        "    arn = aws_z.w.arn",
        "  }",
        "",
        '  last = ["one"]',
        "}",
    ]


# --- CloudFormation -------------------------------------------------------------------------------


def many() -> Permitted:
    """More than fits into one policy or pattern."""
    clusters = tuple(Served(name=f"cluster-{n:03}", families=(f"f-{n}",)) for n in range(60))
    return permitted_for(
        Found(
            partition="aws",
            region=REGION,
            account=ACCOUNT,
            clusters=clusters,
            arns=tuple(f"{ECS}:cluster/{served.name}" for served in clusters),
            roles=(),
        ),
        BLANKS,
        ALL,
    )


VARIANTS = {
    "blank": template(permitted_for(None, BLANKS, ALL)),
    "observe": template(permitted_for(None, BLANKS, Options(queue="q", observe=True))),
    "ecs": template(permitted_for(FOUND, BLANKS, ALL), runs_on=RunsOn.ECS, watched=FOUND.arns),
    "elsewhere": template(permitted_for(FOUND, BLANKS, ALL), runs_on=RunsOn.ELSEWHERE),
    "many": template(many()),
    "state": template(permitted_for(None, BLANKS, Options(queue="q", state=True))),
    "state-named": template(
        permitted_for(FOUND, BLANKS, Options(queue="q", state=True)), runs_on=RunsOn.ECS
    ),
}


def test_cloudformation_lints_clean(tmp_path: Path) -> None:
    for name, made in VARIANTS.items():
        (tmp_path / f"{name}.yaml").write_text(cloudformation(made))
    linted = subprocess.run(
        [Path(sys.executable).parent / "cfn-lint", "--regions", REGION, "--", *tmp_path.iterdir()],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, "", "")


def test_the_linter_would_complain(tmp_path: Path) -> None:
    broken = cloudformation(VARIANTS["blank"]).replace("QueueName", "Queuename")
    (tmp_path / "broken.yaml").write_text(broken)
    linted = subprocess.run(
        [Path(sys.executable).parent / "cfn-lint", "--", tmp_path / "broken.yaml"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert linted.returncode != 0
    assert "Queuename" in linted.stdout


def test_only_blanks_are_parameters() -> None:
    def names(made: Template) -> list[str]:
        return list(yaml.load(cloudformation(made), Loader).get("Parameters", {}))

    assert names(VARIANTS["blank"]) == [
        "ClusterName", "Family", "TaskRoleArn", "ExecutionRoleArn",
    ]  # fmt: skip
    assert names(VARIANTS["observe"]) == ["ClusterName"]
    assert names(VARIANTS["ecs"]) == []
    assert names(VARIANTS["state"]) == []


def test_several_policies_hang_on_one_role() -> None:
    body = yaml.load(cloudformation(VARIANTS["many"]), Loader)
    policies = {
        name: each["Properties"]
        for name, each in body["Resources"].items()
        if each["Type"] == "AWS::IAM::ManagedPolicy"
    }
    assert list(policies)[:2] == ["SchedulerPolicy", "SchedulerPolicy2"]
    assert all(each["Roles"] == [Tag("Ref", "SchedulerRole")] for each in policies.values())
    assert {f"{name}Arn" for name in policies} <= set(body["Outputs"])


def test_the_rule_names_clusters_while_they_fit() -> None:
    assert pattern((DEMO,))["detail"] == {"clusterArn": [DEMO]}
    assert "detail" not in pattern(())
    some = tuple(f"{ECS}:cluster/cluster-{n:03}" for n in range(60))
    assert "detail" not in pattern(some)
    assert len(json.dumps(pattern(some[:20]))) < PATTERN_LIMIT
    assert "detail" in pattern(some[:20])


# --- The same in each form ------------------------------------------------------------------------


def resolved(value: Any, permitted: Permitted) -> Any:
    """CloudFormation's value with its functions carried out, as far as policies use them."""
    if isinstance(value, Tag):
        return {"Events.Arn": permitted.queue_arn}.get(value.value, value.value)
    if isinstance(value, dict):
        return {name: resolved(below, permitted) for name, below in value.items()}
    return [resolved(below, permitted) for below in value] if isinstance(value, list) else value


def normal(policy: Any) -> list[Any]:
    """Statements in which one value is a list of one."""

    def listed(value: Any) -> list[Any]:
        return value if isinstance(value, list) else [value]

    return [
        {
            **statement,
            "Action": listed(statement["Action"]),
            "Resource": listed(statement["Resource"]),
            "Condition": {
                operator: {key: listed(values) for key, values in block.items()}
                for operator, block in statement.get("Condition", {}).items()
            },
        }
        for statement in policy["Statement"]
    ]


@pytest.mark.parametrize(
    "options",
    [
        ALL,
        Options(queue="blox-events", observe=True),
        Options(queue="blox-state", state=True),
    ],
)
def test_cloudformation_terraform_and_iam_allow_the_same(options: Options) -> None:
    role, name = ("StateService", "state_service") if options.state else ("Scheduler", "scheduler")
    permitted = permitted_for(FOUND, IAM_BLANKS, options)
    (found,) = documents(statements(permitted))
    plain = normal(document(found))
    body = yaml.load(cloudformation(template(permitted)), Loader)
    properties = body["Resources"][f"{role}Policy"]["Properties"]
    assert properties["Roles"] == [Tag("Ref", f"{role}Role")]
    assert normal(resolved(properties["PolicyDocument"], permitted)) == plain
    assert normal(of_terraform(terraform(template(permitted)), permitted, name)) == plain


def of_terraform(text: str, permitted: Permitted, name: str) -> Any:
    """The policy document that Terraform would make of this name."""
    read = hcl2.loads(text, serialization_options=PLAIN)
    (data,) = [below[name] for each in read["data"] for below in each.values() if name in below]
    shown = []
    for statement in data["statement"]:
        block: dict[str, dict[str, Any]] = {}
        for condition in statement.get("condition", []):
            block.setdefault(condition["test"], {})[condition["variable"]] = condition["values"]
        shown.append(
            {
                "Sid": statement["sid"],
                "Effect": "Allow",
                "Action": statement["actions"],
                "Resource": [
                    permitted.queue_arn if arn == "${aws_sqs_queue.events.arn}" else arn
                    for arn in statement["resources"]
                ],
                "Condition": block,
            }
        )
    return {"Statement": shown}


def terraform_resources(text: str) -> dict[str, Any]:
    """`kind.name` → its attributes."""
    read = hcl2.loads(text, serialization_options=PLAIN)
    return {
        f"{kind}.{name}": body
        for each in read["resource"]
        for kind, below in each.items()
        for name, body in below.items()
    }


@pytest.mark.parametrize("runs_on", list(RunsOn))
def test_terraform_makes_what_cloudformation_makes(runs_on: RunsOn) -> None:
    permitted = permitted_for(FOUND, TERRAFORM_BLANKS, ALL)
    made = terraform_resources(terraform(template(permitted, runs_on=runs_on)))
    assert made["aws_sqs_queue.events"]["name"] == "blox-events"
    assert made["aws_sqs_queue.events"]["message_retention_seconds"] == 3600
    assert made["aws_sqs_queue.events"]["sqs_managed_sse_enabled"] is True
    assert "aws_sqs_queue.dead_letters.arn" in made["aws_sqs_queue.events"]["redrive_policy"]
    target = made["aws_cloudwatch_event_target.events"]
    assert target["arn"] == "${aws_sqs_queue.events.arn}"
    assert target["dead_letter_config"] == [{"arn": "${aws_sqs_queue.dead_letters.arn}"}]
    for queue in ("events", "dead_letters"):
        assert made[f"aws_sqs_queue_policy.{queue}"] == {
            "queue_url": f"${{aws_sqs_queue.{queue}.id}}",
            "policy": f"${{data.aws_iam_policy_document.{queue}_delivery.json}}",
        }
    assert ("aws_iam_role.scheduler" in made) is (runs_on is not RunsOn.ELSEWHERE)
    assert ("aws_iam_instance_profile.scheduler" in made) is (runs_on is RunsOn.EC2)


@pytest.mark.parametrize("queue", ["events", "dead_letters"])
def test_terraform_lets_the_rule_alone_send(queue: str) -> None:
    text = terraform(template(permitted_for(FOUND, TERRAFORM_BLANKS, ALL)))
    read = hcl2.loads(text, serialization_options=PLAIN)
    (data,) = [
        below[f"{queue}_delivery"]
        for each in read["data"]
        for below in each.values()
        if f"{queue}_delivery" in below
    ]
    (statement,) = data["statement"]
    assert statement["principals"] == [{"type": "Service", "identifiers": ["events.amazonaws.com"]}]
    assert statement["condition"] == [
        {
            "test": "ArnEquals",
            "variable": "aws:SourceArn",
            "values": ["${aws_cloudwatch_event_rule.events.arn}"],
        }
    ]


def test_terraform_declares_every_variable_that_it_uses_and_no_other() -> None:
    blank = terraform(template(permitted_for(None, TERRAFORM_BLANKS, ALL)))
    read = hcl2.loads(blank, serialization_options=PLAIN)
    declared = [name for each in read["variable"] for name in each]
    assert declared == ["cluster_arn", "family", "task_role_arn", "execution_role_arn"]
    assert set(read["locals"][0]) == {"partition", "region", "account", "cluster"}
    known = hcl2.loads(
        terraform(template(permitted_for(FOUND, TERRAFORM_BLANKS, ALL))),
        serialization_options=PLAIN,
    )
    assert "variable" not in known
    assert "locals" not in known
