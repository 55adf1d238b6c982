"""Every rule is proven by something: break it, and something notices."""

import re
from pathlib import Path

import pytest

import blox
from support.planted import PLANTED, Planted
from support.planted_remote import PLANTED_REMOTE

EVERY = (*PLANTED, *PLANTED_REMOTE)
SOURCE = Path(blox.__file__).parent
ARCHITECTURE = SOURCE.parents[1] / "docs" / "architecture.md"


def rules_in(*paths: Path) -> set[str]:
    """The rules that these files name."""
    return {
        found
        for path in paths
        for found in re.findall(r"\bR[1-9][0-9]?\b", path.read_text(encoding="utf-8"))
    }


@pytest.mark.parametrize("bug", EVERY, ids=lambda bug: f"{bug.rule} {bug.what}")
def test_a_planted_bug_is_noticed(bug: Planted) -> None:
    with bug.in_place():
        noticed = bug.noticed_by.notices()
    assert noticed, f"{bug.rule}: nobody noticed that {bug.what}"


@pytest.mark.parametrize(
    "named", [rules_in(*SOURCE.rglob("*.py")), rules_in(ARCHITECTURE)], ids=["code", "document"]
)
def test_every_rule_that_is_named_is_broken_here(named: set[str]) -> None:
    assert len(named) > 10
    assert named == {bug.rule for bug in EVERY if re.fullmatch(r"R[0-9]+", bug.rule)}
