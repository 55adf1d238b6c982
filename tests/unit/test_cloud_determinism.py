"""One seed, one history: in this process, in another, whatever the hashes of strings."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

from blox.simulator.faults import Faults
from blox.simulator.model import Fault
from support.worlds import CLUSTER, world

TESTS = Path(__file__).parents[1]
PROGRAM = "from unit.test_cloud_determinism import history; print(history(7))"


def history(seed: int) -> str:
    """A digest of all that a busy hour shows: answers, events and the log."""
    random = Random(seed)
    w = world(hosts=8, seed=seed, faults=Faults.draw(random), health_check=True)
    w.call("CreateService", serviceName="mesh", taskDefinition="agent", schedulingStrategy="DAEMON")
    digest = hashlib.sha256()

    def note(value: object) -> None:
        digest.update(json.dumps(value, default=str).encode())

    for step in range(300):
        host = random.choice(w.hosts)
        try:
            note(w.start(random.sample(w.hosts, 3), startedBy=f"d{step % 5}"))
            listed = w.call("ListTasks", startedBy=f"d{step % 5}", maxResults=20)["taskArns"]
            if listed:
                note(w.call("DescribeTasks", tasks=listed))
                note(w.call("StopTask", task=random.choice(listed)))
        except Fault as fault:
            note(str(fault))
        if step % 25 == 0:
            note(w.call("UpdateService", service="mesh", forceNewDeployment=step % 50 == 0))
            note(w.call("DescribeServices", services=["mesh"]))
        if step % 40 == 0:
            w.cloud.terminate_host(host, now=w.now, agent_connected=step % 80 == 0)
            w.hosts.append(w.cloud.add_host(CLUSTER, now=w.now))
        w.later(random.uniform(0.0, 25.0))
        note(w.cloud.take_events())
    note([(call.time, call.request_id, call.outcome, call.made) for call in w.cloud.log])
    return digest.hexdigest()


def elsewhere(hash_seed: str) -> str:
    """The same history told by another process."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


def test_a_seed_gives_the_same_history_in_every_process() -> None:
    assert {history(7), elsewhere("0"), elsewhere("12345")} == {history(7)}


def test_another_seed_gives_another() -> None:
    assert history(7) != history(8)
