"""The simulated SQS: what a standard queue promises its consumers, and how it says no."""

import hashlib

import pytest

from blox.simulator.sqs import Queues
from blox.simulator.sqs_queue import IN_FLIGHT_LIMIT, Queue, Settings
from blox.simulator.sqs_shapes import QueueFault

BASE = "http://127.0.0.1:4566"
START = 1_750_000_000.0


class Account:
    """An account with one queue, `events`, and a clock that tests turn."""

    def __init__(self, **attributes: str) -> None:
        self.queues = Queues(account="111122223333", region="eu-west-1")
        self.now = START
        self.url = self.ask("CreateQueue", QueueName="events", Attributes=attributes)["QueueUrl"]

    def ask(self, operation: str, **params: object) -> dict[str, object]:
        return self.queues.call(operation, params, now=self.now, base=BASE)

    def refused(self, operation: str, **params: object) -> QueueFault:
        with pytest.raises(QueueFault) as caught:
            self.ask(operation, **params)
        return caught.value

    def send(self, *bodies: str, **params: object) -> None:
        for body in bodies:
            self.ask("SendMessage", QueueUrl=self.url, MessageBody=body, **params)

    def receive(self, **params: object) -> list[dict[str, object]]:
        wanted = {"MaxNumberOfMessages": 10, **params}
        found = self.ask("ReceiveMessage", QueueUrl=self.url, **wanted).get("Messages", [])
        assert isinstance(found, list)
        return found

    def bodies(self, **params: object) -> list[object]:
        return [message["Body"] for message in self.receive(**params)]

    def count(self, name: str) -> str:
        key = f"ApproximateNumberOfMessages{name}"
        shown = self.ask("GetQueueAttributes", QueueUrl=self.url, AttributeNames=[key])
        attributes = shown["Attributes"]
        assert isinstance(attributes, dict)
        return str(attributes[key])


# --- Delivery -------------------------------------------------------------------------------------


def test_a_message_that_is_not_deleted_comes_back_after_the_visibility_timeout() -> None:
    account = Account(VisibilityTimeout="30")
    account.send("one")
    assert account.bodies() == ["one"]

    account.now += 29.9
    assert account.bodies() == []
    account.now += 0.1
    again = account.receive(AttributeNames=["All"])
    assert [message["Body"] for message in again] == ["one"]
    assert again[0]["Attributes"] == {
        "SenderId": "111122223333",
        "SentTimestamp": str(int(START * 1000)),
        "ApproximateReceiveCount": "2",
        "ApproximateFirstReceiveTimestamp": str(int(START * 1000)),
    }


def test_a_deleted_message_never_comes_back() -> None:
    account = Account()
    account.send("one", "two")
    first = account.receive(MaxNumberOfMessages=1)[0]
    account.ask("DeleteMessage", QueueUrl=account.url, ReceiptHandle=first["ReceiptHandle"])

    account.now += 31
    assert account.bodies() == ["two"]
    account.ask("DeleteMessage", QueueUrl=account.url, ReceiptHandle=first["ReceiptHandle"])


def test_only_the_newest_receipt_handle_deletes() -> None:
    account = Account()
    account.send("one")
    old = account.receive()[0]["ReceiptHandle"]
    account.now += 31
    new = account.receive()[0]["ReceiptHandle"]

    account.ask("DeleteMessage", QueueUrl=account.url, ReceiptHandle=old)
    assert account.count("NotVisible") == "1"
    account.ask("DeleteMessage", QueueUrl=account.url, ReceiptHandle=new)
    assert account.count("NotVisible") == "0"
    account.now += 31
    assert account.receive() == []


def test_a_handle_still_deletes_when_the_timeout_is_over_and_nobody_else_received() -> None:
    account = Account()
    account.send("one")
    handle = account.receive()[0]["ReceiptHandle"]
    account.now += 31
    assert account.count("") == "1"
    account.ask("DeleteMessage", QueueUrl=account.url, ReceiptHandle=handle)
    assert account.receive() == []


def test_visibility_can_be_extended_and_given_back() -> None:
    account = Account()
    account.send("one")
    handle = account.receive()[0]["ReceiptHandle"]
    visibility = {"QueueUrl": account.url, "ReceiptHandle": handle}

    account.ask("ChangeMessageVisibility", **visibility, VisibilityTimeout=100)
    account.now += 99
    assert account.receive() == []
    account.ask("ChangeMessageVisibility", **visibility, VisibilityTimeout=0)
    assert account.bodies() == ["one"]


