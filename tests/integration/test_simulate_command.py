"""`blox simulate` as a process: serving, the aws command against it, and its levers."""

import json
import signal
import socket
import sys
import threading
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
