"""Judging each StartTask and each task that comes to be.

A call is judged by what its caller must have known (`Ledger.known_since`): hosts that had long been
draining, daemons that had long been live. A task is judged by the truth at its creation, for which
there is no excuse: two daemons on one host are two, whoever could have known.
"""

from collections.abc import Iterator, Sequence

from blox.simulator.model import CallLogged, SignatureCheck, TaskRecord
from blox.simulator.oracle_idle import came_back_unasked
from blox.simulator.oracle_lives import describe_call, describe_task, live_during, marker_in
from blox.simulator.oracle_truth import Asked, Ledger, Violation

HOSTS_PER_CALL = 10
"""https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StartTask.html"""


def judge_task(ledger: Ledger, task: TaskRecord) -> Violation | None:
    """Promise 1: no second live daemon of one environment on one host."""
    key = ledger.owners.get(task.arn)
    if key is None:
        return None
    rest = [
        other
        for one in (key, *ledger.kin(key))
        for other in ledger.slot(one, task.host)
        if other is not task
        and live_during(other, task.created_at, task.created_at)
        and (one == key or other.marker)
    ]
    if not rest:
        return None
    return Violation(
        promise=1,
        at=task.created_at,
        environment=key,
        host=task.host,
        text=f"{len(rest) + 1} live daemons of one environment on one host",
        evidence=tuple(describe_task(other) for other in [*rest, task]),
    )


def judge_signature(ledger: Ledger, call: CallLogged) -> Iterator[Violation]:
    """Promise 1: an acting request is dated back by B, so that it lives no longer than S - B.
    Not asked where ECS refuses such dates or looks at none."""
    switches = ledger.cloud.switches
    if switches.backdated_refused or switches.signature is not SignatureCheck.ENFORCED:
        return
    if call.signed_at is None or not ledger.dated_back(call):
        text = f"a {call.operation} was not dated back: it could be accepted for too long"
        yield _of_call(1, ledger, call, "", text)


def judge_start_sent(ledger: Ledger, call: CallLogged) -> Iterator[Violation]:
    """Promises 1, 3, 4 and 9 of one StartTask, whatever came of it."""
    hosts = _hosts(call)
    marker = marker_in(call.params)
    if not marker:
        yield _of_call(1, ledger, call, "", "a StartTask carried no marker")
    elif ledger.markers.setdefault(marker, call.request_id) != call.request_id:
        text = f"intent {marker} was sent twice (first as request {ledger.markers[marker]})"
        yield _of_call(1, ledger, call, "", text)
    if len(hosts) > HOSTS_PER_CALL or len(set(hosts)) != len(hosts):
        yield _of_call(4, ledger, call, "", f"a StartTask named {len(hosts)} hosts, or one twice")
    asked = _asked(ledger, call)
    if asked is None:
        yield _of_call(9, ledger, call, "", "a StartTask for no environment that anybody created")
        return
    since = ledger.known_since(ledger.decided_at(call))
    if asked.ended is not None and asked.ended < since:
        yield _of_call(0, ledger, call, "", "a StartTask for an environment deleted long ago")
        return
    for host in hosts:
        yield from _judge_host(ledger, call, asked, host, since)


def _judge_host(
    ledger: Ledger, call: CallLogged, asked: Asked, host: str, since: float
) -> Iterator[Violation]:
    standings = ledger.standings(asked.key, host, since, call.time)
    if not standings or not any(s.startable for s in standings):
        text = "a start was tried on a host that had long not been one to start on"
        yield _of_call(0, ledger, call, host, text, [str(s) for s in standings[-1:]])
    if came_back_unasked(ledger, asked, host, call.time):
        text = "a start was tried on an idle host that we had left, and nothing else had come"
        yield _of_call(0, ledger, call, host, text)
    for task in ledger.slot(asked.key, host):
        if live_during(task, since, call.time):
            text = "a start was tried where a daemon had long been live"
            yield _of_call(1, ledger, call, host, text, [describe_task(task)])
    family = str(call.params.get("taskDefinition", "")).rsplit("/", 1)[-1].split(":", 1)[0]
    beside = any(wish.beside for wish in asked.during(since, call.time))
    for task in ledger.occupants(asked.key, host, family, beside=beside):
        if live_during(task, since, call.time):
            text = "a start was tried where somebody else had long been running that daemon"
            yield _of_call(9, ledger, call, host, text, [describe_task(task)])


def judge_definition(ledger: Ledger, call: CallLogged) -> Iterator[Violation]:
    """Promise 2: what is started is what was asked, now or as long ago as news may take."""
    asked = _asked(ledger, call)
    if asked is None:
        return
    since = ledger.known_since(ledger.decided_at(call))
    wishes = asked.during(since, call.time)
    definition = str(call.params.get("taskDefinition", ""))
    if wishes and definition not in [wish.definition for wish in wishes]:
        yield _of_call(2, ledger, call, "", f"{definition} was started, which nobody asked for")


# --- Parts ----------------------------------------------------------------------------------------


def _hosts(call: CallLogged) -> list[str]:
    hosts = call.params.get("containerInstances")
    return [str(host) for host in hosts] if isinstance(hosts, Sequence) else []


def _asked(ledger: Ledger, call: CallLogged) -> Asked | None:
    """The environment that the call acts for."""
    key = ledger.key_of_start(call)
    return ledger.asked[key] if key is not None else None


def _of_call(
    promise: int, ledger: Ledger, call: CallLogged, host: str, text: str,
    evidence: Sequence[str] = (),
) -> Violation:  # fmt: skip
    asked = _asked(ledger, call)
    return Violation(
        promise=promise,
        at=call.time,
        environment=asked.key if asked is not None else "",
        host=host,
        text=text,
        evidence=(describe_call(call), *evidence),
    )
