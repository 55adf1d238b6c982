"""What stands around the tasks in the simulated account, as boto3 sees it: services that act,
capacity providers, EventBridge, IAM."""

import json
import time
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError

from blox.base.errors import InvalidInput, NotFound
from blox.simulator.eventbridge import RULE
from support.processes import wait_until
from support.simulated import ACCOUNT, REGION, Bench, events_of, on_a_bench

USER = f"arn:aws:iam::{ACCOUNT}:user/tester"
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:events"
NO_MARK = [{"type": "memberOf", "expression": "attribute:blox !exists"}]


def code_of(error: ClientError) -> tuple[str, int]:
    return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]


def decisions(bench: Bench, *actions: str, **options: Any) -> dict[str, str]:
    answer = bench.client("iam").simulate_principal_policy(
        PolicySourceArn=USER, ActionNames=list(actions), **options
    )
    return {one["EvalActionName"]: one["EvalDecision"] for one in answer["EvaluationResults"]}


# --- Services and providers -----------------------------------------------------------------------


def test_a_daemon_service_acts_as_boto3_sees_it() -> None:
    def work(bench: Bench) -> None:
        ecs = bench.client("ecs")
        made = ecs.create_service(
            cluster="demo",
            serviceName="logs",
            taskDefinition="sleep",
            schedulingStrategy="DAEMON",
            placementConstraints=NO_MARK,
        )["service"]
        assert made["placementConstraints"] == NO_MARK
        assert abs(made["createdAt"].timestamp() - time.time()) < 60
        wait_until(lambda: len(bench.live()) == 3)
        assert {task["group"] for task in bench.live()} == {"service:logs"}
        ecs.get_waiter("services_stable").wait(
            cluster="demo", services=["logs"], WaiterConfig={"Delay": 1, "MaxAttempts": 20}
        )
        arns = ecs.list_services(cluster="demo", schedulingStrategy="DAEMON")["serviceArns"]
        assert arns == [made["serviceArn"]]

        host = bench.arns()[0]
        ecs.put_attributes(
            cluster="demo", attributes=[{"name": "blox", "value": "1", "targetId": host}]
        )
        wait_until(lambda: host not in [task["host"] for task in bench.live()])
        ecs.delete_attributes(cluster="demo", attributes=[{"name": "blox", "targetId": host}])
        wait_until(lambda: host in [task["host"] for task in bench.live()])
        ecs.update_service(cluster="demo", service="logs", placementConstraints=[])
        found = ecs.describe_services(cluster="demo", services=["logs", "nope"])
        assert found["services"][0]["placementConstraints"] == []
        assert [one["reason"] for one in found["failures"]] == ["MISSING"]
        ecs.delete_service(cluster="demo", service="logs", force=True)
        ecs.get_waiter("services_inactive").wait(
            cluster="demo", services=["logs"], WaiterConfig={"Delay": 1, "MaxAttempts": 20}
        )
        wait_until(lambda: bench.live() == [])
        with pytest.raises(ecs.exceptions.ServiceNotFoundException):
            ecs.delete_service(cluster="demo", service="logs")

    on_a_bench(work)


def test_services_and_providers_by_control() -> None:
    def work(bench: Bench) -> None:
        control, ecs = bench.control, bench.client("ecs")
        with pytest.raises(InvalidInput, match="asg"):
            control.post("hosts", {"cluster": "demo", "capacity_provider": "asg"})
        assert len(bench.hosts()) == 3
        control.post("providers", {"name": "asg", "cluster": "demo"})
        host = control.post("hosts", {"cluster": "demo", "capacity_provider": "asg"})["hosts"][0]
        control.post(
            "services",
            {
                "cluster": "demo",
                "name": "logs",
                "strategy": "DAEMON",
                "definition": "sleep",
                "constraints": ["attribute:blox !exists"],
            },
        )
        wait_until(lambda: len(bench.live()) == 4)
        shown = {one["containerInstanceArn"]: one for one in bench.hosts()}
        assert (shown[host]["capacityProvider"], shown[host]["couldScaleIn"]) == ("asg", True)
        assert [one["couldScaleIn"] for one in shown.values()].count(True) == 1
        described = ecs.describe_capacity_providers(capacityProviders=["asg"])
        group = described["capacityProviders"][0]["autoScalingGroupProvider"]
        assert group["managedScaling"]["status"] == "ENABLED"
        ecs.start_task(cluster="demo", taskDefinition="sleep", containerInstances=[host])
        assert [one["couldScaleIn"] for one in bench.hosts()].count(True) == 0

        state = control.get("state")["clusters"]["demo"]
        assert state["capacityProviders"] == ["asg"]
        assert [one["serviceName"] for one in state["services"]] == ["logs"]
        wait_until(lambda: all(task["digests"] for task in bench.live()))
        digest = control.post("digests", {"family": "sleep"})["digest"]
        assert digest not in [task["digests"][0] for task in bench.live()]
        control.post("services/delete", {"cluster": "demo", "name": "logs"})
        wait_until(lambda: len(bench.live()) == 1)
        for what, body, words in (
            ("services/delete", {"cluster": "demo", "name": "nope"}, "ServiceNotFound"),
            ("services", {"cluster": "demo", "name": "x", "definition": "nope"}, "definition"),
            ("providers", {"name": "aws-x"}, "capacity provider's name"),
            ("digests", {"family": "nope"}, "task definition"),
        ):
            with pytest.raises(InvalidInput, match=words):
                control.post(what, body)
        with pytest.raises(NotFound):
            control.post("providers", {"name": "other", "cluster": "nowhere"})

    on_a_bench(work)


