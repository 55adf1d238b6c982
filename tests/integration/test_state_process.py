"""The cluster-state-service as a process: it finds clusters, restarts with what it knew, says what
is wrong, and leaves well."""

import contextlib
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.iam import asked_by, refused
from support.processes import run, wait_until
from support.recorded import relay
from support.scheduling import (
    QUEUE,
    SHORT,
    SimulatedWorld,
    environment_of,
    scheduler,
    simulated_world,
)
from support.stating import REAL, StateService, state_service

READS = {
    "ListClusters",
    "DescribeClusters",
    "ListContainerInstances",
    "DescribeContainerInstances",
    "ListTasks",
    "DescribeTasks",
}
OF_THE_QUEUE = {"GetQueueUrl", "GetQueueAttributes", "ReceiveMessage", "DeleteMessageBatch"}


@pytest.fixture
def world() -> Iterator[SimulatedWorld]:
    with simulated_world(clusters=("demo", "edge")) as made:
        yield made


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of an AWS that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def start_tasks(world: SimulatedWorld, *hosts: str, cluster: str = "demo") -> list[str]:
    """Somebody starts a task on each of these hosts; their ARNs."""
    return [
        str(
            world.control.post(
                "tasks/foreign", {"cluster": cluster, "host": host, "family": "agent"}
            )["task"]
        )
        for host in hosts
    ]


def exit_code(service: StateService) -> int:
    """Of one that leaves by itself or was told to."""
    wait_until(lambda: not service.process.alive(), within=15.0, what="gone")
    return service.process.stop()


# --- What it watches ------------------------------------------------------------------------------


def test_it_finds_every_cluster_and_says_what_it_is(world: SimulatedWorld, tmp_path: Path) -> None:
    with state_service(world, tmp_path, module=REAL) as service:
        service.wait_ready().wait_swept("demo", "edge")
        assert len(service.instances()) == 6
        assert len(service.get("/v1/instances?cluster=demo&status=active")["items"]) == 3
        (first,) = service.lines("blox ")
        assert first["api"] == f"http://127.0.0.1:{service.port}"
        assert "starts or stops nothing" in first["mode"]
        clusters = service.lines("clusters")
        assert clusters[0]["watched"] == "all of the account and region"
        assert {arn.rsplit("/", 1)[1] for arn in clusters[1]["clusters"]} == {"demo", "edge"}
        service.process.wait_for_output("view of demo primed")
        service.process.wait_for_output("view of edge primed")
        service.process.wait_for(lambda: service.lines("identity"), what="identity")
        states = [line["state"] for line in service.lines("queue")]
        assert (states[0], "found" in states) == ("not asked yet", True)
        assert service.get("/v2/status")["conditions"] == []


