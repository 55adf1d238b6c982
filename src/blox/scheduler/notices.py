"""What others are told: a host is ready, is not ready in time, an environment's health has turned.

Values in, notices out. Who asks hands in what is known; when a notice is due is decided here, how
it reaches anybody is not known here.

    a host joins ──every environment that wants it has its daemon──▶ ready
         │                                                             ▲
         └──not after N seconds──▶ not ready ──────────────────────────┤
                                       └──drains, or is gone──▶ gone   │
                                                                (late) ┘

A host *joins* when it appears in a cluster that had been read completely before, or when it had
registered less than N seconds before the first complete reading. Hosts that were there already are
not spoken of: a restart tells nothing anew but of the youngest hosts, and those notices have the
same ids as before. A host that registered within the last `REMEMBERED` seconds and is not ready yet
when we begin counts as told: its end is told, because a launch hook may still wait for it.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from blox.base.ambient import Now
from blox.scheduler.model import WANTED, SlotClass
from blox.scheduler.verdicts import Verdict

REMEMBERED: Final = 3600.0
"""Seconds: as long as a launch hook waits if nobody says otherwise.
https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html"""
LONGEST_TEXT: Final = 500
"""Characters of a sentence. What ECS says in them has no bound."""


class Kind(StrEnum):
    """What a notice is about."""

    HOST_READY = "hostReady"
    HOST_NOT_READY = "hostNotReady"
    HOST_GONE = "hostGone"
    """It left, and had been told not ready."""
    ENVIRONMENT_UNHEALTHY = "environmentUnhealthy"
    ENVIRONMENT_HEALTHY = "environmentHealthy"
    ENVIRONMENT_GONE = "environmentGone"
    """It was deleted, and had been told unhealthy."""


class Standing(StrEnum):
    """How an environment stands to a host."""

    HAS = "has"
    """Exactly one healthy daemon runs there."""
    WAITS = "waits"
    NOT_WANTED = "notWanted"
    """The environment wants none there."""
    UNJUDGED = "unjudged"
    """Nothing has been decided yet."""


_WAITING: Final = WANTED | {SlotClass.NOT_READY, SlotClass.AWAY, SlotClass.LOST, SlotClass.HELD}
"""Classes of hosts that have, or will have, or would have the daemon."""
_BEFORE_READING: Final = ("unprimed", "cluster-inactive")
"""Reasons of verdicts from before the cluster was read."""


def standing_of(verdict: Verdict | None) -> Standing:
    """What a slot's verdict means for the host's readiness. A healthy daemon of an older revision
    does the job: its replacement waits for the budget, and a new host must not wait with it."""
    if verdict is None or verdict.reason in _BEFORE_READING:
        return Standing.UNJUDGED
    if verdict.slot_class not in _WAITING:
        return Standing.NOT_WANTED
    current = verdict.slot_class is SlotClass.CURRENT
    outdated = verdict.slot_class is SlotClass.OUTDATED and verdict.available
    return Standing.HAS if current or outdated else Standing.WAITS


def cut(text: str) -> str:
    """The text, or as much of it as a notice carries."""
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


# --- Hosts ----------------------------------------------------------------------------------------


class SlotNow(Struct, frozen=True, kw_only=True):
    """One environment as one host sees it."""

    environment: str
    environment_id: str
    standing: Standing
    slot_class: str = ""
    reason: str = ""
    sentence: str = ""
    who: str = ""
    next_step: str = ""


class HostNow(Struct, frozen=True, kw_only=True):
    """One host as it is known."""

    arn: str
    cluster_arn: str
    instance_id: str = ""
    zone: str = ""
    capacity_provider: str = ""
    registered_at: float | None = None
    """By ECS's clock."""
    able: bool = True
    """ACTIVE, its agent connected."""
    leaving: bool = False
    """Draining, deregistering, or superseded."""


class HostNotice(Struct, frozen=True, kw_only=True):
    """A notice about a host."""

    id: str
    """The same whenever the same is told again, by another process too: each registration has an
    ARN of its own."""
    kind: Kind
    at: float
    """ECS's clock."""
    host: HostNow
    seconds: float
    """Since it joined."""
    late: bool
    """It had been told not ready."""
    slots: tuple[SlotNow, ...]
    """Of every environment that wants it."""


class _Join(Struct):
    """A host that has joined and is not ready yet."""

    host: HostNow
    at: float
    """When it joined (monotonic)."""
    told: bool = False
    """It was told, or counts as told, not ready."""
    quiet: bool = False
    """It was there before us: if it turns out to be ready, that is no news."""


