"""Notices as receivers get them: one JSON shape for webhooks and for EventBridge, version 1.

Members may be added to a version; none is renamed, removed or given another meaning in it.
"""

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
from msgspec import Struct

from blox.base.ids import parse_arn, short_id
from blox.scheduler.notices import (
    EnvironmentNotice,
    Fault,
    HostNotice,
    Kind,
    Notice,
    SlotNow,
    Standing,
    cut,
)

SOURCE: Final = "blox"
"""Of our events on EventBridge."""
MOST_ITEMS: Final = 100
"""Environments or problems in one notice, so that it stays far below the largest event:
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html"""
DETAIL_TYPES: Final = {
    Kind.HOST_READY: "Blox Host Ready",
    Kind.HOST_NOT_READY: "Blox Host Not Ready",
    Kind.HOST_GONE: "Blox Host Gone",
    Kind.ENVIRONMENT_UNHEALTHY: "Blox Environment Unhealthy",
    Kind.ENVIRONMENT_HEALTHY: "Blox Environment Healthy",
    Kind.ENVIRONMENT_GONE: "Blox Environment Gone",
}
"""What rules on EventBridge match."""


class _Body(Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of what receivers get."""


class _HostBody(_Body, frozen=True):
    arn: str
    instance_id: str
    zone: str
    capacity_provider: str
    registered_at: datetime | None


class _SlotBody(_Body, frozen=True):
    name: str
    id: str
    ready: bool
    state: str
    reason: str
    sentence: str
    who: str
    next_step: str


class _ProblemBody(_Body, frozen=True):
    code: str
    sentence: str
    who: str
    next_step: str
    hosts: int
    request_id: str


class _NamedBody(_Body, frozen=True):
    name: str
    id: str


class _Common(_Body, frozen=True):
    version: Literal[1]
    id: str
    at: datetime
    kind: Kind
    text: str
    account: str
    region: str
    cluster: str
    cluster_arn: str
    seconds: float


class _HostNoticeBody(_Common, frozen=True):
    late: bool
    host: _HostBody
    environments: tuple[_SlotBody, ...]


class _EnvironmentNoticeBody(_Common, frozen=True):
    environment: _NamedBody
    problems: tuple[_ProblemBody, ...]


class Parcel(Struct, frozen=True, kw_only=True):
    """One notice, ready to be sent."""

    id: str
    kind: Kind
    at: float
    """ECS's clock."""
    resources: tuple[str, ...]
    """ARNs of what it is about."""
    body: bytes

    @property
    def detail_type(self) -> str:
        """What it is called on EventBridge."""
        return DETAIL_TYPES[self.kind]


def parcel(notice: Notice) -> Parcel:
    """The notice in JSON."""
    if isinstance(notice, HostNotice):
        body: _Common = _host_body(notice)
        resources: tuple[str, ...] = (notice.host.arn, notice.host.cluster_arn)
    else:
        body = _environment_body(notice)
        resources = (notice.environment.cluster_arn,)
    return Parcel(
        id=notice.id,
        kind=notice.kind,
        at=notice.at,
        resources=resources,
        body=msgspec.json.encode(body),
    )


def signature(secret: str, body: bytes) -> str:
    """The value of X-Blox-Signature: HMAC-SHA256 over the body as it is sent."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def text_of(notice: Notice) -> str:
    """The notice in one sentence, for people."""
    if isinstance(notice, EnvironmentNotice):
        return _environment_text(notice)
    host = notice.host
    name = host.instance_id or short_id(host.arn)
    where = f"{name} in {short_id(host.cluster_arn)}"
    after = f"{notice.seconds:.0f} s after it joined"
    if notice.kind is Kind.HOST_GONE:
        return f"{where} left, {after}, without ever having been ready."
    if notice.kind is Kind.HOST_READY:
        names = ", ".join(slot.environment for slot in notice.slots[:MOST_ITEMS])
        late = ", late" if notice.late else ""
        return f"{where} is ready{late}, {after}: {names or 'no environment wants it'}."
    waits = [slot for slot in notice.slots if slot.standing is not Standing.HAS]
    first = waits[0]
    more = f"; and {len(waits) - 1} more" if len(waits) > 1 else ""
    why = f"{first.environment}: {cut(first.sentence.rstrip('.'))}{more}"
    return f"{where} is not ready, {after}. {why}. Next ({first.who}): {first.next_step}."


def _environment_text(notice: EnvironmentNotice) -> str:
    environment = notice.environment
    where = f"{short_id(environment.cluster_arn)}/{environment.name}"
    if notice.kind is Kind.ENVIRONMENT_HEALTHY:
        return f"{where} is healthy again, after {notice.seconds:.0f} s."
    if notice.kind is Kind.ENVIRONMENT_GONE:
        return f"{where} was deleted. It had been unhealthy."
    first = environment.faults[0]
    hosts = f"{first.count} hosts: " if first.count > 1 else ""
    more = f"; and {len(environment.faults) - 1} more" if len(environment.faults) > 1 else ""
    why = f"{hosts}{cut(first.sentence.rstrip('.'))}{more}"
    return f"{where} is unhealthy. {why}. Next ({first.who}): {first.next_step}."


def _host_body(notice: HostNotice) -> _HostNoticeBody:
    host = notice.host
    arn = parse_arn(host.cluster_arn)
    registered = host.registered_at
    return _HostNoticeBody(
        version=1,
        id=notice.id,
        at=_moment(notice.at),
        kind=notice.kind,
        text=text_of(notice),
        account="" if arn is None else arn.account,
        region="" if arn is None else arn.region,
        cluster=short_id(host.cluster_arn),
        cluster_arn=host.cluster_arn,
        seconds=round(notice.seconds, 1),
        late=notice.late,
        host=_HostBody(
            arn=host.arn,
            instance_id=host.instance_id,
            zone=host.zone,
            capacity_provider=host.capacity_provider,
            registered_at=None if registered is None else _moment(registered),
        ),
        environments=tuple(_slot_body(slot) for slot in notice.slots[:MOST_ITEMS]),
    )


def _environment_body(notice: EnvironmentNotice) -> _EnvironmentNoticeBody:
    environment = notice.environment
    arn = parse_arn(environment.cluster_arn)
    return _EnvironmentNoticeBody(
        version=1,
        id=notice.id,
        at=_moment(notice.at),
        kind=notice.kind,
        text=text_of(notice),
        account="" if arn is None else arn.account,
        region="" if arn is None else arn.region,
        cluster=short_id(environment.cluster_arn),
        cluster_arn=environment.cluster_arn,
        seconds=round(notice.seconds, 1),
        environment=_NamedBody(name=environment.name, id=environment.id),
        problems=tuple(_problem_body(fault) for fault in environment.faults[:MOST_ITEMS]),
    )


def _slot_body(slot: SlotNow) -> _SlotBody:
    return _SlotBody(
        name=slot.environment,
        id=slot.environment_id,
        ready=slot.standing is Standing.HAS,
        state=slot.slot_class,
        reason=slot.reason,
        sentence=cut(slot.sentence),
        who=slot.who,
        next_step=slot.next_step,
    )


def _problem_body(fault: Fault) -> _ProblemBody:
    return _ProblemBody(
        code=fault.code,
        sentence=cut(fault.sentence),
        who=fault.who,
        next_step=fault.next_step,
        hosts=fault.count,
        request_id=fault.request_id,
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(seconds, 3), UTC)
