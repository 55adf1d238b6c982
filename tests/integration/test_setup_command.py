"""`blox setup` as a person types it, and a real scheduler that does no more than it prints."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.iam import ECS, Asked, allows, asked_by, refused
from support.processes import run
from support.recorded import Relay, relay
from support.scheduling import (
    QUEUE,
    Scheduler,
    SimulatedWorld,
    environment_of,
    scheduler,
    simulated_world,
)
from support.simulated import ACCOUNT

ROLE = f"arn:aws:iam::{ACCOUNT}:role/agent-task"
ALLOWED_WITHOUT_POLICY = {""}
"""STS's GetCallerIdentity, which has no X-Amz-Target: everybody may ask."""


class Printed(NamedTuple):
    code: int
    out: str
    notes: list[str]


def blox_setup(*words: str, world: SimulatedWorld | None = None, port: int = 1) -> Printed:
    """What `blox setup WORDS…` prints. Without a world there is no AWS; port 1 has no scheduler."""
    environment = {} if world is None else environment_of(world)
    environment["BLOX_ENDPOINT"] = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).parent / "blox"), "setup", *words]
    ended = run(command, environment=environment)
    return Printed(ended.returncode, ended.stdout, ended.stderr.splitlines())


def policies(printed: Printed) -> list[Any]:
    """The policy documents that were printed."""
    assert printed.code == 0, printed
    read = json.loads(printed.out)
    return read if isinstance(read, list) else [read]


@pytest.fixture
def world() -> Iterator[SimulatedWorld]:
    with simulated_world(clusters=("demo", "edge")) as made:
        made.happen(
            lambda server, now: server.cloud.add_definition(
                "agent", now=now, cpu=16, memory=32, stop_timeout=1, role="agent-task"
            )
        )
        yield made


def test_a_state_service_has_a_queue_of_its_own_and_no_blank_for_what_it_starts() -> None:
    printed = blox_setup("--print", "iam", "--state-service")
    assert printed.notes[0] == "note: to be filled in: REGION, ACCOUNT"
    (document,) = policies(printed)
    assert [s["Sid"] for s in document["Statement"]] == ["AllClusters", "Queue"]
    assert document["Statement"][1]["Resource"] == "arn:aws:sqs:REGION:ACCOUNT:blox-state"
    template = blox_setup("--print", "cloudformation", "--state-service")
    assert "Parameters:" not in template.out
    assert "QueueName: blox-state\n" in template.out
    assert "daemon-scheduler" not in template.out


# --- Without anything -----------------------------------------------------------------------------


def test_without_names_it_prints_blanks_and_asks_nobody() -> None:
    printed = blox_setup("--print", "iam")
    (document,) = policies(printed)
    assert document["Version"] == "2012-10-17"
    for blank in ("REGION", "ACCOUNT", "CLUSTER", "FAMILY", "TASK_ROLE", "EXECUTION_ROLE"):
        assert blank in printed.out
    assert printed.notes[0] == (
        "note: to be filled in: REGION, ACCOUNT, CLUSTER, FAMILY, TASK_ROLE, EXECUTION_ROLE"
    )


@pytest.mark.parametrize("kind", ["cloudformation", "terraform", "iam"])
def test_standard_output_is_the_document_alone(kind: str) -> None:
    printed = blox_setup("--print", kind)
    assert printed.code == 0
    assert "note:" not in printed.out
    assert all(note.startswith("note: ") for note in printed.notes)
    again = json.loads(blox_setup("--print", kind, "--json").out)
    assert again["print"] == kind
    assert [f"note: {note}" for note in again["notes"]] == printed.notes
    (document,) = again["documents"]
    assert printed.out in (document, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def test_a_template_says_which_command_prints_it_again() -> None:
    words = ("--print", "terraform", "--queue", "blox-test", "--observe", "--runs-on", "elsewhere")
    printed = blox_setup(*words)
    assert f"#   blox setup {' '.join(words)}\n" in printed.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--print", "iam", "--queue", "a.fifo"), "--queue 'a.fifo': a name of letters"),
        (("--print", "iam", "--queue", "x" * 76), "of at most 75 characters"),
        (("--print", "iam", "--notify-bus", "a b"), "is no name of an event bus"),
        (("--print", "iam", "--observe", "--migrate"), "leave one out"),
        (("--print", "iam", "--cluster", "a/b"), "neither a cluster's name nor its ARN"),
        (("--print", "iam", "--state-service", "--observe"), "leave out --observe"),
        (("--print", "iam", "--state-service", "--all"), "knows clusters, not environments"),
        (("--print", "iam", "--queue", "kinesis://s"), "read by a cluster-state-service alone"),
        (("--print", "iam", "--queue", "kinesis://a b"), "'a b' is no name of a Kinesis stream"),
        (("--print", "terraform", "--state-service", "--queue", "kinesis://s"), "--print iam"),
        (("--print", "pulumi"), "'pulumi' is not one of"),
        ((), "Missing option '--print'"),
    ],
)
def test_what_makes_no_sense_is_told(words: tuple[str, ...], sentence: str) -> None:
    printed = blox_setup(*words)
    assert (printed.code, printed.out) == (1, "")
    assert sentence in "\n".join(printed.notes)