class Joins:
    """The hosts that joined lately, and what was told of them."""

    def __init__(self, *, not_ready_after: float) -> None:
        """`not_ready_after`: N, in seconds."""
        self._not_ready_after = not_ready_after
        self._known: dict[str, dict[str, None]] = {}
        """Cluster → hosts that are there."""
        self._open: dict[str, _Join] = {}

    def __len__(self) -> int:
        """How many hosts are waited for."""
        return len(self._open)

    def knows(self, cluster_arn: str) -> bool:
        """Whether the cluster has been listed."""
        return cluster_arn in self._known

    def waiting(self) -> tuple[HostNow, ...]:
        """The hosts that are waited for, in the order in which they came."""
        return tuple(join.host for join in self._open.values())

    def next_due(self) -> float | None:
        """When (monotonic) the next one has waited for too long, if nothing happens before."""
        due = [j.at + self._not_ready_after for j in self._open.values() if not j.told]
        return min(due, default=None)

    def overdue(self, *, now: Now) -> tuple[str, ...]:
        """The hosts (ARNs) that have waited for too long, of which nothing was told yet."""
        since = now.mono - self._not_ready_after
        return tuple(arn for arn, join in self._open.items() if not join.told and join.at <= since)

    def listed(
        self, cluster_arn: str, hosts: Iterable[HostNow], *, now: Now, before: bool = False
    ) -> tuple[HostNotice, ...]:
        """All hosts of a cluster that was read completely. `before`: a process before us may have
        told of them."""
        first = cluster_arn not in self._known
        known = self._known.setdefault(cluster_arn, {})
        there = {host.arn: host for host in hosts}
        gone = [arn for arn in known if arn not in there]
        told = [self.gone(cluster_arn, arn, now=now) for arn in gone]
        told += [self._seen(host, first=first, before=before, now=now) for host in there.values()]
        return tuple(notice for notice in told if notice is not None)

    def seen(self, host: HostNow, *, now: Now) -> HostNotice | None:
        """A host is there, or has changed. Its cluster must have been listed before."""
        return self._seen(host, first=False, before=False, now=now)

    def gone(self, cluster_arn: str, host_arn: str, *, now: Now) -> HostNotice | None:
        """A host is not there any more."""
        self._known.get(cluster_arn, {}).pop(host_arn, None)
        return self._over(host_arn, now=now)

    def forget(self, cluster_arn: str, *, now: Now) -> tuple[HostNotice, ...]:
        """The cluster is not watched any more, or must be read anew."""
        hosts = self._known.pop(cluster_arn, {})
        told = (self._over(arn, now=now) for arn in hosts)
        return tuple(notice for notice in told if notice is not None)

    def judge(self, host_arn: str, slots: Sequence[SlotNow], *, now: Now) -> HostNotice | None:
        """What is to be told of a host that is waited for. `slots`: of every environment of its
        cluster that is deployed. Where there is none, nothing is told."""
        join = self._open.get(host_arn)
        if join is None:
            return None
        wanting = tuple(slot for slot in slots if slot.standing is not Standing.NOT_WANTED)
        overdue = now.mono >= join.at + self._not_ready_after
        if not wanting:
            if join.host.able and (slots or join.told):
                return self._ready(join, (), now=now)
            if overdue and not join.told:
                del self._open[host_arn]
            return None
        if all(slot.standing is Standing.HAS for slot in wanting):
            return self._ready(join, wanting, now=now)
        if all(slot.standing is not Standing.UNJUDGED for slot in wanting):
            join.quiet = False
        if not overdue or join.told:
            return None
        join.told = True
        return _host_notice(Kind.HOST_NOT_READY, join, wanting, late=False, now=now)

    def _seen(self, host: HostNow, *, first: bool, before: bool, now: Now) -> HostNotice | None:
        known = self._known.setdefault(host.cluster_arn, {})
        if host.leaving:
            known[host.arn] = None
            return self._over(host.arn, now=now)
        join = self._open.get(host.arn)
        if join is not None:
            if join.host.registered_at is None and host.registered_at is not None:
                # The first event about it need not have said when it registered.
                join.at = min(join.at, now.mono - max(0.0, now.ecs - host.registered_at))
            join.host = host
        elif host.arn not in known:
            known[host.arn] = None
            self._begin(host, first=first, before=before, now=now)
        return None

    def _begin(self, host: HostNow, *, first: bool, before: bool, now: Now) -> None:
        age = 0.0
        if host.registered_at is not None:
            age = max(0.0, now.ecs - host.registered_at)
        elif first:
            return
        join = _Join(host=host, at=now.mono - age)
        if first and age >= self._not_ready_after:
            if not before or age >= REMEMBERED:
                return
            join.told, join.quiet = True, True
        self._open[host.arn] = join

    def _ready(self, join: _Join, slots: tuple[SlotNow, ...], *, now: Now) -> HostNotice | None:
        del self._open[join.host.arn]
        if join.quiet:
            return None
        return _host_notice(Kind.HOST_READY, join, slots, late=join.told, now=now)

    def _over(self, host_arn: str, *, now: Now) -> HostNotice | None:
        join = self._open.pop(host_arn, None)
        if join is None or not join.told or join.quiet:
            return None
        return _host_notice(Kind.HOST_GONE, join, (), late=True, now=now)


