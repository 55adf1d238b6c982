"""Judging each StopTask: was it ours to send, was it asked for, was there budget?

A stop is judged at the moment that ECS carried it out, from the truth of that moment. It is
excused by anything that was true at some moment between the last one that the caller could not
know about (`Ledger.known_since` its decision) and its execution: knowledge may lag, a request may
be late, but nothing older excuses anything.
"""

from collections.abc import Iterator

from blox.ecs.model import DRAINING
from blox.simulator.model import CallLogged, TaskRecord
from blox.simulator.oracle_idle import idleness, left_idle
from blox.simulator.oracle_lives import (
    describe_call,
    describe_task,
    draining,
    live_during,
    ran_within,
    wanted_at,
)
from blox.simulator.oracle_orders import is_held, judge_guard
from blox.simulator.oracle_truth import Asked, Ledger, TakenDown, Violation

LOOK_AGE = 5.0
"""How old the look may be on which a stop is decided, in seconds."""


def judge_stop_sent(ledger: Ledger, call: CallLogged) -> Iterator[Violation]:
    """Promise 9: a StopTask, whatever came of it, names a task that an environment started."""
    task = ledger.cloud.tasks.get(str(call.params.get("task", "")))
    if task is None or task.arn in ledger.adopted:
        return
    if task.arn in ledger.owners and task.marker:
        return
    yield Violation(
        promise=9,
        at=call.time,
        environment=ledger.owners.get(task.arn, ""),
        host=task.host,
        text="a StopTask was sent for a task that no environment of ours started",
        evidence=(describe_task(task), describe_call(call)),
    )


def judge_stop(ledger: Ledger, call: CallLogged) -> Iterator[Violation]:
    """Promises 2 and 6: what an executed StopTask of ours did."""
    task = ledger.cloud.tasks.get(call.stopped)
    at = call.executed_at
    if task is None or at is None:
        return
    ledger.stopped_by_us[task.arn] = at
    key = ledger.owners.get(task.arn)
    if key is None:
        return
    asked = ledger.asked[key]
    since = ledger.known_since(ledger.decided_at(call))
    if asked.stopping is not None and asked.stopping <= at:
        return
    if _leaving(ledger, asked, task, since, at):
        yield from judge_guard(ledger, call, asked, task)
        return
    if left_idle(ledger, call, asked, task):
        if not any(excuse(ledger, asked, task, since, at) for excuse in (_failing, _replaceable)):
            ledger.left_idle[key, task.host] = at
        return
    rest = [t for t in ledger.slot(key, task.host) if t is not task and wanted_at(t, at)]
    survived = _survived(ledger, call, key, task)
    if rest:
        if not survived:
            yield _bad(2, at, key, task, call, "a surplus stop left no RUNNING daemon", rest)
        return
    if survived and _was_surplus(ledger, call, key, task):
        return
    if _failing(ledger, asked, task, since, at):
        return
    if not _replaceable(ledger, asked, task, since, at):
        yield _bad(2, at, key, task, call, "the last daemon of a host was stopped unasked", rest)
        return
    yield from _judge_budget(ledger, call, asked, task)


# --- What excuses a stop --------------------------------------------------------------------------


def _leaving(ledger: Ledger, asked: Asked, task: TaskRecord, since: float, at: float) -> bool:
    """The host was draining (and nothing else left to wait for), superseded, or unwanted."""
    standings = ledger.standings(asked.key, task.host, since, at)
    if any(s.superseded or not s.matches for s in standings) or _may_be_the_older(ledger, task):
        return _known(asked, since, at)
    if not any(draining(s) for s in standings):
        return False
    return _known(asked, since, at) and not _left_early(ledger, asked, task, since, at)


def _may_be_the_older(ledger: Ledger, task: TaskRecord) -> bool:
    """Another record of the machine registered at the very same moment: which one is the older,
    nobody can tell while neither is connected."""
    hosts = ledger.cloud.hosts
    host = hosts[task.host]
    return any(
        other is not host
        and other.instance_id == host.instance_id
        and other.registered_at == host.registered_at
        for other in hosts.values()
    )


def _known(asked: Asked, since: float, at: float) -> bool:
    """The environment existed: after its deletion its tasks are left alone."""
    return bool(asked.during(since, at))


def _left_early(ledger: Ledger, asked: Asked, task: TaskRecord, since: float, at: float) -> bool:
    """Daemons leave last (R17): somebody else's task ran on the draining host all the time that
    the caller can have known of, and the drain deadline was not over."""
    began = ledger.snapshots[task.host].since_when(lambda look: look.host.status == DRAINING)
    if began is None:
        return False
    deadline = min((wish.drain_deadline for wish in asked.during(since, at)), default=0.0)
    if at - began >= deadline - ledger.allowances.clock_slack:
        return False
    return any(live_during(other, since, at) for other in ledger.bystanders(task.host))


def _failing(ledger: Ledger, asked: Asked, task: TaskRecord, since: float, at: float) -> bool:
    """It was unhealthy, or never came to run within its deadline: replacing it costs nothing."""
    if not _known(asked, since, at):
        return False
    if ledger.unhealthy.get(task.arn, -1.0) >= since:
        return True
    slack = ledger.allowances.clock_slack
    if task.started_at is None or task.started_at > since:
        overdue = task.created_at + ledger.allowances.pending_deadline - slack
        if overdue <= (at if task.started_at is None else task.started_at):
            return True
    if task.started_at is None or not ledger.checked(task):
        return False
    never = task.health != "HEALTHY"
    return never and task.started_at + ledger.allowances.healthy_deadline - slack <= at


