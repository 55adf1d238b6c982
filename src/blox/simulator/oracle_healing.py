"""Judging what is left when the faults are over and time enough has passed.

Every host that can have its daemon has exactly one, RUNNING, of what was asked last; hosts that
must not have one have none; and what blox reports about each host is what is so.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from blox.ecs.model import ACTIVE, RUNNING
from blox.simulator.documents import RESERVED_TCP
from blox.simulator.model import DefinitionRecord, HostRecord, TaskRecord
from blox.simulator.oracle_idle import idleness
from blox.simulator.oracle_lives import Standing, describe_task, draining, ran_within, wanted_at
from blox.simulator.oracle_orders import is_held
from blox.simulator.oracle_truth import Asked, Ledger, Violation, allowance

CURRENT: Final = "current"
NOT_SELECTED: Final = "not selected"
IDLE: Final = "idle"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedHost:
    """What blox says of one host of one environment."""

    environment: str
    """The key that `Oracle.expect` was given."""
    host: str
    """The container instance's ARN."""
    state: str
    """The class in which it is counted: `current`, `leaving`, `unmatched`, …"""
    reason: str
    """The sentence that explains it."""


def judge_healed(ledger: Ledger, now: float, *, settle: float) -> Iterator[Violation]:
    """Promises 1, 3, 5 and 9 at the end. `settle`: what changed less long ago is not judged."""
    for asked in ledger.asked.values():
        if asked.stopping is not None:
            yield from _judge_stopped(ledger, asked, now)
        if asked.ended is not None or not asked.latest.definition:
            continue
        stalled = _stalled(ledger, asked)
        for host in ledger.timelines[asked.key]:
            yield from _judge_host(ledger, asked, host, now, settle, stalled=stalled)


def _judge_stopped(ledger: Ledger, asked: Asked, now: float) -> Iterator[Violation]:
    """Promise 3: of an environment that was deleted with its tasks, none is wanted by ECS."""
    for arn, slots in ledger.slots.items():
        left = [task for task in slots.get(asked.key, ()) if wanted_at(task, now)]
        if left and not ledger.cloud.hosts[arn].inactive:
            text = "a daemon runs on, though its environment was deleted with its tasks"
            yield _bad(3, now, asked, arn, text, _lines(left))


def judge_reports(
    ledger: Ledger, reported: Iterable[ReportedHost], now: float, *, settle: float
) -> Iterator[Violation]:
    """Promise 7: each host has exactly one class, with a reason, and it is the right one."""
    said: dict[tuple[str, str], list[ReportedHost]] = {}
    for one in reported:
        said.setdefault((one.environment, one.host), []).append(one)
    for asked in ledger.asked.values():
        if asked.ended is not None or not asked.latest.definition:
            continue
        for arn in ledger.timelines[asked.key]:
            if ledger.cloud.hosts[arn].inactive:
                continue
            about = said.pop((asked.key, arn), [])
            if len(about) != 1:
                text = f"the host is reported {len(about)} times"
                yield _bad(7, now, asked, arn, text, [str(one) for one in about])
                continue
            yield from _judge_report(ledger, asked, about[0], now, settle)
    for (key, arn), about in said.items():
        if key in ledger.asked and _long_gone(ledger, arn, now):
            text = f"reported as {about[0].state}, but ECS has no such host"
            yield _bad(7, now, ledger.asked[key], arn, text, [str(one) for one in about])


def _long_gone(ledger: Ledger, arn: str, now: float) -> bool:
    host = ledger.cloud.hosts.get(arn)
    if host is None:
        return True
    return host.inactive_at is not None and host.inactive_at < ledger.known_since(now)


def judge_completed(ledger: Ledger, key: str, now: float) -> Iterator[Violation]:
    """Promise 7: called when a deployment of the latest wish is first reported completed. Every
    host that had long been ready ran the target, alone, at some moment since the last news."""
    asked = ledger.asked[key]
    since = ledger.known_since(now)
    for host, timeline in ledger.timelines[key].items():
        if timeline.began() > since or not all(s.startable for s in timeline.during(since, now)):
            continue
        if is_held(ledger, host, since, now):
            continue
        if idleness(ledger, asked, host, since, now) != "busy":
            continue
        if not any(
            ledger.on_target(task, wish) and ran_within(task, since, now)
            for task in ledger.slot(key, host)
            for wish in asked.during(since, now)
        ):
            text = "a deployment was reported completed although this host did not run it"
            yield _bad(7, now, asked, host, text, _lines(ledger.slot(key, host)[-3:]))


