"""kill -9 at random moments while tasks and hosts come and go, judged by what ECS has in truth:
nothing is lost, nothing that ended lives again, and who follows the stream has what the list has.

Reads lag behind the truth for up to V, and events go through a queue that goes on while nobody
reads it.
"""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from blox.settings import Assumptions
from blox.simulator.faults import Faults
from support.processes import free_port, wait_until
from support.scheduling import SimulatedWorld, simulated_world
from support.state_load import load_on, watcher_on
from support.stating import StateService, state_service

CLUSTERS = ("demo", "edge")
KILLS = 5
LAGGING = Assumptions(signature_age=3.0, acceptance_lag=1.0, read_lag=2.0, backdate=0.0)


def truth(world: SimulatedWorld) -> tuple[dict[str, bool], set[str]]:
    """ARN → whether it lives, of every task that ever was; and the hosts that are there."""
    return world.look(
        lambda cloud: (
            {task.arn: task.live for task in cloud.tasks.values()},
            {host.arn for host in cloud.hosts.values() if not host.inactive},
        )
    )


def agrees(service: StateService, world: SimulatedWorld) -> bool:
    """Whether the service shows every task that ever was, those live that live, and the hosts."""
    tasks, hosts = truth(world)
    shown = service.tasks()
    there = {
        arn for arn, item in service.instances().items() if item["instance"]["status"] != "INACTIVE"
    }
    live = {arn for arn, item in shown.items() if item["task"]["lastStatus"] != "STOPPED"}
    return (
        shown.keys() == tasks.keys()
        and live == {arn for arn, lives in tasks.items() if lives}
        and there == hosts
    )


def version_of(service: StateService) -> tuple[str, int]:
    name, version = str(service.get("/v2/status")["position"]).split(".")
    return name, int(version)


@pytest.mark.timeout(140)
@pytest.mark.parametrize("number", range(3))
def test_killed_again_and_again_it_loses_nothing_and_raises_nothing(
    number: int, tmp_path: Path
) -> None:
    random = Random(f"state {number}")
    queue: dict[str, Any] = {} if number < 2 else {"queue": None}
    port = free_port()
    with simulated_world(
        hosts=8,
        clusters=CLUSTERS,
        assumptions=LAGGING,
        faults=Faults(lag=1.0, flicker=0.3),
        seed=f"state {number}",
    ) as world:

        def runs(**more: Any) -> Any:
            return state_service(world, tmp_path, assumptions=LAGGING, port=port, **queue, **more)

        told = ("", 0)
        with watcher_on(port) as watcher:
            with load_on(world.url, random, CLUSTERS) as load:
                for _ in range(KILLS):
                    with runs() as service:
                        service.wait_ready()
                        name, version = version_of(service)
                        assert told[0] in ("", name)
                        assert version >= told[1]
                        until = load.done + random.randint(5, 60)
                        service.process.wait_for(lambda u=until: load.done >= u, what="a moment")
                        told = version_of(service)
                        service.process.kill()
            with runs() as service:
                service.wait_ready().wait_swept(*CLUSTERS)
                service.process.wait_for(
                    lambda: agrees(service, world), within=30.0, what="the truth"
                )
                for cluster in CLUSTERS:
                    service.swept(cluster)
                assert agrees(service, world)
                wait_until(
                    lambda: watcher.known == {**service.tasks(), **service.instances()},
                    within=30.0,
                    what="the watcher knows it too",
                )
                # Who had changes that were not stored when the process died lists again, once.
                assert watcher.lists <= KILLS + 1
                assert watcher.names == {told[0]}
                assert service.process.stop() == 0
