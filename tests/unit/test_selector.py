"""The cluster query language: what it selects, and what it says about text it cannot use.

The first table is taken from the examples of
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-query-language.html
"""

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from blox.base.errors import InvalidInput
from blox.ecs.model import Host
from blox.ecs.selector import MAX_LENGTH, SelectorError, parse

ARN = "arn:aws:ecs:us-east-1:111122223333:container-instance/demo/0001"
CLUSTER = "arn:aws:ecs:us-east-1:111122223333:cluster/demo"


def host(**attributes: str) -> Host:
    """A connected host; attributes are named without dots: `instance_type` is ecs.instance-type."""
    return Host(
        arn=ARN,
        cluster_arn=CLUSTER,
        instance_id="i-abcd1234",
        agent_version="1.90.0",
        registered_at=datetime(2018, 6, 18, 22, 28, 28, 711_000, tzinfo=UTC).timestamp(),
        running_tasks_count=1,
        attributes={
            "ecs.instance-type": "g2.2xlarge",
            "ecs.availability-zone": "us-east-1a",
            "ecs.os-type": "linux",
            "ecs.capability.task-eni": "",
        }
        | attributes,
    )


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("attribute:ecs.instance-type == t2.small", False),
        ("attribute:ecs.availability-zone in [us-east-1a, us-east-1b]", True),
        (
            "attribute:ecs.instance-type =~ g2.* and attribute:ecs.availability-zone != us-east-1d",
            True,
        ),
        ("task:group == service:production", True),
        ("not(task:group == database)", True),
        ("runningTasksCount == 1", True),
        ("agentVersion < 1.14.5", False),
        ("registeredAt < 2018-02-13", False),
        ("ec2InstanceId in ['i-abcd1234', 'i-wxyx7890']", True),
        ("agentConnected == true", True),
        ("attribute:stack exists", False),
        ("attribute:ecs.os-type == linux and not(task:group == family:x)", True),
    ],
)
def test_the_documented_examples(text: str, selected: bool) -> None:
    assert parse(text).matches(host(), groups=["service:production"]) is selected


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_empty_text_selects_every_host(text: str) -> None:
    selector = parse(text, stable_only=True)
    assert selector.expression is None
    assert selector.matches(host())


@pytest.mark.parametrize(
    ("symbol", "word", "argument"),
    [
        ("==", "equals", " a"),
        ("!=", "not_equals", " a"),
        (">", "greater_than", " 1"),
        (">=", "greater_than_equal", " 1"),
        ("<", "less_than", " 1"),
        ("<=", "less_than_equal", " 1"),
        ("!exists", "not_exists", ""),
        ("!in", "not_in", " [a]"),
        ("=~", "matches", " a"),
        ("!~", "not_matches", " a"),
    ],
)
def test_an_operator_and_its_word_are_the_same(symbol: str, word: str, argument: str) -> None:
    by_symbol = parse(f"attribute:x {symbol}{argument}")
    assert by_symbol.expression == parse(f"attribute:x {word}{argument}").expression


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("attribute:x==a", "attribute:x == 'a'"),
        ('attribute:x == "a"', "attribute:x == a"),
        ("attribute:x in[a,'b']", "attribute:x in [ a , b ]"),
        ("!attribute:x exists", "not (attribute:x exists)"),
        ("attribute:x exists && attribute:y exists", "attribute:x exists and attribute:y exists"),
        ("attribute:x exists||attribute:y exists", "(attribute:x exists or attribute:y exists)"),
        ("attribute:x =~ (a|b)[)]c", "attribute:x =~ '(a|b)[)]c'"),
        ("(attribute:x =~ a.*)", "attribute:x =~ 'a.*'"),
        ("attribute:x =~ a&&attribute:y exists", "attribute:x =~ 'a' and attribute:y exists"),
        ("attribute:x =~ a\\)b", "attribute:x =~ 'a\\)b'"),
    ],
)
def test_spellings_of_the_same_expression(one: str, other: str) -> None:
    assert parse(one).expression == parse(other).expression


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("attribute:stack == prod", False),
        ("attribute:stack != prod", True),
        ("attribute:stack in [prod]", False),
        ("attribute:stack !in [prod]", True),
        ("attribute:stack =~ .*", False),
        ("attribute:stack !~ .*", True),
        ("attribute:stack > 1", False),
        ("attribute:stack !exists", True),
        ("attribute:ecs.capability.task-eni exists", True),
        ("attribute:ecs.capability.task-eni == ''", True),
    ],
)
def test_a_missing_attribute_satisfies_negations_only(text: str, selected: bool) -> None:
    assert parse(text).matches(host()) is selected


