"""R24: many daemons whose hosts stop matching at once wait for a person."""

import pytest
from msgspec.structs import replace

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


class Guarded:
    """A guard with an environment and a clock."""

    def __init__(self, hosts: int = 100) -> None:
        self.guard = Guard()
        self.hosts = hosts
        self.environment = environment()
        self.now = 0.0

    def ask(self, pending: int, *, revision: int = 2) -> int:
        self.guard.forget(self.now)
        return self.guard.room(
            pending,
            hosts=self.hosts,
            environment=self.environment,
            revision=revision,
            now=ECS_NOW + self.now,
        )

    def allow(self, stops: int) -> None:
        self.guard.allowed(stops, now=self.now)

    def confirm(self, stops: int, *, revision: int = 2, until: float = 3600.0) -> None:
        confirmed = Confirmation(revision=revision, stops=stops, until=ECS_NOW + until)
        self.environment = replace(self.environment, confirmed=confirmed)


def test_a_few_go() -> None:
    guarded = Guarded()
    assert guarded.ask(10) == 10
    assert guarded.guard.held == 0


def test_of_too_many_not_one_goes() -> None:
    guarded = Guarded()
    assert guarded.ask(11) == 0
    assert guarded.guard.held == 11


def test_a_trickle_is_held_once_it_is_too_many_within_the_window() -> None:
    guarded = Guarded()
    for _ in range(10):
        assert guarded.ask(1) == 1
        guarded.allow(1)
        guarded.now += 1.0
    assert guarded.ask(1) == 0


def test_what_was_long_ago_does_not_count() -> None:
    guarded = Guarded()
    guarded.ask(10)
    guarded.allow(10)
    guarded.now += WINDOW
    assert guarded.ask(10) == 10


def test_once_held_it_stays_held_though_fewer_are_left() -> None:
    guarded = Guarded()
    guarded.ask(50)
    assert guarded.ask(3) == 0
    assert guarded.guard.held == 3


def test_when_nothing_is_pending_any_more_the_guard_forgets() -> None:
    guarded = Guarded()
    guarded.ask(50)
    assert guarded.ask(0) == 0
    assert guarded.guard.held == 0
    assert guarded.ask(3) == 3


def test_confirmed_stops_go_and_no_more_than_were_confirmed() -> None:
    guarded = Guarded()
    guarded.ask(50)
    guarded.confirm(50)
    assert guarded.ask(50) == 50
    assert guarded.guard.held == 0
    guarded.allow(30)
    assert guarded.ask(25) == 20
    assert guarded.guard.held == 5


@pytest.mark.parametrize("given", [{"revision": 1}, {"until": -1.0}], ids=["other", "over"])
def test_a_confirmation_of_another_revision_or_of_yesterday_counts_for_nothing(
    given: dict[str, float],
) -> None:
    guarded = Guarded()
    guarded.confirm(50, **given)  # type: ignore[arg-type]
    assert guarded.ask(50) == 0