# --- One host -------------------------------------------------------------------------------------


def _judge_host(
    ledger: Ledger, asked: Asked, arn: str, now: float, settle: float, *, stalled: bool
) -> Iterator[Violation]:
    host = ledger.cloud.hosts[arn]
    timeline = ledger.timelines[asked.key][arn]
    standing = timeline.last()
    live = [task for task in ledger.slot(asked.key, arn) if task.live]
    wanted = [task for task in live if wanted_at(task, now)]
    if host.inactive:
        return
    if len(live) > 1:
        yield _bad(1, now, asked, arn, f"{len(live)} live daemons at the end", _lines(live))
    began = timeline.since_when(lambda s: s == standing)
    if began is None or now - began < settle:
        return
    idle = idleness(ledger, asked, arn, now - settle, now)
    why = _why_none(ledger, asked, host, standing, now - settle) or IDLE * (idle == "idle")
    if why and wanted and not (stalled and why == NOT_SELECTED):
        yield _bad(3, now, asked, arn, f"a daemon still runs on a host that is {why}", _lines(live))
    if not standing.startable or why or idle == "unclear":
        return
    if excused(ledger, asked, host, running=wanted):
        return
    if stalled and len(wanted) == len(live) == 1 and live[0].last_status == RUNNING:
        return
    if not is_current(ledger, asked, arn, now):
        text = "a ready host does not run exactly one daemon of the target"
        yield _bad(3, now, asked, arn, text, _lines(live))


def _why_none(
    ledger: Ledger, asked: Asked, host: HostRecord, standing: Standing, since: float
) -> str:
    """Why the host must not have a daemon, or "" when it may keep one."""
    if standing.superseded:
        return "superseded"
    if not standing.connected:
        return ""
    if standing.status == ACTIVE and not standing.matches:
        return NOT_SELECTED
    if not draining(standing):
        return ""
    began = ledger.timelines[asked.key][host.arn].since_when(draining)
    deadline = asked.latest.drain_deadline
    if began is not None and began + deadline <= since:
        return "draining beyond its deadline"
    others = [task for task in ledger.bystanders(host.arn) if task.stopped_at is None]
    ended = [task.stopped_at for task in ledger.bystanders(host.arn) if task.stopped_at is not None]
    if others or any(at > since for at in ended):
        return ""
    return "draining and empty"


def _stalled(ledger: Ledger, asked: Asked) -> bool:
    """Hosts that cannot have a daemon, for no fault of the caller's, use up the whole budget: then
    a rollout stands still, as it must, and so do stops on hosts that are selected no longer."""
    ready = [a for a, t in ledger.timelines[asked.key].items() if t.last().startable]
    bare = [
        arn
        for arn in ready
        if not any(task.live for task in ledger.slot(asked.key, arn))
        and excused(ledger, asked, ledger.cloud.hosts[arn])
    ]
    return len(bare) >= allowance(asked.latest.max_unavailable, len(ready))


def is_current(ledger: Ledger, asked: Asked, host: str, now: float) -> bool:
    """Exactly one live daemon, RUNNING, of the target, not unhealthy."""
    live = [task for task in ledger.slot(asked.key, host) if task.live]
    if len(live) != 1 or not wanted_at(live[0], now):
        return False
    task = live[0]
    sick = ledger.checked(task) and task.health == "UNHEALTHY"
    running = task.last_status == RUNNING and not sick
    return running and ledger.on_target(task, asked.latest)


def excused(
    ledger: Ledger, asked: Asked, host: HostRecord, *, running: Sequence[TaskRecord] = ()
) -> str:
    """Why ECS would not let the target start on this ready host, or somebody else holds the place;
    "" when nothing stands against it. From ECS's own records. `running`: daemons of the environment
    there, of an older revision, which would make room for it."""
    definition = ledger.cloud.definitions.get(asked.latest.definition)
    if definition is None or not definition.active:
        return "its definition is inactive"
    if host.poisoned:
        return "ECS refuses every start there"
    others = ledger.occupants(asked.key, host.arn, definition.family, beside=asked.latest.beside)
    if any(task.live for task in others) and not running:
        return "somebody else runs that daemon there"
    if host.external and not ledger.cloud.switches.start_on_external:
        return "ECS starts nothing on external hosts here"
    live = [task for task in ledger.cloud.live_tasks(host.arn) if task not in running]
    return _no_room(live, host, definition)