@pytest.mark.parametrize(
    ("value", "text", "selected"),
    [
        ("10", "attribute:rank > 9", True),
        ("9.5", "attribute:rank >= 9.5", True),
        ("-1", "attribute:rank < 0", True),
        ("1", "attribute:rank <= 0", False),
        ("high", "attribute:rank > 0", False),
        ("high", "attribute:rank <= 0", False),
    ],
)
def test_order_on_attributes_compares_numbers(value: str, text: str, selected: bool) -> None:
    assert parse(text).matches(host(rank=value)) is selected


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("agentVersion > 1.9.0", True),
        ("agentVersion == 1.90", True),
        ("agentVersion == v1.90.0.0", True),
        ("agentVersion != 1.90.1", True),
        ("agentVersion >= 1.90.1", False),
        ("agentVersion <= 1.100", True),
    ],
)
def test_agent_versions_compare_number_by_number(text: str, selected: bool) -> None:
    assert parse(text).matches(host()) is selected


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("registeredAt == 2018-06-18T22:28:28+00:00", True),
        ("registeredAt == 2018-06-18T22:28:28Z", True),
        ("registeredAt == 2018-06-18T22:28:28", True),
        ("registeredAt == '2018-06-19T00:28:28+02:00'", True),
        ("registeredAt > 2018-06-18", True),
        ("registeredAt == 2018-06-18", False),
        ("registeredAt < 2018-06-18T22:28:29Z", True),
        ("registeredAt > 2018-06-18T22:28:28Z", False),
        ("registeredAt >= 2018-06-19", False),
    ],
)
def test_dates_in_every_documented_format(text: str, selected: bool) -> None:
    assert parse(text).matches(host()) is selected


@pytest.mark.parametrize(
    ("pattern", "selected"),
    [("g2", False), ("g2.*", True), (".*xlarge", True), ("2xlarge", False), ("(g|p)2.+", True)],
)
def test_a_regular_expression_matches_the_whole_value(pattern: str, selected: bool) -> None:
    assert parse(f"attribute:ecs.instance-type =~ {pattern}").matches(host()) is selected
    assert parse(f"attribute:ecs.instance-type !~ {pattern}").matches(host()) is not selected


def test_a_host_is_in_a_group_when_any_task_is() -> None:
    groups = ["service:a", "database"]
    assert parse("task:group == database").matches(host(), groups=groups)
    assert not parse("task:group != database").matches(host(), groups=groups)
    assert parse("task:group =~ service:.*").matches(host(), groups=groups)
    assert parse("task:group exists").matches(host(), groups=groups)
    assert not parse("task:group exists").matches(host())


BARE = Host(arn=ARN, cluster_arn=CLUSTER)


@pytest.mark.parametrize(
    "text",
    [
        "agentVersion > 1.0",
        "registeredAt > 2018-06-18",
        "runningTasksCount == 0",
        "ec2InstanceId != i-1",
        "task:group == x",
        "agentConnected == true",
    ],
)
def test_what_is_not_known_selects_nothing_and_excludes_nothing(text: str) -> None:
    for expression in (text, f"not({text})"):
        assert parse(expression).truth(BARE) is None
    assert parse(f"{text} or attribute:x !exists").truth(BARE) is True
    assert parse(f"{text} and attribute:x exists").truth(BARE) is False
    assert parse(f"{text} and attribute:x !exists").truth(BARE) is None


def test_an_unknown_version_does_not_match_either_way() -> None:
    assert not parse("agentVersion > 1.0").matches(BARE)
    assert not parse("not(agentVersion > 1.0)").matches(BARE)


