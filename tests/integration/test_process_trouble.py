"""What goes wrong around a daemon-scheduler: it says so, harms nothing, and goes on by itself."""

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.scheduling import QUEUE, Scheduler, SimulatedWorld, scheduler, simulated_world

AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture
def world() -> Iterator[SimulatedWorld]:
    with simulated_world() as made:
        yield made


def each_runs_one(world: SimulatedWorld, blox: Scheduler, *, definition: str = "") -> None:
    """Wait until every host has its daemon, and never had two."""
    blox.process.wait_for(
        lambda: world.running(definition=definition) == len(world.hosts()),
        what="a daemon on each host",
    )
    assert world.with_two() == []


def gone(blox: Scheduler, code: str) -> None:
    """Wait until a condition is over."""
    blox.process.wait_for(lambda: code not in blox.conditions(), what=f"no condition {code}")


def begun(blox: Scheduler, code: str) -> str:
    """The sentence of a condition, once it is there."""
    return str(blox.process.wait_for(lambda: blox.conditions().get(code), what=code))


def test_credentials_that_come_later_are_found(world: SimulatedWorld, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    variables = {"AWS_SHARED_CREDENTIALS_FILE": str(file)}
    with scheduler(
        world, tmp_path, "--cluster", "demo", without=AWS_KEYS, variables=variables
    ) as blox:
        blox.wait_ready()
        assert "no AWS credentials were found" in begun(blox, "credentials")
        refused = blox.ask(
            "POST",
            "/v1/environments",
            {"name": "logs", "instanceGroup": {"cluster": "demo"}, "taskDefinition": "agent:1"},
        )
        assert refused.status == 503
        file.write_text("[default]\naws_access_key_id = tester\naws_secret_access_key = s\n")
        gone(blox, "credentials")
        blox.create()
        blox.deployed()
        each_runs_one(world, blox)


def test_credentials_that_were_renewed_in_their_file_are_read_again(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = tester\naws_secret_access_key = old\n")
    variables = {"AWS_SHARED_CREDENTIALS_FILE": str(file)}
    with (
        simulated_world(secrets={"tester": "new"}) as world,
        scheduler(
            world, tmp_path, "--cluster", "demo", without=AWS_KEYS, variables=variables
        ) as blox,
    ):
        blox.wait_ready()
        assert "InvalidSignatureException" in begun(blox, "credentials")
        file.write_text("[default]\naws_access_key_id = tester\naws_secret_access_key = new\n")
        gone(blox, "credentials")
        blox.create()
        blox.deployed()
        each_runs_one(world, blox)


def test_a_queue_that_comes_later_is_found(tmp_path: Path) -> None:
    with simulated_world(queues=()) as world, scheduler(world, tmp_path) as blox:
        blox.wait_ready().create()
        assert f"There is no queue {QUEUE}" in begun(blox, "queue")
        blox.deployed()
        assert blox.problems() == {"queue": blox.conditions()["queue"]}
        each_runs_one(world, blox)

        def create(server: Any, now: float) -> None:
            server.queues.call("CreateQueue", {"QueueName": QUEUE}, now=now, base=server.url)
            server.routes.append(QUEUE)

        world.happen(create)
        blox.process.wait_for_output('"found"')
        world.control.post("hosts", {"cluster": "demo"})
        gone(blox, "queue")
        each_runs_one(world, blox)
        assert blox.problems() == {}


def test_reads_that_are_denied_stop_nothing_and_are_named(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready().create()
        blox.deployed()
        world.control.post("deny", {"what": "ListTasks"})
        problem = blox.process.wait_for(lambda: blox.problems().get("view"), what="a problem")
        assert "AccessDeniedException" in str(problem)
        (line,) = blox.lines("denied")
        assert line["needed"] == "ecs:ListTasks"
        world.control.post("deny", {"what": "ListTasks", "on": False})
        blox.process.wait_for(lambda: blox.problems() == {}, what="healthy")
    assert len(world.calls("StartTask")) == 1
    assert world.calls("StopTask") == []


def test_reads_that_are_denied_from_the_start_hold_everything(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    world.control.post("deny", {"what": "DescribeContainerInstances"})
    with scheduler(world, tmp_path, "--cluster", "demo") as blox:
        asked = {"name": "logs", "cluster": "demo", "taskDefinition": "agent:1"}
        unknown = blox.wait_ready().ask("POST", "/v2/environments", asked)
        assert unknown.status == 503
        assert "has not been read completely" in unknown.text
        blox.create(existing="wait")
        blox.deploy()
        blox.process.wait_for(lambda: blox.problems().get("view"), what="a problem")
        assert world.acted() == 0
        world.control.post("deny", {"what": "DescribeContainerInstances", "on": False})
        each_runs_one(world, blox)


def test_an_ecs_that_does_not_answer_is_a_condition_until_it_does(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready().create()
        blox.deployed()
        fault = world.control.post("faults", {"operation": "*", "outcome": "drop"})["fault"]
        assert world.url in begun(blox, "ecs-unreachable")
        blox.process.wait_for(lambda: "view" in blox.problems(), what="a problem of the view")
        assert blox.ready()
        world.control.delete(f"faults/{fault}")
        gone(blox, "ecs-unreachable")
        world.control.post("hosts", {"cluster": "demo"})
        each_runs_one(world, blox)
        assert world.calls("StopTask") == []


def test_one_environment_that_may_not_pass_its_roles_holds_up_no_other(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    world.definition("proxy", cpu=16, memory=32)
    world.control.post("deny", {"what": "passrole:proxy"})
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready().create("proxies", taskDefinition="proxy:1")
        blox.create("logs")
        blox.deploy("proxies")
        problem = blox.process.wait_for(
            lambda: blox.problems("proxies").get("condition"), what="a problem"
        )
        assert "iam:PassRole" in str(problem)
        blox.deployed("logs")
        assert blox.problems("logs") == {}
        assert blox.ready()
        blox.process.wait_for_output("StartTask not done")
        world.control.post("deny", {"what": "passrole:proxy", "on": False})
        blox.process.wait_for(lambda: world.running(family="proxy") == 3, what="proxies")
        blox.process.wait_for(lambda: blox.problems("proxies") == {}, what="healthy")
    assert world.with_two() == []


def test_a_definition_that_is_deregistered_starts_nothing_and_stops_nothing(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready().create()
        blox.deployed()
        arn = world.live()[0].definition

        def deregister(server: Any, now: float) -> None:
            server.cloud.call("DeregisterTaskDefinition", {"taskDefinition": arn}, now=now)

        world.happen(deregister)
        world.control.post("hosts", {"cluster": "demo"})
        problem = blox.process.wait_for(lambda: blox.problems().get("condition"), what="a problem")
        assert "inactive" in str(problem).lower()
        assert world.running() == 3
        assert world.calls("StopTask") == []
        patched = blox.ask("PATCH", "/v2/environments/demo/logs", {"taskDefinition": "agent:2"})
        assert patched.status == 200, patched.text
        blox.deployed(within=30.0)
        each_runs_one(world, blox, definition="agent:2")
        assert blox.problems() == {}


def test_a_cluster_that_is_deleted_and_made_again_is_served_again(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready().create()
        blox.deployed()
        world.control.post("clusters/delete", {"name": "demo"})
        problem = blox.process.wait_for(
            lambda: blox.problems().get("cluster-inactive"), what="a problem"
        )
        assert "not ACTIVE" in str(problem)
        acted = world.acted()
        world.control.post("clusters", {"name": "demo"})
        world.control.post("hosts", {"cluster": "demo", "count": 2})
        each_runs_one(world, blox)
        assert world.acted() == acted + 1
        blox.process.wait_for(lambda: blox.problems() == {}, what="healthy")


def test_a_full_disk_starts_nothing_and_is_over_when_there_is_room(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    """The process may write no byte beyond a file's first 512, as on a full disk."""
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready().create()
        blox.deployed()
        each_runs_one(world, blox)
        acted = world.acted()
        limits = resource.prlimit(blox.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(blox.process.pid, resource.RLIMIT_FSIZE, (512, limits[1]))
        world.control.post("hosts", {"cluster": "demo"})
        assert "nothing can be started" in begun(blox, "store")
        assert "store" in blox.problems()
        refused = blox.ask("POST", "/v2/environments/demo/logs/deployments")
        assert refused.status == 503, refused.text
        assert world.acted() == acted
        resource.prlimit(blox.process.pid, resource.RLIMIT_FSIZE, limits)
        each_runs_one(world, blox)
        gone(blox, "store")
        assert blox.process.stop() == 0
    assert world.acted() == acted + 1


def test_a_full_disk_is_noticed_to_have_room_although_nothing_wants_to_start_any_more(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    with scheduler(world, tmp_path) as blox:
        blox.wait_ready().create()
        blox.deployed()
        limits = resource.prlimit(blox.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(blox.process.pid, resource.RLIMIT_FSIZE, (512, limits[1]))
        (host,) = world.control.post("hosts", {"cluster": "demo"})["hosts"]
        begun(blox, "store")
        world.control.post("hosts/terminate", {"hosts": [host]})
        blox.wait("/v2/environments/demo/logs", lambda e: e["counts"]["hosts"] == 3)
        resource.prlimit(blox.process.pid, resource.RLIMIT_FSIZE, limits)
        gone(blox, "store")
        patched = blox.ask("PATCH", "/v2/environments/demo/logs", {"taskDefinition": "agent:2"})
        assert patched.status == 200, patched.text
        blox.deployed()
        each_runs_one(world, blox, definition="agent:2")
