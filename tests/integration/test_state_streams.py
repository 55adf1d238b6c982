"""The cluster-state-service's streams over real sockets: what watchers see, and what they cost."""

import asyncio
import contextlib
import gc
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from blox.clusterstate.changes import ChangeLog
from blox.http.streams import FALLEN_BEHIND, MOST_BYTES
from support.documents import CLUSTER, GROUP, OTHER_CLUSTER, STARTED_BY, host_arn, task_arn
from support.served import run
from support.streaming import DEADLINE, State, line, streaming, until

Asking = Callable[[State, aiohttp.ClientSession], Awaitable[None]]


def asking(work: Asking, **options: Any) -> None:
    """Run `work` beside a service whose demo cluster was read."""

    async def scene() -> None:
        async with streaming(**options) as (state, session):
            await work(state, session)

    run(scene())


async def refused(session: aiohttp.ClientSession, path: str, **headers: str) -> tuple[int, str]:
    """Status and body of an answer that has an end."""
    async with session.get(path, headers=headers) as answer:
        return answer.status, await answer.text()


@contextlib.asynccontextmanager
async def raw(
    session: aiohttp.ClientSession, path: str, *, buffer: int | None = None
) -> AsyncIterator[socket.socket]:
    """A connection that has asked for a stream and reads nothing by itself."""
    assert session._base_url is not None
    with socket.socket() as connection:
        if buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", session._base_url.port or 0))
        await loop.sock_sendall(
            connection, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        yield connection


def buffered() -> list[int]:
    """Bytes in the write buffer of each connection of the server."""
    return [
        protocol.transport.get_write_buffer_size()
        for protocol in gc.get_objects()
        if isinstance(protocol, HttpToolsProtocol) and not protocol.transport.is_closing()
    ]


# --- /v1 ------------------------------------------------------------------------------------------


def test_v1_streams_one_item_a_line_and_begin_at_once() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        async with session.get("/v1/stream/tasks") as answer:
            assert answer.status == 200
            assert answer.headers["content-type"] == "application/octet-stream"
            await until(lambda: state.watchers == 1)
            version = state.task(1)
            state.host(1, status="DRAINING")
            other = state.task(2, lastStatus="PENDING")
            first, second = await line(answer), await line(answer)
        assert first["metadata"] == {"entityVersion": str(version)}
        assert first["entity"]["taskARN"] == task_arn(1)
        assert second["metadata"] == {"entityVersion": str(other)}
        assert second["entity"]["lastStatus"] == "PENDING"
        async with session.get("/v1/stream/instances") as answer:
            await until(lambda: state.watchers == 1)
            state.host(1, status="ACTIVE")
            item = await line(answer)
        assert item["entity"]["containerInstanceARN"] == host_arn(1)
        assert item["entity"]["status"] == "ACTIVE"

    asking(work)


@pytest.mark.parametrize("skipped", [0, 1, 2, 3])
def test_v1_goes_on_from_a_version_that_is_included(skipped: int) -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        versions = [state.task(number) for number in (1, 2, 3)]
        start = [*versions, versions[-1] + 1][skipped]
        async with session.get(f"/v1/stream/tasks?entityVersion={start}") as answer:
            await until(lambda: state.watchers == 1)
            told = [await line(answer) for _ in versions[skipped:]]
            newest = state.task(4)
            told.append(await line(answer))
        assert [int(item["metadata"]["entityVersion"]) for item in told] == [
            *versions[skipped:],
            newest,
        ]

    asking(work)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x", "Invalid entity version"),
        ("", "Invalid entity version"),
        ("-1", "Invalid entity version"),
        ("1.5", "Invalid entity version"),
        ("9" * 40, "Invalid entity version"),
        ("999999999", "Entity version is out of range"),
    ],
)
def test_v1_refuses_a_version_in_the_words_of_0_3(text: str, told: str) -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        for kind in ("tasks", "instances"):
            path = f"/v1/stream/{kind}?entityVersion={text}"
            assert await refused(session, path) == (400, told)

    asking(work)


