"""A real server on a real socket: what clients see, and how it stops."""

import asyncio
import io
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import msgspec
import pytest

from blox.base.errors import BloxError, Conflict, InvalidInput, NotFound, Unavailable
from blox.cli.client import Client
from blox.http.metrics import Metrics, SlotCount
from blox.http.operations import Answer, Call, Operation, Parameter, Returned, Streaming
from support.served import run, served


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    """A body for tests."""

    name: str
    size: int = 1


async def show(call: Call) -> Answer:
    if call.params["name"] == "none":
        raise NotFound("There is no thing named 'none'.")
    if call.params["name"] == "broken":
        raise RuntimeError("a secret of ours")
    return Answer(body={"name": call.params["name"], "filter": call.query.text("filter")})


async def make(call: Call) -> Answer:
    thing = call.decode(Thing)
    if thing.name == "taken":
        raise Conflict("There is one already.")
    return Answer(body=thing, status=201, headers={"location": f"/v2/things/{thing.name}"})


async def empty(_: Call) -> Answer:
    return Answer()


def things(version: str) -> list[Operation]:
    base = f"/{version}/things"
    return [
        Operation(
            method="GET",
            path=base + "/{name}",
            id=f"show_{version}",
            summary="Show",
            handle=show,
            query=(Parameter(name="filter", description="What to show."),),
            answers={200: Returned(description="It", body=Thing)},
        ),
        Operation(
            method="DELETE", path=base + "/{name}", id=f"d_{version}", summary="D", handle=empty
        ),
        Operation(
            method="POST",
            path=base,
            id=f"make_{version}",
            summary="Make",
            handle=make,
            body=Thing,
            answers={201: Returned(description="Made", body=Thing)},
        ),
    ]


_JSON = {"content-type": "application/json"}
BOTH = [*things("v1"), *things("v2")]
Asking = Callable[[aiohttp.ClientSession], Awaitable[None]]


def asking(work: Asking, **options: object) -> None:
    """Run `work` with a session on a fresh server."""

    async def scene() -> None:
        async with served(BOTH, **options) as url, aiohttp.ClientSession(url) as session:  # type: ignore[arg-type]
            await work(session)

    run(scene())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/things/none", 404),
        ("PUT", "/v1/things", 405),
        ("TRACE", "/v1/things", 405),
        ("GET", "/v1/things/x?filter=1&filter=2", 400),
        ("GET", "/v1/things/x?other=1", 400),
        ("GET", "/v1/things/x?filter=%ff", 400),
        ("POST", "/v1/things", 400),
        ("GET", "/v1/things/broken", 500),
    ],
)
def test_under_v1_every_error_is_a_sentence_and_elsewhere_a_problem(
    method: str, path: str, status: int
) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.request(method, path, headers=_JSON) as answer:
            sentence = await answer.text()
            assert answer.status == status
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            assert sentence
            assert not sentence.startswith(("{", "<"))
            assert "Traceback" not in sentence
        async with session.request(method, path.replace("/v1", "/v2"), headers=_JSON) as answer:
            problem = json.loads(await answer.read())
            assert answer.status == problem["status"] == status
            assert answer.headers["content-type"] == "application/problem+json"
            assert set(problem) == {"type", "title", "status", "detail", "instance"}
            assert "secret" not in str(problem)

    asking(work)


def test_a_method_that_is_not_there_tells_those_that_are() -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.put("/v1/things/x") as answer:
            assert answer.status == 405
            assert answer.headers["allow"] == "DELETE, GET, OPTIONS, HEAD"
            assert (
                await answer.text() == "PUT is not possible at /v1/things/x; this is: DELETE, GET."
            )

    asking(work)


def test_success_has_the_content_type_of_its_version() -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        for version, expected in (
            ("v1", "application/json; charset=UTF-8"),
            ("v2", "application/json"),
        ):
            async with session.get(f"/{version}/things/a") as answer:
                assert answer.headers["content-type"] == expected
                assert await answer.json() == {"name": "a", "filter": None}
            async with session.delete(f"/{version}/things/a") as answer:
                assert (answer.status, await answer.read()) == (200, b"")
                assert answer.headers["content-type"] == expected

    asking(work)


