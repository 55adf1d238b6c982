"""Query strings are read strictly."""

import pytest

from blox.base.errors import InvalidInput
from blox.http.queries import Query, RepeatedParameter, UnsupportedParameter, parse_query


def test_known_parameters_are_decoded() -> None:
    query = parse_query(b"cluster=a%2Fb+c&all=true", allowed={"cluster", "all", "other"})

    assert query.text("cluster") == "a/b c"
    assert query.flag("all") is True
    assert query.text("other") is None


def test_an_unknown_parameter_is_named_with_those_that_are_known() -> None:
    with pytest.raises(UnsupportedParameter, match=r"'clutser' .*known here: all, cluster\."):
        parse_query(b"clutser=a", allowed={"cluster", "all"})


def test_where_there_are_no_parameters_any_is_unknown() -> None:
    with pytest.raises(UnsupportedParameter, match="there are none here"):
        parse_query(b"x", allowed=())


@pytest.mark.parametrize(
    "raw", [b"cluster=a&cluster=b", b"cluster=a&cluster=a", b"cluster&cluster"]
)
def test_a_parameter_given_twice_is_refused_even_with_one_value(raw: bytes) -> None:
    with pytest.raises(RepeatedParameter, match="'cluster' is specified multiple times"):
        parse_query(raw, allowed={"cluster"})


@pytest.mark.parametrize(
    "raw", [b"cluster=%ff", b"cluster=\xc3\xa9", b"&".join([b"cluster=1"] * 33)]
)
def test_what_cannot_be_decoded_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        parse_query(raw, allowed={"cluster"})


@pytest.mark.parametrize("raw", [b"cluster=", b"cluster"])
def test_an_empty_value_is_an_error_and_not_no_filter(raw: bytes) -> None:
    query = parse_query(raw, allowed={"cluster"})

    with pytest.raises(InvalidInput, match="'cluster' is empty"):
        query.text("cluster")


def test_a_needed_parameter_that_is_missing_is_named() -> None:
    with pytest.raises(InvalidInput, match="'deploymentToken' is missing"):
        Query({}).needed("deploymentToken")


def test_a_flag_is_false_when_not_given() -> None:
    assert Query({}).flag("supersede") is False
    assert Query({"supersede": "false"}).flag("supersede") is False


@pytest.mark.parametrize("value", ["True", "1", "yes", ""])
def test_a_flag_is_true_or_false_and_nothing_else(value: str) -> None:
    with pytest.raises(InvalidInput, match="'supersede' is"):
        Query({"supersede": value}).flag("supersede")


def test_numbers_keep_to_their_range() -> None:
    assert Query({}).number("size", low=1, high=9, default=5) == 5
    assert Query({"size": "1"}).number("size", low=1, high=9, default=5) == 1
    assert Query({"size": "9"}).number("size", low=1, high=9, default=5) == 9
    assert Query({"size": "-3"}).number("size", low=-3, high=9, default=5) == -3


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("0", "must be from 1 to 9"),
        ("10", "must be from 1 to 9"),
        ("1.0", "a number is needed"),
        ("--1", "a number is needed"),
        ("1_0", "a number is needed"),
        ("٣", "a number is needed"),
        ("9" * 5000, "a number is needed"),
    ],
)
def test_what_is_no_number_in_range_is_refused(value: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        Query({"size": value}).number("size", low=1, high=9, default=5)