def _replaceable(ledger: Ledger, asked: Asked, task: TaskRecord, since: float, at: float) -> bool:
    """A deployment of something else was asked, and the host could take it at some moment."""
    wishes = asked.during(since, at)
    if not any(wish.definition and not ledger.on_target(task, wish) for wish in wishes):
        return False
    return any(s.startable for s in ledger.standings(asked.key, task.host, since, at))


# --- Surplus --------------------------------------------------------------------------------------


def _moments(ledger: Ledger, call: CallLogged) -> tuple[float, float]:
    """From the earliest look that this stop can rest on until its execution."""
    executed = call.executed_at if call.executed_at is not None else call.time
    return ledger.decided_at(call) - LOOK_AGE - ledger.allowances.clock_slack, executed


def _was_surplus(ledger: Ledger, call: CallLogged, key: str, task: TaskRecord) -> bool:
    """Another daemon was wanted there when the caller looked, though it has ended since."""
    since, _ = _moments(ledger, call)
    return any(
        other is not task and wanted_at(other, moment)
        for other in ledger.slot(key, task.host)
        for moment in (since, max(since, other.created_at))
        if moment <= call.time
    )


def _survived(ledger: Ledger, call: CallLogged, key: str, task: TaskRecord) -> bool:
    """A RUNNING daemon was left. One that was RUNNING at the look and ended by itself since, or was
    ended by somebody else, counts: the caller could not know. One that we stopped does not."""
    since, until = _moments(ledger, call)
    return any(
        other is not task
        and ran_within(other, since, until)
        and (wanted_at(other, until) or other.arn not in ledger.stopped_by_us)
        for other in ledger.slot(key, task.host)
    )


# --- Budget ---------------------------------------------------------------------------------------


def _judge_budget(
    ledger: Ledger, call: CallLogged, asked: Asked, task: TaskRecord
) -> Iterator[Violation]:
    """Promise 6: count the daemons that we took down and that are not back, and the hosts that
    every caller must have known to be without one."""
    at = call.executed_at if call.executed_at is not None else call.time
    decided = ledger.decided_at(call)
    surely = max(w.healthy_after for w in asked.wishes) + ledger.allowances.clock_slack
    if task.started_at is None or task.started_at + surely > decided:
        return
    if ledger.checked(task) and task.health != "HEALTHY":
        return
    since = ledger.known_since(decided)
    allowed = ledger.most_allowed(asked.key, since, at)
    down = [t for t in ledger.taken_down.get(asked.key, []) if _still_down(ledger, asked, t, at)]
    down.append(TakenDown(task.host, at, task.arn))
    ledger.taken_down[asked.key] = down
    ledger.most_down[asked.key] = max(ledger.most_down.get(asked.key, 0), len(down))
    if len(down) > allowed:
        others = [f"taken down at {t.at:.3f}: {t.task} on {t.host}" for t in down]
        text = f"{len(down)} daemons were down for replacement at once; {allowed} may be"
        yield Violation(
            promise=6, at=at, environment=asked.key, host=task.host, text=text,
            evidence=(describe_call(call), *others),
        )  # fmt: skip
    bare = [h for h in ledger.timelines[asked.key] if _known_bare(ledger, asked, h, since, at)]
    bare = [host for host in bare if host != task.host]
    if len(bare) >= allowed:
        text = f"a healthy daemon was replaced while {len(bare)} hosts had none; {allowed} may"
        yield Violation(
            promise=6, at=at, environment=asked.key, host=task.host, text=text,
            evidence=(describe_call(call), *(f"without a daemon: {host}" for host in bare)),
        )  # fmt: skip


def _still_down(ledger: Ledger, asked: Asked, taken: TakenDown, at: float) -> bool:
    """The host is still wanted, and no later daemon there was healthy for a moment."""
    if any(not s.startable for s in ledger.standings(asked.key, taken.host, taken.at, at)):
        return False
    if _not_counted(ledger, asked, taken.host, taken.at, at):
        return False
    after = min(w.healthy_after for w in asked.wishes) - ledger.allowances.clock_slack
    return not any(
        task.arn != taken.task and ledger.was_healthy(task, taken.at, at, after=max(0.0, after))
        for task in ledger.slot(asked.key, taken.host)
    )


def _known_bare(ledger: Ledger, asked: Asked, host: str, since: float, until: float) -> bool:
    """The host was wanted, and without a daemon that runs, in the whole of [since, until]."""
    timeline = ledger.timelines[asked.key][host]
    if timeline.began() > since or not timeline.during(since, until):
        return False
    if not all(s.startable for s in timeline.during(since, until)):
        return False
    if _not_counted(ledger, asked, host, since, until):
        return False
    return not any(ran_within(task, since, until) for task in ledger.slot(asked.key, host))


def _not_counted(ledger: Ledger, asked: Asked, host: str, since: float, until: float) -> bool:
    """The host may count as none that is wanted: it is held, or idle."""
    if is_held(ledger, host, since, until):
        return True
    return idleness(ledger, asked, host, since, until) != "busy"


# --- Words ----------------------------------------------------------------------------------------


def _bad(
    promise: int, at: float, key: str, task: TaskRecord, call: CallLogged, text: str,
    rest: list[TaskRecord],
) -> Violation:  # fmt: skip
    return Violation(
        promise=promise,
        at=at,
        environment=key,
        host=task.host,
        text=text,
        evidence=(
            describe_task(task),
            describe_call(call),
            *(f"left: {describe_task(other)}" for other in rest),
        ),
    )
