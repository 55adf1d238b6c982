"""The daemon-scheduler as a process: it converges, restarts quietly, observes, and leaves well."""

import asyncio
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blox.base.clock import SystemClock
from blox.scheduler.reasons import REASONS
from blox.settings import Assumptions
from blox.store import keys
from blox.store.sqlite import SqliteStore
from support.processes import run
from support.scheduling import (
    SHORT,
    Scheduler,
    SimulatedWorld,
    environment_of,
    scheduler,
    simulated_world,
    wait_until,
)

REAL = "blox.cli.services"
"""The module of the real command, with its real waits."""


@pytest.fixture
def world() -> Iterator[SimulatedWorld]:
    with simulated_world() as made:
        yield made


def is_clean(path: Path) -> bool:
    """Whether the last owner of a store said that it left nothing open."""

    async def look() -> bool:
        store = await SqliteStore.open(path, clock=SystemClock())
        try:
            return await store.get(keys.CLEAN) is not None
        finally:
            await store.close()

    return asyncio.run(look())


def metric(scraped: str, name: str) -> float:
    (line,) = [line for line in scraped.splitlines() if line.startswith(f"{name} ")]
    return float(line.rsplit(" ", 1)[1])


def test_it_converges_without_a_queue(world: SimulatedWorld, tmp_path: Path) -> None:
    with scheduler(world, tmp_path, queue=None) as blox:
        blox.wait_ready().create()
        blox.deployed()
        assert world.running() == 3
        assert len(world.calls("StartTask")) == 1
        world.control.post("hosts", {"cluster": "demo"})
        world.control.post("tasks/kill", {"tasks": [world.live()[0].arn]})
        blox.process.wait_for(lambda: world.running() == 4, what="four daemons")
        assert world.with_two() == []
        assert blox.process.stop() == 0


def test_its_first_lines_say_who_and_where_it_is_and_what_it_may_do(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path, "--cluster", "demo", module=REAL) as blox:
        blox.process.wait_for_output("view of demo primed")
        blox.process.wait_for_output("identity")
        blox.process.wait_for_output('"fence"')
        (first,) = blox.lines("blox ")
        assert first["api"] == f"http://127.0.0.1:{blox.port}"
        assert first["mode"] == "acting"
        (aws,) = blox.lines("aws")
        assert (aws["region"], aws["endpoint_from"]) == ("us-east-1", "AWS_ENDPOINT_URL")
        (identity,) = blox.lines("identity")
        assert identity["account"] == "111122223333"
        (clusters,) = blox.lines("clusters")
        assert clusters["named"] == ["demo"]
        (primed,) = blox.lines("view of demo primed")
        assert "(3 hosts, 0 tasks)" in primed["event"]
        assert primed["reads"]["ListTasks"] == "ok"
        (fence,) = blox.lines("fence")
        assert fence["finding"] == "stands"
        states = [line["state"] for line in blox.lines("queue")]
        assert states[0] == "not asked yet"
        assert "found" in states


def test_a_host_that_joins_has_its_start_called_at_once(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path, module=REAL) as blox:
        blox.wait_ready().create()
        blox.deployed()
        (arn,) = world.control.post("hosts", {"cluster": "demo"})["hosts"]
        blox.process.wait_for(lambda: len(world.live()) == 4, what="a fourth daemon")
        joined, called = world.look(
            lambda cloud: (cloud.hosts[arn].registered_at, cloud.log[-1].time)
        )
        assert called - joined < 2.0
        scraped = blox.ask("GET", "/metrics").text
        assert metric(scraped, "blox_start_delay_seconds_count") == 1
        assert metric(scraped, "blox_start_delay_seconds_sum") < 2.0
        assert metric(scraped, "blox_queue_lag_seconds") < 5.0
        assert metric(scraped, 'blox_calls_total{operation="StartTask",outcome="ok"}') == 2
        assert metric(scraped, "blox_throttles_total") == 0
        assert metric(scraped, "blox_reconcile_seconds_count") > 0
        assert metric(scraped, 'blox_view_age_seconds{cluster="demo"}') < 60.0
        slots = 'blox_slots{class="%s",cluster="demo",environment="logs"}'
        assert (
            sum(metric(scraped, slots % word) for word in ("current", "starting", "settling")) == 4
        )
        assert (
            metric(scraped, 'blox_host_seconds_without_daemon_total{environment="demo/logs"}') > 0
        )
        reasons = re.findall(r"^blox_reasons\{(.*)\} ([0-9.]+)$", scraped, re.MULTILINE)
        assert sum(float(hosts) for _, hosts in reasons) == 4
        for labels, _ in reasons:
            said = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            assert REASONS[said["reason"]].who == said["who"]


