"""What the simulated ECS turns away before any work, and how late it may execute the rest."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blox.settings import Assumptions
from blox.simulator.faults import Faults
from blox.simulator.model import Fault, SignatureCheck, Switches, Ticket
from blox.simulator.quotas import CATEGORIES, QUOTAS
from support.worlds import CLUSTER, World, world

S, E = 300.0, 60.0


def signed(w: World, age: float, operation: str = "ListTasks") -> Fault | None:
    """The Fault that a call with a signature of this age ends in."""
    members: dict[str, object] = {"cluster": CLUSTER}
    if operation == "StartTask":
        members |= {"containerInstances": w.hosts, "taskDefinition": w.definition}
    try:
        w.cloud.call(operation, members, now=w.now, signed_at=w.now - age)
    except Fault as fault:
        return fault
    return None


def test_a_signature_lives_exactly_s_both_ways() -> None:
    w = world()
    assert signed(w, S) is None
    assert signed(w, -S) is None
    old, young = signed(w, S + 0.001), signed(w, -S - 0.001)
    assert old is not None
    assert young is not None
    assert (old.code, old.status) == ("InvalidSignatureException", 400)
    assert old.message.startswith("Signature expired: 2025")
    assert "- 5 min." in old.message
    assert young.message.startswith("Signature not yet current: 2025")
    assert "+ 5 min." in (young.message)


@settings(max_examples=50, deadline=None)
@given(age=st.floats(-2000, 2000), bound=st.floats(1, 900))
def test_the_age_follows_the_assumption(age: float, bound: float) -> None:
    w = world(assumptions=Assumptions(signature_age=bound, backdate=0.0))
    real = w.now - (w.now - age)
    assert (signed(w, age) is None) == (abs(real) <= bound)


def test_a_refused_signature_starts_nothing_and_is_on_record() -> None:
    w = world()
    assert signed(w, S + 1.0, "StartTask") is not None
    assert w.cloud.tasks == {}
    call = w.cloud.log[-1]
    assert (call.outcome, call.executed_at) == ("InvalidSignatureException", None)
    assert call.signed_at == w.now - S - 1.0


def test_the_check_is_tripled_or_off_by_switch() -> None:
    w = world(switches=Switches(signature=SignatureCheck.TRIPLED))
    assert signed(w, 900.0) is None
    assert signed(w, 901.0) is not None
    w.cloud.switches = Switches(signature=SignatureCheck.OFF)
    assert signed(w, 10**8) is None


def test_credentials_may_refuse_backdated_acts_but_no_reads() -> None:
    w = world(switches=Switches(backdated_refused=True))
    assert signed(w, 240.0) is None
    assert signed(w, 60.0, "StartTask") is None
    fault = signed(w, 240.0, "StartTask")
    assert fault is not None
    assert fault.code == "UnrecognizedClientException"


def test_unknown_operations_are_not_found() -> None:
    fault = world().refused("CreateDaemon")
    assert (fault.code, fault.status) == ("UnknownOperationException", 404)


# --- Quotas ---------------------------------------------------------------------------------------


def burst(w: World, operation: str) -> int:
    """How many calls pass at this moment before one is throttled."""
    passed = 0
    while outcome(w, operation) != "ThrottlingException":
        passed += 1
    return passed


def outcome(w: World, operation: str) -> str:
    """The code of the error that a call without members ends in, "" if it is served."""
    try:
        w.call(operation)
    except Fault as fault:
        return fault.code
    return ""


@pytest.mark.parametrize("operation", sorted(CATEGORIES))
def test_each_category_has_its_published_bucket(operation: str) -> None:
    w = world(quotas=True)
    size, refill = QUOTAS[CATEGORIES[operation]]
    assert burst(w, operation) == size
    w.later(2.0)
    assert burst(w, operation) == 2 * refill
    w.later(10_000.0)
    assert burst(w, operation) == size
    assert w.cloud.throttled == 3
    assert w.cloud.counts[operation] == 2 * size + 2 * refill + 3


def test_one_bucket_serves_its_whole_category_and_no_other() -> None:
    w = world(quotas=True)
    burst(w, "ListTasks")
    fault = w.refused("DescribeTasks", tasks=["x"])
    assert (fault.code, fault.status) == ("ThrottlingException", 400)
    assert fault.message == "Rate exceeded"
    assert w.start()["failures"] == []


def test_without_quotas_nothing_is_throttled() -> None:
    w = world()
    for _ in range(500):
        w.call("ListTasks")
    assert w.cloud.throttled == 0


# --- Late execution -------------------------------------------------------------------------------


def later(w: World, delay: float, **options: float) -> Ticket:
    """A StartTask accepted now and executed `delay` seconds later."""
    members: dict[str, object] = {
        "cluster": CLUSTER,
        "containerInstances": w.hosts,
        "taskDefinition": w.definition,
    }
    return w.cloud.execute_later(
        "StartTask", members, now=w.now, due=w.now + delay, caller="me", **options
    )


def test_an_accepted_start_may_be_executed_exactly_e_later_and_no_later() -> None:
    w = world()
    accepted = w.now
    ticket = later(w, E, signed_at=w.now - S)
    w.later(E - 0.001)
    assert not ticket.done
    assert w.cloud.tasks == {}
    with pytest.raises(RuntimeError, match="not before"):
        ticket.result()
    w.later(0.001)
    assert ticket.done
    (task,) = w.cloud.tasks.values()
    assert task.created_at == accepted + E
    assert ticket.result()["tasks"][0]["taskArn"] == task.arn
    call = w.cloud.log[-1]
    assert (call.time, call.executed_at, call.outcome) == (accepted, accepted + E, "done")
    assert (call.caller, call.made) == ("me", (task.arn,))
    with pytest.raises(ValueError, match="later"):
        later(w, E + 0.001)


def test_the_task_is_then_hidden_for_up_to_v_more() -> None:
    w = world(seed=3, faults=Faults(lag=1.0))
    worst = 0.0
    for _ in range(60):
        ticket = later(w, E)
        w.later(E)
        arn = str(ticket.result()["tasks"][0]["taskArn"])  # type: ignore[index]
        task = w.cloud.tasks[arn]
        worst = max(worst, task.list_lag)
        w.later(400.0)
        w.cloud.kill_task(arn, now=w.now)
    assert worst == 300.0


def test_a_late_start_meets_the_world_as_it_then_is() -> None:
    w = world()
    ticket = later(w, 30.0)
    w.cloud.disconnect_agent(w.hosts[0], now=w.now + 10.0)
    w.later(30.0)
    assert ticket.result()["failures"] == [{"arn": w.hosts[0], "reason": "AGENT"}]
    gone = later(w, 30.0)
    w.cloud.delete_cluster(CLUSTER, now=w.now + 10.0)
    w.later(30.0)
    with pytest.raises(Fault, match="ClusterNotFoundException"):
        gone.result()
    assert w.cloud.log[-1].outcome == "ClusterNotFoundException"


def test_only_a_switch_carries_execution_beyond_e() -> None:
    w = world(switches=Switches(acceptance_overrun=100.0))
    ticket = later(w, E + 100.0)
    w.later(E + 100.0)
    assert ticket.done


def test_a_late_call_is_refused_at_the_door_at_once() -> None:
    w = world()
    with pytest.raises(Fault, match="InvalidSignatureException"):
        later(w, 10.0, signed_at=w.now - S - 1.0)
    assert w.cloud.next_due() is None
