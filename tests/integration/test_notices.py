"""A real scheduler tells a real HTTP server, and the simulated EventBridge, how hosts do."""

import hashlib
import hmac
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.notices import Hook, hook
from support.processes import free_port
from support.scheduling import Scheduler, SimulatedWorld, scheduler, simulated_world, wait_until

SECRET = "a secret of our own"


@pytest.fixture
def world() -> Iterator[SimulatedWorld]:
    with simulated_world() as made:
        yield made


@pytest.fixture
def receiver() -> Iterator[Hook]:
    with hook() as made:
        yield made


def running(blox: Scheduler) -> Scheduler:
    """With one environment, deployed."""
    blox.wait_ready().create()
    blox.deployed()
    return blox


def join(world: SimulatedWorld, **more: object) -> str:
    """A host joins; its ARN."""
    (arn,) = world.control.post("hosts", {"cluster": "demo", **more})["hosts"]
    return str(arn)


def metric(blox: Scheduler, name: str) -> float:
    """One figure of those that it exports; 0 where it is not there."""
    scraped = blox.ask("GET", "/metrics").text
    found = [line for line in scraped.splitlines() if line.startswith(f"{name} ")]
    return float(found[0].rsplit(" ", 1)[1]) if found else 0.0


def test_a_host_that_joins_is_told_ready_with_all_that_a_launch_hook_needs(
    world: SimulatedWorld, receiver: Hook, tmp_path: Path
) -> None:
    variables = {"BLOX_NOTIFY_SECRET": SECRET}
    with scheduler(world, tmp_path, "--notify-url", receiver.url, variables=variables) as blox:
        running(blox)
        arn = join(world)
        wait_until(lambda: [n for n in receiver.of("hostReady") if n["host"]["arn"] == arn])
        told = [post for post in receiver.posted if post.json["host"]["arn"] == arn]
        (post,) = told
        instance = world.look(lambda cloud: cloud.hosts[arn].instance_id)
        assert post.path == "/hook?token=hunter2"
        expected = hmac.new(SECRET.encode(), post.body, hashlib.sha256).hexdigest()
        assert post.headers["x-blox-signature"] == f"sha256={expected}"
        assert post.headers["x-blox-id"] == post.json["id"]
        assert post.headers["content-type"] == "application/json"
        notice = post.json
        assert notice["version"] == 1
        assert notice["host"]["instanceId"] == instance
        assert notice["host"]["zone"].startswith("us-east-1")
        assert (notice["cluster"], notice["account"]) == ("demo", "111122223333")
        assert 0 < notice["seconds"] < 20
        (environment,) = notice["environments"]
        assert (environment["name"], environment["ready"]) == ("logs", True)
        assert notice["text"].startswith(f"{instance} in demo is ready, ")
        assert notice["late"] is False
        scraped = blox.ask("GET", "/metrics").text
        assert 'blox_notices_total{receiver="http://127.0.0.1' in scraped
        assert "hunter2" not in scraped + blox.process.output
        assert SECRET not in scraped + blox.process.output


def test_a_restart_makes_no_storm_and_repeats_only_what_is_young_with_its_old_id(
    world: SimulatedWorld, receiver: Hook, tmp_path: Path
) -> None:
    flags = ("--notify-url", receiver.url)
    with scheduler(world, tmp_path, *flags) as blox:
        running(blox)
        wait_until(lambda: len(receiver.posted) == 3, what="three young hosts")
        assert blox.process.stop() == 0
    before = {notice["id"]: notice["host"]["arn"] for notice in receiver.of("hostReady")}
    assert len(before) == 3
    receiver.posted.clear()
    with scheduler(world, tmp_path, *flags) as blox:
        blox.wait_ready().wait_primed()
        wait_until(lambda: len(receiver.posted) == 3, what="the same three again")
        assert {n["id"]: n["host"]["arn"] for n in receiver.of("hostReady")} == before
        assert blox.process.stop() == 0
    receiver.posted.clear()
    aged = {"BLOX_NOT_READY_AFTER": "0.001"}
    with scheduler(world, tmp_path, *flags, variables=aged) as blox:
        blox.wait_ready().wait_primed()
        blox.wait("/v2/environments/demo/logs", lambda e: e["counts"]["current"] == 3)
        newest = join(world)
        wait_until(lambda: receiver.of("hostReady"), what="the one that joins now")
        assert {n["host"]["arn"] for n in receiver.of("hostReady")} == {newest}


def test_a_host_without_room_is_told_not_ready_with_the_reason_until_it_goes(
    world: SimulatedWorld, receiver: Hook, tmp_path: Path
) -> None:
    variables = {"BLOX_NOT_READY_AFTER": "6"}
    with scheduler(world, tmp_path, "--notify-url", receiver.url, variables=variables) as blox:
        running(blox)
        arn = join(world, memory=16)

        def about(kind: str) -> list[Any]:
            return [one for one in receiver.of(kind) if one["host"]["arn"] == arn]

        (notice,) = wait_until(lambda: about("hostNotReady"), within=20.0, what="not ready")
        (environment,) = notice["environments"]
        assert environment["ready"] is False
        assert (environment["reason"], environment["who"]) == ("no-room", "you")
        assert "MEMORY" in environment["sentence"].upper()
        assert environment["nextStep"]
        assert notice["seconds"] >= 6.0
        (unhealthy,) = wait_until(
            lambda: receiver.of("environmentUnhealthy"), within=30.0, what="the environment"
        )
        assert unhealthy["environment"]["name"] == "logs"
        assert [p["code"] for p in unhealthy["problems"]] == ["no-room"]
        assert unhealthy["text"].startswith("demo/logs is unhealthy. ")
        world.control.post("hosts/terminate", {"hosts": [arn]})
        (gone,) = wait_until(lambda: about("hostGone"), what="gone")
        assert gone["late"] is True
        assert about("hostReady") == []


