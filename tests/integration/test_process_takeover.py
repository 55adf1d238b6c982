"""A real daemon-scheduler that loses its store, is started from a copy, or is told to let go."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blox.store.backup import write_backup
from support.scheduling import SimulatedWorld, scheduler, simulated_world

LOGS = "/v2/environments/demo/logs"


@pytest.fixture
def world() -> Iterator[SimulatedWorld]:
    with simulated_world(hosts=6) as made:
        yield made


def started(world: SimulatedWorld) -> int:
    """Daemons that ever were."""
    return world.look(lambda cloud: sum(bool(task.marker) for task in cloud.tasks.values()))


def live(world: SimulatedWorld) -> int:
    """Daemons that are."""
    return world.look(
        lambda cloud: sum(bool(task.marker) and task.live for task in cloud.tasks.values())
    )


def current(counted: int) -> Any:
    return lambda environment: environment["counts"]["current"] == counted


def test_a_deleted_database_costs_no_daemon(world: SimulatedWorld, tmp_path: Path) -> None:
    """In the middle of a deployment: create it again, adopt, and ECS sees no start and no stop."""
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready().create()
        blox.deployed()
        blox.ask("PATCH", LOGS, {"taskDefinition": "agent:2"})
        blox.deploy()
        blox.wait(LOGS, lambda e: e["counts"]["current"] >= 2)
        blox.process.kill()
    for file in tmp_path.glob("blox.db*"):
        file.unlink()
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready()
        refused = blox.ask(
            "POST",
            "/v2/environments",
            {"name": "logs", "cluster": "demo", "taskDefinition": "agent:2"},
        )
        assert refused.status == 409
        assert refused.json["question"] == "existing"
        before = world.acted()
        blox.create(existing="adopt", taskDefinition="agent:2")
        kept = blox.get(LOGS)["counts"]
        assert kept["current"] + kept["settling"] + kept["outdated"] + kept["starting"] >= 3
        assert world.acted() == before
        blox.deployed(within=40.0)
        blox.wait(LOGS, current(6))
    assert world.with_two() == []
    assert live(world) == 6


def test_the_heir_of_a_deleted_environment_has_its_daemons(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    """Also through /v1, and a deployment replaces only what runs something else."""
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready().create()
        blox.deployed()
        was = blox.get("/v1/environments/logs")
        assert blox.ask("DELETE", "/v1/environments/logs").status == 200
        assert len(blox.get("/v2/orphans")["items"]) == 6
        body = {name: was[name] for name in ("name", "instanceGroup", "taskDefinition")}
        assert blox.ask("POST", "/v1/environments", body).status == 200
        assert blox.get("/v2/orphans")["items"] == []
        policy = {"minHealthySeconds": 0, "maxUnavailable": "50%"}
        blox.ask("PATCH", LOGS, {"policy": policy})
        blox.deployed()
        assert started(world) == 6
        blox.ask("PATCH", LOGS, {"taskDefinition": "agent:2"})
        blox.deployed()
        assert started(world) == 12
    assert world.with_two() == []


def test_deleting_with_its_tasks_goes_on_after_a_kill(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready().create()
        blox.deployed()
        assert blox.ask("DELETE", f"{LOGS}?tasks=stop").status == 202
        blox.process.kill()
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready()
        blox.process.wait_for(lambda: blox.ask("GET", LOGS).status == 404, within=40.0)
        assert live(world) == 0 or all(
            task["task"]["desiredStatus"] == "STOPPED" for task in blox.get("/v2/orphans")["items"]
        )


def test_a_backup_can_be_started_from_and_knows_that_it_is_one(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready().create()
        answer = blox.ask("GET", "/v2/store/snapshot")
        assert answer.status == 200
        assert write_backup(answer.body, tmp_path / "copy.db") > 0
        blox.deployed()
        blox.process.kill()
    with scheduler(world, tmp_path, store="copy.db") as blox:
        blox.wait_ready()
        blox.deploy()
        occupied = blox.wait(LOGS, lambda e: e["counts"]["occupied"] == 6)
        assert occupied["counts"]["current"] == 0
        adopted = blox.ask("POST", f"{LOGS}/adoptions", {}).json
        assert len(adopted["adopted"]) == 6
        blox.wait(LOGS, current(6))
        assert started(world) == 6
    assert world.with_two() == []


def test_a_freeze_survives_a_kill_and_ends_by_itself(world: SimulatedWorld, tmp_path: Path) -> None:
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready().create()
        blox.deployed()
        wanted = {"scope": "everything", "seconds": 8, "why": "sale"}
        assert blox.ask("POST", "/v2/freezes", wanted).status == 201
        blox.process.kill()
    before = world.acted()
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready()
        blox.ask("PATCH", LOGS, {"taskDefinition": "agent:2"})
        blox.deploy()
        assert blox.get("/v2/status")["freezes"][0]["why"] == "sale"
        blox.wait(LOGS, lambda e: e["deployment"]["status"] == "running")
        assert world.acted() == before
        blox.wait(LOGS, lambda e: e["deployment"]["status"] == "completed", within=60.0)
        assert blox.get("/v2/freezes")["items"] == []
