"""What the demo reads from the simulated ECS's records: who runs where, and how soon."""

import pytest

from blox.cli.demo_truth import (
    CLUSTER,
    FAMILY,
    GROUP,
    SCHEDULER_KEY,
    daemons,
    hosts_of,
    latency,
    percentile,
    quiet_hosts,
    reads,
    runs_one,
    starts_on,
    superseded,
    unsettled,
)
from blox.simulator.cloud import Cloud
from blox.simulator.model import HostRecord, Json

BEGAN = 1_750_000_000.0


def stage(*, hosts: int = 2) -> tuple[Cloud, list[HostRecord], str]:
    cloud = Cloud("truth")
    cloud.add_cluster(CLUSTER, now=BEGAN)
    definition = cloud.add_definition(FAMILY, now=BEGAN)
    arns = [cloud.add_host(CLUSTER, now=BEGAN) for _ in range(hosts)]
    return cloud, [cloud.hosts[arn] for arn in arns], definition


def start(cloud: Cloud, host: HostRecord, *, now: float, caller: str = SCHEDULER_KEY) -> None:
    params: Json = {
        "cluster": CLUSTER,
        "taskDefinition": FAMILY,
        "containerInstances": [host.arn],
        "group": GROUP,
    }
    cloud.call("StartTask", params, now=now, caller=caller)


def test_a_host_is_settled_with_exactly_one_running_daemon_of_the_target() -> None:
    cloud, (one, other), definition = stage()
    start(cloud, one, now=BEGAN + 1)
    assert not runs_one(cloud, one)
    cloud.advance(BEGAN + 20)
    assert runs_one(cloud, one, definition=definition)
    assert not runs_one(cloud, one, definition="another")
    assert [other.instance_id in phrase for phrase in unsettled(cloud, definition)] == [True]
    start(cloud, other, now=BEGAN + 20)
    cloud.advance(BEGAN + 40)
    assert unsettled(cloud, definition) == []
    assert quiet_hosts(cloud, ran_for=0, now=BEGAN + 40) == [one, other]
    assert quiet_hosts(cloud, ran_for=25, now=BEGAN + 40) == [one]
    start(cloud, one, now=BEGAN + 41)
    assert "has 2 daemons" in unsettled(cloud, definition)[0]


def test_a_host_that_drains_is_settled_without_a_daemon() -> None:
    cloud, (one,), definition = stage(hosts=1)
    start(cloud, one, now=BEGAN)
    cloud.advance(BEGAN + 20)
    cloud.drain_host(one.arn, now=BEGAN + 20)
    assert len(unsettled(cloud, definition)) == 1
    cloud.kill_task(daemons(cloud, one.arn)[0].arn, now=BEGAN + 21)
    assert unsettled(cloud, definition) == []


def test_the_old_record_of_a_machine_must_lose_its_daemon() -> None:
    cloud, (old,), definition = stage(hosts=1)
    start(cloud, old, now=BEGAN)
    cloud.advance(BEGAN + 20)
    new = cloud.hosts[cloud.duplicate_host(old.arn, now=BEGAN + 20)]
    assert superseded(cloud, old)
    assert not superseded(cloud, new)
    assert [record.arn for record in hosts_of(cloud)] == [old.arn, new.arn]
    start(cloud, new, now=BEGAN + 21)
    cloud.advance(BEGAN + 40)
    (phrase,) = unsettled(cloud, definition)
    assert phrase.startswith("the old record")


def test_latency_runs_from_the_moment_that_the_place_was_free() -> None:
    cloud, (one, other), _ = stage()
    start(cloud, one, now=BEGAN + 0.25)
    start(cloud, other, now=BEGAN + 0.5, caller="somebody")
    cloud.advance(BEGAN + 20)
    task = daemons(cloud, one.arn)[0]
    cloud.kill_task(task.arn, now=BEGAN + 20)
    start(cloud, one, now=BEGAN + 21)
    assert task.stopped_at == BEGAN + 20
    assert [call.time for call in starts_on(cloud, one.arn)] == [BEGAN + 0.25, BEGAN + 21]
    assert starts_on(cloud, other.arn) == []
    every = latency(cloud, since=BEGAN, apart=(), blind=())
    assert (every.count, every.p50, every.p99) == (2, 0.25, 1.0)
    later = latency(cloud, since=BEGAN + 10, apart=(), blind=())
    assert (later.count, later.p50) == (1, 1.0)
    assert latency(cloud, since=BEGAN, apart=[one.arn], blind=()).count == 0
    blind = [(BEGAN + 19, BEGAN + 20.5)]
    assert latency(cloud, since=BEGAN, apart=(), blind=blind).count == 1


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2.0), (0.99, 4.0), (0.25, 1.0), (0.0, 1.0)])
def test_percentiles_are_values_that_occurred(share: float, expected: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == expected


def test_reads_are_what_begins_with_list_or_describe() -> None:
    assert reads({"StartTask": 3, "ListTasks": 4, "DescribeTasks": 5}) == 9
