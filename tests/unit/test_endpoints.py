"""Where AWS's services are: as botocore resolves it, and as the environment overrides it."""

import json
from typing import Any

import botocore.session
import pytest
from botocore.endpoint_provider import EndpointProvider

from blox.base.errors import InvalidInput
from blox.ecs.endpoints import (
    Endpoint,
    ProfileEndpoints,
    configured_name,
    endpoint_of,
    partition_of,
    signing_region,
)

REGIONS = [
    "us-east-1",
    "eu-central-1",
    "me-south-1",
    "us-gov-west-1",
    "us-gov-east-1",
    "cn-north-1",
    "cn-northwest-1",
    "us-iso-east-1",
    "us-isob-east-1",
    "us-isof-south-1",
    "eu-isoe-west-1",
    "eusc-de-east-1",
]


@pytest.fixture(scope="module")
def botocores() -> dict[str, EndpointProvider]:
    loader: Any = botocore.session.get_session().get_component("data_loader")
    partitions = loader.load_data("partitions")
    return {
        service: EndpointProvider(
            loader.load_service_model(service, "endpoint-rule-set-1"), partitions
        )
        for service in ("ecs", "sqs", "kinesis", "sts", "events", "iam")
    }


@pytest.mark.parametrize("service", ["ecs", "sqs", "kinesis", "sts", "events", "iam"])
@pytest.mark.parametrize("fips", [False, True])
@pytest.mark.parametrize("dual", [False, True])
def test_standard_endpoints_are_botocores(
    botocores: dict[str, EndpointProvider], service: str, fips: bool, dual: bool
) -> None:
    environ = {
        "AWS_USE_FIPS_ENDPOINT": json.dumps(fips),
        "AWS_USE_DUALSTACK_ENDPOINT": json.dumps(dual),
    }
    extra = {"UseGlobalEndpoint": False} if service == "sts" else {}
    for region in REGIONS:
        theirs = botocores[service].resolve_endpoint(
            Region=region, UseFIPS=fips, UseDualStack=dual, **extra
        )
        ours = endpoint_of(service, region, environ=environ)
        assert ours == Endpoint(theirs.url, "standard")
        assert not ours.overridden
        schemes: list[dict[str, str]] = theirs.properties.get("authSchemes") or [{}]
        assert signing_region(service, region, ours) == schemes[0].get("signingRegion", region)


def test_a_region_belongs_to_the_partition_that_botocore_says() -> None:
    session: Any = botocore.session.get_session()
    for region in REGIONS:
        assert partition_of(region) == session.get_partition_for_region(region)


def test_an_iam_in_place_of_awss_is_signed_for_as_the_region() -> None:
    environ = {"AWS_ENDPOINT_URL_IAM": "http://iam"}
    found = endpoint_of("iam", "eu-west-1", environ=environ)
    assert found == Endpoint("http://iam", "AWS_ENDPOINT_URL_IAM")
    assert signing_region("iam", "eu-west-1", found) == "eu-west-1"


def test_eventbridge_goes_by_its_full_name_where_it_is_configured() -> None:
    environ = {
        "AWS_ENDPOINT_URL_EVENTS": "http://wrong",
        "AWS_ENDPOINT_URL_EVENTBRIDGE": "http://b",
    }
    assert endpoint_of("events", "us-east-1", environ=environ).url == "http://b"
    assert configured_name("events") == "eventbridge"
    assert configured_name("iam") == "iam"


EVERYTHING = {
    "AWS_ENDPOINT_URL_ECS": "http://1",
    "ECS_ENDPOINT": "http://2",
    "AWS_ENDPOINT_URL": "http://3",
    "AWS_ENDPOINT_URL_SQS": "http://sqs",
}
PROFILE = ProfileEndpoints(service="http://4", profile="http://5")


def test_the_order_of_overrides() -> None:
    environ = dict(EVERYTHING)
    profile = PROFILE
    found = []
    for name in ("AWS_ENDPOINT_URL_ECS", "ECS_ENDPOINT", "AWS_ENDPOINT_URL"):
        found.append(endpoint_of("ecs", "us-east-1", environ=environ, profile=profile))
        del environ[name]
    found += [
        endpoint_of("ecs", "us-east-1", environ=environ, profile=rest)
        for rest in (profile, profile._replace(service=None), ProfileEndpoints())
    ]
    assert found == [
        ("http://1", "AWS_ENDPOINT_URL_ECS"),
        ("http://2", "ECS_ENDPOINT"),
        ("http://3", "AWS_ENDPOINT_URL"),
        ("http://4", "profile"),
        ("http://5", "profile"),
        ("https://ecs.us-east-1.amazonaws.com", "standard"),
    ]


def test_each_service_has_its_own_variable() -> None:
    def url(service: str) -> str:
        return endpoint_of(service, "us-east-1", environ=EVERYTHING).url

    assert (url("sqs"), url("sts")) == ("http://sqs", "http://3")


def test_awss_overrides_can_be_switched_off() -> None:
    environ = EVERYTHING | {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "True"}
    del environ["ECS_ENDPOINT"]
    found = endpoint_of("ecs", "us-east-1", environ=environ, profile=PROFILE)
    assert found.source == "standard"


def test_blank_variables_are_none() -> None:
    environ = {"AWS_ENDPOINT_URL_ECS": " ", "AWS_ENDPOINT_URL": ""}
    assert endpoint_of("ecs", "us-east-1", environ=environ).source == "standard"


@pytest.mark.parametrize(
    "url", ["localhost:4566", "ftp://x", "http://", "http://x?y=1", "http://x:99999", "http://[x"]
)
def test_what_is_no_url_is_refused_by_name(url: str) -> None:
    with pytest.raises(InvalidInput, match="ECS_ENDPOINT"):
        endpoint_of("ecs", "us-east-1", environ={"ECS_ENDPOINT": url})
