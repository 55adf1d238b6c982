"""The simulated AWS as real clients see it: boto3, the aws command, plain HTTP."""

import json
import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from blox.base.errors import InvalidInput, NotFound
from blox.settings import Assumptions
from blox.simulator.server import loopback_socket
from support.processes import wait_until
from support.simulated import ACCOUNT, REGION, Bench, events_of, on_a_bench


def code_of(error: ClientError) -> tuple[str, int]:
    return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]


def start(ecs: Any, *hosts: str, **options: Any) -> Any:
    return ecs.start_task(
        cluster="demo", taskDefinition="sleep:1", containerInstances=list(hosts), **options
    )


# --- ECS ------------------------------------------------------------------------------------------


def test_a_task_lives_and_dies_as_boto3_sees_it() -> None:
    def work(bench: Bench) -> None:
        ecs = bench.client("ecs")
        made = ecs.create_cluster(clusterName="other")["cluster"]
        assert made["clusterArn"] == f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/other"
        definition = ecs.register_task_definition(
            family="agent",
            containerDefinitions=[{"name": "agent", "image": "agent:1", "memory": 32}],
        )["taskDefinition"]
        assert definition["revision"] == 1

        host = bench.arns()[0]
        answer = ecs.start_task(
            cluster="demo", taskDefinition="agent", containerInstances=[host], startedBy="me"
        )
        assert answer["failures"] == []
        task = answer["tasks"][0]["taskArn"]
        quickly = {"Delay": 1, "MaxAttempts": 10}
        ecs.get_waiter("tasks_running").wait(cluster="demo", tasks=[task], WaiterConfig=quickly)
        running_now = ecs.list_tasks(cluster="demo", startedBy="me")
        assert running_now["taskArns"] == [task]

        ecs.stop_task(cluster="demo", task=task, reason="enough")
        ecs.get_waiter("tasks_stopped").wait(
            cluster="demo", tasks=[task], WaiterConfig={"Delay": 1, "MaxAttempts": 40}
        )
        found = ecs.describe_tasks(cluster="demo", tasks=[task])["tasks"][0]
        assert (found["desiredStatus"], found["stoppedReason"]) == ("STOPPED", "enough")
        assert ecs.list_tasks(cluster="demo")["taskArns"] == []
        assert ecs.list_tasks(cluster="demo", desiredStatus="STOPPED")["taskArns"] == [task]

    on_a_bench(work)


def test_lists_come_in_pages() -> None:
    def work(bench: Bench) -> None:
        ecs = bench.client("ecs")
        pages = list(
            ecs.get_paginator("list_container_instances").paginate(
                cluster="demo", PaginationConfig={"PageSize": 5}
            )
        )
        assert [len(page["containerInstanceArns"]) for page in pages] == [5, 5, 2]
        arns = [arn for page in pages for arn in page["containerInstanceArns"]]
        assert sorted(arns) == sorted(bench.arns())
        described = ecs.describe_container_instances(cluster="demo", containerInstances=arns)
        assert {host["agentConnected"] for host in described["containerInstances"]} == {True}

    on_a_bench(work, hosts=12)


def test_attributes_are_put_and_listed() -> None:
    def work(bench: Bench) -> None:
        ecs = bench.client("ecs")
        host = bench.arns()[0]
        attribute = {"name": "stack", "value": "prod", "targetId": host}
        ecs.put_attributes(cluster="demo", attributes=[attribute])
        found = ecs.list_attributes(
            cluster="demo", targetType="container-instance", attributeName="stack"
        )["attributes"]
        assert [(one["value"], one["targetId"]) for one in found] == [("prod", host)]

    on_a_bench(work)


def test_what_is_not_there_is_told() -> None:
    def work(bench: Bench) -> None:
        ecs = bench.client("ecs")
        answer = ecs.describe_tasks(cluster="demo", tasks=["0" * 32])
        assert [failure["reason"] for failure in answer["failures"]] == ["MISSING"]
        with pytest.raises(ecs.exceptions.ClusterNotFoundException):
            ecs.list_tasks(cluster="nowhere")
        with pytest.raises(ClientError, match="ListDaemons") as unknown:
            ecs.list_daemons(capacityProviderArns=[])
        assert code_of(unknown.value) == ("UnknownOperationException", 404)

    on_a_bench(work)


