"""Whatever an expression looks like, it is read back as printed and selects what its words say."""

import fnmatch
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from blox.ecs.model import Host
from blox.ecs.predicates import UNSTABLE, Compare, Operator
from blox.ecs.selector import AllOf, AnyOf, Expression, Not, SelectorError, parse

WORDS = ["a", "b", "ab", "10", "9.5", "-2", "service:a", "x y", ""]
"""The values that attributes and groups have, and arguments name."""
NAMES = ["x", "ecs.os-type", "in", "team/name"]
GLOBS = ["a*", "?b", "*", "10", "service:*"]
"""Regular expressions are made from these, so that another matcher can judge them."""
VERSIONS = ["1", "1.2", "1.2.0", "1.10", "2.0.1"]
DATES = ["2018-06-18", "2018-06-18T00:00:00Z", "2018-06-18T12:00:00+02:00", "2019-01-01T00:00:01"]
TEXT = [op for op in Operator if op not in (">", ">=", "<", "<=")]
ORDER = [op for op in Operator if op.value in ("==", "!=", ">", ">=", "<", "<=")]
NUMBERS = st.sampled_from(["9", "9.5", "10", "-3"])


def as_regex(glob: str) -> str:
    return glob.replace("*", ".*").replace("?", ".")


@st.composite
def compares(draw: st.DrawFn) -> Compare:
    kind = draw(st.sampled_from(["attribute", "group", "id", "agent", "version", "date", "count"]))
    subject = {
        "attribute": f"attribute:{draw(st.sampled_from(NAMES))}",
        "group": "task:group",
        "id": "ec2InstanceId",
        "agent": "agentConnected",
        "version": "agentVersion",
        "date": "registeredAt",
        "count": "runningTasksCount",
    }[kind]
    if kind in ("version", "date", "count"):
        values = {"version": VERSIONS, "date": DATES, "count": ["0", "1", "3"]}[kind]
        return Compare(subject, draw(st.sampled_from(ORDER)), (draw(st.sampled_from(values)),))
    operators = list(Operator) if kind == "attribute" else TEXT
    if kind in ("id", "agent"):
        operators = [op for op in operators if not op.endswith("exists")]
    op = draw(st.sampled_from(operators))
    words = st.sampled_from(["true", "false"] if kind == "agent" else WORDS)
    if op.endswith("exists"):
        return Compare(subject, op)
    if op in (Operator.IN, Operator.NOT_IN):
        return Compare(subject, op, tuple(draw(st.lists(words, min_size=1, max_size=3))))
    if op in (Operator.MATCHES, Operator.NOT_MATCHES):
        return Compare(subject, op, (as_regex(draw(st.sampled_from(GLOBS))),))
    return Compare(subject, op, (draw(words if op in TEXT else NUMBERS),))


def deeper(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(inner.map(Not), several.map(AllOf), several.map(AnyOf))


EXPRESSIONS: st.SearchStrategy[Expression] = st.recursive(compares(), deeper, max_leaves=8)

HOSTS = st.builds(
    Host,
    arn=st.just("arn"),
    cluster_arn=st.just("cluster"),
    instance_id=st.sampled_from(["", "a", "ab"]),
    agent_connected=st.booleans(),
    agent_version=st.sampled_from(["", *VERSIONS, "1.2.0-dev"]),
    registered_at=st.one_of(
        st.none(),
        st.sampled_from(DATES).map(lambda text: instant(text) + 0.5),
    ),
    running_tasks_count=st.sampled_from([None, 0, 1, 2]),
    attributes=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(WORDS), max_size=4),
)
GROUPS = st.one_of(st.none(), st.lists(st.sampled_from(WORDS), max_size=3))


# --- A printer, with every spelling that the language has -----------------------------------------

WORDY = {"!=": "not_equals", "=~": "matches", "<=": "less_than_equal", "!exists": "not_exists"}


def printed(expression: Expression, data: st.DataObject) -> str:
    def choose(*spellings: str) -> str:
        return data.draw(st.sampled_from(spellings))

    def value(text: str) -> str:
        bare = text and not set(text) & set(" ()[],'\"&|!=<>~")
        return choose(f"'{text}'", f'"{text}"', *([text] if bare else []))

    def term(item: Expression) -> str:
        if isinstance(item, Compare):
            return choose(one(item), f"( {one(item)})")
        return choose("", " ") + f"({printed(item, data)})"

    def one(item: Compare) -> str:
        op = choose(item.operator.value, WORDY.get(item.operator.value, item.operator.value))
        if item.operator in (Operator.IN, Operator.NOT_IN):
            return f"{item.subject} {op}{choose('', ' ')}[{', '.join(map(value, item.values))}]"
        return " ".join([item.subject, op, *map(value, item.values)])

    if isinstance(expression, Compare):
        return one(expression)
    if isinstance(expression, Not):
        return choose("not ", "!", "! ", "not") + f"({printed(expression.item, data)})"
    joint = choose(" and ", " &&") if isinstance(expression, AllOf) else choose(" or ", "||\n")
    return joint.join(map(term, expression.items))


# --- A second opinion: slow, plain, with no code of the first -------------------------------------

NO, UNKNOWN, YES = 0, 1, 2