def test_v1_says_out_of_range_once_deletions_are_forgotten_and_ends_who_has_missed_them() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        state.catalogue.log = ChangeLog(deletions_kept=1)
        first = state.task(1)
        for number in (2, 3):
            state.task(number)
        async with session.get("/v1/stream/tasks") as answer:
            await until(lambda: state.watchers == 1)
            state.view.unfollow(CLUSTER)
            # The stream ends: its reader asks again from where it was, and is told why.
            async with asyncio.timeout(DEADLINE):
                assert await answer.content.read() == b""
        await until(lambda: state.watchers == 0)
        path = f"/v1/stream/tasks?entityVersion={first}"
        assert await refused(session, path) == (400, "Entity version is out of range")
        # The deletion that was forgotten last is one that its reader may have seen.
        floor = state.catalogue.log.floor
        async with session.get(f"/v1/stream/tasks?entityVersion={floor}") as answer:
            assert answer.status == 200
            await until(lambda: state.watchers == 1)

    asking(work)


def test_v1_shows_a_deletion_as_the_state_that_it_ended_in_and_only_once() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        state.task(1)
        state.task(2)
        state.host(2)
        seen = state.catalogue.last
        async with (
            session.get("/v1/stream/tasks") as tasks,
            session.get("/v1/stream/instances") as instances,
        ):
            await until(lambda: state.watchers == 2)
            state.task(2, lastStatus="STOPPED", desiredStatus="STOPPED")
            assert (await line(tasks))["entity"]["taskARN"] == task_arn(2)
            state.view.unfollow(CLUSTER)
            gone = await line(tasks)
            hosts = [await line(instances), await line(instances)]
        assert gone["entity"]["taskARN"] == task_arn(1)
        assert gone["entity"]["lastStatus"] == gone["entity"]["desiredStatus"] == "STOPPED"
        assert [item["entity"]["status"] for item in hosts] == ["INACTIVE", "INACTIVE"]
        # Who was not there when task 2 stopped has not seen its end, and is told of it now.
        async with session.get(f"/v1/stream/tasks?entityVersion={seen + 1}") as late:
            ends = {(await line(late))["entity"]["taskARN"] for _ in range(2)}
        assert ends == {task_arn(1), task_arn(2)}

    asking(work)


# --- /v2 ------------------------------------------------------------------------------------------


def test_v2_begins_at_once_with_a_heartbeat_and_tells_each_change() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        position = state.api.position()
        async with session.get("/v2/stream") as answer:
            assert answer.headers["content-type"] == "application/x-ndjson"
            assert answer.headers["x-accel-buffering"] == "no"
            assert await line(answer) == {
                "event": "heartbeat",
                "position": position,
                "data": {"position": position},
            }
            version = state.task(1, tags=[{"key": "a", "value": "b"}], stoppedReason=None)
            task = await line(answer)
            assert (task["event"], task["position"]) == ("task", f"k3f9p2.{version}")
            assert task["data"]["kind"] == "task"
            assert (task["data"]["arn"], task["data"]["version"]) == (task_arn(1), version)
            assert (task["data"]["cluster"], task["data"]["clusterArn"]) == ("demo", CLUSTER)
            assert task["data"]["task"]["tags"] == [{"key": "a", "value": "b"}]
            state.host(1, status="DRAINING")
            host = await line(answer)
            assert (host["event"], host["data"]["instance"]["status"]) == ("instance", "DRAINING")

    asking(work)


def test_v2_tells_what_is_gone_and_which() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        state.task(1)
        async with session.get("/v2/stream?kinds=tasks,clusters") as answer:
            await line(answer)
            state.view.unfollow(CLUSTER)
            told = [await line(answer), await line(answer)]
        assert [entry["event"] for entry in told] == ["deleted", "deleted"]
        version = told[0]["data"]["version"]
        assert told[0]["data"] == {
            "kind": "task",
            "arn": task_arn(1),
            "cluster": "demo",
            "clusterArn": CLUSTER,
            "version": version,
        }
        assert (told[1]["data"]["kind"], told[1]["data"]["arn"]) == ("cluster", CLUSTER)

    asking(work)


