"""The table of open questions: whole, true to the simulator, and the same in README."""

import re
from collections.abc import Sequence
from dataclasses import fields

from msgspec.structs import replace

from blox.account.questions import BEGIN, END, QUESTIONS, Seen, markdown_table
from blox.account.verify.verification import EXPERIMENTS
from blox.settings import Assumptions
from blox.simulator.faults import Faults
from blox.simulator.model import Switches
from support.prose import ROOT

README = ROOT / "README.md"


def test_readme_has_exactly_this_table() -> None:
    text = README.read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    between = text.split(BEGIN, 1)[1].split(END, 1)[0]
    assert between == f"\n{markdown_table()}"


def test_every_parameter_is_one_of_the_simulators_or_of_the_settings() -> None:
    known = {
        f"{owner.__name__}.{field.name}"
        for owner in (Switches, Assumptions, Faults)
        for field in fields(owner)
    }
    named = {question.parameter for question in QUESTIONS.values() if question.parameter}
    assert named - known == set()


def test_every_switch_of_the_simulator_is_a_question() -> None:
    breaking = {"acceptance_overrun", "read_overrun"}
    switches = {
        f"Switches.{field.name}" for field in fields(Switches) if field.name not in breaking
    }
    asked = {question.parameter for question in QUESTIONS.values()}
    assert switches - asked == set()
    assert {"Assumptions.acceptance_lag", "Assumptions.read_lag"} <= asked


def test_every_question_is_answered_by_exactly_one_experiment() -> None:
    answered = [name for experiment in EXPERIMENTS for name in experiment.questions]
    assert sorted(answered) == sorted(QUESTIONS)


def test_numbers_go_up_and_are_given_once() -> None:
    numbers = [question.number for question in QUESTIONS.values()]
    assert all(re.fullmatch(r"[1-9]\d?[a-z]?", number) for number in numbers)
    keys = [(int(re.sub(r"\D", "", number)), number) for number in numbers]
    assert keys == sorted(set(keys))
    assert [name for name, question in QUESTIONS.items() if name != question.id] == []


def test_the_promises_are_those_that_there_are() -> None:
    named = {promise for question in QUESTIONS.values() for promise in question.promises}
    assert named <= set(range(1, 11))


def rows() -> Sequence[list[str]]:
    """The table's cells, without head and rule."""
    return [line.strip("|").split("|") for line in markdown_table().splitlines()[2:]]


def test_every_row_has_five_cells_and_was_never_seen() -> None:
    assert {len(row) for row in rows()} == {5}
    assert [row[0].strip() for row in rows()] == [q.number for q in QUESTIONS.values()]
    assert {row[4].strip() for row in rows()} == {"never"}


def test_what_was_seen_is_shown_with_date_and_region() -> None:
    import blox.account.questions as table

    question = QUESTIONS["group-prefix"]
    seen = replace(question, seen=Seen(date="2026-12-01", region="eu-west-1", answer="accepted"))
    assert table._row(seen).endswith("| 2026-12-01, eu-west-1: accepted |")
