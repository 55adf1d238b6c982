"""Answers without an end, however they end: their chunks are closed, and nothing waits until memory
is cleaned up."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import aiohttp
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from blox.http.operations import Call, Operation, Streaming
from support.served import run, served
from support.streaming import until


class Chunks:
    """A stream of our own, which is no generator: nobody closes it but whoever sends it."""

    def __init__(self, *, size: int = 0, fails_after: int | None = None) -> None:
        self.size = size
        self.fails_after = fails_after
        self.given = 0
        self.closed = 0

    def __aiter__(self) -> "Chunks":
        return self

    async def __anext__(self) -> bytes:
        if self.given == self.fails_after:
            raise RuntimeError("a mistake of ours")
        self.given += 1
        if self.given > 1 and not self.size and self.fails_after is None:
            await asyncio.Event().wait()
        return b"x" * (self.size or 5)

    async def aclose(self) -> None:
        self.closed += 1


def operation(chunks: AsyncIterator[bytes]) -> Operation:
    async def stream(_: Call) -> Streaming:
        return Streaming(chunks=chunks, media_type="application/octet-stream")

    return Operation(method="GET", path="/v2/all", id="all", summary="All", handle=stream)


@contextmanager
def nothing_cleaned_up() -> Iterator[None]:
    """Cycles stay where they are, as they may in a busy process for a long time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("size", [0, 65536], ids=["waiting", "stuck"])
def test_the_chunks_are_closed_once_the_client_has_left(size: int) -> None:
    async def scene() -> None:
        chunks = Chunks(size=size)
        async with served([operation(chunks)]) as url, aiohttp.ClientSession(url) as session:
            answer = await session.get("/v2/all")
            assert await answer.content.readexactly(5) == b"xxxxx"
            given = 0
            while chunks.given != given or not given:
                given = chunks.given
                await asyncio.sleep(0.2)  # Until it waits, or the sockets are full.
            assert chunks.closed == 0
            answer.close()
            await until(lambda: chunks.closed)
            assert chunks.closed == 1
            assert chunks.given <= given + 2

    with nothing_cleaned_up():
        run(scene())


def test_who_takes_everything_at_once_does_not_keep_others_waiting() -> None:
    async def scene() -> None:
        chunks = Chunks(size=65536)
        async with served([operation(chunks)]) as url, aiohttp.ClientSession(url) as session:
            answer = await session.get("/v2/all")
            for _ in range(20):
                assert await answer.content.readexactly(2**20)
                async with session.get("/livez") as alive:
                    assert alive.status == 200
            answer.close()

    run(scene())


def test_a_stream_that_fails_is_cut_and_logged(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene() -> None:
        chunks = Chunks(fails_after=3)
        async with served([operation(chunks)]) as url, aiohttp.ClientSession(url) as session:
            answer = await session.get("/v2/all")
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.content.read()
            assert chunks.closed == 1
            async with session.get("/livez") as alive:
                assert alive.status == 200

    run(scene())
    assert "a mistake of ours" in capsys.readouterr().out + caplog.text


def test_the_kernel_looks_for_clients_that_have_vanished() -> None:
    async def scene() -> None:
        chunks = Chunks()
        async with (
            served([operation(chunks)]) as url,
            aiohttp.ClientSession(url) as session,
            session.get("/v2/all") as answer,
        ):
            assert await answer.content.readexactly(5)
            (connection,) = (
                found.transport.get_extra_info("socket")
                for found in gc.get_objects()
                if isinstance(found, HttpToolsProtocol) and not found.transport.is_closing()
            )
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60

    run(scene())


def test_chunks_of_a_head_request_are_closed() -> None:
    async def scene() -> None:
        chunks = Chunks()
        async with served([operation(chunks)]) as url, aiohttp.ClientSession(url) as session:
            async with session.head("/v2/all") as answer:
                assert answer.status == 200
            await until(lambda: chunks.closed == 1)

    run(scene())
