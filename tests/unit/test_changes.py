"""The log of changes: its bounds, and from where it can be followed."""

from msgspec import Struct

from blox.clusterstate.changes import ChangeLog


class Entry(Struct, frozen=True):
    version: int
    identity: str
    deleted: bool = False


def versions(log: ChangeLog[Entry], after: int = 0) -> list[int]:
    return [entry.version for entry in log.after(after)]


def test_an_entity_stands_where_it_changed_last() -> None:
    log: ChangeLog[Entry] = ChangeLog()
    for version, key in enumerate("abcab", 1):
        log.append(Entry(version, key))
    assert versions(log) == [3, 4, 5]
    assert versions(log, 4) == [5]
    assert versions(log, 5) == []
    assert (log.last, log.floor, len(log)) == (5, 0, 3)


def test_former_states_are_let_go_of_at_once_and_the_list_stays_short() -> None:
    log: ChangeLog[Entry] = ChangeLog()
    for version in range(1, 20_001):
        log.append(Entry(version, str(version % 10)))
        held = sum(entry is not None for entry in log._entries)
        assert held == min(version, 10)
    assert len(log._entries) <= 2 * 10 + 1024
    assert versions(log, 19_995) == [19_996, 19_997, 19_998, 19_999, 20_000]


def test_deletions_are_kept_up_to_a_number_and_the_floor_tells_which_are_not() -> None:
    log: ChangeLog[Entry] = ChangeLog(deletions_kept=2)
    log.append(Entry(1, "a"))
    for version in range(2, 5):
        log.append(Entry(version, f"gone {version}", deleted=True))
    assert versions(log) == [1, 3, 4]
    assert log.floor == 2
    assert [log.holds(version) for version in range(6)] == [False, False, True, True, True, False]


def test_a_deletion_that_was_taken_back_is_no_gap_when_it_is_forgotten() -> None:
    log: ChangeLog[Entry] = ChangeLog(deletions_kept=1)
    log.append(Entry(1, "a", deleted=True))
    log.append(Entry(2, "a"))
    log.append(Entry(3, "b", deleted=True))
    assert log.floor == 0
    assert versions(log) == [2, 3]


def test_after_a_crash_what_was_not_stored_cannot_be_gone_on_from() -> None:
    log: ChangeLog[Entry] = ChangeLog()
    log.begin_after(floor=40, last=100)
    log.put_back(Entry(7, "a"))
    log.put_back(Entry(40, "b"))
    assert (log.floor, log.last, log.began) == (40, 100, 100)
    held = [version for version in range(120) if log.holds(version)]
    assert held == [40, 100]
    log.append(Entry(101, "a"))
    assert [version for version in range(120) if log.holds(version)] == [40, 100, 101]
    assert versions(log, 40) == [101]
    assert versions(log) == [40, 101]


def test_after_a_graceful_end_everything_since_the_last_state_can_be_gone_on_from() -> None:
    log: ChangeLog[Entry] = ChangeLog()
    log.begin_after(floor=40, last=40)
    assert [version for version in range(50) if log.holds(version)] == [40]


def test_a_mass_deletion_forgets_no_deletion() -> None:
    log: ChangeLog[Entry] = ChangeLog(deletions_kept=2)
    version = 0
    for number in range(100):
        log.append(Entry(version := version + 1, f"large {number}"))
    log.append(Entry(version := version + 1, "small"))
    before = version
    log.append(Entry(version := version + 1, "small", deleted=True))
    for number in range(100):
        log.append(Entry(version := version + 1, f"large {number}", deleted=True))
    assert log.floor == 0
    assert log.holds(before)
    assert len(log) == 101
    for number in range(200):
        log.append(Entry(version := version + 1, f"new {number}"))
        assert len(log) <= max(101, number + 1) + 2
    assert not log.holds(before)
    assert len(log) == 202


def test_what_goes_and_comes_again_for_ever_takes_no_room() -> None:
    log: ChangeLog[Entry] = ChangeLog(deletions_kept=2)
    for version in range(1, 20_001):
        log.append(Entry(version, "a", deleted=version % 2 == 0))
    assert len(log._deletions) <= 2 + 1024
    assert len(log._entries) <= 2 + 1024
    assert (log.floor, len(log)) == (0, 1)
