"""Sending an answer without an end.

It ends when its chunks do, when the client leaves, and when the server stops, whichever is first;
and whichever it is, its chunks are closed before the request is over, not whenever memory is
cleaned up. While the client does not read, no more than one chunk waits beyond what the transport
holds: https://www.uvicorn.org/server-behavior/#flow-control
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import structlog
from litestar.response import Response
from litestar.response.base import ASGIResponse
from litestar.types import HTTPResponseBodyEvent, Receive, Send

_log = structlog.get_logger("blox.streams")


class Endless(Response[bytes]):
    """As Litestar takes it from a handler."""

    def __init__(
        self, chunks: AsyncIterator[bytes], stopping: asyncio.Event, *, headers: Mapping[str, str]
    ) -> None:
        """`stopping` is set when the server stops."""
        super().__init__(b"", status_code=200, headers=dict(headers))
        self._chunks = chunks
        self._stopping = stopping

    def to_asgi_response(
        self, *_: Any, headers: dict[str, str] | None = None, **__: Any
    ) -> ASGIResponse:
        """The answer as it is sent."""
        return _Sending(self._chunks, self._stopping, headers={**(headers or {}), **self.headers})


class _Sending(ASGIResponse):
    _should_set_content_length = False

    def __init__(
        self, chunks: AsyncIterator[bytes], stopping: asyncio.Event, *, headers: dict[str, str]
    ) -> None:
        super().__init__(headers=headers, status_code=200)
        self._chunks = chunks
        self._stopping = stopping

    async def __call__(self, _: Any, receive: Receive, send: Send) -> None:
        try:
            await self.start_response(send)
            await self.send_body(send, receive)
        finally:
            await close(self._chunks)

    async def send_body(self, send: Send, receive: Receive) -> None:
        """All chunks, and the end."""
        sending = asyncio.ensure_future(self._send_chunks(send))
        others = [
            asyncio.ensure_future(_until_gone(receive)),
            asyncio.ensure_future(self._stopping.wait()),
        ]
        parts = (sending, *others)
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.wait(parts)
        failure = None if sending.cancelled() else sending.exception()
        if failure is not None:
            # The connection is cut without a proper end: the client sees that something is missing.
            _log.error("a stream failed", exc_info=failure)
            return
        await send(_body(b"", more=False))

    async def _send_chunks(self, send: Send) -> None:
        async for chunk in self._chunks:
            await send(_body(chunk, more=True))
            # Neither a chunk that is there already nor sending it need take a turn of the loop, and
            # sending to a client that has left never does.
            await asyncio.sleep(0)


async def close(chunks: AsyncIterator[bytes]) -> None:
    """Close what can be closed."""
    end = getattr(chunks, "aclose", None)
    if end is not None:
        await end()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _body(chunk: bytes, *, more: bool) -> HTTPResponseBodyEvent:
    return {"type": "http.response.body", "body": chunk, "more_body": more}