def test_trailing_slashes_and_percent_encoding() -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.get("/v1/things/a%20b/?filter=c+d") as answer:
            assert await answer.json() == {"name": "a b", "filter": "c d"}

    asking(work)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "needs a body in JSON, and there is none"),
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "nested too deeply|is not JSON|does not fit"),
        (b"{}", "missing required field `name`"),
        (b'{"name": 3}', r"Expected `str`, got `int` - at `\$.name`"),
        (b'{"name": "a", "nmae": 1}', "contains unknown field `nmae`"),
        (b'{"name": "taken"}', "There is one already"),
    ],
)
def test_a_bad_body_is_told_where_it_is_bad(body: bytes, told: str) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.post("/v1/things", data=body) as answer:
            assert answer.status == 400
            assert re.search(told, await answer.text())

    asking(work)


def test_v1_takes_a_body_of_any_content_type_and_v2_names_a_wrong_one() -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        form = {"content-type": "application/x-www-form-urlencoded"}
        async with session.post("/v1/things", data=b'{"name": "a"}', headers=form) as answer:
            assert answer.status == 201
        async with session.post("/v2/things", data=b'{"name": "a"}', headers=form) as answer:
            assert answer.status == 415
            assert (
                "Content-Type: application/json" in (await answer.json(content_type=None))["detail"]
            )
        async with session.post("/v2/things", json={"name": "a"}) as answer:
            assert (answer.status, answer.headers["location"]) == (201, "/v2/things/a")

    asking(work)


def test_a_body_that_is_too_large_is_refused_whether_announced_or_not() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    async def work(session: aiohttp.ClientSession) -> None:
        async with session.post(
            "/v2/things", data=io.BytesIO(b" " * 1_100_000), headers=_JSON
        ) as answer:
            assert answer.status == 413
        async with session.post("/v2/things", data=chunks(), headers=_JSON) as answer:
            assert answer.status == 413
        async with session.get("/livez") as answer:
            assert answer.status == 200

    asking(work)


def test_head_is_get_without_the_body_and_options_tells_the_methods() -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.get("/v2/things/a") as got, session.head("/v2/things/a") as headed:
            assert headed.status == 200
            assert headed.headers["content-length"] == got.headers["content-length"]
            assert await headed.read() == b""
        async with session.head("/v2/nothing") as answer:
            assert answer.status == 404
        async with session.options("/v2/things/a") as answer:
            assert answer.status == 204
            assert "HEAD" in answer.headers["allow"]

    asking(work)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("DELETE", {"origin": "http://evil.example"}, 403),
        ("DELETE", {"origin": "null"}, 403),
        ("GET", {"origin": "http://evil.example"}, 200),
        ("GET", {"host": "evil.example"}, 403),
        ("GET", {"host": "evil.example:2000"}, 403),
        ("GET", {"host": "127.0.0.1.evil.example"}, 403),
        ("GET", {"host": "localhost:2000"}, 200),
        ("GET", {"host": "[::1]:2000"}, 200),
        ("DELETE", {"host": "localhost:2000", "origin": "http://localhost:2000"}, 200),
    ],
)
def test_pages_of_other_sites_can_neither_change_nor_read(
    method: str, headers: dict[str, str], status: int
) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.request(method, "/v2/things/a", headers=headers) as answer:
            assert answer.status == status
            assert "access-control-allow-origin" not in answer.headers
            assert answer.headers["x-content-type-options"] == "nosniff"

    asking(work)


def test_readiness_is_asked_each_time_and_liveness_does_not_care() -> None:
    reasons: list[str | None] = [None, "The store is not open yet."]

    async def work(session: aiohttp.ClientSession) -> None:
        async with session.get("/readyz?probe=1") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        reasons.pop(0)
        async with session.get("/readyz") as answer:
            assert answer.status == 503
            assert json.loads(await answer.read())["detail"] == "The store is not open yet."
        async with session.get("/livez") as answer:
            assert answer.status == 200

    asking(work, ready=lambda: reasons[0])


