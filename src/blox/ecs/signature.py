"""AWS Signature Version 4 for one POST, with a date of the caller's choosing.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

The date is an argument because it is the only fence that ECS checks for us (R3): an acting request
is dated back, so that it soon becomes too old to be accepted.
"""

import hashlib
import hmac
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote

from msgspec import Struct

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNSIGNED = frozenset(
    {
        "authorization",
        "baggage",
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amzn-trace-id",
        "x-amz-date",
        "x-amz-security-token",
    }
)
"""Headers that proxies may change, and those that signing sets itself."""


class Credentials(Struct, frozen=True):
    """One set of AWS credentials. `token` is None for those that do not expire."""

    access_key: str
    secret: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.access_key}, …)"


def sign(
    headers: Mapping[str, str],
    *,
    host: str,
    payload: bytes,
    date: float,
    credentials: Credentials,
    region: str,
    service: str,
    path: str = "/",
) -> dict[str, str]:
    """The headers to add to a POST to `path` so that it is signed at `date`.

    `date`: seconds since 1970-01-01 UTC; fractions are cut off, so a signature is never dated later
    than asked. `host`: the Host header as it is sent. `headers`: what else is sent; those that a
    proxy may change are not signed. Names of the result: X-Amz-Date, X-Amz-Security-Token (with a
    token), Authorization.
    """
    stamp = amz_date(date)
    added = {"X-Amz-Date": stamp}
    if credentials.token:
        added["X-Amz-Security-Token"] = credentials.token
    signed = {
        name.lower(): " ".join(value.split())
        for name, value in headers.items()
        if name.lower() not in _UNSIGNED
    }
    signed |= {name.lower(): " ".join(value.split()) for name, value in added.items()}
    signed["host"] = host
    names = ";".join(sorted(signed))
    request = "\n".join(
        (
            "POST",
            quote(path, safe="/~"),
            "",
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            hashlib.sha256(payload).hexdigest(),
        )
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join((_ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = _signing_key(credentials.secret, stamp[:8], region, service)
    seal = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    added["Authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={names}, Signature={seal}"
    )
    return added


def amz_date(date: float) -> str:
    """`date` in the form of the X-Amz-Date header, cut to whole seconds."""
    return datetime.fromtimestamp(math.floor(date), UTC).strftime("%Y%m%dT%H%M%SZ")


@lru_cache(maxsize=64)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """The key derived from a secret for one day, region and service: four rounds of HMAC that are
    the same for every request of that day."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
