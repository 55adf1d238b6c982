"""`blox simulate` as a process: serving, the aws command against it, and its levers."""

import json
import signal
import socket
import sys
import threading
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from blox.cli.simulator_client import Simulator
from support.processes import Running, run, running, wait_until
from support.simulated import ACCOUNT, Bench, events_of

AWS = str(Path(sys.executable).with_name("aws"))


def exported(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line.startswith("export ")]
    return dict(line.removeprefix("export ").split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`blox simulate serve` as a process, and the environment that it tells to export."""
    folder = tmp_path_factory.mktemp("simulator")
    arguments = ["-m", "blox.cli.main", "simulate", "serve", "--bind", "127.0.0.1:0"]
    arguments += ["--hosts", "4", "--secret", "s3cret", "--env-file", str(folder / "env")]
    arguments += ["--stream", "ecs-events"]
    arguments += ["--service-delay", "0.5"]
    with running(arguments, output=folder / "output") as process:
        process.wait_for_output("list-container-instances")
        yield process, exported(folder / "env")


def blox(environment: dict[str, str], *arguments: str) -> str:
    done = run([sys.executable, "-m", "blox.cli.main", *arguments], environment=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_aws_command_works_against_it(simulator: tuple[Running, dict[str, str]]) -> None:
    _, environment = simulator

    def aws(*arguments: str) -> Any:
        done = run([AWS, *arguments, "--output", "json"], environment=environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    assert aws("sts", "get-caller-identity")["Account"] == ACCOUNT
    hosts = aws("ecs", "list-container-instances", "--cluster", "demo")["containerInstanceArns"]
    assert len(hosts) == 4
    started = aws(
        *("ecs", "start-task", "--cluster", "demo", "--task-definition", "fluent-bit"),
        *("--container-instances", hosts[0]),
    )
    task = started["tasks"][0]["taskArn"]
    control = Simulator(environment["BLOX_SIMULATOR"])
    status = '"lastStatus": "RUNNING"'
    wait_until(lambda: status in json.dumps(control.get("state")), what="a running task")
    aws("ecs", "wait", "tasks-running", "--cluster", "demo", "--tasks", task)
    url = f"{environment['AWS_ENDPOINT_URL']}/{ACCOUNT}/blox-events"
    received = aws(
        *("sqs", "receive-message", "--endpoint-url", environment["AWS_ENDPOINT_URL"]),
        *("--queue-url", url, "--max-number-of-messages", "10"),
    )
    assert events_of(received["Messages"])[0]["source"] == "aws.ecs"
    assert "ecs-events" in blox(environment, "simulate", "state")
    endpoint = ("--endpoint-url", environment["AWS_ENDPOINT_URL"])
    shards = aws("kinesis", "list-shards", "--stream-name", "ecs-events", *endpoint)["Shards"]
    iterators = [
        aws(
            *("kinesis", "get-shard-iterator", "--stream-name", "ecs-events", *endpoint),
            *("--shard-id", shard["ShardId"], "--shard-iterator-type", "TRIM_HORIZON"),
        )["ShardIterator"]
        for shard in shards
    ]
    records = [
        record
        for iterator in iterators
        for record in aws("kinesis", "get-records", "--shard-iterator", iterator, *endpoint)[
            "Records"
        ]
    ]
    told = [json.loads(b64decode(record["Data"])) for record in records]
    assert task in [event["detail"].get("taskArn") for event in told]
    unknown = run([AWS, "ecs", "describe-task-sets", "--cluster", "demo", "--service", "x"],
                  environment=environment)  # fmt: skip
    assert unknown.returncode != 0
    assert "UnknownOperationException" in unknown.stderr


def test_its_levers_work_from_another_terminal(simulator: tuple[Running, dict[str, str]]) -> None:
    _, environment = simulator
    added = blox(environment, "simulate", "hosts", "add", "2", "--cluster", "demo").split()
    assert len(added) == 2
    blox(environment, "simulate", "hosts", "drain", added[0])
    blox(environment, "simulate", "hosts", "terminate", added[1])
    foreign = blox(environment, "simulate", "daemons", "foreign", "sleep", added[0]).strip()
    state = json.loads(blox(environment, "simulate", "state", "--json"))
    hosts = {one["containerInstanceArn"]: one for one in state["clusters"]["demo"]["hosts"]}
    assert hosts[added[0]]["status"] == "DRAINING"
    assert [task["taskArn"] for task in hosts[added[0]]["tasks"]] == [foreign]
    assert hosts[added[1]]["alive"] is False
    shown = blox(environment, "simulate", "state")
    assert "DRAINING" in shown
    assert "queue blox-events" in shown
    blox(environment, "simulate", "faults", "add", "StopTask", "--outcome", "throttle")
    assert "throttle" in blox(environment, "simulate", "faults", "list")
    blox(environment, "simulate", "faults", "clear")
    assert "throttle" not in blox(environment, "simulate", "faults", "list")


def test_the_aws_command_makes_services_that_act(
    simulator: tuple[Running, dict[str, str]],
) -> None:
    _, environment = simulator

    def aws(*arguments: str) -> Any:
        done = run([AWS, *arguments, "--output", "json"], environment=environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def groups() -> list[str]:
        hosts = Simulator(environment["BLOX_SIMULATOR"]).get("state")["clusters"]["svc"]["hosts"]
        return sorted(task["group"] for host in hosts for task in host["tasks"])

    aws("ecs", "create-cluster", "--cluster-name", "svc")
    blox(environment, "simulate", "providers", "add", "asg", "--cluster", "svc")
    added = blox(
        environment,
        *("simulate", "hosts", "add", "2", "--cluster", "svc", "--capacity-provider", "asg"),
    ).split()
    shown = aws("ecs", "describe-capacity-providers", "--capacity-providers", "asg")
    assert shown["capacityProviders"][0]["name"] == "asg"
    described = aws("ecs", "describe-clusters", "--clusters", "svc")["clusters"][0]
    assert described["capacityProviders"] == ["asg"]
    aws(
        *("ecs", "create-service", "--cluster", "svc", "--service-name", "logs"),
        *("--task-definition", "sleep", "--scheduling-strategy", "DAEMON"),
    )
    wait_until(lambda: groups() == ["service:logs"] * 2, what="a task on each host")
    state = blox(environment, "simulate", "state", "--cluster", "svc")
    assert "service logs  DAEMON  ACTIVE  sleep:1" in state
    assert state.count("asg (could scale in)") == 2
    aws(
        *("ecs", "update-service", "--cluster", "svc", "--service", "logs"),
        *("--placement-constraints", "type=memberOf,expression=attribute:blox !exists"),
    )
    aws(
        *("ecs", "put-attributes", "--cluster", "svc"),
        *("--attributes", f"name=blox,value=x,targetId={added[0]}"),
    )
    wait_until(lambda: groups() == ["service:logs"], what="one task less")
    aws(
        *("ecs", "delete-attributes", "--cluster", "svc"),
        *("--attributes", f"name=blox,targetId={added[0]}"),
    )
    wait_until(lambda: groups() == ["service:logs"] * 2, what="the task again")
    blox(environment, "simulate", "services", "delete", "logs", "--cluster", "svc")
    wait_until(lambda: groups() == [], what="no more tasks")
    created = ("simulate", "services", "create", "more", "sleep", "--cluster", "svc")
    blox(environment, *created, "--constraint", "attribute:none exists")
    assert groups() == []


def test_access_images_and_the_rule_have_their_commands(
    simulator: tuple[Running, dict[str, str]],
) -> None:
    _, environment = simulator

    def refused(*arguments: str) -> str:
        done = run([sys.executable, "-m", "blox.cli.main", *arguments], environment=environment)
        assert done.returncode != 0
        return done.stderr

    assert blox(environment, "simulate", "deny", "ecs:Describe*") == "ecs:Describe*: denied\n"
    blox(environment, "simulate", "deny", "passrole:sleep")
    identity = run([AWS, "sts", "get-caller-identity", "--query", "Arn", "--output", "text"],
                   environment=environment).stdout.strip()  # fmt: skip
    simulated = run(
        [
            *(AWS, "iam", "simulate-principal-policy", "--policy-source-arn", identity),
            *("--action-names", "ecs:DescribeTasks", "ecs:ListTasks", "--output", "text"),
            *("--query", "EvaluationResults[].EvalDecision"),
        ],
        environment=environment,
    )
    assert simulated.stdout.split() == ["implicitDeny", "allowed"]
    assert "denied  ecs:Describe*, passrole:sleep" in blox(environment, "simulate", "state")
    assert "still denied: passrole:sleep" in blox(environment, "simulate", "allow", "ecs:Describe*")
    assert "still denied" not in blox(environment, "simulate", "allow", "--all")
    assert "--all" in refused("simulate", "allow")
    assert "Known: passrole:FAMILY" in refused("simulate", "deny", "StartTusk")
    assert "StartTask" in refused("simulate", "faults", "add", "StartTusk")

    digest = blox(environment, "simulate", "image", "sleep").strip()
    assert (digest.startswith("sha256:"), len(digest)) == (True, 71)

    assert json.loads(blox(environment, "simulate", "rule"))["state"] == "ENABLED"
    assert json.loads(blox(environment, "simulate", "rule", "remove"))["state"] == "GONE"
    assert "no event reaches a queue" in blox(environment, "simulate", "state")
    restored = json.loads(blox(environment, "simulate", "rule", "restore"))
    assert (restored["state"], restored["queues"]) == ("ENABLED", ["blox-events", "blox-state"])
    assert "no JSON" in refused("simulate", "rule", "show", "--pattern", "{")
    put = run(
        [AWS, "events", "put-events", "--entries", 'Source=me,DetailType=x,Detail="{}"'],
        environment=environment,
    )
    assert put.returncode == 0, put.stderr
    lines = blox(environment, "simulate", "events").splitlines()
    assert [json.loads(line)["source"] for line in lines] == ["me"]
    assert blox(environment, "simulate", "events", "--since", "1") == ""


def test_it_leaves_when_it_is_told_to_even_during_a_long_poll(tmp_path: Path) -> None:
    arguments = ["-m", "blox.cli.main", "simulate", "serve", "--bind", "127.0.0.1:0", "--hosts"]
    arguments += ["0", "--env-file", str(tmp_path / "env")]
    with running(arguments, output=tmp_path / "output") as process:
        process.wait_for_output("list-container-instances")
        bench = Bench(exported(tmp_path / "env")["AWS_ENDPOINT_URL"])
        sqs = bench.client("sqs")
        url = sqs.get_queue_url(QueueName="blox-events")["QueueUrl"]
        received: list[Any] = []
        poll = threading.Thread(
            target=lambda: received.append(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20))
        )
        poll.start()
        wait_until(lambda: bench.control.get("state")["queues"]["blox-events"]["polls"] == 1)
        process.signal(signal.SIGINT)
        wait_until(lambda: not process.alive(), within=10)
        assert process.stop() == 0
        assert "Traceback" not in process.output
        poll.join(10)
        assert ["Messages" in answer for answer in received] == [False]
        bench.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bind", "0.0.0.0:4566"], "loopback only"),
        (["--bind", "4566"], "HOST:PORT"),
        (["--account", "12"], "12 digits"),
        (["--bind", "127.0.0.1:0", "--queue", "two words"], "--queue or --stream cannot be made"),
        (["--bind", "127.0.0.1:0", "--stream", "two words"], "--queue or --stream cannot be made"),
    ],
)
def test_it_refuses_what_cannot_be(arguments: list[str], words: str) -> None:
    done = run([sys.executable, "-m", "blox.cli.main", "simulate", "serve", *arguments])
    assert done.returncode == 1
    assert words in done.stderr


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run([sys.executable, "-m", "blox.cli.main", "simulate", "serve", "--bind", bind])
    assert done.returncode == 1
    assert f"Cannot listen on {bind}" in done.stderr


def test_without_a_simulator_the_command_says_how_to_start_one() -> None:
    environment = {"BLOX_SIMULATOR": "http://127.0.0.1:1"}
    done = run(
        [sys.executable, "-m", "blox.cli.main", "simulate", "state"], environment=environment
    )
    assert done.returncode == 1
    assert "blox simulate serve" in done.stderr
