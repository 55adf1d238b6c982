"""The numbers that blox can be told, and what follows from them."""

import pytest

from blox.base.errors import InvalidInput
from blox.settings import Assumptions, Settings, load_assumptions, load_settings


def test_by_default_a_doubt_lasts_seven_minutes() -> None:
    assumptions = Assumptions()
    assert assumptions.dated_back == 240
    assert assumptions.request_life == 60
    assert assumptions.doubt_window == 420


@pytest.mark.parametrize(
    ("signature_age", "backdate", "life", "window"),
    [
        (900, None, 60, 420),
        (900, 0, 900, 1260),
        (300, 0, 300, 660),
        (60, None, 60, 420),
        (30, None, 30, 390),
        (4, 1, 3, 363),
    ],
)
def test_back_dating_shortens_how_long_a_request_lives(
    signature_age: float, backdate: float | None, life: float, window: float
) -> None:
    assumptions = Assumptions(signature_age=signature_age, backdate=backdate)
    assert assumptions.request_life == life
    assert assumptions.doubt_window == window


@pytest.mark.parametrize(
    ("signature_age", "backdate"), [(300, 300), (300, 301), (300, -1), (0, None)]
)
def test_back_dating_beyond_what_ecs_accepts_is_refused(
    signature_age: float, backdate: float | None
) -> None:
    with pytest.raises(InvalidInput, match="BLOX_SIGNATURE_BACKDATE"):
        Assumptions(signature_age=signature_age, backdate=backdate)


@pytest.mark.parametrize("field", ["acceptance_lag", "read_lag"])
def test_negative_lags_are_refused(field: str) -> None:
    with pytest.raises(InvalidInput, match="must not be negative"):
        Assumptions(**{field: -1.0})


def test_assumptions_from_the_environment() -> None:
    given = {
        "BLOX_ECS_SIGNATURE_AGE": "4",
        "BLOX_ECS_ACCEPTANCE_LAG": " 1.5 ",
        "BLOX_ECS_READ_LAG": "2",
        "BLOX_SIGNATURE_BACKDATE": "1",
        "PATH": "/bin",
    }
    loaded = load_assumptions(given)
    assert loaded == Assumptions(signature_age=4, acceptance_lag=1.5, read_lag=2, backdate=1)


def test_what_the_environment_does_not_say_keeps_its_default() -> None:
    assert load_assumptions({}) == Assumptions()
    assert load_assumptions({"BLOX_ECS_READ_LAG": " "}) == Assumptions()


@pytest.mark.parametrize(
    "variable",
    [
        "BLOX_ECS_SIGNATURE_AGE",
        "BLOX_ECS_ACCEPTANCE_LAG",
        "BLOX_ECS_READ_LAG",
        "BLOX_SIGNATURE_BACKDATE",
    ],
)
@pytest.mark.parametrize("text", ["soon", "5m", "nan", "inf", "-inf"])
def test_what_is_no_number_of_seconds_is_refused_by_name(variable: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=variable):
        load_assumptions({variable: text})


def test_the_defaults_fit_together() -> None:
    settings = Settings()
    scheduler, view, assumptions = settings.scheduler, settings.view, settings.assumptions
    assert scheduler.away_after < scheduler.lost_after
    assert scheduler.pending_deadline < scheduler.progress_deadline
    assert scheduler.call_timeout <= assumptions.request_life
    longest_sweep = max(view.sweep_interval_with_queue, view.sweep_interval_without_queue)
    assert view.stopped_kept >= longest_sweep + 2 * assumptions.read_lag
    assert settings.pacing.rollout_share < settings.pacing.repair_share <= 1


def test_the_grace_for_agents_is_read_from_the_environment() -> None:
    assert load_settings({}) == Settings()
    settings = load_settings({"BLOX_AWAY_AFTER": "3", "BLOX_ECS_READ_LAG": "2"})
    assert settings.scheduler.away_after == 3
    assert settings.assumptions.read_lag == 2


@pytest.mark.parametrize("text", ["0", "-1", "901", "soon", "nan"])
def test_a_grace_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="BLOX_AWAY_AFTER"):
        load_settings({"BLOX_AWAY_AFTER": text})