def test_no_message_stays_hidden_for_more_than_twelve_hours() -> None:
    account = Account()
    account.send("one")
    handle = account.receive(VisibilityTimeout=43_200)[0]["ReceiptHandle"]
    account.now += 1
    fault = account.refused(
        "ChangeMessageVisibility",
        QueueUrl=account.url,
        ReceiptHandle=handle,
        VisibilityTimeout=43_200,
    )
    assert fault.query_code == "InvalidParameterValue"
    assert "beyond the limit" in fault.message


def test_visibility_of_a_message_that_is_not_in_flight_cannot_be_changed() -> None:
    account = Account()
    account.send("one")
    handle = account.receive()[0]["ReceiptHandle"]
    account.now += 31
    fault = account.refused(
        "ChangeMessageVisibility", QueueUrl=account.url, ReceiptHandle=handle, VisibilityTimeout=5
    )
    assert "not available for visibility timeout change" in fault.message


def test_with_visibility_timeout_zero_a_message_is_given_once_per_call_and_stays() -> None:
    account = Account()
    account.send("one", "two")
    assert account.bodies(VisibilityTimeout=0) == ["one", "two"]
    assert account.bodies(VisibilityTimeout=0) == ["one", "two"]
    assert account.count("NotVisible") == "0"


def test_at_most_ten_messages_a_call_and_one_by_default() -> None:
    account = Account()
    account.send(*(str(number) for number in range(12)))
    answer = account.ask("ReceiveMessage", QueueUrl=account.url)
    assert [message["Body"] for message in answer["Messages"]] == ["0"]  # type: ignore[attr-defined]
    assert len(account.receive()) == 10
    assert account.bodies() == ["11"]


def test_a_delayed_message_appears_late() -> None:
    account = Account()
    account.send("late", DelaySeconds=5)
    account.send("now")
    assert account.count("Delayed") == "1"
    assert account.bodies() == ["now"]
    account.now += 5
    assert account.bodies() == ["late"]


def test_retention_ends_a_message_even_in_flight() -> None:
    account = Account(MessageRetentionPeriod="60", VisibilityTimeout="120")
    account.send("old")
    account.now += 40
    account.send("young")
    assert account.bodies() == ["old", "young"]
    account.now += 20
    assert (account.count(""), account.count("NotVisible")) == ("0", "1")


def test_a_message_received_too_often_moves_to_the_dead_letter_queue() -> None:
    account = Account(VisibilityTimeout="1")
    dead = account.ask("CreateQueue", QueueName="dead")["QueueUrl"]
    policy = (
        '{"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:111122223333:dead", "maxReceiveCount": "2"}'
    )
    account.ask("SetQueueAttributes", QueueUrl=account.url, Attributes={"RedrivePolicy": policy})
    account.send("poison")
    for _ in range(2):
        assert account.bodies() == ["poison"]
        account.now += 1
    assert account.bodies() == []
    moved = account.ask("ReceiveMessage", QueueUrl=dead, MessageSystemAttributeNames=["All"])
    message = moved["Messages"][0]  # type: ignore[index]
    assert message["Body"] == "poison"
    assert message["Attributes"]["DeadLetterQueueSourceArn"].endswith(":events")


def test_memory_is_given_back_when_messages_are_deleted() -> None:
    queue = Queue(name="events", arn="arn", settings=Settings(), now=START)
    for number in range(20_000):
        queue.send(str(number), now=START)
        taken, _ = queue.receive(most=1, now=START)
        assert queue.delete(taken[0][1], now=START)
    assert len(queue._by_age) < 2_000


def test_short_polls_are_refused_and_long_polls_stay_empty_with_too_many_in_flight() -> None:
    account = Account()
    queue = account.queues.named("events")
    assert queue is not None
    for _ in range(IN_FLIGHT_LIMIT + 1):
        queue.send("x", now=START)
    taken, _ = queue.receive(most=IN_FLIGHT_LIMIT + 1, now=START)
    assert len(taken) == IN_FLIGHT_LIMIT
    assert account.refused("ReceiveMessage", QueueUrl=account.url).code == "OverLimit"
    assert account.receive(WaitTimeSeconds=20) == []


# --- Batches --------------------------------------------------------------------------------------


