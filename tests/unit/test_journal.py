"""Bounded journals: the newest entries of each key stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blox.base.journal import Entry, Journal


def entry(number: int) -> Entry:
    return Entry(at=float(number), what="seen", text=f"entry {number}")


def numbers(journal: Journal[str], key: str) -> list[int]:
    return [int(entry.at) for entry in journal.story(key)]


def test_a_story_is_told_in_the_order_in_which_it_happened() -> None:
    journal = Journal[str]()
    called = Entry(at=1.5, what="called", text="StartTask", details={"request": "r-1"})
    journal.note("a", called)
    journal.note("b", entry(2))
    journal.note("a", entry(3))
    assert journal.story("a") == (called, entry(3))
    assert journal.story("b") == (entry(2),)
    assert len(journal) == 3


def test_an_unknown_key_has_no_story() -> None:
    assert Journal[str]().story("a") == ()


def test_a_key_keeps_its_last_entries_only() -> None:
    journal = Journal[str](limit_per_key=3)
    journal.note("b", entry(0))
    for number in range(1, 8):
        journal.note("a", entry(number))
    assert numbers(journal, "a") == [5, 6, 7]
    assert numbers(journal, "b") == [0]


def test_full_it_forgets_what_was_noted_first_of_all() -> None:
    journal = Journal[str](limit_total=4)
    for number, key in enumerate("aabbc"):
        journal.note(key, entry(number))
    assert (numbers(journal, "a"), numbers(journal, "b")) == ([1], [2, 3])
    journal.note("c", entry(5))
    assert journal.story("a") == ()
    assert numbers(journal, "c") == [4, 5]


@pytest.mark.parametrize(("per_key", "total"), [(0, 1), (1, 0)])
def test_limits_below_one_are_refused(per_key: int, total: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Journal[str](limit_per_key=per_key, limit_total=total)


@given(
    keys=st.lists(st.sampled_from("abcdef"), max_size=400),
    per_key=st.integers(1, 5),
    total=st.integers(1, 12),
)
def test_it_keeps_what_a_plain_list_would(keys: list[str], per_key: int, total: int) -> None:
    journal = Journal[str](limit_per_key=per_key, limit_total=total)
    kept: list[tuple[str, int]] = []
    for number, key in enumerate(keys):
        journal.note(key, entry(number))
        own = [item for item in kept if item[0] == key]
        if len(own) == per_key:
            kept.remove(own[0])
        kept = [*kept, (key, number)][-total:]
        assert len(journal) == len(kept)
    for key in "abcdef":
        assert numbers(journal, key) == [number for other, number in kept if other == key]


def test_a_key_that_is_noted_for_ever_takes_no_more_memory() -> None:
    journal = Journal[str](limit_per_key=4, limit_total=1000)
    journal.note("b", entry(0))
    for number in range(5000):
        journal.note("a", entry(number))
    # The one look inside: there is no other way to see what is held on to.
    assert len(journal._order) < 100
    assert numbers(journal, "a") == [4996, 4997, 4998, 4999]
    assert numbers(journal, "b") == [0]
