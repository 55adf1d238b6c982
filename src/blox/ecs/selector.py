"""ECS's cluster query language: which hosts an expression selects.

    expression := term { ("and" | "&&" | "or" | "||") term }
    term       := ["not" | "!"] ( "(" expression ")" | simple )
    simple     := subject operator [argument]

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-query-language.html names the
subjects and operators and gives examples. Where it is silent, this module decides as follows:

- `and` and `or` in one expression without parentheses are refused: which binds tighter is not
  documented, and a guess would select other hosts than ECS does.
- A regular expression must match the whole value, as Java's `String.matches` does; the page's
  examples (`g2.*`) are written for that. Java's `Pattern` is refused where RE2, which matches in
  linear time whatever the pattern, cannot do the same.
- `!=`, `!in`, `!~` and `!exists` are the negations of `==`, `in`, `=~` and `exists`: a host without
  the attribute is selected by `!=`. A host is in `task:group == x` if any task there is.
- `<`, `<=`, `>`, `>=` on an attribute compare numbers; a value that is no number satisfies none.
- A date without a zone is UTC, a date without a time is its midnight, and the fraction of a second
  in a host's registration time is dropped.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple, NoReturn

from msgspec import Struct

from blox.base.errors import InvalidInput
from blox.ecs.model import Host
from blox.ecs.predicates import (
    EXISTENCE,
    SPELLINGS,
    SUBJECTS,
    UNSTABLE,
    Check,
    Compare,
    Groups,
    Operator,
    Unusable,
    check_of,
    negate,
)

MAX_LENGTH: Final = 2000
"""Longest text, in characters: the limit of a placement constraint's expression.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PlacementConstraint.html"""

_MAX_DEPTH: Final = 50
_SHOWN: Final = 100
"""Longest excerpt of the text in an error, in characters."""


