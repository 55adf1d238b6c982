"""The simulator's check of signatures accepts what botocore signs, and nothing else."""

import calendar
from collections.abc import Mapping

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from msgspec.structs import replace

from blox.simulator.wire_signature import BadSignature, Received, check_age, parse, verify

SECRETS = {"AKIDEXAMPLE": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
URL = "http://127.0.0.1:4566"
BODY = b'{"cluster": "demo"}'


def signed_by_botocore(
    *, path: str = "/", query: str = "", token: str | None = None, headers: Mapping[str, str] = {}
) -> Received:
    """A request as botocore would send it."""
    request = AWSRequest(
        method="POST",
        url=f"{URL}{path}" + (f"?{query}" if query else ""),
        data=BODY,
        headers={"Content-Type": "application/x-amz-json-1.1", **headers},
    )
    credentials = Credentials("AKIDEXAMPLE", SECRETS["AKIDEXAMPLE"], token)
    SigV4Auth(credentials, "ecs", "eu-west-1").add_auth(request)
    found = {name.lower(): str(value) for name, value in request.headers.items()}
    return Received(
        method="POST",
        path=path,
        query=query,
        headers={"host": "127.0.0.1:4566", **found},
        body=BODY,
    )


def accept(received: Received, *, secrets: Mapping[str, str] = SECRETS) -> None:
    verify(parse(received, service="ecs", region="eu-west-1"), received, secrets=secrets)


def refusal(received: Received, *, secrets: Mapping[str, str] = SECRETS) -> BadSignature:
    with pytest.raises(BadSignature) as caught:
        accept(received, secrets=secrets)
    return caught.value


def with_header(received: Received, name: str, value: str) -> Received:
    return replace(received, headers={**received.headers, name: value})


@pytest.mark.parametrize(
    "received",
    [
        signed_by_botocore(),
        signed_by_botocore(token="a session token"),
        signed_by_botocore(headers={"X-Amz-Target": "A.B", "X-Amz-Odd": "  two   spaces "}),
        signed_by_botocore(path="/a b/ü", query="b=2&a=x%20y&a=1&empty="),
    ],
)
def test_what_botocore_signs_is_accepted(received: Received) -> None:
    accept(received)
    changed = replace(received, body=BODY.replace(b"demo", b"prod"))
    assert "does not match" in refusal(changed).message


def test_every_signed_part_is_covered() -> None:
    received = signed_by_botocore(headers={"X-Amz-Target": "A.StartTask"})
    for changed in (
        replace(received, method="GET"),
        replace(received, path="/other"),
        replace(received, query="a=1"),
        with_header(received, "x-amz-target", "A.StopTask"),
        with_header(received, "host", "127.0.0.1:1"),
        with_header(received, "authorization", received.headers["authorization"][:-1] + "x"),
    ):
        assert refusal(changed).code == "InvalidSignatureException"


def test_another_secret_or_an_unknown_key_is_refused() -> None:
    received = signed_by_botocore()
    assert refusal(received, secrets={"AKIDEXAMPLE": "x"}).code == "InvalidSignatureException"
    assert refusal(received, secrets={"other": "x"}).code == "UnrecognizedClientException"


def test_an_unsigned_request_is_refused() -> None:
    received = Received(method="POST", path="/", query="", headers={}, body=b"")
    fault = refusal(received)
    assert (fault.code, fault.status) == ("MissingAuthenticationTokenException", 400)


@pytest.mark.parametrize(
    ("header", "value", "code", "words"),
    [
        ("authorization", "Bearer x", "IncompleteSignatureException", "'Credential' parameter"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c",
            "IncompleteSignatureException",
            "5 slash-delimited elements",
        ),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=a/20260101/eu-west-1/sqs/aws4_request, "
            "SignedHeaders=host, Signature=c",
            "InvalidSignatureException",
            "correct service: 'ecs'",
        ),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/ecs/aws4_request, "
            "SignedHeaders=host, Signature=c",
            "InvalidSignatureException",
            "valid region: 'eu-west-1'",
        ),
        ("x-amz-date", "", "IncompleteSignatureException", "X-Amz-Date"),
        ("x-amz-date", "2026-01-01", "IncompleteSignatureException", "ISO-8601"),
        ("x-amz-date", "20261341T000000Z", "IncompleteSignatureException", "ISO-8601"),
        ("x-amz-date", "20200101T000000Z", "InvalidSignatureException", "Credential scope"),
    ],
)
def test_malformed_signatures_are_named(header: str, value: str, code: str, words: str) -> None:
    fault = refusal(with_header(signed_by_botocore(), header, value))
    assert fault.code == code
    assert words in fault.message


def test_the_signature_must_cover_host_and_date() -> None:
    received = signed_by_botocore()
    header = received.headers["authorization"].replace("host;", "")
    assert "SignedHeaders" in refusal(with_header(received, "authorization", header)).message


def test_age_is_bounded_on_both_sides() -> None:
    received = signed_by_botocore()
    signed = parse(received, service="ecs", region="eu-west-1")
    moment = float(calendar.timegm((2026, 11, 22, 12, 0, 0)))
    signed = replace(signed, signed_at=moment, stamp="20261122T120000Z")
    check_age(signed, now=moment + 300, allowed=300)
    check_age(signed, now=moment - 300, allowed=300)
    with pytest.raises(BadSignature) as old:
        check_age(signed, now=moment + 301, allowed=300)
    assert old.value.message == (
        "Signature expired: 20261122T120000Z is now earlier than 20261122T120001Z "
        "(20261122T120501Z - 5 min.)"
    )
    with pytest.raises(BadSignature, match="Signature not yet current"):
        check_age(signed, now=moment - 301, allowed=300)