def test_a_restart_in_steady_state_makes_no_call_that_acts(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready().create()
        blox.deployed()
        assert blox.process.stop() == 0
    acted = world.acted()
    for ending in ("stop", "kill"):
        with scheduler(world, tmp_path) as blox:
            blox.wait_ready().wait_primed()
            blox.wait("/v2/environments/demo/logs", lambda e: e["counts"]["current"] == 3)
            another_sweep(blox)
            getattr(blox.process, ending)()
        assert world.acted() == acted
    assert world.running() == 3


def another_sweep(blox: Scheduler) -> None:
    """Wait until the cluster was read once more."""

    def age() -> float:
        return float(blox.get("/v2/status")["clusters"][0]["ageSeconds"])

    ages = [age()]

    def younger() -> bool:
        ages.append(age())
        return ages[-1] < ages[-2]

    blox.process.wait_for(younger, what="another sweep")


def test_after_sigterm_the_next_one_acts_at_once_and_after_a_kill_it_leaves_surplus_alone(
    tmp_path: Path,
) -> None:
    patient = Assumptions(signature_age=60.0, acceptance_lag=0.5, read_lag=1.0, backdate=0.0)
    with simulated_world(assumptions=patient) as world:
        with scheduler(world, tmp_path, assumptions=patient) as blox:
            blox.wait_ready().create()
            started_by = blox.deployed().rsplit("/", 1)[1]
            assert blox.process.stop() == 0
        assert is_clean(tmp_path / "blox.db")
        double(world, started_by)
        world.control.post("hosts", {"cluster": "demo"})
        with scheduler(world, tmp_path, assumptions=patient) as blox:
            blox.wait_ready()
            blox.process.wait_for(lambda: len(world.calls("StopTask")) == 1, what="surplus gone")
            blox.process.wait_for(lambda: world.running() == 4, what="one on each host")
            blox.process.kill()
        assert not is_clean(tmp_path / "blox.db")
        double(world, started_by)
        with scheduler(world, tmp_path, assumptions=patient) as blox:
            blox.wait_ready().wait_primed()
            another_sweep(blox)
            another_sweep(blox)
            assert len(world.calls("StopTask")) == 1


def double(world: SimulatedWorld, started_by: str) -> None:
    """A second daemon on the first host, as a broken assumption would leave one."""
    variable = {"name": "BLOX_INTENT", "value": "0" * 26}
    params: dict[str, Any] = {
        "cluster": "demo",
        "taskDefinition": "agent:1",
        "containerInstances": [world.hosts()[0]],
        "startedBy": started_by,
        "group": "blox:logs",
        "overrides": {"containerOverrides": [{"name": "agent", "environment": [variable]}]},
    }
    world.happen(lambda server, now: server.cloud.call("StartTask", params, now=now))
    world.look(lambda cloud: cloud.log.pop())


def test_a_second_scheduler_on_the_same_store_names_the_first_and_leaves(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path) as first:
        first.wait_ready()
        with scheduler(world, tmp_path, queue=None) as second:
            second.process.wait_for_output("is in use by")
            assert left(second) == 1
            assert f"process {first.process.pid} on" in second.process.output
            assert "Traceback" not in second.process.output
        assert first.ready()


def test_observing_it_says_what_it_would_do_and_does_nothing(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path, "--observe") as blox:
        blox.wait_ready().create()
        blox.deploy()
        hosts = blox.wait(
            "/v2/environments/demo/logs/hosts",
            lambda page: [h.get("would") for h in page["items"]] == ["would start"] * 3,
        )
        assert {host["verdict"] for host in hosts["items"]} == {"start"}
        assert blox.get("/v2/status")["mode"] == "observing"
        blox.process.wait_for_output("view of demo primed")
        (first,) = blox.lines("blox ")
        assert first["mode"] == "observe: nothing will be started or stopped"
        assert blox.process.stop() == 0
    assert world.acted() == 0
    with scheduler(world, tmp_path) as blox:
        blox.process.wait_for(lambda: world.running() == 3, what="what was recorded is done")


def test_it_answers_before_aws_does(tmp_path: Path, world: SimulatedWorld) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with scheduler(
            world, tmp_path, "--cluster", "demo", variables={"AWS_ENDPOINT_URL": url}
        ) as blox:
            blox.wait_ready()
            assert blox.ask("GET", "/v1/ping").status == 200
            assert blox.ask("GET", "/livez").text == "ok\n"
            (cluster,) = blox.get("/v2/status")["clusters"] or [{"primed": False}]
            assert not cluster["primed"]
            began = time.monotonic()
            assert blox.process.stop() == 0
            assert time.monotonic() - began < 10.0


def left(blox: Scheduler) -> int:
    """The exit code of a scheduler that was told to leave."""
    wait_until(lambda: not blox.process.alive(), within=15.0, what="gone")
    return blox.process.stop()


def half_a_request(port: int) -> socket.socket:
    """A client that has promised more than it sends."""
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    client.sendall(
        b"POST /v2/environments HTTP/1.1\r\nhost: localhost\r\n"
        b"content-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
    )
    return client


def test_sigterm_waits_for_the_answers_that_are_due(world: SimulatedWorld, tmp_path: Path) -> None:
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready().create()
        blox.wait_primed()
        world.control.post("faults", {"operation": "StartTask", "stage": "after", "delay": 1.5})
        with half_a_request(blox.port):
            blox.deploy()
            blox.process.wait_for(lambda: len(world.calls("StartTask")) == 1, what="a call")
            began = time.monotonic()
            blox.process.signal(signal.SIGTERM)
            blox.process.wait_for(
                lambda: blox.ask("GET", "/readyz").status == 503, what="not ready"
            )
            assert "stopping" in blox.ask("GET", "/v1/ping").text
            assert left(blox) == 0
        assert time.monotonic() - began < 10.0
    assert is_clean(tmp_path / "blox.db")
    acted = world.acted()
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready().wait_primed()
        blox.wait("/v2/environments/demo/logs", lambda e: e["counts"]["current"] == 3)
    assert world.acted() == acted


def test_sigterm_leaves_in_time_though_an_answer_never_comes(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path, module=REAL) as blox:
        blox.wait_ready().create()
        blox.wait_primed()
        world.control.post("faults", {"operation": "StartTask", "stage": "after", "delay": 30.0})
        blox.deploy()
        blox.process.wait_for(lambda: len(world.calls("StartTask")) == 1, what="a call")
        began = time.monotonic()
        assert blox.process.stop() == 0
        assert time.monotonic() - began < 10.0
    assert not is_clean(tmp_path / "blox.db")


def test_a_second_signal_ends_it_at_once(world: SimulatedWorld, tmp_path: Path) -> None:
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready().create()
        blox.wait_primed()
        world.control.post("faults", {"operation": "StartTask", "stage": "after", "delay": 30.0})
        blox.deploy()
        blox.process.wait_for(lambda: len(world.calls("StartTask")) == 1, what="a call")
        blox.process.signal(signal.SIGINT)
        blox.process.wait_for_output('"stopping"')
        began = time.monotonic()

        def left_when_told_again() -> bool:
            # What comes within half a second of the first one is the same request.
            blox.process.signal(signal.SIGINT)
            return not blox.process.alive()

        wait_until(left_when_told_again, what="gone")
        assert left(blox) == 130
        assert time.monotonic() - began < 3.0


def test_a_part_that_breaks_ends_the_process_with_its_store_closed(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path, module="support.broken_scheduler") as blox:
        assert left(blox) == 1
        assert "a part of the scheduler has broken" in blox.process.output
        assert "the planted defect" in blox.process.output
    assert not is_clean(tmp_path / "blox.db")


def test_an_idle_one_is_small(world: SimulatedWorld, tmp_path: Path) -> None:
    with scheduler(world, tmp_path, "--cluster", "demo", module=REAL) as blox:
        blox.wait_ready().wait_primed()
        status = Path(f"/proc/{blox.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        assert int(line.split()[1]) < 100_000


def told(world: SimulatedWorld, *arguments: str, **variables: str) -> tuple[int, str]:
    """The exit code and errors of a daemon-scheduler that cannot begin."""
    environment = environment_of(world, assumptions=SHORT) | variables
    done = run([sys.executable, "-m", REAL, *arguments], environment=environment)
    return done.returncode, done.stderr.strip()


def test_what_cannot_begin_is_told_in_one_sentence(world: SimulatedWorld, tmp_path: Path) -> None:
    newer = tmp_path / "newer.db"
    newer.write_bytes(b"not a database of ours" * 100)
    there = ("--bind", "127.0.0.1:0", "--store")
    for arguments, sentence in (
        ((*there, f"sqlite:{tmp_path}/nowhere/blox.db"), "does not exist"),
        ((*there, f"sqlite:{tmp_path}"), "is a folder"),
        ((*there, f"sqlite:{newer}"), "newer.db"),
        ((*there, "etcd:here"), "sqlite:PATH is needed"),
        ((*there, f"sqlite://{tmp_path}/blox.db"), "a path, not a URL"),
        (("--bind", "0.0.0.0:0", "--store", f"sqlite:{tmp_path}/a.db"), "--allow-unauthenticated"),
        ((*there, f"sqlite:{tmp_path}/a.db", "--cluster", "a b"), "neither a cluster's name"),
        (("--bind", "2000", "--store", f"sqlite:{tmp_path}/a.db"), "no address to listen on"),
    ):
        code, text = told(world, *arguments)
        assert code == 1, text
        assert text.startswith("daemon-scheduler: ")
        assert sentence in text
        assert "Traceback" not in text
    assert newer.read_bytes() == b"not a database of ours" * 100
    assert sorted(os.listdir(tmp_path)) in (["newer.db"], ["newer.db", "newer.db.lock"])


def test_what_the_environment_asks_wrongly_is_told(world: SimulatedWorld, tmp_path: Path) -> None:
    arguments = ("--bind", "127.0.0.1:0", "--store", f"sqlite:{tmp_path}/blox.db")
    for variables, sentence in (
        ({"AWS_REGION": ""}, "set AWS_REGION"),
        ({"BLOX_ECS_READ_LAG": "soon"}, "BLOX_ECS_READ_LAG is 'soon'"),
        ({"BLOX_SIGNATURE_BACKDATE": "4"}, "below"),
        ({"AWS_ENDPOINT_URL": "127.0.0.1"}, "http or https URL"),
    ):
        code, text = told(world, *arguments, **variables)
        assert code == 1, text
        assert text.startswith("daemon-scheduler: ")
        assert sentence in text
    assert os.listdir(tmp_path) == []


def test_it_says_its_version_and_how_it_is_used() -> None:
    version = run([sys.executable, "-m", REAL, "--version"])
    assert (version.returncode, version.stdout) == (0, "daemon-scheduler 1.0.0\n")
    help_text = run([sys.executable, "-m", REAL, "--help"]).stdout
    for word in ("--observe", "--allow-unauthenticated-network", "AWS_REGION", "DS_LOG_LEVEL",
                 "BLOX_ECS_SIGNATURE_AGE", "BLOX_ECS_ACCEPTANCE_LAG", "BLOX_ECS_READ_LAG",
                 "BLOX_SIGNATURE_BACKDATE", "DS_LOG_FILE", "ECS_ENDPOINT"):  # fmt: skip
        assert word in help_text
    unknown = run([sys.executable, "-m", REAL, "--nonsense"])
    assert unknown.returncode == 1
    assert "No such option" in unknown.stderr


def test_schedulers_of_two_stores_do_not_take_each_others_tasks(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    """The second finds the hosts occupied, and says by whom."""
    with scheduler(world, tmp_path, queue=None) as first:
        first.wait_ready().create()
        first.deployed()
        with scheduler(world, tmp_path, queue=None, store="other.db") as second:
            second.wait_ready().create(existing="wait")
            second.deploy()
            second.wait("/v2/environments/demo/logs", lambda e: e["counts"]["occupied"] == 3)
            assert world.acted() == 1
            assert isinstance(second, Scheduler)
