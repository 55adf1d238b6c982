"""What `--queue` takes, and what it says of the rest."""

import pytest

from blox.base.errors import InvalidInput
from blox.clusterstate.queues import EventQueue, Source, queue_named

URL = "https://sqs.eu-west-1.amazonaws.com/111122223333/blox-events"


@pytest.mark.parametrize(
    ("text", "source", "name"),
    [
        ("blox_queue", Source.SQS, "blox_queue"),
        ("sqs://blox_queue", Source.SQS, "blox_queue"),
        ("events.fifo", Source.SQS, "events.fifo"),
        (URL, Source.SQS, URL),
        (
            "http://127.0.0.1:4566/111122223333/e",
            Source.SQS,
            "http://127.0.0.1:4566/111122223333/e",
        ),
        ("kinesis://ecs.events-1", Source.KINESIS, "ecs.events-1"),
    ],
)
def test_names(text: str, source: Source, name: str) -> None:
    assert queue_named(text) == EventQueue(source=source, name=name)


@pytest.mark.parametrize("text", ["blox_queue", URL, "kinesis://ecs-events"])
def test_a_name_is_shown_as_it_can_be_typed(text: str) -> None:
    assert str(queue_named(text)) == text
    assert queue_named(str(queue_named(text))) == queue_named(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no queue"),
        ("sqs://", "names no queue"),
        ("kinesis://", "or kinesis://NAME"),
        ("two words", "A queue is NAME, sqs://NAME or the queue's URL"),
        ("a" * 81, "names no queue"),
        ("ftp://queue", "begins with ftp://"),
        ("https://", "no URL of a queue"),
        ("https://sqs.eu-west-1.amazonaws.com/1/e?x=1", "no URL of a queue"),
        ("https://[::1", "no URL of a queue"),
        ("arn:aws:sqs:eu-west-1:111122223333:events", "Name it instead: events."),
        (
            "arn:aws:kinesis:eu-west-1:111122223333:stream/ecs",
            "Name it instead: kinesis://ecs.",
        ),
        ("kinesis://arn:aws:kinesis:eu-west-1:1:stream/ecs", "kinesis://ecs"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        queue_named(text)
    assert says in caught.value.message


def test_a_process_that_reads_no_streams_says_which_one_does() -> None:
    with pytest.raises(InvalidInput, match="which only cluster-state-service reads"):
        queue_named("kinesis://ecs-events", streams=False)
    with pytest.raises(InvalidInput) as caught:
        queue_named("two words", streams=False)
    assert "kinesis" not in caught.value.message
