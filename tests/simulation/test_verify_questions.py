"""Every question of `blox verify-aws`, put to a simulated ECS that behaves as assumed and to one
that does not: the report tells them apart, and nothing is left in the account."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from blox.account.questions import QUESTIONS
from blox.account.verify.definitions import FAMILY
from blox.ecs.port import Permit, Transport, WireAnswer
from blox.settings import Assumptions
from blox.simulator.faults import Faults
from blox.simulator.model import RepeatedHost, SignatureCheck, Switches
from support.verifying import Verified, verified

SLOW = Faults(slow_stop=1.0)
"""Tasks take their time to stop, as one that takes no notice of SIGTERM does."""


def clean(run: Verified) -> Verified:
    """The run, of which nothing is left and nobody else was hurt."""
    assert run.bench.ours == []
    assert run.bench.others_are_well
    swept = run.report.clean_up
    assert swept is not None
    assert swept.done, (swept.left, swept.problems)
    assert run.report.ended == "complete"
    return run


TURNED = [
    ("start-on-draining", Switches(start_on_draining=False), "failure INACTIVE"),
    ("start-on-external", Switches(start_on_external=False), "failure ATTRIBUTE"),
    ("placement-constraints", Switches(constraints_checked=True), "failure ATTRIBUTE"),
    ("same-host-twice", Switches(repeated_host=RepeatedHost.TWO), "2 started"),
    ("same-host-twice", Switches(repeated_host=RepeatedHost.REFUSED), "contain duplicates"),
    ("list-started-by-stopped", Switches(started_by_alone=False), "taken"),
    ("attributes-version", Switches(attributes_bump_version=True), "raised both ways"),
    ("draining-version", Switches(draining_bumps_version=False), "version unchanged"),
    ("stop-stopped", Switches(stop_of_stopped_answers=False), "was not found"),
    ("event-overrides", Switches(events_carry_overrides=False), "0 of "),
    ("backdated-signature", Switches(backdated_refused=True), "refused 240 s back, temporary"),
    ("signature-age", Switches(signature=SignatureCheck.TRIPLED), "refused at 910 s"),
    ("signature-age", Switches(signature=SignatureCheck.OFF), "no date checked"),
    (
        "inactive-definition",
        Switches(inactive_definition_code="InvalidParameterException"),
        "InvalidParameterException",
    ),
    ("arn-format", Switches(short_arns=True), "without the cluster"),
]


@pytest.mark.parametrize(("question", "switches", "seen"), TURNED)
def test_a_question_tells_the_assumption_from_its_opposite(
    question: str, switches: Switches, seen: str
) -> None:
    needs: dict[str, Any] = {
        "queue": True,
        "drain": True,
        "attributes": True,
        "external": True,
        "hosts": 3,
    }
    assumed = clean(verified(question, **needs))
    assert assumed.outcome(question) == "as assumed", assumed.observed(question)
    other = clean(verified(question, switches=switches, **needs))
    assert other.outcome(question) == "differs", other.observed(question)
    assert seen in other.observed(question)


def test_every_switch_of_the_simulator_is_turned_by_some_question() -> None:
    turned = {
        name
        for _, switches, _ in TURNED
        for name in Switches.__dataclass_fields__
        if getattr(switches, name) != getattr(Switches(), name)
    }
    elsewhere = {
        "pending_waits_for_stopping",
        "denied_status",
        "read_overrun",
        "acceptance_overrun",
    }
    assert turned | elsewhere >= set(Switches.__dataclass_fields__) & {
        question.parameter.removeprefix("Switches.") for question in QUESTIONS.values()
    }


@pytest.mark.parametrize("waits", [True, False])
def test_a_new_task_behind_one_that_stops_slowly(waits: bool) -> None:
    name = "pending-behind-stopping"
    switches = Switches(pending_waits_for_stopping=waits)
    run = clean(verified(name, switches=switches, faults=SLOW))
    assert run.outcome(name) == ("as assumed" if waits else "differs"), run.observed(name)


def test_a_task_that_stops_at_once_tells_nothing() -> None:
    name = "pending-behind-stopping"
    run = clean(verified(name))
    assert run.outcome(name) == "could not be asked"
    assert "too soon to tell" in run.observed(name)


@pytest.mark.parametrize("status", [400, 403])
def test_the_status_of_a_denial_is_read_off_any_call_that_is_denied(status: int) -> None:
    run = clean(
        verified(
            "attributes-version",
            "denied-status",
            switches=Switches(denied_status=status),
            attributes=True,
            meanwhile=lambda bench: bench.cloud.deny("PutAttributes"),
        )
    )
    assert run.outcome("attributes-version") == "could not be asked"
    assert "AccessDeniedException" in run.observed("attributes-version")
    assert run.outcome("denied-status") == ("as assumed" if status == 400 else "differs")
    assert run.observed("denied-status") == f"HTTP {status} (PutAttributes)"


def test_nothing_that_was_allowed_says_anything_of_denials() -> None:
    assert verified("denied-status").outcome("denied-status") == "could not be asked"


class ManagedInstances:
    """Makes every host look like one of ECS Managed Instances, which the simulator has not."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(
        self,
        operation: str,
        body: bytes,
        *,
        date: Callable[[], float],
        permit: Permit | None = None,
        fresh: bool = False,
    ) -> WireAnswer:
        answer = await self._transport.send(operation, body, date=date, permit=permit, fresh=fresh)
        shown = json.loads(answer.body)
        if operation == "DescribeContainerInstances":
            for host in shown["containerInstances"]:
                host["capacityProviderName"] = "managed"
        elif operation == "DescribeCapacityProviders":
            provider = {"name": "managed", "managedInstancesProvider": {"propagateTags": "NONE"}}
            shown = {"capacityProviders": [provider], "failures": []}
            return replace(answer, status=200, body=json.dumps(shown).encode())
        return replace(answer, body=json.dumps(shown).encode())

    async def close(self) -> None:
        await self._transport.close()


