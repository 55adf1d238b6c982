"""Where AWS is and who we are there: region, endpoints and credentials, found without asking AWS.

Only files and variables are read here. Credentials are looked for when the first request needs
them, and again for as long as there are none, so that a process that starts before its role or its
file is there begins to work by itself.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from blox.base.ambient import Clock
from blox.base.errors import InvalidInput
from blox.ecs.aws import AwsHttp, Service
from blox.ecs.credentials import (
    ChainSession,
    StandardCredentials,
    open_session,
    profile_endpoints,
    region_of,
)
from blox.ecs.endpoints import (
    Endpoint,
    ProfileEndpoints,
    configured_name,
    endpoint_of,
    signing_region,
)
from blox.ecs.signature import Credentials

RENEW_AFTER: Final = 10.0
"""Seconds between two new searches while AWS refuses what the last one found."""

_log = structlog.get_logger("blox.aws")


class RenewedCredentials:
    """The standard chain, searched anew when AWS refuses what it found.

    The chain itself refreshes roles before they expire. What it read from variables or a file it
    keeps for ever; when a person has renewed that file, only a new search finds out.
    """

    def __init__(self, clock: Clock, *, session: ChainSession | None = None) -> None:
        self._clock = clock
        self._source = StandardCredentials(clock, session=session)
        self._renewed_at = float("-inf")

    async def get(self) -> Credentials:
        return await self._source.get()

    def refused(self) -> None:
        """AWS did not take them: they have expired, or were never right."""
        now = self._clock.monotonic()
        if now - self._renewed_at >= RENEW_AFTER:
            self._renewed_at = now
            self._source = StandardCredentials(self._clock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aws:
    """One region of AWS as this process is told to reach it."""

    region: str
    endpoints: Mapping[str, Endpoint]
    """Of "ecs", "sqs", "kinesis", "sts", "events" and "iam"."""
    credentials: RenewedCredentials

    def transport(self, service: Service, *, clock: Clock) -> AwsHttp:
        """A transport of its own to one service."""
        endpoint = self.endpoints[service.name]
        return AwsHttp(
            service,
            region=signing_region(service.name, self.region, endpoint),
            endpoint=endpoint.url,
            credentials=self.credentials,
            clock=clock,
        )

    @property
    def knows_identity(self) -> bool:
        """Whether STS can tell who we are at this ECS. Where somebody else's ECS was put in AWS's
        place, AWS's own STS knows nothing of it."""
        return self.endpoints["sts"].overridden or not self.endpoints["ecs"].overridden


async def find_aws(clock: Clock, *, environ: Mapping[str, str] = os.environ) -> Aws:
    """What the environment and the profile say.

    Raises InvalidInput when no region is named, or an endpoint is no URL.
    """
    session, trouble = await asyncio.to_thread(_session)
    region = _region(session, environ)
    if region is None:
        raise InvalidInput(
            "No AWS region is named: set AWS_REGION, or a region in the profile."
            + (f" {trouble}" if trouble else "")
        )
    if trouble:
        _log.warning("the AWS configuration cannot be read", problem=trouble)
    endpoints = {}
    for service in ("ecs", "sqs", "kinesis", "sts", "events", "iam"):
        profile = ProfileEndpoints()
        if session is not None:
            profile = profile_endpoints(session, configured_name(service))
        endpoints[service] = endpoint_of(service, region, environ=environ, profile=profile)
    return Aws(
        region=region,
        endpoints=endpoints,
        credentials=RenewedCredentials(clock, session=session),
    )


def _session() -> tuple[ChainSession | None, str]:
    """A session whose profile can be read; else None and why. Blocks: imports and reads files."""
    try:
        session = open_session()
        session.get_scoped_config()
    except Exception as error:  # noqa: BLE001 - botocore has many ways to dislike a file
        return None, f"{error}."
    return session, ""


def _region(session: ChainSession | None, environ: Mapping[str, str]) -> str | None:
    if session is not None:
        return region_of(session, environ)
    named = (environ.get(name, "").strip() for name in ("AWS_REGION", "AWS_DEFAULT_REGION"))
    return next((region for region in named if region), None)