def test_a_host_that_is_ready_after_all_is_told_so(
    world: SimulatedWorld, receiver: Hook, tmp_path: Path
) -> None:
    variables = {"BLOX_NOT_READY_AFTER": "0.2"}
    with scheduler(world, tmp_path, "--notify-url", receiver.url, variables=variables) as blox:
        running(blox)
        arn = join(world)
        wait_until(lambda: arn in told(receiver), what="ready after all")
        story = [post.json for post in receiver.posted if post.json["host"]["arn"] == arn]
        assert [one["kind"] for one in story] == ["hostNotReady", "hostReady"]
        assert [one["late"] for one in story] == [False, True]
        assert story[0]["id"] != story[1]["id"]
        assert story[0]["at"] < story[1]["at"]


def test_a_receiver_that_is_down_delays_nobody_and_gets_everything_in_order(
    world: SimulatedWorld, receiver: Hook, tmp_path: Path
) -> None:
    dead = f"http://127.0.0.1:{free_port()}/?hunter2"
    flags = ("--notify-url", dead, "--notify-url", receiver.url)
    receiver.answers = [(500, {}), (429, {"Retry-After": "1"}), (302, {"Location": dead})]
    with scheduler(world, tmp_path, *flags) as blox:
        running(blox)
        wait_until(lambda: metric(blox, result(receiver.url, "refused")) == 1, within=20.0)
        arns = [join(world) for _ in range(3)]
        wait_until(lambda: world.running() == 6, what="daemons on the new hosts")
        wait_until(lambda: len(set(arns) & told(receiver)) == 3, what="all three")
        times = [notice["at"] for notice in receiver.of("hostReady")]
        assert times == sorted(times)
        assert len(times) == 5, "of the first three, one was refused"
        assert metric(blox, f'blox_notices_waiting{{receiver="{label(dead)}"}}') >= 3
        (line,) = [
            entry
            for entry in blox.lines("notices do not get through")
            if entry["receiver"] == label(dead)
        ]
        assert "hunter2" not in json.dumps(line)
        began = time.monotonic()
        assert blox.process.stop() == 0
        assert time.monotonic() - began < 8.0


def label(url: str) -> str:
    return url.partition("/hook")[0].partition("/?")[0]


def result(url: str, word: str) -> str:
    return f'blox_notices_total{{receiver="{label(url)}",result="{word}"}}'


def told(receiver: Hook) -> set[str]:
    return {notice["host"]["arn"] for notice in receiver.of("hostReady")}


def test_a_receiver_that_hangs_holds_up_no_pass(
    world: SimulatedWorld, receiver: Hook, tmp_path: Path
) -> None:
    receiver.blocked.clear()
    with scheduler(world, tmp_path, "--notify-url", receiver.url) as blox:
        running(blox)
        for count in (4, 5, 6):
            join(world)
            wait_until(lambda count=count: world.running() == count, what=f"{count} daemons")  # type: ignore[misc]
        assert receiver.posted == []
        receiver.blocked.set()
        wait_until(lambda: len(told(receiver)) == 6, within=30.0, what="six told at last")


def test_the_same_notices_are_put_on_an_event_bus(
    world: SimulatedWorld, receiver: Hook, tmp_path: Path
) -> None:
    by_variable = {"BLOX_NOTIFY_URL": receiver.url}
    with scheduler(world, tmp_path, "--notify-bus", "default", variables=by_variable) as blox:
        running(blox)
        arn = join(world)
        wait_until(lambda: arn in told(receiver), what="told by POST")
        wait_until(lambda: arn in put_events(world), what="put on the bus")
        event = put_events(world)[arn]
        assert (event["source"], event["detail-type"]) == ("blox", "Blox Host Ready")
        assert event["resources"][0] == arn
        posted = {notice["host"]["arn"]: notice for notice in receiver.of("hostReady")}
        assert event["detail"] == posted[arn]
        assert metric(blox, 'blox_calls_total{operation="PutEvents",outcome="ok"}') >= 1


def put_events(world: SimulatedWorld) -> dict[str, Any]:
    """What was put on the bus, by the host that it is about."""

    def look(server: Any, _now: float) -> list[Any]:
        return [event for event in server.bus.put if event["source"] == "blox"]

    return {event["detail"]["host"]["arn"]: event for event in world.happen(look)}


def test_who_only_observes_tells_nobody(
    world: SimulatedWorld, receiver: Hook, tmp_path: Path
) -> None:
    flags = ("--observe", "--notify-url", receiver.url, "--notify-bus", "default")
    with scheduler(world, tmp_path, *flags) as blox:
        blox.wait_ready().create()
        blox.deploy()
        blox.wait_primed()
        join(world)
        blox.wait("/v2/environments/demo/logs", lambda e: e["counts"]["missing"] == 4)
        (line,) = blox.lines("notices")
        assert line["state"] == "none are sent: this process only observes"
        assert line["to"] == [label(receiver.url), "bus default"]
        assert receiver.posted == []
        assert put_events(world) == {}


def test_the_flags_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    command = [".venv/bin/daemon-scheduler", "--store", f"sqlite:{tmp_path}/b.db"]
    ended = subprocess.run(
        [*command, "--notify-url", "https://u:hunter2@example.com/"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("daemon-scheduler: --notify-url: it holds a user name")
    assert "hunter2" not in ended.stderr
