"""The SQS adapter against the simulated SQS: what it asks, and what it says when SQS says no."""

import asyncio
import json
from collections.abc import Callable

import pytest

from blox.clusterstate.source import QueueUnavailable
from blox.clusterstate.sqs import DELETES, SqsMessage, SqsSource
from blox.ecs.port import Lost, NotSent, Permit, WireAnswer
from blox.simulator.sqs import Queues
from blox.simulator.sqs_shapes import QueueFault

BASE = "http://127.0.0.1:4566"
START = 1_750_000_000.0


class SqsWire:
    """A transport straight into the simulated SQS. `answer` may take the place of answers."""

    def __init__(self) -> None:
        self.queues = Queues(account="111122223333", region="us-east-1")
        self.now = START
        self.sent: list[tuple[str, dict[str, object], float]] = []
        self.answer: Callable[[], WireAnswer | None] = lambda: None
        self.latency = 0.0
        self.under_way = 0
        self.most_under_way = 0

    def ask(self, operation: str, **params: object) -> dict[str, object]:
        return self.queues.call(operation, params, now=self.now, base=BASE)

    def create(self, name: str = "events") -> str:
        return str(self.ask("CreateQueue", QueueName=name)["QueueUrl"])

    def waiting(self) -> tuple[str, str]:
        """How many messages wait, and how many are in flight."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        queue = f"{BASE}/111122223333/events"
        shown = self.ask("GetQueueAttributes", QueueUrl=queue, AttributeNames=list(names))
        attributes = shown["Attributes"]
        assert isinstance(attributes, dict)
        return attributes[names[0]], attributes[names[1]]

    async def send(
        self,
        operation: str,
        body: bytes,
        *,
        date: Callable[[], float],
        permit: Permit | None = None,
        fresh: bool = False,
    ) -> WireAnswer:
        asked = json.loads(body)
        self.sent.append((operation, asked, date()))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(self.latency)
        self.under_way -= 1
        instead = self.answer()
        if instead is not None:
            return instead
        try:
            found = self.queues.call(operation, asked, now=self.now, base=BASE)
        except QueueFault as fault:
            return answered(fault.code, fault.message, fault.status)
        return wire(200, json.dumps(found).encode())

    async def close(self) -> None:
        """Nothing is open."""


def wire(status: int, body: bytes) -> WireAnswer:
    return WireAnswer(status=status, headers={}, body=body, begun=0.0, signed_at=0.0)


def answered(code: str, message: str, status: int = 400) -> WireAnswer:
    document = {"__type": f"com.amazonaws.sqs#{code}", "message": message}
    return wire(status, json.dumps(document).encode())


def source(sqs: SqsWire, queue: str = "events") -> SqsSource:
    return SqsSource(queue, sqs, now=lambda: START + 5)


def problem(sqs: SqsWire, queue: str = "events") -> str:
    """Why nothing can be received."""
    with pytest.raises(QueueUnavailable) as caught:
        asyncio.run(receive(source(sqs, queue)))
    return caught.value.message


async def receive(from_queue: SqsSource) -> list[SqsMessage]:
    return list(await from_queue.receive())


def test_messages_come_ten_at_a_time_by_long_polling_and_the_url_is_asked_once() -> None:
    sqs = SqsWire()
    url = sqs.create()
    for number in range(12):
        sqs.ask("SendMessage", QueueUrl=url, MessageBody=f'{{"n": {number}}}')
    queue = source(sqs)
    first = asyncio.run(receive(queue))
    second = asyncio.run(receive(queue))
    assert sorted(m.body for m in first + second) == sorted(
        f'{{"n": {number}}}'.encode() for number in range(12)
    )
    assert len({m.id for m in first + second}) == 12
    assert [operation for operation, _, _ in sqs.sent] == [
        "GetQueueUrl",
        "ReceiveMessage",
        "ReceiveMessage",
    ]
    asked = {"QueueUrl": url, "MaxNumberOfMessages": 10}
    # The first one tells at once whether the queue can be read.
    assert sqs.sent[1][1] == {**asked, "WaitTimeSeconds": 0}
    assert sqs.sent[2][1] == {**asked, "WaitTimeSeconds": 20}
    assert sqs.sent[1][2] == START + 5


def test_nothing_waiting_is_an_empty_list_and_a_url_is_taken_as_it_is() -> None:
    sqs = SqsWire()
    url = sqs.create()
    assert asyncio.run(receive(source(sqs, url))) == []
    assert [operation for operation, _, _ in sqs.sent] == ["ReceiveMessage"]


def test_what_was_deleted_does_not_come_again_and_the_rest_does() -> None:
    sqs = SqsWire()
    url = sqs.create()
    for number in range(25):
        sqs.ask("SendMessage", QueueUrl=url, MessageBody=str(number))
    queue = source(sqs)

    async def story() -> None:
        got = [m for _ in range(3) for m in await receive(queue)]
        assert len(got) == 25
        await queue.delete(got[:24])
        sqs.now += 60
        again = [m for _ in range(3) for m in await receive(queue)]
        assert [m.body for m in again] == [got[24].body]

    asyncio.run(story())
    assert [len(asked["Entries"]) for op, asked, _ in sqs.sent if op == "DeleteMessageBatch"] == [  # type: ignore[arg-type]
        10,
        10,
        4,
    ]


def test_many_are_removed_by_several_calls_at_once() -> None:
    sqs = SqsWire()
    url = sqs.create()
    for number in range(300):
        sqs.ask("SendMessage", QueueUrl=url, MessageBody=str(number))
    queue = source(sqs)

    async def story() -> None:
        got = [m for _ in range(30) for m in await receive(queue)]
        sqs.latency = 0.01
        await queue.delete(got)

    asyncio.run(story())
    assert sqs.most_under_way == DELETES
    assert sqs.waiting() == ("0", "0")


def test_a_call_that_fails_leaves_the_others_messages_removed() -> None:
    sqs = SqsWire()
    url = sqs.create()
    for number in range(30):
        sqs.ask("SendMessage", QueueUrl=url, MessageBody=str(number))
    queue = source(sqs)

    async def story() -> None:
        got = [m for _ in range(3) for m in await receive(queue)]
        answers = [None, answered("InternalError", "no.", 500), None]
        sqs.answer = lambda: answers.pop()
        with pytest.raises(QueueUnavailable) as caught:
            await queue.delete(got)
        assert caught.value.message.startswith("10 of 30 messages could not be removed from the q")
        assert "InternalError: no." in caught.value.message

    asyncio.run(story())
    assert sqs.waiting() == ("0", "10")


def test_how_many_messages_wait_is_asked_of_sqs() -> None:
    sqs = SqsWire()
    url = sqs.create()
    for number in range(12):
        sqs.ask("SendMessage", QueueUrl=url, MessageBody=str(number))
    queue = source(sqs)
    assert asyncio.run(queue.depth()) == 12
    asyncio.run(receive(queue))
    assert asyncio.run(queue.depth()) == 2
    assert sqs.sent[-1][1] == {
        "QueueUrl": url,
        "AttributeNames": ["ApproximateNumberOfMessages"],
    }


def test_where_asking_is_denied_nobody_knows_how_many_wait() -> None:
    sqs = SqsWire()
    queue = source(sqs, sqs.create())
    sqs.answer = lambda: answered("AccessDeniedException", "no.")
    assert asyncio.run(queue.depth()) is None
    sqs.answer = lambda: wire(200, b"{}")
    assert asyncio.run(queue.depth()) is None
    sqs.answer = lambda: answered("InternalError", "no.", 500)
    with pytest.raises(QueueUnavailable, match="refused GetQueueAttributes"):
        asyncio.run(queue.depth())


def test_messages_that_sqs_does_not_delete_are_reported() -> None:
    sqs = SqsWire()
    sqs.create()

    async def story() -> None:
        await source(sqs).delete([SqsMessage("m1", b"", "not a receipt")])

    with pytest.raises(QueueUnavailable, match="1 of 1 messages could not be removed"):
        asyncio.run(story())


def test_a_queue_that_is_missing_is_found_when_it_is_there() -> None:
    sqs = SqsWire()
    queue = source(sqs)
    with pytest.raises(QueueUnavailable, match="There is no queue events in this region"):
        asyncio.run(receive(queue))
    url = sqs.create()
    sqs.ask("SendMessage", QueueUrl=url, MessageBody="x")
    assert [m.body for m in asyncio.run(receive(queue))] == [b"x"]


def test_a_queue_that_was_deleted_is_read_again_when_it_is_back() -> None:
    sqs = SqsWire()
    queue = source(sqs)
    sqs.ask("DeleteQueue", QueueUrl=sqs.create())
    sqs.now += 61
    with pytest.raises(QueueUnavailable, match="There is no queue"):
        asyncio.run(receive(queue))
    sqs.now += 61
    sqs.create()
    assert asyncio.run(receive(queue)) == []


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("AccessDeniedException", "is denied: no. Allow sqs:GetQueueUrl, sqs:ReceiveMessage and"),
        ("ExpiredTokenException", "credentials do not open the queue events (ExpiredToken"),
        ("InvalidSignatureException", "credentials do not open the queue events (InvalidSig"),
        ("OverLimit", "refused GetQueueUrl: OverLimit: no."),
    ],
)
def test_refusals_say_what_to_do(code: str, says: str) -> None:
    sqs = SqsWire()
    sqs.answer = lambda: answered(code, "no.")
    assert says in problem(sqs)


def test_no_answer_and_nonsense_are_conditions_too() -> None:
    sqs = SqsWire()

    def lost() -> WireAnswer:
        raise Lost("the connection broke", signed_at=1.0)

    def unsent() -> WireAnswer:
        raise NotSent("connect", "no route")

    sqs.answer = lost
    assert "did not answer GetQueueUrl: the connection broke." in problem(sqs)
    sqs.answer = unsent
    assert "cannot be reached (GetQueueUrl, connect): no route." in problem(sqs)
    sqs.answer = lambda: wire(200, b"<html>")
    assert "something that cannot be read" in problem(sqs)
    sqs.answer = lambda: wire(503, b"")
    assert "refused GetQueueUrl: 503: Service Unavailable" in problem(sqs)
