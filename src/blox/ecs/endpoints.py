"""Where a region's ECS, SQS, Kinesis, STS, EventBridge and IAM are, and what overrides that.

Order: the service's own variable (`AWS_ENDPOINT_URL_ECS`), `ECS_ENDPOINT` (ECS only; blox 0.3 had
it), `AWS_ENDPOINT_URL`, the profile's `services` section, the profile's `endpoint_url`, the
region's standard endpoint. `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true` disables all that are AWS's.
https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
"""

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from blox.base.errors import InvalidInput


class _Iam(NamedTuple):
    """Where a partition's one IAM is. Its FIPS and dual-stack names follow no pattern."""

    region: str
    """The region that requests to it are signed for."""
    plain: str
    dual: str
    fips: str
    both: str


class _Partition(NamedTuple):
    name: str
    prefix: str
    suffix: str
    dual_stack: str
    iam: _Iam


_PARTITIONS: Final = (
    _Partition(
        "aws-cn",
        "cn-",
        "amazonaws.com.cn",
        "api.amazonwebservices.com.cn",
        _Iam(
            "cn-north-1",
            "iam.cn-north-1.amazonaws.com.cn",
            "iam.global.api.amazonwebservices.com.cn",
            "iam-fips.amazonaws.com.cn",
            "iam-fips.api.amazonwebservices.com.cn",
        ),
    ),
    _Partition(
        "aws-us-gov",
        "us-gov-",
        "amazonaws.com",
        "api.aws",
        _Iam(
            "us-gov-west-1",
            "iam.us-gov.amazonaws.com",
            "iam.us-gov.api.aws",
            "iam.us-gov.amazonaws.com",
            "iam.us-gov.api.aws",
        ),
    ),
    _Partition(
        "aws-iso-b",
        "us-isob-",
        "sc2s.sgov.gov",
        "api.aws.scloud",
        _Iam(
            "us-isob-east-1",
            "iam.us-isob-east-1.sc2s.sgov.gov",
            "iam.api.aws.scloud",
            "iam-fips.us-isob-east-1.sc2s.sgov.gov",
            "iam-fips.api.aws.scloud",
        ),
    ),
    _Partition(
        "aws-iso-f",
        "us-isof-",
        "csp.hci.ic.gov",
        "api.aws.hci.ic.gov",
        _Iam(
            "us-isof-south-1",
            "iam.us-isof-south-1.csp.hci.ic.gov",
            "iam.api.aws.hci.ic.gov",
            "iam-fips.csp.hci.ic.gov",
            "iam-fips.api.aws.hci.ic.gov",
        ),
    ),
    _Partition(
        "aws-iso",
        "us-iso-",
        "c2s.ic.gov",
        "api.aws.ic.gov",
        _Iam(
            "us-iso-east-1",
            "iam.us-iso-east-1.c2s.ic.gov",
            "iam.api.aws.ic.gov",
            "iam-fips.us-iso-east-1.c2s.ic.gov",
            "iam-fips.api.aws.ic.gov",
        ),
    ),
    _Partition(
        "aws-iso-e",
        "eu-isoe-",
        "cloud.adc-e.uk",
        "api.cloud-aws.adc-e.uk",
        _Iam(
            "eu-isoe-west-1",
            "iam.eu-isoe-west-1.cloud.adc-e.uk",
            "iam.api.cloud-aws.adc-e.uk",
            "iam-fips.cloud.adc-e.uk",
            "iam-fips.api.cloud-aws.adc-e.uk",
        ),
    ),
    _Partition(
        "aws-eusc",
        "eusc-",
        "amazonaws.eu",
        "api.amazonwebservices.eu",
        _Iam(
            "eusc-de-east-1",
            "iam.eusc-de-east-1.amazonaws.eu",
            "iam.global.api.amazonwebservices.eu",
            "iam-fips.amazonaws.eu",
            "iam-fips.api.amazonwebservices.eu",
        ),
    ),
    _Partition(
        "aws",
        "",
        "amazonaws.com",
        "api.aws",
        _Iam(
            "us-east-1",
            "iam.amazonaws.com",
            "iam.global.api.aws",
            "iam-fips.amazonaws.com",
            "iam-fips.global.api.aws",
        ),
    ),
)
"""Regions by their first letters; the last takes all others."""

_IDS: Final = {"events": "eventbridge"}
"""By what name configuration knows a service, where that is not the one in its endpoint."""


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
    """The endpoint of `service` ("ecs", "sqs", "kinesis", "sts", "events", "iam") for `region`.

    Raises InvalidInput when an override is not an http or https URL.
    """
    own = [f"AWS_ENDPOINT_URL_{configured_name(service).upper()}"]
    if service == "ecs":
        own.append("ECS_ENDPOINT")
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
    partition = _partition(region)
    if service == "iam":
        iam = partition.iam
        by_kind = {(False, False): iam.plain, (False, True): iam.dual}
        by_kind |= {(True, False): iam.fips, (True, True): iam.both}
        return f"https://{by_kind[fips, dual]}"
    # GovCloud's plain SQS, Kinesis, STS and EventBridge endpoints are its FIPS endpoints.
    same = region.startswith("us-gov-") and (
        service == "events" or (service in ("kinesis", "sqs", "sts") and not dual)
    )
    host = f"{service}-fips" if fips and not same else service
    return f"https://{host}.{region}.{partition.dual_stack if dual else partition.suffix}"


def signing_region(service: str, region: str, endpoint: Endpoint) -> str:
    """The region that requests to `service` are signed for: this one, but for IAM, which each
    partition has once. An endpoint in AWS's place is signed for as this region's."""
    if service == "iam" and not endpoint.overridden:
        return _partition(region).iam.region
    return region


def partition_of(region: str) -> str:
    """The partition that a region belongs to, as ARNs begin with it: `aws`, `aws-cn` …
    https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html"""
    return _partition(region).name


def configured_name(service: str) -> str:
    """What variables and the `services` section of a profile call it.
    https://docs.aws.amazon.com/sdkref/latest/guide/ss-endpoints-table.html"""
    return _IDS.get(service, service)


def _partition(region: str) -> _Partition:
    return next(p for p in _PARTITIONS if region.startswith(p.prefix))


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
