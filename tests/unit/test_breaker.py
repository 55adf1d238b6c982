"""R14: after two calls in doubt, one host at a time until one call is answered."""

from blox.scheduler.breaker import (
    Breaker,
    batch_allowed,
    call_answered,
    call_began,
    call_in_doubt,
    call_not_made,
)

INTERVALS = (2.0, 4.0, 8.0, 15.0)


def doubted(breaker: Breaker, now: float) -> Breaker:
    return call_in_doubt(breaker, now=now, intervals=INTERVALS)


def opened(now: float = 100.0) -> Breaker:
    return doubted(doubted(Breaker(), now), now)


def test_while_answers_arrive_calls_take_ten_hosts() -> None:
    assert batch_allowed(Breaker(), now=0.0) == 10


def test_one_call_in_doubt_opens_nothing() -> None:
    once = doubted(Breaker(), 100.0)
    assert not once.open
    assert batch_allowed(once, now=100.0) == 10


def test_an_answer_between_two_doubts_keeps_it_closed() -> None:
    assert not doubted(call_answered(doubted(Breaker(), 1.0)), 2.0).open


def test_two_calls_in_doubt_open_it() -> None:
    assert opened().open
    assert batch_allowed(opened(100.0), now=101.9) == 0
    assert batch_allowed(opened(100.0), now=102.0) == 1


def test_only_one_probe_is_out_at_a_time() -> None:
    probing = call_began(opened(100.0))
    assert batch_allowed(probing, now=1000.0) == 0


def test_probes_that_fail_come_ever_later() -> None:
    breaker, now, waits = opened(100.0), 102.0, []
    for _ in range(5):
        breaker = doubted(call_began(breaker), now)
        waits.append(breaker.next_probe - now)
        now = breaker.next_probe
    assert waits == [4.0, 8.0, 15.0, 15.0, 15.0]


def test_any_answer_closes_it() -> None:
    closed = call_answered(call_began(opened()))
    assert closed == Breaker()
    assert batch_allowed(closed, now=0.0) == 10


def test_a_probe_that_was_never_sent_tells_nothing_and_may_go_again() -> None:
    again = call_not_made(call_began(opened(100.0)))
    assert again.open
    assert batch_allowed(again, now=102.0) == 1


def test_while_it_is_closed_calls_are_not_counted_as_probes() -> None:
    assert call_began(Breaker()) == Breaker()
    assert call_not_made(Breaker()) == Breaker()