# --- EventBridge ----------------------------------------------------------------------------------


def test_events_reach_the_queue_only_through_the_rule() -> None:
    def work(bench: Bench) -> None:
        sqs, bus = bench.client("sqs"), bench.client("events")
        url = sqs.get_queue_url(QueueName="events")["QueueUrl"]

        def received() -> list[Any]:
            answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
            for message in answer.get("Messages", []):
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            return events_of(answer.get("Messages", []))

        assert len(received()) == 3
        assert bus.list_rule_names_by_target(TargetArn=QUEUE)["RuleNames"] == [RULE]
        assert bus.describe_rule(Name=RULE)["State"] == "ENABLED"
        assert bus.list_targets_by_rule(Rule=RULE)["Targets"][0]["Arn"] == QUEUE
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy", "QueueArn"])
        policy = json.loads(attributes["Attributes"]["Policy"])
        rule_arn = bus.describe_rule(Name=RULE)["Arn"]
        assert policy["Statement"][0]["Condition"] == {"ArnEquals": {"aws:SourceArn": rule_arn}}

        for change in ({"state": "DISABLED"}, {"state": "GONE"}):
            bench.control.post("rule", change)
            bench.control.post("hosts", {"cluster": "demo"})
            assert received() == []
        assert bus.list_rule_names_by_target(TargetArn=QUEUE)["RuleNames"] == []
        with pytest.raises(bus.exceptions.ResourceNotFoundException):
            bus.describe_rule(Name=RULE)
        assert bench.control.get("state")["queues"]["events"]["receivesEvents"] is False

        other = {"source": ["aws.ecs"], "detail": {"clusterArn": ["elsewhere"]}}
        bench.control.post("rule", {"state": "ENABLED", "pattern": other})
        bench.control.post("hosts", {"cluster": "demo"})
        assert received() == []
        bench.control.post("rule", {"pattern": {"source": ["aws.ecs"]}})
        bench.control.post("hosts", {"cluster": "demo"})
        assert len(received()) == 1
        with pytest.raises(InvalidInput, match="pattern"):
            bench.control.post("rule", {"pattern": {}})

    on_a_bench(work)


def test_put_events_are_recorded_and_routed() -> None:
    def work(bench: Bench) -> None:
        bus, sqs = bench.client("events"), bench.client("sqs")
        notice = {"Source": "blox", "DetailType": "host ready", "Detail": '{"host": "i-1"}'}
        answer = bus.put_events(Entries=[notice, {**notice, "Source": "aws.ecs"}])
        assert answer["FailedEntryCount"] == 1
        assert answer["Entries"][1]["ErrorCode"] == "NotAuthorizedForSourceException"
        seen = bench.control.get("events")
        assert [one["id"] for one in seen["events"]] == [answer["Entries"][0]["EventId"]]
        assert seen["events"][0]["detail"] == {"host": "i-1"}
        again = bench.control.get("events", {"since": str(seen["next"])})
        assert (again["events"], again["next"]) == ([], 1)

        bench.control.post("rule", {"pattern": {"source": ["blox"]}})
        bus.put_events(Entries=[notice])
        url = sqs.get_queue_url(QueueName="events")["QueueUrl"]
        sources = []
        for _ in range(2):
            messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
            sources += [event["source"] for event in events_of(messages)]
        assert sources == ["aws.ecs"] * 3 + ["blox"]

    on_a_bench(work)


# --- IAM ------------------------------------------------------------------------------------------


def test_iam_tells_what_the_calls_themselves_say() -> None:
    def work(bench: Bench) -> None:
        ecs, sqs, bus = bench.client("ecs"), bench.client("sqs"), bench.client("events")
        url = sqs.get_queue_url(QueueName="events")["QueueUrl"]
        calls = {
            "ecs:ListClusters": (ecs.list_clusters, {}, ("AccessDeniedException", 400)),
            "sqs:ReceiveMessage": (sqs.receive_message, {"QueueUrl": url}, ("AccessDenied", 400)),
            "events:ListRules": (bus.list_rules, {}, ("AccessDeniedException", 400)),
        }
        assert set(decisions(bench, *calls).values()) == {"allowed"}
        for action, (call, arguments, code) in calls.items():
            bench.control.post("deny", {"what": action})
            with pytest.raises(ClientError, match=f"not authorized to perform: {action}") as denied:
                call(**arguments)
            assert code_of(denied.value) == code
            assert decisions(bench, *calls) == {
                other: "implicitDeny" if other == action else "allowed" for other in calls
            }
            bench.control.post("deny", {"what": action, "on": False})
            call(**arguments)

    on_a_bench(work, secrets={"tester": "secret"})


