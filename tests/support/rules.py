"""Reading alert rules as promtool does: structure, durations, names, templates, expressions.

https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import promql_parser
import yaml
from promql_parser import (
    AggModifierType,
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    VectorSelector,
)

RULES: Final = Path(__file__).parents[2] / "alerts" / "blox.rules.yaml"
SCRAPED: Final = {"up": frozenset[str]()}
"""Metrics that Prometheus itself makes for each target, with their labels."""
TARGET: Final = frozenset({"job", "instance"})
"""Labels that every scraped series gets."""
_GROUP = {"name", "interval", "limit", "rules", "labels", "query_offset"}
_RULE = {"alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
_DURATION = re.compile(r"(?:\d+y)?(?:\d+w)?(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+s)?(?:\d+ms)?\Z")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
_FILTERS = {"humanize", "humanizeDuration", "humanizePercentage", "humanize1024", "title"}
_FIELD = re.compile(r"\$(?:value|labels\.(?P<label>[a-zA-Z_][a-zA-Z0-9_]*))\Z")


class Rule(NamedTuple):
    """One alert."""

    name: str
    expr: str
    wait: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def load(text: str) -> list[Rule]:
    """The rules in a file, none of whose members is unknown or missing. Raises ValueError."""
    document = yaml.safe_load(text)
    check(isinstance(document, dict) and set(document) == {"groups"}, "groups, and nothing else")
    names = [group["name"] for group in document["groups"]]
    check(len(names) == len(set(names)), "group names are unique")
    rules = []
    for group in document["groups"]:
        check(set(group) <= _GROUP, f"unknown members {set(group) - _GROUP}")
        rules += [_rule(found) for found in group["rules"]]
    return rules


def _rule(found: dict[str, Any]) -> Rule:
    name = str(found.get("alert"))
    check(set(found) <= _RULE, f"{name}: unknown members {set(found) - _RULE}")
    check(re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", name) is not None, f"{name} is no name")
    check(isinstance(found.get("expr"), str), f"{name} has an expression")
    wait = found.get("for", "0s")
    check(isinstance(wait, str) and wait and _DURATION.match(wait), f"{name}: {wait!r}")
    for part in ("labels", "annotations"):
        for label, value in found.get(part, {}).items():
            check(_LABEL.match(label) is not None, f"{name}: {label} is no name of a label")
            check(isinstance(value, str), f"{name}: {label} is no text")
    return Rule(name, found["expr"], wait, found.get("labels", {}), found.get("annotations", {}))


def check(holds: object, what: str) -> None:
    """Raises ValueError where something does not hold."""
    if not holds:
        raise ValueError(what)


def placeholders(template: str) -> Iterator[str]:
    """The labels that a template shows. Raises ValueError for what Prometheus could not expand:
    only plain values and labels, and the filters that we use, are understood here."""
    opened = template.count("{{")
    found = re.findall(r"\{\{(.*?)\}\}", template)
    check(opened == template.count("}}") == len(found), f"braces: {template!r}")
    for inner in found:
        field, *filters = [part.strip() for part in inner.split("|")]
        match = _FIELD.match(field)
        check(match is not None and set(filters) <= _FILTERS, f"{{{{{inner}}}}}")
        if match is not None and match["label"]:
            yield match["label"]


def selectors(expr: Expr) -> list[VectorSelector]:
    """Every selector in an expression."""
    found: list[VectorSelector] = []

    def visit(node: Expr) -> bool:
        if isinstance(node, VectorSelector):
            found.append(node)
        elif isinstance(node, MatrixSelector):
            found.append(node.vector_selector)
        return True

    promql_parser.walk(expr, visit)
    return list({id(one): one for one in found}.values())


def labels_of(expr: Expr, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The labels that an expression's result may carry. `known`: metric → its own labels."""
    if isinstance(expr, ParenExpr):
        return labels_of(expr.expr, known)
    if isinstance(expr, MatrixSelector):
        return labels_of(expr.vector_selector, known)
    if isinstance(expr, VectorSelector):
        return known[str(expr.name)] | TARGET
    if isinstance(expr, AggregateExpr):
        modifier = expr.modifier
        if modifier is None or modifier.type is not AggModifierType.By:
            raise ValueError("only `by` is understood here")
        missing = set(modifier.labels) - labels_of(expr.expr, known)
        check(not missing, f"summed by labels that are not there: {missing}")
        return frozenset(modifier.labels)
    if isinstance(expr, Call):
        if expr.func.name == "absent":
            return frozenset({"job"})
        return labels_of(expr.args[0], known)
    if isinstance(expr, BinaryExpr):
        if isinstance(expr.rhs, NumberLiteral):
            return labels_of(expr.lhs, known)
        left, right = labels_of(expr.lhs, known), labels_of(expr.rhs, known)
        return left | right if str(expr.op) == "or" else left
    raise ValueError(f"{type(expr).__name__} is not understood here")
