"""The log of changes against one that forgets nothing."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from blox.clusterstate.changes import ChangeLog

KEPT = 3


class Entry(Struct, frozen=True):
    version: int
    identity: str
    deleted: bool


STEPS = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from("abcdefgh"), st.booleans()), max_size=40
)


def expected(history: list[Entry], after: int) -> list[Entry]:
    """What changed since, each in its last state, but for deletions that are not kept: of those,
    the oldest go while there are more than KEPT beyond the most entities that there ever were."""
    newest: dict[str, Entry] = {}
    most = 0
    for entry in history:
        newest[entry.identity] = entry
        deleted = [one for one in newest.values() if one.deleted]
        most = max(most, len(newest) - len(deleted))
        deleted.sort(key=lambda one: one.version)
        for one in deleted[: max(0, len(newest) - most - KEPT)]:
            del newest[one.identity]
    return sorted(
        (entry for entry in newest.values() if entry.version > after),
        key=lambda entry: entry.version,
    )


@given(STEPS, st.integers(0, 60))
def test_the_log_tells_what_a_complete_history_would(
    steps: list[tuple[int, str, bool]], after: int
) -> None:
    log: ChangeLog[Entry] = ChangeLog(deletions_kept=KEPT)
    history: list[Entry] = []
    version = 0
    for gap, key, deleted in steps:
        version += gap
        history.append(Entry(version, key, deleted))
        log.append(history[-1])
        assert list(log.after(after)) == expected(history, after)
    assert len(log) == len(expected(history, 0))
    assert log.last == version


@given(STEPS, st.data())
def test_who_goes_on_from_a_position_that_is_held_ends_with_the_same(
    steps: list[tuple[int, str, bool]], data: st.DataObject
) -> None:
    log: ChangeLog[Entry] = ChangeLog(deletions_kept=KEPT)
    states: dict[int, dict[str, int]] = {0: {}}
    version = 0
    for gap, key, deleted in steps:
        state = dict(states[version])
        version += gap
        state.pop(key, None)
        if not deleted:
            state[key] = version
        states[version] = state
        log.append(Entry(version, key, deleted))
    position = data.draw(st.sampled_from(sorted(states)))
    mine = dict(states[position])
    for entry in log.after(position):
        mine.pop(entry.identity, None)
        if not entry.deleted:
            mine[entry.identity] = entry.version
    assert mine == states[version] or not log.holds(position)


@given(STEPS)
def test_the_deletion_of_what_is_there_expires_no_position(
    steps: list[tuple[int, str, bool]],
) -> None:
    log: ChangeLog[Entry] = ChangeLog(deletions_kept=KEPT)
    there: set[str] = set()
    version = 0
    for gap, key, deleted in steps:
        version += gap
        floor = log.floor
        log.append(Entry(version, key, deleted))
        assert not (deleted and key in there) or log.floor == floor
        if deleted:
            there.discard(key)
        else:
            there.add(key)