class SelectorError(InvalidInput):
    """The text is not an expression that can be used. `at` is the offending character's index."""

    def __init__(self, text: str, at: int, problem: str) -> None:
        shown = "".join(c if c.isprintable() else " " for c in text)
        column = at
        if len(shown) > _SHOWN:
            begin = max(0, min(at - _SHOWN // 2, len(shown) - _SHOWN))
            head = "…" if begin else ""
            tail = "…" if begin + _SHOWN < len(shown) else ""
            shown = head + shown[begin : begin + _SHOWN] + tail
            column = at - begin + len(head)
        super().__init__(f"The selector cannot be used: {problem}.\n  {shown}\n  {' ' * column}^")
        self.at = at
        self.problem = problem


# --- Expressions ----------------------------------------------------------------------------------


class Not(Struct, frozen=True):
    """The opposite of an expression."""

    item: "Expression"


class AllOf(Struct, frozen=True):
    """Two or more expressions joined by `and`."""

    items: tuple["Expression", ...]


class AnyOf(Struct, frozen=True):
    """Two or more expressions joined by `or`."""

    items: tuple["Expression", ...]


Expression = Compare | Not | AllOf | AnyOf


class Selector:
    """A usable expression. Made by `parse` only."""

    __slots__ = ("_check", "expression", "text")

    def __init__(self, text: str, expression: Expression | None, check: Check) -> None:
        self.text = text
        self.expression = expression
        """None for the empty text, which selects every host."""
        self._check = check

    def matches(self, host: Host, *, groups: Sequence[str] = ()) -> bool:
        """Whether `host`, on which tasks of `groups` run, is certainly selected."""
        return self._check(host, groups) is True

    def truth(self, host: Host, *, groups: Sequence[str] | None = None) -> bool | None:
        """Whether `host` is selected; None when what is known of it does not decide.

        Unknown are: what the host's record does not carry (yet), and, with `groups` None, every
        subject in `UNSTABLE`.
        """
        return self._check(host, groups)


def parse(text: str, *, stable_only: bool = False) -> Selector:
    """Read an expression; empty text selects every host.

    `stable_only` refuses the subjects in `UNSTABLE`. Raises SelectorError, whose message shows the
    place and says what was expected there.
    """
    return _parse(text, stable_only)


@lru_cache(maxsize=1024)
def _parse(text: str, stable_only: bool) -> Selector:  # noqa: FBT001 (a cache key)
    if len(text) > MAX_LENGTH:
        raise SelectorError(
            text, MAX_LENGTH, f"it has {len(text):,} characters, and at most {MAX_LENGTH:,} fit"
        )
    if not text.strip():
        return Selector(text, None, _always)
    term = _Parser(text, stable_only=stable_only).whole()
    return Selector(text, term.expression, term.check)


# --- Reading --------------------------------------------------------------------------------------

_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[A-Za-z0-9_.:/\\-]+")
_OPERATOR = re.compile(r"==|!=|>=|<=|=~|!~|>|<|(?:!(?:exists|in)|[a-z_]+)(?![A-Za-z0-9_.:/\\-])")
_CONNECTIVE = re.compile(r"&&|\|\||(?:and|or)(?![A-Za-z0-9_.:/\\-])")
_BARE = re.compile(r"[^\s()\[\],'\"&|!=<>~]+")
_ATTRIBUTE_NAME = re.compile(r"[A-Za-z0-9_./\\-]{1,128}\Z")


class _Term(NamedTuple):
    """An expression and how to check it."""

    expression: Expression
    check: Check


class _Parser:
    """Recursive descent over one text."""

    def __init__(self, text: str, *, stable_only: bool) -> None:
        self._text = text
        self._at = 0
        self._stable_only = stable_only

    def whole(self) -> _Term:
        term = self._expression(0)
        if self._at < len(self._text):
            self._fail("expected `and`, `or` or the end")
        return term

    def _expression(self, depth: int) -> _Term:
        terms = [self._term(depth)]
        joined_by = ""
        self._skip()
        while found := _CONNECTIVE.match(self._text, self._at):
            connective = "and" if found[0] in ("and", "&&") else "or"
            if joined_by not in ("", connective):
                self._fail(
                    "`and` and `or` are mixed, and ECS does not say which binds tighter; "
                    "add parentheses, as in `(a and b) or c`"
                )
            joined_by = connective
            self._at = found.end()
            terms.append(self._term(depth))
            self._skip()
        return _joined(joined_by, terms)

    def _term(self, depth: int) -> _Term:
        self._skip()
        negated = False
        word = _WORD.match(self._text, self._at)
        if self._text.startswith("!", self._at):
            negated = True
            self._at += 1
        elif word is not None and word[0] == "not":
            negated = True
            self._at = word.end()
        self._skip()
        if self._text.startswith("(", self._at):
            term = self._parenthesised(depth + 1)
        else:
            term = self._simple()
        return _Term(Not(term.expression), negate(term.check)) if negated else term

    def _parenthesised(self, depth: int) -> _Term:
        if depth > _MAX_DEPTH:
            self._fail(f"parentheses are nested more than {_MAX_DEPTH} deep")
        self._at += 1
        term = self._expression(depth)
        if not self._text.startswith(")", self._at):
            self._fail("expected `and`, `or` or `)`")
        self._at += 1
        return term

    def _simple(self) -> _Term:
        subject = self._subject()
        op = self._operator(subject)
        places: list[int] = []
        values: list[str] = []
        self._skip()
        if op in (Operator.IN, Operator.NOT_IN):
            self._list(places, values)
        elif op not in EXISTENCE:
            if self._text.startswith("[", self._at) and op not in (
                Operator.MATCHES,
                Operator.NOT_MATCHES,
            ):
                self._fail("expected one value; a list is only for `in` and `!in`")
            self._value(places, values, regex=op in (Operator.MATCHES, Operator.NOT_MATCHES))
        compare = Compare(subject, op, tuple(values))
        try:
            return _Term(compare, check_of(compare))
        except Unusable as unusable:
            self._fail(unusable.problem, at=places[unusable.value] + unusable.offset)

    def _subject(self) -> str:
        word = _WORD.match(self._text, self._at)
        usable = [s for s in SUBJECTS if not (self._stable_only and s in UNSTABLE)]
        names = ", ".join(usable)
        if word is None:
            self._fail(f"expected a subject (attribute:NAME, {names}), `not` or `(`")
        subject = word[0]
        if self._stable_only and subject in UNSTABLE:
            self._fail(f"`{subject}` cannot select hosts for daemons: {UNSTABLE[subject]}")
        prefix, colon, name = subject.partition(":")
        if colon and prefix == "attribute":
            if _ATTRIBUTE_NAME.match(name) is None:
                self._fail(
                    "expected an attribute's name of 1 to 128 letters, digits, and - _ . / \\",
                    at=self._at + len("attribute:"),
                )
        elif subject not in SUBJECTS:
            self._fail(
                f"`{subject}` is not a subject; expected attribute:NAME "
                f"(`attribute:{name or prefix}`?), {names}"
            )
        self._at = word.end()
        return subject

    def _operator(self, subject: str) -> Operator:
        self._skip()
        found = _OPERATOR.match(self._text, self._at)
        op = None if found is None else SPELLINGS.get(found[0])
        usable = SUBJECTS.get(subject, tuple(Operator))
        if found is None or op is None or op not in usable:
            self._fail(f"expected an operator of `{subject}`: {' '.join(usable)}")
        self._at = found.end()
        return op

    def _list(self, places: list[int], values: list[str]) -> None:
        if not self._text.startswith("[", self._at):
            self._fail("expected a list, as in `[a, b]`")
        while not values or self._text.startswith(",", self._at):
            self._at += 1
            self._skip()
            self._value(places, values, regex=False)
            self._skip()
        if not self._text.startswith("]", self._at):
            self._fail("expected `,` or `]`")
        self._at += 1

    def _value(self, places: list[int], values: list[str], *, regex: bool) -> None:
        begin = self._at
        quote = self._text[begin : begin + 1]
        if quote in ("'", '"') and quote:
            end = self._text.find(quote, begin + 1)
            if end < 0:
                self._fail("this quote is never closed")
            places.append(begin + 1)
            values.append(self._text[begin + 1 : end])
            self._at = end + 1
            return
        if regex:
            end = _end_of_bare_regex(self._text, begin)
        else:
            bare = _BARE.match(self._text, begin)
            end = begin if bare is None else bare.end()
        if end == begin:
            self._fail("expected " + ("a regular expression" if regex else "a value"))
        places.append(begin)
        values.append(self._text[begin:end])
        self._at = end

    def _skip(self) -> None:
        space = _SPACE.match(self._text, self._at)
        if space is not None:
            self._at = space.end()

    def _fail(self, problem: str, *, at: int | None = None) -> NoReturn:
        raise SelectorError(self._text, self._at if at is None else at, problem) from None


def _end_of_bare_regex(text: str, begin: int) -> int:
    """Where a regular expression without quotes ends: at a space, at a parenthesis that it did not
    open, or at a connective outside a character class."""
    at, depth, in_class = begin, 0, False
    while at < len(text) and not text[at].isspace():
        character = text[at]
        if character == "\\":
            at += 1
        elif in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
        elif character == "(":
            depth += 1
        elif character == ")":
            if depth == 0:
                break
            depth -= 1
        elif text.startswith(("&&", "||"), at):
            break
        at += 1
    return min(at, len(text))


def _always(host: Host, groups: Groups) -> bool | None:  # noqa: ARG001 (the shape of a check)
    return True


def _joined(connective: str, terms: Sequence[_Term]) -> _Term:
    """Several terms as one. One that decides wins over one that is not known."""
    if not connective:
        return terms[0]
    decisive = connective == "or"
    checks = tuple(term.check for term in terms)

    def joined(host: Host, groups: Groups) -> bool | None:
        unknown = False
        for check in checks:
            truth = check(host, groups)
            if truth is decisive:
                return decisive
            unknown = unknown or truth is None
        return None if unknown else not decisive

    items = tuple(term.expression for term in terms)
    return _Term(AnyOf(items) if decisive else AllOf(items), joined)
