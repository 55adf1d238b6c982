"""Answers that are kept: true, bounded, and not sent to who has them."""

import asyncio

import pytest

from blox.clusterstate.api.lists import BYTES_AT_LEAST, MOST_ANSWERS, Listed, Lists
from blox.clusterstate.catalogue import Catalogue
from blox.clusterstate.entity import Entity
from blox.ecs.seen import ClusterSeen
from blox.http.operations import Answer
from support.documents import CLUSTER, task_arn
from support.entities import TASK, entity


class Kept:
    """A catalogue, its lists, and how often one was made."""

    def __init__(self, **options: int) -> None:
        self.catalogue = Catalogue(name="n", epoch="e7")
        self.catalogue.reserve(10**6)
        self.lists = Lists(self.catalogue, **options)
        self.made = 0

    def change(self) -> None:
        self.catalogue.cluster_changed(ClusterSeen(arn=CLUSTER, sweep=self.catalogue.last))

    def ask(
        self,
        key: str = "k",
        *,
        version: int = 1,
        body: bytes = b"item",
        etag: str | None = None,
    ) -> Answer:
        """A list of one item."""
        headers = {} if etag is None else {"if-none-match": etag}

        async def make() -> Listed:
            self.made += 1
            return Listed([item(self.made)])

        answer = self.lists.answer(key, lambda: version, headers, make, lambda _: body)
        return asyncio.run(answer)


def item(version: int) -> Entity:
    return entity({**TASK, "taskArn": task_arn(version)}, version=version)


def listed_as(*items: bytes) -> bytes:
    return b'{"items":[%b]}' % b",".join(items)


OVERHEAD = len(listed_as(b"")) + 16
"""What is kept for a list of one item beside the item."""


def test_a_list_is_made_once_for_each_change_of_it() -> None:
    listed = Kept()
    assert listed.ask().body == listed_as(b"item")
    assert listed.ask().body == listed_as(b"item")
    assert listed.made == 1
    assert listed.ask(version=2, body=b"new").body == listed_as(b"new")
    assert listed.made == 2
    listed.ask("other", version=2)
    assert listed.made == 3


def test_who_has_it_is_told_so_without_making_it() -> None:
    listed = Kept()
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
    assert Kept().ask(etag=given).status == 200


def test_what_is_kept_is_bounded_in_bytes_and_the_oldest_goes_first() -> None:
    listed = Kept(most_bytes=2 * (OVERHEAD + 40) + 39)
    for key in ("a", "b"):
        listed.ask(key, body=b"x" * 40)
    listed.ask("a", body=b"x" * 40)
    listed.ask("c", body=b"x" * 40)
    assert listed.lists.kept_bytes == 2 * (OVERHEAD + 40)
    made = listed.made
    listed.ask("a", body=b"x" * 40)
    assert listed.made == made
    listed.ask("b", body=b"x" * 40)
    assert listed.made == made + 1


def test_the_last_answer_is_kept_however_large() -> None:
    listed = Kept(most_bytes=100)
    listed.ask("small")
    for _ in range(2):
        assert listed.ask("large", body=b"x" * 1000).body == listed_as(b"x" * 1000)
    assert (listed.made, listed.lists.kept_bytes) == (2, OVERHEAD + 1000)


def test_more_is_kept_of_a_larger_catalogue() -> None:
    listed = Kept()
    half = b"x" * (BYTES_AT_LEAST // 2)
    for key in ("a", "b"):
        listed.ask(key, body=half)
    assert listed.lists.kept_bytes == OVERHEAD + len(half)
    listed = Kept()
    listed.catalogue.log.begin_after(floor=0, last=100)
    for number in range(2):
        listed.catalogue.restore(item(1 + number))
    listed.change()
    for key in ("a", "b"):
        listed.ask(key, body=half)
    assert listed.lists.kept_bytes == 2 * (OVERHEAD + len(half))


def test_what_is_kept_is_bounded_in_number() -> None:
    listed = Kept()
    for number in range(MOST_ANSWERS + 50):
        listed.ask(str(number), body=b"12345678")
    assert listed.lists.kept_bytes == (OVERHEAD + 8) * MOST_ANSWERS


def test_a_newer_answer_takes_the_place_of_the_older_one() -> None:
    listed = Kept()
    listed.ask(body=b"x" * 1000)
    listed.ask(version=2, body=b"x" * 10)
    assert listed.lists.kept_bytes == OVERHEAD + 10


def test_a_list_whose_position_nobody_can_follow_from_soon_is_made_anew() -> None:
    listed = Kept()
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
    listed = Kept()
    listed.ask()
    listed.catalogue.name = "m"
    listed.ask()
    assert listed.made == 2
    listed.ask()
    assert listed.made == 2


def test_who_has_the_list_but_cannot_follow_from_it_any_more_gets_it_again() -> None:
    listed = Kept()
    etag = listed.ask().headers["etag"]
    for _ in range(20):
        listed.change()
    assert listed.ask(etag=etag).status == 304
    listed.catalogue.log.begin_after(floor=20, last=listed.catalogue.last)
    answer = listed.ask(etag=etag)
    assert (answer.status, answer.body) == (200, listed_as(b"item"))
    assert listed.ask(etag=answer.headers["etag"]).status == 304