def test_metrics_are_counted_as_they_happen_and_gauges_only_when_asked() -> None:
    asked: list[str] = []
    metrics = Metrics(version="1.2.3")
    metrics.called("StartTask", "answered")
    metrics.called("StartTask", "answered")
    metrics.throttled()
    metrics.assumption_broken("V")
    metrics.message("applied")
    metrics.reconciled(0.002)
    metrics.start_delayed(0.04)

    def slots() -> list[SlotCount]:
        asked.append("slots")
        return [SlotCount("prod", "logs", "current", 9), SlotCount("prod", "logs", 'in "doubt"', 1)]

    metrics.watch_slots(slots)
    metrics.watch_view_age(lambda: {"prod": 1.5})
    metrics.watch_queue_lag(lambda: 0.25)
    metrics.watch_host_seconds_without_daemon(lambda: {"logs": 4.5})

    async def work(session: aiohttp.ClientSession) -> None:
        assert asked == []
        async with session.get("/metrics") as answer:
            assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            lines = (await answer.text()).splitlines()
        assert asked == ["slots"]
        for line in (
            'blox_calls_total{operation="StartTask",outcome="answered"} 2.0',
            "blox_throttles_total 1.0",
            'blox_assumptions_broken_total{assumption="V"} 1.0',
            'blox_event_messages_total{result="applied"} 1.0',
            "blox_reconcile_seconds_count 1.0",
            'blox_start_delay_seconds_bucket{le="0.05"} 1.0',
            'blox_start_delay_seconds_bucket{le="0.025"} 0.0',
            'blox_slots{class="current",cluster="prod",environment="logs"} 9.0',
            'blox_slots{class="in \\"doubt\\"",cluster="prod",environment="logs"} 1.0',
            'blox_view_age_seconds{cluster="prod"} 1.5',
            "blox_queue_lag_seconds 0.25",
            'blox_host_seconds_without_daemon_total{environment="logs"} 4.5',
            'blox_build_info{version="1.2.3"} 1.0',
        ):
            assert line in lines
        assert not [line for line in lines if "_created" in line]

    asking(work, metrics=metrics)


