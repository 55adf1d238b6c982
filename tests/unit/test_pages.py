"""Lists in pages."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blox.base.errors import InvalidInput
from blox.http.pages import page


def identity(item: str) -> str:
    return item


def walk(items: list[str], size: int) -> list[tuple[str, ...]]:
    pages = []
    token: str | None = None
    while True:
        shown = page(items, key=identity, token=token, listing="all", size=size)
        pages.append(shown.items)
        token = shown.next_token
        if token is None:
            return pages


def test_a_list_that_fits_has_no_token() -> None:
    shown = page(["a", "b"], key=identity, token=None, listing="all", size=2)

    assert shown.items == ("a", "b")
    assert shown.next_token is None


def test_an_empty_list_is_one_empty_page() -> None:
    assert walk([], 3) == [()]


def test_a_hundred_is_the_usual_size() -> None:
    items = [f"{number:04}" for number in range(250)]

    first = page(items, key=identity, token=None, listing="all")

    assert len(first.items) == 100
    assert first.next_token is not None


@given(st.lists(st.text(), unique=True), st.integers(1, 7))
def test_the_pages_together_are_the_list(items: list[str], size: int) -> None:
    ordered = sorted(items)

    pages = walk(ordered, size)

    assert [item for shown in pages for item in shown] == ordered
    assert all(len(shown) == size for shown in pages[:-1])


def test_numbers_downwards() -> None:
    numbers = [5, 4, 3, 2, 1]

    def key(number: int) -> int:
        return number

    first = page(numbers, key=key, token=None, listing="n", descending=True, size=2)
    second = page(numbers, key=key, token=first.next_token, listing="n", descending=True, size=2)

    assert first.items == (5, 4)
    assert second.items == (3, 2)


def test_an_entry_that_came_or_went_neither_repeats_nor_hides_another() -> None:
    first = page(["b", "d", "f"], key=identity, token=None, listing="all", size=2)

    second = page(["a", "b", "c", "e", "f"], key=identity, token=first.next_token, listing="all")

    assert second.items == ("e", "f")


def test_a_list_that_ended_meanwhile_gives_an_empty_last_page() -> None:
    first = page(["a", "b"], key=identity, token=None, listing="all", size=1)

    second = page(["a"], key=identity, token=first.next_token, listing="all", size=1)

    assert second == page([], key=identity, token=None, listing="all")


def good_token() -> str:
    token = page(["a", "b"], key=identity, token=None, listing="all", size=1).next_token
    assert token is not None
    return token


def changed(token: str) -> list[str]:
    """The token with each of its characters replaced in turn."""
    return [
        token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        for place in range(len(token))
    ]


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a",
        "not a token",
        "é",
        "====",
        good_token() + "=",
        good_token() + "\n",
        good_token()[:-1],
        base64.urlsafe_b64encode(b'\x01123456"a"').decode(),
        "A" * 100_000,
        *changed(good_token()),
    ],
)
def test_a_token_that_is_not_ours_is_refused(token: str) -> None:
    with pytest.raises(InvalidInput, match="nextToken"):
        page(["a", "b"], key=identity, token=token, listing="all")


def test_a_token_of_another_listing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="nextToken"):
        page(["a", "b"], key=identity, token=good_token(), listing="all of cluster x")