@pytest.mark.parametrize("subject", ["agentConnected", "runningTasksCount", "task:group"])
def test_subjects_that_change_with_what_runs_can_be_refused(subject: str) -> None:
    argument = {"agentConnected": "true", "runningTasksCount": "0"}.get(subject, "x")
    text = f"attribute:a exists and {subject} == {argument}"
    assert parse(text).text == text
    with pytest.raises(SelectorError) as raised:
        parse(text, stable_only=True)
    assert raised.value.at == text.index(subject)
    assert "it changes" in raised.value.message


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("ecs.os-type == linux", "ecs.os-type", "attribute:ecs.os-type"),
        ("attribute:x = y", "= y", "expected an operator of `attribute:x`"),
        ("attribute:x", "", "expected an operator"),
        ("attribute:x ==", "", "expected a value"),
        ("attribute:x =~", "", "expected a regular expression"),
        ("attribute: exists", " exists", "expected an attribute's name"),
        ("agentVersion exists", "exists", "== != > >= < <="),
        ("agentVersion == latest", "latest", "expected a version"),
        ("runningTasksCount > some", "some", "expected a number of tasks"),
        ("agentConnected == yes", "yes", "expected true or false"),
        ("agentConnected in [true, 'no']", "no", "expected true or false"),
        ("registeredAt < yesterday", "yesterday", "expected a date"),
        ("registeredAt < 2018-02-31", "2018-02-31", "expected a date"),
        ("registeredAt < 2018-06-18T22:28:28.5Z", "2018-06-18T", "expected a date"),
        ("registeredAt < 2018-06-18T22:28:28+99:00", "2018-06-18T", "expected a date"),
        ("attribute:x > abc", "abc", "expected a number"),
        ("attribute:x in a", "a", "expected a list"),
        ("attribute:x in []", "]", "expected a value"),
        ("attribute:x in [a b]", "b]", "expected `,` or `]`"),
        ("attribute:x == [a]", "[a]", "a list is only for"),
        ("attribute:x == 'a", "'a", "never closed"),
        ("(attribute:x exists", "", "expected `and`, `or` or `)`"),
        ("attribute:x exists)", ")", "expected `and`, `or` or the end"),
        ("attribute:x exists attribute:y exists", "attribute:y", "expected `and`, `or`"),
        ("attribute:x exists and", "", "expected a subject"),
        ("not not attribute:x exists", "not attribute", "`not` is not a subject"),
        ("(" * 51 + "attribute:x exists", "(attribute", "more than 50 deep"),
        ("attribute:x =~ a(?=b)", "(?=b)", "look-around"),
        ("attribute:x =~ 'a(?<!b)'", "(?<!b)", "look-around"),
        ("attribute:x =~ \\\\1(a)\\1", "\\1", "back-references"),
        ("attribute:x =~ (?P<n>a)(?P=n)", "(?P=n)", "back-references"),
        ("attribute:x =~ [a-z&&b]", "&&b]", "a class inside a class"),
        ("attribute:x =~ \\Q[[\\E[a[b]]", "[b]", "a class inside a class"),
        ("attribute:x =~ a{1001}", "{1001}", "this regular expression cannot be used"),
        ("attribute:x =~ \\pL{1000}", "\\pL", "too large"),
    ],
)
def test_what_cannot_be_used_is_shown_with_a_caret(text: str, place: str, problem: str) -> None:
    with pytest.raises(SelectorError) as raised:
        parse(text)
    assert isinstance(raised.value, InvalidInput)
    sentence, shown, caret = raised.value.message.split("\n")
    assert problem in sentence
    assert shown == f"  {text}"
    assert caret.strip() == "^"
    assert raised.value.at == caret.index("^") - 2
    assert raised.value.at == (text.rindex(place) if place else len(text))


@pytest.mark.parametrize(
    "text",
    [
        "attribute:a exists or attribute:b exists and attribute:c exists",
        "attribute:a exists && attribute:b exists || attribute:c exists",
        "(attribute:a exists or attribute:b exists and attribute:c exists)",
    ],
)
def test_and_and_or_need_parentheses(text: str) -> None:
    with pytest.raises(SelectorError, match="add parentheses"):
        parse(text)


def test_parentheses_make_the_difference() -> None:
    marked = host(c="1")
    assert parse("(attribute:a exists and attribute:b exists) or attribute:c exists").matches(
        marked
    )
    assert not parse("attribute:a exists and (attribute:b exists or attribute:c exists)").matches(
        marked
    )


def test_the_length_is_limited() -> None:
    longest = "attribute:x == " + "a" * (MAX_LENGTH - 15)
    assert parse(longest).text == longest
    with pytest.raises(SelectorError, match="2,001 characters"):
        parse(longest + "a")


def test_an_error_in_a_long_text_shows_its_surroundings() -> None:
    text = " and ".join(["attribute:x exists"] * 40) + " and ??? " + " " * 200
    with pytest.raises(SelectorError) as raised:
        parse(text)
    _, shown, caret = raised.value.message.split("\n")
    assert len(shown) < 110
    assert shown[caret.index("^")] == "?"
    assert raised.value.at == text.index("?")


def test_line_breaks_do_not_move_the_caret() -> None:
    with pytest.raises(SelectorError) as raised:
        parse("attribute:x exists\n\tand ?")
    _, shown, caret = raised.value.message.split("\n")
    assert shown[caret.index("^")] == "?"


def test_a_refused_regular_expression_prints_nothing() -> None:
    code = (
        "from blox.ecs.selector import parse, SelectorError\n"
        "try: parse('attribute:x =~ a(?=b)')\n"
        "except SelectorError: print('refused')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert (ran.stdout, ran.stderr) == ("refused\n", "")
