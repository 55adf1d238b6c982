"""The scheduler of the documentation, against a real service: judged by what ECS saw.

One copy is never there twice: the tasks of a copy, told by their startedBy, must not overlap in
time, whatever was lost, killed or restarted.
"""

import ast
import itertools
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest

from blox.simulator.cloud import Cloud
from blox.simulator.model import TaskRecord
from support.processes import Running, free_port, run, running, wait_until
from support.prose import ROOT
from support.scheduling import SHORT, SimulatedWorld, environment_of, simulated_world
from support.stating import StateService, state_service

EXAMPLE = ROOT / "examples" / "custom_scheduler.py"
DOUBT = SHORT.signature_age + SHORT.acceptance_lag + SHORT.read_lag + 0.5
MEMORY = 32
"""MiB of a task of `agent`."""


@pytest.fixture
def world() -> Iterator[SimulatedWorld]:
    with simulated_world() as made:
        yield made


def begin_in(folder: Path) -> str:
    """Python that runs the example there."""
    there = f"import os, runpy; os.chdir({str(folder)!r})"
    return f"{there}; runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"


@contextmanager
def spread(
    world: SimulatedWorld,
    service: StateService | int,
    folder: Path,
    *,
    count: int,
    mib: int = MEMORY,
    retry: float = 0.0,
) -> Iterator[Running]:
    """The example as a process, its journal in `folder`."""
    port = service if isinstance(service, int) else service.port
    variables = environment_of(world) | {
        "AWS_DEFAULT_REGION": "us-east-1",
        "BLOX_CSS_ENDPOINT": f"http://127.0.0.1:{port}",
        "DOUBT_SECONDS": f"{DOUBT:g}",
        "RETRY_SECONDS": f"{retry:g}",
    }
    words = ["-c", begin_in(folder), "demo", "cache", "agent:1", f"{mib}", f"{count}"]
    with running(words, output=folder / "spread.log", environment=variables) as process:
        yield process


def copies(cloud: Cloud) -> dict[str, list[TaskRecord]]:
    """Every task that the example ever started, by copy, in order."""
    found: dict[str, list[TaskRecord]] = {}
    for task in cloud.tasks.values():
        if task.started_by.startswith("cache/"):
            found.setdefault(task.started_by.rpartition("/")[0], []).append(task)
    for tasks in found.values():
        tasks.sort(key=lambda task: task.created_at)
    return found


def doubles(cloud: Cloud) -> list[str]:
    """Copies of which two were ever alive at one time."""
    return [
        f"{copy}: {first.arn} until {first.lived()[1]}, {second.arn} from {second.created_at}"
        for copy, tasks in copies(cloud).items()
        for first, second in itertools.pairwise(tasks)
        if (ended := first.lived()[1]) is None or ended > second.created_at
    ]


def alive(world: SimulatedWorld) -> dict[str, TaskRecord]:
    """The copies that are alive, and their tasks."""
    return {
        task.started_by.rpartition("/")[0]: task
        for task in world.live()
        if task.started_by.startswith("cache/")
    }


def whole(world: SimulatedWorld, number: int) -> Callable[[], bool]:
    """Whether all copies are there."""
    return lambda: sorted(alive(world)) == sorted(f"cache/{n}" for n in range(number))


def spread_evenly(world: SimulatedWorld) -> list[int]:
    """How many copies each host that has any has, the fewest first."""
    return sorted(Counter(task.host for task in alive(world).values()).values())


def starts(world: SimulatedWorld) -> int:
    """How many times it called StartTask."""
    return len(world.calls("StartTask"))


def more_than(world: SimulatedWorld, number: int) -> Callable[[], bool]:
    """Whether it called StartTask more often than that."""
    return lambda: starts(world) > number


# --- What it does ---------------------------------------------------------------------------------