def instant(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def numbers_of(version: str) -> list[int]:
    parts = [int(part) for part in version.removesuffix("-dev").split(".")]
    return parts + [0] * (4 - len(parts))


def in_order(found: object, op: str, bound: object) -> bool:
    below: bool = found < bound  # type: ignore[operator]
    return {
        "==": found == bound,
        "!=": found != bound,
        "<": below,
        "<=": below or found == bound,
        ">": not below and found != bound,
        ">=": not below,
    }[op]


def judge_text(found: Sequence[str], op: str, values: Sequence[str]) -> bool:
    if op.startswith("!") or op == "not_equals":
        return not judge_text(found, {"!=": "==", "!~": "=~"}.get(op, op[1:]), values)
    if op == "exists":
        return len(found) > 0
    if op in ("==", "in"):
        return len(set(found) & set(values)) > 0
    if op == "=~":
        glob = values[0].replace(".*", "*").replace(".", "?")
        return any(fnmatch.fnmatchcase(text, glob) for text in found)
    bound = number(values[0])
    ranks = [rank for rank in map(number, found) if rank is not None]
    return any(in_order(rank, op, bound) for rank in ranks)


def judge(expression: Expression, host: Host, groups: list[str] | None) -> int:
    if isinstance(expression, Not):
        return YES - judge(expression.item, host, groups)
    if isinstance(expression, AllOf):
        return min(judge(item, host, groups) for item in expression.items)
    if isinstance(expression, AnyOf):
        return max(judge(item, host, groups) for item in expression.items)
    subject, op, values = expression.subject, expression.operator.value, expression.values
    if groups is None and subject in UNSTABLE:
        return UNKNOWN
    if subject.startswith("attribute:"):
        name = subject.removeprefix("attribute:")
        found = [host.attributes[name]] if name in host.attributes else []
        return YES if judge_text(found, op, values) else NO
    texts = {
        "task:group": groups,
        "ec2InstanceId": [host.instance_id] if host.instance_id else None,
        "agentConnected": [str(host.agent_connected).lower()],
    }
    if subject in texts:
        texts_found = texts[subject]
        if texts_found is None:
            return UNKNOWN
        return YES if judge_text(texts_found, op, values) else NO
    ordered: dict[str, tuple[object, Callable[[str], object]]] = {
        "agentVersion": (host.agent_version and numbers_of(host.agent_version), numbers_of),
        "registeredAt": (host.registered_at and int(host.registered_at), instant),
        "runningTasksCount": (host.running_tasks_count, int),
    }
    left, read = ordered[subject]
    if left in (None, ""):
        return UNKNOWN
    return YES if in_order(left, op, read(values[0])) else NO


@given(EXPRESSIONS, st.data())
def test_what_is_printed_is_read_back(expression: Expression, data: st.DataObject) -> None:
    assert parse(printed(expression, data)).expression == expression


@given(EXPRESSIONS, HOSTS, GROUPS, st.data())
def test_it_selects_what_a_plain_reading_selects(
    expression: Expression, host: Host, groups: list[str] | None, data: st.DataObject
) -> None:
    selector = parse(printed(expression, data))
    expected = judge(expression, host, groups)
    assert selector.truth(host, groups=groups) == {NO: False, UNKNOWN: None, YES: True}[expected]
    if groups is not None:
        assert selector.matches(host, groups=groups) == (expected == YES)


@given(EXPRESSIONS, st.data())
def test_only_stable_subjects_pass_where_stability_is_asked(
    expression: Expression, data: st.DataObject
) -> None:
    text = printed(expression, data)
    refused = refusal(text, stable_only=True) is not None
    assert refused == any(subject in text for subject in UNSTABLE)


SUBJECTS = ["attribute:x", "agentVersion", "registeredAt", "task:group"]
SIGNS = ["and", "or", "not", "!", "(", ")", "[", "]", ",", "'", '"', "==", "=~", "!~", "in", ">"]
VALUES = ["exists", "a", "1.2", "2018-06-18", "\ud800", "\x00", "é", " ", "\n"]
PATTERNS = ["a(?=b)", "(a)\\1", "[a&&b]", "(?P<n>", "\\", "*", "x{99}", "\\pL"]
FRAGMENTS = st.sampled_from([*SUBJECTS, *SIGNS, *VALUES, *PATTERNS])


def refusal(text: str, *, stable_only: bool) -> SelectorError | None:
    try:
        parse(text, stable_only=stable_only)
    except SelectorError as error:
        return error
    return None


@given(
    st.one_of(
        st.text(st.characters()),
        st.lists(FRAGMENTS, max_size=30).map(" ".join),
        st.lists(FRAGMENTS, max_size=30).map("".join),
    ),
    st.booleans(),
)
def test_any_text_is_an_expression_or_a_selector_error(text: str, stable_only: bool) -> None:
    error = refusal(text, stable_only=stable_only)
    if error is None:
        assert parse(text).truth(Host(arn="arn", cluster_arn="cluster")) in (True, False, None)
    else:
        _, shown, caret = error.message.split("\n")
        assert 0 <= error.at <= len(text)
        assert caret.strip() == "^"
        assert len(caret) <= len(shown) + 1
        assert shown.isprintable()
