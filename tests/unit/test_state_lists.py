"""Answers that are kept: true, bounded, and not sent to who has them."""

from collections.abc import Callable

import pytest

from blox.clusterstate.api.lists import MOST_ANSWERS, Lists
from blox.clusterstate.catalogue import Catalogue
from blox.ecs.seen import ClusterSeen
from blox.http.operations import Answer
from support.documents import CLUSTER


class Listed:
    """A catalogue, its lists, and how often one was made."""

    def __init__(self, **options: int) -> None:
        self.catalogue = Catalogue(name="n", epoch="e7")
        self.catalogue.reserve(10**6)
        self.lists = Lists(self.catalogue, **options)
        self.made = 0

    def change(self) -> None:
        self.catalogue.cluster_changed(ClusterSeen(arn=CLUSTER, sweep=self.catalogue.last))

    def maker(self, body: bytes) -> Callable[[], bytes]:
        def make() -> bytes:
            self.made += 1
            return body

        return make

    def ask(
        self,
        key: str = "k",
        *,
        version: int = 1,
        body: bytes = b"list",
        etag: str | None = None,
    ) -> Answer:
        headers = {} if etag is None else {"if-none-match": etag}
        return self.lists.answer(key, version, headers, self.maker(body))


def test_a_list_is_made_once_for_each_change_of_it() -> None:
    listed = Listed()
    assert listed.ask().body == b"list"
    assert listed.ask().body == b"list"
    assert listed.made == 1
    assert listed.ask(version=2, body=b"new").body == b"new"
    assert listed.made == 2
    listed.ask("other", version=2)
    assert listed.made == 3


def test_who_has_it_is_told_so_without_making_it() -> None:
    listed = Listed()
    etag = listed.ask().headers["etag"]
    assert etag == '"e7.1.n.0"'
    for given in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        answer = listed.ask(etag=given)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
    assert listed.made == 1


@pytest.mark.parametrize(
    "given",
    [
        '"e7.2.n.0"',
        '"e6.1.n.0"',
        '"e7.1.m.0"',
        '"e7.1.n.-1"',
        f'"e7.1.n.{"9" * 5000}"',
        '"e7.1"',
        "e7.1.n.0",
        '"e7.1.n.0',
        '"',
        "",
    ],
)
def test_who_has_another_one_gets_it(given: str) -> None:
    assert Listed().ask(etag=given).status == 200


def test_what_is_kept_is_bounded_in_bytes_and_the_oldest_goes_first() -> None:
    listed = Listed(most_bytes=100)
    for key in ("a", "b"):
        listed.ask(key, body=b"x" * 40)
    listed.ask("a", body=b"x" * 40)
    listed.ask("c", body=b"x" * 40)
    assert listed.lists.kept_bytes == 80
    made = listed.made
    listed.ask("a", body=b"x" * 40)
    assert listed.made == made
    listed.ask("b", body=b"x" * 40)
    assert listed.made == made + 1


def test_what_is_larger_than_all_that_may_be_kept_is_not_kept() -> None:
    listed = Listed(most_bytes=100)
    listed.ask("small")
    assert listed.ask("large", body=b"x" * 101).body == b"x" * 101
    assert listed.lists.kept_bytes == 4


def test_what_is_kept_is_bounded_in_number() -> None:
    listed = Listed()
    for number in range(MOST_ANSWERS + 50):
        listed.ask(str(number), body=b"12345678")
    assert listed.lists.kept_bytes == 8 * MOST_ANSWERS


def test_a_newer_answer_takes_the_place_of_the_older_one() -> None:
    listed = Listed()
    listed.ask(body=b"x" * 1000)
    listed.ask(version=2, body=b"x" * 10)
    assert listed.lists.kept_bytes == 10


def test_a_list_whose_position_nobody_can_follow_from_soon_is_made_anew() -> None:
    listed = Listed()
    for _ in range(20):
        listed.change()
    listed.ask()
    for _ in range(15):
        listed.change()
    listed.ask()
    assert listed.made == 1  # what has changed elsewhere since is told by a stream from there
    listed.catalogue.log.begin_after(floor=20, last=listed.catalogue.last)
    listed.ask()
    assert listed.made == 2
    listed.ask()
    assert listed.made == 2


def test_a_list_that_names_a_position_of_another_numbering_is_made_anew() -> None:
    listed = Listed()
    listed.ask()
    listed.catalogue.name = "m"
    listed.ask()
    assert listed.made == 2
    listed.ask()
    assert listed.made == 2


def test_who_has_the_list_but_cannot_follow_from_it_any_more_gets_it_again() -> None:
    listed = Listed()
    etag = listed.ask().headers["etag"]
    for _ in range(20):
        listed.change()
    assert listed.ask(etag=etag).status == 304
    listed.catalogue.log.begin_after(floor=20, last=listed.catalogue.last)
    answer = listed.ask(etag=etag)
    assert (answer.status, answer.body) == (200, b"list")
    assert listed.ask(etag=answer.headers["etag"]).status == 304
