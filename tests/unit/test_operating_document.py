"""docs/operating.md names what there is: every setting, flag, variable, metric and outcome."""

import asyncio
import dataclasses
import re
from pathlib import Path

import click
import pytest

from blox.app import compose, meter, reads, state_gauges
from blox.app.state_gauges import StateMetrics
from blox.cli import services, state_service
from blox.http.counted import Counted
from blox.http.metrics import Metrics
from blox.settings import Assumptions, Settings

DOCUMENT = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
CHAPTER = DOCUMENT.split("\n## The cluster-state-service\n")[1].split("\n## ")[0]


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


@pytest.mark.parametrize(
    ("command", "text"),
    [(services.command, DOCUMENT.replace(CHAPTER, "")), (state_service.command, CHAPTER)],
    ids=["daemon-scheduler", "cluster-state-service"],
)
def test_every_flag_is_told(command: click.Command, text: str) -> None:
    flags = [option.opts[0] for option in command.params if isinstance(option, click.Option)]
    assert len(flags) > 5
    assert [flag for flag in flags if not re.search(rf"^\| .*`{flag}\b", text, re.MULTILINE)] == []


@pytest.mark.parametrize(
    ("metrics", "text"),
    [(Metrics(version="1"), DOCUMENT.replace(CHAPTER, "")), (StateMetrics(version="1"), CHAPTER)],
    ids=["daemon-scheduler", "cluster-state-service"],
)
def test_every_metric_is_told(metrics: Counted, text: str) -> None:
    scraped = asyncio.run(metrics.render()).decode()
    names = set(re.findall(r"^# TYPE (blox_\w+) ", scraped, re.MULTILINE))
    assert len(names) > 10
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_every_outcome_condition_and_read_is_told() -> None:
    assert {o.value for o in meter.Outcome if f"`{o.value}`" not in DOCUMENT} == set()
    source = Path(compose.__file__).read_text(encoding="utf-8")
    codes = re.findall(r'_condition\(\s*"([\w-]+)"', source)
    assert len(codes) == 5
    assert {code for code in codes if f"| `{code}` |" not in DOCUMENT} == set()
    table = CHAPTER.split("\n| condition |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE) == list(state_gauges.CONDITIONS)
    assert {name for name in reads.READS if f"`ecs:{name}`" not in DOCUMENT} == set()