def test_an_environment_needs_a_scheduler_that_answers() -> None:
    printed = blox_setup("--print", "iam", "--environment", "demo/logs")
    assert (printed.code, printed.out) == (1, "")
    assert "No scheduler answers at http://127.0.0.1:1" in printed.notes[0]


# --- With clusters --------------------------------------------------------------------------------


def test_clusters_are_asked_of_ecs_with_one_read(world: SimulatedWorld) -> None:
    before = world.counted()
    printed = blox_setup("--print", "iam", "--cluster", "demo", "--cluster", "edge", world=world)
    assert world.counted() == before + 1
    assert f'"{ECS}:cluster/demo"' in printed.out
    assert f'"{ECS}:cluster/edge"' in printed.out
    assert printed.notes[:2] == [
        "note: to be filled in: FAMILY, TASK_ROLE, EXECUTION_ROLE",
        "note: families and roles are known when environments are: --environment NAME",
    ]


def test_the_rule_is_for_the_clusters_that_are_named(world: SimulatedWorld) -> None:
    printed = blox_setup("--print", "cloudformation", "--cluster", "demo", world=world)
    assert f'          clusterArn:\n            - "{ECS}:cluster/demo"\n' in printed.out
    assert "--region us-east-1 --parameter-overrides Family=…" in printed.notes[-1]


def test_a_cluster_that_is_not_there_is_told(world: SimulatedWorld) -> None:
    printed = blox_setup("--print", "iam", "--cluster", "demo", "--cluster", "no", world=world)
    assert (printed.code, printed.out) == (1, "")
    assert printed.notes == [
        "blox: There is no cluster no in this account and region. `aws ecs list-clusters` shows "
        "those there are."
    ]


def test_what_does_not_fit_into_one_policy_is_a_list_of_several() -> None:
    names = [f"payments-production-eu-west-{n:03}" for n in range(40)]
    words = [word for name in names for word in ("--cluster", name)]
    with simulated_world(clusters=names, hosts=0) as world:
        printed = blox_setup("--print", "iam", *words, world=world)
    found = policies(printed)
    assert len(found) > 1
    assert all(len("".join(json.dumps(each).split())) <= 6144 for each in found)
    for name in names:
        here = (("ecs:cluster", f"{ECS}:cluster/{name}"),)
        assert allows(found, Asked("ecs:StopTask", f"{ECS}:task/{name}/x", here))
    assert f"this is a list of {len(found)} policies" in "".join(printed.notes)


# --- With environments ----------------------------------------------------------------------------


def test_environments_say_what_may_be_started_and_who_is_passed_along(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path, queue=None) as blox:
        blox.wait_ready().create(
            taskDefinition="agent:3", task={"tags": [{"key": "team", "value": "sre"}]}
        )
        blox.create("metrics", cluster="edge", taskDefinition="agent:1")
        logs = policies(
            blox_setup("--print", "iam", "--env", "demo/logs", world=world, port=blox.port)
        )
        everything = policies(blox_setup("--print", "iam", "--all", world=world, port=blox.port))
        half = blox_setup(
            "--print", "iam", "--env", "metrics", "--cluster", "demo", world=world, port=blox.port
        )
    in_demo, in_edge = ((("ecs:cluster", f"{ECS}:cluster/{name}"),) for name in ("demo", "edge"))
    start = Asked("ecs:StartTask", f"{ECS}:task-definition/agent:9")
    passing = Asked("iam:PassRole", ROLE, (("iam:PassedToService", "ecs-tasks.amazonaws.com"),))
    tag = Asked("ecs:TagResource", f"{ECS}:task/demo/x", (("ecs:CreateAction", "StartTask"),))
    for policy in (logs, everything):
        assert refused(policy, [start._replace(context=in_demo), passing, tag]) == []
    assert not allows(logs, start._replace(context=in_edge))
    assert allows(everything, start._replace(context=in_edge))
    assert not allows(everything, tag._replace(resource=f"{ECS}:task/edge/x"))
    assert allows(policies(half), start._replace(context=in_edge))
    assert refused(policies(half), [start._replace(context=in_demo), passing]) == [
        start._replace(context=in_demo),
        passing,
    ]
    assert "demo: no environment there is named" in half.notes[0]


