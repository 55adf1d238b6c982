"""What an update may take down at once: R19, over many hosts and whole updates."""

from random import Random

import pytest

from blox.scheduler.model import SlotClass
from blox.scheduler.verdicts import Cost, Notes
from support.fleet import Fleet, settled


def test_a_first_deployment_starts_everywhere_at_once() -> None:
    fleet = Fleet(40, "1")
    assert len(fleet.start()) == 40
    assert fleet.touched == []


@pytest.mark.parametrize(("text", "size"), [("1", 1), ("3", 3), ("10%", 2), ("50%", 10)])
def test_an_update_goes_in_waves_of_exactly_the_budget(text: str, size: int) -> None:
    fleet = settled(20, text)
    fleet.deploy()
    waves = []
    while fleet.on(1):
        waves.append(len(fleet.turn()))
    assert waves[:-1] == [size] * (len(waves) - 1)
    assert sum(waves) == 20
    assert len(set(fleet.touched)) == 20


def test_the_next_wave_waits_for_the_last_to_be_healthy() -> None:
    fleet = settled(20, "10%")
    fleet.deploy()
    fleet.turn(health="UNKNOWN")
    for _ in range(5):
        fleet.later(10.0)
        assert fleet.turn() == []
    fleet.become("HEALTHY")
    assert len(fleet.turn()) == 2


def test_a_granted_host_counts_as_down_before_its_stop_is_sent() -> None:
    fleet = settled(20, "2")
    fleet.deploy()
    assert len(fleet.spend()) == 2
    assert fleet.down == 2
    assert fleet.spend() == []
    fleet.judge()
    assert fleet.spend() == []


def test_hosts_that_have_none_already_use_up_the_budget() -> None:
    fleet = settled(20, "2")
    for host in ("host-005", "host-011"):
        fleet.tasks[host] = None
    fleet.deploy()
    assert fleet.spend() == []
    assert fleet.start() == ["host-005", "host-011"]
    assert len(fleet.spend()) == 2


def test_occupied_hosts_use_up_the_budget() -> None:
    fleet = settled(20, "2")
    fleet.tasks["host-003"] = None
    fleet.occupied.add("host-003")
    fleet.deploy()
    assert len(fleet.spend()) == 1


def test_broken_daemons_of_an_older_revision_go_first_and_for_free() -> None:
    fleet = settled(100, "2")
    broken = ["host-071", "host-093"]
    fleet.become("UNHEALTHY", broken)
    fleet.deploy()
    assert fleet.spend() == broken
    assert fleet.stop() == broken


def test_all_broken_at_once_are_replaced_at_once_although_the_budget_is_smaller() -> None:
    fleet = settled(20, "1")
    fleet.become("UNHEALTHY")
    fleet.deploy()
    assert len(fleet.turn()) == 20


def test_what_was_free_and_recovers_before_its_stop_is_not_stopped() -> None:
    fleet = settled(20, "2")
    fleet.become("UNHEALTHY")
    fleet.deploy()
    assert len(fleet.spend()) == 20
    fleet.become("HEALTHY")
    assert fleet.stop() == []
    assert len(fleet.turn()) == 2


def test_a_second_update_inside_the_window_does_not_stop_them_all() -> None:
    """The trap of free replacements: nothing is healthy yet, and nothing has failed either."""
    fleet = Fleet(20, "10%")
    fleet.start(health="UNKNOWN")
    fleet.deploy()
    assert fleet.turn() == []
    fleet.become("HEALTHY")
    assert len(fleet.turn()) == 2


def test_a_bad_revision_stalls_at_the_budget() -> None:
    fleet = settled(20, "10%")
    fleet.deploy()
    for _ in range(30):
        fleet.turn(health="UNHEALTHY")
        fleet.later(30.0)
        assert fleet.down <= 2
    assert len(fleet.on(1)) == 18
    assert fleet.board.tally().classes[SlotClass.FAILING] == 2


def test_a_bad_revision_that_never_becomes_healthy_stalls_as_well() -> None:
    fleet = settled(20, "10%")
    fleet.deploy()
    for _ in range(40):
        fleet.turn(health="UNKNOWN")
        fleet.later(60.0)
        assert fleet.down <= 2
    assert len(fleet.on(1)) == 18


@pytest.mark.parametrize("seed", range(5))
def test_ten_bad_updates_in_a_row_never_touch_the_healthy_ones(seed: int) -> None:
    random = Random(seed)
    fleet = settled(20, "50%")
    fleet.deploy()
    fleet.turn(health="UNHEALTHY")
    healthy = set(fleet.on(1))
    assert len(healthy) == 10
    for _ in range(10):
        fleet.deploy()
        for _ in range(random.randint(1, 4)):
            fleet.turn(health=random.choice(["UNHEALTHY", "UNKNOWN"]))
            fleet.later(random.uniform(0.0, 200.0))
    assert set(fleet.on(1)) == healthy
    assert fleet.down == 10


def test_a_good_update_after_a_bad_one_repairs_first_and_then_goes_on() -> None:
    fleet = settled(20, "2")
    fleet.deploy()
    fleet.turn(health="UNHEALTHY")
    bad = fleet.on(2)
    fleet.deploy()
    assert fleet.turn() == bad
    assert fleet.down == 0
    while fleet.on(1):
        assert len(fleet.turn()) <= 2
    assert len(fleet.on(3)) == 20


def test_nothing_changed_nothing_stopped() -> None:
    fleet = settled(20, "100%")
    for _ in range(3):
        assert fleet.turn() == []


def test_failing_daemons_of_the_target_are_not_replaced_all_at_once() -> None:
    """A health check that fails everywhere, perhaps by mistake, must not take the fleet down."""
    fleet = settled(20, "2")
    fleet.become("UNHEALTHY")
    assert len(fleet.spend()) == 2
    assert fleet.spend() == []
    fleet.stop()
    assert fleet.spend() == []
    fleet.start()
    assert len(fleet.spend()) == 2


def test_one_failing_host_does_not_keep_another_from_being_repaired() -> None:
    fleet = settled(20, "1")
    fleet.become("UNHEALTHY", ["host-000", "host-001"])
    assert fleet.turn(health="UNHEALTHY") == ["host-000"]
    fleet.notes["host-000"] = Notes(replace_not_before=1e12)
    fleet.judge()
    assert fleet.turn() == ["host-001"]


def test_hosts_that_stopped_matching_leave_within_the_budget() -> None:
    fleet = settled(20, "10%")
    fleet.unmatched = {f"host-{n:03}" for n in range(10)}
    fleet.judge()
    assert len(fleet.spend()) == 2
    assert fleet.spend() == []
    fleet.stop()
    assert len(fleet.spend()) == 2


def test_hosts_that_stopped_matching_wait_while_others_are_down() -> None:
    fleet = settled(20, "10%")
    fleet.unmatched = {"host-000"}
    for host in ("host-005", "host-011"):
        fleet.tasks[host] = None
    fleet.judge()
    assert fleet.spend() == []
    fleet.start()
    assert fleet.spend() == ["host-000"]


def test_a_grant_of_an_update_is_good_for_the_next_one() -> None:
    fleet = settled(10, "1")
    fleet.deploy()
    granted = fleet.spend()
    fleet.deploy()
    assert fleet.board.granted == dict.fromkeys(granted, Cost.ROLLOUT)
    assert fleet.spend() == []
    assert fleet.stop() == granted