def test_a_cluster_that_comes_is_found_by_its_first_event(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with state_service(world, tmp_path, module=REAL) as service:
        service.wait_ready().wait_swept("demo", "edge")
        world.control.post("clusters", {"name": "new"})
        world.control.post("hosts", {"cluster": "new"})
        service.wait_swept("new", within=30.0)
        assert len(service.instances(cluster="new")) == 1


def test_clusters_that_are_named_are_all_that_is_watched(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with state_service(world, tmp_path) as service:
        service.wait_ready().wait_swept("demo", "edge")
        assert service.process.stop() == 0
    flags = ("--cluster", "edge", "--cluster", "nowhere")
    with state_service(world, tmp_path, *flags) as service:
        service.wait_ready().wait_swept("edge")
        assert [c["name"] for c in service.get("/v2/clusters")["items"]] == ["edge"]
        assert len(service.instances()) == 3
        assert service.ask("POST", "/v2/clusters/demo/sweep").status == 404
        service.process.wait_for(lambda: "cluster" in service.conditions(), what="a condition")
        assert "nowhere is not there" in service.conditions()["cluster"]
        world.control.post("clusters", {"name": "nowhere"})
        service.wait_swept("edge", "nowhere")
        assert service.conditions() == {}
        assert "ListClusters" not in service.ask("GET", "/metrics").text


def test_without_a_queue_it_reads_more_often(world: SimulatedWorld, tmp_path: Path) -> None:
    with state_service(world, tmp_path, queue=None) as service:
        service.wait_ready().wait_swept("demo")
        assert service.get("/v2/status")["queue"] is None
        (task,) = start_tasks(world, world.hosts()[0])
        service.process.wait_for(lambda: task in service.live_tasks(), what="the task")


def test_events_come_by_a_kinesis_stream_as_well(tmp_path: Path) -> None:
    with simulated_world(queues=(), streams=("ecs-events",)) as world:
        stream = "kinesis://ecs-events"
        with state_service(world, tmp_path, module=REAL, queue=stream) as service:
            service.wait_ready().wait_swept("demo")
            service.wait("/v2/status", lambda s: s["queue"]["flowing"])
            before = start_tasks(world, *world.hosts())
            service.process.wait_for(
                lambda: service.live_tasks().keys() == set(before), within=15.0, what="three tasks"
            )
            assert service.get("/v2/status")["queue"]["name"] == stream
            service.process.kill()
        (during,) = start_tasks(world, world.hosts()[0])
        with state_service(world, tmp_path, module=REAL, queue=stream) as service:
            service.wait_ready()
            service.process.wait_for(
                lambda: service.live_tasks().keys() == {*before, during}, what="the fourth"
            )
            assert service.conditions() == {}
            assert service.process.stop() == 0


# --- What it tells --------------------------------------------------------------------------------


def test_a_change_is_told_to_those_who_watch(world: SimulatedWorld, tmp_path: Path) -> None:
    with state_service(world, tmp_path) as service:
        service.wait_ready().wait_swept("demo")
        with service.stream("/v2/stream?kinds=tasks") as stream:
            assert json.loads(stream.readline())["event"] == "heartbeat"
            (task,) = start_tasks(world, world.hosts()[0])
            told = json.loads(stream.readline())
        assert (told["event"], told["data"]["arn"]) == ("task", task)


def test_its_metrics_say_what_it_has_and_does(world: SimulatedWorld, tmp_path: Path) -> None:
    with state_service(world, tmp_path) as service:
        service.wait_ready().wait_swept("demo", "edge")
        start_tasks(world, *world.hosts())
        service.process.wait_for(lambda: len(service.live_tasks()) == 3, what="three tasks")

        def samples() -> dict[str, float]:
            text = service.ask("GET", "/metrics").text
            found = re.findall(r"^(\w+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)
            return {name: float(value) for name, value in found}

        def settled() -> bool:
            now = samples()
            return now["blox_state_unstored"] == now["blox_queue_held"] == 0 and (
                "blox_queue_depth" in now
            )

        with service.stream("/v2/stream") as stream:
            stream.readline()
            service.process.wait_for(settled, what="everything stored and removed")
            now = samples()
    assert now['blox_state_instances{cluster="demo"}'] == 3
    assert now['blox_state_tasks{cluster="demo"}'] == 3
    assert now['blox_state_primed{cluster="edge"}'] == 1
    assert now["blox_state_watchers"] == 1
    assert now["blox_queue_flowing"] == 1
    assert now["blox_state_version"] > 8
    assert now['blox_view_age_seconds{cluster="demo"}'] < 30
    assert now['blox_sweeps_total{result="complete"}'] >= 2
    assert now['blox_event_messages_total{result="applied"}'] >= 3
    assert now['blox_calls_total{operation="ListClusters",outcome="ok"}'] >= 1
    assert now["blox_throttles_total"] == 0
    assert {name: value for name, value in now.items() if "blox_condition" in name} == {
        f'blox_condition{{condition="{code}"}}': 0
        for code in ("copy", "credentials", "ecs-unreachable", "queue", "clusters", "cluster")
    }


def test_tags_are_asked_for_when_they_are_wanted(world: SimulatedWorld, tmp_path: Path) -> None:
    with relay(world.url) as between:
        for flags in ((), ("--tags",)):
            variables = {"AWS_ENDPOINT_URL": between.url}
            with state_service(world, tmp_path, *flags, variables=variables) as service:
                service.wait_ready().wait_swept("demo")
                asked = [
                    json.loads(sent.body).get("include")
                    for sent in between.sent
                    if sent.operation == "DescribeContainerInstances"
                ]
            assert asked
            wanted = ["CONTAINER_INSTANCE_HEALTH", *(["TAGS"] if flags else [])]
            assert all(sorted(include) == wanted for include in asked)
            between.sent.clear()


def test_logs_go_where_the_variables_say(world: SimulatedWorld, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "css.log"
    variables = {"CSS_LOG_FILE": str(log), "CSS_LOG_LEVEL": "debug", "DS_LOG_LEVEL": "off"}
    with state_service(world, tmp_path, variables=variables) as service:
        service.wait_ready().wait_swept("demo")
        wait_until(lambda: '"allowed"' in log.read_text(), what="a line of debug")
        assert service.process.output == ""


# --- What it may do -------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [(), ("--cluster", "demo")], ids=["all", "named"])
def test_it_does_no_more_than_the_policy_that_is_printed_for_it(
    named: tuple[str, ...], world: SimulatedWorld, tmp_path: Path
) -> None:
    setup = [str(Path(sys.executable).parent / "blox"), "setup", "--print", "iam"]
    printed = run(
        [*setup, "--state-service", "--queue", QUEUE, *named], environment=environment_of(world)
    )
    assert printed.returncode == 0, printed.stderr
    policy = printed.stdout.replace("REGION", "us-east-1").replace("ACCOUNT", "111122223333")
    with relay(world.url) as between:
        variables = {"AWS_ENDPOINT_URL": between.url}
        with state_service(world, tmp_path, *named, variables=variables) as service:
            service.wait_ready().wait_swept("demo")
            (task,) = start_tasks(world, world.hosts()[0])
            service.process.wait_for(lambda: task in service.live_tasks(), what="the task")
            service.wait("/v2/status", lambda s: s["queue"]["depth"] is not None)
            service.swept("demo")
            assert service.process.stop() == 0
        sent = [one for one in between.sent if one.operation]
    operations = {one.operation for one in sent}
    assert operations == (READS - ({"ListClusters"} if named else set())) | OF_THE_QUEUE
    for one in sent:
        assert refused([json.loads(policy)], asked_by(one.operation, one.body)) == []
    assert world.acted() == 0


# --- What is wrong --------------------------------------------------------------------------------


def test_it_answers_before_aws_does(world: SimulatedWorld, tmp_path: Path, silent: str) -> None:
    with state_service(world, tmp_path, variables={"AWS_ENDPOINT_URL": silent}) as service:
        service.wait_ready()
        assert service.get("/v1/instances") == {"items": []}
        assert service.get("/v2/status")["clusters"] == 0
        assert service.process.stop() == 0


def test_a_queue_that_is_not_there_is_a_condition_until_it_is(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with state_service(world, tmp_path, queue="absent") as service:
        service.wait_ready().wait_swept("demo")
        service.process.wait_for(lambda: "queue" in service.conditions(), what="a condition")
        assert "There is no queue absent" in service.conditions()["queue"]
        assert service.get("/v2/status")["queue"]["flowing"] is False
        (task,) = start_tasks(world, world.hosts()[0])
        service.process.wait_for(lambda: task in service.live_tasks(), what="found by a sweep")
        assert service.ready()


def test_where_listing_is_denied_the_way_out_is_named(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    world.control.post("deny", {"what": "ListClusters"})
    with state_service(world, tmp_path) as service:
        service.wait_ready()
        service.process.wait_for(lambda: "clusters" in service.conditions(), what="a condition")
        (condition,) = service.get("/v2/status")["conditions"]
        assert "denied" in condition["sentence"]
        assert "ecs:ListClusters" in condition["nextStep"]
        assert "--cluster" in condition["nextStep"]
        (line,) = service.lines("denied")
        assert (line["operation"], line["needed"]) == ("ListClusters", "ecs:ListClusters")
        # Who asks for a cluster by its name gets it all the same.
        assert service.ask("POST", "/v2/clusters/demo/sweep").status == 202
        service.wait_swept("demo")
    with state_service(world, tmp_path, "--cluster", "edge") as service:
        service.wait_ready().wait_swept("edge")
        assert service.conditions() == {}


def test_a_cluster_that_is_denied_disturbs_no_other(world: SimulatedWorld, tmp_path: Path) -> None:
    with relay(world.url) as between:
        between.denies = lambda sent: sent.operation == "ListTasks" and b"cluster/edge" in sent.body
        with state_service(world, tmp_path, variables={"AWS_ENDPOINT_URL": between.url}) as service:
            service.wait_ready().wait_swept("demo")
            service.process.wait_for(lambda: "cluster" in service.conditions(), what="a condition")
            assert "cluster/edge could not be read" in service.conditions()["cluster"]
            assert "ecs:ListTasks" in service.conditions()["cluster"]
            edge = service.get("/v2/clusters/edge")
            assert (edge["primed"], "ListTasks" in edge["readError"]) == (False, True)
            (task,) = start_tasks(world, world.hosts()[0])
            service.process.wait_for(lambda: task in service.live_tasks(), what="the task")
            service.swept("demo")
            between.denies = lambda _: False
            service.wait_swept("edge", within=30.0)
            assert service.conditions() == {}


def test_the_two_services_never_share_a_file(world: SimulatedWorld, tmp_path: Path) -> None:
    with state_service(world, tmp_path, store="one.db") as service:
        service.wait_ready()
        with scheduler(world, tmp_path, store="one.db") as blox:
            blox.process.wait_for_output("is in use by")
        assert service.process.stop() == 0
    with scheduler(world, tmp_path, store="one.db") as blox:
        blox.process.wait_for_output("is the store of a cluster-state-service")
        assert "Traceback" not in blox.process.output
    with scheduler(world, tmp_path, store="two.db") as blox:
        blox.wait_ready().create()
        assert blox.process.stop() == 0
    # A scheduler that has no environment yet has a file of its own all the same.
    with scheduler(world, tmp_path, store="three.db") as blox:
        blox.wait_ready()
        assert blox.process.stop() == 0
    for store in ("two.db", "three.db"):
        with state_service(world, tmp_path, store=store) as service:
            service.process.wait_for_output("is the store of a daemon-scheduler")
            assert exit_code(service) == 1
            assert "Traceback" not in service.process.output


def test_both_services_run_side_by_side(world: SimulatedWorld, tmp_path: Path) -> None:
    with (
        state_service(world, tmp_path, queue=None) as service,
        scheduler(world, tmp_path) as blox,
    ):
        blox.wait_ready().create()
        blox.deployed()
        service.wait_ready()
        service.process.wait_for(lambda: len(service.live_tasks()) == 3, what="three daemons")


# --- Beginning and leaving ------------------------------------------------------------------------


def test_a_restart_serves_the_stored_copy_before_ecs_answers(
    world: SimulatedWorld, tmp_path: Path, silent: str
) -> None:
    with state_service(world, tmp_path) as service:
        service.wait_ready().wait_swept("demo", "edge")
        start_tasks(world, *world.hosts())
        service.process.wait_for(lambda: len(service.live_tasks()) == 3, what="three tasks")
        before = (service.tasks(), service.instances(), service.get("/v1/tasks"))
        assert service.process.stop() == 0
    with state_service(world, tmp_path, variables={"AWS_ENDPOINT_URL": silent}) as service:
        service.wait_ready()
        assert (service.tasks(), service.instances(), service.get("/v1/tasks")) == before
        clusters = service.get("/v2/clusters")["items"]
        assert {c["name"]: c["primed"] for c in clusters} == {"demo": False, "edge": False}
        (loaded,) = service.lines("stored copy loaded")
        assert (loaded["clusters"], loaded["instances"], loaded["tasks"]) == (2, 6, 3)
        service.process.kill()
    gone = before[0].keys() - {next(iter(before[0]))}
    world.control.post("tasks/kill", {"tasks": sorted(gone)})
    with state_service(world, tmp_path) as service:
        service.wait_ready().wait_swept("demo", "edge")
        service.process.wait_for(lambda: len(service.live_tasks()) == 1, what="the truth again")


def test_who_follows_a_stream_goes_on_after_a_restart(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with state_service(world, tmp_path) as service:
        service.wait_ready().wait_swept("demo", "edge")
        with service.stream("/v2/stream") as stream:
            stream.readline()
            tasks = start_tasks(world, *world.hosts())
            service.process.signal(signal.SIGTERM)
            lines = [json.loads(line) for line in stream.read().splitlines()]
        assert exit_code(service) == 0
    position = lines[-1]["position"]
    world.control.post("tasks/kill", {"tasks": tasks[:1]})
    with state_service(world, tmp_path) as service:
        service.wait_ready()
        with service.stream(f"/v2/stream?kinds=tasks&position={position}") as stream:
            ended: list[str] = []
            while not ended:
                told = json.loads(stream.readline())
                assert told["position"].split(".")[0] == position.split(".")[0]
                if told["event"] == "task" and told["data"]["task"]["lastStatus"] == "STOPPED":
                    assert told["data"]["version"] > int(position.split(".")[1])
                    ended.append(told["data"]["arn"])
    assert ended == tasks[:1]


def test_sigterm_ends_streams_stores_what_is_known_and_leaves(
    world: SimulatedWorld, tmp_path: Path, silent: str
) -> None:
    with state_service(world, tmp_path, module=REAL) as service:
        service.wait_ready().wait_swept("demo", "edge")
        version = service.get("/v2/status")["position"].split(".")[1]
        paths = (
            "/v2/stream",
            "/v1/stream/tasks",
            f"/v1/stream/instances?entityVersion={version}",
        )
        open_streams = contextlib.ExitStack()
        streams = [open_streams.enter_context(service.stream(path)) for path in paths]
        tasks = start_tasks(world, *world.hosts())
        service.process.wait_for(
            lambda: service.live_tasks().keys() == set(tasks), what="three tasks"
        )
        service.process.signal(signal.SIGTERM)
        assert exit_code(service) == 0
        with open_streams:
            assert [stream.read()[-1:] for stream in streams] == [b"\n"] * 3
        assert len(service.lines("stopped")) == 1
        (stopping,) = service.lines("stopping")
        assert stopping["signal"] == "SIGTERM"
        assert "hangs" not in service.process.output
    with state_service(world, tmp_path, variables={"AWS_ENDPOINT_URL": silent}) as service:
        service.wait_ready()
        assert service.live_tasks().keys() == set(tasks)


def test_signals_that_come_together_are_one_request_to_leave(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with state_service(world, tmp_path, module=REAL) as service:
        service.wait_ready().wait_swept("demo", "edge")
        # Both are there before it looks.
        service.process.signal(signal.SIGSTOP)
        service.process.signal(signal.SIGTERM)
        service.process.signal(signal.SIGINT)
        service.process.signal(signal.SIGCONT)
        assert exit_code(service) == 0
        assert len(service.lines("stopping")) == len(service.lines("stopped")) == 1


def test_it_leaves_though_aws_never_answers(
    world: SimulatedWorld, tmp_path: Path, silent: str
) -> None:
    with state_service(
        world, tmp_path, module=REAL, variables={"AWS_ENDPOINT_URL": silent}
    ) as service:
        service.wait_ready()
        with service.stream("/v2/stream") as stream:
            stream.readline()
            assert service.process.stop(within=10.0) == 0


def test_a_second_one_on_the_same_store_names_the_first(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with state_service(world, tmp_path) as first:
        first.wait_ready()
        with state_service(world, tmp_path, queue=None) as second:
            second.process.wait_for_output("is in use by")
            assert exit_code(second) == 1
            assert f"process {first.process.pid} on" in second.process.output
        assert first.ready()


def told(world: SimulatedWorld, *arguments: str, **variables: str) -> tuple[int, str]:
    """The exit code and errors of a cluster-state-service that cannot begin."""
    environment = environment_of(world, assumptions=SHORT) | variables
    done = run([sys.executable, "-m", REAL, *arguments], environment=environment)
    return done.returncode, done.stderr.strip()


def test_what_cannot_begin_is_told_in_one_sentence(world: SimulatedWorld, tmp_path: Path) -> None:
    there = ("--bind", "127.0.0.1:0", "--store")
    good = f"sqlite:{tmp_path}/a.db"
    for arguments, sentence in (
        ((*there, f"sqlite:{tmp_path}/nowhere/state.db"), "does not exist"),
        ((*there, "etcd:here"), "sqlite:PATH is needed"),
        ((*there, good, "--cluster", "a b"), "neither a cluster's name"),
        ((*there, good, "--queue", "ftp://x"), "--queue 'ftp://x'"),
        ((*there, good, "--queue", "kinesis://"), "--queue 'kinesis://'"),
        ((*there, good, "--queue", ""), "--queue ''"),
        (("--bind", "0.0.0.0:0", "--store", good), "read all that is known of your clusters"),
    ):
        code, text = told(world, *arguments)
        assert code == 1, text
        assert text.startswith("cluster-state-service: ")
        assert sentence in text
        assert "Traceback" not in text
    code, text = told(world, *there, good, AWS_REGION="")
    assert (code, "set AWS_REGION" in text) == (1, True)
    assert os.listdir(tmp_path) == []


def test_it_says_its_version_and_how_it_is_used() -> None:
    version = run([sys.executable, "-m", REAL, "--version"])
    assert (version.returncode, version.stdout) == (0, "cluster-state-service 1.0.0\n")
    help_text = run([sys.executable, "-m", REAL, "--help"]).stdout
    for word in ("--allow-unauthenticated-network", "--tags", "--queue", "AWS_REGION",
                 "CSS_LOG_LEVEL", "CSS_LOG_FILE", "ECS_ENDPOINT", "kinesis://"):  # fmt: skip
        assert word in help_text


def test_the_script_is_installed() -> None:
    script = Path(sys.executable).parent / "cluster-state-service"
    assert run([str(script), "--version"]).stdout == "cluster-state-service 1.0.0\n"
