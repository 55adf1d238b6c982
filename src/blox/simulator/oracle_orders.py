"""Judging what people told the caller to leave alone, or to wait with: freeze, hold, confirm.

A freeze or a hold binds every call that was decided after it was acknowledged and before it ended,
whenever that call arrives. What had left before is on its way, and nobody can call it back.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from blox.simulator.model import CallLogged, TaskRecord
from blox.simulator.oracle_lives import describe_call, draining
from blox.simulator.oracle_truth import Asked, Ledger, Order, Violation

WINDOW: Final = 300.0
"""Seconds in which many stops on hosts that stopped matching look like a mistake."""
FEW: Final = 10
SHARE: Final = 0.1
CONFIRMED_FOR: Final = 3600.0
"""Seconds for which a confirmation lasts."""
_HOLDS_UP: Final = 5.0
"""Seconds between the look that a stop rests on and the stop, at most."""


@dataclass(frozen=True, slots=True)
class _Aim:
    """One host that a call would act on."""

    cluster: str
    key: str
    host: str


def judge_orders(ledger: Ledger, call: CallLogged) -> Iterator[Violation]:
    """Promise 2 of a stop, promise 9 of a start: neither reaches what is frozen or held."""
    if not ledger.orders:
        return
    decided = earliest = ledger.decided_at(call)
    slack = ledger.allowances.clock_slack
    if ledger.cloud.switches.backdated_refused and call.signed_at is not None:
        # Nobody can tell a call that was dated back, and is refused for that, from one that carried
        # the present and came late. Neither does anything.
        earliest = call.signed_at
    for order in ledger.orders:
        if not (order.since + slack < earliest and decided < order.until - slack):
            continue
        for aim in _aims(ledger, call):
            if not _binds(ledger, order, aim) or _is_over(ledger, order, aim, decided):
                continue
            stops = call.operation == "StopTask"
            what = "held" if order.scope == "host" else f"frozen ({order.scope})"
            yield Violation(
                promise=2 if stops else 9,
                at=call.time,
                environment=aim.key,
                host=aim.host,
                text=f"a {call.operation} was decided for what was {what}",
                evidence=(
                    f"since {order.since:.3f} until {order.until:.3f}",
                    describe_call(call),
                ),
            )


def _aims(ledger: Ledger, call: CallLogged) -> list[_Aim]:
    if call.operation == "StopTask":
        task = ledger.cloud.tasks.get(str(call.params.get("task", "")))
        if task is None:
            return []
        return [_Aim(task.cluster, ledger.owners.get(task.arn, ""), task.host)]
    key = ledger.key_of_start(call) or ""
    cluster = str(call.params.get("cluster", "")).rsplit("/", 1)[-1]
    hosts = call.params.get("containerInstances")
    named = hosts if isinstance(hosts, Sequence) else []
    return [_Aim(cluster, key, str(host)) for host in named]


def _binds(ledger: Ledger, order: Order, aim: _Aim) -> bool:
    asked = ledger.asked.get(aim.key)
    place = f"{aim.cluster}/{asked.name}" if asked is not None else ""
    named = {"cluster": aim.cluster, "environment": place, "host": aim.host}
    return order.scope == "everything" or named[order.scope] == order.target


def _is_over(ledger: Ledger, order: Order, aim: _Aim, decided: float) -> bool:
    """A held record that a newer one of its machine has superseded is no host any more."""
    looks = ledger.snapshots.get(aim.host)
    if order.scope != "host" or looks is None:
        return False
    until = decided + ledger.allowances.clock_slack
    return any(look.superseded for look in looks.during(ledger.known_since(decided), until))


def is_held(ledger: Ledger, host: str, since: float, until: float) -> bool:
    """Whether somebody may take the host's machine to be held at some moment of [since, until]."""
    if not ledger.orders:
        return False
    hosts, slack = ledger.cloud.hosts, ledger.allowances.clock_slack
    return any(
        order.scope == "host"
        and hosts[order.target].instance_id == hosts[host].instance_id
        and order.since - slack <= until
        and order.until + slack >= since
        for order in ledger.orders
    )


# --- Many at once ---------------------------------------------------------------------------------


def judge_guard(
    ledger: Ledger, call: CallLogged, asked: Asked, task: TaskRecord
) -> Iterator[Violation]:
    """Promise 2: of daemons on hosts that stopped matching, no more go within five minutes than
    happen without a mistake, and those that somebody confirmed. A process that begins anew may
    count anew."""
    decided = ledger.decided_at(call)
    since = decided - _HOLDS_UP - ledger.allowances.clock_slack
    standings = ledger.standings(asked.key, task.host, since, decided)
    if not standings or any(s.matches or s.superseded or draining(s) for s in standings):
        return
    times = ledger.unmatched_stops.setdefault(asked.key, [])
    times.append(decided)
    span = WINDOW - 2 * ledger.allowances.clock_slack
    most = max(sum(end - span < at <= end for at in times) for end in times)
    allowed = _allowed(ledger, asked, decided)
    if most > allowed:
        yield Violation(
            promise=2,
            at=call.executed_at or call.time,
            environment=asked.key,
            host=task.host,
            text=f"{most} daemons left hosts that stopped matching within five minutes; "
            f"{allowed} may unless somebody confirms it",
            evidence=(describe_call(call),),
        )


def _allowed(ledger: Ledger, asked: Asked, decided: float) -> int:
    hosts = sum(
        not ledger.cloud.hosts[arn].inactive or (ledger.cloud.hosts[arn].inactive_at or 0) > decided
        for arn in ledger.timelines[asked.key]
    )
    begun = sum(decided - WINDOW <= at <= decided for _, at in ledger.blind)
    confirmed = sum(
        stops
        for at, stops in ledger.confirmed.get(asked.key, ())
        if at <= decided <= at + CONFIRMED_FOR + WINDOW
    )
    return max(FEW, math.ceil(SHARE * hosts)) * (1 + begun) + confirmed
