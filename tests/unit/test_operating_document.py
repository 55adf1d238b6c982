"""docs/operating.md names what there is: every setting, flag, variable, metric and outcome."""

import asyncio
import dataclasses
import re
from pathlib import Path

import click
import pytest

from blox.app import compose, meter, reads
from blox.cli.services import command
from blox.http.metrics import Metrics
from blox.settings import Assumptions, Settings

DOCUMENT = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")


def shown(value: object) -> str:
    """A default as the table shows it."""
    if isinstance(value, tuple):
        return ", ".join(shown(part) for part in value)
    return f"{value:g}" if isinstance(value, float | int) else "none"


def settings_in(document: str) -> dict[str, str]:
    return dict(re.findall(r"^\| `((?:\w+)\.(?:\w+))` \| ([^|]+?) \|", document, re.MULTILINE))


def test_every_setting_stands_in_the_table_with_its_default() -> None:
    settings = Settings()
    expected = {}
    for group in dataclasses.fields(settings):
        values = getattr(settings, group.name)
        for one in dataclasses.fields(values):
            expected[f"{group.name}.{one.name}"] = shown(getattr(values, one.name))
    expected["assumptions.backdate"] = "S - 60"
    assert settings_in(DOCUMENT) == expected


def test_the_window_of_a_doubt_is_as_told() -> None:
    assert f"= {Assumptions().doubt_window:g} s" in DOCUMENT


@pytest.mark.parametrize("option", [p for p in command.params if isinstance(p, click.Option)])
def test_every_flag_is_told(option: click.Option) -> None:
    assert f"`{option.opts[0]}" in DOCUMENT


def test_every_metric_is_told() -> None:
    scraped = asyncio.run(Metrics(version="1").render()).decode()
    names = set(re.findall(r"^# TYPE (blox_\w+) ", scraped, re.MULTILINE))
    assert {name for name in names if f"`{name}`" not in DOCUMENT} == set()


def test_every_outcome_condition_and_read_is_told() -> None:
    assert {o.value for o in meter.Outcome if f"`{o.value}`" not in DOCUMENT} == set()
    source = Path(compose.__file__).read_text(encoding="utf-8")
    codes = re.findall(r'_condition\(\s*"([\w-]+)"', source)
    assert len(codes) == 4
    assert {code for code in codes if f"| `{code}` |" not in DOCUMENT} == set()
    assert {name for name in reads.READS if f"`ecs:{name}`" not in DOCUMENT} == set()
