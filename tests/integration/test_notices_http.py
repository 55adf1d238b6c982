"""One webhook over real sockets: what it sends, and what it makes of each answer."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from blox.app.notices_http import Webhook
from blox.app.notices_send import Outcome, Tried
from support.notices import Hook, hook, parcel
from support.processes import free_port


@pytest.fixture
def receiver() -> Iterator[Hook]:
    with hook() as made:
        yield made


def post(url: str, *, times: int = 1, timeout: float = 10.0) -> list[Tried]:
    """Send a notice so often, one after the other."""

    async def main() -> list[Tried]:
        webhook = Webhook(url, label="here", timeout=timeout)
        try:
            return [await webhook.send(parcel(number)) for number in range(times)]
        finally:
            await webhook.close()

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, {}, Tried(Outcome.SENT)),
        (204, {}, Tried(Outcome.SENT)),
        (301, {"Location": "http://127.0.0.1:1/"}, "HTTP 301: redirects are not followed"),
        (400, {}, "HTTP 400"),
        (404, {}, "HTTP 404"),
        (408, {}, Tried(Outcome.AGAIN, "HTTP 408")),
        (429, {"Retry-After": "7"}, Tried(Outcome.AGAIN, "HTTP 429", 7.0)),
        (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, Tried(Outcome.AGAIN, "HTTP 503")),
        (500, {"Retry-After": "-1"}, Tried(Outcome.AGAIN, "HTTP 500")),
    ],
)
def test_what_becomes_of_a_notice_is_in_the_status(
    receiver: Hook, status: int, headers: dict[str, str], expected: Tried | str
) -> None:
    receiver.answers = [(status, headers)]
    if isinstance(expected, str):
        expected = Tried(Outcome.REFUSED, expected)
    assert post(receiver.url) == [expected]


def test_a_redirect_is_not_followed_although_its_target_would_take_it(receiver: Hook) -> None:
    receiver.answers = [(307, {"Location": receiver.url})]
    assert [tried.outcome for tried in post(receiver.url)] == [Outcome.REFUSED]
    assert receiver.posted == []


def test_one_that_does_not_answer_is_given_up_after_a_while(receiver: Hook) -> None:
    receiver.blocked.clear()
    assert post(receiver.url, timeout=0.3) == [Tried(Outcome.AGAIN, "no answer within 0.3 s")]


@pytest.mark.parametrize(
    "url_of",
    [
        lambda: f"http://127.0.0.1:{free_port()}/hunter2?token=hunter2",
        lambda: f"https://127.0.0.1:{free_port()}/hunter2",
        lambda: "http://nobody.invalid/hunter2?token=hunter2",
    ],
)
def test_one_that_cannot_be_reached_is_tried_again(url_of: Callable[[], str]) -> None:
    tried = post(url_of(), times=2)
    assert [one.outcome for one in tried] == [Outcome.AGAIN] * 2
    assert all(one.why and "hunter2" not in one.why for one in tried)


def test_a_name_is_looked_up(receiver: Hook) -> None:
    url = receiver.url.replace("127.0.0.1", "localhost")
    assert post(url, times=3) == [Tried(Outcome.SENT)] * 3
    assert [one.body for one in receiver.posted] == [b"0", b"1", b"2"]


def test_a_proxy_is_used_where_one_is_named(
    receiver: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{receiver.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert post("http://nobody.invalid/hook") == [Tried(Outcome.SENT)]
    assert [one.path for one in receiver.posted] == ["http://nobody.invalid/hook"]
    monkeypatch.setenv("no_proxy", "nobody.invalid")
    assert post("http://nobody.invalid/hook")[0].outcome is Outcome.AGAIN