def test_a_batch_answers_for_each_entry() -> None:
    account = Account()
    sent = account.ask(
        "SendMessageBatch",
        QueueUrl=account.url,
        Entries=[
            {"Id": "a", "MessageBody": "one"},
            {"Id": "b", "MessageBody": "two", "DelaySeconds": 901},
        ],
    )
    digest = hashlib.md5(b"one", usedforsecurity=False).hexdigest()
    assert sent["Successful"][0]["MD5OfMessageBody"] == digest  # type: ignore[index]
    assert sent["Failed"][0]["Id"] == "b"  # type: ignore[index]
    assert sent["Failed"][0]["Code"] == "InvalidParameterValue"  # type: ignore[index]

    message = account.receive()[0]
    deleted = account.ask(
        "DeleteMessageBatch",
        QueueUrl=account.url,
        Entries=[
            {"Id": "a", "ReceiptHandle": message["ReceiptHandle"]},
            {"Id": "b", "ReceiptHandle": "nonsense"},
        ],
    )
    assert deleted["Successful"] == [{"Id": "a"}]
    assert deleted["Failed"][0]["Code"] == "ReceiptHandleIsInvalid"  # type: ignore[index]


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ([], "AWS.SimpleQueueService.EmptyBatchRequest"),
        (
            [{"Id": str(n), "ReceiptHandle": "x"} for n in range(11)],
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
        ),
        (
            [{"Id": "a", "ReceiptHandle": "x"}, {"Id": "a", "ReceiptHandle": "y"}],
            "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
        ),
        (
            [{"Id": "a b", "ReceiptHandle": "x"}],
            "AWS.SimpleQueueService.InvalidBatchEntryId",
        ),
        ([{"Id": "a"}], "MissingParameter"),
    ],
)
def test_a_malformed_batch_is_refused_whole(entries: list[object], code: str) -> None:
    account = Account()
    fault = account.refused("DeleteMessageBatch", QueueUrl=account.url, Entries=entries)
    assert (fault.query_code, fault.status) == (code, 400)


def test_a_batch_beyond_the_size_limit_is_refused_whole() -> None:
    account = Account()
    half = "x" * 600_000
    fault = account.refused(
        "SendMessageBatch",
        QueueUrl=account.url,
        Entries=[{"Id": "a", "MessageBody": half}, {"Id": "b", "MessageBody": half}],
    )
    assert fault.code == "BatchRequestTooLong"
    assert account.count("") == "0"


# --- Queues ---------------------------------------------------------------------------------------


def test_a_queue_is_created_once() -> None:
    account = Account(VisibilityTimeout="30")
    again = account.ask("CreateQueue", QueueName="events", Attributes={"VisibilityTimeout": "30"})
    assert again == {"QueueUrl": f"{BASE}/111122223333/events"}
    fault = account.refused(
        "CreateQueue", QueueName="events", Attributes={"VisibilityTimeout": "31"}
    )
    assert fault.query_code == "QueueAlreadyExists"


def test_a_deleted_queues_name_stays_taken_for_a_minute() -> None:
    account = Account()
    account.ask("DeleteQueue", QueueUrl=account.url)
    fault = account.refused("ReceiveMessage", QueueUrl=account.url)
    assert fault.code == "QueueDoesNotExist"
    assert fault.query_code == "AWS.SimpleQueueService.NonExistentQueue"

    account.now += 59
    assert account.refused("CreateQueue", QueueName="events").code == "QueueDeletedRecently"
    account.now += 1
    account.ask("CreateQueue", QueueName="events")
    assert account.receive() == []


def test_queues_are_listed_by_prefix_and_page() -> None:
    account = Account()
    for name in ("a1", "a2", "a3", "b"):
        account.ask("CreateQueue", QueueName=name)
    first = account.ask("ListQueues", QueueNamePrefix="a", MaxResults=2)
    assert first["QueueUrls"] == [f"{BASE}/111122223333/a1", f"{BASE}/111122223333/a2"]
    rest = account.ask(
        "ListQueues", QueueNamePrefix="a", MaxResults=2, NextToken=first["NextToken"]
    )
    assert rest == {"QueueUrls": [f"{BASE}/111122223333/a3"]}


def test_a_queue_is_found_by_name_and_owner() -> None:
    account = Account()
    assert account.ask("GetQueueUrl", QueueName="events") == {"QueueUrl": account.url}
    other = {"QueueName": "events", "QueueOwnerAWSAccountId": "999999999999"}
    assert account.refused("GetQueueUrl", **other).code == "QueueDoesNotExist"


