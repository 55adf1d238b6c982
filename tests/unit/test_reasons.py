"""The table of reasons: one sentence and one actor for each code."""

import re
from pathlib import Path

import pytest

from blox.scheduler import planner
from blox.scheduler.reasons import REASONS, sentence


@pytest.mark.parametrize("code", sorted(REASONS))
def test_each_has_a_sentence_somebody_who_acts_and_a_next_step(code: str) -> None:
    reason = REASONS[code]
    assert reason.code == code
    assert re.fullmatch(r"[a-z][a-z-]+", code)
    assert reason.sentence
    assert reason.next_step
    assert reason.who in ("blox", "ECS", "you")


def test_sentences_are_filled_from_the_details() -> None:
    details = {"resource": "MEMORY", "asked": "512", "free": "100"}
    assert sentence("no-room", details) == "MEMORY: 512 asked, 100 free"


def test_what_the_details_lack_is_shown_as_unknown() -> None:
    assert sentence("occupied", {}) == "? runs this daemon here already"


def test_every_code_in_the_planner_is_in_the_table() -> None:
    text = Path(planner.__file__).read_text(encoding="utf-8")
    codes = set(re.findall(r'SlotClass\.[A-Z_]+,\s*"([a-z-]+)"', text))
    assert len(codes) > 20
    assert codes <= set(REASONS)


def test_two_reasons_never_say_the_same_for_different_actors() -> None:
    said = {(r.sentence, r.next_step) for r in REASONS.values()}
    assert len(said) == len(REASONS)
