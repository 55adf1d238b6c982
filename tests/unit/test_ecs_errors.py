"""Which errors mean what: read from bodies as ECS, proxies and emulators write them."""

import pytest

from blox.ecs import outcomes, wire
from blox.ecs.errors import EcsRefused, EcsSilent, Meaning
from blox.ecs.port import InDoubt, NotDone, WireAnswer


def answer(status: int, body: bytes, request_id: str = "r-1") -> WireAnswer:
    headers = {"x-amzn-requestid": request_id} if request_id else {}
    return WireAnswer(status=status, headers=headers, body=body, begun=10.0, signed_at=9.0)


def coded(
    code: str, message: str = "why", status: int = 400, request_id: str = "r-1"
) -> WireAnswer:
    body = f'{{"__type": "{code}", "message": "{message}"}}'.encode()
    return answer(status, body, request_id)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"__type": "com.amazonaws.ecs#ThrottlingException", "message": "Rate"}',
         "ThrottlingException", "Rate"),
        (b'{"__type": "ClientException", "Message": "no"}', "ClientException", "no"),
        (b'{"__type": "a.b#ServerException:http://internal/", "message": "x"}',
         "ServerException", "x"),
        (b'{"__type": "AccessDeniedException"}', "AccessDeniedException", ""),
        (b'{"__type": "ClientException", "message": 7}', "ClientException", ""),
    ],
)  # fmt: skip
def test_the_code_is_read_from_the_body(body: bytes, code: str, message: str) -> None:
    assert wire.error_of(400, body) == wire.WireError(code, message, understood=True)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>no</html>", b"[]", b'"x"', b"{}", b'{"__type": 1}', b'{"__type": "#"}', b"\xff",
     b"[" * 100_000],
)  # fmt: skip
def test_a_body_without_a_code_gives_the_status(body: bytes) -> None:
    assert wire.error_of(503, body) == wire.WireError("503", "Service Unavailable", False)
    assert wire.error_of(799, body).message == "unknown status"


DID_NOT_HAPPEN = [
    "ThrottlingException",
    "RequestLimitExceeded",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "IncompleteSignature",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "MissingAuthenticationToken",
    "OptInRequired",
]


@pytest.mark.parametrize("status", [400, 403, 429, 503])
@pytest.mark.parametrize("code", DID_NOT_HAPPEN)
def test_turned_away_at_the_door_did_not_happen_whatever_the_status(code: str, status: int) -> None:
    outcome = outcomes.act_refusal(coded(code, status=status))
    assert isinstance(outcome, NotDone)
    assert outcome.meaning is Meaning.DID_NOT_HAPPEN
    assert outcome.request_id == "r-1"
    assert outcome.throttled == (code in ("ThrottlingException", "RequestLimitExceeded"))


@pytest.mark.parametrize(
    ("code", "message", "meaning"),
    [
        ("AccessDeniedException", "not authorized", Meaning.ENVIRONMENT),
        ("AccessDenied", "not authorized", Meaning.ENVIRONMENT),
        ("ClientException", "TaskDefinition is inactive", Meaning.ENVIRONMENT),
        ("ClientException", "Unable to describe task definition.", Meaning.ENVIRONMENT),
        ("UnsupportedFeatureException", "", Meaning.ENVIRONMENT),
        ("NamespaceNotFoundException", "", Meaning.ENVIRONMENT),
        ("ClusterNotFoundException", "", Meaning.CLUSTER),
        ("InvalidParameterException", "startedBy longer than 36.", Meaning.BISECT),
        ("ClientException", "Something about one host", Meaning.BISECT),
        ("BrandNewException", "", Meaning.BISECT),
    ],
)
def test_a_refusal_says_whose_condition_it_is(code: str, message: str, meaning: Meaning) -> None:
    outcome = outcomes.act_refusal(coded(code, message))
    assert isinstance(outcome, NotDone)
    assert (outcome.meaning, outcome.code, outcome.message) == (meaning, code, message)


@pytest.mark.parametrize(
    "unclear",
    [
        coded("ServerException", status=500),
        coded("ServiceUnavailable", status=503),
        coded("RequestTimeoutException", status=408),
        coded("InvalidParameterException", request_id=""),
        coded("ThrottlingException", request_id=""),
        answer(502, b"<html>Bad gateway</html>"),
        answer(403, b"<html>Forbidden</html>"),
        answer(400, b""),
        answer(200, b"{}", request_id=""),
        answer(204, b""),
        answer(307, b"", request_id=""),
        answer(307, b'{"__type": "InvalidParameterException"}'),
    ],
)
def test_everything_else_is_in_doubt(unclear: WireAnswer) -> None:
    outcome = outcomes.act_refusal(unclear)
    assert isinstance(outcome, InDoubt)
    assert outcome.signed_at == 9.0
    assert str(unclear.status) in outcome.cause


def test_a_read_is_refused_by_ecs_and_unanswered_by_anything_else() -> None:
    refused = outcomes.read_refusal("ListTasks", coded("AccessDeniedException", status=403))
    assert isinstance(refused, EcsRefused)
    assert refused.denied
    assert not refused.throttled
    assert "ListTasks" in refused.message
    for other in (answer(502, b"<html>"), answer(307, b"")):
        assert isinstance(outcomes.read_refusal("ListTasks", other), EcsSilent)
