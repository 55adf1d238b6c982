"""The alerts: Prometheus takes them, they ask for what there is, and they lead somewhere."""

import asyncio
import re

import promql_parser
import pytest

from blox.app.state_gauges import StateMetrics
from blox.http.metrics import Metrics
from support.prose import ROOT, anchors
from support.rules import RULES, SCRAPED, Rule, labels_of, load, placeholders, selectors

ALL = load(RULES.read_text(encoding="utf-8"))
RUNBOOK = ROOT / "docs" / "runbook.md"
rules = pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.name)


def exported() -> dict[str, frozenset[str]]:
    """Metric → its labels, of processes that nothing has happened to yet."""
    services = (Metrics(version="1"), StateMetrics(version="1"))
    text = "".join(asyncio.run(metrics.render()).decode() for metrics in services)
    found: dict[str, frozenset[str]] = {}
    for kind in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE):
        found[kind] = frozenset()
    for name, labels in re.findall(r"^(\w+)(?:\{(.*?)\})? ", text, re.MULTILINE):
        found[name] = found.get(name, frozenset()) | set(re.findall(r'(\w+)="', labels))
    return found


def test_there_is_an_alert_for_whatever_keeps_hosts_without_daemons() -> None:
    names = [rule.name for rule in ALL]
    assert len(names) == len(set(names))
    assert {
        "BloxDown",
        "BloxHostWithoutDaemon",
        "BloxNothingDecided",
        "BloxViewOld",
        "BloxStartsInDoubt",
        "BloxThrottled",
        "BloxQueueBacklog",
        "BloxEventsMissed",
        "BloxStoreProblem",
        "BloxTwoDaemons",
        "BloxStopsHeld",
    } <= set(names)


@rules
def test_an_expression_is_promql_and_compares_something(rule: Rule) -> None:
    expr = promql_parser.parse(rule.expr)
    assert selectors(expr)
    assert re.search(r"==|>|absent", rule.expr)


@rules
def test_an_expression_asks_for_metrics_that_are_declared(rule: Rule) -> None:
    known = exported() | SCRAPED
    asked = {str(one.name) for one in selectors(promql_parser.parse(rule.expr))}
    assert asked - set(known) == set()


@rules
def test_an_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(rule: Rule) -> None:
    assert rule.labels.keys() == {"severity"}
    assert rule.labels["severity"] in ("critical", "warning")
    assert rule.annotations.keys() == {"summary", "description", "runbook_url"}
    assert rule.annotations["runbook_url"] == f"docs/runbook.md#{rule.name.lower()}"
    for text in (rule.annotations["summary"], rule.annotations["description"]):
        assert text.endswith(".")
        assert len(text) < 300


@rules
def test_an_alert_has_a_heading_in_the_runbook(rule: Rule) -> None:
    assert rule.name.lower() in anchors(RUNBOOK)


def test_the_runbook_speaks_of_no_other_alert() -> None:
    text = RUNBOOK.read_text(encoding="utf-8")
    assert re.findall(r"^## (Blox\w+)$", text, re.MULTILINE) == [rule.name for rule in ALL]


# --- The checks themselves ------------------------------------------------------------------------

GOOD = """
groups:
  - name: a
    rules:
      - alert: X
        expr: up == 0
        for: 1m
        labels: {severity: warning}
        annotations: {summary: "{{ $labels.job }} is down."}
"""


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        ("groups:", "rules:"),
        ("alert: X", "record: x"),
        ("alert: X", "alert: X Y"),
        ("for: 1m", "for: 1 minute"),
        ("for: 1m", "for: 60"),
        ("for: 1m", "wait: 1m"),
        ("severity: warning", "sev-erity: warning"),
        ("severity: warning", "severity: 1"),
        ("    rules:", "    ruels:"),
    ],
)
def test_what_promtool_refuses_is_refused_here(part: str, instead: str) -> None:
    assert [rule.name for rule in load(GOOD)] == ["X"]
    with pytest.raises((ValueError, KeyError, TypeError)):
        load(GOOD.replace(part, instead))


@pytest.mark.parametrize(
    "template", ["{{ $labels.job }", "{{ .Labels.job }}", "{{ $value | bold }}", "{{ $label.job }}"]
)
def test_what_cannot_be_expanded_is_refused_here(template: str) -> None:
    assert list(placeholders("{{ $labels.job }} {{ $value | humanize }}")) == ["job"]
    with pytest.raises(ValueError, match=r".+"):
        list(placeholders(template))


@pytest.mark.parametrize("text", ["up ==", "sum by job (up)", "rate(up)", "up{job=}", "foo(up)"])
def test_what_is_no_promql_is_refused_here(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        promql_parser.parse(text)


def test_labels_are_followed_through_an_expression() -> None:
    known = {"up": frozenset[str](), "m": frozenset({"a", "b"})}

    def labels(text: str) -> set[str]:
        return set(labels_of(promql_parser.parse(text), known))

    assert labels("m > 0") == {"a", "b", "job", "instance"}
    assert labels("sum by (a) (rate(m[5m])) > 0") == {"a"}
    assert labels("up == 0 and on (job) m") == {"job", "instance"}
    with pytest.raises(ValueError, match="not there"):
        labels("sum by (c) (m)")
