"""Clients that ask and do not read, over real sockets: they are cut off, and cost nothing more."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

import pytest

from blox.http.forms import LINES
from blox.http.operations import Answer, Call, Operation, Returned, Streaming
from blox.http.ring import Ring
from blox.http.streams import Selection, Shown, Watchers
from blox.http.unread import Unread
from support.served import run, served

LARGE = 8 * 1024 * 1024
DEADLINE = 20.0
NEVER = 1000.0


async def large(_: Call) -> Answer:
    return Answer(body=b"x" * LARGE)


def offered(watchers: Watchers[str] | None = None) -> list[Operation]:
    """A large answer, and a stream."""

    async def stream(_: Call) -> Streaming:
        assert watchers is not None
        selection: Selection[str] = Selection(0, lambda text, _: Shown("text", text.encode()))
        return Streaming(chunks=watchers.watch(selection, LINES, after=watchers.feed.last))

    return [
        Operation(
            method="GET",
            path=f"/v2/{name}",
            id=name,
            summary=name,
            handle=handle,
            answers={200: Returned(description="It", body=str)},
        )
        for name, handle in (("large", large), ("stream", stream))
    ]


@contextlib.contextmanager
def deaf(url: str, path: str, *, buffer: int = 4096) -> Iterator[socket.socket]:
    """A client that has asked and reads nothing."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.connect(("127.0.0.1", urlsplit(url).port or 0))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        client.setblocking(False)
        yield client


async def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < end, "not within the deadline"
        await asyncio.sleep(0.01)


async def taken(client: socket.socket) -> int:
    """How many bytes a client still gets until its connection ends."""
    loop, got = asyncio.get_running_loop(), 0
    with contextlib.suppress(ConnectionError, TimeoutError):
        while chunk := await asyncio.wait_for(loop.sock_recv(client, 65536), DEADLINE):
            got += len(chunk)
    return got


@contextlib.asynccontextmanager
async def flooded(watchers: Watchers[str], ring: Ring[str]) -> AsyncIterator[None]:
    """More and more changes while the block runs."""

    async def flood() -> None:
        while True:
            ring.put('"' + "x" * 10_000 + '"')
            await asyncio.sleep(0.001)

    flooding = asyncio.create_task(flood())
    try:
        yield
    finally:
        flooding.cancel()


CUTTING = pytest.mark.parametrize("by_the_kernel", [True, False])
"""Each of the two suffices."""


def limits(*, by_the_kernel: bool) -> tuple[Unread, float]:
    return (Unread(seconds=NEVER), 0.5) if by_the_kernel else (Unread(seconds=0.5), NEVER)


@CUTTING
def test_who_reads_nothing_of_a_long_answer_is_cut_off(by_the_kernel: bool) -> None:
    if by_the_kernel and not hasattr(socket, "TCP_USER_TIMEOUT"):
        return

    async def scene() -> None:
        unread, seconds = limits(by_the_kernel=by_the_kernel)
        async with served(offered(), unread=unread, unread_seconds=seconds) as url:
            with deaf(url, "/v2/large") as client:
                await until(lambda: len(unread) == 1)
                await until(lambda: len(unread) == 0)
                assert await taken(client) < LARGE

    run(scene())


@CUTTING
def test_who_reads_nothing_of_a_stream_is_cut_off_and_its_place_is_free(
    by_the_kernel: bool,
) -> None:
    if by_the_kernel and not hasattr(socket, "TCP_USER_TIMEOUT"):
        return

    async def scene() -> None:
        unread, seconds = limits(by_the_kernel=by_the_kernel)
        ring: Ring[str] = Ring(kept=10_000)
        watchers: Watchers[str] = Watchers(ring, most=1)
        async with served(offered(watchers), unread=unread, unread_seconds=seconds) as url:
            with deaf(url, "/v2/stream"):
                await until(lambda: len(watchers) == 1)
                async with flooded(watchers, ring):
                    await until(lambda: len(unread) == 1)
                    await until(lambda: len(watchers) == 0)
                assert len(unread) == 0

    run(scene())


def test_who_reads_slowly_gets_all_of_it() -> None:
    async def scene() -> None:
        unread = Unread(seconds=1.0)
        async with served(offered(), unread=unread) as url:
            with deaf(url, "/v2/large", buffer=65536) as client:
                loop, got = asyncio.get_running_loop(), 0
                began = time.monotonic()
                while got < LARGE:
                    chunk = await asyncio.wait_for(loop.sock_recv(client, 65536), DEADLINE)
                    assert chunk, f"cut off after {got:,} bytes"
                    got += len(chunk)
                    if time.monotonic() - began < 1.5:
                        await asyncio.sleep(0.02)
                assert len(unread) == 0

    run(scene())


def test_when_too_much_waits_those_who_read_nothing_are_cut_off_sooner() -> None:
    async def scene() -> None:
        unread = Unread(seconds=NEVER, most_bytes=3 * LARGE, hurry=0.3)
        async with served(offered(), unread=unread) as url:
            with contextlib.ExitStack() as clients:
                for _ in range(6):
                    clients.enter_context(deaf(url, "/v2/large"))
                await until(lambda: len(unread) == 6)
                await until(lambda: len(unread) < 6)
                assert len(unread) >= 3  # What those ask for may wait.

    run(scene())
