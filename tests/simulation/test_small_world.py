"""The exhaustive search: nothing that can happen in a small world leads to two live tasks."""

import pytest
from click.testing import CliRunner

from blox.settings import Assumptions
from blox.simulator.small_world import WORLD, Limits, explore, main

EVERYTHING = {
    "a look",
    "a minute passes",
    "a start is answered",
    "a start is carried out, no answer",
    "a task dies",
    "an intent is deleted",
    "an intent is stored",
    "an old event",
    "an outcome is stored",
    "another process takes over",
    "it gives up waiting",
    "it reads the cluster first",
    "it signs and sends",
    "its death is told",
}


def test_with_every_rule_nothing_leads_to_two() -> None:
    found = explore()
    assert found.holds
    assert found.states >= 100_000
    assert found.seen == EVERYTHING


@pytest.mark.parametrize(
    ("life", "lateness", "lag"), [(60.0, 0.0, 180.0), (120.0, 60.0, 60.0), (60.0, 120.0, 0.0)]
)
def test_it_holds_whatever_the_assumptions_are(life: float, lateness: float, lag: float) -> None:
    world = Assumptions(
        signature_age=life + 120.0, backdate=120.0, acceptance_lag=lateness, read_lag=lag
    )
    assert explore(Limits(attempts=2), assumptions=world).holds


def test_it_holds_with_more_deaths_and_more_takeovers() -> None:
    assert explore(Limits(attempts=2, deaths=2, takeovers=3)).holds


def test_a_search_that_is_cut_short_claims_nothing() -> None:
    found = explore(most=1000)
    assert not found.holds
    assert found.path is None


def test_the_world_has_a_bit_of_everything() -> None:
    assert WORLD.request_life > 0
    assert WORLD.dated_back > 0
    assert WORLD.acceptance_lag > 0
    assert WORLD.read_lag > 0


def test_the_command_prints_the_number_of_states() -> None:
    result = CliRunner().invoke(main, ["--attempts", "1", "--takeovers", "1"])
    assert result.exit_code == 0
    assert result.output.startswith("one slot: ")
    assert " states, " in result.output
    assert result.output.endswith(": never two\n")
