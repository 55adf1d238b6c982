"""The table of reasons: one sentence and one actor for each code, the same wherever it is told."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import blox.app
import blox.scheduler
from blox.app.gauges import CONDITIONS
from blox.scheduler.reasons import REASONS, sentence
from support.prose import ROOT, anchors, tables

DOCUMENT = ROOT / "docs" / "reasons.md"
DECIDES = [
    path
    for path in sorted(Path(next(iter(blox.scheduler.__path__))).glob("*.py"))
    if path.name != "reasons.py"
]
COMPOSE = Path(next(iter(blox.app.__path__))) / "compose.py"


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


def test_two_reasons_never_say_the_same_for_different_actors() -> None:
    said = {(r.sentence, r.next_step) for r in REASONS.values()}
    assert len(said) == len(REASONS)


# --- Who uses them --------------------------------------------------------------------------------


def calls(path: Path, *names: str) -> Iterator[tuple[str, list[str]]]:
    """Calls of these functions: name, and every text within their arguments."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            inside = (inner for part in [*node.args, *node.keywords] for inner in ast.walk(part))
            yield (
                node.func.id,
                [
                    inner.value
                    for inner in inside
                    if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
                ],
            )


def texts(path: Path) -> set[str]:
    """Every text in a module."""
    return {
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def codes_in_verdicts() -> set[str]:
    """The reasons that stand in the planner's calls, as they are written there."""
    found: set[str] = set()
    for path in DECIDES:
        for name, inside in calls(path, "verdict_of", "_leave"):
            codes = [text for text in inside if re.fullmatch(r"[a-z]+(-[a-z]+)*", text)]
            found |= set(codes[:1])
            if name == "_leave":
                found |= {f"{code}-stop" for code in codes[:1]}
    return found


def test_every_code_in_the_planner_is_in_the_table() -> None:
    codes = codes_in_verdicts()
    assert len(codes) > 30
    assert codes <= set(REASONS)


def test_every_code_in_the_table_is_used() -> None:
    used = {text for path in (*DECIDES, COMPOSE) for text in texts(path)} | codes_in_verdicts()
    assert set(REASONS) - used == set()


def test_what_the_process_can_be_in_is_the_tables_and_the_metrics() -> None:
    told = {inside[0] for _, inside in calls(COMPOSE, "_condition") if inside}
    assert told == set(CONDITIONS)
    assert told <= set(REASONS)


# --- The document ---------------------------------------------------------------------------------


def sections() -> dict[str, str]:
    """Code → what the document says below its heading."""
    _, *found = re.split(r"^## (.+)\n", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(found[::2], found[1::2], strict=True))


def test_the_document_has_the_tables_codes_in_its_order() -> None:
    assert list(sections()) == list(REASONS)
    (rows,) = tables(DOCUMENT)
    assert rows[1:] == [[f"`{r.code}`", r.who, r.sentence] for r in REASONS.values()]


@pytest.mark.parametrize("code", sorted(REASONS))
def test_the_document_says_what_the_table_says_and_more(code: str) -> None:
    reason = REASONS[code]
    file, _, anchor = reason.anchor.partition("#")
    assert ROOT / file == DOCUMENT
    assert anchor in anchors(DOCUMENT)
    said, who, *more = sections()[code].strip().split("\n\n")
    assert said == f"> {reason.sentence}"
    assert who == f"Who acts next: **{reason.who}**. Next step: {reason.next_step}."
    assert len(" ".join(more)) > 20