def test_v2_tells_that_a_sweep_is_complete_after_all_that_it_found() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        start = state.api.position()
        number = state.view.request_sweep(CLUSTER)
        assert number is not None
        await until(lambda: (seen := state.view.cluster(CLUSTER)) and seen.sweep >= number)
        for change in range(1, 4):
            state.task(change)
            state.host(change)
        async with session.get(f"/v2/stream?position={start}") as answer:
            await line(answer)
            told = [await line(answer) for _ in range(7)]
            assert told[-1]["event"] == "cluster"
            assert [e["position"] for e in told[:-1]] == [start] * 6
            assert told[-1]["position"] == state.api.position()
            data = told[-1]["data"]
            assert (data["name"], data["arn"], data["primed"]) == ("demo", CLUSTER, True)
            assert data["sweep"] == {"epoch": "e1", "number": number}
            assert set(data) == {
                "name",
                "arn",
                "status",
                "primed",
                "version",
                "sweep",
                "readError",
            }

    asking(work)


@pytest.mark.parametrize(
    ("query", "arns"),
    [
        ("", [1, 2, "host"]),
        ("?kinds=tasks", [1, 2]),
        ("?kinds=instances,clusters", ["host"]),
        ("?cluster=demo", [1, 2, "host"]),
        (f"?cluster={CLUSTER}", [1, 2, "host"]),
        ("?cluster=other", []),
        (f"?cluster={OTHER_CLUSTER}", []),
        (f"?startedBy={STARTED_BY}", [1]),
        ("?group=service:web", [2]),
        (f"?group=service:web&startedBy={STARTED_BY}", []),
        ("?kinds=tasks,instances&group=service:web", [2, "host"]),
    ],
)
def test_v2_filters(query: str, arns: list[object]) -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        async with session.get(f"/v2/stream{query}") as answer:
            await line(answer)
            state.task(1)
            state.task(2, startedBy="ecs-svc/1", group="service:web")
            state.host(1, status="DRAINING")
            state.task(1, lastStatus="STOPPED", desiredStatus="STOPPED")
            names = {task_arn(1): 1, task_arn(2): 2, host_arn(1): "host"}
            got: list[object] = []
            while not got or got[-1] is not None:
                told = await line(answer)
                got.append(names[told["data"]["arn"]] if told["event"] != "heartbeat" else None)
            # Of what changes twice the last state is told, and that alone if nobody read before.
            assert sorted({str(one) for one in got[:-1]}) == sorted(str(one) for one in arns)

    asking(work, heartbeat=0.2)
    assert GROUP != "service:web"


def test_what_is_gone_passes_filters_by_its_last_state() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        state.task(1)
        state.task(2, startedBy="ecs-svc/1", group="service:web")
        async with session.get("/v2/stream?group=service:web") as answer:
            await line(answer)
            state.view.unfollow(CLUSTER)
            assert (await line(answer))["data"]["arn"] == task_arn(2)

    asking(work)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("kinds=pods", "'pods'; known are: tasks, instances, clusters"),
        ("kinds=", "is empty"),
        ("cluster=a/b", "neither a cluster's name nor its ARN"),
        ("position=17", "which is no position"),
        ("position=k3f9p2.x", "which is no position"),
        ("since=1", "'since' is not supported"),
    ],
)
def test_v2_refuses_what_it_does_not_understand(query: str, told: str) -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        status, body = await refused(session, f"/v2/stream?{query}")
        assert status == 400
        assert told in json.loads(body)["detail"]
        assert state.watchers == 0

    asking(work)


# --- Going on -------------------------------------------------------------------------------------


def test_v2_goes_on_after_a_position() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        first, second = state.task(1), state.task(2)
        async with session.get(f"/v2/stream?position=k3f9p2.{first}") as answer:
            assert (await line(answer))["event"] == "heartbeat"
            assert (await line(answer))["data"]["version"] == second
        async with session.get(f"/v2/stream?position=k3f9p2.{second}") as answer:
            assert (await line(answer))["position"] == f"k3f9p2.{second}"
            third = state.task(3)
            assert (await line(answer))["data"]["version"] == third

    asking(work)


def test_server_sent_events_go_on_by_last_event_id() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        first, second = state.task(1), state.task(2)
        headers = {"accept": "text/event-stream", "last-event-id": f"k3f9p2.{first}"}
        path = "/v2/stream?position=long.gone"
        async with session.get(path, headers=headers) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            async with asyncio.timeout(DEADLINE):
                beat = await answer.content.readuntil(b"\n\n")
                entry = await answer.content.readuntil(b"\n\n")
        assert beat.startswith(f"event: heartbeat\nid: k3f9p2.{first}\ndata: ".encode())
        event, id_, data = entry.decode().strip().split("\n")
        assert (event, id_) == ("event: task", f"id: k3f9p2.{second}")
        assert json.loads(data.removeprefix("data: "))["version"] == second

    asking(work)