def test_attributes_show_what_was_set() -> None:
    account = Account(VisibilityTimeout="7", Policy='{"Version": "2012-10-17"}')
    account.now += 5
    account.ask(
        "SetQueueAttributes",
        QueueUrl=account.url,
        Attributes={"ReceiveMessageWaitTimeSeconds": "20"},
    )
    shown = account.ask("GetQueueAttributes", QueueUrl=account.url, AttributeNames=["All"])
    assert shown["Attributes"] == {
        "VisibilityTimeout": "7",
        "MessageRetentionPeriod": "345600",
        "MaximumMessageSize": "1048576",
        "DelaySeconds": "0",
        "ReceiveMessageWaitTimeSeconds": "20",
        "ApproximateNumberOfMessages": "0",
        "ApproximateNumberOfMessagesNotVisible": "0",
        "ApproximateNumberOfMessagesDelayed": "0",
        "CreatedTimestamp": str(int(START)),
        "LastModifiedTimestamp": str(int(START) + 5),
        "QueueArn": "arn:aws:sqs:eu-west-1:111122223333:events",
        "Policy": '{"Version": "2012-10-17"}',
    }
    assert account.queues.patience({"QueueUrl": account.url})[1] == 20.0
    assert account.queues.patience({"QueueUrl": account.url, "WaitTimeSeconds": 3})[1] == 3.0


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"Colour": "red"}, "InvalidAttributeName"),
        ({"VisibilityTimeout": "43201"}, "InvalidAttributeValue"),
        ({"VisibilityTimeout": "-1"}, "InvalidAttributeValue"),
        ({"MessageRetentionPeriod": "59"}, "InvalidAttributeValue"),
        ({"RedrivePolicy": "{"}, "InvalidAttributeValue"),
        ({"RedrivePolicy": '{"deadLetterTargetArn": "a"}'}, "InvalidAttributeValue"),
    ],
)
def test_faulty_attributes_change_nothing(attributes: dict[str, str], code: str) -> None:
    account = Account()
    before = account.ask("GetQueueAttributes", QueueUrl=account.url, AttributeNames=["All"])
    fault = account.refused("SetQueueAttributes", QueueUrl=account.url, Attributes=attributes)
    assert fault.code == code
    after = account.ask("GetQueueAttributes", QueueUrl=account.url, AttributeNames=["All"])
    assert after == before


def test_purging_empties_a_queue_once_a_minute() -> None:
    account = Account()
    account.send("one", "two")
    account.receive(MaxNumberOfMessages=1)
    account.ask("PurgeQueue", QueueUrl=account.url)
    account.now += 31
    assert account.receive() == []
    fault = account.refused("PurgeQueue", QueueUrl=account.url)
    assert fault.query_code == "AWS.SimpleQueueService.PurgeQueueInProgress"
    account.now += 29
    account.ask("PurgeQueue", QueueUrl=account.url)


@pytest.mark.parametrize(
    ("operation", "params", "code"),
    [
        ("CreateQueue", {"QueueName": "a.fifo"}, "UnsupportedOperation"),
        ("CreateQueue", {"QueueName": "a b"}, "InvalidParameterValueException"),
        ("CreateQueue", {}, "MissingRequiredParameterException"),
        ("CreateQueue", {"QueueName": 7}, "SerializationException"),
        ("ReceiveMessage", {"MaxNumberOfMessages": 11}, "InvalidParameterValueException"),
        ("ReceiveMessage", {"WaitTimeSeconds": 21}, "InvalidParameterValueException"),
        ("SendMessage", {"MessageBody": ""}, "MissingRequiredParameterException"),
        ("SendMessage", {"MessageBody": "x" * 1_048_577}, "InvalidParameterValueException"),
        ("DeleteMessage", {"ReceiptHandle": "nonsense"}, "ReceiptHandleIsInvalid"),
    ],
)
def test_faulty_requests_are_named(operation: str, params: dict[str, object], code: str) -> None:
    account = Account()
    fault = account.refused(operation, **{"QueueUrl": account.url, **params})
    assert (fault.code, fault.status) == (code, 400)


def test_an_unknown_operation_says_what_there_is() -> None:
    fault = Account().refused("TagQueue")
    assert (fault.code, fault.status) == ("UnknownOperationException", 404)
    assert "SendMessageBatch" in fault.message


def test_message_attributes_come_back_with_their_digest() -> None:
    account = Account()
    attributes = {
        "kind": {"DataType": "String", "StringValue": "event"},
        "raw": {"DataType": "Binary", "BinaryValue": "AAEC"},
    }
    sent = account.ask(
        "SendMessage", QueueUrl=account.url, MessageBody="x", MessageAttributes=attributes
    )
    encoded = (
        b"\x00\x00\x00\x04kind\x00\x00\x00\x06String\x01\x00\x00\x00\x05event"
        b"\x00\x00\x00\x03raw\x00\x00\x00\x06Binary\x02\x00\x00\x00\x03\x00\x01\x02"
    )
    digest = hashlib.md5(encoded, usedforsecurity=False).hexdigest()
    assert sent["MD5OfMessageAttributes"] == digest
    message = account.receive(MessageAttributeNames=["All"])[0]
    assert message["MessageAttributes"] == attributes
    assert message["MD5OfMessageAttributes"] == digest
