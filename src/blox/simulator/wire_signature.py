"""Signature Version 4 as the receiving side sees it: who signed, when, and whether truly.

Written from AWS's description alone, so that a fault in blox's own signing cannot hide here:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import calendar
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import unquote, unquote_plus

from msgspec import Struct

_PART = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")
_STAMP = re.compile(r"\d{8}T\d{6}Z\Z")
_DOCS: Final = "Check your AWS Secret Access Key and signing method."


class BadSignature(Exception):
    """A request that AWS would not let in; `code` as its JSON services name it."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class Received(Struct, frozen=True, kw_only=True):
    """What the signature covers, as it came over the wire."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Signed(Struct, frozen=True, kw_only=True):
    """A parsed Authorization header."""

    access_key: str
    date: str
    region: str
    service: str
    headers: tuple[str, ...]
    signature: str
    stamp: str
    """`x-amz-date`, as it was sent."""
    signed_at: float
    """The same in seconds since 1970-01-01 UTC."""


def parse(received: Received, *, service: str, region: str) -> Signed:
    """Who signed and when. Raises BadSignature for what is missing, malformed or out of scope."""
    header = received.headers.get("authorization", "")
    if not header:
        raise BadSignature("MissingAuthenticationTokenException", "Missing Authentication Token")
    parts = dict(_PART.findall(header))
    stamp = received.headers.get("x-amz-date", "")
    missing = [f"'{name}' parameter" for name in ("Credential", "SignedHeaders", "Signature")
               if name not in parts]  # fmt: skip
    if not header.startswith("AWS4-HMAC-SHA256 ") or missing or not stamp:
        wanted = missing or ["existence of either a 'X-Amz-Date' or a 'Date' header"]
        raise BadSignature(
            "IncompleteSignatureException",
            " ".join(f"Authorization header requires {one}." for one in wanted),
        )
    scope = parts["Credential"].rsplit("/", 4)
    if len(scope) != 5 or scope[4] != "aws4_request":
        raise BadSignature(
            "IncompleteSignatureException",
            "Credential must have exactly 5 slash-delimited elements, e.g. "
            "keyid/date/region/service/term.",
        )
    signed = Signed(
        access_key=scope[0],
        date=scope[1],
        region=scope[2],
        service=scope[3],
        headers=tuple(parts["SignedHeaders"].split(";")),
        signature=parts["Signature"],
        stamp=stamp,
        signed_at=_seconds(stamp),
    )
    _check_scope(signed, service=service, region=region)
    return signed


def _seconds(stamp: str) -> float:
    if _STAMP.match(stamp) is not None:
        try:
            return float(calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ")))
        except ValueError:
            pass
    raise BadSignature(
        "IncompleteSignatureException",
        f"Date must be in ISO-8601 'basic format'. Got '{stamp}'. See "
        "http://en.wikipedia.org/wiki/ISO_8601",
    )


def _check_scope(signed: Signed, *, service: str, region: str) -> None:
    if signed.service != service:
        raise BadSignature(
            "InvalidSignatureException",
            f"Credential should be scoped to correct service: '{service}'. ",
        )
    if signed.region != region:
        raise BadSignature(
            "InvalidSignatureException",
            f"Credential should be scoped to a valid region: '{region}', not '{signed.region}'. ",
        )
    if signed.date != signed.stamp[:8]:
        raise BadSignature(
            "InvalidSignatureException",
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from "
            f"HTTP: '{signed.date}' != '{signed.stamp[:8]}', from '{signed.stamp}'.",
        )


def check_age(signed: Signed, *, now: float, allowed: float) -> None:
    """Refuse a signature more than `allowed` seconds old or in the future. Raises BadSignature.

    The two sentences are those of ECS (https://github.com/fabfuel/ecs-deploy/issues/126,
    https://github.com/aws/amazon-ecs-agent/issues/1513).
    """
    minutes = f"{allowed / 60:g} min."
    present = _text(now)
    if signed.signed_at < now - allowed:
        limit = _text(now - allowed)
        sentence = (
            f"Signature expired: {signed.stamp} is now earlier than {limit} ({present} - {minutes})"
        )
    elif signed.signed_at > now + allowed:
        limit = _text(now + allowed)
        sentence = (
            f"Signature not yet current: {signed.stamp} is still later than {limit} "
            f"({present} + {minutes})"
        )
    else:
        return
    raise BadSignature("InvalidSignatureException", sentence)


def _text(seconds: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


def verify(signed: Signed, received: Received, *, secrets: Mapping[str, str]) -> None:
    """Compute the signature anew and compare. `secrets`: access key → secret key.

    Raises BadSignature.
    """
    secret = secrets.get(signed.access_key)
    if secret is None:
        raise BadSignature(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        )
    if "host" not in signed.headers or "x-amz-date" not in signed.headers:
        raise BadSignature(
            "InvalidSignatureException",
            "'Host' and 'X-Amz-Date' must be among the 'SignedHeaders' of the Authorization "
            "header.",
        )
    scope = f"{signed.date}/{signed.region}/{signed.service}/aws4_request"
    request = hashlib.sha256(_canonical(signed, received).encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{signed.stamp}\n{scope}\n{request}"
    key = _key(secret, signed.date, signed.region, signed.service)
    expected = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signed.signature.encode()):
        raise BadSignature(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. "
            f"{_DOCS} Consult the service documentation for details.",
        )


def _canonical(signed: Signed, received: Received) -> str:
    lines = [
        f"{name}:{' '.join(received.headers.get(name, '').split())}" for name in signed.headers
    ]
    return "\n".join(
        (
            received.method,
            _quoted(unquote(received.path), keep="/"),
            _canonical_query(received.query),
            *lines,
            "",
            ";".join(signed.headers),
            hashlib.sha256(received.body).hexdigest(),
        )
    )


def _canonical_query(query: str) -> str:
    pairs = [part.partition("=") for part in query.split("&") if part]
    quoted = sorted(
        (_quoted(unquote_plus(name)), _quoted(unquote_plus(value))) for name, _, value in pairs
    )
    return "&".join(f"{name}={value}" for name, value in quoted)


def _quoted(text: str, *, keep: str = "") -> str:
    plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~" + keep
    return "".join(chr(byte) if chr(byte) in plain else f"%{byte:02X}" for byte in text.encode())


@lru_cache(maxsize=64)
def _key(secret: str, date: str, region: str, service: str) -> bytes:
    key = ("AWS4" + secret).encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