@pytest.mark.parametrize("position", ["other.5", "k3f9p2.999999", "k3f9p2.0"])
def test_a_position_that_is_foreign_or_too_old_has_expired(position: str) -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        state.catalogue.log = ChangeLog(deletions_kept=0)
        for number in (1, 2):
            state.task(number)
        state.view.unfollow(CLUSTER)
        for path, headers in (
            (f"/v2/stream?position={position}", {}),
            ("/v2/stream", {"last-event-id": position}),
        ):
            status, body = await refused(session, path, **headers)
            problem = json.loads(body)
            assert status == problem["status"] == 410
            assert problem["type"] == "urn:blox:problem:position-expired"
            assert position in problem["detail"]
            assert f"to {state.api.position()}" in problem["detail"]

    asking(work)


def test_an_id_that_is_none_of_ours_has_expired() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        status, body = await refused(session, "/v2/stream", **{"last-event-id": "17"})
        assert (status, json.loads(body)["title"]) == (410, "This stream cannot go on from there")

    asking(work)


def test_heartbeats_name_the_position_though_nothing_was_told() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        async with session.get("/v2/stream?kinds=clusters") as answer:
            await line(answer)
            version = state.task(1)
            while (beat := await line(answer))["position"] != f"k3f9p2.{version}":
                pass
            assert beat["event"] == "heartbeat"

    asking(work, heartbeat=0.1)


def test_a_message_in_many_lines_is_one_line() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        async with session.get("/v2/stream") as answer:
            await line(answer)
            state.task(1, indent=2, containers=[{"name": "a", "lastStatus": "RUNNING"}])
            told = await line(answer)
            assert told["data"]["task"]["containers"] == [{"name": "a", "lastStatus": "RUNNING"}]

    asking(work)


# --- Clients that leave, and clients that do not read ---------------------------------------------


@pytest.mark.parametrize("path", ["/v1/stream/tasks", "/v1/stream/instances", "/v2/stream"])
def test_a_stream_ends_when_its_client_leaves_though_nothing_changes(path: str) -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        async with raw(session, path):
            await until(lambda: state.watchers == 1)
        await until(lambda: state.watchers == 0)
        answer = await session.get(path)
        await until(lambda: state.watchers == 1)
        answer.close()
        await until(lambda: state.watchers == 0)

    asking(work)


def test_a_head_request_opens_no_stream() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        async with session.head("/v2/stream") as answer:
            assert answer.status == 200
            assert answer.headers["content-type"] == "application/x-ndjson"
        await until(lambda: state.watchers == 0)
        async with session.get("/v2/stream") as answer:
            await line(answer)

    asking(work)


def flood(state: State, *, hosts: int, rounds: int) -> int:
    """Change many hosts many times: some megabytes if each change was sent."""
    last = 0
    for round_ in range(rounds):
        for number in range(1, hosts + 1):
            attributes = [{"name": "filling", "value": f"{round_}" + "x" * 2000}]
            last = state.host(number, attributes=attributes)
    return last


def test_a_watcher_that_never_reads_holds_little_memory_and_gets_the_last_state() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        async with raw(session, "/v2/stream?kinds=instances", buffer=4096) as connection:
            await until(lambda: state.watchers == 1)
            sizes = []
            for _ in range(100):
                last = flood(state, hosts=200, rounds=1)
                await asyncio.sleep(0.002)
                sizes.append(max(buffered()))
            assert max(sizes) > 0  # It was stuck.
            assert max(sizes) <= 3 * MOST_BYTES
            # Other watchers are not held up by it.
            async with session.get("/v2/stream") as answer:
                await line(answer)
                state.task(1)
                assert (await line(answer))["data"]["arn"] == task_arn(1)
            newest: dict[str, int] = {}
            got = 0
            async for told in _lines(connection):
                got += 1
                if told["event"] == "instance":
                    newest[told["data"]["arn"]] = told["data"]["version"]
                if newest.get(host_arn(200)) == last:
                    break
            assert len(newest) == 200
            assert sorted(newest.values()) == list(range(last - 199, last + 1))
            assert got < 100 * 200 / 2  # What changed while it slept was told once.
        await until(lambda: state.watchers == 0)

    asking(work)


