"""Rules for faults on the wire: which calls they strike, how often, and how they add up."""

import pytest

from blox.simulator.wire_faults import FaultBook, Rule, Strike


def never() -> float:
    raise AssertionError("no chance was asked for")


def outcomes(book: FaultBook, operation: str, calls: int, service: str = "ecs") -> list[str]:
    return [book.strike(service, operation, draw=never).outcome for _ in range(calls)]


def test_without_rules_nothing_happens() -> None:
    assert FaultBook().strike("ecs", "StartTask", draw=never) == Strike()


def test_a_rule_strikes_the_calls_that_it_names() -> None:
    book = FaultBook()
    book.add(Rule(operation="Describe*", outcome="drop"))
    assert outcomes(book, "DescribeTasks", 1) == ["drop"]
    assert outcomes(book, "ListTasks", 1) == ["answer"]
    assert outcomes(book, "DescribeTasks", 1, service="sqs") == ["answer"]
    book.add(Rule(service="*", outcome="error"))
    assert outcomes(book, "ReceiveMessage", 1, service="sqs") == ["error"]


def test_a_rule_can_skip_calls_and_end_by_itself() -> None:
    book = FaultBook()
    key = book.add(Rule(operation="StartTask", outcome="drop", skip=2, times=1))
    assert outcomes(book, "StartTask", 5) == ["answer", "answer", "drop", "answer", "answer"]
    assert book.rules[key].struck == 1


def test_a_share_of_the_calls_is_drawn() -> None:
    book = FaultBook()
    book.add(Rule(outcome="throttle", share=0.25))
    draws = iter([0.1, 0.25, 0.24, 0.9])
    found = [book.strike("ecs", "X", draw=lambda: next(draws)).outcome for _ in range(4)]
    assert found == ["throttle", "answer", "throttle", "answer"]


def test_waits_add_up_and_the_first_outcome_decides() -> None:
    book = FaultBook()
    book.add(Rule(late=1.0, delay=0.5))
    book.add(Rule(outcome="error", stage="after", status=503, code="A", slow=2.0))
    book.add(Rule(outcome="drop", late=1.0))
    strike = book.strike("ecs", "StartTask", draw=never)
    assert (strike.late, strike.slow, strike.delay) == (2.0, 2.0, 0.5)
    assert (strike.outcome, strike.stage, strike.status, strike.code) == (
        "error",
        "after",
        503,
        "A",
    )


def test_rules_are_removed_one_by_one_or_all_at_once() -> None:
    book = FaultBook()
    first = book.add(Rule(outcome="drop"))
    book.add(Rule(outcome="error"))
    assert book.remove(first)
    assert not book.remove(first)
    assert outcomes(book, "X", 1) == ["error"]
    assert book.remove()
    assert outcomes(book, "X", 1) == ["answer"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule(share=1.1), "share"),
        (Rule(late=-1), "negative"),
        (Rule(times=0), "times"),
        (Rule(status=200), "status"),
        (Rule(outcome="throttle", stage="after"), "before it is executed"),
        (Rule(outcome="garble", stage="accepted"), "garble"),
        (Rule(service="sqs", outcome="drop", stage="accepted"), "only ECS"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: Rule, words: str) -> None:
    book = FaultBook()
    with pytest.raises(ValueError, match=words):
        book.add(rule)
    assert book.rules == {}