def _host_notice(
    kind: Kind, join: _Join, slots: tuple[SlotNow, ...], *, late: bool, now: Now
) -> HostNotice:
    host = join.host
    return HostNotice(
        id=_id(kind, host.arn),
        kind=kind,
        at=now.ecs,
        host=host,
        seconds=max(0.0, now.mono - join.at),
        late=late,
        slots=slots,
    )


# --- Environments ---------------------------------------------------------------------------------


class Fault(Struct, frozen=True, kw_only=True):
    """One reason why an environment is not healthy."""

    code: str
    sentence: str
    who: str
    next_step: str
    count: int = 0
    """Hosts concerned; 0: the environment as a whole."""
    request_id: str = ""


class EnvironmentNow(Struct, frozen=True, kw_only=True):
    """One environment and what is wrong with it; nothing, if it is healthy."""

    id: str
    name: str
    cluster_arn: str
    faults: tuple[Fault, ...] = ()


class EnvironmentNotice(Struct, frozen=True, kw_only=True):
    """A notice about an environment."""

    id: str
    kind: Kind
    at: float
    """ECS's clock."""
    environment: EnvironmentNow
    seconds: float
    """How long it has been, or had been, unhealthy."""


Notice = HostNotice | EnvironmentNotice


class _Health(Struct):
    environment: EnvironmentNow
    told: bool = False
    """It was told unhealthy."""
    turned: float | None = None
    """Since when (monotonic) it has not been as it was told."""
    since: float = 0.0
    """Since when (monotonic) it has been unhealthy, while that is told."""


class Healths:
    """How environments did when they were last spoken of.

    A turn is told when it has lasted for a while, so that one read that fails, or a daemon that
    crashes again and again, makes no stream of notices. An environment that is healthy when it is
    first looked at is not spoken of; one that is unhealthy then is.
    """

    def __init__(self, *, unhealthy_for: float, healthy_for: float) -> None:
        """How long, in seconds, each state must last before it is told."""
        self._unhealthy_for = unhealthy_for
        self._healthy_for = healthy_for
        self._states: dict[str, _Health] = {}

    def seen(self, environment: EnvironmentNow, *, now: Now) -> EnvironmentNotice | None:
        """How an environment does now; what is to be told of it."""
        state = self._states.setdefault(environment.id, _Health(environment))
        state.environment = environment
        unhealthy = bool(environment.faults)
        if unhealthy is state.told:
            state.turned = None
            return None
        if state.turned is None:
            state.turned = now.mono
        if now.mono - state.turned < (self._unhealthy_for if unhealthy else self._healthy_for):
            return None
        began = state.turned
        state.told, state.turned = unhealthy, None
        if unhealthy:
            state.since = began
            return _told(Kind.ENVIRONMENT_UNHEALTHY, environment, now.mono - began, now=now)
        return _told(Kind.ENVIRONMENT_HEALTHY, environment, began - state.since, now=now)

    def only(self, there: Mapping[str, object], *, now: Now) -> tuple[EnvironmentNotice, ...]:
        """Forget every environment whose id is not there any more; what is to be told of them."""
        gone = [state for id_, state in self._states.items() if id_ not in there]
        for state in gone:
            del self._states[state.environment.id]
        return tuple(
            _told(Kind.ENVIRONMENT_GONE, state.environment, now.mono - state.since, now=now)
            for state in gone
            if state.told
        )


def _told(
    kind: Kind, environment: EnvironmentNow, seconds: float, *, now: Now
) -> EnvironmentNotice:
    return EnvironmentNotice(
        id=_id(kind, environment.id, f"{now.ecs:.6f}"),
        kind=kind,
        at=now.ecs,
        environment=environment,
        seconds=max(0.0, seconds),
    )


def _id(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
