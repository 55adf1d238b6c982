"""Judging hosts on which nothing but daemons runs, of environments that leave such hosts.

Only hosts of capacity providers that ECS manages count: it removes those that run nothing but tasks
of DAEMON services, so that a daemon of ours would keep them for ever.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-auto-scaling.html
"""

import math
from typing import Literal

from blox.simulator.model import CallLogged, HostRecord, TaskRecord
from blox.simulator.oracle_lives import wanted_until
from blox.simulator.oracle_truth import Asked, Ledger

Idleness = Literal["busy", "idle", "unclear"]


def scales_in(ledger: Ledger, host: HostRecord) -> bool:
    """Whether ECS removes such hosts when they are idle."""
    provider = ledger.cloud.providers.get(host.provider)
    return provider is not None and provider.managed_scaling == "ENABLED"


def keepers(ledger: Ledger, key: str, host: str, at: float) -> list[TaskRecord]:
    """Every task that the host ever had which keeps it from being idle to this environment: neither
    of a DAEMON service nor a daemon of an environment that leaves idle hosts and is there at `at`.
    """
    found = list(ledger.bystanders(host))
    for other, tasks in ledger.slots.get(host, {}).items():
        if other != key and not _leaves(ledger.asked[other], at):
            found += tasks
    return found


def _leaves(asked: Asked, at: float) -> bool:
    gone = asked.ended is not None and asked.ended <= at
    return not gone and any(wish.when_idle is not None for wish in asked.wishes)


def left_idle(ledger: Ledger, call: CallLogged, asked: Asked, task: TaskRecord) -> bool:
    """Whether this stop was asked for because nothing but daemons had run on its host for long
    enough, as far as the caller can have known."""
    decided = ledger.decided_at(call)
    wishes = asked.during(ledger.known_since(decided), decided)
    waits = [wish.when_idle for wish in wishes if wish.when_idle is not None]
    host = ledger.cloud.hosts[task.host]
    if not waits or not scales_in(ledger, host):
        return False
    begins = decided - min(waits) + ledger.allowances.clock_slack
    if host.registered_at > begins:
        return False
    for other in keepers(ledger, asked.key, task.host, begins):
        ended = _end(other)
        if ended > begins and ledger.known_since(min(ended, decided)) >= other.created_at:
            return False
    return True


def idleness(ledger: Ledger, asked: Asked, arn: str, since: float, until: float) -> Idleness:
    """How the host is in all of [since, until]; unclear: neither for certain, to everybody."""
    waits = [wish.when_idle for wish in asked.during(since, until) if wish.when_idle is not None]
    host = ledger.cloud.hosts[arn]
    if not waits or not scales_in(ledger, host):
        return "busy"
    others = keepers(ledger, asked.key, arn, until)
    if any(o.created_at <= ledger.known_since(since) and _end(o) > until for o in others):
        return "busy"
    long_ago = since - max(waits) - ledger.allowances.news
    if host.registered_at > long_ago or any(_end(other) > long_ago for other in others):
        return "unclear"
    looks = ledger.snapshots[arn].during(long_ago, until)
    steady = all(look.host.status == "ACTIVE" and look.host.agent_connected for look in looks)
    return "idle" if steady else "unclear"


def came_back_unasked(ledger: Ledger, asked: Asked, arn: str, until: float) -> bool:
    """Whether the environment had left the host because it was idle, nothing else has run there
    since, and nothing else about it has changed that a caller could go by."""
    left = ledger.left_idle.get((asked.key, arn))
    if left is None or asked.former:
        return False
    since = ledger.known_since(left)
    if any(end >= since and begin <= until for begin, end in ledger.blind):
        return False  # What a caller knew of the host may have begun anew.
    standings = ledger.standings(asked.key, arn, since, until)
    if len({wish.when_idle for wish in asked.during(since, until)}) != 1:
        return False
    if not all(standing.startable for standing in standings):
        return False
    if _waits_longer(ledger, asked, arn, since, until) or _frozen(ledger, since, until):
        return False
    return not any(_end(other) >= since for other in keepers(ledger, asked.key, arn, until))


def _frozen(ledger: Ledger, since: float, until: float) -> bool:
    """Whether anything was frozen: a daemon of another environment that must not leave now keeps
    the host busy, and may have been seen there for longer than it was."""
    return any(
        order.scope != "host" and order.since <= until and order.until >= since
        for order in ledger.orders
    )


def _waits_longer(ledger: Ledger, asked: Asked, arn: str, since: float, until: float) -> bool:
    """Whether a daemon is or was there of another environment that leaves idle hosts later: then
    the host counts as idle only after that time, for all."""
    ours = max((w.when_idle or 0.0 for w in asked.during(since, until)), default=0.0)
    return any(
        (wish.when_idle or 0.0) > ours
        for other, tasks in ledger.slots.get(arn, {}).items()
        if other != asked.key and any(_end(task) >= since for task in tasks)
        for wish in ledger.asked[other].wishes
    )


def _end(task: TaskRecord) -> float:
    """When it no longer held the host. Its end may be known from the moment that it was asked to
    end, but it is there until it has."""
    return math.inf if task.stopped_at is None else max(task.stopped_at, wanted_until(task))