def test_a_revision_in_force_that_is_not_the_newest_is_covered_too(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    world.definition("other")
    with scheduler(world, tmp_path, queue=None) as blox:
        blox.wait_ready().create(taskDefinition="agent:3")
        blox.deploy()
        changed = blox.ask("PATCH", "/v2/environments/demo/logs", {"taskDefinition": "other:1"})
        assert changed.status == 200, changed.text
        printed = blox_setup("--print", "iam", "--env", "logs", world=world, port=blox.port)
    assert f"{ECS}:task-definition/agent:*" in printed.out
    assert f"{ECS}:task-definition/other:*" in printed.out
    assert ROLE in printed.out
    assert "demo/logs: revision 1 is in force, and not the newest" in printed.notes[0]


# --- A real scheduler -----------------------------------------------------------------------------


def turbulent(blox: Scheduler, world: SimulatedWorld) -> None:
    """Start with tags, start where a host joins, replace, and hear of it all."""
    blox.wait_ready().create(
        taskDefinition="agent:3", task={"tags": [{"key": "team", "value": "sre"}]}
    )
    blox.deployed()
    world.control.post("hosts", {"cluster": "demo"})
    blox.process.wait_for(lambda: world.running() == 4, what="four daemons")
    changed = blox.ask("PATCH", "/v2/environments/demo/logs", {"taskDefinition": "agent:2"})
    assert changed.status == 200, changed.text
    blox.deploy()
    blox.process.wait_for(lambda: world.running(definition=":2"), what="a replaced daemon")


@pytest.fixture
def between(world: SimulatedWorld) -> Iterator[Relay]:
    """Whoever is led to the world is led through the relay."""
    with relay(world.url) as made:
        world.url = made.url
        yield made


def test_all_that_a_scheduler_sends_is_in_the_policy_that_is_printed(
    world: SimulatedWorld, between: Relay, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path) as blox:
        turbulent(blox, world)
        words = ("--print", "iam", "--env", "demo/logs", "--queue", QUEUE)
        sent = list(between.sent)
        printed = policies(blox_setup(*words, world=world, port=blox.port))
        observing = policies(blox_setup(*words, "--observe", world=world, port=blox.port))
    operations = {request.operation for request in sent} - ALLOWED_WITHOUT_POLICY
    assert operations >= {
        "DescribeClusters", "ListContainerInstances", "DescribeContainerInstances", "ListTasks",
        "DescribeTasks", "DescribeTaskDefinition", "StartTask", "StopTask",
        "GetQueueUrl", "ReceiveMessage", "DeleteMessageBatch",
    }  # fmt: skip
    roles = {f"{ECS}:task-definition/agent:3": (ROLE,)}
    asked = [
        one
        for request in sent
        if request.operation not in ALLOWED_WITHOUT_POLICY
        for one in asked_by(request.operation, request.body, roles=roles)
    ]
    assert {one.action for one in asked} >= {"iam:PassRole", "ecs:TagResource"}
    newest = [one for one in asked if one.action != "iam:PassRole"]
    assert refused(printed, newest) == []
    assert {one.action for one in refused(observing, asked)} == {
        "ecs:StartTask", "ecs:StopTask", "ecs:TagResource", "iam:PassRole",
    }  # fmt: skip


def test_an_observing_scheduler_gets_along_with_reads(
    world: SimulatedWorld, between: Relay, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path, "--observe", "--cluster", "demo") as blox:
        blox.wait_ready().wait_primed()
        blox.create(taskDefinition="agent:3")
        world.control.post("hosts", {"cluster": "demo"})
        blox.wait("/v2/environments/demo/logs", lambda e: e["counts"]["hosts"] == 4)
        sent = list(between.sent)
    words = ("--print", "iam", "--observe", "--cluster", "demo", "--queue", QUEUE)
    printed = policies(blox_setup(*words, world=world))
    asked = [
        one
        for request in sent
        if request.operation not in ALLOWED_WITHOUT_POLICY
        for one in asked_by(request.operation, request.body)
    ]
    assert {"ecs:ListTasks", "sqs:DeleteMessage"} <= {one.action for one in asked}
    assert refused(printed, asked) == []