def test_a_host_of_managed_instances_is_told_by_its_capacity_provider() -> None:
    run = clean(verified("start-on-managed", "run-task-token", tap=ManagedInstances))
    assert run.outcome("start-on-managed") == "as assumed"
    assert run.observed("start-on-managed") == "started, launchType EC2"
    assert run.outcome("run-task-token") == "could not be asked"
    (definition,) = [d for d in run.bench.cloud.definitions.values() if d.family == FAMILY]
    assert definition.document["requiresCompatibilities"] == ["MANAGED_INSTANCES"]


# --- Measured times -------------------------------------------------------------------------------

V = Assumptions(read_lag=20.0)


def test_reads_that_lag_less_than_assumed() -> None:
    run = clean(verified("read-lag", assumptions=V, faults=Faults(lag=1.0, flicker=0.2)))
    assert run.outcome("read-lag") == "as assumed"
    assert run.observed("read-lag").count("missed one for up to") == 2


def test_reads_that_lag_more_than_assumed() -> None:
    run = clean(
        verified(
            "read-lag",
            assumptions=V,
            switches=Switches(read_overrun=10.0),
            faults=Faults(lag=1.0),
        )
    )
    assert run.outcome("read-lag") == "differs", run.observed("read-lag")


def test_a_record_that_is_made_late() -> None:
    late = Assumptions(acceptance_lag=2.0)
    run = clean(
        verified(
            "acceptance-lag",
            assumptions=late,
            switches=Switches(acceptance_overrun=10.0),
            faults=Faults(slow_execution=1.0),
        )
    )
    assert run.outcome("acceptance-lag") == "differs", run.observed("acceptance-lag")
    assert clean(verified("acceptance-lag")).outcome("acceptance-lag") == "as assumed"


def test_events_that_are_late_or_never_come() -> None:
    run = clean(verified("event-latency", queue=True))
    assert run.outcome("event-latency") == "as assumed"
    lost = clean(
        verified("event-latency", "event-overrides", queue=True, faults=Faults(event_lost=1.0))
    )
    assert lost.outcome("event-latency") == "differs"
    assert "no event of 3 of them within 60 s" in lost.observed("event-latency")
    assert lost.outcome("event-overrides") == "could not be asked"


# --- What the simulator answers in one way only ---------------------------------------------------

FIXED = (
    "eleven-hosts",
    "describe-101",
    "list-started-by-host",
    "list-host-family",
    "list-tokens",
    "stop-reason",
    "ports-token",
    "run-task-token",
    "group-prefix",
)


def test_what_the_simulator_answers_in_one_way() -> None:
    run = clean(verified(*FIXED))
    assert {name: run.outcome(name) for name in FIXED} == dict.fromkeys(FIXED, "as assumed")
    assert run.observed("ports-token") == (
        "bridge: failure RESOURCE:PORTS; host: failure RESOURCE:PORTS"
    )
    assert "after 45 s the token was still taken" in run.observed("list-tokens")


def test_every_question_is_answered_once_in_the_order_of_the_table() -> None:
    run = clean(verified(queue=True, drain=True, attributes=True, external=True, hosts=3))
    assert [answer.finding.question for answer in run.report.answers] == list(QUESTIONS)
    unasked = [name for name in QUESTIONS if run.outcome(name) == "could not be asked"]
    assert unasked == [
        "start-on-managed",
        "agent-disconnect",
        "denied-status",
        "pending-behind-stopping",
    ]
    assert [report.ended for report in run.stage.saved[:-1]] == ["running"] * (
        len(run.stage.saved) - 1
    )
