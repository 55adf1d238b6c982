"""Errors as answers: problem details outside /v1, sentences inside."""

import json

import pytest

from blox.base.errors import BloxError, Conflict, InvalidInput, NotFound, Unavailable
from blox.http.failures import error_answer, speaks_text
from blox.http.problems import PositionExpired, Refused
from blox.http.queries import RepeatedParameter, UnsupportedParameter


class OwnKind(NotFound):
    """A kind of its own below a known one, as other packages make them."""


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (InvalidInput("x"), 400, "invalid-input"),
        (NotFound("x"), 404, "not-found"),
        (OwnKind("x"), 404, "not-found"),
        (Conflict("x"), 409, "conflict"),
        (Unavailable("x"), 503, "unavailable"),
        (PositionExpired("x"), 410, "position-expired"),
        (BloxError("x"), 500, "internal"),
        (Refused(412, "x"), 412, "precondition-failed"),
    ],
)
def test_each_kind_of_error_has_its_status_and_type(
    error: BloxError, status: int, slug: str
) -> None:
    sent, headers, body = error_answer(error, path="/v2/environments")

    problem = json.loads(body)
    assert sent == problem["status"] == status
    assert problem["type"] == f"urn:blox:problem:{slug}"
    assert problem["detail"] == "x"
    assert headers["content-type"] == "application/problem+json"


def test_one_type_has_one_title_whoever_raised_it() -> None:
    _, _, raised = error_answer(NotFound("a"), path="/v2/a")
    _, _, refused = error_answer(Refused(404, "b"), path="/v2/b")

    first, second = json.loads(raised), json.loads(refused)
    assert (first["type"], first["title"]) == (second["type"], second["title"])


def test_the_instance_is_a_valid_uri_reference() -> None:
    _, _, body = error_answer(NotFound("x"), path='/v2/a b/"é')

    assert json.loads(body)["instance"] == "/v2/a%20b/%22%C3%A9"


def test_extra_members_are_added_and_never_replace_a_standard_one() -> None:
    error = Refused(409, "x", headers={"etag": '"4"'}, extra={"revision": 4, "status": 200})

    status, headers, body = error_answer(error, path="/v2/a")

    problem = json.loads(body)
    assert problem["revision"] == 4
    assert problem["status"] == status == 409
    assert headers["etag"] == '"4"'


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (Conflict("A deployment is in progress."), 400, "A deployment is in progress."),
        (NotFound("No such environment."), 404, "No such environment."),
        (Unavailable("ECS is away."), 503, "ECS is away."),
        (Refused(405, "Not so."), 405, "Not so."),
        (
            UnsupportedParameter("clutser", ["cluster"]),
            400,
            "At least one of the filters provided is not supported",
        ),
        (
            RepeatedParameter("cluster"),
            400,
            "At least one of the filters provided is specified multiple times",
        ),
    ],
)
def test_under_v1_every_error_is_a_plain_sentence(
    error: BloxError, status: int, sentence: str
) -> None:
    sent, headers, body = error_answer(error, path="/v1/environments")

    assert (sent, body.decode()) == (status, sentence)
    assert headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "text"),
    [("/v1", True), ("/v1/", True), ("//v1/x", True), ("/v10/x", False), ("/v2/v1", False)],
)
def test_the_first_segment_decides_between_the_two_forms(path: str, text: bool) -> None:
    assert speaks_text(path) is text
