"""kill -9 at random moments, judged by what ECS saw: never two daemons on a host, and in the end
one on each.

Reads lag behind the truth for up to V, starts are executed up to E after they were accepted, and
every answer is late, so that each kill finds calls under way. Three hundred hosts; in half of the
runs they have no daemon yet, in the other half they are being replaced.
"""

from pathlib import Path
from random import Random

import pytest

from blox.settings import Assumptions
from blox.simulator.faults import Faults
from support.scheduling import Scheduler, SimulatedWorld, scheduler, simulated_world

HOSTS = 300
KILLS = 5
HARSH = Assumptions(signature_age=3.0, acceptance_lag=1.0, read_lag=2.0, backdate=0.0)
"""W is 6 s."""
LAGGING = Faults(lag=1.0, flicker=0.3)
ENVIRONMENT = "/v2/environments/demo/logs"


def make_calls_slow(world: SimulatedWorld) -> None:
    """Starts are executed late, and all answers come late."""
    world.control.post("faults", {"operation": "StartTask", "slow": 0.8, "share": 0.4})
    world.control.post("faults", {"operation": "StartTask", "delay": 0.3})
    world.control.post("faults", {"operation": "StopTask", "delay": 0.1})


def wait_for_a_moment(
    world: SimulatedWorld, blox: Scheduler, random: Random, *, target: str, most: int
) -> None:
    """Any moment: after up to `most` calls that act, or while it still reads; at the latest when
    all is done."""
    acts, calls = world.acted(), world.counted()
    if random.random() < 0.7:
        acts += random.randint(1, most)
    else:
        calls += random.randint(1, 60)
    blox.process.wait_for(
        lambda: (
            (world.acted() >= acts and world.counted() >= calls)
            or world.running(definition=target) == HOSTS
        ),
        what="a moment to kill it",
    )


@pytest.mark.timeout(140)
@pytest.mark.parametrize("number", range(4))
def test_killed_again_and_again_it_never_makes_two_and_gets_there(
    number: int, tmp_path: Path
) -> None:
    random = Random(f"kill {number}")
    replacing = number % 2 == 1
    target = "agent:2" if replacing else "agent:1"
    # A first deployment takes 30 calls and more, a replacement 330 and more.
    most = 50 if replacing else 4
    with simulated_world(
        hosts=HOSTS, assumptions=HARSH, faults=LAGGING, seed=f"kill {number}"
    ) as world:
        with scheduler(world, tmp_path, assumptions=HARSH) as blox:
            blox.wait_ready().create(policy={"minHealthySeconds": 0, "maxUnavailable": "40%"})
            if replacing:
                blox.deployed(within=60.0)
                changed = blox.ask("PATCH", ENVIRONMENT, {"taskDefinition": target})
                assert changed.status == 200, changed.text
            make_calls_slow(world)
            deployment = blox.deploy()
            wait_for_a_moment(world, blox, random, target=target, most=most)
            blox.process.kill()
        in_doubt = 0
        for _ in range(KILLS - 1):
            with scheduler(world, tmp_path, assumptions=HARSH) as blox:
                blox.wait_ready()
                in_doubt += blox.get("/v2/status")["startsInDoubt"]
                wait_for_a_moment(world, blox, random, target=target, most=most)
                blox.process.kill()
            assert world.with_two() == []
        with scheduler(world, tmp_path, assumptions=HARSH) as blox:
            blox.wait_ready()
            in_doubt += blox.get("/v2/status")["startsInDoubt"]
            blox.wait(deployment, lambda d: d["status"] == "completed", within=90.0)
            assert world.running(definition=target) == len(world.live()) == HOSTS
            assert world.with_two() == []
            assert in_doubt > 0, "no kill found a call under way: the test shows nothing"
            assert blox.get("/v2/status")["doublesSeen"] == 0
            assert blox.process.stop() == 0
        assert world.with_two() == []