def test_copies_are_spread_and_those_that_stop_are_replaced(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with state_service(world, tmp_path) as service:
        service.wait_ready()
        with spread(world, service, tmp_path, count=4) as process:
            process.wait_for(whole(world, 4), what="four copies")
            assert starts(world) == 4
            assert spread_evenly(world) == [1, 1, 2]
            stopped = alive(world)["cache/2"]
            world.control.post("tasks/kill", {"tasks": [stopped.arn]})
            process.wait_for(lambda: starts(world) == 5, what="one more start")
            process.wait_for(whole(world, 4), what="four copies again")
            assert alive(world)["cache/2"].arn != stopped.arn
            assert world.look(doubles) == []


def test_the_host_with_the_most_free_memory_comes_first(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    roomy = world.happen(lambda server, now: server.cloud.add_host("demo", now=now, memory=64_000))
    with state_service(world, tmp_path) as service:
        service.wait_ready()
        with spread(world, service, tmp_path, count=1) as process:
            process.wait_for(whole(world, 1), what="one copy")
    assert alive(world)["cache/0"].host == roomy


def test_hosts_that_drain_or_have_no_agent_or_no_room_get_nothing(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    draining, gone, good = world.hosts()
    world.happen(lambda server, now: server.cloud.drain_host(draining, now=now))
    world.happen(lambda server, now: server.cloud.disconnect_agent(gone, now=now))
    with state_service(world, tmp_path) as service:
        service.wait_ready()
        with spread(world, service, tmp_path, count=3) as process:
            process.wait_for(whole(world, 3), what="three copies")
            assert {task.host for task in alive(world).values()} == {good}
            process.kill()
        with spread(world, service, tmp_path, count=4, mib=1_000_000) as process:
            service.swept()
            service.swept()
            assert process.alive()
    assert starts(world) == 3


def test_what_ecs_refuses_is_tried_again(world: SimulatedWorld, tmp_path: Path) -> None:
    world.control.post("faults", {"operation": "StartTask", "outcome": "throttle", "times": 2})
    with state_service(world, tmp_path) as service:
        service.wait_ready()
        with spread(world, service, tmp_path, count=2) as process:
            process.wait_for(whole(world, 2), what="two copies")
            assert "ThrottlingException" in process.output
    assert world.look(doubles) == []


# --- What it must not do --------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["drop", "error", "garble"])
def test_a_start_whose_answer_is_lost_is_not_made_again(
    world: SimulatedWorld, tmp_path: Path, outcome: str
) -> None:
    world.control.post(
        "faults", {"operation": "StartTask", "outcome": outcome, "stage": "after", "times": 3}
    )
    with state_service(world, tmp_path) as service:
        service.wait_ready()
        with spread(world, service, tmp_path, count=3) as process:
            process.wait_for(whole(world, 3), what="three copies")
            service.swept()
            service.swept()
            assert process.alive()
    assert starts(world) == 3
    assert world.look(doubles) == []


def test_a_start_that_ecs_never_saw_is_made_again_when_it_cannot_come_any_more(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    world.control.post(
        "faults", {"operation": "StartTask", "outcome": "drop", "stage": "before", "times": 1}
    )
    with state_service(world, tmp_path) as service:
        service.wait_ready()
        with spread(world, service, tmp_path, count=2) as process:
            process.wait_for(lambda: "cache/1" in alive(world), what="the other copy")
            assert "cache/0" not in alive(world)
            process.wait_for(whole(world, 2), within=40.0, what="both copies")
            first, again = (world.look(copies)[f"cache/{n}"][0] for n in (1, 0))
            assert again.created_at - first.created_at > DOUBT - 1.0


def test_a_start_that_is_carried_out_late_is_waited_for(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    """Its connection is cut at once, and ECS executes it a moment later all the same."""
    rule = {"operation": "StartTask", "outcome": "drop", "stage": "accepted", "times": 1}
    world.control.post("faults", {**rule, "slow": 0.4})
    with state_service(world, tmp_path) as service:
        service.wait_ready()
        with spread(world, service, tmp_path, count=1) as process:
            process.wait_for(whole(world, 1), what="the copy")
            service.swept()
            assert process.alive()
    assert len(world.look(copies)["cache/0"]) == 1


def test_killed_again_and_again_it_starts_nothing_twice(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    random = Random(4)
    with state_service(world, tmp_path) as service:
        service.wait_ready()
        for _ in range(5):
            with spread(world, service, tmp_path, count=6) as process:
                process.wait_for_output("cache/")
                there = alive(world)
                lost = random.sample(sorted(there), k=min(2, len(there)))
                world.control.post("tasks/kill", {"tasks": [there[copy].arn for copy in lost]})
                begun = starts(world)
                process.wait_for(more_than(world, begun), what="one more start")
                process.kill()
        with spread(world, service, tmp_path, count=6) as process:
            process.wait_for(whole(world, 6), within=40.0, what="six copies")
    assert world.look(doubles) == []


def test_a_service_that_is_killed_or_begins_anew_makes_it_start_nothing_twice(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    port = free_port()
    with ExitStack() as services:
        service = services.enter_context(state_service(world, tmp_path, port=port))
        service.wait_ready()
        with spread(world, port, tmp_path, count=3) as process:
            process.wait_for(whole(world, 3), what="three copies")
            for store in ("state.db", "state.db", "another.db"):
                service.process.kill()
                service = services.enter_context(
                    state_service(world, tmp_path, port=port, store=store)
                )
                service.wait_ready().wait_swept()
                before = starts(world)
                lost = alive(world)["cache/1"]
                world.control.post("tasks/kill", {"tasks": [lost.arn]})
                process.wait_for(more_than(world, before), what="replaced")
                process.wait_for(whole(world, 3), what="three copies")
                assert starts(world) == before + 1
    assert world.look(doubles) == []


def test_there_is_only_one_of_it(world: SimulatedWorld, tmp_path: Path) -> None:
    with state_service(world, tmp_path) as service:
        service.wait_ready()
        with spread(world, service, tmp_path, count=1) as first:
            first.wait_for(whole(world, 1), what="one copy")
            with spread(world, service, tmp_path, count=1) as second:
                wait_until(lambda: not second.alive(), what="the second has left")
                assert "BlockingIOError" in second.output
            assert first.alive()


# --- Mistakes -------------------------------------------------------------------------------------


def test_a_cluster_that_is_not_there_ends_it_with_the_services_reason(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with state_service(world, tmp_path) as service:
        service.wait_ready()
        ended = run(
            [sys.executable, "-c", begin_in(tmp_path), "nope", "cache", "agent:1", "32", "1"],
            environment=environment_of(world)
            | {
                "AWS_DEFAULT_REGION": "us-east-1",
                "BLOX_CSS_ENDPOINT": f"127.0.0.1:{service.port}",
            },
        )
    assert ended.returncode == 1
    assert "There is no cluster nope here" in ended.stdout
    assert starts(world) == 0


@pytest.mark.parametrize("words", [[], ["--help"], ["demo", "cache", "agent:1", "32", "many"]])
def test_wrong_arguments_are_answered_with_how_it_is_used(words: list[str]) -> None:
    ended = run([sys.executable, str(EXAMPLE), *words], environment={})
    assert ended.returncode == 1
    assert "CLUSTER NAME TASK_DEFINITION MIB COUNT" in ended.stderr
    assert "Traceback" not in ended.stderr


# --- What the documentation says of it ------------------------------------------------------------


def test_it_has_less_than_a_hundred_lines() -> None:
    """Blank lines and the text at its head do not count."""
    source = EXAMPLE.read_text()
    head = ast.parse(source).body[0]
    lines = source.splitlines()[head.end_lineno or 0 :]
    assert 50 < len([line for line in lines if line.strip()]) < 100


def test_what_the_documentation_shows_of_it_is_what_it_is() -> None:
    page = (ROOT / "docs" / "custom-scheduler.md").read_text()
    shown = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(shown) >= 5
    assert [block for block in shown if block not in EXAMPLE.read_text()] == []


def test_it_needs_nothing_but_the_standard_library_and_boto3() -> None:
    imported = set()
    for node in ast.walk(ast.parse(EXAMPLE.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert imported - sys.stdlib_module_names == {"boto3", "botocore"}
