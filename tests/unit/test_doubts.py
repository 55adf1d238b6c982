"""When to look for the task of an unanswered start."""

from itertools import pairwise

from msgspec.structs import replace

from blox.scheduler.doubts import JUST_AFTER, next_look
from blox.scheduler.intents import Phase, absence_decides
from support.judging import attempt

OFFSETS = (2.0, 5.0, 15.0, 60.0)
WINDOW = 420.0


def looks(*, signed: float, began: float, until: float) -> list[float]:
    """When looks are made for a call signed then, in doubt since `began`."""
    unsure = replace(attempt(Phase.DOUBT), base=signed, since=began)
    found = [next_look(unsure, after=began, window=WINDOW, offsets=OFFSETS)]
    while found[-1] < until:
        found.append(next_look(unsure, after=found[-1], window=WINDOW, offsets=OFFSETS))
    return found


def test_looks_come_soon_then_every_minute_and_just_after_the_window() -> None:
    found = looks(signed=0.0, began=60.0, until=500.0)
    assert found[:5] == [62.0, 65.0, 75.0, 120.0, 180.0]
    assert WINDOW + JUST_AFTER in found


def test_the_look_just_after_the_window_decides() -> None:
    deciding = [at for at in looks(signed=0.0, began=60.0, until=500.0) if at > WINDOW]
    assert absence_decides(0.0, WINDOW, deciding[0])


def test_looks_never_stand_still_and_never_stay_away_for_more_than_a_minute() -> None:
    for signed, began in ((0.0, 0.0), (0.0, 60.0), (-400.0, 0.0), (-1000.0, 0.0)):
        steps = [b - a for a, b in pairwise(looks(signed=signed, began=began, until=2000.0))]
        assert min(steps) > 0.0
        assert max(steps) <= 60.0


def test_looking_goes_on_until_a_look_succeeds() -> None:
    assert looks(signed=0.0, began=0.0, until=90_000.0)[-1] >= 90_000.0


def test_a_next_look_is_found_where_rounding_makes_the_next_step_the_last_one() -> None:
    unsure = replace(attempt(Phase.DOUBT), base=3304.812225, since=3804.812225)
    after = 6144.812225
    found = next_look(unsure, after=after, window=WINDOW, offsets=OFFSETS)
    assert after < found <= after + 60.001
