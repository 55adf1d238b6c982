"""Where a region's ECS, SQS and STS are, and what overrides that.

Order: the service's own variable (`AWS_ENDPOINT_URL_ECS`), `ECS_ENDPOINT` (ECS only; blox 0.3 had
it), `AWS_ENDPOINT_URL`, the profile's `services` section, the profile's `endpoint_url`, the
region's standard endpoint. `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true` disables all that are AWS's.
https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
"""

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from blox.base.errors import InvalidInput


class _Partition(NamedTuple):
    prefix: str
    suffix: str
    dual_stack: str


_PARTITIONS: Final = (
    _Partition("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    _Partition("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    _Partition("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    _Partition("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    _Partition("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    _Partition("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    _Partition("", "amazonaws.com", "api.aws"),
)
"""Regions by their first letters; the last takes all others."""

_VARIABLES: Final = {"ecs": ("AWS_ENDPOINT_URL_ECS", "ECS_ENDPOINT")}


class ProfileEndpoints(NamedTuple):
    """What the shared configuration file says for one service: its entry in the profile's
    `services` section, and the profile's `endpoint_url` for all."""

    service: str | None = None
    profile: str | None = None


class Endpoint(NamedTuple):
    """A base URL, and where it came from: the variable's name, `profile` or `standard`."""

    url: str
    source: str

    @property
    def overridden(self) -> bool:
        return self.source != "standard"


def endpoint_of(
    service: str,
    region: str,
    *,
    environ: Mapping[str, str],
    profile: ProfileEndpoints = ProfileEndpoints(),
) -> Endpoint:
    """The endpoint of `service` ("ecs", "sqs", "sts") for `region`.

    Raises InvalidInput when an override is not an http or https URL.
    """
    own = _VARIABLES.get(service, (f"AWS_ENDPOINT_URL_{service.upper()}",))
    ignored = _true(environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"))
    candidates = [(name, environ.get(name)) for name in (*own, "AWS_ENDPOINT_URL")]
    candidates += [("profile", profile.service), ("profile", profile.profile)]
    for source, url in candidates:
        if url and url.strip() and not (ignored and source != "ECS_ENDPOINT"):
            return Endpoint(_checked(url.strip(), source), source)
    return Endpoint(standard_endpoint(service, region, environ=environ), "standard")


def standard_endpoint(service: str, region: str, *, environ: Mapping[str, str]) -> str:
    """The URL that AWS documents for `service` in `region`, by AWS_USE_FIPS_ENDPOINT and
    AWS_USE_DUALSTACK_ENDPOINT.
    https://docs.aws.amazon.com/general/latest/gr/ecs-service.html"""
    fips = _true(environ.get("AWS_USE_FIPS_ENDPOINT"))
    dual = _true(environ.get("AWS_USE_DUALSTACK_ENDPOINT"))
    partition = next(p for p in _PARTITIONS if region.startswith(p.prefix))
    # GovCloud's plain SQS and STS endpoints are its FIPS endpoints.
    same = region.startswith("us-gov-") and service in ("sqs", "sts") and not dual
    host = f"{service}-fips" if fips and not same else service
    return f"https://{host}.{region}.{partition.dual_stack if dual else partition.suffix}"


def _checked(url: str, source: str) -> str:
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query
        right = right and (parts.port is None or parts.port > 0)
    except ValueError:
        right = False
    if not right:
        raise InvalidInput(f"{source} is {url!r}: an http or https URL without a query is needed.")
    return url


def _true(text: str | None) -> bool:
    return (text or "").strip().lower() == "true"