def test_every_pair_of_action_and_resource_has_a_result_and_they_come_in_pages() -> None:
    def work(bench: Bench) -> None:
        iam = bench.client("iam")
        options = {
            "PolicySourceArn": USER,
            "ActionNames": ["ecs:StopTask", "ecs:StartTask"],
            "ResourceArns": ["arn:aws:ecs:us-east-1:1:task/a", "arn:aws:ecs:us-east-1:1:task/b"],
        }
        first = iam.simulate_principal_policy(**options, MaxItems=3)
        assert first["IsTruncated"] is True
        rest = iam.simulate_principal_policy(**options, MaxItems=3, Marker=first["Marker"])
        assert rest["IsTruncated"] is False
        results = first["EvaluationResults"] + rest["EvaluationResults"]
        assert [(one["EvalActionName"], one["EvalResourceName"][-1]) for one in results] == [
            ("ecs:StopTask", "a"),
            ("ecs:StopTask", "b"),
            ("ecs:StartTask", "a"),
            ("ecs:StartTask", "b"),
        ]

    on_a_bench(work)


def test_a_denied_role_is_told_by_its_arn() -> None:
    def work(bench: Bench) -> None:
        role = f"arn:aws:iam::{ACCOUNT}:role/agent"
        bench.client("ecs").register_task_definition(
            family="agent",
            taskRoleArn=role,
            containerDefinitions=[{"name": "agent", "image": "agent:1", "memory": 32}],
        )
        bench.control.post("deny", {"what": "passrole:agent"})
        assert decisions(bench, "iam:PassRole", ResourceArns=[role]) == {
            "iam:PassRole": "implicitDeny"
        }
        assert decisions(bench, "iam:PassRole", ResourceArns=[role + "x"]) == {
            "iam:PassRole": "allowed"
        }

    on_a_bench(work)


def test_iam_refuses_what_is_no_principal_and_can_be_denied_itself() -> None:
    def work(bench: Bench) -> None:
        iam = bench.client("iam")
        session = f"arn:aws:sts::{ACCOUNT}:assumed-role/blox/tester"
        assert bench.client("sts").get_caller_identity()["Arn"] == session
        for arn, error in (
            (session, ("InvalidInput", 400)),
            ("arn:aws:iam::999999999999:role/blox", ("NoSuchEntity", 404)),
        ):
            with pytest.raises(ClientError) as refused:
                iam.simulate_principal_policy(PolicySourceArn=arn, ActionNames=["ecs:StartTask"])
            assert code_of(refused.value) == error
        role = f"arn:aws:iam::{ACCOUNT}:role/blox"
        iam.simulate_principal_policy(PolicySourceArn=role, ActionNames=["ecs:StartTask"])
        bench.control.post("deny", {"what": "iam:SimulatePrincipalPolicy"})
        with pytest.raises(ClientError, match="not authorized") as denied:
            iam.simulate_principal_policy(PolicySourceArn=role, ActionNames=["ecs:StartTask"])
        assert code_of(denied.value) == ("AccessDenied", 403)
        with pytest.raises(ClientError, match="no ListUsers"):
            iam.list_users()

    on_a_bench(work, role="blox")


def test_everything_denied_is_listed_and_allowed_again_at_once() -> None:
    def work(bench: Bench) -> None:
        for what in ("StartTask", "ecs:Describe*", "passrole:sleep"):
            bench.control.post("deny", {"what": what})
        assert bench.control.get("state")["denied"] == [
            "ecs:StartTask",
            "ecs:Describe*",
            "passrole:sleep",
        ]
        assert bench.control.post("deny", {"what": "*", "on": False})["denied"] == []
        with pytest.raises(InvalidInput, match="could be denied"):
            bench.control.post("deny", {"what": "Start"})

    on_a_bench(work)


@pytest.mark.parametrize("service", ["events", "iam"])
def test_faults_strike_the_services_around_ecs_too(service: str) -> None:
    def work(bench: Bench) -> None:
        bench.control.post("faults", {"service": service, "outcome": "error", "status": 503})
        call = bench.client("events").list_rules
        if service == "iam":
            call = partial(decisions, bench, "ecs:StartTask")
        with pytest.raises(ClientError) as failed:
            call()
        assert code_of(failed.value) == ("ServerException", 503)
        assert bench.client("ecs").list_clusters()["clusterArns"]

    on_a_bench(work)
