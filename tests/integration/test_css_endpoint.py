"""`daemon-scheduler --css-endpoint`: real processes, one of which keeps the view of the other."""

from pathlib import Path
from typing import Any

import pytest

from blox.cli.demo_process import command
from support.processes import free_port, run
from support.scheduling import Scheduler, environment_of, scheduler, simulated_world
from support.stating import StateService, state_service


def following(*services: StateService) -> list[str]:
    """The flags that make a scheduler follow these for one cluster."""
    endpoints = [f"--css-endpoint=127.0.0.1:{service.port}" for service in services]
    return ["--cluster=demo", *endpoints]


def join(world: Any) -> str:
    """A host joins; its ARN."""
    return str(world.happen(lambda server, now: server.cloud.add_host("demo", now=now)))


def daemons_on(world: Any, host: str) -> int:
    return sum(task.host == host for task in world.live())


def wait_for_daemon(world: Any, process: Scheduler, host: str) -> None:
    process.process.wait_for(lambda: daemons_on(world, host) == 1, what=f"a daemon on {host}")


def test_a_scheduler_keeps_a_cluster_that_a_service_reads(tmp_path: Path) -> None:
    with (
        simulated_world(hosts=3) as world,
        state_service(world, tmp_path) as service,
        scheduler(world, tmp_path, *following(service), queue=None) as process,
    ):
        process.wait_ready()
        process.wait_primed()
        process.create()
        process.deployed()
        assert world.running() == 3
        wait_for_daemon(world, process, join(world))
        status = process.get("/v2/status")
        assert status["conditions"] == []
        assert status["notes"][0] == (
            f"The cluster-state-service at 127.0.0.1:{service.port} keeps the view of clusters."
        )
        (cluster,) = status["clusters"]
        assert cluster["primed"]
        (said,) = process.lines("following")
        assert said["css_endpoint"] == f"127.0.0.1:{service.port}"
        (view,) = process.lines("view")[:1]
        assert view["css_endpoints"] == [f"127.0.0.1:{service.port}"]
        scraped = process.ask("GET", "/metrics").text
        assert f'blox_state_service_in_use{{endpoint="127.0.0.1:{service.port}"}} 1.0' in scraped
        assert 'blox_view_good_for_seconds{cluster="demo"}' in scraped
        assert 'blox_condition{condition="state-service"} 0.0' in scraped
        # It lists nothing itself: that is what the service is for.
        assert 'operation="ListTasks"' not in scraped
        assert 'operation="ListContainerInstances"' not in scraped
        assert world.with_two() == []
        assert process.process.stop() == 0


def test_without_the_service_it_acts_no_longer_than_it_may(tmp_path: Path) -> None:
    port = free_port()
    with (
        simulated_world(hosts=2) as world,
        state_service(world, tmp_path, port=port) as service,
        scheduler(world, tmp_path, *following(service), queue=None) as process,
    ):
        process.wait_ready()
        process.wait_primed()
        process.create()
        process.deployed()
        service.process.kill()
        (condition,) = process.wait("/v2/status", lambda s: "refused" in str(s["conditions"]))[
            "conditions"
        ]
        assert condition["code"] == "state-service"
        assert (
            f"127.0.0.1:{port} cannot be followed: it does not answer (Connection refused)"
            in condition["sentence"]
        )
        environment = "/v2/environments/demo/logs"
        stale = process.wait(
            environment,
            lambda e: "view-stale" in {p["code"] for p in e["health"]["problems"]},
        )
        assert [p["code"] for p in stale["health"]["problems"]] == [
            "state-service",
            "view-stale",
        ]
        assert world.running() == 2  # What runs goes on running.
        acted = world.acted()
        late = join(world)
        with state_service(world, tmp_path, port=port):
            # It has a stored copy without that host, and has read nothing when it is followed.
            wait_for_daemon(world, process, late)
            process.wait(environment, lambda e: not e["health"]["problems"])
            assert process.conditions() == {}
        assert world.acted() == acted + 1
        assert world.with_two() == []


def test_when_one_service_dies_another_is_followed(tmp_path: Path) -> None:
    with (
        simulated_world(hosts=2, queues=("events", "others")) as world,
        state_service(world, tmp_path) as first,
        state_service(world, tmp_path, queue="others", store="others.db") as second,
        scheduler(world, tmp_path, *following(first, second), queue=None) as process,
    ):
        second.wait_ready().wait_swept()
        process.wait_ready()
        process.wait_primed()
        process.create()
        process.deployed()
        assert "Others to turn to" in process.get("/v2/status")["notes"][0]
        first.process.kill()
        wait_for_daemon(world, process, join(world))
        process.wait("/v2/status", lambda status: status["conditions"] == [])
        note = process.get("/v2/status")["notes"][0]
        assert note.startswith(f"The cluster-state-service at 127.0.0.1:{second.port} keeps")
        assert world.with_two() == []


def test_a_service_that_is_there_later_is_found(tmp_path: Path) -> None:
    port = free_port()
    with (
        simulated_world(hosts=1) as world,
        scheduler(
            world, tmp_path, f"--css-endpoint=127.0.0.1:{port}", "--cluster=demo", queue=None
        ) as process,
    ):
        process.wait_ready()
        process.wait(
            "/v2/status", lambda s: "state-service" in {c["code"] for c in s["conditions"]}
        )
        with state_service(world, tmp_path, port=port):
            process.wait_primed()
            process.create()
            process.deployed()
            assert world.running() == 1


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--queue", "q", "--css-endpoint", "127.0.0.1:3000"], "exclude each other"),
        (["--css-endpoint", "127.0.0.1"], "HOST:PORT is needed, as in 127.0.0.1:3000"),
        (["--css-endpoint", "ftp://x:1"], "HOST:PORT is needed"),
        (["--css-endpoint", "http://me@host:1"], "no user, query or fragment"),
    ],
)
def test_what_is_refused_before_anything_begins(tmp_path: Path, flags: list[str], why: str) -> None:
    with simulated_world(hosts=0, clusters=()) as world:
        ended = run(
            [*command(), "--store", f"sqlite:{tmp_path / 'blox.db'}", *flags],
            environment=environment_of(world),
        )
    assert ended.returncode == 1
    assert why in ended.stderr
    assert not (tmp_path / "blox.db").exists()