def test_every_answer_carries_a_date_and_a_request_id() -> None:
    def work(bench: Bench) -> None:
        before = time.time()
        metadata = bench.client("ecs").list_clusters()["ResponseMetadata"]
        date = time.strptime(metadata["HTTPHeaders"]["date"], "%a, %d %b %Y %H:%M:%S GMT")
        seconds = float(time.mktime(date) - time.timezone)
        assert before - 1 <= seconds <= time.time()
        assert len(metadata["RequestId"]) == 36
        assert metadata["HTTPHeaders"]["content-type"] == "application/x-amz-json-1.1"

    on_a_bench(work)


# --- Events ---------------------------------------------------------------------------------------


def test_events_arrive_in_the_queue_by_themselves() -> None:
    def work(bench: Bench) -> None:
        sqs, ecs = bench.client("sqs"), bench.client("ecs")
        url = sqs.get_queue_url(QueueName="events")["QueueUrl"]
        host = bench.arns()[0]
        task = start(ecs, host)["tasks"][0]["taskArn"]

        seen: list[str] = []

        def receive() -> bool:
            answer = sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=5,
                MessageSystemAttributeNames=["All"],
            )
            messages = answer.get("Messages", [])
            for message, event in zip(messages, events_of(messages), strict=True):
                assert message["Attributes"]["ApproximateReceiveCount"] == "1"
                assert (event["source"], event["account"]) == ("aws.ecs", ACCOUNT)
                if event["detail"].get("taskArn") == task:
                    assert event["detail-type"] == "ECS Task State Change"
                    seen.append(event["detail"]["lastStatus"])
            if messages:
                entries = [
                    {"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]}
                    for at, message in enumerate(messages)
                ]
                assert "Failed" not in sqs.delete_message_batch(QueueUrl=url, Entries=entries)
            return "RUNNING" in seen

        wait_until(receive, what="an event about the running task")
        assert seen[0] == "PENDING"
        key = "ApproximateNumberOfMessagesNotVisible"
        left = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[key])
        assert left["Attributes"][key] == "0"

    on_a_bench(work)


def test_a_long_poll_ends_when_an_event_comes_and_when_its_time_is_over() -> None:
    def work(bench: Bench) -> None:
        sqs = bench.client("sqs")
        url = sqs.create_queue(QueueName="mine")["QueueUrl"]
        bench.control.post("routes", {"queue": "mine"})

        begun = time.monotonic()
        assert "Messages" not in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1)
        assert 0.9 < time.monotonic() - begun < 5

        timer = threading.Timer(0.3, bench.control.post, ("hosts", {"cluster": "demo"}))
        timer.start()
        begun = time.monotonic()
        answer = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)
        assert time.monotonic() - begun < 5
        timer.join()
        event = events_of(answer["Messages"])[0]
        assert event["detail-type"] == "ECS Container Instance State Change"

    on_a_bench(work)


def test_a_long_poll_whose_client_has_gone_takes_no_message() -> None:
    def work(bench: Bench) -> None:
        sqs = bench.client("sqs", read_timeout=0.5)
        url = sqs.create_queue(QueueName="mine")["QueueUrl"]
        with pytest.raises(Exception, match=r"timed out|timeout"):
            sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)
        sqs.send_message(QueueUrl=url, MessageBody="for the living")
        answer = sqs.receive_message(QueueUrl=url)
        assert [message["Body"] for message in answer["Messages"]] == ["for the living"]

    on_a_bench(work)


def test_a_hidden_message_ends_a_long_poll_when_it_comes_back() -> None:
    def work(bench: Bench) -> None:
        sqs = bench.client("sqs")
        url = sqs.create_queue(QueueName="mine", Attributes={"VisibilityTimeout": "1"})["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="again")
        assert len(sqs.receive_message(QueueUrl=url)["Messages"]) == 1
        begun = time.monotonic()
        assert len(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)["Messages"]) == 1
        assert time.monotonic() - begun < 5

    on_a_bench(work)


def test_queue_errors_have_both_their_names() -> None:
    def work(bench: Bench) -> None:
        sqs = bench.client("sqs")
        with pytest.raises(sqs.exceptions.QueueDoesNotExist) as missing:
            sqs.receive_message(QueueUrl=f"{bench.url}/{ACCOUNT}/nowhere")
        assert code_of(missing.value) == ("AWS.SimpleQueueService.NonExistentQueue", 400)

    on_a_bench(work)


# --- Who asks, and when ---------------------------------------------------------------------------