def test_a_watcher_that_never_reads_and_leaves_is_forgotten() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        async with raw(session, "/v1/stream/instances", buffer=4096):
            await until(lambda: state.watchers == 1)
            while not any(buffered()):
                flood(state, hosts=200, rounds=1)
                await asyncio.sleep(0.002)
        await until(lambda: state.watchers == 0)

    asking(work)


def test_a_watcher_that_has_missed_deletions_is_told_to_list_again() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        state.catalogue.log = ChangeLog(deletions_kept=3)
        async with raw(session, "/v2/stream", buffer=4096) as connection:
            await until(lambda: state.watchers == 1)
            while not any(buffered()):
                flood(state, hosts=200, rounds=1)
                await asyncio.sleep(0.002)
            state.view.unfollow(CLUSTER)
            assert state.catalogue.log.floor == 0
            await state.view.follow(CLUSTER)
            for number in range(400):
                state.task(number)
            assert state.catalogue.log.floor > 0
            lost = state.catalogue.log.floor
            told = [entry async for entry in _lines(connection)]
            assert told[-1]["event"] == "reset"
            assert told[-1]["data"] == {"reason": FALLEN_BEHIND}
            # From there one can follow; the first sweep of the cluster may have told more since.
            assert int(told[-1]["position"].rpartition(".")[2]) >= lost
            assert [entry["event"] for entry in told].count("reset") == 1
        await until(lambda: state.watchers == 0)

    asking(work)


async def _lines(connection: socket.socket) -> AsyncIterator[Any]:
    """The JSON lines of a chunked answer, to its proper end."""
    reader, writer = await asyncio.open_connection(sock=connection.dup(), limit=2**22)
    try:
        async with asyncio.timeout(2 * DEADLINE):
            await reader.readuntil(b"\r\n\r\n")
            rest = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                rest += (await reader.readexactly(size + 2))[:-2]
                *whole, rest = rest.split(b"\n")
                for text in whole:
                    yield json.loads(text)
            assert rest == b""
    finally:
        writer.close()


def test_a_hundred_watchers_see_a_change_beside_one_that_never_reads() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        async with raw(session, "/v2/stream", buffer=4096):
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(session._base_url, connector=connector) as many:
                answers = [await many.get("/v2/stream?kinds=tasks") for _ in range(100)]
                for answer in answers:
                    await line(answer)
                while not any(buffered()):
                    flood(state, hosts=200, rounds=1)
                    await asyncio.sleep(0.002)
                version = state.task(1)
                told = await asyncio.gather(*(line(answer) for answer in answers))
                assert {entry["data"]["version"] for entry in told} == {version}
                assert state.watchers == 101
        await until(lambda: state.watchers == 0)

    asking(work)


def test_streams_end_properly_when_the_service_stops() -> None:
    async def scene() -> None:
        async with aiohttp.ClientSession() as outside:
            async with streaming() as (state, session):
                assert session._base_url is not None
                answer = await outside.get(session._base_url / "v2/stream")
                await line(answer)
            assert await answer.content.read() == b""
            assert state.watchers == 0

    run(scene())


def test_the_document_describes_the_lines() -> None:
    async def work(state: State, session: aiohttp.ClientSession) -> None:
        async with session.get("/openapi.json") as answer:
            document = await answer.json()
        stream = document["paths"]["/v2/stream"]["get"]
        assert set(stream["responses"]) == {"200", "400", "410", "503"}
        content = stream["responses"]["200"]["content"]
        assert set(content) == {"application/x-ndjson", "text/event-stream"}
        schema = content["application/x-ndjson"]["schema"]
        assert set(schema["discriminator"]["mapping"]) == {
            "task",
            "instance",
            "cluster",
            "deleted",
            "heartbeat",
            "reset",
        }
        assert {p["name"] for p in stream["parameters"] if p["in"] == "header"} == {"last-event-id"}

    asking(work)
