"""AWS credentials and region by the standard chain: environment, profiles, SSO, web identity,
process, container and instance metadata.

The chain is aiobotocore's; only that is used of it, and it is imported when first needed: a client
of its own would cost half a second and 8 MB.
https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
"""

import asyncio
import importlib
import os
from collections.abc import Mapping
from typing import Final, Protocol

from blox.base.ambient import Clock
from blox.ecs.endpoints import ProfileEndpoints
from blox.ecs.port import NotSent
from blox.ecs.signature import Credentials

RETRY_AFTER: Final = 5.0
"""Seconds during which a search that found nothing is not repeated: it may ask the network."""

_ADVICE: Final = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a profile with AWS_PROFILE, "
    "or give this host or task a role"
)


class CredentialSource(Protocol):
    """Where a transport gets what it signs with."""

    async def get(self) -> Credentials:
        """Credentials that are good now. Raises NotSent("credentials", …) with a sentence that
        says what to do."""
        ...


class StaticCredentials:
    """Credentials that never change, for tests and the simulated cloud."""

    def __init__(self, access_key: str, secret: str, token: str | None = None) -> None:
        self._credentials = Credentials(access_key, secret, token)

    async def get(self) -> Credentials:
        return self._credentials


class FrozenCredentials(Protocol):
    """One consistent set, as botocore hands it out."""

    access_key: str
    secret_key: str
    token: str | None


class ChainCredentials(Protocol):
    """What the chain found; asking refreshes it when it is about to expire."""

    async def get_frozen_credentials(self) -> FrozenCredentials: ...


class ChainSession(Protocol):
    """The part of an aiobotocore session that is used here."""

    full_config: Mapping[str, Mapping[str, Mapping[str, object]]]

    async def get_credentials(self) -> ChainCredentials | None: ...

    def get_scoped_config(self) -> Mapping[str, object]: ...


def open_session(profile: str | None = None) -> ChainSession:
    """A session of aiobotocore. Blocks for a third of a second at first: call it in a thread."""
    module = importlib.import_module("aiobotocore.session")
    session: ChainSession = module.AioSession(profile=profile)
    return session


class StandardCredentials:
    """The standard chain, asked once, refreshed as its source requires.

    Roles are refreshed minutes before they expire, by whichever request comes first; requests go on
    with the old ones meanwhile.
    """

    def __init__(self, clock: Clock, *, session: ChainSession | None = None) -> None:
        self._clock = clock
        self._session = session
        self._found: ChainCredentials | None = None
        self._failed_at: float | None = None
        self._search = asyncio.Lock()

    async def get(self) -> Credentials:
        if self._found is None:
            async with self._search:
                if self._found is None:
                    self._found = await self._look()
        try:
            frozen = await self._found.get_frozen_credentials()
        except Exception as error:  # botocore, the network and files fail in many ways
            raise NotSent(
                "credentials", f"the AWS credentials could not be refreshed: {error}; {_ADVICE}."
            ) from error
        return Credentials(
            frozen.access_key.strip(),
            frozen.secret_key.strip(),
            frozen.token.strip() if frozen.token else None,
        )

    async def _look(self) -> ChainCredentials:
        nothing = f"no AWS credentials were found: {_ADVICE}."
        now = self._clock.monotonic()
        if self._failed_at is not None and now - self._failed_at < RETRY_AFTER:
            raise NotSent("credentials", nothing)
        try:
            if self._session is None:
                self._session = await asyncio.to_thread(open_session)
            found = await self._session.get_credentials()
        except Exception as error:  # botocore, the network and files fail in many ways
            self._failed_at = now
            raise NotSent(
                "credentials", f"the AWS credentials could not be read: {error}; {_ADVICE}."
            ) from error
        if found is None:
            self._failed_at = now
            raise NotSent("credentials", nothing)
        return found


def region_of(session: ChainSession, environ: Mapping[str, str] = os.environ) -> str | None:
    """The region: AWS_REGION, AWS_DEFAULT_REGION, or the profile's; None when nothing says."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if environ.get(name, "").strip():
            return environ[name].strip()
    region = session.get_scoped_config().get("region")
    return region.strip() if isinstance(region, str) and region.strip() else None


def profile_endpoints(session: ChainSession, service: str) -> ProfileEndpoints:
    """What the profile says about the endpoint of `service` ("ecs", "sqs", "sts")."""
    profile = session.get_scoped_config()
    everywhere = profile.get("endpoint_url")
    own: object = None
    section = profile.get("services")
    if isinstance(section, str):
        entry = session.full_config.get("services", {}).get(section, {}).get(service)
        own = entry.get("endpoint_url") if isinstance(entry, Mapping) else None
    return ProfileEndpoints(
        own if isinstance(own, str) else None, everywhere if isinstance(everywhere, str) else None
    )