def _no_room(live: Sequence[TaskRecord], host: HostRecord, definition: DefinitionRecord) -> str:
    if sum(task.cpu for task in live) + definition.cpu > host.cpu:
        return "no CPU is free"
    if sum(task.memory for task in live) + definition.memory > host.memory:
        return "no memory is free"
    taken = [*RESERVED_TCP, *(port for task in live for port in task.ports_tcp)]
    if any(port in taken for port in definition.ports_tcp):
        return "a port is taken"
    taken = [port for task in live for port in task.ports_udp]
    return "a port is taken" if any(port in taken for port in definition.ports_udp) else ""


# --- Reports --------------------------------------------------------------------------------------


def _judge_report(
    ledger: Ledger, asked: Asked, said: ReportedHost, now: float, settle: float
) -> Iterator[Violation]:
    timeline = ledger.timelines[asked.key][said.host]
    standing = timeline.last()
    began = timeline.since_when(lambda s: s == standing)
    if began is None or now - began < settle:
        return
    if not said.reason:
        yield _bad(7, now, asked, said.host, f"reported as {said.state} without a reason", [])
    expected = _truth(ledger, asked, said.host, standing, now, settle)
    if expected and said.state not in expected:
        text = f"reported as {said.state}; it is {' or '.join(expected)}"
        live = [task for task in ledger.slot(asked.key, said.host) if task.live]
        yield _bad(7, now, asked, said.host, text, [said.reason, *_lines(live)])


def _truth(
    ledger: Ledger, asked: Asked, arn: str, standing: Standing, now: float, settle: float
) -> tuple[str, ...]:
    """The classes in which the host may be counted; () when the truth does not decide it."""
    if standing.superseded:
        return ("superseded",)
    unwanted: list[str] = []
    if standing.status != ACTIVE:
        unwanted.append("notReady" if standing.status.startswith("REGISTR") else "leaving")
    if not standing.matches:
        unwanted.append("unmatched")
    if not standing.able:
        unwanted.append("ineligible")
    if not standing.connected:
        unwanted += ["away", "lost"]
        if _has_twin(ledger, arn):
            # None of the machine's records is connected: which one stands for it is open.
            unwanted.append("superseded")
    if is_held(ledger, arn, now, now):
        return ("held", *unwanted)
    if unwanted:
        return tuple(unwanted)
    idle = idleness(ledger, asked, arn, now - settle, now)
    if idle != "busy":
        return ("yielded",) if idle == "idle" else ()
    if is_current(ledger, asked, arn, now):
        task = next(task for task in ledger.slot(asked.key, arn) if task.live)
        started = task.started_at if task.started_at is not None else now
        return (CURRENT,) if now - started >= settle else (CURRENT, "settling")
    return _not_current(ledger, asked, arn)


def _has_twin(ledger: Ledger, arn: str) -> bool:
    """Whether the machine has another record that ECS still lists."""
    hosts = ledger.cloud.hosts
    machine = hosts[arn].instance_id
    return any(h.instance_id == machine and h.arn != arn and not h.inactive for h in hosts.values())


def _not_current(ledger: Ledger, asked: Asked, arn: str) -> tuple[str, ...]:
    if any(task.live for task in ledger.slot(asked.key, arn)):
        return ("settling", "outdated", "starting", "inDoubt", "stopping", "failing")
    definition = ledger.cloud.definitions.get(asked.latest.definition)
    family = definition.family if definition is not None else ""
    others = ledger.occupants(asked.key, arn, family, beside=asked.latest.beside)
    if any(task.live for task in others):
        return ("occupied",)
    return ("starting", "inDoubt", "failing", "blocked", "missing", "ineligible")


def _lines(tasks: Sequence[TaskRecord]) -> list[str]:
    return [describe_task(task) for task in tasks]


def _bad(
    promise: int, at: float, asked: Asked, host: str, text: str, evidence: Sequence[str]
) -> Violation:
    return Violation(
        promise=promise,
        at=at,
        environment=asked.key,
        host=host,
        text=text,
        evidence=tuple(evidence),
    )
