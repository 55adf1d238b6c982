"""The recipe for a launch hook: what it asks of Auto Scaling, given a notice as it is sent."""

import json
import runpy
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from blox.app.notices_bodies import parcel
from blox.scheduler.notices import Joins, Standing
from support.notices import CLUSTER, at, host, slot
from support.prose import ROOT

RECIPE = runpy.run_path(str(ROOT / "examples" / "launch_hook.py"))
HANDLER: Callable[..., str] = RECIPE["handler"]


def event() -> dict[str, Any]:
    """A host that is ready for `logs` and `metrics`, as EventBridge hands it on."""
    joins = Joins(not_ready_after=300.0)
    joins.listed(CLUSTER, (), now=at(0.0))
    joins.seen(host("0123456789abcdef0"), now=at(1.0))
    slots = [slot(Standing.HAS, environment=name) for name in ("logs", "metrics")]
    notice = joins.judge(host("0123456789abcdef0").arn, slots, now=at(12.0))
    assert notice is not None
    made = parcel(notice)
    return {"source": "blox", "detail-type": made.detail_type, "detail": json.loads(made.body)}


class Group:
    """Auto Scaling, whose requests and answers must have the shapes that botocore knows."""

    def __init__(self, state: str | None) -> None:
        self.client = boto3.client(
            "autoscaling",
            region_name="us-east-1",
            aws_access_key_id="tester",
            aws_secret_access_key="secret",
        )
        self.stub = Stubber(self.client)
        member = {
            "InstanceId": "i-0123456789abcdef0",
            "AutoScalingGroupName": "workers",
            "AvailabilityZone": "us-east-1a",
            "LifecycleState": state,
            "HealthStatus": "HEALTHY",
            "ProtectedFromScaleIn": False,
        }
        self.stub.add_response(
            "describe_auto_scaling_instances",
            {"AutoScalingInstances": [] if state is None else [member]},
            {"InstanceIds": ["i-0123456789abcdef0"]},
        )
        if state == "Pending:Wait":
            self.stub.add_response(
                "complete_lifecycle_action",
                {},
                {
                    "AutoScalingGroupName": "workers",
                    "LifecycleHookName": "daemons",
                    "InstanceId": "i-0123456789abcdef0",
                    "LifecycleActionResult": "CONTINUE",
                },
            )
        self.stub.activate()


@pytest.fixture(autouse=True)
def hooked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "daemons")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("Pending:Wait", "let in"),
        ("InService", "nothing to do: InService"),
        ("Terminating:Wait", "nothing to do: Terminating:Wait"),
        (None, "of no group"),
    ],
)
def test_an_instance_that_waits_is_let_in(state: str | None, said: str) -> None:
    group = Group(state)
    assert HANDLER(event(), None, group.client) == said
    group.stub.assert_no_pending_responses()


def test_one_that_is_ready_before_its_group_waits_is_tried_again() -> None:
    with pytest.raises(RECIPE["NotWaitingYet"]):
        HANDLER(event(), None, Group("Pending").client)


def test_what_is_required_must_be_among_what_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRED", "logs security")
    assert HANDLER(event(), None, Group("Pending:Wait").client) == "still without: security"
    monkeypatch.setenv("REQUIRED", "logs metrics")
    assert HANDLER(event(), None, Group("Pending:Wait").client) == "let in"
