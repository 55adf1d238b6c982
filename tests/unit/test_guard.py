"""R24: many daemons whose hosts stop matching at once wait for a person."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from blox.base.ambient import Now
from blox.scheduler.guard import WINDOW, Guard, too_many
from blox.scheduler.model import Confirmation
from support.judging import ECS_NOW, environment


@pytest.mark.parametrize(
    ("pending", "recent", "hosts", "held"),
    [
        (10, 0, 20, False),
        (11, 0, 20, True),
        (1, 10, 20, True),
        (100, 0, 1000, False),
        (101, 0, 1000, True),
        (60, 41, 1001, False),
        (61, 41, 1001, True),
    ],
)
def test_more_than_ten_and_more_than_a_tenth_are_too_many(
    pending: int, recent: int, hosts: int, held: bool
) -> None:
    assert too_many(pending, recent, hosts) is held


def hosts(count: int, first: int = 0) -> list[str]:
    return [f"arn:container-instance/prod/h{number}" for number in range(first, first + count)]


class Guarded:
    """A guard with an environment and a clock."""

    def __init__(self, wanted: int = 100) -> None:
        self.guard = Guard()
        self.wanted = wanted
        self.environment = environment()
        self.now = 0.0

    def waiting(self, unmatched: Sequence[str], *, revision: int = 2) -> int:
        """How many of these wait."""
        self.guard.judge(
            unmatched,
            hosts=self.wanted,
            environment=self.environment,
            revision=revision,
            now=Now(self.now, ECS_NOW + self.now),
        )
        return self.guard.held

    def allow(self, stops: int) -> None:
        self.guard.allowed(stops, now=self.now)

    def confirm(self, meant: Sequence[str], *, revision: int = 2, until: float = 3600.0) -> None:
        ids = tuple(host.rsplit("/", 1)[-1] for host in meant)
        confirmed = Confirmation(revision=revision, hosts=ids, until=ECS_NOW + until)
        self.environment = replace(self.environment, confirmed=confirmed)


def test_a_few_go() -> None:
    assert Guarded().waiting(hosts(10)) == 0


def test_of_too_many_not_one_goes() -> None:
    guarded = Guarded()
    assert guarded.waiting(hosts(11)) == 11
    assert guarded.guard.waiting == tuple(hosts(11))


def test_a_trickle_is_held_once_it_is_too_many_within_the_window() -> None:
    guarded = Guarded()
    for number in range(10):
        assert guarded.waiting(hosts(1, number)) == 0
        guarded.allow(1)
        guarded.now += 1.0
    assert guarded.waiting(hosts(1, 10)) == 1


def test_what_was_long_ago_does_not_count() -> None:
    guarded = Guarded()
    guarded.waiting(hosts(10))
    guarded.allow(10)
    guarded.now += WINDOW
    assert guarded.waiting(hosts(10, 10)) == 0


def test_once_held_it_stays_held_though_fewer_are_left() -> None:
    guarded = Guarded()
    guarded.waiting(hosts(50))
    assert guarded.waiting(hosts(3)) == 3


def test_when_none_is_left_the_guard_forgets() -> None:
    guarded = Guarded()
    guarded.waiting(hosts(50))
    assert guarded.waiting([]) == 0
    assert guarded.waiting(hosts(3)) == 0


def test_what_was_held_before_a_restart_is_held_after_it() -> None:
    guarded = Guarded()
    guarded.environment = replace(guarded.environment, stops_held=True)
    assert guarded.waiting(hosts(3)) == 3
    assert guarded.waiting([]) == 0


def test_the_hosts_that_were_confirmed_go_and_no_others() -> None:
    guarded = Guarded()
    guarded.waiting(hosts(50))
    guarded.confirm(hosts(50))
    assert guarded.waiting(hosts(50)) == 0
    assert guarded.waiting([*hosts(50), *hosts(5, 90)]) == 5
    assert guarded.guard.waiting == tuple(hosts(5, 90))


@pytest.mark.parametrize("given", [{"revision": 1}, {"until": -1.0}], ids=["other", "over"])
def test_a_confirmation_of_another_revision_or_of_yesterday_counts_for_nothing(
    given: dict[str, float],
) -> None:
    guarded = Guarded()
    guarded.confirm(hosts(50), **given)  # type: ignore[arg-type]
    assert guarded.waiting(hosts(50)) == 50
