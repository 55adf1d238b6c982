"""What is denied in the simulated account, and which operations there are."""

from contextlib import suppress

import pytest

from blox.simulator import access
from blox.simulator.cloud import Cloud
from blox.simulator.known import OPERATIONS
from blox.simulator.model import Fault
from blox.simulator.sqs import Queues
from blox.simulator.sqs_shapes import QueueFault
from blox.simulator.wire_faults import FaultBook, Rule
from support.worlds import world


def test_an_action_is_denied_with_or_without_its_service_and_by_pattern() -> None:
    for what in ("ListTasks", "ecs:ListTasks", "ecs:List*", "List*"):
        w = world()
        w.cloud.deny(what)
        assert w.refused("ListTasks").code == "AccessDeniedException"
        assert w.cloud.denies("ecs:ListTasks")
        assert not w.cloud.denies("ecs:DescribeTasks")
        w.cloud.deny(what, on=False)
        assert w.cloud.denied == []
        assert w.call("ListTasks")["taskArns"] == []


def test_only_what_is_known_can_be_denied() -> None:
    w = world()
    for what in ("StartTusk", "ecs:", "s3:GetObject", "passrole:", "sts:GetCallerIdentity", "Foo*"):
        with pytest.raises(ValueError, match="ecs:StartTask"):
            w.cloud.deny(what)
    assert w.cloud.denied == []


def test_batches_need_the_action_of_the_single_call() -> None:
    assert access.action_of("sqs", "DeleteMessageBatch") == "sqs:DeleteMessage"
    assert "sqs:DeleteMessageBatch" not in access.deniable()


def test_passing_roles_is_denied_by_family_or_for_all() -> None:
    w = world(role="agent-role")
    other = w.cloud.add_definition("other", now=w.now, role="other-role")
    roles = {name: f"arn:aws:iam::111122223333:role/{name}-role" for name in ("agent", "other")}
    w.cloud.deny("passrole:agent")
    assert w.cloud.denies("iam:PassRole", roles["agent"])
    assert not w.cloud.denies("iam:PassRole", roles["other"])
    assert w.cloud.denies("iam:PassRole")
    assert w.refused("StartTask", taskDefinition="agent", containerInstances=w.hosts).code == (
        "AccessDeniedException"
    )
    assert w.start(taskDefinition=other)["failures"] == []
    w.cloud.deny("iam:PassRole")
    assert w.cloud.denies("iam:PassRole", roles["other"])
    w.refused("StartTask", taskDefinition=other, containerInstances=w.hosts)


def test_the_operations_of_each_service_are_those_that_it_serves() -> None:
    queues = Queues(account="111122223333", region="us-east-1")
    for name in OPERATIONS["sqs"]:
        with pytest.raises(QueueFault) as refused:
            queues.call(name, {"QueueUrl": 1, "QueueName": 1, "MaxResults": ""}, now=0.0, base="")
        assert refused.value.code != "UnknownOperationException", name
    with pytest.raises(QueueFault, match="It knows") as unknown:
        queues.call("Nothing", {}, now=0.0, base="")
    assert unknown.value.message.split("It knows ")[1] == f"{', '.join(OPERATIONS['sqs'])}."
    cloud = Cloud(1)
    for name in OPERATIONS["ecs"]:
        with suppress(Fault):  # For want of parameters; a KeyError would be for want of the code.
            cloud.call(name, {}, now=1.0)
    assert sorted(cloud.counts) == list(OPERATIONS["ecs"])


def test_a_fault_for_an_unknown_operation_is_refused_with_the_known_ones() -> None:
    book = FaultBook()
    with pytest.raises(ValueError, match=r"'StartTusk' of ecs\. Known: .*StartTask"):
        book.add(Rule(operation="StartTusk"))
    with pytest.raises(ValueError, match=r"of sqs\. Known: .*ReceiveMessage"):
        book.add(Rule(service="sqs", operation="Start*"))
    assert book.rules == {}
    for service, operation in (
        ("*", "Start*"),
        ("ecs", "*"),
        ("events", "PutEvents"),
        ("iam", "Simulate*"),
    ):
        book.add(Rule(service=service, operation=operation))  # type: ignore[arg-type]
    assert len(book.rules) == 4
