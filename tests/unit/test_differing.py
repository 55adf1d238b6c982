"""Where a service tells otherwise than a later read, at the same version (R12)."""

import pytest

from blox.clusterstate.merge import Evidence, merge_host, merge_task
from blox.clusterstate.records import Records
from blox.clusterstate.remote.differing import Differing
from blox.ecs.model import HostDocument, TaskDocument

CLUSTER = "arn:aws:ecs:eu-west-1:123456789012:cluster/prod"
HOST = "arn:aws:ecs:eu-west-1:123456789012:container-instance/prod/h1"
TASK = "arn:aws:ecs:eu-west-1:123456789012:task/prod/t1"
SHOWN = {HOST, TASK}


def evidence(begun: float | None) -> Evidence:
    return Evidence(cluster_arn=CLUSTER, received=1000.0, begun=begun)


class World:
    """Records of one cluster, and what a service told of them."""

    def __init__(self) -> None:
        self.records = Records()
        self.differing = Differing()

    def read_host(self, status: str, *, begun: float, version: int = 1) -> None:
        """A read that is not the service's."""
        document = HostDocument(container_instance_arn=HOST, status=status, version=version)
        entry = merge_host(self.records.host(HOST), document, evidence(begun))
        self.records.put_host(entry, now=1000.0)

    def told_host(self, status: str, *, begun: float | None, version: int = 1) -> bool:
        """The service tells of the host; whether the record says otherwise."""
        document = HostDocument(container_instance_arn=HOST, status=status, version=version)
        entry = merge_host(self.records.host(HOST), document, evidence(begun))
        self.records.put_host(entry, now=1000.0)
        return self.differing.note_host(entry, document, evidence(begun))

    def told_task(self, health: str, *, begun: float, version: int = 1) -> bool:
        document = TaskDocument(
            task_arn=TASK, last_status="RUNNING", health_status=health, version=version
        )
        entry = merge_task(self.records.task(TASK), document, evidence(begun), confirmation=10.0)
        self.records.put_task(entry)
        return self.differing.note_task(entry, document, evidence(begun))

    @property
    def left(self) -> tuple[list[str], list[str]]:
        return self.differing.left(self.records, SHOWN)


def test_an_older_read_of_the_same_version_that_says_otherwise_is_noted() -> None:
    world = World()
    world.read_host("DRAINING", begun=500.0)
    assert world.told_host("ACTIVE", begun=100.0)
    assert world.left == ([], [HOST])
    assert world.left == ([], [HOST])


@pytest.mark.parametrize(
    ("status", "begun", "version"),
    [("DRAINING", 100.0, 1), ("ACTIVE", 600.0, 1), ("ACTIVE", 100.0, 2), ("ACTIVE", 600.0, 0)],
    ids=["the same", "a later read", "a newer version", "an older version"],
)
def test_what_is_the_same_or_not_of_this_version_or_later_differs_in_nothing(
    status: str, begun: float, version: int
) -> None:
    world = World()
    world.read_host("DRAINING", begun=500.0)
    assert not world.told_host(status, begun=begun, version=version)
    assert world.left == ([], [])


def test_an_event_says_otherwise_too() -> None:
    world = World()
    world.read_host("DRAINING", begun=500.0)
    assert world.told_host("ACTIVE", begun=None)


def test_a_read_of_our_own_after_the_service_told_is_noted_until_both_agree() -> None:
    world = World()
    assert not world.told_host("ACTIVE", begun=100.0)
    assert world.left == ([], [])
    world.read_host("DRAINING", begun=500.0)
    assert world.left == ([], [HOST])
    world.read_host("ACTIVE", begun=600.0)
    assert world.left == ([], [])


def test_what_is_told_anew_counts_alone() -> None:
    world = World()
    world.read_host("DRAINING", begun=500.0)
    assert world.told_host("ACTIVE", begun=100.0)
    assert not world.told_host("ACTIVE", begun=700.0)
    assert world.left == ([], [])


def test_what_the_service_does_not_show_is_not_among_them() -> None:
    world = World()
    world.read_host("DRAINING", begun=500.0)
    world.told_host("ACTIVE", begun=100.0)
    assert world.differing.left(world.records, ()) == ([], [])
    world.told_host("ACTIVE", begun=100.0)
    world.differing.clear()
    assert world.left == ([], [])


def test_a_tasks_health_differs_and_a_status_that_went_back_does_not() -> None:
    world = World()
    assert not world.told_task("HEALTHY", begun=500.0)
    assert world.told_task("UNKNOWN", begun=100.0)
    assert world.left == ([TASK], [])
    document = TaskDocument(task_arn=TASK, last_status="PENDING", version=1)
    entry = world.records.task(TASK)
    assert entry is not None
    assert not world.differing.note_task(entry, document, evidence(100.0))
    assert world.left == ([], [])
