"""Credentials, region and profile by the standard chain, with the real aiobotocore."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from blox.base.clock import SystemClock
from blox.ecs.credentials import (
    ChainCredentials,
    FrozenCredentials,
    StandardCredentials,
    open_session,
    profile_endpoints,
    region_of,
)
from blox.ecs.endpoints import ProfileEndpoints
from blox.ecs.port import NotSent
from blox.ecs.signature import Credentials

CONFIG = """
[profile agents]
region = eu-north-1
endpoint_url = http://127.0.0.1:5000
services = local
aws_access_key_id = AKIAPROFILE
aws_secret_access_key = profile-secret

[services local]
sqs =
  endpoint_url = http://127.0.0.1:9324
"""


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials anywhere, and no network to ask for them."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    (tmp_path / "config").write_text(CONFIG)


def get(source: StandardCredentials) -> Credentials:
    return asyncio.run(source.get())


def refused(source: StandardCredentials) -> str:
    with pytest.raises(NotSent) as caught:
        get(source)
    assert caught.value.code == "credentials"
    return caught.value.cause


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "env-token\n")
    found = get(StandardCredentials(SystemClock()))
    assert found == Credentials("AKIAENV", "env-secret", "env-token")


def test_from_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "agents")
    found = get(StandardCredentials(SystemClock()))
    assert found == Credentials("AKIAPROFILE", "profile-secret", None)


def test_without_any_the_error_says_what_to_do() -> None:
    cause = refused(StandardCredentials(SystemClock()))
    assert cause.startswith("no AWS credentials were found")
    assert "AWS_ACCESS_KEY_ID" in cause
    assert "AWS_PROFILE" in cause


def test_a_profile_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "typo")
    assert "typo" in refused(StandardCredentials(SystemClock()))


class Role(FrozenCredentials):
    access_key, secret_key, token = "AKIAROLE", "role-secret", "role-token"


class Expiring(ChainCredentials):
    """A role whose refresh fails from the second time on."""

    asked = 0

    async def get_frozen_credentials(self) -> FrozenCredentials:
        self.asked += 1
        if self.asked > 1:
            raise OSError("169.254.169.254 does not answer")
        return Role()


class Chain:
    """A chain that finds what it is told, and counts how often it is searched."""

    full_config: Mapping[str, Mapping[str, Mapping[str, object]]] = {}

    def __init__(self, found: ChainCredentials | None) -> None:
        self.found = found
        self.searches = 0

    async def get_credentials(self) -> ChainCredentials | None:
        self.searches += 1
        return self.found

    def get_scoped_config(self) -> dict[str, object]:
        return {}


class Watch(SystemClock):
    mono = 100.0

    def monotonic(self) -> float:
        return self.mono


def test_expired_credentials_that_cannot_be_refreshed_are_told() -> None:
    source = StandardCredentials(SystemClock(), session=Chain(Expiring()))
    assert get(source) == Credentials("AKIAROLE", "role-secret", "role-token")
    cause = refused(source)
    assert "could not be refreshed" in cause
    assert "169.254.169.254" in cause


def test_the_chain_is_searched_once_by_all_who_wait_and_not_again_for_a_while() -> None:
    clock, chain = Watch(), Chain(None)

    async def main() -> None:
        source = StandardCredentials(clock, session=chain)
        results = await asyncio.gather(*(source.get() for _ in range(5)), return_exceptions=True)
        assert all(isinstance(result, NotSent) for result in results)
        assert chain.searches == 1
        clock.mono += 5.1
        chain.found = Expiring()
        assert (await source.get()).access_key == "AKIAROLE"
        assert chain.searches == 2

    asyncio.run(main())


def test_region_and_endpoints_of_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_session("agents")
    assert region_of(session, {}) == "eu-north-1"
    assert region_of(session, {"AWS_DEFAULT_REGION": "eu-west-1"}) == "eu-west-1"
    both = {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-west-2"}
    assert region_of(session, both) == "eu-west-2"
    everywhere = "http://127.0.0.1:5000"
    assert profile_endpoints(session, "sqs") == ("http://127.0.0.1:9324", everywhere)
    assert profile_endpoints(session, "ecs") == (None, everywhere)


def test_without_a_profile_there_is_neither() -> None:
    session = open_session()
    assert region_of(session, {}) is None
    assert profile_endpoints(session, "ecs") == ProfileEndpoints()