def test_the_document_describes_what_is_served() -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.get("/openapi.json") as answer:
            described = await answer.json()
        assert described["openapi"].startswith("3.1.")
        assert set(described["paths"]) == {
            "/v1/things",
            "/v1/things/{name}",
            "/v2/things",
            "/v2/things/{name}",
            "/livez",
            "/readyz",
            "/metrics",
        }
        shown = described["paths"]["/v2/things/{name}"]["get"]
        assert [(p["name"], p["in"], p["required"]) for p in shown["parameters"]] == [
            ("name", "path", True),
            ("filter", "query", False),
        ]
        made = described["paths"]["/v2/things"]["post"]
        reference = made["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        assert reference == "#/components/schemas/Thing"
        assert described["components"]["schemas"]["Thing"]["required"] == ["name"]
        assert (
            "text/plain" in described["paths"]["/v1/things"]["post"]["responses"]["400"]["content"]
        )

    asking(work)


def test_the_command_lines_client_gets_the_servers_errors_back() -> None:
    def talk(url: str) -> None:
        client = Client(url)
        assert client.get("/v2/things/a", {"filter": "b"}) == {"name": "a", "filter": "b"}
        assert client.post("/v2/things", {"name": "a"}) == {"name": "a", "size": 1}
        assert client.delete("/v2/things/a") == {}
        with pytest.raises(NotFound, match=r"There is no thing named 'none'\."):
            client.get("/v2/things/none")
        with pytest.raises(Conflict, match=r"There is one already\."):
            client.post("/v2/things", {"name": "taken"})
        with pytest.raises(InvalidInput, match="At least one of the filters"):
            client.get("/v1/things/a", {"x": "y"})
        with pytest.raises(BloxError, match="blox made a mistake"):
            client.get("/v2/things/broken")
        with pytest.raises(Unavailable, match="is not a scheduler's API"):
            client.get("/metrics")

    async def scene() -> str:
        async with served(BOTH) as url:
            await asyncio.to_thread(talk, url)
            return url

    url = run(scene())
    with pytest.raises(Unavailable, match=f"No scheduler answers at {url}: is it running"):
        Client(url).get("/v2/things/a")


class Ticking:
    """A stream that sends once and then waits for ever; knows when it was closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def operation(self) -> Operation:
        async def stream(_: Call) -> Streaming:
            return Streaming(chunks=self.chunks())

        return Operation(
            method="GET", path="/v2/events", id="events", summary="Events", handle=stream
        )

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            yield b"event: hello\n\n"
            await asyncio.Event().wait()
        finally:
            self.closed.set()


def test_an_open_stream_ends_properly_when_the_server_stops() -> None:
    async def scene() -> float:
        ticking = Ticking()
        async with aiohttp.ClientSession() as session:
            async with served([ticking.operation()]) as url:
                answer = await session.get(f"{url}/v2/events")
                assert answer.headers["content-type"] == "text/event-stream"
                assert await answer.content.readany() == b"event: hello\n\n"
                began = time.monotonic()
            took = time.monotonic() - began
            assert await answer.content.read() == b""  # a last chunk, not a cut connection
            assert ticking.closed.is_set()
        return took

    assert run(scene()) < 2


def test_a_stream_that_does_not_listen_cannot_hold_the_server_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ran: list[str] = []

    async def scene() -> float:
        ticking = Ticking()
        async with aiohttp.ClientSession() as session:
            async with served([ticking.operation()], stop_seconds=1, tell_streams=False) as url:
                answer = await session.get(f"{url}/v2/events")
                assert await answer.content.readany() == b"event: hello\n\n"
                began = time.monotonic()
            ran.append("code after the server")
            took = time.monotonic() - began
            assert await asyncio.wait_for(answer.content.read(), 5) == b""
            await asyncio.wait_for(ticking.closed.wait(), 5)
        return took

    assert 0.9 < run(scene()) < 6
    assert ran == ["code after the server"]
    assert "Traceback" not in caplog.text


def test_a_client_that_reads_nothing_cannot_hold_the_server_up() -> None:
    closed: list[bool] = []

    async def flood(_: Call) -> Streaming:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 65536
            finally:
                closed.append(True)

        return Streaming(chunks=chunks())

    operation = Operation(method="GET", path="/v2/flood", id="flood", summary="Flood", handle=flood)

    async def scene() -> float:
        async with served([operation], stop_seconds=1) as url:
            host, port = url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /v2/flood HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert await reader.read(12) == b"HTTP/1.1 200"
            began = time.monotonic()
        took = time.monotonic() - began
        writer.transport.abort()
        return took

    assert run(scene()) < 4
    assert closed == [True]


def test_a_stopped_main_task_still_stops_the_server_and_runs_what_follows() -> None:
    """As a signal handler does it: the task that serves is cancelled."""
    steps: list[str] = []

    async def scene() -> None:
        ticking = Ticking()
        ready = asyncio.Event()

        async def main() -> None:
            try:
                async with served([ticking.operation()]) as url:
                    steps.append(url)
                    ready.set()
                    await asyncio.Event().wait()
            finally:
                steps.append("after")

        task = asyncio.create_task(main())
        await ready.wait()
        async with aiohttp.ClientSession() as session:
            answer = await session.get(f"{steps[0]}/v2/events")
            await answer.content.readany()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, 6)
            assert await answer.content.read() == b""

    run(scene())
    assert steps[1:] == ["after"]


def test_a_stream_is_closed_when_its_client_leaves() -> None:
    async def scene() -> None:
        ticking = Ticking()
        async with served([ticking.operation()]) as url, aiohttp.ClientSession() as session:
            answer = await session.get(f"{url}/v2/events")
            await answer.content.readany()
            answer.close()
            await asyncio.wait_for(ticking.closed.wait(), 5)

    run(scene())