def test_a_caller_learns_who_it_is() -> None:
    def work(bench: Bench) -> None:
        identity = bench.client("sts").get_caller_identity()
        assert identity["Account"] == ACCOUNT
        assert identity["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/tester"

    on_a_bench(work)


@pytest.mark.parametrize(("ahead", "words"), [(400, "expired"), (-400, "not yet current")])
def test_a_signature_that_is_too_old_or_too_new_is_refused(ahead: float, words: str) -> None:
    def work(bench: Bench) -> None:
        for call, code in (
            (bench.client("ecs").list_clusters, ("InvalidSignatureException", 400)),
            (bench.client("sqs").list_queues, ("InvalidSignatureException", 400)),
            (bench.client("sts").get_caller_identity, ("SignatureDoesNotMatch", 403)),
        ):
            with pytest.raises(ClientError, match=f"Signature {words}") as refused:
                call()
            assert code_of(refused.value) == code

    on_a_bench(work, ahead=ahead)


def test_a_request_that_travels_longer_than_its_signature_lives_does_nothing() -> None:
    def work(bench: Bench) -> None:
        bench.control.post("faults", {"operation": "StartTask", "late": 2.1})
        with pytest.raises(ClientError) as refused:
            start(bench.client("ecs"), bench.arns()[0])
        assert code_of(refused.value) == ("InvalidSignatureException", 400)
        assert bench.live() == []

    on_a_bench(work, assumptions=Assumptions(signature_age=1.0))


def test_signatures_are_verified_when_the_server_knows_the_secret() -> None:
    def work(bench: Bench) -> None:
        for service in ("ecs", "sqs"):
            client = bench.client(service)
            (client.list_clusters if service == "ecs" else client.list_queues)()
        bench.client("sts").get_caller_identity()
        bench.secret = "wrong"
        with pytest.raises(ClientError) as wrong:
            bench.client("ecs").list_clusters()
        assert code_of(wrong.value) == ("InvalidSignatureException", 400)
        bench.access_key = "stranger"
        with pytest.raises(ClientError) as stranger:
            bench.client("ecs").list_clusters()
        assert code_of(stranger.value) == ("UnrecognizedClientException", 400)

    on_a_bench(work, secrets={"tester": "secret"})


def test_an_unsigned_request_and_one_that_is_no_json_are_refused() -> None:
    def work(bench: Bench) -> None:
        target = "AmazonEC2ContainerServiceV20141113.ListClusters"
        status, _, body = bench.raw(target)
        assert status == 400
        assert json.loads(body)["__type"] == "MissingAuthenticationTokenException"
        status, _, body = bench.raw("Elsewhere.Do")
        assert (status, json.loads(body)["__type"]) == (404, "UnknownOperationException")
        status, _, body = bench.raw("", b"Action=GetCallerIdentity&Version=2011-06-15")
        assert status == 403
        assert b"<Code>MissingAuthenticationToken</Code>" in body
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = f"tester/{stamp[:8]}/{REGION}/ecs/aws4_request"
        signed = {
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, "
            "Signature=unverified",
            "X-Amz-Date": stamp,
        }
        status, _, body = bench.raw(target, b"[1]", headers=signed)
        assert (status, json.loads(body)["__type"]) == (400, "SerializationException")

    on_a_bench(work)


# --- Faults ---------------------------------------------------------------------------------------


def test_a_connection_dropped_after_the_execution_leaves_a_task() -> None:
    def work(bench: Bench) -> None:
        ecs = bench.client("ecs")
        rule = {"operation": "StartTask", "outcome": "drop", "times": 1}
        bench.control.post("faults", {**rule, "stage": "before"})
        with pytest.raises(ConnectionClosedError):
            start(ecs, bench.arns()[0])
        assert bench.live() == []

        bench.control.post("faults", {**rule, "stage": "after"})
        with pytest.raises(ConnectionClosedError):
            start(ecs, bench.arns()[0])
        assert len(bench.live()) == 1
        assert len(start(ecs, bench.arns()[1])["tasks"]) == 1

    on_a_bench(work)


def test_an_error_may_come_before_or_after_the_execution() -> None:
    def work(bench: Bench) -> None:
        ecs = bench.client("ecs")
        rule = {"operation": "StartTask", "outcome": "error", "times": 1}
        for stage, status, tasks in (("before", 500, 0), ("after", 503, 1)):
            bench.control.post("faults", {**rule, "stage": stage, "status": status})
            with pytest.raises(ClientError) as failed:
                start(ecs, bench.arns()[0])
            assert code_of(failed.value) == ("ServerException", status)
            assert failed.value.response["ResponseMetadata"]["RequestId"]
            assert len(bench.live()) == tasks
        bench.control.post("faults", {**rule, "outcome": "throttle"})
        with pytest.raises(ClientError) as throttled:
            start(ecs, bench.arns()[0])
        assert code_of(throttled.value) == ("ThrottlingException", 400)
        assert len(bench.live()) == 1

    on_a_bench(work)


def test_an_accepted_call_is_executed_after_its_connection_broke() -> None:
    def work(bench: Bench) -> None:
        bench.control.post(
            "faults",
            {"operation": "StartTask", "outcome": "drop", "stage": "accepted", "slow": 1.0},
        )
        with pytest.raises(ConnectionClosedError):
            start(bench.client("ecs"), bench.arns()[0])
        assert bench.live() == []
        wait_until(bench.live, within=5, what="the late task")

    on_a_bench(work)


def test_a_slow_execution_is_answered_when_it_is_done() -> None:
    def work(bench: Bench) -> None:
        bench.control.post("faults", {"operation": "StartTask", "slow": 0.5, "delay": 0.2})
        begun = time.monotonic()
        answer = start(bench.client("ecs"), bench.arns()[0])
        assert time.monotonic() - begun >= 0.7
        assert [task["taskArn"] for task in answer["tasks"]] == [
            task["taskArn"] for task in bench.live()
        ]

    on_a_bench(work)


def test_an_answer_can_be_unreadable_or_without_a_request_id() -> None:
    def work(bench: Bench) -> None:
        ecs = bench.client("ecs")
        headers: list[Any] = []
        ecs.meta.events.register(
            "before-parse.ecs", lambda response_dict, **_: headers.append(response_dict)
        )
        bench.control.post("faults", {"outcome": "garble", "stage": "after", "times": 1})
        start(ecs, bench.arns()[0])
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(headers[0]["body"])
        assert headers[0]["headers"]["x-amzn-requestid"]
        bench.control.post("faults", {"outcome": "anonymous", "stage": "after", "times": 1})
        start(ecs, bench.arns()[1])
        assert "x-amzn-requestid" not in headers[1]["headers"]
        assert headers[1]["status_code"] == 200
        assert len(bench.live()) == 2

    on_a_bench(work)


# --- Control --------------------------------------------------------------------------------------


def test_the_world_can_be_changed_while_it_runs() -> None:
    def work(bench: Bench) -> None:
        control, ecs = bench.control, bench.client("ecs")
        control.post("clusters", {"name": "extra"})
        control.post("definitions", {"family": "agent", "cpu": 1, "memory": 8})
        made = control.post("hosts", {"cluster": "demo", "count": 2, "arch": "arm64"})["hosts"]
        assert len(bench.hosts()) == 5

        control.post("hosts/drain", {"hosts": [made[0].rsplit("/")[-1]]})
        control.post("hosts/disconnect", {"hosts": [made[1]]})
        by_arn = {host["containerInstanceArn"]: host for host in bench.hosts()}
        assert by_arn[made[0]]["status"] == "DRAINING"
        assert by_arn[made[1]]["agentConnected"] is False
        control.post("hosts/activate", {"hosts": [by_arn[made[0]]["instanceId"]]})
        control.post("hosts/connect", {"hosts": [made[1]]})
        assert {host["status"] for host in bench.hosts()} == {"ACTIVE"}
        assert {host["agentConnected"] for host in bench.hosts()} == {True}

        first = start(ecs, made[0])["tasks"][0]["taskArn"]
        foreign = control.post(
            "tasks/foreign", {"cluster": "demo", "host": made[0], "family": "agent"}
        )["task"]
        killed = control.post("tasks/kill", {"family": "sleep", "host": made[0]})["tasks"]
        assert killed == [first]
        wait_until(lambda: [task["taskArn"] for task in bench.live()] == [foreign])

        control.post("crash-loop", {"target": "sleep", "seconds": 0.1})
        start(ecs, made[0])
        wait_until(lambda: [task["taskArn"] for task in bench.live()] == [foreign], within=10)
        control.post("hosts/terminate", {"hosts": [made[0]]})
        with pytest.raises(InvalidInput, match="INACTIVE"):
            control.post("hosts/drain", {"hosts": [made[1], made[0]]})
        assert [host["alive"] for host in bench.hosts()].count(False) == 1
        assert "DRAINING" not in [host["status"] for host in bench.hosts()]
        assert bench.live() == []

    on_a_bench(work)


def test_operations_can_be_denied_and_are_logged() -> None:
    def work(bench: Bench) -> None:
        ecs, host = bench.client("ecs"), bench.arns()[0]
        bench.control.post("deny", {"what": "StartTask"})
        with pytest.raises(ClientError) as denied:
            start(ecs, host)
        assert denied.value.response["Error"]["Code"] == "AccessDeniedException"
        bench.control.post("deny", {"what": "StartTask", "on": False})
        task = start(ecs, host)["tasks"][0]["taskArn"]

        log = bench.control.get("log")
        starts = [one for one in log["calls"] if one["operation"] == "StartTask"]
        assert [one["outcome"] for one in starts] == ["AccessDeniedException", "done"]
        assert starts[1]["made"] == [task]
        assert starts[1]["caller"] == "tester"
        rest = bench.control.get("log", {"since": str(log["next"])})
        assert (rest["calls"], rest["next"]) == ([], log["next"])

    on_a_bench(work)


@pytest.mark.parametrize(
    ("what", "body", "words"),
    [
        ("hosts", {}, "cluster"),
        ("hosts", {"cluster": "demo", "colour": "red"}, "colour"),
        ("hosts", {"cluster": "demo", "count": 0}, "count"),
        ("hosts/drain", {"hosts": []}, "at least one"),
        ("hosts/status", {"hosts": ["i-1"], "status": "INACTIVE"}, "terminate"),
        ("tasks/kill", {}, "family"),
        ("tasks/kill", {"tasks": ["x"], "family": "sleep"}, "not both"),
        ("faults", {"outcome": "explode"}, "explode"),
        ("faults", {"share": 2}, "share"),
        ("faults", {"operation": "StartTask", "slow": 61}, "60 s"),
        ("rates", {"drop_answer": 0.5}, "/_control/faults"),
        ("rates", {"lag": 2}, "0 to 1"),
    ],
)
def test_control_says_what_is_wrong(what: str, body: dict[str, object], words: str) -> None:
    def work(bench: Bench) -> None:
        before = bench.control.get("state")["clusters"]
        with pytest.raises(InvalidInput, match=words):
            bench.control.post(what, body)
        assert bench.control.get("state")["clusters"] == before

    on_a_bench(work)


def test_control_knows_what_does_not_exist() -> None:
    def work(bench: Bench) -> None:
        for what, body in (
            ("nothing", {}),
            ("hosts", {"cluster": "nowhere"}),
            ("hosts/drain", {"hosts": ["i-unknown"]}),
            ("tasks/kill", {"tasks": ["unknown"]}),
            ("crash-loop", {"target": "unknown"}),
            ("routes", {"queue": "unknown"}),
        ):
            with pytest.raises(NotFound):
                bench.control.post(what, body)
        with pytest.raises(NotFound):
            bench.control.delete("faults/fault-9")
        assert bench.raw("", method="PUT", path="/_control/hosts")[0] == 405
        assert bench.raw("", b"{", path="/_control/hosts")[0] == 400
        foreign = {"Host": "attacker.example"}
        assert bench.raw("", path="/_control/state", method="GET", headers=foreign)[0] == 403
        page = {"Origin": "http://attacker.example"}
        assert bench.raw("", path="/_control/deny", headers=page)[0] == 403

    on_a_bench(work)


def test_reads_can_lag_and_events_can_double() -> None:
    def work(bench: Bench) -> None:
        ecs, sqs = bench.client("ecs"), bench.client("sqs")
        url = sqs.create_queue(QueueName="mine")["QueueUrl"]
        bench.control.post("routes", {"queue": "mine"})
        bench.control.post("rates", {"lag": 1.0, "event_doubled": 1.0})
        found = bench.control.get("faults")["rates"]
        assert (found["lag"], found["event_doubled"], found["flicker"]) == (1.0, 1.0, 0)
        bench.control.post("hosts", {"cluster": "demo"})
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
        ids = [event["id"] for event in events_of(messages)]
        assert len(ids) >= 2
        assert len(set(ids)) == 1
        seen: list[int] = []

        def all_listed() -> bool:
            arns = ecs.list_container_instances(cluster="demo")["containerInstanceArns"]
            seen.append(len(arns))
            return len(arns) == 4

        wait_until(all_listed, within=5)
        assert set(seen) <= {3, 4}

    on_a_bench(work, assumptions=Assumptions(read_lag=1.0))


# --- The address ----------------------------------------------------------------------------------


def test_only_loopback_addresses_are_bound() -> None:
    for host in ("0.0.0.0", "", "192.0.2.1", "example.org"):
        with pytest.raises(ValueError, match="loopback"):
            loopback_socket(host, 0)
    with loopback_socket("localhost", 0) as bound:
        assert bound.getsockname()[0] == "127.0.0.1"
