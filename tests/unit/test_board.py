"""The board: verdicts by host, and everything that is counted from them."""

import pytest

from blox.scheduler.board import Board, allowance, recount
from blox.scheduler.model import SlotClass, VerdictKind
from blox.scheduler.verdicts import Cost, Stop
from support.judging import verdict

CURRENT = verdict(SlotClass.CURRENT, available=True)
OUTDATED = verdict(SlotClass.OUTDATED, available=True, candidate=Cost.ROLLOUT, reason="outdated")
MISSING = verdict(SlotClass.MISSING, kind=VerdictKind.START, reason="start")
STARTING = verdict(SlotClass.STARTING, reason="starting")
SETTLING = verdict(SlotClass.SETTLING, reason="settling")
FAILING = verdict(SlotClass.FAILING, reason="backoff", kind=VerdictKind.WAIT)
DOUBT = verdict(SlotClass.IN_DOUBT, reason="in-doubt", kind=VerdictKind.WAIT)


class TestCounting:
    def test_a_slot_is_counted_once_whatever_happens_to_it(self) -> None:
        board = Board()
        for found in (MISSING, STARTING, SETTLING, CURRENT, CURRENT):
            board.put("h", found, now=0.0)
            assert board.tally() == recount(board.verdicts.values())
            assert board.tally().wanted == 1
        board.drop("h")
        assert board.tally() == recount([])

    def test_hosts_are_all_but_superseded_records(self) -> None:
        board = Board()
        for n, slot_class in enumerate(SlotClass):
            board.put(f"h{n}", verdict(slot_class), now=0.0)
        assert board.tally().wanted == 10
        assert board.tally().hosts == len(SlotClass) - 1

    def test_unavailable_is_every_wanted_host_without_a_healthy_daemon(self) -> None:
        board = Board()
        for n, found in enumerate([CURRENT, OUTDATED, FAILING, DOUBT, verdict(SlotClass.LOST)]):
            board.put(f"h{n}", found, now=0.0)
        assert (board.tally().wanted, board.tally().unavailable) == (4, 2)

    def test_since_is_when_the_slot_entered_its_class(self) -> None:
        board = Board()
        board.put("h", MISSING, now=1.0)
        board.put("h", verdict(SlotClass.MISSING, reason="agent-busy"), now=2.0)
        assert board.since["h"] == 1.0
        board.put("h", STARTING, now=3.0)
        assert board.since["h"] == 3.0

    def test_the_version_grows_only_when_a_reader_could_see_something(self) -> None:
        board = Board()
        board.put("h", MISSING, now=1.0)
        before = board.version
        board.put("h", MISSING, now=2.0)
        board.drop("unknown")
        assert board.version == before
        board.drop("h")
        assert board.version == before + 1


class TestLists:
    def test_starts_are_listed_by_their_pace_in_the_order_of_arrival(self) -> None:
        board = Board()
        slow = verdict(SlotClass.MISSING, kind=VerdictKind.START, reason="start", rollout=True)
        for host, found in (("b", MISSING), ("a", MISSING), ("c", slow)):
            board.put(host, found, now=0.0)
        assert [list(found) for found in board.ready] == [["b", "a"], ["c"]]
        board.put("b", STARTING, now=1.0)
        assert [list(found) for found in board.ready] == [["a"], ["c"]]

    def test_stops_are_listed_while_they_are_wanted(self) -> None:
        board = Board()
        stop = verdict(
            SlotClass.STOPPING, kind=VerdictKind.STOP, reason="surplus", stops=(Stop("t", "why"),)
        )
        board.put("a", stop, now=0.0)
        assert [list(found) for found in board.stopping] == [["a"], []]
        board.put("a", CURRENT, now=1.0)
        assert [list(found) for found in board.stopping] == [[], []]

    def test_a_dropped_host_is_nowhere(self) -> None:
        board = Board()
        for host, found in (("a", MISSING), ("b", OUTDATED)):
            board.put(host, found, now=0.0)
        board.spend("1")
        for host in ("a", "b"):
            board.drop(host)
        assert [list(found) for found in board.ready] == [[], []]
        assert not any(board.candidates.values())
        assert (board.granted, board.since, board.verdicts) == ({}, {}, {})


class TestGrants:
    def test_a_grant_lasts_while_the_stop_is_carried_out_and_no_longer(self) -> None:
        board = Board()
        board.put("a", OUTDATED, now=0.0)
        assert board.spend("1") == ["a"]
        replace = verdict(
            SlotClass.OUTDATED,
            kind=VerdictKind.REPLACE,
            reason="replace-outdated",
            stops=(Stop("t", "why"),),
            rollout=True,
        )
        board.put("a", replace, now=0.0)
        assert board.granted == {"a": Cost.ROLLOUT}
        board.put("a", verdict(SlotClass.STOPPING, reason="stopping"), now=1.0)
        assert board.granted == {}

    def test_a_free_grant_ends_when_the_daemon_recovers(self) -> None:
        board = Board()
        board.put("a", verdict(SlotClass.FAILING, candidate=Cost.FREE), now=0.0)
        assert board.spend("1") == ["a"]
        board.put("a", OUTDATED, now=1.0)
        assert board.granted == {}

    def test_what_is_granted_is_not_granted_again(self) -> None:
        board = Board()
        for host in ("a", "b"):
            board.put(host, OUTDATED, now=0.0)
        assert board.spend("1") == ["a"]
        assert board.spend("2") == ["b"]
        assert board.spend("2") == []


class TestProgress:
    """What moves a deployment's deadline on."""

    def test_each_host_gets_on_twice_when_it_runs_and_when_it_is_current(self) -> None:
        board = Board()
        for found in (MISSING, STARTING, SETTLING, CURRENT):
            board.put("h", found, now=0.0)
        assert board.moves == 2

    def test_leaving_doubt_is_getting_on(self) -> None:
        board = Board()
        board.put("h", DOUBT, now=0.0)
        board.put("h", MISSING, now=0.0)
        assert board.moves == 1

    def test_a_daemon_that_crashes_again_and_again_gets_on_only_once(self) -> None:
        board = Board()
        for _ in range(50):
            for found in (MISSING, STARTING, SETTLING, FAILING):
                board.put("h", found, now=0.0)
        assert board.moves == 1

    def test_a_daemon_that_becomes_current_again_and_again_gets_on_no_more(self) -> None:
        board = Board()
        for _ in range(50):
            for found in (STARTING, SETTLING, CURRENT, FAILING):
                board.put("h", found, now=0.0)
        assert board.moves == 2

    def test_another_deployment_begins_anew(self) -> None:
        board = Board()
        for _ in range(3):
            board.begin_deployment()
            for found in (STARTING, SETTLING, CURRENT):
                board.put("h", found, now=0.0)
        assert board.moves == 6


@pytest.mark.parametrize(
    ("text", "wanted", "expected"),
    [
        ("1", 0, 1),
        ("3", 2, 3),
        ("10%", 0, 1),
        ("10%", 1, 1),
        ("10%", 10, 1),
        ("10%", 11, 2),
        ("10%", 20, 2),
        ("25%", 10, 3),
        ("1%", 100, 1),
        ("7%", 100, 7),
        ("100%", 30, 30),
    ],
)
def test_a_share_is_rounded_up_and_at_least_one(text: str, wanted: int, expected: int) -> None:
    assert allowance(text, wanted) == expected
